"""The fuzz harness: gives examples to a reader in a child process, and keeps what must not happen as findings.

Held for every example: the process goes on, only a CodedError with a sentence and a code is raised, it takes at most
SECONDS and MEGABYTES, and no threads, open descriptors and files are left behind.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType

import hypothesis
import psutil
from hypothesis import HealthCheck, Phase
from hypothesis.configuration import set_hypothesis_home_dir
from hypothesis.strategies import SearchStrategy

ROOT = Path(__file__).resolve().parents[2]
FOUND = ROOT / "out" / "fuzz"  # where examples of findings are kept
SECONDS, MEGABYTES = 5.0, 1024.0  # most of an example
_BLOCKED = 60.0  # seconds of waiting, not of work, after which a reader blocks
_START = 120.0  # seconds until a child has imported its packages
_PAUSE = 0.02  # seconds between two looks at a child's memory
_KEPT = 20  # examples before a crash that are kept
_SHRINKING = 20.0  # seconds in which hypothesis makes an example smaller

set_hypothesis_home_dir(FOUND / "hypothesis")


@dataclass(frozen=True)
class Example:
    """What is put at the reader's path."""

    content: bytes = b""
    kind: str = "file"  # see child.put


# What may lie at any path that a user chooses; the last is an empty file.
ODD_PATHS = tuple(Example(kind=kind) for kind in ("folder", "pipe", "endless", "loop", "missing", "file"))


@dataclass(frozen=True)
class Outcome:
    """What came of an example."""

    accepted: bool = False
    seconds: float = 0.0
    megabytes: float = 0.0
    signature: str = ""  # of a finding: the same for all examples with the same cause; empty if all is well
    text: str = ""  # what is known about it
    before: tuple[Example, ...] = ()  # examples before it that are needed, too


@dataclass(frozen=True)
class Given:
    """What is given to a reader."""

    strategy: SearchStrategy[bytes]
    valid: tuple[Example, ...]  # must be accepted, else only refusals would be tried
    known: tuple[Example, ...] = ()  # tried first: what failed before, and what needs an exact form


@dataclass(frozen=True)
class Target:
    """One reader, and what is given to it."""

    name: str
    reader: str  # its name in readers.py
    file: str  # the example's name
    make: Callable[[], Given]
    count: int = 100  # examples in continuous integration
    is_file: bool = True  # false: its file only stands for a line or an answer
    module: str = "tests.fuzz.readers"

    @cached_property
    def given(self) -> Given:
        """Made when it is needed: that imports packages and writes clips."""
        return self.make()

    def worker(self) -> Worker:
        """A worker for it."""
        return Worker(f"{self.module}:{self.reader}", self.file)


