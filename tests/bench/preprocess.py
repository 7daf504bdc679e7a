"""Memory of ViTPose-H's and HMR2.0's stages by clip length; their speed is measured by ``build.py bench gpu``.

``build.py bench preprocess``: a clip of 1080 x 1920 with one person is decoded, processed by ViTPose, cropped,
processed by HMR2.0; each length in a separate process. The networks have random weights and no blocks, as their size is
the same for every length.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests import published
from tests.bench.report import report
from wham_blender.models.hmr2 import HMR2
from wham_blender.models.vitpose import ViTPose
from wham_blender.pipeline.array_file import ArrayFile
from wham_blender.pipeline.clip import video_reader
from wham_blender.pipeline.people import track_cleanup, vitpose_stage, watch
from wham_blender.pipeline.people.batched_network import CROP, BatchedNetwork
from wham_blender.pipeline.people.tracking import DetectionRow
from wham_blender.pipeline.pose import hmr2_features

CLIP = Path(__file__).parents[1] / "clips/balance_cam01.mp4"
SHORT, LONG = 100, 1000  # frames
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


def networks(device: torch.device) -> tuple[BatchedNetwork, BatchedNetwork]:
    """ViTPose and HMR2.0 without blocks."""
    pose, body = ViTPose.from_state_dict(published.vitpose(0), 0), HMR2.from_state_dict(published.hmr2(0), 0)
    return vitpose_stage.vitpose(pose, device, print), hmr2_features.hmr2_network(body, device, print)


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
        vitpose, hmr2 = networks(device)
        with crops.writing(CROP, np.uint8) as append:
            detections, corners = watch.process_clip(
                video_reader.probe(clip), vitpose_stage.ViTPoseStage(StationaryPerson(), vitpose, append)
            )
        people = track_cleanup.build_people(detections, corners.shot)
        for person in people:
            hmr2_features.extract_features(hmr2, crops, person.detection_rows, features, lambda done, total: None)
        unit = 1 if sys.platform == "darwin" else 1024
        return {
            "frames": frames, "people": len(people), "seconds": time.perf_counter() - begun,
            "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MB,
            "card": torch.cuda.max_memory_allocated() / MB if device.type == "cuda" else 0.0,
            "disk": crops.path.stat().st_size / MB,
        }  # fmt: skip


def main() -> int:
    """Print the table; returns 1 if memory grows by more than the limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", help="also write the figures there")
    parser.add_argument("--frames", type=int, help="measure one film's memory in this process and print it as JSON")
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if arguments.frames:
        print(json.dumps(memory(arguments.frames, device)))
        return 0
    command = [sys.executable, __file__, "--frames"]
    runs = [
        json.loads(subprocess.run([*command, str(frames)], check=True, capture_output=True, text=True).stdout)
        for frames in (SHORT, LONG)
    ]
    columns = ["frames", "people", "seconds", "peak MB", "on the card MB", "crops on disk MB"]
    report("Memory of the people and feature stages", columns, [list(run.values()) for run in runs], arguments.json)
    growth = runs[1]["peak"] - runs[0]["peak"]
    print(f"{LONG / SHORT:.0f} times as many frames need {growth:.0f} MB more.")
    return int(growth > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
