"""A motion carried over to another body: how each of its bones turns, and where its hips go. NumPy only.

Limb directions are matched at rest: a swing takes the target's thigh, standing as its maker drew it, to the source's
thigh at rest, and the source's turn follows. So both point the same way in every frame, whatever their rests, while
what the swing leaves alone, the roll, stays the target's. Trunk, neck and head are carried over as they turn, so that
the target keeps its own bearing; feet keep their soles as they stand at rest and take over where they head.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from ... import quaternions
from ...animation import FOOT_JOINTS, Animation
from ...skeleton import JOINT_NAMES, PARENTS
from .maps import LIMBS, RigMap

_PELVIS, _CHEST, _NECK = (JOINT_NAMES.index(name) for name in ("pelvis", "spine3", "neck"))
_SPINE = tuple(JOINT_NAMES.index(name) for name in ("pelvis", "spine1", "spine2", "spine3"))
_HIPS = tuple(JOINT_NAMES.index(f"{side}_hip") for side in ("left", "right"))
_UPRIGHT = np.array([0.0, 0.0, 1.0])
_LEVEL_FLOOR, _ENOUGH = 0.04, 0.03  # metres, and the share of contacts that near to z = 0 that makes it the floor
_FOOT_DIRECTION = 0.3  # the level part of a foot's length, below which it says nothing of where the foot heads
_SNAP = np.cos(np.radians(20))  # a body that stands nearly along its armature's axes stands along them


@dataclass(frozen=True)
class Space:
    """Where an armature stands: its own space, the world, and the body's space between them.

    The body's space is the world before an uneven scale or a shear of the object stretches it, so that bones are
    rigid in it. It is the world itself where the object is scaled evenly.
    """

    axes: np.ndarray  # (3, 3) orthogonal: the armature's own directions in the body's space; a mirror where so scaled
    scale: float
    origin: np.ndarray  # (3,) the object's place
    stretch: np.ndarray  # (3, 3) from the body's space to the world, about the origin

    @classmethod
    def of_matrix(cls, matrix: np.ndarray) -> Space:
        """Of an object's matrix (4, 4), by polar decomposition; raises ValueError where it is flat."""
        linear = np.asarray(matrix, float)[:3, :3]
        left, sizes, right = np.linalg.svd(linear)
        if sizes.min() < 1e-6 * max(sizes.max(), 1e-6):
            raise ValueError("the object's scale is zero")
        axes, scale = left @ right, float(np.cbrt(np.prod(sizes)))
        return cls(axes, scale, np.asarray(matrix, float)[:3, 3], linear @ axes.T / scale)

    def from_armature(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 3) of the armature's own space in the body's space."""
        return self.scale * points @ self.axes.T + self.origin

    def to_armature(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 3) of the body's space in the armature's own."""
        return (points - self.origin) @ self.axes / self.scale

    def turns_to_armature(self, turns: np.ndarray) -> np.ndarray:
        """Turns (..., 4) in the body's space as they are about the armature's own axes."""
        return np.concatenate([turns[..., :1], np.linalg.det(self.axes) * turns[..., 1:] @ self.axes], -1)

    def from_world(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 3) of the world in the body's space."""
        return (points - self.origin) @ np.linalg.inv(self.stretch).T + self.origin

    def directions_from_world(self, directions: np.ndarray) -> np.ndarray:
        """Directions (..., 3) of the world in the body's space, of any length."""
        return directions @ np.linalg.inv(self.stretch).T

    def upright(self) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
        """The normal (3,) of the world's level planes in the body's space, and how high along it heights lie there."""
        normal = self.stretch.T @ _UPRIGHT
        size = float(np.linalg.norm(normal))
        up = normal / size
        return up, lambda heights: (heights - self.origin[2]) / size + self.origin @ up

    @property
    def even(self) -> bool:
        """Whether the object is scaled alike along all axes."""
        return bool(np.abs(self.stretch - np.eye(3)).max() < 1e-4)


