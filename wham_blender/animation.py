"""A character's animation as arrays in the world's axes, and what an animator does to one after the import. NumPy only.

Every function takes and returns a whole Animation; nothing here knows Blender.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from . import leg_ik, quaternions
from .motion import spells
from .skeleton import FOOT_POINTS, JOINT_NAMES, PARENTS

# The joint that each foot point moves with: toes with the ball of the foot, heels with the ankle.
FOOT_JOINTS = tuple(JOINT_NAMES.index(point.replace("toe", "foot").replace("heel", "ankle")) for point in FOOT_POINTS)
_EASE = 0.2  # seconds in which a foot that was held in place is let go again


@dataclass(frozen=True)
class _Leg:
    """The joints of a leg, and the columns of its foot points."""

    hip: int
    knee: int
    ankle: int
    points: list[int]


def _leg(side: str) -> _Leg:
    hip, knee, ankle = (JOINT_NAMES.index(f"{side}_{joint}") for joint in ("hip", "knee", "ankle"))
    return _Leg(hip, knee, ankle, [column for column, point in enumerate(FOOT_POINTS) if point.startswith(side)])


_LEGS = (_leg("left"), _leg("right"))


@dataclass(frozen=True)
class Animation:
    """One character over F keyed frames; metres and turns in the world's axes, z up."""

    frames: np.ndarray  # (F,) scene frames, rising
    root: np.ndarray  # (F, 3) where the pelvis is
    turns: np.ndarray  # (F, 24, 4) each joint's turn from rest against its parent's; the pelvis' against the world
    heads: np.ndarray  # (24, 3) joints at rest
    feet: np.ndarray  # (4, 3) foot points at rest
    contacts: np.ndarray  # (F, 4) bool
    probabilities: np.ndarray  # (F, 4) 0..1, of contact
    confidence: np.ndarray  # (F,) 0..1
    seen: np.ndarray  # (F,) bool

    def __len__(self) -> int:
        return len(self.frames)

    def pose(self) -> tuple[np.ndarray, np.ndarray]:
        """Joints (F, 24, 3) and their turns from rest (F, 24, 4), both in the world."""
        positions = np.empty((len(self), 24, 3))
        turns = np.empty((len(self), 24, 4))
        for joint, parent in enumerate(PARENTS):
            if parent < 0:
                positions[:, joint], turns[:, joint] = self.root, self.turns[:, joint]
            else:
                turns[:, joint] = quaternions.multiply(turns[:, parent], self.turns[:, joint])
                offset = quaternions.rotate(turns[:, parent], self.heads[joint] - self.heads[parent])
                positions[:, joint] = positions[:, parent] + offset
        return positions, turns

    def foot_points(self) -> np.ndarray:
        """Toes and heels (F, 4, 3) in the world."""
        positions, turns = self.pose()
        joints = list(FOOT_JOINTS)
        return positions[:, joints] + quaternions.rotate(turns[:, joints], self.feet - self.heads[joints])


def sliding(animation: Animation, rate: float) -> float | None:
    """How fast planted foot points move along the floor, in metres a second at ``rate`` frames a second.

    The mean over all steps between two keys at which a point is planted; None where there is none.
    """
    steps = np.linalg.norm(np.diff(animation.foot_points()[..., :2], axis=0), axis=-1)
    seconds = np.diff(animation.frames)[:, None] / rate
    planted = animation.contacts[1:] & animation.contacts[:-1]
    return float((steps / seconds)[planted].mean()) if planted.any() else None


def floor_height(animation: Animation) -> float | None:
    """The height of the floor that planted feet stand on: their median; None where no foot is planted."""
    heights = animation.foot_points()[..., 2][animation.contacts]
    return float(np.median(heights)) if len(heights) else None


def moved(animation: Animation, turn: np.ndarray, offset: np.ndarray) -> Animation:
    """The whole animation turned by a quaternion about the world's origin, then moved by metres."""
    turns = animation.turns.copy()
    turns[:, 0] = quaternions.multiply(turn, turns[:, 0])
    return replace(animation, root=quaternions.rotate(turn, animation.root) + offset, turns=turns)


def with_arms_spread(animation: Animation, angle: float) -> Animation:
    """Both arms turned outwards at the shoulders, as a broader body holds them.

    By an angle in radians where they hang down, by half of it where they are level, and not at all over the head.
    """
    turns = animation.turns.copy()
    front = np.array([0.0, -1.0, 0.0])  # of the chest at rest
    for side, sign in (("left", 1.0), ("right", -1.0)):
        shoulder = JOINT_NAMES.index(f"{side}_shoulder")
        along = animation.heads[JOINT_NAMES.index(f"{side}_elbow")] - animation.heads[shoulder]
        share = (1 - quaternions.rotate(turns[:, shoulder], quaternions.normalized(along))[:, 2]) / 2
        spread = quaternions.about(np.broadcast_to(front, (len(share), 3)), sign * angle * share)
        turns[:, shoulder] = quaternions.multiply(spread, turns[:, shoulder])
    return replace(animation, turns=turns)


