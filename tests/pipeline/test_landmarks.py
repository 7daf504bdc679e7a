"""The landmark net's looks, on a frame of a real clip."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.special import logit

from wham_blender import weights
from wham_blender.pipeline.clip import video_reader
from wham_blender.pipeline.people.landmarks import (
    LANDMARK_MIRROR,
    Crop,
    Landmarker,
    Observation,
    average_mirrored,
    crop_around_keypoints,
    refine_from_heatmaps,
)
from wham_blender.pipeline.people.movenet import MoveNet
from wham_blender.pipeline.stages import backends
from wham_blender.skeleton import COCO_MIRROR, COCO_NAMES

CLIP = Path(__file__).parents[1] / "clips" / "balance_cam01.mp4"


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    picture = next(video_reader.read_frames(CLIP)).image
    assert picture is not None
    return picture


@pytest.fixture(scope="module")
def landmarker() -> Landmarker:
    return Landmarker(weights.find("landmarks"))


@pytest.fixture(scope="module")
def first(image: np.ndarray, landmarker: Landmarker) -> tuple[Crop, Observation]:
    """The look at the man in the middle, from the detector's keypoints."""
    boxes, scores, keypoints = MoveNet(weights.find("detector"))(image)
    nearest = np.argmax(np.where(scores > 0.25, boxes[:, 3] - boxes[:, 1], 0))
    crop = crop_around_keypoints(keypoints[nearest])
    return crop, landmarker(image, crop)


def point(look: Observation, name: str) -> np.ndarray:
    return look.keypoints[COCO_NAMES.index(name), :2]


def test_the_detector_sees_the_man_and_the_bystander(image: np.ndarray) -> None:
    boxes, scores, keypoints = MoveNet(weights.find("detector"))(image)
    sure = boxes[scores > 0.25]
    assert len(sure) == 2
    heights = np.sort(sure[:, 3] - sure[:, 1])
    assert heights[0] == pytest.approx(470, rel=0.15)  # pixels, measured by hand in the first frame
    assert heights[1] == pytest.approx(840, rel=0.15)
    best = np.argmax(scores)
    inside = keypoints[best, :, :2]
    assert (inside > boxes[best, :2] - 20).all()
    assert (inside < boxes[best, 2:] + 20).all()


def test_fast_quality_sees_the_same_with_the_smaller_net(image: np.ndarray, first: tuple[Crop, Observation]) -> None:
    backend = backends.choose("fast", "cpu")
    assert backend.quality == "fast"
    assert backend.files["landmarks"].path.stat().st_size < weights.find("landmarks").path.stat().st_size / 4
    crop, look = first
    other = Landmarker(backend.files["landmarks"])(image, crop)
    apart = np.linalg.norm(other.keypoints[:, :2] - look.keypoints[:, :2], axis=1)
    assert 0 < np.median(apart) < 0.03 * crop.side


def test_a_look_sees_the_body_the_right_way_round(first: tuple[Crop, Observation]) -> None:
    _, look = first
    assert look.score > 0.9
    assert point(look, "nose")[1] < point(look, "left_hip")[1] < point(look, "left_ankle")[1]
    # He faces the camera: his left is on the picture's right.
    assert point(look, "left_shoulder")[0] > point(look, "right_shoulder")[0]
    assert np.allclose(point(look, "left_ankle"), (402, 1089), atol=30)  # by hand


def test_3d_is_in_the_camera_s_axes(first: tuple[Crop, Observation]) -> None:
    _, look = first
    hips = look.landmarks_3d[[23, 24]].mean(0)
    assert np.abs(hips).max() < 0.05
    seen, solid = look.landmarks[11:29, :2], look.landmarks_3d[11:29, :2]
    seen, solid = seen - seen.mean(0), solid - solid.mean(0)
    # The picture is nearly the 3D seen from the front, at one scale and without a turn.
    scale = (seen * solid).sum() / (solid**2).sum()
    assert np.linalg.norm(seen - scale * solid) < 0.25 * np.linalg.norm(seen)


def test_the_mirror_image_gives_the_mirrored_look(
    image: np.ndarray, landmarker: Landmarker, first: tuple[Crop, Observation]
) -> None:
    crop, look = first
    width = image.shape[1]
    there = Crop(np.array([width - 1 - crop.center[0], crop.center[1]]), crop.side, crop.rotation.T)
    mirrored = landmarker(np.ascontiguousarray(image[:, ::-1]), there)
    points = mirrored.landmarks[LANDMARK_MIRROR]
    points[:, 0] = width - 1 - points[:, 0]
    assert np.abs(points[:, :2] - look.landmarks[:, :2]).max() < 2
    assert np.abs(mirrored.landmarks_3d[LANDMARK_MIRROR] * (-1, 1, 1) - look.landmarks_3d).max() < 0.01


