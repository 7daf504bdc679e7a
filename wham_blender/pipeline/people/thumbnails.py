"""A small picture of each person found, so that an animator knows whom a number means."""

from __future__ import annotations

import contextlib
from pathlib import Path

import cv2
import numpy as np

from ..clip import video_reader
from ..errors import PipelineError
from . import types
from .types import Person, counted

SIDE = 192  # pixels of the square picture
_MARGIN = 1.3  # its side over the longer one of the box round the keypoints
_LOOKS = 5  # views compared; the sharpest is taken


def write(clip: Path, sightings: types.Sightings, people: list[Person], folder: Path, key: str) -> list[str]:
    """Names of the PNG files of all people in a folder, made unless they are there; "" where none can be made.

    ``key`` names what the people were found in. A picture is a courtesy: what fails here fails no job.
    """
    names = [f"person-{number}-{key[:8]}.png" for number in range(1, len(people) + 1)]
    for name, person in zip(names, people, strict=True):
        if not (folder / name).is_file():
            with contextlib.suppress(PipelineError, cv2.error, OSError):
                _write(folder / name, _clearest(clip, sightings, person))
    return [name if (folder / name).is_file() else "" for name in names]


def _write(path: Path, picture: np.ndarray) -> None:
    aside = path.with_suffix(".part")
    aside.write_bytes(cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1].tobytes())
    aside.replace(path)


def _clearest(clip: Path, sightings: types.Sightings, person: Person) -> np.ndarray:
    """The sharpest of the best seen views of a person, (SIDE, SIDE, 3) uint8 RGB."""
    views = [_crop(video_reader.picture(clip, _number(sightings, person.time[row])), person.keypoints[row])
             for row in best_rows(person, _LOOKS)]  # fmt: skip
    return max(views, key=lambda view: float(cv2.Laplacian(cv2.cvtColor(view, cv2.COLOR_RGB2GRAY), cv2.CV_64F).var()))


def best_rows(person: Person, count: int) -> list[int]:
    """Frames of the person's clock, spread over it, where most of a large person is seen surely."""
    size = np.where(person.visible, person.boxes[:, 2], 0.0)
    score = person.keypoints[..., 2].mean(1) * np.sqrt(size / max(float(size.max()), 1e-6))
    return [int(part[np.argmax(score[part])]) for part in np.array_split(np.arange(len(score)), count) if len(part)]


def _number(sightings: types.Sightings, time: float) -> int:
    """The clip's frame nearest to a time."""
    return int(sightings.numbers[np.abs(sightings.times - time).argmin()])


def _crop(image: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
    """The square round a person, its edges repeated where it leaves the picture."""
    sure = counted(keypoints)
    points = keypoints[sure if sure.any() else slice(None), :2]
    low, high = points.min(0), points.max(0)
    scale = SIDE / max(float((high - low).max()) * _MARGIN, 1.0)
    shift = SIDE / 2 - scale * (low + high) / 2
    move = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]], np.float64)
    return cv2.warpAffine(image, move, (SIDE, SIDE), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)
