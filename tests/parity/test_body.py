"""Bodies through smplx, only in part, and rotations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import smplx
import torch
from scipy.spatial.transform import Rotation
from smplx.lbs import lbs
from smplx.utils import Struct
from torch import Tensor

from tests.parity import synthetic
from wham_blender import weights
from wham_blender.body.body import Body
from wham_blender.body.kinematics import PointKinematics, rotation_vector_jacobian
from wham_blender.body.rotations import closest_rotation, matrix_from_r6d, mirror_pose, r6d_from_matrix
from wham_blender.motion import forward_kinematics, rotation_matrices
from wham_blender.skeleton import FINGERTIP_NAMES, HAND_JOINT_NAMES, JOINT_MIRROR, JOINT_NAMES
from wham_blender.smpl_file import KEYS, REGRESSORS
from wham_blender.weights import WeightsError


@pytest.fixture(scope="module")
def posed() -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(0)
    vectors = 0.5 * rng.standard_normal((6 * 24, 3))
    poses = Rotation.from_rotvec(vectors).as_matrix().reshape(6, 24, 3, 3)
    return torch.tensor(poses, dtype=torch.float32), torch.tensor(rng.standard_normal((6, 10)), dtype=torch.float32)


def test_the_open_body_is_a_person_to_smplx() -> None:
    with np.load(weights.find("body").path, allow_pickle=False) as arrays:
        model = smplx.SMPL("", data_struct=Struct(**arrays))
    person = model()
    vertices, joints = (
        person.vertices[0].detach().numpy(),
        dict(zip(JOINT_NAMES, person.joints[0].detach().numpy(), strict=False)),
    )
    assert vertices.shape == (13718, 3)
    assert 1.6 < np.ptp(vertices[:, 1]) < 1.95, "metres tall"
    arm = joints["left_wrist"] - joints["left_shoulder"]
    assert arm[0] / np.linalg.norm(arm) > 0.99, "arms to the sides"
    assert joints["head"][1] > joints["pelvis"][1] > joints["left_knee"][1] > joints["left_ankle"][1]
    assert joints["left_foot"][2] > joints["left_ankle"][2] + 0.05, "toes to the front"
    np.testing.assert_allclose(joints["left_hip"], joints["right_hip"] * [-1, 1, 1], atol=0.005)


def by_smplx(body: Body, poses: Tensor, betas: Tensor) -> tuple[Tensor, Tensor]:
    smpl = body.smpl
    return lbs(
        betas, poses, smpl.v_template, smpl.shapedirs, smpl.posedirs, smpl.J_regressor, smpl.parents,
        smpl.lbs_weights, pose2rot=False,
    )  # fmt: skip


def test_some_vertices_are_those_of_the_whole_body(open_body: Body, posed: tuple[Tensor, Tensor]) -> None:
    vertices, _ = by_smplx(open_body, *posed)
    torch.testing.assert_close(open_body.vertices(*posed), vertices, rtol=0, atol=1e-5)
    some = torch.tensor([5, 1234, 77])
    torch.testing.assert_close(open_body.vertices(*posed, some), vertices[:, some], rtol=0, atol=1e-5)


def test_landmarks_are_the_regressors_on_the_whole_body(open_body: Body, posed: tuple[Tensor, Tensor]) -> None:
    with np.load(weights.find("body").path) as archive:
        rows = np.concatenate([archive["J_regressor_wham"], archive["J_regressor_feet"]])
    vertices, _ = by_smplx(open_body, *posed)
    expected = torch.tensor(rows, dtype=torch.float32) @ vertices
    hips = expected[:, [11, 12]].mean(1)
    found = open_body.landmarks(*posed)
    torch.testing.assert_close(found.offset, hips, rtol=0, atol=5e-5)
    centred = torch.cat([found.joints, found.feet], 1)
    torch.testing.assert_close(centred, expected - hips[:, None], rtol=0, atol=5e-5)


def test_rest_joints_pose_as_smplx_poses_them(open_body: Body, posed: tuple[Tensor, Tensor]) -> None:
    poses, betas = posed
    _, joints = by_smplx(open_body, poses, betas)
    vectors = Rotation.from_matrix(poses.numpy().reshape(-1, 3, 3)).as_rotvec().reshape(-1, 72)
    for frame, rest in enumerate(open_body.rest_joints(betas).numpy()):
        ours, _ = forward_kinematics(vectors[frame : frame + 1], np.zeros((1, 3)), rest)
        np.testing.assert_allclose(ours[0], joints[frame].numpy(), atol=1e-5)


def test_other_files_are_refused_in_a_sentence(tmp_path: Path) -> None:
    with np.load(weights.find("body").path) as archive:
        arrays = dict(archive)
    del arrays["J_regressor_feet"]
    with pytest.raises(WeightsError, match="lacks J_regressor_feet"):
        Body(arrays)
    (tmp_path / "body.npz").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(WeightsError, match=r"body\.npz cannot be read"):
        Body.load(tmp_path / "body.npz")


def test_r6d_are_the_first_two_rows(posed: tuple[Tensor, Tensor]) -> None:
    poses, _ = posed
    r6d = r6d_from_matrix(poses)
    torch.testing.assert_close(r6d[0, 0, 3:], poses[0, 0, 1])
    stretched = r6d * torch.tensor([2.0] * 3 + [0.5] * 3)
    torch.testing.assert_close(matrix_from_r6d(stretched), poses, rtol=0, atol=1e-5)


def test_closest_rotation_is_a_rotation() -> None:
    noise = torch.randn(200, 3, 3, generator=torch.Generator().manual_seed(0))  # about half turned inside out
    found = closest_rotation(noise)
    torch.testing.assert_close(found @ found.mT, torch.eye(3).expand(200, 3, 3), rtol=0, atol=1e-5)
    torch.testing.assert_close(torch.det(found), torch.ones(200), rtol=0, atol=1e-5)
    for vector in 0.1 * np.concatenate([np.eye(3), -np.eye(3)]):
        beside = found @ torch.tensor(Rotation.from_rotvec(vector).as_matrix(), dtype=torch.float32)
        assert ((found - noise).norm(dim=(1, 2)) < (beside - noise).norm(dim=(1, 2))).all()


def test_a_mirrored_pose_swaps_sides_and_turns(posed: tuple[Tensor, Tensor]) -> None:
    poses, _ = posed
    vectors = Rotation.from_matrix(poses.numpy().reshape(-1, 3, 3)).as_rotvec().reshape(-1, 24, 3)
    expected = vectors[:, JOINT_MIRROR] * [1, -1, -1]
    found = Rotation.from_matrix(mirror_pose(poses).numpy().reshape(-1, 3, 3)).as_rotvec().reshape(-1, 24, 3)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_flat_hands_leave_the_body_as_it_is(open_body: Body) -> None:
    poses, betas = torch.eye(3).repeat(2, 24, 1, 1), torch.randn(2, 10, generator=torch.Generator().manual_seed(1))
    flat = torch.eye(3).repeat(2, 30, 1, 1)
    plain, handed = open_body.vertices(poses, betas), open_body.vertices(poses, betas, hand_poses=flat)
    assert float((plain - handed).abs().max()) < 1e-5
    joints, tips = open_body.hand_points(poses, flat, betas)
    for posed, rest in zip((joints, tips), open_body.rest_hands(betas), strict=True):
        assert float((posed - rest).abs().max()) < 1e-5


def test_a_bent_finger_moves_its_vertices_and_its_tip_alone(open_body: Body) -> None:
    poses, betas = torch.eye(3).repeat(1, 24, 1, 1), torch.zeros(1, 10)
    flat = torch.eye(3).repeat(1, 30, 1, 1)
    bent = flat.clone()
    row = HAND_JOINT_NAMES.index("left_index2")
    bent[0, row] = torch.tensor(rotation_matrices(np.array([0.0, 0.0, -1.2])))  # the left palm looks down
    moved = (open_body.vertices(poses, betas, hand_poses=bent) - open_body.vertices(poses, betas))[0].norm(dim=-1)
    (joints, tips), (_, rest_tips) = open_body.hand_points(poses, bent, betas), open_body.rest_hands(betas)
    near = (open_body.vertices(poses, betas)[0] - open_body.rest_hands(betas)[0][0, row]).norm(dim=-1)
    assert float(moved.max()) > 0.03
    assert float(near[moved > 1e-3].max()) < 0.08
    index = FINGERTIP_NAMES.index("left_index_tip")
    assert float(tips[0, index, 1] - rest_tips[0, index, 1]) < -0.02
    others = [tip for tip in range(10) if tip != index]
    assert float((tips - rest_tips)[0, others].abs().max()) < 1e-5
    assert float((joints - open_body.rest_hands(betas)[0])[0, : row + 1].abs().max()) < 1e-5


def test_bodies_without_fingers_say_so(open_body: Body) -> None:
    with np.load(weights.find("body").path, allow_pickle=False) as arrays:
        body = Body({name: arrays[name] for name in (*KEYS, *REGRESSORS)})
    assert open_body.has_hands
    assert not body.has_hands
    with pytest.raises(ValueError, match="no finger joints"):
        body.rest_hands(torch.zeros(1, 10))


@pytest.mark.parametrize("corrected", [False, True], ids=["open", "with pose corrections"])
def test_points_without_pytorch_are_the_landmarks(
    corrected: bool, open_body: Body, posed: tuple[Tensor, Tensor]
) -> None:
    body, (poses, betas) = Body(synthetic.body_model(0)) if corrected else open_body, posed
    matrices = poses.numpy().astype(float)
    landmarks = body.landmarks(poses, betas[:1].expand(len(poses), -1))
    expected = torch.cat([landmarks.joints[:, :17], landmarks.feet], 1) + landmarks.offset[:, None]
    pelvis = body.rest_joints(betas[0]).numpy()[:1].repeat(len(poses), 0)
    found = PointKinematics(body, matrices, [0]).pose(matrices, pelvis, betas[0].numpy())
    np.testing.assert_allclose(found.points, expected.numpy(), rtol=0, atol=2e-5)


def test_derivatives_of_points_are_differences(open_body: Body, posed: tuple[Tensor, Tensor]) -> None:
    matrices, betas = posed[0].numpy().astype(float), posed[1][0].numpy().astype(float)
    moving, rng = [0, 3, 16, 18, 4], np.random.default_rng(1)
    kinematics = PointKinematics(open_body, matrices, moving)
    vectors, change = rng.normal(0, 0.5, (2, len(matrices), len(moving), 3))
    shape_change = rng.standard_normal(10)

    def points(size: float) -> np.ndarray:
        local = matrices.copy()
        local[:, moving] @= rotation_matrices(vectors + size * change)
        return kinematics.pose(local, np.zeros((len(matrices), 3)), betas + size * shape_change).points

    local = matrices.copy()
    local[:, moving] @= rotation_matrices(vectors)
    at = kinematics.pose(local, np.zeros((len(matrices), 3)), betas)
    by_rotations = kinematics.by_rotations(at, rotation_vector_jacobian(vectors))
    found = np.einsum("nrikc,nkc->nri", by_rotations, change) + kinematics.by_betas(at) @ shape_change
    np.testing.assert_allclose(found, (points(1e-6) - points(-1e-6)) / 2e-6, rtol=0, atol=1e-7)


@pytest.mark.parametrize("size", [0.0, 1e-5, 2.0])
def test_rotation_vector_jacobian_is_a_difference(size: float) -> None:
    vector, change = size * np.array([0.6, 0.0, -0.8]), 1e-6 * np.array([0.3, -0.5, 0.2])
    ends = Rotation.from_rotvec(vector - change), Rotation.from_rotvec(vector + change)
    expected = (ends[0].inv() * ends[1]).as_rotvec() / 2
    np.testing.assert_allclose(rotation_vector_jacobian(vector) @ change, expected, rtol=0, atol=1e-13)