@dataclass(frozen=True)
class Target:
    """A body at rest, in its own space (see Space)."""

    rig_map: RigMap
    space: Space
    heads: Mapping[str, np.ndarray]  # (3,) of each bone that plays a joint, and of each twist bone
    tails: Mapping[str, np.ndarray]
    soles: np.ndarray  # (4, 3) toes and heels on the floor, in the order of FOOT_POINTS
    inside: frozenset[str]  # twist bones that carry what follows in their limb, instead of hanging from it

    def joint(self, role: str) -> np.ndarray:
        """Where a joint (3,) is at rest; raises KeyError where no bone plays it."""
        return self.heads[self.rig_map.bones[role]]

    def direction(self, role: str) -> np.ndarray:
        """From a joint of a limb to the next one (3,), or to the bone's end where none follows."""
        limb = next(joints for joints in LIMBS.values() if role in joints)
        following = limb[limb.index(role) + 1]
        ends = self.joint(following) if following in self.rig_map.bones else self.tails[self.rig_map.bones[role]]
        return ends - self.joint(role)

    def carriers(self, role: str) -> tuple[str, ...]:
        """The bones, one after the other, that carry a limb from a joint to the next: its own, then twist bones."""
        twists = self.rig_map.twists.get(role, ())
        return (self.rig_map.bones[role], *(name for name in twists if name in self.inside))

    def vector(self, role: str, turns: Mapping[str, np.ndarray]) -> np.ndarray:
        """From a joint of a limb to the next one (F, 3) where its bones turn (F, 4) so from rest."""
        bones = self.carriers(role)
        ends = [*(self.heads[name] for name in bones[1:]), self.joint(role) + self.direction(role)]
        parts = [quaternions.rotate(turns[name], end - self.heads[name]) for name, end in zip(bones, ends, strict=True)]
        return np.sum(parts, 0)

    def standing(self) -> np.ndarray:
        """The turn (4,) from standing upright and facing -y to how the body stands at rest."""
        hips, shoulders = (
            np.array([self.joint(f"{side}_{joint}") for side in ("left", "right")]) for joint in ("hip", "shoulder")
        )
        up = quaternions.normalized(shoulders.mean(0) - hips.mean(0))
        across = hips[0] - hips[1] + shoulders[0] - shoulders[1]
        left = quaternions.normalized(across - up * (across @ up))
        found = np.stack([left, np.cross(up, left), up], 1)
        inside = self.space.axes.T @ found
        along = np.sign(inside) * (np.abs(inside) >= np.abs(inside).max(0))
        if (np.sum(along * inside, 0) > _SNAP).all():
            found = self.space.axes @ along
        return quaternions.of_matrices(found)

    def leg_length(self) -> float:
        """From hip to sole along a straight leg, the mean of both."""
        up = quaternions.rotate(self.standing(), _UPRIGHT)
        lengths = []
        for number, side in enumerate(("left", "right")):
            parts = sum(np.linalg.norm(self.direction(f"{side}_{joint}")) for joint in ("hip", "knee"))
            soles = self.soles[2 * number : 2 * number + 2].mean(0)
            lengths.append(parts + (self.joint(f"{side}_ankle") - soles) @ up)
        return float(np.mean(lengths))


@dataclass(frozen=True)
class Pose:
    """What a target does over F frames, in its body's space."""

    turns: dict[str, np.ndarray]  # bone -> (F, 4) from its rest
    hips: np.ndarray  # (F, 3) the middle between both hips
    # limb -> (F, 3) of length one: where its knee points, aside of the line from hip to ankle; of planted legs only
    bends: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Ground:
    """How a source's places become a target's: scaled about where the source starts, on its floor."""

    start: np.ndarray  # (3,) metres, in the world
    scale: float  # the target's legs against the source's

    @property
    def floor(self) -> float:
        """The height of the floor in the world."""
        return float(self.start[2])

    def place(self, points: np.ndarray) -> np.ndarray:
        """Where a target has what the source has at points (..., 3); both in the world."""
        return self.start + self.scale * (points - self.start)


def ground(source: Animation, target: Target) -> Ground:
    """The floor that the source stands on, and how much longer the target's legs are."""
    heights = source.foot_points()[..., 2][source.contacts]
    at_zero = np.mean(np.abs(heights) < _LEVEL_FLOOR) > _ENOUGH if len(heights) else True
    floor = 0.0 if at_zero else float(np.median(heights))
    legs = []
    for side in ("left", "right"):
        hip, knee, ankle = (source.heads[JOINT_NAMES.index(f"{side}_{joint}")] for joint in ("hip", "knee", "ankle"))
        legs.append(np.linalg.norm(knee - hip) + np.linalg.norm(ankle - knee))
    ankles = (source.heads[list(FOOT_JOINTS[1::2])] - source.feet[1::2])[:, 2]
    # The world's legs: a stretched object's are as long as they stand there.
    up = quaternions.rotate(target.standing(), _UPRIGHT)
    length = target.leg_length() * np.linalg.norm(target.space.stretch @ up)
    return Ground(source.root[0] * [1.0, 1.0, 0.0] + [0.0, 0.0, floor], float(length / (np.mean(legs) + ankles.mean())))


def carry_over(source: Animation, target: Target) -> Pose:
    """The source's motion on a target: its limbs' directions, its trunk's and head's turns, its way scaled to the legs.

    Bones of a spine or neck of other joints than SMPL's share the turns as the map says; twist bones share the roll.
    """
    rig_map = target.rig_map
    positions, turns = source.pose()
    at_rest = quaternions.inverse(target.standing())
    found: dict[str, np.ndarray] = {}
    joints = {JOINT_NAMES[joint]: turns[:, joint] for joint in range(len(JOINT_NAMES))}

    for chain, shares, known in (
        (rig_map.spine, rig_map.spine_at, _SPINE),
        (rig_map.neck, rig_map.neck_at, (_CHEST, _NECK)),
    ):
        for bone, at in zip(chain, shares, strict=True):
            below = min(int(at), len(known) - 2)
            found[bone] = quaternions.blend(turns[:, known[below]], turns[:, known[below + 1]], np.array(at - below))
    for role in ("pelvis", "head", "left_collar", "right_collar"):
        if role in rig_map.bones:
            found[rig_map.bones[role]] = joints[role]
    for limb in LIMBS.values():
        found |= _limb(source, target, joints, limb, at_rest)
    for bone in found:
        found[bone] = quaternions.multiply(found[bone], at_rest)
    for role in (role for limb in LIMBS.values() for role in limb[:2]):
        if len(bones := target.carriers(role)) > 1:  # they hardly lie in one line, so that their roll bends the limb
            wanted = quaternions.rotate(found[bones[0]], target.direction(role))
            straight = quaternions.between(target.vector(role, found), wanted)
            found |= {name: quaternions.multiply(straight, found[name]) for name in bones}
    hips = ground(source, target).place(positions[:, list(_HIPS)].mean(1))
    return Pose(found, target.space.from_world(hips))


