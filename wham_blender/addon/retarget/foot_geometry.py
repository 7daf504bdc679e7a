"""One foot: its shape at rest, and how it turns while its toes or heel are pinned to the floor. NumPy only."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ... import quaternions
from ...planted_feet import eased
from .foot_pins import Pins
from .transfer import Target

_ROLL, _ROLL_SPEED = np.radians(40), np.radians(120)  # how far, and how fast a second, a heel is raised further
_ROLL_GAIN = 2.0  # radians at most for each foot's length that is lacking
_FLOOR_ABOVE, _FLOOR_BELOW = 0.02, 0.15  # of a leg: where an armature's origin may lie from its feet to be the floor
_TOE, _HEEL = 0.6, 0.35  # of the toes' length before the ball, and of the foot's length behind the ankle
_FOOT, _TOES = 0.17, 0.4  # of a leg's length from ankle to ball, and of that from there to the toes' end
_BREADTH = 0.3  # of toes: how much their roll counts where they are fitted to points, against where they head


def soles(target: Target) -> np.ndarray:
    """About where toes and heels (4, 3) are, from the bones of the feet: on the floor that the rig stands on at rest.

    That is the level of the armature's origin where this can be, else the lowest end of a foot's bones. Bones whose
    ends point anywhere, as importers make them, are taken for a foot of usual length.
    """
    up, front = quaternions.rotate(target.standing(), np.array([[0.0, 0.0, 1.0], [0.0, -1.0, 0.0]]))
    leg = float(np.linalg.norm(target.direction("left_hip")) + np.linalg.norm(target.direction("left_knee")))
    points, low = [], []
    for side in ("left", "right"):
        ankle, toes = target.joint(f"{side}_ankle"), target.rig_map.bones.get(f"{side}_foot")
        ball = target.heads[toes] if toes else target.tails[target.rig_map.bones[f"{side}_ankle"]]
        along = ball - ankle - up * ((ball - ankle) @ up)
        low.append(ankle @ up)
        if along @ front > 0.5 * np.linalg.norm(along) and np.linalg.norm(along) > 0.05 * leg:
            low.append(ball @ up)
        else:
            along = _FOOT * leg * front
        ahead = _TOES * along if toes else np.zeros(3)
        if toes:
            drawn = target.tails[toes] - ball
            drawn, down = drawn - up * (drawn @ up), drawn @ up
            size, length = float(np.linalg.norm(along)), float(np.linalg.norm(drawn))
            if drawn @ along > 0.7 * length * size and 0.15 * size < length < size and abs(down) < 0.7 * length:
                ahead = drawn
                low.append(ball @ up + down)
        points += [ankle + along + _TOE * ahead, ankle - _HEEL * along]
    lowest, origin = float(min(low)), float(target.space.origin @ up)
    floor = origin if -_FLOOR_BELOW * leg < origin - lowest < _FLOOR_ABOVE * leg else lowest
    return np.array([point + up * (floor - point @ up) for point in points])


@dataclass(frozen=True)
class Leg:
    """A leg at rest: its bones, and the points of its foot, all in the body's space."""

    side: str
    foot: str
    toes: str  # the foot's bone where there are none of their own
    ankle: np.ndarray  # (3,)
    ball: np.ndarray  # where the toes turn
    toe: np.ndarray  # on the sole, like the next two
    heel: np.ndarray
    tip: np.ndarray  # the end of the toes
    up: np.ndarray  # from the sole
    length: float  # of thigh and shin

    @classmethod
    def of(cls, target: Target, side: str) -> Leg:
        """The left or the right leg of a target."""
        up = quaternions.rotate(target.standing(), np.array([0.0, 0.0, 1.0]))
        bones = target.rig_map.bones
        toe, heel = target.soles[:2] if side == "left" else target.soles[2:]
        foot, toes = bones[f"{side}_ankle"], bones.get(f"{side}_foot", "")
        ball = target.heads[toes] if toes else toe
        length = sum(float(np.linalg.norm(target.direction(f"{side}_{joint}"))) for joint in ("hip", "knee"))
        under = ball + up * ((toe - ball) @ up)
        tip = under + (toe - under) / _TOE
        return cls(side, foot, toes or foot, target.joint(f"{side}_ankle"), ball, toe, heel, tip, up, length)

    @property
    def tread(self) -> float:
        """How high the ball is above the sole."""
        return float((self.ball - self.toe) @ self.up)

    @property
    def sole(self) -> float:
        """From heel to toe."""
        return float(np.linalg.norm(self.toe - self.heel))

    def points(self, ankle: np.ndarray, foot: np.ndarray, toes: np.ndarray) -> np.ndarray:
        """Toe, heel and ankle (F, 3, 3) where the ankle (F, 3) is there and foot and toes turn (F, 4) so."""
        ball = ankle + quaternions.rotate(foot, self.ball - self.ankle)
        heel = ankle + quaternions.rotate(foot, self.heel - self.ankle)
        return np.stack([ball + quaternions.rotate(toes, self.toe - self.ball), heel, ankle], 1)

    def shapes(self) -> tuple[np.ndarray, np.ndarray]:
        """Of the foot and of its toes (3, 3), see going_over."""
        points = np.array([self.ankle, self.heel, self.ball])
        points, along = points - points.mean(0), quaternions.normalized(self.toe - self.ball)
        return points.T @ points, np.outer(along, along) + _BREADTH * np.eye(3)

    def above_floor(self, step: Step, ankle: np.ndarray, up: np.ndarray) -> np.ndarray:
        """The ankle (F, 3), as much higher where nothing is planted as heel and ball need to be above the ground."""
        heel, ball = (ankle + quaternions.rotate(step.foot, point - self.ankle) for point in (self.heel, self.ball))
        sunk = step.levels - np.minimum(heel @ up, ball @ up - self.tread)
        return ankle + np.where(step.planted, 0.0, np.maximum(sunk, 0.0))[:, None] * up

    def toes_above_floor(self, step: Step, ankle: np.ndarray, up: np.ndarray) -> np.ndarray:
        """The toes' turns (F, 4), bent up where their tip would be below the ground."""
        ball = ankle + quaternions.rotate(step.foot, self.ball - self.ankle)
        raised = _raising(quaternions.rotate(step.toes, self.tip - self.ball), up, step.levels - ball @ up)
        return quaternions.multiply(raised, step.toes)


