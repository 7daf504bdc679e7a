"""A character's animation as arrays in world axes, and the edits that an animator makes after the import. NumPy only.

Each edit takes an Animation and returns a new one; nothing here needs Blender.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np

from . import quaternions
from .motion import true_intervals
from .planted_feet import (
    HINGED,
    LEGS,
    LegJoints,
    eased,
    leg_rotations,
    locked_positions,
    mean_of_planted,
    smooth_maximum,
    smoothstep,
)
from .skeleton import ALL_PARENTS, FOOT_POINTS, JOINT_NAMES

# The joint that each foot point moves with: toes with the ball of the foot, heels with the ankle.
FOOT_JOINTS = tuple(JOINT_NAMES.index(point.replace("toe", "foot").replace("heel", "ankle")) for point in FOOT_POINTS)
_LEG_JOINTS = frozenset({0, *FOOT_JOINTS, *(joint for leg in LEGS for joint in (leg.hip, leg.knee, leg.ankle))})
_EVEN = 0.1  # of the usual step between keyframes: containers round 1/60 s to milliseconds
_FINER = 4  # steps for one, so that what is smoothed can be taken between them; set by hand
_FOOT_STAYS = 1e-7  # metres and radians: smaller corrections are rounding
_PASSES = 4  # of planting feet, each corrects what the one before leaves: the second foot may move the body again
_MOVING_BELOW = 3.0  # hertz: movement is searched below, as jitter is faster; set by hand
EASE = 0.2  # seconds in which the correction of a planted foot fades before and after its contact; set by hand


@dataclass(frozen=True)
class Animation:
    """One character over F keyed frames, in metres and world axes, z up; quaternions are w x y z.

    It has J joints: SMPL's 24, or with fingers the 54 of ALL_JOINT_NAMES.
    """

    frames: np.ndarray  # (F,) scene frames, ascending
    root: np.ndarray  # (F, 3) position of the pelvis
    rotations: np.ndarray  # (F, J, 4) of each joint from rest, relative to its parent's; the pelvis' to the world
    heads: np.ndarray  # (J, 3) joints at rest
    feet: np.ndarray  # (4, 3) foot points at rest, in the order of FOOT_POINTS
    contacts: np.ndarray  # (F, 4) bool: the foot point is planted
    probabilities: np.ndarray  # (F, 4) of contact, 0..1
    confidence: np.ndarray  # (F,) mean keypoint confidence, 0..1
    visible: np.ndarray  # (F,) bool: the person was detected in that frame
    hand_confidence: np.ndarray | None = None  # (F, 2) of the left and the right hand, 0..1; None without fingers
    fingertips: np.ndarray | None = None  # (10, 3) at rest, in the order of FINGERTIP_NAMES; None without fingers

    def __len__(self) -> int:
        return len(self.frames)

    def pose(self, joints: Collection[int] | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Positions (F, J, 3) of the joints and their rotations from rest (F, J, 4), both in the world.

        joints: those that are wanted, and all of whose parents are among them; the others are left unset, those after
        the last of them left out. None: all.
        """
        count = len(self.heads) if joints is None else max(joints) + 1
        # Each joint's rows side by side in memory: with those of other joints between them it takes twice as long.
        positions = np.empty((count, len(self), 3)).swapaxes(0, 1)
        rotations = np.empty((count, len(self), 4)).swapaxes(0, 1)
        for joint, parent in enumerate(ALL_PARENTS[:count]):
            if joints is not None and joint not in joints:
                continue
            if parent < 0:
                positions[:, joint], rotations[:, joint] = self.root, self.rotations[:, joint]
            else:
                rotations[:, joint] = quaternions.multiply(rotations[:, parent], self.rotations[:, joint])
                offset = quaternions.rotate(rotations[:, parent], self.heads[joint] - self.heads[parent])
                positions[:, joint] = positions[:, parent] + offset
        return positions, rotations

    def foot_points(self, pose: tuple[np.ndarray, np.ndarray] | None = None) -> np.ndarray:
        """Positions (F, 4, 3) of toes and heels in the world, in the order of FOOT_POINTS.

        pose: what `pose` has returned, if that is known.
        """
        # Of all joints, the pose would take several times as long.
        positions, rotations = self.pose(_LEG_JOINTS) if pose is None else pose
        joints = list(FOOT_JOINTS)
        return positions[:, joints] + quaternions.rotate(rotations[:, joints], self.feet - self.heads[joints])


