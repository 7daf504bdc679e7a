"""Sees people's hands: MediaPipe's hand landmark net on a crop at the end of each forearm, followed frame by frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...skeleton import COCO_NAMES
from ...weights import WeightFile
from .landmarks import COCO_LANDMARKS, Crop
from .litert import LiteRTNetwork
from .types import Detections

HAND_POINTS = 21  # wrist, then four of each finger from thumb to little finger, from the palm to the tip
HAND_PRESENCE = 0.5  # score above which the crop shows a hand; MediaPipe's default
_INPUT = 224  # pixels, side of the net's square input
_PALM = np.array([0, 1, 2, 3, 5, 6, 9, 10, 13, 14, 17, 18])  # points that the crop is laid around, as in MediaPipe
_CROP_SCALE, _CROP_SHIFT = 2.0, 0.1  # side over that of the points' box, and shift to the fingers, as in MediaPipe
_FIRST_SIDE, _FIRST_SHIFT = 1.45, 0.4  # the same of the first crop, in lengths of the forearm; set by hand on two clips
_SMALLEST_CROP = 40.0  # pixels: a hand of 20 pixels; set by hand
_MOST_FROM_WRIST = 0.45  # lengths of the forearm between the hand's wrist and the body's, above which it is another's
# Probability of the right side below which a hand is the other one, and up to which it is trusted less: hands seen
# edge-on have 0.5, and where the net takes a palm for a back, its depth is the wrong way round.
OTHER_HAND, _SURE_SIDE = 0.2, 0.6
_LAID_AGAIN = 2  # times that the crop is laid around what the first one shows: most are not centred on the hand
_NO_HAND = 0.03  # score below which that is not tried
_FOLLOWED = 4  # frames for which the last points say where the hand is
# Frames between two looks at a hand that is seen, left and right in turn; in Fast quality, whose body network takes no
# longer than the hands'. For a hand that is not seen twice as many: hidden ones would cost as much as seen ones.
LOOK_INTERVAL, FAST_LOOK_INTERVAL = 2, 3
_LONGEST_GAP = 0.13  # seconds between two rows of a hand through which it goes on: one look in three at 24 a second
_SHARED = 0.35  # mean distance of the points over the hand's size, below which two hands are one
# Points of the body: COCO's arms and hips and, from the landmark net, wrists, little fingers and index fingers.
_SHOULDERS, _ELBOWS, _WRISTS, _HIPS = (
    [COCO_NAMES.index(f"{side}_{joint}") for side in ("left", "right")]
    for joint in ("shoulder", "elbow", "wrist", "hip")
)
LANDMARK_WRISTS = COCO_LANDMARKS[_WRISTS]
_LITTLE_FINGERS, _INDEX_FINGERS = (17, 18), (19, 20)
# Lengths over the forearm's, of a standing person; set by hand.
_UPPER_ARM, _TRUNK = 1.15, 2.1


@dataclass(frozen=True)
class HandObservation:
    """The net's output for one crop."""

    points: np.ndarray  # (21, 2) pixels of the picture
    metres: np.ndarray  # (21, 3) about the hand's middle: x right, y down, z away, as seen along the ray to the hand
    presence: float  # 0..1 that the crop shows a hand
    side: float  # 0..1 that it is of the side that was looked for

    @property
    def score(self) -> float:
        """0..1, how sure the net is of what it sees."""
        return self.presence * min(1.0, self.side / _SURE_SIDE)


def crop_around_hand(points: np.ndarray) -> Crop:
    """The crop around a hand's points (21, 2) in pixels: fingers up."""
    up = (points[5] + 2 * points[9] + points[13]) / 4 - points[0]
    rotation = _upright(up)
    palm = points[_PALM] @ rotation
    low, high = palm.min(0), palm.max(0)
    center = rotation @ ((low + high) / 2 - (0, _CROP_SHIFT * (high - low)[1]))
    return Crop(center, _CROP_SCALE * max(float((high - low).max()), 1.0), rotation)


def forearm_length(keypoints: np.ndarray) -> float:
    """Length of a forearm in pixels if it lay in the picture's plane, from COCO keypoints (17, 3).

    The largest of what arms and trunk say: each is as long as that or foreshortened.
    """
    points = np.asarray(keypoints[:, :2], np.float64)
    forearms = np.linalg.norm(points[_WRISTS] - points[_ELBOWS], axis=1)
    arms = np.linalg.norm(points[_ELBOWS] - points[_SHOULDERS], axis=1) / _UPPER_ARM
    trunk = np.linalg.norm(points[_SHOULDERS].mean(0) - points[_HIPS].mean(0)) / _TRUNK
    return float(max(forearms.max(), arms.max(), trunk))


