"""Training runs of a few steps on a made-up clip: they learn, ship what they say, and go on where they stopped."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from tools.training import checkpoint, lifter, shipped, wham
from wham_blender import weights
from wham_blender.models.lifter import Lifter
from wham_blender.models.wham import WHAM


@pytest.fixture
def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a mocap clip, and bundled weights and checkpoints of its own."""
    still = [1.0, 0, 0, 0]
    rows = [
        [1 / 30, 0.03 * i, 0.9, 0, *still, *still, *still, *still, -0.6 + 0.3 * np.sin(i / 6), *still, *still, 0.8,
         *still, -0.6 - 0.3 * np.sin(i / 6), *still, *still, 0.8]
        for i in range(80)
    ]  # fmt: skip
    (tmp_path / "pybullet").mkdir()
    (tmp_path / "pybullet" / "stride.txt").write_text(json.dumps({"Loop": "wrap", "Frames": rows}))
    bundled = tmp_path / "bundled_weights"
    bundled.mkdir()
    for name in ("manifest.toml", "open_body.npz"):
        shutil.copy(weights.folder() / name, bundled)
    monkeypatch.setattr(weights, "folder", lambda: bundled)
    monkeypatch.setattr(checkpoint, "FOLDER", tmp_path / "checkpoints")
    return tmp_path


def tensors(role: str) -> dict[str, torch.Tensor]:
    with np.load(weights.find(role).path, allow_pickle=False) as arrays:
        return {name: torch.from_numpy(arrays[name]).float() for name in arrays.files}


def test_it_trains_ships_and_resumes(workshop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--mocap", str(workshop), "--steps"]
    lifter.main([*options, "2"])
    first = tensors("lifter")
    Lifter.from_state_dict(first)
    assert weights.find("lifter").figures["steps"] == 2
    assert weights.find("lifter").figures["pa_mpjpe_mm"] > 0
    lifter.main([*options, "3"])
    assert "from step 2" in capsys.readouterr().out
    assert any(not torch.equal(first[name], value) for name, value in tensors("lifter").items())

    wham.main([*options, "1"])
    network = WHAM.from_state_dict(tensors("wham"))
    assert network.integrator.layer1.in_features == 256 + 51 + 256
    figures = weights.find("wham").figures
    # It starts as what it is fed with, so one step cannot make it much worse.
    assert figures["pa_mpjpe_mm"] < 1.2 * figures["lifter_pa_mpjpe_mm"] + 5


def test_what_is_shipped_is_listed_with_its_hash(workshop: Path) -> None:
    shipped.write_arrays("lifter", "x.npz", {"a": np.zeros(3)}, licence="CC0-1.0", source="here", figures={"b": 1.5})
    entry = weights.find("lifter")
    assert (entry.licence, entry.figures, entry.path.name) == ("CC0-1.0", {"b": 1.5}, "x.npz")
    assert weights.find("body").path.name == "open_body.npz"
    entry.path.write_bytes(b"damaged")
    with pytest.raises(weights.WeightsError, match="damaged"):
        weights.find("lifter")
