"""The path of a camera that moves, in metres: the ground's parallax decides, and nobody walks on the spot."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tests.parity.walks import as_lifted, walk
from tests.pipeline.test_camera_motion import corners, solved
from tests.synthetic import truth
from wham_blender import weights
from wham_blender.body.body import Body
from wham_blender.pipeline.camera.camera_motion import MOVING, CameraMotion
from wham_blender.pipeline.world.calibration import UNCALIBRATED
from wham_blender.pipeline.world.camera_path import Background, FeetInCamera, camera_path, fit_ground
from wham_blender.pipeline.world.placement import FilmCamera, PlacementInput, place_together

UP = np.array([0.0, -1.0, 0.0])  # in the axes of a level camera
UNIT = 6.0  # metres of a key frame's unit of length


def background(centres: np.ndarray, height: float, ground: int = 80, wall: int = 120) -> CameraMotion:
    """What is seen of a ground and a wall by a level camera at centres (L, 3), metres from the first, y down."""
    rng = np.random.default_rng(0)
    count = len(centres)
    on_ground = np.stack([rng.uniform(-4, 4, ground), np.full(ground, height), rng.uniform(3, 12, ground)], 1)
    on_wall = np.stack([rng.uniform(-6, 6, wall), rng.uniform(-3, height, wall), np.full(wall, 14.0)], 1)
    points = np.concatenate([on_ground, on_wall])
    noise = rng.normal(1, 0.02, len(points))
    return CameraMotion(
        rotations=np.tile(np.eye(3), (count, 1, 1)), kind=np.full(count, MOVING), is_estimated=np.ones(count, bool),
        zoom=np.ones(count), focal=np.array(500.0), key_frame=np.where(np.arange(count) > 0, 0, -1),
        centre=centres / UNIT, corner_key_frame=np.zeros(len(points), np.int64),
        corner_rays=points / points[:, 2:], corner_inverse_depths=UNIT / points[:, 2] * noise,
    )  # fmt: skip


def test_the_solved_camera_has_its_path_and_corners() -> None:
    known = truth.load("lawn_dolly")
    view = solved(corners("lawn_dolly"), known.camera_K[0, 0])
    true = -np.einsum("fji,fj->fi", known.camera_R, known.camera_t)
    for key in np.unique(view.corner_key_frame):
        frames = np.flatnonzero(view.key_frame == key)
        moved = (true[frames] - true[key]) @ known.camera_R[0].T
        unit = (moved * view.centre[frames]).sum() / (view.centre[frames] ** 2).sum()
        assert np.abs(moved - unit * view.centre[frames]).max() < 0.02
        assert (view.corner_key_frame == key).sum() > 50


def test_the_ground_gives_the_camera_s_path_in_metres() -> None:
    centres = np.outer(np.arange(60), [0.0, 0, 0.04])
    view = background(centres, height=1.5)
    foot = np.tile([0.3, 1.5, 4.0], (60, 1))  # goes along with the camera
    path = camera_path(view, FeetInCamera(np.arange(60), foot), 4.0, UP)
    assert np.linalg.norm(path.steps.sum(0)) == pytest.approx(59 * 0.04, rel=0.03)
    assert path.std.max() < 0.003
    assert path.ground @ UP / np.linalg.norm(path.ground) > np.cos(np.radians(1))


def test_without_ground_large_steps_are_not_believed_and_small_ones_are() -> None:
    foot = FeetInCamera(np.arange(60), np.tile([0.3, 1.5, 4.0], (60, 1)))
    far = camera_path(background(np.outer(np.arange(60), [0.04, 0, 0]), 1.5, ground=0), foot, 4.0, UP)
    held = camera_path(background(np.outer(np.arange(60) % 2, [0.002, 0, 0]), 1.5, ground=0), foot, 4.0, UP)
    assert far.std.min() > 0.03
    assert held.std.max() < 0.006
    assert not far.ground.any()


def test_the_ground_is_found_under_a_wrong_up_and_a_wall_is_none() -> None:
    view = background(np.zeros((2, 3)), 1.5)
    tilted = Rotation.from_rotvec([0.1, 0, 0.05]).apply(UP)
    plane, is_known = fit_ground(view.corner_rays, view.corner_inverse_depths, tilted)
    assert is_known
    assert plane is not None
    assert -plane @ UP / np.linalg.norm(plane) > np.cos(np.radians(1))
    view = background(np.zeros((2, 3)), 1.5, ground=0)
    plane, is_known = fit_ground(view.corner_rays, view.corner_inverse_depths, UP)
    assert plane is None or not is_known


def test_times_between_network_frames_have_their_share_of_a_step() -> None:
    centres = np.outer(np.arange(30), [0.0, 0, 0.04])
    foot = FeetInCamera(np.arange(30), np.tile([0.3, 1.5, 4.0], (30, 1)))
    path = camera_path(background(centres, height=1.5), foot, 4.0, UP)
    network_times = np.arange(30) / 30
    steps, std = path.at(np.array([0.1, 0.15, 0.25, 2.0]), network_times)
    assert np.linalg.norm(steps[:2], axis=1) == pytest.approx([0.06, 0.12], rel=0.03)
    assert np.isfinite(std[:2]).all()
    assert np.isinf(std[2])


def test_a_walker_filmed_from_behind_gets_on_though_the_legs_and_wham_say_half_of_it() -> None:
    """What the lifter does: legs swing too little along the line of sight, and WHAM's velocity follows them."""
    body = Body.load(weights.find("body").path)
    poses, pelvis, contacts = walk(body, 8)
    count = len(poses)
    camera_R = np.tile(np.array([[-1.0, 0, 0], [0, 0, -1], [0, -1, 0]]), (count, 1, 1))  # looks along -y, as they walk
    centre = pelvis * [0, 1, 0] + [0.3, 4.0, 1.3]
    true = np.linalg.norm(pelvis[-1] - pelvis[0])
    legs = Rotation.from_matrix(poses[:, [1, 2]].reshape(-1, 3, 3)).as_rotvec().reshape(count, 2, 3)
    poses = poses.copy()
    poses[:, [1, 2]] = Rotation.from_rotvec((0.5 * legs).reshape(-1, 3)).as_matrix().reshape(count, 2, 3, 3)
    track = as_lifted(body, poses, pelvis, contacts, camera_R, -np.einsum("fij,fj->fi", camera_R, centre))
    track.trans_world[:] = track.trans_world[:1] + 0.5 * (track.trans_world - track.trans_world[:1])
    view = background((centre - centre[0]) @ camera_R[0].T, height=1.3)
    times = np.arange(count) / 30
    (placed,) = place_together(
        [PlacementInput(track)], body, UNCALIBRATED, FilmCamera(view.rotations, False, Background(view, times, times))
    )
    travelled = np.linalg.norm(placed.trans[-1] - placed.trans[0])
    assert travelled == pytest.approx(true, rel=0.08)
    assert np.ptp(placed.trans[:, 2]) < 0.15
