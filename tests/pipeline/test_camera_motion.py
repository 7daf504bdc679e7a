"""The camera's rotation, on clips made in Blender whose camera is known, and on what breaks it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tests.synthetic import truth
from wham_blender.pipeline.camera import camera_motion
from wham_blender.pipeline.camera.background_tracks import BackgroundTracker, BackgroundTracks
from wham_blender.pipeline.camera.camera_motion import MOVING, ROTATING, STATIC, CameraMotion
from wham_blender.pipeline.clip import video_reader

CLIP = Path(__file__).parents[1] / "clips" / "walk_and_jump.mp4"


def watched(pictures: Iterable[np.ndarray], boxes: np.ndarray | None = None) -> tuple[BackgroundTracks, list[int]]:
    """The corners of pictures with people in boxes (L, P, 4), and the looks that begin a scene."""
    background, cuts = BackgroundTracker(), []
    for number, picture in enumerate(pictures):
        if background.track_frame(picture):
            cuts.append(number)
        background.finish_frame(np.empty((0, 4)) if boxes is None else boxes[number])
    return background.result(), cuts


def pictures(clip: Path, count: int | None = None) -> Iterable[np.ndarray]:
    return (frame.image for frame in video_reader.read_frames(clip, 1, count) if frame.image is not None)


@cache
def corners(name: str) -> BackgroundTracks:
    return watched(pictures(truth.FOLDER / f"{name}.mp4"), truth.load(name).boxes())[0]


def solved(seen: BackgroundTracks, focal: float, camera: str = "auto", guessed: bool = False) -> CameraMotion:
    camera_K = np.array([[focal, 0, truth.SIZE[0] / 2], [0, focal, truth.SIZE[1] / 2], [0, 0, 1]])
    return camera_motion.solve_camera_motion(seen, camera_K, truth.SIZE, camera, guessed)


def degrees(rotations: np.ndarray) -> np.ndarray:
    return np.degrees(Rotation.from_matrix(rotations).magnitude())


@pytest.mark.parametrize(
    ("name", "kind"),
    [("room_pan", ROTATING), ("lawn_dolly", MOVING), ("lawn_pair", MOVING), ("long_handheld", MOVING)],
)
def test_the_rotation_is_found(name: str, kind: int) -> None:
    known = truth.load(name)
    view = solved(corners(name), known.camera_K[0, 0])
    true = known.camera_R @ known.camera_R[0].T
    steps = degrees(view.rotations[1:] @ view.rotations[:-1].mT @ (true[1:] @ true[:-1].mT).mT)
    assert steps.mean() < 0.02
    assert steps.max() < 0.1
    assert degrees(view.rotations @ true.mT).max() < 0.5
    assert (view.kind == kind).all()
    assert view.is_estimated.all()
    assert np.allclose(view.zoom, 1)


@pytest.mark.parametrize("focal", [200, 360, 900])
def test_a_standing_camera_is_exactly_still_whatever_the_lens(focal: float) -> None:
    view = solved(corners("room_static"), focal, guessed=True)
    assert (view.rotations == np.eye(3)).all()
    assert (view.kind == STATIC).all()
    assert view.focal == focal


def test_a_filmed_clip_from_a_tripod_stands_still() -> None:
    seen, cuts = watched(pictures(CLIP, 60))  # people are not even masked
    assert not cuts
    assert (solved(seen, 500).rotations == np.eye(3)).all()


@pytest.mark.parametrize("name", ["room_pan", "lawn_pair"])
def test_a_wrong_guess_of_the_lens_is_refuted(name: str) -> None:
    known = truth.load(name).camera_K[0, 0]
    assert solved(corners(name), 1.5 * known, guessed=True).focal == pytest.approx(known, rel=0.05)
    assert solved(corners(name), 1.5 * known).focal == 1.5 * known


def test_a_setting_overrules_the_picture() -> None:
    assert (solved(corners("room_pan"), 360, camera="static").rotations == np.eye(3)).all()
    assert (solved(corners("room_static"), 360, camera="moving").kind != STATIC).all()
    with pytest.raises(ValueError, match="no camera setting: still"):
        solved(corners("room_pan"), 360, camera="still")


def walls(count: int) -> list[np.ndarray]:
    """A wall with posters, seen by a camera that rotates 0.6 degrees to the right a frame, f = 400 pixels."""
    rng = np.random.default_rng(1)
    wall = np.full((540, 1400, 3), 128, np.uint8)
    for _ in range(700):
        x, y, w, h = rng.integers(0, 1380), rng.integers(0, 520), rng.integers(6, 60), rng.integers(6, 50)
        wall[y : y + h, x : x + w] = rng.integers(0, 255, 3)
    camera_K = np.array([[400.0, 0, 240], [0, 400, 135], [0, 0, 1]])
    first = camera_K @ np.array([[1 / 400, 0, -700 / 400], [0, 1 / 400, -270 / 400], [0, 0, 1]])
    rotations = [Rotation.from_euler("y", -0.6 * number, degrees=True).as_matrix() for number in range(count)]
    homographies = (camera_K @ rotation @ np.linalg.inv(camera_K) @ first for rotation in rotations)
    return [cv2.warpPerspective(wall, homography, (480, 270)) for homography in homographies]


@pytest.mark.parametrize("blind", [0, 128], ids=["black", "an empty wall"])
def test_where_nothing_is_seen_the_last_good_motion_goes_on(blind: int) -> None:
    views = walls(40)
    views[20:26] = [np.full_like(views[0], blind)] * 6
    seen, cuts = watched(views)
    view = solved(seen, 400)
    assert not cuts
    assert np.flatnonzero(~view.is_estimated).tolist() == list(range(20, 26))
    found = Rotation.from_matrix(view.rotations).as_rotvec(degrees=True)
    assert np.abs(found - np.outer(np.arange(40), [0, -0.6, 0])).max() < 0.15


def test_a_zoom_is_found_and_is_no_rotation() -> None:
    wall = walls(1)[0]
    zooms = np.linspace(1, 1.3, 30)
    views = [cv2.warpAffine(wall, cv2.getRotationMatrix2D((240, 135), 0, zoom), (480, 270)) for zoom in zooms]
    view = solved(watched(views)[0], 400)
    assert view.zoom == pytest.approx(zooms, rel=0.01)
    assert degrees(view.rotations).max() < 0.1


def test_cuts_begin_a_scene_of_their_own() -> None:
    stairs, room = list(pictures(CLIP, 12)), list(pictures(truth.FOLDER / "room_pan.mp4", 12))
    stairs = [cv2.resize(picture, truth.SIZE) for picture in stairs]
    black = [np.zeros_like(room[0])] * 3
    seen, cuts = watched([*stairs, *room, *black, *stairs])
    assert cuts == [12, 27]
    assert np.bincount(seen.shot).tolist() == [12, 15, 12]
    view = solved(seen, 360)
    assert (view.rotations[[0, 12, 27]] == np.eye(3)).all()
    assert (view.kind != STATIC).tolist() == [False] * 12 + [True] * 15 + [False] * 12


def test_one_scene_in_slow_motion_has_no_cut() -> None:
    views = [view for view in walls(12) for _ in range(4)]
    seen, cuts = watched(views)
    assert not cuts
    assert degrees(solved(seen, 400).rotations[-1]) == pytest.approx(0.6 * 11, abs=0.1)


def test_corners_on_other_things_that_move_are_not_believed() -> None:
    """A fifth of the corners goes its own way, as on a car that drives by."""
    seen = corners("room_pan")
    own = seen.point_key_frame[seen.observation_point] * 1000 + seen.observation_point
    odd = own % 5 == 0
    moved = seen.observations + np.outer(
        odd * (seen.observation_frame - seen.key_frames[seen.point_key_frame[seen.observation_point]]), [0.8, 0.3]
    )
    known = truth.load("room_pan")
    view = solved(replace(seen, observations=moved.astype(np.float32)), known.camera_K[0, 0])
    assert degrees(view.rotations @ (known.camera_R @ known.camera_R[0].T).mT).max() < 1
