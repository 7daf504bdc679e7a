"""Foot contacts in the 3D view: a disc on the floor under every planted toe and heel of the imported characters."""

from __future__ import annotations

from typing import Any

import bpy
import gpu
import numpy as np
from gpu_extras.batch import batch_for_shader
from mathutils import Vector

from ...animation import FOOT_JOINTS
from ...skeleton import FOOT_POINTS, JOINT_NAMES
from ..scene.character import is_character
from ..scene.contacts import CONTACT_PROPERTIES

_COLORS = {"left": (0.15, 0.55, 1.0, 0.75), "right": (1.0, 0.55, 0.1, 0.75)}
_RADIUS = 0.035  # metres, of a character 1.7 m tall
_CORNERS = 20  # of the polygon that is drawn for a disc
_handle: Any = None


def discs(context: bpy.types.Context) -> dict[str, list[tuple[Vector, float]]]:
    """The discs at the current frame by side ("left", "right"): centers in world space and radii, in meters."""
    found: dict[str, list[tuple[Vector, float]]] = {side: [] for side in _COLORS}
    depsgraph = context.evaluated_depsgraph_get()
    for armature in context.visible_objects:
        if not is_character(armature):
            continue
        evaluated = armature.evaluated_get(depsgraph)
        record = armature.wham_motion
        radius = _RADIUS * record.height / 1.7 * evaluated.matrix_world.median_scale
        for column, (name, joint) in enumerate(zip(CONTACT_PROPERTIES, FOOT_JOINTS, strict=True)):
            bone = evaluated.pose.bones.get(JOINT_NAMES[joint])
            if bone is None or evaluated.get(name, 0.0) <= 0.5:
                continue
            rest = Vector(record.feet[3 * column : 3 * column + 3])
            point = evaluated.matrix_world @ bone.matrix @ bone.bone.matrix_local.inverted() @ rest
            found[FOOT_POINTS[column].split("_")[0]].append((point, radius))
    return found


def _draw() -> None:
    """Draw the discs; Blender calls this for every 3D view."""
    context = bpy.context
    if not context.scene.wham.show_contacts or not context.space_data.overlay.show_overlays:
        return
    angles = np.linspace(0, 2 * np.pi, _CORNERS + 1)
    rim = np.stack([np.cos(angles), np.sin(angles), np.zeros_like(angles)], 1)
    shader = gpu.shader.from_builtin("UNIFORM_COLOR")
    gpu.state.blend_set("ALPHA")
    for side, side_discs in discs(context).items():
        corners: list[tuple[float, ...]] = []
        for center, radius in side_discs:
            edge = np.array(center) + radius * rim
            fan = np.stack([np.broadcast_to(center, edge[1:].shape), edge[:-1], edge[1:]], 1)
            corners.extend(map(tuple, fan.reshape(-1, 3).tolist()))
        if corners:
            batch = batch_for_shader(shader, "TRIS", {"pos": corners})
            shader.uniform_float("color", _COLORS[side])
            batch.draw(shader)
    gpu.state.blend_set("NONE")


def register() -> None:
    """Add the draw handler; it stays when another file is opened."""
    global _handle
    _handle = bpy.types.SpaceView3D.draw_handler_add(_draw, (), "WINDOW", "POST_VIEW")


def unregister() -> None:
    """Remove the draw handler."""
    global _handle
    bpy.types.SpaceView3D.draw_handler_remove(_handle, "WINDOW")
    _handle = None
