"""One worker process in the background: start it, poll what it says, cancel it. No bpy.

The process speaks protocol.py on its standard output; whatever else it or its libraries say goes to the log. It leads
its own process group, so that a cancel reaches everything it started, and ends with Blender (launch.py).
"""

from __future__ import annotations

import contextlib
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import BinaryIO

from ... import launch, protocol

_PACKAGE = Path(launch.__file__).resolve().parent
_CHUNK = 65536  # bytes of a pipe read at once
_REST = 0.002  # seconds between two reads: a process that talks without end must not take Blender's interpreter
_LONGEST = 1 << 20  # bytes of a line; what is longer is cut
_WAITING = 1000  # messages kept for poll(); beyond, the process has to wait with its own
_OF_LIBRARIES = re.compile(rb"(INFO|WARNING): |[IW]\d{4} ")  # how lines begin that only their makers understand
_LINGER = 2.0  # seconds that a process may take to end after its last message, or hold its pipe open after its end


class JobError(Exception):
    """A job cannot be started; the text is a sentence for the animator."""


def module_command(python: Path, module: str, *arguments: str) -> list[str]:
    """The command that runs a module of this package, named as ``wham_blender. ...``, by another Python.

    Isolated (-I): the user's packages, PYTHON* variables and the current folder stay out.
    """
    return [str(python), "-I", "-u", "-X", "utf8", str(_PACKAGE / "launch.py"), module, *arguments]


class Job:
    """A running process, from its start. ``result`` is None until it ended."""

    def __init__(self, command: list[str], log: Path) -> None:
        """Start the process; raises JobError where it cannot be started or its log cannot be written."""
        self.log = log
        self._log = BoundedLog(log)
        self.result: protocol.Done | protocol.Failed | None = None
        self.last_line = ""  # of what it said beside its messages
        self._said: protocol.Done | protocol.Failed | None = None  # the result, as soon as it is told
        self._messages: queue.Queue[protocol.Message] = queue.Queue(_WAITING)
        self._progress: protocol.Progress | None = None
        self._deaf = False  # nobody polls any more
        self._ended_at: float | None = None  # when the process ended, or told its result
        self._kill_at: float | None = None
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        try:
            log.parent.mkdir(parents=True, exist_ok=True)
            log.write_bytes(b"")
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0,
                env={**environment, launch.ENDS_WITH_INPUT: "1"},
                start_new_session=sys.platform != "win32",
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
                | getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )  # fmt: skip
        except OSError as error:
            raise JobError(
                f"The import cannot be started: {error.filename or command[0]}: {error.strerror}. "
                "Check the worker's Python and the jobs folder in the preferences."
            ) from error
        self._reader = threading.Thread(target=self._read, name="job output", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def poll(self, seconds: float = 0.01) -> list[protocol.Message]:
        """What was said since the last call, taken in for no longer than ``seconds`` and without waiting.

        Of several Progress in a row only the newest. Sets ``result`` when the process has ended and all is told.
        """
        now = time.monotonic()
        ended = self._process.poll() is not None
        messages: list[protocol.Message] = []
        reading = self._reader.is_alive()  # asked before the queue is emptied: what is put later is for the next call
        while not self._messages.empty() and time.monotonic() < now + seconds:
            messages.append(self._messages.get())
            if isinstance(messages[-1], (protocol.Done, protocol.Failed)):
                self._said = self._said or messages[-1]
        if self._progress is not None:
            messages.append(self._progress)
            self._progress = None
        if self._ended_at is None and (ended or self._said):
            self._ended_at = now
        late = self._ended_at is not None and now > self._ended_at + _LINGER
        if self.result is None and (late or (ended and not reading and self._messages.empty())):
            self.result = self._said or protocol.Failed(self._epitaph())
            self._sweep()
        elif self._kill_at is not None and now > self._kill_at and not ended:
            launch.end_tree(self.pid, force=True)
        return messages

    def cancel(self) -> None:
        """Ask the process to end; poll() kills it if it has not within the grace. Does not wait."""
        if self._kill_at is None and self._process.poll() is None:
            self._kill_at = time.monotonic() + launch.GRACE
            launch.end_tree(self.pid, force=False)
            assert self._process.stdin is not None
            self._process.stdin.close()  # where no signal reaches it, this does

    def stop(self) -> None:
        """Cancel and wait until the process is gone: about a second at most."""
        self.cancel()
        self._deaf = True
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(launch.GRACE)
        self._sweep()
        self._process.wait()
        self._reader.join(_LINGER)

    @property
    def cancelled(self) -> bool:
        """Whether cancel() came before the end."""
        return self._kill_at is not None

    def _sweep(self) -> None:
        """End what is left of the process and of what it started."""
        # Windows has no groups that outlive their leader, and may have given its number to another process.
        if sys.platform != "win32" or self._process.poll() is None:
            launch.end_tree(self.pid, force=True)

    def _read(self) -> None:
        assert self._process.stdout is not None
        half = b""
        with self._process.stdout as pipe:
            while chunk := os.read(pipe.fileno(), _CHUNK):
                *lines, half = (half + chunk).split(b"\n")
                self._take(lines)
                half = half[-_LONGEST:]
                time.sleep(_REST)
            self._take([half] if half else [])

    def _take(self, lines: list[bytes]) -> None:
        noise = []
        for line in lines:
            message = protocol.decode(line.decode("utf-8", "replace")) if line.startswith(b"{") else None
            if isinstance(message, protocol.Progress):
                self._progress = message
            elif message is None:
                noise.append(line.rstrip(b"\r"))
            elif isinstance(message, protocol.Log):
                noise.append(message.text.encode())
            else:
                self._put(message)
        if noise:
            told = [line for line in noise if line.strip() and not _OF_LIBRARIES.match(line)]
            self.last_line = told[-1].decode("utf-8", "replace").strip() if told else self.last_line
            self._log.write(b"\n".join(noise) + b"\n")

    def _put(self, message: protocol.Message) -> None:
        while not self._deaf:
            with contextlib.suppress(queue.Full):
                self._messages.put(message, timeout=0.1)
                return

    def _epitaph(self) -> str:
        code = self._process.poll()
        if self.cancelled:
            return "The import was cancelled."
        if not self.log.parent.is_dir():
            return f"The folder of the job, {self.log.parent.name}, was deleted while it ran. Import the clip again."
        if code is not None and code < 0:
            return (
                f"The worker was ended by {signal.Signals(-code).name}, perhaps for want of memory. Import the clip "
                "again; the log says more."
            )
        return f"The worker ended without a result (exit code {code}). Import the clip again; the log says more."


class BoundedLog:
    """A log file that keeps its beginning and its end: the middle of one that grows beyond SIZE is left out.

    A disk that is full, or a folder that is gone, loses lines but stops nothing.
    """

    SIZE = 4 << 20  # bytes
    HEAD = 1 << 18
    TAIL = 1 << 20

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def write(self, lines: bytes) -> None:
        """Append whole lines."""
        # Opened anew each time: Windows lets nobody delete a folder with an open file in it.
        with self._lock, contextlib.suppress(OSError), self._path.open("a+b") as file:
            if file.seek(0, os.SEEK_END) + len(lines) > self.SIZE:
                lines = self._shorten(file) + lines[-self.TAIL :]
            file.write(lines)

    def _shorten(self, file: BinaryIO) -> bytes:
        """Cut the file after its head; the tail that goes on from there."""
        file.seek(-self.TAIL, os.SEEK_END)
        tail = file.read().partition(b"\n")[2]
        file.seek(self.HEAD)
        file.readline()
        file.truncate()
        return b"... lines left out ...\n" + tail
