"""Corrections of a character's animation that need no worker: frames bridged, sides swapped, a pose pinned. NumPy only.

Each takes an Animation and returns a new one with the same rows. Frames are scene frames.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from . import quaternions
from .animation import EASE, Animation, between, resampled, with_foot_at
from .corrections import Part
from .motion import true_intervals
from .planted_feet import IN_PLANE, LEGS, LegJoints, leg_rotations, smoothstep
from .skeleton import ALL_JOINT_NAMES, ALL_PARENTS

_SLOPE = 3  # rows from which the velocity at an end of a bridge is told; set by hand
_GOES_ON = 0.15  # seconds for which a movement goes on into a bridge, as it fades; set by hand
# A planted foot whose own leg was posed is let go if the pose moves it farther: the animator has put it there. Radians
# and metres; set by hand.
_POSED, _PUT_ELSEWHERE = 0.02, 0.03
_TURNED_ROUND = np.array([0.0, 0.0, 0.0, 1.0])  # about the vertical axis at rest
_OTHER_ARM = np.array([0.0, 0.0, 1.0, 0.0])  # about the axis to the front: a left arm at rest becomes a right one
_OTHER_SIDE = [
    ALL_JOINT_NAMES.index(name.replace("left", "right") if "left" in name else name.replace("right", "left"))
    for name in ALL_JOINT_NAMES
]
_OF_LEGS, _OF_ARMS = (
    [index for index, name in enumerate(ALL_JOINT_NAMES) if _OTHER_SIDE[index] != index and leg == any(
        part in name for part in ("hip", "knee", "ankle", "foot"))]
    for leg in (True, False)
)  # fmt: skip


def rows_between(animation: Animation, first: float, last: float) -> np.ndarray:
    """Which rows (F,) lie at the scene frames first to last."""
    return (animation.frames > first - 1e-3) & (animation.frames < last + 1e-3)


def inserted(animation: Animation, part: Animation) -> Animation:
    """The animation with the rows of a part of it, which may be corrected, in the place of its own."""
    rows = rows_between(animation, *part.frames[[0, -1]])
    values = {}
    for name in ("root", "rotations", "contacts", "confidence", "visible", "hand_confidence"):
        if (whole := getattr(animation, name)) is not None:
            values[name] = whole.copy()
            values[name][rows] = getattr(part, name)
    return replace(animation, **values)


def bridged(animation: Animation, first: float, last: float, rate: float) -> Animation:
    """The animation with the frames first to last filled in from those before and after; ``rate``: rows a second.

    Rotations and root go on as they moved before, and pass over smoothly to how they move afterwards. Feet that are
    planted before or after stay planted for as long as their contact lasts; contacts within the range only are
    forgotten. The rows count as not seen. Raises ValueError if no row is left before or after.
    """
    inside = rows_between(animation, first, last)
    if not inside.any() or inside[0] or inside[-1]:
        raise ValueError("there is nothing to bridge, or no row before or after")
    rows, margin = np.flatnonzero(inside), max(int(np.ceil(EASE * rate)), _SLOPE) + 1
    ends = max(rows[0] - margin, 0), min(rows[-1] + margin, len(animation) - 1)
    if ends != (0, len(animation) - 1):  # all rows of a long animation would take seconds
        near = between(animation, *animation.frames[list(ends)])
        return inserted(animation, bridged(near, first, last, rate))
    start, stop = rows[0] - 1, rows[-1] + 1
    t, end = (animation.frames[rows] - animation.frames[start]), animation.frames[stop] - animation.frames[start]
    before, behind = _continued(animation, start, -1, t, rate), _continued(animation, stop, 1, end - t, rate)
    weight = smoothstep(t / end)[:, None]
    root, rotations = animation.root.copy(), animation.rotations.copy()
    root[rows] = before[0] + weight * (behind[0] - before[0])
    rotations[rows] = quaternions.blend(before[1], behind[1], weight)
    contacts = animation.contacts.copy()
    for column in contacts.T:
        for begun, ended in true_intervals(column):
            if begun > start and ended <= stop:
                column[begun:ended] = False
    hidden = {
        name: np.where(inside.reshape(-1, *[1] * (values.ndim - 1)), 0, values).astype(values.dtype)
        for name in ("confidence", "visible", "hand_confidence")
        if (values := getattr(animation, name)) is not None
    }
    after = replace(animation, root=root, rotations=rotations, contacts=contacts, **hidden)
    return _with_feet_held(animation, after, inside, rate)


def _continued(
    animation: Animation, row: int, side: int, passed: np.ndarray, rate: float
) -> tuple[np.ndarray, np.ndarray]:
    """Root (n, 3) and rotations (n, J, 4) at scene frames ``passed`` (n,) away from a row, if its movement fades.

    side: -1 to go on after the row as before it, 1 to go back before it as after it.
    """
    other = int(np.clip(row + side * _SLOPE, 0, len(animation) - 1))
    if other == row:
        rows = np.full(len(passed), row)
        return animation.root[rows], animation.rotations[rows]
    fade = _GOES_ON * rate * float(np.median(np.diff(animation.frames)))
    gone = fade * (1 - np.exp(-passed / fade)) / abs(animation.frames[row] - animation.frames[other])
    root = animation.root[row] + gone[:, None] * (animation.root[row] - animation.root[other])
    turned = quaternions.multiply(animation.rotations[row], quaternions.inverse(animation.rotations[other]))
    turned = quaternions.of_axis_angle(gone[:, None, None] * quaternions.to_axis_angle(turned))
    return root, quaternions.multiply(turned, animation.rotations[row])


def _with_feet_held(before: Animation, after: Animation, inside: np.ndarray, rate: float) -> Animation:
    """``after`` with feet that are planted in rows ``inside`` (F,) where their contacts have them beside these rows."""
    positions, rotations = before.pose()
    trusted = ~inside
    for leg in LEGS:
        planted = np.any(after.contacts[:, leg.points], axis=1)
        ankle, foot = positions[:, leg.ankle].copy(), rotations[:, leg.ankle].copy()
        for start, stop in true_intervals(planted):
            here = np.arange(start, stop)
            known = here[trusted[start:stop]]
            if not len(known):
                continue
            missing = here[inside[start:stop]]
            left = known[np.maximum(np.searchsorted(known, missing) - 1, 0)]
            right = known[np.minimum(np.searchsorted(known, missing), len(known) - 1)]
            weight = ((missing - left) / np.maximum(right - left, 1)).clip(0, 1)[:, None]
            ankle[missing] = ankle[left] + weight * (ankle[right] - ankle[left])
            foot[missing] = quaternions.blend(foot[left], foot[right], weight[:, 0])
        after = with_foot_at(after, leg, planted | trusted, ankle, foot, EASE * rate)
    return after


def with_swapped_sides(animation: Animation, first: float, last: float, part: Part) -> Animation:
    """The animation with left and right exchanged in the frames first to last: each limb is where the other one was.

    The legs' feet come to the other ones' places. If the whole body is swapped, it is turned round, too. Contacts and
    the confidence of hands go with the limbs.
    """
    inside = rows_between(animation, first, last)
    there = between(animation, first, last)
    positions, world = there.pose()
    count = len(animation.heads)
    other = np.array(_OTHER_SIDE[:count])
    swapped = world.copy()
    if part is Part.ALL:
        middle = [joint for joint in range(count) if other[joint] == joint]
        swapped[:, middle] = quaternions.multiply(world[:, middle], _TURNED_ROUND)
    if part is not Part.LOWER:
        arms = [joint for joint in _OF_ARMS if joint < count]
        swapped[:, arms] = quaternions.multiply(world[:, other[arms]], _OTHER_ARM)
    if part is not Part.UPPER:
        swapped[:, _OF_LEGS] = world[:, other[_OF_LEGS]]
    local = swapped.copy()
    for joint, parent in enumerate(ALL_PARENTS[:count]):
        if parent >= 0:
            local[:, joint] = quaternions.multiply(quaternions.inverse(swapped[:, parent]), swapped[:, joint])
    there = replace(there, rotations=local)
    contacts, hands = animation.contacts.copy(), animation.hand_confidence
    if part is not Part.UPPER:
        there = _with_legs_at(there, [positions[:, other[leg.ankle]] for leg in LEGS])
        contacts[inside] = contacts[inside][:, [2, 3, 0, 1]]
    if part is not Part.LOWER and hands is not None:
        hands = np.where(inside[:, None], hands[:, ::-1], hands)
    rotations = animation.rotations.copy()
    rotations[inside] = there.rotations
    return replace(animation, rotations=quaternions.without_jumps(rotations), contacts=contacts, hand_confidence=hands)


def _with_legs_at(animation: Animation, ankles: list[np.ndarray]) -> Animation:
    """The legs bent so that their ankles are at (F, 3), with the feet rotated as they are."""
    positions, rotations = animation.pose()
    local = animation.rotations.copy()
    for leg, ankle in zip(LEGS, ankles, strict=True):
        legs = leg_rotations(leg, positions, rotations, ankle, rotations[:, leg.ankle], IN_PLANE)
        local[:, [leg.hip, leg.knee, leg.ankle]] = legs
    return replace(animation, rotations=local)


def pinned(animation: Animation, pose: Animation, falloff: float, rate: float) -> Animation:
    """The animation bent to a pose, of one row, at its frame; rows beyond ``falloff`` scene frames stay as they are.

    The difference between pose and motion at that frame, rotations and root, is added to the rows around it with a
    weight that falls smoothly to nothing. Planted feet stay where they are, except where the pose moves the foot by its
    own leg: there it is let go. ``rate``: rows a second. It returns the rows within the falloff only, and one more on
    both sides, which are unchanged.
    """
    frame = float(pose.frames[0])
    near = np.flatnonzero(np.abs(animation.frames - frame) < falloff - 1e-6)
    ends = animation.frames[[max(near[0] - 1, 0), min(near[-1] + 1, len(animation) - 1)]]
    window = between(animation, *ends)
    now = resampled(animation, np.array([frame]))
    turned = quaternions.to_axis_angle(quaternions.multiply(pose.rotations, quaternions.inverse(now.rotations)))
    weight = smoothstep((1 - np.abs(window.frames - frame) / falloff).clip(0, 1))
    rotations = quaternions.multiply(quaternions.of_axis_angle(weight[:, None, None] * turned), window.rotations)
    after = replace(window, root=window.root + weight[:, None] * (pose.root - now.root), rotations=rotations)
    positions, world = window.pose()
    for leg in LEGS:
        planted = np.any(window.contacts[:, leg.points], axis=1)
        if _is_put_elsewhere(leg, now, pose, turned[0]):
            for start, stop in true_intervals(planted):
                if window.frames[start] <= frame <= window.frames[stop - 1]:
                    planted[start:stop] = False
        known = planted | (weight == 0)
        after = with_foot_at(after, leg, known, positions[:, leg.ankle], world[:, leg.ankle], EASE * rate)
    same = weight == 0
    return replace(
        after,
        root=np.where(same[:, None], window.root, after.root),
        rotations=np.where(same[:, None, None], window.rotations, after.rotations),
    )


def _is_put_elsewhere(leg: LegJoints, now: Animation, pose: Animation, turned: np.ndarray) -> bool:
    """Whether a pose moves a foot by its own leg; turned (J, 3): the joints' rotations from ``now``, radians."""
    moved = np.linalg.norm(pose.pose()[0][0, leg.ankle] - now.pose()[0][0, leg.ankle])
    posed = np.linalg.norm(turned[[leg.hip, leg.knee, leg.ankle]], axis=1).max()
    return bool(posed > _POSED and moved > _PUT_ELSEWHERE)
