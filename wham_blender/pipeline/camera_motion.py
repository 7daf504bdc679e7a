"""How the camera turned during a clip."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class CameraMotion:
    """The camera over F frames."""

    rotations: np.ndarray  # (F, 3, 3) float64, world to camera; the first is the identity
    static: bool


def estimate(camera: str, frames: int) -> CameraMotion:
    """The camera's turns in F frames for the setting ``static`` or ``auto``; for now auto takes it for static too."""
    if camera not in ("static", "auto"):
        raise ValueError(f"no camera setting: {camera}")
    return CameraMotion(np.tile(np.eye(3), (frames, 1, 1)), True)
