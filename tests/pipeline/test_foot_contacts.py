"""Contact probabilities of visible feet, of hidden feet, and with an unknown path of the body."""

from __future__ import annotations

import numpy as np

from wham_blender.pipeline.world.foot_contacts import contact_evidence, contact_probability, relative_to_support_foot

WEIGHTS = np.array([0.77, -2.43, -0.77, -0.78])  # of the open WHAM's calibration
# Fitted to simulated scenes of training motion of all kinds, with the open WHAM.
ALL_WEIGHTS = np.array([0.32, -2.23, -0.48, -0.54, -1.05, 1.09, -2.95, -2.41])
FRAMES = 40
UNSURE = np.full((FRAMES, 4), 0.65)  # WHAM's contacts


def contacts_of_resting_feet(speed: float, hidden: bool) -> np.ndarray:
    """Contacts (F, 4) of feet at rest below a pelvis that moves with that speed, metres a second."""
    pelvis = np.array([0, 0, 0.9]) + np.outer(speed * np.arange(FRAMES) / 30, [0, -1, 0])
    return contact_probability(UNSURE, np.zeros((FRAMES, 4, 3)), pelvis, np.full((FRAMES, 4), hidden), weights=WEIGHTS)


def test_visible_resting_feet_of_a_moving_body_are_planted() -> None:
    assert (contacts_of_resting_feet(1.0, hidden=False) > 0.6).all()


def test_hidden_feet_of_a_resting_body_are_planted() -> None:
    assert (contacts_of_resting_feet(0.02, hidden=True) > 0.6).all()


def test_hidden_feet_of_a_moving_body_are_not_planted() -> None:
    assert (contacts_of_resting_feet(1.0, hidden=True) < 0.4).all()


def treadmill_walk() -> tuple[np.ndarray, np.ndarray]:
    """Feet (60, 4, 3) that walk in place, as on a treadmill, and which of them (60, 4) are planted."""
    rows = np.arange(60)
    down = np.stack([rows // 15 % 2 == 0] * 2 + [rows // 15 % 2 == 1] * 2, 1)
    feet = np.zeros((60, 4, 3))
    feet[..., 1] = np.where(down, -1.0, 1.0).cumsum(0) / 30
    feet[..., 2] = np.where(down, 0.0, 0.1)
    return feet, down


def test_a_moving_foot_is_not_planted_and_a_resting_one_is() -> None:
    feet = np.zeros((40, 4, 3))
    feet[:, 2:, 0] = 2 * np.arange(40)[:, None] / 30
    found = contact_probability(np.full((40, 4), 0.5), feet, weights=WEIGHTS)
    assert (found[:, :2] > 0.8).all()
    assert (found[:, 2:] < 0.5).all()


def test_the_speed_of_feet_that_stop_is_finite() -> None:
    feet = np.zeros((60, 4, 3))
    feet[:20] = np.random.default_rng(0).normal(0, 1e3, (20, 4, 3))
    assert np.isfinite(contact_evidence(np.ones((60, 4)), feet)).all()


def test_relative_to_the_support_foot_a_treadmill_walk_has_contacts() -> None:
    feet, down = treadmill_walk()
    moved = relative_to_support_foot(feet)
    np.testing.assert_allclose(moved[0], feet[0])
    np.testing.assert_allclose(moved[..., 2] - moved[..., 2].min(1, keepdims=True), feet[..., 2])
    held = down[1:] & down[:-1]
    steps = np.diff(moved, axis=0)
    np.testing.assert_allclose(steps[held], 0, atol=1e-9)
    unsure = np.full(down.shape, 0.5)
    steady = (np.arange(60) % 15 > 4) & (np.arange(60) % 15 < 10)
    assert not ((contact_probability(unsure, feet, weights=WEIGHTS) > 0.5) & down)[steady].any()
    assert ((contact_probability(unsure, moved, weights=WEIGHTS) > 0.5) == down)[steady].all()


def run(slide: float) -> tuple[np.ndarray, np.ndarray]:
    """Feet (88, 4, 3) that run 3.4 metres a second and slide while they stand for 7 of 22 frames; when (88, 4)."""
    feet, standing = np.zeros((88, 4, 3)), np.zeros((88, 4), bool)
    for side in (0, 1):
        phase = (np.arange(88) + 11 * side) % 22
        stands, points = phase < 7, slice(2 * side, 2 * side + 2)
        standing[:, points] = stands[:, None]
        feet[:, points, 1] = -np.cumsum(np.where(stands, slide, (3.4 * 22 - slide * 7) / 15))[:, None] / 30
        feet[:, points, 2] = np.where(stands, 0, 0.2 * np.sin(np.pi * (phase - 6) / 16))[:, None]
    return feet, standing


def test_a_runner_has_contacts_though_the_feet_slide() -> None:
    feet, standing = run(slide=0.8)
    pelvis = np.array([0, 0, 0.9]) + np.outer(3.4 * np.arange(88) / 30, [0, -1, 0])
    found = contact_probability(np.full((88, 4), 0.5), feet, pelvis, weights=ALL_WEIGHTS) > 0.5
    assert found[standing].mean() > 0.5
    assert not found[~standing].any()


def jump(gravity: float) -> tuple[np.ndarray, np.ndarray]:
    """Feet (60, 4, 3) and pelvis (60, 3) that stand, and between the rows 22 and 38 fly with this acceleration."""
    time = (np.arange(60) - 30) / 30
    height = np.maximum(gravity / 2 * ((8 / 30) ** 2 - time**2), 0)
    feet = np.tile([0, 0, 1.0], (60, 4, 1)) * height[:, None, None]
    return feet, np.stack([np.zeros(60), np.zeros(60), 0.9 + height], 1)


def test_nobody_is_planted_at_the_top_of_a_jump_though_the_feet_are_slow_there() -> None:
    feet, pelvis = jump(9.81)
    found = contact_probability(np.full((60, 4), 0.8), feet, pelvis, weights=ALL_WEIGHTS) > 0.5
    assert not found[25:36].any()
    assert found[:17].all()
    assert found[-17:].all()


def test_a_slow_rise_is_no_flight() -> None:
    feet, pelvis = jump(9.81)
    standing = contact_probability(np.full((60, 4), 0.8), 0 * feet, 0.1 * pelvis, weights=ALL_WEIGHTS) > 0.5
    assert standing.all()


def test_calibrations_that_know_fewer_features_are_used_as_before() -> None:
    feet, _ = run(slide=0.8)
    unsure = np.full((88, 4), 0.5)
    padded = np.concatenate([WEIGHTS, np.zeros(4)])
    np.testing.assert_array_equal(
        contact_probability(unsure, feet, weights=WEIGHTS), contact_probability(unsure, feet, weights=padded)
    )
