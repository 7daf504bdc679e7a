"""The truth of a film: cameras, people and foot contacts, in an ``.npz`` beside it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

TEXTS = ("kind", "key")


@dataclass
class Truth:
    """P people over F frames, metres, z up, floor at z = 0; times are the middles of the exposures, in the film."""

    kind: str  # of motion
    key: str  # of the code, the body and the motion that the film was made of
    fps: float
    slowness: float  # how many times slower the film is played than the motion was
    size: np.ndarray  # (2,) width and height, pixels
    poses: np.ndarray  # (P, F, 72) axis-angle
    trans: np.ndarray  # (P, F, 3)
    betas: np.ndarray  # (P, 10)
    contacts: np.ndarray  # (P, F, 4) 0 or 1: left toe, left heel, right toe, right heel
    joints: np.ndarray  # (P, F, 24, 3) SMPL's
    feet: np.ndarray  # (P, F, 4, 3) the foot points in that order
    keypoints: np.ndarray  # (P, F, 17, 3) COCO points
    boxes: np.ndarray  # (P, F, 4) x1, y1, x2, y2 of the body's part inside the picture, pixels
    seen: np.ndarray  # (P, F) share of the body that is inside the picture and not behind somebody else
    camera_R: np.ndarray  # (F, 3, 3) world to camera, OpenCV axes
    camera_t: np.ndarray  # (F, 3)
    camera_K: np.ndarray  # (F, 3, 3) pixels

    def in_camera(self, points: np.ndarray) -> np.ndarray:
        """World points (P, F, N, 3) in the camera's axes, metres."""
        return np.einsum("fij,pfnj->pfni", self.camera_R, points) + self.camera_t[:, None]

    def pixels(self, points: np.ndarray) -> np.ndarray:
        """World points (P, F, N, 3) to pixels (P, F, N, 2)."""
        projected = np.einsum("fij,pfnj->pfni", self.camera_K, self.in_camera(points))
        return projected[..., :2] / np.maximum(projected[..., 2:], 1e-6)

    def save(self, path: Path) -> None:
        """Write an ``.npz`` of float32 arrays and texts."""
        arrays = {name: value if name in TEXTS else np.asarray(value, np.float32) for name, value in vars(self).items()}
        np.savez_compressed(path, allow_pickle=False, **arrays)


def load(path: Path) -> Truth:
    """The truth in a file."""
    with np.load(path, allow_pickle=False) as archive:
        values = {field.name: archive[field.name] for field in fields(Truth)}
    made: dict[str, Any] = {n: str(v) if n in TEXTS else v.astype(np.float64) for n, v in values.items()}
    return Truth(**made | {name: float(made[name]) for name in ("fps", "slowness")})
