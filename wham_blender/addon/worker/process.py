"""A worker process in the background: starts it, polls its messages, cancels it. No bpy.

The process writes messages of protocol.py to its standard output. Its standard error, where launch.py also sends what
libraries print, goes to the log, as do lines that are no messages. It leads a process group, so that a cancel reaches
everything it started, and ends with Blender (launch.py).

After a job a new process may be prepared that has loaded its libraries and waits for the next job (`Standby`).
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import IO, BinaryIO

from ... import launch, limits, protocol
from ...errors import CodedError, reason

_PACKAGE = Path(launch.__file__).resolve().parent
_CHUNK = 65536  # bytes of a pipe read at once
_READ_PAUSE = 0.002  # seconds between two reads: endless output must not block Blender's interpreter
_QUEUE_SIZE = 1000  # messages kept for poll(); then the process blocks until they are read
_OF_LIBRARIES = re.compile(rb"(INFO|WARNING): |[IW]\d{4} ")  # how log lines of the worker's libraries begin
_SHOWN_BYTES = 500  # of a line in the panel, which wraps it at every redraw
_SOURCES = ("*.py", "*.toml", "requirements*.txt")  # files of this package that a running process has read
_LINGER = 2.0  # seconds that a process may take to end after its result, or keep its pipe open after its end


class JobError(CodedError):
    """A job cannot be started."""


def module_command(python: Path, module: str, *arguments: str) -> list[str]:
    """The command that runs a module of this package, named ``wham_blender. ...``, in another Python.

    Isolated (-I): the user's packages, PYTHON* variables and the current folder stay out.
    """
    launcher = [str(_PACKAGE / "launch.py"), launch.MESSAGES]
    return [str(python), "-I", "-u", "-X", "utf8", *launcher, module, *arguments]


class Job:
    """A background process. ``result`` is None until it has ended."""

    def __init__(self, command: list[str], log: Path) -> None:
        """Start the process; raises JobError if it cannot be started or its log cannot be written."""
        self.log = log
        self._log = BoundedLog(log)
        self.result: protocol.Done | protocol.Failed | None = None
        self.last_line = ""  # of its log output
        self._received: protocol.Done | protocol.Failed | None = None  # its own result message
        self._messages: queue.Queue[protocol.Message] = queue.Queue(_QUEUE_SIZE)
        self._progress: protocol.Progress | None = None
        self._discard_messages = False  # nobody polls any more
        self._ended_at: float | None = None  # when the process ended or sent its result
        self._kill_at: float | None = None
        try:
            log.parent.mkdir(parents=True, exist_ok=True)
            self._log.clear()
            self._process = standby.take(command) or _started(command)
        except (OSError, ValueError) as error:  # ValueError: a null character in an argument
            raise JobError(
                f"The import cannot be started: {getattr(error, 'filename', None) or command[0]}: "
                f"{getattr(error, 'strerror', None) or reason(error)}. "
                "Check the worker's Python and the jobs folder in the preferences.",
                code="job-not-started",
            ) from error
        pipes = ((self._process.stdout, self._sort), (self._process.stderr, self._write_to_log))
        self._readers = [
            threading.Thread(target=self._read, args=pipe, name="job output", daemon=True) for pipe in pipes
        ]
        for reader in self._readers:
            reader.start()

    @property
    def pid(self) -> int:
        """The process ID."""
        return self._process.pid

    def poll(self, seconds: float = 0.01) -> list[protocol.Message]:
        """The messages since the last call. Never waits, and returns after ``seconds`` at most.

        Of several Progress messages only the newest. Sets ``result`` when the process has ended and all is read.
        """
        now = time.monotonic()
        ended = self._process.poll() is not None
        messages: list[protocol.Message] = []
        reading = any(
            reader.is_alive() for reader in self._readers
        )  # read before the queue is emptied: later messages are for the next call
        while not self._messages.empty() and time.monotonic() < now + seconds:
            messages.append(self._messages.get())
            if isinstance(messages[-1], (protocol.Done, protocol.Failed)):
                self._received = self._received or messages[-1]
        if self._progress is not None:
            messages.append(self._progress)
            self._progress = None
        if self._ended_at is None and (ended or self._received):
            self._ended_at = now
        late = self._ended_at is not None and now > self._ended_at + _LINGER
        if self.result is None and (late or (ended and not reading and self._messages.empty())):
            self.result = self._received or self._failure()
            self._kill_group()
        elif self._kill_at is not None and now > self._kill_at and not ended:
            launch.end_tree(self.pid, force=True)
        return messages

    def cancel(self) -> None:
        """Ask the process to end; poll() kills it after launch.GRACE seconds. Does not wait."""
        if self._kill_at is None and self._process.poll() is None:
            self._kill_at = time.monotonic() + launch.GRACE
            launch.end_tree(self.pid, force=False)
            assert self._process.stdin is not None
            self._process.stdin.close()  # ends it even if it does not receive the signal

    def stop(self) -> None:
        """Cancel and wait until the process has ended: about a second at most."""
        self.cancel()
        self._discard_messages = True
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(launch.GRACE)
        self._kill_group()
        self._process.wait()
        for reader in self._readers:
            reader.join(_LINGER)

    @property
    def cancelled(self) -> bool:
        """Whether cancel() came before the end."""
        return self._kill_at is not None

    def _kill_group(self) -> None:
        """Kill the process and its children, if any are left."""
        # On Windows no group outlives its leader, whose process ID may belong to another process by now.
        if sys.platform != "win32" or self._process.poll() is None:
            launch.end_tree(self.pid, force=True)

    def _read(self, pipe: IO[bytes], take: Callable[[list[bytes]], None]) -> None:
        """Hand the lines of a pipe to ``take`` until it is closed. A bug there must not end the reading."""
        partial = b""
        with pipe:
            while chunk := os.read(pipe.fileno(), _CHUNK):
                *lines, partial = (partial + chunk).split(b"\n")
                self._attempt(take, lines)
                partial = partial[-limits.MESSAGE_BYTES :]
                time.sleep(_READ_PAUSE)
            self._attempt(take, [partial] if partial else [])

    def _attempt(self, take: Callable[[list[bytes]], None], lines: list[bytes]) -> None:
        try:
            take(lines)
        except Exception:
            self._log.write(traceback.format_exc().encode("utf-8", "replace"))

    def _sort(self, lines: list[bytes]) -> None:
        """Put messages into the queue and all other lines into the log."""
        output = []
        for line in lines:
            message = protocol.decode(line.decode("utf-8", "replace")) if line.startswith(b"{") else None
            if isinstance(message, protocol.Progress):
                self._progress = message
            elif message is None:
                output.append(line)
            elif isinstance(message, protocol.Log):
                output.append(message.text.encode())
            else:
                self._put(message)
        self._write_to_log(output)

    def _write_to_log(self, lines: list[bytes]) -> None:
        if lines:
            lines = [line.rstrip(b"\r") for line in lines]
            shown = [line for line in lines if line.strip() and not _OF_LIBRARIES.match(line)]
            if shown:
                self.last_line = shown[-1][:_SHOWN_BYTES].decode("utf-8", "replace").strip()
            self._log.write(b"\n".join(lines) + b"\n")

    def _put(self, message: protocol.Message) -> None:
        while not self._discard_messages:
            with contextlib.suppress(queue.Full):
                self._messages.put(message, timeout=0.1)
                return

    def _failure(self) -> protocol.Failed:
        """The result of a process that ended without sending one."""
        exit_code = self._process.poll()
        if self.cancelled:
            return protocol.Failed("The import was cancelled.", code="cancelled")
        if not self.log.parent.is_dir():
            return protocol.Failed(
                f"The folder of the job, {self.log.parent.name}, was deleted while it ran. Import the clip again.",
                code="job-folder-deleted",
            )
        if exit_code is not None and exit_code < 0:
            return protocol.Failed(
                f"The worker was ended by {_signal_name(-exit_code)}, perhaps because memory ran out. Import the clip "
                "again; the log says more.",
                code="worker-killed",
            )
        return protocol.Failed(
            f"The worker ended without a result (exit code {exit_code}). Import the clip again; the log says more.",
            code="worker-crashed",
        )


def _started(command: list[str]) -> subprocess.Popen[bytes]:
    """A new process, the leader of its group; raises OSError or ValueError."""
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
        env={**_environment(), launch.ENDS_WITH_INPUT: "1"},
        start_new_session=sys.platform != "win32",
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
        | getattr(subprocess, "CREATE_NO_WINDOW", 0),
    )  # fmt: skip


def _environment() -> dict[str, str]:
    """Blender's environment variables, without those of its Python."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


