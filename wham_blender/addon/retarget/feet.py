"""Feet that stand where the source's do: planted points stay, nothing sinks, legs reach. NumPy only.

A motion that is carried over to other proportions slides and floats by what they differ in. Here each foot is laid
flat, or on its toes or heel, on pins that do not move while it is planted; what that corrects fades out around the
contact; the pelvis takes over what is slow or out of a leg's reach; the leg follows in closed form.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ... import leg_ik, quaternions
from ...animation import Animation, eased, low_pass
from ...motion import spells
from ...skeleton import JOINT_NAMES
from .pins import Floor, Pins, pin
from .transfer import Pose, Target, ground

_EASE = 0.4  # seconds over which a correction fades around a contact
_FOLLOW = 0.5  # hertz: the pelvis goes up and down with what the feet are slower corrected by
_SOFTEN = 0.2  # seconds over which the pelvis goes down for a leg that does not reach
# Of a leg's length, how far a pin may be: this much further than the ankle without pins, so that knees do not snap
# straight, but not so near that the pelvis would go down for a leg that is well bent.
_FURTHER, _NEAREST, _FURTHEST = 0.02, 0.93, 0.99
_LOWEST = 0.4  # of a leg's length that the pelvis goes down at most
_FASTEST = 1.0  # legs' lengths a second, for a point that is planted
_SHORTEST, _LETTING_GO = 0.1, 0.7  # seconds; of that, before and after a point that is faster
_STEP, _SLIP = 0.12, 0.12  # of a leg's length, see Floor
_GAP = 0.15  # seconds, see Floor
_ROLL, _ROLL_SPEED = np.radians(40), np.radians(120)  # how far, and how fast a second, a heel is raised further
_ROLL_GAIN = 2.0  # radians at most for each foot's length that is lacking
_FLOOR_ABOVE, _FLOOR_BELOW = 0.02, 0.15  # of a leg: where an armature's origin may lie from its feet to be the floor
_TOE, _HEEL = 0.6, 0.35  # of the toes' length before the ball, and of the foot's length behind the ankle
_FOOT, _TOES = 0.17, 0.4  # of a leg's length from ankle to ball, and of that from there to the toes' end


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
class _Leg:
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
    def of(cls, target: Target, side: str) -> _Leg:
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


def plant(source: Animation, target: Target, pose: Pose, spread: np.ndarray, rate: float) -> Pose:
    """The pose with planted feet, ``rate`` rows a second. ``spread`` (F, 2, 3): hips from the middle between them."""
    where = ground(source, target)
    up, level = target.space.upright()
    legs = [_Leg.of(target, side) for side in ("left", "right")]
    size = float(np.mean([leg.length for leg in legs]))
    floor = Floor(up, float(level(np.array(where.floor))), _STEP * size, _SLIP * size, round(_GAP * rate))
    there = target.space.from_world(where.place(source.foot_points()))
    contacts = _standing(source.contacts, there, _FASTEST * size / rate, _SHORTEST * rate)
    ease = _EASE * rate

    halves, ankles, stands = [], [], []
    for number, leg in enumerate(legs):
        own = slice(2 * number, 2 * number + 2)
        halves.append([target.vector(f"{leg.side}_{joint}", pose.turns) for joint in ("hip", "knee")])
        ankles.append(pose.hips + spread[:, number] + halves[-1][0] + halves[-1][1])
        turns = pose.turns[leg.foot], pose.turns[leg.toes]
        points = np.stack(
            [_toe(leg, ankles[-1], *turns), ankles[-1] + quaternions.rotate(turns[0], leg.heel - leg.ankle)], 1
        )
        pins = pin(points, there[:, own], contacts[:, own], float(np.linalg.norm(leg.toe - leg.heel)), floor)
        stands.append(_Stand(leg, pins, _flattened(leg, pins, turns[0], up, ease), *turns, up, ease))

    planted = np.stack([stand.planted for stand in stands], 1)
    firm = np.stack([stand.pins.planted[:, 1] for stand in stands], 1)  # what a raised heel cannot help
    lengths = np.array([leg.length for leg in legs])
    drawn = np.stack([np.linalg.norm(thigh + shin, axis=-1) for thigh, shin in halves], 1)
    reaches = np.clip(drawn + _FURTHER * lengths, _NEAREST * lengths, _FURTHEST * lengths)

    def lowered(hips: np.ndarray, where: np.ndarray) -> np.ndarray:
        vectors = [stand.step().ankle - hips - spread[:, number] for number, stand in enumerate(stands)]
        return hips - _lowered(np.stack(vectors, 1), reaches, where, up, rate)[:, None] * up

    off = np.stack([stand.step().ankle - ankle for stand, ankle in zip(stands, ankles, strict=True)], 1)
    hips = lowered(pose.hips + _followed(off, planted, rate), firm)
    for number in (0, 1):
        stands[number] = stands[number].rolled(hips + spread[:, number], reaches[:, number], rate)
    hips = lowered(hips, planted)
    steps = [stand.step() for stand in stands]

    found, bends = dict(pose.turns), {}
    directions = source.pose()[1]
    for number, (leg, step) in enumerate(zip(legs, steps, strict=True)):
        joint = hips + spread[:, number]
        # What is held and faded is how far the foot's middle is moved, so that what the foot turns by around a contact
        # moves toe and heel as little as can be; in the air the foot goes along with the pelvis.
        before = ankles[number] + _middle(leg, pose.turns[leg.foot], pose.turns[leg.toes])
        middle = _middle(leg, step.foot, step.toes)
        moved = eased(step.ankle + middle - before, planted[:, number], ease, hips - pose.hips)
        ankle = _above_floor(leg, step, before + moved - middle, up)
        across = quaternions.rotate(directions[:, JOINT_NAMES.index(f"{leg.side}_hip")], np.array([1.0, 0.0, 0.0]))
        hinge = target.space.directions_from_world(across)
        thigh, shin = halves[number]
        first, second, bends[f"{leg.side}_leg"] = leg_ik.solve(thigh, shin, ankle - joint, hinge)
        for role, turn in ((f"{leg.side}_hip", first), (f"{leg.side}_knee", second)):
            for bone in (target.rig_map.bones[role], *target.rig_map.twists.get(role, ())):
                found[bone] = quaternions.multiply(turn, found[bone])
        found[leg.foot] = step.foot
        if leg.toes != leg.foot:
            found[leg.toes] = _toes_above_floor(leg, step, ankle, up)
    return replace(pose, turns=found, hips=hips, bends=bends)


def _standing(contacts: np.ndarray, points: np.ndarray, fastest: float, shortest: float) -> np.ndarray:
    """Contacts (F, 4) without those that last less than ``shortest`` rows, or whose points (F, 4, 3) are on their way.

    ``fastest``: how far a planted point may move from row to row. One that is faster is let go for a while.
    """
    if len(points) < 3:
        return contacts
    travelling = contacts & (np.linalg.norm(np.gradient(points, axis=0), axis=-1) > fastest)
    margin = round(_LETTING_GO * shortest)
    around = sliding_window_view(np.pad(travelling, ((margin, margin), (0, 0))), 2 * margin + 1, axis=0)
    standing = contacts & ~around.any(-1)
    for column in standing.T:
        for start, stop in spells(column):
            column[start:stop] = stop - start >= shortest
    return standing


@dataclass(frozen=True)
class _Step:
    """What a foot does over F frames, in the body's space."""

    planted: np.ndarray  # (F,) bool: any of its points
    foot: np.ndarray  # (F, 4) turns from rest
    toes: np.ndarray
    ankle: np.ndarray  # (F, 3) means nothing where nothing is planted
    levels: np.ndarray  # (F,) of the ground


