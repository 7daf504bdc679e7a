"""Writes a small picture of each person found, so that the animator can tell which number is whom."""

from __future__ import annotations

import contextlib
from pathlib import Path

import cv2
import numpy as np

from ...files import replaced
from ..clip import video_reader
from ..errors import PipelineError
from .types import Detections, Person, is_confident

SIDE = 192  # pixels of the square picture
_MARGIN = 1.3  # side of the picture over the longer side of the box around the keypoints; set by hand
_CANDIDATES = 5  # frames of which the sharpest is taken; set by hand


def write(
    clip: Path | video_reader.Source,
    detections: Detections,
    people: list[Person],
    folder: Path,
    key: str,
    rotate: int = 0,
) -> list[str]:
    """Write one PNG file per person into a folder, unless it exists; returns their names, "" for one that failed.

    ``key``: the stage key of the people; ``rotate``: as in `video_reader.probe`. The pictures are optional, so no error
    of writing them ends the job.
    """
    names = [f"person-{number}-{key[:8]}.png" for number in range(1, len(people) + 1)]
    for name, person in zip(names, people, strict=True):
        if not (folder / name).is_file():
            with contextlib.suppress(PipelineError, cv2.error, OSError):
                _write(folder / name, _sharpest_view(clip, detections, person, rotate))
    return [name if (folder / name).is_file() else "" for name in names]


def _write(path: Path, picture: np.ndarray) -> None:
    with replaced(path) as stream:
        stream.write(cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1].tobytes())


def _sharpest_view(clip: Path | video_reader.Source, detections: Detections, person: Person, rotate: int) -> np.ndarray:
    """The sharpest of several good views of a person, by the Laplacian's variance, (SIDE, SIDE, 3) uint8 RGB."""
    views = []
    for frame in best_frames(person, _CANDIDATES):
        image = video_reader.read_frame(clip, _frame_time(detections, person.time[frame]), rotate)
        views.append(_crop(image, person.keypoints[frame]))
    return max(views, key=lambda view: float(cv2.Laplacian(cv2.cvtColor(view, cv2.COLOR_RGB2GRAY), cv2.CV_64F).var()))


def best_frames(person: Person, count: int) -> list[int]:
    """Frames of a track, one in each of ``count`` equal parts, with high keypoint confidence and a large box."""
    size = np.where(person.visible, person.boxes[:, 2], 0.0)
    score = person.keypoints[..., 2].mean(1) * np.sqrt(size / max(float(size.max()), 1e-6))
    return [int(part[np.argmax(score[part])]) for part in np.array_split(np.arange(len(score)), count) if len(part)]


def _frame_time(detections: Detections, time: float) -> float:
    """The time of the clip's frame nearest to a time."""
    return float(detections.frame_times[np.abs(detections.frame_times - time).argmin()])


def _crop(image: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
    """The square around a person, with edge pixels repeated outside of the picture."""
    confident = is_confident(keypoints)
    points = keypoints[confident if confident.any() else slice(None), :2]
    low, high = points.min(0), points.max(0)
    scale = SIDE / max(float((high - low).max()) * _MARGIN, 1.0)
    shift = SIDE / 2 - scale * (low + high) / 2
    affine = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]], np.float64)
    return cv2.warpAffine(image, affine, (SIDE, SIDE), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)
