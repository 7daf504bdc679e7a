"""One foot of a target: its shape at rest, and how it rotates while its toe or heel is pinned. NumPy only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from ... import quaternions
from ...motion import true_intervals
from ...planted_feet import eased, mean_of_planted, nearest_rows, smooth_maximum
from .foot_pins import Pins
from .transfer import Target

# Set by hand: how far and how fast (radians, radians a second) a heel is raised for a leg that does not reach, the
# seconds in which it gets so fast, and by how many radians at most for each foot length that it lacks.
_MOST_RAISED, _RAISE_SPEED, _RAISE_EASE, _RAISE_GAIN = np.radians(40), np.radians(120), 0.08, 2.0
# Set by hand on the skeletons of tests/rigs. Of a leg's length: how far the armature's origin may be above or below the
# feet to count as the floor.
_FLOOR_ABOVE, _FLOOR_BELOW = 0.02, 0.15
_TOE, _HEEL = 0.6, 0.35  # of the toes' length before the ball, and of the foot's length behind the ankle
_FOOT, _TOES = 0.17, 0.4  # of a leg's length from ankle to ball, and of that from ball to the toes' end
# Set by hand on the characters of tests/rigs, of a leg's length: how far above its lowest vertex a sole reaches at
# least, and at most if the foot stands on its toes at rest; how short and long it may be, and how high the ankle above
# it. The heel's distance from the sole's end, of its length; the fewest vertices of a foot.
_SOLES, _SHORTEST_SOLE, _LONGEST_SOLE, _HIGHEST_ANKLE, _HEEL_INSET, _FEWEST = (0.025, 0.05), 0.08, 1.2, 0.6, 0.05, 4
# A bone of toes bends a sole if it carries at least this share of what is ahead of its joint, and if of what it carries
# at most that share is farther behind its joint than so much of the way to the heel. Set by hand.
_LEAST_AHEAD, _MOST_BEHIND, _BEHIND = 0.5, 0.1, 0.25
_HEADINGS, _TILTS = 30, np.radians([10, 20, 35, 50, 70, 85])  # of a foot, of which `_outline` finds the lowest points
# Of points that touch the ground alike, the nearest to a pin stays: by how much higher it may be, of its distance.
_NEAR_PIN = 0.02
_MOST_HELD = np.radians(10)  # by which a foot on its toe or heel is kept from turning on it, set by hand
_ROLL_WEIGHT = 0.3  # of the toes' roll against their direction, where rotations are fitted to points
# The fastest that toes bend to stay above the ground, radians a second: as fast as captured people turn their feet over
# planted toes (495 degrees a second in the motions of tests/rigs).
_TOE_SPEED = np.radians(500)
_TOE_EASE = 0.15  # seconds in which toes bend for the ground, set by hand


def with_feet(
    target: Target,
    vertices: Mapping[str, np.ndarray],
    on_toes: Mapping[str, np.ndarray],
    shares: Mapping[str, np.ndarray],
) -> Target:
    """The target with the foot points and outlines of each side's vertices (N, 3), else of its bones.

    on_toes (N,) bool: which the toes' bone carries; shares (N,): of the weight, that foot and toes have. By the bones,
    the foot points are on the floor that the rig stands on at rest: at the height of the armature's origin if that is
    plausible, else at the lowest end of a foot's bones. Feet whose bones end in arbitrary directions, as importers make
    them, get a usual length.
    """
    points = _of_bones(target)
    outlines, toe_outlines, outline_shares, stiff = {}, {}, {}, set()
    for number, side in enumerate(("left", "right")):
        found = vertices.get(side, np.zeros((0, 3)))
        sole = _Sole.of(target, side, found) if len(found) >= _FEWEST else None
        if sole is None:
            continue
        toes = on_toes[side] & sole.is_bent_by(on_toes[side])
        if not toes.any():
            stiff.add(side)
        points[2 * number : 2 * number + 2] = sole.ends(bends=bool(toes.any()))
        parts = [np.flatnonzero(which) for which in (~toes, toes)]
        parts = [rows[_outline(found[rows] - sole.ankle, shares[side][rows], sole)] for rows in parts]
        outlines[side], toe_outlines[side] = (found[rows] for rows in parts)
        outline_shares[side] = shares[side][np.concatenate(parts)]
    return replace(
        target, foot_points=points, outlines=outlines, toe_outlines=toe_outlines, outline_shares=outline_shares,
        stiff=frozenset(stiff),
    )  # fmt: skip


def _outline(vertices: np.ndarray, shares: np.ndarray, sole: _Sole) -> np.ndarray:
    """Which (K,) of a foot's vertices (N, 3), from its ankle, are lowest when it is tilted one way or another.

    Also of those that the shin, which is upright meanwhile, carries with the rest of their shares (N,).
    """
    if not len(vertices):
        return np.zeros(0, int)
    aside, headings = np.cross(sole.up, sole.ahead), np.radians(range(0, 360, _HEADINGS))
    level = np.outer(np.cos(headings), sole.ahead) + np.outer(np.sin(headings), aside)
    ups = np.concatenate([sole.up[None], *(np.cos(tilt) * sole.up + np.sin(tilt) * level for tilt in _TILTS)])
    carried = vertices @ ups.T
    stretched = shares[:, None] * carried + np.outer((1 - shares) * (vertices @ sole.up), np.ones(len(ups)))
    return np.unique(np.argmin(np.concatenate([carried, stretched], 1), axis=0))


@dataclass(frozen=True)
class _Sole:
    """The sole of one foot at rest."""

    ankle: np.ndarray  # (3,)
    up: np.ndarray  # (3,)
    ahead: np.ndarray  # (3,) the horizontal direction of its toes
    low: float  # its height
    rows: np.ndarray  # (N,) bool: vertices of the foot that belong to it
    along: np.ndarray  # (N,) how far ahead of the ankle vertices are
    aside: float  # its middle, from the ankle
    ball: float | None  # how far ahead of the ankle the toes' joint is, if there is one over the sole

    @classmethod
    def of(cls, target: Target, side: str, vertices: np.ndarray) -> _Sole | None:
        """The sole of a foot's vertices (N, 3); None if these are no foot."""
        up, front = quaternions.rotate(target.rest_orientation(), np.array([[0.0, 0.0, 1.0], [0.0, -1.0, 0.0]]))
        leg = float(np.linalg.norm(target.direction(f"{side}_hip")) + np.linalg.norm(target.direction(f"{side}_knee")))
        ankle, toes = target.joint(f"{side}_ankle"), target.rig_map.bones.get(f"{side}_foot")
        ahead = front if toes is None else target.heads[toes] - ankle
        ahead = ahead - up * (ahead @ up)
        if not ahead @ front > 0.7 * np.linalg.norm(ahead) > 0.02 * leg:  # a toe bone below or behind the ankle
            ahead = front
        ahead = quaternions.normalized(ahead)
        along, heights = (vertices - ankle) @ ahead, vertices @ up
        low = float(heights.min())
        for height in _SOLES:
            rows = heights < low + height * leg
            first, last = float(along[rows].min()), float(along[rows].max())
            if last - first > _SHORTEST_SOLE * leg:
                break
        if not (
            _SHORTEST_SOLE * leg < last - first < _LONGEST_SOLE * leg
            and 0 < ankle @ up - low < _HIGHEST_ANKLE * leg
            and -_LONGEST_SOLE * leg < first < last < _LONGEST_SOLE * leg
        ):
            return None
        ball = None if toes is None else float((target.heads[toes] - ankle) @ ahead)
        aside = 0.0 if toes else float(np.median((vertices[rows] - ankle) @ np.cross(up, ahead)))
        return cls(ankle, up, ahead, low, rows, along, aside, ball if ball and first < ball < last else None)

    def is_bent_by(self, on_toes: np.ndarray) -> bool:
        """Whether the toes' bone, which carries some vertices (N,), bends the sole at its joint.

        Some carry nothing, others half the shoe: a foot that rolled over such toes would sink, or tear the shoe.
        """
        if self.ball is None or not (carried := self.rows & on_toes).any():
            return False
        behind = self.ball - _BEHIND * (self.ball - self.along[self.rows].min())
        ahead = self.rows & (self.along > self.ball)
        return bool(on_toes[ahead].mean() >= _LEAST_AHEAD and (self.along[carried] < behind).mean() <= _MOST_BEHIND)

    def ends(self, *, bends: bool) -> np.ndarray:
        """Toe and heel (2, 3): the toe is the front, or on toes that bend."""
        first, last = self.along[self.rows].min(), self.along[self.rows].max()
        toe = self.ball + _TOE * (last - self.ball) if bends and self.ball is not None else last
        heel = first + _HEEL_INSET * (last - first)
        middle = self.ankle + self.aside * np.cross(self.up, self.ahead)
        points = np.array([middle + toe * self.ahead, middle + heel * self.ahead])
        return points + np.outer(self.low - points @ self.up, self.up)


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


