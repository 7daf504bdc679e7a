"""Keeps planted feet where they stand: legs are bent so that no foot slides or sinks while its contact is marked.

The world's least squares moves whole bodies only, so what a lifted pose gets wrong about a leg is left as a slide of
the foot. Here each stance gets one place, and hip, knee and ankle bring the foot there (two bones, law of cosines).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solveh_banded
from scipy.ndimage import gaussian_filter1d, maximum_filter1d
from scipy.spatial.transform import Rotation

from ...motion import posed, spells
from ...skeleton import JOINT_NAMES, PARENTS

_ROUNDS = 2  # of what is right after the first, but for little
_LEAST = 3  # frames: a shorter contact is none
_STEP = 0.12  # metres that a foot may stray in one contact; farther, it was set anew
_SETTING = 3  # frames before and after in which it is, then, off the ground
_FLOOR = 0.12  # metres: what stands nearer to the floor stands on it
_EASE = 3.0  # frames in which a correction fades away from a stance
_CARRIED = 2.0  # frames over which the body follows the legs that carry it
_TURN = 0.7  # radians that a foot is turned at most to lie flat
_REACH = 0.998  # of a leg's length: farther away, the hips come down
_SIDES = ("left", "right")


@dataclass
class _Stance:
    """One foot point at rest."""

    rows: slice
    place: np.ndarray  # (3,) metres
    set: bool = False  # as its neighbour on the foot wants it


def hold(
    poses: np.ndarray, pelvis: np.ndarray, rest: np.ndarray, planted: np.ndarray,
    foot_points: Callable[[np.ndarray], np.ndarray],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """Poses, pelvis and contacts with which planted feet stand still, and flat on a floor at z = 0 if they are near it.

    poses (F, 24, 3, 3): the root's in the world, z up; pelvis (F, 3) metres; rest (24, 3): the joints unposed; planted
    (F, 4) bool; foot_points: poses to the four foot points (F, 4, 3) from the pelvis, in world axes.
    """
    feet = foot_points(poses) + pelvis[:, None]
    planted = np.stack([_steady(*each) for each in zip(feet.swapaxes(0, 1), planted.T, strict=True)], 1)
    stances = [_stances(feet[:, 2 * side : 2 * side + 2], planted[:, 2 * side : 2 * side + 2]) for side in range(2)]
    for _ in range(_ROUNDS):
        joints, turns = posed(poses, pelvis, rest)
        goals = _goals(feet, joints, stances)
        shift = _carried(joints, goals, planted)
        goals = _goals(feet + shift[:, None], joints + shift[:, None], stances)
        shift += _within_reach(joints + shift[:, None], rest, [ankle for ankle, _ in goals])
        pelvis, joints = pelvis + shift, joints + shift[:, None]
        for side, (ankle, turn) in enumerate(goals):
            poses = _bent(poses, joints, turns, _SIDES[side], ankle, turn)
        feet = foot_points(poses) + pelvis[:, None]
    return poses, pelvis, planted


def _steady(points: np.ndarray, planted: np.ndarray) -> np.ndarray:
    """Contacts (F,) of a foot point (F, 3), parted where it was set anew; those too short are none."""
    planted = planted.copy()
    waiting = [tuple(spell) for spell in spells(planted)]
    while waiting:
        start, stop = waiting.pop()
        if stop - start < _LEAST:
            planted[start:stop] = False
            continue
        own = points[start:stop]
        if np.linalg.norm(own - np.median(own, 0), axis=1).max() > _STEP:
            # Where it goes farthest in few frames, not at the ends: there it lands and leaves.
            smooth = gaussian_filter1d(own, _SETTING / 2, axis=0, mode="nearest")
            way = np.linalg.norm(np.diff(smooth, axis=0), axis=1)
            middle = start + int(way.argmax()) + 1
            first, last = max(middle - _SETTING, start), min(middle + _SETTING, stop)
            planted[first:last] = False
            waiting += [(start, first), (last, stop)]
    return planted


def _stances(feet: np.ndarray, planted: np.ndarray) -> list[list[_Stance]]:
    """The stances of one foot's toe and heel; feet (F, 2, 3), planted (F, 2)."""
    found = []
    for point in range(2):
        own = [slice(*spell) for spell in spells(planted[:, point])]
        found.append([_Stance(rows, np.median(feet[rows, point], 0)) for rows in own])
    for stance in (stance for each in found for stance in each):
        if abs(stance.place[2]) < _FLOOR:
            stance.place[2] = 0
    for toe in found[0]:
        for heel in found[1]:
            both = slice(max(toe.rows.start, heel.rows.start), min(toe.rows.stop, heel.rows.stop))
            if both.start >= both.stop:
                continue
            # A foot is as long as it is: both give way, or the one that no other stance holds.
            length = float(np.median(np.linalg.norm(feet[both, 0] - feet[both, 1], axis=1)))
            apart = toe.place - heel.place
            if abs(apart[2]) < _FLOOR:
                apart[2] = 0
                heel.place[2] = toe.place[2]
            if not apart.any():
                continue
            missing = apart / np.linalg.norm(apart) * length - (toe.place - heel.place)
            share = 0.5 if toe.set == heel.set else float(not toe.set)
            toe.place, heel.place = toe.place + share * missing, heel.place - (1 - share) * missing
            toe.set = heel.set = True
    return found


