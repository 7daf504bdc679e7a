"""Contact probabilities of visible feet, of hidden feet, and with an unknown path of the body."""

from __future__ import annotations

import numpy as np

from wham_blender.pipeline.world.foot_contacts import contact_evidence, contact_probability, relative_to_support_foot

WEIGHTS = np.array([0.77, -2.43, -0.77, -0.78])  # of the open WHAM's calibration
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
