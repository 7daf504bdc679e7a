"""What can be done with a job that ended or was interrupted: import, resume, another person, report, discard."""

import contextlib
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bpy
import gpu
from bpy.props import StringProperty

from ...motion import MotionFileError
from ..build_scene import import_file
from ..jobs import error_report, job_record
from ..jobs.import_job import is_active, jobs, keep
from ..jobs.job_record import ENDED, JobRecord, Status
from ..properties import PlacementOptions, VideoOptions, option_names
from ..settings import jobs_folder, worker_python
from ..worker.process import BoundedLog
from ..worker.python_environment import RuntimeProblem
from .background import copy, from_window, sentence_of


class _JobVerb:
    """Base of operators on one job, named by its folder."""

    report: Callable[[set[str], str], None]  # Blender's, like the next
    options: bpy.types.OperatorOptions

    job: StringProperty(name="Job", description="Name of the job's folder", options={"SKIP_SAVE"})

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Do it, where the job is there."""
        record = jobs.find(self.job)
        if record is None:
            self.report({"ERROR"}, f"There is no job {self.job!r} in {jobs_folder()}: it was discarded or moved.")
            return {"CANCELLED"}
        return self.do(context, record)

    def do(self, context: bpy.types.Context, record: JobRecord) -> set[str]:
        """Do it."""
        raise NotImplementedError

    def _refuse(self, sentence: str) -> set[str]:
        self.report({"ERROR"}, sentence)
        return {"CANCELLED"}


class WHAM_OT_import_job(_JobVerb, PlacementOptions, bpy.types.Operator):
    """Bring what a finished job made into the scene, where it was asked for unless said otherwise."""

    bl_idname = "wham.import_job"
    bl_label = "Import"
    bl_options = {"UNDO"}

    def do(self, context: bpy.types.Context, record: JobRecord) -> set[str]:
        """Build the characters; what fails is kept with the job too."""
        for name in option_names(PlacementOptions):
            if name in record.options and not self.properties.is_property_set(name):
                setattr(self, name, record.options[name])
        path = record.result
        if path is None and record.status in {Status.DONE, Status.IMPORTED}:
            return self._failed(record, f"The motion of {Path(record.clip).name} was deleted. Run the job again.")
        if path is None:
            return self._refuse(f"{Path(record.clip).name} has no motion yet. Wait for it, or run the job again.")
        try:
            unbaked = import_file(self, context, path, Path(record.clip))
        except MotionFileError as problem:
            return self._failed(record, str(problem))
        except Exception as error:  # a fault of ours: the sentence for the panel, the traceback for the log
            BoundedLog(record.log).write(traceback.format_exc().encode())
            reason = next(iter(str(error).splitlines()), "") or type(error).__name__
            return self._failed(record, f"The result could not be used: {reason}. The log says where it happened.")
        if unbaked:
            record.warnings.append(unbaked)
        record.status, record.error = Status.IMPORTED, ""
        keep(record)
        return {"FINISHED"}

    def _failed(self, record: JobRecord, sentence: str) -> set[str]:
        record.status, record.error = Status.FAILED, sentence
        record.results.pop(record.person, None)
        keep(record)
        return self._refuse(sentence)


class WHAM_OT_resume_job(_JobVerb, bpy.types.Operator):
    """Run a job again; what it had finished is kept."""

    bl_idname = "wham.resume_job"
    bl_label = "Resume"

    def do(self, context: bpy.types.Context, record: JobRecord) -> set[str]:
        """Import the clip again with the same options."""
        return _again(self, record, {})


class WHAM_OT_import_person(_JobVerb, bpy.types.Operator):
    """Import this person of the clip; only what depends on the person is made anew."""

    bl_idname = "wham.import_person"
    bl_label = "Import Person"

    person: StringProperty(name="Person", description="ALL, or the person's number", options={"SKIP_SAVE"})

    def do(self, context: bpy.types.Context, record: JobRecord) -> set[str]:
        """Import the motion if it is there, else have it made."""
        if is_active(record):
            return self._refuse(f"{Path(record.clip).name} is being imported. Choose when it is done.")
        if self.person not in record.results or not record.result_of(self.person).is_file():
            return _again(self, record, {"person": self.person})
        record.options["person"] = self.person
        jobs.put(record)
        try:
            return bpy.ops.wham.import_job("EXEC_DEFAULT", True, job=record.name)
        except RuntimeError as error:
            return self._refuse(sentence_of(error))


def _again(operator: bpy.types.Operator, record: JobRecord, changes: dict[str, Any]) -> set[str]:
    """Import a job's clip once more, in the background or waiting as the operator was called."""
    options = {name: value for name, value in record.options.items() if name in option_names(VideoOptions)}
    call = "INVOKE_DEFAULT" if from_window(operator) else "EXEC_DEFAULT"
    try:
        return bpy.ops.wham.import_video(call, True, filepath=record.clip, **(options | changes))
    except RuntimeError as error:
        operator.report({"ERROR"}, sentence_of(error))
        return {"CANCELLED"}


