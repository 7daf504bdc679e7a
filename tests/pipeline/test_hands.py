"""Hands: seen at the end of the right arm, lifted within human limits, and put on the body without jumps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from tests.pipeline.test_track_cleanup import detections
from wham_blender import weights
from wham_blender.body.body import Body
from wham_blender.models.hand_lifter import HandLifter
from wham_blender.motion import forward_kinematics
from wham_blender.pipeline.clip import video_reader
from wham_blender.pipeline.people.hands import (
    FAST_LOOK_INTERVAL,
    HandLandmarker,
    HandObservation,
    HandTracker,
    crop_around_hand,
    crop_at_arm,
    resample_hands,
    without_shared,
)  # fmt: skip
from wham_blender.pipeline.people.landmarks import Crop, Landmarker, crop_around_box
from wham_blender.pipeline.pose.hand_lifting import LiftedHand, SeenArm, hand_length, lift, load_hand_lifter
from wham_blender.pipeline.pose.hand_skeleton import ANGLES, FINGER_POINTS, HIGH, LOW, RELAXED, HandSkeleton, of_body
from wham_blender.pipeline.stages import backends
from wham_blender.pipeline.world.hand_poses import SeenHand, with_hands
from wham_blender.pipeline.world.placement import Placed

CLIP = Path(__file__).parents[1] / "clips" / "balance_cam01.mp4"
CAMERA_K = np.array([[1500.0, 0, 960], [0, 1500, 540], [0, 0, 1]])
FRAMES = 60


@pytest.fixture(scope="module")
def body() -> Body:
    return Body.load(weights.find("body").path)


@pytest.fixture(scope="module")
def skeletons(body: Body) -> list[HandSkeleton]:
    return of_body(body, np.zeros(10))


# ---------------------------------------------------------------- seeing


@pytest.fixture(scope="module")
def man() -> tuple[np.ndarray, np.ndarray]:
    """The first frame of a clip, and the landmarks of the man in it."""
    image = next(video_reader.read_frames(CLIP)).image
    assert image is not None
    landmarker = Landmarker(weights.find("landmarks"))
    return image, landmarker(image, crop_around_box(np.array([470, 60, 760, 900]))).landmarks


def test_the_net_sees_the_right_hand_of_a_man_and_knows_that_it_is_no_left_one(
    man: tuple[np.ndarray, np.ndarray],
) -> None:
    image, landmarks = man
    net = HandLandmarker(weights.find("hands"))
    first = net(image, crop_at_arm(landmarks, 1), 1)
    found = net(image, crop_around_hand(first.points), 1)
    assert found.presence > 0.9
    assert found.side > 0.8
    as_left = net(image, crop_around_hand(first.points), 0)
    assert as_left.side < 0.2
    assert np.linalg.norm(as_left.points - found.points, axis=1).mean() < 10  # the same points by the mirror image
    assert np.abs(as_left.metres - found.metres).mean() < 0.015
    # The net's metres have the picture's axes: x right, y down.
    flat, metres = found.points - found.points.mean(0), (found.metres - found.metres.mean(0))[:, :2]
    assert np.abs(flat * (flat * metres).sum() / (flat**2).sum() - metres).mean() < 0.006


class FakeNet:
    """Sees hands of ten pixels a joint at the ends of somebody's arms, or what the test says."""

    def __init__(self, points: np.ndarray) -> None:
        self.wrists = points[[9, 10], :2]
        self.looks: list[tuple[Crop, int]] = []
        self.presence, self.side, self.away = 1.0, 1.0, 0.0

    def __call__(self, image: np.ndarray, crop: Crop, side: int) -> HandObservation:
        self.looks.append((crop, side))
        fingers, joints = np.divmod(np.arange(20), 4)
        hand = np.concatenate([[[0, 0]], np.column_stack([20 + 10 * joints, 8 * (fingers - 2)])])
        points = self.wrists[side] + (self.away, 0) + hand * (-1 if side else 1, 1)
        return HandObservation(points, np.zeros((21, 3)), self.presence, self.side)


