"""Export Motion: a character with its motion for game engines and other programs."""

from __future__ import annotations

from pathlib import Path

import bpy
from bpy.props import BoolProperty, EnumProperty, StringProperty
from bpy_extras.io_utils import ExportHelper

from ..export import export
from ..export.export import PRESETS, ExportError
from ..retarget.maps import MapError


class WHAM_OT_export_motion(ExportHelper, bpy.types.Operator):
    """Write the active character's motion, skeleton and meshes as another program wants them."""

    bl_idname = "wham.export_motion"
    bl_label = "Export Motion"
    bl_options = {"PRESET"}

    filter_glob: StringProperty(default="*.fbx;*.glb;*.bvh;*.usdc", options={"HIDDEN"})
    target: EnumProperty(
        name="For",
        description="Who reads the file: what its format, units and axes are",
        items=[(key, one.label, one.description) for key, one in PRESETS.items()],
    )
    root_motion: EnumProperty(
        name="Root Motion",
        description="Which bone carries the character over the ground in the file",
        items=[
            ("HIPS", "Hips", "The hips move; a root bone stays at the origin"),
            ("ROOT", "Root Bone", "A bone on the floor goes and turns with the character; it is made where none is"),
        ],
    )
    meshes: BoolProperty(name="Meshes", description="Write the meshes that the skeleton deforms too", default=True)

    @property
    def filename_ext(self) -> str:
        """The target's ending, which the file browser keeps."""
        return PRESETS[self.target].suffix

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Refuse without an armature that moves, and say so."""
        rig = _rig(context)
        reason = None
        if rig is None:
            reason = "Select the armature of the character whose motion you want"
        elif context.mode not in ("OBJECT", "POSE"):
            reason = "Go to Object Mode or Pose Mode first"
        elif rig.animation_data is None:
            reason = f"{rig.name} has no animation. Bake a motion onto it first"
        if reason:
            cls.poll_message_set(reason)
        return reason is None

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the options beside the file browser."""
        self.layout.use_property_split = True
        for name in ("target", "root_motion") + (("meshes",) if PRESETS[self.target].meshes else ()):
            self.layout.prop(self, name)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Write the file."""
        preset, rig = PRESETS[self.target], _rig(context)
        if rig is None:  # poll() has it
            return {"CANCELLED"}
        path = Path(bpy.path.ensure_ext(bpy.path.abspath(self.filepath), preset.suffix))
        try:
            done = export.export(context, rig, path, preset, self.root_motion == "ROOT", self.meshes)
        except (ExportError, MapError) as problem:
            self.report({"ERROR"}, str(problem))
            return {"CANCELLED"}
        scale = rig.matrix_world.to_scale()
        if max(scale) > 1.001 * min(scale):
            self.report(
                {"WARNING"},
                f"{rig.name} is scaled unevenly, so that its bones change their lengths as they turn, which "
                "not every program takes. Apply its scale, bake and export again.",
            )
        self.report(
            {"INFO"},
            f"{path.name}: frames {done.frames[0]} to {done.frames[1]} at {done.rate:g} fps, {done.bones} bones, "
            f"{done.meshes} meshes",
        )
        return {"FINISHED"}


def _rig(context: bpy.types.Context) -> bpy.types.Object | None:
    """The active armature, or the one that deforms the active mesh."""
    thing = context.active_object
    if thing is not None and thing.type == "MESH":
        thing = thing.find_armature()
    return thing if thing is not None and thing.type == "ARMATURE" else None
