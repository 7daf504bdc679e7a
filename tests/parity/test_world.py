"""A known walk, as WHAM would see it with its usual errors, comes out of ``place`` where it was."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tests.parity.walks import as_lifted, foot_points, walk
from tools.training.scenes import place
from wham_blender import weights
from wham_blender.body.body import Body
from wham_blender.motion import forward_kinematics
from wham_blender.pipeline.pose.types import WhamTrack
from wham_blender.pipeline.world.calibration import UNCALIBRATED, calibration_for
from wham_blender.pipeline.world.placement import Placed, PlacementInput, place_together

OPENCV = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])  # a camera that looks along +y, upright
FOCAL = 1000.0  # pixels
HOP = slice(90, 106)  # frames in the air

Scene = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]

CALIBRATION = calibration_for(weights.find("wham"), weights.folder()) or UNCALIBRATED


def camera_at(position: list[float], yaw: float, tilt: float, count: int) -> tuple[np.ndarray, np.ndarray]:
    turn = Rotation.from_rotvec([tilt, 0, 0]).as_matrix() @ OPENCV @ Rotation.from_rotvec([0, 0, -yaw]).as_matrix()
    return np.tile(turn, (count, 1, 1)), np.tile(-turn @ position, (count, 1))


@pytest.fixture(scope="module", params=["walks away", "walks across"])
def scene(request: pytest.FixtureRequest, open_body: Body) -> Scene:
    """Poses, pelvis and contacts of a walk with a hop, and the camera's rotations and translations."""
    poses, pelvis, contacts = walk(open_body)
    time = np.arange(HOP.stop - HOP.start) / 30
    pelvis[HOP, 2] += 0.5 * 9.81 * time * (time[-1] - time)
    contacts[HOP] = 0
    away = request.param == "walks away"
    camera = (
        camera_at([1, -14, 1.5], 0.3, 0.15, len(poses)) if away else camera_at([6.5, -3, 1.2], 1.7, 0.15, len(poses))
    )
    return poses, pelvis, contacts, *camera


@pytest.fixture(scope="module")
def noisy(scene: Scene, open_body: Body) -> WhamTrack:
    return as_lifted(open_body, *scene, rng=np.random.default_rng(1))


def pelvis_of(placed: Placed) -> np.ndarray:
    return placed.trans + placed.rest_joints[0]


def feet_of(placed: Placed, body: Body) -> np.ndarray:
    poses = Rotation.from_rotvec(placed.poses.reshape(-1, 3)).as_matrix().reshape(-1, 24, 3, 3)
    return foot_points(body, poses, pelvis_of(placed))


def pixels(points: np.ndarray, camera_R: np.ndarray, camera_t: np.ndarray) -> np.ndarray:
    seen = np.einsum("nij,n...j->n...i", camera_R, points) + camera_t.reshape(-1, *[1] * (points.ndim - 2), 3)
    return FOCAL * seen[..., :2] / seen[..., 2:]


def test_without_errors_everything_is_found(scene: Scene, open_body: Body) -> None:
    poses, pelvis, contacts, camera_R, camera_t = scene
    placed = place(as_lifted(open_body, *scene), open_body)
    np.testing.assert_allclose(pelvis_of(placed), pelvis, atol=0.07)
    np.testing.assert_allclose(placed.camera_R, camera_R, atol=0.02)
    centre = -np.einsum("nji,nj->ni", placed.camera_R, placed.camera_t)
    np.testing.assert_allclose(centre, -np.einsum("nji,nj->ni", camera_R, camera_t), atol=0.15)
    assert placed.poses.shape == (len(poses), 72)
    assert ((placed.contacts > 0.5) == (contacts > 0.5)).mean() > 0.95


def test_placed_people_are_in_the_animators_world(scene: Scene, noisy: WhamTrack, open_body: Body) -> None:
    placed = place(noisy, open_body)
    pelvis = pelvis_of(placed)
    np.testing.assert_allclose(pelvis[0, :2], 0, atol=1e-5)
    front = Rotation.from_rotvec(placed.poses[0, :3]).as_matrix()[:, 2]
    assert abs(front[0]) < 1e-4
    assert front[1] < -0.95
    up = Rotation.from_rotvec(placed.poses[:, :3]).as_matrix()[:, 2, 1]
    assert np.degrees(np.arccos(np.clip(up, -1, 1))).max() < 1
    assert np.linalg.norm(pelvis - scene[1], axis=1).max() < 0.1


def test_planted_feet_are_static_and_jumps_leave_the_floor(scene: Scene, noisy: WhamTrack, open_body: Body) -> None:
    _, pelvis, contacts, *_ = scene
    placed = place(noisy, open_body)
    feet, planted = feet_of(placed, open_body), contacts > 0.5
    assert np.abs(feet[planted][:, 2]).max() < 0.015
    assert feet[..., 2].min() > -0.015
    both = planted[1:] & planted[:-1]
    assert np.linalg.norm(np.diff(feet, axis=0), axis=-1)[both].mean() < 0.002
    height = pelvis_of(placed)[:, 2]
    assert height[HOP].max() - height[80] == pytest.approx(pelvis[HOP, 2].max() - pelvis[80, 2], abs=0.03)


