"""How long Blender's timer takes beside a worker in trouble, and a worker to be gone: ``build.py bench jobs``.

The longest tick of the timer (50 ms at most were asked for) while stand-ins for the worker flood Blender with lines,
are killed, or lose their disk; and the time from Cancel until the worker has ended, of one that listens and of
one that does not. Runs in every Blender.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import bpy  # first: it brings addon_utils

# isort: split

from tests.addon.conftest import CLIP, add_job, enabled, make_worker
from tests.addon.test_trouble import TROUBLE
from tests.bench.report import Cell, json_path, report
from wham_blender.addon.jobs.queue import job_queue

REST = 0.01  # seconds between two ticks
AT_WORK = "say(protocol.Progress('watch', 1, 2, 0.5))\ntime.sleep(600)\n"
CANCELLED = {
    "cancelled": AT_WORK,
    "cancelled, deaf to signals": f"signal.signal(signal.SIGTERM, signal.SIG_IGN)\n{AT_WORK}",
}


def start(folder: Path, worker: str) -> None:
    """Put a job before a stand-in for the worker that does what ``worker`` says."""
    os.environ["WHAM_WORKER_PYTHON"] = str(make_worker(folder, worker))
    add_job(CLIP)


def longest_tick(until: Callable[[], object]) -> float:
    """Tick until that holds; the longest in milliseconds."""
    longest = 0.0
    while not until():
        begun = time.perf_counter()
        job_queue._on_timer()
        longest = max(longest, time.perf_counter() - begun)
        time.sleep(REST)
    return 1000 * longest


def main() -> None:
    """Measure in this Blender and print a row for each kind of worker."""
    asked = json_path(__doc__)
    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
    rows: list[list[Cell]] = []
    with enabled(), tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_DATA_HOME"] = folder
        for kind, (worker, _) in TROUBLE.items():
            start(Path(folder), worker)
            rows.append([bpy.app.version_string, kind, longest_tick(lambda: not job_queue.busy), None])
        for kind, worker in CANCELLED.items():
            start(Path(folder), worker)
            before = longest_tick(lambda: job_queue.progress)
            begun = time.perf_counter()
            bpy.ops.wham.cancel()
            after = longest_tick(lambda: not job_queue.busy)
            rows.append([bpy.app.version_string, kind, max(before, after), time.perf_counter() - begun])
        job_queue.stop()
    report("Blender beside a worker", ["Blender", "the worker", "longest tick, ms", "gone after, s"], rows, asked)


if __name__ == "__main__":
    main()
