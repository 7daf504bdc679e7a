"""Keyframes: an object's action, read and written whole curves at a time, and a Motion written as one."""

from __future__ import annotations

import bpy
import numpy as np

from ... import quaternions
from ...motion import Motion
from ...skeleton import JOINT_NAMES
from .keyframe_reduction import Curves
from .smpl_armature import BODY_TO_BLENDER

CONSTANT, LINEAR, _BEZIER = 0, 1, 2  # the numbers of these in Keyframe.interpolation
_FREE, _ALIGNED, _AUTO_CLAMPED = 0, 3, 4  # the numbers of these in Keyframe.handle_left_type


class ActionKeys:
    """The keys of an object's action; the same before and after 4.4 brought slots and layers."""

    frames: np.ndarray  # (F,) scene frames of all keys that are written; they may lie between whole frames

    def __init__(self, owner: bpy.types.Object) -> None:
        """Open the action that an object has; raises LookupError where it has none."""
        animation = owner.animation_data
        if animation is None or animation.action is None:
            raise LookupError(f"{owner.name} has no action")
        self.action: bpy.types.Action = animation.action
        self._curves = self.action
        if hasattr(self.action, "slots"):
            strip = self.action.layers[0].strips[0] if self.action.layers else None
            bag = strip and animation.action_slot and strip.channelbag(animation.action_slot)
            if not bag:
                raise LookupError(f"{owner.name} has no keys in {self.action.name}")
            self._curves = bag

    def curves(self) -> list[bpy.types.FCurve]:
        """All curves of the object."""
        return list(self._curves.fcurves)

    def frames_of(self, data_path: str) -> np.ndarray:
        """The scene frames (F,) at which a property is keyed; raises LookupError where it has no keys."""
        return _points(self._find(data_path, 0))[:, 0]

    def read(self, data_path: str, size: int, frames: np.ndarray) -> np.ndarray:
        """Values (F, size) of a property at scene frames; raises LookupError where one of its curves is missing."""
        columns = []
        for index in range(size):
            curve = self._find(data_path, index)
            points = _points(curve)
            if len(points) == len(frames) and np.allclose(points[:, 0], frames, atol=1e-3):
                columns.append(points[:, 1])
            else:  # keys that the user thinned out or added to
                columns.append(np.array([curve.evaluate(frame) for frame in frames]))
        return np.stack(columns, 1).astype(float)

    def add(self, data_path: str, values: np.ndarray, group: str, interpolation: int = LINEAR) -> None:
        """Key a property instead of the keys that it had: values (F, n) for its n components."""
        for index, column in enumerate(values.T):
            curve = self._curve(data_path, index, group)
            _set_points(curve, np.stack([self.frames, column], 1), interpolation)

    def add_curves(self, data_path: str, curves: Curves, group: str) -> None:
        """Key a property with smooth curves, which have some of the rows of ``frames``."""
        frames = self.frames[curves.rows]
        third = np.diff(frames, prepend=frames[0], append=frames[-1]) / 3  # before the first key up to after the last
        third[[0, -1]] = 1 / 3
        corners = (np.abs(curves.before - curves.after) > 1e-9).any(1)
        for index, column in enumerate(curves.values.T):
            curve = self._curve(data_path, index, group)
            _set_points(curve, np.stack([frames, column], 1), _BEZIER)
            for side, sign, slope, reach in (
                ("left", -1, curves.before[:, index], third[:-1]),
                ("right", 1, curves.after[:, index], third[1:]),
            ):
                handles = np.stack([frames + sign * reach, column + sign * reach * slope], 1)
                kinds = np.where(corners, _FREE, _ALIGNED).astype(np.int32)
                curve.keyframe_points.foreach_set(f"handle_{side}_type", kinds)
                curve.keyframe_points.foreach_set(f"handle_{side}", handles.astype(np.float32).ravel())
            curve.update()

    def _curve(self, data_path: str, index: int, group: str) -> bpy.types.FCurve:
        """The curve of a property's component, made where it is not there."""
        curve = self._curves.fcurves.find(data_path, index=index)
        if curve is None:
            curve = self._curves.fcurves.new(data_path, index=index)
            curve.group = self._curves.groups.get(group) or self._curves.groups.new(group)
        return curve

    def _find(self, data_path: str, index: int) -> bpy.types.FCurve:
        curve = self._curves.fcurves.find(data_path, index=index)
        if curve is None or not len(curve.keyframe_points):
            raise LookupError(f"{data_path} has no keys in {self.action.name}")
        return curve


