"""Errors of a sign, a factor or a missing call in the pose and world stages that the other tests would let through."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from tests.parity.test_world import CALIBRATION, camera_at, pelvis_of
from tests.parity.walks import Y_UP_TO_Z_UP, as_lifted, foot_points, walk
from wham_blender import planted_feet, quaternions, weights
from wham_blender.animation import Animation, looped, with_arms_spread
from wham_blender.body.body import Body
from wham_blender.motion import pose_skeleton
from wham_blender.pipeline.people.types import Detections, Person
from wham_blender.pipeline.pose.camera_translation import solve_translation
from wham_blender.pipeline.pose.types import WhamTrack
from wham_blender.pipeline.stages import pose
from wham_blender.pipeline.world import resample
from wham_blender.pipeline.world.foot_contacts import relative_to_support_foot
from wham_blender.pipeline.world.foot_locking import lock_feet
from wham_blender.pipeline.world.placement import FilmCamera, Placed, PlacementInput, place_together
from wham_blender.skeleton import JOINT_NAMES

CAMERA_K = np.array([[1000.0, 0, 960], [0, 1000, 540], [0, 0, 1]])  # pixels


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
    track.contacts[:] = 0.2
    (placed,) = place_together([PlacementInput(track)], body, CALIBRATION, FilmCamera(camera_R, stays=False))
    travelled = np.linalg.norm(pelvis_of(placed)[-1] - pelvis_of(placed)[0])
    assert travelled > 0.7 * np.linalg.norm(pelvis[-1] - pelvis[0])


def test_wham_s_velocity_counts_less_in_a_track_s_first_frames(body: Body) -> None:
    """It is zero there: a calibration that knows it comes nearer to the walk than one that does not."""
    poses, pelvis, contacts = walk(body, 4)
    camera = camera_at([0, -8, 1.2], 0.0, 0.0, len(poses))
    track = as_lifted(body, poses, pelvis, contacts, *camera, np.random.default_rng(0))
    track.trans_world[:10] = track.trans_world[10]
    off = []
    for first_frame_weight in (0.0, 1.0):
        calibration = replace(CALIBRATION, velocity=0.001, first_frame_weight=first_frame_weight, weight_frames=8.0)
        (placed,) = place_together([PlacementInput(track)], body, calibration)
        travelled = pelvis_of(placed)[10] - pelvis_of(placed)[0]
        off.append(np.linalg.norm(travelled - (pelvis[10] - pelvis[0])))
    assert off[0] < 0.8 * off[1]


def test_positions_between_the_clock_s_frames_lie_on_a_smooth_curve() -> None:
    """A parabola is what a falling body follows; between two frames at 30 fps it is 1.4 mm off the straight line."""
    clock, times = np.arange(31) / 30, np.arange(1, 59) / 60
    rows = np.arange(31)
    person = Person(
        keypoints=np.ones((31, 17, 3)), landmarks=np.zeros((31, 0, 3)), landmarks_3d=np.zeros((31, 0, 3)),
        boxes=np.ones((31, 3)), time=clock, visible=rows >= 0, detection_rows=rows,
    )  # fmt: skip
    fall = np.outer(-4.905 * clock**2, [0, 0, 1])
    still = np.tile(np.eye(3), (31, 1, 1))
    placed = Placed(
        poses=np.zeros((31, 72)), trans=fall, betas=np.zeros(10), contacts=np.zeros((31, 4)),
        rest_joints=np.arange(72).reshape(24, 3) / 72, camera_R=still, camera_t=-fall,
    )  # fmt: skip
    none = np.zeros(0, int)
    clip = Detections(
        size=np.array([640, 480]), frame_numbers=np.arange(1, 59), frame_times=times, network_frames=np.arange(58),
        row_frame=none, track=none, keypoints=np.zeros((0, 17, 3)), landmarks=np.zeros((0, 0, 3)),
        landmarks_3d=np.zeros((0, 0, 3)),
    )  # fmt: skip
    motion = resample.resample_to_clip(clip, person, placed, CAMERA_K, {"fps": 60.0})
    np.testing.assert_allclose(motion.trans[:, 2], -4.905 * times**2, atol=1e-5)
    np.testing.assert_allclose(motion.camera_t[:, 2], 4.905 * times**2, atol=1e-5)


# --- camera translation ----------------------------------------------------------------------------------------------


def test_keypoints_count_by_their_confidence(body: Body) -> None:
    """Nine of 17 keypoints lie 2 cm to the right, which is no outlier; their confidence is low."""
    poses, pelvis, contacts = walk(body, 1)
    camera = camera_at([0, -6, 1.2], 0.0, 0.0, len(poses))
    track = as_lifted(body, poses, pelvis, contacts, *camera)
    keypoints = projected(body, track)
    metre = 1000 / track.trans_cam[:, None, 2]  # pixels
    keypoints[:, ::2, 2] = 0.31
    keypoints[:, ::2, 0] += 0.02 * metre
    moved = solve_translation(track, body, keypoints, CAMERA_K) - track.trans_cam
    weight = 9 * 0.31 / (9 * 0.31 + 8)
    np.testing.assert_allclose(moved[:, 0], 0.02 * weight, atol=0.002)


# --- edits of an animation -------------------------------------------------------------------------------------------


def animation(count: int, rng: np.random.Generator) -> Animation:
    """Somebody who faces -y in SMPL's T-pose, whose arms go to the sides, z up; contacts are random."""
    heads = np.zeros((24, 3))
    for sign, side in ((1, "left"), (-1, "right")):
        for x, joint in ((0.2, "shoulder"), (0.45, "elbow"), (0.7, "wrist"), (0.8, "hand")):
            heads[JOINT_NAMES.index(f"{side}_{joint}")] = [sign * x, 0, 0.45]
        for z, joint in ((-0.1, "hip"), (-0.5, "knee"), (-0.9, "ankle"), (-0.95, "foot")):
            heads[JOINT_NAMES.index(f"{side}_{joint}")] = [sign * 0.1, 0, z]
    rotations = np.tile([1.0, 0, 0, 0], (count, 24, 1))
    probabilities = rng.uniform(0, 1, (count, 4))
    return Animation(
        frames=np.arange(count), root=np.outer(np.arange(count), [0, -0.02, 0]), rotations=rotations, heads=heads,
        feet=np.zeros((4, 3)), contacts=probabilities > 0.5, probabilities=probabilities,
        confidence=rng.uniform(0, 1, count), visible=rng.uniform(0, 1, count) > 0.5,
    )  # fmt: skip


