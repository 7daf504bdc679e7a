"""Draws the options of an import: in the panel, beside the file browser, and for dropped clips."""

from __future__ import annotations

from collections.abc import Iterable

import bpy

from ...image_sequence import may_name_sequence
from ..properties import AUTOMATIC, option_title
from ..translations import CONTEXT
from .device_menu import draw_device
from .person_menu import draw_person
from .weights_box import draw_gender, draw_quality

# Names of BakeOptions in the order in which they are drawn
BAKE = ("layer", "plant_feet", "root_motion", "arm_spread", "rest_pose", "keying", "angle_error", "distance_error")
SECTIONS = {
    "Character": ("target", "rig", *BAKE),
    "Frames": ("sequence_fps", "clip_start", "clip_end", "speed", "rotate"),
    "Person": ("person", "gender"),
    "Hands": ("hands",),
    "Quality": ("quality", "world", "device", "refine", "smooth"),
    "Camera": ("camera", "focal_length_mm", "actor_height", "static_anchor"),
    "Scene": ("start_frame", "fps"),
}
_OPEN = ("Character", "Person", "Scene")  # by default


def draw_options(layout: bpy.types.UILayout, source: bpy.types.bpy_struct, clip: str) -> None:
    """Draw the options of settings or an operator in collapsible sections; ``clip``: the path of the clip."""
    is_sequence = may_name_sequence(bpy.path.abspath(clip))
    for title, names in SECTIONS.items():
        head, body = layout.panel(f"WHAM_{title.lower()}", default_closed=title not in _OPEN)
        head.label(text=title, text_ctxt=CONTEXT)
        if body is None:
            continue
        body.use_property_split = True
        body.use_property_decorate = False
        draw_names(body, source, [name for name in names if name != "sequence_fps" or is_sequence])


def draw_names(layout: bpy.types.UILayout, source: bpy.types.bpy_struct, names: Iterable[str]) -> None:
    """Draw options by name, without those that have no effect with the current values of others."""
    for name in names:
        if name.endswith("_error") and source.keying == "ALL":
            continue
        if name in ("rig", *BAKE) and getattr(source, "target", "BAKE") == "NEW":
            continue
        if name == "rig":
            layout.prop_search(source, name, bpy.context.scene, "objects", icon="ARMATURE_DATA")
        elif name == "device":
            draw_device(layout, source)
        elif name == "person":
            draw_person(layout, source)
        elif name in AUTOMATIC and hasattr(source, f"{name}_given"):
            _draw_number(layout, source, name)
        else:
            layout.prop(source, name)
        if name == "quality":
            draw_quality(layout, source.quality)
        if name == "gender":
            draw_gender(layout, source.gender, source.quality)


def _draw_number(layout: bpy.types.UILayout, source: bpy.types.bpy_struct, name: str) -> None:
    """Draw a number behind its check box, or that it is automatic."""
    row = layout.row(heading=option_title(name), heading_ctxt=CONTEXT)
    row.prop(source, f"{name}_given", text="")
    if getattr(source, name):
        row.prop(source, name, text="")
    else:
        row.label(text="Auto", text_ctxt=CONTEXT)
