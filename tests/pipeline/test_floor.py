"""The floor's slope from steps: an error of gravity is told from stairs, from a box and from standing in one place."""

from __future__ import annotations

import numpy as np
import pytest

from wham_blender.pipeline.world.floor import Level, evidence_of_steps, level_of, slope_of_steps, steps

LEVEL = Level(np.zeros(2), np.eye(2) / 0.06**2)


def stepped(slope: float, count: int = 5, length: float = 1.2) -> np.ndarray:
    """Steps (n, 3) along y on a floor of the slope given."""
    way = length * np.arange(count)
    return np.stack([0.1 * (-1.0) ** np.arange(count), way, slope * way], 1)


def test_a_tilt_under_four_steps_is_found() -> None:
    found = slope_of_steps(stepped(0.12, 4), LEVEL)
    assert found is not None
    assert found.slope[1] == pytest.approx(0.12, abs=0.005)
    assert found.information[1, 1] > 20 * found.information[0, 0]


def test_noise_of_the_steps_is_weighed_against_the_level() -> None:
    rng = np.random.default_rng(0)
    still = 0.15 * rng.standard_normal((6, 3)) * [1, 1, 0.3]  # somebody who stands: a few steps, of any height
    found = slope_of_steps(still, LEVEL)
    assert found is not None
    assert np.linalg.eigvalsh(found.information).max() < 0.3 * LEVEL.information[0, 0]
    for few in (still[:1], still[:0]):
        nothing = slope_of_steps(few, LEVEL)
        assert nothing is not None
        assert not nothing.information.any()


def test_stairs_are_no_error_of_gravity() -> None:
    assert slope_of_steps(stepped(0.3), LEVEL) is None
    unsure = Level(np.zeros(2), np.eye(2) / 0.12**2)  # as of a runner
    assert slope_of_steps(stepped(0.3), unsure) is not None


def test_steps_on_a_box_do_not_tilt_the_floor() -> None:
    path = stepped(0.0, 10, 0.5)
    path[:3, 2] = 0.4
    found = slope_of_steps(path, LEVEL)
    assert found is not None
    assert abs(found.slope[1]) < 0.02


def test_one_step_each_time_a_foot_is_planted() -> None:
    feet = np.zeros((20, 4, 3))
    feet[..., 1], feet[:, 1, 2] = np.arange(20)[:, None], 0.05
    planted = np.zeros((20, 4), bool)
    planted[2:5, 0] = planted[3:7, 1] = planted[10:13, 3] = True
    found = steps(feet, planted)
    np.testing.assert_allclose(found, [[0, 4, 0], [0, 11, 0]])
    assert steps(feet, ~planted & False).shape == (0, 3)


def test_slopes_and_up_are_the_same_in_both_directions() -> None:
    axes = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # z up of a camera that looks horizontally
    level = level_of(np.array([0.0, -1, 0.1]), np.diag([4.0, 5.0, 6.0]), axes)
    np.testing.assert_allclose(level.slope, [0, -0.1])
    np.testing.assert_allclose(level.information, np.diag([4.0, 6.0]))
    evidence = evidence_of_steps(level, axes)
    np.testing.assert_allclose(evidence.direction, [0, -1, 0.1])
    np.testing.assert_allclose(evidence.information, np.diag([4.0, 0, 6.0]))
