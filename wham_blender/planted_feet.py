"""What all parts that keep planted feet in place share: legs, contacts, easing of corrections and two-bone IK.

The worker locks the feet of estimated poses (``pipeline/world/foot_locking.py``), the add-on those of a motion that it
smooths (``animation.py``) or retargets (``addon/retarget/foot_locking.py``). NumPy only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from . import quaternions
from .motion import true_intervals
from .skeleton import JOINT_NAMES, PARENTS

# Metres by which the knee of a straight leg is taken to point to the thigh's front, see IN_PLANE; set by hand.
_STRAIGHT_KNEE_FRONT = 0.02


@dataclass(frozen=True)
class LegJoints:
    """A leg's joints, by their places in JOINT_NAMES, and the columns of its toe and heel in FOOT_POINTS."""

    hip: int
    knee: int
    ankle: int
    points: slice


def _leg_joints(side: str, first_point: int) -> LegJoints:
    hip, knee, ankle = (JOINT_NAMES.index(f"{side}_{joint}") for joint in ("hip", "knee", "ankle"))
    return LegJoints(hip, knee, ankle, slice(first_point, first_point + 2))


LEGS = (_leg_joints("left", 0), _leg_joints("right", 2))


# --- Contacts ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Contact:
    """An interval of rows in which one foot point is planted."""

    point: int  # 0 toe, 1 heel
    start: int
    stop: int

    @property
    def rows(self) -> slice:
        """Its rows."""
        return slice(self.start, self.stop)


def contacts_of(planted: np.ndarray) -> list[Contact]:
    """The contacts of one foot, planted (F, 2) at toe and heel; the toe's first."""
    return [Contact(point, start, stop) for point in (0, 1) for start, stop in true_intervals(planted[:, point])]


def simultaneous(contacts: Sequence[Contact]) -> list[tuple[Contact, Contact, slice]]:
    """Pairs of a toe's and a heel's contact that overlap, and the rows that both have."""
    toes, heels = ([contact for contact in contacts if contact.point == point] for point in (0, 1))
    pairs = [(toe, heel, slice(max(toe.start, heel.start), min(toe.stop, heel.stop))) for toe in toes for heel in heels]
    return [(toe, heel, rows) for toe, heel, rows in pairs if rows.start < rows.stop]


