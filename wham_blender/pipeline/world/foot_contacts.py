"""Which foot points stand: WHAM's own contacts, weighed against how the feet move in the world that was found."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d, uniform_filter1d

from ..pose.wham_inference import FPS

_SMOOTHING = 1.0  # frames, standard deviation
_REST = 5  # frames over which the speed is taken: who turns round in the air does not stand there
_SURE = 0.05  # a network's contact is never believed more than to this distance from 0 and 1
_LEAST = 0.02  # metres of height: below, errors are larger than what is measured
_SWING = 2.5  # times the body's speed: a foot of one who walks rests for 60 % of the time, so that fast it swings


def contact_probability(
    contacts: np.ndarray,
    feet: np.ndarray,
    pelvis: np.ndarray | None = None,
    hidden: np.ndarray | None = None,
    *,
    weights: np.ndarray,
) -> np.ndarray:
    """Probabilities (F, 4) that foot points are planted.

    The first four arguments as `evidence` takes them; weights (4,): of the logistic regression over that evidence, see
    Calibration. A foot that moves is not planted, whatever the network says; one that rests low probably is. Where a
    foot is hidden, its position is a guess: it counts as planted while the body rests, and as unknown while it travels.
    """
    if len(contacts) < 2:
        return np.clip(contacts, 0, 1)
    return 1 / (1 + np.exp(-evidence(contacts, feet, pelvis, hidden) @ weights))


def evidence(
    contacts: np.ndarray, feet: np.ndarray, pelvis: np.ndarray | None = None, hidden: np.ndarray | None = None
) -> np.ndarray:
    """Evidence (F, 4, 4) for each foot point being planted: logit of WHAM's contact, speed, log height, and one.

    contacts (F, 4): WHAM's, 0..1; feet (F, 4, 3) and pelvis (F, 3): metres, in a world whose z is up, of two frames or
    more; hidden (F, 4) bool: foot points that the picture does not show, None: none.
    """
    said = np.clip(contacts, _SURE, 1 - _SURE)
    speed = _speed(feet)
    if pelvis is not None and hidden is not None:
        speed = np.where(hidden, np.maximum(speed, _SWING * _speed(pelvis)[:, None]), speed)
    above = feet[..., 2] - feet[..., 2].min(1, keepdims=True)
    told = np.stack([np.log(said / (1 - said)), speed, np.log(above + _LEAST), np.ones_like(speed)], -1)
    return gaussian_filter1d(told, _SMOOTHING, axis=0, mode="nearest")


def borne(feet: np.ndarray) -> np.ndarray:
    """Foot points (F, 4, 3) as they move against each frame's lowest, which bears the body unless it flies."""
    lowest = (feet[1:, :, 2] + feet[:-1, :, 2]).argmin(1)
    steps = np.diff(feet, axis=0)[np.arange(len(lowest)), lowest]
    return feet - np.insert(steps.cumsum(0), 0, 0, axis=0)[:, None]


def _speed(points: np.ndarray) -> np.ndarray:
    """Metres a second (F, ...) of points (F, ..., 3)."""
    velocity = np.gradient(gaussian_filter1d(points, _SMOOTHING, axis=0, mode="nearest"), axis=0) * FPS
    mean = uniform_filter1d((velocity**2).sum(-1), _REST, axis=0, mode="nearest")
    return np.sqrt(np.maximum(mean, 0))  # a running mean of zeros may end below zero
