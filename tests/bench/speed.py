"""Speed of draft and fast quality on people who move in front of a standing camera, by stage.

``build.py bench speed``: the clip of a man on a balance beam, without the edge where a second person stands, played
forwards and backwards until it is ten seconds long, in frames a second. Frames are counted at the networks' 30 a
second. A short run before the measurement loads all libraries. If other programs run, the processor time is more
reliable than wall time: the networks and the background's corners use two processors at once. Fast quality runs without
the fit to 2D keypoints.

``--hands [RUNS]``: instead the processor time with and without hands, in turn, and the medians' ratio.

``--profile``: where the time goes. For each clip (540, 1080 and 2160 lines with one person; 1080 lines with up to six,
who are the same man beside himself, each a second later than the one before), quality and run (the first and the
second in one process): wall seconds of each stage, processor seconds of the job's own thread and of all others, and
what the job's thread waited. Then a process of its own, as the add-on starts it, cold and prepared: seconds to its
first Progress message, to the first frames that are done, and to its end. ``--sizes``, ``--people``, ``--qualities``
and ``--seconds`` make it shorter.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np

from tests.bench.report import Cell, report
from wham_blender import motion, protocol
from wham_blender.addon.worker import process
from wham_blender.pipeline.clip import video_reader
from wham_blender.pipeline.stages.job import Job
from wham_blender.pipeline.stages.run import run

CLIP = Path(__file__).parents[1] / "clips/balance_cam01.mp4"
EDGE = 150  # pixels of the picture with the second person
LINES, SECONDS = 1080, 10.0
QUALITIES = ("draft", "fast")
SIZES, PEOPLE = (540, 1080, 2160), (1, 2, 3, 6)
_WIDE = 16 / 9  # longer side over the shorter one, of the sizes that are named by their lines
LOAD_SECONDS = 20.0  # for a prepared process to load its libraries: eight times as long as on two free cores
COLUMNS = ["lines", "people", "quality", "run", "stage", "wall s", "job's thread s", "other threads s", "waited s"]


def write_clip(folder: Path, people: int = 1, lines: int = LINES, seconds: float = SECONDS) -> Path:
    """The bench's clip, written into the folder: 1080 x 1920 pixels, or with that longer side for several people."""
    reader = cv2.VideoCapture(str(CLIP))
    rate = reader.get(cv2.CAP_PROP_FPS)
    pictures = []
    decoded, picture = reader.read()
    while decoded:
        picture[:, :EDGE] = 0
        pictures.append(picture)
        decoded, picture = reader.read()
    reader.release()
    height, width = pictures[0].shape[:2]
    scale = round(_WIDE * lines) / max(height, people * width)
    size = [2 * round(side * scale / 2) for side in (width, height)]
    if size != [width, height]:
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        pictures = [cv2.resize(picture, size, interpolation=method) for picture in pictures]
    loop = [*pictures, *pictures[-2:0:-1]]
    path = folder / f"clip_{lines}_{people}.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), rate, (people * size[0], size[1]))
    for number in range(round(seconds * rate)):
        beside = [loop[(number + round(person * rate)) % len(loop)] for person in range(people)]
        writer.write(np.hstack(beside))
    writer.release()
    return path


def job(clip: Path, quality: str, folder: Path) -> Job:
    """The job that is measured; its stages are kept in a folder of the folder."""
    output, resume = folder / "motion.npz", folder / "job"
    return Job(clip, output, person="ALL", quality=quality, refine=quality != "fast", resume=resume)


def measure(clip: Path, quality: str, folder: Path, *, hands: bool = True) -> tuple[dict[str, float], float]:
    """Seconds of each stage of one run, and total processor seconds. Raises SystemExit if not one person is found."""
    settings = replace(job(clip, quality, folder), hands=hands)
    run(replace(settings, end=60, resume=folder / "short"), lambda message: None)
    before = time.process_time()
    people = motion.load(run(settings, lambda message: None))
    if len(people) != 1:
        raise SystemExit(f"The bench's clip shows one person; {len(people)} were found.")
    return dict(people[0].meta["timings"]), time.process_time() - before


@dataclass
class StageClock:
    """Takes a job's messages, and measures each stage from its first Progress message to that of the next."""

    seconds: dict[str, np.ndarray] = field(default_factory=dict)  # (3,) wall, the job's thread, all threads
    _stage: str = "start"
    _begin: np.ndarray = field(default_factory=lambda: StageClock._now())

    def __call__(self, message: protocol.Message) -> None:
        """Take the job's next message."""
        if isinstance(message, protocol.Progress) and message.stage != self._stage:
            self.end(message.stage)

    def end(self, following: str = "") -> None:
        """End the running stage; also after the job."""
        now = self._now()
        self.seconds[self._stage] = self.seconds.get(self._stage, np.zeros(3)) + now - self._begin
        self._stage, self._begin = following, now

    @staticmethod
    def _now() -> np.ndarray:
        return np.array([time.monotonic(), time.thread_time(), time.process_time()])


