"""Arrays too large for memory: appended row by row to a file in the job folder, and read back memory-mapped.

The file begins with a header of 64 bytes that holds the key of the stage that wrote it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..files import replaced
from .errors import write_failed

_HEADER = 64  # bytes; a multiple of every number's size, so that rows are aligned

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
                stream.write(self._header())

                def append(rows: np.ndarray) -> None:
                    assert rows.shape[1:] == shape
                    stream.write(np.ascontiguousarray(rows, dtype).data)

                yield append
        except OSError as error:
            raise write_failed(self.path.parent, error) from error

    def is_complete(self) -> bool:
        """Whether the file exists and carries this key."""
        try:
            with self.path.open("rb") as stream:
                return stream.read(_HEADER) == self._header()
        except OSError:
            return False

    def read(self, shape: Shape, dtype: type[np.generic]) -> np.ndarray:
        """The rows (n, *shape), memory-mapped, read only."""
        if self.path.stat().st_size == _HEADER:  # np.memmap raises an error for an empty array
            return np.empty((0, *shape), dtype)
        return np.memmap(self.path, dtype, "r", offset=_HEADER).reshape(-1, *shape)

    def _header(self) -> bytes:
        return f"wham_blender {self.key}\n".encode().ljust(_HEADER, b"\0")
