"""The One-Euro filter of ViTPose's keypoints: mmpose's recurrence, missing points, and when it starts anew."""

from __future__ import annotations

import numpy as np
import pytest

from wham_blender.pipeline.people.one_euro import MISSING, OneEuroFilter
from wham_blender.pipeline.people.tracking import DetectionRow
from wham_blender.pipeline.people.vitpose_stage import ViTPoseStage


def keypoints(*xy: tuple[float, float], confidence: float = 0.9) -> np.ndarray:
    return np.array([(*point, confidence) for point in xy], np.float32)


def weight(cutoff: float, frame_rate: float) -> float:
    rate = 2 * np.pi * cutoff / frame_rate
    return rate / (rate + 1)


@pytest.mark.parametrize("frame_rate", [24.0, 30.0])
def test_the_recurrence(frame_rate: float) -> None:
    smooth = OneEuroFilter(frame_rate)
    np.testing.assert_array_equal(smooth(keypoints((100, 50))), keypoints((100, 50)))
    velocity = weight(frame_rate, frame_rate) * 10
    new = weight(1.7 + 0.3 * velocity, frame_rate)
    second = new * 110 + (1 - new) * 100
    assert smooth(keypoints((110, 50)))[0, 0] == pytest.approx(second, abs=1e-4)
    velocity = weight(frame_rate, frame_rate) * (90 - second) + (1 - weight(frame_rate, frame_rate)) * velocity
    new = weight(1.7 + 0.3 * abs(velocity), frame_rate)
    third = new * 90 + (1 - new) * second
    found = smooth(keypoints((90, 50)))
    assert found[0, 0] == pytest.approx(third, abs=1e-4)
    assert found[0, 1] == pytest.approx(50)
    assert found[0, 2] == np.float32(0.9)


def test_a_missing_coordinate_is_marked_and_compared_with() -> None:
    smooth = OneEuroFilter(30.0)
    assert smooth(keypoints((-3, 40)))[0, 0] == -3  # the first frame is unchanged
    found = smooth(keypoints((0, 40)))
    assert found[0, 0] == MISSING
    assert found[0, 1] == pytest.approx(40)
    third = smooth(keypoints((30, 40)))[0, 0]
    assert MISSING < third < 30


def test_jitter_is_reduced_and_fast_movement_is_followed() -> None:
    rng = np.random.default_rng(0)
    rest, fast = OneEuroFilter(30.0), OneEuroFilter(30.0)
    noise = rng.normal(0, 1, 200)
    still = np.array([rest(keypoints((500 + each, 300)))[0, 0] for each in noise])
    assert still[20:].std() < 0.6 * noise[20:].std()
    path = 500 + 300 * np.sin(np.arange(60) / 5)
    moved = np.array([fast(keypoints((each, 300)))[0, 0] for each in path])
    assert np.abs(moved - path)[5:].max() < 15  # a quarter of a frame at 60 pixels a frame


class NoPeople:
    """A PeopleSource that is never asked."""


def test_each_track_has_a_filter_and_a_gap_restarts_it() -> None:
    stage = ViTPoseStage(NoPeople(), None, None, 30.0)  # type: ignore[arg-type]
    none = np.zeros((0, 3), np.float32)

    def smoothed(frame: int, track: int, x: float) -> float:
        row = DetectionRow(frame, track, np.zeros(4), none, none, none)
        return float(stage._smoothed(row, keypoints((x, 50))).keypoints[0, 0])

    assert smoothed(0, 1, 100) == 100
    assert smoothed(0, 2, 300) == 300  # another track starts unfiltered
    assert 100 < smoothed(1, 1, 110) < 110
    assert smoothed(3, 1, 200) == 200  # frame 2 is missing
    assert 200 < smoothed(4, 1, 210) < 210
