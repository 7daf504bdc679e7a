"""The scene of an import: its frame rate, range, size and camera made the clip's."""

from __future__ import annotations

import math

import bpy


def take_over_clip(
    scene: bpy.types.Scene, camera: bpy.types.Object | None, rate: float, first: float, last: float
) -> None:
    """Give a scene a clip's frame rate and range, and the size and view of the clip's camera, where it is there."""
    scene.render.fps = max(1, round(rate))
    scene.render.fps_base = scene.render.fps / rate
    scene.frame_start, scene.frame_end = math.floor(first), math.ceil(last)
    if camera is None:
        return
    scene.camera = camera
    scene.render.resolution_x, scene.render.resolution_y = camera.wham_motion.size
    scene.render.resolution_percentage = 100
    scene.render.pixel_aspect_x = scene.render.pixel_aspect_y = 1.0
