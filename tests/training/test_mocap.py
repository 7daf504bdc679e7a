"""Tests of the motion-capture readers and retargeting to the open body, on small files made from known poses."""

import json

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tools.training import mocap, simulate
from wham_blender.motion import forward_kinematics, rotation_matrices
from wham_blender.skeleton import JOINT_MIRROR, JOINT_NAMES

FRAMES = 90
# Bones of the BVH that the reader asks for: name, parent, SMPL joint that it follows.
BONES = [
    ("Hip", None, "pelvis"),
    ("Waist", "Hip", "spine1"),
    ("NeckTwist01", "Waist", "neck"),
    ("Head", "NeckTwist01", "head"),
]
for letter, side in (("L", "left"), ("R", "right")):
    BONES += [
        (f"{letter}_{theirs}", parent if parent in ("Hip", "Waist") else f"{letter}_{parent}", f"{side}_{ours}")
        for theirs, parent, ours in (
            ("Thigh", "Hip", "hip"), ("Calf", "Thigh", "knee"), ("Foot", "Calf", "ankle"), ("ToeBase", "Foot", "foot"),
            ("Clavicle", "Waist", "collar"), ("Upperarm", "Clavicle", "shoulder"), ("Forearm", "Upperarm", "elbow"),
            ("Hand", "Forearm", "wrist"),
        )
    ]  # fmt: skip


@pytest.fixture(scope="module")
def body():
    return simulate.TrainingBody()


@pytest.fixture(scope="module")
def walk(body):
    """A made-up walk on the body: poses (F, 72) and trans (F, 3), y up."""
    phase = np.linspace(0, 6 * np.pi, FRAMES)
    poses = np.zeros((FRAMES, 24, 3))
    joint = JOINT_NAMES.index
    for side, sign in (("left", 1.0), ("right", -1.0)):
        swing = sign * np.sin(phase)
        poses[:, joint(f"{side}_hip"), 0] = -0.4 * swing
        poses[:, joint(f"{side}_knee"), 0] = 0.5 - 0.4 * np.cos(phase + sign)
        poses[:, joint(f"{side}_shoulder")] = Rotation.from_euler(
            "zyx", np.stack([np.full(FRAMES, -sign * 1.2), 0.3 * swing, np.zeros(FRAMES)], -1)
        ).as_rotvec()
        poses[:, joint(f"{side}_elbow"), 1] = -sign * (0.6 + 0.3 * swing)
    poses[:, 0, 1] = 0.3 * np.sin(phase / 3)
    trans = np.stack([np.zeros(FRAMES), 1.0 + 0.02 * np.cos(2 * phase), np.linspace(0, 3, FRAMES)], -1)
    return poses.reshape(FRAMES, 72), trans


def write_bvh(path, poses, trans, rest):
    """Write the motion as a BVH whose bones have arbitrary rest frames that differ from SMPL's."""
    positions, rotations = forward_kinematics(poses, trans, rest)
    rng = np.random.default_rng(3)
    own = {name: Rotation.random(rng=rng).as_matrix() for name, _, _ in BONES}
    own["Hip"] = np.eye(3)  # the reader takes the hips' up from it
    joints = {name: JOINT_NAMES.index(joint) for name, _, joint in BONES}
    frames = {name: rotations[:, joints[name]] @ own[name] for name, _, _ in BONES}
    extra = {}  # the knuckles, still in the hand
    for letter, side in (("L", 1), ("R", -1)):
        for finger, forward in (("Index1", 0.02), ("Pinky1", -0.03)):
            extra[f"{letter}_{finger}"] = (f"{letter}_Hand", np.array([0.09 * side, 0, forward]))
    lines, columns = ["HIERARCHY"], []

    def block(name, depth):
        parent = next((p for n, p, _ in BONES if n == name), None)
        place = np.zeros(3)
        if name in extra:
            parent, place = extra[name]
            place = own[parent].T @ place
        elif parent:
            place = own[parent].T @ (rest[joints[name]] - rest[joints[parent]])
        lines.append("  " * depth + f"{'JOINT' if parent else 'ROOT'} CC_Base_{name}")
        lines.append("{")
        lines.append("OFFSET " + " ".join(f"{100 * value:.8f}" for value in place))
        channels = "Zrotation Yrotation Xrotation"
        if parent:
            lines.append(f"CHANNELS 3 {channels}")
            local = (
                np.tile(np.eye(3), (len(poses), 1, 1))
                if name in extra
                else np.swapaxes(frames[parent], 1, 2) @ frames[name]
            )
        else:
            lines.append(f"CHANNELS 6 Xposition Yposition Zposition {channels}")
            columns.append(100 * positions[:, 0])
            local = frames[name]
        columns.append(Rotation.from_matrix(local).as_euler("ZYX", degrees=True))
        for child in [n for n, p, _ in BONES if p == name] + [n for n, (p, _) in extra.items() if p == name]:
            block(child, depth + 1)
        if name in extra or name in ("Head",) or name.endswith("ToeBase"):
            lines.extend(["End Site", "{", "OFFSET 0 0 0", "}"])
        lines.append("}")

    block("Hip", 0)
    lines += ["MOTION", f"Frames: {len(poses)}", "Frame Time: 0.033333"]
    lines += [" ".join(f"{value:.8f}" for value in row) for row in np.hstack(columns)]
    path.write_text("\n".join(lines) + "\n")


