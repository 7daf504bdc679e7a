"""Foot contacts in the 3D view: discs under planted toes and heels of the imported characters, their bones coloured."""

from __future__ import annotations

from dataclasses import dataclass
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

COLORS = {"left": (0.15, 0.55, 1.0, 0.75), "right": (1.0, 0.55, 0.1, 0.75)}
_RADIUS = 0.035  # metres, of a character 1.7 m tall
_CORNERS = 20  # of the polygon that is drawn for a disc
_BONE_WIDTH = 4.0  # pixels of the line along the bone of a planted heel or toe
_handle: Any = None


@dataclass(frozen=True)
class PlantedPoint:
    """A planted toe or heel at the current frame, in world space and meters."""

    center: Vector
    radius: float  # of its disc
    bone: tuple[Vector, Vector]  # head and tail of the toes' bone or of the foot's


def planted_points(context: bpy.types.Context) -> dict[str, list[PlantedPoint]]:
    """The planted points of the visible characters at the current frame by side ("left", "right")."""
    found: dict[str, list[PlantedPoint]] = {side: [] for side in COLORS}
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
            ends = evaluated.matrix_world @ bone.head, evaluated.matrix_world @ bone.tail
            found[FOOT_POINTS[column].split("_")[0]].append(PlantedPoint(point, radius, ends))
    return found


def _draw() -> None:
    """Draw the discs and bones; Blender calls this for every 3D view."""
    context = bpy.context
    if not context.scene.wham.show_contacts or not context.space_data.overlay.show_overlays:
        return
    angles = np.linspace(0, 2 * np.pi, _CORNERS + 1)
    rim = np.stack([np.cos(angles), np.sin(angles), np.zeros_like(angles)], 1)
    fill, line = (gpu.shader.from_builtin(name) for name in ("UNIFORM_COLOR", "POLYLINE_UNIFORM_COLOR"))
    gpu.state.blend_set("ALPHA")
    for side, points in planted_points(context).items():
        if not points:
            continue
        corners: list[tuple[float, ...]] = []
        for point in points:
            edge = np.array(point.center) + point.radius * rim
            fan = np.stack([np.broadcast_to(point.center, edge[1:].shape), edge[:-1], edge[1:]], 1)
            corners.extend(map(tuple, fan.reshape(-1, 3).tolist()))
        batch = batch_for_shader(fill, "TRIS", {"pos": corners})
        fill.uniform_float("color", COLORS[side])
        batch.draw(fill)
        bones = batch_for_shader(line, "LINES", {"pos": [end for point in points for end in point.bone]})
        line.uniform_float("color", COLORS[side])
        line.uniform_float("lineWidth", _BONE_WIDTH * context.preferences.system.ui_scale)
        line.uniform_float("viewportSize", gpu.state.viewport_get()[2:])
        bones.draw(line)
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
