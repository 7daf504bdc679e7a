"""Ground truth of the synthetic clips: camera, people and foot contacts, in an ``.npz`` beside each clip."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent / "clips"
SIZE = (480, 270)  # pixels
FPS = 30.0


@dataclass
class Truth:
    """P people over F frames, metres, z up, floor at z = 0."""

    poses: np.ndarray  # (P, F, 72) axis-angle
    trans: np.ndarray  # (P, F, 3)
    betas: np.ndarray  # (P, 10)
    contacts: np.ndarray  # (P, F, 4) 0 or 1
    joints: np.ndarray  # (P, F, 24, 3)
    feet: np.ndarray  # (P, F, 4, 3)
    keypoints: np.ndarray  # (P, F, 17, 3) COCO points in the world
    camera_R: np.ndarray  # (F, 3, 3) world to camera, OpenCV axes
    camera_t: np.ndarray  # (F, 3)
    camera_K: np.ndarray  # (3, 3) pixels

    def pixels(self, points: np.ndarray) -> np.ndarray:
        """World points (P, F, N, 3) to pixels (P, F, N, 2)."""
        in_camera = np.einsum("fij,pfnj->pfni", self.camera_R, points) + self.camera_t[:, None]
        projected = in_camera @ self.camera_K.T
        return projected[..., :2] / projected[..., 2:]

    def boxes(self) -> np.ndarray:
        """Tight boxes (F, P, 4) x1, y1, x2, y2 of all people's keypoints, pixels."""
        points = self.pixels(self.keypoints)
        return np.concatenate([points.min(2), points.max(2)], -1).swapaxes(0, 1)

    def save(self, path: Path) -> None:
        """Write an ``.npz`` of float32 arrays."""
        np.savez_compressed(path, allow_pickle=False, **{k: np.asarray(v, np.float32) for k, v in vars(self).items()})


def load(name: str) -> Truth:
    """Load the truth of a clip."""
    with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as archive:
        return Truth(**{field.name: archive[field.name].astype(np.float64) for field in fields(Truth)})


def names() -> list[str]:
    """Names of all clips."""
    return sorted(path.stem for path in FOLDER.glob("*.mp4"))
