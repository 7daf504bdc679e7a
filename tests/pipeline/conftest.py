"""Clips made for the tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest


@pytest.fixture
def write_clip(tmp_path: Path) -> Callable[..., Path]:
    """Write a clip without people: frame n (from 1) is a grey of brightness 4 n; its left half is black."""

    def write(name: str = "grey.mp4", frames: int = 40, fps: float = 30.0) -> Path:
        path = tmp_path / name
        codec = "MJPG" if path.suffix == ".avi" else "mp4v"
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), fps, (320, 240))
        for number in range(1, frames + 1):
            picture = np.full((240, 320, 3), 4 * number, np.uint8)
            picture[:, :160] = 0
            writer.write(picture)
        writer.release()
        return path

    return write
