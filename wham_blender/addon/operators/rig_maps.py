"""Rig maps in the panel: guess the active character's, correct it, save it, and give it to others as a file."""

import re
from pathlib import Path

import bpy
from bpy.props import EnumProperty, StringProperty
from bpy_extras.io_utils import ExportHelper, ImportHelper

from ..retarget import maps, rig_map_state
from ..retarget.maps import MapError


class WHAM_OT_guess_rig_map(bpy.types.Operator):
    """Find out which bones of the active armature are hips, knees and so on, and list them to be looked through."""

    bl_idname = "wham.guess_rig_map"
    bl_label = "Guess Rig Map"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Refuse without an armature."""
        if context.object is None or context.object.type != "ARMATURE":
            cls.poll_message_set("Select the armature of the character that shall get the motion")
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Fill the list."""
        for sentence in rig_map_state.user_maps()[1]:
            self.report({"WARNING"}, sentence)
        try:
            rig_map_state.look_at(context.object)
        except MapError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        record = rig_map_state.state()
        if record.source != rig_map_state.GUESSED:
            self.report({"INFO"}, f"{context.object.name} is a rig that is known: {record.source}")
        else:
            unsure = sum(rig_map_state.sureness(row) < 0.5 for row in record.bones if row.bone)
            said = f"{unsure} of them unsure: look at those first" if unsure else "look through them"
            named = sum(bool(row.bone) for row in record.bones)
            self.report({"INFO"}, f"{context.object.name}: {named} bones guessed, {said}")
        return {"FINISHED"}


class _WithMap:
    """Base of operators that need a map in the list."""

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Refuse without a map."""
        if not rig_map_state.state().bones or rig_map_state.state().armature is None:
            cls.poll_message_set("Guess the rig map of a character first")  # type: ignore[attr-defined]
            return False
        return True


class WHAM_OT_add_rig_map_bone(_WithMap, bpy.types.Operator):
    """Add a row for one more bone of the spine or the neck."""

    bl_idname = "wham.add_rig_map_bone"
    bl_label = "Add Bone"
    bl_options = {"INTERNAL"}

    chain: EnumProperty(
        name="Chain",
        description="Where the bone belongs",
        items=[("spine", "Spine", "After the last one"), ("neck", "Neck", "After the last one")],
    )

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Add the row."""
        rig_map_state.add_chain_row(self.chain)
        return {"FINISHED"}


class WHAM_OT_save_rig_map(_WithMap, bpy.types.Operator):
    """Keep the map, so that every character with these bones is known from now on."""

    bl_idname = "wham.save_rig_map"
    bl_label = "Save Map"

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Write it to the user's folder."""
        return _write(self, rig_map_state.user_folder() / _file_name(rig_map_state.state().name))


class WHAM_OT_export_rig_map(_WithMap, ExportHelper, bpy.types.Operator):
    """Write the map to a file, to give it to somebody else."""

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
    """Add a map that somebody else has made to the known ones."""

    bl_idname = "wham.import_rig_map"
    bl_label = "Import Map"

    filename_ext = ".toml"
    filter_glob: StringProperty(default="*.toml", options={"HIDDEN"})

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Check the file, keep it and show it where it fits the active armature."""
        if not self.filepath:
            self.report({"ERROR"}, "No rig map was named. Choose a map's .toml file.")
            return {"CANCELLED"}
        try:
            rig_map = maps.read(Path(bpy.path.abspath(self.filepath)))
            maps.write(rig_map, rig_map_state.user_folder() / _file_name(rig_map.name))
            self.report({"INFO"}, f"The map {rig_map.name} is known now")
            if context.object is not None and context.object.type == "ARMATURE":
                fitted = maps.fit(rig_map, context.object.data.bones.keys())
                rig_map_state.show(context.object, fitted, fitted.name, {})
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
    operator.report({"INFO"}, f"The map {rig_map.name} is in {path}")
    return {"FINISHED"}


def _file_name(name: str) -> str:
    """A map's name as a file's: letters and digits of any script, nothing that leaves the folder."""
    plain = re.sub(r"[^\w-]+", "_", name).strip("_").lower()
    return f"{plain or 'rig_map'}.toml"
