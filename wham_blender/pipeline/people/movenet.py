"""Finds people in a frame with MoveNet MultiPose (Google, Apache-2.0): boxes and rough COCO keypoints."""

from __future__ import annotations

import cv2
import numpy as np

from ...weights import WeightFile
from .litert import LiteRTNetwork

LONG_SIDE = 512  # pixels of the network's input; 384 loses small people, 640 takes three times as long
_STEP = 32  # the network takes multiples of this


class Detector:
    """MoveNet MultiPose: at most six people a frame."""

    def __init__(self, file: WeightFile) -> None:
        self._network = LiteRTNetwork(file)

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """People in one frame, (H, W, 3) uint8 RGB.

        Returns boxes (6, 4) x1, y1, x2, y2 in pixels, scores (6,) 0..1, and keypoints (6, 17, 3): x, y in pixels,
        confidence. Rows of a low score are noise.
        """
        height, width = image.shape[:2]
        scale = LONG_SIDE / max(height, width)
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        rows, columns = (-(-side // _STEP) * _STEP for side in small.shape[:2])
        padded = np.zeros((1, rows, columns, 3), np.uint8)
        padded[0, : small.shape[0], : small.shape[1]] = small
        found = self._network(padded)[0][0]
        # Each row: 17 x (y, x, confidence), then the box as y1, x1, y2, x2, then its score; all in shares of the input.
        points = found[:, :51].reshape(-1, 17, 3)
        pixels = np.array([columns / scale, rows / scale], np.float32)
        keypoints = np.concatenate([points[..., 1::-1] * pixels, points[..., 2:]], -1)
        boxes = found[:, [52, 51, 54, 53]] * np.tile(pixels, 2)
        return boxes, found[:, 55], keypoints
