"""Bars in the Timeline, Dope Sheet and Action Editor: when the active character's feet are planted, and its confidence.

Keyframes cannot show that: the pose has one on every frame, and pose markers are drawn in the Action Editor only.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import bpy
import gpu
import numpy as np
from gpu_extras.batch import batch_for_shader

from ...motion import true_intervals
from ...skeleton import FOOT_POINTS
from ..scene import character
from ..scene.action import ActionKeys
from ..scene.contacts import CONTACT_PROPERTIES
from .contact_overlay import COLORS

# Pixels at a resolution scale of 1: of a bar, between bars, and below them for the scroll bar and the markers' names.
_BAR, _GAP, _BELOW, _MARKERS = 3.0, 1.0, 18.0, 26.0
_COLUMN = 2  # pixels of the confidence's steps
_SURE, _UNSURE, _UNSEEN = (0.25, 0.7, 0.3, 0.9), (0.9, 0.2, 0.15, 0.9), (0.45, 0.45, 0.45, 0.9)
_LOWEST_CONFIDENCE, _FULL_CONFIDENCE = 0.3, 0.9  # drawn in the colours of unsure and sure; set by hand
# From the bottom: right heel and toe, left heel and toe, as the feet lie for somebody who walks along the timeline.
_ORDER = tuple(FOOT_POINTS.index(name) for name in ("right_heel", "right_toe", "left_heel", "left_toe"))
_handle: Any = None

# x of the start and of the end, y of the bottom, colour.
_Bar = tuple[float, float, float, tuple[float, ...]]


def contact_intervals(armature: bpy.types.Object) -> list[list[tuple[float, float]]]:
    """For each of FOOT_POINTS the scene frames from which and to which it is planted, as its keyframes say.

    Raises LookupError if the keyframes of the contacts are gone.
    """
    keys = ActionKeys(armature)
    found = []
    for name in CONTACT_PROPERTIES:
        path = f'["{name}"]'
        frames = keys.frames_of(path)
        down = keys.read(path, 1, frames)[:, 0] > 0.5
        ends = np.append(frames[1:], frames[-1] + 1.0)  # each value lasts to the next keyframe
        found.append([(float(frames[start]), float(ends[stop - 1])) for start, stop in true_intervals(down)])
    return found


def confidence_at(armature: bpy.types.Object, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Confidence (N,) at scene frames (N,), whether the person is seen (N,), and whether the motion has them (N,).

    Raises LookupError if their keyframes are gone.
    """
    keys = ActionKeys(armature)
    keyed = keys.frames_of('["confidence"]')
    values = np.interp(frames, keyed, keys.read('["confidence"]', 1, keyed)[:, 0])
    changes = keys.frames_of('["seen"]')
    seen = keys.read('["seen"]', 1, changes)[:, 0] > 0.5
    at = np.searchsorted(changes, frames, "right").clip(1) - 1
    return values, seen[at], (frames >= keyed[0]) & (frames <= keyed[-1] + 1)


def _contact_bars(armature: bpy.types.Object, region: bpy.types.Region, bottom: float, step: float) -> Iterator[_Bar]:
    to_region = region.view2d.view_to_region
    intervals = contact_intervals(armature)
    for row, column in enumerate(_ORDER):
        color = COLORS[FOOT_POINTS[column].split("_")[0]]
        for first, last in intervals[column]:
            left, right = (float(to_region(frame, 0, clip=False)[0]) for frame in (first, last))
            if right > 0 and left < region.width:
                yield left, max(right, left + 1), bottom + row * step, color


def _confidence_bars(armature: bpy.types.Object, region: bpy.types.Region, bottom: float) -> Iterator[_Bar]:
    columns = np.arange(0, region.width, _COLUMN)
    first, last = (region.view2d.region_to_view(x, 0)[0] for x in (0, region.width))
    frames = first + (last - first) * (columns + _COLUMN / 2) / region.width
    values, seen, inside = confidence_at(armature, frames)
    share = ((values - _LOWEST_CONFIDENCE) / (_FULL_CONFIDENCE - _LOWEST_CONFIDENCE)).clip(0, 1)
    colors = np.where(seen[:, None], _UNSURE + share[:, None] * np.subtract(_SURE, _UNSURE), _UNSEEN)
    for index in np.flatnonzero(inside):
        yield float(columns[index]), float(columns[index] + _COLUMN), bottom, tuple(colors[index])


def _draw() -> None:
    """Draw the bars; Blender calls this for every editor of the kind."""
    context = bpy.context
    settings = context.scene.wham
    armature = character.active(context)
    if armature is None or not (settings.show_contacts or settings.show_confidence):
        return
    scale = context.preferences.system.ui_scale
    step = (_BAR + _GAP) * scale
    bottom = (_BELOW + (_MARKERS if context.scene.timeline_markers else 0)) * scale
    bars: list[_Bar] = []
    try:
        if settings.show_contacts:
            bars += _contact_bars(armature, context.region, bottom, step)
        if settings.show_confidence:
            bars += _confidence_bars(armature, context.region, bottom + len(_ORDER) * step)
    except (LookupError, character.CharacterError):  # keyframes that the user has removed
        return
    _draw_bars(bars, _BAR * scale)


def _draw_bars(bars: list[_Bar], height: float) -> None:
    if not bars:
        return
    corners, colors = [], []
    for left, right, bottom, color in bars:
        top = bottom + height
        corners += [(left, bottom), (right, bottom), (right, top), (left, bottom), (right, top), (left, top)]
        colors += [color] * 6
    shader = gpu.shader.from_builtin("FLAT_COLOR")
    gpu.state.blend_set("ALPHA")
    batch_for_shader(shader, "TRIS", {"pos": corners, "color": colors}).draw(shader)
    gpu.state.blend_set("NONE")


def register() -> None:
    """Add the draw handler; it stays when another file is opened."""
    global _handle
    _handle = bpy.types.SpaceDopeSheetEditor.draw_handler_add(_draw, (), "WINDOW", "POST_PIXEL")


def unregister() -> None:
    """Remove the draw handler."""
    global _handle
    bpy.types.SpaceDopeSheetEditor.draw_handler_remove(_handle, "WINDOW")
    _handle = None
