"""Which foot points stand: WHAM's own contacts, weighed against how the feet move in the world that was found."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d, uniform_filter1d

from .lift import FPS

_SMOOTHING = 1.0  # frames, standard deviation
_REST = 5  # frames over which the speed is taken: who turns round in the air does not stand there
_SURE = 0.05  # a network's contact is never believed more than to this distance from 0 and 1
# Logistic regression on simulated films of training motion (tools/training/contacts.py): weights of the logit of the
# contact, of the speed (metres a second), of the logarithm of the height over the lowest foot point (metres), and bias.
# Fitted with an earlier WHAM than the one that ships; a fit to this one judges its films no better.
WEIGHTS = np.array([0.77, -2.43, -0.77, -0.78])
_LEAST = 0.02  # metres of height: below, errors are larger than what is measured
_SWING = 2.5  # times the body's speed: a foot of one who walks rests for 60 % of the time, so that fast it swings


def judged(
    contacts: np.ndarray, feet: np.ndarray, pelvis: np.ndarray | None = None, hidden: np.ndarray | None = None
) -> np.ndarray:
    """Probabilities (F, 4) that foot points stand; arguments as `evidence` takes them.

    A foot that moves does not stand, whatever the network says; one that rests, low, rather does. Where a hidden one
    is, is a guess: it stands if the body stays, and nobody knows when it steps if the body goes.
    """
    if len(contacts) < 2:
        return np.clip(contacts, 0, 1)
    return 1 / (1 + np.exp(-evidence(contacts, feet, pelvis, hidden) @ WEIGHTS))


def evidence(
    contacts: np.ndarray, feet: np.ndarray, pelvis: np.ndarray | None = None, hidden: np.ndarray | None = None
) -> np.ndarray:
    """What speaks for each foot point's standing and against it (F, 4, 4), in the order of the weights.

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
