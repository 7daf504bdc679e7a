"""How far reduced keyframes of IK controls rotate thighs and shins. NumPy only.

The error of an IK target says little about it: where a leg is almost straight, a millimetre bends the knee by degrees.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from ... import quaternions
from .controls import Keys
from .maps import LimbIK

_SHORTEST = 1e-9  # of a vector that is normalized


@dataclass(frozen=True)
class Leg:
    """A leg on IK, in armature space."""

    ik: LimbIK
    hip: str  # the thigh's bone
    thigh: float  # length
    shin: float
    target_to_ankle: np.ndarray  # (3,) at rest


def largest(legs: Collection[Leg], full: Keys, reduced: Keys) -> np.ndarray:
    """The largest angles (F,) in radians between thighs and shins as both keys pose them, and between knee planes."""
    errors = [
        _angles(one, other)
        for leg in legs
        for one, other in zip(_directions(leg, full), _directions(leg, reduced), strict=True)
    ]
    return np.max(errors, axis=0) if errors else np.zeros(len(next(iter(full.heads.values()))))


def worst_rows(errors: np.ndarray, limit: float, exact: np.ndarray) -> np.ndarray:
    """Between neighbouring exact rows (F,) bool, the row (F,) bool with the largest of the errors above the limit."""
    worst = np.zeros_like(exact)
    for part in np.split(np.arange(len(errors)), np.flatnonzero(exact)):
        row = part[np.argmax(errors[part])] if len(part) else 0
        worst[row] |= len(part) > 0 and errors[row] > limit
    return worst


def _directions(leg: Leg, keys: Keys) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Directions (F, 3) of thigh, shin and the normal of the knee's plane, by the law of cosines."""
    hip, target, pole = (keys.heads[name] for name in (leg.hip, leg.ik.target, leg.ik.pole))
    ankle = target + quaternions.rotate(keys.world_rotations[leg.ik.target], leg.target_to_ankle)
    length = np.linalg.norm(ankle - hip, axis=1, keepdims=True)
    along = (ankle - hip) / np.maximum(length, _SHORTEST)
    length = np.clip(length, abs(leg.thigh - leg.shin) + _SHORTEST, leg.thigh + leg.shin)
    ahead = pole - hip
    ahead = ahead - np.sum(ahead * along, 1, keepdims=True) * along
    ahead = ahead / np.maximum(np.linalg.norm(ahead, axis=1, keepdims=True), _SHORTEST)
    reach = (leg.thigh**2 - leg.shin**2 + length**2) / (2 * length)
    bend = np.sqrt(np.maximum(leg.thigh**2 - reach**2, 0.0))
    thigh = reach * along + bend * ahead
    return thigh / leg.thigh, (length * along - thigh) / leg.shin, np.cross(along, ahead)


def _angles(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Angles (F,) between directions (F, 3) of length one; by the chord, which is exact for small angles."""
    return 2 * np.arcsin(np.clip(np.linalg.norm(one - other, axis=1) / 2, 0, 1))
