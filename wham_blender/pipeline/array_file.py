"""Arrays too large for memory: appended row by row to a file in the job folder, and read back memory-mapped.

The file begins with a header of 64 bytes that holds the key of the stage that wrote it, and the CRC-32 and size of what
follows it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..files import open_regular, replaced
from .errors import write_failed

_HEADER = 64  # bytes; a multiple of every number's size, so that rows are aligned
_BLOCK = 1 << 20  # bytes read at once

Shape = tuple[int, ...]
Append = Callable[[np.ndarray], None]  # takes rows (n, *shape)


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