def low_pass(values: np.ndarray, cutoff: float, rate: float) -> np.ndarray:
    """Values (F, ...) without what is faster than ``cutoff`` (hertz), at ``rate`` rows a second; nothing is delayed.

    The gain of a second-order Butterworth filter run forwards and backwards, as is usual for motion capture (Winter,
    Biomechanics and Motor Control of Human Movement). Ends are mirrored about their last value, which stays.
    """
    count = len(values)
    if count < 3:
        return values
    flat = values.reshape(count, -1)
    line = flat[0] + np.linspace(0, 1, count)[:, None] * (flat[-1] - flat[0])
    margin = int(np.ceil(2 * rate / cutoff))
    padded = np.pad(flat - line, ((margin, margin), (0, 0)), mode="reflect", reflect_type="odd")
    gain = 1 / (1 + (np.fft.rfftfreq(len(padded), 1 / rate) / cutoff) ** 4)
    smooth = np.fft.irfft(np.fft.rfft(padded, axis=0) * gain[:, None], len(padded), axis=0)
    return (smooth[margin : margin + count] + line).reshape(values.shape)


def smoothed(animation: Animation, cutoff: float, rate: float) -> Animation:
    """Rotations and root without what is faster than ``cutoff`` (hertz); feet stay where they are planted.

    ``rate``: keys a second. Quaternions whose signs do not jump are filtered by component and brought back to length
    one: the mean of near rotations (Markley et al. 2007).
    """
    turns = quaternions.normalized(low_pass(quaternions.without_jumps(animation.turns), cutoff, rate))
    smooth = replace(animation, root=low_pass(animation.root, cutoff, rate), turns=turns)
    return _with_feet_of(animation, smooth, cutoff, rate)


def _with_feet_of(before: Animation, after: Animation, cutoff: float, rate: float) -> Animation:
    """``after``, its legs bent so that planted feet are where they are in ``before``, themselves smoothed in place.

    A foot is let go over a fifth of a second before and after it is planted.
    """
    old_positions, old_turns = before.pose()
    for leg in _LEGS:
        planted, ankle = np.logical_or.reduce(before.contacts[:, leg.points], axis=1), leg.ankle
        if not planted.any():
            continue
        positions, turns = after.pose()
        steady, level = old_positions[:, ankle].copy(), quaternions.without_jumps(old_turns[:, ankle])
        for start, stop in spells(planted):
            steady[start:stop] = low_pass(steady[start:stop], cutoff, rate)
            level[start:stop] = quaternions.normalized(low_pass(level[start:stop], cutoff, rate))
        shift = eased(steady - positions[:, ankle], planted, _EASE * rate)
        twist = quaternions.multiply(level, quaternions.inverse(turns[:, ankle]))
        twist = quaternions.of_axis_angle(eased(quaternions.to_axis_angle(twist), planted, _EASE * rate))
        target = positions[:, ankle] + shift
        foot = quaternions.multiply(twist, turns[:, ankle])
        after = _with_leg(after, positions, turns, leg, target, foot)
    return after


def eased(corrections: np.ndarray, known: np.ndarray, ease: float, elsewhere: np.ndarray | float = 0.0) -> np.ndarray:
    """Corrections (F, n) of known rows, carried into the rows around them, faded over ``ease`` rows to those elsewhere.

    Between known rows that are nearer to each other, one correction goes over into the next.
    """
    rows, places = np.arange(len(known)), np.flatnonzero(known)
    if not len(places):
        return np.broadcast_to(elsewhere, corrections.shape).astype(float)
    last = places[np.maximum(np.searchsorted(places, rows, side="right") - 1, 0)]
    following = places[np.minimum(np.searchsorted(places, rows), len(places) - 1)]
    inside = (last <= rows) & (following >= rows)
    fade = np.maximum(np.where(inside, np.minimum(ease, following - last), ease), 1.0)
    shares = []
    for distance in (rows - last, following - rows):  # below zero where there is none on that side
        near = np.where(distance >= 0, np.clip(1 - distance / fade, 0, 1), 0)
        shares.append((near * near * (3 - 2 * near))[:, None])
    whole = np.maximum(shares[0] + shares[1], 1)
    carried = shares[0] * corrections[last] + shares[1] * corrections[following]
    return (carried + (whole - shares[0] - shares[1]) * elsewhere) / whole


