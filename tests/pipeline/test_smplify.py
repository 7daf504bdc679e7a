"""SMPLify: the fit is nearer to keypoints and truth, keeps feet planted, and is never worse, with bad input, too."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from wham_blender import weights
from wham_blender.body.body import Body
from wham_blender.motion import rotation_matrices
from wham_blender.pipeline.world import smplify
from wham_blender.pipeline.world.placement import Placed
from wham_blender.pipeline.world.smplify import Keypoints2D

FRAMES = 40
CAMERA_K = np.array([[1200.0, 0, 640], [0, 1200.0, 360], [0, 0, 1]])
ELBOWS, KNEES = [18, 19], [4, 5]


@pytest.fixture(scope="module")
def body() -> Body:
    return Body.load(weights.find("body").path)


def points(placed: Placed, body: Body) -> tuple[np.ndarray, np.ndarray]:
    """COCO's points (F, 17, 3) and the feet (F, 4, 3) in the world."""
    rotations = torch.from_numpy(rotation_matrices(placed.poses.reshape(-1, 24, 3))).float()
    with torch.no_grad():
        found = body.landmarks(rotations, torch.from_numpy(placed.betas).expand(len(rotations), -1))
    middle = found.offset.numpy() + placed.trans
    return found.joints[:, :17].numpy() + middle[:, None], found.feet.numpy() + middle[:, None]


def project(placed: Placed, body: Body) -> np.ndarray:
    in_camera = np.einsum("fij,fkj->fki", placed.camera_R, points(placed, body)[0]) + placed.camera_t[:, None]
    projected = in_camera @ CAMERA_K.T
    return projected[..., :2] / projected[..., 2:]


def standing(body: Body, frames: int = FRAMES) -> Placed:
    """A person who stands on both feet, waves and bends, four metres before a camera at the height of the hips."""
    poses = np.zeros((frames, 24, 3), np.float32)
    poses[:, 0] = [np.pi / 2, 0, 0]
    wave = np.sin(np.arange(frames) / 9)
    poses[:, 16, 2], poses[:, 17, 2] = -0.9 + 0.3 * wave, 0.9 - 0.2 * wave
    poses[:, 18, 1], poses[:, 19, 1] = -0.6 - 0.5 * wave, 0.8 + 0.4 * wave
    poses[:, 15, 0] = 0.3 * wave
    rest = body.rest_joints(torch.zeros(10)).numpy()
    placed = Placed(
        poses=poses.reshape(frames, 72), trans=np.zeros((frames, 3), np.float32), betas=np.zeros(10, np.float32),
        contacts=np.ones((frames, 4), np.float32), rest_joints=rest,
        camera_R=np.tile(np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]], np.float32), (frames, 1, 1)),
        camera_t=np.tile(np.array([0, 1.0, 4.0], np.float32), (frames, 1)),
    )  # fmt: skip
    placed.trans[:, 2] -= points(placed, body)[1][..., 2].min()
    return placed


def keypoints_of(placed: Placed, body: Body) -> Keypoints2D:
    pixels = project(placed, body)
    box = np.concatenate([pixels.mean(1), np.ptp(pixels, axis=1).max(1, keepdims=True) * 1.2 / 200], 1)
    return Keypoints2D(np.concatenate([pixels, np.full((*pixels.shape[:2], 1), 0.9)], 2), box, CAMERA_K)


def disturbed(placed: Placed, size: float = 0.15) -> Placed:
    """The same with slowly changing errors of position, orientation and limbs, so that feet slide."""
    rng = np.random.default_rng(0)
    count = len(placed.poses)

    def wave(*shape: int) -> np.ndarray:
        noise = gaussian_filter1d(rng.standard_normal((count, *shape)), 8, axis=0)
        return noise / noise.std()

    errors = np.zeros((count, 24, 3))
    errors[:, 0] = size * wave(3)
    errors[:, [1, 2, 4, 5, 16, 17, 18, 19]] = 0.3 * size * wave(8, 3)
    poses = Rotation.from_rotvec(placed.poses.reshape(-1, 3)) * Rotation.from_rotvec(errors.reshape(-1, 3))
    return replace(
        placed,
        poses=poses.as_rotvec().reshape(count, 72).astype(np.float32),
        trans=(placed.trans + 0.2 * size * wave(3)).astype(np.float32),
    )