def person(height: float = 400.0) -> np.ndarray:
    """COCO keypoints (17, 3) of somebody with stretched arms."""
    unit = np.zeros((17, 3))
    unit[:, 2] = 1
    unit[[5, 7, 9, 11], :2] = (0.1, 0.2), (0.3, 0.2), (0.48, 0.2), (0.07, 0.5)
    unit[[6, 8, 10, 12], :2] = unit[[5, 7, 9, 11], :2] * (-1, 1)
    return unit * (height, height, 1) + (500, 100, 0)


IMAGE = np.zeros((900, 1200, 3), np.uint8)


def looks(net: FakeNet, points: np.ndarray, frames: range) -> np.ndarray:
    """Scores (frames, 2) of a tracker."""
    tracker = HandTracker(net)  # type: ignore[arg-type]
    return np.array([tracker.look(IMAGE, np.ones(2), frame, 1, points)[1] for frame in frames])


def test_both_hands_are_looked_at_in_turn_forward_and_backward_in_time() -> None:
    for frames in (range(20), range(20, 0, -1)):
        net = FakeNet(person())
        scores = looks(net, person(), frames)
        assert (scores[4:] > 0).sum(1).tolist() == [1] * 16
        assert len(net.looks) < 26  # two for each hand where it is new, one in every other frame
        lefts = [crop.center[0] for crop, side in net.looks if side == 0]
        assert min(lefts) > 650  # at the end of the left arm


def test_fast_quality_looks_less_often() -> None:
    net = FakeNet(person())
    tracker = HandTracker(net, FAST_LOOK_INTERVAL)  # type: ignore[arg-type]
    scores = np.array([tracker.look(IMAGE, np.ones(2), frame, 1, person())[1] for frame in range(24)])
    for side in (0, 1):
        seen = np.flatnonzero(scores[6:, side])
        assert np.diff(seen).tolist() == [FAST_LOOK_INTERVAL] * 5
    assert not np.all(scores[6:] > 0, axis=1).any()  # in turn


def test_hidden_hands_cost_few_looks_and_small_ones_none() -> None:
    hidden = FakeNet(person())
    hidden.presence = 0.01
    assert not looks(hidden, person(), range(40)).any()
    assert len(hidden.looks) == 20
    small = FakeNet(person(100))
    assert not looks(small, person(100), range(40)).any()
    assert not small.looks


@pytest.mark.parametrize(("side", "away"), [(0.02, 0.0), (1.0, 120.0)])
def test_the_other_hand_and_a_hand_that_is_not_at_the_wrist_are_not_taken(side: float, away: float) -> None:
    net = FakeNet(person())
    net.side, net.away = side, away
    assert not looks(net, person(), range(20)).any()


def test_a_hand_belongs_to_the_arm_whose_wrist_is_nearest() -> None:
    rows = detections({1: (range(3), 400.0), 2: (range(3), 430.0)}, looks=3)
    hands = np.zeros((6, 2, 21, 5), np.float32)
    scores = np.zeros((6, 2), np.float32)
    shape = np.random.default_rng(0).uniform(-20, 20, (21, 2))
    for row in range(6):
        hands[row, 0, :, :2] = shape - shape[0] + rows.landmarks[rows.track == 1, 15, :2][0]
        scores[row, 0] = 1
    kept = without_shared(replace(rows, hands=hands, hand_scores=scores))
    assert kept[rows.track == 1, 0].all()
    assert not kept[rows.track == 2].any()
    hands[rows.track == 2, 0, :, 0] += 300
    assert without_shared(replace(rows, hands=hands, hand_scores=scores))[:, 0].all()


def test_a_hand_seen_in_every_other_frame_is_seen_and_through_gaps_it_is_not() -> None:
    known = np.arange(60) / 30
    hands = np.tile(np.arange(60, dtype=np.float32)[:, None, None, None], (1, 2, 21, 5))
    scores = np.zeros((60, 2), np.float32)
    scores[0:20:2, 0] = 0.9
    scores[40:60:2, 0] = 0.8
    time = np.arange(0, 59) / 30 + 0.01
    points, seen = resample_hands(time, known, hands, scores)
    np.testing.assert_allclose(points[:18, 0, 0, 0], time[:18] * 30, atol=1e-4)
    assert (seen[:18, 0] > 0).all()
    assert not seen[21:38, 0].any()
    assert (seen[41:57, 0] > 0).all()
    assert not seen[:, 1].any()


