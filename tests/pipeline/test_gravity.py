"""The estimate of gravity: from the balance of a standing person, with the prior that cameras are nearly level."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from tests.parity.walks import foot_points, walk
from wham_blender import weights
from wham_blender.body.body import Body
from wham_blender.motion import forward_kinematics
from wham_blender.pipeline.world.gravity import (
    centre_of_mass,
    estimate_up,
    evidence_of_body,
    evidence_of_ground,
    up_from_balance,
)


@pytest.fixture(scope="module")
def walked() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Joints (F, 24, 3), feet (F, 4, 3) and contacts (F, 4) of a walk, z up."""
    body = Body.load(weights.find("body").path)
    poses, pelvis, contacts = walk(body, steps=6)
    rest = body.rest_joints(torch.zeros(10)).numpy()
    vectors = Rotation.from_matrix(poses.reshape(-1, 3, 3)).as_rotvec().reshape(-1, 72)
    return forward_kinematics(vectors, pelvis - rest[0], rest)[0], foot_points(body, poses, pelvis), contacts


def test_the_centre_of_mass_is_just_above_the_pelvis(walked: tuple[np.ndarray, ...]) -> None:
    joints = walked[0]
    above = centre_of_mass(joints)[:, 2] - joints[:, 0, 2]
    assert (above > 0).all()
    assert (above < 0.15).all()


def test_the_balance_of_a_walk_is_upright_in_any_axes(walked: tuple[np.ndarray, ...]) -> None:
    joints, feet, contacts = walked
    rotation = Rotation.from_rotvec([0.7, -1.1, 0.4]).as_matrix()
    up = up_from_balance(joints @ rotation.T, feet @ rotation.T, contacts).sum(0)
    assert np.degrees(np.arccos(up @ rotation[:, 2] / np.linalg.norm(up))) < 5


def test_frames_of_sitting_and_jumping_have_no_weight(walked: tuple[np.ndarray, ...]) -> None:
    joints, feet, contacts = walked
    assert not up_from_balance(joints, feet, np.zeros_like(contacts)).any()
    sitting = joints.copy()
    for knee, ankle, foot in ((4, 7, 10), (5, 8, 11)):
        sitting[:, [knee, ankle, foot]] += [0, -0.4, 0.4]
    assert not up_from_balance(sitting, feet, contacts).any()


def up_of(camera_R: np.ndarray, wham_up: np.ndarray, balance_up: np.ndarray, velocity: tuple = (0, 0, 0)) -> np.ndarray:
    evidence = evidence_of_body(np.tile(wham_up, (5, 1)), np.tile(balance_up, (5, 1)), np.array(velocity, float))
    return estimate_up(camera_R, evidence)[0]


def test_a_nearly_level_camera_is_levelled_and_a_rolled_one_is_not() -> None:
    camera_R = np.tile(np.eye(3), (5, 1, 1))
    for degrees, least, most in ((3, 0, 1.8), (40, 35, 41)):
        wham_up = Rotation.from_euler("z", degrees, degrees=True).apply([0, -1, 0])
        up = up_of(camera_R, wham_up, wham_up)
        assert least <= np.degrees(np.arctan2(up[0], -up[1])) <= most


def test_balance_far_from_wham_s_up_is_an_outlier() -> None:
    camera_R, wham_up = np.tile(np.eye(3), (5, 1, 1)), np.array([0.0, -1, 0])
    for degrees, most in ((8, 6.5), (90, 8)):
        balance_up = Rotation.from_euler("x", degrees, degrees=True).apply(wham_up)
        up = up_of(camera_R, wham_up, balance_up)
        assert np.degrees(np.arccos(-up[1])) < most


def test_the_level_of_the_camera_counts_more_along_the_way_of_a_runner() -> None:
    camera_R, wham_up = np.tile(np.eye(3), (5, 1, 1)), Rotation.from_euler("z", 6, degrees=True).apply([0, -1, 0])
    standing, running, past = (up_of(camera_R, wham_up, wham_up, (x, 0, z))[0] for x, z in ((0, 0), (6, 0), (0, 6)))
    assert abs(running) < 0.5 * abs(standing)
    assert past == pytest.approx(standing, abs=0.005)


def test_the_ground_is_believed_unless_it_is_a_slope() -> None:
    camera_R, up = np.tile(np.eye(3), (5, 1, 1)), np.array([0.0, -1, 0])
    body = evidence_of_body(np.tile(up, (5, 1)), np.zeros((5, 3)), np.zeros(3))
    for degrees, least, most in ((5, 4, 5), (30, 0, 13)):
        ground = Rotation.from_euler("x", degrees, degrees=True).apply(up) / 0.02**2
        found, _ = estimate_up(camera_R, [*body, *evidence_of_ground(ground)])
        assert least < np.degrees(np.arccos(-found[1])) < most
    assert not evidence_of_ground(np.zeros(3))
