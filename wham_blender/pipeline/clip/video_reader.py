"""Decodes a clip once, in order, in a thread that runs ahead; frames have presentation times and upright pictures."""

from __future__ import annotations

import contextlib
import itertools
import math
import queue
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import av
import numpy as np
from av.container import InputContainer
from av.video import VideoFrame, VideoStream

from ... import limits
from ..errors import PipelineError
from . import container as clip_container
from . import pictures
from .container import CONVERT

NETWORK_FPS = 30.0  # of the frames that the networks process
ALL_FRAMES_BELOW = 31.0  # fps; below, all frames are network frames, because jittering times would drop some
_QUEUE_SIZE = 8  # decoded frames
_SEEK_BACK = (0.0, 5.0)  # seconds; where seeking leads beyond the frame, an earlier position is tried


class OpenClip(Protocol):
    """An open clip; its methods as those of `_Clip`."""

    info: ClipInfo

    def frames(self, start: int, end: int | None, every: bool = False) -> Iterator[Frame]:
        """As `read_frames`."""

    def sought(self, time: float) -> np.ndarray | None:
        """The picture at a time."""


class Source(Protocol):
    """A clip that is no video file, such as an image sequence."""

    @property
    def name(self) -> str:
        """As it is shown in sentences."""

    def opened(self, rotate: int) -> AbstractContextManager[OpenClip]:
        """Open it; raises PipelineError."""

    def content_sha256(self) -> str:
        """The hash of its content; raises OSError."""


@dataclass(frozen=True)
class ClipInfo:
    """The clip's properties according to the file's header and its first frame; times are those of the filmed scene."""

    path: Path | Source
    width: int  # pixels, upright and square
    height: int
    fps: float
    frames: int  # that players show, by the file's index; 0 if it has none
    duration: float  # seconds; 0 if the header does not say
    rotate: int = 0  # degrees clockwise by which its pictures are turned
    speed: float = 1.0  # by which the file's times are divided: 8 for a film of 240 fps that is played at 30

    def last_frame(self, end: int | None) -> int | None:
        """Number of the last frame of a range that ends at ``end`` or with the clip; None if unknown.

        Without an index, the last frame of the clip is estimated from its duration.
        """
        if self.frames:
            return min(end or self.frames, self.frames)
        return end or round(self.duration * self.fps) or None

    def missing_frames(self, start: int, end: int | None, numbers: np.ndarray, times: np.ndarray) -> int:
        """How many frames of a range the file lacks, if it gave those with these numbers and times (n,).

        Without an index: by the duration, if the video ends more than a second and a tenth of it too early, because
        the header's duration may be that of the sound.
        """
        if self.frames:
            return max(0, (self.last_frame(end) or 0) - start + 1 - len(numbers))
        if not len(numbers) or (end and numbers[-1] >= end):
            return 0
        lost = self.duration - (float(times[-1]) + 1 / self.fps)
        return round(lost * self.fps) if lost > max(1.0, 0.1 * self.duration) else 0


@dataclass(frozen=True)
class Frame:
    """One frame of the clip; damaged frames and those that are no network frames have no picture."""

    number: int  # in the clip, from 1
    time: float  # seconds of the filmed scene since the clip's first frame
    image: np.ndarray | None  # (H, W, 3) uint8 RGB, upright
    damaged: bool = False


class Clock:
    """The times of consecutive frames, seconds since the first, always rising.

    Where stamps are missing or do not rise, times go on by the frame rate.
    """

    def __init__(self, fps: float) -> None:
        self._step = 1 / fps
        self._origin: float | None = None
        self._time: float | None = None
        self._least = 0.0  # seconds from the frame before

    def time_of(self, stamp: float | None) -> float:
        """The time of the next frame, whose stamp the file gives in its own time."""
        expected = 0.0 if self._time is None else self._time + self._step
        if stamp is not None and self._origin is None:
            self._origin = stamp - expected
        elapsed = -1.0 if stamp is None or self._origin is None else stamp - self._origin
        rises = elapsed == expected if self._time is None else elapsed > self._time + self._least
        # After a time that was made up, the stamp of the next frame may be the same but for rounding.
        self._time, self._least = (elapsed, 0.0) if rises else (expected, 0.1 * self._step)
        return self._time


