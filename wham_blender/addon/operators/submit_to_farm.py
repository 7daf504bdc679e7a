"""Operator Submit to Farm: has a render farm estimate a clip's motion; the result comes back into Jobs."""

from pathlib import Path

import bpy
from bpy.props import StringProperty

from ... import protocol
from ..jobs.farm import prepare_on_farm
from ..properties import VideoOptions, option_names
from ..settings import farm
from ..translations import report
from ..worker.process import JobError
from .background import queued


class WHAM_OT_submit_to_farm(VideoOptions, bpy.types.Operator):
    """Have the render farm of the preferences estimate the motion. Jobs has the result when the farm is done"""

    bl_idname = "wham.submit_to_farm"
    bl_label = "Submit to Farm"

    filepath: StringProperty(name="Clip", subtype="FILE_PATH", options={"SKIP_SAVE"})

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Submit it without blocking the window."""
        return self.execute(context)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Queue the submission; without a window or from a script, wait until the farm has the job."""
        options = {name: getattr(self, name) for name in option_names(VideoOptions)}
        try:
            work = prepare_on_farm(Path(bpy.path.abspath(self.filepath)), options, farm())
        except JobError as problem:
            report(self, {"ERROR"}, str(problem))
            return {"CANCELLED"}
        if queued(self, work):
            return {"FINISHED"}
        if isinstance(work.result, protocol.Failed):
            report(self, {"ERROR"}, work.record.error)
            return {"CANCELLED"}
        return {"FINISHED"}
