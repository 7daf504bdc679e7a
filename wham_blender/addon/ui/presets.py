"""Presets of the import options, stored like Blender's own as scripts: some ship, the user's are in his own folder."""

from pathlib import Path

import bpy
from bl_operators.presets import AddPresetBase
from bl_ui.utils import PresetPanel

from ...errors import printable
from ..properties import OF_ONE_CLIP, VideoOptions, option_names
from ..translations import report

_PACKAGE = Path(__file__).resolve().parents[2]  # its folder "presets" has those that ship
_SUBDIR = "operator/wham.import_video"
_NOT_STORED = OF_ONE_CLIP | {"start_frame", "rig"}  # they depend on the clip and the scene


class WHAM_PT_import_presets(PresetPanel, bpy.types.Panel):
    """The menu of presets in the header of the import panel."""

    bl_label = "Import Presets"
    preset_subdir = _SUBDIR
    preset_operator = "script.execute_preset"
    preset_add_operator = "wham.add_import_preset"


class WHAM_OT_add_import_preset(AddPresetBase, bpy.types.Operator):
    """Save the import options as a preset, or remove a preset"""

    bl_idname = "wham.add_import_preset"
    bl_label = "Add Import Preset"
    preset_menu = "WHAM_PT_import_presets"
    preset_subdir = _SUBDIR
    # Full data paths instead of preset_defines, which Blender 4.3 ignores with Python 3.13 (Debian's build).
    preset_values = [f"bpy.context.scene.wham.{name}" for name in option_names(VideoOptions) if name not in _NOT_STORED]

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Write or delete the preset's file."""
        try:
            return super().execute(context)
        except (OSError, ValueError) as error:  # ValueError: characters that no file name can have
            reason = getattr(error, "strerror", None) or error
            report(
                self, {"ERROR"}, printable(f"The preset cannot be written: {reason}. Choose a shorter or plainer name.")
            )
            return {"CANCELLED"}

    def remove(self, context: bpy.types.Context, filepath: str) -> None:
        """Delete a preset's file, unless it ships."""
        path = Path(filepath).resolve()
        if path.is_relative_to(_PACKAGE):
            report(self, {"INFO"}, "Presets that ship with the add-on stay")
        else:
            path.unlink()


def register() -> None:
    """Add the presets that ship."""
    bpy.utils.register_preset_path(str(_PACKAGE))


def unregister() -> None:
    """Take them away."""
    bpy.utils.unregister_preset_path(str(_PACKAGE))