def crop_at_arm(points: np.ndarray, side: int) -> Crop:
    """Where the hand of a side (0 left, 1 right) must be: at the end of the forearm, in line with the hand's points.

    ``points``: (33, 3) of the landmark net, or COCO's (17, 3), by which the hand continues the forearm.
    """
    keypoints = _coco(points)
    wrist, length = keypoints[_WRISTS[side], :2], forearm_length(keypoints)
    along = wrist - keypoints[_ELBOWS[side], :2]
    if len(points) > len(keypoints):
        middle = (2 * points[_INDEX_FINGERS[side], :2] + points[_LITTLE_FINGERS[side], :2]) / 3
        # The forearm decides where the hand points at the camera, and its points lie together.
        along = middle - wrist + 0.2 * along
    rotation = _upright(along)
    # A hand or forearm that points at the camera is foreshortened, and the hand nearer to the wrist.
    reach = min(1.0, float(np.linalg.norm(along)) / max(0.4 * length, 1.0))
    center = wrist - _FIRST_SHIFT * reach * length * rotation[:, 1]
    return Crop(np.asarray(center, np.float64), _FIRST_SIDE * max(length, 1.0), rotation)


def _coco(points: np.ndarray) -> np.ndarray:
    return points if len(points) == len(COCO_NAMES) else points[COCO_LANDMARKS]


def _upright(up: np.ndarray) -> np.ndarray:
    """The rotation (2, 2) from a crop's axes to the picture's, in which ``up`` (2,) points up."""
    length = float(np.linalg.norm(up))
    x, y = np.asarray(up, np.float64) / length if length > 0 else (0.0, -1.0)
    return np.array([[-y, -x], [x, -y]])


class HandLandmarker:
    """MediaPipe Hands' landmark net (Google, Apache-2.0)."""

    def __init__(self, file: WeightFile) -> None:
        self._network = LiteRTNetwork(file)

    def __call__(self, image: np.ndarray, crop: Crop, side: int) -> HandObservation:
        """The points in one crop of a frame, (H, W, 3) uint8 RGB, of a hand of that side: 0 left, 1 right.

        Left hands are mirrored, so that the net sees right ones only and both sides alike.
        """
        pixels, linear = crop.resampled(image, _INPUT)
        pixels = pixels if side else pixels[:, ::-1]
        points, presence, right, metres = self._network(pixels[None].astype(np.float32) / 255)
        points, metres = points.reshape(HAND_POINTS, 3)[:, :2] - _INPUT / 2, metres.reshape(HAND_POINTS, 3).copy()
        if not side:
            points, metres = points * (-1, 1), metres * (-1, 1, 1)
        metres[:, :2] = metres[:, :2] @ crop.rotation.T
        return HandObservation(points @ linear.T + crop.center, metres, float(presence.item()), float(right.item()))


@dataclass(frozen=True)
class _Look:
    """The last look at a hand."""

    frame: int
    wrist: np.ndarray  # (2,) the body's
    found: HandObservation | None


