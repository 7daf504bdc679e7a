"""What is known of a job, kept in its folder: asked for, queued, run, ended, and what came of it. No bpy.

A job is one clip, or a range of its frames, and has one folder, in which the worker keeps its stages too: asked for
again with other options, it goes on from what stands. Everything is in ``job.json``, so that a job outlives Blender.

Whoever has a job in hand holds the lock of its folder, which ends with its process: a job that calls itself queued or
running while nobody holds it was interrupted, and two Blenders never work in one folder.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import errno
import hashlib
import json
import os
import shutil
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..worker.process import JobError

KEPT_DAYS = 30  # after which the folder of a job that needs no more attention is deleted
KEPT_BYTES = 10 << 30  # and from which on the oldest of these go earlier
_STATE, _LOCK, _LOG = "job.json", "lock", "worker.log"
_DISCARDED = ".discarded-"


class Status(enum.Enum):
    """Where a job stands."""

    QUEUED = "waits"
    RUNNING = "running"
    CANCELLED = "cancelled"
    FAILED = "failed"
    DONE = "ready to import"
    IMPORTED = "imported"


ENDED = {Status.CANCELLED, Status.FAILED, Status.IMPORTED}  # those whose folders may be cleaned away


@dataclass
class JobRecord:
    """One job. ``options`` are the operator's, so that it can be run again; people as in protocol.People."""

    folder: Path
    clip: str
    options: dict[str, Any]
    status: Status = Status.QUEUED
    created: float = 0.0  # seconds since 1970, like the next two
    started: float = 0.0
    ended: float = 0.0
    pid: int = 0  # of the worker
    error: str = ""
    warnings: list[str] = field(default_factory=list)
    people: list[dict[str, Any]] = field(default_factory=list)
    results: dict[str, str] = field(default_factory=dict)  # motion files in the folder, of "1", "2", ... and "ALL"
    environment: str = ""  # what the worker said of its packages and its card

    @property
    def name(self) -> str:
        """The folder's name, by which operators know the job."""
        return self.folder.name

    @property
    def log(self) -> Path:
        """The log file."""
        return self.folder / _LOG

    @property
    def person(self) -> str:
        """Whom the job is for, as a key of ``results``."""
        person = str(self.options.get("person", "MAIN")).strip().upper()
        return "1" if person == "MAIN" else person

    @property
    def result(self) -> Path | None:
        """The motion of the person that the job is for, if it is there."""
        path = self.result_of(self.person)
        return path if self.person in self.results and path.is_file() else None

    def result_of(self, person: str) -> Path:
        """Where a person's motion belongs."""
        return self.folder / f"motion-{person.lower()}.npz"

    def save(self) -> None:
        """Write the state; raises OSError. Written aside and renamed: there is never half of one."""
        values = {item.name: getattr(self, item.name) for item in dataclasses.fields(self) if item.name != "folder"}
        aside = self.folder / f".{_STATE}.{os.getpid()}.part"
        try:
            aside.write_text(json.dumps({**values, "status": self.status.name}, indent=1), "utf-8")
            aside.replace(self.folder / _STATE)
        finally:
            with contextlib.suppress(OSError):
                aside.unlink(missing_ok=True)

    def size(self) -> int:
        """Bytes that the folder takes."""
        with contextlib.suppress(OSError):
            return sum(entry.stat().st_size for entry in os.scandir(self.folder) if entry.is_file())
        return 0


def folder_for(jobs: Path, clip: Path, start: int, end: int) -> Path:
    """The folder of a clip's frames ``start`` to ``end`` (0: its last)."""
    asked = f"{clip}\0{start}\0{end}" if (start, end) != (1, 0) else str(clip)
    return jobs / f"{clip.stem[:40].strip()}-{hashlib.sha256(asked.encode('utf-8', 'replace')).hexdigest()[:8]}"


def load(folder: Path) -> JobRecord | None:
    """The job of a folder; None where it holds none, or none that can be read."""
    try:
        values = json.loads((folder / _STATE).read_text("utf-8"))
        record = JobRecord(folder, **{**values, "status": Status[values["status"]]})
    except (OSError, ValueError, TypeError, KeyError):
        return None
    kinds = {"clip": str, "options": dict, "error": str, "warnings": list, "people": list, "results": dict}
    whole = all(isinstance(getattr(record, name), kind) for name, kind in kinds.items())
    return record if whole and all(isinstance(person, dict) for person in record.people) else None


def scan(jobs: Path) -> list[JobRecord]:
    """All jobs, the newest first."""
    found = [record for folder in _folders(jobs) if (record := load(folder))]
    return sorted(found, key=lambda record: -record.created)


def _folders(jobs: Path) -> list[Path]:
    try:
        return [Path(entry.path) for entry in os.scandir(jobs) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


class Hold:
    """The lock of one job's folder, held until let go or until this process ends."""

    def __init__(self, folder: Path) -> None:
        """Take the lock; raises JobError where another process has it or the folder cannot be written."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = (folder / _LOCK).open("a+b")
        except OSError as error:
            raise JobError(
                f"The job cannot be kept in {folder}: {error.strerror}. Choose another jobs folder in the preferences."
            ) from error
        try:
            _lock(self._file.fileno())
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
                self._file.close()
                raise JobError(
                    f"Another Blender has {folder.name} in hand. Wait until it is done there, or cancel it there."
                ) from error
            # A network drive without locks: go on as if there were no other Blender.

    def let_go(self) -> None:
        """Give the lock back."""
        self._file.close()


def is_held(folder: Path) -> bool:
    """Whether somebody, this process not left out, holds the folder."""
    if not (folder / _LOCK).exists():
        return False
    try:
        Hold(folder).let_go()
    except JobError:
        return True
    return False


def _lock(descriptor: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        os.lseek(descriptor, 0, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def discard(folder: Path) -> None:
    """Put a job's folder out of sight at once; clean() deletes what is in it. Raises OSError."""
    folder.replace(folder.with_name(f"{_DISCARDED}{folder.name}-{time.time_ns()}"))


def clean(jobs: Path, now: float) -> None:
    """Delete folders that were discarded, and those of jobs that ended, of which nothing is waited for.

    These go after KEPT_DAYS, the oldest earlier while all jobs together take more than KEPT_BYTES; never one that
    somebody holds. It may take a while, and fails in silence: the next time will do it.
    """
    records = scan(jobs)
    total = sum(record.size() for record in records)
    for record in sorted(records, key=lambda record: record.ended):
        old = now - record.ended > KEPT_DAYS * 86400
        if record.status in ENDED and (old or total > KEPT_BYTES) and not is_held(record.folder):
            total -= record.size()
            with contextlib.suppress(OSError):
                discard(record.folder)
    for folder in _folders(jobs):
        if folder.name.startswith(_DISCARDED):
            shutil.rmtree(folder, ignore_errors=True)