class Worker:
    """A child process with one reader; it is started again after an example that ended it."""

    def __init__(self, reader: str, file: str) -> None:
        self._reader, self._file = reader, file
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._before: deque[Example] = deque(maxlen=_KEPT)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_error: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def run(self, example: Example) -> Outcome:
        """Give an example to the reader."""
        fresh = not self._before
        outcome = self._run(example)
        if outcome.signature.startswith("crash") and not fresh:
            before = tuple(self._before)
            self._before.clear()
            alone = self._run(example)
            outcome = alone if alone.signature else Outcome(
                signature=f"{outcome.signature}, after other examples", text=outcome.text, before=before
            )  # fmt: skip
        if self._process:
            self._before.append(example)
        else:
            self._before.clear()
        return outcome

    def close(self) -> None:
        """End the process."""
        if self._connection:
            self._connection.close()
        if self._process:
            self._process.kill()
            self._process.wait()
        if self._folder:
            self._folder.cleanup()
        self._process = self._connection = self._folder = None

    def _start(self) -> tuple[subprocess.Popen[bytes], Connection]:
        ours, theirs = socket.socketpair()
        self._folder = tempfile.TemporaryDirectory(prefix="fuzz-")
        folder = Path(self._folder.name)
        command: list[str | Path] = [sys.executable, "-m", "tests.fuzz.child", str(theirs.fileno()), folder / "work"]
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
        with theirs, (folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [*command, self._file, self._reader], cwd=ROOT, env=environ, pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        self._connection = Connection(ours.detach())
        return self._process, self._connection

    def _run(self, example: Example) -> Outcome:
        first = self._process is None
        process, connection = (self._process, self._connection) if self._process else self._start()
        assert process
        assert connection
        try:
            connection.send((example.kind, example.content))
            if problem := self._watched(process, connection, _START if first else 0.0):
                self.close()
                return Outcome(signature=problem, text=problem)
            found = connection.recv()
        except (EOFError, OSError):
            code = process.wait()
            log = (Path(self._folder.name) / "log").read_text("utf-8", "replace") if self._folder else ""
            self.close()
            name = signal.Signals(-code).name if code < 0 else f"status {code}"
            inside = re.search(r'wham_blender/(\S+)", line \d+ in (\w+)', log)
            at = f" in {Path(inside[1]).name} {inside[2]}" if inside else ""
            return Outcome(signature=f"crash: {name}{at}", text=log[-3000:])
        signature, text = found.get("signature", ""), found.get("text", "")
        if not signature:
            if found["megabytes"] > MEGABYTES:
                signature = "memory"
            elif found["seconds"] > SECONDS:
                signature = "slow"
            elif found["left"]:
                signature = text = f"leaves {found['left']}"
        return Outcome(found["result"] == "accepted", found["seconds"], found["megabytes"], signature, text)

    def _watched(self, process: subprocess.Popen[bytes], connection: Connection, starting: float) -> str:
        """Wait for the answer; what the child must be ended for, or empty when it has answered."""
        began, watched = time.monotonic(), psutil.Process(process.pid)

        def use() -> tuple[float, float]:
            times = watched.cpu_times()
            return times.user + times.system, watched.memory_info().rss / 2**20

        with contextlib.suppress(psutil.Error):  # it has ended: reading the answer tells
            worked, memory = use()
            # A new child imports packages and reads the example twice.
            seconds, most = (SECONDS + starting, 3 * MEGABYTES) if starting else (1.5 * SECONDS, 1.2 * MEGABYTES)
            while not connection.poll(_PAUSE):
                now, megabytes = use()
                if megabytes - memory > most:
                    return "memory"
                if now - worked > seconds:
                    return "slow"
                if time.monotonic() - began > _BLOCKED + starting:
                    return "blocks"
        return ""


@dataclass
class Finding:
    """An example that broke a rule, the smallest known one."""

    target: str
    example: Example
    outcome: Outcome

    def save(self) -> Path:
        """Write the example into FOUND; returns its path."""
        FOUND.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256(self.outcome.signature.encode()).hexdigest()[:8]
        path = FOUND / f"{self.target.replace(' ', '_')}-{digest}"
        path.write_bytes(self.example.content)
        for number, before in enumerate(self.outcome.before):
            path.with_name(f"{path.name}.before{number:02d}").write_bytes(before.content)
        path.with_name(f"{path.name}.txt").write_text(f"{self.outcome.signature}\n\n{self.outcome.text}\n", "utf-8")
        return path

    def __str__(self) -> str:
        shown = self.example.content if len(self.example.content) <= 100 else b"..."
        kind = self.example.kind if self.example.kind != "file" else f"{len(self.example.content)} bytes"
        return f"{self.target}: {self.outcome.signature} ({kind}: {shown!r}), kept in {self.save()}"


@dataclass
class Campaign:
    """Examples for one target, and what came of them."""

    target: Target
    examples: int = 0
    accepted: int = 0
    refused: int = 0
    slowest: float = 0.0
    megabytes: float = 0.0
    findings: dict[str, Finding] = field(default_factory=dict)  # by signature

    def known(self, worker: Worker) -> None:
        """Try the target's valid and known examples, and what may lie at any path that a user chooses."""
        for example in self.target.given.valid:
            if self._try(worker, example, "refuses a valid example"):
                break
        for example in (*self.target.given.known, *(ODD_PATHS if self.target.is_file else ())):
            self._try(worker, example)

    def generated(self, worker: Worker, count: int, seed: int, end: float = float("inf")) -> None:
        """Try ``count`` examples that hypothesis makes, unless the clock passes ``end``; findings are made smaller."""
        shrinking, since = "", 0.0

        def breaks_a_rule(content: bytes) -> bool:
            nonlocal shrinking, since
            if shrinking:
                return time.monotonic() - since < _SHRINKING and self._smaller(worker, Example(content), shrinking)
            new = "" if time.monotonic() > end else self._try(worker, Example(content))
            if not new or new in ("slow", "memory", "blocks"):  # each try of these takes seconds
                return False
            shrinking, since = new, time.monotonic()
            return True

        @hypothesis.seed(seed)
        @hypothesis.settings(
            max_examples=count, deadline=None, database=None, phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck), report_multiple_bugs=False,
        )  # fmt: skip
        @hypothesis.given(self.target.given.strategy)
        def example(content: bytes) -> None:
            if breaks_a_rule(content):
                raise _FoundError  # in one place: hypothesis tells causes apart by it

        with warnings.catch_warnings(), contextlib.suppress(_FoundError, hypothesis.errors.Flaky, BaseExceptionGroup):
            warnings.simplefilter("ignore", hypothesis.errors.HypothesisWarning)  # about the length of examples
            example()

    def _smaller(self, worker: Worker, example: Example, signature: str) -> bool:
        """Whether an example breaks the same rule; the smallest is kept."""
        outcome = worker.run(example)
        if outcome.signature != signature:
            return False
        best = self.findings[signature]
        if len(example.content) < len(best.example.content) and not outcome.before:
            best.example, best.outcome = example, outcome
        return True

    def _try(self, worker: Worker, example: Example, if_refused: str = "") -> str:
        """Run an example; the signature of a finding that was not known before."""
        outcome = worker.run(example)
        if not (outcome.accepted or outcome.signature):
            outcome = replace(outcome, signature=if_refused)
        self.examples += 1
        self.slowest, self.megabytes = max(self.slowest, outcome.seconds), max(self.megabytes, outcome.megabytes)
        if not outcome.signature:
            self.accepted += outcome.accepted
            self.refused += not outcome.accepted
        elif outcome.signature not in self.findings:
            self.findings[outcome.signature] = Finding(self.target.name, example, outcome)
            return outcome.signature
        return ""


class _FoundError(Exception):
    """Tells hypothesis that an example breaks a rule."""
