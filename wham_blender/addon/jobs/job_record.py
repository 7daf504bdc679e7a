"""The record of an import job, kept in its folder: clip, options, status, error and results. No bpy.

A job imports one clip, or a range of its frames. Its folder is also the worker's stage cache: with other options the
job resumes from the stages that are still valid. The record is in ``job.json``, so that a job outlives Blender.

A Blender that works on a job holds the lock of its folder; the operating system releases it when that process ends.
So a job that is queued or running but not locked was interrupted, and two Blenders never work in one folder.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import errno
import hashlib
import json
import os
import re
import shutil
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from ... import corrections, image_sequence, limits, protocol, records
from ...errors import one_line
from ...files import read_bounded, replace_text
from ...protocol import Code, FoundPerson, Text
from ...records import AtMost, FileName, OsPath, Within
from ..worker.process import JobError

KEPT_DAYS = 30  # after which the folder of a job in ENDED is deleted
KEPT_BYTES = 10 << 30  # of all jobs, above which the oldest of these are deleted earlier
_RECORD, _LOCK, _LOG = "job.json", "lock", "worker.log"
_DISCARDED = ".discarded-"

Seconds = Annotated[float, Within(0, 1e12)]  # since 1970


class Status(enum.Enum):
    """The status of a job; the values are shown in the panel."""

    QUEUED = "waits"
    RUNNING = "running"
    ON_FARM = "on the farm"
    CANCELLED = "cancelled"
    FAILED = "failed"
    DONE = "ready to import"
    IMPORTED = "imported"


ENDED = {Status.CANCELLED, Status.FAILED, Status.IMPORTED}  # those whose folders may be cleaned away


@dataclass
class JobRecord:
    """One job, as it is written to and read from ``job.json``; times are in seconds since 1970.

    ``options`` are the import operator's, so that it can run again. Another version of the add-on may have written
    them: `import_job.usable_options` tells which of them the operator has.
    """

    folder: Path  # not in the file
    clip: Annotated[str, OsPath(), AtMost(limits.TEXT)]  # of an image sequence, its first picture
    options: Annotated[dict[str, Any], AtMost(200)]
    status: Status = Status.QUEUED
    created: Seconds = 0.0
    started: Seconds = 0.0
    ended: Seconds = 0.0
    pid: Annotated[int, Within(0, 2**32)] = 0  # of the worker
    error: Text = ""
    error_code: Code = ""  # of docs/troubleshooting.md; empty in jobs of older versions
    warnings: Annotated[list[Text], AtMost(limits.WARNINGS)] = field(default_factory=list)
    people: Annotated[list[FoundPerson], AtMost(limits.PEOPLE)] = field(default_factory=list)
    # Person ("1", "2", ..., "ALL") -> motion file in the folder.
    results: Annotated[dict[str, Annotated[str, FileName()]], AtMost(limits.PEOPLE)] = field(default_factory=dict)
    results_key: Annotated[str, AtMost(100)] = ""  # for which ``results`` are valid, see results_key.py
    clip_sha256: Annotated[str, AtMost(64)] = ""  # of the clip that the worker read
    clip_state: Annotated[list[int], AtMost(10)] = field(default_factory=list)  # image_sequence.clip_state at the start
    environment: Text = ""  # versions of the worker's packages, and its graphics card
    # The job's folder on the storage shared with a farm, while its result is not here; empty in jobs of this computer.
    farm: Annotated[str, OsPath(), AtMost(limits.TEXT)] = ""

    @property
    def name(self) -> str:
        """The folder's name, by which operators know the job."""
        return self.folder.name

    @property
    def title(self) -> str:
        """The clip's name as it is shown."""
        return one_line(Path(self.clip).name)

    @property
    def log(self) -> Path:
        """The log file."""
        return self.folder / _LOG

    @property
    def corrections(self) -> Path:
        """The file of the corrections that were made to its people by hand; most jobs have none."""
        return self.folder / corrections.FILE_NAME

    @property
    def person(self) -> str:
        """The person that the job is for, as a key of ``results``."""
        return person_number(str(self.options.get("person", ""))) or "1"

    @property
    def result(self) -> Path | None:
        """The motion file of the person that the job is for; None if there is none."""
        path = self.result_path(self.person)
        return path if self.person in self.results and path.is_file() else None

    def result_path(self, person: str) -> Path:
        """Where a person's motion file is written."""
        return self.folder / f"motion-{person.lower()}.npz"

    def clip_was_exchanged(self) -> bool:
        """Whether the file at the clip's path was exchanged or changed since the worker was started."""
        state = image_sequence.clip_state(Path(self.clip))
        return bool(state and self.clip_state) and state != self.clip_state

    def warn(self, text: str) -> None:
        """Add a warning; those beyond limits.WARNINGS are dropped."""
        if len(self.warnings) < limits.WARNINGS:
            self.warnings.append(one_line(protocol.clean(text)))

    def fail(self, text: str, code: str) -> None:
        """Set status, error and its code."""
        self.status, self.error, self.error_code = Status.FAILED, protocol.clean(text), code

    def save(self) -> None:
        """Write the record; raises OSError."""
        values = dataclasses.asdict(self) | {"status": self.status.name}
        del values["folder"]
        options = values["options"]
        values["options"] = {
            name: protocol.clean(value) if isinstance(value, str) else value for name, value in options.items()
        }
        replace_text(self.folder / _RECORD, json.dumps(values, indent=1))  # ASCII: the clip's path may have any bytes

    def size(self) -> int:
        """Bytes of the files in the folder."""
        with contextlib.suppress(OSError):
            return sum(entry.stat().st_size for entry in os.scandir(self.folder) if entry.is_file())
        return 0


