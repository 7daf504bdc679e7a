"""Import of clips and motion files that are dropped onto the 3D Viewport."""

from pathlib import Path

import bpy
from bpy.props import CollectionProperty, StringProperty

from ...clip_folder import CLIP_SUFFIXES
from ...errors import one_line
from ...image_sequence import PICTURE_SUFFIXES, may_name_sequence, series
from ..properties import VideoOptions, option_names
from ..translations import report
from ..ui.options import draw_options
from .background import error_message
from .import_motion import WHAM_OT_import_motion
from .import_video import WHAM_OT_import_video


class WHAM_OT_drop_clips(bpy.types.Operator):
    """Create keyframed characters from several clips, one after the other"""

    bl_idname = "wham.drop_clips"
    bl_label = "Import Video as Motion"

    directory: StringProperty(subtype="DIR_PATH", options={"SKIP_SAVE", "HIDDEN"})
    files: CollectionProperty(type=bpy.types.OperatorFileListElement, options={"SKIP_SAVE", "HIDDEN"})

    def clips(self) -> list[Path]:
        """The dropped files that are clips; of the pictures of one image sequence, one."""
        paths = [Path(bpy.path.abspath(self.directory), file.name) for file in self.files]
        clips = [path for path in paths if path.suffix.lower() in CLIP_SUFFIXES]
        pictures = {series(path.name): path for path in paths if path.suffix.lower() in PICTURE_SUFFIXES}
        return [*clips, *pictures.values()]

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Show the panel's options in a dialog."""
        return context.window_manager.invoke_props_dialog(self, width=360)

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the clips' names and the panel's options."""
        clips = self.clips()
        for path in clips:
            self.layout.label(text=one_line(path.name), icon="FILE_MOVIE")
        sequence = next((str(path) for path in clips if may_name_sequence(str(path))), "")
        draw_options(self.layout, context.scene.wham, sequence)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Import each clip with the panel's options, in a window as background jobs."""
        clips = self.clips()
        if not clips:
            suffixes = ", ".join((*CLIP_SUFFIXES, *PICTURE_SUFFIXES))
            report(self, {"ERROR"}, f"No clip was dropped. Choose files that end in {suffixes}.")
            return {"CANCELLED"}
        return import_clips(self, context, clips)


def import_clips(operator: bpy.types.Operator, context: bpy.types.Context, clips: list[Path]) -> set[str]:
    """Import each clip with the panel's options, in a window as background jobs; returns the operator's result."""
    settings = context.scene.wham
    settings.filepath = str(clips[0])
    options = {name: getattr(settings, name) for name in option_names(VideoOptions)}
    execution = "INVOKE_DEFAULT" if operator.options.is_invoke else "EXEC_DEFAULT"
    failed = 0
    for clip in clips:
        try:
            bpy.ops.wham.import_video(execution, filepath=str(clip), **options)
        except RuntimeError as error:  # the other clips must not miss their import
            report(operator, {"ERROR"}, error_message(error))
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


class WHAM_FH_pictures(_ViewportHandler, bpy.types.FileHandler):
    """Import dropped pictures of an image sequence: over the sidebar, as Blender itself takes those over the view."""

    bl_idname = "WHAM_FH_pictures"
    bl_label = WHAM_OT_import_video.bl_label
    bl_import_operator = WHAM_OT_drop_clips.bl_idname
    bl_file_extensions = ";".join(PICTURE_SUFFIXES)

    @classmethod
    def poll_drop(cls, context: bpy.types.Context) -> bool:
        """Whether the mouse is over the sidebar of a 3D Viewport."""
        return super().poll_drop(context) and context.region is not None and context.region.type == "UI"


class WHAM_FH_motion(_ViewportHandler, bpy.types.FileHandler):
    """Import dropped motion files."""

    bl_idname = "WHAM_FH_motion"
    bl_label = WHAM_OT_import_motion.bl_label
    bl_import_operator = WHAM_OT_import_motion.bl_idname
    bl_file_extensions = ".npz"