def probe(path: Path | Source, rotate: int = 0, speed: float = 1.0) -> ClipInfo:
    """Open a clip, read its header and decode its first frame.

    ``rotate``: 0, 90, 180 or 270 degrees clockwise, by which the pictures are turned after the clip's own rotation.
    ``speed``: how many times slower the film is played than it was filmed; all times are divided by it.
    Raises PipelineError if the file does not exist, may not be read, is empty, or is no video that can be decoded.
    """
    with _open_clip(path, rotate, speed) as clip:
        return clip.info


def read_frame(path: Path | Source, time: float, rotate: int = 0, speed: float = 1.0) -> np.ndarray:
    """The frame ``time`` seconds after the first, (H, W, 3) uint8 RGB, upright; or the next that is not damaged.

    Raises PipelineError as `probe` does, and if there is no such frame.
    """
    with _open_clip(path, rotate, speed) as clip:
        image = clip.sought(time)
    if image is None:
        with _open_clip(path, rotate, speed) as clip:
            wanted = (frame for frame in clip.frames(1, None) if frame.time >= time - 0.5 / clip.info.fps)
            image = next((frame.image for frame in wanted if frame.image is not None), None)
    if image is None:
        raise PipelineError(
            f"The frame at {time:.2f} s of {path.name} cannot be decoded. {CONVERT}", code="clip-unreadable"
        )
    return image


