"""Sidebar panel Rig Map: the list of an armature's joints and bones, to review and correct a guessed map."""

import bpy

from ..retarget import rig_map_state
from .sidebar import SidebarPanel

_HIGH_CONFIDENCE, _LOW_CONFIDENCE = 0.75, 0.5  # guesses get a check mark above, and are red below; set by hand


class WHAM_UL_rig_bones(bpy.types.UIList):
    """A list with the joint, its bone and the confidence in each row."""

    def draw_item(
        self,
        context: bpy.types.Context,
        layout: bpy.types.UILayout,
        data: bpy.types.PropertyGroup,
        item: bpy.types.PropertyGroup,
        _icon: int,
        _active_data: bpy.types.PropertyGroup,
        _active_property: str,
    ) -> None:
        """Draw one row."""
        row = layout.split(factor=0.34)
        row.label(text=rig_map_state.joint_label(item.joint))
        confidence = rig_map_state.row_confidence(item)
        fields = row.row(align=True)
        fields.alert = bool(item.bone) and confidence < _LOW_CONFIDENCE
        fields.prop_search(item, "bone", data.armature.data, "bones", text="")
        icon = "BLANK1" if not item.bone else "CHECKMARK" if confidence >= _HIGH_CONFIDENCE else "QUESTION"
        fields.label(text=f"{confidence:.0%}" if item.bone else "", icon=icon)


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
        layout.label(text=f"{record.armature.name}: {record.source}", icon="ARMATURE_DATA")
        layout.template_list("WHAM_UL_rig_bones", "", record, "bones", record, "active", rows=8)
        row = layout.row(align=True)
        for chain in ("spine", "neck"):
            row.operator("wham.add_rig_map_bone", text=f"Add {chain.title()} Bone", icon="ADD").chain = chain
        row = layout.row(align=True)
        row.prop(record, "name", text="")
        row.operator("wham.save_rig_map", text="Save", icon="FILE_TICK")
        row.operator("wham.export_rig_map", text="", icon="EXPORT")