def nearest_rows(flags: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each row, the nearest true one (F,) at or before it and at or after it.

    Rows before the first or after the last true one get that one in both. At least one flag (F,) must be true.
    """
    rows, true_rows = np.arange(len(flags)), np.flatnonzero(flags)
    before = true_rows[np.maximum(np.searchsorted(true_rows, rows, side="right") - 1, 0)]
    after = true_rows[np.minimum(np.searchsorted(true_rows, rows), len(true_rows) - 1)]
    return before, after


def mean_of_planted(values: np.ndarray, planted: np.ndarray) -> np.ndarray:
    """The mean (F, 3) of the values (F, n, 3) of those points that are planted (F, n); zero where none is."""
    return np.sum(values * planted[..., None], 1) / np.maximum(planted.sum(1), 1)[:, None]


# --- Easing -----------------------------------------------------------------------------------------------------------


def smoothstep(fraction: np.ndarray) -> np.ndarray:
    """From 0 to 1 without a corner at either end, for fractions (...) between 0 and 1."""
    return fraction * fraction * (3 - 2 * fraction)


def eased(corrections: np.ndarray, known: np.ndarray, ease: float, elsewhere: np.ndarray | float = 0.0) -> np.ndarray:
    """Corrections (F, n) of the known rows (F,), faded within ``ease`` rows around them to the value elsewhere.

    Where known rows are nearer to each other, the correction fades from one to the next.
    """
    if not known.any():
        return np.broadcast_to(elsewhere, corrections.shape).astype(float)
    rows, (before, after) = np.arange(len(known)), nearest_rows(known)
    between = (before <= rows) & (after >= rows)
    fade = np.maximum(np.where(between, np.minimum(ease, after - before), ease), 1.0)
    weights = [
        np.where(distance >= 0, smoothstep(np.clip(1 - distance / fade, 0, 1)), 0)[:, None]
        for distance in (rows - before, after - rows)  # negative where there is no known row on that side
    ]
    total = np.maximum(weights[0] + weights[1], 1)
    blended = weights[0] * corrections[before] + weights[1] * corrections[after]
    return (blended + (total - weights[0] - weights[1]) * elsewhere) / total


def smooth_maximum(values: np.ndarray, half: float) -> np.ndarray:
    """A smooth curve (F,) that is nowhere below the values (F,), and reaches them ``half`` rows before and after.

    The moving average of a moving maximum of the same width.
    """
    width = 2 * max(int(np.ceil(half)), 1) + 1
    largest = sliding_window_view(np.pad(values, width - 1, mode="edge"), width).max(-1)
    weights = np.hanning(width + 2)[1:-1]
    return sliding_window_view(largest, width) @ (weights / weights.sum())


# --- Two-bone IK ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class KneeRule:
    """Where a knee goes when its ankle is moved. IN_PLANE and HINGED are the two rules in use."""

    hinged: bool
    axis: tuple[float, float, float]  # of two_bone_ik, in the axes of SMPL's thigh at rest
    # Of the leg's length: how much longer than the difference of its bones the distance from hip to ankle has to be,
    # and how long it may be.
    folded: float
    stretched: float


# The knee stays in the plane of the thigh and the line from hip to ankle. ``axis``: the thigh's front, which a straight
# leg's knee moves to. For small corrections of poses that are known well; the limits only prevent a division by zero.
IN_PLANE = KneeRule(hinged=False, axis=(0.0, 0.0, 1.0), folded=1e-4, stretched=1 - 1e-6)
# The leg swings to its goal as a whole and keeps the side that its knee points to; what it bends further goes to the
# front, and a knee that points to the back is mirrored to the front. ``axis``: the hinge, to the body's left. The
# limits keep the knee from locking or folding flat, where it would snap; set by hand.
HINGED = KneeRule(hinged=True, axis=(1.0, 0.0, 0.0), folded=0.05, stretched=0.9995)


def two_bone_ik(
    thigh: np.ndarray, shin: np.ndarray, target: np.ndarray, axis: np.ndarray, rule: KneeRule
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The rotations (F, 4) of thigh and shin, and the direction (F, 3) of the knee, that bring the ankle to a target.

    By the law of cosines, all vectors (F, 3) in one space: ``thigh`` from hip to knee and ``shin`` from knee to ankle
    as they are, ``target`` from the hip, ``axis`` as the rule needs it for the leg as it is. A target that is out of
    reach is aimed at. The knee's direction is perpendicular to the target's.
    """
    upper, lower = (np.linalg.norm(bone, axis=-1, keepdims=True) for bone in (thigh, shin))
    distance = np.clip(
        np.linalg.norm(target, axis=-1, keepdims=True),
        np.abs(upper - lower) + rule.folded * (upper + lower),
        rule.stretched * (upper + lower),
    )
    along = quaternions.normalized(target)
    projection = (upper**2 - lower**2 + distance**2) / (2 * distance)
    height = np.sqrt(np.maximum(upper**2 - projection**2, 0))

    swing = quaternions.between(thigh + shin, target) if rule.hinged else np.array([1.0, 0.0, 0.0, 0.0])
    thigh, shin, front = (quaternions.rotate(swing, vectors) for vectors in (thigh, shin, axis))
    side = _perpendicular(thigh, along)
    if rule.hinged:
        front = quaternions.normalized(np.cross(along, front))
        side = side - np.minimum(2 * np.sum(side * front, -1, keepdims=True), 0) * front
        missing = np.maximum(height - np.linalg.norm(side, axis=-1, keepdims=True), 0)
        direction = quaternions.normalized(side + (missing + 1e-6 * upper) * front)
    else:
        direction = quaternions.normalized(side + _STRAIGHT_KNEE_FRONT * _perpendicular(front, along))
    knee = projection * along + height * direction
    upper_rotation = quaternions.multiply(quaternions.between(thigh, knee), swing)
    lower_rotation = quaternions.multiply(quaternions.between(shin, distance * along - knee), swing)
    return upper_rotation, lower_rotation, direction


def leg_rotations(
    leg: LegJoints, positions: np.ndarray, rotations: np.ndarray, ankle: np.ndarray, foot: np.ndarray, rule: KneeRule
) -> np.ndarray:
    """Local rotations (F, 3, 4) of hip, knee and ankle with the ankle at (F, 3) and its foot rotated by (F, 4).

    positions (F, J, 3) and rotations (F, J, 4) of all joints as they are; everything but the result in the world.
    """
    hip, knee = leg.hip, leg.knee
    upper, lower, _ = two_bone_ik(
        positions[:, knee] - positions[:, hip],
        positions[:, leg.ankle] - positions[:, knee],
        ankle - positions[:, hip],
        quaternions.rotate(rotations[:, hip], np.array(rule.axis)),
        rule,
    )
    thigh, shin = quaternions.multiply(upper, rotations[:, hip]), quaternions.multiply(lower, rotations[:, knee])
    chain = [rotations[:, PARENTS[hip]], thigh, shin, foot]
    return np.stack([quaternions.multiply(quaternions.inverse(parent), child) for parent, child in pairwise(chain)], 1)


def _perpendicular(vectors: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """The part of vectors (F, 3) that is perpendicular to directions (F, 3) of length one."""
    return vectors - np.sum(vectors * direction, -1, keepdims=True) * direction
