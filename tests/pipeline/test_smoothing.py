"""Keypoints lose their jitter, and fast movement stays."""

from __future__ import annotations

import numpy as np

from wham_blender.pipeline.people.smoothing import without_jitter

SIDES = np.full(120, 800.0)
JITTER = 1.0  # pixels, about what the landmark net shows of a box of 800


def test_a_still_point_is_calmer_and_a_fast_one_keeps_its_path() -> None:
    random = np.random.default_rng(0)
    time = np.arange(120) / 30
    still = np.zeros((120, 2))
    waving = 80 * np.stack([np.sin(2 * np.pi * 4 * time), np.cos(2 * np.pi * 4 * time)], 1)  # four hertz
    true = np.stack([still, waving], 1)
    smooth = without_jitter(true + JITTER * random.normal(0, 1, true.shape), SIDES)
    assert smooth[5:-5, 0].std() < 0.8 * JITTER
    kept = (smooth[5:-5, 1] * waving[5:-5]).sum() / (waving[5:-5] ** 2).sum()
    assert kept > 0.97


def test_a_blow_within_a_calm_track_is_not_smoothed_away() -> None:
    points = np.zeros((120, 1, 2))
    points[60:63, 0, 0] = [60, 120, 60]  # there and back within a sixth of a second
    assert without_jitter(points, SIDES)[61, 0, 0] > 115


def test_a_short_track_is_returned_as_it_is() -> None:
    points = np.random.default_rng(0).normal(0, 1, (5, 3, 2))
    np.testing.assert_array_equal(without_jitter(points, SIDES[:5]), points)
