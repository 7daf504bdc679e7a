"""Operator Bake to Rig: bakes an imported motion onto the armatures of other characters."""

from __future__ import annotations

from functools import partial

import bpy

from ...errors import CodedError
from ..properties import BakeOptions, bake_settings
from ..retarget.bake_all import bake_all, motion_sources, pair_by_name, selected_rigs
from ..scene import character
from ..scene.checks import check_properties
from ..translations import report, translate
from ..ui.options import BAKE, draw_names


class WHAM_OT_bake_to_rig(BakeOptions, bpy.types.Operator):
    """Bake the motion of an imported character onto the selected rigs, as a new action or NLA strip"""

    bl_idname = "wham.bake_to_rig"
    bl_label = "Bake to Rig"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Require an imported motion and a selected rig."""
        reason = None
        if context.mode not in ("OBJECT", "POSE"):
            reason = "Go to Object Mode or Pose Mode first"
        elif not any(character.is_character(obj) for obj in context.scene.objects):
            reason = "Import a motion first"
        elif not selected_rigs(context):
            reason = "Select the armature to bake the motion onto"
        if reason:
            cls.poll_message_set(translate(reason))
        return reason is None

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the redo panel."""
        self.layout.use_property_split = True
        draw_names(self.layout, self, BAKE)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Bake onto each rig."""
        try:
            check_properties(self.properties)
            pairs = pair_by_name(motion_sources(context), selected_rigs(context))
        except CodedError as error:
            report(self, {"ERROR"}, str(error))
            return {"CANCELLED"}
        done, failed = bake_all(pairs, bake_settings(self), partial(report, self))
        if failed:
            report(self, {"ERROR"}, failed)
        return {"FINISHED"} if done else {"CANCELLED"}