def test_hands_are_seen_only_where_the_job_asks_for_it() -> None:
    backend = backends.choose("draft", "cpu")
    assert "hands" not in backend.files
    assert backend.with_hands().detection_hashes == [*backend.detection_hashes, weights.find("hands").sha256]


# ---------------------------------------------------------------- lifting


@pytest.fixture(scope="module")
def lifter() -> HandLifter:
    return load_hand_lifter(weights.find("hand_lifter").path)


def looks_at_hands(count: int, side: int) -> tuple[np.ndarray, SeenArm]:
    """Random points (F, 21, 5) of hands of a side, and their arms."""
    rng = np.random.default_rng(3)
    mirror = np.diag([1.0 if side else -1.0, 1, 1])
    shape = rng.normal(0, 25, (count, 21, 2)) + rng.uniform(-300, 300, (count, 1, 2))
    hands = np.concatenate([shape * mirror[0, 0] ** np.array([1, 0]), rng.normal(0, 0.04, (count, 21, 3)) @ mirror], -1)
    hands[..., :2] += CAMERA_K[:2, 2]
    elbow, wrist = (mirror @ Rotation.random(count, random_state=seed).as_matrix() @ mirror for seed in (1, 2))
    return hands, SeenArm(elbow, wrist, np.full(count, 0.07))


def lifted(lifter: HandLifter, side: int, roll: np.ndarray | None = None) -> LiftedHand:
    """What the lifter makes of `looks_at_hands`, by a camera that is rolled by a rotation (3, 3)."""
    hands, arm = looks_at_hands(50, side)
    if roll is not None:
        hands[..., :2] = (hands[..., :2] - CAMERA_K[:2, 2]) @ roll[:2, :2].T + CAMERA_K[:2, 2]
        hands[..., 2:] = hands[..., 2:] @ roll.T
        arm = SeenArm(roll @ arm.elbow, roll @ arm.wrist, arm.size)
    return lift(lifter, hands, np.ones(50), arm, CAMERA_K, side)


def test_no_points_bend_fingers_beyond_their_limits(lifter: HandLifter) -> None:
    found = lifted(lifter, 0)
    assert (found.angles >= LOW - 2e-3).all()  # the file is in half precision
    assert (found.angles <= HIGH + 2e-3).all()
    np.testing.assert_allclose(
        found.rotation @ found.rotation.swapaxes(1, 2), np.tile(np.eye(3), (50, 1, 1)), atol=1e-4
    )
    assert (np.linalg.det(found.rotation) > 0).all()
    assert found.errors.shape == (50, ANGLES + 1)
    assert (found.errors > 0).all()


def test_left_hands_are_lifted_as_right_ones_in_the_mirror(lifter: HandLifter) -> None:
    left, right = lifted(lifter, 0), lifted(lifter, 1)
    np.testing.assert_allclose(left.angles, right.angles, atol=1e-4)
    np.testing.assert_allclose(left.errors, right.errors, rtol=1e-3)
    mirror = np.diag([-1.0, 1, 1])
    np.testing.assert_allclose(mirror @ left.rotation @ mirror, right.rotation, atol=1e-4)


def test_a_camera_that_is_rolled_sees_the_same_hands(lifter: HandLifter) -> None:
    roll = Rotation.from_rotvec([0, 0, 2.0]).as_matrix()
    upright, rolled = lifted(lifter, 1), lifted(lifter, 1, roll)
    np.testing.assert_allclose(rolled.angles, upright.angles, atol=1e-3)
    np.testing.assert_allclose(rolled.rotation, roll @ upright.rotation, atol=1e-3)


def test_a_file_of_another_network_is_refused() -> None:
    with pytest.raises(weights.WeightsError, match="Install the extension again"):
        load_hand_lifter(weights.find("lifter").path)