def angles_between(first, second):
    return np.degrees(
        (
            Rotation.from_matrix(first.reshape(-1, 3, 3)).inv() * Rotation.from_matrix(second.reshape(-1, 3, 3))
        ).magnitude()
    )


def test_bvh_of_the_body_is_retargeted_to_the_same_poses(tmp_path, body, walk):
    poses, trans = walk
    rest = body.rest.double().numpy()
    (tmp_path / "cmu_bvh").mkdir()
    write_bvh(tmp_path / "cmu_bvh" / "900_01.bvh", poses, trans, rest)
    clip = mocap.read_folder(tmp_path, rest, body.foot_points)[0]
    _, true = forward_kinematics(poses, trans, rest)
    _, ours = forward_kinematics(clip.poses, clip.trans, rest)
    for name, limit in {
        "pelvis": 1,
        "left_hip": 5,
        "right_knee": 5,
        "left_shoulder": 8,
        "right_elbow": 8,
        "left_wrist": 8,
    }.items():
        joint = JOINT_NAMES.index(name)
        assert np.median(angles_between(ours[:, joint], true[:, joint])) < limit, name
    moved = clip.trans - clip.trans[0] - (trans - trans[0])
    assert np.abs(moved).max() < 0.03


def test_knees_and_elbows_bend_about_their_hinge_axes(tmp_path, body):
    (tmp_path / "pybullet").mkdir()
    rows = []
    for frame in range(60):
        swing = np.sin(frame / 8)
        turn = lambda angle: [np.cos(angle / 2), 0, 0, np.sin(angle / 2)]  # noqa: E731  about z, w first
        still = [1.0, 0, 0, 0]
        root = [1 / 30, 0.03 * frame, 0.9, 0]
        rows.append([*root, *still, *still, *still, *turn(0.5 * swing), -0.7 - 0.3 * swing, *still,
                     *still, 0.8, *turn(-0.5 * swing), -0.7 + 0.3 * swing, *still, *still, 0.8])  # fmt: skip
    (tmp_path / "pybullet" / "stride.txt").write_text(json.dumps({"Loop": "wrap", "Frames": rows}))
    clip = mocap.read_folder(tmp_path, body.rest.double().numpy(), body.foot_points)[0]
    poses = clip.poses.reshape(-1, 24, 3)
    for side, sign in (("left", -1.0), ("right", 1.0)):
        assert poses[:, JOINT_NAMES.index(f"{side}_knee"), 0].min() > 0.2, "a knee bends backwards"
        assert (sign * poses[:, JOINT_NAMES.index(f"{side}_elbow"), 1]).min() > 0.4, "an elbow bends backwards"
    facing = rotation_matrices(poses[:, 0])[:, :, 2]
    assert (facing[:, 2] > 0.9).all(), "the body does not face where it walks"
    assert clip.trans[-1, 2] - clip.trans[0, 2] > 1.0


