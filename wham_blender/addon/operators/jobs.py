"""Operators on jobs that have ended or were interrupted: import, resume, choose another person, report, discard."""

import contextlib
import traceback
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import bpy
import gpu
from bpy.props import StringProperty

from ... import corrections, protocol
from ...errors import CodedError, reason
from ..build_scene import build
from ..jobs import error_report, job_record
from ..jobs.farm import farm_watch
from ..jobs.import_job import is_active, jobs, keep, results_are_valid, usable_options, works
from ..jobs.job_record import ENDED, JobRecord, Status
from ..properties import OF_ONE_CLIP, PlacementOptions, VideoOptions, option_names, placement_settings
from ..scene import pinned_poses
from ..scene.character import is_character
from ..scene.reading import Reading
from ..settings import jobs_folder, library, worker_python
from ..translations import report
from ..worker.process import BoundedLog
from ..worker.python_environment import WorkerError
from .background import copy_to_clipboard, error_message, from_window
from .reading import ReadingOperator
from .view_clip import frame_characters


class _RecordOperator:
    """Base of operators on one job, which is named by its folder."""

    report: Callable[[set[str], str], None]  # of bpy.types.Operator, like the next
    options: bpy.types.OperatorOptions

    job: StringProperty(name="Job", description="Name of the job's folder", options={"SKIP_SAVE"})

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Find the job's record and call do()."""
        record = jobs.find(self.job)
        if record is None:
            report(self, {"ERROR"}, f"There is no job {self.job!r} in {jobs_folder()}: it was discarded or moved.")
            return {"CANCELLED"}
        return self.do(context, record)

    def do(self, context: bpy.types.Context, record: JobRecord) -> set[str]:
        """Execute the operator on the job's record; returns its status."""
        raise NotImplementedError

    def _refuse(self, sentence: str) -> set[str]:
        report(self, {"ERROR"}, sentence)
        return {"CANCELLED"}


class WHAM_OT_import_job(ReadingOperator, _RecordOperator, PlacementOptions, bpy.types.Operator):
    """Import the motion of a finished job into the scene, with the options of the job unless others are given"""

    bl_idname = "wham.import_job"
    bl_label = "Import"
    bl_options = {"UNDO"}

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Import it without blocking the window."""
        return self.execute(context)

    def do(self, context: bpy.types.Context, record: JobRecord) -> set[str]:
        """Build the characters; a failure is also kept in the job's record."""
        for name, value in usable_options(record, PlacementOptions).items():
            if not self.properties.is_property_set(name):
                setattr(self, name, value)
        path = record.result
        if path is None and record.status in {Status.DONE, Status.IMPORTED}:
            return self._failed(
                record, f"The motion of {record.title} was deleted. Run the job again.", code="motion-deleted"
            )
        if path is None:
            return self._refuse(f"{record.title} has no motion yet. Wait for it, or run the job again.")
        clip: Path | None = Path(record.clip)
        if record.clip_was_exchanged():
            clip = None  # the film that is there now does not show this motion
            warning = protocol.Warn(
                f"{record.title} was changed after its motion was made. The motion is that of the old clip, "
                "and the clip is not shown behind the camera. Import it again for the motion of the new one.",
                code="clip-changed",
            )
            report(self, {"WARNING"}, warning.text)
            record.warn(warning.text)
        work = next((work for work in works() if work.record is record and work.reading), None)
        reading = work.reading if work and work.reading else Reading(path, library())
        return self.when_read(context, reading, lambda context: self._build(context, record, reading, clip))

    def _build(self, context: bpy.types.Context, record: JobRecord, reading: Reading, clip: Path | None) -> set[str]:
        before = set(bpy.data.objects)
        try:
            bake_error = build(context, reading.result(), clip, placement_settings(self), partial(report, self))
        except CodedError as error:
            return self._failed(record, str(error), code=error.code)
        except Exception as error:  # a bug: the message goes to the panel, the traceback to the log
            BoundedLog(record.log).write(traceback.format_exc().encode())
            return self._failed(
                record,
                f"The result could not be used: {reason(error)}. The log says where it happened.",
                code="import-failed",
            )
        if bake_error:
            record.warn(bake_error)
        record.status, record.error, record.error_code = Status.IMPORTED, "", ""
        keep(record)
        imported = [obj for obj in bpy.data.objects if obj not in before and is_character(obj)]
        _keep_corrections(imported, record)
        try:
            pinned_poses.apply(imported)
        except CodedError as error:
            report(self, {"WARNING"}, str(error))
        frame_characters(context)
        return {"FINISHED"}

    def _failed(self, record: JobRecord, sentence: str, code: str) -> set[str]:
        record.fail(sentence, code)
        record.results.pop(record.person, None)
        keep(record)
        return self._refuse(sentence)


def _keep_corrections(imported: list[bpy.types.Object], record: JobRecord) -> None:
    """Have new characters keep the corrections with which their job was processed."""
    text = ""
    with contextlib.suppress(CodedError, OSError):  # without one, or with one that the worker has refused
        text = corrections.load(record.corrections).text()
    for armature in imported:
        armature.wham_motion.corrections = text


