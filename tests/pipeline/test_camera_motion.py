"""Whether the camera moved: a real picture, seen through a window that pans or stays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from wham_blender.pipeline import camera_motion, video

CLIP = Path(__file__).parents[1] / "clips" / "balance_cam01.mp4"
BOXES = np.array([[200.0, 200.0, 700.0, 1200.0], [-50.0, 300.0, 60.0, 900.0]])  # one sticks out of the picture


@pytest.fixture(scope="module")
def ends() -> tuple[np.ndarray, np.ndarray]:
    """The clip's first picture and its last, in which the man has moved and the camera has not."""
    images = [frame.image for frame in video.frames(CLIP) if frame.image is not None]
    return images[0], images[-1]


@pytest.mark.parametrize("pan", [0, 50, 200])
def test_the_background_s_way_is_measured(pan: int, ends: tuple[np.ndarray, np.ndarray]) -> None:
    first, last = ends
    drift = camera_motion.Drift(first[:, : 1080 - pan], BOXES).until(last[:, pan:])
    assert drift == pytest.approx(pan / 1920, abs=0.002)
    assert camera_motion.moves(np.array([drift])) == (pan > 0)


def test_an_empty_wall_stands_still() -> None:
    wall = np.full((240, 320, 3), 128, np.uint8)
    assert camera_motion.Drift(wall, np.empty((0, 4))).until(wall) == 0


@pytest.mark.parametrize(("seconds", "expected"), [([], False), ([0, 0, 0, 0, 0, 0, 0.2], False), ([0, 0, 0.1], True)])
def test_one_odd_second_does_not_move_the_camera(seconds: list[float], expected: bool) -> None:
    assert camera_motion.moves(np.array(seconds)) == expected