class Standby:
    """At most one process that has loaded the libraries of a module and waits for the arguments of one job.

    It runs that job and ends, so that no job can harm another. Any other process that is started ends it, because that
    may change what it has loaded, and because files in use cannot be replaced on Windows.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._command: list[str] = []
        self._state: object = None
        self._begin = 0.0  # when it was started

    @property
    def pid(self) -> int:
        """The process ID; 0 if there is no process."""
        return self._process.pid if self._process else 0

    def prepare(self, command: list[str]) -> None:
        """Start a process for a later job with a command of `module_command` without arguments. Does not wait or fail.

        Nothing happens if there is such a process already.
        """
        if self._process and self._process.poll() is None and self._fits(command):
            return
        self.stop()
        with contextlib.suppress(OSError, ValueError):
            self._state, self._begin = _loaded_state(), time.monotonic()
            self._process = _started([*command[:-1], launch.STANDBY, command[-1]])
            self._command = command

    def take(self, command: list[str]) -> subprocess.Popen[bytes] | None:
        """The process, which now runs a command; None, and there is none left, if it is another's or outdated."""
        process, own = self._process, self._command
        if not process or process.poll() is not None or not self._fits(command[: len(own)]):
            self.stop()
            return None
        assert process.stdin is not None
        try:
            content = json.dumps(command[len(own) :]).encode() + b"\n"
            while content:
                content = content[process.stdin.write(content) :]
        except OSError:  # it has just ended
            self.stop()
            return None
        self._process = None
        return process

    def stop(self) -> None:
        """End the process, if there is one."""
        if self._process:
            if self._process.poll() is None:
                launch.end_tree(self._process.pid, force=True)
                self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
                if pipe:
                    pipe.close()
            self._process = None

    def _fits(self, command: list[str]) -> bool:
        if time.monotonic() > self._begin + launch.STANDBY_SECONDS:  # it may be about to end
            return False
        try:
            return command == self._command and self._state == _loaded_state()
        except OSError:
            return False


