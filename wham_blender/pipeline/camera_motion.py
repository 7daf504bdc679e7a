"""How the camera turned during a clip."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class CameraMotion:
    """The camera over F frames."""

    rotations: np.ndarray  # (F, 3, 3) float64, world to camera; the first is the identity
    static: bool


def static(frames: int) -> CameraMotion:
    """A camera on a tripod."""
    return CameraMotion(np.tile(np.eye(3), (frames, 1, 1)), True)
