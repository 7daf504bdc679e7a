"""Follows one person from frame to frame with the landmark net, whichever way up they are.

The net wants a crop in which the spine is upright, so the crop of a frame is predicted from those before: its place,
rotation and size. Where the net's answer is doubtful, other crops are tried, rotated ones too, and the best one wins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np

from .landmarks import MIN_KEYPOINTS, PERSON_SCORE, Crop, Observation, crop_around_keypoints
from .types import is_confident

Look = Callable[[Crop], Observation]  # the landmark net in one frame

# See Observation.quality. A half hidden person has 0.45 to 0.6.
MIN_QUALITY = 0.4  # below it, nobody is seen
NEW_QUALITY = 0.5  # that begins a track, or continues one that was lost
SURE_QUALITY = 0.7  # above it, nothing better is looked for
_DOUBT = 0.8  # of the person's usual quality: below it, other crops are tried
_BETTER = 0.05  # by how much another crop's quality must exceed that of the predicted one
_USUAL_DECAY, _SIZE_DECAY = 0.9, 0.95  # per frame, of the usual quality and of the usual crop's side
# Of the usual side of the crop, the smallest: a body that is tucked up is not a small one. Of somebody who is doubtful,
# half hidden mostly, the points may be wrong and far inside of the body: they would make the next crop smaller, until
# it holds nothing. Set by hand.
_SMALLEST_SIDE, _SMALLEST_DOUBTFUL_SIDE = 0.6, 0.85
_MAX_ROTATION = np.radians(45)  # per frame; a somersault has 15 degrees in a frame of 1/30 s
_DAMPING = 0.8  # per frame: how much of the velocity remains, where nobody was seen
_MAX_JUMP, _MAX_JUMP_GROWTH, _MAX_JUMP_EVER = 0.35, 0.05, 1.0  # of the body's size: mean distance of the keypoints from
# where they were predicted, a frame after the last, its growth per frame, and the most
_SEARCH_AGAIN = 5  # frames between two searches of a person who is doubtful for longer
_SEARCH_LOST = (1, 12)  # frames after the last one in which a person who was lost is looked for with other crops
_ROTATIONS = tuple(np.radians((180, 90, 270)))


class PersonTrack:
    """One person, followed through frames in one direction of time.

    ``look_at`` does not change the track; ``accept`` does: whoever calls decides whether an observation is this person.
    """

    def __init__(self, number: int, frame: int, observation: Observation, step: int = 1) -> None:
        """``number``: the track's id; ``step``: 1 to follow forward in time, -1 backward."""
        self.number = number
        self.frame, self.observation = frame, observation  # the last ones
        self.first_frame = frame
        self._step = step
        self._crop = crop_around_keypoints(observation.keypoints)
        self._quality, self._side = observation.quality, self._crop.side  # the usual ones
        self._sure_crop = self._crop  # the last that was not doubtful
        self._velocity = np.zeros(2)  # of the crop's centre, pixels a frame
        self._points_velocity = np.zeros_like(observation.keypoints[:, :2])
        self._angular_velocity = 0.0  # of the crop, radians a frame
        self._next_search = frame  # while the person is seen, but doubtful

    def missed(self, frame: int) -> int:
        """Frames between the last one and another, without both."""
        return (frame - self.frame) * self._step - 1

    def predicted_crop(self, frame: int) -> Crop:
        """Where to look for the person in a frame."""
        steps = self._steps(frame)
        smallest = _SMALLEST_SIDE if self._crop is self._sure_crop else _SMALLEST_DOUBTFUL_SIDE
        side = max(self._crop.side, smallest * self._side)
        rotation = rotation_matrix(steps * self._angular_velocity) @ self._crop.rotation
        return Crop(self._crop.center + steps * self._velocity, side, rotation)

    def distance(self, frame: int, observation: Observation) -> float:
        """Mean distance of an observation from where it was to be expected, in sizes of the body."""
        before, now = self.observation.keypoints[:, :2], observation.keypoints[:, :2]
        expected = before + self._steps(frame) * self._points_velocity
        apart = min(float(np.linalg.norm(now - points, axis=1).mean()) for points in (before, expected))
        return apart / max(body_size(observation), body_size(self.observation))

    def look_at(self, look: Look, frame: int) -> Observation | None:
        """The person in a frame; None if they are not seen."""
        first = look(self.predicted_crop(frame))
        least = NEW_QUALITY if self.missed(frame) else MIN_QUALITY
        if self._is_possible(frame, first, max(_DOUBT * self._quality, least)):
            return first
        best = first
        missed = self.missed(frame)
        if (missed in _SEARCH_LOST and self._step > 0) or (
            not missed and (frame - self._next_search) * self._step >= 0
        ):
            self._next_search = frame + self._step * _SEARCH_AGAIN
            best = self._search(look, frame, first)
        return best if self._is_possible(frame, best, least) else None

    def accept(self, frame: int, observation: Observation) -> None:
        """Take an observation of this person in a frame."""
        steps = (frame - self.frame) * self._step
        crop = crop_around_keypoints(observation.keypoints)
        self._velocity = (crop.center - self._crop.center) / steps
        self._points_velocity = (observation.keypoints - self.observation.keypoints)[:, :2] / steps
        rotated = crop.rotation @ self._crop.rotation.T
        angle = float(np.arctan2(rotated[1, 0], rotated[0, 0])) / steps
        self._angular_velocity = float(np.clip(angle, -_MAX_ROTATION, _MAX_ROTATION))
        if observation.quality >= _DOUBT * self._quality:
            self._side = max(crop.side, self._side + (1 - _SIZE_DECAY) * (crop.side - self._side))
            self._sure_crop = crop
        self._quality += (1 - _USUAL_DECAY) * (observation.quality - self._quality)
        self.frame, self.observation, self._crop = frame, observation, crop

    def _steps(self, frame: int) -> float:
        """Frames for which the velocity holds."""
        steps = (frame - self.frame) * self._step
        return float((1 - _DAMPING**steps) / (1 - _DAMPING))

    def _is_possible(self, frame: int, observation: Observation, quality: float) -> bool:
        most = min(_MAX_JUMP + _MAX_JUMP_GROWTH * self.missed(frame), _MAX_JUMP_EVER)
        return is_person(observation, quality) and self.distance(frame, observation) < most

    def _search(self, look: Look, frame: int, first: Observation) -> Observation:
        """The best of what other crops show."""
        predicted = self.predicted_crop(frame)
        tried = [first]
        for crop in self._other_crops(predicted, first):
            tried.append(look(crop))
            best = max(tried, key=lambda each: self._rank(frame, each))
            if best.quality > self._quality * _DOUBT and self._is_possible(frame, best, NEW_QUALITY):
                break
        best = max(tried, key=lambda each: self._rank(frame, each))
        if best is first:
            return first
        again = look(crop_around_keypoints(best.keypoints))
        best = max(best, again, key=lambda each: self._rank(frame, each))
        return best if best.quality > first.quality + _BETTER or not self._is_possible(frame, first, 0) else first

    def _rank(self, frame: int, observation: Observation) -> float:
        return observation.quality - (0 if self._is_possible(frame, observation, 0) else 1)

    def _other_crops(self, predicted: Crop, first: Observation) -> Iterable[Crop]:
        if is_confident(first.keypoints).sum() >= MIN_KEYPOINTS:
            yield crop_around_keypoints(first.keypoints)
        if self._angular_velocity or self._velocity.any():
            yield replace(self._crop, side=predicted.side)
        if self._crop is not self._sure_crop:
            yield replace(self._sure_crop, side=self._side)
        for angle in _ROTATIONS:
            yield replace(predicted, rotation=rotation_matrix(angle) @ predicted.rotation)


def rotation_matrix(angle: float) -> np.ndarray:
    """The rotation (2, 2) by an angle, radians, from x to y."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, -sin], [sin, cos]])


def is_person(observation: Observation, quality: float) -> bool:
    """Whether an observation shows a person at least that well."""
    return (
        observation.score > PERSON_SCORE
        and observation.quality >= quality
        and bool(is_confident(observation.keypoints).sum() >= MIN_KEYPOINTS)
    )


def body_size(observation: Observation) -> float:
    """The longer side of the box around all keypoints, pixels, at least 1."""
    return max(float(np.ptp(observation.keypoints[:, :2], axis=0).max()), 1.0)


def pose_distance(first: Observation, second: Observation) -> float:
    """Mean distance between the keypoints of two observations, in sizes of the larger body."""
    apart = np.linalg.norm(first.keypoints[:, :2] - second.keypoints[:, :2], axis=1).mean()
    return float(apart) / max(body_size(first), body_size(second))
