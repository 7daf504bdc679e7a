"""Detects people in a frame with MoveNet MultiPose (Google, Apache-2.0): boxes and rough COCO keypoints."""

from __future__ import annotations

import cv2
import numpy as np

from ...weights import WeightFile
from .litert import LiteRTNetwork

LONG_SIDE = 512  # pixels of the network's input; measured: 384 misses small people, 640 takes three times as long
NEW_TRACK_SCORE = 0.25  # the score of a person (MoveNet's documentation: 0.2 to 0.3)
_MULTIPLE = 32  # pixels; the sides of the input must be multiples of it


class MoveNet:
    """MoveNet MultiPose: at most six people a frame."""

    def __init__(self, file: WeightFile) -> None:
        self._network = LiteRTNetwork(file)

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """People in one frame, (H, W, 3) uint8 RGB.

        Returns boxes (6, 4) x1, y1, x2, y2 in pixels, scores (6,) 0..1, and keypoints (6, 17, 3): x, y in pixels,
        confidence. Rows with a low score are not people.
        """
        height, width = image.shape[:2]
        scale = LONG_SIDE / max(height, width)
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        rows, columns = (-(-side // _MULTIPLE) * _MULTIPLE for side in small.shape[:2])
        padded = np.zeros((1, rows, columns, 3), np.uint8)
        padded[0, : small.shape[0], : small.shape[1]] = small
        output = self._network(padded)[0][0]
        # Each row: 17 x (y, x, confidence), box y1, x1, y2, x2, score; coordinates are fractions of the input's sides.
        points = output[:, :51].reshape(-1, 17, 3)
        pixels = np.array([columns / scale, rows / scale], np.float32)
        keypoints = np.concatenate([points[..., 1::-1] * pixels, points[..., 2:]], -1)
        boxes = output[:, [52, 51, 54, 53]] * np.tile(pixels, 2)
        return boxes, output[:, 55], keypoints
