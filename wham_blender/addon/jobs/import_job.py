"""Import jobs: creates them, lists them, runs the worker on their clips and brings their motions into the scene."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from ... import image_sequence, limits, protocol
from ...files import read_bounded
from ...image_sequence import SequenceError, clip_state
from ..properties import PlacementOptions, VideoOptions, WHAM_PG_settings, option_names
from ..scene.reading import Reading
from ..settings import jobs_folder, library, worker_python
from ..worker.process import Job, JobError, module_command, standby
from . import job_record
from .job_record import FolderLock, JobRecord, Status
from .queue import Work, job_queue
from .results_key import results_key

_WORKER = "wham_blender.pipeline"  # the module that runs a job
_MOST_WARNINGS = 20  # kept of one run of the worker
# Options that do not change a motion file: whom it shows, and how it is placed in the scene.
_NOT_OF_MOTION = {"person", *option_names(PlacementOptions)}


class Jobs:
    """All known jobs, of this Blender and of earlier ones, the newest first."""

    def __init__(self) -> None:
        self.all: list[JobRecord] = []
        self.sizes: dict[str, int] = {}  # bytes, by the job's name
        self.elsewhere: set[str] = set()  # names of those that another Blender works on
        # By the job's name: how far a farm has come, or a sentence that says why that is not known.
        self.on_farm: dict[str, protocol.Progress | str] = {}
        self._scan: threading.Thread | None = None

    def find(self, name: str) -> JobRecord | None:
        """The job of that name, in memory or on disk; None if there is none."""
        known = next((record for record in self.all if record.name == name), None)
        return known or (job_record.load(jobs_folder() / name) if Path(name).name == name else None)

    def put(self, record: JobRecord) -> None:
        """Add a job, or replace what is known of it."""
        self.all = [record, *(other for other in self.all if other.name != record.name)]

    def forget(self, record: JobRecord) -> None:
        """Remove a job that was discarded."""
        self.all = [other for other in self.all if other.name != record.name]

    def measure(self, record: JobRecord) -> None:
        """Update the size of a job's folder."""
        self.sizes[record.name] = record.size()

    def refresh(self) -> None:
        """Clean and scan the jobs folder; in a thread, unless Blender runs in background mode."""
        if bpy.app.background:
            self._read(jobs_folder())
        elif self._scan is None or not self._scan.is_alive():
            self._scan = threading.Thread(target=self._read, args=[jobs_folder()], name="jobs", daemon=True)
            self._scan.start()
            job_queue.finishing.append(_Scan(self._scan))
            job_queue.start_timer()

    def _read(self, folder: Path) -> None:
        job_record.clean(folder, time.time())
        records = job_record.scan(folder)
        sizes = {record.name: record.size() for record in records}
        locked = {record.name for record in records if job_record.is_locked(record.folder)}
        active = {work.name: work.record for work in works()}
        self.all = [active.pop(record.name, record) for record in records]
        self.all[:0] = active.values()
        self.sizes, self.elsewhere = sizes, locked - {work.name for work in works()}


jobs = Jobs()


class _Scan(Work):
    """Has the timer redraw the panels when the jobs folder has been scanned."""

    def __init__(self, thread: threading.Thread) -> None:
        self._thread = thread

    def finish(self) -> bool:
        return not self._thread.is_alive()


def works() -> list[ImportWork]:
    """The imports that run, wait or are about to enter the scene."""
    queued = [job_queue.running, *job_queue.waiting, *job_queue.finishing]
    return [work for work in queued if isinstance(work, ImportWork)]


def is_active(record: JobRecord) -> bool:
    """Whether a job runs or waits in this Blender."""
    return any(work.name == record.name for work in works() if work.result is None)


def is_interrupted(record: JobRecord) -> bool:
    """Whether a job has not ended although no Blender works on it: its Blender was closed or crashed."""
    unfinished = record.status in {Status.QUEUED, Status.RUNNING}
    return unfinished and not is_active(record) and record.name not in jobs.elsewhere


