"""Decodes a clip once, in order, with presentation times and upright pictures, ahead of whoever looks at it."""

from __future__ import annotations

import contextlib
import math
import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ..errors import PipelineError

LOOKS_PER_SECOND = 30.0
_EVERY_FRAME_BELOW = 31.0  # frames a second; no frame of these is left out, however their times jitter
_AHEAD = 8  # frames kept decoded


@dataclass(frozen=True)
class ClipInfo:
    """What the file's header says."""

    path: Path
    width: int  # pixels, upright
    height: int
    fps: float
    frames: int  # 0 where the header does not say

    def last(self, end: int | None) -> int | None:
        """Number of the last frame, where a range ends at ``end`` or with the clip; None where nobody knows."""
        return min(end or self.frames, self.frames) if self.frames else end


@dataclass(frozen=True)
class Frame:
    """One frame of the clip. Damaged ones, and those that the networks need not see, carry no picture."""

    number: int  # in the clip, from 1
    time: float  # seconds since the clip's first frame
    image: np.ndarray | None  # (H, W, 3) uint8 RGB, upright


def probe(path: Path) -> ClipInfo:
    """Open a clip and read its header.

    Raises PipelineError where there is no such file, it is empty, or it holds no video that can be decoded.
    """
    capture = _open(path)
    try:
        return _info(path, capture)
    finally:
        capture.release()


def picture(path: Path, number: int) -> np.ndarray:
    """One frame, (H, W, 3) uint8 RGB, upright: that of a clip number, from 1, or close by where the file has no index.

    Raises PipelineError as `probe` does, and where it cannot be decoded.
    """
    capture = _open(path)
    try:
        capture.set(cv2.CAP_PROP_POS_FRAMES, number - 1)
        decoded, image = capture.read()
        if not decoded:
            raise PipelineError(f"Frame {number} of {path.name} cannot be decoded. {_CONVERT}")
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    finally:
        capture.release()


def frames(path: Path, start: int = 1, end: int | None = None) -> Iterator[Frame]:
    """Frames ``start`` to ``end`` (clip numbers from 1, both included), decoded in a thread of their own.

    Pictures come with the frames nearest to a 30 fps clock and with the last frame, as far as they can be decoded.
    Raises PipelineError as `probe` does, and where there is no frame at all.
    """
    ready: queue.Queue[Frame | BaseException | None] = queue.Queue(_AHEAD)
    stopped = threading.Event()

    def put(item: Frame | BaseException | None) -> None:
        while not stopped.is_set():
            with contextlib.suppress(queue.Full):
                ready.put(item, timeout=0.1)
                return

    def decode() -> None:
        try:
            for frame in _decode(path, start, end):
                put(frame)
                if stopped.is_set():
                    return
            put(None)
        except BaseException as error:  # handed to the thread that reads
            put(error)

    threading.Thread(target=decode, name="decode", daemon=True).start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()


def _decode(path: Path, start: int, end: int | None) -> Iterator[Frame]:
    capture = _open(path)
    try:
        info = _info(path, capture)
        last = info.last(end)
        every = info.fps < _EVERY_FRAME_BELOW
        number, time, origin, slot = 0, 0.0, 0.0, -1
        while not (end and number >= end) and capture.grab():
            number += 1
            stamp = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            if number == 1:
                origin = stamp if math.isfinite(stamp) else 0.0
            else:
                # Some files carry no times, or times that stand still: go on by the frame rate.
                time = stamp - origin if stamp - origin > time else time + 1 / info.fps
            if number < start:
                continue
            due = math.floor(time * LOOKS_PER_SECOND + 0.25)
            image = None
            if every or due > slot or number == last:
                decoded, picture = capture.retrieve()
                if decoded:  # in place of a damaged frame the next one is looked at
                    slot = due
                    image = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
            yield Frame(number, time, image)
        if number == 0:
            raise PipelineError(f"No frame of {path.name} can be decoded. {_CONVERT}")
    finally:
        capture.release()


_CONVERT = "Convert the clip to MP4 (H.264), for example by rendering it from Blender's video editor, and try again."


def _open(path: Path) -> cv2.VideoCapture:
    if not path.is_file():
        raise PipelineError(f"There is no clip {path.name} in {path.parent}. Check the path.")
    if path.stat().st_size == 0:
        raise PipelineError(f"{path.name} is an empty file. Copy the clip again.")
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    if not capture.isOpened():
        raise PipelineError(f"{path.name} is not a video, or it was cut off while it was copied. {_CONVERT}")
    return capture


def _info(path: Path, capture: cv2.VideoCapture) -> ClipInfo:
    fps = capture.get(cv2.CAP_PROP_FPS)
    return ClipInfo(
        path,
        int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)),
        int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)),
        fps if math.isfinite(fps) and 1 <= fps <= 1000 else 30.0,
        max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT))),
    )
