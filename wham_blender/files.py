"""Writes files that are either complete or absent: to a temporary file beside the target, which is then renamed.

Also opens files from outside, hashes files and tells when one was exchanged. Standard library only.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

_LONG_NAME = 200  # bytes; file systems take 255, with what `temporary_path` adds


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


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file to be read. Raises OSError for anything else: a device or pipe may have no end, or block."""
    # Without O_NONBLOCK, opening a named pipe waits until another process writes to it.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    return os.fdopen(descriptor, "rb")


def read_bounded(path: Path, most: int) -> bytes:
    """The content of a regular file of at most ``most`` bytes. Raises OSError if it is larger or cannot be read."""
    with open_regular(path) as stream:
        content = stream.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"it has more than {most} bytes", str(path))
    return content


def sha256_of(path: Path) -> str:
    """SHA-256 of a regular file's content, in hexadecimal digits. Takes about a second per GB. Raises OSError."""
    with open_regular(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def file_state(path: Path) -> list[int]:
    """Size, modification and change time in nanoseconds, and inode of a file; empty if there is none.

    A program that exchanges a file can give the new one the old size and modification time, but not the old change
    time. On Windows, whose third time is that of creation, a file that is written over in place and keeps size and
    modification time is not noticed.
    """
    try:
        state = path.stat()
    except (OSError, ValueError):  # ValueError: a null character in the path
        return []
    regular = stat.S_ISREG(state.st_mode)
    return [state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino] if regular else []


def temporary_path(path: Path) -> Path:
    """The temporary file of this process: hidden, beside the target."""
    name = path.name
    if len(os.fsencode(name)) > _LONG_NAME:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    return path.with_name(f".{name}.{os.getpid()}.part")
