"""Jobs on a render farm: submits them, and looks in the shared storage for their results until these are here."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import bpy

from ... import protocol
from ...errors import one_line
from ...farm_status import FarmStatus
from ..settings import Farm
from ..worker import submit
from ..worker.process import JobError
from .farm_files import bring, write_bundle, write_flamenco_job
from .import_job import ImportWork, checked, is_active, jobs, keep, new_record
from .job_record import FolderLock, JobRecord, Status
from .queue import redraw_panels

_TICK = 2.0  # seconds between two calls of the timer; set by hand
_PAUSE = 10.0  # seconds between two looks at the shared storage; set by hand
# A farm may try again what failed or was cancelled there.
_MAY_GO_ON = {Status.ON_FARM, Status.FAILED, Status.CANCELLED}


def prepare_on_farm(clip: Path, options: dict[str, Any], farm: Farm) -> FarmWork:
    """A submission of a clip, with the options of WHAM_OT_import_video, to be added to the job queue. Raises JobError.

    Its folder on the shared storage has what is submitted; the farm's worker writes its result into that folder.
    """
    if not farm.is_set:
        raise JobError(
            "The farm is not set up. Choose its shared folder, the worker's Python and the extension's folder in the "
            "preferences, Render Farm; for Flamenco, the Manager's address, too.",
            code="farm-not-set",
        )
    if farm.kind == "FLAMENCO" and not bpy.app.online_access:
        raise JobError(
            "Blender is offline, so no job can be submitted. Allow Online Access in Preferences > System.",
            code="farm-offline",
        )
    record, lock = new_record(*checked(clip, options))
    folder = Path(farm.folder) / f"{record.name}-{time.strftime('%Y%m%d-%H%M%S')}"
    record.farm = str(folder)
    try:
        if farm.kind == "FLAMENCO":
            command = submit.flamenco_command(farm.manager, write_flamenco_job(record, farm))
        else:
            command = submit.deadline_command(write_bundle(record, farm), bpy.app.online_access)
    except OSError as error:
        sentence = (
            f"The job cannot be written to {folder}: {error.strerror or error}. Choose another shared folder for the "
            "farm in the preferences."
        )
        record.fail(sentence, "farm-folder-not-writable")
        keep(record)
        lock.release()
        raise JobError(sentence, code="farm-folder-not-writable") from error
    return FarmWork(record, lock, command)


class FarmWork(ImportWork):
    """The submission of a job in the job queue. Its record is on the farm when it has ended."""

    def __init__(self, record: JobRecord, lock: FolderLock, command: list[str]) -> None:
        super().__init__(record, lock, Path())
        self._command = command

    def command(self) -> list[str]:
        """The command that submits the job."""
        return self._command

    def end(self) -> None:
        """Keep in the record that the job is on the farm, or the error."""
        if self.cancelled or isinstance(self.result, protocol.Failed):
            super().end()
            return
        self.record.status = Status.ON_FARM
        try:
            keep(self.record)
        finally:
            self._lock.release()

    def finish(self) -> bool:
        """There is nothing to bring into the scene yet: `FarmWatch` does when the farm is done."""
        return True


class FarmWatch:
    """Looks from time to time, in a thread, how far the jobs on the farm are, and brings results. Uses no network."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._seen: list[tuple[JobRecord, FarmStatus | str | None]] = []
        self._known: dict[str, FarmStatus | str | None] = {}  # what was seen last, by the farm's folder
        self._last_look = -_PAUSE

    def look(self) -> None:
        """Look at all jobs on the farm now, and wait for it."""
        self._look(_on_farm())
        self._use()

    def tick(self) -> float:
        """Use what the thread has found, and start it again if it is time; the timer calls this."""
        if self._thread is None or not self._thread.is_alive():
            self._use()
            waiting = _on_farm()
            if waiting and time.monotonic() > self._last_look + _PAUSE:
                self._last_look = time.monotonic()
                self._thread = threading.Thread(target=self._look, args=[waiting], name="farm", daemon=True)
                self._thread.start()
        return _TICK

    def _look(self, waiting: list[JobRecord]) -> None:
        self._seen = [(record, bring(record)) for record in waiting]

    def _use(self) -> None:
        seen = [(looked_at, status) for looked_at, status in self._seen if self._known.get(looked_at.farm) != status]
        self._seen = []
        for looked_at, status in seen:
            self._known[looked_at.farm] = status
            for record in _on_farm():  # not those discarded or submitted again meanwhile
                if (record.name, record.farm) == (looked_at.name, looked_at.farm):
                    _update(record, status)
        if seen:
            redraw_panels()


def _on_farm() -> list[JobRecord]:
    return [record for record in jobs.all if record.farm and record.status in _MAY_GO_ON and not is_active(record)]


def _update(record: JobRecord, status: FarmStatus | str | None) -> None:
    """Have a record say what the farm's job says."""
    jobs.on_farm.pop(record.name, None)
    if not isinstance(status, FarmStatus):
        if status:
            jobs.on_farm[record.name] = status
        return
    record.people = status.people.people if status.people else record.people
    record.clip_sha256 = status.clip.sha256 if status.clip else record.clip_sha256
    record.environment = status.environment.text if status.environment else record.environment
    # The job has begun: how to submit the bundle in that folder is of no use any more.
    record.warnings = [warning for warning in record.warnings if record.farm not in warning]
    for warning in status.warnings:
        if one_line(protocol.clean(warning.text)) not in record.warnings:
            record.warn(warning.text)
    if status.done:
        record.status, record.error, record.error_code, record.farm = Status.DONE, "", "", ""
        record.results[record.person] = record.result_path(record.person).name
    elif status.failed is None:
        record.status, record.error, record.error_code, record.ended = Status.ON_FARM, "", "", 0.0
        if status.progress:
            jobs.on_farm[record.name] = status.progress
    elif status.failed.code == "cancelled":
        record.status = Status.CANCELLED
    else:
        record.fail(status.failed.text, status.failed.code)
    if record.status is not Status.ON_FARM:
        record.ended = record.ended or time.time()
        jobs.measure(record)
    keep(record)


farm_watch = FarmWatch()


def register() -> None:
    """Have a timer look at the jobs on the farm; Blender's background mode has none."""
    if not bpy.app.background:
        bpy.app.timers.register(farm_watch.tick, first_interval=_TICK, persistent=True)


def unregister() -> None:
    """Stop the timer."""
    if bpy.app.timers.is_registered(farm_watch.tick):
        bpy.app.timers.unregister(farm_watch.tick)
