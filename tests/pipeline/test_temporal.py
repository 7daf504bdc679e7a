"""The temporal lifter: one that has learned nothing changes nothing, and batches do not show in the result."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tools.training import scenes, simulate
from tools.training.mocap import Clip
from wham_blender import weights
from wham_blender.models.lifter import Lifter
from wham_blender.models.temporal import REACH, TemporalLifter
from wham_blender.pipeline.pose import lifter_features
from wham_blender.pipeline.pose.lifter_features import PoseNetworks
from wham_blender.weights import WeightsError

FRAMES = 150


@pytest.fixture(scope="module")
def scene() -> scenes.Scene:
    """Somebody who waves, as the landmark net would show it with its errors."""
    poses = np.zeros((FRAMES, 24, 3))
    wave = np.sin(np.arange(FRAMES) / 4)
    poses[:, 16, 2], poses[:, 17, 2] = -0.9 + 0.3 * wave, 0.9 - 0.2 * wave
    poses[:, 18, 1], poses[:, 19, 1] = -0.6 - 0.5 * wave, 0.8 + 0.4 * wave
    clip = Clip("wave", poses.reshape(FRAMES, 72), np.tile([0, 0.9, 0], (FRAMES, 1)), np.ones((FRAMES, 4)), True)
    errors = simulate.LandmarkErrors.load(simulate.ERRORS_FILE)
    return scenes.Scene(clip, "static", simulate.TrainingBody(), errors, seed=1)


@pytest.fixture(scope="module")
def networks() -> PoseNetworks:
    return PoseNetworks.load(weights.find("lifter").path, weights.find("temporal").path)


def poses_of(networks: PoseNetworks, scene: scenes.Scene) -> np.ndarray:
    return lifter_features.extract_features(networks, scene.person(), scene.size, scene.camera_K)[2].poses


def test_without_training_it_returns_the_lifter_s_poses(networks: PoseNetworks, scene: scenes.Scene) -> None:
    observed, to_input = lifter_features.lifter_input(scene.person(), scene.camera_K)
    with torch.inference_mode():
        rotations, betas = networks.lifter(observed)
        estimate = networks.lifter.estimate_of(rotations, betas)
        same = TemporalLifter()(networks.lifter, observed, estimate, to_input.mT)
    torch.testing.assert_close(same.rotations, rotations)
    torch.testing.assert_close(same.betas, betas)


def test_batches_do_not_show(networks: PoseNetworks, scene: scenes.Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = poses_of(networks, scene)
    monkeypatch.setattr(lifter_features, "_BATCH", 50)
    assert REACH < 50
    np.testing.assert_allclose(poses_of(networks, scene), whole, atol=1e-4)


def test_it_is_calmer_than_the_lifter_and_no_farther_from_the_truth(
    networks: PoseNetworks, scene: scenes.Scene
) -> None:
    frame_by_frame = PoseNetworks(networks.lifter, TemporalLifter().eval())
    errors, jitter = [], []
    for each in (frame_by_frame, networks):
        rotations = torch.from_numpy(poses_of(each, scene))
        with torch.inference_mode():
            points = networks.lifter.estimate_of(rotations, torch.zeros(FRAMES, 10)).points[:, 5:17].numpy()
        errors.append(np.linalg.norm(points - scene.points, axis=-1).mean())
        jitter.append(np.linalg.norm(np.diff(points - scene.points, n=2, axis=0), axis=-1).mean())
    assert jitter[1] < 0.5 * jitter[0]
    assert errors[1] < 1.05 * errors[0]


def test_another_file_is_refused_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "other.npz"
    np.savez(path, allow_pickle=False, **{"embed.weight": np.zeros((8, 3))})
    with pytest.raises(WeightsError, match=r"other\.npz"):
        lifter_features.load_temporal(path)
    assert isinstance(lifter_features.load_lifter(weights.find("lifter").path), Lifter)