def test_hanging_arms_are_spread_outwards() -> None:
    """By the angle where they hang, by half of it where they are level, not at all where they are raised."""
    before = animation(3, np.random.default_rng(0))
    down = [np.pi / 2, 0, -np.pi / 2]  # of the left arm, about the front's axis
    for side, sign in (("left", 1), ("right", -1)):
        turns = Rotation.from_rotvec(np.outer(down, [0, sign, 0])).as_quat()[:, [3, 0, 1, 2]]
        before.rotations[:, JOINT_NAMES.index(f"{side}_shoulder")] = turns
    after = with_arms_spread(before, 0.3)
    positions, _ = after.pose()
    for side, sign in (("left", 1), ("right", -1)):
        shoulder, elbow = (JOINT_NAMES.index(f"{side}_{joint}") for joint in ("shoulder", "elbow"))
        arm = (positions[:, elbow] - positions[:, shoulder]) / 0.25
        expected = np.array([[sign * np.sin(0.3), 0, -np.cos(0.3)], [sign * np.cos(0.15), 0, np.sin(0.15)], [0, 0, 1]])
        np.testing.assert_allclose(arm, expected, atol=1e-6)


def test_the_last_row_of_a_loop_repeats_the_first_in_all_that_is_known_of_it() -> None:
    for seed in range(5):
        cycle = looped(animation(30, np.random.default_rng(seed)), 6, in_place=True)
        assert len(cycle) == 25
        for name in ("contacts", "probabilities", "confidence", "visible", "rotations", "root"):
            values = getattr(cycle, name)
            np.testing.assert_allclose(values[-1].astype(float), values[0].astype(float), atol=1e-9, err_msg=name)


# --- actor height ----------------------------------------------------------------------------------------------------


def projected(body: Body, track: WhamTrack) -> np.ndarray:
    """COCO's keypoints (F, 17, 3) of a body as the camera has it, all of confidence 1."""
    joints = body.landmarks(torch.from_numpy(track.poses), torch.from_numpy(track.betas)).joints[:, :17].numpy()
    image = (joints + track.trans_cam[:, None]) @ CAMERA_K.T
    return np.concatenate([image[..., :2] / image[..., 2:], np.ones((len(joints), 17, 1))], -1)


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
    people = []
    for track in tracks:
        boxes = np.tile([960.0, 540.0, 2.0], (count, 1))
        rows = np.arange(count)
        people.append(
            Person(
                keypoints=projected(body, track),
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
    camera: Any = SimpleNamespace(motion=motion, camera_K=CAMERA_K)
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