class FootRotations(NamedTuple):
    """Rotations (F, 4) from rest of the bones that carry a foot's skin, in the body's space."""

    foot: np.ndarray
    toes: np.ndarray
    shin: np.ndarray


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
    outline: np.ndarray  # (N, 3) the points of the foot that may touch the ground, without toes that bend
    toe_outline: np.ndarray  # (M, 3) those of toes that bend
    shares: np.ndarray  # (N + M,) of these points, that foot and toes carry; the shin stretches what it carries

    @classmethod
    def of(cls, target: Target, side: str) -> Leg:
        """The left or the right leg of a target."""
        up = quaternions.rotate(target.rest_orientation(), np.array([0.0, 0.0, 1.0]))
        bones = target.rig_map.bones
        toe, heel = target.foot_points[:2] if side == "left" else target.foot_points[2:]
        foot, toes = bones[f"{side}_ankle"], "" if side in target.stiff else bones.get(f"{side}_foot", "")
        ball = target.heads[toes] if toes else toe
        length = sum(float(np.linalg.norm(target.direction(f"{side}_{joint}"))) for joint in ("hip", "knee"))
        below_ball = ball + up * ((toe - ball) @ up)
        tip = below_ball + (toe - below_ball) / _TOE
        outline, toe_outline = (found.get(side) for found in (target.outlines, target.toe_outlines))
        if outline is None or toe_outline is None:
            outline, toe_outline = (np.array([heel]), np.array([toe, tip])) if toes else (np.array([heel, toe]), None)
        if toe_outline is None:
            toe_outline = np.zeros((0, 3))
        ankle = target.joint(f"{side}_ankle")
        shares = target.outline_shares.get(side, np.ones(len(outline) + len(toe_outline)))
        return cls(side, foot, toes or foot, ankle, ball, toe, heel, tip, up, length, outline, toe_outline, shares)

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

    def heights(self, turned: FootRotations, up: np.ndarray) -> np.ndarray:
        """The heights (F, N + M) above the ankle of both outlines."""
        up_of_foot, up_of_toes, up_of_shin = (quaternions.rotate(quaternions.inverse(each), up) for each in turned)
        ball = up_of_foot @ (self.ball - self.ankle)
        of_toes = ball[:, None] + up_of_toes @ (self.toe_outline - self.ball).T
        carried = np.concatenate([up_of_foot @ (self.outline - self.ankle).T, of_toes], 1)
        points = np.concatenate([self.outline, self.toe_outline])
        return self.shares * carried + (1 - self.shares) * (up_of_shin @ (points - self.ankle).T)

    def distances_to_pins(self, planted: np.ndarray) -> np.ndarray:
        """The distances (F, N + M) at rest of the outlines' points from the nearest of toe and heel that is planted."""
        points = np.concatenate([self.outline, self.toe_outline])
        far = [np.linalg.norm(points - end, axis=1) for end in (self.toe, self.heel)]
        return np.min([np.where(column[:, None], each, np.inf) for column, each in zip(planted.T, far, strict=True)], 0)

    def outline_points(self, turned: FootRotations, which: np.ndarray) -> np.ndarray:
        """The points (F, 3) of the outlines with the numbers ``which`` (F,), from the ankle."""
        at_rest, shares = np.concatenate([self.outline, self.toe_outline])[which], self.shares[which, None]
        bent = quaternions.rotate(turned.foot, self.ball - self.ankle)
        bent = bent + quaternions.rotate(turned.toes, at_rest - self.ball)
        on_foot = (which < len(self.outline))[:, None]
        carried = np.where(on_foot, quaternions.rotate(turned.foot, at_rest - self.ankle), bent)
        return shares * carried + (1 - shares) * quaternions.rotate(turned.shin, at_rest - self.ankle)

    def ankle_above_ground(self, motion: FootMotion, toes: np.ndarray, ankle: np.ndarray, up: np.ndarray) -> np.ndarray:
        """The ankle (F, 3), raised where nothing is planted as far as foot or toes (F, 4) are below the ground."""
        sunk = motion.ground - ankle @ up - self.heights(FootRotations(motion.foot, toes, motion.shin), up).min(1)
        return ankle + np.where(motion.planted, 0.0, np.maximum(sunk, 0.0))[:, None] * up

    def toes_above_ground(self, motion: FootMotion, ankle: np.ndarray, up: np.ndarray, rate: float) -> np.ndarray:
        """The toes' rotations (F, 4), bent up where they would be below the ground, as far as they turn so fast.

        They begin to bend before that, so that nothing snaps.
        """
        ball = ankle + quaternions.rotate(motion.foot, self.ball - self.ankle)
        tip = quaternions.rotate(motion.toes, self.tip - self.ball)
        raising = _raising(tip, up, motion.ground - ball @ up)
        angle = np.where(motion.on_toe, 0.0, 2 * np.arctan2(np.linalg.norm(raising[:, 1:], axis=1), raising[:, 0]))
        angle = smooth_maximum(angle, _TOE_EASE * rate)
        angle = np.minimum(angle, _TOE_SPEED * _time_from(motion.on_toe, rate))
        axis = np.cross(tip, up)
        return quaternions.multiply(quaternions.about(quaternions.normalized(axis), angle), motion.toes)