def _limb(
    source: Animation,
    target: Target,
    joints: Mapping[str, np.ndarray],
    limb: tuple[str, ...],
    at_rest: np.ndarray,
) -> dict[str, np.ndarray]:
    """Turns (F, 4) of a leg's or an arm's bones from the rest of a body that stands upright and faces -y."""
    bones = target.rig_map.bones
    found: dict[str, np.ndarray] = {}
    swing = np.array([1.0, 0.0, 0.0, 0.0])
    upper, lower, end = limb
    for role, following in ((upper, lower), (lower, end)):
        joint, rest = JOINT_NAMES.index(role), source.heads[JOINT_NAMES.index(following)]
        wanted = quaternions.normalized(rest - source.heads[joint])
        drawn = quaternions.rotate(quaternions.multiply(swing, at_rest), target.direction(role))
        # The lower half swings with the upper one first, so that a hinge stays where it is drawn.
        swing = quaternions.multiply(quaternions.between(drawn, wanted), swing)
        turn = joints[role]
        if not target.space.even:
            points = quaternions.rotate(turn, wanted)
            turn = quaternions.multiply(quaternions.between(points, target.space.directions_from_world(points)), turn)
        before, after = (joints[JOINT_NAMES[PARENTS[joint]]], turn) if role == upper else (turn, joints[end])
        found[bones[role]] = quaternions.multiply(turn, swing)
        found |= _twisted(target, role, before, after, wanted, swing, turn)
    if end.endswith("wrist"):
        if end in bones:  # stays with the forearm as it is drawn
            found[bones[end]] = quaternions.multiply(joints[end], swing)
    else:
        toes = end.replace("ankle", "foot")
        heading = _heading(source, target, end, toes, at_rest)
        for role in (end, toes):
            if role in bones:
                found[bones[role]] = quaternions.multiply(joints[role], heading)
    return found


def _twisted(
    target: Target,
    role: str,
    before: np.ndarray,
    after: np.ndarray,
    along: np.ndarray,
    swing: np.ndarray,
    turn: np.ndarray,
) -> dict[str, np.ndarray]:
    """Turns of the twist bones of a limb's half, and of its main bone where a twist bone has its roll.

    An upper half rolls from not at all, at the trunk (``before``), to as its joint does (``after``); a lower one from
    as its joint does to as hand or foot do. Bones share that by where they begin.
    """
    names = target.rig_map.twists.get(role, ())
    if not names:
        return {}
    upper = role.endswith(("hip", "shoulder"))
    between = quaternions.multiply(quaternions.inverse(before), after)
    roll = np.unwrap(2 * np.arctan2(between[:, 1:] @ along, between[:, 0]))
    roll -= 2 * np.pi * np.round(np.median(roll) / (2 * np.pi))
    main = target.rig_map.bones[role]
    whole = target.direction(role)
    carriers = target.carriers(role)[1:]
    found = {}
    for name in (main, *names):
        if upper and carriers and name in (main, *carriers):
            share = (0, *range(1, len(carriers) + 1))[(main, *carriers).index(name)] / len(carriers)
        elif name == main:
            continue
        else:
            share = np.clip((target.heads[name] - target.joint(role)) @ whole / (whole @ whole), 0.0, 1.0)
        # Of the roll that ``turn`` has already, an upper half gives back what is not its share.
        angle = (share - 1.0 if upper else share) * roll
        rolled = quaternions.about(np.broadcast_to(along, (len(roll), 3)), angle)
        found[name] = quaternions.multiply(quaternions.multiply(turn, rolled), swing)
    return found


def _heading(source: Animation, target: Target, ankle: str, toes: str, at_rest: np.ndarray) -> np.ndarray:
    """The turn (4,) about the upright that lets a target's foot head at rest where the source's does."""
    bones = target.rig_map.bones
    end = target.heads[bones[toes]] if toes in bones else target.tails[bones[ankle]]
    drawn = quaternions.rotate(at_rest, end - target.joint(ankle))
    wanted = source.heads[JOINT_NAMES.index(toes)] - source.heads[JOINT_NAMES.index(ankle)]
    level = np.array([1.0, 1.0, 0.0])
    if np.linalg.norm(drawn * level) < _FOOT_DIRECTION * np.linalg.norm(drawn):
        return np.array([1.0, 0.0, 0.0, 0.0])
    return quaternions.between(drawn * level, wanted * level)
