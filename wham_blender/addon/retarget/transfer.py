"""Retargets a motion to another skeleton: rotations of its bones and the positions of its hips. NumPy only.

Limb directions are matched at rest: a swing rotates the target's thigh in its rest pose to the source's thigh at rest,
then the source's rotation is applied. So both have the same direction in every frame, whatever their rest poses, and
the target keeps the roll of its rest pose. Trunk, neck and head get the source's rotations, so that the target keeps
its rest posture; feet keep the tilt of their soles at rest and get the source's heading.
Palms of which the knuckles are known lie as the source's do, and fingers point where the source's do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from ... import quaternions
from ...animation import FOOT_JOINTS, Animation
from ...skeleton import ALL_JOINT_NAMES, FINGERTIP_NAMES, JOINT_NAMES, PARENTS
from .maps import LIMBS, RigMap

_PELVIS, _CHEST, _NECK = (JOINT_NAMES.index(name) for name in ("pelvis", "spine3", "neck"))
_SPINE = tuple(JOINT_NAMES.index(name) for name in ("pelvis", "spine1", "spine2", "spine3"))
_HIPS = tuple(JOINT_NAMES.index(f"{side}_hip") for side in ("left", "right"))
_UPRIGHT = np.array([0.0, 0.0, 1.0])
# Set by hand: the floor is z = 0 if this fraction of the contacts is within so many metres of it.
_FLOOR_TOLERANCE, _FLOOR_FRACTION = 0.04, 0.03
_MIN_HORIZONTAL = 0.3  # set by hand: fraction of a foot's length that must be horizontal to define a heading
_FINGER_BEND = np.cos(np.radians(60))  # set by hand: no last joint of a finger is bent more at rest
_SNAP = np.cos(np.radians(20))  # set by hand: rest orientations nearer to the armature's axes snap to them


@dataclass(frozen=True)
class Space:
    """Transforms between armature space, world space and the body's space, in which bones are rigid.

    The body's space is world space without the non-uniform scale and shear of the object, equal to world space if the
    object is scaled uniformly.
    """

    axes: np.ndarray  # (3, 3) orthogonal: armature space to the body's space; a reflection if the scale is negative
    scale: float
    origin: np.ndarray  # (3,) the object's location
    stretch: np.ndarray  # (3, 3) from the body's space to world space, about the origin

    @classmethod
    def of_matrix(cls, matrix: np.ndarray) -> Space:
        """Of an object's world matrix (4, 4), by polar decomposition.

        Raises ValueError if its scale is zero, or if a value of it is no number.
        """
        linear = np.asarray(matrix, float)[:3, :3]
        if not np.isfinite(matrix).all():
            raise ValueError("the object's location, rotation or scale is no number")
        left, sizes, right = np.linalg.svd(linear)
        if sizes.min() < 1e-6 * max(sizes.max(), 1e-3):
            raise ValueError("the object's scale is zero")
        axes, scale = left @ right, float(np.cbrt(np.prod(sizes)))
        return cls(axes, scale, np.asarray(matrix, float)[:3, 3], linear @ axes.T / scale)

    def from_armature(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 3) from armature space to the body's space."""
        return self.scale * points @ self.axes.T + self.origin

    def to_armature(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 3) from the body's space to armature space."""
        return (points - self.origin) @ self.axes / self.scale

    def rotations_to_armature(self, rotations: np.ndarray) -> np.ndarray:
        """Rotations (..., 4) from the body's space to armature space."""
        return np.concatenate([rotations[..., :1], np.linalg.det(self.axes) * rotations[..., 1:] @ self.axes], -1)

    def from_world(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 3) from world space to the body's space."""
        return (points - self.origin) @ np.linalg.inv(self.stretch).T + self.origin

    def directions_from_world(self, directions: np.ndarray) -> np.ndarray:
        """Directions (..., 3) from world space to the body's space; not normalized."""
        return directions @ np.linalg.inv(self.stretch).T

    def world_up(self) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
        """The normal (3,) of horizontal planes in the body's space, and a function from world z to heights along it."""
        normal = self.stretch.T @ _UPRIGHT
        size = float(np.linalg.norm(normal))
        up = normal / size
        return up, lambda heights: (heights - self.origin[2]) / size + self.origin @ up

    @property
    def is_uniform(self) -> bool:
        """Whether the object is scaled uniformly and not sheared."""
        return bool(np.abs(self.stretch - np.eye(3)).max() < 1e-4)


