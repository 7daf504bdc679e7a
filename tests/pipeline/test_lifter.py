"""The lifter's input does not depend on the camera's rotation, and its residuals show which joint is off."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from tools.training.simulate import TrainingBody
from wham_blender.models.lifter import Lifter, LifterInput, centre_on_person

FOCAL = 900.0


@pytest.fixture(scope="module")
def lifter() -> Lifter:
    torch.manual_seed(0)
    network = Lifter(width=32, depth=1, refine_depth=1)
    network.body.load_state_dict(TrainingBody().observed())
    return network.eval()


def pose(count: int = 4) -> torch.Tensor:
    rng = np.random.default_rng(0)
    turns = Rotation.from_rotvec(rng.normal(0, 0.3, (count * 24, 3))).as_matrix().reshape(count, 24, 3, 3)
    turns[:, 0] = np.diag([1.0, -1, -1]) @ turns[:, 0]  # upright before the camera
    return torch.from_numpy(turns).float()


def seen(points: torch.Tensor, place: torch.Tensor, turn: torch.Tensor) -> tuple[LifterInput, torch.Tensor]:
    """Input for points (N, 25, 3) relative to hips at ``place``, seen by a camera with rotation ``turn`` (3, 3)."""
    at = (points + place) @ turn.T
    pixels = at[..., :2] / at[..., 2:] * FOCAL
    count = len(points)
    sides = torch.full((count,), 2.2 * FOCAL / float(place[2]))
    straight = centre_on_person(
        pixels,
        torch.ones(count, 25, dtype=torch.bool),
        sides,
        points,
        torch.full((count,), FOCAL),
        torch.zeros(count, 2),
    )
    return straight[0], straight[1] @ turn


def test_the_input_does_not_depend_on_the_camera_s_rotation(lifter: Lifter) -> None:
    points = lifter.estimate_of(pose(), torch.zeros(4, 10)).points
    place = torch.tensor([0.0, 0.0, 4.0])
    ahead, turn_ahead = seen(points, place, torch.eye(3))
    aside = torch.from_numpy(Rotation.from_rotvec([0.2, -0.3, 0.4]).as_matrix()).float()
    other, turn_aside = seen(points, place, aside)
    assert torch.allclose(
        ahead.keypoints * ahead.half_extent[..., None], other.keypoints * other.half_extent[..., None], atol=2e-3
    )
    assert torch.allclose(turn_ahead, turn_aside, atol=5e-3)
    spine = ahead.keypoints[:, 5:7].mean(1) - ahead.keypoints[:, 11:13].mean(1)
    assert torch.allclose(spine[:, 0], torch.zeros(4), atol=1e-5)
    assert (spine[:, 1] < 0).all()


def test_residuals_are_zero_for_the_truth_and_show_a_rotated_knee(lifter: Lifter) -> None:
    betas = torch.full((4, 10), 0.5)
    rotations = pose()
    true = lifter.estimate_of(rotations, betas)
    look, turn = seen(true.points, torch.tensor([0.3, 0.1, 5.0]), torch.eye(3))
    rotations[:, 0] = turn @ rotations[:, 0]
    look = look._replace(landmarks=true.points @ turn.mT)
    told = lifter._residual_features(look, lifter.estimate_of(rotations, betas))
    assert told[:, : 25 * 5 + 2 * 72].abs().max() < 0.01
    bent = rotations.clone()
    knee = torch.from_numpy(Rotation.from_rotvec([-0.2, 0, 0]).as_matrix()).float()
    bent[:, 4] = bent[:, 4] @ knee
    told = lifter._residual_features(look, lifter.estimate_of(bent, betas))
    deep = told[:, 25 * 5 + 72 : 25 * 5 + 144].view(4, 24, 3) / 3
    assert torch.allclose(deep[:, 4, 0], torch.full((4,), 0.2), atol=0.05)
    assert deep[:, 5].abs().max() < 0.02  # the other knee is correct


def test_a_network_of_another_size_loads(lifter: Lifter) -> None:
    again = Lifter.from_state_dict(lifter.state_dict()).eval()
    look, _ = seen(lifter.estimate_of(pose(), torch.zeros(4, 10)).points, torch.tensor([0.0, 0, 4]), torch.eye(3))
    with torch.inference_mode():
        for first, second in zip(lifter(look), again(look), strict=True):
            assert torch.equal(first, second)
