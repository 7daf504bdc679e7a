"""One foot of a target: its shape at rest, and how it rotates while its toe or heel is pinned. NumPy only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from ... import quaternions
from ...planted_feet import eased, nearest_rows
from .foot_pins import Pins
from .transfer import Target

# Set by hand: how far and how fast (radians, radians a second) a heel is raised for a leg that does not reach, and by
# how many radians at most for each foot length that it lacks.
_MOST_RAISED, _RAISE_SPEED, _RAISE_GAIN = np.radians(40), np.radians(120), 2.0
# Set by hand on the skeletons of tests/rigs. Of a leg's length: how far the armature's origin may be above or below the
# feet to count as the floor.
_FLOOR_ABOVE, _FLOOR_BELOW = 0.02, 0.15
_TOE, _HEEL = 0.6, 0.35  # of the toes' length before the ball, and of the foot's length behind the ankle
_FOOT, _TOES = 0.17, 0.4  # of a leg's length from ankle to ball, and of that from ball to the toes' end
# Set by hand on the characters of tests/rigs: how far above its lowest vertex a sole reaches, and how short and long it
# may be, and how high the ankle above it, of a leg's length; the heel's distance from its
# end, of its length; the fewest vertices of a foot.
_SOLE, _SHORTEST_SOLE, _LONGEST_SOLE, _HIGHEST_ANKLE, _HEEL_INSET, _FEWEST = 0.025, 0.08, 0.9, 0.6, 0.05, 4
_TILTS = np.radians([15, 35, 60])  # of a foot, of which `outline` finds the lowest points
_ROLL_WEIGHT = 0.3  # of the toes' roll against their direction, where rotations are fitted to points


def rest_foot_points(target: Target, vertices: Mapping[str, np.ndarray]) -> np.ndarray:
    """Toes and heels (4, 3) on the soles at rest: of the vertices (N, 3) of each side's foot, else of its bones.

    By the bones, they are on the floor that the rig stands on at rest: at the height of the armature's origin if that
    is plausible, else at the lowest end of a foot's bones.
    Feet whose bones end in arbitrary directions, as importers make them, get a usual length.
    """
    points = _of_bones(target)
    for number, side in enumerate(("left", "right")):
        if (sole := _of_vertices(target, side, vertices.get(side, np.zeros((0, 3))))) is not None:
            points[2 * number : 2 * number + 2] = sole
    return points


def outline(target: Target, side: str, vertices: np.ndarray) -> np.ndarray:
    """The vertices (N, 3) of a foot that are lowest when it is tilted one way or another."""
    up, front = quaternions.rotate(target.rest_orientation(), np.array([[0.0, 0.0, 1.0], [0.0, -1.0, 0.0]]))
    if not len(vertices) or _of_vertices(target, side, vertices) is None:
        return np.zeros((0, 3))
    aside = np.cross(up, front)
    lowest = {int(np.argmin(vertices @ up))}
    for heading in np.radians(range(0, 360, 45)):
        for tilt in _TILTS:
            down = np.cos(tilt) * up + np.sin(tilt) * (np.cos(heading) * front + np.sin(heading) * aside)
            lowest.add(int(np.argmin(vertices @ down)))
    return vertices[sorted(lowest)]


def _of_vertices(target: Target, side: str, vertices: np.ndarray) -> np.ndarray | None:
    """Toe and heel (2, 3) on the sole of a foot's vertices (N, 3); None if these are no foot."""
    if len(vertices) < _FEWEST:
        return None
    up, front = quaternions.rotate(target.rest_orientation(), np.array([[0.0, 0.0, 1.0], [0.0, -1.0, 0.0]]))
    leg = float(np.linalg.norm(target.direction(f"{side}_hip")) + np.linalg.norm(target.direction(f"{side}_knee")))
    ankle, toes = target.joint(f"{side}_ankle"), target.rig_map.bones.get(f"{side}_foot")
    heights = vertices @ up
    low = float(heights.min())
    sole = vertices[heights < low + _SOLE * leg]
    ahead = front if toes is None else target.heads[toes] - ankle
    ahead = ahead - up * (ahead @ up)
    if not ahead @ front > 0.7 * np.linalg.norm(ahead) > 0.02 * leg:  # a toe bone below or behind the ankle
        ahead = front
    ahead = quaternions.normalized(ahead)
    along = (sole - ankle) @ ahead
    first, last = float(along.min()), float(along.max())
    if not (
        _SHORTEST_SOLE * leg < last - first < _LONGEST_SOLE * leg
        and 0 < ankle @ up - low < _HIGHEST_ANKLE * leg
        and -_LONGEST_SOLE * leg < first < last < _LONGEST_SOLE * leg
    ):
        return None
    toe = last
    if toes is not None and first < (ball := float((target.heads[toes] - ankle) @ ahead)) < last:
        toe = ball + _TOE * (last - ball)
    aside = np.cross(up, ahead)
    across = aside * float(np.median((sole - ankle) @ aside)) if toes is None else np.zeros(3)
    heel = first + _HEEL_INSET * (last - first)
    ends = np.array([ankle + across + toe * ahead, ankle + across + heel * ahead])
    return ends + np.outer(low - ends @ up, up)


