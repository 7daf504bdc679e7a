"""Sidebar panel Bake and Export: bakes motions onto the selected rigs and exports them to files."""

import bpy

from ..retarget import rig_map_state
from ..retarget.bake_all import selected_rigs
from ..retarget.maps import MapError
from ..translations import translate
from ..ui.ui_text import draw_sentence
from .sidebar import SidebarPanel


class WHAM_PT_bake(SidebarPanel, bpy.types.Panel):
    """Bake motions onto the selected rigs, and export them."""

    bl_label = "Bake and Export"
    bl_order = 4

    def draw(self, context: bpy.types.Context) -> None:
        """Draw each selected rig with the rig map that a bake would use, and the buttons."""
        layout = self.layout
        for rig in selected_rigs(context):
            try:
                known = rig_map_state.chosen_map(rig)
            except MapError as error:
                draw_sentence(layout, str(error))
                continue
            name = known.name if known else "guess its rig map first"
            record = rig_map_state.state()
            if record.armature == rig and record.source == rig_map_state.GUESSED:
                name = "guessed map, see Rig Map"
            layout.label(text=f"{rig.name}: {translate(name)}", icon="ARMATURE_DATA" if known else "ERROR")
        layout.operator("wham.bake_to_rig", icon="ACTION")
        layout.operator("wham.export_motion", icon="EXPORT")
