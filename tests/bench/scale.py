"""What long clips and many clips cost: memory and time by stage, processes beside each other, a model of a cluster.

``build.py bench scale [--seconds 60 300 900] [--clips 40] [--frames 60] [--processes 1 2] [--nodes 1 2] [--scale 1]``

*Length*: the speed bench's clip at several lengths, each in a new process: its largest memory in each stage, sampled
twenty times a second, and seconds for each frame of the networks' 30 a second.

*Processes*, *nodes*: copies of a short clip as a batch, in processes and on Ray's local cluster with one core on each
node. Efficiency is the clips a second of N processes, from the first that ends to the last, over N times those of the
first number of processes.

*Model*: a clip takes ``start + frames * rate`` seconds, both fitted to the lengths; a batch gives the longest clip that
waits to the process that is free first, each of which loads for a while before its first clip. It is checked against
the measured batches, with the efficiency of cores that are shared, and then asked for 10,000 clips of 5 to 60 seconds
on 100 workers. A worker of that cluster is as fast as a process here: a card changes ``rate``, given by ``--rate``.
"""

from __future__ import annotations

import argparse
import heapq
import random
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from tests.bench.report import Cell, report
from tests.bench.speed import LINES, write_clip
from wham_blender import motion, protocol
from wham_blender.pipeline.batch.clip_worker import DONE, Outcome, Task
from wham_blender.pipeline.batch.command import Pool
from wham_blender.pipeline.batch.process_pool import Place, ProcessPool
from wham_blender.pipeline.batch.ray_pool import RayPool
from wham_blender.pipeline.processors import processor_cores

_FPS = 30  # the networks'
_SAMPLES = 0.05  # seconds between two samples of the memory


@dataclass(frozen=True)
class Length:
    """One run of a clip."""

    frames: int
    seconds: dict[str, float]  # by stage
    memory: dict[str, int]  # bytes, by stage
    motion_bytes: int
    stage_bytes: int
    clip_bytes: int


def _task(clip: Path, folder: Path, options: Sequence[str], keep: bool) -> Task:
    output = folder / f"{clip.stem}.npz"
    stages = folder / f"{clip.stem}.stages"
    return Task([f"--output={output}", f"--resume={stages}", *options, "--", str(clip)], keep)


def _checked(outcome: Outcome) -> Outcome:
    if outcome.status != DONE:
        raise SystemExit(f"The bench's clip failed: {outcome.sentence}")
    return outcome


@contextmanager
def _memory_of_children(stage: list[str], peaks: dict[str, int]) -> Iterator[None]:
    """Sample the memory of this process's children into ``peaks``, under the name that ``stage`` ends with."""
    ended = threading.Event()

    def sample() -> None:
        while not ended.wait(_SAMPLES):
            for child in psutil.Process().children():
                try:
                    used = child.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
                peaks[stage[-1]] = max(peaks.get(stage[-1], 0), used)

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    yield
    ended.set()
    thread.join()


def measure_length(seconds: float, scale: float, options: Sequence[str]) -> Length:
    """Process a clip of that length in a new process."""
    stage, peaks = ["start"], dict[str, int]()

    def listen(_number: int, message: protocol.Message) -> None:
        if isinstance(message, protocol.Progress):
            stage.append(message.stage)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = write_clip(folder, lines=round(scale * LINES), seconds=seconds)
        pool = ProcessPool([Place(processor_cores())], folder / "log")
        with _memory_of_children(stage, peaks):
            for _, outcome in pool.run([_task(clip, folder, options, keep=True)], listen):
                _checked(outcome)
        (person,) = motion.load(folder / f"{clip.stem}.npz")
        return Length(
            round(seconds * _FPS), dict(person.meta["timings"]), peaks,
            (folder / f"{clip.stem}.npz").stat().st_size,
            sum(path.stat().st_size for path in (folder / f"{clip.stem}.stages").rglob("*") if path.is_file()),
            clip.stat().st_size,
        )  # fmt: skip


@dataclass(frozen=True)
class Batch:
    """One run of a batch."""

    engine: str
    processes: int
    total: float  # seconds
    loading: float  # seconds, mean over the processes, from the start to the first clip that each ended
    rate: float  # clips a second between the first clip that ended and the last
    memory: float  # bytes of the largest process


@contextmanager
def _processes(count: int, folder: Path) -> Iterator[Pool]:
    share = max(processor_cores() // count, 1)
    yield ProcessPool([Place(share)] * count, folder / "log")


@contextmanager
def _ray_nodes(count: int, _folder: Path) -> Iterator[Pool]:
    """A cluster of so many nodes on this machine, of one core each."""
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args=node | {"include_dashboard": False})
    for _ in range(count - 1):
        cluster.add_node(**node)
    pool = RayPool(cluster.address, count, uses_cards=False)
    yield pool
    pool.stop()
    cluster.shutdown()


ENGINES = {"processes": _processes, "Ray nodes": _ray_nodes}


def measure_batch(engine: str, processes: int, clips: int, clip: Path, options: Sequence[str]) -> Batch:
    """Process copies of a clip in so many processes of one of ENGINES."""
    with tempfile.TemporaryDirectory() as name, ENGINES[engine](processes, Path(name)) as pool:
        folder = Path(name)
        copies = [Path(shutil.copy(clip, folder / f"{number}.mp4")) for number in range(clips)]
        tasks = [_task(copy, folder, options, keep=False) for copy in copies]
        begun, ends, memory = time.monotonic(), list[float](), 0.0
        for _, outcome in pool.run(tasks, lambda _number, _message: None):
            memory = max(memory, _checked(outcome).memory)
            ends.append(time.monotonic() - begun)
    later = len(ends) - processes  # the first clip of each process has its loading in it
    rate = later / (ends[-1] - statistics.fmean(ends[:processes]))
    loading = statistics.fmean(ends[:processes]) - processes / rate
    return Batch(engine, processes, ends[-1], loading, rate, memory)


