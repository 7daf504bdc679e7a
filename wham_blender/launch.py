"""Runs a module of this package in another Python: ``python -I launch.py wham_blender.pipeline ARGUMENTS``.

The add-on starts its processes with this file, so that they find the package wherever the extension is installed.
``python -m wham_blender.pipeline`` would run modules that lie in the current folder, such as one with clips.
Standard library only.

With ``--messages`` before the module, standard output is for the messages of protocol.py alone, and everything else
that is printed, also by libraries in C, goes to standard error.

If WHAM_ENDS_WITH_INPUT is set, the process ends when its standard input closes: a pipe that the parent process holds
open. When the parent ends, even by a crash, the pipe closes, so no worker is left running.

With ``--standby`` before the module, its arguments come later, as one line with a JSON list of texts on standard input.
Until then the module's neighbour ``preload`` is imported, which loads libraries. The process ends if no line comes
within STANDBY_SECONDS. It runs one module with one list of arguments: nothing is left for another job.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import queue
import runpy
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

GRACE = 0.8  # seconds between asking a process to end and killing it; set by hand: a cancel must take below a second
ENDS_WITH_INPUT = "WHAM_ENDS_WITH_INPUT"
MESSAGES = "--messages"
STANDBY = "--standby"
STANDBY_SECONDS = 300.0  # it holds 0.6 GB of memory meanwhile, of which a part is the libraries' files
_MOST_REQUEST = 1 << 20  # bytes of the line with the arguments: paths and options


def main() -> None:
    """Run the module that the command line names, as ``python -m`` would."""
    package = Path(__file__).resolve().parent
    # Searched last: other extensions in that folder must not shadow the worker's packages.
    sys.path.append(str(package.parent))
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    if os.environ.pop(ENDS_WITH_INPUT, ""):
        threading.Thread(target=_end_with_input, args=[lines], name="lifeline", daemon=True).start()
    del sys.argv[0]
    if sys.argv[:1] == [MESSAGES]:
        del sys.argv[0]
        separate_messages(package.name)
    if sys.argv[:1] == [STANDBY]:
        del sys.argv[0]
        sys.argv[1:] = _awaited_arguments(sys.argv[0], lines)
    if not sys.argv:
        sys.exit("Name a module: launch.py wham_blender.pipeline --help")
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


def separate_messages(package: str) -> None:
    """Give the package's protocol.py a copy of standard output for itself, and make that a copy of standard error."""
    messages = os.dup(1)  # not inherited by other processes
    os.dup2(2, 1)
    vars(importlib.import_module(f"{package}.protocol"))["descriptor"] = messages


def _awaited_arguments(module: str, lines: queue.SimpleQueue[bytes]) -> list[str]:
    """The arguments that come on standard input; libraries are loaded before they are awaited."""
    with contextlib.suppress(Exception):  # the job itself meets the fault again, and reports it
        importlib.import_module(f"{module}.preload")
    try:
        return [str(each) for each in json.loads(lines.get(timeout=STANDBY_SECONDS))]
    except queue.Empty:
        sys.exit(0)


def _end_with_input(lines: queue.SimpleQueue[bytes]) -> None:
    """Put the first line of standard input into ``lines``; end the process when the input closes."""
    line = b""
    while chunk := os.read(0, 4096):
        if len(line) < _MOST_REQUEST and not line.endswith(b"\n"):
            line += chunk
            if line.endswith(b"\n"):
                lines.put(line)
    end_tree(os.getpid(), force=False)
    time.sleep(GRACE)
    end_tree(os.getpid(), force=True)
    os._exit(1)  # if end_tree did not reach this process


def end_tree(pid: int, force: bool) -> None:
    """Ask the leader of a process group and all its children to end, or kill them. Does not wait or fail."""
    if sys.platform == "win32":
        if force:
            # CREATE_NO_WINDOW: otherwise a console window flashes over Blender.
            subprocess.Popen(
                ["taskkill", "/T", "/F", "/PID", str(pid)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL, creationflags=subprocess.CREATE_NO_WINDOW,
            )  # fmt: skip
        else:
            with contextlib.suppress(OSError):  # it shares no console with this process
                os.kill(pid, signal.CTRL_BREAK_EVENT)
    else:
        with contextlib.suppress(
            ProcessLookupError, PermissionError
        ):  # it has ended, or on macOS: only zombies are left
            os.killpg(pid, signal.SIGKILL if force else signal.SIGTERM)


if __name__ == "__main__":
    main()
