"""What the open per-frame lifter makes of a person's landmarks: WHAM's image features and its first pose.

It stands where the full pipeline has HMR2.0's features.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import torch

from ..body.rotations import matrix_from_r6d
from ..models.lifter import LANDMARK_MIRROR, Lifter
from ..weights import WeightsError
from .keypoints import COCO_LANDMARKS, COUNTED_CONFIDENCE, Person
from .lift import View

# MediaPipe's heels, toes, index and little fingers, left first.
_FEET_AND_HANDS = [29, 30, 31, 32, 19, 20, 17, 18]
_BATCH = 4096  # frames


def load(path: str | Path) -> Lifter:
    """The lifter in an ``.npz`` of its tensors; raises WeightsError where the file holds none."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return Lifter.from_state_dict(
                {name: torch.from_numpy(arrays[name]).float() for name in arrays.files}
            ).eval()
    except (OSError, ValueError, KeyError, RuntimeError, EOFError, zipfile.BadZipFile) as error:
        raise WeightsError(
            f"The weight file {Path(path).name} is not a lifter ({error}). Install the extension again."
        ) from error


def describe(lifter: Lifter, person: Person, size: tuple[int, int]) -> tuple[View, View]:
    """Features and first poses of a person's F frames: as filmed, and as seen in the mirror. size: width, height."""
    points = np.concatenate([person.landmarks[:, COCO_LANDMARKS], person.landmarks[:, _FEET_AND_HANDS]], 1)
    depths = np.concatenate([person.landmarks_3d[:, COCO_LANDMARKS], person.landmarks_3d[:, _FEET_AND_HANDS]], 1)
    boxes = person.boxes.copy()
    plain = _view(lifter, points, depths, boxes, size)
    flipped = points[:, LANDMARK_MIRROR].copy()
    flipped[..., 0] = size[0] - flipped[..., 0]
    boxes[:, 0] = size[0] - boxes[:, 0]
    return plain, _view(lifter, flipped, depths[:, LANDMARK_MIRROR] * [-1, 1, 1], boxes, size)


@torch.inference_mode()
def _view(lifter: Lifter, points: np.ndarray, depths: np.ndarray, boxes: np.ndarray, size: tuple[int, int]) -> View:
    """points (F, 25, 3) pixels and confidence, depths (F, 25, 3) metres, boxes (F, 3) to the lifter's view of them."""
    centre, side = boxes[:, :2], 200.0 * boxes[:, 2:]
    mask = points[..., 2] >= COUNTED_CONFIDENCE
    keypoints = 2 * (points[..., :2] - centre[:, None]) / side[:, None] * mask[..., None]
    place = np.concatenate([2 * centre - size, side], 1) / max(size)
    depths = depths - depths[:, 11:13].mean(1, keepdims=True)
    columns = [torch.from_numpy(np.ascontiguousarray(value, np.float32)) for value in (keypoints, mask, place, depths)]
    parts = [
        lifter(*(column[at : at + _BATCH] for column in columns), torch.ones(len(points[at : at + _BATCH]), 1))
        for at in range(0, len(points), _BATCH)
    ]
    features, pose, betas = (torch.cat(values) for values in zip(*parts, strict=True))
    return View(matrix_from_r6d(pose[0].unflatten(-1, (24, 6))).numpy(), betas[0].numpy(), features.numpy())
