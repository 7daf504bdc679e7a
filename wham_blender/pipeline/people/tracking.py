"""Who is where, frame by frame: people found by a detector are followed by what the landmark net sees of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Protocol

import numpy as np
from ultralytics.engine.results import Boxes
from ultralytics.trackers.byte_tracker import BYTETracker
from ultralytics.utils.metrics import bbox_ioa

from ...skeleton import COCO_NAMES
from ..clip import video_reader
from .landmarks import PERSON_SCORE, Crop, Landmarker, Observation, crop_around_box, crop_around_keypoints
from .types import is_confident

DETECT_EVERY = 10  # looks; in between, people are followed by their own landmarks
_SEARCH_EVERY, _SEARCH = 3, 30  # looks: how often, and how long, the detector is asked after someone was lost
MIN_KEYPOINTS = 6  # a look with fewer that count is dropped (WHAM)
TRACK_IDS_PER_SHOT = 1 << 32  # so that no track number comes again in another scene
NEW_TRACK_SCORE = 0.25  # MoveNet's score from which a newcomer is tracked (MoveNet's own advice is 0.2 to 0.3)
_LOST_SCORE = 0.1  # and from which a lost person is found again
_SAME = 0.3  # overlap (intersection over union) from which two boxes are of one person

_NO_KEYPOINTS, _NO_LANDMARKS = np.zeros((len(COCO_NAMES), 3), np.float32), np.zeros((0, 3), np.float32)

# People in one frame, (H, W, 3) uint8 RGB: boxes (n, 4) x1, y1, x2, y2 in pixels, scores (n,) 0..1, and keypoints
# (n, 17, 3) in pixels with their confidence, or (n, 0, 3) from a network that knows none.
Detector = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class DetectionRow:
    """One person in one look."""

    frame: int  # counted from 0
    track: int
    box: np.ndarray  # (4,) x1, y1, x2, y2 in pixels, round the whole person
    keypoints: np.ndarray  # (17, 3) COCO x, y (pixels), confidence; all 0 where no network was asked yet
    landmarks: np.ndarray  # (33, 3) x, y (pixels), visibility; (0, 3) where the landmark net was not asked
    landmarks_3d: np.ndarray  # (33, 3) metres, as in Person; or (0, 3)


class PeopleSource(Protocol):
    """Sees the people in one picture after the other; what it makes of them may come some looks later."""

    def process_frame(self, image: np.ndarray) -> np.ndarray:
        """Take in the next picture, (H, W, 3) uint8 RGB; the boxes (n, 4) x1, y1, x2, y2 where people are in it."""

    def start_new_shot(self) -> None:
        """The next picture is of another scene: nobody goes on into it."""

    def finished_rows(self) -> Iterable[DetectionRow]:
        """Rows finished since the last call, in order of their looks."""

    def finish(self) -> None:
        """Finish the rows that were waiting for more pictures."""


class Tracker:
    """Ultralytics' ByteTrack on bare boxes; ``new``: the score from which a newcomer is tracked."""

    def __init__(self, new: float = NEW_TRACK_SCORE) -> None:
        self._tracker = BYTETracker(
            SimpleNamespace(
                track_high_thresh=new, track_low_thresh=_LOST_SCORE, new_track_thresh=new,
                track_buffer=int(video_reader.NETWORK_FPS), match_thresh=0.8, fuse_score=True,
            )
        )  # fmt: skip

    def update(self, boxes: np.ndarray, scores: np.ndarray, size: tuple[int, int]) -> dict[int, int]:
        """Track id of each box that belongs to a track: {index: id}. Boxes (n, 4) x1, y1, x2, y2; size (H, W)."""
        rows = np.column_stack([boxes, scores, np.zeros(len(boxes))]).astype(np.float32)
        return {int(row[-1]): int(row[4]) for row in self._tracker.update(Boxes(rows, size))}