def _loaded_state() -> object:
    """What a process that was started has taken over: the folder, variables, and its source files' times and sizes."""
    files = [path for pattern in _SOURCES for path in _PACKAGE.rglob(pattern)]
    states = [(str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in sorted(files)]
    return Path.cwd(), _environment(), states


standby = Standby()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # real-time signals have no names
        return f"signal {number}"


class BoundedLog:
    """A log file of bounded size: when it grows beyond SIZE, its middle is cut out.

    Errors are ignored: a full disk or a deleted folder loses lines but does not stop the job.
    """

    SIZE = 4 << 20  # bytes
    HEAD = 1 << 18
    TAIL = 1 << 20

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def clear(self) -> None:
        """Make the file empty; raises OSError, also for a named pipe: opening one would wait for its reader."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NONBLOCK", 0)
        os.close(os.open(self._path, flags, 0o666))

    def write(self, lines: bytes) -> None:
        """Append whole lines."""
        # Opened for each write: on Windows a folder with an open file in it cannot be deleted.
        with self._lock, contextlib.suppress(OSError), self._path.open("a+b") as file:
            if file.seek(0, os.SEEK_END) + len(lines) > self.SIZE:
                lines = self._shorten(file) + lines[-self.TAIL :]
            file.write(lines)

    def _shorten(self, file: BinaryIO) -> bytes:
        """Cut the file after its first HEAD bytes; returns its last TAIL bytes."""
        file.seek(-self.TAIL, os.SEEK_END)
        tail = file.read().partition(b"\n")[2]
        file.seek(self.HEAD)
        file.readline()
        file.truncate()
        return b"... lines left out ...\n" + tail
