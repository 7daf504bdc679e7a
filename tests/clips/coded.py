"""Small clips whose pictures say which frame they are, in the ways in which phones and editors time and turn clips.

``python -m tests.clips.coded`` writes those of KEPT to tests/clips/coded, for tests in Blender, which has no encoder:
with the copies that the worker makes of them, and what is known of their frames in coded.json.
"""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from tests.clips.make import SIZE, rewrapped, with_edits, with_matrix, write
from wham_blender.pipeline.clip import film, video_reader

FOLDER = Path(__file__).with_name("coded")
COUNT = 48  # frames of each
KEPT = ("24 fps", "30 fps", "60 fps", "29.97 fps", "23.976 fps", "WebM", "uneven", "uneven WebM", "trimmed", "turned")


def picture(number: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A picture (H, W, 3) RGB whose eight columns, white or black, are the bits of a number, the lowest one left."""
    bits = np.repeat([number >> bit & 1 for bit in range(8)], size[0] // 8)
    return np.tile(np.where(bits, 235, 20).astype(np.uint8)[None, :, None], (size[1], 1, 3))


def number_of(image: np.ndarray | None) -> int:
    """The number that a picture (H, W, 3) shows."""
    assert image is not None
    height, width = image.shape[:2]
    columns = [image[height // 2, (2 * bit + 1) * width // 16].mean() > 127 for bit in range(8)]
    return sum(int(white) << bit for bit, white in enumerate(columns))


def uneven_times(count: int = COUNT) -> list[float]:
    """Times of frames as phones record them in poor light: mostly 30 a second, some late, some twice as long."""
    steps = np.random.default_rng(0).choice([1 / 30, 1 / 30, 1 / 30, 2 / 30, 0.041, 0.1], count - 1)
    return [0.0, *np.cumsum(steps).tolist()]


def write_all(folder: Path) -> dict[str, Path]:
    """Clips of COUNT frames, by what they are."""
    upright = [picture(number) for number in range(1, COUNT + 1)]
    side = [np.rot90(image).copy() for image in upright]
    mirrored = [image[:, ::-1].copy() for image in upright]
    vp9 = {"crf": "20", "b": "0"}
    clips = {f"{fps} fps": write(folder / f"{fps}.mp4", pictures=upright, fps=fps) for fps in (24, 25, 30, 50, 60, 240)}
    clips |= {
        "29.97 fps": write(folder / "ntsc.mp4", pictures=upright, fps=Fraction(30000, 1001)),
        "23.976 fps": write(folder / "film.mkv", pictures=upright, fps=Fraction(24000, 1001)),
        "WebM": write(folder / "screen.webm", "libvpx-vp9", pictures=upright, options=vp9),
        "Motion JPEG": write(folder / "camera.avi", "mjpeg", "yuvj420p", pictures=upright),
        "uneven": write(folder / "phone.mp4", pictures=upright, times=uneven_times()),
        "uneven WebM": write(folder / "uneven.webm", "libvpx-vp9", pictures=upright, times=uneven_times(), options=vp9),
        "late": rewrapped(clips["30 fps"], folder / "late.mp4", delay=1.0, sound=3.0),
        "trimmed": with_edits(write(folder / "cut.mp4", pictures=upright, options={"crf": "4", "g": "12"}), (7, 1.0)),
        "turned": with_matrix(write(folder / "turned.mp4", pictures=side), 0, 1, -1, 0),
        "mirrored": with_matrix(write(folder / "mirrored.mp4", pictures=mirrored), -1, 0, 0, 1),
    }
    return clips


def known(clip: Path, copy: Path) -> dict[str, Any]:
    """What a motion file and a test need to know of a clip; the copy that Blender shows is written where it needs one.

    Numbers and times (F,) of its frames, the numbers (F,) that their pictures show, the frame rate, and ``meta``.
    """
    info = video_reader.probe(clip)
    frames = list(video_reader.read_frames(clip, every=True))
    numbers, times = np.array([frame.number for frame in frames]), np.array([frame.time for frame in frames])
    constant = film.is_constant_rate(numbers, times, info.fps)
    meta: dict[str, Any] = {"clip": clip.name, "size": [info.width, info.height]}
    if reason := film.why_not_shown(clip, numbers, times, 0):
        if not copy.is_file():
            film.write(clip, copy, 1, None, 0, lambda done, total: None)
        meta |= {"film": copy.name, "film_start": 1, "film_reason": reason}
    return {
        "meta": meta,
        "numbers": numbers.tolist(),
        "times": times.tolist(),
        "shown": [number_of(frame.image) for frame in frames],
        "fps": info.fps if constant else (len(times) - 1) / times[-1],
    }


def copy_of(clip: Path) -> Path:
    """Where the copy of a clip is."""
    return clip.with_name(f"{clip.stem}-film.mp4")


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    kept = {}
    for name, path in write_all(FOLDER).items():
        if name in KEPT:
            kept[name] = known(path, copy_of(path))
        else:
            path.unlink()
    (FOLDER / "coded.json").write_text(json.dumps(kept, indent=1))
