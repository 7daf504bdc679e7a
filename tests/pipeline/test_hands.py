"""Hands: seen at the end of the right arm, fitted with human joints, and put on the body without jumps."""

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
from wham_blender.pipeline.pose import hand_fit
from wham_blender.pipeline.pose.hand_fit import ANGLES, HIGH, LOW, RELAXED, HandSkeleton
from wham_blender.pipeline.stages import backends
from wham_blender.pipeline.stages.hands import fit_hand, skeletons_of
from wham_blender.pipeline.world.hand_poses import SeenHand, likelier, with_hands
from wham_blender.pipeline.world.placement import Placed

CLIP = Path(__file__).parents[1] / "clips" / "balance_cam01.mp4"
CAMERA_K = np.array([[1500.0, 0, 960], [0, 1500, 540], [0, 0, 1]])
FRAMES = 60


@pytest.fixture(scope="module")
def body() -> Body:
    return Body.load(weights.find("body").path)


@pytest.fixture(scope="module")
def skeletons(body: Body) -> list[HandSkeleton]:
    return skeletons_of(body, np.zeros(10))


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
    backend = backends.choose("draft", torch.device("cpu"))
    assert "hands" not in backend.files
    assert backend.with_hands().detection_hashes == [*backend.detection_hashes, weights.find("hands").sha256]


# ---------------------------------------------------------------- fitting


