"""Operators on rig maps: guess the map of the active armature, save it, export and import it as a file."""

import re
from pathlib import Path

import bpy
from bpy.props import EnumProperty, IntProperty, StringProperty
from bpy_extras.io_utils import ExportHelper, ImportHelper

from ...errors import CodedError, printable
from ..properties import bake_settings
from ..retarget import maps, rig_map_state, rig_preview
from ..retarget.maps import MapError
from ..translations import report, translate

_LONGEST_NAME = 200  # bytes of a file's name; file systems allow 255, of which a temporary file needs some


class WHAM_OT_guess_rig_map(bpy.types.Operator):
    """Guess from names and proportions which bones of the active armature are which joints, and list them for review"""

    bl_idname = "wham.guess_rig_map"
    bl_label = "Guess Rig Map"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Require an active armature."""
        if context.object is None or context.object.type != "ARMATURE":
            cls.poll_message_set(translate("Select the armature to bake the motion onto"))
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Fill the list with the known or guessed map."""
        for sentence in rig_map_state.user_maps()[1]:
            report(self, {"WARNING"}, sentence)
        try:
            rig_map_state.load_or_guess(context.object)
        except MapError as error:
            report(self, {"ERROR"}, str(error))
            return {"CANCELLED"}
        record = rig_map_state.state()
        if record.source != rig_map_state.GUESSED:
            report(self, {"INFO"}, f"{context.object.name} has a known rig map: {record.source}")
        else:
            uncertain = sum(rig_map_state.row_confidence(row) < 0.5 for row in record.bones if row.bone)
            review = f"{uncertain} with low confidence: check those first" if uncertain else "check them in the list"
            guessed = sum(bool(row.bone) for row in record.bones)
            report(self, {"INFO"}, f"{context.object.name}: {guessed} bones guessed, {review}")
        return {"FINISHED"}


class _MapOperator:
    """Base of operators that need a map in the list."""

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Require a map in the list."""
        if not rig_map_state.state().bones or rig_map_state.state().armature is None:
            cls.poll_message_set(translate("Guess the rig map of a character first"))  # type: ignore[attr-defined]
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


class _RowOperator(_MapOperator):
    """Base of operators on one row."""

    joint: StringProperty(
        name="Joint",
        description='The joint of the row as in a map\'s file: "left_knee", "spine", "neck" or "root"; empty for all',
        options={"SKIP_SAVE"},
    )
    number: IntProperty(
        name="Number", description="Which bone of spine or neck, from below", default=1, min=1, options={"SKIP_SAVE"}
    )


class WHAM_OT_set_rig_map_bone(_RowOperator, bpy.types.Operator):
    """Name the bone in this row that is active in Pose Mode"""

    bl_idname = "wham.set_rig_map_bone"
    bl_label = "Use Selected"

    bone: StringProperty(name="Bone", description="The bone; the active one if empty", options={"SKIP_SAVE"})

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Put the bone into the row, and take it out of another one that has it."""
        try:
            bone = self.bone or rig_map_state.selected_bone()
            before = rig_map_state.put(rig_map_state.find_row(self.joint, self.number), bone)
        except MapError as error:
            report(self, {"ERROR"}, str(error))
            return {"CANCELLED"}
        joint, other = rig_map_state.joint_label(self.joint), before and rig_map_state.joint_label(before)
        moved = f"{bone} is named for {joint}, and no longer for {other}"
        report(self, {"INFO"}, moved if before else f"{bone} is named for {joint}")
        return {"FINISHED"}


_offered: list[tuple[str, str, str]] = []  # Blender does not keep the texts of a menu itself


def _bones(_operator: bpy.types.Operator, _context: bpy.types.Context | None) -> list[tuple[str, str, str]]:
    rig = rig_map_state.state().armature
    _offered[:] = [(name, name, "") for name in sorted(rig.data.bones.keys())] if rig is not None else []
    return _offered


class WHAM_OT_choose_rig_map_bone(_RowOperator, bpy.types.Operator):
    """Choose the bone of this row by its name"""

    bl_idname = "wham.choose_rig_map_bone"
    bl_label = "Choose Bone"
    bl_options = {"INTERNAL"}
    bl_property = "choice"

    choice: EnumProperty(name="Bone", description="The bones of the rig", items=_bones)

    @classmethod
    def description(cls, context: bpy.types.Context, properties: bpy.types.OperatorProperties) -> str:
        """The whole name, for which a row has no place."""
        try:
            bone = rig_map_state.find_row(properties.joint, properties.number).bone
        except MapError:
            bone = ""
        named = f"{bone}. Click to choose another bone by its name"
        return translate(named if bone else "Choose the bone of this row by its name")

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Ask for the bone."""
        context.window_manager.invoke_search_popup(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Put the bone into the row."""
        try:
            rig_map_state.put(rig_map_state.find_row(self.joint, self.number), self.choice)
        except MapError as error:
            report(self, {"ERROR"}, str(error))
            return {"CANCELLED"}
        if context.area is not None:
            context.area.tag_redraw()
        return {"FINISHED"}