class LandmarkTracker:
    """Follows people by their own landmarks and asks the detector for newcomers; rows are ready at once."""

    def __init__(self, detect: Detector, landmarker: Landmarker) -> None:
        self._detect, self._landmarker = detect, landmarker
        self._tracker = Tracker()
        self._first_track = 0  # of this scene
        self._followed: dict[int, Observation] = {}
        self._waiting = True  # someone may be there whom nobody follows
        self._looks, self._lost_at = 0, -_SEARCH
        self._rows: list[DetectionRow] = []

    def process_frame(self, image: np.ndarray) -> np.ndarray:
        """See `PeopleSource`."""
        followed, lost = _track_people(image, self._followed, partial(self._landmarker, mirrored=self._looks % 2 == 1))
        looks = list(followed.values())
        boxes, scores = _boxes(looks), np.array([look.score for look in looks])
        newcomers: list[Crop] = []
        if lost:
            self._lost_at = self._looks
        every = _SEARCH_EVERY if self._looks - self._lost_at < _SEARCH else DETECT_EVERY
        if self._waiting or lost or self._looks % every == 0:
            found, found_scores, found_keypoints = self._detect(image)
            new = (found_scores > _LOST_SCORE) & (bbox_ioa(found, boxes, iou=True) < _SAME).all(1)
            newcomers = [
                crop_around_keypoints(keypoints) if len(keypoints) else crop_around_box(box)
                for box, keypoints in zip(found[new], found_keypoints[new], strict=True)
            ]
            boxes = np.concatenate([boxes, found[new]])
            scores = np.concatenate([scores, found_scores[new]])
        self._waiting = bool((scores[len(looks) :] > NEW_TRACK_SCORE).any())
        self._followed = {}
        for index, track in self._tracker.update(boxes, scores, image.shape[:2]).items():
            if index < len(looks):
                self._followed[track] = looks[index]
            else:
                first = self._landmarker(image, newcomers[index - len(looks)])
                look = self._landmarker(image, crop_around_keypoints(first.keypoints))
                if _is_person(look):
                    self._followed[track] = look
        self._rows += [
            DetectionRow(
                self._looks, self._first_track + track, look.box, look.keypoints, look.landmarks, look.landmarks_3d
            )
            for track, look in self._followed.items()
        ]
        self._looks += 1
        return _boxes(self._followed.values())

    def start_new_shot(self) -> None:
        """See `PeopleSource`."""
        self._tracker, self._followed, self._waiting = Tracker(), {}, True
        self._first_track += TRACK_IDS_PER_SHOT

    def finished_rows(self) -> list[DetectionRow]:
        """See `PeopleSource`."""
        rows, self._rows = self._rows, []
        return rows

    def finish(self) -> None:
        """See `PeopleSource`."""


class DetectionTracker:
    """Finds people in every look with a detector and tracks their boxes; nobody's keypoints are looked at yet.

    ``new``: the detector's score from which a newcomer is tracked.
    """

    def __init__(self, detect: Detector, new: float) -> None:
        self._detect, self._new = detect, new
        self._tracker = Tracker(new)
        self._first_track = 0  # of this scene
        self._looks = 0
        self._rows: list[DetectionRow] = []

    def process_frame(self, image: np.ndarray) -> np.ndarray:
        """See `PeopleSource`."""
        boxes, scores, _ = self._detect(image)
        sure = scores > _LOST_SCORE
        boxes, scores = boxes[sure], scores[sure]
        tracks = self._tracker.update(boxes, scores, image.shape[:2])
        self._rows += [
            DetectionRow(
                self._looks, self._first_track + track, boxes[index], _NO_KEYPOINTS, _NO_LANDMARKS, _NO_LANDMARKS
            )
            for index, track in tracks.items()
        ]
        self._looks += 1
        return boxes[list(tracks)]

    def start_new_shot(self) -> None:
        """See `PeopleSource`."""
        self._tracker = Tracker(self._new)
        self._first_track += TRACK_IDS_PER_SHOT

    def finished_rows(self) -> list[DetectionRow]:
        """See `PeopleSource`."""
        rows, self._rows = self._rows, []
        return rows

    def finish(self) -> None:
        """See `PeopleSource`."""


def _track_people(
    image: np.ndarray, people: dict[int, Observation], landmarker: Callable[[np.ndarray, Crop], Observation]
) -> tuple[dict[int, Observation], bool]:
    """Look where each person was a frame ago. Returns those still seen, and whether someone was lost."""
    seen: dict[int, Observation] = {}
    for track, before in people.items():
        look = landmarker(image, crop_around_keypoints(before.keypoints))
        if _is_person(look):
            seen[track] = look
    # Where one has slipped onto another's body, the one that jumped farther has to go.
    for track in sorted(seen, key=lambda track: -_shift(people[track], seen[track])):
        others = [look for other, look in seen.items() if other != track]
        if any(_shift(seen[track], other) < 0.1 for other in others):
            del seen[track]
    return seen, len(seen) < len(people)


def _is_person(look: Observation) -> bool:
    return look.score > PERSON_SCORE and is_confident(look.keypoints).sum() >= MIN_KEYPOINTS


def _shift(first: Observation, second: Observation) -> float:
    """Mean distance between the keypoints of two looks, in body sizes (the second's box, its longer side)."""
    size = np.ptp(second.keypoints[:, :2], axis=0).max()
    return float(np.linalg.norm(first.keypoints[:, :2] - second.keypoints[:, :2], axis=1).mean() / max(size, 1.0))


def _boxes(looks: Iterable[Observation]) -> np.ndarray:
    """Tight boxes (n, 4) x1, y1, x2, y2 round the counted keypoints."""
    points = [look.keypoints[is_confident(look.keypoints), :2] for look in looks]
    return np.array([[*p.min(0), *p.max(0)] for p in points]).reshape(-1, 4)