def between(animation: Animation, first: float, last: float) -> Animation:
    """The rows at the scene frames first to last, ends included; it may have none."""
    # The tolerance is that of trim_curve in scene/action.py.
    return selected(animation, (animation.frames >= first - 1e-3) & (animation.frames <= last + 1e-3))


def selected(animation: Animation, rows: np.ndarray) -> Animation:
    """Some rows of an animation: their indices (n,), ascending, or flags (F,)."""
    of_rows = ["frames", "root", "rotations", "contacts", "probabilities", "confidence", "visible"]
    if animation.hand_confidence is not None:
        of_rows.append("hand_confidence")
    return replace(animation, **{name: getattr(animation, name)[rows] for name in of_rows})


def resampled(animation: Animation, frames: np.ndarray) -> Animation:
    """The animation at other scene frames (G,), ascending, as Blender interpolates it: contacts hold until the next."""
    before = np.clip(np.searchsorted(animation.frames, frames + 1e-6, "right") - 1, 0, max(len(animation) - 2, 0))
    after = np.minimum(before + 1, len(animation) - 1)
    steps = np.maximum(animation.frames[after] - animation.frames[before], 1e-9)
    weight = np.clip((frames - animation.frames[before]) / steps, 0, 1)
    held = np.where(weight < 1 - 1e-6, before, after)

    def linear(values: np.ndarray) -> np.ndarray:
        return _mixed(values[before], values[after], weight.reshape(-1, *[1] * (values.ndim - 1)))

    return replace(
        animation, frames=frames, root=linear(animation.root),
        rotations=quaternions.normalized(linear(quaternions.without_jumps(animation.rotations))),
        contacts=animation.contacts[held], probabilities=linear(animation.probabilities),
        confidence=linear(animation.confidence), visible=animation.visible[held],
        hand_confidence=None if animation.hand_confidence is None else linear(animation.hand_confidence),
    )  # fmt: skip


def evenly(animation: Animation, finer: int = 1) -> Animation:
    """The animation itself if its keyframes are evenly spaced, else at as many even steps as its usual ones give.

    Filters, and speeds from row to row, need that: clips of phones have frames up to several times as long as others.
    ``finer``: so many steps in place of one.
    """
    steps = np.diff(animation.frames)
    if len(steps) < 2 or np.ptp(steps) <= _EVEN * np.median(steps):
        return animation
    first, last = animation.frames[[0, -1]]
    # 16 times as many at most: keyframes close together in a long motion would need any amount of memory.
    count = min(finer * max(round((last - first) / float(np.median(steps))), len(steps)), 16 * len(animation))
    return resampled(animation, np.linspace(first, last, count + 1))


def sliding(animation: Animation, rate: float) -> float | None:
    """The mean speed of planted foot points along the floor, metres a second at ``rate`` frames a second.

    Over all intervals between two keys at both of which a point is planted; None if there are none.
    """
    steps = np.linalg.norm(np.diff(animation.foot_points()[..., :2], axis=0), axis=-1)
    seconds = np.diff(animation.frames)[:, None] / rate
    planted = animation.contacts[1:] & animation.contacts[:-1]
    return float((steps / seconds)[planted].mean()) if planted.any() else None


def floor_height(animation: Animation) -> float | None:
    """The median height of planted foot points, metres; None if no foot is planted."""
    heights = animation.foot_points()[..., 2][animation.contacts]
    return float(np.median(heights)) if len(heights) else None


def moved(animation: Animation, rotation: np.ndarray, offset: np.ndarray) -> Animation:
    """The animation rotated by a quaternion (4,) about the world's origin, then moved by an offset (3,) in metres."""
    rotations = animation.rotations.copy()
    rotations[:, 0] = quaternions.multiply(rotation, rotations[:, 0])
    return replace(animation, root=quaternions.rotate(rotation, animation.root) + offset, rotations=rotations)