def distance(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.linalg.norm(first - second, axis=-1).mean())


def pose_error(placed: Placed, true: Placed, body: Body) -> float:
    """Mean distance of the points from the truth, metres, with the hips aligned."""
    ours, wanted = (
        found - found[:, [11, 12]].mean(1, keepdims=True) for found in (points(placed, body)[0], points(true, body)[0])
    )
    return distance(ours, wanted)


def slide(placed: Placed, body: Body) -> float:
    return float(np.linalg.norm(np.diff(points(placed, body)[1], axis=0), axis=-1).mean())


def test_the_fit_is_nearer_to_keypoints_and_truth_and_feet_stay_planted(body: Body) -> None:
    true = standing(body)
    target, start = keypoints_of(true, body), disturbed(true)
    progress: list[tuple[int, int]] = []
    result = smplify.fit_to_keypoints(start, target, body, lambda done, total: progress.append((done, total)))
    pixels = target.keypoints[..., :2]
    assert distance(project(result, body), pixels) < 0.8 * distance(project(start, body), pixels)
    assert pose_error(result, true, body) < pose_error(start, true, body)
    assert slide(result, body) < 0.5 * slide(start, body)
    assert body.height(result.betas) == pytest.approx(body.height(start.betas), abs=0.02)
    assert progress == sorted(progress)
    assert progress[-1][0] <= FRAMES == progress[-1][1]


def test_a_correct_motion_stays(body: Body) -> None:
    true = standing(body)
    result = smplify.fit_to_keypoints(true, keypoints_of(true, body), body)
    assert distance(points(result, body)[0], points(true, body)[0]) < 0.01


def test_a_keypoint_on_another_person_is_an_outlier(body: Body) -> None:
    true = standing(body)
    target = keypoints_of(true, body)
    target.keypoints[20:30, 9, :2] += 400  # a wrist
    result = smplify.fit_to_keypoints(true, target, body)
    assert distance(points(result, body)[0], points(true, body)[0]) < 0.02


def test_feet_do_not_penetrate_the_floor(body: Body) -> None:
    true = standing(body)
    target = keypoints_of(true, body)
    target.keypoints[:, 11:, 1] += 25  # the hips and all below appear 8 cm lower
    result = smplify.fit_to_keypoints(true, target, body)
    assert points(result, body)[1][..., 2].min() > -0.025  # -0.029 without the correction


def test_windows_join_continuously(body: Body, monkeypatch: pytest.MonkeyPatch) -> None:
    true = standing(body, 100)
    target, start = keypoints_of(true, body), disturbed(true)
    monkeypatch.setattr(smplify, "WINDOW", 40)
    monkeypatch.setattr(smplify, "OVERLAP", 10)
    spans = list(smplify._windows(100))
    assert [(span[0], span[-1]) for span in spans] == [(0, 39), (30, 69), (60, 99)]
    result = smplify.fit_to_keypoints(start, target, body)
    change = points(result, body)[0] - points(start, body)[0]
    assert np.abs(np.diff(change, axis=0)).max() < 0.04  # as large as inside of a window
    assert distance(project(result, body), target.keypoints[..., :2]) < 0.8 * distance(
        project(start, body), target.keypoints[..., :2]
    )


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_clips_of_few_frames(frames: int, body: Body) -> None:
    true = standing(body, frames)
    result = smplify.fit_to_keypoints(disturbed(true, 0.1) if frames > 1 else true, keypoints_of(true, body), body)
    assert len(result.poses) == frames
    assert np.isfinite(result.poses).all()


def test_without_keypoints_or_finite_intrinsics_the_motion_stays(body: Body) -> None:
    true = standing(body)
    start, target = disturbed(true), keypoints_of(true, body)
    unseen = replace(target, keypoints=np.where([True, True, False], np.nan, 0.0) * np.ones_like(target.keypoints))
    result = smplify.fit_to_keypoints(start, unseen, body)
    assert np.isfinite(result.poses).all()
    assert slide(result, body) < slide(start, body)
    broken = replace(target, camera_K=np.full((3, 3), np.nan))
    result = smplify.fit_to_keypoints(start, broken, body)
    assert np.allclose(points(result, body)[0], points(start, body)[0], atol=1e-4)


