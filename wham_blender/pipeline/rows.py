"""Rows of numbers too many for memory: appended to a file in the job folder, and read back memory-mapped."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np

from .errors import unwritten

Shape = tuple[int, ...]


class RowWriter:
    """Appends rows of one shape and type to a file that appears when all are there, or not at all.

    Raises PipelineError where the folder cannot be written to.
    """

    def __init__(self, path: Path, shape: Shape, dtype: type[np.generic]) -> None:
        self._path, self._shape, self._dtype = path, shape, dtype
        self._aside = path.with_name(f".{path.name}.{os.getpid()}.part")
        self._stream: BinaryIO | None = None

    def __enter__(self) -> Self:
        try:
            self._stream = self._aside.open("wb")
        except OSError as error:
            raise unwritten(self._path.parent, error) from error
        return self

    def append(self, rows: np.ndarray) -> None:
        """Add rows (n, *shape)."""
        assert self._stream is not None
        assert rows.shape[1:] == self._shape
        try:
            self._stream.write(np.ascontiguousarray(rows, self._dtype).data)
        except OSError as error:
            raise unwritten(self._path.parent, error) from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._stream is not None
        try:
            self._stream.close()
            if kind is None:
                self._aside.replace(self._path)
        except OSError as problem:
            raise unwritten(self._path.parent, problem) from problem
        finally:
            self._aside.unlink(missing_ok=True)


def read(path: Path, shape: Shape, dtype: type[np.generic]) -> np.ndarray:
    """The rows (n, *shape) of a file that a RowWriter wrote, memory-mapped."""
    if not path.stat().st_size:  # which cannot be mapped
        return np.empty((0, *shape), dtype)
    return np.memmap(path, dtype, "r").reshape(-1, *shape)
