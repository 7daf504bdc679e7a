"""The floor's slope from where feet stand: an error of gravity raises the far end of a path."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...motion import true_intervals
from .gravity import UpEvidence

# Set by hand.
_HEIGHT_STD = 0.05  # metres, of a step: a leg's pose errs alike in all frames of it
_OFF_FLOOR = 0.12  # metres from the floor from which on a step is on something else
# A floor that is so steep, and so many standard deviations off the level, is no error of gravity: the person climbs.
# Shallow stairs in long steps are 0.22 steep; gravity is off by up to 0.2 under runners, of whom it is less certain.
_MAX_SLOPE, _MOST_DEVIATIONS = 0.2, 3.5
_WEAK = 0.05  # of the level's information, if the steps alone shall tell the slope along their way
_REWEIGHTINGS = 10
_FEET = (slice(0, 2), slice(2, 4))  # toe and heel of the left and of the right foot


def steps(feet: np.ndarray, planted: np.ndarray) -> np.ndarray:
    """Where a person steps (n, 3): of each time a foot is planted, the median of its lowest planted point.

    feet (F, 4, 3): metres, z up; planted (F, 4) bool.
    """
    found = []
    for foot in _FEET:
        points, down = feet[:, foot], planted[:, foot]
        heights = np.where(down, points[..., 2], np.inf)
        lowest = points[np.arange(len(points)), heights.argmin(1)]
        found += [np.median(lowest[begin:end], 0) for begin, end in true_intervals(np.any(down, 1))]
    return np.array(found).reshape(-1, 3)


@dataclass(frozen=True)
class Level:
    """What is known of the floor's slopes in x and y without steps."""

    slope: np.ndarray  # (2,)
    information: np.ndarray  # (2, 2) inverse of the covariance


def slope_of_steps(points: np.ndarray, level: Level) -> Level | None:
    """What steps (n, 3) alone tell of the floor's slopes; None if the people climb, so that they tell nothing.

    Steps on something else than the floor are outliers: whether the floor is as ``level`` has it and these are on
    something, or the floor is tilted and they are on it, is decided by what is more probable.
    """
    if len(points) < 2:
        return Level(np.zeros(2), np.zeros((2, 2)))
    rest = points[:, 2] - points[:, :2] @ level.slope
    starts = np.ones(len(points)), _weights(rest - np.median(rest))
    change = _slope(points, level, starts[0])[0] - level.slope
    alone = _slope(points, Level(level.slope, level.information * _WEAK), starts[0])[0] - level.slope
    if np.hypot(*alone) > _MAX_SLOPE and change @ level.information @ change > _MOST_DEVIATIONS**2:
        return None
    weights = min((_robust_weights(points, level, start) for start in starts), key=lambda way: way[1])[0]
    across = points - weights @ points / weights.sum()
    scaled = across[:, :2] * (weights / _HEIGHT_STD**2)[:, None]
    information = scaled.T @ across[:, :2]
    return Level(np.linalg.lstsq(information, scaled.T @ across[:, 2], rcond=1e-9)[0], information)


def _slope(points: np.ndarray, level: Level, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slopes (2,) by least squares, and how far the points (n, 3) of the weights (n,) given are off that floor (n,)."""
    across = points - weights @ points / weights.sum()
    scaled = across[:, :2] * (weights / _HEIGHT_STD**2)[:, None]
    right = scaled.T @ across[:, 2] + level.information @ level.slope
    slope = np.linalg.solve(scaled.T @ across[:, :2] + level.information, right)
    return slope, across[:, 2] - across[:, :2] @ slope


def _robust_weights(points: np.ndarray, level: Level, weights: np.ndarray) -> tuple[np.ndarray, float]:
    """Weights (n,) of the points (n, 3) at the minimum that is found from the weights given, and its cost."""
    for _ in range(_REWEIGHTINGS):
        slope, off = _slope(points, level, weights)
        weights = _weights(off)
    square, change = off**2, slope - level.slope
    cost = (square / (1 + square / _OFF_FLOOR**2)).sum() / _HEIGHT_STD**2 + change @ level.information @ change
    return weights, float(cost)


def _weights(off: np.ndarray) -> np.ndarray:
    return 1 / (1 + (off / _OFF_FLOOR) ** 2) ** 2


def level_of(up: np.ndarray, information: np.ndarray, axes: np.ndarray) -> Level:
    """Up (3,) and its information (3, 3) as slopes in the world whose axes are the rows of axes (3, 3)."""
    normal = axes @ up
    return Level(-normal[:2] / normal[2], axes[:2] @ information @ axes[:2].T)


def evidence_of_steps(level: Level, axes: np.ndarray) -> UpEvidence:
    """What slopes in the world whose axes are the rows of axes (3, 3) tell of up."""
    return UpEvidence(axes.T @ [*-level.slope, 1.0], axes[:2].T @ level.information @ axes[:2])
