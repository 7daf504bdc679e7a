"""Foot locking on bodies of other proportions, without Blender: feet stay and do not sink, and legs reach them."""

from dataclasses import replace

import numpy as np
import pytest

from tests.rigs import skeletons, targets, walks
from wham_blender import quaternions
from wham_blender.addon.retarget import foot_geometry, foot_locking, foot_pins, transfer
from wham_blender.addon.retarget.foot_pins import Floor
from wham_blender.planted_feet import HINGED, two_bone_ik
from wham_blender.skeleton import JOINT_NAMES

SIDES = ("left", "right")


def matrix(axes, scale, origin):
    made = np.eye(4)
    made[:3, :3], made[:3, 3] = np.asarray(axes, float) * scale, origin
    return made


TURNED = matrix([[0, -1, 0], [0, 0, -1], [1, 0, 0]], 0.01, (3, -2, 0.5))  # lies on its side, in centimetres
UNEVEN = matrix(np.eye(3), (1.2, 0.7, 1.0), (1, 1, 0))


@pytest.fixture(scope="module")
def body():
    """Joints and foot points at rest, similar to a person's."""
    rest = {
        "pelvis": (0, 0, 0.95), "hip": (0.09, 0, 0.88), "knee": (0.1, -0.01, 0.48), "ankle": (0.1, 0.02, 0.08),
        "foot": (0.11, -0.11, 0.03), "collar": (0.05, 0, 1.35), "shoulder": (0.17, 0, 1.38), "elbow": (0.43, 0, 1.38),
        "wrist": (0.68, 0, 1.38), "hand": (0.76, 0, 1.38), "spine1": (0, 0, 1.05), "spine2": (0, 0, 1.15),
        "spine3": (0, 0, 1.25), "neck": (0, 0, 1.45), "head": (0, 0, 1.55),
    }  # fmt: skip
    heads = np.array([rest[name.split("_")[-1]] for name in JOINT_NAMES])
    heads[[place for place, name in enumerate(JOINT_NAMES) if name.startswith("right")], 0] *= -1
    soles = np.array([[0.11, -0.17, 0], [0.1, 0.07, 0], [-0.11, -0.17, 0], [-0.1, 0.07, 0]])
    return heads, soles


def planted(source, made):
    """The pose before and after foot locking."""
    pose = transfer.retarget(source, made)
    return pose, foot_locking.lock_feet(source, made, pose, targets.spread(made, pose), walks.RATE)


def steps(points):
    return np.linalg.norm(np.diff(points, axis=0), axis=1)


@pytest.mark.parametrize("legs", [0.5, 1.0, 2.0])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("mixamo", {}),
        ("smplx", {"toes": False}),
        ("unreal_ue5", {"matrix": TURNED}),
        ("makehuman_default", {"matrix": UNEVEN}),
        ("daz_genesis_8", {}),
        ("unity_humanoid", {}),
    ],
)
def test_planted_points_stay_nothing_sinks_and_knees_bend_forward(body, kind, options, legs):
    source = walks.walk(body[0], body[1], sway=0.04)
    made = targets.target(kind, legs=legs, **options)
    before, after = planted(source, made)
    slid, carried = source.foot_points(), {side: targets.leg(made, before, side) for side in SIDES}
    assert max(steps(slid[:, point])[source.contacts[1:, point]].max() for point in range(4)) > 0.005
    for number, side in enumerate(SIDES):
        points = targets.leg(made, after, side)
        stands = source.contacts[:, 2 * number] | source.contacts[:, 2 * number + 1]
        for name in ("toe", "heel", "ankle"):
            pops = steps(points[name] - carried[side][name])[stands[1:] != stands[:-1]]
            assert pops.max() < 0.005, (side, name)
        for name, column in (("toe", 2 * number), ("heel", 2 * number + 1)):
            contact = source.contacts[:, column]
            held = contact[1:] & contact[:-1]
            assert steps(points[name])[held].max() < 1e-5, (side, name)
            assert np.abs(points[name][contact, 2]).max() < 1e-5, (side, name)
            # Where a foot stands on its other end already, what it slid by in the source is taken from it as well.
            turned = steps(points["toe"] - carried[side]["toe"] - points["heel"] + carried[side]["heel"])
            assert turned[contact[1:] != contact[:-1]].max() < 0.005, (side, name)
        assert min(points[name][:, 2].min() for name in ("toe", "heel", "tip")) > -1e-5
        thigh, shin = points["knee"] - points["hip"], points["ankle"] - points["knee"]
        leg = points["ankle"] - points["hip"]
        ahead = np.cross(leg, np.broadcast_to([1.0, 0, 0], leg.shape))
        assert (np.sum(np.cross(thigh, shin) * [1, 0, 0], 1) > 0).all()  # the shin goes back from the knee
        assert (np.sum(thigh * ahead, 1) > 0).all()
        bend = np.degrees(np.arccos(np.sum(quaternions.normalized(thigh) * quaternions.normalized(shin), 1)))
        assert np.abs(np.diff(bend, 2)).max() < 16  # and no knee snaps
    kept = set(before.rotations) - {
        name for name in before.rotations if (before.rotations[name] != after.rotations[name]).any()
    }
    assert {made.rig_map.bones[role] for role in ("pelvis", "left_shoulder", "right_elbow")} <= kept