@dataclass(frozen=True)
class FootMotion:
    """A foot over F frames, in the body's space."""

    planted: np.ndarray  # (F,) bool: toe or heel
    on_toe: np.ndarray  # (F,) bool: toe
    foot: np.ndarray  # (F, 4) rotations from rest
    toes: np.ndarray  # (F, 4)
    shin: np.ndarray  # (F, 4)
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
    shin: np.ndarray  # (F, 4) about as it will be with pins: the ankle's place depends little on it
    up: np.ndarray
    ease: float  # rows

    @classmethod
    def of(cls, leg: Leg, pins: Pins, turned: FootRotations, up: np.ndarray, ease: float) -> PlantedFoot:
        """A foot that is flat where both points are pinned; on one pin it keeps its rotation, but above the floor."""
        return cls(leg, pins, _planted_rotations(leg, pins, turned.foot, up, ease), *turned, up, ease)

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
        ankle = self._rolled(ankle, FootRotations(foot, toes, self.shin))
        return FootMotion(self.planted, toe, foot, toes, self.shin, ankle, self.pins.ground)

    def _rolled(self, ankle: np.ndarray, turned: FootRotations) -> np.ndarray:
        """The ankle (F, 3), moved so that the foot rolls over its outline without sliding, where it is planted.

        Soles are round, and shoes pointed: a foot that is tilted touches the ground elsewhere than at its toe or heel.
        From row to row it turns about what is lowest in both; where it lies flat, it is on its pins.
        """
        leg, up, pins, planted = self.leg, self.up, self.pins, self.planted
        heights = leg.heights(turned, up)
        heights[~pins.planted[:, 0], len(leg.outline) :] = np.inf  # these toes bend for the ground
        lowest = heights.min(1)
        ankle = ankle + (pins.ground - ankle @ up - lowest)[:, None] * up
        above = heights - lowest[:, None] + _NEAR_PIN * leg.distances_to_pins(pins.planted)
        touching = np.argmin(np.maximum(above[1:], above[:-1]), axis=1)
        before, after = (
            leg.outline_points(FootRotations(*(each[rows] for each in turned)), touching)
            for rows in (slice(-1), slice(1, None))
        )
        both = pins.planted[1:] & pins.planted[:-1]
        slid = np.diff(ankle, axis=0) + after - before - mean_of_planted(np.diff(pins.positions, axis=0), both)
        rolls = planted[1:] & planted[:-1] & ~both.all(1)
        if leg.toes != leg.foot:
            rolls &= ~both[:, 0]  # it bends over toes that lie on their pin
        slid = np.where(rolls[:, None], slid - (slid @ up)[:, None] * up, 0.0)
        offset = -np.concatenate([np.zeros((1, 3)), np.cumsum(slid, axis=0)])
        flat: np.ndarray = np.asarray(pins.planted.all(1))
        for start, stop in true_intervals(planted):
            rows = np.arange(start, stop)
            known = rows[flat[start:stop]]
            for axis in range(3):
                there = np.interp(rows, known, offset[known, axis]) if len(known) else offset[rows, axis].mean()
                offset[rows, axis] -= there
        return ankle + np.where(planted[:, None], offset, 0.0)

    def with_heel_raised(self, hip: np.ndarray, reach: np.ndarray, rate: float) -> PlantedFoot:
        """The foot with its heel raised further where only the toe is planted and the leg would exceed ``reach`` (F,).

        People do so before they lower the pelvis. The angle grows with the time from the heel's contacts, so that
        nothing jumps there, and is limited by how much it helps. hip (F, 3); ``rate``: rows a second.
        """
        leg, (toe, heel), motion = self.leg, self.pins.planted.T, self.motion()
        only_toe: np.ndarray = toe & ~heel
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
        time = _time_from(heel, rate)
        most = np.minimum(most, _RAISE_SPEED * np.minimum(time, time**2 / _RAISE_EASE))
        angle = np.where(only_toe & (lack > 0), np.clip(angle, 0, np.maximum(most, 0)), 0)
        raised = np.zeros(len(angle))
        for start, stop in true_intervals(only_toe):
            raised[start:stop] = _with_slope(angle[start:stop], _RAISE_SPEED / rate)
        return replace(self, planted_rotations=quaternions.multiply(quaternions.about(axis, raised), motion.foot))