def _of_bones(target: Target) -> np.ndarray:
    """Toes and heels (4, 3) by the bones of the feet, see `rest_foot_points`."""
    up, front = quaternions.rotate(target.rest_orientation(), np.array([[0.0, 0.0, 1.0], [0.0, -1.0, 0.0]]))
    leg = float(np.linalg.norm(target.direction("left_hip")) + np.linalg.norm(target.direction("left_knee")))
    points, heights = [], []
    for side in ("left", "right"):
        ankle, toes = target.joint(f"{side}_ankle"), target.rig_map.bones.get(f"{side}_foot")
        ball = target.heads[toes] if toes else target.tails[target.rig_map.bones[f"{side}_ankle"]]
        foot = ball - ankle - up * ((ball - ankle) @ up)
        heights.append(ankle @ up)
        if foot @ front > 0.5 * np.linalg.norm(foot) and np.linalg.norm(foot) > 0.05 * leg:
            heights.append(ball @ up)
        else:
            foot = _FOOT * leg * front
        ahead = _TOES * foot if toes else np.zeros(3)
        if toes:
            bone = target.tails[toes] - ball
            bone, rise = bone - up * (bone @ up), bone @ up
            size, length = float(np.linalg.norm(foot)), float(np.linalg.norm(bone))
            if bone @ foot > 0.7 * length * size and 0.15 * size < length < size and abs(rise) < 0.7 * length:
                ahead = bone
                heights.append(ball @ up + rise)
        points += [ankle + foot + _TOE * ahead, ankle - _HEEL * foot]
    lowest, origin = float(min(heights)), float(target.space.origin @ up)
    floor = origin if -_FLOOR_BELOW * leg < origin - lowest < _FLOOR_ABOVE * leg else lowest
    return np.array([point + up * (floor - point @ up) for point in points])


@dataclass(frozen=True)
class Leg:
    """A leg at rest: its bones, and the points (3,) of its foot, in the body's space."""

    side: str
    foot: str
    toes: str  # the foot's bone if the toes have none
    ankle: np.ndarray
    ball: np.ndarray  # the toes' joint
    toe: np.ndarray  # on the sole, as heel and tip
    heel: np.ndarray
    tip: np.ndarray  # the end of the toes
    up: np.ndarray  # the normal of the sole
    length: float  # of thigh and shin
    outline: np.ndarray  # (N, 3) the points of the foot, without toes that have a bone, that may touch the ground

    @classmethod
    def of(cls, target: Target, side: str) -> Leg:
        """The left or the right leg of a target."""
        up = quaternions.rotate(target.rest_orientation(), np.array([0.0, 0.0, 1.0]))
        bones = target.rig_map.bones
        toe, heel = target.foot_points[:2] if side == "left" else target.foot_points[2:]
        foot, toes = bones[f"{side}_ankle"], bones.get(f"{side}_foot", "")
        ball = target.heads[toes] if toes else toe
        length = sum(float(np.linalg.norm(target.direction(f"{side}_{joint}"))) for joint in ("hip", "knee"))
        below_ball = ball + up * ((toe - ball) @ up)
        tip = below_ball + (toe - below_ball) / _TOE
        outline = target.outlines.get(side, np.zeros((0, 3)))
        return cls(side, foot, toes or foot, target.joint(f"{side}_ankle"), ball, toe, heel, tip, up, length, outline)

    @property
    def ball_height(self) -> float:
        """The height of the ball above the sole."""
        return float((self.ball - self.toe) @ self.up)

    @property
    def foot_length(self) -> float:
        """From heel to toe."""
        return float(np.linalg.norm(self.toe - self.heel))

    def points(self, ankle: np.ndarray, foot: np.ndarray, toes: np.ndarray) -> np.ndarray:
        """Toe, heel and ankle (F, 3, 3) for an ankle (F, 3) and rotations (F, 4) of foot and toes."""
        ball = ankle + quaternions.rotate(foot, self.ball - self.ankle)
        heel = ankle + quaternions.rotate(foot, self.heel - self.ankle)
        return np.stack([ball + quaternions.rotate(toes, self.toe - self.ball), heel, ankle], 1)

    def shapes(self) -> tuple[np.ndarray, np.ndarray]:
        """The shapes (3, 3) of foot and toes for eased_rotations."""
        points = np.array([self.ankle, self.heel, self.ball])
        points, toes = points - points.mean(0), quaternions.normalized(self.toe - self.ball)
        return points.T @ points, np.outer(toes, toes) + _ROLL_WEIGHT * np.eye(3)

    def sunk(self, foot: np.ndarray, ankle: np.ndarray, up: np.ndarray, ground: np.ndarray) -> np.ndarray:
        """How far (F,) the outline of a foot with rotations (F, 4) on an ankle (F, 3) is below the ground (F,)."""
        lowest = np.full(len(foot), np.inf)
        for point in self.outline:
            lowest = np.minimum(lowest, quaternions.rotate(foot, point - self.ankle) @ up)
        return np.maximum(ground - ankle @ up - lowest, 0.0)

    def ankle_above_ground(self, motion: FootMotion, ankle: np.ndarray, up: np.ndarray) -> np.ndarray:
        """The ankle (F, 3), raised where nothing is planted as far as the foot is below the ground."""
        heel, ball = (ankle + quaternions.rotate(motion.foot, point - self.ankle) for point in (self.heel, self.ball))
        sunk = motion.ground - np.minimum(heel @ up, ball @ up - self.ball_height)
        sunk = np.maximum(sunk, self.sunk(motion.foot, ankle, up, motion.ground))
        return ankle + np.where(motion.planted, 0.0, sunk)[:, None] * up

    def toes_above_ground(self, motion: FootMotion, ankle: np.ndarray, up: np.ndarray) -> np.ndarray:
        """The toes' rotations (F, 4), bent up where their tip would be below the ground."""
        ball = ankle + quaternions.rotate(motion.foot, self.ball - self.ankle)
        raising = _raising(quaternions.rotate(motion.toes, self.tip - self.ball), up, motion.ground - ball @ up)
        return quaternions.multiply(raising, motion.toes)