class WHAM_OT_resume_job(_RecordOperator, bpy.types.Operator):
    """Run a job again with the same options. Finished stages are reused"""

    bl_idname = "wham.resume_job"
    bl_label = "Resume"

    def do(self, context: bpy.types.Context, record: JobRecord) -> set[str]:
        """Import the clip again with the same options; on the farm if it was there."""
        return rerun(self, record, {}, on_farm=bool(record.farm))


class WHAM_OT_import_person(_RecordOperator, bpy.types.Operator):
    """Import this person of the clip, with the options above. Only the stages that depend on them run again"""

    bl_idname = "wham.import_person"
    bl_label = "Import Person"

    person: StringProperty(
        name="Person", description="ALL for everybody, or the person's number", options={"SKIP_SAVE"}
    )

    def do(self, context: bpy.types.Context, record: JobRecord) -> set[str]:
        """Import the motion if the job has it, else run the job for it: from the panel with the panel's options."""
        if is_active(record):
            return self._refuse(f"{record.title} is being imported. Choose when it is done.")
        changes = {"person": self.person}
        if from_window(self):
            settings = context.scene.wham
            names = set(option_names(VideoOptions)) - OF_ONE_CLIP - {"person"}
            changes |= {name: getattr(settings, name) for name in names}
        there = self.person in record.results and record.result_path(self.person).is_file()
        asked = replace(record, options=record.options | changes)
        if not there or not results_are_valid(asked):
            return rerun(self, record, changes)
        record.options = asked.options
        jobs.put(record)
        try:
            return bpy.ops.wham.import_job("EXEC_DEFAULT", True, job=record.name)
        except RuntimeError as error:
            return self._refuse(error_message(error))


def rerun(operator: bpy.types.Operator, record: JobRecord, changes: dict[str, Any], on_farm: bool = False) -> set[str]:
    """Run a job again with changed options: in the background, or blocking, as the operator was called."""
    verb = bpy.ops.wham.submit_to_farm if on_farm else bpy.ops.wham.import_video
    execution = "INVOKE_DEFAULT" if from_window(operator) else "EXEC_DEFAULT"
    try:
        return verb(execution, True, filepath=record.clip, **(usable_options(record) | changes))
    except RuntimeError as error:
        report(operator, {"ERROR"}, error_message(error))
        return {"CANCELLED"}


class WHAM_OT_discard_job(_RecordOperator, bpy.types.Operator):
    """Delete a job and its files. Imported characters stay in the scene"""

    bl_idname = "wham.discard_job"
    bl_label = "Discard Job"

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Ask for confirmation."""
        return context.window_manager.invoke_confirm(self, event)

    def do(self, context: bpy.types.Context, record: JobRecord) -> set[str]:
        """Delete its folder, unless a worker uses it."""
        if job_record.is_locked(record.folder):
            return self._refuse(f"{record.title} is being imported. Cancel it first.")
        try:
            if record.folder.exists():
                job_record.discard(record.folder)
        except OSError as error:
            return self._refuse(f"{record.folder} cannot be deleted: {error.strerror}. Close what uses it.")
        jobs.forget(record)
        jobs.refresh()
        return {"FINISHED"}


class WHAM_OT_clean_jobs(bpy.types.Operator):
    """Delete the jobs that are imported, failed or cancelled. Imported characters stay in the scene"""

    bl_idname = "wham.clean_jobs"
    bl_label = "Discard Ended Jobs"

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Ask for confirmation."""
        return context.window_manager.invoke_confirm(self, event)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Delete their folders."""
        for record in job_record.scan(jobs_folder()):
            if record.status in ENDED and not job_record.is_locked(record.folder):
                try:
                    job_record.discard(record.folder)
                    jobs.forget(record)
                except OSError as error:
                    report(self, {"WARNING"}, f"{record.folder} cannot be deleted: {error.strerror}.")
        jobs.refresh()
        return {"FINISHED"}


class WHAM_OT_refresh_jobs(bpy.types.Operator):
    """Update the list of jobs from the jobs folder"""

    bl_idname = "wham.refresh_jobs"
    bl_label = "Refresh Jobs"

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Scan the jobs folder, in a window in a thread; without one, look at the jobs on the farm, too."""
        jobs.refresh()
        if bpy.app.background:
            farm_watch.look()
        return {"FINISHED"}


class WHAM_OT_copy_report(_RecordOperator, bpy.types.Operator):
    """Copy a report of this job for a bug report. It contains no names of users and folders"""

    bl_idname = "wham.copy_report"
    bl_label = "Copy Report"

    def do(self, context: bpy.types.Context, record: JobRecord) -> set[str]:
        """Copy the report to the clipboard."""
        python = None
        with contextlib.suppress(WorkerError):
            python = worker_python()
        copy_to_clipboard(self, error_report.of_job(record, _blender(), python))
        return {"FINISHED"}


def _blender() -> str:
    """Blender's version and the graphics card that draws its windows."""
    card = "no window"
    with contextlib.suppress(SystemError):  # as it is in background mode
        card = f"{gpu.platform.renderer_get()}, {gpu.platform.version_get()}"
    return f"Blender {bpy.app.version_string} ({bpy.app.build_hash.decode()}), {card}"
