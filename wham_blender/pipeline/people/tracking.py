"""The rows of tracked people, and what detects and tracks people."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

TRACK_IDS_PER_SHOT = 1 << 32  # so that track ids are unique over all shots


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
