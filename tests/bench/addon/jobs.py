"""How long Blender's timer takes beside a worker in trouble, and a worker to be gone: ``build.py bench jobs``.

The longest tick of the timer (50 ms at most were asked for) while stand-ins for the worker flood Blender with lines,
are killed, or lose their disk; and the time from Cancel until the worker has ended, of one that listens and of
one that does not.

How long files from outside block Blender's main thread (50 ms at most were asked for): the longest of the calls that it
waits for, and the longest pause of a loop of 1 ms in it while a thread or process reads the file, in the best of five
tries. Building the
characters, which only the main thread can do, is a column of its own. Runs in every Blender.
"""

from __future__ import annotations

import json
import os
import pickle
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import bpy  # first: it brings addon_utils

# isort: split

import numpy as np

from tests.addon.conftest import CLIP, add_job, enabled, make_motion, make_worker
from tests.addon.test_trouble import TROUBLE
from tests.bench.report import Cell, json_path, report
from wham_blender import motion as motion_file
from wham_blender import weights
from wham_blender.addon.build_scene import build
from wham_blender.addon.jobs import job_record
from wham_blender.addon.jobs.queue import Work, job_queue
from wham_blender.addon.properties import PlacementSettings
from wham_blender.addon.retarget import maps
from wham_blender.addon.scene.reading import Reading
from wham_blender.addon.worker import fetch
from wham_blender.addon.worker.process import Job
from wham_blender.errors import CodedError
from wham_blender.files import file_state
from wham_blender.skeleton import PARENTS
from wham_blender.weights.library import Library

REST = 0.01  # seconds between two ticks
TRIES = 5
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


class Clock:
    """The longest that the main thread was blocked, in milliseconds."""

    def __init__(self) -> None:
        self.longest = 0.0

    def call(self, function: Callable[[], object]) -> object:
        """Call what Blender waits for. An error that the user is told ends it as well."""
        begun = time.perf_counter()
        try:
            return function()
        except CodedError as error:
            return error
        finally:
            self.longest = max(self.longest, 1000 * (time.perf_counter() - begun))

    def wait(self, until: Callable[[], bool]) -> None:
        """A loop that does something every millisecond."""
        last = time.perf_counter()
        while not until():
            time.sleep(0.001)
            now = time.perf_counter()
            self.longest, last = max(self.longest, 1000 * (now - last)), now


def least(measure: Callable[[Clock], object]) -> tuple[float, float]:
    """Milliseconds that the main thread was blocked and seconds that it all took: the least of TRIES tries.

    Other programs interrupt the loop, too; what holds the main thread in every try is the reading itself.
    """
    tries = []
    for _ in range(TRIES):
        clock, begun = Clock(), time.perf_counter()
        measure(clock)
        tries.append((clock.longest, time.perf_counter() - begun))
    blocked, seconds = zip(*tries, strict=True)
    return min(blocked), min(seconds)


def _after(seconds: float) -> Callable[[], bool]:
    limit = time.perf_counter() + seconds
    return lambda: time.perf_counter() > limit


def smpl_body() -> dict[str, np.ndarray]:
    """The arrays of a body as large as SMPL's with 300 shapes."""
    rng, count = np.random.default_rng(0), 6890
    nearest = np.arange(count) % 24
    joints = rng.normal(0, 0.5, (24, 3))
    return {
        "v_template": joints[nearest], "shapedirs": np.zeros((count, 3, 300)), "posedirs": np.zeros((count, 3, 207)),
        "J_regressor": (nearest == np.arange(24)[:, None]) / np.bincount(nearest)[:, None],
        "weights": np.eye(24)[nearest], "kintree_table": np.array([[2**32 - 1, *PARENTS[1:]], range(24)]),
        "f": np.array([[i, i + 1, i + 2] for i in range(count - 2)], np.uint32),
    }  # fmt: skip


def motion_files(folder: Path, library: Library) -> dict[str, Path]:
    """Motion files by what is special about them; the last ones have their body in a file of the library."""
    with np.load(weights.find("body").path) as data:
        body = {name: data[name] for name in data.files}
    large = folder / "large.npz"
    motion_file.save(large, [make_motion(body, 10_000, seed=seed) for seed in range(3)])
    bomb = folder / "bomb.npz"
    motion_file.save(bomb, [make_motion(body)])
    with (
        zipfile.ZipFile(bomb, "a", zipfile.ZIP_DEFLATED) as archive,
        archive.open("p9/poses.npy", "w", force_zip64=True) as stream,
    ):
        for _ in range(192):
            stream.write(bytes(16 << 20))
    os.mkfifo(folder / "pipe.npz")
    smpl = smpl_body()
    bodies = {"female": pickle.dumps(smpl, protocol=2), "male": b"\x80\x02]r\xff\xff\xff\x7f."}
    library.folder.mkdir(parents=True, exist_ok=True)
    entries = {}
    for gender, content in bodies.items():
        file = folder / f"{gender}.pkl"
        file.write_bytes(content)
        size, modified, *_ = file_state(file)
        entries[weights.library.BODIES[gender]] = {"path": str(file), "size": size, "modified": modified}
        person = make_motion(smpl | {"shapedirs": smpl["shapedirs"][..., :10]})
        person.gender = gender
        motion_file.save(folder / f"{gender}.npz", [person])
    (library.folder / "library.json").write_text(json.dumps(entries), "utf-8")
    return {
        "motion of 10,000 frames, 3 people": large, "motion with 3 GB that nobody asked for": bomb,
        "a named pipe as a motion": folder / "pipe.npz", "motion with SMPL of 300 shapes, .pkl": folder / "female.npz",
        "motion with a crafted .pkl": folder / "male.npz",
    }  # fmt: skip


