"""Sidebar panel Correct, within Edit Motion: corrections of what was seen in the clip, and the pose pin."""

import bpy

from ...errors import CodedError
from ..scene import character, recorded_corrections
from ..translations import translate
from ..ui.ui_text import draw_sentence
from .sidebar import SidebarPanel

_MOST_LISTED = 20


class WHAM_PT_correct(SidebarPanel, bpy.types.Panel):
    """Operators that correct frames, people and poses, and the list of the corrections of the clip."""

    bl_label = "Correct"
    bl_parent_id = "WHAM_PT_edit"

    def draw(self, context: bpy.types.Context) -> None:
        """Draw a button for each correction, the list of those made, and Process Again."""
        armature = character.active(context)
        column = self.layout.column(align=True)
        column.operator("wham.pin_pose", icon="PINNED")
        column.operator("wham.distrust_frames", icon="IPO_EASE_IN_OUT")
        column.operator("wham.swap_sides", icon="MOD_MIRROR")
        column = self.layout.column(align=True)
        column.operator("wham.continue_person", icon="CON_FOLLOWPATH")
        column.operator("wham.draw_box", icon="SELECT_SET")
        try:
            corrections = recorded_corrections.document(armature)
        except CodedError as error:
            draw_sentence(self.layout, str(error), icon="ERROR")
            self.layout.operator("wham.clear_corrections", icon="TRASH")
            return
        if corrections:
            self._draw_list(recorded_corrections.sentences(corrections))
        if corrections or armature.wham_motion.job:
            self.layout.operator("wham.process_again", icon="FILE_REFRESH")

    def _draw_list(self, sentences: list[str]) -> None:
        box = self.layout.box().column(align=True)
        for number, sentence in enumerate(sentences[:_MOST_LISTED]):
            row = box.row(align=True)
            row.label(text=translate(sentence))
            row.operator("wham.remove_correction", text="", icon="X", emboss=False).number = number
        if (more := len(sentences) - _MOST_LISTED) > 0:
            box.label(text=translate(f"and {more} more"))
        box.operator("wham.clear_corrections", icon="TRASH")
