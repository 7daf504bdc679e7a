"""Effect of WHAM's One-Euro filter on keypoints: error, jitter and lag without and with it.

``build.py bench keypoint_filter [--clips FOLDER]``. The clips are the synthetic ones of tests/synthetic, whose true
keypoints are known, and with FOLDER the real ones of the bench ``accuracy`` (12 joints, motion capture). ViTPose's
weights may not be shipped, so other keypoints stand in for its output: the landmark network's, from crops of the true
keypoints, and the true ones with a detector's noise, in pixels of the clip and of a clip four times as large, as the
filter's constants are in pixels.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from tests.bench.accuracy import LIMBS, VIDEOS, limbs, read_camera, read_markers
from tests.bench.report import Cell, report
from tests.bench.world import NOISE, keypoint_noise
from tests.synthetic import truth
from wham_blender import weights
from wham_blender.pipeline.clip import video_reader
from wham_blender.pipeline.people.landmarks import Landmarker, crop_around_keypoints
from wham_blender.pipeline.people.one_euro import OneEuroFilter

LARGER = 4  # 480 x 270 to 1920 x 1080
LAGS = np.linspace(-1, 3, 81)  # frames


def filtered(points: np.ndarray, frame_rate: float) -> np.ndarray:
    """Points (F, K, 2), pixels, after the filter."""
    smooth = OneEuroFilter(frame_rate)
    return np.stack([smooth(np.insert(frame, 2, 1.0, axis=1))[:, :2] for frame in points])


def figures(points: np.ndarray, true: np.ndarray, frame_rate: float) -> list[float]:
    """Mean error (% of the box's longer side), second differences (pixels), and lag (milliseconds) of (F, K, 2)."""
    side = np.ptp(true, axis=1).max(-1)
    error = np.linalg.norm(points - true, axis=-1).mean(1) / side
    jitter = np.linalg.norm(np.diff(points - true, 2, axis=0), axis=-1).mean()
    frames = np.arange(len(true))
    coordinates = list(zip(true.reshape(len(true), -1).T, points.reshape(len(true), -1).T, strict=True))
    shifted = [
        np.mean(
            [np.abs(np.interp(frames - lag, frames, path) - detected)[3:-3].mean() for path, detected in coordinates]
        )
        for lag in LAGS
    ]
    return [100 * float(error.mean()), float(jitter), 1000 / frame_rate * float(LAGS[int(np.argmin(shifted))])]


def row(clip: str, source: str, points: np.ndarray, true: np.ndarray, frame_rate: float) -> list[Cell]:
    """A row of the table: the figures without and with the filter, alternating."""
    plain, smooth = (figures(each, true, frame_rate) for each in (points, filtered(points, frame_rate)))
    return [clip, source, *(value for pair in zip(plain, smooth, strict=True) for value in pair)]


def detected(clip: Path, true: np.ndarray) -> np.ndarray:
    """The landmark network's keypoints (F, 17, 2), pixels, from crops of the true ones (F, 17, 2)."""
    landmarker, detections = Landmarker(weights.find("landmarks")), []
    for frame in video_reader.read_frames(clip, 1, len(true)):
        assert frame.image is not None
        around = np.insert(true[frame.number - 1], 2, 1.0, axis=1)
        detections.append(landmarker(frame.image, crop_around_keypoints(around)).keypoints[:, :2])
    return np.array(detections)


def synthetic(name: str) -> list[list[Cell]]:
    """Rows of a synthetic clip."""
    known = truth.load(name)
    true = known.pixels(known.keypoints)[0]
    side = np.ptp(true, axis=1).max(-1)[:, None, None]
    noisy = true + NOISE * side * keypoint_noise(np.random.default_rng(0), true[None].shape)[0]
    return [
        row(name, "landmark network", detected(truth.FOLDER / f"{name}.mp4", true), true, truth.FPS),
        row(name, "true, with noise", noisy, true, truth.FPS),
        row(name, f"the same, {LARGER} times as large", LARGER * noisy, LARGER * true, truth.FPS),
    ]


def filmed(folder: Path) -> list[list[Cell]]:
    """Rows of the real clips, every second frame of their 60 a second."""
    markers, rows = read_markers(next(folder.glob("*.trc"))), []
    for clip in sorted(path for path in folder.iterdir() if path.suffix in VIDEOS):
        camera = read_camera(next(folder.glob("*.toml")), clip)
        joints = camera.project(limbs(markers).reshape(-1, 3)).reshape(-1, 12, 2)
        landmarker, detections, numbers = Landmarker(weights.find("landmarks")), [], []
        for frame in video_reader.read_frames(clip, 1, len(joints)):
            if frame.image is None:
                continue
            around = np.zeros((17, 3))
            around[LIMBS, :2], around[LIMBS, 2] = joints[frame.number - 1], 1.0
            detections.append(landmarker(frame.image, crop_around_keypoints(around)).keypoints[LIMBS, :2])
            numbers.append(frame.number - 1)
        rows.append(row(clip.name, "landmark network", np.array(detections), joints[numbers], truth.FPS))
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=Path, help="filmed clips with motion capture")
    parser.add_argument("--json", help="also write the figures there")
    args = parser.parse_args()
    rows = [each for name in truth.names() for each in synthetic(name)]
    if args.clips:
        rows += filmed(args.clips)
    columns = [f"{name}{suffix}" for name in ("error %", "jitter px", "lag ms") for suffix in ("", " filtered")]
    report("Keypoints without and with WHAM's One-Euro filter", ["clip", "keypoints", *columns], rows, args.json)


if __name__ == "__main__":
    main()
