"""Arrays too large for memory: appended row by row to a file in the job folder, and read back memory-mapped.

Pages of mapped files that were read count as memory of the process until `release_pages` is called; between stages that
keeps a long clip in the memory of a short one.

The file of an `ArrayFile` begins with a header of 64 bytes that holds the key of the stage that wrote it, and the
CRC-32 and size of what follows it.
"""

from __future__ import annotations

import math
import mmap
import tempfile
import weakref
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

import numpy as np
from numpy.typing import DTypeLike

from ..files import open_regular, replaced
from .errors import write_failed

_HEADER = 64  # bytes; a multiple of every number's size, so that rows are aligned
_BLOCK = 1 << 20  # bytes read at once

Shape = tuple[int, ...]
Append = Callable[[np.ndarray], None]  # takes rows (n, *shape)

_MAPPINGS: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()


def mapped(
    stream: IO[bytes], offset: int, dtype: DTypeLike, shape: Shape, order: Literal["C", "F"] = "C"
) -> np.ndarray:
    """The array in a file, from ``offset`` on, memory-mapped and read only. The file stays open with the array."""
    if not math.prod(shape):  # nothing can be mapped
        return np.empty(shape, dtype, order)
    mapping = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    _MAPPINGS.add(mapping)
    return np.frombuffer(mapping, dtype, math.prod(shape), offset).reshape(shape, order=order)


def release_pages() -> None:
    """Let the pages of all mapped files leave this process's memory; they are read again where they are used."""
    if hasattr(mmap, "MADV_DONTNEED"):  # Windows has no such advice, and takes pages back by itself
        for mapping in list(_MAPPINGS):
            mapping.madvise(mmap.MADV_DONTNEED)


class RowFile:
    """Rows of one shape, appended to a file that disappears with this object, and read back memory-mapped."""

    def __init__(self, folder: Path | None, dtype: DTypeLike) -> None:
        """``folder``: where the file is made; None: the system's folder of temporary files. Raises PipelineError."""
        self._folder, self._dtype = folder or Path(tempfile.gettempdir()), dtype
        self._shape: Shape | None = None
        self._count = 0
        try:
            self._stream = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - it ends with this object
        except OSError as error:
            raise write_failed(self._folder, error) from error

    def append(self, rows: np.ndarray) -> None:
        """Add rows (n, ...), all of one shape. Raises PipelineError if they cannot be written."""
        assert self._shape in (None, rows.shape[1:])
        self._shape, self._count = rows.shape[1:], self._count + len(rows)
        try:
            self._stream.write(np.ascontiguousarray(rows, self._dtype).data)
        except OSError as error:
            raise write_failed(self._folder, error) from error

    def rows(self, shape: Shape = ()) -> np.ndarray:
        """All rows (N, ...), read only; ``shape``: of a row if there is none. Raises PipelineError."""
        try:
            self._stream.flush()
            return mapped(self._stream, 0, self._dtype, (self._count, *(shape if self._shape is None else self._shape)))
        except OSError as error:
            raise write_failed(self._folder, error) from error


@dataclass(frozen=True)
class ArrayFile:
    """A file of rows of one shape and type."""

    path: Path
    key: str  # of the stage that writes it

    @contextmanager
    def writing(self, shape: Shape, dtype: type[np.generic]) -> Iterator[Append]:
        """Yield a function that appends rows of that shape; the file appears when the block ends without an error.

        Raises PipelineError if the folder cannot be written to.
        """
        try:
            with replaced(self.path) as stream:
                stream.write(bytes(_HEADER))
                crc = size = 0

                def append(rows: np.ndarray) -> None:
                    nonlocal crc, size
                    assert rows.shape[1:] == shape
                    content = np.ascontiguousarray(rows, dtype)
                    stream.write(content.data)
                    crc, size = zlib.crc32(content.data, crc), size + content.nbytes

                yield append
                stream.seek(0)
                stream.write(self._header(crc, size))
        except OSError as error:
            raise write_failed(self.path.parent, error) from error

    def is_complete(self) -> bool:
        """Whether the file exists, carries this key and is undamaged. Reads all of it: about a second per GB."""
        try:
            with open_regular(self.path) as stream:
                header = stream.read(_HEADER)
                crc = size = 0
                while block := stream.read(_BLOCK):
                    crc, size = zlib.crc32(block, crc), size + len(block)
            return header == self._header(crc, size)
        except OSError:
            return False

    def read(self, shape: Shape, dtype: type[np.generic]) -> np.ndarray:
        """The rows (n, *shape), memory-mapped, read only."""
        if self.path.stat().st_size == _HEADER:  # np.memmap raises an error for an empty array
            return np.empty((0, *shape), dtype)
        return np.memmap(self.path, dtype, "r", offset=_HEADER).reshape(-1, *shape)

    def _header(self, crc: int, size: int) -> bytes:
        return f"wham_blender {self.key} {crc:08x} {size}\n".encode().ljust(_HEADER, b"\0")
