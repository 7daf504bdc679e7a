"""The command ``... wham_blender.pipeline batch CLIPS -o FOLDER``: a motion file for each clip, and a table."""

from __future__ import annotations

import argparse
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Protocol

from ... import protocol
from ...errors import one_line
from ...folders import NAME as FOLDER_NAME
from ..errors import folder_not_writable
from ..job_process import CANCELLED, FAILED, Tell, failure, handle_cancel_signals
from ..options import Parser, add_job_options, arguments_of, path_of
from ..terminal import Terminal
from .clip_list import BatchClip, find_clips
from .clip_worker import DONE, KEPT, Outcome, Task
from .process_pool import ProcessPool, Report, places
from .ray_pool import RayPool
from .results_table import ResultsTable

STAGES = f".{FOLDER_NAME}"  # folder of finished stages in the output folder
_LOG = "batch.log"
_CARD_QUALITIES = ("auto", "mixed", "full")
_MESSAGE_INTERVAL = 0.2  # seconds
_MOST_PROCESSES = 1024


class Pool(Protocol):
    """What runs the tasks: `ProcessPool`, or a cluster."""

    def run(self, tasks: Sequence[Task], report: Report) -> Iterator[tuple[int, Outcome]]:
        """Each task's number and outcome as soon as it has ended; ``report`` is called with messages meanwhile."""

    def stop(self) -> None:
        """End all work at once."""


def main(arguments: list[str]) -> int:
    """Run the batch; returns the exit code: 0 if each clip has its motion file, 1 if not."""
    options = _parser(protocol.send if "--json" in arguments else None).parse_args(arguments)
    cancelled = protocol.Failed(
        "The batch was cancelled. The motion files that are finished are kept.", code="cancelled"
    )
    tell: Tell = protocol.send if options.json else Terminal()
    handle_cancel_signals(lambda: tell(cancelled))
    try:
        failures = _run(options, tell)
    except KeyboardInterrupt:
        tell(cancelled)
        return CANCELLED
    except Exception as error:
        tell(failure("the batch", error))
        return FAILED
    return FAILED if failures else 0


def _parser(tell: Tell | None) -> argparse.ArgumentParser:
    parser = Parser("Turn many clips into Motion files.", tell, " batch")
    parser.add_argument(
        "clips", nargs="+", metavar="CLIPS",
        help="videos, image sequences, patterns such as takes/*.mp4, folders, and lists: CSV files with a column clip, "
        "or JSON lines (.jsonl), and options named as below for each clip",
    )  # fmt: skip
    parser.add_argument(
        "-o",
        "--output",
        type=path_of,
        required=True,
        metavar="FOLDER",
        help="the folder of motion files and results.csv",
    )
    parser.add_argument(
        "--processes", type=_processes, metavar="N", help="at once; by default as memory, cores and cards allow"
    )
    parser.add_argument(
        "--ray", metavar="ADDRESS", help="run on the Ray cluster at HOST:PORT, or auto for that of this machine"
    )
    parser.add_argument(
        "--keep-stages", action="store_true",
        help="keep the finished stages of each clip, for other options later: 5 to 50 MB a minute",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print messages as lines of JSON")
    return add_job_options(parser)


def _processes(text: str) -> int:
    if text.isascii() and text.isdecimal() and 0 < len(text) < 6 and 1 <= int(text) <= _MOST_PROCESSES:
        return int(text)
    raise argparse.ArgumentTypeError(f"{one_line(text)} is no number from 1 to {_MOST_PROCESSES}")


def _run(options: argparse.Namespace, tell: Tell) -> int:
    """Run the batch; returns the number of clips without a motion file. Raises CodedError if it cannot begin."""
    clips = find_clips(options.clips, options.output)
    try:
        options.output.mkdir(parents=True, exist_ok=True)
        table = ResultsTable(options.output, clips)
        # Long clips first: one that begins last would keep a single process busy at the end.
        order = sorted(range(len(clips)), key=lambda number: -clips[number].size)
        tasks = [_task(clips[number], options) for number in order]
        pool = _pool(options, len(clips))
        progress = _BatchProgress([clips[number].size for number in order], tell)
        try:
            for position, outcome in pool.run(tasks, progress.report):
                table.add(order[position], outcome)
                progress.end(position, outcome, one_line(clips[order[position]].clip.name))
        finally:
            table.finish()
            pool.stop()
    except OSError as error:
        raise folder_not_writable(options.output, error) from error
    counts = Counter(outcome.status for outcome in table.outcomes.values())
    tell(protocol.Log(_summary(counts)))
    tell(protocol.Done(str(table.path)))
    return len(clips) - counts[DONE] - counts[KEPT]


def _pool(options: argparse.Namespace, clips: int) -> Pool:
    uses_cards = options.device != "cpu" and options.quality in _CARD_QUALITIES
    if options.ray:
        return RayPool(options.ray, options.processes, uses_cards)
    return ProcessPool(places(options.processes, clips, uses_cards), options.output / _LOG)


def _task(clip: BatchClip, options: argparse.Namespace) -> Task:
    stages = options.output / STAGES / clip.output.stem
    arguments = [
        f"--output={clip.output}", f"--resume={stages}", "--skip-finished", *arguments_of(options), *clip.arguments,
        "--", str(clip.clip),
    ]  # fmt: skip
    return Task(arguments, options.keep_stages)


def _summary(counts: Counter[str]) -> str:
    done, kept = counts[DONE], counts[KEPT]
    failed = counts.total() - done - kept
    return f"{done} clips are done, {kept} were done before, {failed} failed."


class _BatchProgress:
    """Sends one Progress for all clips, a log line for each that ends, and a warning for each that fails."""

    def __init__(self, sizes: list[int], tell: Tell) -> None:
        """``sizes``: of the clips, as a measure of their work."""
        self._sizes = [max(size, 1) for size in sizes]
        self._tell, self._lock = tell, threading.Lock()
        self._fractions = [0.0] * len(sizes)
        self._done = self._failed = 0
        self._begun, self._last = time.monotonic(), 0.0
        self._skipped = 0.0  # of the work, as it was done before

    def report(self, number: int, message: protocol.Message) -> None:
        """A clip's process has sent a message; called from any thread."""
        if isinstance(message, protocol.Progress):
            with self._lock:
                self._fractions[number] = message.fraction
                self._send()

    def end(self, number: int, outcome: Outcome, name: str) -> None:
        """A clip has ended."""
        with self._lock:
            self._fractions[number] = 1.0
            self._done += 1
            if outcome.status == KEPT:
                self._skipped += self._sizes[number]
            if outcome.code:
                self._failed += 1
                self._tell(protocol.Warn(outcome.sentence, outcome.code))
            else:
                self._tell(protocol.Log(f"{name}: {outcome.status}, {outcome.seconds:.1f} s"))
            self._last = 0.0
            self._send()

    def _send(self) -> None:
        now = time.monotonic()
        if now - self._last < _MESSAGE_INTERVAL:
            return
        self._last = now
        total = sum(self._sizes)
        done = sum(fraction * size for fraction, size in zip(self._fractions, self._sizes, strict=True))
        worked = done - self._skipped
        left = (now - self._begun) * (total - done) / worked if worked > 0 else None
        stage = f"batch, {self._failed} failed" if self._failed else "batch"
        self._tell(protocol.Progress(stage, self._done, len(self._sizes), min(done / total, 1.0), left))
