"""Decoding: which frames, at which times, which way up."""

from __future__ import annotations

from collections.abc import Callable, Container
from pathlib import Path

import cv2
import numpy as np
import pytest

from wham_blender.pipeline.clip import video_reader

WriteClip = Callable[..., Path]


class Capture:
    """Stands in for OpenCV's decoder: frames at given times, milliseconds, some of which it cannot decode."""

    def __init__(self, stamps: list[float], fps: float, damaged: Container[int] = ()) -> None:
        self.stamps, self.fps, self.damaged, self.index = stamps, fps, damaged, -1

    def isOpened(self) -> bool:  # noqa: N802
        return True

    def get(self, what: int) -> float:
        known = {cv2.CAP_PROP_FPS: self.fps, cv2.CAP_PROP_FRAME_COUNT: len(self.stamps)}
        return self.stamps[self.index] if what == cv2.CAP_PROP_POS_MSEC else known.get(what, 0.0)

    def grab(self) -> bool:
        self.index += 1
        return self.index < len(self.stamps)

    def retrieve(self) -> tuple[bool, np.ndarray | None]:
        return (False, None) if self.index + 1 in self.damaged else (True, np.zeros((2, 2, 3), np.uint8))

    def release(self) -> None:
        pass


def decode(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stamps: list[float], fps: float, damaged: Container[int] = ()
) -> list[video_reader.Frame]:
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"something")
    monkeypatch.setattr(cv2, "VideoCapture", lambda *_: Capture(stamps, fps, damaged))
    return list(video_reader.read_frames(clip))


def looked_at(frames: list[video_reader.Frame]) -> list[int]:
    return [frame.number for frame in frames if frame.image is not None]


def test_every_frame_comes_once_in_order_with_its_own_picture(write_clip: WriteClip) -> None:
    frames = list(video_reader.read_frames(write_clip(frames=40)))
    assert [frame.number for frame in frames] == list(range(1, 41))
    assert np.allclose([frame.time for frame in frames], np.arange(40) / 30, atol=1e-3)
    brightness = [frame.image[:, 200:].mean() for frame in frames if frame.image is not None]
    assert np.allclose(brightness, 4 * np.arange(1, 41), atol=4)


def test_a_range_keeps_the_clip_s_numbers_and_times(write_clip: WriteClip) -> None:
    frames = list(video_reader.read_frames(write_clip(frames=40), 11, 20))
    assert [frame.number for frame in frames] == list(range(11, 21))
    assert frames[0].time == pytest.approx(10 / 30, abs=1e-3)


def test_sixty_frames_a_second_are_looked_at_thirty_times_and_at_the_end(write_clip: WriteClip) -> None:
    assert looked_at(list(video_reader.read_frames(write_clip(frames=40, fps=60)))) == [*range(1, 41, 2), 40]


def test_a_jittering_clip_of_thirty_loses_no_frame(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    jitter = np.random.default_rng(0).uniform(-7, 7, 90)
    frames = decode(monkeypatch, tmp_path, list(np.arange(90) * 1000 / 30 + jitter), 29.9)
    assert looked_at(frames) == list(range(1, 91))


def test_variable_frame_rate_is_looked_at_by_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stamps = [*np.arange(60) * 1000 / 120, *(500 + np.arange(30) * 1000 / 30)]
    frames = decode(monkeypatch, tmp_path, stamps, 60)
    assert np.allclose([frame.time for frame in frames], np.array(stamps) / 1000)
    seconds = np.array([frame.time for frame in frames if frame.image is not None])
    assert np.allclose(np.diff(seconds), 1 / 30, atol=1 / 120 + 1e-9)


def test_the_frame_after_a_damaged_one_is_looked_at(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    frames = decode(monkeypatch, tmp_path, list(np.arange(12) * 1000 / 60), 60, damaged={5, 12})
    assert [frame.number for frame in frames] == list(range(1, 13))
    assert looked_at(frames) == [1, 3, 6, 7, 9, 11]


@pytest.mark.parametrize("stamps", [[0.0] * 50, [-1.0] * 50, [float("nan")] * 50], ids=["zero", "negative", "nan"])
def test_a_clip_without_times_goes_by_its_frame_rate(
    stamps: list[float], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    times = [frame.time for frame in decode(monkeypatch, tmp_path, stamps, 25)]
    assert np.allclose(times, np.arange(50) / 25)


def test_a_phone_clip_comes_upright(write_clip: WriteClip) -> None:
    clip = write_clip()
    data = clip.read_bytes()
    # The display matrix: 40 bytes into the track header's content (version 0), after the header's own eight.
    matrix = data.index(b"tkhd") + 4 + 40
    assert data[matrix : matrix + 4] == (1 << 16).to_bytes(4, "big")
    quarter_turn = b"".join(value.to_bytes(4, "big", signed=True) for value in (0, 1 << 16, 0, -(1 << 16), 0, 0))
    clip.write_bytes(data[:matrix] + quarter_turn + data[matrix + 24 :])
    info = video_reader.probe(clip)
    assert (info.width, info.height) == (240, 320)
    image = list(video_reader.read_frames(clip))[-1].image
    assert image is not None
    assert image.shape == (320, 240, 3)
    # Turned clockwise by a quarter, the black left half is on top.
    assert image[:150].mean() < 10 < 100 < image[170:].mean()
