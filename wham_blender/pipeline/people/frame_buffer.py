"""Keeps the last frames of a clip, reduced, so that people can be followed back to where they came into view."""

from __future__ import annotations

from collections import deque

import cv2
import numpy as np

_LONG_SIDE = 1280  # pixels, at most; the landmark net's input has 256


class FrameBuffer:
    """The last frames of a shot, as I420 (12 bits a pixel): 1.4 MB a frame of 1280 x 720."""

    def __init__(self, count: int) -> None:
        """``count``: frames that are kept."""
        self._frames: deque[np.ndarray] = deque(maxlen=count)
        self._end = 0  # number of frames so far
        self._scale = np.ones(2)

    def append(self, image: np.ndarray) -> None:
        """Add the next frame, (H, W, 3) uint8 RGB."""
        full = np.array(image.shape[1::-1])
        # A whole number, and only whole blocks of pixels: anything else takes 6 ms a frame instead of 0.3.
        reduction = -(-max(full) // _LONG_SIDE)
        block = 2 * reduction  # I420 needs even sides
        kept = np.where(full < block, full, full - full % block)
        size = np.maximum(kept // reduction, 2)
        self._scale = size / kept
        small = image[: kept[1], : kept[0]]
        if (size != kept).any():
            small = cv2.resize(small, size.tolist(), interpolation=cv2.INTER_AREA)
        self._frames.append(cv2.cvtColor(small, cv2.COLOR_RGB2YUV_I420))
        self._end += 1

    def start_new_shot(self) -> None:
        """Drop all frames; the numbers go on."""
        self._frames.clear()

    @property
    def first(self) -> int:
        """The number, from 0, of the earliest frame that is kept."""
        return self._end - len(self._frames)

    @property
    def end(self) -> int:
        """The number after that of the last frame."""
        return self._end

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """A frame that is kept, (h, w, 3) uint8 RGB, and its scale (2,), x and y, over the clip's frames."""
        return cv2.cvtColor(self._frames[number - self.first], cv2.COLOR_YUV2RGB_I420), self._scale
