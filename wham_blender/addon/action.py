"""Keyframes: a Motion as one action of an armature, written whole curves at a time."""

from __future__ import annotations

import bpy
import numpy as np

from ..motion import Motion
from ..skeleton import JOINT_NAMES
from .rig import BODY_TO_BLENDER

_LINEAR = 1  # the number of 'LINEAR' in Keyframe.interpolation
_AUTO_CLAMPED = 4  # the number of 'AUTO_CLAMPED' in Keyframe.handle_left_type


class ActionWriter:
    """A new action on an object, filled curve by curve; the same before and after 4.4 brought slots and layers."""

    def __init__(self, owner: bpy.types.Object, name: str, frames: np.ndarray) -> None:
        """``frames`` (F,) are the scene frames of all keys that follow; they may lie between whole frames."""
        self.action = bpy.data.actions.new(name)
        self._frames = frames
        animation = owner.animation_data_create()
        animation.action = self.action
        self._curves = self.action
        if hasattr(self.action, "slots"):
            slot = self.action.slots.new(id_type="OBJECT", name=owner.name)
            strip = self.action.layers.new("Layer").strips.new(type="KEYFRAME")
            animation.action_slot = slot
            self._curves = strip.channelbag(slot, ensure=True)

    def add(self, data_path: str, values: np.ndarray, group: str) -> None:
        """Key a property: values (F, n) for its n components, linear between the keys."""
        groups = self._curves.groups
        for index, column in enumerate(values.T):
            curve = self._curves.fcurves.new(data_path, index=index)
            curve.group = groups.get(group) or groups.new(group)
            points = curve.keyframe_points
            points.add(len(column))
            points.foreach_set("co", np.stack([self._frames, column], 1).astype(np.float32).ravel())
            points.foreach_set("interpolation", np.full(len(column), _LINEAR, np.int32))
            for side in ("handle_left_type", "handle_right_type"):
                points.foreach_set(side, np.full(len(column), _AUTO_CLAMPED, np.int32))
            curve.update()


def write_pose(writer: ActionWriter, armature: bpy.types.Object, motion: Motion) -> None:
    """Key the root's location and all bones' rotations, so that bone heads are at ``motion.joints()``."""
    rest = np.array([armature.data.bones[name].matrix_local for name in JOINT_NAMES])
    pelvis = motion.rest_joints[0] + motion.trans.astype(float)
    writer.add('pose.bones["pelvis"].location', (pelvis - rest[0, :3, 3]) @ rest[0, :3, :3], "pelvis")
    rotations = bone_quaternions(motion.poses, rest[:, :3, :3])
    for joint, name in enumerate(JOINT_NAMES):
        writer.add(f'pose.bones["{name}"].rotation_quaternion', rotations[:, joint], name)


def bone_quaternions(poses: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """SMPL's poses as rotations of Blender's bones from their rest.

    Takes poses (F, 72) axis-angle and the bones' rest axes in armature space, rest (24, 3, 3), one axis a column.
    Returns (F, 24, 4) quaternions w, x, y, z whose signs do not jump from frame to frame.

    With A the turn from SMPL's rest axes to Blender's and B a bone's rest axes, a joint's rotation L becomes
    C L C^T, C = B^T A: the same turn about an axis turned by C. The root has A^T before it, because the armature's
    rest stands upright while SMPL's lies.
    """
    vectors = poses.reshape(len(poses), 24, 3).astype(float)
    half = np.linalg.norm(vectors, axis=-1, keepdims=True) / 2
    quaternions = np.concatenate([np.cos(half), 0.5 * np.sinc(half / np.pi) * vectors], -1)
    scalar, (x, y, z) = quaternions[:, 0, 0], quaternions[:, 0, 1:].T
    # (1, -1, 0, 0) / sqrt(2) is A^T, a quarter turn back about x.
    quaternions[:, 0] = np.stack([scalar + x, x - scalar, y + z, z - y], -1) / np.sqrt(2)
    turn = np.swapaxes(rest, 1, 2) @ BODY_TO_BLENDER
    quaternions[..., 1:] = np.einsum("jab,fjb->fja", turn, quaternions[..., 1:])
    return without_jumps(quaternions)


def without_jumps(quaternions: np.ndarray) -> np.ndarray:
    """The same rotations (F, ..., 4) with signs chosen so that each frame is near the one before."""
    jumps = np.sum(quaternions[1:] * quaternions[:-1], -1, keepdims=True) < 0
    signs = np.cumprod(np.where(jumps, -1.0, 1.0), axis=0)
    return np.concatenate([quaternions[:1], quaternions[1:] * signs])
