"""Fitting to the picture: nearer to the keypoints and to the truth, feet planted, never worse, whatever it is given."""

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
from wham_blender.pipeline.world.smplify import Seen

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
    seen = np.einsum("fij,fkj->fki", placed.camera_R, points(placed, body)[0]) + placed.camera_t[:, None]
    flat = seen @ CAMERA_K.T
    return flat[..., :2] / flat[..., 2:]


def standing(body: Body, frames: int = FRAMES) -> Placed:
    """Somebody who stands on both feet, waves and bends, four metres before a camera at the height of the hips."""
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


def seen(placed: Placed, body: Body) -> Seen:
    pixels = project(placed, body)
    box = np.concatenate([pixels.mean(1), np.ptp(pixels, axis=1).max(1, keepdims=True) * 1.2 / 200], 1)
    return Seen(np.concatenate([pixels, np.full((*pixels.shape[:2], 1), 0.9)], 2), box, CAMERA_K)


def disturbed(placed: Placed, size: float = 0.15) -> Placed:
    """The same with slow errors of where it stands and faces, and of its limbs, so that feet slide."""
    rng = np.random.default_rng(0)
    count = len(placed.poses)

    def wave(*shape: int) -> np.ndarray:
        noise = gaussian_filter1d(rng.standard_normal((count, *shape)), 8, axis=0)
        return noise / noise.std()

    turns = np.zeros((count, 24, 3))
    turns[:, 0] = size * wave(3)
    turns[:, [1, 2, 4, 5, 16, 17, 18, 19]] = 0.3 * size * wave(8, 3)
    turned = Rotation.from_rotvec(placed.poses.reshape(-1, 3)) * Rotation.from_rotvec(turns.reshape(-1, 3))
    return replace(
        placed,
        poses=turned.as_rotvec().reshape(count, 72).astype(np.float32),
        trans=(placed.trans + 0.2 * size * wave(3)).astype(np.float32),
    )


def distance(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.linalg.norm(first - second, axis=-1).mean())


def pose_error(placed: Placed, true: Placed, body: Body) -> float:
    """How far the points are from the truth, metres, the hips laid on each other."""
    ours, wanted = (
        found - found[:, [11, 12]].mean(1, keepdims=True) for found in (points(placed, body)[0], points(true, body)[0])
    )
    return distance(ours, wanted)


def slide(placed: Placed, body: Body) -> float:
    return float(np.linalg.norm(np.diff(points(placed, body)[1], axis=0), axis=-1).mean())


def test_it_comes_nearer_to_the_picture_and_the_truth_and_feet_stand(body: Body) -> None:
    true = standing(body)
    picture, start = seen(true, body), disturbed(true)
    told: list[tuple[int, int]] = []
    result = smplify.refine(start, picture, body, lambda done, total: told.append((done, total)))
    pixels = picture.keypoints[..., :2]
    assert distance(project(result, body), pixels) < 0.8 * distance(project(start, body), pixels)
    assert pose_error(result, true, body) < pose_error(start, true, body)
    assert slide(result, body) < 0.5 * slide(start, body)
    assert body.height(result.betas) == pytest.approx(body.height(start.betas), abs=0.02)
    assert told == sorted(told)
    assert told[-1][0] <= FRAMES == told[-1][1]


def test_what_is_right_already_stays(body: Body) -> None:
    true = standing(body)
    result = smplify.refine(true, seen(true, body), body)
    assert distance(points(result, body)[0], points(true, body)[0]) < 0.01


def test_a_keypoint_on_somebody_else_is_not_believed(body: Body) -> None:
    true = standing(body)
    picture = seen(true, body)
    picture.keypoints[20:30, 9, :2] += 400  # a wrist
    result = smplify.refine(true, picture, body)
    assert distance(points(result, body)[0], points(true, body)[0]) < 0.02


def test_feet_stay_out_of_the_floor(body: Body) -> None:
    true = standing(body)
    picture = seen(true, body)
    picture.keypoints[:, 11:, 1] += 25  # the hips and all below look 8 cm lower
    result = smplify.refine(true, picture, body)
    assert points(result, body)[1][..., 2].min() > -0.025  # -0.029 if the floor were not minded


def test_windows_join_without_a_step(body: Body, monkeypatch: pytest.MonkeyPatch) -> None:
    true = standing(body, 100)
    picture, start = seen(true, body), disturbed(true)
    monkeypatch.setattr(smplify, "WINDOW", 40)
    monkeypatch.setattr(smplify, "OVERLAP", 10)
    spans = list(smplify._windows(100))
    assert [(span[0], span[-1]) for span in spans] == [(0, 39), (30, 69), (60, 99)]
    result = smplify.refine(start, picture, body)
    change = points(result, body)[0] - points(start, body)[0]
    assert np.abs(np.diff(change, axis=0)).max() < 0.04  # what it is where no windows meet
    assert distance(project(result, body), picture.keypoints[..., :2]) < 0.8 * distance(
        project(start, body), picture.keypoints[..., :2]
    )


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_hardly_any_frames(frames: int, body: Body) -> None:
    true = standing(body, frames)
    result = smplify.refine(disturbed(true, 0.1) if frames > 1 else true, seen(true, body), body)
    assert len(result.poses) == frames
    assert np.isfinite(result.poses).all()


def test_nobody_seen_and_no_numbers_leave_it_as_it_was(body: Body) -> None:
    true = standing(body)
    start, picture = disturbed(true), seen(true, body)
    blind = replace(picture, keypoints=np.where([True, True, False], np.nan, 0.0) * np.ones_like(picture.keypoints))
    result = smplify.refine(start, blind, body)
    assert np.isfinite(result.poses).all()
    assert slide(result, body) < slide(start, body)
    broken = replace(picture, camera_K=np.full((3, 3), np.nan))
    result = smplify.refine(start, broken, body)
    assert np.allclose(points(result, body)[0], points(start, body)[0], atol=1e-4)


def test_it_is_never_worse_by_its_own_measure(body: Body) -> None:
    true = standing(body)
    start, picture = disturbed(true, 0.4), seen(true, body)
    window = smplify._Window(start, picture, body, np.arange(FRAMES), smplify.Terms())
    before = float(window.loss(window.nothing()))
    found = window.fit(torch.zeros(10), lambda share: None)
    assert found is not None
    assert float(window.loss(found)) < before
