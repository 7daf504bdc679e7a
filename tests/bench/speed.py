"""Speed of draft and fast quality on one person in a full-HD clip, by stage, in frames a second.

``build.py bench speed``: the clip of a man on a balance beam, without the edge where a second person stands, played
forwards and backwards until it is ten seconds long. Frames are counted at the networks' 30 a second. A short run before
the measurement loads all libraries. If other programs run, the processor time is more reliable than wall time: the
networks and the background's corners use two processors at once. Fast quality runs without the fit to 2D keypoints.
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
EDGE = 150  # pixels of the picture with the second person
SECONDS = 10
QUALITIES = ("draft", "fast")


def one_person(folder: Path, seconds: float = SECONDS, scale: float = 1.0) -> Path:
    """The bench's clip, so many seconds long, 1080 x 1920 pixels times a scale, written into the folder."""
    reader = cv2.VideoCapture(str(CLIP))
    rate = reader.get(cv2.CAP_PROP_FPS)
    pictures = []
    decoded, picture = reader.read()
    while decoded:
        picture[:, :EDGE] = 0
        pictures.append(cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
        decoded, picture = reader.read()
    loop = [*pictures, *pictures[-2:0:-1]]
    path = folder / "one_person.mp4"
    height, width = pictures[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), rate, (width, height))
    for number in range(round(seconds * rate)):
        writer.write(loop[number % len(loop)])
    writer.release()
    return path


def measure(clip: Path, quality: str, folder: Path) -> tuple[dict[str, float], float]:
    """Seconds of each stage of one run, and total processor seconds. Raises SystemExit if not one person is found."""
    settings = Job(clip, folder / "motion.npz", quality=quality, refine=quality != "fast")
    run(replace(settings, end=60, resume=folder / "short"), lambda message: None)
    before = time.process_time()
    people = motion.load(run(replace(settings, person="ALL", resume=folder / "job"), lambda message: None))
    if len(people) != 1:
        raise SystemExit(f"The bench's clip shows one person; {len(people)} were found.")
    return dict(people[0].meta["timings"]), time.process_time() - before


def main() -> None:
    """Measure each quality that runs without a GPU and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", help="also write the figures there")
    arguments = parser.parse_args()
    rows: list[list[Cell]] = []
    for quality in QUALITIES:
        with tempfile.TemporaryDirectory() as folder:
            seconds, processor_time = measure(one_person(Path(folder)), quality, Path(folder))
        frames = SECONDS * video_reader.NETWORK_FPS
        seconds["total"] = sum(seconds.values())
        seconds["total processor time"] = processor_time
        rows += [[quality, stage, each, frames / each] for stage, each in seconds.items()]
    title = f"One person, 1080 x 1920, {os.cpu_count()} processors"
    report(title, ["quality", "stage", "seconds", "frames a second"], rows, arguments.json)


if __name__ == "__main__":
    main()