def folder_for(jobs: Path, clip: Path, start: int, end: int) -> Path:
    """The folder of a clip's frames ``start`` to ``end`` (0: its last)."""
    name = f"{clip}\0{start}\0{end}" if (start, end) != (1, 0) else str(clip)
    # Operators know the job by the folder's name, which therefore has neither "?" for unprintable characters nor lines.
    stem = one_line(clip.stem[:40]).replace("?", "_").strip()
    return jobs / f"{stem}-{hashlib.sha256(os.fsencode(name)).hexdigest()[:8]}"


def person_number(text: str) -> str:
    """The person that an option names, as a key of `JobRecord.results`; empty if it names none."""
    person = text.strip().upper()
    if person == "MAIN":
        return "1"
    return person if person == "ALL" or re.fullmatch(r"[1-9][0-9]{0,5}", person) else ""


def load(folder: Path) -> JobRecord | None:
    """The job of a folder; None if there is no valid record in it."""
    try:
        values = records.parse(read_bounded(folder / _RECORD, limits.JSON_BYTES), limits.JSON_BYTES)
        return records.make(JobRecord, values | {"folder": folder}) if isinstance(values, dict) else None
    except (OSError, ValueError):  # an InvalidRecord; or a null character in the path
        return None


def scan(jobs: Path) -> list[JobRecord]:
    """All jobs, the newest first."""
    found = [record for folder in _folders(jobs) if (record := load(folder))]
    return sorted(found, key=lambda record: -record.created)


def _folders(jobs: Path) -> list[Path]:
    try:
        return [Path(entry.path) for entry in os.scandir(jobs) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


class FolderLock:
    """The lock of a job's folder, held until it is released or this process ends."""

    def __init__(self, folder: Path) -> None:
        """Take the lock; raises JobError if another process has it or the folder cannot be written."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = (folder / _LOCK).open("a+b")
        except OSError as error:
            raise JobError(
                f"The job cannot be kept in {folder}: {error.strerror}. Choose another jobs folder in the preferences.",
                code="job-folder-not-writable",
            ) from error
        try:
            _lock(self._file.fileno())
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
                self._file.close()
                raise JobError(
                    f"Another Blender is working on {folder.name}. Wait until it is done there, or cancel it there.",
                    code="job-in-other-blender",
                ) from error
            # A network drive without locks: another Blender is not noticed there.

    def release(self) -> None:
        """Release the lock."""
        self._file.close()


def is_locked(folder: Path) -> bool:
    """Whether any process, this one included, has locked the folder."""
    if not (folder / _LOCK).exists():
        return False
    try:
        FolderLock(folder).release()
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
    """Rename a job's folder, so that scan() skips it and clean() deletes it. Raises OSError."""
    folder.replace(folder.with_name(f"{_DISCARDED}{folder.name}-{time.time_ns()}"))


def clean(jobs: Path, now: float) -> None:
    """Delete discarded folders and old ones: those of jobs in ENDED that ended more than KEPT_DAYS ago.

    While all jobs together take more than KEPT_BYTES, the oldest in ENDED are deleted earlier; locked ones never. May
    take a while. Errors are ignored: the next call tries again.
    """
    found = scan(jobs)
    total = sum(record.size() for record in found)
    for record in sorted(found, key=lambda record: record.ended):
        old = now - record.ended > KEPT_DAYS * 86400
        if record.status in ENDED and (old or total > KEPT_BYTES) and not is_locked(record.folder):
            total -= record.size()
            with contextlib.suppress(OSError):
                discard(record.folder)
    for folder in _folders(jobs):
        if folder.name.startswith(_DISCARDED):
            shutil.rmtree(folder, ignore_errors=True)
