"""Feet that stand where the source's do: planted points stay, nothing sinks, legs reach. NumPy only.

A motion that is carried over to other proportions slides and floats by what they differ in. Here each foot is laid
flat, or on its toes or heel, on pins that do not move while it is planted; what that corrects fades out around the
contact; the pelvis takes over what is slow or out of a leg's reach; the leg follows in closed form.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ... import quaternions
from ...animation import Animation, low_pass
from ...motion import true_intervals
from ...planted_feet import HINGED, eased, two_bone_ik
from ...skeleton import JOINT_NAMES
from .foot_geometry import Leg, Stand
from .foot_pins import Floor, pin, pin_drift
from .transfer import Pose, Target, ground

_EASE = 0.4  # seconds over which a correction fades around a contact
_FOLLOW = 0.5  # hertz: the pelvis goes up and down with what the feet are slower corrected by
_SOFTEN = 0.2  # seconds over which the pelvis goes down for a leg that does not reach
# Of a leg's length, how far a pin may be: this much further than the ankle without pins, so that knees do not snap
# straight, but not so near that the pelvis would go down for a leg that is well bent.
_FURTHER, _NEAREST, _FURTHEST = 0.02, 0.93, 0.99
_LOWEST = 0.4  # of a leg's length that the pelvis goes down at most
_FASTEST = 1.0  # legs' lengths a second, for a point that is planted
_STEEPEST_TOE, _STEEPEST_HEEL = np.radians(75), np.radians(50)  # of a sole that stands there: no knee or back does
_WHILE = 0.2  # seconds before and after, see _on_soles
_SHORTEST, _LETTING_GO = 0.1, 0.7  # seconds; of that, before and after a point that is faster
_STEP, _SLIP = 0.12, 0.12  # of a leg's length, see Floor
_GAP, _CREEP = 0.15, 0.022  # seconds, and legs' lengths a second, see Floor
_BEHIND = 2.5  # of a pin's slip, that the pin may be behind a point that drifts; one that goes further slides
_SLIDING, _AROUND = 0.05, 0.1  # legs' lengths a second on average over so many seconds before and after
_POP, _POP_SHARE = 0.009, 0.005  # metres, or of a leg's length where that is more: what is no pop yet
_SHORTER = 0.2  # seconds that a contact may lose at either end, so that nothing pops there


def plant(source: Animation, target: Target, pose: Pose, spread: np.ndarray, rate: float) -> Pose:
    """The pose with planted feet, ``rate`` rows a second. ``spread`` (F, 2, 3): hips from the middle between them.

    When a contact begins and ends is hardly known to the frame. Where a foot would pop because it turns or slides
    there already, it comes down later or leaves earlier.
    """
    body = _Body.of(source, target, pose, spread, rate)
    size = float(np.mean([leg.length for leg in body.legs]))
    contacts = _standing(_on_soles(source, round(_WHILE * rate)), body.source, _FASTEST * size / rate, _SHORTEST * rate)
    contacts = _held(contacts, body.source, body.floor, _SLIDING * size / rate, round(_AROUND * rate), _SHORTEST * rate)
    most = max(_POP, _POP_SHARE * size)
    for _ in range(round(_SHORTER * rate)):
        after, planted = body.planted(contacts)
        popping = _pops(body.points(after) - body.points(pose), planted) > most
        if not popping.any():
            return after
        contacts = _shortened(planted, popping, _SHORTEST * rate)
    return body.planted(contacts)[0]


@dataclass(frozen=True)
class _Body:
    """A target whose feet are to be planted, over F frames, in the body's space."""

    target: Target
    legs: tuple[Leg, Leg]
    pose: Pose
    spread: np.ndarray  # (F, 2, 3)
    source: np.ndarray  # (F, 4, 3) where the source has its toes and heels, on the target's scale
    across: np.ndarray  # (F, 2, 3) axes about which the source's knees bend
    floor: Floor
    rate: float

    @classmethod
    def of(cls, source: Animation, target: Target, pose: Pose, spread: np.ndarray, rate: float) -> _Body:
        """See plant."""
        where = ground(source, target)
        up, level = target.space.upright()
        legs = Leg.of(target, "left"), Leg.of(target, "right")
        size = float(np.mean([leg.length for leg in legs]))
        height, creep = float(level(np.array(where.floor))), _CREEP * size / rate
        floor = Floor(up, height, _STEP * size, _SLIP * size, creep, round(_GAP * rate))
        hips = source.pose()[1][:, [JOINT_NAMES.index(f"{leg.side}_hip") for leg in legs]]
        across = target.space.directions_from_world(quaternions.rotate(hips, np.array([1.0, 0.0, 0.0])))
        there = target.space.from_world(where.place(source.foot_points()))
        return cls(target, legs, pose, spread, there, across, floor, rate)

    def halves(self, leg: Leg, pose: Pose) -> tuple[np.ndarray, np.ndarray]:
        """Thigh and shin (F, 3)."""
        return self.target.vector(f"{leg.side}_hip", pose.turns), self.target.vector(f"{leg.side}_knee", pose.turns)

    def points(self, pose: Pose) -> np.ndarray:
        """Toe, heel and ankle (F, 2, 3, 3) of the left and the right foot."""
        found = []
        for number, leg in enumerate(self.legs):
            thigh, shin = self.halves(leg, pose)
            ankle = pose.hips + self.spread[:, number] + thigh + shin
            found.append(leg.points(ankle, pose.turns[leg.foot], pose.turns[leg.toes]))
        return np.stack(found, 1)

    def planted(self, contacts: np.ndarray) -> tuple[Pose, np.ndarray]:
        """The pose with feet planted where contacts (F, 4) say so, and which points (F, 4) that are in the end."""
        pose, up, rate, ease = self.pose, self.floor.up, self.rate, _EASE * self.rate
        before = self.points(pose)
        stands = []
        for number, leg in enumerate(self.legs):
            own = slice(2 * number, 2 * number + 2)
            pins = pin(before[:, number, :2], self.source[:, own], contacts[:, own], leg.sole, self.floor)
            stands.append(Stand.on(leg, pins, pose.turns[leg.foot], pose.turns[leg.toes], up, ease))

        planted = np.stack([stand.planted for stand in stands], 1)
        firm = np.stack([stand.pins.planted[:, 1] for stand in stands], 1)  # what a raised heel cannot help
        halves = [self.halves(leg, pose) for leg in self.legs]
        lengths = np.array([leg.length for leg in self.legs])
        drawn = np.stack([np.linalg.norm(thigh + shin, axis=-1) for thigh, shin in halves], 1)
        reaches = np.clip(drawn + _FURTHER * lengths, _NEAREST * lengths, _FURTHEST * lengths)

        def lowered(hips: np.ndarray, where: np.ndarray) -> np.ndarray:
            vectors = [stand.step().ankle - hips - self.spread[:, number] for number, stand in enumerate(stands)]
            return hips - _lowered(np.stack(vectors, 1), reaches, where, up, rate)[:, None] * up

        off = np.stack([stand.step().ankle for stand in stands], 1) - before[:, :, 2]
        hips = lowered(pose.hips + _followed(off, planted, rate), firm)
        for number in (0, 1):
            stands[number] = stands[number].rolled(hips + self.spread[:, number], reaches[:, number], rate)
        hips = lowered(hips, planted)

        found, bends = dict(pose.turns), {}
        for number, (leg, stand) in enumerate(zip(self.legs, stands, strict=True)):
            step = stand.step()
            # What is held and faded is how far the foot's points are moved on average, so that what the foot turns by
            # around a contact moves them as little as can be; in the air the foot goes along with the pelvis.
            middle = leg.points(np.zeros_like(step.ankle), step.foot, step.toes).mean(1)
            carried = before[:, number].mean(1)
            moved = eased(step.ankle + middle - carried, planted[:, number], ease, hips - pose.hips)
            joint = hips + self.spread[:, number]
            goal = leg.above_floor(step, carried + moved - middle, up) - joint
            # In the air a leg gets no straighter than the source's, or than one that stands: no knee snaps straight.
            far = np.maximum(drawn[:, number], _FURTHEST * leg.length)
            share = far / np.maximum(np.linalg.norm(goal, axis=-1), 1e-9)
            goal *= np.where(step.planted, 1.0, np.minimum(share, 1.0))[:, None]
            first, second, bends[f"{leg.side}_leg"] = two_bone_ik(*halves[number], goal, self.across[:, number], HINGED)
            for role, turn in ((f"{leg.side}_hip", first), (f"{leg.side}_knee", second)):
                for bone in (self.target.rig_map.bones[role], *self.target.rig_map.twists.get(role, ())):
                    found[bone] = quaternions.multiply(turn, found[bone])
            found[leg.foot] = step.foot
            if leg.toes != leg.foot:
                found[leg.toes] = leg.toes_above_floor(step, joint + goal, up)
        pinned = np.concatenate([stand.pins.planted for stand in stands], 1)
        return replace(pose, turns=found, hips=hips, bends=bends), pinned