@dataclass(frozen=True)
class Target:
    """A target skeleton in its rest pose, in the body's space (see Space)."""

    rig_map: RigMap
    space: Space
    heads: Mapping[str, np.ndarray]  # (3,) of each mapped bone and each twist bone
    tails: Mapping[str, np.ndarray]
    foot_points: np.ndarray  # (4, 3) toes and heels on the floor, in the order of FOOT_POINTS
    inline_twists: frozenset[str]  # twist bones that are parents of the limb's next joint
    # side -> (N, 3) points of the foot, and of the toes that bend, that touch the ground when they are tilted; if known
    outlines: Mapping[str, np.ndarray] = field(default_factory=dict)
    toe_outlines: Mapping[str, np.ndarray] = field(default_factory=dict)
    # side -> (N + M,) the share of the foot's bones in carrying these points; the shin carries them with the rest
    outline_shares: Mapping[str, np.ndarray] = field(default_factory=dict)
    stiff: frozenset[str] = frozenset()  # sides whose toes' bone does not bend the foot's skin at the toes

    def joint(self, name: str) -> np.ndarray:
        """A joint's position (3,) at rest. Raises KeyError if no bone is mapped to it."""
        return self.heads[self.rig_map.bones[name]]

    def direction(self, joint: str) -> np.ndarray:
        """The vector (3,) from a limb's joint to the next one at rest, or to the bone's tail if none follows."""
        limb = next(joints for joints in LIMBS.values() if joint in joints)
        following = limb[limb.index(joint) + 1]
        end = self.joint(following) if following in self.rig_map.bones else self.tails[self.rig_map.bones[joint]]
        return end - self.joint(joint)

    def limb_bones(self, joint: str) -> tuple[str, ...]:
        """The chain of bones from a limb's joint to the next one: the mapped bone, then inline twist bones."""
        twists = self.rig_map.twists.get(joint, ())
        return (self.rig_map.bones[joint], *(name for name in twists if name in self.inline_twists))

    def limb_vector(self, joint: str, rotations: Mapping[str, np.ndarray]) -> np.ndarray:
        """The vector (F, 3) from a limb's joint to the next one for rotations (F, 4) of its bones from rest."""
        bones = self.limb_bones(joint)
        ends = [*(self.heads[name] for name in bones[1:]), self.joint(joint) + self.direction(joint)]
        return np.sum(
            [
                quaternions.rotate(rotations[name], end - self.heads[name])
                for name, end in zip(bones, ends, strict=True)
            ],
            0,
        )

    def rest_orientation(self) -> np.ndarray:
        """The rotation (4,) from standing upright and facing -y to the rest pose."""
        hips, shoulders = (
            np.array([self.joint(f"{side}_{joint}") for side in ("left", "right")]) for joint in ("hip", "shoulder")
        )
        up = quaternions.normalized(shoulders.mean(0) - hips.mean(0))
        across = hips[0] - hips[1] + shoulders[0] - shoulders[1]
        left = quaternions.normalized(across - up * (across @ up))
        axes = np.stack([left, np.cross(up, left), up], 1)
        in_armature = self.space.axes.T @ axes
        snapped = np.sign(in_armature) * (np.abs(in_armature) >= np.abs(in_armature).max(0))
        if (np.sum(snapped * in_armature, 0) > _SNAP).all():
            axes = self.space.axes @ snapped
        return quaternions.of_matrices(axes)

    def leg_length(self) -> float:
        """The length from hip to sole along a straight leg, the mean of both legs."""
        up = quaternions.rotate(self.rest_orientation(), _UPRIGHT)
        lengths = []
        for number, side in enumerate(("left", "right")):
            parts = sum(np.linalg.norm(self.direction(f"{side}_{joint}")) for joint in ("hip", "knee"))
            sole = self.foot_points[2 * number : 2 * number + 2].mean(0)
            lengths.append(parts + (self.joint(f"{side}_ankle") - sole) @ up)
        return float(np.mean(lengths))


@dataclass(frozen=True)
class Pose:
    """A target's pose over F frames, in the body's space."""

    rotations: dict[str, np.ndarray]  # bone -> (F, 4) from its rest
    hips: np.ndarray  # (F, 3) the midpoint of both hips
    # limb -> (F, 3) unit vectors: the direction of its knee, across the line from hip to ankle; after foot locking only
    knee_directions: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Ground:
    """Maps a source's positions to a target's: scales them about the source's first position on its floor."""

    start: np.ndarray  # (3,) metres, in the world
    scale: float  # leg length of the target divided by the source's

    @property
    def floor(self) -> float:
        """The floor's height in the world."""
        return float(self.start[2])

    def place(self, points: np.ndarray) -> np.ndarray:
        """The target's positions for the source's points (..., 3); both in the world."""
        return self.start + self.scale * (points - self.start)


