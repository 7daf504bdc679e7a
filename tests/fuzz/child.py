"""The child process of the fuzz harness: reads one example after the other and reports what came of each.

`python -m tests.fuzz.child DESCRIPTOR FOLDER FILE MODULE:FUNCTION`, started by harness.py, which notices an example
that ends or blocks this process.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import importlib
import os
import re
import shutil
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

from wham_blender import errors

_WAIT = 2.0  # seconds in which threads and descriptors of an example must be gone
_EXCEPTION_NAME = re.compile(r"\b(?:[A-Z]\w*(?:Error|Exception|Warning)|Traceback)\b")
_PACKAGE = str(Path(errors.__file__).parent)


def put(path: Path, kind: str, content: bytes) -> None:
    """Make what the example's path leads to: a file of that content, or something that is no such file."""
    match kind:
        case "file" | "sparse":
            path.write_bytes(content)
            if kind == "sparse":
                os.truncate(path, 1 << 36)  # takes no space on the disk
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "endless":
            path.symlink_to("/dev/zero")
        case "loop":
            path.symlink_to(path.name)
        case "missing":
            pass
        case _:
            raise ValueError(kind)


def clear(path: Path) -> None:
    """Remove it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def memory(field: str) -> float:
    """A line of /proc/self/status in MB: VmRSS is the memory in use, VmHWM its maximum; 0 where there is none."""
    with contextlib.suppress(OSError):
        match = re.search(rf"^{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
        return int(match[1]) / 1024 if match else 0.0
    return 0.0


def forget_maximum() -> None:
    """Make VmHWM begin at the memory in use."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def descriptors() -> int:
    """The number of open descriptors."""
    try:
        return len(list(Path("/proc/self/fd").iterdir()))
    except OSError:
        return 0


def problem_of(error: errors.CodedError) -> str:
    """What is wrong with an error that is shown to an animator; empty if nothing is."""
    text = str(error)
    if not re.fullmatch(r"[a-z][a-z0-9-]+", error.code):
        return f"has the code {error.code!r}"
    if not text.isprintable():
        return "has line breaks or characters that cannot be shown"
    if not text.endswith((".", "?")):
        return "does not end as a sentence"
    if len(text) > 1000:
        return f"has {len(text)} characters"
    if found := _EXCEPTION_NAME.search(text):
        return f"shows {found[0]}"
    return ""


def where(error: BaseException) -> str:
    """The innermost function of the package that the exception came through."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith(_PACKAGE)]
    return f"{Path(frames[-1].filename).name} {frames[-1].name}" if frames else "readers.py"


def outcome(read: Callable[[Path], bool], path: Path) -> dict[str, str]:
    """Read the example: ``result`` accepted, refused or problem; for a problem its ``signature`` and ``text``."""
    try:
        return {"result": "accepted" if read(path) else "refused"}
    except errors.CodedError as error:
        if problem := problem_of(error):
            signature = re.sub(r"\d+", "N", problem)
            return {"result": "problem", "signature": f"{where(error)}: a sentence {signature}", "text": str(error)}
        return {"result": "refused"}
    except Exception as error:
        lines = "".join(traceback.format_exception(error))
        return {"result": "problem", "signature": f"{type(error).__name__} in {where(error)}", "text": lines[-3000:]}


class Surroundings:
    """What an example must not leave behind: threads, open descriptors and files."""

    def __init__(self, folder: Path, path: Path) -> None:
        self._folder, self._path = folder, path
        self._threads, self._descriptors = threading.active_count(), descriptors()
        self._files = self._listed()

    def _listed(self) -> set[str]:
        return {
            str(found)
            for found in self._folder.rglob("*")
            if not found.is_relative_to(self._path) and "torchinductor" not in str(found)  # PyTorch's own
        }

    def left(self) -> str:
        """What was left behind, in words; empty if nothing was."""
        end = time.monotonic() + _WAIT
        while True:
            gc.collect()
            threads = threading.active_count() - self._threads
            opened = descriptors() - self._descriptors
            files = sorted(self._listed() - self._files)
            if (threads <= 0 and opened <= 0 and not files) or time.monotonic() > end:
                break
            time.sleep(0.01)
        parts = [f"{n} {what}" for n, what in ((threads, "threads"), (opened, "open descriptors")) if n > 0]
        parts += [f"the file {re.sub(r'[0-9a-f]{6,}|[0-9]+', 'N', Path(name).name)}" for name in files[:3]]
        for name in reversed(files):
            clear(Path(name))
        return ", ".join(parts)


def main() -> None:
    """Answer examples until the pipe is closed."""
    connection = Connection(int(sys.argv[1]))
    folder, name = Path(sys.argv[2]), sys.argv[3]
    module, _, function = sys.argv[4].partition(":")
    read: Callable[[Path], bool] = getattr(importlib.import_module(module), function)
    faulthandler.enable()
    tempfile.tempdir = str(folder / "temporary")
    (folder / "temporary").mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    warm = False
    while True:
        try:
            kind, content = connection.recv()
        except EOFError:
            return
        clear(path)
        put(path, kind, content)
        if not warm:  # imports what the reader needs, whose time, memory and descriptors are not the example's
            outcome(read, path)
            clear(path)
            put(path, kind, content)
            gc.collect()
            gc.freeze()
            warm = True
        surroundings = Surroundings(folder, path)
        forget_maximum()
        before, began, worked = memory("VmRSS"), time.monotonic(), time.process_time()
        found: dict[str, object] = {**outcome(read, path)}
        found["seconds"] = min(time.monotonic() - began, time.process_time() - worked)  # others may use the processor
        found["megabytes"] = max(0.0, memory("VmHWM") - before)
        found["left"] = surroundings.left()
        clear(path)
        connection.send(found)


if __name__ == "__main__":
    main()