def test_a_static_camera_is_static_and_projects_the_person(scene: Scene, noisy: WhamTrack, open_body: Body) -> None:
    poses, pelvis, _, camera_R, camera_t = scene
    placed = place(noisy, open_body)
    assert np.ptp(placed.camera_R, axis=0).max() == 0
    assert np.ptp(placed.camera_t, axis=0).max() < 1e-5
    joints, _ = forward_kinematics(placed.poses, placed.trans, placed.rest_joints)
    vectors = Rotation.from_matrix(poses.reshape(-1, 3, 3)).as_rotvec().reshape(-1, 72)
    true, _ = forward_kinematics(vectors, pelvis - placed.rest_joints[0], placed.rest_joints)
    off = pixels(joints, placed.camera_R, placed.camera_t) - pixels(true, camera_R, camera_t)
    assert np.abs(off).max() < 8


@pytest.mark.parametrize("axis", [[1, 0, 0], [0, 0, 1]])
def test_a_tilted_gravity_estimate_is_corrected_by_the_floor(
    scene: Scene, noisy: WhamTrack, open_body: Body, axis: list[int]
) -> None:
    error = Rotation.from_rotvec(np.radians(5) * np.array(axis)).as_matrix().astype(np.float32)
    placed = place(
        replace(noisy, root_world=error @ noisy.root_world, trans_world=noisy.trans_world @ error.T), open_body
    )
    up = Rotation.from_rotvec(placed.poses[:, :3]).as_matrix()[:, 2, 1]
    assert np.degrees(np.arccos(np.clip(up, -1, 1))).max() < 3
    assert np.linalg.norm(pelvis_of(placed) - scene[1], axis=1).max() < 0.15


def test_contacts_of_moving_feet_are_rejected(scene: Scene, noisy: WhamTrack, open_body: Body) -> None:
    _, _, contacts, *_ = scene
    always = replace(noisy, contacts=np.full_like(noisy.contacts, 0.7))
    found = place(always, open_body).contacts > 0.5
    # Of who walks away from the camera 0.70, as the feet's movement is in depth; else above 0.8.
    assert (found == (contacts > 0.5)).mean() > 0.65


def test_contacts_of_occluded_feet_do_not_stop_a_walk(scene: Scene, noisy: WhamTrack, open_body: Body) -> None:
    """Legs behind a counter are guessed to hang down, WHAM takes each foot for rather planted and the walk for slow."""
    _, pelvis, _, camera_R, camera_t = scene
    poses = noisy.poses.copy()
    poses[:, [1, 2, 4, 5, 7, 8]] = np.eye(3)
    guessed = replace(
        noisy, poses=poses, contacts=np.full_like(noisy.contacts, 0.65), trans_world=0.3 * noisy.trans_world
    )
    seen = PlacementInput(guessed, feet_visible=np.zeros((len(pelvis), 2), bool))
    (placed,) = place_together([seen], open_body, CALIBRATION)
    off = pixels(pelvis_of(placed), placed.camera_R, placed.camera_t) - pixels(pelvis, camera_R, camera_t)
    assert np.linalg.norm(off, axis=1).mean() < 4
    assert (placed.contacts > 0.5).mean() < 0.2


def test_a_rotating_camera_is_placed(scene: Scene, open_body: Body) -> None:
    poses, pelvis, contacts, camera_R, camera_t = scene
    centre = -np.einsum("nji,nj->ni", camera_R, camera_t)
    pan = Rotation.from_rotvec(np.outer(0.2 * np.sin(np.arange(len(poses)) / 40), [0, 1, 0])).as_matrix() @ camera_R
    shift = -np.einsum("nij,nj->ni", pan, centre)
    seen = as_lifted(open_body, poses, pelvis, contacts, pan, shift)
    known = pan @ Rotation.from_rotvec([0.3, -0.8, 0.5]).as_matrix()  # from axes of its own
    for stays in (True, False):
        placed = place(seen, open_body, camera_R=known, camera_stays=stays)
        assert np.linalg.norm(pelvis_of(placed) - pelvis, axis=1).max() < 0.15
        off = pixels(pelvis_of(placed), placed.camera_R, placed.camera_t) - pixels(pelvis, pan, shift)
        assert np.abs(off).max() < 8
        np.testing.assert_allclose(placed.camera_R, pan, atol=0.03)


def test_a_second_person_is_put_beside_the_first(scene: Scene, noisy: WhamTrack, open_body: Body) -> None:
    poses, pelvis, contacts, camera_R, camera_t = scene
    beside = pelvis + np.array([0.8, 0.5, 0])
    other = as_lifted(open_body, poses, beside, contacts, camera_R, camera_t)
    first, placed = place_together([PlacementInput(noisy), PlacementInput(other)], open_body, CALIBRATION)
    assert np.linalg.norm(pelvis_of(placed) - beside, axis=1).max() < 0.25
    np.testing.assert_array_equal(placed.camera_t, first.camera_t)


