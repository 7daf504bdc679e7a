"""Actions: reads and writes the F-curves of an object's action as arrays, and keys a Motion on an armature."""

from __future__ import annotations

from bisect import bisect_left

import bpy
import numpy as np

from ... import quaternions
from ...motion import Motion
from ...skeleton import ALL_JOINT_NAMES
from .checks import ValueRefused, check_frames
from .keyframe_reduction import ReducedCurves
from .smpl_armature import BODY_TO_BLENDER

CONSTANT, LINEAR, _BEZIER = 0, 1, 2  # values of Keyframe.interpolation, as foreach_set takes them
_SAME_FRAME = 1e-3  # frames
_SAME_VALUE = 1e-6  # of locations and quaternions: smaller differences are rounding to float32
_FEW = 1 / 16  # of the rows: up to here it takes less time to key them one by one than to key all; measured
_FREE, _ALIGNED = 0, 3  # values of Keyframe.handle_left_type


class ActionKeys:
    """The F-curves of an object's action, in Blender before and since 4.4, which introduced slots and layers."""

    frames: np.ndarray  # (F,) scene frames of the keyframes to write; subframes are allowed

    def __init__(self, owner: bpy.types.ID) -> None:
        """Open the action of an object or of shape keys. Raises LookupError if it has none."""
        animation = owner.animation_data
        if animation is None or animation.action is None:
            raise LookupError(f"{owner.name} has no action")
        self.action: bpy.types.Action = animation.action
        self._curves = self.action
        if hasattr(self.action, "slots"):
            strip = self.action.layers[0].strips[0] if self.action.layers else None
            channelbag = strip and animation.action_slot and strip.channelbag(animation.action_slot)
            if not channelbag:
                raise LookupError(f"{owner.name} has no keys in {self.action.name}")
            self._curves = channelbag

    def curves(self) -> list[bpy.types.FCurve]:
        """All F-curves of the object."""
        return list(self._curves.fcurves)

    def frames_of(self, data_path: str) -> np.ndarray:
        """The scene frames (F,) at which a property is keyed. Raises LookupError if it has no keyframes."""
        return _points(self._find(data_path, 0))[:, 0]

    def read(self, data_path: str, size: int, frames: np.ndarray) -> np.ndarray:
        """Values (F, size) of a property at scene frames.

        Raises LookupError if one of its F-curves is missing, ValueRefused for values that are no finite numbers.
        """
        values = np.empty((len(frames), size))
        for index in range(size):
            curve = self._find(data_path, index)
            points = _points(curve)
            if len(points) == len(frames) and np.abs(points[:, 0] - frames).max() < _SAME_FRAME:
                values[:, index] = points[:, 1]
            elif _is_stepped(curve):
                rows = np.searchsorted(points[:, 0], frames + _SAME_FRAME, "right").clip(1) - 1
                values[:, index] = points[rows, 1]
            else:  # the user has removed or added keyframes
                values[:, index] = [curve.evaluate(frame) for frame in frames]
        if not np.isfinite(values).all():
            finite = np.isfinite(values).all(1)
            raise ValueRefused(
                f"{data_path} in {self.action.name} is no number at frame {frames[np.argmin(finite)]:.0f}. Undo what "
                "set it, or delete that keyframe.",
                code="key-no-number",
            )
        return values

    def write(
        self,
        data_path: str,
        values: np.ndarray,
        group: str,
        interpolation: int = LINEAR,
        frames: np.ndarray | None = None,
    ) -> None:
        """Key a property with values (F, n) for its n components, replacing its keyframes.

        frames: scene frames (F,); None for ``self.frames``.
        """
        points = np.empty((len(values), 2), np.float32)
        points[:, 0] = self.frames if frames is None else frames
        for index, column in enumerate(values.T):
            points[:, 1] = column
            _set_points(self._curve(data_path, index, group), points, interpolation)

    def change(self, data_path: str, before: np.ndarray, after: np.ndarray, group: str) -> None:
        """Key a property that has the values ``before`` (F, n) at ``self.frames`` with others (F, n).

        If few rows differ, only these are keyed; if none does, the curves are not touched.
        """
        rows = np.flatnonzero((before != after).any(1))
        if len(rows) > _FEW * len(after):
            self.write(data_path, after, group)
        else:
            self.write_rows(data_path, after[rows], group, self.frames[rows])

    def write_rows(self, data_path: str, values: np.ndarray, group: str, frames: np.ndarray) -> None:
        """Key a property with values (n, k) at scene frames (n,); all its other keyframes stay as they are.

        For a few rows among thousands: F-curves that have these values are not touched.
        """
        for index, column in enumerate(values.T):
            curve = self._curve(data_path, index, group)
            keys = curve.keyframe_points
            changed, row, count = False, -1, len(keys)
            for frame, value in zip(frames.tolist(), column.tolist(), strict=True):
                row += 1  # mostly it is the next one, and looking for it takes longer than all the rest
                key = keys[row] if 0 < row < count else None
                if key is None or abs(key.co[0] - frame) > _SAME_FRAME:
                    row = bisect_left(keys, frame - _SAME_FRAME, key=_frame_of)
                    key = keys[row] if row < count else None
                if key is None or key.co[0] > frame + _SAME_FRAME:  # the user has deleted that keyframe
                    keys.insert(frame, value, options={"FAST"}).interpolation = "LINEAR"
                    changed, count = True, count + 1
                elif abs(value - key.co[1]) > _SAME_VALUE:
                    key.co_ui[1] = value  # its handles move with it
                    changed = True
            if changed:
                curve.update()

    def write_curves(self, data_path: str, curves: ReducedCurves, group: str) -> None:
        """Key a property with Bezier curves at some of the rows of ``frames``, replacing its keyframes."""
        frames = self.frames[curves.rows]
        # A Bezier handle a third of the interval away gives the cubic Hermite curve; 1/3 frame at both ends.
        third = np.diff(frames, prepend=frames[0], append=frames[-1]) / 3
        third[[0, -1]] = 1 / 3
        corners = (np.abs(curves.slopes_before - curves.slopes_after) > 1e-9).any(1)
        for index, column in enumerate(curves.values.T):
            curve = self._curve(data_path, index, group)
            _set_points(curve, np.stack([frames, column], 1), _BEZIER)
            for side, sign, slope, length in (
                ("left", -1, curves.slopes_before[:, index], third[:-1]),
                ("right", 1, curves.slopes_after[:, index], third[1:]),
            ):
                handles = np.stack([frames + sign * length, column + sign * length * slope], 1)
                types = np.where(corners, _FREE, _ALIGNED).astype(np.int32)
                curve.keyframe_points.foreach_set(f"handle_{side}_type", types)
                curve.keyframe_points.foreach_set(f"handle_{side}", handles.astype(np.float32).ravel())
            curve.update()

    def clear(self, *data_paths: str) -> None:
        """Remove the keyframes of properties, whose curves stay."""
        for curve in self.curves():
            if curve.data_path in data_paths:
                curve.keyframe_points.clear()

    def _curve(self, data_path: str, index: int, group: str) -> bpy.types.FCurve:
        """The F-curve of a property's component; created if missing."""
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