def motion_rows(folder: Path) -> list[list[Cell]]:
    """Rows for motion files and the bodies that they need."""
    library, rows = Library(folder / "library"), []
    for kind, path in motion_files(folder, library).items():
        contents: Any = None

        def read(clock: Clock, path: Path = path) -> None:
            nonlocal contents
            reading: Any = clock.call(partial(Reading, path, library))
            clock.wait(partial(getattr, reading, "done"))
            contents = clock.call(reading.result)

        blocked, seconds = least(read)
        built: float | None = None
        if not isinstance(contents, CodedError):
            begun = time.perf_counter()
            build(bpy.context, contents, None, PlacementSettings(clip_rate=True), lambda *_: None)
            built = time.perf_counter() - begun
            bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
        rows.append([bpy.app.version_string, kind, blocked, seconds, built])
    return rows


class Choice(Work):
    """The process that recognises a weight file."""

    def __init__(self, library: Path, file: Path) -> None:
        self._library, self._file = library, file

    def start(self) -> Job:
        return Job(fetch.choose_command(self._library, "", self._file), self._library / "download.log")


def other_rows(folder: Path) -> list[list[Cell]]:
    """Rows for jobs, rig maps, the list of weight files and a weight file that is chosen."""
    rows: list[list[Cell]] = []

    def row(kind: str, measure: Callable[[Clock], object]) -> None:
        rows.append([bpy.app.version_string, kind, *least(measure), None])

    row("no file: a second of the loop alone", lambda clock: clock.wait(_after(1.0)))
    job = folder / "jobs" / "walk"
    job.mkdir(parents=True)
    record = {"clip": "/walk.mp4", "options": {}, "status": "DONE", "warnings": [[]] * 1_300_000}
    (job / "job.json").write_text(json.dumps(record, separators=(",", ":")), "utf-8")

    def scan(clock: Clock) -> None:
        thread = threading.Thread(target=job_record.scan, args=[job.parent])
        thread.start()
        clock.wait(lambda: not thread.is_alive())

    row("job.json of 4 MB of lists, in the list of jobs", scan)
    row("job.json of 4 MB of lists, named by a script", lambda clock: clock.call(lambda: job_record.load(job)))
    for kind, text in {
        "a rig map with a key of 16,000 parts": ".".join("a" * 16_000) + " = 1\n",
        "a rig map of 400 kB": ("[bones]\n" + "".join(f"bone{row} = 'x'\n" for row in range(25_000))),
        "a rig map of 32 kB in quotes": ('name = "' + 'a"."' * 8000)[: 32 << 10],
    }.items():
        path = folder / "map.toml"
        path.write_text(text, "utf-8")
        row(kind, partial(Clock.call, function=partial(maps.read, path)))
    record["warnings"] = ["x" * 150] * 24_000
    (job / "job.json").write_text(json.dumps(record, separators=(",", ":")), "utf-8")
    row("job.json of 4 MB of texts, in the list of jobs", scan)
    row("job.json of 4 MB of texts, named by a script", lambda clock: clock.call(lambda: job_record.load(job)))
    library = Library(folder / "many")
    library.folder.mkdir()
    entries = {f"role{number}": {"path": "x" * 40, "size": 1, "modified": 1} for number in range(600)}
    (library.folder / "library.json").write_text(json.dumps(entries), "utf-8")
    row("library.json of 60 kB, drawn", lambda clock: clock.call(library.missing))
    (folder / "weights.pt").symlink_to("/dev/zero")

    def choose(clock: Clock) -> None:
        job_queue.add(Choice(library.folder, folder / "weights.pt"))
        clock.longest = longest_tick(lambda: not job_queue.busy)

    row("a device as a weight file", choose)
    return rows


def main() -> None:
    """Measure in this Blender and print a row for each kind of worker and of file."""
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
        files = motion_rows(Path(folder)) + other_rows(Path(folder))
        job_queue.stop()
    report("Blender beside a worker", ["Blender", "the worker", "longest tick, ms", "gone after, s"], rows, asked)
    report(
        "Blender and files from outside",
        ["Blender", "the file", "main thread blocked, ms", "read in, s", "built in, s"],
        files,
        asked and Path(asked).with_suffix(".files.json"),
    )


if __name__ == "__main__":
    main()
