"""Tests of the fit of the contact weights: on synthetic evidence, and the whole command on a synthetic clip."""

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


def test_fit_recovers_known_weights() -> None:
    rng = np.random.default_rng(0)
    known = np.array([0.7, -3.0, -0.5, 0.4])
    evidence = np.column_stack([
        rng.normal(0, 2, 40_000), rng.exponential(0.5, 40_000), np.log(rng.uniform(0.02, 0.5, 40_000)), np.ones(40_000)
    ])  # fmt: skip
    contacts = rng.random(40_000) < expit(evidence @ known)
    assert training.fit(evidence, contacts) == pytest.approx(known, abs=0.12)


def test_f1_is_computed_over_all_scenes() -> None:
    predicted = [np.array([[True, True, False, False]]), np.array([[True, False, False, False]])]
    true = [np.array([[True, False, True, False]]), np.array([[True, False, False, False]])]
    assert training.f1(predicted, true) == pytest.approx(2 * 2 / (3 + 3))


def test_contact_model_matches_the_pipeline() -> None:
    rng = np.random.default_rng(1)
    predicted, feet = rng.random((30, 4)), rng.normal(0, 0.05, (30, 4, 3)).cumsum(0)
    fitted = np.array([0.32, -2.23, -0.48, -0.54, -1.05, 1.09, -2.95, -2.41])
    contact_model = training.RecordingContactModel(fitted)
    assert contact_model(predicted, feet) == pytest.approx(
        foot_contacts.contact_probability(predicted, feet, weights=fitted)
    )
    assert contact_model.evidence[0].shape == (30, 4, 8)


def test_training_clips_are_fitted_and_held_out_clips_only_measured(
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

    def fitting(evidence: np.ndarray, contacts: np.ndarray) -> np.ndarray:
        fitted.append(evidence.shape)
        return fit(evidence, contacts)

    monkeypatch.setattr(simulate, "split", lambda *_: ([swaying("a"), swaying("stairs")], [swaying("b")]))
    monkeypatch.setattr(training, "Scene", drawing)
    monkeypatch.setattr(training, "fit", fitting)
    written = tmp_path / "calibrations.toml"
    training.main(["--mocap", str(Path()), "--scenes", "3", "--frames", "40", "--output", str(written)])
    assert drawn == ["a", "a", "a", "b"]
    assert len(fitted) == training.ITERATIONS
    assert all(count <= 3 * 3 * 40 * 4 and size == 8 for count, size in fitted)
    printed = capsys.readouterr().out
    assert "F1 on 1 held-out scenes" in printed
    assert "wrote calibrations.toml" in printed
    known = calibration_for(weights.find("wham"), tmp_path)
    assert known and known.contact_weights and np.isfinite(known.contact_weights).all()