@dataclass(frozen=True)
class Step:
    """What a foot does over F frames, in the body's space."""

    planted: np.ndarray  # (F,) bool: any of its points
    foot: np.ndarray  # (F, 4) turns from rest
    toes: np.ndarray
    ankle: np.ndarray  # (F, 3) means nothing where nothing is planted
    levels: np.ndarray  # (F,) of the ground


@dataclass(frozen=True)
class Stand:
    """A foot on its pins: how it turns there, and how foot and toes turn without them."""

    leg: Leg
    pins: Pins
    turned: np.ndarray  # (F, 4) the foot where it is planted
    foot: np.ndarray  # (F, 4) foot and toes as they were
    toes: np.ndarray
    up: np.ndarray
    ease: float  # rows

    @classmethod
    def on(cls, leg: Leg, pins: Pins, foot: np.ndarray, toes: np.ndarray, up: np.ndarray, ease: float) -> Stand:
        """A foot flat on both pins; else it turns as it did, but with its other end above the floor."""
        return cls(leg, pins, _flattened(leg, pins, foot, up, ease), foot, toes, up, ease)

    @property
    def planted(self) -> np.ndarray:
        """Whether any of its points is planted (F,)."""
        return np.asarray(self.pins.planted.any(1))

    def step(self) -> Step:
        """The foot from pin to pin. Planted toes lie flat, so that a foot whose heel is raised rolls over its ball."""
        leg, (toe, _), (shape, toes_shape) = self.leg, self.pins.planted.T, self.leg.shapes()
        foot = going_over(self.foot, self.turned, self.planted, self.ease, shape)
        toes = quaternions.multiply(quaternions.multiply(foot, quaternions.inverse(self.foot)), self.toes)
        level = quaternions.multiply(quaternions.between(quaternions.rotate(foot, leg.up), self.up), foot)
        toes = going_over(toes, level, toe, self.ease, toes_shape)
        ball = self.pins.positions[:, 0] + quaternions.rotate(toes, leg.ball - leg.toe)
        heel = self.pins.positions[:, 1] + quaternions.rotate(foot, leg.ankle - leg.heel)
        ankle = np.where(toe[:, None], ball + quaternions.rotate(foot, leg.ankle - leg.ball), heel)
        return Step(self.planted, foot, toes, ankle, self.pins.ground)

    def rolled(self, hip: np.ndarray, reach: np.ndarray, rate: float) -> Stand:
        """The heel raised further where only toes are planted and the leg would stretch beyond ``reach`` (F,).

        That is what people do before they let the pelvis down. It grows with the time since the heel was planted, and
        ends where it would bring little.
        """
        leg, (toe, heel), step = self.leg, self.pins.planted.T, self.step()
        arm = quaternions.rotate(step.foot, leg.ankle - leg.ball)
        to_hip = hip - (step.ankle - arm)
        ahead = quaternions.rotate(step.toes, leg.toe - leg.heel)
        axis = quaternions.normalized(np.cross(self.up, ahead))
        # How near the ankle comes to the hip while it turns about the ball: A cos + B sin = C for the wanted reach.
        along = np.sum(arm * axis, -1, keepdims=True) * axis
        a, b = np.sum(to_hip * (arm - along), -1), np.sum(to_hip * np.cross(axis, arm), -1)
        c = (np.sum(arm**2, -1) + np.sum(to_hip**2, -1) - reach**2) / 2 - np.sum(to_hip * along, -1)
        angle = np.arctan2(b, a) - np.arccos(np.clip(c / np.maximum(np.hypot(a, b), 1e-9), -1, 1))
        lack = np.linalg.norm(to_hip - arm, axis=-1) - reach
        most = np.minimum(_ROLL, _ROLL_GAIN * lack / np.linalg.norm(leg.ankle - leg.ball))
        rows = np.arange(len(heel))
        flat = np.concatenate([[-np.inf], np.flatnonzero(heel), [np.inf]])
        at = np.searchsorted(flat, rows)
        most = np.minimum(most, _ROLL_SPEED * np.minimum(flat[at] - rows, rows - flat[at - 1]) / rate)
        angle = np.where(toe & ~heel & (lack > 0), np.clip(angle, 0, np.maximum(most, 0)), 0)
        return replace(self, turned=quaternions.multiply(quaternions.about(axis, angle), step.foot))


