"""Sidebar panels of an imported character: Result, with statistics of the import, and Edit Motion."""

import bpy

from ..jobs.import_job import jobs
from ..jobs.job_record import JobRecord
from ..scene import character
from ..translations import CONTEXT, translate
from ..ui.ui_text import draw_sentence, wrap_to_region
from .jobs import draw_people
from .sidebar import SidebarPanel

_NAME_WIDTH = 4.0  # UI units of the panel's width for the names of statistics


class _CharacterPanel(SidebarPanel):
    """Base of panels of the active imported character."""

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Show the panel only if an imported character is active."""
        return character.active(context) is not None


class WHAM_PT_result(_CharacterPanel, bpy.types.Panel):
    """What was imported: buttons to look at it, and its quality."""

    bl_label = "Result"
    bl_order = 1

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the buttons, and the statistics that are stored on the armature."""
        armature = character.active(context)
        record = armature.wham_motion
        column = self.layout.column(align=True)
        column.operator("wham.view_clip_camera", icon="VIEW_CAMERA")
        column.operator("wham.view_side_by_side", icon="SPLIT_VERTICAL")
        playing = bool(context.screen and context.screen.is_animation_playing)
        icon, text = ("PAUSE", "Pause") if playing else ("PLAY", "Play")
        column.operator("screen.animation_play", text=text, icon=icon)
        column.operator("wham.bake_to_rig", text="Next: Bake to Rig", icon="ARMATURE_DATA")
        _draw_statistics(self.layout, statistics(armature))
        self.layout.operator("wham.next_doubt", icon="VIEWZOOM")
        if record.doubt and record.doubt_first - 1 <= context.scene.frame_current <= record.doubt_last + 1:
            box = self.layout.box()
            draw_sentence(box, record.doubt, icon="ERROR")
            if record.doubt_operator:
                box.operator(f"wham.{record.doubt_operator}")
        column = self.layout.column(align=True)
        column.prop(context.scene.wham, "show_contacts")
        if context.scene.wham.show_contacts:
            legend = column.row(align=True)
            legend.label(text="Left planted", text_ctxt=CONTEXT, icon="COLLECTION_COLOR_05")
            legend.label(text="Right planted", text_ctxt=CONTEXT, icon="COLLECTION_COLOR_02")
        column.prop(context.scene.wham, "show_confidence")
        render = context.scene.render
        rate = render.fps / render.fps_base
        if abs(rate - record.clip_rate) > 1e-3 * rate:
            draw_sentence(self.layout, f"The scene runs at {rate:.4g} fps, the clip at {record.clip_rate:.4g}")
        self.layout.operator("wham.match_scene", icon="SCENE_DATA")


class WHAM_PT_result_people(SidebarPanel, bpy.types.Panel):
    """The people of the active character's clip."""

    bl_label = "People"
    bl_parent_id = "WHAM_PT_result"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only if its job found several."""
        record = _job_of(context)
        return record is not None and len(record.people) > 1

    def draw(self, context: bpy.types.Context) -> None:
        """Draw a button for each, which imports that person into the same world."""
        if record := _job_of(context):
            there = character.people_by_job(context.scene)
            draw_people(self.layout, record, there.get(record.name, ()))


def _job_of(context: bpy.types.Context) -> JobRecord | None:
    """The job that the active character comes from; None if it is not in the list."""
    armature = character.active(context)
    name = armature.wham_motion.job if armature else ""
    return next((record for record in jobs.all if record.name == name), None)


class WHAM_PT_result_details(_CharacterPanel, bpy.types.Panel):
    """From what the motion was made."""

    bl_label = "Details"
    bl_parent_id = "WHAM_PT_result"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        """Draw clip, quality and weights."""
        _draw_statistics(self.layout, details(character.active(context)))
        self.layout.operator("wham.measure_motion", icon="FILE_REFRESH")


def _draw_statistics(layout: bpy.types.UILayout, values: list[tuple[str, str]]) -> None:
    """Draw names and values in two columns."""
    box = layout.column(align=True)
    for name, value in values:
        lines = wrap_to_region(translate(value), _NAME_WIDTH)
        row = box.split(factor=0.36)
        row.label(text=name, text_ctxt=CONTEXT)
        if len(lines) > 2:  # too long to stand beside the name
            draw_sentence(box, value, icon="NONE", dim=True)
            continue
        column = row.column(align=True)
        for line in lines:
            column.label(text=line)


def statistics(armature: bpy.types.Object) -> list[tuple[str, str]]:
    """Names and values of the statistics of a character's motion, as the panel shows them."""
    record = armature.wham_motion
    frames = record.last_frame - record.first_frame
    seconds = frames / record.keyed_rate if record.keyed_rate > 0 else 0.0  # a script can set any rate
    sliding = "no contacts" if record.sliding < 0 else f"{100 * record.sliding:.1f} cm/s in contact"
    return [
        ("Frames", f"{record.frames} ({record.first_frame:.0f} to {record.last_frame:.0f}), {seconds:.2f} s"),
        ("Confidence", f"{record.confidence:.0%} on average"),
        ("Not Detected", f"frames {record.hidden}: interpolated" if record.hidden else "none"),
        ("Contacts", str(record.contacts)),
        ("Foot Sliding", sliding),
    ]


def details(armature: bpy.types.Object) -> list[tuple[str, str]]:
    """Names and values of what a character's motion was made from, as the panel shows them."""
    record = armature.wham_motion
    return [
        ("Clip", record.clip or "unknown"),
        *([("Slow Motion", f"played {record.speed:.4g} times slower than filmed")] if record.speed != 1 else []),
        *([("Film", f"a copy, because {record.film}")] if record.film else []),
        ("People", str(record.people)),
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
            (("mark_contacts", "SNAP_ON"), ("plant_again", "SNAP_PERPENDICULAR"), ("smooth_motion", "SMOOTHCURVE")),
            (("turn_motion", "DRIVER_ROTATIONAL_DIFFERENCE"), ("move_motion", "EMPTY_ARROWS"),
             ("set_actor_height", "ARROW_LEFTRIGHT"), ("set_floor", "VIEW_PERSPECTIVE")),
            (("trim_motion", "PREVIEW_RANGE"), ("trim_to_motion", "FULLSCREEN_EXIT"), ("loop_motion", "FILE_REFRESH"),
             ("reduce_keys", "IPO_BEZIER"), ("mark_asset", "ASSET_MANAGER")),
        ):  # fmt: skip
            column = self.layout.column(align=True)
            for operator, icon in operators:
                column.operator(f"wham.{operator}", icon=icon)