@dataclass(frozen=True)
class FootMotion:
    """A foot over F frames, in the body's space."""

    planted: np.ndarray  # (F,) bool: toe or heel
    foot: np.ndarray  # (F, 4) rotations from rest
    toes: np.ndarray  # (F, 4)
    ankle: np.ndarray  # (F, 3) only valid where the foot is planted
    ground: np.ndarray  # (F,) height of the ground


@dataclass(frozen=True)
class PlantedFoot:
    """A foot on its pins, and the rotations of foot and toes in the pose without them."""

    leg: Leg
    pins: Pins
    planted_rotations: np.ndarray  # (F, 4) of the foot, valid where it is planted
    foot: np.ndarray  # (F, 4) without pins
    toes: np.ndarray  # (F, 4) without pins
    up: np.ndarray
    ease: float  # rows

    @classmethod
    def of(cls, leg: Leg, pins: Pins, foot: np.ndarray, toes: np.ndarray, up: np.ndarray, ease: float) -> PlantedFoot:
        """A foot that is flat where both points are pinned; on one pin it keeps its rotation, but above the floor."""
        return cls(leg, pins, _planted_rotations(leg, pins, foot, up, ease), foot, toes, up, ease)

    @property
    def planted(self) -> np.ndarray:
        """Whether toe or heel is planted (F,)."""
        return np.asarray(self.pins.planted.any(1))

    def motion(self) -> FootMotion:
        """The foot over all rows. Planted toes lie flat, so that a foot whose heel is raised rolls over its ball."""
        leg, (toe, _), (shape, toes_shape) = self.leg, self.pins.planted.T, self.leg.shapes()
        foot = eased_rotations(self.foot, self.planted_rotations, self.planted, self.ease, shape)
        toes = quaternions.multiply(quaternions.multiply(foot, quaternions.inverse(self.foot)), self.toes)
        flat = quaternions.multiply(quaternions.between(quaternions.rotate(foot, leg.up), self.up), foot)
        toes = eased_rotations(toes, flat, toe, self.ease, toes_shape)
        ball = self.pins.positions[:, 0] + quaternions.rotate(toes, leg.ball - leg.toe)
        on_heel = self.pins.positions[:, 1] + quaternions.rotate(foot, leg.ankle - leg.heel)
        ankle = np.where(toe[:, None], ball + quaternions.rotate(foot, leg.ankle - leg.ball), on_heel)
        # A foot that rolls over its toe or heel rests on what is lowest of it, be it the side of a shoe.
        ankle = ankle + leg.sunk(foot, ankle, self.up, self.pins.ground)[:, None] * self.up
        return FootMotion(self.planted, foot, toes, ankle, self.pins.ground)

    def with_heel_raised(self, hip: np.ndarray, reach: np.ndarray, rate: float) -> PlantedFoot:
        """The foot with its heel raised further where only the toe is planted and the leg would exceed ``reach`` (F,).

        People do so before they lower the pelvis. The angle grows with the time from the heel's contacts, so that
        nothing jumps there, and is limited by how much it helps. hip (F, 3); ``rate``: rows a second.
        """
        leg, (toe, heel), motion = self.leg, self.pins.planted.T, self.motion()
        to_ankle = quaternions.rotate(motion.foot, leg.ankle - leg.ball)
        to_hip = hip - (motion.ankle - to_ankle)
        axis = quaternions.normalized(np.cross(self.up, quaternions.rotate(motion.toes, leg.toe - leg.heel)))
        # The angle about the ball at which the ankle is at ``reach`` from the hip: A cos + B sin = C.
        along = np.sum(to_ankle * axis, -1, keepdims=True) * axis
        a, b = np.sum(to_hip * (to_ankle - along), -1), np.sum(to_hip * np.cross(axis, to_ankle), -1)
        c = (np.sum(to_ankle**2, -1) + np.sum(to_hip**2, -1) - reach**2) / 2 - np.sum(to_hip * along, -1)
        angle = np.arctan2(b, a) - np.arccos(np.clip(c / np.maximum(np.hypot(a, b), 1e-9), -1, 1))
        lack = np.linalg.norm(to_hip - to_ankle, axis=-1) - reach
        most = np.minimum(_MOST_RAISED, _RAISE_GAIN * lack / np.linalg.norm(leg.ankle - leg.ball))
        if heel.any():
            from_contact = np.abs(np.stack(nearest_rows(heel)) - np.arange(len(heel))).min(0)
            most = np.minimum(most, _RAISE_SPEED * from_contact / rate)
        angle = np.where(toe & ~heel & (lack > 0), np.clip(angle, 0, np.maximum(most, 0)), 0)
        return replace(self, planted_rotations=quaternions.multiply(quaternions.about(axis, angle), motion.foot))


