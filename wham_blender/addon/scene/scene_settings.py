"""Scene settings taken from an imported clip: frame rate, frame range, resolution and active camera."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator

import bpy
import numpy as np
from mathutils import Matrix

_CACHES = {"MESH_SEQUENCE_CACHE", "TRANSFORM_CACHE"}  # modifier and constraint
# Grease pencil objects' data are in one of these lists, and of one of these types, by Blender's version.
_DRAWINGS = "grease_pencils", "grease_pencils_v3"
_GREASE_PENCILS = tuple(
    getattr(bpy.types, name) for name in ("GreasePencil", "GreasePencilv3") if hasattr(bpy.types, name)
)


def match_clip(scene: bpy.types.Scene, camera: bpy.types.Object | None, rate: float, first: float, last: float) -> None:
    """Set a scene's frame rate and frame range to the clip's; with a camera also its active camera and resolution.

    ``first`` and ``last`` are scene frames, ``rate`` frames a second.
    """
    scene.render.fps = max(1, round(rate))
    scene.render.fps_base = scene.render.fps / rate
    _set_range(scene, math.floor(first), math.ceil(last))
    if camera is None:
        return
    scene.camera = camera
    scene.render.resolution_x, scene.render.resolution_y = camera.wham_motion.size
    scene.render.resolution_percentage = 100
    scene.render.pixel_aspect_x = scene.render.pixel_aspect_y = 1.0


def extend_range(scene: bpy.types.Scene, first: float, last: float) -> None:
    """Have a scene's frame range include the scene frames ``first`` to ``last``."""
    start = scene.frame_preview_start if scene.use_preview_range else scene.frame_start
    end = scene.frame_preview_end if scene.use_preview_range else scene.frame_end
    if first < start or last > end:
        _set_range(scene, min(start, math.floor(first)), max(end, math.ceil(last)))


def _set_range(scene: bpy.types.Scene, start: int, end: int) -> None:
    scene.frame_start, scene.frame_end = start, end  # Blender's least is 0
    scene.use_preview_range = start < 0  # which hides the range, and may begin earlier
    if scene.use_preview_range:
        scene.frame_preview_start, scene.frame_preview_end = start, end


def startup_cube(scene: bpy.types.Scene, places: np.ndarray) -> bpy.types.Object | None:
    """The cube of Blender's first scene if it is as it was there and visible, and somebody at places (F, 3) is in it.

    None otherwise.
    """
    cube = scene.objects.get("Cube")
    if cube is None or cube.type != "MESH" or cube.modifiers or cube.animation_data or not cube.visible_get():
        return None
    corners = np.array([vertex.co for vertex in cube.data.vertices]) if len(cube.data.vertices) == 8 else np.zeros(1)
    is_untouched = cube.matrix_world == Matrix() and (np.abs(corners) == 1).all()
    return cube if is_untouched and (np.abs(places[:, :2]) < 1).all(1).any() else None


def rate_of(scene: bpy.types.Scene) -> float:
    """Frames per second."""
    return scene.render.fps / scene.render.fps_base


def animated(scene: bpy.types.Scene) -> str:
    """What in a scene is animated or cut already, so that another frame rate would change it; empty if nothing is."""
    editor = scene.sequence_editor
    strips = editor and (editor.strips_all if hasattr(editor, "strips_all") else editor.sequences_all)
    if strips:
        return "the video sequencer has strips"
    if scene.timeline_markers:
        return "the timeline has markers"
    data = bpy.data
    if not (data.actions or data.cache_files or any(getattr(data, name, None) for name in _DRAWINGS)):
        return ""  # looking at thousands of objects would slow down the panel
    return next((f"{block.name} is animated" for block in _blocks(scene) if _is_animated(block)), "")


def _blocks(scene: bpy.types.Scene) -> Iterator[bpy.types.ID]:
    """The scene, its objects and those of instanced collections, and what belongs to them, each once."""
    waiting, seen = deque([scene, scene.world, getattr(scene, "compositing_node_group", None), *scene.objects]), {None}
    while waiting:
        block = waiting.popleft()
        if block in seen:
            continue
        seen.add(block)
        yield block
        if isinstance(block, bpy.types.Object):
            waiting += [block.data, *(slot.material for slot in block.material_slots)]
            waiting += [getattr(modifier, "node_group", None) for modifier in block.modifiers]
            waiting += block.instance_collection.all_objects if block.instance_collection else ()
        else:
            waiting += [getattr(block, "shape_keys", None), getattr(block, "node_tree", None)]


def _is_animated(block: bpy.types.ID) -> bool:
    animation = getattr(block, "animation_data", None)
    if animation and (_has_curves(animation.action) or any(track.strips for track in animation.nla_tracks)):
        return True
    if isinstance(block, bpy.types.Object):  # files of Alembic and USD are played by time
        return any(each.type in _CACHES for each in (*block.modifiers, *block.constraints))
    drawings = block.layers if isinstance(block, _GREASE_PENCILS) else ()
    return any(len(layer.frames) > 1 for layer in drawings)


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