def with_arms_spread(animation: Animation, angle: float) -> Animation:
    """Both arms rotated outwards at the shoulders, so that they do not pass through a broader body.

    By an angle in radians where they hang down, by half of it where they are horizontal, and not at all overhead.
    """
    rotations = animation.rotations.copy()
    front = np.array([0.0, -1.0, 0.0])  # of the chest at rest
    for side, sign in (("left", 1.0), ("right", -1.0)):
        shoulder = JOINT_NAMES.index(f"{side}_shoulder")
        arm = quaternions.normalized(animation.heads[JOINT_NAMES.index(f"{side}_elbow")] - animation.heads[shoulder])
        weight = (1 - quaternions.rotate(rotations[:, shoulder], arm)[:, 2]) / 2
        outwards = quaternions.about(np.broadcast_to(front, (len(weight), 3)), sign * angle * weight)
        rotations[:, shoulder] = quaternions.multiply(outwards, rotations[:, shoulder])
    return replace(animation, rotations=rotations)


def low_pass(values: np.ndarray, cutoff: float, rate: float) -> np.ndarray:
    """Values (F, ...) low-pass filtered without delay: ``cutoff`` in hertz, ``rate`` in rows a second.

    The gain of a second-order Butterworth filter run forwards and backwards, as is usual for motion capture (Winter,
    Biomechanics and Motor Control of Human Movement). Ends are mirrored about their last value, which stays.
    """
    count = len(values)
    if count < 3:
        return values
    # 16 motions long at most: more changes nothing, and keyframes close together would need any amount of memory.
    margin = min(int(np.ceil(2 * rate / cutoff)), 16 * count)
    length = _fast_length(count + 2 * margin)
    gain = 1 / (1 + (np.fft.rfftfreq(length, 1 / rate) / cutoff) ** 4)
    rows = np.arange(-margin, length - margin) % (2 * count - 2)  # mirrored at both ends, as often as it takes
    mirrored = np.minimum(rows, 2 * count - 2 - rows)
    signs = np.where(rows < count, 1.0, -1.0)
    ramp = np.linspace(0, 1, count)
    smooth = np.empty(values.shape)
    # One component at a time stays in the processor's cache: all at once take twice as long.
    for column, result in zip(values.reshape(count, -1).T, smooth.reshape(count, -1).T, strict=True):
        line = column[0] + ramp * (column[-1] - column[0])
        padded = (column - line)[mirrored] * signs
        result[:] = np.fft.irfft(np.fft.rfft(padded) * gain, length)[margin : margin + count] + line
    return smooth


def _fast_length(count: int) -> int:
    """The first number at or above ``count`` without prime factors above 5: other FFTs take several times as long."""
    while True:
        rest = count
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return count
        count += 1


def smoothed(animation: Animation, cutoff: float, rate: float) -> Animation:
    """Rotations and root low-pass filtered at ``cutoff`` (hertz); planted feet stay where they are.

    ``rate``: keys a second. Quaternions without sign jumps are filtered by component and normalized, which gives the
    mean of nearby rotations (Markley et al. 2007, Averaging Quaternions).
    """
    even = evenly(animation, _FINER)
    if even is not animation:
        rate *= len(even) / max((even.frames[-1] - even.frames[0]) / np.median(np.diff(animation.frames)), 1.0)
        smooth = resampled(smoothed(even, cutoff, rate), animation.frames)
        return replace(animation, root=smooth.root, rotations=smooth.rotations)
    rotations = quaternions.normalized(low_pass(quaternions.without_jumps(animation.rotations), cutoff, rate))
    smooth = replace(animation, root=low_pass(animation.root, cutoff, rate), rotations=rotations)
    return _with_feet_of(animation, smooth, cutoff, rate)


