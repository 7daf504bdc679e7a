"""Sidebar panel Rig Map: an armature's joints and bones, to review and correct a guessed map or to make one by hand."""

from __future__ import annotations

from collections.abc import Collection

import bpy

from ...errors import CodedError
from ..retarget import map_check, maps, rig_map_state, rig_preview
from ..retarget.bone_names import decoded
from ..retarget.rig_map_state import WHAM_PG_rig_bone
from ..translations import CONTEXT, translate
from ..ui.ui_text import draw_sentence, shortened
from .sidebar import SidebarPanel

_HIGH_CONFIDENCE, _LOW_CONFIDENCE = 0.75, 0.5  # guesses have a question mark below, and are red; set by hand
_LABELS = 0.24  # of a row's width, for the names of joints
_PADDING = 0.7  # UI units beside the text of a button
_POINTER = "RESTRICT_SELECT_OFF"  # for what takes the bone that is selected
_ARM = {"collar": "Collar", "shoulder": "Shoulder", "elbow": "Elbow", "wrist": "Wrist"}
_LEG = {"hip": "Hip", "knee": "Knee", "ankle": "Ankle", "foot": "Toes"}
# Heading, joints and their short names: a sidebar of the usual width has no place for "right shoulder" and a bone.
_SECTIONS = (
    ("Trunk", {"pelvis": "Pelvis", "spine": "Spine", "neck": "Neck", "head": "Head"}),
    *(
        (title, {f"{side}_{part}": name for part, name in parts.items()})
        for title, side, parts in (
            ("Left Arm", "left", _ARM),
            ("Left Leg", "left", _LEG),
            ("Right Arm", "right", _ARM),
            ("Right Leg", "right", _LEG),
        )
    ),
    ("Floor", {"root": "Root"}),
)


class WHAM_PT_rig_map(SidebarPanel, bpy.types.Panel):
    """Which bones of the target armature are which joints."""

    bl_label = "Rig Map"
    bl_order = 5
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the buttons, and the map of the armature for which one was guessed last."""
        layout = self.layout
        row = layout.row(align=True)
        row.operator("wham.guess_rig_map", icon="VIEWZOOM")
        row.operator("wham.import_rig_map", text="", icon="IMPORT")
        record = rig_map_state.state()
        if record.armature is None or not record.bones:
            return
        layout.label(text=f"{record.armature.name}: {translate(record.source)}", icon="ARMATURE_DATA")
        wrong = _draw_faults(layout)
        shown = rig_preview.rig() is not None
        layout.operator(
            "wham.preview_rig_map", text="Leave Preview" if shown else "Preview", icon="HIDE_OFF", depress=shown
        )
        for title, joints in _SECTIONS:
            _draw_section(layout, title, joints, wrong)
        row = layout.row(align=True)
        for chain, text in (("spine", "Add Spine Bone"), ("neck", "Add Neck Bone")):
            row.operator("wham.add_rig_map_bone", text=text, icon="ADD").chain = chain
        row = layout.row(align=True)
        row.operator("wham.mirror_rig_map_bone", text="Mirror Left", icon="MOD_MIRROR")
        row.operator("wham.clear_rig_map_bone", text="Clear All", icon="X")
        row = layout.row(align=True)
        row.prop(record, "name", text="")
        row.operator("wham.save_rig_map", text="Save", icon="FILE_TICK")
        row.operator("wham.export_rig_map", text="", icon="EXPORT")


def _draw_faults(layout: bpy.types.UILayout) -> Collection[str]:
    """Draw what is wrong with the map; the bones that are."""
    record = rig_map_state.state()
    faults: list[CodedError] = []
    try:
        faults += map_check.faults(record.armature, rig_map_state.from_rows())
    except maps.MapError as error:
        faults.append(error)
    failed = rig_preview.error()
    if failed is not None and str(failed) not in map(str, faults):
        faults.append(failed)
    if record.refusal and str(faults[0] if faults else "") != record.refusal:
        draw_sentence(layout, record.refusal)
    for fault in faults[:1]:
        draw_sentence(layout, str(fault), icon="ERROR")
    return {bone for fault in faults for bone in getattr(fault, "bones", ())}


def _draw_section(layout: bpy.types.UILayout, title: str, joints: dict[str, str], wrong: Collection[str]) -> None:
    """Draw the rows of some joints under a heading."""
    column = layout.column(align=True)
    column.label(text=title, text_ctxt=CONTEXT)
    for joint, name in joints.items():
        rows = [row for row in rig_map_state.state().bones if row.joint == joint]
        for number, row in enumerate(rows, 1):
            _draw_row(column, row, number, f"{translate(name)} {number}" if len(rows) > 1 else name, wrong)


def _draw_row(
    layout: bpy.types.UILayout, row: WHAM_PG_rig_bone, number: int, name: str, wrong: Collection[str]
) -> None:
    """Draw a joint, its bone, and the buttons that fill, mirror and empty the row. Only bones in doubt have an icon."""
    confidence = rig_map_state.row_confidence(row) if row.bone else 1.0
    actions = [("set", _POINTER), ("mirror", "MOD_MIRROR"), ("clear", "X")]
    if not rig_map_state.other_side(row.joint):
        actions.pop(1)
    line = layout.split(factor=_LABELS, align=True)
    line.label(text=name, text_ctxt=CONTEXT)
    buttons = line.row(align=True)
    buttons.alert = row.bone in wrong or confidence < _LOW_CONFIDENCE
    icon = "NONE" if confidence >= _HIGH_CONFIDENCE and row.bone not in wrong else "QUESTION"
    margin = len(actions) + (_PADDING if icon == "NONE" else _PADDING + 1)
    text = decoded(row.bone.removeprefix(rig_map_state.common_prefix()))
    operators = [
        buttons.operator("wham.choose_rig_map_bone", text=shortened(text, 1 - _LABELS, margin), icon=icon),
        *(buttons.operator(f"wham.{action}_rig_map_bone", text="", icon=picture) for action, picture in actions),
    ]
    for operator in operators:
        operator.joint, operator.number = row.joint, number