def _pops(corrections: np.ndarray, planted: np.ndarray) -> np.ndarray:
    """How far feet jump between rows (F-1, 4) where a point's contact begins or ends; elsewhere zero.

    By how a foot's toe, heel and ankle are corrected (F, 2, 3, 3). What is taken from a foot that stands by its other
    end, because it slides in the source, is no jump: there it is what that end's correction does not have.
    """
    planted = planted.reshape(-1, 2, 2)
    stands, steps = np.asarray(planted.any(2)), np.diff(corrections, axis=0)
    whole = np.linalg.norm(steps, axis=-1).max(-1)
    turning = np.linalg.norm(steps[:, :, 0] - steps[:, :, 1], axis=-1)
    jumps = np.where(stands[1:] != stands[:-1], whole, turning)[..., None]
    return np.where(planted[1:] != planted[:-1], jumps, 0.0).reshape(-1, 4)


def _shortened(planted: np.ndarray, where: np.ndarray, shortest: float) -> np.ndarray:
    """Contacts (F, 4) a row shorter at those of their ends (F-1, 4) where they may not be."""
    shorter = planted & ~np.pad(where, ((0, 1), (0, 0))) & ~np.pad(where, ((1, 0), (0, 0)))
    return _lasting(shorter, shortest)


def _held(
    contacts: np.ndarray, points: np.ndarray, floor: Floor, speed: float, around: int, shortest: float
) -> np.ndarray:
    """Contacts (F, 4) but for those rows in which points (F, 4, 3) slide further than pins can follow.

    There the mean ``speed`` from row to row, over ``around`` rows before and after, is more than that.
    """
    held = contacts.copy()
    for number, column in enumerate(held.T):
        for start, stop in true_intervals(column):
            own = floor.project(points[start:stop, number])
            behind = np.linalg.norm(own - own.mean(0) - pin_drift(own, floor), axis=1)
            if behind.max() > _BEHIND * floor.slip:
                rows = np.arange(stop - start)
                first, last = np.maximum(rows - around, 0), np.minimum(rows + around, len(rows) - 1)
                way = np.linalg.norm(own[last] - own[first], axis=1)
                column[start:stop] = way <= speed * np.maximum(last - first, 1)
    return _lasting(held, shortest)