def _planted_rotations(leg: Leg, pins: Pins, foot: np.ndarray, up: np.ndarray, ease: float) -> np.ndarray:
    """Rotations (F, 4) of a foot where it is planted: flat on two pins, else the pose's (F, 4) kept above the floor."""
    toe, heel = pins.planted.T
    level = quaternions.between(leg.up, up)
    sole, wanted = quaternions.rotate(level, leg.toe - leg.heel), pins.positions[:, 0] - pins.positions[:, 1]
    yaw = np.arctan2(np.cross(sole, wanted) @ up, wanted @ sole)
    flat = quaternions.multiply(quaternions.about(np.broadcast_to(up, wanted.shape), yaw), level)
    rotations = eased_rotations(foot, flat, toe & heel, ease, leg.shapes()[0])
    for only, end, height in (
        (toe & ~heel, leg.heel - leg.ball, -leg.ball_height),
        (heel & ~toe, leg.ball - leg.heel, leg.ball_height),
    ):
        raising = _raising(quaternions.rotate(rotations, end), up, np.full(len(rotations), height))
        rotations = np.where(only[:, None], quaternions.multiply(raising, rotations), rotations)
    return rotations


def eased_rotations(
    rotations: np.ndarray, wanted: np.ndarray, known: np.ndarray, ease: float, shape: np.ndarray
) -> np.ndarray:
    """Rotations (F, 4) that are the wanted ones (F, 4) in the known rows (F,) and fade to the given ones around them.

    The displacement of the rotated points is eased, not the angle, so that no point's speed jumps where a contact
    begins or ends; then the rotation that fits the points best is taken (Kabsch 1976). ``shape`` (3, 3): the sum of the
    outer products of the points at rest.
    """
    before = quaternions.to_matrices(rotations)
    change = (quaternions.to_matrices(wanted) - before).reshape(-1, 9)
    left, _, right = np.linalg.svd((before + eased(change, known, ease).reshape(-1, 3, 3)) @ shape)
    left[..., 2] *= np.linalg.det(left @ right)[..., None]
    return quaternions.of_matrices(left @ right)


def _raising(vectors: np.ndarray, up: np.ndarray, lowest: np.ndarray) -> np.ndarray:
    """The smallest rotations (F, 4) that raise vectors (F, 3) to at least the heights ``lowest`` (F,) along ``up``."""
    length = np.linalg.norm(vectors, axis=-1)
    height = np.clip(vectors @ up, np.minimum(lowest, 0.99 * length), None)
    horizontal = quaternions.normalized(vectors - (vectors @ up)[:, None] * up)
    horizontal *= np.sqrt(np.maximum(length**2 - height**2, 0))[:, None]
    return quaternions.between(vectors, horizontal + height[:, None] * up)
