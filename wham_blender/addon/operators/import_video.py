"""Operator Import Video as Motion: queues a job in which the worker estimates a clip's motion, and imports it."""

from contextlib import suppress
from pathlib import Path

import bpy
from bpy.props import StringProperty

from ...clip_folder import CLIP_SUFFIXES
from ...image_sequence import PICTURE_SUFFIXES
from ..jobs.import_job import prepare, prepare_worker
from ..jobs.job_record import Status
from ..properties import VideoOptions, copy_options, option_names, placement_settings
from ..retarget.bake_all import target_rigs
from ..retarget.bake_options import BakeError
from ..retarget.maps import MapError
from ..settings import worker_python
from ..translations import report
from ..ui.options import draw_options
from ..worker.process import JobError
from ..worker.python_environment import WorkerError
from .background import error_message, queued


class WHAM_OT_import_video(VideoOptions, bpy.types.Operator):
    """Create a keyframed character that moves like the person in a video"""

    bl_idname = "wham.import_video"
    bl_label = "Import Video as Motion"
    # Neither REGISTER, since the redo panel would run the worker again at every change, nor UNDO: from a window it only
    # queues a job, and what changes the scene in the end is WHAM_OT_import_job.

    filepath: StringProperty(name="Clip", subtype="FILE_PATH", options={"SKIP_SAVE"})
    filter_glob: StringProperty(
        default=";".join(f"*{suffix}" for suffix in (*CLIP_SUFFIXES, *PICTURE_SUFFIXES)), options={"HIDDEN"}
    )

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Ask for the clip, unless one is named already."""
        if self.filepath:
            return self.execute(context)
        copy_options(context.scene.wham, self, VideoOptions)  # the panel's, not those of the last call
        with suppress(WorkerError):
            prepare_worker(worker_python())  # while the animator looks for the clip
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the panel's options beside the file browser."""
        draw_options(self.layout, self, self.filepath)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Queue the job; without a window or from a script, wait until the character is imported."""
        options = {name: getattr(self, name) for name in option_names(VideoOptions)}
        try:
            settings = placement_settings(self)
            rigs = target_rigs(context, settings.rigs) if settings.to_rigs else []
            options["rig"] = "\n".join(rig.name for rig in rigs)
            work = prepare(Path(bpy.path.abspath(self.filepath)), options)
        except (BakeError, JobError, MapError, WorkerError) as problem:
            context.scene.wham.filepath = self.filepath  # to be found in the panel when the worker is installed
            copy_options(self, context.scene.wham, VideoOptions)
            report(self, {"ERROR"}, str(problem))
            return {"CANCELLED"}
        if queued(self, work):
            return {"FINISHED"}
        sentence = work.record.error
        if work.record.status is Status.DONE:
            try:
                return bpy.ops.wham.import_job("EXEC_DEFAULT", True, job=work.name)
            except RuntimeError as error:
                sentence = error_message(error)
        report(self, {"ERROR"}, sentence)
        return {"CANCELLED"}
