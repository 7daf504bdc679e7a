"""Writes files that are either complete or absent: to a temporary file beside the target, which is then renamed.

Also hashes files and tells when one was exchanged. Standard library only.
"""

from __future__ import annotations

import contextlib
import hashlib
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
        with contextlib.suppress(OSError):  # must not hide the block's exception
            temporary.unlink(missing_ok=True)


def replace_text(path: Path, text: str) -> None:
    """Write a text file, UTF-8, as `replaced` does. Raises OSError."""
    with replaced(path) as stream:
        stream.write(text.encode("utf-8"))


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal digits. Takes about a second per GB. Raises OSError."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def file_state(path: Path) -> list[int]:
    """Size, modification and change time in nanoseconds, and inode of a file; empty if there is none.

    A program that exchanges a file can give the new one the old size and modification time, but not the old change
    time. On Windows, whose third time is that of creation, a file that is written over in place and keeps size and
    modification time is not noticed.
    """
    try:
        stat = path.stat()
    except OSError:
        return []
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino] if path.is_file() else []


def temporary_path(path: Path) -> Path:
    """The temporary file of this process: hidden, beside the target."""
    return path.with_name(f".{path.name}.{os.getpid()}.part")
