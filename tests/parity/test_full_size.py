"""The networks at their published size, out of files as large as the published ones: do they load and run here?

Slow, and each needs 3 GB of memory and of disk, so it runs only where WHAM_FULL_SIZE is set:
``WHAM_FULL_SIZE=1 python3 build.py test tests/parity/test_full_size.py -s``. It prints what each network takes.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCKS = 32
CROPS = 2
LIMIT = 6e9  # bytes
PARAMETERS = {"vitpose": 637_000_000, "hmr2": 670_000_000}  # about

pytestmark = pytest.mark.skipif(
    not os.environ.get("WHAM_FULL_SIZE"), reason="slow, 3 GB of memory: set WHAM_FULL_SIZE=1 to run it"
)


def write(role: str, path: Path) -> None:
    """A checkpoint of the published size, in a process of its own, whose memory does not count."""
    import torch

    from tests import published

    torch.save({"state_dict": {"vitpose": published.vitpose, "hmr2": published.hmr2}[role](BLOCKS)}, path)


def measure(role: str, path: Path) -> dict[str, float]:
    """Load the file as a job does, look at some crops with their mirror images, and say what that took."""
    import numpy as np
    import torch

    from wham_blender.models.hmr2 import HMR2
    from wham_blender.models.vitpose import ViTPose
    from wham_blender.pipeline.people import vitpose_stage
    from wham_blender.pipeline.people.batched_network import CROP
    from wham_blender.pipeline.pose import hmr2_features

    cpu = torch.device("cpu")
    begun = time.perf_counter()
    model: ViTPose | HMR2
    if role == "vitpose":
        model = pose = vitpose_stage.load_vitpose(path)
        network = vitpose_stage.vitpose(pose, cpu, print)
    else:
        model = body = hmr2_features.load_hmr2(path)
        network = hmr2_features.hmr2_network(body, cpu, print)
    loaded = time.perf_counter() - begun
    begun = time.perf_counter()
    crops = np.random.default_rng(0).integers(0, 255, (CROPS, *CROP), dtype=np.uint8)
    outputs = network(crops)
    assert all(np.isfinite(output).all() for output in outputs)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return {
        "parameters": parameters, "blocks": len(model.backbone.blocks), "load_s": loaded,
        "crop_s": (time.perf_counter() - begun) / CROPS, "cpu_s": time.process_time(), "peak_bytes": peak,
    }  # fmt: skip


@pytest.mark.parametrize("role", PARAMETERS)
def test_the_published_size_runs_on_the_cpu(role: str, tmp_path: Path) -> None:
    path = tmp_path / f"{role}.pth"

    def call(step: str) -> str:
        command = [sys.executable, "-m", "tests.parity.test_full_size", step, role, str(path)]
        return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout

    call("write")
    found = json.loads(call("measure"))
    size = path.stat().st_size
    path.unlink()
    print(
        f"\n{role}: {found['parameters'] / 1e6:.0f} M parameters in {found['blocks']} blocks, a file of "
        f"{size / 1e9:.2f} GB read in {found['load_s']:.1f} s; {found['crop_s']:.1f} s a crop with its mirror image; "
        f"peak memory {found['peak_bytes'] / 1e9:.2f} GB; {found['cpu_s']:.0f} s of processor in all"
    )
    assert found["blocks"] == BLOCKS
    assert found["parameters"] == pytest.approx(PARAMETERS[role], rel=0.05)
    assert found["peak_bytes"] < LIMIT


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write(sys.argv[2], Path(sys.argv[3]))
    else:
        print(json.dumps(measure(sys.argv[2], Path(sys.argv[3]))))
