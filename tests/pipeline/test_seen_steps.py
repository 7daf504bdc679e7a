"""Contacts end where the picture shows that a planted foot steps, and only there."""

from __future__ import annotations

import numpy as np
import pytest

from wham_blender.pipeline.world.foot_contacts import without_seen_steps

FRAMES, STEP = 80, 40
HEIGHT, DISTANCE = 1.2, 3.0  # metres: of the camera, and to the feet
LEVEL = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # a camera that looks along y


def directions(moved: np.ndarray, seen_from: float = HEIGHT) -> np.ndarray:
    """Directions (F, 2, 3) to ankles 0.08 m over the floor; the left one moves by (F, 3) metres."""
    ankles = np.tile([[-0.1, DISTANCE, 0.08], [0.1, DISTANCE, 0.08]], (len(moved), 1, 1))
    ankles[:, 0] += moved
    noise = np.random.default_rng(0).normal(0, 0.004, ankles.shape)
    points = (ankles + noise - [0, 0, seen_from]) @ LEVEL.T
    return points / points[..., 2:]


def after(moved: np.ndarray, contacts: np.ndarray, seen_from: float = HEIGHT) -> np.ndarray:
    rotations, centre = np.tile(LEVEL, (len(moved), 1, 1)), np.tile([0, 0, seen_from], (len(moved), 1))
    return without_seen_steps(contacts, directions(moved, seen_from), rotations, centre)


def step(by: list[float], frames: int = 4) -> np.ndarray:
    """A movement (F, 3) by metres, within some frames."""
    return np.clip((np.arange(FRAMES) - STEP) / frames + 0.5, 0, 1)[:, None] * by


PLANTED = np.full((FRAMES, 4), 0.9)


@pytest.mark.parametrize("by", [[0.08, 0, 0], [0, 0.25, 0], [0, -0.25, 0]])
def test_a_foot_that_is_seen_to_step_is_lifted(by: list[float]) -> None:
    contacts = after(step(by), PLANTED)
    lifted = np.flatnonzero(contacts[:, 0] == 0)
    assert len(lifted) == 5
    assert np.abs(lifted - STEP).max() <= 5
    assert (contacts[:, 0] == contacts[:, 1]).all()
    assert (contacts[:, 2:] == 0.9).all()


def test_feet_that_rest_drift_or_leave_the_heel_stay_planted() -> None:
    still, slow = np.zeros((FRAMES, 3)), step([0.2, 0, 0], FRAMES)  # a slow drift is an error of the camera's rotation
    assert (after(still, PLANTED) == PLANTED).all()
    assert (after(slow, PLANTED) == PLANTED).all()
    on_toes = PLANTED * [1, 0, 1, 1]
    assert (after(step([0, 0, 0.1]), on_toes) == on_toes).all()


def test_a_camera_near_the_floor_tells_nothing_of_depth() -> None:
    assert (after(step([0, 0.5, 0]), PLANTED, 0.3) == PLANTED).all()


def test_ankles_that_are_not_seen_are_no_step() -> None:
    moved = step([0.08, 0, 0])
    hidden = directions(moved)
    hidden[STEP - 10 : STEP + 10, 0] = np.nan
    rotations, centre = np.tile(LEVEL, (FRAMES, 1, 1)), np.tile([0, 0, HEIGHT], (FRAMES, 1))
    contacts = without_seen_steps(PLANTED, hidden, rotations, centre)
    assert np.isfinite(contacts).all()
    assert (contacts[:, 2:] == 0.9).all()
    assert (without_seen_steps(PLANTED, np.full((FRAMES, 2, 3), np.nan), rotations, centre) == PLANTED).all()
