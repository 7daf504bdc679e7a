"""Which foot points stand: WHAM's own contacts, weighed against how the feet move in the world that was found."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d

from .lift import FPS

_SMOOTHING = 1.0  # frames, standard deviation
_SURE = 0.05  # a network's contact is never believed more than to this distance from 0 and 1
# Logistic regression on simulated films of held-out motion capture: weights of the logit of WHAM's contact and of the
# logarithms of speed (metres a second), height over the floor and height over the lowest foot point (metres), and bias.
_WEIGHTS = np.array([0.74, -1.65, -0.1, -0.35, -2.4])
_LEAST = np.array([0.05, 0.03, 0.02])  # of speed and heights: below, errors are larger than what is measured


def judged(contacts: np.ndarray, feet: np.ndarray, floor: np.ndarray) -> np.ndarray:
    """Probabilities (F, 4) that foot points stand.

    contacts (F, 4): WHAM's, 0..1; feet (F, 4, 3): metres, in a world whose floor has the height and slopes (3,).
    A foot that moves does not stand, whatever the network says; one that rests, low, rather does.
    """
    if len(contacts) < 2:
        return np.clip(contacts, 0, 1)
    said = np.clip(contacts, _SURE, 1 - _SURE)
    smooth = gaussian_filter1d(feet, _SMOOTHING, axis=0, mode="nearest")
    speed = np.linalg.norm(np.gradient(smooth, axis=0), axis=-1) * FPS
    heights = feet[..., 2] - feet[..., :2] @ floor[1:] - floor[0]
    above = np.abs(heights), heights - heights.min(1, keepdims=True)
    measured = np.log(np.stack([speed, *above], -1) + _LEAST)
    told = np.concatenate([np.log(said / (1 - said))[..., None], measured, np.ones((*said.shape, 1))], -1) @ _WEIGHTS
    return 1 / (1 + np.exp(-gaussian_filter1d(told, _SMOOTHING, axis=0, mode="nearest")))
