"""Operator Import Motion: reads a motion file and builds its characters, actions, camera and clip in the scene."""

import traceback
from functools import partial
from pathlib import Path

import bpy
from bpy.props import StringProperty

from ...errors import CodedError, reason
from ..build_scene import build
from ..properties import PlacementOptions, placement_settings
from ..retarget.bake_all import target_rigs
from ..scene.reading import Reading
from ..settings import library
from ..translations import report
from ..ui.options import SECTIONS, draw_names
from .reading import ReadingOperator
from .view_clip import frame_characters


class WHAM_OT_import_motion(ReadingOperator, PlacementOptions, bpy.types.Operator):
    """Create keyframed characters from a motion file (.npz)"""

    bl_idname = "wham.import_motion"
    bl_label = "Import Motion"
    bl_options = {"REGISTER", "UNDO"}

    filepath: StringProperty(name="Motion", subtype="FILE_PATH", options={"SKIP_SAVE"})
    clip: StringProperty(
        name="Clip",
        description="Video to show behind the camera. If empty, the one in the motion file's folder is used",
        subtype="FILE_PATH",
        options={"SKIP_SAVE"},
    )
    filter_glob: StringProperty(default="*.npz", options={"HIDDEN"})

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Ask for the file, unless one was dropped."""
        if self.filepath:
            return self.execute(context)
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Read the file and build what it holds."""
        if not self.filepath:
            report(self, {"ERROR"}, "No motion file was named. Choose an .npz written by Import Video as Motion.")
            return {"CANCELLED"}
        clip = Path(bpy.path.abspath(self.clip)) if self.clip else None
        path = Path(bpy.path.abspath(self.filepath))
        try:
            settings = placement_settings(self)
            if settings.to_rigs:
                target_rigs(context, settings.rigs)
        except CodedError as error:
            report(self, {"ERROR"}, str(error))
            return {"CANCELLED"}
        reading = Reading(path, library())

        def build_read(context: bpy.types.Context) -> set[str]:
            try:
                build(context, reading.result(), clip, settings, partial(report, self))
            except CodedError as error:
                report(self, {"ERROR"}, str(error))
                return {"CANCELLED"}
            except Exception as error:  # a bug
                traceback.print_exc()
                report(
                    self,
                    {"ERROR"},
                    f"{path.name} could not be imported, and the scene is as it was: {reason(error)}. The console says "
                    "where it happened.",
                )
                return {"CANCELLED"}
            frame_characters(context)
            return {"FINISHED"}

        return self.when_read(context, reading, build_read)

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the options."""
        self.layout.use_property_split = True
        draw_names(self.layout, self, ("clip", *SECTIONS["Character"], *SECTIONS["Hands"], *SECTIONS["Scene"]))
