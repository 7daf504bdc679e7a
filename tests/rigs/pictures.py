"""Draws characters side by side in frames of a motion, from the front and from the side, with Workbench. Needs bpy."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import bpy
import numpy as np
from mathutils import Matrix, Vector

from tests.rigs import files

_CELL = (200, 250)  # pixels, width and height
_VIEWS = (Vector((0, -1, 0)), Vector((1, 0, 0)))  # from where: the front of who faces -y, and its left side
_COLOURS = ((0.35, 0.5, 0.75, 1.0), (0.85, 0.55, 0.3, 1.0))


def draw(
    path: Path, things: Sequence[tuple[bpy.types.Object, str, float]], frames: Sequence[int], *, close: bool = False
) -> None:
    """Write a picture: a row for each view of each armature, a column a frame.

    ``things``: an armature, the bone that the camera follows, and the armature's height in the world; ``close``: it
    shows a sixth of the height, around that bone.
    """
    scene = bpy.context.scene
    scene.render.engine = "BLENDER_WORKBENCH"
    scene.render.resolution_x, scene.render.resolution_y = _CELL
    scene.render.image_settings.file_format = "PNG"
    scene.display.shading.color_type = "OBJECT"
    scene.view_settings.view_transform = "Standard"
    camera = bpy.data.objects.new("picture", bpy.data.cameras.new("picture"))
    camera.data.type = "ORTHO"
    scene.collection.objects.link(camera)
    scene.camera = camera
    floor = _floor(scene)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for number, (armature, bone, height) in enumerate(things):
            bodies = files.skins(armature)
            sticks = None if bodies else _sticks(scene, armature)
            for thing in scene.objects:
                thing.hide_render = thing.type == "MESH" and thing not in bodies and thing not in (sticks, floor)
            for body in [*bodies, *([sticks] if sticks else [])]:
                body.color = _COLOURS[number % len(_COLOURS)]
                body.hide_render = False
            camera.data.ortho_scale, camera.data.clip_end = (0.16 if close else 1.45) * height, 100 * height
            camera.data.clip_start = 0.001 * height
            for view in _VIEWS:
                row = []
                for frame in frames:
                    scene.frame_set(frame)
                    if sticks:
                        _pose_sticks(sticks, armature)
                    at = armature.matrix_world @ armature.pose.bones[bone].head
                    target = at if close else Vector((at.x, at.y, 0.52 * height))
                    camera.location = target + 10 * height * view + Vector((0, 0, 1.2 * height))
                    camera.rotation_euler = (target - camera.location).to_track_quat("-Z", "Y").to_euler()
                    floor.matrix_world = Matrix.Translation((at.x, at.y, 0)) @ Matrix.Scale(height, 4)
                    scene.render.filepath = str(Path(folder, "cell.png"))
                    bpy.ops.render.render(write_still=True)
                    row.append(_pixels(scene.render.filepath))
                rows.append(np.concatenate(row, 1))
    _save(path, np.concatenate(rows[::-1], 0))


def _floor(scene: bpy.types.Scene) -> bpy.types.Object:
    """A square of one metre at z = 0."""
    mesh = bpy.data.meshes.new("floor")
    mesh.from_pydata([(-0.6, -0.6, 0), (0.6, -0.6, 0), (0.6, 0.6, 0), (-0.6, 0.6, 0)], [], [(0, 1, 2, 3)])
    floor = bpy.data.objects.new("floor", mesh)
    floor.color = (0.8, 0.85, 0.8, 1.0)
    scene.collection.objects.link(floor)
    return floor


def _sticks(scene: bpy.types.Scene, armature: bpy.types.Object) -> bpy.types.Object:
    sticks = bpy.data.objects.new("sticks", bpy.data.meshes.new("sticks"))
    scene.collection.objects.link(sticks)
    _pose_sticks(sticks, armature)
    return sticks


def _pose_sticks(sticks: bpy.types.Object, armature: bpy.types.Object) -> None:
    """A thin double pyramid between the heads of each bone and its parent, for an armature without a skin."""
    points: list[Vector] = []
    faces: list[tuple[int, ...]] = []
    for bone in armature.pose.bones:
        ends = [(bone.parent.head, bone.head)] if bone.parent else []
        ends += [] if bone.children else [(bone.head, bone.tail)]
        for start, end in ends:
            start, end = armature.matrix_world @ start, armature.matrix_world @ end
            along = end - start
            if along.length < 1e-6:
                continue
            across = along.orthogonal().normalized() * along.length * 0.12
            beside = along.normalized().cross(across)
            first, middle = len(points), start + 0.25 * along
            points += [start, end, middle + across, middle + beside, middle - across, middle - beside]
            for a, b in ((2, 3), (3, 4), (4, 5), (5, 2)):
                faces += [(first, first + a, first + b), (first + 1, first + b, first + a)]
    sticks.data.clear_geometry()
    sticks.data.from_pydata(points, [], faces)
    sticks.data.update()


def _pixels(path: str) -> np.ndarray:
    """A picture (H, W, 4), the lowest row first as Blender has it."""
    image = bpy.data.images.load(path)
    try:
        values = np.empty(4 * image.size[0] * image.size[1], np.float32)
        image.pixels.foreach_get(values)
        return values.reshape(image.size[1], image.size[0], 4)
    finally:
        bpy.data.images.remove(image)


def _save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = bpy.data.images.new("sheet", pixels.shape[1], pixels.shape[0])
    image.pixels.foreach_set(np.ascontiguousarray(pixels, np.float32).ravel())
    image.filepath_raw, image.file_format = str(path), "PNG"
    image.save()
    bpy.data.images.remove(image)