def _planted_rotations(leg: Leg, pins: Pins, foot: np.ndarray, up: np.ndarray, ease: float) -> np.ndarray:
    """Rotations (F, 4) of a foot where it is planted: flat on two pins, else the pose's (F, 4) kept above the floor."""
    toe, heel = pins.planted.T
    level = quaternions.between(leg.up, up)
    sole, wanted = quaternions.rotate(level, leg.toe - leg.heel), pins.positions[:, 0] - pins.positions[:, 1]
    yaw = np.arctan2(np.cross(sole, wanted) @ up, wanted @ sole)
    flat = quaternions.multiply(quaternions.about(np.broadcast_to(up, wanted.shape), yaw), level)
    rotations = eased_rotations(foot, flat, toe & heel, ease, leg.shapes()[0])
    soles = quaternions.rotate(rotations, leg.toe - leg.heel)
    ahead = quaternions.rotate(level, leg.toe - leg.heel)
    headings = np.arctan2(np.cross(ahead, soles) @ up, soles @ ahead)
    yaw = _held_headings(headings, toe | heel, toe & heel) - headings
    rotations = quaternions.multiply(quaternions.about(np.broadcast_to(up, soles.shape), yaw), rotations)
    for only, end, height in (
        (toe & ~heel, leg.heel - leg.ball, -leg.ball_height),
        (heel & ~toe, leg.ball - leg.heel, leg.ball_height),
    ):
        raising = _raising(quaternions.rotate(rotations, end), up, np.full(len(rotations), height))
        rotations = np.where(only[:, None], quaternions.multiply(raising, rotations), rotations)
    return rotations


