"""Presets of the import's options, as Blender keeps them: small scripts in the user's presets folder."""

import bpy
from bl_operators.presets import AddPresetBase
from bl_ui.utils import PresetPanel

from ..properties import VideoOptions, option_names

_SUBDIR = "operator/wham.import_video"
_OF_ONE_CLIP = {"clip_start", "clip_end", "start_frame", "rig"}  # not kept: they are the clip's and the scene's


class WHAM_PT_import_presets(PresetPanel, bpy.types.Panel):
    """The presets' menu in the head of the panel."""

    bl_label = "Import Presets"
    preset_subdir = _SUBDIR
    preset_operator = "script.execute_preset"
    preset_add_operator = "wham.add_import_preset"

    def draw(self, context: bpy.types.Context) -> None:
        """List the presets; where there is none yet Blender itself would speak of missing paths."""
        if bpy.utils.preset_paths(_SUBDIR):
            super().draw(context)
            return
        named = context.window_manager.preset_name
        self.layout.label(text="Keep these options as a preset")
        row = self.layout.row(align=True)
        row.prop(context.window_manager, "preset_name", text="")
        row.operator(self.preset_add_operator, text="", icon="ADD").name = named


class WHAM_OT_add_import_preset(AddPresetBase, bpy.types.Operator):
    """Keep the import's options as a preset, or remove one."""

    bl_idname = "wham.add_import_preset"
    bl_label = "Add Import Preset"
    preset_menu = "WHAM_PT_import_presets"
    preset_subdir = _SUBDIR
    # Whole paths, not preset_defines, which Blender 4.3 does not see with Python 3.13, as Debian builds it.
    preset_values = [
        f"bpy.context.scene.wham.{name}" for name in option_names(VideoOptions) if name not in _OF_ONE_CLIP
    ]
