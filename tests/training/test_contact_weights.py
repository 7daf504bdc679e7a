"""The fit of contacts' weights: it finds those that made the data, and goes all the way on a made-up clip."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import expit

from tools.training import contacts as training
from tools.training import simulate
from tools.training.mocap import Clip
from wham_blender import weights
from wham_blender.pipeline.world import foot_contacts
from wham_blender.pipeline.world.calibration import calibration_for


def test_the_fit_finds_the_weights_that_made_the_data() -> None:
    rng = np.random.default_rng(0)
    known = np.array([0.7, -3.0, -0.5, 0.4])
    evidence = np.column_stack([
        rng.normal(0, 2, 40_000), rng.exponential(0.5, 40_000), np.log(rng.uniform(0.02, 0.5, 40_000)), np.ones(40_000)
    ])  # fmt: skip
    stands = rng.random(40_000) < expit(evidence @ known)
    assert training.fit(evidence, stands) == pytest.approx(known, abs=0.12)


def test_f1_counts_over_scenes() -> None:
    predicted = [np.array([[True, True, False, False]]), np.array([[True, False, False, False]])]
    true = [np.array([[True, False, True, False]]), np.array([[True, False, False, False]])]
    assert training.f1(predicted, true) == pytest.approx(2 * 2 / (3 + 3))


def test_its_judge_is_the_pipeline_s() -> None:
    rng = np.random.default_rng(1)
    predicted, feet = rng.random((30, 4)), rng.normal(0, 0.05, (30, 4, 3)).cumsum(0)
    fitted = np.array([0.77, -2.43, -0.77, -0.78])
    contact_model = training.RecordingContactModel(fitted)
    assert contact_model(predicted, feet) == pytest.approx(foot_contacts.contact_probability(predicted, feet, weights=fitted))
    assert contact_model.evidence[0].shape == (30, 4, 4)


def test_it_fits_to_training_clips_and_only_measures_the_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def swaying(name: str) -> Clip:
        poses = np.zeros((60, 72))
        poses[:, 3] = -0.5 + 0.4 * np.sin(np.arange(60) / 5)
        down = np.tile((poses[:, 3:4] > -0.3).astype(float), (1, 4))
        return Clip(name, poses, np.tile([0, 0.9, 0.0], (60, 1)), down, flat_floor=name != "stairs")

    drawn, fitted = [], []
    scene, fit = training.Scene, training.fit

    def drawing(clip: Clip, *rest: Any) -> training.Scene:
        drawn.append(clip.name)
        return scene(clip, *rest)

    def fitting(evidence: np.ndarray, stands: np.ndarray) -> np.ndarray:
        fitted.append(evidence.shape)
        return fit(evidence, stands)

    monkeypatch.setattr(simulate, "split", lambda *_: ([swaying("a"), swaying("stairs")], [swaying("b")]))
    monkeypatch.setattr(training, "Scene", drawing)
    monkeypatch.setattr(training, "fit", fitting)
    written = tmp_path / "calibrations.toml"
    training.main(["--mocap", str(Path()), "--scenes", "3", "--frames", "40", "--output", str(written)])
    assert drawn == ["a", "a", "a", "b"]
    assert len(fitted) == training.ITERATIONS
    assert all(count <= 3 * 3 * 40 * 4 and size == 4 for count, size in fitted)
    printed = capsys.readouterr().out
    assert "F1 on 1 kept scenes" in printed
    assert "wrote calibrations.toml" in printed
    known = calibration_for(weights.find("wham"), tmp_path)
    assert known and known.contact_weights and np.isfinite(known.contact_weights).all()