def _with_feet_of(before: Animation, after: Animation, cutoff: float, rate: float) -> Animation:
    """``after`` with legs bent so that planted feet are where ``before`` has them, low-pass filtered in each contact.

    Without the filter, feet that tremble on the floor would go on trembling.
    """
    old_positions, old_rotations = before.pose(_LEG_JOINTS)
    for leg in LEGS:
        planted, ankle = np.logical_or.reduce(before.contacts[:, leg.points], axis=1), leg.ankle
        if not planted.any():
            continue
        target, foot = old_positions[:, ankle].copy(), quaternions.without_jumps(old_rotations[:, ankle]).copy()
        for start, stop in true_intervals(planted):
            target[start:stop] = low_pass(target[start:stop], cutoff, rate)
            foot[start:stop] = quaternions.normalized(low_pass(foot[start:stop], cutoff, rate))
        after = with_foot_at(after, leg, planted, target, foot, EASE * rate)
    return after


def with_foot_at(
    animation: Animation, leg: LegJoints, known: np.ndarray, ankle: np.ndarray, foot: np.ndarray, ease: float
) -> Animation:
    """The animation with a leg bent so that its ankle is at (F, 3) and its foot rotated by (F, 4) in known rows (F,).

    In the world, metres. The correction of the known rows fades within ``ease`` rows around them.
    """
    positions, rotations = animation.pose(_LEG_JOINTS)
    shift = eased(ankle - positions[:, leg.ankle], known, ease)
    twist = quaternions.multiply(foot, quaternions.inverse(rotations[:, leg.ankle]))
    turned = eased(quaternions.to_axis_angle(twist), known, ease)
    twist = quaternions.of_axis_angle(turned)
    target, foot = positions[:, leg.ankle] + shift, quaternions.multiply(twist, rotations[:, leg.ankle])
    # Solving a leg again whose foot stays would turn knees that do not bend as a hinge.
    changed = np.linalg.norm(shift, axis=1) + np.linalg.norm(turned, axis=1) > _FOOT_STAYS
    legs = leg_rotations(leg, positions, rotations, target, foot, HINGED)
    local = animation.rotations.copy()
    local[:, [leg.hip, leg.knee, leg.ankle]] = np.where(
        changed[:, None, None], legs, local[:, [leg.hip, leg.knee, leg.ankle]]
    )
    return replace(animation, rotations=local)


def planted_again(animation: Animation, rate: float) -> Animation:
    """The animation with each planted toe and heel in one place for its whole contact, and on the floor if it is near.

    ``rate``: keys a second. Legs bend for it; where a leg is too short, the body comes after it. Rows farther from a
    contact than three times the fade of a leg's correction (0.2 s) stay as they are.
    """
    ease = EASE * rate
    local = animation.rotations.copy()
    animation = replace(animation, rotations=local)
    for _ in range(_PASSES):
        positions, rotations = pose = animation.pose(_LEG_JOINTS)
        points = animation.foot_points(pose)
        goals = [_planted_foot(animation.contacts[:, leg.points], points[:, leg.points], positions[:, leg.ankle], ease)
                 for leg in LEGS]  # fmt: skip
        shift = _into_reach(animation, positions, [positions[:, leg.ankle] + moved for leg, (moved, _) in
                                                   zip(LEGS, goals, strict=True)], ease)  # fmt: skip
        positions += shift[:, None]
        for leg, (moved, twist) in zip(LEGS, goals, strict=True):
            target = positions[:, leg.ankle] - shift + moved
            foot = quaternions.multiply(twist, rotations[:, leg.ankle])
            changed = np.linalg.norm(target - positions[:, leg.ankle], axis=1) + np.abs(twist[:, 1:]).sum(1) > 1e-9
            legs = leg_rotations(leg, positions, rotations, target, foot, HINGED)
            for joint, values in zip((leg.hip, leg.knee, leg.ankle), legs.swapaxes(0, 1), strict=True):
                local[changed, joint] = values[changed]
        animation = replace(animation, root=animation.root + shift)
    return animation


