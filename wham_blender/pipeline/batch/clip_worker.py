"""A process that runs one clip of a batch after the other, with networks that are loaded once.

``launch.py --messages wham_blender.pipeline.batch.clip_worker`` reads a Task a line from standard input, and writes the
messages of protocol.py and an Outcome for each. It ends when its input closes, so that none is left when the batch is
killed.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import sys
import threading
import time
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

from ... import limits, motion, protocol, records
from ...errors import one_line
from ...records import AtMost, OsPath, Within
from ..job_process import CANCELLED, Tell, exit_now, failure, handle_cancel_signals, result
from ..network_store import NetworkStore
from ..options import job_parser
from ..processors import peak_memory

DONE, KEPT, FAILED = "done", "kept", "failed"
_OUTCOME = "Outcome"
_Figure = Annotated[float, Within(0, 1e12)]


@dataclass(frozen=True)
class Task:
    """A clip to be processed."""

    arguments: list[Annotated[str, OsPath(), AtMost(limits.TEXT)]]  # of `options.job_parser`
    keep_stages: bool = False  # else the job folder is deleted once the motion file is written


@dataclass(frozen=True)
class Outcome:
    """What came of a clip."""

    status: Annotated[str, AtMost(20)]  # DONE, KEPT or FAILED
    seconds: _Figure = 0.0
    frames: Annotated[int, Within(0, 2**53)] = 0  # of the clip, from the first to the last with somebody
    people: Annotated[int, Within(0, 2**53)] = 0
    confidence: _Figure | None = None  # mean of the keypoints, 0..1
    sliding: _Figure | None = None  # mean speed of planted feet, metres a second; None: no foot is ever planted
    memory: _Figure = 0.0  # bytes, the most that the process has had
    warnings: Annotated[list[protocol.Code], AtMost(limits.WARNINGS)] = field(default_factory=list)
    code: protocol.Code = ""  # of the error
    sentence: protocol.Text = ""  # of the error

    def line(self) -> str:
        """One line of JSON, other than any message's."""
        return json.dumps({"type": _OUTCOME, **asdict(self)})


def decode(line: str) -> Outcome | protocol.Message:
    """The outcome or message in a line. Never raises."""
    try:
        values = records.parse(line, limits.MESSAGE_BYTES)
        if isinstance(values, dict) and values.pop("type", None) == _OUTCOME:
            return records.make(Outcome, values)
    except records.InvalidRecord:
        pass
    return protocol.decode(line)


class ClipWorker:
    """Runs clips in this process and keeps the networks between them."""

    def __init__(self) -> None:
        self._networks = NetworkStore(keeps=True)

    def run(self, task: Task, tell: Tell) -> Outcome:
        """Process a clip. Whatever goes wrong is part of the outcome."""
        begun = time.monotonic()
        warnings: list[str] = []
        options = job_parser(None).parse_args(task.arguments)

        def forward(message: protocol.Message) -> None:
            if isinstance(message, protocol.Warn):
                warnings.append(message.code)
            tell(message)

        figures: dict[str, Any]
        try:
            before = options.output.stat().st_mtime_ns if options.output.is_file() else 0
            result(options, forward, self._networks)
            figures = _figures(motion.load(options.output))
        except Exception as error:
            failed = failure(one_line(options.clip.name), error)
            status, figures = FAILED, {"code": failed.code, "sentence": failed.text}
        else:
            status = KEPT if options.output.stat().st_mtime_ns == before else DONE
            if options.resume and not task.keep_stages:
                shutil.rmtree(options.resume, ignore_errors=True)
        return Outcome(
            status=status, seconds=round(time.monotonic() - begun, 3), memory=float(peak_memory()),
            warnings=list(dict.fromkeys(warnings))[: limits.WARNINGS], **figures,
        )  # fmt: skip


def _figures(people: list[motion.Motion]) -> dict[str, Any]:
    """The figures of a motion file, as fields of an Outcome."""
    slides = [person.meta["sliding"] for person in people if isinstance(person.meta.get("sliding"), float)]
    seen = [float(person.confidence[person.visible].mean()) for person in people if person.visible.any()]
    return {
        "frames": int(max(person.frame[-1] for person in people) - min(person.frame[0] for person in people) + 1),
        "people": len(people),
        "confidence": round(sum(seen) / len(seen), 4) if seen else None,
        "sliding": round(sum(slides) / len(slides), 4) if slides else None,
    }


def main() -> int:
    """Run the tasks of standard input; returns the exit code."""
    handle_cancel_signals(lambda: None)
    tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
    busy = threading.Event()

    def read() -> None:
        while line := sys.stdin.buffer.readline(limits.MESSAGE_BYTES + 1):
            busy.set()
            tasks.put(records.make(Task, records.parse(line, limits.MESSAGE_BYTES)))
        if busy.is_set():  # the batch was killed
            os._exit(CANCELLED)
        tasks.put(None)

    threading.Thread(target=read, name="tasks", daemon=True).start()
    worker = ClipWorker()
    try:
        while task := tasks.get():
            outcome = worker.run(task, protocol.send)
            busy.clear()
            protocol.write_line(outcome.line())
    except KeyboardInterrupt:
        return CANCELLED
    return 0


if __name__ == "__main__":
    exit_now(main())