def _lasting(contacts: np.ndarray, shortest: float) -> np.ndarray:
    """Contacts (F, 4) without those that last less than ``shortest`` rows."""
    lasting = contacts.copy()
    for column in lasting.T:
        for start, stop in true_intervals(column):
            column[start:stop] = stop - start >= shortest
    return lasting


def _on_soles(source: Animation, around: int) -> np.ndarray:
    """The source's contacts (F, 4) without those of feet whose soles are too steep for that, as of one who kneels.

    What counts is the median of ``around`` rows before and after.
    """
    turns = source.pose()[1][:, [JOINT_NAMES.index(f"{side}_ankle") for side in ("left", "right")]]
    steep = np.arccos(np.clip(quaternions.rotate(turns, np.array([0.0, 0.0, 1.0]))[..., 2], -1, 1))
    padded = np.pad(steep, ((around, around), (0, 0)), mode="edge")
    steep = np.median(sliding_window_view(padded, 2 * around + 1, axis=0), axis=-1)
    return source.contacts & (steep[..., None] < [_STEEPEST_TOE, _STEEPEST_HEEL]).reshape(-1, 4)


def _standing(contacts: np.ndarray, points: np.ndarray, fastest: float, shortest: float) -> np.ndarray:
    """Contacts (F, 4) without those that last less than ``shortest`` rows, or whose points (F, 4, 3) are on their way.

    ``fastest``: how far a planted point may move from row to row. One that is faster is let go for a while.
    """
    if len(points) < 3:
        return contacts
    travelling = contacts & (np.linalg.norm(np.gradient(points, axis=0), axis=-1) > fastest)
    margin = round(_LETTING_GO * shortest)
    around = sliding_window_view(np.pad(travelling, ((margin, margin), (0, 0))), 2 * margin + 1, axis=0)
    return _lasting(contacts & ~around.any(-1), shortest)


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
