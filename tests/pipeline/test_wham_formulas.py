"""WHAM's formulas around the network, on inputs whose result follows from the formula by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from wham_blender import weights
from wham_blender.body.body import Body
from wham_blender.body.rotations import matrix_from_r6d, r6d_from_matrix
from wham_blender.models.wham import WHAM, WhamFrames, WhamOutput
from wham_blender.pipeline.pose import wham_inference
from wham_blender.pipeline.pose.types import View, WhamInput
from wham_blender.pipeline.pose.wham_inference import (
    camera_angular_velocity,
    contact_aware_velocity,
    default_intrinsics,
    full_image_translation,
    mirror_track,
    network_input,
    roll_out,
    run_wham,
)
from wham_blender.skeleton import COCO_NAMES, JOINT_NAMES

SIZE = (640, 360)  # pixels


def about_x(angle: float) -> np.ndarray:
    sine, cosine = np.sin(angle), np.cos(angle)
    return np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])


def about_y(angle: float) -> np.ndarray:
    sine, cosine = np.sin(angle), np.cos(angle)
    return np.array([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]])


def random_rotations(count: int) -> np.ndarray:
    return Rotation.random(count, random_state=np.random.default_rng(0)).as_matrix()


# --- camera ----------------------------------------------------------------------------------------------------------


def test_angular_velocity_of_a_pan() -> None:
    """World to camera is a rotation by +0.1 about y a frame, so R[t] R[t+1]^T is one by -0.1."""
    camera_R = np.stack([about_y(0.1 * frame) for frame in range(4)])
    sine, cosine = np.sin(0.1), np.cos(0.1)
    expected = 25 * np.array([cosine - 1, 0, -sine, 0, 0, 0])
    np.testing.assert_allclose(camera_angular_velocity(camera_R, 25), np.tile(expected, (4, 1)), atol=1e-5)


def test_angular_velocity_of_a_tilt() -> None:
    camera_R = np.stack([about_x(-0.2 * frame) for frame in range(3)])
    expected = 30 * np.array([0, 0, 0, 0, np.cos(0.2) - 1, -np.sin(0.2)])
    np.testing.assert_allclose(camera_angular_velocity(camera_R), np.tile(expected, (3, 1)), atol=1e-5)


def test_angular_velocity_is_taken_in_the_camera_s_axes() -> None:
    """Steps that do not commute: R[t+1] = step R[t], so R[t] R[t+1]^T is the transpose of the step, whatever R[0]."""
    steps = [about_x(0.4) @ about_y(0.7), about_y(-0.3) @ about_x(0.5)]
    (first,) = random_rotations(1)
    camera_R = np.stack([first, steps[0] @ first, steps[1] @ steps[0] @ first])
    columns = [step.T[:2].ravel() - [1, 0, 0, 0, 1, 0] for step in steps]
    expected = 30 * np.array([columns[0], columns[1], columns[0]])  # the last frame repeats the first
    np.testing.assert_allclose(camera_angular_velocity(camera_R), expected, atol=1e-5)


@pytest.mark.parametrize("count", [1, 5])
def test_a_static_camera_has_no_angular_velocity(count: int) -> None:
    camera_R = np.repeat(random_rotations(1), count, 0)
    np.testing.assert_allclose(camera_angular_velocity(camera_R), np.zeros((count, 6)), atol=1e-6)


def test_intrinsics_have_the_diagonal_as_focal_length() -> None:
    np.testing.assert_allclose(default_intrinsics((400, 300)), [[500, 0, 200], [0, 500, 150], [0, 0, 1]])


def test_the_weak_camera_becomes_a_translation() -> None:
    """The translation is projected to where the weak camera has it in the box, and a metre is as long there."""
    cam, boxes = np.array([[0.9, 0.1, -0.2]]), np.array([[100.0, 250.0, 0.8]])
    camera_K = np.array([[500.0, 0, 330], [0, 500, 170], [0, 0, 1]])
    (translation,) = full_image_translation(cam, boxes, camera_K)
    metre = 0.9 * 200 * 0.8 / 2  # pixels
    assert translation[2] == pytest.approx(500 / metre, rel=1e-5)
    projected = camera_K @ translation / translation[2]
    np.testing.assert_allclose(projected[:2], [100 + 0.1 * metre, 250 - 0.2 * metre], rtol=1e-5)


# --- network input ---------------------------------------------------------------------------------------------------


def test_keypoints_are_placed_in_their_box() -> None:
    keypoints = np.zeros((1, 17, 3))
    keypoints[0, :4, :2] = [[300, 100], [350, 100], [300, 150], [275, 50]]
    x, _ = network_input(keypoints, np.array([[300.0, 100.0, 0.5]]), SIZE)  # a side of 100 pixels
    assert x.dtype == np.float32
    np.testing.assert_allclose(x[0, :8], [0, 0, 1, 0, 0, 1, -0.5, -1], atol=1e-6)


@pytest.mark.parametrize("size", [(640, 360), (360, 640)])
def test_the_box_is_placed_in_the_image(size: tuple[int, int]) -> None:
    boxes = np.array([[size[0] / 2, size[1] / 2, 1.6], [size[0], 0, 0.8]])
    x, _ = network_input(np.zeros((2, 17, 3)), boxes, size)
    expected = [[0, 0, 320 / 640], [size[0] / 640, -size[1] / 640, 160 / 640]]
    np.testing.assert_allclose(x[:, 34:], expected, atol=1e-6)


def test_unsure_keypoints_are_masked() -> None:
    keypoints = np.zeros((1, 17, 3), np.float32)
    keypoints[0, :3, 2] = [0.29, 0.3, 0.9]
    _, mask = network_input(keypoints, np.array([[0.0, 0.0, 1.0]]), SIZE)
    assert mask[0, :4].tolist() == [True, False, False, True]


def test_the_network_does_not_see_masked_keypoints() -> None:
    model = small_wham()
    x = torch.randn(1, 3, 37, generator=torch.Generator().manual_seed(1))
    mask = torch.zeros(1, 3, 17, dtype=torch.bool)
    mask[0, :, 4] = True

    def output(x: torch.Tensor) -> WhamOutput:
        state = model.start(torch.zeros(1, 88), torch.zeros(1, 24, 6), torch.zeros(1, 6))
        with torch.inference_mode():
            return model(WhamFrames(x, mask, torch.zeros(1, 3, 6), None), state)[0]

    other, embedded = x.clone(), x.clone()
    other[..., 8:10] += 5
    embedded[..., 8:10] = torch.tensor([0.3, -0.4])
    model.mask_embedding.data[0, 0, 4] = torch.tensor([0.3, -0.4])
    torch.testing.assert_close(output(other), output(x))
    mask_used = output(x)
    mask[:] = False
    torch.testing.assert_close(output(embedded), mask_used)
    assert (output(x).pose - mask_used.pose).abs().max() > 1e-4


def test_a_mirrored_track() -> None:
    keypoints = np.zeros((2, 17, 3))
    keypoints[:, COCO_NAMES.index("left_wrist")] = [100, 40, 0.7]
    keypoints[:, COCO_NAMES.index("nose")] = [300, 20, 0.9]
    boxes = np.array([[200.0, 150.0, 1.5], [210.0, 150.0, 1.5]])
    before = keypoints.copy(), boxes.copy()
    mirrored, mirrored_boxes = mirror_track(keypoints, boxes, SIZE)
    np.testing.assert_allclose(mirrored[:, COCO_NAMES.index("right_wrist")], [[540, 40, 0.7]] * 2)
    np.testing.assert_allclose(mirrored[:, COCO_NAMES.index("nose")], [[340, 20, 0.9]] * 2)
    np.testing.assert_allclose(mirrored_boxes, [[440, 150, 1.5], [430, 150, 1.5]])
    for values, copy in zip((keypoints, boxes), before, strict=True):
        np.testing.assert_array_equal(values, copy)
    for values, copy in zip(mirror_track(mirrored, mirrored_boxes, SIZE), before, strict=True):
        np.testing.assert_allclose(values, copy)


# --- flip test -------------------------------------------------------------------------------------------------------


def raw_output(rotation_vectors: np.ndarray, betas: np.ndarray, contact: np.ndarray) -> WhamOutput:
    """The network's output (B, 1, ...) for axis-angle poses (B, 24, 3)."""
    poses = Rotation.from_rotvec(rotation_vectors.reshape(-1, 3)).as_matrix().reshape(-1, 1, 24, 3, 3)
    pose = r6d_from_matrix(torch.tensor(poses, dtype=torch.float32)).flatten(2)
    none = torch.zeros(len(poses), 1, 3)
    shape, planted = (torch.tensor(each, dtype=torch.float32)[:, None] for each in (betas, contact))
    return WhamOutput(none, none, none, none, pose, shape, none, planted)


