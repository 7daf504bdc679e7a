"""Pictures of people: the right frame, the right place, and never a reason to fail."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from wham_blender.pipeline.clip.video_reader import read_frame
from wham_blender.pipeline.people import thumbnails

FRAMES = 60


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A grey clip in which a checked square of 60 pixels moves right; it is blurred but for frames 31 to 36."""
    path = tmp_path / "square.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 30.0, (640, 360))
    checks = (np.indices((60, 60)).sum(0) // 6 % 2 * 255).astype(np.uint8)
    for frame in range(1, FRAMES + 1):
        picture = np.full((360, 640, 3), 90, np.uint8)
        picture[150:210, 5 * frame : 5 * frame + 60] = checks[..., None]
        writer.write(picture if 31 <= frame <= 36 else cv2.GaussianBlur(picture, (0, 0), 6))
    writer.release()
    return path


def seen(confidence: np.ndarray) -> tuple[Any, Any]:
    """The square as a person whose keypoints are its corners: what is asked of Detections and Person."""
    left = 5.0 * np.arange(1, FRAMES + 1)
    keypoints = np.zeros((FRAMES, 17, 3), np.float32)
    keypoints[:, 1::2] = np.stack([left, np.full(FRAMES, 150), confidence], -1)[:, None]
    keypoints[:, ::2] = np.stack([left + 60, np.full(FRAMES, 210), confidence], -1)[:, None]
    time = np.arange(FRAMES) / 30
    boxes = np.stack([left + 30, np.full(FRAMES, 180), np.full(FRAMES, 0.4)], -1)
    person = SimpleNamespace(keypoints=keypoints, boxes=boxes, time=time, visible=np.ones(FRAMES, bool))
    return SimpleNamespace(frame_numbers=np.arange(1, FRAMES + 1), frame_times=time), person


def test_the_sharpest_of_the_surest_views_is_cut_out_and_kept(clip: Path, tmp_path: Path) -> None:
    confidence = np.full(FRAMES, 0.6)
    confidence[::12] = 0.8
    confidence[33] = 0.9  # frame 34, among the sharp ones
    detections, person = seen(confidence)
    (name,) = thumbnails.write(partial(read_frame, clip), detections, [person], tmp_path, "0123456789abcdef")
    picture = np.asarray(cv2.imread(str(tmp_path / name), cv2.IMREAD_GRAYSCALE), int)
    assert picture.shape == (thumbnails.SIDE, thumbnails.SIDE)
    inside = round(thumbnails.SIDE / 1.3 / 2)
    middle = slice(thumbnails.SIDE // 2 - inside + 6, thumbnails.SIDE // 2 + inside - 6)
    assert np.std(picture[middle, middle]) > 80  # the sharp checks
    assert np.abs(picture[:6] - 90).max() < 40  # and grey around them
    before = (tmp_path / name).stat().st_mtime_ns
    clip.unlink()
    assert thumbnails.write(partial(read_frame, clip), detections, [person], tmp_path, "0123456789abcdef") == [name]
    assert (tmp_path / name).stat().st_mtime_ns == before


def test_a_turned_clip_gives_turned_pictures(clip: Path, tmp_path: Path) -> None:
    confidence = np.full(FRAMES, 0.6)
    confidence[33] = 0.9  # frame 34, among the sharp ones
    detections, person = seen(confidence)
    person.keypoints[..., :2] = (640, 360) - person.keypoints[..., :2]
    turned = partial(read_frame, clip, rotate=180)
    (name,) = thumbnails.write(turned, detections, [person], tmp_path, "0123456789abcdef")
    picture = np.asarray(cv2.imread(str(tmp_path / name), cv2.IMREAD_GRAYSCALE), int)
    middle = slice(thumbnails.SIDE // 4, -thumbnails.SIDE // 4)
    assert np.std(picture[middle, middle]) > 80
    assert np.abs(picture[:6] - 90).max() < 40


def test_without_the_clip_there_is_no_picture_and_no_error(clip: Path, tmp_path: Path) -> None:
    detections, person = seen(np.full(FRAMES, 0.6))
    clip.write_bytes(b"not a video")
    assert thumbnails.write(partial(read_frame, clip), detections, [person], tmp_path, "0123456789abcdef") == [""]
    assert [path.name for path in tmp_path.iterdir()] == [clip.name]


def test_a_frame_is_taken_in_which_nobody_overlaps() -> None:
    _, person = seen(np.full(FRAMES, 0.6))
    _, other = seen(np.full(FRAMES, 0.6))
    other.keypoints[20:30, :, 0] += 200  # elsewhere in these frames only, and for half of them not seen at all
    other.visible[20:25] = False
    assert set(thumbnails.best_frames(person, [person, other], 5)) <= set(range(20, 30))
    assert len(thumbnails.best_frames(person, [person], 5)) == 5


def test_at_the_edge_the_picture_shows_film_and_no_smear(tmp_path: Path) -> None:
    detections, person = seen(np.full(FRAMES, 0.6))
    person.keypoints[..., 0] = np.where(np.arange(17) % 2, 0.0, 60.0)  # at the film's left edge
    film = np.repeat(np.arange(640, dtype=np.uint8)[None, :, None] % 128, 360, 0).repeat(3, 2)
    (name,) = thumbnails.write(lambda time: film, detections, [person], tmp_path, "0123456789abcdef")
    picture = np.asarray(cv2.imread(str(tmp_path / name)), int)
    first_row = picture[0, :, 0]
    assert (np.diff(first_row) >= 0).all() and np.ptp(first_row) > 60, "a smear repeats one column"
    blue, green, red = picture.reshape(-1, 3).T
    assert ((red > 200) & (green > 150) & (blue < 80)).sum() > 200  # the outline
