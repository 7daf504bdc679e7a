"""Import Video as Motion: a clip through the worker, and its motion into the scene."""

from pathlib import Path

import bpy
from bpy.props import StringProperty

from ..jobs.import_job import prepare
from ..jobs.job_record import Status
from ..jobs.queue import runner
from ..properties import VideoOptions, copy_options, option_names
from ..retarget.bake import BakeError
from ..retarget.bake_all import asked_rigs
from ..retarget.maps import MapError
from ..ui.options import draw_options
from ..worker.process import JobError
from ..worker.python_environment import RuntimeProblem
from .background import from_window, sentence_of


class WHAM_OT_import_video(VideoOptions, bpy.types.Operator):
    """Make a keyframed character that moves like the person in a video."""

    bl_idname = "wham.import_video"
    bl_label = "Import Video as Motion"
    # Neither REGISTER, since the redo panel would run the worker again at every change, nor UNDO: from a window it only
    # queues a job, and what changes the scene in the end is WHAM_OT_import_job.

    filepath: StringProperty(name="Clip", subtype="FILE_PATH", options={"SKIP_SAVE"})
    filter_glob: StringProperty(default="*.mp4;*.mov;*.m4v;*.avi;*.mkv;*.webm", options={"HIDDEN"})

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Ask for the clip where none is named yet."""
        if self.filepath:
            return self.execute(context)
        copy_options(context.scene.wham, self, VideoOptions)  # not what was asked of another clip last
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def draw(self, context: bpy.types.Context) -> None:
        """Show the options beside the file browser as the panel shows them."""
        draw_options(self.layout, self)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Queue the job; where there is no window or a script called, wait until the character is there."""
        options = {name: getattr(self, name) for name in option_names(VideoOptions)}
        try:
            options["rig"] = "\n".join(rig.name for rig in asked_rigs(self, context))
            work = prepare(Path(bpy.path.abspath(self.filepath)), options)
        except (BakeError, JobError, MapError, RuntimeProblem) as problem:
            self.report({"ERROR"}, str(problem))
            return {"CANCELLED"}
        if from_window(self):
            runner.add(work)
            return {"FINISHED"}
        runner.run_to_end(work)
        for warning in work.record.warnings:
            self.report({"WARNING"}, warning)
        sentence = work.record.error
        if work.record.status is Status.DONE:
            try:
                return bpy.ops.wham.import_job("EXEC_DEFAULT", True, job=work.name)
            except RuntimeError as error:
                sentence = sentence_of(error)
        self.report({"ERROR"}, sentence)
        return {"CANCELLED"}