class HandTracker:
    """Follows the hands of tracked people, in either direction of time."""

    def __init__(self, landmarker: HandLandmarker, interval: int = LOOK_INTERVAL) -> None:
        """``interval``: frames between two looks at a hand that is seen."""
        self._landmarker, self._interval = landmarker, interval
        self._looks: dict[tuple[int, int], _Look] = {}  # by track and side

    def look(
        self, image: np.ndarray, scale: np.ndarray, frame: int, track: int, points: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Both hands of somebody: (2, 21, 5) x, y in the clip's pixels and metres as of `HandObservation`, scores (2,).

        ``image``: the frame, (h, w, 3) uint8 RGB; ``scale`` (2,): its size over that of the clip's frames; ``points``:
        (33, 3) of the landmark net or COCO's (17, 3), in the clip's pixels. A score of 0: not seen, or not looked at.
        """
        hands, scores = np.zeros((2, HAND_POINTS, 5), np.float32), np.zeros(2, np.float32)
        points = points * (*scale, 1)
        for side in (0, 1):
            found = self._look_at(image, frame, track, side, points)
            if found:
                hands[side, :, :2], hands[side, :, 2:] = found.points / scale, found.metres
                scores[side] = found.score
        return hands, scores

    def _look_at(
        self, image: np.ndarray, frame: int, track: int, side: int, points: np.ndarray
    ) -> HandObservation | None:
        last = self._looks.get((track, side))
        search_interval = 2 * self._interval
        apart = abs(frame - last.frame) if last else search_interval
        seen = last is not None and last.found is not None and apart <= _FOLLOWED
        if apart < search_interval and (not seen or (frame + side * self._interval // 2) % self._interval):
            return None
        keypoints = _coco(points)
        wrist, length = keypoints[_WRISTS[side], :2], forearm_length(keypoints)
        found = None
        if _FIRST_SIDE * length >= _SMALLEST_CROP and _is_inside(wrist, image):
            if seen and last and last.found:
                crop = crop_around_hand(last.found.points + wrist - last.wrist)
                found = self._checked(self._landmarker(image, crop, side), crop, wrist, length)
            if found is None:
                crop = crop_at_arm(points, side)
                first = self._landmarker(image, crop, side)
                for _ in range(_LAID_AGAIN):
                    if found is None and first.presence > _NO_HAND:
                        crop = crop_around_hand(first.points)
                        first = self._landmarker(image, crop, side)
                        found = self._checked(first, crop, wrist, length)
        self._looks[track, side] = _Look(frame, wrist, found)
        return found

    @staticmethod
    def _checked(found: HandObservation, crop: Crop, wrist: np.ndarray, length: float) -> HandObservation | None:
        """What a crop shows, if it is a hand and hangs on this arm."""
        if found.presence < HAND_PRESENCE or found.side < OTHER_HAND or crop.side < _SMALLEST_CROP / 2:
            return None
        return found if np.linalg.norm(found.points[0] - wrist) < _MOST_FROM_WRIST * length else None


def _is_inside(point: np.ndarray, image: np.ndarray) -> bool:
    return bool(((point >= 0) & (point < image.shape[1::-1])).all())


def without_shared(detections: Detections) -> np.ndarray:
    """Scores (N, 2) of the rows' hands, 0 where another arm's wrist is nearer to the same hand.

    Hands that touch are seen as one, by two arms of one person or of two.
    """
    scores = detections.hand_scores.copy()
    rows, sides = np.nonzero(scores)
    wrists = (
        detections.landmarks[:, LANDMARK_WRISTS] if detections.landmarks.shape[1] else detections.keypoints[:, _WRISTS]
    )
    for frame in np.unique(detections.row_frame[rows]):
        here = np.flatnonzero(detections.row_frame[rows] == frame)
        points = detections.hands[rows[here], sides[here], :, :2]
        away = np.linalg.norm(points[:, 0] - wrists[rows[here], sides[here], :2], axis=1)
        size = np.linalg.norm(np.ptp(points, axis=1), axis=1)
        for first in range(len(here)):
            for second in range(first):
                apart = np.linalg.norm(points[first] - points[second], axis=1).mean()
                if apart < _SHARED * min(size[first], size[second]):
                    wrong = here[first if away[first] > away[second] else second]
                    scores[rows[wrong], sides[wrong]] = 0
    return scores


def resample_hands(
    time: np.ndarray, known: np.ndarray, hands: np.ndarray, scores: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Hands (n, 2, 21, 5) and scores (n, 2) of rows at rising times (n,), interpolated linearly at other times (F,).

    Between two rows that are farther apart than hands are looked at, a hand is not seen. Without hands: of no frames.
    """
    if not hands.size:
        return np.zeros((0, 2, HAND_POINTS, 5), np.float32), np.zeros((0, 2), np.float32)
    resampled, resampled_scores = np.zeros((len(time), *hands.shape[1:]), np.float32), np.zeros((len(time), 2))
    for side in (0, 1):
        seen = np.flatnonzero(scores[:, side])
        if not len(seen):
            continue
        position = np.interp(time, known[seen], np.arange(len(seen)))
        before, after = np.floor(position).astype(int), np.ceil(position).astype(int)
        share = (position - before).astype(np.float32)
        values, score = hands[seen, side], scores[seen, side]
        resampled[:, side] = values[before] + share[:, None, None] * (values[after] - values[before])
        # In or near a gap no longer than a look that was left out: in longer ones, hands do not go straight.
        near = np.minimum(np.abs(time - known[seen][before]), np.abs(time - known[seen][after]))
        apart = known[seen][after] - known[seen][before]
        is_seen = (apart < _LONGEST_GAP) & (near < _LONGEST_GAP / 2)
        resampled_scores[:, side] = np.where(is_seen, np.minimum(score[before], score[after]), 0)
    return resampled, resampled_scores.astype(np.float32)
