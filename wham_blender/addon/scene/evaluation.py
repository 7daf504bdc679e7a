"""Objects as Blender evaluates them, in a temporary scene: what the user sees and has selected does not change.

There they are evaluated wherever the user has them: in an excluded collection, in another view layer, hidden or
disabled. Blender itself does not evaluate those, so that their ``matrix_world`` and pose may be old ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import bpy
from mathutils import Matrix


@contextmanager
def evaluated(*objects: bpy.types.Object) -> Iterator[Callable[[float], list[bpy.types.Object]]]:
    """A function that gives these objects as they are at a scene frame; each call makes what it gave before invalid."""
    scene = bpy.data.scenes.new("Evaluated")
    disabled = [obj for obj in objects if obj.hide_viewport]
    try:
        for obj in objects:
            scene.collection.objects.link(obj)
        for obj in disabled:
            obj.hide_viewport = False

        def at(frame: float) -> list[bpy.types.Object]:
            scene.frame_set(math.floor(frame), subframe=frame % 1)
            graph = scene.view_layers[0].depsgraph
            return [obj.evaluated_get(graph) for obj in objects]

        yield at
    finally:
        for obj in disabled:
            obj.hide_viewport = True
        bpy.data.scenes.remove(scene)


def world_matrix(obj: bpy.types.Object) -> Matrix:
    """An object's transform in the world at the current frame, also if Blender does not evaluate it for the user."""
    if obj.visible_get():
        return obj.matrix_world
    with evaluated(obj) as at:
        return at(bpy.context.scene.frame_current_final)[0].matrix_world.copy()
