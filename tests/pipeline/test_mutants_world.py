"""Errors of a sign, a factor or a missing call in the pose and world stages that the other tests would let through."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from tests.parity.test_world import CALIBRATION, camera_at, pelvis_of
from tests.parity.walks import Y_UP_TO_Z_UP, as_lifted, foot_points, walk
from wham_blender import planted_feet, quaternions, weights
from wham_blender.body.body import Body
from wham_blender.motion import pose_skeleton
from wham_blender.pipeline.people.types import Person
from wham_blender.pipeline.pose.types import WhamTrack
from wham_blender.pipeline.stages import pose
from wham_blender.pipeline.world.foot_contacts import relative_to_support_foot
from wham_blender.pipeline.world.foot_locking import lock_feet
from wham_blender.pipeline.world.placement import PlacementInput, place_together


@pytest.fixture(scope="module")
def body() -> Body:
    return Body.load(weights.find("body").path)


# --- knees -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", [planted_feet.IN_PLANE, planted_feet.HINGED], ids=["in plane", "hinged"])
@pytest.mark.parametrize("heading", [0.0, 2.0])
def test_the_knee_of_a_straight_leg_bends_to_the_front(rule: planted_feet.KneeRule, heading: float) -> None:
    """A leg that hangs down, of a body that faces -y before it is turned, has to become shorter."""
    turn = Rotation.from_rotvec([0, 0, heading])
    thigh, shin = np.array([[0, 0, -0.4]]), np.array([[0, 0, -0.38]])
    axis = turn.apply([[0.0, -1.0, 0.0]] if not rule.hinged else [[1.0, 0.0, 0.0]])
    upper, lower, direction = planted_feet.two_bone_ik(thigh, shin, np.array([[0, 0, -0.7]]), axis, rule)
    knee = quaternions.rotate(upper, thigh)
    ankle = knee + quaternions.rotate(lower, shin)
    np.testing.assert_allclose(ankle, [[0, 0, -0.7]], atol=1e-6)
    front = turn.apply([0.0, -1.0, 0.0])
    assert knee[0] @ front > 0.1
    np.testing.assert_allclose(direction[0], front, atol=1e-6)


def test_locking_bends_straight_legs_to_the_front(body: Body) -> None:
    """A body on stiff legs leans to a side: the feet stay planted, so a leg has to give way."""
    rest = body.rest_joints(torch.zeros(10)).numpy().astype(np.float64)
    poses = np.tile(np.eye(3), (40, 24, 1, 1))
    for hip, knee, ankle in ((1, 4, 7), (2, 5, 8)):
        thigh, shin = rest[knee] - rest[hip], rest[ankle] - rest[knee]
        straight, _ = Rotation.align_vectors([thigh / np.linalg.norm(thigh)], [shin / np.linalg.norm(shin)])
        poses[:, knee], poses[:, ankle] = straight.as_matrix(), straight.inv().as_matrix()
    lean = 0.12 * np.sin(np.pi * np.arange(40) / 39) ** 2
    poses[:, 0] = Rotation.from_rotvec(np.outer(lean, [0, 1, 0])).as_matrix() @ Y_UP_TO_Z_UP
    pelvis = np.zeros((40, 3))
    pelvis[:, 2] -= foot_points(body, poses[:1], pelvis[:1])[..., 2].min()
    none = np.zeros((40, 3))
    locked, moved, _ = lock_feet(
        poses, pelvis, rest, np.ones((40, 4), bool), lambda posed: foot_points(body, posed, none[: len(posed)])
    )
    joints, rotations = pose_skeleton(locked, moved, rest)
    bend = []
    for hip, knee, ankle in ((1, 4, 7), (2, 5, 8)):
        along = joints[:, ankle] - joints[:, hip]
        along /= np.linalg.norm(along, axis=1, keepdims=True)
        thigh = joints[:, knee] - joints[:, hip]
        off = thigh - (thigh * along).sum(1, keepdims=True) * along
        bend.append((off * rotations[:, 0, :, 2]).sum(1))  # to the front of the pelvis
    assert np.max(bend) > 0.03
    assert np.min(bend) > -0.01


# --- feet and steps --------------------------------------------------------------------------------------------------


def test_the_lowest_foot_is_the_support_foot() -> None:
    """The right heel stays low and slides back; what the left foot does in the air is taken relative to it."""
    feet = np.zeros((5, 4, 3))
    feet[..., 2] = [0.2, 0.3, 0.1, 0.0]
    feet[:, 3, 1] = -0.1 * np.arange(5)
    moved = relative_to_support_foot(feet)
    np.testing.assert_allclose(moved[:, 3], np.tile([0, 0, 0], (5, 1)), atol=1e-12)
    np.testing.assert_allclose(moved[:, 0], feet[:, 0] + np.outer(0.1 * np.arange(5), [0, 1, 0]), atol=1e-12)


def test_a_walk_that_wham_takes_for_treading_on_the_spot_travels_with_a_travelling_camera(body: Body) -> None:
    """The camera goes along, so that only the feet tell that the person gets on."""
    poses, pelvis, contacts = walk(body)
    count = len(poses)
    camera_R, _ = camera_at([0, -4, 1.2], 0.0, 0.0, count)
    camera_R = camera_R @ np.diag([-1.0, -1.0, 1.0])  # from behind, along -y
    centre = pelvis * [1, 1, 0] + [0.3, 4.0, 1.3]
    track = as_lifted(body, poses, pelvis, contacts, camera_R, -np.einsum("fij,fj->fi", camera_R, centre))
    track.trans_world[:] = track.trans_world[:1]
    track.contacts[:] = 0.5
    (placed,) = place_together([PlacementInput(track)], body, CALIBRATION, camera_R=camera_R, camera_stays=False)
    travelled = np.linalg.norm(pelvis_of(placed)[-1] - pelvis_of(placed)[0])
    assert travelled > 0.7 * np.linalg.norm(pelvis[-1] - pelvis[0])


# --- actor height ----------------------------------------------------------------------------------------------------


def stage_output(body: Body, tracks: list[WhamTrack], **job: Any) -> pose.Lifted:
    """What the pose stage makes of WHAM's outputs, which it finds in the cache."""
    kept = iter(tracks)
    count = len(tracks[0].poses)
    context: Any = SimpleNamespace(
        job=SimpleNamespace(**{"gender": "neutral", "actor_height": None} | job),
        size=(1920, 1080),
        backend=SimpleNamespace(files={name: weights.find(name) for name in ("wham", "body")}),
        cache=SimpleNamespace(run=lambda *_: (vars(next(kept)), "key")),
        warn=pytest.fail,
    )
    camera_K = np.array([[1000.0, 0, 960], [0, 1000, 540], [0, 0, 1]])
    people = []
    for track in tracks:
        betas = torch.from_numpy(track.betas)
        joints = body.landmarks(torch.from_numpy(track.poses), betas).joints[:, :17].numpy()
        seen = (joints + track.trans_cam[:, None]) @ camera_K.T
        keypoints = np.concatenate([seen[..., :2] / seen[..., 2:], np.ones((count, 17, 1))], -1)
        boxes = np.tile([960.0, 540.0, 2.0], (count, 1))
        rows = np.arange(count)
        people.append(
            Person(
                keypoints=keypoints,
                landmarks=np.zeros((count, 0, 3)),
                landmarks_3d=np.zeros((count, 0, 3)),
                boxes=boxes,
                time=rows / 30,
                visible=rows >= 0,
                detection_rows=rows,
            )
        )
    people_: Any = SimpleNamespace(people=people, network_times=np.arange(count) / 30)
    motion = SimpleNamespace(rotations_at=lambda *_: np.tile(np.eye(3), (count, 1, 1)))
    camera: Any = SimpleNamespace(motion=motion, camera_K=camera_K)
    features: Any = [SimpleNamespace(views=[], key="key", lifter_poses={}) for _ in tracks]
    return pose.run_wham(context, people_, camera, features, pose.Networks(None, body))  # type: ignore[arg-type]


def test_the_actor_s_height_scales_body_and_path(body: Body) -> None:
    """Everybody by the first one's ratio: body, distance from the camera and WHAM's path."""
    poses, pelvis, contacts = walk(body, 2)
    camera = camera_at([0, -6, 1.2], 0.0, 0.0, len(poses))
    tracks = [as_lifted(body, poses, pelvis + aside, contacts, *camera) for aside in ([0, 0, 0], [0.6, 0.2, 0])]
    tracks[1].betas[:, 0] = 0.5
    plain = stage_output(body, tracks)
    tall = 1.05 * body.height(tracks[0].betas[0])
    scaled = stage_output(body, tracks, actor_height=tall)
    assert body.height(scaled.tracks[0].betas[0]) == pytest.approx(tall, rel=1e-3)
    for before, after in zip(plain.tracks, scaled.tracks, strict=True):
        ratio = body.height(after.betas[0]) / body.height(before.betas[0])
        assert ratio == pytest.approx(1.05, rel=5e-3)
        np.testing.assert_allclose(after.trans_world, ratio * before.trans_world, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(after.poses, before.poses)
        np.testing.assert_allclose(after.trans_cam[:, 2] / before.trans_cam[:, 2], ratio, rtol=0.02)