def _flattened(leg: Leg, pins: Pins, foot: np.ndarray, up: np.ndarray, ease: float) -> np.ndarray:
    """How a foot turns (F, 4) where it is planted: flat on both pins, else as it did, the other end above the floor."""
    toe, heel = pins.planted.T
    base = quaternions.between(leg.up, up)
    drawn, wanted = quaternions.rotate(base, leg.toe - leg.heel), pins.positions[:, 0] - pins.positions[:, 1]
    yaw = np.arctan2(np.cross(drawn, wanted) @ up, wanted @ drawn)
    flat = quaternions.multiply(quaternions.about(np.broadcast_to(up, wanted.shape), yaw), base)
    turned = going_over(foot, flat, toe & heel, ease, leg.shapes()[0])
    for only, end, height in (
        (toe & ~heel, leg.heel - leg.ball, -leg.tread),
        (heel & ~toe, leg.ball - leg.heel, leg.tread),
    ):
        raising = _raising(quaternions.rotate(turned, end), up, np.full(len(turned), height))
        turned = np.where(only[:, None], quaternions.multiply(raising, turned), turned)
    return turned


def going_over(turns: np.ndarray, wanted: np.ndarray, where: np.ndarray, ease: float, shape: np.ndarray) -> np.ndarray:
    """Turns (F, 4) that are as wanted in some rows, and go over to that around them.

    What is held and faded is how far each point is moved, so that points go on from there as they do without it: the
    turn that fits them best (Kabsch 1976). ``shape`` (3, 3): the sum of the points' outer products, at rest.
    """
    before = quaternions.to_matrices(turns)
    change = (quaternions.to_matrices(wanted) - before).reshape(-1, 9)
    left, _, right = np.linalg.svd((before + eased(change, where, ease).reshape(-1, 3, 3)) @ shape)
    left[..., 2] *= np.linalg.det(left @ right)[..., None]
    return quaternions.of_matrices(left @ right)


def _raising(vectors: np.ndarray, up: np.ndarray, lowest: np.ndarray) -> np.ndarray:
    """The turns (F, 4) that raise the ends of vectors (F, 3) just so far that none is lower than ``lowest`` (F,)."""
    length = np.linalg.norm(vectors, axis=-1)
    height = np.clip(vectors @ up, np.minimum(lowest, 0.99 * length), None)
    level = vectors - (vectors @ up)[:, None] * up
    across = quaternions.normalized(level) * np.sqrt(np.maximum(length**2 - height**2, 0))[:, None]
    return quaternions.between(vectors, across + height[:, None] * up)