class ActionWriter(ActionKeys):
    """A new action on an object, to be filled with keys at the scene frames (F,)."""

    def __init__(self, owner: bpy.types.Object, name: str, frames: np.ndarray) -> None:
        action = bpy.data.actions.new(name)
        animation = owner.animation_data_create()
        animation.action = action
        if hasattr(action, "slots"):
            slot = action.slots.new(id_type="OBJECT", name=owner.name)
            action.layers.new("Layer").strips.new(type="KEYFRAME").channelbag(slot, ensure=True)
            animation.action_slot = slot
        super().__init__(owner)
        self.frames = frames


def stretch(curve: bpy.types.FCurve, origin: float, factor: float) -> None:
    """Stretch a curve in time about the scene frame ``origin``."""
    for part in ("co", "handle_left", "handle_right"):
        points = _points(curve, part)
        points[:, 0] = origin + (points[:, 0] - origin) * factor
        curve.keyframe_points.foreach_set(part, points.astype(np.float32).ravel())
    curve.update()


def cut(curve: bpy.types.FCurve, first: float, last: float) -> None:
    """Leave of a curve only what lies from one scene frame to another; keys stay as they look."""
    keys = curve.keyframe_points
    before = curve.evaluate(first)
    points = {part: _points(curve, part) for part in ("co", "handle_left", "handle_right")}
    kinds = {}
    for part in ("interpolation", "handle_left_type", "handle_right_type"):
        kinds[part] = np.empty(len(keys), np.int32)
        keys.foreach_get(part, kinds[part])
    inside = (points["co"][:, 0] >= first - 1e-3) & (points["co"][:, 0] <= last + 1e-3)
    if inside.all():
        return
    keys.clear()
    if not inside.any():  # it stood still here, or lay between two keys
        keys.add(1)
        keys.foreach_set("co", [first, before])
    else:
        keys.add(int(inside.sum()))
        for part, values in points.items():
            keys.foreach_set(part, values[inside].astype(np.float32).ravel())
        for part, kind in kinds.items():
            keys.foreach_set(part, kind[inside])
    curve.update()


def _points(curve: bpy.types.FCurve, part: str = "co") -> np.ndarray:
    """Frames and values (F, 2) of a curve's keys, or of their handles."""
    points = np.empty(2 * len(curve.keyframe_points), np.float32)
    curve.keyframe_points.foreach_get(part, points)
    return points.reshape(-1, 2).astype(float)


def _set_points(curve: bpy.types.FCurve, points: np.ndarray, interpolation: int) -> None:
    """Give a curve the keys (F, 2); the look of the keys it had stays where their number does."""
    keys, count = curve.keyframe_points, len(points)
    changed = len(keys) != count
    if changed:
        keys.clear()
        keys.add(count)
    keys.foreach_set("co", points.astype(np.float32).ravel())
    if changed:
        keys.foreach_set("interpolation", np.full(count, interpolation, np.int32))
        for side in ("handle_left_type", "handle_right_type"):
            keys.foreach_set(side, np.full(count, _AUTO_CLAMPED, np.int32))
    curve.update()


def write_pose(writer: ActionKeys, armature: bpy.types.Object, motion: Motion) -> None:
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
    rotations = quaternions.of_axis_angle(poses.reshape(len(poses), 24, 3).astype(float))
    scalar, (x, y, z) = rotations[:, 0, 0], rotations[:, 0, 1:].T
    # (1, -1, 0, 0) / sqrt(2) is A^T, a quarter turn back about x.
    rotations[:, 0] = np.stack([scalar + x, x - scalar, y + z, z - y], -1) / np.sqrt(2)
    turn = np.swapaxes(rest, 1, 2) @ BODY_TO_BLENDER
    rotations[..., 1:] = np.einsum("jab,fjb->fja", turn, rotations[..., 1:])
    return quaternions.without_jumps(rotations)
