"""Tracks people frame by frame, by the landmark net or by a detector in every frame, with ByteTrack's track ids."""

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

DETECTION_INTERVAL = 10  # frames between two runs of the detector; in between, landmarks are tracked; set by hand
_SEARCH_INTERVAL, _SEARCH_DURATION = (
    3,
    30,
)  # frames: the interval after a person was lost, and for how long; set by hand
MIN_KEYPOINTS = 6  # a frame of a track with fewer confident keypoints is dropped, as in WHAM
TRACK_IDS_PER_SHOT = 1 << 32  # so that track ids are unique over all shots
NEW_TRACK_SCORE = 0.25  # MoveNet's score that begins a track (MoveNet's documentation: 0.2 to 0.3)
_LOW_SCORE = 0.1  # the score that continues a track, ByteTrack's track_low_thresh
_SAME_PERSON_IOU = 0.3  # intersection over union above which two boxes are of one person; set by hand
_DUPLICATE_DISTANCE = 0.1  # body sizes between two observations below which they are of one person; set by hand

_NO_KEYPOINTS, _NO_LANDMARKS = np.zeros((len(COCO_NAMES), 3), np.float32), np.zeros((0, 3), np.float32)

# People in one frame, (H, W, 3) uint8 RGB: boxes (n, 4) x1, y1, x2, y2 in pixels, scores (n,) 0..1, and keypoints
# (n, 17, 3) in pixels with their confidence, or (n, 0, 3) from a network without keypoints.
Detector = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class DetectionRow:
    """One person in one network frame."""

    frame: int  # network frame, from 0
    track: int
    box: np.ndarray  # (4,) x1, y1, x2, y2 in pixels, around the whole body
    keypoints: np.ndarray  # (17, 3) COCO x, y (pixels), confidence; all 0 before a keypoint network has run
    landmarks: np.ndarray  # (33, 3) x, y (pixels), visibility; (0, 3) if the landmark net was not run
    landmarks_3d: np.ndarray  # (33, 3) metres, as in Person; or (0, 3)


class PeopleSource(Protocol):
    """Detects and tracks people frame by frame; the rows of a frame may be finished some frames later."""

    def process_frame(self, image: np.ndarray) -> np.ndarray:
        """Process the next frame, (H, W, 3) uint8 RGB; returns the people's boxes (n, 4) x1, y1, x2, y2."""

    def start_new_shot(self) -> None:
        """The next frame belongs to another shot: end all tracks."""

    def finished_rows(self) -> Iterable[DetectionRow]:
        """Rows finished since the last call, in order of their frames."""

    def finish(self) -> None:
        """Finish all rows: there are no more frames."""


class ByteTracker:
    """Ultralytics' ByteTrack on boxes alone; ``new_track_score``: the score that begins a track."""

    def __init__(self, new_track_score: float = NEW_TRACK_SCORE) -> None:
        self._tracker = BYTETracker(
            SimpleNamespace(
                track_high_thresh=new_track_score, track_low_thresh=_LOW_SCORE, new_track_thresh=new_track_score,
                track_buffer=int(video_reader.NETWORK_FPS), match_thresh=0.8, fuse_score=True,
            )
        )  # fmt: skip

    def update(self, boxes: np.ndarray, scores: np.ndarray, size: tuple[int, int]) -> dict[int, int]:
        """Track id of each box that belongs to a track: {index: id}. Boxes (n, 4) x1, y1, x2, y2; size (H, W)."""
        rows = np.column_stack([boxes, scores, np.zeros(len(boxes))]).astype(np.float32)
        return {int(row[-1]): int(row[4]) for row in self._tracker.update(Boxes(rows, size))}