@dataclass(frozen=True)
class _Stand:
    """A foot on its pins: how it turns there, and how foot and toes turn without them."""

    leg: _Leg
    pins: Pins
    turned: np.ndarray  # (F, 4) the foot where it is planted
    foot: np.ndarray  # (F, 4) foot and toes as they were
    toes: np.ndarray
    up: np.ndarray
    ease: float  # rows

    @property
    def planted(self) -> np.ndarray:
        """Whether any of its points is planted (F,)."""
        return np.asarray(self.pins.planted.any(1))

    def step(self) -> _Step:
        """The foot from pin to pin. Planted toes lie flat, so that a foot whose heel is raised rolls over its ball."""
        leg, (toe, _) = self.leg, self.pins.planted.T
        foot = _going_over(self.foot, self.turned, self.planted, self.ease)
        toes = quaternions.multiply(quaternions.multiply(foot, quaternions.inverse(self.foot)), self.toes)
        level = quaternions.multiply(quaternions.between(quaternions.rotate(foot, leg.up), self.up), foot)
        toes = _going_over(toes, level, toe, self.ease)
        ball = self.pins.places[:, 0] + quaternions.rotate(toes, leg.ball - leg.toe)
        heel = self.pins.places[:, 1] + quaternions.rotate(foot, leg.ankle - leg.heel)
        ankle = np.where(toe[:, None], ball + quaternions.rotate(foot, leg.ankle - leg.ball), heel)
        return _Step(self.planted, foot, toes, ankle, self.pins.levels)

    def rolled(self, hip: np.ndarray, reach: np.ndarray, rate: float) -> _Stand:
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


