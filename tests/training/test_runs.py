"""Tests of training runs of a few steps on a synthetic clip: they learn, write weights and figures, and resume."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from tools.training import checkpoint, drawn, filmed, hands, lifter, shipped, simulate, temporal, views, wham
from wham_blender import weights
from wham_blender.models.hand_lifter import HandLifter
from wham_blender.models.lifter import Lifter, fit_translation
from wham_blender.models.temporal import TemporalLifter
from wham_blender.models.wham import WHAM


@pytest.fixture
def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a mocap clip, bundled weights and checkpoints for one test."""
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
    for name in ("manifest.toml", "open_body.npz", "pose_landmark_heavy.tflite", "hand_landmark_full.tflite"):
        shutil.copy(weights.folder() / name, bundled)
    monkeypatch.setattr(weights, "folder", lambda: bundled)
    monkeypatch.setattr(checkpoint, "FOLDER", tmp_path / "checkpoints")
    monkeypatch.setattr(simulate, "ERRORS_FILE", tmp_path / "errors.npz")
    return tmp_path


def tensors(role: str) -> dict[str, torch.Tensor]:
    with np.load(weights.find(role).path, allow_pickle=False) as arrays:
        return {name: torch.from_numpy(arrays[name]).float() for name in arrays.files}


def test_training_writes_weights_and_resumes(workshop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    filmed.main(["--mocap", str(workshop), "--films", "1"])
    drawn.main(["--mocap", str(workshop), "--pictures", "3"])
    options = ["--mocap", str(workshop), "--steps"]
    lifter.main([*options, "2"])
    first = tensors("lifter")
    Lifter.from_state_dict(first)
    assert weights.find("lifter").figures["steps"] == 2
    assert weights.find("lifter").figures["pa_mpjpe_mm"] > 0
    lifter.main([*options, "3"])
    assert "from step 2" in capsys.readouterr().out
    assert any(not torch.equal(first[name], value) for name, value in tensors("lifter").items())

    temporal.main([*options, "2"])
    TemporalLifter.from_state_dict(tensors("temporal"))
    assert weights.find("temporal").figures["steps"] == 2
    # Without training it changes nothing, so two steps cannot make it much worse.
    measured = weights.find("temporal").figures
    assert measured["pa_mpjpe_mm"] < 1.2 * measured["lifter_pa_mpjpe_mm"] + 5

    wham.main([*options, "1"])
    network = WHAM.from_state_dict(tensors("wham"))
    assert network.d_feat == 154
    figures = weights.find("wham").figures
    # It is initialised to return the lifter's pose, so one step cannot make it much worse.
    assert figures["pa_mpjpe_mm"] < 1.2 * figures["lifter_pa_mpjpe_mm"] + 5


def test_hands_are_drawn_and_learned_from(workshop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hands.main(["--pictures", "6", "--steps", "2"])
    network = HandLifter.from_state_dict(tensors("hand_lifter"))
    low, high = network.body.limits
    assert bool((low < high).all())
    assert weights.find("hand_lifter").figures["steps"] == 2
    hands.main(["--pictures", "7", "--steps", "3"])
    assert "6 pictures, 1 held out; from step 2" in capsys.readouterr().out
    rows = checkpoint.read_rows(checkpoint.FOLDER / hands.PICTURES)
    looks = hands.hands_of(rows, network)
    # The truth lies where the net sees the hand: another hand, side or camera would be as far off as a hand is long.
    there = looks.points @ looks.rotation.mT
    there = there - there.mean(1, keepdim=True)
    assert float((looks.seen.metres - there).norm(dim=-1).mean(1).median()) < 0.06
    moved = hands.moved(looks, network, torch.Generator().manual_seed(0))
    assert bool(((moved.angles >= low) & (moved.angles <= high)).all())
    extent = (moved.seen.points**2).sum((1, 2)) / 21
    torch.testing.assert_close(extent, torch.ones_like(extent))


def test_mirrored_pictures_match_their_poses(workshop: Path) -> None:
    shutil.copy(Path(simulate.__file__).with_name("landmark_net_errors.npz"), simulate.ERRORS_FILE)
    drawn.main(["--mocap", str(workshop), "--pictures", "3"])
    with np.load(checkpoint.FOLDER / drawn.TRAINING, allow_pickle=False) as arrays:
        assert arrays["seen"].shape == arrays["seen_3d"].shape == (3, 2, 25, 3)
    pictures = views.PictureSampler(checkpoint.FOLDER / drawn.TRAINING, simulate.TrainingBody(), seed=0, varied=True)
    assert len(pictures) == 6
    view, _, _, placed = pictures.draw(256)
    true, inputs = placed[:, 24:] @ view.to_input_axes.mT, view.lifter_input
    rays = inputs.keypoints * inputs.half_extent[..., None]
    there = true + fit_translation(rays, true, inputs.mask[..., None].float())[:, None]
    flat = ((rays * there[..., 2:] - there[..., :2]) * inputs.mask[..., None]).norm(dim=-1)
    deep = (inputs.landmarks - true).norm(dim=-1)
    # Metres; landmarks mirrored differently from the pose would have errors of a body's width or more.
    assert float(flat.mean(1).quantile(0.9)) < 0.1
    assert float(deep.mean(1).quantile(0.9)) < 0.25


def test_written_weights_are_in_the_manifest_with_their_hash(workshop: Path) -> None:
    shipped.write_arrays("lifter", "x.npz", {"a": np.zeros(3)}, licence="CC0-1.0", source="here", figures={"b": 1.5})
    entry = weights.find("lifter")
    assert (entry.licence, entry.figures, entry.path.name) == ("CC0-1.0", {"b": 1.5}, "x.npz")
    assert weights.find("body").path.name == "open_body.npz"
    entry.path.write_bytes(b"damaged")
    with pytest.raises(weights.WeightsError, match="damaged"):
        weights.find("lifter")


def test_simulated_errors_match_the_measured_ones_in_size_and_time() -> None:
    films, frames = 150, 16
    rng = np.random.default_rng(0)
    points = rng.normal(0, 0.3, (films, 1, 25, 3)) + rng.normal(0, 0.02, (films, frames, 25, 3))
    points -= points[:, :, 11:13].mean(2, keepdims=True)

    def slow_and_fast(size: float, axes: int) -> np.ndarray:
        return size * (rng.normal(0, 1, (films, 1, 25, axes)) + rng.normal(0, 0.4, (films, frames, 25, axes)))

    uv = 500 + 200 * points[..., :2]
    seen = np.concatenate([uv + slow_and_fast(3.0, 2), np.ones((films, frames, 25, 1))], -1)
    errors = simulate.LandmarkErrors.of({
        "points": points, "place": np.tile([0, 0, 4.0], (films, frames, 1)), "uv": uv, "seen": seen,
        "seen_3d": points * (1, 1, 0.7) + slow_and_fast(0.05, 3),
    })  # fmt: skip
    constant, slow, white = errors.variance_fractions
    assert 0.5 < constant < 0.95
    assert white < 0.3
    assert constant + slow + white == pytest.approx(1, abs=0.05)
    generator = torch.Generator().manual_seed(0)
    true = torch.from_numpy(points[:, 0]).float().repeat_interleave(30, 0)
    drawn, off = errors.draw(true, 30, generator)
    wrong = (drawn - true).view(films, 30, 25, 3)
    assert 0.03 < float(wrong.std()) < 0.3
    assert float(wrong.mean(1).std()) > float(wrong.diff(dim=1).std())
    assert 0.003 < float(off.abs().mean()) < 0.03