def ground(source: Animation, target: Target) -> Ground:
    """The source's floor, and the ratio of leg lengths."""
    heights = source.foot_points()[..., 2][source.contacts]
    at_zero = np.mean(np.abs(heights) < _FLOOR_TOLERANCE) > _FLOOR_FRACTION if len(heights) else True
    floor = 0.0 if at_zero else float(np.median(heights))
    legs = []
    for side in ("left", "right"):
        hip, knee, ankle = (source.heads[JOINT_NAMES.index(f"{side}_{joint}")] for joint in ("hip", "knee", "ankle"))
        legs.append(np.linalg.norm(knee - hip) + np.linalg.norm(ankle - knee))
    ankles = (source.heads[list(FOOT_JOINTS[1::2])] - source.feet[1::2])[:, 2]
    # Leg length in the world: with the object's non-uniform scale.
    up = quaternions.rotate(target.rest_orientation(), _UPRIGHT)
    length = target.leg_length() * np.linalg.norm(target.space.stretch @ up)
    return Ground(source.root[0] * [1.0, 1.0, 0.0] + [0.0, 0.0, floor], float(length / (np.mean(legs) + ankles.mean())))


def retarget(source: Animation, target: Target, placed: Ground | None = None) -> Pose:
    """The source's motion on a target: limb directions, rotations of trunk and head, hips scaled by leg length.

    ``placed``: the `ground` of the whole motion, of which ``source`` may be a part.

    A spine or neck with another number of bones than SMPL's interpolates the rotations as the map's ``spine_at`` and
    ``neck_at`` say; twist bones get fractions of the roll.
    """
    rig_map = target.rig_map
    positions, source_rotations = source.pose()
    from_rest = quaternions.inverse(target.rest_orientation())
    rotations: dict[str, np.ndarray] = {}
    joints = dict(zip(ALL_JOINT_NAMES, np.moveaxis(source_rotations, 1, 0), strict=False))
    palms = _palms(source, target, from_rest)

    for chain, parameters, known in (
        (rig_map.spine, rig_map.spine_at, _SPINE),
        (rig_map.neck, rig_map.neck_at, (_CHEST, _NECK)),
    ):
        for bone, at in zip(chain, parameters, strict=True):
            below = min(int(at), len(known) - 2)
            lower, upper = source_rotations[:, known[below]], source_rotations[:, known[below + 1]]
            rotations[bone] = quaternions.blend(lower, upper, np.array(at - below))
    for joint in ("pelvis", "head", "left_collar", "right_collar"):
        if joint in rig_map.bones:
            rotations[rig_map.bones[joint]] = joints[joint]
    for limb in LIMBS.values():
        rotations |= _limb(source, target, joints, limb, from_rest, palms)
    rotations |= _fingers(source, target, (positions, joints), palms, from_rest)
    for bone in rotations:
        rotations[bone] = quaternions.multiply(rotations[bone], from_rest)
    for joint in (joint for limb in LIMBS.values() for joint in limb[:2]):
        if (
            len(bones := target.limb_bones(joint)) > 1
        ):  # they are not exactly in line, so that their roll bends the limb
            wanted = quaternions.rotate(rotations[bones[0]], target.direction(joint))
            correction = quaternions.between(target.limb_vector(joint, rotations), wanted)
            rotations |= {name: quaternions.multiply(correction, rotations[name]) for name in bones}
    hips = (placed or ground(source, target)).place(positions[:, list(_HIPS)].mean(1))
    return Pose(rotations, target.space.from_world(hips))


