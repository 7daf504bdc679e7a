"""Which feet stand, by what they do, whether the picture shows them or not, and where nobody knows the way."""

from __future__ import annotations

import numpy as np

from wham_blender.pipeline.world.foot_contacts import borne, contact_probability, evidence

WEIGHTS = np.array([0.77, -2.43, -0.77, -0.78])  # of the open WHAM's calibration
FRAMES = 40
SAID = np.full((FRAMES, 4), 0.65)  # WHAM is not sure


def planted_where(speed: float, hidden: bool) -> np.ndarray:
    """Contacts (F, 4) of feet that rest under a body that goes at that speed, metres a second."""
    pelvis = np.array([0, 0, 0.9]) + np.outer(speed * np.arange(FRAMES) / 30, [0, -1, 0])
    return contact_probability(SAID, np.zeros((FRAMES, 4, 3)), pelvis, np.full((FRAMES, 4), hidden), weights=WEIGHTS)


def test_resting_feet_of_a_body_that_goes_stand_where_they_are_seen() -> None:
    assert (planted_where(1.0, hidden=False) > 0.6).all()


def test_hidden_feet_stand_with_a_body_that_stays() -> None:
    assert (planted_where(0.02, hidden=True) > 0.6).all()


def test_hidden_feet_of_a_body_that_goes_hold_nothing() -> None:
    assert (planted_where(1.0, hidden=True) < 0.4).all()


def treading() -> tuple[np.ndarray, np.ndarray]:
    """Feet (60, 4, 3) that walk on the spot, as on a treadmill, and which of them (60, 4) are down."""
    rows = np.arange(60)
    down = np.stack([rows // 15 % 2 == 0] * 2 + [rows // 15 % 2 == 1] * 2, 1)
    feet = np.zeros((60, 4, 3))
    feet[..., 1] = np.where(down, -1.0, 1.0).cumsum(0) / 30
    feet[..., 2] = np.where(down, 0.0, 0.1)
    return feet, down


def test_a_foot_that_moves_does_not_stand_and_one_that_rests_does() -> None:
    feet = np.zeros((40, 4, 3))
    feet[:, 2:, 0] = 2 * np.arange(40)[:, None] / 30
    found = contact_probability(np.full((40, 4), 0.5), feet, weights=WEIGHTS)
    assert (found[:, :2] > 0.8).all()
    assert (found[:, 2:] < 0.5).all()


def test_feet_that_stop_dead_have_a_speed() -> None:
    feet = np.zeros((60, 4, 3))
    feet[:20] = np.random.default_rng(0).normal(0, 1e3, (20, 4, 3))
    assert np.isfinite(evidence(np.ones((60, 4)), feet)).all()


def test_who_treads_on_the_spot_walks_on_the_lower_foot() -> None:
    feet, down = treading()
    moved = borne(feet)
    np.testing.assert_allclose(moved[0], feet[0])
    np.testing.assert_allclose(moved[..., 2] - moved[..., 2].min(1, keepdims=True), feet[..., 2])
    held = down[1:] & down[:-1]
    steps = np.diff(moved, axis=0)
    np.testing.assert_allclose(steps[held], 0, atol=1e-9)
    said = np.full(down.shape, 0.5)
    steady = (np.arange(60) % 15 > 4) & (np.arange(60) % 15 < 10)
    assert not ((contact_probability(said, feet, weights=WEIGHTS) > 0.5) & down)[steady].any()
    assert ((contact_probability(said, moved, weights=WEIGHTS) > 0.5) == down)[steady].all()