def _goals(
    feet: np.ndarray, joints: np.ndarray, stances: list[list[list[_Stance]]]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """`_goal` of the left and the right foot; feet (F, 4, 3), joints (F, 24, 3)."""
    return [
        _goal(feet[:, 2 * side : 2 * side + 2], joints[:, JOINT_NAMES.index(f"{_SIDES[side]}_ankle")], stances[side])
        for side in range(2)
    ]


def _carried(joints: np.ndarray, goals: list[tuple[np.ndarray, np.ndarray]], planted: np.ndarray) -> np.ndarray:
    """How the body (F, 3) has to move so that the legs that stand keep their pose, smoothly; metres.

    Their pose is better known than where the body is: a straight leg bends far for a centimetre, and its knee would
    leave the picture.
    """
    stands = planted[:, ::2] | planted[:, 1::2]  # by toe or heel, left and right
    wanted = np.zeros((len(joints), 3))
    for (ankle, _), side, own in zip(goals, _SIDES, stands.T, strict=True):
        wanted += own[:, None] * (ankle - joints[:, JOINT_NAMES.index(f"{side}_ankle")])
    legs = stands.sum(1)
    carried = _eased(wanted / np.maximum(legs, 1)[:, None], legs > 0)
    return gaussian_filter1d(carried, _CARRIED, axis=0, mode="nearest")


def _goal(feet: np.ndarray, ankle: np.ndarray, stances: list[list[_Stance]]) -> tuple[np.ndarray, np.ndarray]:
    """Where a foot's ankle (F, 3) has to be, and how the foot has to turn about it (F, 3, 3), world."""
    count = len(feet)
    places = np.zeros((count, 2, 3))
    stands = np.zeros((count, 2), bool)
    for point in range(2):
        for stance in stances[point]:
            places[stance.rows, point], stands[stance.rows, point] = stance.place, True
    flat, held = np.all(stands, 1), np.any(stands, 1)
    turn = _shortest_turns(feet[:, 0] - feet[:, 1], places[:, 0] - places[:, 1])
    size = np.linalg.norm(turn, axis=1, keepdims=True)
    turn *= np.minimum(1, _TURN / np.maximum(size, 1e-9))
    eased = Rotation.from_rotvec(_eased(turn, flat))
    # Toe or heel alone on the floor: the other is not below it.
    along = eased.apply(feet[:, 0] - feet[:, 1])
    level = along.copy()
    level[:, 2] = np.where(stands[:, 0], np.minimum(along[:, 2], 0), np.maximum(along[:, 2], 0))
    alone = (stands.sum(1) == 1) & (places[..., 2] == 0).all(1) & (level[:, 2] != along[:, 2])
    levelled = (Rotation.from_rotvec(_shortest_turns(along, level)) * eased).as_rotvec()
    turns = Rotation.from_rotvec(_eased(np.where(alone[:, None], levelled, turn), flat | alone)).as_matrix()
    arms = np.einsum("fij,fkj->fki", turns, feet - ankle[:, None])
    wanted = (places - arms - ankle[:, None]) * stands[..., None]
    wanted = wanted.sum(1) / np.maximum(stands.sum(1), 1)[:, None]
    shift = _eased(wanted, held)
    lowest = ankle[:, 2] + arms[..., 2].min(1)
    known = held.copy()
    for _ in range(_ROUNDS):  # who swings a foot does not swing it through the floor
        sunk = ~known & (lowest + shift[:, 2] < 0) & (lowest + shift[:, 2] > -_FLOOR)
        wanted[sunk, 2], known = -lowest[sunk], known | sunk
        shift[:, 2:] = _eased(wanted[:, 2:], known)
    return ankle + shift, turns


def _eased(wanted: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Values (F, n) that are the wanted ones where those are known (F,), and fade smoothly to nothing elsewhere."""
    count = len(wanted)
    if count < 3:
        return wanted * known[:, None]
    # Least squares over squared second differences, size and what is known: a band of five diagonals.
    band = np.zeros((3, count))
    for row, weights in ((0, [1, 4, 1]), (1, [-2, -2]), (2, [1])):
        for at, weight in enumerate(weights):
            band[row, at : count - 2 + at] += weight * _EASE**4
    band[0] += 1 + 1e8 * known
    return solveh_banded(band, wanted * (1e8 * known)[:, None], lower=True)


def _shortest_turns(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Rotation vectors (F, 3) that bring vectors (F, 3) into the direction of others; none for a zero."""
    axis = np.cross(first, second)
    sine = np.linalg.norm(axis, axis=1)
    angle = np.arctan2(sine, (first * second).sum(1))
    return axis * (angle / np.maximum(sine, 1e-12))[:, None]


def _within_reach(joints: np.ndarray, rest: np.ndarray, ankles: list[np.ndarray]) -> np.ndarray:
    """How the body (F, 3) has to move so that both legs reach their ankles (F, 3), without a step in time."""
    shift = np.zeros((len(joints), 3))
    for side, ankle in zip(_SIDES, ankles, strict=True):
        hip, knee, own = (JOINT_NAMES.index(f"{side}_{part}") for part in ("hip", "knee", "ankle"))
        length = np.linalg.norm(rest[knee] - rest[hip]) + np.linalg.norm(rest[own] - rest[knee])
        way = ankle - joints[:, hip] - shift
        far = np.linalg.norm(way, axis=1)
        # As straight as the pose already was is no news.
        longest = np.maximum(_REACH * length, np.linalg.norm(joints[:, own] - joints[:, hip], axis=1))
        excess = np.clip(far - longest, 0, None)
        eased = gaussian_filter1d(maximum_filter1d(excess, 2 * int(_EASE) + 1), _EASE / 3)
        shift += way / np.maximum(far, 1e-9)[:, None] * eased[:, None]
    return shift


def _bent(
    poses: np.ndarray, joints: np.ndarray, turns: np.ndarray, side: str, ankle: np.ndarray, turn: np.ndarray
) -> np.ndarray:
    """Poses (F, 24, 3, 3) with one leg's ankle at ``ankle`` (F, 3), its foot turned by ``turn`` (F, 3, 3), world.

    joints (F, 24, 3), turns (F, 24, 3, 3): where the poses have them, world. The knee stays in its plane.
    """
    hip, knee, foot = (JOINT_NAMES.index(f"{side}_{part}") for part in ("hip", "knee", "ankle"))
    thigh, shin = joints[:, knee] - joints[:, hip], joints[:, foot] - joints[:, knee]
    upper, lower = np.linalg.norm(thigh, axis=1), np.linalg.norm(shin, axis=1)
    way = ankle - joints[:, hip]
    far = np.linalg.norm(way, axis=1)
    along = way / np.maximum(far, 1e-9)[:, None]
    far = np.clip(far, np.abs(upper - lower) + 1e-4, (upper + lower) * (1 - 1e-6))
    cosine = (upper**2 + far**2 - lower**2) / (2 * upper * far)
    # Where the leg is straight, its knee points where the thigh's own front does.
    ahead = thigh - (thigh * along).sum(1, keepdims=True) * along + 0.02 * turns[:, hip, :, 2]
    ahead -= (ahead * along).sum(1, keepdims=True) * along
    ahead /= np.maximum(np.linalg.norm(ahead, axis=1, keepdims=True), 1e-9)
    new_thigh = upper[:, None] * (cosine[:, None] * along + np.sqrt(np.clip(1 - cosine**2, 0, 1))[:, None] * ahead)
    new_shin = along * far[:, None] - new_thigh
    new_hip = Rotation.from_rotvec(_shortest_turns(thigh, new_thigh)).as_matrix() @ turns[:, hip]
    new_knee = Rotation.from_rotvec(_shortest_turns(shin, new_shin)).as_matrix() @ turns[:, knee]
    poses = poses.copy()
    poses[:, hip] = turns[:, PARENTS[hip]].mT @ new_hip
    poses[:, knee] = new_hip.mT @ new_knee
    poses[:, foot] = new_knee.mT @ turn @ turns[:, foot]
    return poses