def curves_of(action: bpy.types.Action, slot: bpy.types.ID | None) -> list[bpy.types.FCurve]:
    """The F-curves of an action for the user of a slot; all of them before Blender 4.4, which introduced slots."""
    if not hasattr(action, "slots"):
        return list(action.fcurves)
    if slot is None:
        return []
    strips = [strip for layer in action.layers for strip in layer.strips]
    return [curve for strip in strips if (bag := strip.channelbag(slot)) for curve in bag.fcurves]


class ActionWriter(ActionKeys):
    """A new action on an object or shape keys, for keyframes at the scene frames (F,)."""

    def __init__(self, owner: bpy.types.ID, name: str, frames: np.ndarray) -> None:
        """Create the action. Raises ValueRefused before that if keyframes cannot be at these frames."""
        check_frames(frames, owner.name)
        action = bpy.data.actions.new(name)
        animation = owner.animation_data_create()
        animation.action = action
        if hasattr(action, "slots"):
            slot = action.slots.new(id_type=owner.id_type, name=owner.name)
            action.layers.new("Layer").strips.new(type="KEYFRAME").channelbag(slot, ensure=True)
            animation.action_slot = slot
        super().__init__(owner)
        self.frames = frames


def scaled_frames(curve: bpy.types.FCurve, origin: float, factor: float) -> np.ndarray:
    """The scene frames (F,) at which `scale_time` would put an F-curve's keyframes."""
    return origin + (_points(curve)[:, 0] - origin) * factor


def scale_time(curve: bpy.types.FCurve, origin: float, factor: float) -> None:
    """Scale an F-curve in time about the scene frame ``origin``."""
    for part in ("co", "handle_left", "handle_right"):
        points = _points(curve, part)
        points[:, 0] = origin + (points[:, 0] - origin) * factor
        curve.keyframe_points.foreach_set(part, points.astype(np.float32).ravel())
    curve.update()


