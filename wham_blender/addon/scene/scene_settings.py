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
    start, end = math.floor(first), math.ceil(last)
    scene.frame_start, scene.frame_end = start, end  # Blender's least is 0
    scene.use_preview_range = start < 0  # which hides the range, and may begin earlier
    if scene.use_preview_range:
        scene.frame_preview_start, scene.frame_preview_end = start, end
    if camera is None:
        return
    scene.camera = camera
    scene.render.resolution_x, scene.render.resolution_y = camera.wham_motion.size
    scene.render.resolution_percentage = 100
    scene.render.pixel_aspect_x = scene.render.pixel_aspect_y = 1.0


def rate_of(scene: bpy.types.Scene) -> float:
    """Frames per second."""
    return scene.render.fps / scene.render.fps_base


def animated(scene: bpy.types.Scene) -> str:
    """What in a scene is animated or cut already, so that another frame rate would change it; empty if nothing is."""
    editor = scene.sequence_editor
    strips = editor and (editor.strips_all if hasattr(editor, "strips_all") else editor.sequences_all)
    if strips:
        return "the video sequencer has strips"
    if any(marker.camera for marker in scene.timeline_markers):
        return "markers of the timeline choose its cameras"
    owners = [scene, scene.world]
    for obj in scene.objects:
        owners += [obj, obj.data, getattr(obj.data, "shape_keys", None)]
    for owner in owners:
        animation = getattr(owner, "animation_data", None)
        if animation and (_has_curves(animation.action) or any(track.strips for track in animation.nla_tracks)):
            return f"{owner.name} is animated"
    return ""


def _has_curves(action: bpy.types.Action | None) -> bool:
    if action is None:
        return False
    if not hasattr(action, "layers"):  # before Blender 4.4
        return bool(action.fcurves)
    return any(bag.fcurves for layer in action.layers for strip in layer.strips for bag in strip.channelbags)


def takes_clip_rate(scene: bpy.types.Scene, clip_rate: bool | None) -> bool:
    """Whether a scene takes the clip's frame rate, by `PlacementSettings.clip_rate`."""
    return not animated(scene) if clip_rate is None else clip_rate


def rate_sentence(scene: bpy.types.Scene, clip_rate: bool | None) -> str:
    """Which frame rate an import will have and why, as the panel says it."""
    kept = f"The motion fits the scene's {rate_of(scene):.4g} fps"
    if clip_rate is not None:
        return "The scene takes the clip's frame rate, range and resolution" if clip_rate else kept
    if found := animated(scene):
        return f"{kept}: {found}"
    return "The scene takes the clip's frame rate, range and resolution: nothing in it is animated yet"