@pytest.mark.parametrize("side", [0, 1])
def test_hands_whose_points_are_right_are_lifted_rightly(
    lifter: HandLifter, skeletons: list[HandSkeleton], side: int
) -> None:
    rng = np.random.default_rng(side)
    count = 60
    angles = np.tile(RELAXED, (count, 1))
    angles[:, :16] = np.clip(np.tile(RELAXED[:4], 4) * rng.uniform(0, 2.5, (count, 1)), LOW[:16], HIGH[:16])
    joints = Rotation.from_rotvec(skeletons[side].rotations(angles).reshape(-1, 3)).as_matrix().reshape(-1, 15, 3, 3)
    wrist = Rotation.random(count, random_state=side).as_matrix()
    points = hand_points(skeletons[side], joints) @ wrist.swapaxes(1, 2)
    centre = np.column_stack([rng.uniform(-1.2, 1.2, count), rng.uniform(-0.7, 0.7, count), rng.uniform(2, 3, count)])
    arm = SeenArm(wrist, wrist, hand_length(skeletons[side]) / centre[:, 2])
    found = lift(lifter, seen_points(points, centre), np.ones(count), arm, CAMERA_K, side)
    off = Rotation.from_matrix(found.rotation.swapaxes(1, 2) @ wrist).magnitude()
    assert np.degrees(np.median(off)) < 15
    assert np.degrees(np.abs(found.angles - angles).mean()) < 20


def hand_points(skeleton: HandSkeleton, joints: np.ndarray) -> np.ndarray:
    """Points (F, 21, 3) from the wrist, in its axes, of joints (F, 15, 3, 3)."""
    points = np.zeros((len(joints), 21, 3))
    for finger, chain in enumerate(FINGER_POINTS):
        here, turned = np.tile(skeleton.points[chain[0]], (len(joints), 1)), np.eye(3)
        points[:, chain[0]] = here
        for joint in range(3):
            turned = turned @ joints[:, 3 * finger + joint]
            here = here + turned @ (skeleton.points[chain[joint + 1]] - skeleton.points[chain[joint]])
            points[:, chain[joint + 1]] = here
    return points


