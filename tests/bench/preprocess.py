"""Speed of ViTPose-H and HMR2.0 with batched crops, and memory of their stages by clip length.

``build.py bench preprocess [--depth N] [--crops N]``: networks with random weights (the work is the same), with the
published 32 blocks on a CUDA card and 2 on the CPU, unless ``--depth`` is given. "One at a time" is the reference's
procedure: one crop and one view in each pass. Memory: a clip of 1080 x 1920 with one person is decoded, processed by
ViTPose, cropped, processed by HMR2.0; each length in a separate process, networks without blocks, as their size is the
same for every length.
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
ROUNDS = 3  # of both modes, alternating; the fastest is reported
LIMIT = 100.0  # MB that peak memory may grow from the short film to the long one
MB = 1e6
BOXES = np.array([[160.0, 500, 640, 1090]], np.float32)


class StationaryPerson:
    """A PeopleSource with the constant bounding box of the clip's person."""

    def __init__(self) -> None:
        self._frames = 0
        self._rows: list[DetectionRow] = []

    def process_frame(self, _image: np.ndarray) -> np.ndarray:
        """The same box in every frame."""
        blank = np.zeros((0, 3), np.float32)
        self._rows += [DetectionRow(self._frames, number, box, blank, blank, blank) for number, box in enumerate(BOXES)]
        self._frames += 1
        return BOXES

    def start_new_shot(self) -> None:
        """Do nothing: the clip has one shot."""

    def finished_rows(self) -> list[DetectionRow]:
        """The rows of the frames since the last call."""
        rows, self._rows = self._rows, []
        return rows

    def finish(self) -> None:
        """Do nothing: no rows are pending."""


def networks(depth: int, device: torch.device) -> dict[str, tuple[nn.Module, BatchedNetwork, Callable[..., object]]]:
    """By name: the model, its batched network, and its forward function."""
    pose = ViTPose.from_state_dict(published.vitpose(depth), depth)
    body = HMR2.from_state_dict(published.hmr2(depth), depth)
    return {
        "ViTPose-H": (pose, vitpose_stage.vitpose(pose, device, print), pose),
        "HMR2.0": (body, hmr2_features.hmr2_network(body, device, print), body.forward_cropped),
    }


@torch.inference_mode()
def speed(depth: int, count: int, device: torch.device) -> list[list[Cell]]:
    """Crops a second of both networks, single and batched."""
    crops = np.random.default_rng(0).integers(0, 255, (count, *CROP), dtype=np.uint8)
    rows: list[list[Cell]] = []
    for name, (_, network, forward) in networks(depth, device).items():

        def one_at_a_time(forward: Callable[..., object] = forward) -> None:
            for crop in crops:
                picture = person_crops.normalise(torch.from_numpy(crop[None]).to(device))
                for view in (picture, picture.flip(-1)):
                    found = forward(view)
                    for value in found if isinstance(found, tuple) else (found,):
                        value.float().cpu().numpy()

        network(crops[: network.batch])
        seconds: dict[str, list[float]] = {"single": [], "batched": []}
        for _ in range(ROUNDS):
            for mode, work in (("single", one_at_a_time), ("batched", lambda: network(crops))):  # noqa: B023
                begun = time.perf_counter()
                work()
                seconds[mode].append(time.perf_counter() - begun)
        single, batched = (count / min(each) for each in seconds.values())
        rows.append([name, depth, network.batch, single, batched, batched / single])
    return rows


def film(path: Path, frames: int) -> None:
    """Write the test clip, played forwards and backwards, until it has ``frames`` frames."""
    pictures = [frame.image[..., ::-1] for frame in video_reader.read_frames(CLIP, 1, 20) if frame.image is not None]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 30, pictures[0].shape[1::-1])
    loop = [*pictures, *pictures[-2:0:-1]]
    for number in range(frames):
        writer.write(loop[number % len(loop)])
    writer.release()


def memory(frames: int, device: torch.device) -> dict[str, float]:
    """Peak memory of this process and of the card after the stages ran on a clip of ``frames`` frames."""
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder, "film.mp4")
        crops, features = (ArrayFile(Path(folder, name), "bench") for name in ("crops", "features"))
        film(clip, frames)
        begun = time.perf_counter()
        nets = networks(0, device)
        with crops.writing(CROP, np.uint8) as append:
            detections, corners = watch.process_clip(
                video_reader.probe(clip), vitpose_stage.ViTPoseStage(StationaryPerson(), nets["ViTPose-H"][1], append)
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
    """Print both tables; returns 1 if memory grows by more than the limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", help="also write the figures there")
    parser.add_argument("--depth", type=int, help="blocks of the transformers")
    parser.add_argument("--crops", type=int, help="number of crops")
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
    report("Memory of the people and feature stages", columns, [list(run.values()) for run in runs])
    growth = runs[1]["peak"] - runs[0]["peak"]
    print(f"{LONG / SHORT:.0f} times as many frames need {growth:.0f} MB more.")
    return int(growth > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
