"""Left and right that the landmark net took for each other come back, and nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest

from wham_blender.pipeline.people.landmarks import LANDMARK_MIRROR, LANDMARKS
from wham_blender.pipeline.people.left_right import fix_left_right

FRAMES = 90
LEGS = np.arange(23, LANDMARKS)


@pytest.fixture
def walker() -> tuple[np.ndarray, np.ndarray]:
    """Landmarks in pixels and metres of someone who walks by, seen half from the side: hands and feet cross."""
    rng = np.random.default_rng(0)
    time = np.arange(FRAMES)[:, None] / 30
    left = np.ones(LANDMARKS)
    left[np.arange(LANDMARKS) > LANDMARK_MIRROR] = -1  # the right of each pair
    height = np.linspace(0, 400, LANDMARKS)
    reach = np.tile(np.linspace(5, 60, 11), 3)  # of each point, pixels
    swing = (25 + reach * np.sin(2 * np.pi * time)) * left * (np.arange(LANDMARKS) != LANDMARK_MIRROR)
    pixels = np.stack([300 + 150 * time + swing, 100 + height + 0 * swing, np.full(swing.shape, 0.9)], -1)
    pixels[..., :2] += rng.normal(0, 1.5, (FRAMES, LANDMARKS, 2))
    return pixels.astype(np.float32), (pixels / 400).astype(np.float32)


def swap(values: np.ndarray, rows: slice, part: np.ndarray) -> np.ndarray:
    out = values.copy()
    out[rows, part] = values[rows][:, LANDMARK_MIRROR[part]]
    return out


def test_who_is_seen_rightly_stays_so(walker: tuple[np.ndarray, np.ndarray]) -> None:
    for seen, found in zip(walker, fix_left_right(*walker), strict=True):
        np.testing.assert_array_equal(found, seen)


@pytest.mark.parametrize("part", [np.arange(LANDMARKS), LEGS, np.arange(23)], ids=["all", "legs", "arms"])
@pytest.mark.parametrize("rows", [slice(20, 21), slice(37, 60), slice(0, 12), slice(80, 90)], ids=str)
def test_looks_that_swap_left_and_right_are_turned_back(
    walker: tuple[np.ndarray, np.ndarray], rows: slice, part: np.ndarray
) -> None:
    swapped = tuple(swap(values, rows, part) for values in walker)
    assert not np.array_equal(swapped[0], walker[0])
    for true, found in zip(walker, fix_left_right(*swapped), strict=True):
        np.testing.assert_array_equal(found, true)


def test_one_look_alone_is_left_alone(walker: tuple[np.ndarray, np.ndarray]) -> None:
    pixels, metres = (values[:1] for values in walker)
    np.testing.assert_array_equal(fix_left_right(pixels, metres)[0], pixels)


def test_limbs_that_pass_each_other_in_the_picture_keep_their_sides() -> None:
    """Between two frames left and right change places in the picture; in depth they stay where they are."""
    left = np.ones(LANDMARKS)
    left[np.arange(LANDMARKS) > LANDMARK_MIRROR] = -1
    passed = np.where(np.arange(20) < 10, 1, -1)[:, None]
    height = np.tile(np.linspace(100, 500, LANDMARKS), (20, 1))
    pixels = np.stack([300 + 15 * left * passed, height, np.full(height.shape, 0.9)], -1)
    metres = np.stack([pixels[..., 0] / 400, height / 400, 0.15 * left + 0 * height], -1)
    for seen, found in zip((pixels, metres), fix_left_right(pixels, metres), strict=True):
        np.testing.assert_array_equal(found, seen)