def read_frames(
    path: Path | Source,
    start: int = 1,
    end: int | None = None,
    rotate: int = 0,
    speed: float = 1.0,
    every: bool = False,
) -> Iterator[Frame]:
    """Frames ``start`` to ``end`` (clip numbers from 1, both included), decoded in a separate thread.

    The frames nearest to a 30 fps clock and the last frame have pictures, if they can be decoded; with ``every``, all
    have. Raises PipelineError as `probe` does, and if no frame can be decoded, if frames are too far apart in time, or
    if the picture's size changes.
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
            with _open_clip(path, rotate, speed) as clip:
                fitting = limits.CLIP_QUEUE_BYTES // (3 * clip.info.width * clip.info.height)
                ready.maxsize = max(1, min(_QUEUE_SIZE, fitting))
                for frame in clip.frames(start, end, every):
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


@contextlib.contextmanager
def _open_clip(path: Path | Source, rotate: int, speed: float) -> Iterator[OpenClip]:
    with _opened(path, rotate) as clip:
        fps, duration = clip.info.fps * speed, clip.info.duration / speed
        clip.info = replace(clip.info, fps=fps, duration=duration, rotate=rotate, speed=speed)
        yield clip


@contextlib.contextmanager
def _opened(path: Path | Source, rotate: int) -> Iterator[OpenClip]:
    if not isinstance(path, Path):
        with path.opened(rotate) as clip:
            yield clip
        return
    with clip_container.opened(path) as (container, stream):
        yield _Clip(path, container, stream, rotate)


class _Clip:
    """An open clip whose first frame is decoded."""

    def __init__(self, path: Path, container: InputContainer, stream: VideoStream, rotate: int) -> None:
        self._path, self._container, self._stream = path, container, stream
        decoder = pictures.Decoder(path, container, stream)
        frames = iter(decoder)
        first = next(frames, None)
        if not isinstance(first, VideoFrame):
            raise clip_container.undecodable(path)
        self._first, self._frames = first, itertools.chain([first], frames)
        self._converter = pictures.Converter(path, first, stream.sample_aspect_ratio, rotate)
        rate = stream.guessed_rate or stream.average_rate or 0
        self.info = ClipInfo(
            path,
            self._converter.width,
            self._converter.height,
            float(rate) if 1 <= rate <= 1000 else 30.0,
            max(0, clip_container.known_frames(container, stream) - decoder.undecoded_before_first),
            clip_container.duration(container, stream),
        )

    def frames(self, start: int, end: int | None, every: bool = False) -> Iterator[Frame]:
        """As `read_frames`, in this thread, once."""
        all_frames, speed = every or self.info.fps < ALL_FRAMES_BELOW, self.info.speed
        clock, pace, last_tick = Clock(self.info.fps / speed), _Pace(self._path), -1
        wanted = pictured = 0
        for number, (frame, is_last) in enumerate(_with_last(self._frames), 1):
            time = clock.time_of(pictures.stamp(frame) if isinstance(frame, VideoFrame) else frame) / speed
            if number < start:
                continue
            pace.check(number, time)
            tick = math.floor(time * NETWORK_FPS + 0.25)
            image, damaged = None, not isinstance(frame, VideoFrame)
            if isinstance(frame, VideoFrame) and (all_frames or tick > last_tick or is_last or number == end):
                image = self._converter.picture(frame)
                damaged = image is None
            if image is not None:  # else the next frame takes the damaged one's place
                last_tick, pictured = tick, pictured + 1
            wanted += damaged or image is not None
            yield Frame(number, time, image, damaged)
            if number == end:
                break
        if wanted and not pictured:
            raise clip_container.undecodable(self._path)

    def sought(self, time: float) -> np.ndarray | None:
        """The picture of the first undamaged frame from ``time`` on, seconds since the first frame, by seeking.

        None if the file has no such frame, no times, or an index that leads beyond the frame.
        """
        origin, half, time = pictures.stamp(self._first), 0.5 * self.info.speed / self.info.fps, time * self.info.speed
        if origin is None or not self._stream.time_base:
            return None
        for back in _SEEK_BACK:
            with contextlib.suppress(av.FFmpegError):  # some files cannot be sought in
                self._container.seek(math.floor((origin + time - back) / self._stream.time_base), stream=self._stream)
            frames = self._good_frames()
            first = next(frames, None)
            if first is not None and (pictures.stamp(first) or 0) < origin + time + half:
                images = (
                    self._converter.picture(frame)
                    for frame in itertools.chain([first], frames)
                    if (pictures.stamp(frame) or 0) >= origin + time - half
                )
                return next((image for image in images if image is not None), None)
        return None

    def _good_frames(self) -> Iterator[VideoFrame]:
        frames = pictures.Decoder(self._path, self._container, self._stream)
        return (frame for frame in frames if isinstance(frame, VideoFrame))


class _Pace:
    """Refuses clips whose frames are too far apart: the networks work at 30 frames a second, with or without frames."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._first: tuple[int, float] | None = None
        self._before = 0.0

    def check(self, number: int, time: float) -> None:
        """Take the next frame; raises PipelineError."""
        if self._first is None:
            self._first, self._before = (number, time), time
        gap, seconds = time - self._before, time - self._first[1]
        if gap > limits.CLIP_GAP_SECONDS:
            raise PipelineError(
                f"Frames {number - 1} and {number} of {self._path.name} are {gap:.0f} seconds apart, and nobody can be "
                f"followed for more than {limits.CLIP_GAP_SECONDS:.0f}. Choose a range of frames before or after.",
                code="clip-gap",
            )
        if seconds > limits.CLIP_GAP_SECONDS + (number - self._first[0]) / limits.CLIP_LEAST_FPS:
            raise PipelineError(
                f"{self._path.name} shows fewer than {limits.CLIP_LEAST_FPS:g} frame a second, and nobody can be "
                "followed. Choose a film instead of a time lapse or a slide show.",
                code="clip-too-slow",
            )
        self._before = time


def _with_last(frames: Iterator[VideoFrame | float]) -> Iterator[tuple[VideoFrame | float, bool]]:
    """The frames, each with whether it is the last: a header may name another one."""
    before = next(frames)
    for frame in frames:
        yield before, False
        before = frame
    yield before, True
