"""Operator Import Folder: queues a job for each clip in a folder."""

from pathlib import Path

import bpy
from bpy.props import BoolProperty, StringProperty

from ...clip_folder import ClipFolderError, clips_in
from ..translations import report
from ..ui.options import draw_options
from .drop_clips import import_clips


class WHAM_OT_import_folder(bpy.types.Operator):
    """Create keyframed characters from all videos and image sequences in a folder, one after the other"""

    bl_idname = "wham.import_folder"
    bl_label = "Import Folder"

    directory: StringProperty(name="Folder", subtype="DIR_PATH", options={"SKIP_SAVE"})
    filter_folder: BoolProperty(default=True, options={"HIDDEN"})

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Ask for the folder, unless one is named already."""
        if self.directory:
            return self.execute(context)
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the panel's options beside the file browser."""
        draw_options(self.layout, context.scene.wham, "")

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Import each clip with the panel's options, in a window as background jobs."""
        try:
            clips = clips_in(Path(bpy.path.abspath(self.directory)))
        except ClipFolderError as problem:
            report(self, {"ERROR"}, str(problem))
            return {"CANCELLED"}
        return import_clips(self, context, clips)