def prepare(clip: Path, options: dict[str, Any]) -> ImportWork:
    """A job for a clip, with the options of WHAM_OT_import_video, to be added to the job queue.

    The clip: a video; or a folder of numbered pictures, one of them, or a pattern such as shot_####.png.

    Motion files of an earlier job on the clip are kept if they are still valid (results_key.py). Raises JobError if the
    clip is missing, an option is not valid or a job on the clip is running, and WorkerError if there is no worker.
    """
    clip, options = checked(clip, options)
    python = worker_python()
    return ImportWork(*new_record(clip, options), python)


def new_record(clip: Path, options: dict[str, Any]) -> tuple[JobRecord, FolderLock]:
    """A job's record, which is kept on disk and among the jobs, and the lock of its folder.

    Clip and options as `checked` gives them. Raises JobError.
    """
    folder = job_record.folder_for(jobs_folder(), clip, options["clip_start"], options["clip_end"])
    if any(work.name == folder.name and work.result is None for work in works()):
        raise JobError(
            f"{clip.name} is being imported already. Wait for its end, or cancel it first.", code="job-running"
        )
    lock = FolderLock(folder)
    earlier = job_record.load(folder)
    if earlier and earlier.status is Status.ON_FARM:
        lock.release()
        raise JobError(
            f"{clip.name} is on the farm already. Wait for its result, or discard that job first.", code="job-on-farm"
        )
    record = JobRecord(folder, str(clip), options, created=time.time(), clip_state=clip_state(clip))
    record.results_key = _current_key(record)
    if earlier and earlier.clip_state == record.clip_state:
        record.people, record.clip_sha256 = earlier.people, earlier.clip_sha256
    if earlier and results_are_valid(earlier, record.results_key):
        record.results = earlier.results
    try:
        record.save()
    except OSError as error:
        lock.release()
        raise JobError(
            f"The job cannot be kept in {folder}: {error.strerror}. Make space, or choose another jobs folder in the "
            "preferences.",
            code="job-folder-not-writable",
        ) from error
    jobs.put(record)
    return record, lock


def checked(clip: Path, options: dict[str, Any]) -> tuple[Path, dict[str, Any]]:
    """The absolute path of a clip, of a sequence its first picture; and the options, with a sequence's frame rate.

    Raises JobError if there is no such clip, or if an option is not valid.
    """
    if not clip.name:
        raise JobError("No clip was named. Choose a video file.", code="no-clip-named")
    rate = 0.0  # of a video, whose results must not depend on it
    try:
        clip = clip.absolute()
        if sequence := image_sequence.find(clip):
            clip = sequence.first
            scene = bpy.context.scene.render
            # As Blender keeps it in an option: else the job would have another rate when it is resumed.
            rate = float(np.float32(options.get("sequence_fps") or scene.fps / scene.fps_base))
        found = clip.is_file()
    except SequenceError as error:
        raise JobError(str(error), code=error.code) from error
    except PermissionError as error:
        raise JobError(
            f"{clip.name} may not be read: {error.strerror}. Allow your user to read it, or copy it to another folder.",
            code="clip-no-permission",
        ) from error
    except OSError:  # the current folder, from which a relative path counts, was deleted
        found = False
    if not found:
        raise JobError(f"There is no clip at {clip}. Choose a video file.", code="clip-not-found")
    lowest, highest = limits.SEQUENCE_FPS
    if rate and not lowest <= rate <= highest:
        raise JobError(
            f"The image sequence {clip.name} cannot have {rate:g} frames a second. Set Sequence Frame Rate to a number "
            f"from {lowest:g} to {highest:g}.",
            code="option-invalid",
        )
    options = options | {"sequence_fps": rate}
    _check_options(options)
    return clip, options


def _check_options(options: dict[str, Any]) -> None:
    if not job_record.person_number(options["person"]):
        raise JobError(
            f"There is no person {options['person']!r} to choose. Type MAIN, ALL or a number from 1.",
            code="person-option-invalid",
        )
    for name, value in options.items():
        if isinstance(value, float) and not math.isfinite(value):  # Blender's limits let nan pass
            raise JobError(f"The option {name} is {value}. Give it a number.", code="option-invalid")


