"""The draft pipeline on filmed people whose movement was measured: better than what it is fed with.

Reads the folder in WHAM_CLIPS_DIR (clips, markers, calibration as ``build.py bench accuracy`` takes them).
"""

import os
from pathlib import Path

import numpy as np
import pytest

from tests.bench import accuracy

CLIPS = Path(os.environ.get("WHAM_CLIPS_DIR") or Path(__file__).parents[3] / "shared" / "clips" / "balance")


@pytest.mark.skipif(
    not CLIPS.is_dir(), reason=f"no clips with measured movement in {CLIPS} (WHAM_CLIPS_DIR names them)"
)
def test_joints_are_nearer_to_the_truth_than_the_landmark_nets() -> None:
    figures = accuracy.measure_folder(CLIPS)
    assert figures
    assert all(each.frames_with_person == each.frames for each in figures.values()), "a person in every frame"
    pipeline = np.mean([each.pipeline["PA-MPJPE"] for each in figures.values()])
    landmark_net = np.mean([each.landmark_net["PA-MPJPE"] for each in figures.values()])
    assert pipeline < accuracy.LARGEST_ERROR
    assert pipeline < landmark_net
    assert np.mean([each.pipeline["MPJPE"] for each in figures.values()]) < 95
    # MediaPipe's own landmarker, as a video: 14.5 and 18.7 mm a frame squared, 23 and 32 a frame cubed.
    assert all(each.pipeline["accel"] < 14.5 / 2 and each.pipeline["jitter"] < 23 / 2 for each in figures.values())