def seen_points(points: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """What the net would say (F, 21, 5) of points (F, 21, 3) in the camera's axes, without errors."""
    pixels = (points + centre[:, None]) @ CAMERA_K.T
    rays = centre / np.linalg.norm(centre, axis=1, keepdims=True)
    across = np.cross([0.0, 0, 1], rays)
    angle = np.arcsin(np.linalg.norm(across, axis=1, keepdims=True))
    to_ray = Rotation.from_rotvec(across / np.linalg.norm(across, axis=1, keepdims=True) * angle).as_matrix()
    metres = (points - points.mean(1, keepdims=True)) @ to_ray
    return np.concatenate([pixels[..., :2] / pixels[..., 2:], 0.9 * metres], -1)


@pytest.mark.parametrize("side", [0, 1])
def test_the_fit_finds_angles_and_orientation_anywhere_in_the_picture(skeletons: list[HandSkeleton], side: int) -> None:
    rng = np.random.default_rng(side)
    angles = np.clip(rng.uniform(LOW, HIGH, (40, ANGLES)), LOW, HIGH)
    angles[:, 3:16:4] = 0.6 * angles[:, 2:16:4]
    rotation = Rotation.random(40, random_state=side).as_matrix()
    centre = np.column_stack([rng.uniform(-1.2, 1.2, 40), rng.uniform(-0.7, 0.7, 40), rng.uniform(2, 3, 40)])
    points, _ = skeletons[side].posed(angles, rotation)
    fitted = hand_fit.fit(skeletons[side], seen_points(points, centre), CAMERA_K)
    off = Rotation.from_matrix(fitted.rotation.swapaxes(1, 2) @ rotation).magnitude()
    assert np.degrees(off).max() < 6
    found, _ = skeletons[side].posed(fitted.angles, rotation)
    assert 1e3 * np.linalg.norm(found - points, axis=-1).mean() < 3


def test_slopes_of_posed_points_are_their_derivatives(skeletons: list[HandSkeleton]) -> None:
    rng = np.random.default_rng(0)
    angles, rotation = rng.uniform(LOW, HIGH, (3, ANGLES)), Rotation.random(3, random_state=0).as_matrix()
    points, slopes = skeletons[1].posed(angles, rotation)
    for number in range(ANGLES):
        moved = angles.copy()
        moved[:, number] += 1e-6
        np.testing.assert_allclose(
            (skeletons[1].posed(moved, rotation)[0] - points) / 1e-6, slopes[..., number], atol=1e-5
        )


def test_no_points_bend_fingers_beyond_their_limits(skeletons: list[HandSkeleton]) -> None:
    rng = np.random.default_rng(0)
    hands = np.concatenate([rng.uniform(900, 1000, (20, 21, 2)), rng.normal(0, 0.05, (20, 21, 3))], -1)
    fitted = hand_fit.fit(skeletons[0], hands, CAMERA_K)
    assert (fitted.angles >= LOW).all()
    assert (fitted.angles <= HIGH).all()
    assert np.isfinite(fitted.rotation).all()


def test_left_and_right_hands_of_the_same_angles_are_mirror_images(skeletons: list[HandSkeleton]) -> None:
    angles = np.random.default_rng(0).uniform(LOW, HIGH, (10, ANGLES))
    left, right = (each.posed(angles, np.tile(np.eye(3), (10, 1, 1)))[0] for each in skeletons)
    np.testing.assert_allclose(left * (-1, 1, 1), right, atol=1e-5)


def test_rotations_of_the_joints_pose_the_body_as_the_fit_does(body: Body, skeletons: list[HandSkeleton]) -> None:
    angles = np.random.default_rng(0).uniform(LOW, HIGH, (4, ANGLES))
    joints = np.concatenate([each.rotations(angles) for each in skeletons], 1)
    turned = torch.tensor(Rotation.from_rotvec(joints.reshape(-1, 3)).as_matrix().reshape(4, 30, 3, 3)).float()
    shape = torch.zeros(4, 10)
    _, tips = body.hand_points(torch.eye(3).expand(4, 24, 3, 3), turned, shape)
    wrists = body.rest_joints(shape[0])[[20, 21]].numpy()
    for side, skeleton in enumerate(skeletons):
        points, _ = skeleton.posed(angles, np.tile(np.eye(3), (4, 1, 1)))
        expected = points[:, hand_fit.FINGER_POINTS[:, 3]] + wrists[side]
        np.testing.assert_allclose(tips[:, 5 * side : 5 * side + 5].numpy(), expected, atol=1e-4)


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
    return SeenHand(np.zeros((FRAMES, ANGLES)), np.tile(np.eye(3), (FRAMES, 1, 1)), *np.zeros((3, FRAMES)))


def as_seen(person: Placed, side: int, turned: Rotation, frames: slice = slice(None)) -> SeenHand:
    """A fist, turned from the body's own wrist, in some frames."""
    score = np.zeros(FRAMES)
    score[frames] = 1
    angles = np.tile(np.where(np.arange(ANGLES) % 4 > 0, 0.9, 0) * (np.arange(ANGLES) < 16), (FRAMES, 1))
    return SeenHand(
        angles, wrists_in_camera(person)[:, side] @ turned.as_matrix(), np.zeros(FRAMES), score, np.zeros(FRAMES)
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


def test_a_frame_that_is_wrong_is_outvoted_and_a_glimpse_is_no_hand(body: Body, skeletons: list[HandSkeleton]) -> None:
    person = placed(body)
    hand = as_seen(person, 1, Rotation.from_rotvec([0.3, 0, 0]))
    hand.rotation[30] = hand.rotation[30] @ Rotation.from_rotvec([0, 2.5, 0]).as_matrix()
    off = wrists_in_camera(with_hands(person, [unseen(), hand], skeletons))[:, 1].swapaxes(1, 2) @ hand.rotation[10]
    assert np.degrees(Rotation.from_matrix(off).magnitude()).max() < 30
    glimpse = as_seen(person, 1, Rotation.from_rotvec([0.3, 0, 0]), slice(20, 23))
    result = with_hands(person, [unseen(), glimpse], skeletons)
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


def test_a_hand_that_the_net_sees_mirrored_in_depth_is_put_right(body: Body, skeletons: list[HandSkeleton]) -> None:
    person = placed(body)
    bent = np.tile(np.where(np.arange(ANGLES) % 4 > 0, 0.7, 0) * (np.arange(ANGLES) < 16), (FRAMES, 1))
    rotation = wrists_in_camera(person)[:, 1]
    points, _ = skeletons[1].posed(bent, rotation)
    true = seen_points(points, np.tile([0.1, 0.1, 2.5], (FRAMES, 1)))
    wrong = np.where((np.arange(FRAMES) % 3 == 0)[:, None, None], hand_fit.mirrored_in_depth(true), true)
    score = np.ones(FRAMES)
    seen, mirrored = (
        fit_hand(each, score, skeletons[1], CAMERA_K) for each in (wrong, hand_fit.mirrored_in_depth(wrong))
    )
    chosen = likelier(seen, mirrored, person, 1)
    off = [Rotation.from_matrix(each.rotation.swapaxes(1, 2) @ rotation).magnitude() for each in (seen, chosen)]
    assert np.degrees(off[0]).max() > 20
    assert np.degrees(off[1]).max() < 6


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
