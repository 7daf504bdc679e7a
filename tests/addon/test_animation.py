"""The edits of an animation without Blender's objects: rotations, low-pass filter, planted feet, loop."""

from dataclasses import replace

import numpy as np
import pytest

from wham_blender import animation, cycles, quaternions
from wham_blender.animation import Animation
from wham_blender.motion import rotation_matrices
from wham_blender.skeleton import JOINT_NAMES

RATE = 30.0
LEFT, RIGHT = (tuple(JOINT_NAMES.index(f"{s}_{j}") for j in ("hip", "knee", "ankle")) for s in ("left", "right"))


def skeleton():
    """Joints at rest with straight legs 0.8 m long, 0.2 m apart, and feet on the ground."""
    heads = np.zeros((24, 3))
    heads[:, 2] = 1.0
    for x, leg in ((0.1, LEFT), (-0.1, RIGHT)):
        for joint, z in zip(leg, (0.9, 0.5, 0.1), strict=True):
            heads[joint] = x, 0, z
    heads[[10, 11]] = [0.1, -0.12, 0.03], [-0.1, -0.12, 0.03]
    feet = np.array([[0.1, -0.18, 0], [0.1, 0.05, 0], [-0.1, -0.18, 0], [-0.1, 0.05, 0]])
    return heads, feet


def squats(count=120, hertz=1.0):
    """Knee bends with the feet still: hips and ankles bend by an angle, knees by twice that back."""
    heads, feet = skeleton()
    angle = 0.6 - 0.3 * np.cos(2 * np.pi * hertz * np.arange(count) / RATE)
    rotations = np.tile([1.0, 0, 0, 0], (count, 24, 1))
    x = np.broadcast_to([1.0, 0, 0], (count, 3))
    for leg in (LEFT, RIGHT):
        for joint, times in zip(leg, (-1, 2, -1), strict=True):
            rotations[:, joint] = quaternions.about(x, times * angle)
    root = np.stack([np.zeros(count), np.zeros(count), 1.0 - 0.8 * (1 - np.cos(angle))], 1)
    return Animation(
        frames=np.arange(1.0, count + 1), root=root, rotations=rotations, heads=heads, feet=feet,
        contacts=np.ones((count, 4), bool), probabilities=np.ones((count, 4)), confidence=np.ones(count),
        visible=np.ones(count, bool),
    )  # fmt: skip


def walk(count=90, cycle=30, turn=0.0):
    """Legs that swing while the pelvis goes 0.04 m a frame to -y, its heading turning by ``turn`` a frame."""
    heads, feet = skeleton()
    rows = np.arange(count)
    phase = 2 * np.pi * rows / cycle
    x, z = np.broadcast_to([1.0, 0, 0], (count, 3)), np.broadcast_to([0.0, 0, 1], (count, 3))
    rotations = np.tile([1.0, 0, 0, 0], (count, 24, 1))
    rotations[:, 0] = quaternions.about(z, turn * rows)
    rotations[:, LEFT[0]], rotations[:, RIGHT[0]] = (
        quaternions.about(x, 0.4 * np.sin(phase)),
        quaternions.about(x, -0.4 * np.sin(phase)),
    )
    steps = quaternions.rotate(rotations[:, 0], np.array([0, -0.04, 0]))
    root = np.cumsum(steps, 0) + np.array([3.0, 1.0, 1.0]) + 0.02 * np.cos(2 * phase)[:, None] * [0, 0, 1]
    contacts = np.stack([np.sin(phase) > 0, np.sin(phase) > 0.2, np.sin(phase) < 0, np.sin(phase) < -0.2], 1)
    return Animation(
        frames=rows + 1.0, root=root, rotations=rotations, heads=heads, feet=feet, contacts=contacts,
        probabilities=contacts * 0.9, confidence=np.full(count, 0.8), visible=np.ones(count, bool),
    )  # fmt: skip


def matrices(rotations):
    return np.moveaxis(np.stack([quaternions.rotate(rotations, axis) for axis in np.eye(3)]), 0, -1)


def test_quaternions_are_the_matrices_rotations():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(500, 3)) * rng.uniform(0, 3, (500, 1))
    vectors[:3] = [0, 0, 0], [np.pi, 0, 0], [0, 1e-9, 0]
    expected = rotation_matrices(vectors)
    rotations = quaternions.of_axis_angle(vectors)
    assert np.abs(matrices(rotations) - expected).max() < 1e-12
    assert np.abs(matrices(quaternions.of_matrices(expected)) - expected).max() < 1e-12
    again = quaternions.of_axis_angle(quaternions.to_axis_angle(rotations))
    assert np.abs(matrices(again) - expected).max() < 1e-9
    both = quaternions.multiply(rotations[:250], rotations[250:])
    assert np.abs(matrices(both) - expected[:250] @ expected[250:]).max() < 1e-12
    start, end = rng.normal(size=(2, 200, 3))
    end[0], start[1] = -start[0], end[1]
    turned = quaternions.rotate(quaternions.between(start, end), quaternions.normalized(start))
    assert np.abs(turned - quaternions.normalized(end)).max() < 1e-9


