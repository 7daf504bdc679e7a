"""ViTPose-H and HMR2.0: many crops at once against one at a time, and how their stages' memory grows with the clip.

``build.py bench preprocess [--depth N] [--crops N]``: drawn numbers in the networks (the work is the same), of the
published 32 blocks on a CUDA card and of 2 on the CPU, unless ``--depth`` says otherwise. "At a time" is as the
reference does it: one crop and one view in each pass. Memory: a film of 1080 x 1920 with one person, decoded, looked at
by ViTPose, cut out, described by HMR2.0; each length in a process of its own, networks without blocks, as their size
is the same for every length.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests import published
from tests.bench.report import Cell, report
from wham_blender.models import vit
from wham_blender.models.hmr2 import HMR2
from wham_blender.models.vitpose import ViTPose
from wham_blender.pipeline.array_file import ArrayFile
from wham_blender.pipeline.clip import video_reader
from wham_blender.pipeline.people import person_crops, track_cleanup, vitpose_stage, watch
from wham_blender.pipeline.people.batched_network import CROP, BatchedNetwork
from wham_blender.pipeline.people.tracking import DetectionRow
from wham_blender.pipeline.pose import hmr2_features

CLIP = Path(__file__).parents[1] / "clips/balance_cam01.mp4"
SHORT, LONG = 100, 1000  # frames
ROUNDS = 3  # of both ways in turn; the fastest counts
LIMIT = 100.0  # MB that peak memory may grow from the short film to the long one
MB = 1e6
BOXES = np.array([[160.0, 500, 640, 1090]], np.float32)


class Stays:
    """A PeopleSource for whom one person stands where the film shows him."""

    def __init__(self) -> None:
        self._looks = 0
        self._rows: list[DetectionRow] = []

    def process_frame(self, _image: np.ndarray) -> np.ndarray:
        """The same box every time."""
        blank = np.zeros((0, 3), np.float32)
        self._rows += [DetectionRow(self._looks, number, box, blank, blank, blank) for number, box in enumerate(BOXES)]
        self._looks += 1
        return BOXES

    def start_new_shot(self) -> None:
        """There is none."""

    def finished_rows(self) -> list[DetectionRow]:
        """The look's rows."""
        rows, self._rows = self._rows, []
        return rows

    def finish(self) -> None:
        """Nothing waits."""


def networks(depth: int, device: torch.device) -> dict[str, tuple[nn.Module, BatchedNetwork, Callable[..., object]]]:
    """By name: the model, the same for batches, and what is asked of it."""
    pose = ViTPose.from_state_dict(published.vitpose(depth), depth)
    body = HMR2.from_state_dict(published.hmr2(depth), depth)
    return {
        "ViTPose-H": (pose, vitpose_stage.vitpose(pose, device, print), pose),
        "HMR2.0": (body, hmr2_features.hmr2_network(body, device, print), body.forward_cropped),
    }


@torch.inference_mode()
def speed(depth: int, count: int, device: torch.device) -> list[list[Cell]]:
    """Crops a second of both networks, both ways."""
    crops = np.random.default_rng(0).integers(0, 255, (count, *CROP), dtype=np.uint8)
    rows: list[list[Cell]] = []
    for name, (_, network, see) in networks(depth, device).items():

        def one_at_a_time(see: Callable[..., object] = see) -> None:
            for crop in crops:
                picture = person_crops.normalise(torch.from_numpy(crop[None]).to(device))
                for view in (picture, picture.flip(-1)):
                    found = see(view)
                    for value in found if isinstance(found, tuple) else (found,):
                        value.float().cpu().numpy()

        network(crops[: network.batch])
        seconds: dict[str, list[float]] = {"apart": [], "together": []}
        for _ in range(ROUNDS):
            for way, work in (("apart", one_at_a_time), ("together", lambda: network(crops))):  # noqa: B023
                begun = time.perf_counter()
                work()
                seconds[way].append(time.perf_counter() - begun)
        apart, together = (count / min(each) for each in seconds.values())
        rows.append([name, depth, network.batch, apart, together, together / apart])
    return rows


def film(path: Path, frames: int) -> None:
    """The test clip to and fro."""
    pictures = [frame.image[..., ::-1] for frame in video_reader.read_frames(CLIP, 1, 20) if frame.image is not None]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 30, pictures[0].shape[1::-1])
    turn = [*pictures, *pictures[-2:0:-1]]
    for number in range(frames):
        writer.write(turn[number % len(turn)])
    writer.release()


def memory(frames: int, device: torch.device) -> dict[str, float]:
    """Peak memory of this process, and of the card, after it did the stages for a film."""
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder, "film.mp4")
        crops, features = (ArrayFile(Path(folder, name), "bench") for name in ("crops", "features"))
        film(clip, frames)
        begun = time.perf_counter()
        nets = networks(0, device)
        with crops.writing(CROP, np.uint8) as append:
            detections, corners = watch.process_clip(
                clip, vitpose_stage.ViTPoseStage(Stays(), nets["ViTPose-H"][1], append)
            )
        people = track_cleanup.build_people(detections, corners.shot)
        for person in people:
            hmr2_features.extract_features(
                nets["HMR2.0"][1], crops, person.detection_rows, features, lambda done, total: None
            )
        unit = 1 if sys.platform == "darwin" else 1024
        return {
            "frames": frames, "people": len(people), "seconds": time.perf_counter() - begun,
            "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MB,
            "card": torch.cuda.max_memory_allocated() / MB if device.type == "cuda" else 0.0,
            "disk": crops.path.stat().st_size / MB,
        }  # fmt: skip


def main() -> int:
    """Print both tables; 1 where memory grows by more than the limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", help="also write the figures there")
    parser.add_argument("--depth", type=int, help="blocks of the transformers")
    parser.add_argument("--crops", type=int, help="how many crops are looked at")
    parser.add_argument("--frames", type=int, help="measure one film's memory in this process and print it as JSON")
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    card = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    if arguments.frames:
        print(json.dumps(memory(arguments.frames, device)))
        return 0
    depth = arguments.depth or (vit.DEPTH if device.type == "cuda" else 2)
    count = arguments.crops or (512 if device.type == "cuda" else 8)
    columns = ["network", "blocks", "batch", "crops/s one at a time", "crops/s batched", "ratio"]
    report(f"Crops with their mirror images, {card}", columns, speed(depth, count, device), arguments.json)
    command = [sys.executable, __file__, "--frames"]
    runs = [
        json.loads(subprocess.run([*command, str(frames)], check=True, capture_output=True, text=True).stdout)
        for frames in (SHORT, LONG)
    ]
    columns = ["frames", "people", "seconds", "peak MB", "on the card MB", "crops on disk MB"]
    report("Memory of watching and describing", columns, [list(run.values()) for run in runs])
    grown = runs[1]["peak"] - runs[0]["peak"]
    print(f"{LONG / SHORT:.0f} times as many frames take {grown:.0f} MB more.")
    return int(grown > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