class LandmarkTracker:
    """Tracks people by their landmarks and runs the detector at intervals for new people; rows are finished at once."""

    def __init__(self, detect: Detector, landmarker: Landmarker) -> None:
        self._detect, self._landmarker = detect, landmarker
        self._tracker = ByteTracker()
        self._track_offset = 0  # of this shot's track ids
        self._tracked: dict[int, Observation] = {}  # by track id: the last observation
        self._detect_next = True  # whether to run the detector in the next frame
        self._frame, self._last_lost = 0, -_SEARCH_DURATION
        self._rows: list[DetectionRow] = []

    def process_frame(self, image: np.ndarray) -> np.ndarray:
        """See `PeopleSource`."""
        tracked, lost = _track_people(image, self._tracked, partial(self._landmarker, mirrored=self._frame % 2 == 1))
        observations = list(tracked.values())
        boxes, scores = _boxes(observations), np.array([each.score for each in observations])
        new_crops: list[Crop] = []
        if lost:
            self._last_lost = self._frame
        interval = _SEARCH_INTERVAL if self._frame - self._last_lost < _SEARCH_DURATION else DETECTION_INTERVAL
        if self._detect_next or lost or self._frame % interval == 0:
            detected, detected_scores, detected_keypoints = self._detect(image)
            new = (detected_scores > _LOW_SCORE) & (bbox_ioa(detected, boxes, iou=True) < _SAME_PERSON_IOU).all(1)
            new_crops = [
                crop_around_keypoints(keypoints) if len(keypoints) else crop_around_box(box)
                for box, keypoints in zip(detected[new], detected_keypoints[new], strict=True)
            ]
            boxes = np.concatenate([boxes, detected[new]])
            scores = np.concatenate([scores, detected_scores[new]])
        self._detect_next = bool((scores[len(observations) :] > NEW_TRACK_SCORE).any())
        self._tracked = {}
        for index, track in self._tracker.update(boxes, scores, image.shape[:2]).items():
            if index < len(observations):
                self._tracked[track] = observations[index]
            else:
                first = self._landmarker(image, new_crops[index - len(observations)])
                second = self._landmarker(image, crop_around_keypoints(first.keypoints))
                if _is_person(second):
                    self._tracked[track] = second
        self._rows += [
            DetectionRow(
                self._frame, self._track_offset + track, each.box, each.keypoints, each.landmarks, each.landmarks_3d
            )
            for track, each in self._tracked.items()
        ]
        self._frame += 1
        return _boxes(self._tracked.values())

    def start_new_shot(self) -> None:
        """See `PeopleSource`."""
        self._tracker, self._tracked, self._detect_next = ByteTracker(), {}, True
        self._track_offset += TRACK_IDS_PER_SHOT

    def finished_rows(self) -> list[DetectionRow]:
        """See `PeopleSource`."""
        rows, self._rows = self._rows, []
        return rows

    def finish(self) -> None:
        """See `PeopleSource`."""


class DetectionTracker:
    """Runs a detector in every frame and tracks the boxes; the rows have no keypoints.

    ``new_track_score``: the detector's score that begins a track.
    """

    def __init__(self, detect: Detector, new_track_score: float) -> None:
        self._detect, self._new_track_score = detect, new_track_score
        self._tracker = ByteTracker(new_track_score)
        self._track_offset = 0  # of this shot's track ids
        self._frame = 0
        self._rows: list[DetectionRow] = []

    def process_frame(self, image: np.ndarray) -> np.ndarray:
        """See `PeopleSource`."""
        boxes, scores, _ = self._detect(image)
        kept = scores > _LOW_SCORE
        boxes, scores = boxes[kept], scores[kept]
        tracks = self._tracker.update(boxes, scores, image.shape[:2])
        self._rows += [
            DetectionRow(
                self._frame, self._track_offset + track, boxes[index], _NO_KEYPOINTS, _NO_LANDMARKS, _NO_LANDMARKS
            )
            for index, track in tracks.items()
        ]
        self._frame += 1
        return boxes[list(tracks)]

    def start_new_shot(self) -> None:
        """See `PeopleSource`."""
        self._tracker = ByteTracker(self._new_track_score)
        self._track_offset += TRACK_IDS_PER_SHOT

    def finished_rows(self) -> list[DetectionRow]:
        """See `PeopleSource`."""
        rows, self._rows = self._rows, []
        return rows

    def finish(self) -> None:
        """See `PeopleSource`."""


def _track_people(
    image: np.ndarray, people: dict[int, Observation], landmarker: Callable[[np.ndarray, Crop], Observation]
) -> tuple[dict[int, Observation], bool]:
    """Observe each person where they were a frame ago. Returns those still visible, and whether a person was lost."""
    observed: dict[int, Observation] = {}
    for track, before in people.items():
        observation = landmarker(image, crop_around_keypoints(before.keypoints))
        if _is_person(observation):
            observed[track] = observation
    # If a track has slipped onto another person's body, the track that moved farther is dropped.
    for track in sorted(observed, key=lambda track: -_distance(people[track], observed[track])):
        others = [other for other_track, other in observed.items() if other_track != track]
        if any(_distance(observed[track], other) < _DUPLICATE_DISTANCE for other in others):
            del observed[track]
    return observed, len(observed) < len(people)


def _is_person(observation: Observation) -> bool:
    return observation.score > PERSON_SCORE and is_confident(observation.keypoints).sum() >= MIN_KEYPOINTS


def _distance(first: Observation, second: Observation) -> float:
    """Mean distance between the keypoints of two observations, over the longer side of the second's box."""
    size = np.ptp(second.keypoints[:, :2], axis=0).max()
    return float(np.linalg.norm(first.keypoints[:, :2] - second.keypoints[:, :2], axis=1).mean() / max(size, 1.0))


def _boxes(observations: Iterable[Observation]) -> np.ndarray:
    """Tight boxes (n, 4) x1, y1, x2, y2 around the confident keypoints."""
    points = [each.keypoints[is_confident(each.keypoints), :2] for each in observations]
    return np.array([[*p.min(0), *p.max(0)] for p in points]).reshape(-1, 4)