def seen_points(points: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """What the net would say (F, 21, 5) of points (F, 21, 3) in the camera's axes, without errors."""
    pixels = (points + centre[:, None]) @ CAMERA_K.T
    rays = centre / np.linalg.norm(centre, axis=1, keepdims=True)
    across = np.cross([0.0, 0, 1], rays)
    angle = np.arcsin(np.linalg.norm(across, axis=1, keepdims=True))
    to_ray = Rotation.from_rotvec(across / np.linalg.norm(across, axis=1, keepdims=True) * angle).as_matrix()
    metres = (points - points.mean(1, keepdims=True)) @ to_ray
    return np.concatenate([pixels[..., :2] / pixels[..., 2:], 0.9 * metres], -1)


def test_left_and_right_hands_of_the_same_angles_are_mirror_images(skeletons: list[HandSkeleton]) -> None:
    angles = np.random.default_rng(0).uniform(LOW, HIGH, (10, ANGLES))
    left, right = (each.rotations(angles) for each in skeletons)
    np.testing.assert_allclose(left * (1, -1, -1), right, atol=1e-4)


def test_rotations_of_the_joints_pose_the_body_as_the_lifter_does(
    lifter: HandLifter, body: Body, skeletons: list[HandSkeleton]
) -> None:
    angles = np.random.default_rng(0).uniform(LOW, HIGH, (4, ANGLES))
    joints = np.concatenate([each.rotations(angles) for each in skeletons], 1)
    turned = torch.tensor(Rotation.from_rotvec(joints.reshape(-1, 3)).as_matrix().reshape(4, 30, 3, 3)).float()
    shape = torch.zeros(4, 10)
    _, tips = body.hand_points(torch.eye(3).expand(4, 24, 3, 3), turned, shape)
    wrist = body.rest_joints(shape[0])[21]
    points = lifter.body.points(lifter.body.joints(torch.from_numpy(angles).float()))
    np.testing.assert_allclose(points[:, FINGER_POINTS[:, 3]], tips[:, 5:] - wrist, atol=5e-4)  # half precision


# ---------------------------------------------------------------- on the body


def placed(body: Body) -> Placed:
    """Somebody who turns, with bent arms, before a camera that is turned, too."""
    poses = np.zeros((FRAMES, 24, 3), np.float32)
    poses[:, 0] = Rotation.from_euler("xy", [90, 20], degrees=True).as_rotvec()
    poses[:, 18], poses[:, 19] = (0.3, -1.2, 0.1), (-0.2, 1.0, 0.3)
    poses[:, 20] = (0.2, 0.1, 0.3)
    camera = Rotation.from_euler("xyz", [-80, 5, 30], degrees=True).as_matrix()
    return Placed(
        poses=poses.reshape(FRAMES, 72), trans=np.zeros((FRAMES, 3), np.float32), betas=np.zeros(10, np.float32),
        contacts=np.zeros((FRAMES, 4), np.float32), rest_joints=body.rest_joints(torch.zeros(10)).numpy(),
        camera_R=np.tile(camera, (FRAMES, 1, 1)).astype(np.float32), camera_t=np.zeros((FRAMES, 3), np.float32),
    )  # fmt: skip


def wrists_in_camera(person: Placed) -> np.ndarray:
    _, turned = forward_kinematics(person.poses, person.trans, person.rest_joints)
    return person.camera_R[:, None] @ turned[:, 20:22]


def unseen() -> SeenHand:
    return SeenHand(
        np.zeros((FRAMES, ANGLES)), np.tile(np.eye(3), (FRAMES, 1, 1)), np.ones((FRAMES, ANGLES + 1)), np.zeros(FRAMES)
    )


def as_seen(person: Placed, side: int, turned: Rotation, frames: slice = slice(None)) -> SeenHand:
    """A fist, turned from the body's own wrist, in some frames."""
    score = np.zeros(FRAMES)
    score[frames] = 1
    angles = np.tile(np.where(np.arange(ANGLES) % 4 > 0, 0.9, 0) * (np.arange(ANGLES) < 16), (FRAMES, 1))
    return SeenHand(
        angles, wrists_in_camera(person)[:, side] @ turned.as_matrix(), np.full((FRAMES, ANGLES + 1), 0.05), score
    )


@pytest.mark.parametrize("side", [0, 1])
def test_the_wrist_is_turned_as_the_hand_is_seen_and_the_elbow_takes_half_of_the_twist(
    body: Body, skeletons: list[HandSkeleton], side: int
) -> None:
    person = placed(body)
    turned = Rotation.from_rotvec([1.0, 0, 0]) * Rotation.from_rotvec([0, 0.2, 0.3])
    hands = [unseen(), unseen()]
    hands[side] = as_seen(person, side, turned)
    result = with_hands(person, hands, skeletons)
    off = Rotation.from_matrix(wrists_in_camera(result)[:, side].swapaxes(1, 2) @ hands[side].rotation).magnitude()
    assert np.degrees(off).max() < 0.5
    before, after = (each.poses.reshape(FRAMES, 24, 3) for each in (person, result))
    joints_before, joints_after = (forward_kinematics(e.poses, e.trans, e.rest_joints)[0] for e in (person, result))
    np.testing.assert_allclose(joints_after[:, :22], joints_before[:, :22], atol=0.02)  # the forearm stays where it was
    elbow = Rotation.from_rotvec(before[:, 18 + side]).inv() * Rotation.from_rotvec(after[:, 18 + side])
    assert 0.3 < elbow.magnitude().mean() < 0.8
    np.testing.assert_array_equal(after[:, 19 - side], before[:, 19 - side])
    np.testing.assert_array_equal(result.hand_confidence[:, 1 - side], 0)
    fingers = result.hand_poses[:, 15 * (1 - side) : 15 * (1 - side) + 15]
    expected = skeletons[1 - side].rotations(RELAXED[None])[0]
    np.testing.assert_allclose(fingers, np.broadcast_to(expected, fingers.shape), atol=1e-3)


def test_a_hand_that_is_no_longer_seen_relaxes_in_a_third_of_a_second_and_comes_back_without_a_jump(
    body: Body, skeletons: list[HandSkeleton]
) -> None:
    person = placed(body)
    hand = as_seen(person, 0, Rotation.from_rotvec([0.6, 0, 0.4]), slice(0, 20))
    hand.score[45:] = 1
    result = with_hands(person, [hand, unseen()], skeletons)
    relaxed = skeletons[0].rotations(RELAXED[None])[0]
    off = np.linalg.norm(result.hand_poses[:, :15] - relaxed, axis=-1).max(1)
    assert off[10] > 0.3
    assert off[30:35].max() < 0.15
    own = np.linalg.norm(wrists_in_camera(result)[:, 0] - wrists_in_camera(person)[:, 0], axis=(1, 2))
    assert own[10] > 0.5
    assert own[30:35].max() < 0.15
    steps = np.linalg.norm(np.diff(result.hand_poses[:, :15], axis=0), axis=-1)
    assert np.degrees(steps.max()) < 9
    assert (result.hand_confidence[20:45, 0] == 0).all()
    assert (result.hand_confidence[:20, 0] > 0.9).all()


def test_a_frame_that_is_wrong_is_outvoted_and_a_glimpse_or_a_doubtful_hand_is_none(
    body: Body, skeletons: list[HandSkeleton]
) -> None:
    person = placed(body)
    hand = as_seen(person, 1, Rotation.from_rotvec([0.3, 0, 0]))
    hand.rotation[30] = hand.rotation[30] @ Rotation.from_rotvec([0, 2.5, 0]).as_matrix()
    off = wrists_in_camera(with_hands(person, [unseen(), hand], skeletons))[:, 1].swapaxes(1, 2) @ hand.rotation[10]
    assert np.degrees(Rotation.from_matrix(off).magnitude()).max() < 30
    glimpse = as_seen(person, 1, Rotation.from_rotvec([0.3, 0, 0]), slice(20, 23))
    doubtful = replace(hand, score=np.full(FRAMES, 0.1))
    for each in (glimpse, doubtful):
        result = with_hands(person, [unseen(), each], skeletons)
        assert not result.hand_confidence.any()
        np.testing.assert_array_equal(result.poses, person.poses)


def test_a_frame_that_is_wrong_does_not_shift_later_ones_by_a_revolution(
    body: Body, skeletons: list[HandSkeleton]
) -> None:
    person = placed(body)
    hand = as_seen(person, 0, Rotation.identity())
    hand.rotation[20:24] = hand.rotation[20:24] @ Rotation.from_rotvec([2.2, 0, 0]).as_matrix()
    hand.rotation[24:26] = hand.rotation[24:26] @ Rotation.from_rotvec([-2.2, 0, 0]).as_matrix()
    off = wrists_in_camera(with_hands(person, [hand, unseen()], skeletons))[:, 0].swapaxes(1, 2) @ hand.rotation
    assert np.degrees(Rotation.from_matrix(off[32:]).magnitude()).max() < 5


def test_joints_that_are_uncertain_are_smoothed_more(body: Body, skeletons: list[HandSkeleton]) -> None:
    person = placed(body)
    hand = as_seen(person, 0, Rotation.identity())
    for index in (1, 5):  # of the index and the middle finger
        hand.angles[:, index] += 0.3 * np.sin(np.arange(FRAMES) * 2 * np.pi / 6)  # five times a second
    hand.errors[:, 5] = 1.5
    poses = with_hands(person, [hand, unseen()], skeletons).hand_poses[15:45]
    index_finger, middle_finger = np.ptp(poses, axis=0).max(1)[[0, 3]]
    assert index_finger > 0.3
    assert middle_finger < 0.1


def test_a_twist_through_half_a_turn_goes_on_the_same_way(body: Body, skeletons: list[HandSkeleton]) -> None:
    person = placed(body)
    hand = as_seen(person, 0, Rotation.identity())
    twist = Rotation.from_rotvec(np.outer(np.linspace(-1.2, 2.0, FRAMES), [1.0, 0, 0]))
    hand = replace(hand, rotation=hand.rotation @ twist.as_matrix())
    result = with_hands(person, [hand, unseen()], skeletons)
    poses = Rotation.from_rotvec(result.poses.reshape(FRAMES, 24, 3)[:, 20])
    assert np.degrees((poses[1:] * poses[:-1].inv()).magnitude()).max() < 5


def test_smoothing_takes_the_shaking_from_hands(body: Body, skeletons: list[HandSkeleton]) -> None:
    person = placed(body)
    hand = as_seen(person, 0, Rotation.from_rotvec([0.3, 0, 0]))
    shake = 0.3 * np.sin(np.arange(FRAMES) * 2 * np.pi / 6)  # five times a second
    hand.angles[:, 1] += shake
    little, much = (
        np.ptp(with_hands(person, [hand, unseen()], skeletons, seconds).hand_poses[15:45, 0], axis=0).max()
        for seconds in (0.0, 0.6)
    )
    assert little > 0.35
    assert much < 0.12
