"""Locks planted feet: bends the legs so that no foot slides or sinks while it is in contact with the floor.

The placement in the world moves whole bodies only, so the error of an estimated leg pose remains as a slide of the
foot. Here each contact gets one position, and hip, knee and ankle bring the foot there by two-bone IK.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.linalg import solveh_banded
from scipy.ndimage import gaussian_filter1d, maximum_filter1d

from ... import quaternions
from ...motion import pose_skeleton, true_intervals, without_short_contacts
from ...planted_feet import IN_PLANE, LEGS, ON_FLOOR, leg_rotations, locked_positions, mean_of_planted

# Set by hand.
_PASSES = 2  # the second corrects what little the first leaves
_SHORTEST = 3  # frames: shorter contacts are dropped
_STEP = 0.12  # metres that a foot point may move in one contact; if it moves further, it stepped
_STEP_FRAMES = 3  # frames before and after such a step in which the point is lifted
# Frames of a contact that can hold a step between two contacts. A shorter one is of a runner, whom the placement lets
# slide: it stays one contact up to the second number of metres.
_HOLDS_STEP, _SHORT_STEP = 2 * (_STEP_FRAMES + _SHORTEST), 0.3
_EASE = 3.0  # frames in which a correction fades before and after a contact
_BODY_SMOOTHING = 2.0  # frames: standard deviation of the filter for the body's movement with its support feet
_MOST_ROTATION = 0.7  # radians by which a foot is rotated at most to lie flat
_REACH = 0.998  # of a leg's length: for an ankle that has to be farther away the body moves


def lock_feet(
    poses: np.ndarray, pelvis: np.ndarray, rest: np.ndarray, planted: np.ndarray,
    foot_points: Callable[[np.ndarray], np.ndarray],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """Poses, pelvis and contacts with planted feet locked, and flat on the floor at z = 0 if they are near it.

    poses (F, 24, 3, 3), the root's in the world, z up; pelvis (F, 3) metres; rest (24, 3): joints of the unposed body;
    planted (F, 4) bool; foot_points: from poses to the four foot points (F, 4, 3) relative to the pelvis, world axes.
    """
    feet = foot_points(poses) + pelvis[:, None]
    planted = np.stack([_split_at_steps(*column) for column in zip(feet.swapaxes(0, 1), planted.T, strict=True)], 1)
    locked = np.concatenate([locked_positions(feet[:, leg.points], planted[:, leg.points]) for leg in LEGS], 1)
    for _ in range(_PASSES):
        joints, matrices = pose_skeleton(poses, pelvis, rest)
        shift = _follow_support_feet(joints, _goals(feet, joints, locked, planted), planted)
        goals = _goals(feet + shift[:, None], joints + shift[:, None], locked, planted)
        shift += _into_reach(joints + shift[:, None], rest, [ankle for ankle, _ in goals])
        pelvis, joints, rotations = pelvis + shift, joints + shift[:, None], quaternions.of_matrices(matrices)
        poses = poses.copy()
        for leg, (ankle, correction) in zip(LEGS, goals, strict=True):
            foot = quaternions.multiply(correction, rotations[:, leg.ankle])
            local = leg_rotations(leg, joints, rotations, ankle, foot, IN_PLANE)
            poses[:, [leg.hip, leg.knee, leg.ankle]] = quaternions.to_matrices(local)
        feet = foot_points(poses) + pelvis[:, None]
    return poses, pelvis, planted


def _split_at_steps(points: np.ndarray, planted: np.ndarray) -> np.ndarray:
    """Contacts (F,) of a foot point (F, 3) without short ones, and split where the point moves too far for one."""
    planted = planted.copy()
    intervals = [tuple(interval) for interval in true_intervals(planted)]
    while intervals:
        start, stop = intervals.pop()
        path = points[start:stop]
        allowed = _STEP if stop - start >= _HOLDS_STEP else _SHORT_STEP
        if stop - start < _SHORTEST or np.linalg.norm(path - np.median(path, 0), axis=1).max() <= allowed:
            continue
        # Where it moves farthest within a few frames, not at the ends: there the foot lands and leaves.
        smooth = gaussian_filter1d(path, _STEP_FRAMES / 2, axis=0, mode="nearest")
        middle = start + int(np.linalg.norm(np.diff(smooth, axis=0), axis=1).argmax()) + 1
        first, last = max(middle - _STEP_FRAMES, start), min(middle + _STEP_FRAMES, stop)
        planted[first:last] = False
        intervals += [(start, first), (last, stop)]
    return without_short_contacts(planted[:, None], _SHORTEST)[:, 0]


def _goals(
    feet: np.ndarray, joints: np.ndarray, locked: np.ndarray, planted: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    """`_goal` of the left and the right foot; feet and locked (F, 4, 3), joints (F, 24, 3), planted (F, 4)."""
    return [
        _goal(feet[:, leg.points], joints[:, leg.ankle], locked[:, leg.points], planted[:, leg.points]) for leg in LEGS
    ]


def _goal(
    feet: np.ndarray, ankle: np.ndarray, locked: np.ndarray, planted: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The goal (F, 3) of an ankle (F, 3), and the rotation (F, 4) of its foot about it that corrects the pose; world.

    feet and locked (F, 2, 3): toe and heel as they are, and where they have to be while they are planted (F, 2).
    """
    flat, held = np.all(planted, 1), np.any(planted, 1)
    foot = feet[:, 0] - feet[:, 1]
    correction = quaternions.to_axis_angle(quaternions.between(foot, locked[:, 0] - locked[:, 1]))
    size = np.linalg.norm(correction, axis=1, keepdims=True)
    correction *= np.minimum(1, _MOST_ROTATION / np.maximum(size, 1e-9))
    rotations = quaternions.of_axis_angle(_least_squares_eased(correction, flat))
    # If only toe or heel is planted on the floor, the other end must not be below it.
    foot = quaternions.rotate(rotations, foot)
    raised = foot.copy()
    raised[:, 2] = np.where(planted[:, 0], np.minimum(foot[:, 2], 0), np.maximum(foot[:, 2], 0))
    alone = (planted.sum(1) == 1) & (locked[..., 2] == 0).all(1) & (raised[:, 2] != foot[:, 2])
    levelled = quaternions.to_axis_angle(quaternions.multiply(quaternions.between(foot, raised), rotations))
    correction = np.where(alone[:, None], levelled, correction)
    rotations = quaternions.of_axis_angle(_least_squares_eased(correction, flat | alone))

    offsets = quaternions.rotate(rotations[:, None], feet - ankle[:, None])
    wanted = mean_of_planted(locked - offsets - ankle[:, None], planted)
    shift = _least_squares_eased(wanted, held)
    lowest = ankle[:, 2] + offsets[..., 2].min(1)
    known = held.copy()
    for _ in range(_PASSES):  # a foot that swings must not go through the floor
        sunk = ~known & (lowest + shift[:, 2] < 0) & (lowest + shift[:, 2] > -ON_FLOOR)
        wanted[sunk, 2], known = -lowest[sunk], known | sunk
        shift[:, 2:] = _least_squares_eased(wanted[:, 2:], known)
    return ankle + shift, rotations


