"""A tracker that runs a detector in every frame, with ByteTrack's track ids. Needs the packages of Full quality."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
from ultralytics.engine.results import Boxes
from ultralytics.trackers.byte_tracker import BYTETracker

from ...skeleton import COCO_NAMES
from ..clip import video_reader
from .tracking import TRACK_IDS_PER_SHOT, DetectionRow, Detector

_LOW_SCORE = 0.1  # the score that continues a track, ByteTrack's track_low_thresh

_NO_KEYPOINTS, _NO_LANDMARKS = np.zeros((len(COCO_NAMES), 3), np.float32), np.zeros((0, 3), np.float32)


class ByteTracker:
    """Ultralytics' ByteTrack on boxes alone; ``new_track_score``: the score that begins a track."""

    def __init__(self, new_track_score: float) -> None:
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