def profile(clip: Path, quality: str, number: str) -> list[list[Cell]]:
    """Rows of one run in this process, without the clip's columns; the last is the sum, with the people found."""
    with tempfile.TemporaryDirectory() as folder:
        clock = StageClock()
        people = motion.load(run(job(clip, quality, Path(folder)), clock))
        clock.end()
    stages = [*clock.seconds.items(), (f"total, {len(people)} found", sum(clock.seconds.values(), np.zeros(3)))]
    return [
        [quality, number, stage, float(wall), float(own), float(every - own), float(wall - own)]
        for stage, (wall, own, every) in stages
    ]


def start(clip: Path, quality: str, prepared: bool) -> list[list[Cell]]:
    """Rows of a process of its own: seconds to its first message, to the first frames done, and to its end."""
    base = process.module_command(Path(sys.executable), "wham_blender.pipeline")
    reached: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        if prepared:
            process.standby.prepare(base)
            time.sleep(LOAD_SECONDS)
        begin = time.monotonic()
        arguments = [str(clip), "-o", str(Path(folder) / "motion.npz"), "--json", "--quality", quality, "--resume"]
        worker = process.Job([*base, *arguments, str(Path(folder) / "job")], Path(folder) / "worker.log")
        while worker.result is None:
            for message in worker.poll():
                if isinstance(message, protocol.Progress):
                    reached.setdefault("first progress", time.monotonic() - begin)
                    if message.done:
                        reached.setdefault("first frames", time.monotonic() - begin)
            time.sleep(0.005)
        reached["end"] = time.monotonic() - begin
        worker.stop()
    run_name = "prepared process" if prepared else "cold process"
    return [[quality, run_name, stage, seconds, None, None, None] for stage, seconds in reached.items()]


def cost_of_hands(quality: str, seconds: float, runs: int) -> list[list[Cell]]:
    """Rows of the processor seconds with and without hands, in turn, and of the medians' ratio."""
    spent: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(runs):
        for hands, times in spent.items():
            with tempfile.TemporaryDirectory() as folder:
                clip = write_clip(Path(folder), seconds=seconds)
                times.append(measure(clip, quality, Path(folder), hands=hands)[1])
    ratio = float(np.median(spent[True]) / np.median(spent[False]))
    return [[quality, *pair, None] for pair in zip(*spent.values(), strict=True)] + [[quality, None, None, ratio]]


def clips(sizes: Sequence[int], people: Sequence[int]) -> list[tuple[int, int]]:
    """Lines and people of the clips that are profiled: one person in all sizes, more in the size nearest to LINES."""
    usual = min(sizes, key=lambda lines: abs(lines - LINES))
    return [(lines, people[0]) for lines in sizes] + [(usual, count) for count in people[1:]]


def profile_all(arguments: argparse.Namespace) -> list[list[Cell]]:
    """All rows of ``--profile``."""
    rows: list[list[Cell]] = []
    with tempfile.TemporaryDirectory() as folder:
        for lines, people in clips(arguments.sizes, arguments.people):
            clip = write_clip(Path(folder), people, lines, arguments.seconds)
            for quality in arguments.qualities:
                found = [row for number in ("first", "second") for row in profile(clip, quality, number)]
                rows += [[lines, people, *row] for row in found]
        clip = write_clip(Path(folder), 1, LINES, 2.0)
        for prepared in (False, True):
            rows += [[LINES, 1, *row] for row in start(clip, arguments.qualities[0], prepared)]
    return rows


def main() -> None:
    """Measure each quality that runs without a GPU and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", help="also write the figures there")
    parser.add_argument("--profile", action="store_true", help="where the time goes, stage by stage")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="lines of the clips")
    parser.add_argument("--people", type=int, nargs="+", default=PEOPLE, help="people in the clips")
    parser.add_argument("--qualities", nargs="+", choices=QUALITIES, default=QUALITIES)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="length of the clips of the other modes")
    parser.add_argument("--hands", type=int, nargs="?", const=3, help="runs with and without hands instead, in turn")
    arguments = parser.parse_args()
    processors = os.cpu_count()
    if arguments.profile:
        report(f"Where the time goes, {processors} processors", COLUMNS, profile_all(arguments), arguments.json)
        return
    rows: list[list[Cell]] = []
    if arguments.hands:
        for quality in arguments.qualities:
            rows += cost_of_hands(quality, arguments.seconds, arguments.hands)
        columns = ["quality", "with hands, s", "without, s", "ratio"]
        report(f"Processor time, {processors} processors", columns, rows, arguments.json)
        return
    for quality in arguments.qualities:
        with tempfile.TemporaryDirectory() as folder:
            seconds, processor_time = measure(write_clip(Path(folder)), quality, Path(folder))
        frames = SECONDS * video_reader.NETWORK_FPS
        seconds["total"] = sum(seconds.values())
        seconds["total processor time"] = processor_time
        rows += [[quality, stage, each, frames / each] for stage, each in seconds.items()]
    title = f"One person, 1080 x 1920, {processors} processors"
    report(title, ["quality", "stage", "seconds", "frames a second"], rows, arguments.json)


if __name__ == "__main__":
    main()