def _limb(
    source: Animation,
    target: Target,
    joints: Mapping[str, np.ndarray],
    limb: tuple[str, ...],
    from_rest: np.ndarray,
    palms: Mapping[str, np.ndarray],
) -> dict[str, np.ndarray]:
    """Rotations (F, 4) of a leg's or an arm's bones, from the rest pose rotated upright and facing -y.

    palms: wrist -> see `_palms`.
    """
    bones = target.rig_map.bones
    rotations: dict[str, np.ndarray] = {}
    swing = np.array([1.0, 0.0, 0.0, 0.0])
    upper, lower, end = limb
    for joint, following in ((upper, lower), (lower, end)):
        index, next_head = JOINT_NAMES.index(joint), source.heads[JOINT_NAMES.index(following)]
        wanted = quaternions.normalized(next_head - source.heads[index])
        rest = quaternions.rotate(quaternions.multiply(swing, from_rest), target.direction(joint))
        # The lower segment swings with the upper one first, so that the axis of its hinge is kept.
        swing = quaternions.multiply(quaternions.between(rest, wanted), swing)
        rotation = joints[joint]
        if not target.space.is_uniform:
            aim = quaternions.rotate(rotation, wanted)
            unstretched = quaternions.between(aim, target.space.directions_from_world(aim))
            rotation = quaternions.multiply(unstretched, rotation)
        parent = joints[JOINT_NAMES[PARENTS[index]]]
        start, stop = (parent, rotation) if joint == upper else (rotation, joints[end])
        if end in palms and joint == lower:  # what the palm rolls beyond the forearm, twist bones share, too
            stop = quaternions.multiply(stop, quaternions.multiply(palms[end], quaternions.inverse(swing)))
        rotations[bones[joint]] = quaternions.multiply(rotation, swing)
        rotations |= _twist_rotations(target, joint, _Segment(wanted, swing, rotation, start, stop))
    if end.endswith("wrist"):
        if end in bones:  # without known knuckles it keeps its rest rotation relative to the forearm
            rotations[bones[end]] = quaternions.multiply(joints[end], palms.get(end, swing))
    else:
        toes = end.replace("ankle", "foot")
        heading = _foot_heading(source, target, end, toes, from_rest)
        for joint in (end, toes):
            if joint in bones:
                rotations[bones[joint]] = quaternions.multiply(joints[joint], heading)
    return rotations


def _palms(source: Animation, target: Target, from_rest: np.ndarray) -> dict[str, np.ndarray]:
    """Rotations (4,) of hands from the target's rest pose, upright and facing -y, to the source's, by their wrists.

    Of hands of which two knuckles are known: they give the plane of the palm.
    """
    palms = {}
    for side in ("left", "right") if len(source.heads) == len(ALL_JOINT_NAMES) else ():
        wrist = f"{side}_wrist"
        knuckles = [f"{side}_{finger}1" for finger in ("index", "middle", "ring", "pinky")]
        known = [joint for joint in knuckles if joint in target.rig_map.fingers]
        if wrist not in target.rig_map.bones or len(known) < 2:
            continue
        bones = [target.rig_map.bones[wrist], *(target.rig_map.fingers[joint] for joint in known)]
        ours = quaternions.rotate(from_rest, np.array([target.heads[bone] for bone in bones]))
        theirs = source.heads[[ALL_JOINT_NAMES.index(joint) for joint in (wrist, *known)]]
        axes = [_palm_axes(points) for points in (ours, theirs)]
        palms[wrist] = quaternions.of_matrices(axes[1] @ axes[0].T)
    return palms


def _palm_axes(points: np.ndarray) -> np.ndarray:
    """Axes (3, 3), one a column, of a hand with the wrist and two or more knuckles at points (N, 3)."""
    ahead = quaternions.normalized(points[1:].mean(0) - points[0])
    across = points[1] - points[-1]
    across = quaternions.normalized(across - ahead * (across @ ahead))
    return np.stack([ahead, across, np.cross(ahead, across)], 1)


def _fingers(
    source: Animation,
    target: Target,
    posed: tuple[np.ndarray, Mapping[str, np.ndarray]],
    palms: Mapping[str, np.ndarray],
    from_rest: np.ndarray,
) -> dict[str, np.ndarray]:
    """Rotations (F, 4) of the finger bones, from the rest pose rotated upright and facing -y.

    posed: the source's joints (F, 54, 3) and rotations. A bone points from its joint to that of the finger's next bone,
    or to the fingertip, however many joints lie between.
    """
    bones, rotations = target.rig_map.fingers, {}
    if source.fingertips is None or not bones:
        return {}
    positions, joints = posed
    for number, tip in enumerate(source.fingertips):
        last = len(JOINT_NAMES) + 3 * number + 2
        swing = palms.get(f"{FINGERTIP_NAMES[number].partition('_')[0]}_wrist", np.array([1.0, 0.0, 0.0, 0.0]))
        chain = [joint for joint in (last - 2, last - 1, last) if ALL_JOINT_NAMES[joint] in bones]
        if not chain:
            continue
        posed_tip = positions[:, last] + quaternions.rotate(joints[ALL_JOINT_NAMES[last]], tip - source.heads[last])
        rest_ends = [*(source.heads[joint] for joint in chain[1:]), tip]
        ends = [*(positions[:, joint] for joint in chain[1:]), posed_tip]
        directions = _finger_directions(target, [bones[ALL_JOINT_NAMES[joint]] for joint in chain])
        for joint, rest_end, end, direction in zip(chain, rest_ends, ends, directions, strict=True):
            wanted = quaternions.normalized(rest_end - source.heads[joint])
            rest = quaternions.rotate(quaternions.multiply(swing, from_rest), direction)
            swing = quaternions.multiply(quaternions.between(rest, wanted), swing)
            rotation = joints[ALL_JOINT_NAMES[joint]]
            aim = quaternions.normalized(end - positions[:, joint])
            if not target.space.is_uniform:
                aim = quaternions.normalized(target.space.directions_from_world(aim))
            rotation = quaternions.multiply(quaternions.between(quaternions.rotate(rotation, wanted), aim), rotation)
            rotations[bones[ALL_JOINT_NAMES[joint]]] = quaternions.multiply(rotation, swing)
    return rotations


