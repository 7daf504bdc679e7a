"""The jobs that import clips: asked for, found again, handed to the runner, and their motions to the scene."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import bpy

from ... import protocol
from ..properties import PlacementOptions, option_names
from ..settings import jobs_folder, library, worker_python
from ..worker.process import Job, JobError, module_command
from . import job_record
from .job_record import Hold, JobRecord, Status
from .queue import Work, runner

_MOST_WARNINGS = 20  # kept of one job
# What may differ without making a motion that is there another one.
_SAME_MOTION = {"person", *option_names(PlacementOptions)}


class Jobs:
    """All jobs known, of this Blender and of earlier ones, the newest first."""

    def __init__(self) -> None:
        self.all: list[JobRecord] = []
        self.sizes: dict[str, int] = {}  # bytes, by the job's name
        self.elsewhere: set[str] = set()  # names of those that another Blender has in hand
        self._scan: threading.Thread | None = None

    def find(self, name: str) -> JobRecord | None:
        """The job of that name, looked for on disk too."""
        known = next((record for record in self.all if record.name == name), None)
        return known or (job_record.load(jobs_folder() / name) if Path(name).name == name else None)

    def put(self, record: JobRecord) -> None:
        """Take up a job, in place of what was known of it."""
        self.all = [record, *(other for other in self.all if other.name != record.name)]

    def forget(self, record: JobRecord) -> None:
        """Let go of a job that was discarded."""
        self.all = [other for other in self.all if other.name != record.name]

    def measure(self, record: JobRecord) -> None:
        """See anew how large a job's folder is."""
        self.sizes[record.name] = record.size()

    def refresh(self) -> None:
        """Look through the jobs folder, and clean it, in a thread where a timer can tell of its end."""
        if bpy.app.background:
            self._look(jobs_folder())
        elif self._scan is None or not self._scan.is_alive():
            self._scan = threading.Thread(target=self._look, args=[jobs_folder()], name="jobs", daemon=True)
            self._scan.start()
            runner.closing.append(_Scan(self._scan))
            runner.wake()

    def _look(self, folder: Path) -> None:
        job_record.clean(folder, time.time())
        found = job_record.scan(folder)
        sizes = {record.name: record.size() for record in found}
        held = {record.name for record in found if job_record.is_held(record.folder)}
        mine = {work.name: work.record for work in works()}
        self.all = [mine.pop(record.name, record) for record in found]
        self.all[:0] = mine.values()
        self.sizes, self.elsewhere = sizes, held - {work.name for work in works()}


jobs = Jobs()


class _Scan(Work):
    """Has the timer redraw the panels when the jobs folder was looked through."""

    def __init__(self, thread: threading.Thread) -> None:
        self._thread = thread

    def after(self) -> bool:
        return not self._thread.is_alive()


def works() -> list[ImportWork]:
    """The imports that run, wait or are about to enter the scene."""
    known = [runner.running, *runner.waiting, *runner.closing]
    return [work for work in known if isinstance(work, ImportWork)]


def is_active(record: JobRecord) -> bool:
    """Whether a job runs or waits in this Blender."""
    return any(work.name == record.name for work in works() if work.result is None)


def is_interrupted(record: JobRecord) -> bool:
    """Whether a job neither ended nor is in anybody's hand: its Blender was closed or crashed."""
    unfinished = record.status in {Status.QUEUED, Status.RUNNING}
    return unfinished and not is_active(record) and record.name not in jobs.elsewhere


def prepare(clip: Path, options: dict[str, Any]) -> ImportWork:
    """A job for a clip, with the options of WHAM_OT_import_video, ready for the runner.

    Raises JobError where it cannot be done, or the job is already in hand; RuntimeProblem where there is no worker.
    """
    if not clip.name:
        raise JobError("No clip was named. Choose a video file.")
    clip = clip.absolute()
    if not clip.is_file():
        raise JobError(f"There is no clip at {clip}. Choose a video file.")
    person = options["person"].strip().upper()
    if person not in {"MAIN", "ALL"} and not (person.isdecimal() and int(person) >= 1):
        raise JobError(f"There is no person {options['person']!r} to choose. Type MAIN, ALL or a number from 1.")
    python = worker_python()
    folder = job_record.folder_for(jobs_folder(), clip, options["clip_start"], options["clip_end"])
    if any(work.name == folder.name and work.result is None for work in works()):
        raise JobError(f"{clip.name} is being imported already. Wait for its end, or cancel it first.")
    hold = Hold(folder)
    before = job_record.load(folder)
    record = JobRecord(folder, str(clip), options, created=time.time())
    if before:
        record.people = before.people
        if _motion_options(before.options) == _motion_options(options):
            record.results = before.results
    try:
        record.save()
    except OSError as error:
        hold.let_go()
        raise JobError(
            f"The job cannot be kept in {folder}: {error.strerror}. Make space, or choose another jobs folder in the "
            "preferences."
        ) from error
    jobs.put(record)
    return ImportWork(record, hold, python)


