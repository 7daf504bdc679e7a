"""The stage cache: keeps the result of each stage in the job folder, so that a run resumes where the last one ended.

A result is found by its key, a hash of everything that it depends on: the stage's settings (with the hashes of clip and
weights and the keys of earlier stages), the source of every module that the stage's code imports, and the versions of
the worker's packages. The file holds its key, too, so that a renamed file is refused.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import struct
import sys
import time
import zipfile
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ... import archives, limits, protocol
from ...files import open_regular, replaced
from ..array_file import ArrayFile, mapped, release_pages
from ..errors import PipelineError, folder_not_writable, write_failed
from ..processors import trim_heap
from ..progress import JobProgress, Progress
from .import_closure import import_closure

Tell = protocol.Tell
Arrays = dict[str, np.ndarray]

_PACKAGE = Path(__file__).resolve().parents[2]
_KEY = "stage_key"  # name of the array with a file's key
_MAPPED_BYTES = 1 << 20  # of arrays that are mapped, not read: of stages that take minutes; set by hand
_ALIGNMENT = 64  # bytes, of arrays in a file: NumPy's own in memory, so that sums round alike
_PADDING = 0xFFFF  # a number of zip's extra fields that no program uses; PKWARE's APPNOTE.TXT 4.5
_ABANDONED = 3600.0  # seconds since its last change after which a temporary file belongs to no running job


def joined(records: Iterable[Arrays]) -> Arrays:
    """Several dictionaries of arrays as one: {"0/name": ..., "1/name": ...}."""
    return {f"{number}/{name}": value for number, record in enumerate(records) for name, value in record.items()}


def parted(arrays: Arrays) -> list[Arrays]:
    """The inverse of `joined`."""
    records: dict[int, Arrays] = {}
    for name, value in arrays.items():
        number, field = name.split("/")
        records.setdefault(int(number), {})[field] = value
    return [records[number] for number in sorted(records)]


@cache  # a running process does not change its code
def source_digest(module: Path, package: Path = _PACKAGE) -> str:
    """Hash of a module's source, of all modules that it imports, and of the lock file of the worker's packages.

    ``module``: a source file in the folder ``package``.
    """
    digest = hashlib.sha256()
    # The package's __init__.py imports the add-on in register(), which only Blender calls: without the exclusion, every
    # change in the add-on would make all stages run again.
    modules = import_closure(module, package, excluded=package / "addon")
    for path in [*modules, package / "pipeline/requirements.txt"]:
        source = path.read_bytes()
        name = path.relative_to(package).as_posix() if path.is_relative_to(package) else path.name
        digest.update(f"{name}\0{len(source)}\0".encode() + source)
    return digest.hexdigest()


class StageCache:
    """Runs stages, or loads the results of an earlier run.

    Large arrays of results are memory-mapped from the stages' files and read only. At the begin of each stage what was
    read of them leaves memory.
    """

    def __init__(self, folder: Path, tell: Tell, progress: JobProgress) -> None:
        """Raises PipelineError if the folder cannot be written to."""
        self.timings: dict[str, float] = {}  # seconds, of the stages done in this run
        self.folder, self._tell, self.progress = folder, tell, progress
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for temporary in folder.glob(".*.part"):  # of runs that were killed
                if time.time() - temporary.stat().st_mtime > _ABANDONED:
                    temporary.unlink(missing_ok=True)
        except OSError as error:
            raise folder_not_writable(folder, error) from error

    def run(
        self, stage: str, settings: list[Any], make: Callable[[Progress], Arrays], weight: float = 1.0
    ) -> tuple[Arrays, str]:
        """The stage's arrays and their key, which goes into the settings of stages that depend on them.

        ``settings``: JSON values on which the result depends; ``make`` computes the arrays, and the key covers the
        source of its module. ``weight``: fraction of the stage's work in this call, if it runs once for each of several
        people. Raises PipelineError if the result cannot be written.
        """
        key = _key(stage, settings, make)
        return self._found_or_made(stage, key, make, weight, None), key

    def run_with_file(
        self,
        stage: str,
        settings: list[Any],
        suffix: str,
        make: Callable[[Progress, ArrayFile], Arrays],
        weight: float = 1.0,
    ) -> tuple[Arrays, str, ArrayFile]:
        """As `run`, for a stage that also writes a file; if the file is missing, the stage runs again."""
        key = _key(stage, settings, make)
        side = ArrayFile(self.folder / f"{stage}-{key}.{suffix}", key)
        arrays = self._found_or_made(stage, key, lambda progress: make(progress, side), weight, side)
        return arrays, key, side

    def _found_or_made(
        self, stage: str, key: str, make: Callable[[Progress], Arrays], weight: float, side: ArrayFile | None
    ) -> Arrays:
        path = self.folder / f"{stage}-{key}.npz"
        release_pages()
        trim_heap()
        self.progress.begin(stage, weight)
        arrays = _load(path, key) if side is None or side.is_complete() else None
        kept = arrays is not None
        if arrays is None:
            begun = time.monotonic()
            self.progress.update(0, 1)
            made = make(self.progress.update)
            try:
                save(path, made | {_KEY: np.array(key)})
            except PipelineError:
                # Windows does not replace a file that another job has mapped; what that has is the same result.
                if _load(path, key) is None:
                    raise
            if (arrays := _load(path, key)) is None:  # another process has exchanged the file
                arrays = made
            del made
            self.timings[stage] = round(self.timings.get(stage, 0.0) + time.monotonic() - begun, 3)
        else:
            self._tell(kept_message(stage))
        self.progress.finish(kept)
        return arrays


def kept_message(what: str) -> protocol.Log:
    """The line of the log for what an earlier run has made."""
    return protocol.Log(f"{what}: kept from an earlier run")


def _key(stage: str, settings: list[Any], make: Callable[..., Arrays]) -> str:
    """The key of a stage's result: 20 hexadecimal digits."""
    module = Path(str(inspect.getsourcefile(sys.modules[make.__module__]))).resolve()
    content = json.dumps([stage, source_digest(module), *settings])
    return hashlib.sha256(content.encode()).hexdigest()[:20]


def _load(path: Path, key: str) -> Arrays | None:
    """The arrays of a key; None if there are none, the file is damaged, or it belongs to another key."""
    try:
        large = archives.stored(path, _MAPPED_BYTES, limits.STAGE_BYTES)
        arrays = archives.arrays(path, archives.names(path) - large.keys(), limits.STAGE_BYTES)
        if str(arrays.pop(_KEY)) != key:
            return None
        with open_regular(path) as stream:
            for name, (header, offset) in large.items():
                order: Literal["C", "F"] = "F" if header.fortran_order else "C"
                arrays[name] = mapped(stream, offset, header.dtype, header.shape, order)
        return arrays
    except (OSError, KeyError, archives.UnreadableArchive):
        return None


def save(path: Path, arrays: Arrays) -> None:
    """Write arrays to an ``.npz`` atomically, aligned so that they can be mapped. Raises PipelineError if not."""
    try:
        with replaced(path) as stream, zipfile.ZipFile(stream, "w") as archive:
            for name, array in arrays.items():
                entry = zipfile.ZipInfo(f"{name}.npy")
                # Before the array are 30 bytes, the name and its own extra field of 20, and NumPy's header of 64 n.
                begin = stream.tell() + 30 + len(entry.filename.encode()) + 20 + 4
                padding = -begin % _ALIGNMENT
                entry.extra = struct.pack("<HH", _PADDING, padding) + bytes(padding)
                with archive.open(entry, "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)
                release_pages()
    except OSError as error:
        raise write_failed(path.parent, error) from error
