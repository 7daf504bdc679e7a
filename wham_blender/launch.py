"""Runs a module of this package in another Python: ``python -I launch.py wham_blender.pipeline ARGUMENTS``.

The add-on starts its processes with this file, so that they find the package wherever the extension is installed.
``python -m wham_blender.pipeline`` would run modules that lie in the current folder, such as one with clips.
Standard library only.

With ``--messages`` before the module, standard output is for the messages of protocol.py alone, and everything else
that is printed, also by libraries in C, goes to standard error.

If WHAM_ENDS_WITH_INPUT is set, the process ends when its standard input closes: a pipe that the parent process holds
open and never writes to. When the parent ends, even by a crash, the pipe closes, so no worker is left running.
"""

from __future__ import annotations

import contextlib
import importlib
import os
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


def main() -> None:
    """Run the module that the command line names, as ``python -m`` would."""
    package = Path(__file__).resolve().parent
    # Searched last: other extensions in that folder must not shadow the worker's packages.
    sys.path.append(str(package.parent))
    if os.environ.pop(ENDS_WITH_INPUT, ""):
        threading.Thread(target=_end_with_input, name="lifeline", daemon=True).start()
    del sys.argv[0]
    if sys.argv[:1] == [MESSAGES]:
        del sys.argv[0]
        separate_messages(package.name)
    if not sys.argv:
        sys.exit("Name a module: launch.py wham_blender.pipeline --help")
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


def separate_messages(package: str) -> None:
    """Give the package's protocol.py a copy of standard output for itself, and make that a copy of standard error."""
    messages = os.dup(1)  # not inherited by other processes
    os.dup2(2, 1)
    vars(importlib.import_module(f"{package}.protocol"))["descriptor"] = messages


def _end_with_input() -> None:
    while os.read(0, 4096):
        pass
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
