"""Operator Export Motion: writes a character with its motion for game engines and other programs."""

from __future__ import annotations

from pathlib import Path

import bpy
from bpy.props import BoolProperty, EnumProperty, StringProperty
from bpy_extras.io_utils import ExportHelper

from ...errors import CodedError, printable
from ..export import export
from ..export.export import PRESETS
from ..translations import report, translate


class WHAM_OT_export_motion(ExportHelper, bpy.types.Operator):
    """Write the active character's motion, skeleton and meshes to a file for a game engine or another program"""

    bl_idname = "wham.export_motion"
    bl_label = "Export Motion"
    bl_options = {"PRESET"}

    filter_glob: StringProperty(default="*.fbx;*.glb;*.bvh;*.usdc", options={"HIDDEN"})
    target: EnumProperty(
        name="Target",
        description="Program that will read the file. It determines the file's format, units and axes",
        items=[(key, preset.label, preset.description) for key, preset in PRESETS.items()],
    )
    root_motion: EnumProperty(
        name="Root Motion",
        description="Bone that gets the movement over the floor in the file",
        items=[
            ("HIPS", "Hips", "Write the movement on the hips; a root bone stays at the origin"),
            ("ROOT", "Root Bone", "Write location and heading on a root bone, which is added if there is none"),
        ],
    )
    meshes: BoolProperty(
        name="Meshes",
        description="Include the meshes that the armature deforms or carries, hidden ones too",
        default=True,
    )

    @property
    def filename_ext(self) -> str:
        """The target's file extension, which the file browser keeps."""
        return PRESETS[self.target].suffix

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Require an active armature with animation."""
        rig = _active_armature(context)
        reason = None
        if rig is None:
            reason = "Select the armature of the character to export"
        elif context.mode not in ("OBJECT", "POSE"):
            reason = "Go to Object Mode or Pose Mode first"
        elif rig.animation_data is None:
            reason = f"{rig.name} has no animation. Bake a motion onto it first"
        if reason:
            cls.poll_message_set(translate(reason))
        return reason is None

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the options beside the file browser."""
        self.layout.use_property_split = True
        for name in ("target", "root_motion") + (("meshes",) if PRESETS[self.target].meshes else ()):
            self.layout.prop(self, name)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Write the file."""
        preset, rig = PRESETS[self.target], _active_armature(context)
        if rig is None:  # for mypy: poll() requires one
            return {"CANCELLED"}
        if not self.filepath:
            report(self, {"ERROR"}, "No file was named. Choose where to write the motion.")
            return {"CANCELLED"}
        path = Path(bpy.path.ensure_ext(bpy.path.abspath(self.filepath), preset.suffix))
        try:
            result = export.export(context, rig, path, preset, self.root_motion == "ROOT", self.meshes)
        except CodedError as error:
            report(self, {"ERROR"}, str(error))
            return {"CANCELLED"}
        scale = rig.matrix_world.to_scale()
        if max(scale) > 1.001 * min(scale):
            report(
                self,
                {"WARNING"},
                f"{rig.name} is scaled unevenly, so that its bones change their lengths as they rotate, which "
                "not every program supports. Apply its scale, bake and export again.",
            )
        if result.left_out:
            keys = ", ".join(f"{key} of {mesh}" for mesh, key in result.left_out)
            report(
                self,
                {"WARNING"},
                f"Shape keys were left out: {keys}. With them, a modifier such as Decimate or Mirror makes other "
                "faces. Apply that modifier, or remove it.",
            )
        if result.bendy:
            report(
                self,
                {"WARNING"},
                f"Bendy Bones ({result.bendy} of {rig.name}) are straight in files, and their meshes bend at the "
                "joints alone. Set Segments of these bones to 1 to see that in Blender.",
            )
        report(
            self,
            {"INFO"},
            f"{printable(path.name)}: frames {result.frames[0]} to {result.frames[1]} at {result.rate:g} fps, "
            f"{result.bones} bones, {result.meshes} meshes",
        )
        return {"FINISHED"}


def _active_armature(context: bpy.types.Context) -> bpy.types.Object | None:
    """The active armature, or the one that deforms the active mesh."""
    active = context.active_object
    if active is not None and active.type == "MESH":
        active = active.find_armature()
    return active if active is not None and active.type == "ARMATURE" else None