def test_views_are_averaged_after_mirroring_back() -> None:
    """What the mirrored clip says of the right knee is said of the left one; about y and z it has the other sign."""
    poses = np.zeros((2, 24, 3))
    joint = {name: number for number, name in enumerate(JOINT_NAMES)}
    poses[0, joint["left_knee"]], poses[1, joint["right_knee"]] = [0.2, 0, 0], [0.4, 0, 0]
    poses[0, joint["right_shoulder"]], poses[1, joint["left_shoulder"]] = [0, 0.2, 0], [0, -0.6, 0]
    poses[0, joint["spine1"]], poses[1, joint["spine1"]] = [0, 0, 0.3], [0, 0, -0.1]
    poses[0, joint["pelvis"]], poses[1, joint["pelvis"]] = [0.1, 0, 0], [0.3, 0, 0]
    betas = np.stack([np.arange(10.0), np.full(10, 4.0)])
    contact = np.array([[1.0, 0.8, 0.6, 0.4], [0.1, 0.2, 0.3, 0.5]])
    pose, mean_betas, mean_contact = wham_inference._mean_of_views(raw_output(poses, betas, contact))
    expected = np.zeros((24, 3))
    expected[joint["left_knee"]], expected[joint["right_shoulder"]] = [0.3, 0, 0], [0, 0.4, 0]
    expected[joint["spine1"]], expected[joint["pelvis"]] = [0, 0, 0.2], [0.2, 0, 0]
    vectors = Rotation.from_matrix(pose[0].numpy()).as_rotvec()
    np.testing.assert_allclose(vectors, expected, atol=1e-6)
    np.testing.assert_allclose(mean_betas[0], (np.arange(10) + 4) / 2)
    np.testing.assert_allclose(mean_contact[0], [0.65, 0.65, 0.35, 0.3], atol=1e-6)


