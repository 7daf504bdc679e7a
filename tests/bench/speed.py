"""How fast draft and fast quality take one person of a full-HD clip through every stage, in frames a second.

``build.py bench speed``: the bundled clip of a man on a balance beam, without the edge where a woman watches, played to
and fro until it is ten seconds long. Frames are counted at the 30 a second that the networks look at. The first frames
of the process are not counted: a short run before loads all libraries. Where other programs run, too, the processor
time tells more than the clock: the networks and the background's corners use two processors at once. Fast quality goes
without the fit to the picture.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import cv2

from tests.bench.report import Cell, report
from wham_blender import motion
from wham_blender.pipeline.clip import video_reader
from wham_blender.pipeline.stages.job import Job
from wham_blender.pipeline.stages.run import run

CLIP = Path(__file__).parents[1] / "clips/balance_cam01.mp4"
EDGE = 150  # pixels of the picture in which the woman stands
SECONDS = 10
QUALITIES = ("draft", "fast")


def one_person(folder: Path) -> Path:
    """The bench's clip, 1080 x 1920 pixels, written into the folder."""
    reader = cv2.VideoCapture(str(CLIP))
    rate = reader.get(cv2.CAP_PROP_FPS)
    pictures = []
    decoded, picture = reader.read()
    while decoded:
        picture[:, :EDGE] = 0
        pictures.append(picture)
        decoded, picture = reader.read()
    turn = [*pictures, *pictures[-2:0:-1]]
    path = folder / "one_person.mp4"
    height, width = pictures[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), rate, (width, height))
    for number in range(round(SECONDS * rate)):
        writer.write(turn[number % len(turn)])
    writer.release()
    return path


def measure(clip: Path, quality: str, folder: Path) -> tuple[dict[str, float], float]:
    """Seconds of each stage of one run, and processor seconds of all; SystemExit where it is not one person."""
    settings = Job(clip, folder / "motion.npz", quality=quality, refine=quality != "fast")
    run(replace(settings, end=60, resume=folder / "short"), lambda message: None)
    before = time.process_time()
    people = motion.load(run(replace(settings, person="ALL", resume=folder / "job"), lambda message: None))
    if len(people) != 1:
        raise SystemExit(f"The bench's clip shows one person; {len(people)} were found.")
    return dict(people[0].meta["timings"]), time.process_time() - before


def main() -> None:
    """Measure each quality that runs without a card and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", help="also write the figures there")
    arguments = parser.parse_args()
    rows: list[list[Cell]] = []
    for quality in QUALITIES:
        with tempfile.TemporaryDirectory() as folder:
            seconds, worked = measure(one_person(Path(folder)), quality, Path(folder))
        frames = SECONDS * video_reader.NETWORK_FPS
        seconds["all"] = sum(seconds.values())
        seconds["processor time of all"] = worked
        rows += [[quality, stage, each, frames / each] for stage, each in seconds.items()]
    title = f"One person, 1080 x 1920, {os.cpu_count()} processors"
    report(title, ["quality", "stage", "seconds", "frames a second"], rows, arguments.json)


if __name__ == "__main__":
    main()