class WHAM_OT_discard_job(_JobVerb, bpy.types.Operator):
    """Delete a job with all that it made; what is in a scene already stays."""

    bl_idname = "wham.discard_job"
    bl_label = "Discard Job"

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Ask first."""
        return context.window_manager.invoke_confirm(self, event)

    def do(self, context: bpy.types.Context, record: JobRecord) -> set[str]:
        """Delete its folder, unless somebody works in it."""
        if job_record.is_held(record.folder):
            return self._refuse(f"{Path(record.clip).name} is being imported. Cancel it first.")
        try:
            if record.folder.exists():
                job_record.discard(record.folder)
        except OSError as error:
            return self._refuse(f"{record.folder} cannot be deleted: {error.strerror}. Close what uses it.")
        jobs.forget(record)
        jobs.refresh()
        return {"FINISHED"}


class WHAM_OT_clean_jobs(bpy.types.Operator):
    """Delete the jobs that are imported, failed or cancelled; what is in a scene already stays."""

    bl_idname = "wham.clean_jobs"
    bl_label = "Discard Ended Jobs"

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Ask first."""
        return context.window_manager.invoke_confirm(self, event)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Delete their folders."""
        for record in job_record.scan(jobs_folder()):
            if record.status in ENDED and not job_record.is_held(record.folder):
                try:
                    job_record.discard(record.folder)
                    jobs.forget(record)
                except OSError as error:
                    self.report({"WARNING"}, f"{record.folder} cannot be deleted: {error.strerror}.")
        jobs.refresh()
        return {"FINISHED"}


class WHAM_OT_refresh_jobs(bpy.types.Operator):
    """Look again which jobs there are."""

    bl_idname = "wham.refresh_jobs"
    bl_label = "Refresh Jobs"

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Look in a thread."""
        jobs.refresh()
        return {"FINISHED"}


class WHAM_OT_copy_report(_JobVerb, bpy.types.Operator):
    """Copy what a developer needs to know of this job, without names of people and folders."""

    bl_idname = "wham.copy_report"
    bl_label = "Copy Report"

    def do(self, context: bpy.types.Context, record: JobRecord) -> set[str]:
        """Put the report on the clipboard."""
        python = None
        with contextlib.suppress(RuntimeProblem):
            python = worker_python()
        copy(self, error_report.of_job(record, _blender(), python), "The report is")
        return {"FINISHED"}


def _blender() -> str:
    """Blender's version and what draws its windows."""
    card = "no window"
    with contextlib.suppress(SystemError):  # as it is in background mode
        card = f"{gpu.platform.renderer_get()}, {gpu.platform.version_get()}"
    return f"Blender {bpy.app.version_string} ({bpy.app.build_hash.decode()}), {card}"