def simulate(seconds: Sequence[float], workers: int, loading: float) -> float:
    """The end, seconds, of tasks of these durations that go, longest first, to the worker that is free first."""
    free = [loading] * workers
    for each in sorted(seconds, reverse=True):
        heapq.heapreplace(free, free[0] + each)
    return max(free)


def _report_lengths(lengths: Sequence[Length]) -> None:
    stages = list(dict.fromkeys(stage for length in lengths for stage in length.seconds))
    rows: list[list[Cell]] = []
    for stage in stages:
        for length in lengths:
            memory = length.memory.get(stage)
            rows.append([stage, length.frames, 1e3 * length.seconds[stage] / length.frames,
                         memory and round(memory / 1e6)])  # fmt: skip
    for length in lengths:
        whole = sum(length.seconds.values())
        rows.append(["all", length.frames, 1e3 * whole / length.frames, round(max(length.memory.values()) / 1e6)])
    report("Length", ["stage", "frames", "ms a frame", "memory MB"], rows)
    first, last = lengths[0], lengths[-1]
    if last.frames > first.frames:
        growth = (max(last.memory.values()) - max(first.memory.values())) / (last.frames - first.frames)
        print(f"Memory grows by {growth / 1e3:.1f} kB a frame, {growth * _FPS * 60 / 1e6:.1f} MB a minute.")


def _report_model(lengths: Sequence[Length], batches: Sequence[Batch], clips: int, rate: float | None) -> None:
    frames = np.array([length.frames for length in lengths], float)
    whole = np.array([sum(length.seconds.values()) for length in lengths])
    slope, start = np.polyfit(frames, whole, 1) if len(lengths) > 1 else (whole[0] / frames[0], 0.0)
    slope, start, one = rate or float(slope), max(float(start), 0.0), batches[0]
    rows: list[list[Cell]] = []
    for batch in batches:
        efficiency = batch.rate / (batch.processes * one.rate)
        expected = simulate([1 / (one.rate * efficiency)] * clips, batch.processes, batch.loading)
        rows.append([batch.engine, batch.processes, batch.total, expected, 100 * (expected / batch.total - 1)])
    report("Model against the batches", ["engine", "number", "seconds", "of the model", "off %"], rows)
    draw = random.Random(0)  # noqa: S311 - not for secrets
    lasts = [draw.uniform(5, 60) for _ in range(10_000)]
    tasks = [start + slope * _FPS * each for each in lasts]
    end = simulate(tasks, 100, one.loading)
    film, last = sum(lasts), lengths[-1]
    seconds_of_film = last.frames / _FPS
    rows = [
        ["hours", end / 3600],
        ["of them idle, %", 100 * (1 - sum(tasks) / (100 * end))],
        ["motion files, GB", film * last.motion_bytes / seconds_of_film / 1e9],
        ["finished stages, if kept, GB", film * last.stage_bytes / seconds_of_film / 1e9],
        ["clips of this bench's bit rate, GB", film * last.clip_bytes / seconds_of_film / 1e9],
        ["read from the storage, MB a second", film * last.clip_bytes / seconds_of_film / end / 1e6 * 2],
        ["results a second at the command", 10_000 / end],
        ["messages a second at the command, at most", 100 * 10],
    ]  # fmt: skip
    report(f"10,000 clips on 100 workers of {1e3 * slope:.1f} ms a frame", ["what", "figure"], rows)


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, nargs="+", default=[60, 300, 900], help="lengths of clips")
    parser.add_argument("--clips", type=int, default=40, help="of a batch, more than there are processes")
    parser.add_argument("--frames", type=int, default=60, help="of each clip of a batch, at 60 a second")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--nodes", type=int, nargs="*", default=[1, 2], help="of Ray's local cluster")
    parser.add_argument("--scale", type=float, default=1.0, help="of the pictures' sides")
    parser.add_argument("--quality", default="draft")
    parser.add_argument("--rate", type=float, help="seconds a frame of a worker of the cluster, instead of one here")
    arguments = parser.parse_args()
    options = [f"--quality={arguments.quality}", "--person=1"]
    lengths = [measure_length(seconds, arguments.scale, options) for seconds in sorted(arguments.seconds)]
    _report_lengths(lengths)
    batches: list[Batch] = []
    with tempfile.TemporaryDirectory() as folder:
        clip = write_clip(Path(folder), lines=round(arguments.scale * LINES), seconds=arguments.frames / 60)
        runs = zip(ENGINES, (arguments.processes, arguments.nodes), strict=True)
        for engine, count in [(engine, count) for engine, counts in runs for count in counts]:
            batches.append(measure_batch(engine, count, arguments.clips, clip, options))
    one = batches[0].rate / batches[0].processes
    rows: list[list[Cell]] = [
        [batch.engine, batch.processes, batch.total, batch.loading, batch.rate, batch.rate / one,
         100 * batch.rate / one / batch.processes, round(batch.memory / 1e6)]
        for batch in batches
    ]  # fmt: skip
    columns = ["engine", "number", "seconds", "loading", "clips a second", "times one", "efficiency %", "MB each"]
    report(f"{arguments.clips} clips of {arguments.frames} frames, {processor_cores()} cores", columns, rows)
    _report_model(lengths, batches, arguments.clips, arguments.rate)


if __name__ == "__main__":
    main()