def _held_headings(headings: np.ndarray, planted: np.ndarray, flat: np.ndarray) -> np.ndarray:
    """Headings (F,) of a foot that while it is planted (F,) keeps the one that it has where it is flat (F,).

    A foot on its toe or heel that turns farther than ``_MOST_HELD`` turns with the pose, but that much less.
    """
    headings = headings.copy()
    for start, stop in true_intervals(planted):
        part = np.unwrap(headings[start:stop])
        known = np.flatnonzero(flat[start:stop])
        if len(known):
            first, last = known[0], known[-1]
            part[:first] = _with_play(part[:first][::-1], part[first])[::-1]
            part[last + 1 :] = _with_play(part[last + 1 :], part[last])
        else:
            part = _with_play(part, float(np.median(part)))
        headings[start:stop] = part
    return headings


def _with_play(angles: np.ndarray, start: float) -> np.ndarray:
    """Angles (F,) that stay at the start until the given ones (F,) are farther than ``_MOST_HELD`` from them."""
    kept = np.empty_like(angles)
    for row, angle in enumerate(angles):
        start = float(np.clip(start, angle - _MOST_HELD, angle + _MOST_HELD))
        kept[row] = start
    return kept


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


def _with_slope(values: np.ndarray, most: float) -> np.ndarray:
    """The largest values (F,) up to the given ones (F,) that change by at most so much from row to row."""
    rows = np.arange(len(values))
    ahead = np.minimum.accumulate(values - most * rows) + most * rows
    return np.minimum.accumulate((ahead + most * rows)[::-1])[::-1] - most * rows


def _time_from(planted: np.ndarray, rate: float) -> np.ndarray:
    """The time (F,) in seconds from the nearest row in which a point is planted (F,), before or after."""
    if not planted.any():
        return np.full(len(planted), np.inf)
    return np.abs(np.stack(nearest_rows(planted)) - np.arange(len(planted))).min(0) / rate


def _raising(vectors: np.ndarray, up: np.ndarray, lowest: np.ndarray) -> np.ndarray:
    """The smallest rotations (F, 4) that raise vectors (F, 3) to at least the heights ``lowest`` (F,) along ``up``."""
    length = np.linalg.norm(vectors, axis=-1)
    height = np.clip(vectors @ up, np.minimum(lowest, 0.99 * length), None)
    horizontal = quaternions.normalized(vectors - (vectors @ up)[:, None] * up)
    horizontal *= np.sqrt(np.maximum(length**2 - height**2, 0))[:, None]
    return quaternions.between(vectors, horizontal + height[:, None] * up)