def _finger_directions(target: Target, chain: list[str]) -> list[np.ndarray]:
    """The unit vectors (3,) along a finger's bones at rest; a last tail that points elsewhere is not trusted."""
    vectors = [target.heads[below] - target.heads[bone] for bone, below in pairwise(chain)]
    along = target.tails[chain[-1]] - target.heads[chain[-1]]
    before = vectors[-1] if vectors else along
    bent = along @ before < _FINGER_BEND * np.linalg.norm(along) * np.linalg.norm(before)
    vectors.append(before if bent else along)
    return [quaternions.normalized(vector) for vector in vectors]


@dataclass(frozen=True)
class _Segment:
    """One segment of a limb, between two joints: its rotation, and the rotations that its twist bones interpolate."""

    axis: np.ndarray  # (3,) its direction in the source's rest pose
    swing: np.ndarray  # (4,) from the target's rest pose to that direction
    rotation: np.ndarray  # (F, 4) of the source's joint
    start: np.ndarray  # (F, 4) rotation whose roll the segment has at its first joint
    stop: np.ndarray  # (F, 4) and at its last joint


def _twist_rotations(target: Target, joint: str, segment: _Segment) -> dict[str, np.ndarray]:
    """Rotations of a segment's twist bones, and of its main bone if inline twist bones carry its roll.

    The roll of an upper segment goes from the trunk's to its joint's, of a lower one from its joint's to the hand's or
    foot's. Each twist bone gets the fraction of it at the position of its head.
    """
    names = target.rig_map.twists.get(joint, ())
    if not names:
        return {}
    upper = joint.endswith(("hip", "shoulder"))
    between = quaternions.multiply(quaternions.inverse(segment.start), segment.stop)
    roll = np.unwrap(2 * np.arctan2(between[:, 1:] @ segment.axis, between[:, 0]))
    roll -= 2 * np.pi * np.round(np.median(roll) / (2 * np.pi))
    main = target.rig_map.bones[joint]
    along = target.direction(joint)
    inline = target.limb_bones(joint)[1:]
    rotations = {}
    for name in (main, *names):
        if upper and inline and name in (main, *inline):
            fraction = (0, *range(1, len(inline) + 1))[(main, *inline).index(name)] / len(inline)
        elif name == main:
            continue
        else:
            fraction = np.clip((target.heads[name] - target.joint(joint)) @ along / (along @ along), 0.0, 1.0)
        # The rotation of an upper segment includes the full roll: take back the rest of it.
        angle = (fraction - 1.0 if upper else fraction) * roll
        rolled = quaternions.about(np.broadcast_to(segment.axis, (len(roll), 3)), angle)
        rotations[name] = quaternions.multiply(quaternions.multiply(segment.rotation, rolled), segment.swing)
    return rotations


def _foot_heading(source: Animation, target: Target, ankle: str, toes: str, from_rest: np.ndarray) -> np.ndarray:
    """The rotation (4,) about the vertical that gives the target's foot at rest the heading of the source's."""
    bones = target.rig_map.bones
    end = target.heads[bones[toes]] if toes in bones else target.tails[bones[ankle]]
    foot = quaternions.rotate(from_rest, end - target.joint(ankle))
    wanted = source.heads[JOINT_NAMES.index(toes)] - source.heads[JOINT_NAMES.index(ankle)]
    horizontal = np.array([1.0, 1.0, 0.0])
    if np.linalg.norm(foot * horizontal) < _MIN_HORIZONTAL * np.linalg.norm(foot):
        return np.array([1.0, 0.0, 0.0, 0.0])
    return quaternions.between(foot * horizontal, wanted * horizontal)