@pytest.mark.parametrize("kind", skeletons.KINDS)
def test_feet_of_every_map_are_planted(body, kind):
    source = walks.walk(body[0], body[1], steps=4, sway=0.04)
    made = targets.target(kind, legs=0.7)
    _, after = planted(source, made)
    for number, side in enumerate(SIDES):
        points = targets.leg(made, after, side)
        for name, column in (("toe", 2 * number), ("heel", 2 * number + 1)):
            contact = source.contacts[:, column]
            assert steps(points[name])[contact[1:] & contact[:-1]].max() < 1e-5
            assert points[name][:, 2].min() > -1e-5


def test_a_pose_without_contacts_and_above_the_floor_is_unchanged(body):
    source = walks.walk(*body)
    source = replace(source, contacts=np.zeros_like(source.contacts), root=source.root + np.array([0, 0, 0.2]))
    made = targets.target("mixamo")
    before, after = planted(source, made)
    for name in before.rotations:
        assert np.abs(np.abs(np.sum(before.rotations[name] * after.rotations[name], 1)) - 1).max() < 1e-9, name
    assert np.abs(before.hips - after.hips).max() < 1e-12


def test_sliding_contacts_slide_and_contacts_of_fast_points_are_dropped(body):
    source = walks.walk(*body)
    still = replace(
        source, rotations=np.repeat(source.rotations[:1], len(source), 0), contacts=np.ones_like(source.contacts),
        root=source.root[:1] + np.linspace(0, 1, len(source))[:, None] * [0.8, 0, 0],
    )  # fmt: skip
    made = targets.target("mixamo")
    toe = targets.leg(made, planted(still, made)[1], "left")["toe"]
    assert np.linalg.norm(toe[-1] - toe[0]) > 0.5
    assert steps(toe).max() < 0.02
    rows = np.arange(len(source))
    falling = replace(still, root=source.root[:1] + np.where(rows < 50, 1.3, 0.0)[:, None] * [0, 0, 1])
    pose = planted(falling, made)[1]
    toe = targets.leg(made, pose, "left")["toe"][:, 2]
    assert np.ptp(toe[5:45]) < 0.02
    assert np.ptp(toe[55:]) < 0.02
    assert toe[20] - toe[80] == pytest.approx(1.3 * transfer.ground(falling, made).scale, rel=0.05)


