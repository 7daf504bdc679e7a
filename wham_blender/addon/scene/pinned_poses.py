"""Pinned poses as corrections: what a pin says of a pose, and pins of earlier imports on a new motion of the clip."""

from __future__ import annotations

from dataclasses import replace

import bpy
import numpy as np

from ... import quaternions
from ...animation import Animation, resampled
from ...corrected_animation import inserted, pinned
from ...corrections import Pinned
from ...skeleton import ALL_JOINT_NAMES
from . import character, recorded_corrections

_POSED = 1e-4  # of a quaternion's components, by which a joint differs that was posed


def described(armature: bpy.types.Object, now: Animation, pose: Animation, falloff: float) -> Pinned | None:
    """The correction that pins a pose of one row, where the motion has the pose ``now``; falloff in scene frames.

    None if the character does not know which frame of the clip that is.
    """
    seen = recorded_corrections.seen_range(armature, float(pose.frames[0]), float(pose.frames[0]))
    if seen is None:
        return None
    pelvis = quaternions.inverse(now.rotations[0, 0])
    rotations = pose.rotations[0].copy()
    rotations[0] = quaternions.multiply(pelvis, rotations[0])
    old = now.rotations[0].copy()
    old[0] = [1, 0, 0, 0]
    posed = np.abs(np.sum(rotations * old, 1)) < 1 - _POSED**2
    record = armature.wham_motion
    rounded = rotations.round(5).tolist()
    return Pinned(
        person=seen[2],
        frame=seen[0],
        falloff=falloff * record.clip_rate / record.keyed_rate,
        rotations={ALL_JOINT_NAMES[joint]: tuple(rounded[joint]) for joint in np.flatnonzero(posed)},
        moved=tuple(quaternions.rotate(pelvis, pose.root[0] - now.root[0]).round(5).tolist()),
    )


def apply(imported: list[bpy.types.Object]) -> None:
    """Bend the motions of new characters to the poses that their corrections pin.

    Raises CodedError if a character cannot be read or written. Pins of people who are not among them, and at frames
    that their motions lack, are left out.
    """
    for armature in imported:
        pins = recorded_corrections.document(armature).pinned
        mine = [pin for pin in pins if recorded_corrections.person_at(imported, pin.person) == armature]
        if mine:
            before = character.read(armature)
            after = before
            for pin in mine:
                after = _with_pin(armature, after, pin)
            character.write(armature, after, before)


def _with_pin(armature: bpy.types.Object, motion: Animation, pin: Pinned) -> Animation:
    frame = character.scene_frame(armature, pin.frame)
    if frame is None or not motion.frames[0] <= frame <= motion.frames[-1]:
        return motion
    now = resampled(motion, np.array([frame]))
    root, rotations = now.root.copy(), now.rotations.copy()
    for joint, name in enumerate(character.joint_names(armature)):
        if name in pin.rotations:
            rotations[0, joint] = quaternions.normalized(np.array(pin.rotations[name]))
    if ALL_JOINT_NAMES[0] in pin.rotations:
        rotations[0, 0] = quaternions.multiply(now.rotations[0, 0], rotations[0, 0])
    root[0] += quaternions.rotate(now.rotations[0, 0], np.array(pin.moved))
    pose = replace(now, root=root, rotations=rotations)
    record = armature.wham_motion
    falloff = max(pin.falloff * record.keyed_rate / record.clip_rate, 1.0)
    return inserted(motion, pinned(motion, pose, falloff, character.key_rate(armature, motion)))