def trim_curve(curve: bpy.types.FCurve, first: float, last: float) -> None:
    """Remove the keyframes outside the scene frames first to last; the others keep interpolation and handles."""
    keys = curve.keyframe_points
    parts = {"co": _points(curve)}
    inside = (parts["co"][:, 0] >= first - 1e-3) & (parts["co"][:, 0] <= last + 1e-3)
    if inside.all():
        return
    if not inside.any():  # a constant curve, or a range between two keyframes: keep the value
        value = curve.evaluate(first)
        keys.clear()
        keys.add(1)
        keys.foreach_set("co", [first, value])
        curve.update()
        return
    interpolation = _integers(curve, "interpolation")
    types = {"interpolation": interpolation}
    if (interpolation == _BEZIER).any():  # others keep those that new keyframes have, automatic ones
        parts |= {part: _points(curve, part) for part in ("handle_left", "handle_right")}
        types |= {part: _integers(curve, part) for part in ("handle_left_type", "handle_right_type")}
    keys.clear()
    keys.add(int(inside.sum()))
    for part, values in parts.items():
        keys.foreach_set(part, values[inside].astype(np.float32).ravel())
    for part, kinds in types.items():
        keys.foreach_set(part, kinds[inside])
    curve.update()


def _frame_of(key: bpy.types.Keyframe) -> float:
    return float(key.co[0])


def _is_stepped(curve: bpy.types.FCurve) -> bool:
    """Whether an F-curve holds each value until the next keyframe, so that it needs no evaluation frame by frame."""
    return not curve.modifiers and not (_integers(curve, "interpolation") != CONSTANT).any()


def _integers(curve: bpy.types.FCurve, part: str) -> np.ndarray:
    """An enumeration of an F-curve's keyframes, (F,) int32."""
    values = np.empty(len(curve.keyframe_points), np.int32)
    curve.keyframe_points.foreach_get(part, values)
    return values


def _points(curve: bpy.types.FCurve, part: str = "co") -> np.ndarray:
    """Frames and values (F, 2) of an F-curve's keyframes, or of their handles."""
    points = np.empty(2 * len(curve.keyframe_points), np.float32)
    curve.keyframe_points.foreach_get(part, points)
    return points.reshape(-1, 2).astype(float)


def _set_points(curve: bpy.types.FCurve, points: np.ndarray, interpolation: int) -> None:
    """Set an F-curve's keyframes (F, 2); if their number is unchanged, interpolation and handle types stay.

    New keyframes have automatic, clamped handles in every Blender, whatever its preferences say.
    """
    keys, count = curve.keyframe_points, len(points)
    changed = len(keys) != count
    if changed:
        keys.clear()
        keys.add(count)
    keys.foreach_set("co", points.astype(np.float32, copy=False).ravel())
    if changed:
        keys.foreach_set("interpolation", np.full(count, interpolation, np.int32))
    curve.update()


def write_pose(writer: ActionKeys, armature: bpy.types.Object, motion: Motion, unit: float = 1.0) -> None:
    """Key the pelvis location and all bone rotations, so that bone heads are at ``motion.joints()``.

    ``unit``: metres of a unit of the armature, which has finger bones if the motion has hands.
    """
    poses = motion.poses.reshape(len(motion), -1, 3)
    if motion.hand_poses is not None:
        poses = np.concatenate([poses, motion.hand_poses], 1)
    names = ALL_JOINT_NAMES[: poses.shape[1]]
    rest = np.array([armature.data.bones[name].matrix_local for name in names])
    pelvis = (motion.rest_joints[0] + motion.trans.astype(float)) / unit
    writer.write('pose.bones["pelvis"].location', (pelvis - rest[0, :3, 3]) @ rest[0, :3, :3], "pelvis")
    rotations = bone_quaternions(poses, rest[:, :3, :3])
    for joint, name in enumerate(names):
        writer.write(f'pose.bones["{name}"].rotation_quaternion', rotations[:, joint], name)


def bone_quaternions(poses: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """SMPL's local joint rotations as local rotations of Blender's pose bones.

    Takes poses (F, J, 3) axis-angle and the bones' rest axes in armature space, rest (J, 3, 3), one axis a column.
    Returns (F, J, 4) quaternions w, x, y, z whose signs are continuous over the frames.

    With A the rotation from SMPL's rest axes to Blender's and B a bone's rest axes, a joint's rotation L becomes
    C L C^T, C = B^T A: the same angle about an axis rotated by C. The root is first multiplied by A^T, because the
    armature's rest pose is upright along z and SMPL's along y.
    """
    rotations = quaternions.of_axis_angle(poses.astype(float))
    scalar, (x, y, z) = rotations[:, 0, 0], rotations[:, 0, 1:].T
    # (1, -1, 0, 0) / sqrt(2) is A^T, a rotation by -90 degrees about x.
    rotations[:, 0] = np.stack([scalar + x, x - scalar, y + z, z - y], -1) / np.sqrt(2)
    change_of_axes = np.swapaxes(rest, 1, 2) @ BODY_TO_BLENDER
    rotations[..., 1:] = np.einsum("jab,fjb->fja", change_of_axes, rotations[..., 1:])
    return quaternions.without_jumps(rotations)
