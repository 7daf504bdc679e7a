"""Runs a module of this package in another Python: ``python -I launch.py wham_blender.pipeline ARGUMENTS``.

The add-on starts its processes with this file, which lies beside what it runs, so that they find the package wherever
the extension is installed. Standard library only.

Where the starter says so (WHAM_ENDS_WITH_INPUT), the process ends with its standard input: a pipe that the starter
holds open and never writes to. However the starter goes, its pipe goes with it, so nothing runs on without it.
"""

from __future__ import annotations

import contextlib
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

GRACE = 0.8  # seconds between asking a process to end and ending it
ENDS_WITH_INPUT = "WHAM_ENDS_WITH_INPUT"


def main() -> None:
    """Run the module that the command line names, as ``python -m`` would."""
    # Searched last: other extensions lie in that folder too, and none may stand before the worker's own packages.
    sys.path.append(str(Path(__file__).resolve().parents[1]))
    if os.environ.pop(ENDS_WITH_INPUT, ""):
        threading.Thread(target=_end_with_input, name="lifeline", daemon=True).start()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


def _end_with_input() -> None:
    while os.read(0, 4096):
        pass
    end_tree(os.getpid(), force=False)
    time.sleep(GRACE)
    end_tree(os.getpid(), force=True)
    os._exit(1)  # where the tree's end did not include this process


def end_tree(pid: int, force: bool) -> None:
    """Ask a process that leads a group, and all that it started, to end, or end them. Does not wait or fail."""
    if sys.platform == "win32":
        if force:
            # CREATE_NO_WINDOW: no black window flashes over Blender.
            subprocess.Popen(
                ["taskkill", "/T", "/F", "/PID", str(pid)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL, creationflags=subprocess.CREATE_NO_WINDOW,
            )  # fmt: skip
        else:
            with contextlib.suppress(OSError):  # no console in common with it
                os.kill(pid, signal.CTRL_BREAK_EVENT)
    else:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # gone, or on macOS: only zombies are left
            os.killpg(pid, signal.SIGKILL if force else signal.SIGTERM)


if __name__ == "__main__":
    main()
