"""Which foot points stand: WHAM's own contacts, weighed against how the feet move in the world that was found."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d, uniform_filter1d

from .lift import FPS

_SMOOTHING = 1.0  # frames, standard deviation
_REST = 5  # frames over which the speed is taken: who turns round in the air does not stand there
_SURE = 0.05  # a network's contact is never believed more than to this distance from 0 and 1
# Logistic regression on simulated films of held-out motion capture: weights of the logit of the contact, of the speed
# (metres a second), of the logarithm of the height over the lowest foot point (metres), and bias.
_WEIGHTS = np.array([0.81, -3.33, -0.54, 0.5])
_LEAST = 0.02  # metres of height: below, errors are larger than what is measured


def judged(contacts: np.ndarray, feet: np.ndarray) -> np.ndarray:
    """Probabilities (F, 4) that foot points stand.

    contacts (F, 4): WHAM's, 0..1; feet (F, 4, 3): metres, in a world whose z is up.
    A foot that moves does not stand, whatever the network says; one that rests, low, rather does.
    """
    if len(contacts) < 2:
        return np.clip(contacts, 0, 1)
    said = np.clip(contacts, _SURE, 1 - _SURE)
    velocity = np.gradient(gaussian_filter1d(feet, _SMOOTHING, axis=0, mode="nearest"), axis=0) * FPS
    speed = np.sqrt(uniform_filter1d((velocity**2).sum(-1), _REST, axis=0, mode="nearest"))
    above = feet[..., 2] - feet[..., 2].min(1, keepdims=True)
    told = np.stack([np.log(said / (1 - said)), speed, np.log(above + _LEAST), np.ones_like(speed)], -1) @ _WEIGHTS
    return 1 / (1 + np.exp(-gaussian_filter1d(told, _SMOOTHING, axis=0, mode="nearest")))
