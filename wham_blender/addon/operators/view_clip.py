"""Operators that show a character over its film: through the clip's camera, or beside the free view."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import bpy
from mathutils import Vector

from ..scene import character
from ..translations import translate

_SMALLEST = 100  # pixels of a view's sides: areas are hidden by dragging their edges until only the header is left


def clip_camera(context: bpy.types.Context) -> bpy.types.Object | None:
    """The camera that was imported with the active character; None if there is none."""
    armature = character.active(context)
    imported = character.imported_with(armature, context.scene) if armature else []
    return next((obj for obj in imported if obj.type == "CAMERA"), None)


def frame_characters(context: bpy.types.Context) -> None:
    """Frame the selected objects in the 3D Viewports of the window which do not look through a camera."""
    for area, region in _views(context):
        if area.spaces.active.region_3d.view_perspective != "CAMERA":
            with context.temp_override(area=area, region=region):
                bpy.ops.view3d.view_selected()
            _move_beside_sidebar(area, region)


def _move_beside_sidebar(area: bpy.types.Area, region: bpy.types.Region) -> None:
    """Move what is in the middle of a view to the middle of the part that toolbar and sidebar leave free."""
    left, right = covered(area, region)
    free = region.width - left - right
    if free <= 0 or free == region.width:
        return
    view: Any = area.spaces.active.region_3d
    view.view_distance *= region.width / free
    # Of the world at the middle, across the region: the lens is that of a sensor of 72 mm.
    width = view.view_distance * 72 / area.spaces.active.lens * region.width / max(region.width, region.height)
    view.view_location += view.view_rotation @ Vector((width * (right - left) / region.width / 2, 0, 0))


def covered(area: bpy.types.Area, region: bpy.types.Region) -> tuple[int, int]:
    """How many pixels of a view's region toolbar and sidebar cover on its left and its right; 0 if they are beside."""
    left = right = 0
    for each in area.regions:
        if each.type not in {"TOOLS", "UI"} or each.width <= 1:
            continue
        if 2 * each.x + each.width < 2 * region.x + region.width:
            left = max(left, each.x + each.width - region.x)
        else:
            right = max(right, region.x + region.width - each.x)
    return left, right


def _views(context: bpy.types.Context) -> list[tuple[bpy.types.Area, bpy.types.Region]]:
    """The 3D Viewports of the window that are large enough to see something; none without a window.

    With their main regions.
    """
    areas = context.window.screen.areas if context.window else ()
    return [
        (area, region)
        for area in areas
        if area.type == "VIEW_3D"
        for region in area.regions
        if region.type == "WINDOW" and min(region.width, region.height) > _SMALLEST
    ]


def film_view(context: bpy.types.Context) -> tuple[bpy.types.Area, bpy.types.Region]:
    """The view through the clip's camera; if none is open, this one becomes it."""
    camera, views = clip_camera(context), _views(context)
    if context.scene.camera == camera:
        for area, region in views:
            if area.spaces.active.region_3d.view_perspective == "CAMERA":
                return area, region
    _look_through(context, camera, context.area)
    return context.area, next(region for region in context.area.regions if region.type == "WINDOW")


class ClipView:
    """Base of operators that need the clip's camera and a 3D Viewport."""

    poll_message_set: ClassVar[Callable[[str], None]]  # of bpy.types.Operator

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only in a 3D Viewport, for a character with a camera."""
        reason = ""
        if context.area is None or context.area.type != "VIEW_3D":
            reason = "Use this in a 3D Viewport"
        elif clip_camera(context) is None:
            reason = "Select an imported character whose camera is in the scene"
        if reason:
            cls.poll_message_set(translate(reason))
        return not reason


class WHAM_OT_view_clip_camera(ClipView, bpy.types.Operator):
    """Look through the camera of the clip, with the film behind the character; once more: back to the free view"""

    bl_idname = "wham.view_clip_camera"
    bl_label = "View Through Clip Camera"

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Make the clip's camera the scene's, and change the view."""
        camera = clip_camera(context)
        view: Any = context.space_data.region_3d
        if view.view_perspective == "CAMERA" and context.scene.camera == camera:
            view.view_perspective = "PERSP"
            frame_characters(context)
        else:
            _look_through(context, camera, context.area)
        return {"FINISHED"}


class WHAM_OT_view_side_by_side(ClipView, bpy.types.Operator):
    """Split the 3D Viewport: on the left the film with the character over it, on the right the free view; and play"""

    bl_idname = "wham.view_side_by_side"
    bl_label = "Film and Character Side by Side"

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Split the area, or show the film in another 3D Viewport that the window has already; play."""
        camera, here = clip_camera(context), context.area
        others = [area for area, _ in _views(context) if area != here]
        if others:
            film = others[0]
        else:
            known = set(context.screen.areas)
            region = next(region for region in here.regions if region.type == "WINDOW")
            # The film gives the other view some of what the sidebar covers there.
            factor = 0.5 - covered(here, region)[1] / (4 * here.width)
            bpy.ops.screen.area_split(direction="VERTICAL", factor=factor)  # the new area is the left one
            film = next(area for area in context.screen.areas if area not in known)
            film.spaces.active.show_region_ui = film.spaces.active.show_region_toolbar = False
        _look_through(context, camera, film)
        here.spaces.active.region_3d.view_perspective = "PERSP"
        frame_characters(context)
        if not context.screen.is_animation_playing:
            bpy.ops.screen.animation_play()
        return {"FINISHED"}


def _look_through(context: bpy.types.Context, camera: bpy.types.Object, area: bpy.types.Area) -> None:
    """Look through a camera, all of its picture in the view."""
    context.scene.camera = camera
    space: Any = area.spaces.active
    space.region_3d.view_perspective = "CAMERA"
    region = next(region for region in area.regions if region.type == "WINDOW")
    with context.temp_override(area=area, region=region):
        bpy.ops.view3d.view_center_camera()
