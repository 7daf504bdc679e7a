"""Scene settings taken from an imported clip: frame rate, frame range, resolution and active camera."""

from __future__ import annotations

import math

import bpy


def match_clip(scene: bpy.types.Scene, camera: bpy.types.Object | None, rate: float, first: float, last: float) -> None:
    """Set a scene's frame rate and frame range to the clip's; with a camera also its active camera and resolution.

    ``first`` and ``last`` are scene frames, ``rate`` frames a second.
    """
    scene.render.fps = max(1, round(rate))
    scene.render.fps_base = scene.render.fps / rate
    scene.frame_start, scene.frame_end = math.floor(first), math.ceil(last)
    if camera is None:
        return
    scene.camera = camera
    scene.render.resolution_x, scene.render.resolution_y = camera.wham_motion.size
    scene.render.resolution_percentage = 100
    scene.render.pixel_aspect_x = scene.render.pixel_aspect_y = 1.0
