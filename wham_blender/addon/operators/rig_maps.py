"""Operators on rig maps: guess the map of the active armature, save it, export and import it as a file."""

import re
from pathlib import Path

import bpy
from bpy.props import EnumProperty, StringProperty
from bpy_extras.io_utils import ExportHelper, ImportHelper

from ...errors import printable
from ..retarget import maps, rig_map_state
from ..retarget.maps import MapError

_LONGEST_NAME = 200  # bytes of a file's name; file systems allow 255, of which a temporary file needs some


class WHAM_OT_guess_rig_map(bpy.types.Operator):
    """Guess from names and proportions which bones of the active armature are which joints, and list them for review"""

    bl_idname = "wham.guess_rig_map"
    bl_label = "Guess Rig Map"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Require an active armature."""
        if context.object is None or context.object.type != "ARMATURE":
            cls.poll_message_set("Select the armature to bake the motion onto")
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Fill the list with the known or guessed map."""
        for sentence in rig_map_state.user_maps()[1]:
            self.report({"WARNING"}, sentence)
        try:
            rig_map_state.load_or_guess(context.object)
        except MapError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        record = rig_map_state.state()
        if record.source != rig_map_state.GUESSED:
            self.report({"INFO"}, f"{context.object.name} has a known rig map: {record.source}")
        else:
            uncertain = sum(rig_map_state.row_confidence(row) < 0.5 for row in record.bones if row.bone)
            review = f"{uncertain} with low confidence: check those first" if uncertain else "check them in the list"
            guessed = sum(bool(row.bone) for row in record.bones)
            self.report({"INFO"}, f"{context.object.name}: {guessed} bones guessed, {review}")
        return {"FINISHED"}


class _MapOperator:
    """Base of operators that need a map in the list."""

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Require a map in the list."""
        if not rig_map_state.state().bones or rig_map_state.state().armature is None:
            cls.poll_message_set("Guess the rig map of a character first")  # type: ignore[attr-defined]
            return False
        return True


class WHAM_OT_add_rig_map_bone(_MapOperator, bpy.types.Operator):
    """Add a row for another bone of the spine or the neck"""

    bl_idname = "wham.add_rig_map_bone"
    bl_label = "Add Bone"
    bl_options = {"INTERNAL"}

    chain: EnumProperty(
        name="Chain",
        description="Chain to which the bone is added",
        items=[
            ("spine", "Spine", "Add after the last bone of the spine"),
            ("neck", "Neck", "Add after the last bone of the neck"),
        ],
    )

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Add the row."""
        rig_map_state.add_chain_row(self.chain)
        return {"FINISHED"}


class WHAM_OT_save_rig_map(_MapOperator, bpy.types.Operator):
    """Save the map for all characters with the same bone names"""

    bl_idname = "wham.save_rig_map"
    bl_label = "Save Map"

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Write it to the user's folder of maps."""
        return _write(self, rig_map_state.user_folder() / _file_name(rig_map_state.state().name))


class WHAM_OT_export_rig_map(_MapOperator, ExportHelper, bpy.types.Operator):
    """Write the map to a file, to use it on another computer"""

    bl_idname = "wham.export_rig_map"
    bl_label = "Export Map"

    filename_ext = ".toml"
    filter_glob: StringProperty(default="*.toml", options={"HIDDEN"})

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Ask for the file."""
        self.filepath = _file_name(rig_map_state.state().name)
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Write the file."""
        return _write(self, Path(bpy.path.abspath(self.filepath)))


class WHAM_OT_import_rig_map(ImportHelper, bpy.types.Operator):
    """Add a rig map from a file, for all characters with the same bone names"""

    bl_idname = "wham.import_rig_map"
    bl_label = "Import Map"

    filename_ext = ".toml"
    filter_glob: StringProperty(default="*.toml", options={"HIDDEN"})

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Check the file, copy it to the user's folder, and show it if it fits the active armature."""
        if not self.filepath:
            self.report({"ERROR"}, "No rig map was named. Choose a map's .toml file.")
            return {"CANCELLED"}
        try:
            rig_map = maps.read(Path(bpy.path.abspath(self.filepath)))
            maps.write(rig_map, rig_map_state.user_folder() / _file_name(rig_map.name))
            self.report({"INFO"}, f"The map {rig_map.name} was imported")
            if context.object is not None and context.object.type == "ARMATURE":
                fitted = maps.fit(rig_map, context.object.data.bones.keys())
                rig_map_state.fill(context.object, fitted, fitted.name, {})
        except MapError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        return {"FINISHED"}


CLASSES = (
    WHAM_OT_guess_rig_map,
    WHAM_OT_add_rig_map_bone,
    WHAM_OT_save_rig_map,
    WHAM_OT_export_rig_map,
    WHAM_OT_import_rig_map,
)


def _write(operator: bpy.types.Operator, path: Path) -> set[str]:
    try:
        rig_map = rig_map_state.from_rows()
        maps.write(rig_map, path)
    except MapError as error:
        operator.report({"ERROR"}, str(error))
        return {"CANCELLED"}
    operator.report({"INFO"}, printable(f"The map {rig_map.name} was saved to {path}"))
    return {"FINISHED"}


def _file_name(name: str) -> str:
    """A file name from a map's name: letters and digits of any script, without path separators."""
    plain = re.sub(r"[^\w-]+", "_", name).strip("_").lower()
    plain = plain.encode(errors="ignore")[:_LONGEST_NAME].decode(errors="ignore")
    return f"{plain or 'rig_map'}.toml"