def _planted_foot(
    planted: np.ndarray, points: np.ndarray, ankle: np.ndarray, ease: float
) -> tuple[np.ndarray, np.ndarray]:
    """The movement (F, 3) of an ankle (F, 3) and the rotation (F, 4) of its foot which hold its toe and heel in place.

    planted (F, 2) and points (F, 2, 3): toe and heel, in the world. Both fade within ``ease`` rows beside contacts.
    """
    locked = locked_positions(points, planted)
    along, wanted = points[:, 0] - points[:, 1], locked[:, 0] - locked[:, 1]
    both = np.all(planted, axis=1) & (np.linalg.norm(wanted, axis=1) > 1e-6)
    twist = quaternions.to_axis_angle(quaternions.between(along, np.where(both[:, None], wanted, along)))
    twist = quaternions.of_axis_angle(eased(twist, both, ease))
    offsets = quaternions.rotate(twist[:, None], points - ankle[:, None])
    shift = mean_of_planted(locked - offsets - ankle[:, None], planted)
    return eased(shift, np.any(planted, axis=1), ease), twist


def _into_reach(animation: Animation, positions: np.ndarray, ankles: list[np.ndarray], ease: float) -> np.ndarray:
    """The movement (F, 3) of the body that lets both legs reach their ankles (F, 3), without a jump in time."""
    shift = np.zeros((len(animation), 3))
    for leg, ankle in zip(LEGS, ankles, strict=True):
        bones = np.diff(animation.heads[[leg.hip, leg.knee, leg.ankle]], axis=0)
        length = HINGED.stretched * np.linalg.norm(bones, axis=1).sum()
        path = ankle - positions[:, leg.hip] - shift
        distance = np.linalg.norm(path, axis=1)
        # A leg may stay as straight as the pose has it.
        longest = np.maximum(length, np.linalg.norm(positions[:, leg.ankle] - positions[:, leg.hip], axis=1))
        excess = smooth_maximum(np.clip(distance - longest, 0, None), ease)
        shift += path / np.maximum(distance, 1e-9)[:, None] * excess[:, None]
    return shift


def looped(animation: Animation, blend: int, in_place: bool) -> Animation:
    """A cycle: the last ``blend`` rows are blended into the first ones, so that the end continues at the start.

    The result has ``blend`` rows less, and one more at the end that repeats the first. It goes straight on: a change
    of heading from start to end is removed evenly over the cycle. ``in_place``: so is the movement over the floor.
    Raises ValueError if the cycle is not longer than the blend.
    """
    animation = evenly(animation)
    period = len(animation) - blend
    if blend < 1 or period <= blend:
        raise ValueError("the cycle must be longer than its blend")
    # Align the tail with the head: the same heading and floor position in the middle of the blend.
    middle = blend // 2
    yaw = quaternions.heading(
        quaternions.multiply(
            animation.rotations[middle, 0], quaternions.inverse(animation.rotations[period + middle, 0])
        )
    )
    tail = moved(animation, yaw, np.zeros(3))
    offset = (animation.root[middle] - tail.root[period + middle]) * [1.0, 1.0, 0.0]
    weight = smoothstep(np.arange(blend) / blend)
    head, rest = slice(0, blend), slice(period, period + blend)
    root, rotations = animation.root[: period + 1].copy(), animation.rotations[: period + 1].copy()
    probabilities = animation.probabilities[: period + 1].copy()
    root[head] = _mixed(tail.root[rest] + offset, animation.root[head], weight[:, None])
    rotations[head] = quaternions.blend(tail.rotations[rest], animation.rotations[head], weight[:, None])
    probabilities[head] = _mixed(animation.probabilities[rest], animation.probabilities[head], weight[:, None])
    later = (weight >= 0.5)[:, None]
    contacts = animation.contacts[: period + 1].copy()
    contacts[head] = np.where(later, animation.contacts[head], animation.contacts[rest])
    visible = animation.visible[: period + 1].copy()
    visible[head] = np.where(later[:, 0], animation.visible[head], animation.visible[rest])
    hands = animation.hand_confidence
    confidence = np.column_stack([animation.confidence, *([] if hands is None else [hands])])
    confidence[head] = _mixed(confidence[rest], confidence[head], weight[:, None])
    confidence = confidence[: period + 1]

    # The last row repeats the first one, at the tail's place. Its change of heading is distributed over the cycle.
    for values in (probabilities, contacts, visible, confidence):
        values[-1] = values[0]
    root[-1, 2] = root[0, 2]
    angle = 2 * np.arctan2(yaw[3], yaw[0])
    angle = (angle + np.pi) % (2 * np.pi) - np.pi
    upright = np.broadcast_to([0.0, 0.0, 1.0], (period + 1, 3))
    straightening = quaternions.about(upright, np.linspace(0, angle, period + 1))
    rotations[:, 0] = quaternions.multiply(straightening, rotations[:, 0])
    rotations[-1] = rotations[0]
    steps = quaternions.rotate(straightening[:-1], np.diff(root, axis=0))
    root = root[0] + np.concatenate([np.zeros((1, 3)), np.cumsum(steps, 0)])
    cycle = replace(
        animation, frames=animation.frames[: period + 1], root=root, rotations=quaternions.without_jumps(rotations),
        contacts=contacts, probabilities=probabilities, confidence=confidence[:, 0], visible=visible,
        hand_confidence=None if hands is None else confidence[:, 1:],
    )  # fmt: skip
    return without_travel(cycle) if in_place else cycle


