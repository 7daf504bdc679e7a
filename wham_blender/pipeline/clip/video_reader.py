"""Decodes a clip once, in order, in a thread that runs ahead; frames have presentation times and upright pictures."""

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

NETWORK_FPS = 30.0  # of the frames that the networks process
_ALL_FRAMES_BELOW = 31.0  # fps; below, all frames are network frames, because jittering times would drop some
_QUEUE_SIZE = 8  # decoded frames


@dataclass(frozen=True)
class ClipInfo:
    """The clip's properties according to the file's header."""

    path: Path
    width: int  # pixels, upright
    height: int
    fps: float
    frames: int  # 0 if the header does not say

    def last_frame(self, end: int | None) -> int | None:
        """Number of the last frame of a range that ends at ``end`` or with the clip; None if unknown."""
        return min(end or self.frames, self.frames) if self.frames else end


@dataclass(frozen=True)
class Frame:
    """One frame of the clip; damaged frames and those that are no network frames have no picture."""

    number: int  # in the clip, from 1
    time: float  # seconds since the clip's first frame
    image: np.ndarray | None  # (H, W, 3) uint8 RGB, upright


def probe(path: Path) -> ClipInfo:
    """Open a clip and read its header.

    Raises PipelineError if the file does not exist, is empty, or is no video that can be decoded.
    """
    capture = _open(path)
    try:
        return _info(path, capture)
    finally:
        capture.release()


def read_frame(path: Path, number: int) -> np.ndarray:
    """Frame ``number``, from 1, (H, W, 3) uint8 RGB, upright; or one close to it, if the file has no index.

    Raises PipelineError as `probe` does, and if the frame cannot be decoded.
    """
    capture = _open(path)
    try:
        capture.set(cv2.CAP_PROP_POS_FRAMES, number - 1)
        decoded, image = capture.read()
        if not decoded:
            raise PipelineError(f"Frame {number} of {path.name} cannot be decoded. {_CONVERT}", code="clip-unreadable")
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    finally:
        capture.release()


def read_frames(path: Path, start: int = 1, end: int | None = None) -> Iterator[Frame]:
    """Frames ``start`` to ``end`` (clip numbers from 1, both included), decoded in a separate thread.

    The frames nearest to a 30 fps clock and the last frame have pictures, if they can be decoded. Raises PipelineError
    as `probe` does, and if the clip has no frame.
    """
    ready: queue.Queue[Frame | BaseException | None] = queue.Queue(_QUEUE_SIZE)
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
        except BaseException as error:  # raised again in the reading thread
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
        last = info.last_frame(end)
        all_frames = info.fps < _ALL_FRAMES_BELOW
        number, time, origin, last_tick = 0, 0.0, 0.0, -1
        while not (end and number >= end) and capture.grab():
            number += 1
            stamp = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            if number == 1:
                origin = stamp if math.isfinite(stamp) else 0.0
            else:
                # Some files have no times, or constant ones: continue by the frame rate.
                time = stamp - origin if stamp - origin > time else time + 1 / info.fps
            if number < start:
                continue
            tick = math.floor(time * NETWORK_FPS + 0.25)
            image = None
            if all_frames or tick > last_tick or number == last:
                decoded, picture = capture.retrieve()
                if decoded:  # else the next frame takes the damaged one's place
                    last_tick = tick
                    image = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
            yield Frame(number, time, image)
        if number == 0:
            raise PipelineError(f"No frame of {path.name} can be decoded. {_CONVERT}", code="clip-unreadable")
    finally:
        capture.release()


_CONVERT = "Convert the clip to MP4 (H.264), for example by rendering it from Blender's video editor, and try again."


def _open(path: Path) -> cv2.VideoCapture:
    if not path.is_file():
        raise PipelineError(f"There is no clip {path.name} in {path.parent}. Check the path.", code="clip-not-found")
    if path.stat().st_size == 0:
        raise PipelineError(f"{path.name} is an empty file. Copy the clip again.", code="clip-empty")
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    if not capture.isOpened():
        raise PipelineError(
            f"{path.name} is not a video, or it was cut off while it was copied. {_CONVERT}", code="clip-unreadable"
        )
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
