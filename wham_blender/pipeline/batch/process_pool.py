"""Runs the clips of a batch in several processes on this machine, each of which keeps its networks."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ... import launch, limits, protocol
from ...errors import one_line
from .. import processors
from ..job_process import Tell
from .clip_worker import FAILED, Outcome, Task, decode

_MODULE = "wham_blender.pipeline.batch.clip_worker"
# Bytes that a process of Draft quality needs, with room for a clip of 4K: it has 1.1 to 1.3 GB with one of 1080 x 1920.
_PROCESS_BYTES = 2 * limits.GB
_CARD_BYTES = 8 * limits.GB  # that the networks of Full quality take on a card, half of it for a batch of crops
_MOST_ON_A_CARD = 3  # decoding and detection keep three processes' cores busy while the card works; set by hand
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_END_TIMEOUT = 0.5  # seconds between asking processes to end and killing them: a cancel must take below a second

Command = Sequence[str | Path]
Report = Callable[[int, protocol.Message], None]  # with the task's number
WORKER: Command = (sys.executable, "-I", Path(launch.__file__), launch.MESSAGES, _MODULE)


@dataclass(frozen=True)
class Place:
    """Where a process runs."""

    cores: int
    card: int | None = None  # in the order of the bus; None: it may use any

    def environment(self) -> dict[str, str]:
        """The environment variables that keep the process there."""
        environ = {**os.environ, processors.CORES: str(self.cores), **dict.fromkeys(_THREAD_VARIABLES, str(self.cores))}
        if self.card is not None:
            environ |= {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": str(self.card)}
        return environ


def workers_on_card(free: int) -> int:
    """How many processes share a card with so many free bytes."""
    return min(free // _CARD_BYTES, _MOST_ON_A_CARD)


def places(count: int | None, clips: int, uses_cards: bool) -> list[Place]:
    """The places of ``count`` processes; None: as many as memory, cores, cards and the number of clips allow.

    ``uses_cards``: whether the quality may be one whose networks run on a card.
    """
    cores = processors.processor_cores()
    free = processors.free_card_memory() if uses_cards else []
    rounds = range(_MOST_ON_A_CARD)
    cards = [number for each in rounds for number, size in enumerate(free) if each < workers_on_card(size)]
    if count is None:
        count = min(processors.available_memory() // _PROCESS_BYTES, len(cards) or cores, cores, clips)
    count = max(int(count), 1)
    share = max(cores // count, 1)
    return [Place(share, cards[number % len(cards)] if cards else None) for number in range(count)]


class ProcessPool:
    """Processes that each take the next task as soon as they have ended one."""

    def __init__(self, where: Sequence[Place], log: Path, command: Command = WORKER) -> None:
        """``log``: the file for what libraries and unexpected errors print."""
        self._lanes = [_Lane(place, log, command) for place in where]
        self._waiting: queue.SimpleQueue[tuple[int, Task]] = queue.SimpleQueue()
        self._ended: queue.SimpleQueue[tuple[int, Outcome]] = queue.SimpleQueue()
        self._stopped = threading.Event()

    def run(self, tasks: Sequence[Task], report: Report) -> Iterator[tuple[int, Outcome]]:
        """Each task's number and outcome as soon as it has ended; ``report`` is called with all messages."""
        for item in enumerate(tasks):
            self._waiting.put(item)
        for lane in self._lanes:
            threading.Thread(target=self._work, args=[lane, report], daemon=True).start()
        for _ in tasks:
            yield self._ended.get()

    def _work(self, lane: _Lane, report: Report) -> None:
        with contextlib.suppress(queue.Empty):
            while not self._stopped.is_set():
                number, task = self._waiting.get_nowait()
                outcome = lane.run(task, lambda message, number=number: report(number, message))  # type: ignore[misc]
                if not self._stopped.is_set():
                    self._ended.put((number, outcome))
        lane.close()

    def stop(self) -> None:
        """End all processes at once. What they were working on is lost."""
        self._stopped.set()
        running = [lane.process for lane in self._lanes if lane.process and lane.process.poll() is None]
        for process in running:
            launch.end_tree(process.pid, force=False)
        until = time.monotonic() + _END_TIMEOUT
        for process in running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(until - time.monotonic(), 0))
        for process in running:
            if process.poll() is None:
                launch.end_tree(process.pid, force=True)


class _Lane:
    """One process, which is started again if it crashed."""

    def __init__(self, place: Place, log: Path, command: Command) -> None:
        self._place, self._log, self._command = place, log, command
        self.process: subprocess.Popen[str] | None = None

    def run(self, task: Task, tell: Tell) -> Outcome:
        """Have the process run a task."""
        begun = time.monotonic()
        try:
            if self.process is None or self.process.poll() is not None:
                self.process = self._start()
            assert self.process.stdin
            self.process.stdin.write(json.dumps(asdict(task)) + "\n")
            self.process.stdin.flush()
        except OSError as error:
            return self._crashed(task, f"it could not be started: {error.strerror}", begun)
        assert self.process.stdout
        while line := self.process.stdout.readline(limits.MESSAGE_BYTES):
            message = decode(line)
            if isinstance(message, Outcome):
                return message
            tell(message)
        status = self.process.wait()
        return self._crashed(task, f"exit status {status}" if status >= 0 else f"signal {-status}", begun)

    def _start(self) -> subprocess.Popen[str]:
        # In a group of its own: the batch, and not the terminal, ends it when it is cancelled.
        group = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
        with self._log.open("ab") as log:
            return subprocess.Popen(
                list(map(str, self._command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
                encoding="utf-8", errors="replace", env=self._place.environment(), creationflags=group,
                start_new_session=True,
            )  # fmt: skip

    @staticmethod
    def _crashed(task: Task, how: str, begun: float) -> Outcome:
        name = one_line(Path(task.arguments[-1]).name)
        return Outcome(
            FAILED, round(time.monotonic() - begun, 3), code="batch-process-ended",
            sentence=f"The process that worked on {name} ended by itself ({how}); the other clips go on. Memory may "
            "have run out: give fewer processes, and this clip again.",
        )  # fmt: skip

    def close(self) -> None:
        """Have the process end, as there are no more tasks."""
        if self.process and self.process.stdin:
            with contextlib.suppress(OSError):
                self.process.stdin.close()