def _motion_options(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name not in _SAME_MOTION}


class ImportWork(Work):
    """A job in the runner's hands."""

    def __init__(self, record: JobRecord, hold: Hold, python: Path) -> None:
        self.record = record
        self.title = Path(record.clip).name
        self.name = record.name
        self._hold, self._python = hold, python
        self._files_opened = runner.files_opened
        self._scene = bpy.context.scene.name

    def start(self) -> Job:
        """Start the worker on the clip."""
        record = self.record
        job = Job(module_command(self._python, "wham_blender.pipeline", *worker_arguments(record)), record.log)
        record.status, record.started, record.pid = Status.RUNNING, time.time(), job.pid
        keep(record)
        return job

    def hear(self, messages: Sequence[protocol.Message]) -> None:
        """Note what the worker warns of and whom it found."""
        for message in messages:
            match message:
                case protocol.Warn() if len(self.record.warnings) < _MOST_WARNINGS:
                    self.record.warnings.append(message.text)
                case protocol.People():
                    self.record.people = message.people
                case protocol.Environment():
                    self.record.environment = message.text
        keep(self.record)

    def end(self) -> None:
        """Note how it ended."""
        record = self.record
        record.ended = time.time()
        if self.cancelled:
            record.status = Status.CANCELLED
        elif isinstance(self.result, protocol.Failed):
            record.status, record.error = Status.FAILED, self.result.text
        else:
            record.status = Status.DONE
            record.results[record.person] = record.result_of(record.person).name
        keep(record)
        jobs.measure(record)
        self._hold.let_go()

    def drop(self) -> None:
        """Let others have the job; it calls itself unfinished."""
        self._hold.let_go()

    def after(self) -> bool:
        """Bring the motion into the scene as soon as that is possible, in the file where it was asked for."""
        if self.record.status is not Status.DONE or self._files_opened != runner.files_opened:
            return True
        windows = list(bpy.context.window_manager.windows)
        window = next((each for each in windows if each.scene.name == self._scene), windows[0] if windows else None)
        if window is None or blocked(window):
            return False
        with bpy.context.temp_override(window=window), contextlib.suppress(RuntimeError):  # its sentence is recorded
            bpy.ops.wham.import_job("EXEC_DEFAULT", True, job=self.record.name)
        return True


def blocked(window: bpy.types.Window) -> str:
    """Why nothing can enter the scene just now; empty where it can. A user in another mode is not thrown out of it."""
    with bpy.context.temp_override(window=window):
        if bpy.context.mode != "OBJECT":
            return "ready: go to Object Mode"
    if bpy.app.is_job_running("RENDER"):
        return "ready: waits for the render"
    if any(operator.bl_idname.startswith("TRANSFORM_OT_") for operator in window.modal_operators):
        return "ready: waits for your hand"
    return ""


def keep(record: JobRecord) -> None:
    """Write a job's state. Where that fails the job goes on: what it lacks on disk it still has in memory."""
    with contextlib.suppress(OSError):
        record.save()


def worker_arguments(record: JobRecord) -> list[str]:
    """The pipeline's command line for a job."""
    options = record.options
    arguments = [
        record.clip, "-o", str(record.result_of(record.person)), "--json", "--resume", str(record.folder),
        "--person", options["person"].strip(), "--gender", options["gender"].lower(),
        "--quality", options["quality"].lower(), "--device", options["device"].lower(),
        "--weights", str(library().folder),
        "--start", str(options["clip_start"]),
    ]  # fmt: skip
    if options["clip_end"]:
        arguments += ["--end", str(options["clip_end"])]
    arguments += ["--camera", options["camera"].lower()]
    if options["actor_height"]:
        arguments += ["--actor-height", f"{options['actor_height']:.6g}"]
    if not options["static_anchor"]:
        arguments.append("--no-anchor")
    if not options["refine"]:
        arguments.append("--no-refine")
    if options["smooth"]:
        arguments += ["--smooth", str(round(options["smooth"], 3))]
    if options["focal_length_mm"]:
        arguments += ["--focal-length", f"{options['focal_length_mm']:.6g}"]
    return arguments
