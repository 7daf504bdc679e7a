"""World: WHAM delivers the network's rollout unchanged but for a rigid motion, with a camera that fits the clip."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tests.parity.walks import as_lifted, foot_points
from wham_blender import weights
from wham_blender.body.body import Body
from wham_blender.motion import rotation_matrices
from wham_blender.pipeline.pose.types import WhamTrack
from wham_blender.pipeline.world.placement import Placed
from wham_blender.pipeline.world.wham_world import place_by_rollout

FRAMES = 30
CAMERA_R = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # looks along y, z up


@pytest.fixture(scope="module")
def body() -> Body:
    return Body.load(weights.find("body").path)


def track(body: Body, start: tuple[float, float] = (0.0, 0.0), heading: float = 0.3) -> WhamTrack:
    """Somebody who walks stiffly and turns, seen by a static camera; the network adds errors of its own."""
    rng = np.random.default_rng(4)
    poses = np.tile(np.eye(3), (FRAMES, 24, 1, 1))
    yaw = Rotation.from_rotvec(np.outer(heading + 0.02 * np.arange(FRAMES), [0, 0, 1]))
    poses[:, 0] = (yaw * Rotation.from_matrix([[1, 0, 0], [0, 0, -1], [0, 1, 0]])).as_matrix()
    pelvis = np.array([*start, 0.95]) + np.outer(np.arange(FRAMES), [0.03, -0.01, 0.001])
    contacts = np.tile([0.9, 0.8, -0.1, 1.2], (FRAMES, 1))
    cameras = np.tile(CAMERA_R, (FRAMES, 1, 1))
    return as_lifted(body, poses, pelvis, contacts, cameras, np.tile([0.0, 1.2, 5.0], (FRAMES, 1)), rng)


def matrices(placed: Placed) -> np.ndarray:
    return rotation_matrices(placed.poses.reshape(-1, 24, 3))


def hips(placed: Placed, body: Body) -> np.ndarray:
    """The midpoint of the hips (F, 3), which WHAM's path is of."""
    points = [1, 2]  # left and right hip
    rest = placed.rest_joints
    offset = rest[points].mean(0) - rest[0]
    del body
    return placed.trans + rest[0] + np.einsum("fij,j->fi", matrices(placed)[:, 0], offset)


def test_rotations_and_path_are_the_refiner_s(body: Body) -> None:
    wham = track(body)
    (placed,) = place_by_rollout([wham], [0], body)
    turned = matrices(placed)[:, 0] @ wham.root_world.swapaxes(1, 2)
    np.testing.assert_allclose(turned, np.broadcast_to(turned[0], turned.shape), atol=1e-5)  # one rotation for all
    np.testing.assert_allclose(turned[0] @ [0, -1, 0], [0, 0, 1], atol=1e-6)  # which only turns about the vertical
    np.testing.assert_allclose(matrices(placed)[:, 1:], wham.poses[:, 1:], atol=1e-5)
    steps = np.diff(hips(placed, body), axis=0)
    expected = np.diff(wham.trans_world, axis=0) @ turned[0].T
    np.testing.assert_allclose(steps, expected, atol=2e-3)  # body.offset is of COCO's hips, not of SMPL's
    np.testing.assert_allclose(placed.contacts, np.clip(wham.contacts, 0, 1))


def test_it_starts_over_the_origin_with_planted_feet_on_the_floor(body: Body) -> None:
    (placed,) = place_by_rollout([track(body)], [0], body)
    pelvis = placed.trans + placed.rest_joints[0]
    np.testing.assert_allclose(pelvis[0, :2], 0, atol=1e-6)
    front = matrices(placed)[0, 0, :, 2]
    assert front[1] < 0
    assert abs(front[0]) < 1e-6
    feet = foot_points(body, matrices(placed), pelvis)
    assert np.median(feet[:, [0, 1, 3], 2]) == pytest.approx(0, abs=1e-3)


def test_the_camera_sees_the_person_where_the_clip_does(body: Body) -> None:
    wham = track(body)
    (placed,) = place_by_rollout([wham], [0], body)
    pelvis = placed.trans + placed.rest_joints[0]
    seen = np.einsum("fij,fj->fi", placed.camera_R, pelvis) + placed.camera_t
    offset = wham.offset - placed.rest_joints[0]
    np.testing.assert_allclose(seen + offset, wham.trans_cam, atol=1e-4)
    np.testing.assert_allclose(placed.camera_R @ matrices(placed)[:, 0], wham.poses[:, 0], atol=1e-5)


def test_a_second_person_stands_beside_the_first_and_keeps_their_own_path(body: Body) -> None:
    first, second = track(body), track(body, (1.0, 0.5), heading=1.1)
    alone = place_by_rollout([second], [10], body)[0]
    placed = place_by_rollout([first, second], [0, 10], body)
    pelvis = [each.trans + each.rest_joints[0] for each in placed]
    seen = np.einsum("ij,j->i", placed[0].camera_R[10], pelvis[1][0]) + placed[0].camera_t[10]
    expected = np.einsum("ij,j->i", alone.camera_R[0], alone.trans[0] + alone.rest_joints[0]) + alone.camera_t[0]
    across = placed[0].camera_R[10].T @ (seen - expected)
    np.testing.assert_allclose(across[:2], 0, atol=1e-4)  # where the picture shows them, but for the floor's level
    lengths = [np.linalg.norm(np.diff(each.trans, axis=0), axis=1) for each in (alone, placed[1])]
    np.testing.assert_allclose(lengths[1], lengths[0], atol=1e-5)
    np.testing.assert_allclose(placed[1].trans[:, 2], alone.trans[:, 2], atol=1e-6)
    own = placed[1].camera_R @ matrices(placed[1])[:, 0]
    np.testing.assert_allclose(own, second.poses[:, 0], atol=1e-5)


def test_people_who_never_meet_start_at_the_origin_each(body: Body) -> None:
    placed = place_by_rollout([track(body), track(body)], [0, 500], body)
    np.testing.assert_array_equal(placed[0].trans, placed[1].trans)


def test_without_contacts_the_lowest_foot_touches_the_floor(body: Body) -> None:
    flying = replace(track(body), contacts=np.zeros((FRAMES, 4), np.float32))
    (placed,) = place_by_rollout([flying], [0], body)
    feet = foot_points(body, matrices(placed), placed.trans + placed.rest_joints[0])
    assert feet[..., 2].min() == pytest.approx(0, abs=1e-4)