def test_slerp_takes_the_shorter_arc_at_constant_speed():
    z = np.array([0.0, 0.0, 1.0])
    start, end = quaternions.about(z, np.array(0.3)), -quaternions.about(z, np.array(1.3))
    for weight in (0.0, 0.25, 1.0):
        between = quaternions.blend(start, end, np.array(weight))
        assert quaternions.to_axis_angle(between) == pytest.approx([0, 0, 0.3 + weight], abs=1e-9)


@pytest.mark.parametrize(("hertz", "left"), [(0.5, 0.996), (2.0, 0.5), (8.0, 0.004)])
def test_low_pass_removes_high_frequencies_without_delay(hertz, left):
    time = np.arange(300) / RATE
    wave = np.cos(2 * np.pi * hertz * time)
    smooth = animation.low_pass(wave[:, None], 2.0, RATE)[:, 0]
    middle = slice(90, 210)
    assert np.abs(smooth - left * wave)[middle].max() < 0.005
    ramp = np.linspace(-3, 9, 40)[:, None]
    assert np.abs(animation.low_pass(ramp, 1.0, RATE) - ramp).max() < 1e-9


def test_feet_stay_planted_while_the_body_is_smoothed():
    before = squats(hertz=2.0)
    assert animation.sliding(before, RATE) == pytest.approx(0, abs=1e-9)
    assert animation.floor_height(before) == pytest.approx(0, abs=1e-9)
    loose = replace(before, contacts=np.zeros_like(before.contacts))
    bare = replace(animation.smoothed(loose, 1.0, RATE), contacts=before.contacts)
    after = animation.smoothed(before, 1.0, RATE)
    assert np.ptp(after.root[30:90, 2]) < 0.2 * np.ptp(before.root[30:90, 2])  # it did smooth
    assert np.abs(bare.foot_points() - before.foot_points()).max() > 0.01  # and that alone moves the feet
    assert np.abs(after.foot_points() - before.foot_points()).max() < 1e-5
    knees = after.pose()[0][:, [LEFT[1], RIGHT[1]]]
    assert (knees[..., 1] < -0.05).all()  # knees still point to the front


def test_jitter_of_planted_feet_is_filtered():
    rng = np.random.default_rng(1)
    noise = quaternions.of_axis_angle(rng.normal(0, 0.02, (120, 24, 3)))
    still = squats(hertz=0.1)
    before = replace(still, rotations=quaternions.multiply(still.rotations, noise))
    after = animation.smoothed(before, 3.0, RATE)
    was, now = animation.sliding(before, RATE), animation.sliding(after, RATE)
    assert was is not None
    assert now is not None
    assert now < 0.25 * was


def test_feet_do_not_jump_at_the_ends_of_contacts():
    before = squats(hertz=2.0)
    contacts = before.contacts.copy()
    contacts[40:80] = False
    after = animation.smoothed(replace(before, contacts=contacts), 1.0, RATE)
    steps = np.linalg.norm(np.diff(after.foot_points(), axis=0), axis=-1)
    assert steps.max() < 0.02
    assert np.abs(after.foot_points() - before.foot_points())[contacts].max() < 1e-5
    assert np.abs(after.foot_points() - before.foot_points())[55:65].max() > 0.01


def test_sliding_and_floor_are_measured_in_contact_only():
    still = squats()
    contacts = np.zeros_like(still.contacts)
    contacts[:60, 0] = True
    drifting = replace(still, root=still.root + np.linspace(0, 1.19, 120)[:, None] * [1, 0, 0] + [0, 0, 0.07])
    drifting = replace(drifting, contacts=contacts)
    assert animation.sliding(drifting, RATE) == pytest.approx(0.3, rel=1e-6)
    assert animation.sliding(replace(drifting, frames=still.frames * 2), RATE) == pytest.approx(0.15, rel=1e-6)
    assert animation.floor_height(drifting) == pytest.approx(0.07)
    none = replace(drifting, contacts=np.zeros_like(contacts))
    assert animation.sliding(none, RATE) is None
    assert animation.floor_height(none) is None


@pytest.mark.parametrize("turn", [0.0, 0.02])
@pytest.mark.parametrize("in_place", [False, True])
def test_loop_closes_in_pose_and_velocity_and_goes_straight_on(turn, in_place):
    cycle = animation.looped(walk(count=70, cycle=30, turn=turn), 10, in_place)
    assert len(cycle) == 61
    round_one, rotations = cycle.pose()
    way = round_one[-1, 0] - round_one[0, 0]
    assert way[2] == pytest.approx(0, abs=1e-9)
    if in_place:
        assert np.abs(way).max() < 1e-9
    else:
        assert np.hypot(*way[:2]) > (2.0 if turn else 2.3)
    # What comes after the end is what came after the start: no joint jumps, in place or speed.
    endless = np.concatenate([round_one[:-1], round_one + way])
    speed = np.diff(endless, axis=0)
    assert np.abs(np.diff(speed, axis=0)).max() < 0.02
    assert np.abs(speed[60] - speed[59]).max() < 0.012
    assert np.abs(np.abs(np.sum(rotations[0] * rotations[-1], -1)) - 1).max() < 1e-9
    assert (cycle.contacts[0] == cycle.contacts[-1]).all()