def test_the_gradient_is_that_of_the_objective(body: Body) -> None:
    """All terms, beyond their outliers' thresholds too."""
    start, target = disturbed(standing(body), 0.4), keypoints_of(standing(body), body)
    start.contacts[10:20, :2] = 0
    window = smplify._Window(start, target, body, np.arange(FRAMES), smplify.Terms())
    rng = np.random.default_rng(0)
    changes, direction = rng.normal(0, 0.05, (2, FRAMES, 19, 3))

    def objective(size: float) -> float:
        return window.evaluate(smplify._Correction(changes + size * direction, np.zeros(10))).value

    at = window.evaluate(smplify._Correction(changes, np.zeros(10)))
    _, half_gradient = window._normal_equations(at, window._jacobian(at))
    along = 2 * (half_gradient * direction.reshape(FRAMES, -1)).sum()
    assert along == pytest.approx((objective(1e-5) - objective(-1e-5)) / 2e-5, rel=1e-5)


def test_a_known_motion_is_recovered_from_its_projected_joints(body: Body) -> None:
    """The body's path and orientation are unknown, and nothing but the keypoints tells them."""
    true = standing(body)
    target, start = keypoints_of(true, body), disturbed(true)
    start.poses[:, 3:] = true.poses[:, 3:]
    terms = smplify.Terms(
        keypoint=0.0005, outlier=1e4, translation=10, pose_change=10, translation_change=10, acceleration=10, slide=10,
        height=10, shape=0.001, stature=0.001,
    )  # fmt: skip
    result = smplify.fit_to_keypoints(start, target, body, terms=terms)
    assert distance(points(start, body)[0], points(true, body)[0]) > 0.05
    assert distance(points(result, body)[0], points(true, body)[0]) < 0.005
    assert distance(project(result, body), target.keypoints[..., :2]) < 0.5


@pytest.mark.parametrize("frames", [1, 3, 60])
def test_the_banded_solution_is_the_dense_one(frames: int) -> None:
    size, rng = 4, np.random.default_rng(0)
    factor = np.tril(rng.standard_normal((frames * size, frames * size)))
    factor[np.subtract.outer(np.arange(len(factor)), np.arange(len(factor))) >= 2 * size] = 0
    dense = factor @ factor.T + 0.1 * np.eye(len(factor))
    tiles = dense.reshape(frames, size, frames, size).swapaxes(1, 2)
    blocks = [tiles[np.arange(frames - apart), np.arange(apart, frames)] for apart in range(min(frames, 3))]
    right = rng.standard_normal((frames, size, 2))
    expected = np.linalg.solve(dense, right.reshape(-1, 2)).reshape(right.shape)
    np.testing.assert_allclose(smplify._solve_banded(blocks, right), expected, rtol=1e-6, atol=1e-9)


def test_fast_arms_keep_their_path(body: Body) -> None:
    """A prior of one size on the acceleration would take half of it, as it did."""
    true = standing(body)
    poses = true.poses.reshape(FRAMES, 24, 3).copy()
    beat = np.sin(2 * np.pi * 3 * np.arange(FRAMES) / 30)  # three hertz
    poses[:, 18, 1], poses[:, 19, 1] = -0.8 - 0.7 * beat, 0.8 + 0.7 * beat
    true = replace(true, poses=poses.reshape(FRAMES, 72).astype(np.float32))
    target = keypoints_of(true, body)
    result = smplify.fit_to_keypoints(disturbed(true, 0.05), target, body)
    ours, wanted = (np.diff(project(each, body)[5:-5, 9:11], axis=0) for each in (result, true))
    assert (ours * wanted).sum() / (wanted**2).sum() > 0.9


def test_calm_motion_stays_calm(body: Body) -> None:
    true = standing(body)
    target = keypoints_of(true, body)
    trembling = target.keypoints + np.random.default_rng(0).normal(0, 1, target.keypoints.shape) * [1, 1, 0]
    result = smplify.fit_to_keypoints(true, replace(target, keypoints=trembling), body)

    def jitter(placed: Placed) -> float:
        return float(np.linalg.norm(np.diff(points(placed, body)[0], n=3, axis=0), axis=-1).mean())

    assert jitter(result) < jitter(true) + 0.0005