def test_one_view_is_left_as_it_is() -> None:
    vectors = 0.3 * np.random.default_rng(0).standard_normal((1, 24, 3))
    betas, contact = np.arange(10.0)[None], np.array([[1.0, 0.8, 0.6, 0.4]])
    pose, same_betas, same_contact = wham_inference._mean_of_views(raw_output(vectors, betas, contact))
    np.testing.assert_allclose(Rotation.from_matrix(pose[0].numpy()).as_rotvec(), vectors[0], atol=1e-5)
    np.testing.assert_allclose(same_betas, betas)
    np.testing.assert_allclose(same_contact, contact, atol=1e-6)


# --- trajectory ------------------------------------------------------------------------------------------------------


def corrected(root: np.ndarray, velocity: np.ndarray, moved: np.ndarray, planted: list[bool]) -> np.ndarray:
    """`contact_aware_velocity` of one frame, float64."""
    arrays = torch.tensor(root), torch.tensor(velocity), torch.tensor(moved), torch.tensor(planted)
    return contact_aware_velocity(*arrays).numpy()


def test_the_slide_of_a_planted_foot_is_taken_out() -> None:
    """Round the root, a foot that stands goes back as fast as the root goes forward; what is left is its slide."""
    (root,) = random_rotations(1)
    velocity, slide = np.array([0.01, 0.02, 0.05]), np.array([0.004, -0.003, 0.002])
    moved = np.random.default_rng(0).uniform(0.5, 1, (4, 3))  # of feet in the air: they do not count
    moved[1] = slide - root @ velocity
    found = corrected(root, velocity, moved, [False, True, False, False])
    np.testing.assert_allclose(root @ found, root @ velocity - slide / 1.0001, rtol=1e-6)
    moved[2] = moved[1]
    found = corrected(root, velocity, moved, [False, True, True, False])
    np.testing.assert_allclose(root @ found, root @ velocity - slide * 2 / 2.0001, rtol=1e-6)