def test_a_foot_that_points_down_is_not_laid_flat(body):
    source = walks.walk(*body)
    turns = np.repeat(source.rotations[:1], len(source), 0)
    turns[:, JOINT_NAMES.index("left_ankle")] = quaternions.about(np.array([1.0, 0, 0]), np.full(len(source), 1.5))
    kneels = replace(
        source, rotations=turns, root=np.repeat(source.root[:1], len(source), 0), contacts=np.ones_like(source.contacts)
    )
    made = targets.target("mixamo")
    before, after = planted(kneels, made)
    foot = made.rig_map.bones["left_ankle"]
    assert np.abs(np.sum(before.rotations[foot] * after.rotations[foot], 1)).min() > 1 - 1e-9
    heel = targets.leg(made, after, "right")["heel"]
    assert steps(heel).max() < 1e-9


def test_legs_hang_in_a_jump_from_a_roof(body):
    source = walks.walk(*body)
    rows = np.arange(len(source))
    height = 1.5 - 1.5 * np.clip((rows - 50) / 20, 0, 1) ** 2
    falls = replace(
        source, rotations=np.repeat(source.rotations[:1], len(source), 0), contacts=np.repeat(rows[:, None] < 50, 4, 1),
        root=source.root[:1] + height[:, None] * [0, 0, 1],
    )  # fmt: skip
    made = targets.target("mixamo", legs=1.5)
    before, after = planted(falls, made)
    for side in SIDES:
        moved = targets.leg(made, after, side)["ankle"] - targets.leg(made, before, side)["ankle"]
        assert np.linalg.norm(moved[64:] - (after.hips - before.hips)[64:], axis=1).max() < 0.02


def test_stairs_keep_their_height(body):
    source = walks.walk(*body)
    climb = 0.25 * np.floor(np.arange(len(source)) / walks.ROWS)  # whole body, each step
    up = replace(
        source, root=source.root + np.interp(np.arange(len(source)), np.arange(len(source)), climb)[:, None] * [0, 0, 1]
    )
    contacts = source.contacts & (np.abs(np.arange(len(source)) % walks.ROWS - 8) < 5)[:, None]
    up = replace(up, contacts=contacts)
    made = targets.target("mixamo", legs=1.4)
    scale = transfer.ground(up, made).scale
    pose = planted(up, made)[1]
    for number, side in enumerate(SIDES):
        heel = targets.leg(made, pose, side)["heel"][:, 2]
        on = contacts[:, 2 * number + 1]
        wanted = scale * climb[on]
        assert np.abs(heel[on] - wanted).max() < 0.08 * scale
        assert len(np.unique(np.round(heel[on], 6))) <= 7


def test_the_pelvis_comes_down_smoothly_for_legs_that_do_not_reach(body):
    source = walks.walk(*body)
    hop = np.sin(np.pi * np.clip((np.arange(len(source)) - 40) / 30, 0, 1)) ** 2
    source = replace(source, root=source.root + 0.09 * hop[:, None] * [0, 0, 1])  # feet that stand leave the floor
    made = targets.target("mixamo")
    before, after = planted(source, made)
    drop = (before.hips - after.hips)[:, 2]
    assert drop.max() > 0.02
    assert np.abs(np.diff(drop, 2)).max() < 0.004
    for number, side in enumerate(SIDES):
        heel = targets.leg(made, after, side)["heel"]
        assert np.abs(heel[source.contacts[:, 2 * number + 1], 2]).max() < 1e-5


@pytest.mark.parametrize("count", [1, 2, 5])
def test_short_motions(body, count):
    source = walks.walk(*body)
    rows = slice(20, 20 + count)
    short = replace(source, **{
        name: getattr(source, name)[rows]
        for name in ("frames", "root", "rotations", "contacts", "probabilities", "confidence", "visible")
    })  # fmt: skip
    after = planted(short, targets.target("mixamo"))[1]
    assert all(np.isfinite(turns).all() for turns in after.rotations.values())


def test_foot_points_are_found_for_bones_with_arbitrary_tails():
    rng = np.random.default_rng(3)
    made = targets.target("unreal_ue4")
    wild = {name: made.heads[name] + 0.1 * quaternions.normalized(rng.normal(size=3)) for name in made.tails}
    found = foot_geometry.with_feet(replace(made, tails=wild), {}, {}, {}).foot_points
    assert np.abs(found - made.foot_points).max() < 0.06
    assert np.abs(found[:, 2]).max() < 1e-9


