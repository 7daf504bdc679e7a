"""Readers that do what the fuzz harness must notice."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from pathlib import Path

from wham_blender.errors import CodedError


def good(path: Path) -> bool:
    if path.read_bytes().startswith(b"bad"):
        raise CodedError("This is bad. Choose another.", code="bad")
    return True


def crashes(_path: Path) -> bool:
    os.abort()


def crashes_later(path: Path) -> bool:
    mark, content = path.parent / "temporary" / "prepared", path.read_bytes()
    if content == b"first":
        mark.touch()
    elif mark.exists():
        os.abort()
    return True


def works(_path: Path) -> bool:
    while True:
        pass


def raises(path: Path) -> bool:
    nothing: dict[Path, bool] = {}
    return nothing[path]


def eats(path: Path) -> bool:
    return bool(path.read_bytes() and bytearray(b"x") * (4 << 30))


def no_sentence(_path: Path) -> bool:
    raise CodedError("KeyError: it failed.", code="bad")


def no_code(_path: Path) -> bool:
    raise CodedError("It failed. Try again.")


def leaves_a_file(path: Path) -> bool:
    descriptor, _ = tempfile.mkstemp(dir=path.parent, suffix=".part")
    os.close(descriptor)
    return True


def leaves_a_thread(_path: Path) -> bool:
    threading.Thread(target=time.sleep, args=[9], daemon=True).start()
    return True


def leaves_a_descriptor(path: Path) -> bool:
    os.open(path, os.O_RDONLY)
    return True


def refuses_long(path: Path) -> bool:
    assert len(path.read_bytes()) < 20, "too long"
    return True
