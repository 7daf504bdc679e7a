"""Reads and checks all that an import needs of files, in a thread: nothing here uses Blender's data."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ... import limits
from ... import motion as motion_file
from ...motion import Motion, MotionFileError
from ...weights.library import Library
from . import body_mesh, camera
from .body_mesh import Body
from .camera import SolvedCamera


@dataclass(frozen=True)
class Contents:
    """What is built from a motion file."""

    path: Path
    people: Sequence[Motion]
    bodies: Sequence[tuple[Body | None, str]]  # each person's, as `body_mesh.for_motion` returns them
    camera: SolvedCamera


def read(path: Path, library: Library) -> Contents:
    """The contents of a motion file with the bodies of its people. Raises MotionFileError."""
    people = motion_file.load(path)
    files = body_mesh.BodyFiles(library)
    return Contents(path, people, [files.for_motion(person) for person in people], camera.of_people(people))


class Reading:
    """`read` in a thread, so that Blender's main thread need not wait for a file; the thread may be abandoned."""

    def __init__(self, path: Path, library: Library) -> None:
        self._path = path
        self._contents: Contents | None = None
        self._error: Exception | None = None
        self._limit = time.monotonic() + limits.READING_SECONDS
        self._thread = threading.Thread(target=self._run, args=[library], name="reading", daemon=True)
        self._thread.start()

    def _run(self, library: Library) -> None:
        try:
            self._contents = read(self._path, library)
        except Exception as error:
            self._error = error

    @property
    def done(self) -> bool:
        """Whether `result` returns or raises at once."""
        return not self._thread.is_alive() or time.monotonic() > self._limit

    def result(self) -> Contents:
        """The contents, waiting for them. Raises what `read` raises, and MotionFileError if it takes too long."""
        self._thread.join(max(0.0, self._limit - time.monotonic()))
        if self._error is not None:
            raise self._error
        if self._contents is None:
            raise MotionFileError(
                f"{self._path.name} was not read within {limits.READING_SECONDS:.0f} seconds. Copy it, and SMPL's body "
                "file, to a disk that answers.",
                code="motion-reading-slow",
            )
        return self._contents