def test_without_planted_feet_the_velocity_stays() -> None:
    (root,) = random_rotations(1)
    velocity = np.array([0.01, 0.02, 0.05])
    np.testing.assert_allclose(corrected(root, velocity, np.ones((4, 3)), [False] * 4), velocity, rtol=1e-12)


def test_planted_feet_are_counted_axis_by_axis() -> None:
    """The reference divides by the count of numbers that are not zero, so a foot at rest on one axis is left out."""
    moved = np.zeros((4, 3))
    moved[0], moved[3] = [0.1, 0.0, 0.3], [0.3, 0.2, 0.0]
    found = corrected(np.eye(3), np.zeros(3), moved, [True, True, False, True])
    np.testing.assert_allclose(found, [-0.4 / 2.0001, -0.2 / 1.0001, -0.3 / 1.0001], rtol=1e-6)


def test_velocities_add_up_in_the_axes_before_each_frame() -> None:
    quarter_x, quarter_y = about_x(np.pi / 2), about_y(np.pi / 2)
    root = torch.tensor(np.stack([quarter_x, quarter_y, np.eye(3)]))
    velocity = torch.tensor([[0.0, 1.0, 0.0], [2.0, 0.0, 0.0], [0.0, 0.0, 4.0]], dtype=torch.float64)
    found = roll_out(root, velocity, torch.tensor([10.0, 20.0, 30.0], dtype=torch.float64))
    np.testing.assert_allclose(found, [[10, 20, 31], [10, 20, 29], [10, 20, 33]], atol=1e-12)


def small_wham() -> WHAM:
    torch.manual_seed(0)
    return WHAM(width=48, layers=2, d_feat=None, refiner_width=24, refiner_layers=1).eval()


def test_the_path_is_the_refined_velocity_rolled_out_with_the_orientation_before_each_frame() -> None:
    rng, count = np.random.default_rng(0), 20
    keypoints = rng.uniform(0.2, 1, (count, 17, 3)) * [640, 360, 1]
    view = View(random_rotations(24), np.zeros(10), None)
    boxes = np.tile([320.0, 180.0, 1.2], (count, 1))
    track = WhamInput(keypoints, boxes, SIZE, [view], None)
    body = Body.load(weights.find("body").path)
    found = run_wham(small_wham(), body, track, chunk=7)
    root = matrix_from_r6d(torch.from_numpy(found.root_refined)).numpy()
    np.testing.assert_allclose(root[0], view.init_pose[0], atol=1e-5)
    np.testing.assert_allclose(found.root_world, root[1:], atol=1e-6)
    steps = np.einsum("fij,fj->fi", root[:-1], found.velocity_refined)
    assert np.abs(np.diff(root, axis=0)).max() > 0.01  # or the order would not matter
    np.testing.assert_allclose(found.trans_world, steps.cumsum(0), atol=1e-5)