def usable_options(record: JobRecord, options: type = VideoOptions) -> dict[str, Any]:
    """A job's values of the options of a class like VideoOptions, without those that its properties would refuse.

    Another version of the add-on may have written them; then the option's default applies.
    """
    properties = WHAM_PG_settings.bl_rna.properties
    names = [name for name in option_names(options) if name in record.options]
    return {name: record.options[name] for name in names if _fits(properties[name], record.options[name])}


def _fits(option: bpy.types.Property, value: object) -> bool:
    if option.type == "ENUM":
        return value in {item.identifier for item in option.enum_items}
    if option.type in {"INT", "FLOAT"}:
        numbers = int if option.type == "INT" else (int, float)
        is_number = isinstance(value, numbers) and not isinstance(value, bool)
        return is_number and option.hard_min <= value <= option.hard_max
    return isinstance(value, bool if option.type == "BOOLEAN" else str)


def results_are_valid(record: JobRecord, key: str | None = None) -> bool:
    """Whether a record's motion files still belong to its clip, options and weights, and to this version of the add-on.

    ``key``: the results_key that they must have; the current one of the record if not given.
    """
    return record.results_key == (key if key is not None else _current_key(record))


def _current_key(record: JobRecord) -> str:
    """The results_key of a job that begins now. A clip that was deleted counts as unchanged."""
    state = clip_state(Path(record.clip)) or record.clip_state
    options = _motion_options(record.options)
    with contextlib.suppress(OSError):  # most jobs have none
        options["corrections"] = read_bounded(record.corrections, limits.CORRECTIONS_BYTES).decode("utf-8", "replace")
    return results_key(state, options, library())


def _motion_options(options: dict[str, Any]) -> dict[str, Any]:
    of_motion = {name: value for name, value in options.items() if name not in _NOT_OF_MOTION}
    return of_motion | {"hands": _sees_hands(options)}


def _sees_hands(options: dict[str, Any]) -> bool:
    """Whether the worker looks at hands; jobs of earlier versions have no such option."""
    return options.get("hands", "FILM") == "FILM"


class ImportWork(Work):
    """An import job in the job queue."""

    def __init__(self, record: JobRecord, lock: FolderLock, python: Path) -> None:
        self.record = record
        self.title = record.title
        self.name = record.name
        self._lock, self._python = lock, python
        self._files_opened = job_queue.files_opened
        self._scene = bpy.context.scene.name
        self.reading: Reading | None = None  # of the motion, when the worker has ended

    def command(self) -> list[str]:
        """The command that runs the worker on the clip."""
        return module_command(self._python, _WORKER, *worker_arguments(self.record))

    def start(self) -> Job:
        """Start the command's process."""
        record = self.record
        state = clip_state(Path(record.clip))
        if state != record.clip_state:  # changed while the job was queued
            record.clip_state, record.clip_sha256, record.people = state, "", []
        if (key := _current_key(record)) != record.results_key:
            record.results_key, record.results = key, {}
        job = Job(self.command(), record.log)
        record.status, record.started, record.pid = Status.RUNNING, time.time(), job.pid
        keep(record)
        return job

    def receive(self, messages: Sequence[protocol.Message]) -> None:
        """Keep the worker's warnings, the clip's hash, the people found and the worker's environment in the record."""
        for message in messages:
            match message:
                case protocol.Warn() if len(self.record.warnings) < _MOST_WARNINGS:
                    self.record.warn(message.text)
                case protocol.Clip():
                    if self.record.clip_sha256 not in ("", message.sha256):  # a change that file_state did not show
                        self.record.results = {}
                    self.record.clip_sha256 = message.sha256
                case protocol.People():
                    self.record.people = message.people
                case protocol.Environment():
                    self.record.environment = message.text
        keep(self.record)

    def end(self) -> None:
        """Keep status and error in the record, and release its folder."""
        record = self.record
        record.ended = time.time()
        if self.cancelled:
            record.status = Status.CANCELLED
        elif isinstance(self.result, protocol.Failed):
            record.fail(self.result.text, self.result.code)
        else:
            record.status = Status.DONE
            prepare_worker(self._python)
            record.results[record.person] = record.result_path(record.person).name
        try:
            keep(record)
            jobs.measure(record)
        finally:
            self._lock.release()

    def abandon(self) -> None:
        """Release the job's folder; its record stays unfinished, so that it can be resumed."""
        self._lock.release()

    def finish(self) -> bool:
        """Bring the motion into the scene as soon as that is possible, if the file is still open."""
        if self.record.status is not Status.DONE or self._files_opened != job_queue.files_opened:
            return True
        windows = list(bpy.context.window_manager.windows)
        window = next((each for each in windows if each.scene.name == self._scene), windows[0] if windows else None)
        if window is None or blocked(window):
            return False
        if self.reading is None and (path := self.record.result):
            self.reading = Reading(path, library())
        if self.reading is not None and not self.reading.done:
            return False
        with bpy.context.temp_override(window=window), contextlib.suppress(RuntimeError):  # the record keeps the error
            bpy.ops.wham.import_job("EXEC_DEFAULT", True, job=self.record.name)
        return True