def _follow_support_feet(
    joints: np.ndarray, goals: list[tuple[np.ndarray, np.ndarray]], planted: np.ndarray
) -> np.ndarray:
    """The smooth movement (F, 3) of the body, metres, with which support legs keep their pose.

    The pose of a leg is known better than the position of the body: for a centimetre a straight leg has to bend far,
    and its knee would no longer match the picture.
    """
    supports = planted[:, ::2] | planted[:, 1::2]  # by toe or heel, left and right
    wanted = np.stack([ankle - joints[:, leg.ankle] for leg, (ankle, _) in zip(LEGS, goals, strict=True)], 1)
    shift = _least_squares_eased(mean_of_planted(wanted, supports), np.any(supports, 1))
    return gaussian_filter1d(shift, _BODY_SMOOTHING, axis=0, mode="nearest")


def _into_reach(joints: np.ndarray, rest: np.ndarray, ankles: list[np.ndarray]) -> np.ndarray:
    """The movement (F, 3) of the body that lets both legs reach their ankles (F, 3), without a jump in time."""
    shift = np.zeros((len(joints), 3))
    for leg, ankle in zip(LEGS, ankles, strict=True):
        length = np.linalg.norm(np.diff(rest[[leg.hip, leg.knee, leg.ankle]], axis=0), axis=1).sum()
        path = ankle - joints[:, leg.hip] - shift
        distance = np.linalg.norm(path, axis=1)
        # A leg may stay as straight as the pose has it.
        longest = np.maximum(_REACH * length, np.linalg.norm(joints[:, leg.ankle] - joints[:, leg.hip], axis=1))
        excess = np.clip(distance - longest, 0, None)
        eased = gaussian_filter1d(maximum_filter1d(excess, 2 * int(_EASE) + 1), _EASE / 3)
        shift += path / np.maximum(distance, 1e-9)[:, None] * eased[:, None]
    return shift


def _least_squares_eased(corrections: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Corrections (F, n) of the known rows (F,), continued smoothly into the others, where they fade to zero.

    Unlike `planted_feet.eased`, velocity does not jump where a correction begins to fade: between known rows and beyond
    them the sum of squares of the corrections and of their second differences is least. This needs SciPy.
    """
    count = len(corrections)
    if count < 3:
        return corrections * known[:, None]
    # The normal equations have five diagonals: of the squared second differences, the size, and the known rows.
    band = np.zeros((3, count))
    for diagonal, weights in ((0, [1, 4, 1]), (1, [-2, -2]), (2, [1])):
        for offset, weight in enumerate(weights):
            band[diagonal, offset : count - 2 + offset] += weight * _EASE**4
    band[0] += 1 + 1e8 * known
    return solveh_banded(band, corrections * (1e8 * known)[:, None], lower=True)
