"""Sidebar panel Submit to Farm, folded below Import Video as Motion."""

import bpy

from ..operators.submit_to_farm import WHAM_OT_submit_to_farm
from ..properties import VideoOptions, copy_options
from ..settings import ADDON, farm
from ..ui.ui_text import draw_sentence
from .sidebar import SidebarPanel


class WHAM_PT_farm(SidebarPanel, bpy.types.Panel):
    """Submit the panel's clip with its options to a render farm."""

    bl_label = "Submit to Farm"
    bl_parent_id = "WHAM_PT_import"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        """Draw where jobs go, and the button; or what is missing for it."""
        layout, settings, chosen = self.layout, context.scene.wham, farm()
        if chosen.is_set:
            draw_sentence(layout, chosen.folder, icon="FILE_FOLDER", dim=True)
            operator = layout.operator(WHAM_OT_submit_to_farm.bl_idname, icon="NETWORK_DRIVE")
            operator.filepath = settings.filepath
            copy_options(settings, operator, VideoOptions)
        else:
            draw_sentence(layout, "Set up the render farm in the preferences first.")
        if chosen.is_set and chosen.kind == "FLAMENCO" and not bpy.app.online_access:
            layout.operator("extensions.userpref_allow_online", text="Allow Online Access", icon="INTERNET_OFFLINE")
        row = layout.row()
        row.operator("preferences.addon_show", text="Open Preferences", icon="PREFERENCES").module = ADDON