# --- pins ------------------------------------------------------------------------------------------------------------

FLOOR = Floor(up=np.array([0.0, 0, 1]), height=0.0, step=0.1, slip=0.1, creep=0.001, gap=4)


def test_toe_and_heel_that_are_planted_together_are_a_foot_length_apart():
    rng = np.random.default_rng(0)
    points = np.array([[0, -0.2, 0], [0, 0.0, 0]]) + 0.01 * rng.normal(size=(60, 2, 3))
    flags = np.zeros((60, 2), bool)
    flags[10:50, 0] = flags[5:20, 1] = flags[30:40, 1] = True  # toes stay while the heel lifts and comes down again
    pinned = foot_pins.pin(points, points, flags, 0.22, FLOOR)
    for column, start, stop in ((0, 10, 50), (1, 5, 20), (1, 30, 40)):
        assert np.ptp(pinned.positions[start:stop, column], axis=0).max() == 0
    both = pinned.planted.all(1)
    assert both.sum() == 20
    assert np.abs(np.linalg.norm(np.subtract(*np.moveaxis(pinned.positions[both], 1, 0)), axis=1) - 0.22).max() < 1e-6
    assert np.abs(pinned.positions[pinned.planted][:, 2]).max() < 1e-12


def test_gaps_are_bridged_only_if_the_point_does_not_move():
    flags = np.ones((30, 2), bool)
    flags[10:13] = flags[20:23] = False
    points = np.zeros((30, 2, 3))
    points[20:, :, 1] = 0.3
    found = foot_pins.bridge_gaps(flags, points, FLOOR)
    assert found[10:13].all()
    assert not found[20:23].any()
    flags = np.zeros((30, 2), bool)
    flags[5:15, 1] = flags[16:25, 0] = True  # from heel to toe without a row on both
    assert foot_pins.bridge_gaps(flags, np.zeros((30, 2, 3)), FLOOR).all(1).sum() == 3


# --- legs ------------------------------------------------------------------------------------------------------------


def test_legs_reach_and_never_bend_backwards():
    rng = np.random.default_rng(1)
    count = 500
    thigh = np.array([0, 0, -0.4]) + 0.1 * rng.normal(size=(count, 3))
    shin = np.array([0, 0.1, -0.4]) + 0.1 * rng.normal(size=(count, 3))
    target = thigh + shin + 0.1 * rng.normal(size=(count, 3))
    hinge = np.broadcast_to([1.0, 0, 0], (count, 3))
    first, second, pointing = two_bone_ik(thigh, shin, target, hinge, HINGED)
    knee = quaternions.rotate(first, thigh)
    ankle = knee + quaternions.rotate(second, shin)
    length = np.linalg.norm(thigh, axis=1) + np.linalg.norm(shin, axis=1)
    inside = np.linalg.norm(target, axis=1) < 0.999 * length
    assert inside.sum() > 250
    assert np.abs(ankle - target)[inside].max() < 1e-9
    off = np.linalg.norm(np.cross(quaternions.normalized(ankle), quaternions.normalized(target)), axis=1)
    assert off.max() < 1e-9
    swing = quaternions.rotate(quaternions.between(thigh + shin, target), hinge)
    front = np.cross(quaternions.normalized(target), swing)
    assert (np.sum(pointing * front, 1) > -1e-9).all()
    assert (np.sum(knee * front, 1) > -1e-9).all()


def test_a_leg_at_its_target_is_unchanged():
    thigh, shin = np.array([[0.03, -0.1, -0.4]]), np.array([[0.0, 0.15, -0.4]])
    first, second, _ = two_bone_ik(thigh, shin, thigh + shin, np.array([[1.0, 0, 0]]), HINGED)
    assert np.abs(np.abs(np.concatenate([first, second])[:, 0]) - 1).max() < 1e-12