def _flattened(leg: _Leg, pins: Pins, foot: np.ndarray, up: np.ndarray, ease: float) -> np.ndarray:
    """How a foot turns (F, 4) where it is planted: flat on both pins, else as it did, the other end above the floor."""
    toe, heel = pins.planted.T
    base = quaternions.between(leg.up, up)
    drawn, wanted = quaternions.rotate(base, leg.toe - leg.heel), pins.places[:, 0] - pins.places[:, 1]
    yaw = np.arctan2(np.cross(drawn, wanted) @ up, wanted @ drawn)
    flat = quaternions.multiply(quaternions.about(np.broadcast_to(up, wanted.shape), yaw), base)
    turned = _going_over(foot, flat, toe & heel, ease)
    for only, end, height in (
        (toe & ~heel, leg.heel - leg.ball, -leg.tread),
        (heel & ~toe, leg.ball - leg.heel, leg.tread),
    ):
        raising = _raising(quaternions.rotate(turned, end), up, np.full(len(turned), height))
        turned = np.where(only[:, None], quaternions.multiply(raising, turned), turned)
    return turned


def _going_over(turns: np.ndarray, wanted: np.ndarray, where: np.ndarray, ease: float) -> np.ndarray:
    """Turns (F, 4) that are as wanted in some rows, and go over to that around them."""
    change = quaternions.to_axis_angle(quaternions.multiply(wanted, quaternions.inverse(turns)))
    return quaternions.multiply(quaternions.of_axis_angle(eased(change, where, ease)), turns)


def _raising(vectors: np.ndarray, up: np.ndarray, lowest: np.ndarray) -> np.ndarray:
    """The turns (F, 4) that raise the ends of vectors (F, 3) just so far that none is lower than ``lowest`` (F,)."""
    length = np.linalg.norm(vectors, axis=-1)
    height = np.clip(vectors @ up, np.minimum(lowest, 0.99 * length), None)
    level = vectors - (vectors @ up)[:, None] * up
    across = quaternions.normalized(level) * np.sqrt(np.maximum(length**2 - height**2, 0))[:, None]
    return quaternions.between(vectors, across + height[:, None] * up)


def _toe(leg: _Leg, ankle: np.ndarray, foot: np.ndarray, toes: np.ndarray) -> np.ndarray:
    return ankle + quaternions.rotate(foot, leg.ball - leg.ankle) + quaternions.rotate(toes, leg.toe - leg.ball)


def _middle(leg: _Leg, foot: np.ndarray, toes: np.ndarray) -> np.ndarray:
    """From the ankle to the middle between toe and heel (F, 3)."""
    return (_toe(leg, np.zeros(3), foot, toes) + quaternions.rotate(foot, leg.heel - leg.ankle)) / 2


def _above_floor(leg: _Leg, step: _Step, ankle: np.ndarray, up: np.ndarray) -> np.ndarray:
    """The ankle (F, 3), as much higher where nothing is planted as heel and ball need to be above the ground."""
    heel, ball = (ankle + quaternions.rotate(step.foot, point - leg.ankle) for point in (leg.heel, leg.ball))
    sunk = step.levels - np.minimum(heel @ up, ball @ up - leg.tread)
    return ankle + np.where(step.planted, 0.0, np.maximum(sunk, 0.0))[:, None] * up


def _toes_above_floor(leg: _Leg, step: _Step, ankle: np.ndarray, up: np.ndarray) -> np.ndarray:
    """The toes' turns (F, 4), bent up where their tip would be below the ground."""
    ball = ankle + quaternions.rotate(step.foot, leg.ball - leg.ankle)
    raised = _raising(quaternions.rotate(step.toes, leg.tip - leg.ball), up, step.levels - ball @ up)
    return quaternions.multiply(raised, step.toes)


def _followed(off: np.ndarray, planted: np.ndarray, rate: float) -> np.ndarray:
    """How the pelvis goes along (F, 3) with what is slow in how feet are corrected, off (F, 2, 3) where planted (F, 2).

    That is a body that floats or sinks as a whole, or that slides over the floor on feet that stand.
    """
    rows = np.flatnonzero(planted.any(1))
    if not len(rows):
        return np.zeros((len(off), 3))
    mean = np.sum(off * planted[..., None], 1)[rows] / np.sum(planted, 1)[rows, None]
    everywhere = np.stack([np.interp(np.arange(len(off)), rows, column) for column in mean.T], 1)
    return low_pass(everywhere, _FOLLOW, rate)


def _lowered(vectors: np.ndarray, reaches: np.ndarray, planted: np.ndarray, up: np.ndarray, rate: float) -> np.ndarray:
    """How far the pelvis goes down (F,) so that planted ankles, at vectors (F, 2, 3) from hips, are in reach (F, 2).

    Nowhere less than that; smooth, since the largest need around is averaged over as many frames.
    """
    height = -vectors @ up
    across = np.sum(vectors**2, -1) - height**2
    need = np.where(planted, height - np.sqrt(np.maximum(reaches**2 - across, 0)), 0).max(1)
    need = np.clip(need, 0, _LOWEST * reaches.min())
    half = max(int(np.ceil(_SOFTEN * rate)), 1)
    largest = sliding_window_view(np.pad(need, 2 * half, mode="edge"), 2 * half + 1).max(-1)
    weights = np.hanning(2 * half + 3)[1:-1]
    return sliding_window_view(largest, 2 * half + 1) @ (weights / weights.sum())