def without_travel(cycle: Animation) -> Animation:
    """A cycle without its movement over the floor, which is removed evenly."""
    travel = np.linspace(0, 1, len(cycle))[:, None] * (cycle.root[-1] - cycle.root[0])
    return replace(cycle, root=cycle.root - travel)


def planted_cycle(cycle: Animation, rate: float) -> Animation:
    """A cycle of `looped` that moves over the floor, with planted feet held in place, also where it starts anew.

    ``rate``: keys a second. The cycle is planted between parts of two others, so that contacts across its ends are
    whole.
    """
    period, step = len(cycle) - 1, cycle.root[-1] - cycle.root[0]
    # Twice the reach of one pass of `planted_again`: the body follows its feet from pass to pass.
    reach = int(np.ceil(6 * EASE * rate)) + 1
    before, behind = (
        min(max(_rows_planted(np.any(rows[:, leg.points], 1)) for leg in LEGS) + reach, period)
        for rows in (cycle.contacts[::-1], cycle.contacts)
    )
    three = repeated(cycle, 3)
    near = np.arange(period - before, 2 * period + 1 + behind)
    planted = planted_again(selected(three, near), rate)
    middle = slice(before, before + period + 1)
    root, rotations = planted.root[middle] - step, planted.rotations[middle]
    root[-1], rotations[-1] = root[0] + step, rotations[0]
    return replace(cycle, root=root, rotations=quaternions.without_jumps(rotations))


def _rows_planted(planted: np.ndarray) -> int:
    """How many rows from the first on are planted (F,), without a gap."""
    return len(planted) if planted.all() else int(np.argmin(planted))


def repeated(cycle: Animation, times: int) -> Animation:
    """A cycle of `looped` several times, one after the other; without the confidence of hands."""
    period = len(cycle) - 1
    rows = np.append(np.tile(np.arange(period), times), 0)
    number = np.append(np.repeat(np.arange(times), period), times)
    of_rows = {
        name: getattr(cycle, name)[rows] for name in ("rotations", "contacts", "probabilities", "confidence", "visible")
    }
    return replace(
        cycle,
        frames=cycle.frames[rows] + number * (cycle.frames[-1] - cycle.frames[0]),
        root=cycle.root[rows] + number[:, None] * (cycle.root[-1] - cycle.root[0]),
        hand_confidence=None,
        **of_rows,
    )


def active_rows(animation: Animation, rate: float, speed: float, margin: float) -> slice:
    """The rows from the first to the last in which the person is seen and moves; empty if there are none.

    Moves: a joint that goes faster than ``speed``, metres a second, in what is left below 3 Hz, since jitter would
    count as movement. ``rate``: rows a second; ``margin``: seconds that are kept before and after.
    """
    positions, _ = animation.pose()
    velocities = np.gradient(low_pass(positions, _MOVING_BELOW, rate), axis=0) if len(animation) > 1 else positions * 0
    moving = (np.linalg.norm(velocities, axis=-1).max(1) * rate > speed) & animation.visible
    rows = np.flatnonzero(moving)
    if not len(rows):
        return slice(0, 0)
    before = round(margin * rate)
    return slice(max(int(rows[0]) - before, 0), min(int(rows[-1]) + before + 1, len(animation)))


def _mixed(start: np.ndarray, end: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return start + weight * (end - start)
