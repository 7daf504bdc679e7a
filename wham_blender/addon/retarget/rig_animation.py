"""The animation data of a rig beside the baked action: strips, blending, what else moves its object or its bones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import bpy
import numpy as np

from ... import quaternions
from ..scene.action import curves_of
from ..scene.evaluation import evaluated
from .leftovers import unevenly_scaled
from .reference_pose import ReferencePose
from .transfer import Pose

_RIGID_TOLERANCE = 1e-4  # of matrix elements without a unit, by which the object of a rig may change its size
_STILL_TOLERANCE = 1e-6  # of matrix elements, relative to the largest: an object that varies less is still
_MODES = {"QUATERNION": 0, "XYZ": 1, "XZY": 2, "YXZ": 3, "YZX": 4, "ZXY": 5, "ZYX": 6, "AXIS_ANGLE": -1}
_SETTINGS = ("use_nla", "action_blend_type", "action_influence", "action_extrapolation")


# --- what is changed, and restored -----------------------------------------------------------------------------------


@contextmanager
def restored_on_error(rig: bpy.types.Object) -> Iterator[None]:
    """Restore a rig's animation data and pose position, and remove new actions, if the block raises."""
    animation, before = rig.animation_data, set(bpy.data.actions)
    position = rig.data.pose_position
    action = animation and animation.action
    slot = getattr(animation, "action_slot", None)
    settings = {name: getattr(animation, name) for name in _SETTINGS} if animation else {}
    tracks = {track: track.is_solo for track in animation.nla_tracks} if animation else {}
    try:
        yield
    except BaseException:
        if animation is None:
            rig.animation_data_clear()
        else:
            for track in [track for track in animation.nla_tracks if track not in tracks]:
                animation.nla_tracks.remove(track)
            animation.action = action
            if slot is not None:
                animation.action_slot = slot
            for name, value in settings.items():
                setattr(animation, name, value)
            for track, solo in tracks.items():
                if solo:
                    track.is_solo = True
        if rig.data.pose_position != position:
            rig.data.pose_position = position
        bpy.data.batch_remove(set(bpy.data.actions) - before)
        raise


def let_through(rig: bpy.types.Object, nla_strip: bool) -> list[str]:
    """Change what would hide or mix the baked motion; returns what was changed, for the animator.

    An action that is combined with the tracks below, or weaker than they are, gives another motion; one beside a solo
    track, or a strip while the NLA is switched off, gives none, as do bones in Rest Position.
    """
    notes, animation = [], rig.animation_data
    if rig.data.pose_position == "REST":
        rig.data.pose_position = "POSE"
        notes.append("it was in Rest Position, and is in Pose Position now")
    if animation is None:
        return notes
    for track in animation.nla_tracks:
        if track.is_solo:
            track.is_solo = False
            notes.append(f"the NLA track {track.name} is not solo any more")
    if nla_strip and not animation.use_nla:
        animation.use_nla = True
        notes.append("its NLA was switched off, and is on now")
    if not nla_strip and (animation.action_blend_type != "REPLACE" or animation.action_influence != 1.0):
        notes.append(
            f"its action was blended with {animation.action_blend_type.title()} at influence "
            f"{animation.action_influence:.3g}, and replaces now what is below it"
        )
        animation.action_blend_type, animation.action_influence = "REPLACE", 1.0
    return notes


# --- what plays, and when ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ActiveAction:
    """The active action of an object, and how Blender plays it."""

    action: bpy.types.Action
    slot: bpy.types.ID | None  # since Blender 4.4
    blend_type: str
    influence: float
    extrapolation: str

    @classmethod
    def of(cls, obj: bpy.types.Object) -> ActiveAction | None:
        """None if there is none. Without tracks, Blender plays an action whatever its settings for the NLA are."""
        animation = obj.animation_data
        if animation is None or animation.action is None:
            return None
        settings: tuple[str, float, str] = "REPLACE", 1.0, "HOLD"
        if animation.use_nla and animation.nla_tracks:
            settings = animation.action_blend_type, animation.action_influence, animation.action_extrapolation
        return cls(animation.action, getattr(animation, "action_slot", None), *settings)

    def frames(self) -> tuple[float, float]:
        """First and last scene frame of its keys for the object."""
        ranges = [curve.range() for curve in self.curves() if len(curve.keyframe_points) or len(curve.sampled_points)]
        if not ranges:
            return tuple(self.action.frame_range)
        return min(first for first, _ in ranges), max(last for _, last in ranges)

    def strip_frames(self, motion: tuple[float, float]) -> tuple[float, float]:
        """The frames of a strip that shows what the active action does.

        A strip holds what is at its ends. What goes on there, by Cycles or linear extrapolation, does so over the
        frames of the scene and of a motion.
        """
        # Where it does not hold, Blender ends it where the last of all slots ends.
        first, last = self.frames() if self.extrapolation == "HOLD" else self.action.curve_frame_range
        curves, scene = self.curves(), bpy.context.scene
        cyclic = any(modifier.type == "CYCLES" for curve in curves for modifier in curve.modifiers)
        going_on = cyclic or any(curve.extrapolation == "LINEAR" or curve.modifiers for curve in curves)
        if cyclic or (going_on and self.extrapolation == "HOLD"):
            first = min(first, scene.frame_start, motion[0])
        if cyclic or (going_on and self.extrapolation != "NOTHING"):
            last = max(last, scene.frame_end, motion[1])
        return first, last

    def curves(self) -> list[bpy.types.FCurve]:
        """The F-curves of the object."""
        return curves_of(self.action, self.slot)


