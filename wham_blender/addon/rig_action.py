"""A baked motion as an action: a rig's controls keyed, with the source's markers and the rig's switches set."""

from __future__ import annotations

import bpy
import numpy as np

from . import quaternions
from .action import CONSTANT, ActionWriter
from .retarget.controls import Keys
from .retarget.maps import RigMap


def write(
    source: bpy.types.Object, rig: bpy.types.Object, rig_map: RigMap, frames: np.ndarray, keys: Keys
) -> bpy.types.Action:
    """Key the controls in a new action, which becomes the rig's, with the source's markers and the switches set."""
    writer = ActionWriter(rig, f"{source.animation_data.action.name} {rig.name}", frames)
    for name, locations in keys.locations.items():
        writer.add(_path(name, "location"), locations, name)
    for name, rotations in keys.rotations.items():
        mode = rig.pose.bones[name].rotation_mode
        if mode == "QUATERNION":
            writer.add(_path(name, "rotation_quaternion"), rotations, name)
        elif mode == "AXIS_ANGLE":
            vectors = quaternions.to_axis_angle(rotations)
            angles = np.linalg.norm(vectors, axis=1, keepdims=True)
            axes = np.where(angles > 1e-9, vectors / np.maximum(angles, 1e-9), [0.0, 1.0, 0.0])
            writer.add(_path(name, "rotation_axis_angle"), np.concatenate([angles, axes], 1), name)
        else:
            writer.add(_path(name, "rotation_euler"), quaternions.to_euler(rotations, mode), name)
    _write_settings(writer, rig, rig_map)
    for marker in source.animation_data.action.pose_markers:
        writer.action.pose_markers.new(marker.name).frame = marker.frame
    return writer.action


def _write_settings(writer: ActionWriter, rig: bpy.types.Object, rig_map: RigMap) -> None:
    """Key once what the controls need: follow settings, and limbs on FK."""
    values: dict[tuple[str, str], float] = {(one.bone, one.property): one.value for one in rig_map.settings}
    values |= {(ik.switch.bone, ik.switch.property): ik.switch.fk for ik in rig_map.ik.values() if ik.switch}
    writer.frames = writer.frames[:1]
    for (bone, name), value in values.items():
        if name in rig.pose.bones[bone]:
            path = f'{_path(bone, "")[:-1]}["{bpy.utils.escape_identifier(name)}"]'
            writer.add(path, np.array([[value]]), bone, CONSTANT)


def _path(bone: str, channel: str) -> str:
    return f'pose.bones["{bpy.utils.escape_identifier(bone)}"].{channel}'
