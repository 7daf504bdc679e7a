"""Sidebar panel Import Video as Motion, and the menu entries in File > Import and File > Export."""

import bpy

from ..operators.import_folder import WHAM_OT_import_folder
from ..operators.import_motion import WHAM_OT_import_motion
from ..operators.import_video import WHAM_OT_import_video
from ..properties import VideoOptions, copy_options, placement_settings
from ..scene.scene_settings import rate_sentence
from ..settings import ADDON, worker_path
from ..ui.options import draw_options
from ..ui.presets import WHAM_PT_import_presets
from ..ui.ui_text import draw_progress, draw_sentence
from ..worker import python_environment
from .jobs import draw_failed
from .sidebar import SidebarPanel


class WHAM_PT_import(SidebarPanel, bpy.types.Panel):
    """Import a clip as a keyframed character."""

    bl_label = "Import Video as Motion"

    def draw_header_preset(self, context: bpy.types.Context) -> None:
        """Draw the menu of presets."""
        WHAM_PT_import_presets.draw_panel_header(self.layout)

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the clip, its options, the import button and the progress."""
        settings = context.scene.wham
        layout = self.layout
        worker = python_environment.state(worker_path())
        if not worker.usable:
            _draw_no_worker(layout, worker.sentence)
        layout.prop(settings, "filepath")
        draw_options(layout, settings, settings.filepath)
        draw_sentence(
            layout, rate_sentence(context.scene, placement_settings(settings).clip_rate), icon="TIME", dim=True
        )
        operator = layout.operator(WHAM_OT_import_video.bl_idname, icon="ARMATURE_DATA")
        operator.filepath = settings.filepath
        copy_options(settings, operator, VideoOptions)
        layout.operator(WHAM_OT_import_folder.bl_idname, icon="FILE_FOLDER")
        draw_progress(layout)
        draw_failed(layout)


def _draw_no_worker(layout: bpy.types.UILayout, sentence: str) -> None:
    """Draw why the worker cannot be used, and the button to the preferences."""
    box = layout.box()
    draw_sentence(box, sentence)
    box.operator("preferences.addon_show", text="Open Preferences", icon="PREFERENCES").module = ADDON


def _draw_import_menu(menu: bpy.types.Menu, context: bpy.types.Context) -> None:
    menu.layout.operator(WHAM_OT_import_video.bl_idname, text="Video as Motion (.mp4, .mov, ...)")
    menu.layout.operator(WHAM_OT_import_folder.bl_idname, text="Folder of Videos as Motion")
    menu.layout.operator(WHAM_OT_import_motion.bl_idname, text="Motion (.npz)")


def _draw_export_menu(menu: bpy.types.Menu, context: bpy.types.Context) -> None:
    menu.layout.operator("wham.export_motion", text="Motion for Game Engines (.fbx, .glb, .bvh, .usdc)")


def register() -> None:
    """Add the menu entries."""
    bpy.types.TOPBAR_MT_file_export.append(_draw_export_menu)
    bpy.types.TOPBAR_MT_file_import.append(_draw_import_menu)


def unregister() -> None:
    """Remove the menu entries."""
    bpy.types.TOPBAR_MT_file_export.remove(_draw_export_menu)
    bpy.types.TOPBAR_MT_file_import.remove(_draw_import_menu)