def ranges_played(obj: bpy.types.Object) -> list[tuple[float, float]]:
    """First and last scene frame of the strips that Blender plays for an object, and of its action.

    That is the range that the user gave the action, if there is one.
    """
    animation = obj.animation_data
    if animation is None:
        return []
    tracks = list(animation.nla_tracks) if animation.use_nla else []
    solo = [track for track in tracks if track.is_solo]
    strips = [strip for track in solo or tracks if not track.mute for strip in track.strips if not strip.mute]
    ranges = [(strip.frame_start, strip.frame_end) for strip in strips]
    active = None if solo else ActiveAction.of(obj)
    if active is not None:
        ranges.append(tuple(active.action.frame_range) if active.action.use_frame_range else active.frames())
    return ranges


# --- the object ------------------------------------------------------------------------------------------------------


def object_matrices(rig: bpy.types.Object, frames: np.ndarray, nla_strip: bool) -> np.ndarray:
    """World matrices (F, 4, 4) of a rig's object at scene frames (F,), after a bake; (1, 4, 4) if it cannot move."""
    copy, data = rig.copy(), bpy.data.armatures.new("Object only")  # without bones, which would take most of the time
    try:
        if copy.animation_data is not None:
            if not nla_strip:
                copy.animation_data.action = None
            for driver in [each for each in copy.animation_data.drivers if each.data_path.startswith("pose.")]:
                copy.animation_data.drivers.remove(driver)  # Blender would say of each that it is invalid
            for track in copy.animation_data.nla_tracks:
                track.is_solo = False
        copy.data = data
        if not _may_move(copy):
            frames = frames[:1]
        with evaluated(copy) as at:
            return np.array([np.array(at(frame)[0].matrix_world) for frame in frames], float)
    finally:
        bpy.data.objects.remove(copy)
        bpy.data.armatures.remove(data)


def _may_move(obj: bpy.types.Object) -> bool:
    if obj.parent is not None or len(obj.constraints):
        return True
    if obj.animation_data is None:
        return False
    paths = [driver.data_path for driver in obj.animation_data.drivers]
    paths += [curve.data_path for curve in _curves_below(obj.animation_data, True)]
    return any(not path.startswith("pose.") for path in paths)