def prepare_worker(python: Path) -> None:
    """Have a process load the worker's libraries, so that the next job starts at once; not for scripts."""
    if not bpy.app.background:
        standby.prepare(module_command(python, _WORKER))


def blocked(window: bpy.types.Window) -> str:
    """Why the motion cannot enter the scene now; empty if it can. It waits until the user leaves other modes."""
    with bpy.context.temp_override(window=window):
        if bpy.context.mode != "OBJECT":
            return "ready: go to Object Mode"
    if bpy.app.is_job_running("RENDER"):
        return "ready: waits for the render"
    if any(operator.bl_idname.startswith("TRANSFORM_OT_") for operator in window.modal_operators):
        return "ready: waits until you have moved, rotated or scaled"
    return ""


def keep(record: JobRecord) -> None:
    """Write a job's record; errors are ignored, as the record is in memory too."""
    with contextlib.suppress(OSError):
        record.save()


def worker_arguments(record: JobRecord) -> list[str]:
    """The pipeline's command line for a job."""
    options = record.options
    arguments = [
        record.clip, "-o", str(record.result_path(record.person)), "--json", "--resume", str(record.folder),
        "--person", options["person"].strip(), "--quality", options["quality"].lower(),
        "--device", options["device"].strip() or "auto", "--weights", str(library().folder),
        "--start", str(options["clip_start"]),
    ]  # fmt: skip
    if record.corrections.is_file():
        arguments += ["--corrections", str(record.corrections)]
    if options["clip_end"]:
        arguments += ["--end", str(options["clip_end"])]
    return arguments + further_arguments(options)


def further_arguments(options: dict[str, Any]) -> list[str]:
    """Those of the pipeline's command line that neither choose frames, people and networks nor name files."""
    arguments = ["--gender", options["gender"].lower()]
    if options.get("sequence_fps"):
        arguments += ["--fps", f"{options['sequence_fps']:.9g}"]
    if options.get("rotate", "0") != "0":  # jobs of earlier versions have no such option
        arguments += ["--rotate", options["rotate"]]
    if options.get("speed"):
        arguments += ["--speed", f"{options['speed']:.6g}"]
    arguments += ["--camera", options["camera"].lower(), "--world", options["world"].lower()]
    if options["actor_height"]:
        arguments += ["--actor-height", f"{options['actor_height']:.6g}"]
    if not options["static_anchor"]:
        arguments.append("--no-anchor")
    if not options["refine"]:
        arguments.append("--no-refine")
    if not _sees_hands(options):
        arguments.append("--no-hands")
    if options["smooth"]:
        arguments += ["--smooth", str(round(options["smooth"], 3))]
    if options["focal_length_mm"]:
        arguments += ["--focal-length", f"{options['focal_length_mm']:.6g}"]
    return arguments