def _with_leg(
    animation: Animation,
    positions: np.ndarray,
    turns: np.ndarray,
    leg: _Leg,
    target: np.ndarray,
    foot: np.ndarray,
) -> Animation:
    """The animation with one leg's ankle at target (F, 3) and its foot turned as foot (F, 4), world.

    See leg_ik.solve; where the leg is too short, it points there.
    """
    hip, knee, ankle = leg.hip, leg.knee, leg.ankle
    thigh = positions[:, knee] - positions[:, hip]
    shin = positions[:, ankle] - positions[:, knee]
    # At rest the character faces -y, so a knee bends about its x axis: the shin goes back.
    hinge = quaternions.rotate(turns[:, hip], np.array([1.0, 0.0, 0.0]))
    first, second, _ = leg_ik.solve(thigh, shin, target - positions[:, hip], hinge)

    new_hip = quaternions.multiply(first, turns[:, hip])
    new_knee = quaternions.multiply(second, turns[:, knee])
    local = animation.turns.copy()
    local[:, hip] = quaternions.multiply(quaternions.inverse(turns[:, PARENTS[hip]]), new_hip)
    local[:, knee] = quaternions.multiply(quaternions.inverse(new_hip), new_knee)
    local[:, ankle] = quaternions.multiply(quaternions.inverse(new_knee), foot)
    return replace(animation, turns=local)


def looped(animation: Animation, blend: int, in_place: bool) -> Animation:
    """A cycle: the last ``blend`` rows fade into the first, so that the end flows into the start.

    The cycle is ``blend`` rows shorter, and one row more that repeats the first closes it. It goes straight on: a turn
    between start and end is spread over it. ``in_place``: its way over the floor is taken out.
    """
    period = len(animation) - blend
    if blend < 1 or period <= blend:
        raise ValueError("the cycle must be longer than its blend")
    # Lay the tail over the head: same heading and same place on the floor in the middle of the blend.
    middle = blend // 2
    yaw = quaternions.heading(
        quaternions.multiply(animation.turns[middle, 0], quaternions.inverse(animation.turns[period + middle, 0]))
    )
    tail = moved(animation, yaw, np.zeros(3))
    offset = (animation.root[middle] - tail.root[period + middle]) * [1.0, 1.0, 0.0]
    share = np.arange(blend) / blend
    share = share * share * (3 - 2 * share)
    head, rest = slice(0, blend), slice(period, period + blend)
    root, turns = animation.root[: period + 1].copy(), animation.turns[: period + 1].copy()
    probabilities = animation.probabilities[: period + 1].copy()
    root[head] = _mixed(tail.root[rest] + offset, animation.root[head], share[:, None])
    turns[head] = quaternions.blend(tail.turns[rest], animation.turns[head], share[:, None])
    probabilities[head] = _mixed(animation.probabilities[rest], animation.probabilities[head], share[:, None])
    later = (share >= 0.5)[:, None]
    contacts = animation.contacts[: period + 1].copy()
    contacts[head] = np.where(later, animation.contacts[head], animation.contacts[rest])
    seen, confidence = animation.seen[: period + 1].copy(), animation.confidence[: period + 1].copy()
    seen[head] = np.where(later[:, 0], animation.seen[head], animation.seen[rest])
    confidence[head] = _mixed(animation.confidence[rest], animation.confidence[head], share)

    # The closing row is the first row where the tail had it. Spread what it is turned over the whole cycle.
    for values in (probabilities, contacts, seen, confidence):
        values[-1] = values[0]
    root[-1, 2] = root[0, 2]
    angle = 2 * np.arctan2(yaw[3], yaw[0])
    angle = (angle + np.pi) % (2 * np.pi) - np.pi
    upright = np.broadcast_to([0.0, 0.0, 1.0], (period + 1, 3))
    spread = quaternions.about(upright, np.linspace(0, angle, period + 1))
    turns[:, 0] = quaternions.multiply(spread, turns[:, 0])
    turns[-1] = turns[0]
    steps = quaternions.rotate(spread[:-1], np.diff(root, axis=0))
    root = root[0] + np.concatenate([np.zeros((1, 3)), np.cumsum(steps, 0)])
    if in_place:
        root -= np.linspace(0, 1, period + 1)[:, None] * (root[-1] - root[0])
    return replace(
        animation, frames=animation.frames[: period + 1], root=root, turns=quaternions.without_jumps(turns),
        contacts=contacts, probabilities=probabilities, confidence=confidence, seen=seen,
    )  # fmt: skip


def _mixed(start: np.ndarray, end: np.ndarray, share: np.ndarray) -> np.ndarray:
    return start + share * (end - start)
