"""Import of clips and motion files that are dropped onto the 3D Viewport."""

from pathlib import Path

import bpy
from bpy.props import CollectionProperty, StringProperty

from ..properties import VideoOptions, option_names
from ..ui.options import draw_options
from .background import error_message
from .import_motion import WHAM_OT_import_motion
from .import_video import WHAM_OT_import_video

CLIP_SUFFIXES = (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm")


class WHAM_OT_drop_clips(bpy.types.Operator):
    """Create keyframed characters from several clips, one after the other"""

    bl_idname = "wham.drop_clips"
    bl_label = "Import Video as Motion"

    directory: StringProperty(subtype="DIR_PATH", options={"SKIP_SAVE", "HIDDEN"})
    files: CollectionProperty(type=bpy.types.OperatorFileListElement, options={"SKIP_SAVE", "HIDDEN"})

    def clips(self) -> list[Path]:
        """The dropped files that are clips."""
        paths = [Path(bpy.path.abspath(self.directory), file.name) for file in self.files]
        return [path for path in paths if path.suffix.lower() in CLIP_SUFFIXES]

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Show the panel's options in a dialog."""
        return context.window_manager.invoke_props_dialog(self, width=360)

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the clips' names and the panel's options."""
        for path in self.clips():
            self.layout.label(text=path.name, icon="FILE_MOVIE")
        draw_options(self.layout, context.scene.wham)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Import each clip with the panel's options, in a window as background jobs."""
        clips = self.clips()
        if not clips:
            self.report({"ERROR"}, f"No clip was dropped. Choose files that end in {', '.join(CLIP_SUFFIXES)}.")
            return {"CANCELLED"}
        settings = context.scene.wham
        settings.filepath = str(clips[0])
        options = {name: getattr(settings, name) for name in option_names(VideoOptions)}
        execution = "INVOKE_DEFAULT" if self.options.is_invoke else "EXEC_DEFAULT"
        failed = 0
        for clip in clips:
            try:
                bpy.ops.wham.import_video(execution, filepath=str(clip), **options)
            except RuntimeError as error:  # the other clips must not miss their import
                self.report({"ERROR"}, error_message(error))
                failed += 1
        return {"FINISHED"} if failed < len(clips) else {"CANCELLED"}


class _ViewportHandler:
    """Base of file handlers that accept files over a 3D Viewport."""

    @classmethod
    def poll_drop(cls, context: bpy.types.Context) -> bool:
        """Whether the mouse is over a 3D Viewport."""
        return context.area is not None and context.area.type == "VIEW_3D"


class WHAM_FH_clips(_ViewportHandler, bpy.types.FileHandler):
    """Import dropped clips."""

    bl_idname = "WHAM_FH_clips"
    bl_label = WHAM_OT_import_video.bl_label
    bl_import_operator = WHAM_OT_drop_clips.bl_idname
    bl_file_extensions = ";".join(CLIP_SUFFIXES)


class WHAM_FH_motion(_ViewportHandler, bpy.types.FileHandler):
    """Import dropped motion files."""

    bl_idname = "WHAM_FH_motion"
    bl_label = WHAM_OT_import_motion.bl_label
    bl_import_operator = WHAM_OT_import_motion.bl_idname
    bl_file_extensions = ".npz"