class WHAM_OT_mirror_rig_map_bone(_RowOperator, bpy.types.Operator):
    """Name the mirror image of this row's bone in the row of the other side"""

    bl_idname = "wham.mirror_rig_map_bone"
    bl_label = "Mirror"

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Find the counterparts of one bone, or of all on the left, and put them into their rows."""
        record = rig_map_state.state()
        try:
            rows = [rig_map_state.find_row(self.joint, self.number)] if self.joint else list(record.bones)
            rows = [row for row in rows if row.bone and rig_map_state.other_side(row.joint)]
            if not self.joint:
                rows = [row for row in rows if row.joint.startswith("left")]
            found = rig_map_state.counterparts(record.armature, [row.bone for row in rows])
            pairs = [(row.joint, row.bone, other) for row, other in zip(rows, found, strict=True)]
            for joint, _bone, other in pairs:
                if other:
                    rig_map_state.put(rig_map_state.find_row(rig_map_state.other_side(joint)), other)
        except MapError as error:
            report(self, {"ERROR"}, str(error))
            return {"CANCELLED"}
        if alone := [bone for _joint, bone, other in pairs if not other]:
            report(self, {"WARNING"}, f"No mirror image was found of {', '.join(alone)}. Choose those bones by hand.")
        if len(alone) == len(pairs):
            if not pairs:
                report(self, {"ERROR"}, "There is nothing to mirror: name bones of one side first.")
            return {"CANCELLED"}
        return {"FINISHED"}


class WHAM_OT_clear_rig_map_bone(_RowOperator, bpy.types.Operator):
    """Name no bone in this row"""

    bl_idname = "wham.clear_rig_map_bone"
    bl_label = "Clear"

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Empty one row, or all."""
        try:
            rows = [rig_map_state.find_row(self.joint, self.number)] if self.joint else rig_map_state.state().bones
            for row in rows:
                row.bone = ""
        except MapError as error:
            report(self, {"ERROR"}, str(error))
            return {"CANCELLED"}
        return {"FINISHED"}


class WHAM_OT_preview_rig_map(_MapOperator, bpy.types.Operator):
    """Show the rig in the pose that this map gives it at the present frame, without keys; click again to leave"""

    bl_idname = "wham.preview_rig_map"
    bl_label = "Preview"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Require a map, a motion and a mode in which poses show."""
        if not super().poll(context):
            return False
        reason = ""
        if rig_preview.source(context) is None:
            reason = "Import a motion first"
        elif context.mode not in ("OBJECT", "POSE"):
            reason = "Go to Object Mode or Pose Mode first"
        if reason:
            cls.poll_message_set(translate(reason))
        return not reason

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Show the pose until Escape is pressed, or leave it."""
        result = self.execute(context)
        if result != {"FINISHED"} or rig_preview.rig() is None:
            return result
        context.window_manager.modal_handler_add(self)
        return {"RUNNING_MODAL"}

    def modal(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Let all events through but Escape, which leaves the preview."""
        if rig_preview.rig() is None:
            return {"FINISHED", "PASS_THROUGH"}
        if event.type == "ESC" and event.value == "PRESS":
            rig_preview.leave()
            return {"CANCELLED"}
        return {"PASS_THROUGH"}

    def cancel(self, context: bpy.types.Context) -> None:
        """Leave the preview when its window closes."""
        rig_preview.leave()

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Show the pose, or leave it."""
        if rig_preview.rig() is not None:
            rig_preview.leave()
            return {"FINISHED"}
        try:
            rig_preview.enter(bake_settings(context.scene.wham))
        except CodedError as error:
            report(self, {"ERROR"}, str(error))
            return {"CANCELLED"}
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
            report(self, {"ERROR"}, "No rig map was named. Choose a map's .toml file.")
            return {"CANCELLED"}
        try:
            rig_map = maps.read(Path(bpy.path.abspath(self.filepath)))
            maps.write(rig_map, rig_map_state.user_folder() / _file_name(rig_map.name))
            report(self, {"INFO"}, f"The map {rig_map.name} was imported")
            if context.object is not None and context.object.type == "ARMATURE":
                fitted = maps.fit(rig_map, context.object.data.bones.keys())
                rig_map_state.fill(context.object, fitted, fitted.name, {})
        except MapError as error:
            report(self, {"ERROR"}, str(error))
            return {"CANCELLED"}
        return {"FINISHED"}


CLASSES = (
    WHAM_OT_guess_rig_map,
    WHAM_OT_add_rig_map_bone,
    WHAM_OT_set_rig_map_bone,
    WHAM_OT_choose_rig_map_bone,
    WHAM_OT_mirror_rig_map_bone,
    WHAM_OT_clear_rig_map_bone,
    WHAM_OT_preview_rig_map,
    WHAM_OT_save_rig_map,
    WHAM_OT_export_rig_map,
    WHAM_OT_import_rig_map,
)


def _write(operator: bpy.types.Operator, path: Path) -> set[str]:
    try:
        rig_map = rig_map_state.from_rows()
        maps.write(rig_map, path)
    except MapError as error:
        report(operator, {"ERROR"}, str(error))
        return {"CANCELLED"}
    report(operator, {"INFO"}, printable(f"The map {rig_map.name} was saved to {path}"))
    return {"FINISHED"}


def _file_name(name: str) -> str:
    """A file name from a map's name: letters and digits of any script, without path separators."""
    plain = re.sub(r"[^\w-]+", "_", name).strip("_").lower()
    plain = plain.encode(errors="ignore")[:_LONGEST_NAME].decode(errors="ignore")
    return f"{plain or 'rig_map'}.toml"
