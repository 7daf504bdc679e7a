"""The N-panel's box for rig maps: which bone plays which joint, and how sure that is."""

import bpy

from ..retarget import rig_map_state

_SURE, _UNSURE = 0.75, 0.5  # from here on a guess is shown as sure, and below as doubtful


class WHAM_UL_rig_bones(bpy.types.UIList):
    """A joint, its bone and the confidence a row."""

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
        row.label(text=rig_map_state.label(item.joint))
        sure = rig_map_state.sureness(item)
        fields = row.row(align=True)
        fields.alert = bool(item.bone) and sure < _UNSURE
        fields.prop_search(item, "bone", data.armature.data, "bones", text="")
        mark = "BLANK1" if not item.bone else "CHECKMARK" if sure >= _SURE else "QUESTION"
        fields.label(text=f"{sure:.0%}" if item.bone else "", icon=mark)


class WHAM_PT_rig_map(bpy.types.Panel):
    """Which bones of the character that shall get the motion play which joints."""

    bl_label = "Rig Map"
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "WHAM"
    bl_order = 5
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the button, and the map of the last armature that it was pressed for."""
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
