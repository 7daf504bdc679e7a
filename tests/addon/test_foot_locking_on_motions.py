"""Foot locking of estimated and faulty motions on short and long legs: no sliding, no jumps at contact ends."""

from dataclasses import replace

import numpy as np
import pytest

from tests.rigs import motions, targets, walks
from wham_blender import quaternions
from wham_blender.addon.retarget import foot_locking, transfer

SIDES = ("left", "right")
STATIONARY = 1e-5  # metres a frame: below this a point of the output counts as stationary
CONTACT_MARGIN = 7  # frames at both ends of a contact that are not tested for sliding


def early_contacts(source):
    """A walk whose contacts begin too early_contacts and end too late, while the foot rotates."""
    flags = source.contacts.copy()
    flags[:-2] |= source.contacts[2:]
    flags[2:] |= source.contacts[:-2]
    return replace(source, contacts=flags)


def sinking(source):
    """A walk that sinks, so that feet penetrate the floor when they lift off."""
    wave = np.sin(2 * np.pi * np.arange(len(source)) / walks.ROWS)
    return replace(source, root=source.root - np.outer(0.02 + 0.02 * wave, [0, 0, 1]))


def drifting(source):
    """A walk that drifts to the side at 0.1 m/s: planted feet slide."""
    return replace(source, root=source.root + np.outer(np.arange(len(source)), [0.1 / walks.RATE, 0, 0]))


def standing(source):
    """A person who stands for six seconds while the estimated position drifts by half a metre."""
    count = 180
    names = ("rotations", "probabilities", "confidence")
    rows = {name: np.repeat(getattr(source, name)[:1], count, 0) for name in names}
    root = source.root[:1] + np.outer(np.linspace(0, 0.5, count), [0.6, 0.8, 0])
    return replace(
        source, frames=np.arange(1.0, count + 1), root=root, contacts=np.ones((count, 4), bool),
        visible=np.ones(count, bool), **rows,
    )  # fmt: skip


FAULTS = (early_contacts, sinking, drifting, standing)


@pytest.fixture(scope="module")
def sources():
    real = {name: motions.load(name) for name in motions.NAMES}
    body = next(iter(real.values()))
    faulty = {fault.__name__: fault(walks.walk(body.heads, body.feet * [1, 1, 0], sway=0.04)) for fault in FAULTS}
    return real | faulty


def steps(points):
    return np.linalg.norm(np.diff(points, axis=0), axis=-1)


@pytest.mark.parametrize("legs", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("name", [*motions.NAMES, *(fault.__name__ for fault in FAULTS)])
def test_planted_feet_stay_and_do_not_jump_at_the_ends_of_contacts(sources, name, legs):
    source, target = sources[name], targets.target("unreal_ue4", legs=legs)
    before = transfer.retarget(source, target)
    after = foot_locking.lock_feet(source, target, before, targets.spread(target, before), motions.RATE)
    stationary_steps, contacts = 0, 0
    for number, side in enumerate(SIDES):
        unlocked, points = targets.leg(target, before, side), targets.leg(target, after, side)
        changes = {point: np.diff(points[point] - unlocked[point], axis=0) for point in ("toe", "heel", "ankle")}
        still = np.stack([steps(points[point]) < STATIONARY for point in ("toe", "heel")], 1)
        foot = still.any(1)
        for column, (point, other) in enumerate((("toe", "heel"), ("heel", "toe"))):
            flags = source.contacts[:, 2 * number + column]
            inside = flags[1:] & flags[:-1]
            certain = np.convolve(flags, np.ones(2 * CONTACT_MARGIN + 1), "same") > 2 * CONTACT_MARGIN
            assert steps(points[point])[certain[1:] & certain[:-1]].max(initial=0) < 0.002, (side, point)
            stationary_steps, contacts = (
                stationary_steps + np.sum((steps(points[point]) < 0.002) & inside),
                contacts + np.sum(inside),
            )
            # When toe or heel lands or lifts while the other is planted, the correction of the pitch must not jump.
            pitch_change = np.linalg.norm(changes[point] - changes[other], axis=1)
            limit = 0.01 if legs <= 1 else 0.016
            assert pitch_change[next_to(still[:, column]) & foot].max(initial=0) < limit, (side, point)
        for point, change in changes.items():
            limit = 0.01 * max(1.0, legs)  # feet are longer, too
            assert np.linalg.norm(change, axis=1)[next_to(foot)].max(initial=0) < limit, (side, point)
        assert min(points[point][:, 2].min() for point in ("toe", "heel", "tip")) > -1e-5
        thigh, shin = points["knee"] - points["hip"], points["ankle"] - points["knee"]
        hip = quaternions.rotate(source.pose()[1][:, 1 + number], np.array([1.0, 0, 0]))
        assert (np.sum(np.cross(thigh, shin) * hip, 1) > -1e-9).all()  # knees bend forwards
    assert stationary_steps > 0.8 * contacts


def next_to(still):
    """Moving steps directly before or after stationary ones."""
    near = np.zeros_like(still)
    near[1:] |= still[:-1]
    near[:-1] |= still[1:]
    return near & ~still
