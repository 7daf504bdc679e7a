"""Writes a small picture of each person found, outlined, so that the animator can tell which number is whom."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from ...files import replaced
from ...skeleton import COCO_NAMES
from ..clip.video_reader import NETWORK_FPS
from ..errors import PipelineError
from .types import Detections, Person, is_confident

SIDE = 192  # pixels of the square picture
_MARGIN = 1.3  # side of the picture over the longer side of the box around the keypoints; set by hand
_CANDIDATES = 5  # frames of which the sharpest is taken; set by hand
_SAME_OVERLAP = 0.02  # of the person's box: frames with as much more of it behind others are as good; set by hand
_OUTSIDE = (40, 40, 40)  # RGB beside the film
# The outline: around tubes along the limbs whose radius is this fraction of the longer side of the keypoints' box, and
# a circle around the head; set by hand on tests/clips/walk_and_jump.mp4.
_LIMB_RADIUS, _HEAD_RADIUS = 0.055, 0.085
_OUTLINE, _OUTLINE_EDGE = (255, 200, 0), (20, 20, 20)  # RGB; the edge is seen on bright film
_LIMBS = [
    (COCO_NAMES.index(first), COCO_NAMES.index(second))
    for side in ("left", "right")
    for first, second in (
        (f"{side}_shoulder", f"{side}_elbow"),
        (f"{side}_elbow", f"{side}_wrist"),
        (f"{side}_shoulder", f"{side}_hip"),
        (f"{side}_hip", f"{side}_knee"),
        (f"{side}_knee", f"{side}_ankle"),
        (f"{side}_shoulder", "nose"),
        ("left_shoulder", f"{side}_hip"),
        ("right_shoulder", f"{side}_hip"),
    )
]
_NOSE = COCO_NAMES.index("nose")


def write(
    read_frame: Callable[[float], np.ndarray], detections: Detections, people: list[Person], folder: Path, key: str
) -> list[str]:
    """Write one PNG file per person into a folder, unless it exists; returns their names, "" for one that failed.

    ``read_frame``: the clip's frame at a time, as `video_reader.read_frame`; ``key``: the stage key of the people. The
    pictures are optional, so no error of writing them ends the job.
    """
    names = [f"person-{number}-{key[:8]}.png" for number in range(1, len(people) + 1)]
    for name, person in zip(names, people, strict=True):
        if not (folder / name).is_file():
            with contextlib.suppress(PipelineError, cv2.error, OSError):
                _write(folder / name, _sharpest_view(read_frame, detections, person, people))
    return [name if (folder / name).is_file() else "" for name in names]


def _write(path: Path, picture: np.ndarray) -> None:
    with replaced(path) as stream:
        stream.write(cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1].tobytes())


def _sharpest_view(
    read_frame: Callable[[float], np.ndarray], detections: Detections, person: Person, people: list[Person]
) -> np.ndarray:
    """The sharpest of several good views of a person, by the Laplacian's variance, (SIDE, SIDE, 3) uint8 RGB."""
    views = []
    for frame in best_frames(person, people, _CANDIDATES):
        image = read_frame(_frame_time(detections, person.time[frame]))
        views.append(_crop(image, person.keypoints[frame]))
    view, points = max(
        views, key=lambda each: float(cv2.Laplacian(cv2.cvtColor(each[0], cv2.COLOR_RGB2GRAY), cv2.CV_64F).var())
    )
    return _outlined(view, points)


def best_frames(person: Person, people: list[Person], count: int) -> list[int]:
    """Frames of a track, with high keypoint confidence and a large box, in which others overlap it least.

    One in each of ``count`` equal parts of these frames.
    """
    size = np.where(person.visible, person.boxes[:, 2], 0.0)
    score = person.keypoints[..., 2].mean(1) * np.sqrt(size / max(float(size.max()), 1e-6))
    overlap = np.where(person.visible, _overlap(person, people), np.inf)
    alone = np.flatnonzero(overlap <= overlap.min() + _SAME_OVERLAP)
    return [int(part[np.argmax(score[part])]) for part in np.array_split(alone, count) if len(part)]


def _overlap(person: Person, people: list[Person]) -> np.ndarray:
    """Which part of a person's box lies in another's, (F,) 0..1: the most of all others."""
    low, high = _boxes(person.keypoints)
    most = np.zeros(len(low))
    clock = np.round(person.time * NETWORK_FPS).astype(int)
    for other in people:
        if other is not person:
            _, own, row = np.intersect1d(
                clock, np.round(other.time * NETWORK_FPS).astype(int)[other.visible], return_indices=True
            )
            other_low, other_high = _boxes(other.keypoints[other.visible][row])
            shared = (np.minimum(high[own], other_high) - np.maximum(low[own], other_low)).clip(0)
            part = shared.prod(1) / np.maximum((high[own] - low[own]).prod(1), 1.0)
            most[own] = np.maximum(most[own], part)
    return most


def _boxes(keypoints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Upper left and lower right corners (F, 2) of the confident ones of keypoints (F, 17, 3), or of all."""
    confident = is_confident(keypoints)
    used = (confident | ~confident.any(-1, keepdims=True))[..., None]
    points = keypoints[..., :2]
    return np.where(used, points, np.inf).min(1), np.where(used, points, -np.inf).max(1)


def _frame_time(detections: Detections, time: float) -> float:
    """The time of the clip's frame nearest to a time."""
    return float(detections.frame_times[np.abs(detections.frame_times - time).argmin()])


def _crop(image: np.ndarray, keypoints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The square around a person, moved into the picture as far as it fits, and the keypoints (17, 3) in it."""
    (low,), (high,) = _boxes(keypoints[None])
    side = max(float((high - low).max()) * _MARGIN, 1.0)
    extent = np.array(image.shape[1::-1])
    corner = (low + high) / 2 - side / 2
    corner = np.where(side < extent, corner.clip(0, (extent - side).clip(0)), corner)
    scale = SIDE / side
    affine = np.array([[scale, 0, -scale * corner[0]], [0, scale, -scale * corner[1]]], np.float64)
    view = cv2.warpAffine(
        image, affine, (SIDE, SIDE), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_CONSTANT, borderValue=_OUTSIDE
    )
    return view, np.concatenate([(keypoints[:, :2] - corner) * scale, keypoints[:, 2:]], 1)


def _outlined(view: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
    """The picture with a line around the person's body, by the keypoints (17, 3) in it."""
    confident, points = is_confident(keypoints), np.round(keypoints[:, :2]).astype(int)
    (low,), (high,) = _boxes(keypoints[None])
    size = float((high - low).max())
    mask = np.zeros(view.shape[:2], np.uint8)
    for first, second in _LIMBS:
        if confident[first] and confident[second]:
            cv2.line(mask, points[first].tolist(), points[second].tolist(), 255, max(1, round(2 * _LIMB_RADIUS * size)))
    if confident[_NOSE]:
        cv2.circle(mask, points[_NOSE].tolist(), round(_HEAD_RADIUS * size), 255, -1)
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    for colour, width in ((_OUTLINE_EDGE, 4), (_OUTLINE, 2)):
        view = cv2.drawContours(view, outlines, -1, colour, width, cv2.LINE_AA)
    return view