def test_loop_of_a_periodic_walk_changes_nothing():
    before = walk(count=75, cycle=30)
    cycle = animation.looped(before, 15, False)
    assert np.abs(cycle.pose()[0] - before.pose()[0][:61]).max() < 1e-9


def test_loop_not_longer_than_its_blend_is_refused():
    with pytest.raises(ValueError, match="longer than its blend"):
        animation.looped(walk(count=20), 10, False)


def slides(moving):
    """The longest movement (metres) of a planted foot point from one row to the next."""
    steps = np.linalg.norm(np.diff(moving.foot_points(), axis=0), axis=-1)
    return steps[moving.contacts[1:] & moving.contacts[:-1]].max()


def test_feet_are_planted_again_after_contacts_were_edited():
    before = walk()
    contacts = np.zeros_like(before.contacts)
    contacts[30:38, :2] = contacts[33:42, 1:2] = contacts[60:66, 2:] = True
    before = replace(before, contacts=contacts)
    assert slides(before) > 0.02
    after = animation.planted_again(before, RATE)
    assert slides(after) < 1e-6
    # What is farther from a contact than corrections fade stays to the bit.
    rows = np.r_[0:12, 84:90]
    assert (after.rotations[rows] == before.rotations[rows]).all()


def test_a_planted_foot_that_is_out_of_reach_takes_the_body_along():
    before = walk()
    contacts = np.zeros_like(before.contacts)
    contacts[20:55, :2] = True  # 1.4 m: farther than the leg is long
    before = replace(before, contacts=contacts)
    after = animation.planted_again(before, RATE)
    assert slides(after) < 1e-6
    assert np.linalg.norm(after.root - before.root, axis=1).max() > 0.1


def test_a_cycle_holds_feet_across_its_ends():
    cycle = animation.looped(walk(count=70, cycle=30), 10, False)
    planted = animation.planted_cycle(cycle, RATE)
    way = planted.root[-1] - planted.root[0]
    assert np.abs(way - (cycle.root[-1] - cycle.root[0])).max() < 1e-9
    feet = planted.foot_points()
    endless = np.concatenate([feet[:-1], feet + way])
    down = np.concatenate([planted.contacts[:-1], planted.contacts])
    steps = np.linalg.norm(np.diff(endless, axis=0), axis=-1)
    assert steps[down[1:] & down[:-1]].max() < 1e-6
    assert slides(cycle) > 0.02


def test_cycles_go_from_one_heel_strike_to_a_later_one_and_the_true_period_is_best():
    before = walk(count=100, cycle=30)
    limping = before.rotations.copy()
    limping[40:60, LEFT[1]] = quaternions.of_axis_angle(np.full((20, 3), 0.3))  # in the middle of the second
    before = replace(before, rotations=limping)
    best, *others = cycles.cycles(before, RATE, blend=8)
    # Around the limp, both ends are the same; every cycle of one second has an end in it.
    assert (best.seconds, best.steps, best.feet) == (2.0, 4, 1.0)
    assert best.pose < 1e-6
    costs = [round(each.cost, 1) for each in others]
    assert costs == sorted(costs)
    assert costs[-1] > 0.5
    blended = animation.looped(animation.between(before, best.first, best.last), best.blend, False)
    assert len(blended) == 61
    planted = animation.planted_cycle(blended, RATE)
    loose, held = (cycles.seam_sliding(each, RATE) for each in (blended, planted))
    assert loose is not None
    assert held is not None
    assert (loose > 0.3, held < 0.001) == (True, True)  # metres a second
    assert cycles.cycles(replace(before, contacts=np.zeros_like(before.contacts)), RATE) == []
    # At another number of scene frames a second they are the same.
    again = cycles.cycles(replace(before, frames=2 * before.frames), 2 * RATE)[0]
    assert (again.first, again.seconds) == (2 * best.first, best.seconds)


def test_what_is_before_and_after_the_movement_is_found():
    step = walk(count=120)
    rows = np.clip(np.arange(120), 30, 80)  # stands, walks, stands
    still = {name: getattr(step, name)[rows] for name in ("root", "rotations", "contacts")}
    found = animation.active_rows(replace(step, **still), RATE, speed=0.3, margin=0.2)
    assert 20 <= found.start <= 27
    assert 84 <= found.stop <= 92
    unseen = replace(step, visible=np.arange(120) >= 50)
    assert animation.active_rows(unseen, RATE, 0.3, 0.0) == slice(50, 120)
    assert animation.active_rows(step, RATE, 50.0, 0.2) == slice(0, 0)
