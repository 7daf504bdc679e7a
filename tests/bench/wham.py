"""Speed of WHAM's inference at the published size with the flip test, and its memory by clip length.

Random weights and tracks (the work is the same), with the bundled body. Run by ``build.py bench wham``. Each length
runs in a separate process.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

import numpy as np
import torch
from report import report

from wham_blender import weights
from wham_blender.body.body import Body
from wham_blender.models.wham import WHAM
from wham_blender.pipeline.pose.types import View, WhamInput, WhamTrack
from wham_blender.pipeline.pose.wham_inference import run_wham

SHORT, LONG = 1_200, 12_000  # frames
SIZE = (1920, 1080)
LIMIT = 50.0  # MB that peak memory may grow beyond inputs and outputs
MB = 1e6


def measure(count: int) -> dict[str, float]:
    """Run WHAM once on ``count`` frames, after a warm-up."""
    torch.manual_seed(0)
    model, body = WHAM().eval(), Body.load(weights.find("body").path)
    rng = np.random.default_rng(0)
    keypoints = rng.uniform(0, 1, (count, 17, 3)) * [*SIZE, 1]
    boxes = rng.uniform(1, 2, (count, 3)) * [900, 500, 2]
    features = rng.standard_normal((2, count, 1024), np.float32)

    def run(frames: int) -> WhamTrack:
        views = [View(np.tile(np.eye(3), (24, 1, 1)), np.zeros(10), each[:frames]) for each in features]
        return run_wham(model, body, WhamInput(keypoints[:frames], boxes[:frames], SIZE, views))

    run(64)
    start = time.perf_counter()
    result = run(count)
    seconds = time.perf_counter() - start
    arrays = [keypoints, boxes, features, *vars(result).values()]
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return {
        "frames": count,
        "seconds": seconds,
        "peak": peak / MB,
        "inputs_outputs": sum(array.nbytes for array in arrays) / MB,
    }


def main() -> int:
    """Print the table; returns 1 if memory grows by more than the limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", help="also write the figures there")
    parser.add_argument("--frames", type=int, help="measure one length in this process and print it as JSON")
    arguments = parser.parse_args()
    if arguments.frames:
        print(json.dumps(measure(arguments.frames)))
        return 0
    command = [sys.executable, __file__, "--frames"]
    runs = [
        json.loads(subprocess.run([*command, str(count)], check=True, capture_output=True, text=True).stdout)
        for count in (SHORT, LONG)
    ]
    beyond = [run["peak"] - run["inputs_outputs"] for run in runs]
    rows = [
        [
            run["frames"],
            run["seconds"],
            run["frames"] / run["seconds"],
            run["peak"],
            run["inputs_outputs"],
            each - beyond[0],
        ]
        for run, each in zip(runs, beyond, strict=True)
    ]
    columns = ["frames", "seconds", "frames/s", "peak MB", "inputs and outputs MB", "growth beyond them MB"]
    report("WHAM with flip test, published size, one CPU thread", columns, rows, arguments.json)
    return int(beyond[1] - beyond[0] > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
