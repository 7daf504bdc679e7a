"""Follows somebody from a box that an animator drew, where the detector found nobody or somebody else.

Everybody who is seen already is painted out of the pictures: the landmark net would see them, who are mostly in front.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from itertools import product

import cv2
import numpy as np

from .frame_buffer import FrameBuffer
from .hands import HandTracker
from .landmark_tracker import detection_row, iou, look_in
from .landmarks import Crop, Landmarker, Observation, crop_around_box, crop_around_keypoints
from .person_track import MIN_QUALITY, NEW_QUALITY, Look, PersonTrack, body_size, is_person, rotation_matrix
from .tracking import DetectionRow

# Quality of the landmark net in a box, from which it is believed that somebody is there: the animator has seen them.
_LEAST_QUALITY = 0.3
_INSIDE = 0.8  # of the keypoints, the least part that lies in the box, with its margin; set by hand
_MARGIN = 0.1  # of the box's sides: people do not draw to the pixel
_ROTATIONS = tuple(np.radians((0, 180, 90, 270)))  # in which the net looks: it sees nobody upside down
_SIDES = (1.0, 1.3)  # of the crops over the usual one around a box
# Frames after the last one in which the net looks in all rotations again, within _NEAR body sizes; set by hand
_SEARCH_AGAIN, _NEAR = (0, 1, 2, 4, 8, 16), 1.0
_MISSED = 30  # frames without the person after which they are followed no further; set by hand
_KNOWN = 5  # frames one after the other in which the person is seen without the box, too, after which it ends
_OTHER = 0.25  # body sizes between two people's keypoints, above which they are not one; set by hand
_OTHER_IOU = 0.3  # of their boxes, below which they are not; set by hand
_COVER = 0.02  # of the other body's size, by which what is painted out is larger than the net's mask
_BLUR = 0.05  # of the other body's size: the colours around it that it is painted over with

OtherPeople = Mapping[int, np.ndarray]  # by frame in the buffer: keypoints (n, 17, 3) of everybody who is seen


def follow_from_box(
    box: np.ndarray,
    drawn: int,
    frames: FrameBuffer,
    landmarker: Landmarker,
    hands: HandTracker | None,
    seen: OtherPeople,
) -> list[tuple[int, DetectionRow]]:
    """The rows of the person in a box (4,), x1, y1, x2, y2 in pixels, of one of the frames; in order of time.

    ``seen``: who was seen without the box, the person in it or others. Each row comes with its frame in the buffer, by
    which the row's ``frame`` has to be replaced as its ``track`` has to. Empty if the landmark net sees nobody in the
    box.
    """

    def look_at(frame: int, is_other: Callable[[np.ndarray], bool], around: np.ndarray) -> tuple[Look, Look]:
        image, scale = frames[frame]
        for keypoints in seen.get(frame, ()):
            if is_other(keypoints) and iou(_box_of(keypoints), around) > 0:
                image = _painted_over(image, scale, keypoints, landmarker)
        looks = (look_in(landmarker, image, scale, mirrored=(frame % 2 == 1) != other) for other in (False, True))
        return next(looks), next(looks)

    found = _in_box(look_at(drawn, lambda keypoints: not _is_inside(keypoints, box), box), box, _LEAST_QUALITY)
    if found is None:
        return []
    observations = {drawn: found}
    for step in (1, -1):
        track, frame, known = PersonTrack(0, drawn, found, step), drawn + step, 0
        while frames.first <= frame < frames.end and track.missed(frame) < _MISSED and known < _KNOWN:
            last = track.observation
            looks = look_at(frame, partial(_is_other, last=last), last.box)
            mine = [keypoints for keypoints in seen.get(frame, ()) if not _is_other(keypoints, last)]
            known = known + 1 if mine else 0
            observation = _seen_at(looks[0], mine[0], track, frame) if mine else track.look_at(looks[0], frame)
            if observation is None and not mine:
                observation = _found_again(looks, track, frame)
            if observation is not None and not mine:
                observations[frame] = observation
            if observation is not None:
                track.accept(frame, observation)
            frame += step
    return [
        (frame, detection_row(0, frame, observation, frames[frame], hands))
        for frame, observation in sorted(observations.items())
    ]


def _seen_at(look: Look, keypoints: np.ndarray, track: PersonTrack, frame: int) -> Observation | None:
    """The person of a track at keypoints (17, 3) that were seen without the box; None if the network is not sure."""
    observation = look(crop_around_keypoints(keypoints))
    return observation if is_person(observation, NEW_QUALITY) and track.distance(frame, observation) < _NEAR else None


def _found_again(looks: tuple[Look, Look], track: PersonTrack, frame: int) -> Observation | None:
    """The person of a track where they were last, whichever way up; None if the landmark net does not see them."""
    if track.missed(frame) not in _SEARCH_AGAIN:
        return None
    observation = _in_box(looks, _enlarged(track.observation.box), MIN_QUALITY)
    return observation if observation is not None and track.distance(frame, observation) < _NEAR else None


def _in_box(looks: tuple[Look, Look], box: np.ndarray, quality: float) -> Observation | None:
    """The person in a box, whichever way up; None if the landmark net sees nobody there of that quality."""
    around, found = crop_around_box(box), []
    for look, angle, side in product(looks, _ROTATIONS, _SIDES):
        first = look(Crop(around.center, side * around.side, rotation_matrix(angle)))
        found += [first, look(crop_around_keypoints(first.keypoints))]
    found = [each for each in found if is_person(each, quality) and _is_inside(each.keypoints, box)]
    return max(found, key=lambda each: each.quality, default=None)


def _is_inside(keypoints: np.ndarray, box: np.ndarray) -> bool:
    """Whether most of the keypoints (17, 3) lie in a box (4,) or its margin."""
    low, high = np.split(_enlarged(box), 2)
    inside = (keypoints[:, :2] > low) & (keypoints[:, :2] < high)
    return bool(inside.all(1).mean() >= _INSIDE)


def _enlarged(box: np.ndarray) -> np.ndarray:
    """A box (4,) with a margin around it."""
    margin = _MARGIN * (box[2:] - box[:2])
    return np.concatenate([box[:2] - margin, box[2:] + margin])


def _painted_over(image: np.ndarray, scale: np.ndarray, keypoints: np.ndarray, landmarker: Landmarker) -> np.ndarray:
    """An image (H, W, 3) of ``scale`` (2,) over the clip's frames without a person, whose place is a blur."""
    points = keypoints * (*scale, 1)
    size = float(np.ptp(points[:, :2], axis=0).max())
    mask = landmarker.mask(image, crop_around_keypoints(points)) > 0.5
    kernel = np.ones((2 * round(_COVER * size) + 1,) * 2, np.uint8)
    shown = 1 - cv2.dilate(mask.astype(np.uint8), kernel).astype(np.float32)[..., None]
    deviation = max(_BLUR * size, 1.0)
    colours = cv2.GaussianBlur(image * shown, (0, 0), deviation)
    weights = cv2.GaussianBlur(shown, (0, 0), deviation)[..., None]
    return np.where(shown > 0, image, colours / np.maximum(weights, 1e-3)).astype(np.uint8)


def _box_of(keypoints: np.ndarray) -> np.ndarray:
    """The box (4,) around keypoints (17, 3)."""
    return np.concatenate([keypoints[:, :2].min(0), keypoints[:, :2].max(0)])


def _is_other(keypoints: np.ndarray, last: Observation) -> bool:
    """Whether keypoints (17, 3) are of somebody else than an observation in a frame nearby."""
    apart = np.linalg.norm(keypoints[:, :2] - last.keypoints[:, :2], axis=1).mean()
    return bool(apart > _OTHER * body_size(last) and iou(_box_of(keypoints), last.box) < _OTHER_IOU)