def test_a_turned_picture_gives_the_turned_look(
    image: np.ndarray, landmarker: Landmarker, first: tuple[Crop, Observation]
) -> None:
    crop, look = first
    height = image.shape[0]
    turned = cv2.rotate(image, cv2.ROTATE_90_CLOCKWISE)  # (x, y) goes to (height - 1 - y, x)
    quarter = np.array([[0.0, -1.0], [1.0, 0.0]])
    again = landmarker(turned, Crop(quarter @ crop.center + (height - 1, 0), crop.side, quarter @ crop.rotation))
    assert np.abs(look.landmarks[:, :2] @ quarter.T + (height - 1, 0) - again.landmarks[:, :2]).max() < 2
    assert np.abs(look.landmarks_3d[:, :2] @ quarter.T - again.landmarks_3d[:, :2]).max() < 0.01


def test_crops_stand_on_the_hips_with_the_spine_upright() -> None:
    keypoints = np.zeros((17, 3))
    keypoints[5:7, :2], keypoints[11:13, :2] = (300, 100), (100, 100)  # lying, the head to the right
    keypoints[15:17, :2] = (-300, 100)
    keypoints[[5, 6, 11, 12, 15, 16], 2] = 1
    crop = crop_around_keypoints(keypoints)
    assert np.allclose(crop.center, (100, 100))
    assert crop.side == pytest.approx(2.5 * 400)
    assert np.allclose(crop.rotation @ (0, -1), (1, 0))  # what is up in the crop points to the head
    keypoints[15:17, 2] = 0.1  # unsure ankles do not stretch it
    assert crop_around_keypoints(keypoints).side == pytest.approx(2.5 * 200)


def test_points_are_sharpened_where_their_heatmaps_are_sure() -> None:
    peak = np.array([30.25, 21.5])  # cells
    rows, columns = np.mgrid[:64, :64]
    blob = np.exp(-((columns - peak[0]) ** 2 + (rows - peak[1]) ** 2) / 2)
    heatmaps = logit(np.stack([blob, 0.4 * blob, blob, blob], 2))
    near, far, beyond = 4 * peak + (5, -3), 4 * peak + (60, 0), np.array([-9.0, 300.0])
    moved = refine_from_heatmaps(np.stack([near, near, far, beyond]), heatmaps)
    np.testing.assert_allclose(moved[0], 4 * peak, atol=0.3)
    np.testing.assert_array_equal(moved[1:], [near, far, beyond])
    np.testing.assert_array_equal(refine_from_heatmaps(near[None], heatmaps[..., :1]), moved[:1])


def test_a_heatmap_at_the_picture_s_edge_stays_within_it() -> None:
    heatmaps = np.full((64, 64, 1), -np.inf)
    heatmaps[:2, 62:] = 9
    np.testing.assert_allclose(refine_from_heatmaps(np.array([[255.9, 0.1]]), heatmaps), [[4 * 62.5, 4 * 0.5]])


def test_mirroring_twice_changes_nothing() -> None:
    assert (LANDMARK_MIRROR[LANDMARK_MIRROR] == np.arange(33)).all()
    assert (COCO_MIRROR[COCO_MIRROR] == np.arange(17)).all()


def test_views_in_turn_give_their_mean_and_nothing_reaches_over_a_gap() -> None:
    looks = np.array([0, 1, 2, 3, 10, 11, 20])
    plain, mirrored = np.full((7, 33, 3), 10.0), np.full((7, 33, 3), 14.0)
    seen = np.where((looks % 2 == 0)[:, None, None], plain, mirrored)
    seen[4:] += 100
    mean = average_mirrored(seen, looks)
    np.testing.assert_allclose(mean[:4], 12.0)
    np.testing.assert_allclose(mean[4:6], 112.0)
    np.testing.assert_allclose(mean[6], 110.0)  # one look alone stays what it is


def test_the_mean_of_views_in_turn_keeps_fast_movement() -> None:
    frames = np.arange(90)
    waving = np.sin(2 * np.pi * 4 / 30 * frames)  # 4 Hz
    seen = (waving + np.where(frames % 2, 0.3, -0.3))[:, None]
    mean = average_mirrored(seen, frames)[5:-5, 0]
    assert (mean @ waving[5:-5]) / (waving[5:-5] @ waving[5:-5]) > 0.9  # the mean of three frames keeps 0.83
    assert np.abs(mean).max() < 1.0  # the difference of the views is gone
