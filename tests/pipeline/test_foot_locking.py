"""Foot locking in the worker: planted feet stay in place and flat, legs do not jump, the rest is unchanged."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from tests.parity.walks import foot_points, walk
from wham_blender import weights
from wham_blender.body.body import Body
from wham_blender.pipeline.world.foot_locking import lock_feet

LEGS = [1, 2, 4, 5, 7, 8]


@pytest.fixture(scope="module")
def body() -> Body:
    return Body.load(weights.find("body").path)


def held(
    body: Body, poses: np.ndarray, pelvis: np.ndarray, planted: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Poses, pelvis, contacts and feet (F, 4, 3) after `lock_feet`."""
    rest = body.rest_joints(torch.zeros(10)).numpy().astype(np.float64)
    found = lock_feet(poses, pelvis, rest, planted, lambda posed: foot_points(body, posed, np.zeros((len(posed), 3))))
    return *found, foot_points(body, found[0], found[1])


@pytest.fixture(scope="module")
def shaky(body: Body) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A walk whose leg rotations have errors of a few degrees, as estimates do: poses, pelvis, contacts."""
    poses, pelvis, contacts = walk(body)
    rng = np.random.default_rng(0)
    wobble = gaussian_filter1d(rng.standard_normal((len(poses), len(LEGS), 3)), 4, axis=0)
    turns = Rotation.from_rotvec((0.05 * wobble / wobble.std()).reshape(-1, 3)).as_matrix()
    poses[:, LEGS] = poses[:, LEGS] @ turns.reshape(len(poses), len(LEGS), 3, 3)
    return poses, pelvis, contacts > 0.5


def test_no_planted_foot_slides_or_leaves_the_floor(body: Body, shaky: tuple[np.ndarray, ...]) -> None:
    poses, pelvis, planted = shaky
    before = foot_points(body, poses, pelvis)
    both = planted[1:] & planted[:-1]
    assert np.linalg.norm(np.diff(before, axis=0), axis=-1)[both].mean() * 30 > 0.1  # metres a second
    _, _, stands, feet = held(body, poses, pelvis, planted)
    assert (stands == planted).mean() > 0.95  # a contact of two frames is none
    both = stands[1:] & stands[:-1]
    assert np.linalg.norm(np.diff(feet, axis=0), axis=-1)[both].max() * 30 < 0.02
    assert np.abs(feet[stands][:, 2]).max() < 0.005
    assert feet[..., 2].min() > -0.01


def test_other_joints_are_unchanged_and_legs_do_not_jump(body: Body, shaky: tuple[np.ndarray, ...]) -> None:
    poses, pelvis, planted = shaky
    found, moved, _, _ = held(body, poses, pelvis, planted)
    others = np.setdiff1d(np.arange(24), LEGS)
    assert np.array_equal(found[:, others], poses[:, others])
    assert np.linalg.norm(moved - pelvis, axis=1).max() < 0.12  # with the legs that carry it
    steps = (found[1:, LEGS].mT @ found[:-1, LEGS]).reshape(-1, 3, 3)
    own = (poses[1:, LEGS].mT @ poses[:-1, LEGS]).reshape(-1, 3, 3)
    fastest, usual = (np.degrees(Rotation.from_matrix(each).magnitude()).max() for each in (steps, own))
    assert fastest < 2 * usual


def test_a_walk_without_errors_hardly_changes(body: Body) -> None:
    poses, pelvis, contacts = walk(body)
    found, moved, _, _ = held(body, poses, pelvis, contacts > 0.5)
    assert np.linalg.norm(moved - pelvis, axis=1).max() < 0.01
    off = Rotation.from_matrix((found.mT @ poses).reshape(-1, 3, 3)).magnitude()
    assert np.degrees(off).max() < 5


def test_feet_on_a_box_are_not_pulled_to_the_floor(body: Body, shaky: tuple[np.ndarray, ...]) -> None:
    poses, pelvis, planted = shaky
    _, moved, stands, feet = held(body, poses, pelvis + np.array([0, 0, 0.5]), planted)
    assert np.abs(moved[:, 2] - pelvis[:, 2] - 0.5).max() < 0.08
    assert np.abs(feet[stands][:, 2] - 0.5).max() < 0.1


def test_a_step_inside_a_contact_splits_it(body: Body) -> None:
    poses, pelvis, _ = walk(body, 4)
    poses = np.repeat(poses[:1], 60, 0)
    pelvis = np.repeat(pelvis[:1], 60, 0)
    pelvis[30:, 0] += 0.3
    _, _, stands, feet = held(body, poses, pelvis, np.ones((60, 4), bool))
    assert not stands[29:31].any()
    assert stands[:20].all()
    assert stands[-20:].all()
    both = stands[1:] & stands[:-1]
    assert np.linalg.norm(np.diff(feet, axis=0), axis=-1)[both].max() < 0.001


@pytest.mark.parametrize("count", [1, 2, 4])
def test_short_motions(body: Body, count: int) -> None:
    poses, pelvis, contacts = walk(body, 2)
    found, moved, _, _ = held(body, poses[:count], pelvis[:count], contacts[:count] > 0.5)
    assert np.isfinite(found).all()
    assert np.abs(moved - pelvis[:count]).max() < 0.05
