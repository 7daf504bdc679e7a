"""The One-Euro filter with which WHAM's tracker smooths ViTPose's keypoints.

Casiez et al., *1 Euro Filter*, CHI 2012. The constants and the treatment of missing points are those of mmpose's
tracker, which WHAM's reference implementation uses.
"""

from __future__ import annotations

import numpy as np

_MIN_CUTOFF = 1.7  # mmpose's constants: cutoff frequency of a point at rest, in hertz
_BETA = 0.3  # and by how much the cutoff grows with the speed, pixels a frame
MISSING = -10.0  # the coordinate that stands for a missing one


class OneEuroFilter:
    """Smooths the keypoints of one track, frame by frame; fast movements are smoothed less."""

    def __init__(self, frame_rate: float) -> None:
        """frame_rate: of the frames that the filter is given, hertz."""
        self._frame_rate = frame_rate
        self._previous: np.ndarray | None = None  # (K, 2) output of the frame before, pixels
        self._velocity = np.zeros(0)  # (K, 2) smoothed, pixels a frame

    def __call__(self, keypoints: np.ndarray) -> np.ndarray:
        """The next frame's keypoints (K, 3), smoothed: x, y in pixels, confidence, which stays as it is.

        A track's first frame is returned unchanged. A coordinate of zero or less counts as missing: it is returned as
        MISSING, and the next frame is compared with that.
        """
        points = keypoints[:, :2].astype(np.float64)
        if self._previous is None:
            self._previous, self._velocity = points, np.zeros_like(points)
            return keypoints
        weight = self._weight(np.array(self._frame_rate))
        self._velocity = weight * (points - self._previous) + (1 - weight) * self._velocity
        weight = self._weight(_MIN_CUTOFF + _BETA * np.abs(self._velocity))
        smooth = weight * points + (1 - weight) * self._previous
        smooth[points <= 0] = MISSING
        self._previous = smooth
        return np.concatenate([smooth, keypoints[:, 2:]], 1).astype(keypoints.dtype)

    def _weight(self, cutoff: np.ndarray) -> np.ndarray:
        """Weight of the newest value in an exponential mean with a cutoff frequency in hertz."""
        rate = 2 * np.pi * cutoff / self._frame_rate
        return rate / (rate + 1)
