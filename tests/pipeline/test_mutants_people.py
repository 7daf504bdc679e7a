"""Errors of a sign or a factor in track clean-up and camera motion that the other tests would let through."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tests.pipeline.test_camera_motion import solved, walls, watched
from tests.pipeline.test_track_cleanup import detections, people
from wham_blender.pipeline.camera.camera_motion import ROTATING, STATIC, CameraMotion
from wham_blender.pipeline.people import track_cleanup
from wham_blender.pipeline.people.landmarks import COCO_LANDMARKS
from wham_blender.pipeline.people.types import Detections


def trembling(landmark_keypoints: bool, pixels: float = 5) -> Detections:
    """One person whose landmarks tremble by pixels; keypoints are the landmark net's or, trembling apart, ViTPose's."""
    rows = detections({1: (range(60), 500.0)}, looks=60)
    rng = np.random.default_rng(0)
    rows.landmarks[..., :2] += rng.normal(0, pixels, rows.landmarks[..., :2].shape)
    rows.landmarks_3d += rng.normal(0, 0.01, rows.landmarks_3d.shape).astype(np.float32)
    keypoints = rows.landmarks[:, COCO_LANDMARKS].copy()
    if not landmark_keypoints:
        keypoints[..., :2] += rng.normal(0, 5, keypoints[..., :2].shape)
    return replace(rows, keypoints=keypoints)


def test_keypoints_of_vitpose_are_not_smoothed_and_views_of_landmarks_in_turn_are_averaged() -> None:
    rows = trembling(landmark_keypoints=False)
    (person,) = people(rows)
    np.testing.assert_allclose(person.keypoints, rows.keypoints, atol=1e-3)
    averaged = person.landmarks[..., :2] - rows.landmarks[..., :2]
    assert (np.abs(averaged[5:-5]).max((0, 2)) > 1).all()  # each of the 33
    assert (np.abs(person.landmarks_3d - rows.landmarks_3d).max((0, 2)) > 1e-3).all()


def test_keypoints_that_are_landmarks_lose_their_jitter_and_landmarks_keep_it_for_the_temporal_lifter() -> None:
    rows = trembling(landmark_keypoints=True, pixels=1.0)
    (person,) = people(rows)
    shaking = [np.abs(np.diff(each[..., :2], n=3, axis=0)).mean() for each in (person.keypoints, person.landmarks)]
    assert shaking[0] < 0.6 * shaking[1]


def test_keypoints_without_landmarks_are_not_smoothed() -> None:
    rows = trembling(landmark_keypoints=False)
    rows = replace(rows, landmarks=rows.landmarks[:, :0], landmarks_3d=rows.landmarks_3d[:, :0])
    (person,) = people(rows)
    np.testing.assert_allclose(person.keypoints, rows.keypoints, atol=1e-3)


@pytest.mark.parametrize(("frames", "stays"), [(6, False), (10, True)])
def test_the_median_takes_boxes_out_that_are_wrong_for_a_quarter_of_a_second(frames: int, stays: bool) -> None:
    rows = detections({1: (range(90), 500.0)}, looks=90)
    (clean,) = people(rows)
    rows.landmarks[40 : 40 + frames, :, 1] *= 1.5
    (person,) = people(replace(rows, keypoints=rows.landmarks[:, COCO_LANDMARKS]))
    assert ((person.boxes[:, 2] > 1.2 * clean.boxes[:, 2]).any()) == stays


def test_nobody_is_joined_over_a_cut() -> None:
    rows = detections({1: (range(50), 500.0), 2: (range(55, 120), 500.0)})
    shot = np.arange(120) >= 52
    assert len(track_cleanup.build_people(rows, np.zeros(120, int))) == 1
    assert len(track_cleanup.build_people(rows, shot.astype(int))) == 2


@pytest.mark.parametrize(("pixels", "kind"), [(0.3, STATIC), (2.5, ROTATING)])
def test_a_slow_pan_is_not_a_static_camera(pixels: float, kind: int) -> None:
    """A pan that moves the picture by those pixels of 480 in all: more than a tripod's trembling, and hardly more."""
    (wall,) = walls(1)
    shifts = np.linspace(0, pixels, 30)
    views = [cv2.warpAffine(wall, np.array([[1.0, 0, -x], [0, 1, 0]]), (480, 270))[:, 10:-10] for x in shifts]
    view = solved(watched(views)[0], 400)
    assert (view.kind == kind).all()
    turned = Rotation.from_matrix(view.rotations).as_rotvec()[-1]
    expected = -np.arctan(pixels / 400) if kind == ROTATING else 0
    np.testing.assert_allclose(turned, [0, expected, 0], atol=1e-3)


def test_the_camera_between_two_network_frames() -> None:
    """Rotations are interpolated in time and held before the first and after the last frame."""
    angles = np.array([0.0, 0.2, 0.3])
    rotations = Rotation.from_rotvec(np.outer(angles, [0, 1, 0])).as_matrix()
    flat = np.ones(3)
    motion = CameraMotion(rotations, flat.astype(np.int64), flat.astype(bool), flat, np.array(500.0))
    found = motion.rotations_at(np.array([-1.0, 0.5, 1.5, 9.0]), np.array([0.0, 1.0, 2.0]))
    np.testing.assert_allclose(Rotation.from_matrix(found).as_rotvec()[:, 1], [0, 0.1, 0.25, 0.3], atol=1e-9)