def test_a_person_on_a_roof_stays_above_the_floor(scene: Scene, open_body: Body) -> None:
    poses, pelvis, contacts, camera_R, camera_t = scene
    high, apart = pelvis.copy(), contacts.copy()
    high[:, 2] += np.interp(np.arange(len(pelvis)), [60, 75], [2.2, 0])
    apart[60:76] = 0
    lifted = as_lifted(open_body, poses, high, apart, camera_R, camera_t, np.random.default_rng(2))
    lowest = feet_of(place(lifted, open_body), open_body)[..., 2].min(1)
    assert np.abs(lowest[:55] - 2.2).max() < 0.25
    assert np.abs(lowest[80:])[apart[80:].any(1)].max() < 0.03


def test_the_bounce_of_a_runner_that_wham_does_not_see_is_kept(open_body: Body) -> None:
    poses, pelvis, contacts = walk(open_body)
    bounce = 0.04 * np.sin(2 * np.pi * 2.9 * np.arange(len(pelvis)) / 30)
    camera = camera_at([6.5, -3, 1.2], 1.7, 0.0, len(poses))
    high = pelvis + np.outer(bounce, [0, 0, 1])
    lifted = as_lifted(open_body, poses, high, 0 * contacts, *camera)
    lifted.trans_world[:, 1] = lifted.trans_world[0, 1]
    placed = place(lifted, open_body, contact_model=lambda wham, *_: 0 * wham)
    kept = np.polyfit(bounce[20:-20], (pelvis_of(placed) - pelvis)[20:-20, 2], 1)[0]
    assert kept > 0.75


def test_a_runner_does_not_climb_where_gravity_is_off_along_the_way(open_body: Body) -> None:
    """Few contacts, none of which the contact model sees in the second half."""
    poses, pelvis, contacts = walk(open_body)
    camera = camera_at([6.5, -3, 1.2], 1.7, 0.0, len(poses))
    way = pelvis[-1] - pelvis[0]
    tilt = Rotation.from_rotvec(np.radians(8) * np.cross([0, 0, 1], way) / np.linalg.norm(way))
    lifted = as_lifted(open_body, poses, pelvis, contacts, *camera)
    in_camera = camera[0][0] @ tilt.as_matrix() @ camera[0][0].T
    lifted.root_world = lifted.root_world @ (lifted.poses[:, 0].mT @ in_camera @ lifted.poses[:, 0])
    lifted.contacts[:, :] = 0
    for begin in range(10, len(poses), 18):
        lifted.contacts[begin : begin + 4] = contacts[begin : begin + 4]
    placed = place(lifted, open_body, contact_model=lambda wham, *_: wham)
    rise = np.polyfit(np.arange(len(pelvis)), pelvis_of(placed)[:, 2] - pelvis[:, 2], 1)[0] * len(pelvis)
    assert abs(rise) < 0.015 * np.linalg.norm(way)


def test_stairs_do_not_bend_the_floor(open_body: Body) -> None:
    poses, pelvis, contacts = walk(open_body, 8, rise=0.12)
    camera = camera_at([5.5, -2.5, 1.2], 1.6, 0.1, len(poses))
    lifted = as_lifted(open_body, poses, pelvis, contacts, *camera, np.random.default_rng(3))
    placed = place(lifted, open_body)
    climbed = pelvis_of(placed)[:, 2]
    assert climbed[-1] - climbed[0] == pytest.approx(pelvis[-1, 2] - pelvis[0, 2], rel=0.15)
    up = Rotation.from_rotvec(placed.poses[:, :3]).as_matrix()[:, 2, 1]
    assert np.degrees(np.arccos(np.clip(up, -1, 1))).max() < 4
    feet, stands = feet_of(placed, open_body), placed.contacts > 0.5
    both = stands[1:] & stands[:-1]
    assert np.linalg.norm(np.diff(feet, axis=0), axis=-1)[both].max() * 30 < 0.02


def test_a_person_without_contacts_stands_on_the_floor(scene: Scene, noisy: WhamTrack, open_body: Body) -> None:
    placed = place(replace(noisy, contacts=np.zeros_like(noisy.contacts)), open_body)
    lowest = feet_of(placed, open_body)[..., 2].min(1)
    assert lowest.min() > -0.02
    assert np.median(lowest) < 0.03


def test_occluded_frames_are_bridged_by_whams_velocity(scene: Scene, noisy: WhamTrack, open_body: Body) -> None:
    lost = replace(noisy, trans_cam=noisy.trans_cam.copy())
    lost.trans_cam[40:60] = [5, 5, 2]
    seen = np.ones(len(lost.trans_cam), bool)
    seen[40:60] = False
    (placed,) = place_together([PlacementInput(lost, visible=seen)], open_body, CALIBRATION)
    assert np.linalg.norm(pelvis_of(placed) - scene[1], axis=1).max() < 0.1


@pytest.mark.parametrize("count", [1, 2, 5])
def test_short_tracks_are_placed(noisy: WhamTrack, open_body: Body, count: int) -> None:
    short = WhamTrack(**{name: value[:count] for name, value in vars(noisy).items()})
    placed = place(short, open_body)
    np.testing.assert_allclose(feet_of(placed, open_body)[..., 2].min(), 0, atol=0.025)
