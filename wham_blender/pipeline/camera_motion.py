"""How the camera turned during a clip, and whether it moved at all."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

_LONG_SIDE = 320  # pixels of the pictures compared
# Share of the picture's longer side a second: a camera on a tripod shows 0.0004 at most, a slow pan 0.02.
_PLAIN = 0.015


@dataclass(frozen=True)
class CameraMotion:
    """The camera over F frames."""

    rotations: np.ndarray  # (F, 3, 3) float64, world to camera; the first is the identity
    static: bool


def estimate(camera: str, frames: int) -> CameraMotion:
    """The camera's turns in F frames for the setting ``static`` or ``auto``; for now auto takes it for static too."""
    if camera not in ("static", "auto"):
        raise ValueError(f"no camera setting: {camera}")
    return CameraMotion(np.tile(np.eye(3), (frames, 1, 1)), True)


class Drift:
    """Measures how far the background moves between pictures of one camera."""

    def __init__(self, image: np.ndarray, boxes: np.ndarray) -> None:
        """Keep a picture, (H, W, 3) uint8 RGB, and its points outside the people's boxes (n, 4) x1, y1, x2, y2."""
        self._gray = _small(image)
        scale = self._gray.shape[1] / image.shape[1]
        background = np.full(self._gray.shape, 255, np.uint8)
        for x1, y1, x2, y2 in np.maximum(boxes * scale, 0).astype(int):
            background[y1 : y2 + 1, x1 : x2 + 1] = 0
        self._points: np.ndarray | None = cv2.goodFeaturesToTrack(self._gray, 100, 0.01, 5, mask=background)

    def until(self, image: np.ndarray) -> float:
        """Median way of the background's points to a later picture, in shares of its longer side; 0 without points."""
        if self._points is None:
            return 0.0
        there = np.empty_like(self._points)
        points, found, _ = cv2.calcOpticalFlowPyrLK(self._gray, _small(image), self._points, there, maxLevel=4)
        way = np.linalg.norm(points - self._points, axis=-1)[found > 0]
        return float(np.median(way)) / _LONG_SIDE if len(way) else 0.0


def moves(drift: np.ndarray) -> bool:
    """Whether the camera plainly moves for a fifth of the clip or more, by the Drift (S,) of each of its seconds."""
    return bool(len(drift) and np.quantile(drift, 0.8) > _PLAIN)


def _small(image: np.ndarray) -> np.ndarray:
    scale = _LONG_SIDE / max(image.shape[:2])
    return cv2.cvtColor(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
