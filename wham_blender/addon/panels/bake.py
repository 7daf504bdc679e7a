"""The N-panel's box for what becomes of a motion: onto rigs, and out to other programs."""

import bpy

from ..retarget import rig_map_state
from ..retarget.bake_all import selected_rigs
from ..retarget.maps import MapError
from ..ui.ui_text import draw_sentence


class WHAM_PT_bake(bpy.types.Panel):
    """Motions onto the selected rigs, and into files."""

    bl_label = "Bake and Export"
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "WHAM"
    bl_order = 4

    def draw(self, context: bpy.types.Context) -> None:
        """Draw each selected rig with the map that it would get, and the buttons."""
        layout = self.layout
        for rig in selected_rigs(context):
            try:
                known = rig_map_state.chosen_map(rig)
            except MapError as problem:
                draw_sentence(layout, str(problem))
                continue
            name = known.name if known else "guess its rig map first"
            record = rig_map_state.state()
            if record.armature == rig and record.source == rig_map_state.GUESSED:
                name = "map guessed, see Rig Map"
            layout.label(text=f"{rig.name}: {name}", icon="ARMATURE_DATA" if known else "ERROR")
        layout.operator("wham.bake_to_rig", icon="ACTION")
        layout.operator("wham.export_motion", icon="EXPORT")
