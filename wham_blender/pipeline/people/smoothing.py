"""Removes the jitter of a track's keypoints and keeps fast movement: smooths as much as noise asks for."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal import savgol_filter

# Frames and degree of the Savitzky-Golay filter that removes the landmark net's jitter: on the balance clips it halves
# the error of the second differences (7.2 to 3.7 and 5.5 to 2.2 pixels).
_FILTER = (7, 2)
# What the filter takes away is noise or fast movement. It is jitter as far as its size is what a still point shows: at
# most _NOISE of the person's box (the landmark net's points of the first balance clip: its median of all points).
_NOISE = 0.0017
_CERTAIN = 2.0  # times the noise's power that must be exceeded before anything is kept; set by hand
_SPAN = 2.0  # frames, standard deviation, over which the power is averaged; set by hand


def without_jitter(points: np.ndarray, box_sides: np.ndarray) -> np.ndarray:
    """A track's points (F, K, 2) without jitter, pixels; box_sides (F,): sides of the person's boxes, pixels.

    A filter with a fixed window would take a fifth of a movement of four hertz. So the part of the difference that is
    larger than noise is put back (Wiener's filter, with the power of each point near each frame).
    """
    if len(points) < _FILTER[0]:
        return points
    smooth = savgol_filter(points, *_FILTER, axis=0)
    detail = points - smooth
    power = gaussian_filter1d((detail**2).sum(-1, keepdims=True), _SPAN, axis=0, mode="nearest")
    noise = _CERTAIN * (_NOISE * box_sides[:, None, None]) ** 2
    return smooth + np.clip(1 - noise / np.maximum(power, 1e-12), 0, 1) * detail
