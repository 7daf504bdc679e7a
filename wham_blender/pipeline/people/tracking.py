"""The rows of tracked people, and a tracker that runs a detector in every frame, with ByteTrack's track ids."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Protocol

import numpy as np

from ...skeleton import COCO_NAMES
from ..clip import video_reader

TRACK_IDS_PER_SHOT = 1 << 32  # so that track ids are unique over all shots
_LOW_SCORE = 0.1  # the score that continues a track, ByteTrack's track_low_thresh

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
    appearance: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))  # as in Detections
    hands: np.ndarray = field(default_factory=lambda: np.zeros((0, 21, 5), np.float32))  # (2, 21, 5) as there, or none
    hand_scores: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))  # (2,), or none


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

    def __init__(self, new_track_score: float) -> None:
        # Imported here: it takes seconds, and only who has no landmark net needs it.
        from ultralytics.engine.results import Boxes
        from ultralytics.trackers.byte_tracker import BYTETracker

        self._boxes = Boxes
        self._tracker = BYTETracker(
            SimpleNamespace(
                track_high_thresh=new_track_score, track_low_thresh=_LOW_SCORE, new_track_thresh=new_track_score,
                track_buffer=int(video_reader.NETWORK_FPS), match_thresh=0.8, fuse_score=True,
            )
        )  # fmt: skip

    def update(self, boxes: np.ndarray, scores: np.ndarray, size: tuple[int, int]) -> dict[int, int]:
        """Track id of each box that belongs to a track: {index: id}. Boxes (n, 4) x1, y1, x2, y2; size (H, W)."""
        rows = np.column_stack([boxes, scores, np.zeros(len(boxes))]).astype(np.float32)
        return {int(row[-1]): int(row[4]) for row in self._tracker.update(self._boxes(rows, size))}


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
