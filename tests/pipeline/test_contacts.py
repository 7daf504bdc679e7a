"""Which feet stand, where the picture shows them and where it does not."""

from __future__ import annotations

import numpy as np

from wham_blender.pipeline.contacts import judged

FRAMES = 40
SAID = np.full((FRAMES, 4), 0.65)  # WHAM is not sure


def planted_where(speed: float, hidden: bool) -> np.ndarray:
    """Contacts (F, 4) of feet that rest under a body that goes at that speed, metres a second."""
    pelvis = np.array([0, 0, 0.9]) + np.outer(speed * np.arange(FRAMES) / 30, [0, -1, 0])
    return judged(SAID, np.zeros((FRAMES, 4, 3)), pelvis, np.full((FRAMES, 4), hidden))


def test_resting_feet_of_a_body_that_goes_stand_where_they_are_seen() -> None:
    assert (planted_where(1.0, hidden=False) > 0.6).all()


def test_hidden_feet_stand_with_a_body_that_stays() -> None:
    assert (planted_where(0.02, hidden=True) > 0.6).all()


def test_hidden_feet_of_a_body_that_goes_hold_nothing() -> None:
    assert (planted_where(1.0, hidden=True) < 0.4).all()
