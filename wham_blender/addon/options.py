"""The options of an import as they are shown: in the panel, beside the file browser, and for dropped clips."""

from __future__ import annotations

import bpy

from .weights_box import draw_quality

SECTIONS = {
    "Character": ("target",),
    "Clip": ("clip_start", "clip_end"),
    "Person": ("person",),
    "Quality": ("quality", "device"),
    "Camera": ("camera", "focal_length_mm", "actor_height", "static_anchor"),
    "Scene": ("start_frame", "fps"),
}
_OPEN = ("Character", "Person", "Scene")  # at first


def draw_options(layout: bpy.types.UILayout, source: bpy.types.bpy_struct) -> None:
    """Draw the options of settings or an operator, each section to be opened and closed by itself."""
    for title, names in SECTIONS.items():
        head, body = layout.panel(f"WHAM_{title.lower()}", default_closed=title not in _OPEN)
        head.label(text=title)
        if body is None:
            continue
        body.use_property_split = True
        body.use_property_decorate = False
        for name in names:
            body.prop(source, name)
            if name == "quality":
                draw_quality(body, source.quality)
            elif name == "target":
                draw_target(body, source)


def draw_target(layout: bpy.types.UILayout, source: bpy.types.bpy_struct) -> None:
    """Draw which rig gets the motion, and how, where one shall."""
    if source.target == "BAKE":
        layout.prop_search(source, "rig", bpy.context.scene, "objects", icon="ARMATURE_DATA")
        draw_bake_options(layout, source)


def draw_bake_options(layout: bpy.types.UILayout, source: bpy.types.bpy_struct) -> None:
    """Draw BakeOptions."""
    for name in ("layer", "root_motion", "keying"):
        layout.prop(source, name)
    if source.keying == "FEW":
        layout.prop(source, "angle_error")
        layout.prop(source, "distance_error")