def test_mirrored_poses_mirror_the_points(body, walk):
    poses, trans = walk
    rest = body.rest.double().numpy()
    plain = forward_kinematics(poses, trans, rest)[0]
    turned = forward_kinematics(simulate.mirror_poses(poses), trans * [-1, 1, 1], rest)[0]
    assert (
        np.abs(turned[:, JOINT_MIRROR] * [-1, 1, 1] - plain).max() < 0.005
    )  # the body is symmetric within millimetres


def test_contacts_are_slow_and_low_feet():
    feet = np.zeros((40, 4, 3))
    feet[20:, 0, 2] = np.arange(20) * 0.05  # the left toe runs off
    feet[:, 1, 1] = 0.3  # the left heel is in the air
    marked = mocap.contacts(feet, flat_floor=True)
    assert marked[5:15, 0].all()
    assert not marked[25:, 0].any()
    assert not marked[:, 1].any()
    assert marked[5:-5, 2:].all()
    assert mocap.contacts(feet, flat_floor=False)[:, 1].all()


def test_the_short_contacts_of_a_runner_whose_feet_slide_are_found():
    time = np.arange(88)
    feet, standing = np.zeros((88, 4, 3)), np.zeros((88, 4), bool)
    for side in (0, 1):
        phase = (time + 11 * side) % 22  # stands for 7 of 22 frames, at 3.4 metres a second
        stands = phase < 7
        points = slice(2 * side, 2 * side + 2)
        standing[:, points] = stands[:, None]
        feet[:, points, 2] = np.cumsum(np.where(stands, 0.45, (3.4 * 22 - 0.45 * 7) / 15))[:, None] / 30
        feet[:, points, 1] = np.where(stands, 0, 0.2 * np.sin(np.pi * (phase - 6) / 16))[:, None]
    marked = mocap.contacts(feet, flat_floor=True) > 0.5
    assert not (marked & ~standing).any()
    assert marked.sum() > standing.sum() / 2


def test_empty_folder_raises(tmp_path, body):
    with pytest.raises(SystemExit, match="No motion capture"):
        mocap.read_folder(tmp_path, body.rest.numpy(), body.foot_points)


def stepping(frames=120):
    """Feet (F, 4, 3) that step in turn on a level floor, 0.6 s each, and hips (F,) a metre over it."""
    feet, time = np.zeros((frames, 4, 3)), np.arange(frames)
    for side in (0, 1):
        phase = (time + 18 * side) / 36 * 2 * np.pi
        feet[:, 2 * side : 2 * side + 2, 1] = 0.15 * np.clip(np.sin(phase), 0, None)[:, None]
        feet[:, 2 * side : 2 * side + 2, 2] = np.cumsum(0.08 * (np.sin(phase) > 0))[:, None]
    return feet, np.ones(frames)


def test_floor_follows_a_slope():
    feet, hips = stepping()
    slope = np.linspace(0, 0.1, len(feet))
    below = mocap.floor_below(feet + slope[:, None, None] * [0, 1, 0], hips + slope)
    assert np.abs(below - slope)[5:-5].max() < 0.01
    true = mocap.contacts(feet, flat_floor=True)
    levelled = feet + (slope - below)[:, None, None] * [0, 1, 0]
    assert 0.3 < true.mean() < 0.6
    assert (mocap.contacts(levelled, flat_floor=True) == true).mean() > 0.95


def test_jumping_or_lying_does_not_change_the_floor():
    feet, hips = stepping()
    jump = np.zeros(len(feet))
    jump[50:66] = 0.4 * np.sin(np.linspace(0, np.pi, 16))
    assert np.abs(mocap.floor_below(feet + jump[:, None, None] * [0, 1, 0], hips + jump)).max() < 0.01
    feet[90:], hips[90:] = feet[90] + (0, 0.1, 0), 0.2  # lies with feet at rest over the floor
    assert np.abs(mocap.floor_below(feet, hips)).max() < 0.01
