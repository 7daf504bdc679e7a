"""Operator Import Motion: reads a motion file and builds its characters, actions, camera and clip in the scene."""

from pathlib import Path

import bpy
from bpy.props import StringProperty

from ...motion import MotionFileError
from ..build_scene import import_file
from ..properties import PlacementOptions, placement_settings
from ..retarget.bake import BakeError
from ..retarget.bake_all import target_rigs
from ..retarget.maps import MapError
from ..ui.options import SECTIONS, draw_names


class WHAM_OT_import_motion(PlacementOptions, bpy.types.Operator):
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
            self.report({"ERROR"}, "No motion file was named. Choose an .npz written by Import Video as Motion.")
            return {"CANCELLED"}
        clip = Path(bpy.path.abspath(self.clip)) if self.clip else None
        settings = placement_settings(self)
        try:
            if settings.to_rigs:
                target_rigs(context, settings.rigs)
            import_file(context, Path(bpy.path.abspath(self.filepath)), clip, settings, self.report)
        except (BakeError, MapError, MotionFileError) as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        return {"FINISHED"}

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the options."""
        self.layout.use_property_split = True
        draw_names(self.layout, self, ("clip", *SECTIONS["Character"], *SECTIONS["Scene"]))