def motion_of_object(matrices: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Rotations (F, 4) and translations (F, 3) in the world that move an object from its first place to the others.

    None if it stays there. Raises ValueError if its size changes.
    """
    moved = matrices @ np.linalg.inv(matrices[0])
    if np.abs(matrices - matrices[0]).max() <= _STILL_TOLERANCE * max(1.0, np.abs(matrices).max()):
        return None
    axes = moved[:, :3, :3]
    if np.abs(axes @ axes.swapaxes(1, 2) - np.eye(3)).max() > _RIGID_TOLERANCE:
        raise ValueError("its size changes")
    return quaternions.without_jumps(quaternions.of_matrices(axes)), moved[:, :3, 3]


def carried_pose(pose: Pose, motion: tuple[np.ndarray, np.ndarray]) -> Pose:
    """The pose of an object at its first place that has in the world what ``pose`` has while the object moves."""
    back = quaternions.inverse(motion[0])
    return Pose(
        {bone: quaternions.multiply(back, rotations) for bone, rotations in pose.rotations.items()},
        quaternions.rotate(back, pose.hips - motion[1]),
        {limb: quaternions.rotate(back, directions) for limb, directions in pose.knee_directions.items()},
    )


def carried_path(
    path: tuple[np.ndarray, np.ndarray], motion: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """`carried_pose` of the rotations (F, 4) and positions (F, 3) of a root bone."""
    back = quaternions.inverse(motion[0])
    return quaternions.multiply(back, path[0]), quaternions.rotate(back, path[1] - motion[1])


# --- other channels of the bones -------------------------------------------------------------------------------------


def between_controls(rig: bpy.types.Object, controls: Iterable[str]) -> list[str]:
    """The bones without keys that hang from a control and carry another one."""
    names = set(controls)
    found: dict[str, None] = {}
    for name in names:
        above = [bone.name for bone in rig.data.bones[name].parent_recursive]
        carriers = [number for number, bone in enumerate(above) if bone in names]
        found |= dict.fromkeys(bone for bone in above[: carriers[-1]] if bone not in names) if carriers else {}
    return list(found)


def held_channels(
    rig: bpy.types.Object, controls: Iterable[str], keyed: set[str], nla_strip: bool, reference: ReferencePose
) -> dict[str, tuple[str, np.ndarray]]:
    """Constant values (n,) of channels that are not keyed but would change the motion, by data path, with their bones.

    Leftover locations and rotations of the controls and of the bones between them, and uneven scales of all of them and
    of the bones above: the rig was measured without them, in the reference pose.
    And whatever strips below animate on these bones and on those above, which keep the value that they have.
    """
    names, uneven = list(controls), unevenly_scaled(rig, controls)
    animated = {curve.data_path for curve in _curves_below(rig.animation_data, nla_strip)}
    at_rest = [*names, *between_controls(rig, names)]
    above = {bone.name for name in names for bone in rig.data.bones[name].parent_recursive}
    held = {}
    for name in dict.fromkeys([*at_rest, *above]):
        bone, start = rig.pose.bones[name], bone_path(name)
        rotation = rotation_channel(bone)
        for channel in ("location", rotation, "scale"):
            path, now = f"{start}.{channel}", np.array(getattr(bone, channel), float)
            wanted = now
            if channel == "scale":
                wanted = np.ones(3) if name in uneven else now
            elif name in at_rest:
                wanted = reference.location(name) if channel == "location" else _rotation_value(bone, reference)
            same = np.allclose(now, wanted, atol=1e-6) or (channel == "location" and bone.bone.use_connect)
            if path not in keyed and (path in animated or not same):
                held[path] = (name, wanted)
        for path in animated:
            others = path.startswith(start) and path not in held and path not in keyed
            if others and path[len(start)] in ".[" and (value := _number(rig, path)) is not None:
                held[path] = (name, value)
    return held


def rotation_channel(bone: bpy.types.PoseBone) -> str:
    """The property of a pose bone that its rotation mode uses."""
    channel = {"QUATERNION": "rotation_quaternion", "AXIS_ANGLE": "rotation_axis_angle"}
    return channel.get(bone.rotation_mode, "rotation_euler")


def _rotation_value(bone: bpy.types.PoseBone, reference: ReferencePose) -> np.ndarray:
    """The values (n,) of a bone's rotation in the reference pose."""
    rotation = reference.rotation(bone.name)[None]
    if bone.rotation_mode == "QUATERNION":
        return rotation[0]
    if bone.rotation_mode == "AXIS_ANGLE":
        return quaternions.to_angle_and_axis(rotation)[0]
    return quaternions.to_euler(rotation, bone.rotation_mode)[0]


def bone_path(bone: str) -> str:
    """The data path of a pose bone."""
    return f'pose.bones["{bpy.utils.escape_identifier(bone)}"]'


def _number(rig: bpy.types.Object, path: str) -> np.ndarray | None:
    """The values (n,) that a property has; None if it is gone or no number."""
    try:
        value = rig.path_resolve(path)
    except ValueError:
        return None
    if isinstance(value, str):
        return np.array([_MODES[value]], float) if path.endswith(".rotation_mode") else None
    try:
        return np.atleast_1d(np.array(value, float))
    except (TypeError, ValueError):
        return None


def _curves_below(animation: bpy.types.AnimData | None, active: bool) -> Iterator[bpy.types.FCurve]:
    """The F-curves of an object's strips, and of its active action if that becomes or is one, too."""
    if animation is None:
        return
    if active and animation.action is not None:
        yield from curves_of(animation.action, getattr(animation, "action_slot", None))
    for track in animation.nla_tracks:
        for strip in track.strips:
            if strip.action is not None:
                yield from curves_of(strip.action, getattr(strip, "action_slot", None))
