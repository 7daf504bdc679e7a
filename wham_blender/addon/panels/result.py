"""Sidebar panels of an imported character: Result, with statistics of the import, and Edit Motion."""

import bpy

from ..scene import character
from ..ui.ui_text import draw_sentence, wrap_to_region
from .sidebar import SidebarPanel

_NAME_WIDTH = 4.0  # UI units of the panel's width for the names of statistics


class _CharacterPanel(SidebarPanel):
    """Base of panels of the active imported character."""

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Show the panel only if an imported character is active."""
        return character.active(context) is not None


class WHAM_PT_result(_CharacterPanel, bpy.types.Panel):
    """Statistics of the import."""

    bl_label = "Result"
    bl_order = 2

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the statistics that are stored on the armature."""
        armature = character.active(context)
        record = armature.wham_motion
        box = self.layout.column(align=True)
        for name, value in statistics(armature):
            lines = wrap_to_region(value, _NAME_WIDTH)
            row = box.split(factor=0.36)
            row.label(text=name)
            if len(lines) > 2:  # too long to stand beside the name
                for part in value.split(", "):
                    draw_sentence(box, part, icon="NONE", dim=True)
                continue
            column = row.column(align=True)
            for line in lines:
                column.label(text=line)
        self.layout.operator("wham.measure_motion", icon="FILE_REFRESH")
        self.layout.prop(context.scene.wham, "show_contacts")
        render = context.scene.render
        rate = render.fps / render.fps_base
        if abs(rate - record.clip_rate) > 1e-3 * rate:
            draw_sentence(self.layout, f"The scene runs at {rate:.4g} fps, the clip at {record.clip_rate:.4g}")
        self.layout.operator("wham.match_scene", icon="SCENE_DATA")


def statistics(armature: bpy.types.Object) -> list[tuple[str, str]]:
    """Names and values of the statistics of a character, as the panel shows them."""
    record = armature.wham_motion
    frames = record.last_frame - record.first_frame
    seconds = frames / record.keyed_rate if record.keyed_rate > 0 else 0.0  # a script can set any rate
    sliding = "no contacts" if record.sliding < 0 else f"{100 * record.sliding:.1f} cm/s in contact"
    return [
        ("Clip", record.clip or "unknown"),
        *([("Speed", f"played {record.speed:.4g} times slower than filmed")] if record.speed != 1 else []),
        *([("Film", f"a copy, because {record.film}")] if record.film else []),
        ("People", str(record.people)),
        ("Frames", f"{record.frames} ({record.first_frame:.0f} to {record.last_frame:.0f}), {seconds:.2f} s"),
        ("Confidence", f"{record.confidence:.0%} on average"),
        ("Not Detected", f"frames {record.hidden}: interpolated" if record.hidden else "none"),
        ("Contacts", str(record.contacts)),
        ("Foot Sliding", sliding),
        ("Height", f"{character.height(armature):.2f} m"),
        ("Quality", record.quality or "unknown"),
        ("Weights", record.weights or "unknown"),
    ]


class WHAM_PT_edit(_CharacterPanel, bpy.types.Panel):
    """Operators that edit an imported character."""

    bl_label = "Edit Motion"
    bl_order = 3

    def draw(self, context: bpy.types.Context) -> None:
        """Draw a button for each operator; their options are in the redo panel."""
        for operators in (
            (("mark_contacts", "SNAP_ON"), ("smooth_motion", "SMOOTHCURVE")),
            (("turn_motion", "DRIVER_ROTATIONAL_DIFFERENCE"), ("move_motion", "EMPTY_ARROWS"),
             ("set_actor_height", "ARROW_LEFTRIGHT"), ("set_floor", "VIEW_PERSPECTIVE")),
            (("trim_motion", "PREVIEW_RANGE"), ("loop_motion", "FILE_REFRESH")),
        ):  # fmt: skip
            column = self.layout.column(align=True)
            for operator, icon in operators:
                column.operator(f"wham.{operator}", icon=icon)
