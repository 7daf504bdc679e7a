"""Writes files that appear whole or not at all: a temporary file beside the target, renamed when it is complete."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[BinaryIO]:
    """A stream whose content replaces the file at ``path`` when the block ends without an exception.

    A process that is killed, a full disk or an exception leaves the file as it was. Raises OSError.
    """
    temporary = temporary_path(path)
    try:
        with temporary.open("wb") as stream:
            yield stream
        temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):  # what happened in the block matters more
            temporary.unlink(missing_ok=True)


def replace_text(path: Path, text: str) -> None:
    """Write a whole text file, UTF-8, as `replaced` does. Raises OSError."""
    with replaced(path) as stream:
        stream.write(text.encode("utf-8"))


def temporary_path(path: Path) -> Path:
    """Where a file lies until it is complete: hidden, beside the target, named by this process."""
    return path.with_name(f".{path.name}.{os.getpid()}.part")
