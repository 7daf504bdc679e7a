"""Two bones of a leg brought to a place, in closed form over all frames at once. NumPy only."""

from __future__ import annotations

import numpy as np

from . import quaternions

_REACH = 0.9995  # of the leg's length: a knee is never quite locked
_SHORTEST = 0.05  # of the leg's length: nor folded flat


def reach(upper: np.ndarray, lower: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Distances (F,) from hip to ankle that bones of these lengths can have, as near to the wanted ones as can be."""
    return np.clip(distance, np.abs(upper - lower) + _SHORTEST * (upper + lower), _REACH * (upper + lower))


def solve(
    thigh: np.ndarray, shin: np.ndarray, target: np.ndarray, hinge: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The turns (F, 4) of thigh and shin, and where the knee points (F, 3), that bring the ankle to a target (F, 3).

    All vectors are as the leg is now: ``thigh`` to the knee, ``shin`` on to the ankle, ``target`` from the hip.
    ``hinge`` is the axis about which the knee bends, to the body's left where the leg stands. The knee keeps the side
    that it points to as the leg swings; what it bends further goes to the front, and it never goes to the back. Where
    the target is too far or too near, the ankle is on the way to it.
    """
    upper, lower = np.linalg.norm(thigh, axis=-1, keepdims=True), np.linalg.norm(shin, axis=-1, keepdims=True)
    now, wanted = thigh + shin, reach(upper, lower, np.linalg.norm(target, axis=-1, keepdims=True))
    swing = quaternions.between(now, target)
    along = quaternions.normalized(target)
    front = quaternions.normalized(np.cross(along, quaternions.rotate(swing, hinge)))
    knee = quaternions.rotate(swing, thigh)
    aside = knee - np.sum(knee * along, -1, keepdims=True) * along
    forward = np.sum(aside * front, -1, keepdims=True)
    aside = aside - np.minimum(2 * forward, 0) * front  # a knee that bends to the back bends to the front as much
    before = np.linalg.norm(aside, axis=-1, keepdims=True)
    share = (upper**2 - lower**2 + wanted**2) / (2 * wanted)
    height = np.sqrt(np.maximum(upper**2 - share**2, 0))
    pointing = quaternions.normalized(aside + (np.maximum(height - before, 0) + 1e-6 * upper) * front)
    bent = share * along + height * pointing
    first = quaternions.multiply(quaternions.between(knee, bent), swing)
    second = quaternions.between(quaternions.rotate(swing, shin), wanted * along - bent)
    return first, quaternions.multiply(second, swing), pointing
