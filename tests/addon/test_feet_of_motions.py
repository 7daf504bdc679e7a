"""Foot locking of real and bad motions on legs of all lengths: planted points stay, contacts begin without a jump."""

from dataclasses import replace

import numpy as np
import pytest

from tests.rigs import motions, targets, walks
from wham_blender import quaternions
from wham_blender.addon.retarget import foot_locking, transfer

SIDES = ("left", "right")
STILL = 1e-5  # metres from frame to frame: an output's point that stands
CERTAIN = 7  # frames from a contact's ends, between which it has to stand


def early(source):
    """A walk whose contacts begin too early and end too late, while the foot turns."""
    flags = source.contacts.copy()
    flags[:-2] |= source.contacts[2:]
    flags[2:] |= source.contacts[:-2]
    return replace(source, contacts=flags)


def sunk(source):
    """A walk that sinks, so that feet go through the floor when they leave it."""
    wave = np.sin(2 * np.pi * np.arange(len(source)) / walks.ROWS)
    return replace(source, root=source.root - np.outer(0.02 + 0.02 * wave, [0, 0, 1]))


def drifting(source):
    """A walk that drifts to the side at 0.1 m/s: planted feet slide."""
    return replace(source, root=source.root + np.outer(np.arange(len(source)), [0.1 / walks.RATE, 0, 0]))


def standing(source):
    """Somebody who stands for six seconds while the estimated position drifts by half a metre."""
    count = 180
    names = ("rotations", "probabilities", "confidence")
    rows = {name: np.repeat(getattr(source, name)[:1], count, 0) for name in names}
    root = source.root[:1] + np.outer(np.linspace(0, 0.5, count), [0.6, 0.8, 0])
    return replace(
        source, frames=np.arange(1.0, count + 1), root=root, contacts=np.ones((count, 4), bool),
        visible=np.ones(count, bool), **rows,
    )  # fmt: skip


BAD = (early, sunk, drifting, standing)


@pytest.fixture(scope="module")
def sources():
    real = {name: motions.load(name) for name in motions.NAMES}
    body = next(iter(real.values()))
    made = {how.__name__: how(walks.walk(body.heads, body.feet * [1, 1, 0], sway=0.04)) for how in BAD}
    return real | made


def steps(points):
    return np.linalg.norm(np.diff(points, axis=0), axis=-1)


@pytest.mark.parametrize("legs", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("name", [*motions.NAMES, *(how.__name__ for how in BAD)])
def test_planted_feet_stay_and_do_not_jump_at_the_ends_of_contacts(sources, name, legs):
    source, made = sources[name], targets.target("unreal_ue4", legs=legs)
    before = transfer.retarget(source, made)
    after = foot_locking.lock_feet(source, made, before, targets.spread(made, before), motions.RATE)
    stays, contacts = 0, 0
    for number, side in enumerate(SIDES):
        carried, points = targets.leg(made, before, side), targets.leg(made, after, side)
        changes = {point: np.diff(points[point] - carried[point], axis=0) for point in ("toe", "heel", "ankle")}
        still = np.stack([steps(points[point]) < STILL for point in ("toe", "heel")], 1)
        foot = still.any(1)
        for column, (point, other) in enumerate((("toe", "heel"), ("heel", "toe"))):
            flags = source.contacts[:, 2 * number + column]
            inside = flags[1:] & flags[:-1]
            certain = np.convolve(flags, np.ones(2 * CERTAIN + 1), "same") > 2 * CERTAIN
            assert steps(points[point])[certain[1:] & certain[:-1]].max(initial=0) < 0.002, (side, point)
            stays, contacts = stays + np.sum((steps(points[point]) < 0.002) & inside), contacts + np.sum(inside)
            # Where an end of a foot that stands by its other end comes down, what is taken from the whole foot is none.
            turning = np.linalg.norm(changes[point] - changes[other], axis=1)
            most = 0.01 if legs <= 1 else 0.016
            assert turning[beside(still[:, column]) & foot].max(initial=0) < most, (side, point)
        for point, change in changes.items():
            assert np.linalg.norm(change, axis=1)[beside(foot)].max(initial=0) < 0.01, (side, point)
        assert min(points[point][:, 2].min() for point in ("toe", "heel", "tip")) > -1e-5
        thigh, shin = points["knee"] - points["hip"], points["ankle"] - points["knee"]
        hip = quaternions.rotate(source.pose()[1][:, 1 + number], np.array([1.0, 0, 0]))
        assert (np.sum(np.cross(thigh, shin) * hip, 1) > -1e-9).all()  # the shin goes back from the knee
    assert stays > 0.8 * contacts


def beside(still):
    """The steps, not still, before and after still ones."""
    near = np.zeros_like(still)
    near[1:] |= still[:-1]
    near[:-1] |= still[1:]
    return near & ~still
