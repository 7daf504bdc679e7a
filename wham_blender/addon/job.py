"""One worker process in the background: start it, poll what it says, cancel it. No bpy.

The process speaks protocol.py on its standard output. It leads its own process group, so that a cancel reaches
everything it started.
"""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from .. import protocol

_PACKAGE = Path(__file__).resolve().parents[1]
# The folder that holds this package is searched last: other extensions lie there too, and none may stand before the
# worker's own packages.
_START = (
    "import runpy, sys; sys.path.append(sys.argv.pop(1)); "
    "runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
)
_GRACE = 2.0  # seconds between asking a process to end and killing it


class JobError(Exception):
    """A job cannot be started; the text is a sentence for the animator."""


def module_command(python: Path, module: str, *arguments: str) -> list[str]:
    """The command that runs a module of this package, named as ``wham_blender. ...``, by another Python.

    Isolated (-I): the user's packages, PYTHON* variables and the current folder stay out.
    """
    return [str(python), "-I", "-u", "-X", "utf8", "-c", _START, str(_PACKAGE.parent), module, *arguments]


class Job:
    """A running process, from its start. ``result`` is None until it ended."""

    def __init__(self, command: list[str], log: Path) -> None:
        """Start the process; raises JobError where it cannot be started or its log cannot be written."""
        self.log = log
        self.result: protocol.Done | protocol.Failed | None = None
        self._messages: queue.SimpleQueue[protocol.Message] = queue.SimpleQueue()
        self._ended_at: float | None = None
        self._kill_at: float | None = None
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        try:
            log.parent.mkdir(parents=True, exist_ok=True)
            log.write_bytes(b"")
            with log.open("ab") as errors:
                self._process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, env=environment,
                    encoding="utf-8", errors="replace",
                    start_new_session=sys.platform != "win32",
                    creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
                )  # fmt: skip
        except OSError as error:
            raise JobError(
                f"The import cannot be started: {error.filename or command[0]}: {error.strerror}. "
                "Check the worker's Python and the jobs folder in the preferences."
            ) from error
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def poll(self) -> list[protocol.Message]:
        """What was said since the last call, without waiting. Sets ``result`` when the process has ended."""
        now = time.monotonic()
        if self._process.poll() is not None and self._ended_at is None:
            self._ended_at = now
        messages = []
        # A process that outlives the worker may hold the pipe open: its end is not waited for longer than the grace.
        last = self._ended_at is not None and (not self._reader.is_alive() or now > self._ended_at + _GRACE)
        while not self._messages.empty():
            messages.append(self._messages.get())
        ends = [message for message in messages if isinstance(message, (protocol.Done, protocol.Failed))]
        if self.result is None and (ends or last):
            self.result = ends[0] if ends else protocol.Failed(self._epitaph())
        if self._kill_at is not None and now > self._kill_at and self._process.poll() is None:
            self._kill()
        return messages

    def cancel(self) -> None:
        """Ask the process to end; poll() kills it if it has not after two seconds. Does not wait."""
        if self._kill_at is None and self._process.poll() is None:
            self._kill_at = time.monotonic() + _GRACE
            if sys.platform == "win32":
                self._process.send_signal(signal.CTRL_BREAK_EVENT)
            else:
                os.killpg(self._process.pid, signal.SIGTERM)

    def stop(self) -> None:
        """Cancel and wait until the process is gone: at most the grace of two seconds."""
        self.cancel()
        try:
            self._process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            self._kill()
            self._process.wait()

    @property
    def cancelled(self) -> bool:
        """Whether cancel() came before the end."""
        return self._kill_at is not None

    def _kill(self) -> None:
        if sys.platform == "win32":
            self._process.kill()
        else:
            os.killpg(self._process.pid, signal.SIGKILL)

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines, self.log.open("a", encoding="utf-8") as log:
            for line in lines:
                message = protocol.decode(line)
                if isinstance(message, protocol.Log):
                    print(message.text, file=log, flush=True)
                self._messages.put(message)

    def _epitaph(self) -> str:
        code = self._process.poll()
        if self.cancelled:
            return "The import was cancelled."
        if code is not None and code < 0:
            how = f"was ended by {signal.Signals(-code).name}, perhaps for want of memory"
        else:
            how = f"ended without a result (exit code {code})"
        return f"The worker {how}. Its log says more: {self.log}"
