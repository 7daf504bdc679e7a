"""Keeps what a rig's pose was while another one is shown, in the rig itself, so that it survives whatever happens.

An undo step or an automatic save may hold the shown pose; then it holds what was there before, too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import bpy
from bpy.props import StringProperty

from .rig_probe import ik_constraints

_CHANNELS = ("location", "rotation_quaternion", "rotation_euler", "rotation_axis_angle", "scale")


def is_kept(rig: bpy.types.Object) -> bool:
    """Whether a rig shows another pose than its own."""
    return bool(rig.wham_pose_backup)


def keep(rig: bpy.types.Object, frame: float) -> None:
    """Note a rig's pose and what a preview may change beside it, at a scene frame."""
    bones = {
        bone.name: {
            **{channel: list(getattr(bone, channel)) for channel in _CHANNELS},
            "properties": {name: value for name, value in bone.items() if isinstance(value, int | float)},
            "influences": {constraint.name: constraint.influence for constraint in ik_constraints(bone)},
        }
        for bone in rig.pose.bones
    }
    rig.wham_pose_backup = json.dumps({"frame": frame, "position": rig.data.pose_position, "bones": bones})


def put_back(rig: bpy.types.Object) -> None:
    """Give a rig the pose that was kept; it stays kept."""
    kept = _kept(rig)
    try:
        if rig.data.pose_position != kept.get("position", "POSE"):
            rig.data.pose_position = kept["position"]
        for name, values in kept.get("bones", {}).items():
            if name in rig.pose.bones:
                _set_bone(rig.pose.bones[name], values)
    except (AttributeError, KeyError, TypeError, ValueError):  # somebody changed the text
        pass
    rig.update_tag()


def restore(rig: bpy.types.Object) -> None:
    """Give a rig the pose that was kept, and keep it no longer. Does nothing if none is kept."""
    if not is_kept(rig):
        return
    put_back(rig)
    frame, rig.wham_pose_backup = _kept(rig).get("frame"), ""
    if frame != bpy.context.scene.frame_current_final:
        rig.update_tag(refresh={"TIME"})  # what is animated has another value here
    bpy.context.view_layer.update()


def restore_all() -> None:
    """`restore` all rigs of the file."""
    for thing in bpy.data.objects:
        if thing.type == "ARMATURE" and is_kept(thing):
            restore(thing)


def _kept(rig: bpy.types.Object) -> dict[str, Any]:
    """What was kept: this add-on's own text, unless somebody changed it."""
    try:
        kept = json.loads(rig.wham_pose_backup)
    except (ValueError, RecursionError):
        return {}
    return kept if isinstance(kept, dict) else {}


def _set_bone(bone: bpy.types.PoseBone, values: Mapping[str, Any]) -> None:
    for channel in _CHANNELS:
        setattr(bone, channel, values[channel])
    for name, value in values["properties"].items():
        if name in bone and bone[name] != value:
            bone[name] = value
    for constraint in ik_constraints(bone):
        if constraint.name in values["influences"]:
            constraint.influence = values["influences"][constraint.name]


def register() -> None:
    """Add the property to objects."""
    bpy.types.Object.wham_pose_backup = StringProperty(options={"HIDDEN"})


def unregister() -> None:
    """Restore all rigs, and remove the property."""
    restore_all()
    del bpy.types.Object.wham_pose_backup
