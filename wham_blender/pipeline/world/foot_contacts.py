"""Probabilities that foot points are planted: a regression on WHAM's contacts and the feet's motion in the world."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d, uniform_filter1d

from ..pose.wham_inference import FPS

_SMOOTHING = 1.0  # frames, standard deviation; set by hand
# Frames over which the speed is averaged, set by hand: the foot of a jumping person who rotates in the air is slow in
# single frames and must not count as planted there.
_SPEED_WINDOW = 5
_PROBABILITY_MARGIN = 0.05  # WHAM's contacts are clipped to this distance from 0 and 1; set by hand
_MIN_HEIGHT = 0.02  # metres, added to a height before its logarithm: smaller heights are noise; set by hand
# Speed of a hidden foot over the speed of the pelvis. A walking foot is planted for 60 % of the cycle, so in the other
# 40 % it moves 2.5 times as fast as the body.
_SWING_SPEED = 2.5


def contact_probability(
    contacts: np.ndarray,
    feet: np.ndarray,
    pelvis: np.ndarray | None = None,
    hidden: np.ndarray | None = None,
    *,
    weights: np.ndarray,
) -> np.ndarray:
    """Probabilities (F, 4) that foot points are planted.

    The first four arguments are those of `contact_evidence`; weights (4,): of the logistic regression, see Calibration.
    The position of an occluded foot is hallucinated: it counts as planted while the body rests, and as not planted
    while the body moves.
    """
    if len(contacts) < 2:
        return np.clip(contacts, 0, 1)
    return 1 / (1 + np.exp(-contact_evidence(contacts, feet, pelvis, hidden) @ weights))


def contact_evidence(
    contacts: np.ndarray, feet: np.ndarray, pelvis: np.ndarray | None = None, hidden: np.ndarray | None = None
) -> np.ndarray:
    """Features (F, 4, 4) of each foot point for the regression: logit of WHAM's contact, speed, log height, and one.

    contacts (F, 4): WHAM's, 0..1; feet (F, 4, 3) and pelvis (F, 3): metres, in a world with z up, at least two frames;
    hidden (F, 4) bool: foot points that are not visible in the picture, None: all are visible. Speeds are metres a
    second, heights are metres over the frame's lowest foot point.
    """
    probability = np.clip(contacts, _PROBABILITY_MARGIN, 1 - _PROBABILITY_MARGIN)
    speed = _speed(feet)
    if pelvis is not None and hidden is not None:
        speed = np.where(hidden, np.maximum(speed, _SWING_SPEED * _speed(pelvis)[:, None]), speed)
    height = feet[..., 2] - feet[..., 2].min(1, keepdims=True)
    features = [np.log(probability / (1 - probability)), speed, np.log(height + _MIN_HEIGHT), np.ones_like(speed)]
    return gaussian_filter1d(np.stack(features, -1), _SMOOTHING, axis=0, mode="nearest")


def relative_to_support_foot(feet: np.ndarray) -> np.ndarray:
    """Foot points (F, 4, 3) moved so that the lowest one of each frame, the support foot, rests."""
    lowest = (feet[1:, :, 2] + feet[:-1, :, 2]).argmin(1)
    steps = np.diff(feet, axis=0)[np.arange(len(lowest)), lowest]
    return feet - np.insert(steps.cumsum(0), 0, 0, axis=0)[:, None]


def _speed(points: np.ndarray) -> np.ndarray:
    """Metres a second (F, ...) of points (F, ..., 3)."""
    velocity = np.gradient(gaussian_filter1d(points, _SMOOTHING, axis=0, mode="nearest"), axis=0) * FPS
    mean = uniform_filter1d((velocity**2).sum(-1), _SPEED_WINDOW, axis=0, mode="nearest")
    return np.sqrt(np.maximum(mean, 0))  # a running mean of zeros may end slightly below zero
