"""Image sequences as clips: what `video_reader` reads instead of a video file, and the hash of either."""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ... import image_sequence, limits
from ...errors import one_line
from ...files import read_bounded, sha256_of
from ...image_sequence import ImageSequence, SequenceError
from ..errors import PipelineError
from ..processors import processor_cores
from . import picture, video_reader
from .video_reader import ClipInfo, Frame

DEFAULT_FPS = 24.0
_THREADS = min(4, processor_cores())  # that read and decode pictures ahead
_MOST_LISTED = 20  # gaps in a sentence


@dataclass(frozen=True)
class PictureClip:
    """An image sequence as a clip, for `video_reader`: frame 1 is the picture with the lowest number."""

    sequence: ImageSequence
    fps: float

    @property
    def name(self) -> str:
        """How the pictures are named, with "#" for digits."""
        return self.sequence.name

    @contextlib.contextmanager
    def opened(self, rotate: int) -> Iterator[_OpenSequence]:
        """The clip, with its first picture that is not damaged decoded. Raises PipelineError if there is none."""
        yield _OpenSequence(self, rotate)

    def content_sha256(self) -> str:
        """SHA-256 of all pictures, their frame numbers and the frame rate. Raises OSError."""
        first = min(self.sequence.files)
        digest = hashlib.sha256(f"image sequence, {self.fps!r} fps".encode())
        for number in self.sequence.files:
            digest.update(f"\n{number - first} {sha256_of(self.sequence.path(number))}".encode())
        return digest.hexdigest()

    def has(self, frame: int) -> bool:
        """Whether there is a picture of a frame, counted from 1."""
        return frame + min(self.sequence.files) - 1 in self.sequence.files

    def missing(self, start: int, end: int | None) -> str:
        """A sentence on the frames ``start`` to ``end`` without a picture, with their numbers; empty if all are there.

        Raises PipelineError for a gap in which nobody can be followed.
        """
        first = min(self.sequence.files)
        last = max(self.sequence.files) if end is None else min(max(self.sequence.files), first + end - 1)
        gaps = [
            (max(begin, first + start - 1), min(stop, last))
            for begin, stop in self.sequence.gaps()
            if stop >= first + start - 1 and begin <= last
        ]
        for begin, stop in gaps:
            if (stop - begin + 2) / self.fps > limits.CLIP_GAP_SECONDS:
                raise PipelineError(
                    f"Pictures {begin} to {stop} of {self.name} are missing, and nobody can be followed for more than "
                    f"{limits.CLIP_GAP_SECONDS:.0f} seconds. Choose a range of frames before or after.",
                    code="clip-gap",
                )
        if not gaps:
            return ""
        listed = [str(begin) if begin == stop else f"{begin} to {stop}" for begin, stop in gaps[:_MOST_LISTED]]
        numbers = ", ".join(listed) + " and more" * (len(gaps) > _MOST_LISTED)
        count = sum(stop - begin + 1 for begin, stop in gaps)
        return (
            f"{self.name} lacks {count} pictures, numbers {numbers}. Their time stays empty: the motion there goes on "
            "between the pictures before and after. Add the pictures if they matter."
        )


Clip = Path | video_reader.Source


def clip_of(path: Path, fps: float | None) -> Clip:
    """What a job's path names: the path of a video, or an image sequence with its frame rate.

    Raises PipelineError if it is a folder or pattern without pictures, or a video that is given a frame rate.
    """
    try:
        sequence = image_sequence.find(path)
    except SequenceError as error:
        raise PipelineError(str(error), code=error.code) from error
    if sequence is not None:
        return PictureClip(sequence, fps or DEFAULT_FPS)
    if fps is not None and path.is_file():
        raise PipelineError(
            f"{path.name} has a frame rate of its own. Leave the option --fps out: it is for image sequences.",
            code="option-invalid",
        )
    return path


def content_sha256(clip: Clip) -> str:
    """The hash of a clip's content. Raises OSError."""
    return sha256_of(clip) if isinstance(clip, Path) else clip.content_sha256()


def description(clip: PictureClip) -> str:
    """A line for the log."""
    numbers = clip.sequence.files
    return one_line(
        f"{clip.name}: {len(numbers)} pictures, numbers {min(numbers)} to {max(numbers)}, at {clip.fps:g} fps"
    )


class _OpenSequence:
    """An image sequence whose first good picture is decoded, as `video_reader` reads it."""

    def __init__(self, clip: PictureClip, rotate: int) -> None:
        self._clip, self._sequence = clip, clip.sequence
        self._origin = min(self._sequence.files) - 1  # picture numbers less this are frame numbers
        for number in self._sequence.files:
            data, frame = self._read(number)
            if frame is not None:
                break
        else:
            raise PipelineError(
                f"No picture of {clip.name} can be decoded. Save the pictures as PNG or JPEG, and try again.",
                code="pictures-unreadable",
            )
        # The converters of other threads than this one are made in `_picture`: swscale's contexts are not shared.
        self._first, self._rotate = (frame, data), rotate
        converter = self._converter(number)
        self.info = ClipInfo(
            clip, converter.width, converter.height, clip.fps, self._sequence.count, self._sequence.count / clip.fps
        )

    def frames(self, start: int, end: int | None, every: bool = False) -> Iterator[Frame]:
        """As `video_reader.read_frames`, once; frames without a picture are damaged ones."""
        last = min(end or self._sequence.count, self._sequence.count)
        pictured = False
        for number, wanted, image in self._images(start, last, every):
            pictured = pictured or image is not None
            yield Frame(number, (number - 1) / self.info.fps, image, wanted and image is None)
        if not pictured:
            raise PipelineError(
                f"No picture of {self._clip.name} from frame {start} to {last} can be decoded. Choose other frames, or "
                "save the pictures as PNG or JPEG.",
                code="pictures-unreadable",
            )

    def sought(self, time: float) -> np.ndarray | None:
        """The picture at ``time`` seconds, or the next that is not damaged; None if there is none."""
        wanted = round(time * self.info.fps) + 1 + self._origin
        images = (self._picture(number) for number in self._sequence.files if number >= wanted)
        return next((image for image in images if image is not None), None)

    def _images(self, start: int, last: int, every: bool) -> Iterator[tuple[int, bool, np.ndarray | None]]:
        """Number of each frame, whether the networks want its picture, and that picture; decoded ahead by threads."""
        info = self.info
        ahead = max(1, min(2 * _THREADS, limits.CLIP_QUEUE_BYTES // (3 * info.width * info.height)))
        waiting: deque[tuple[int, bool, Future[np.ndarray | None] | None]] = deque()
        last_tick = -1
        pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="picture")
        try:
            for number in range(start, last + 1):
                tick = math.floor((number - 1) / self.info.fps * video_reader.NETWORK_FPS + 0.25)
                wanted = every or self.info.fps < video_reader.ALL_FRAMES_BELOW or tick > last_tick or number == last
                there = wanted and self._clip.has(number)
                last_tick = tick if there else last_tick  # else the next frame takes the missing one's place
                waiting.append((number, wanted, pool.submit(self._picture, number + self._origin) if there else None))
                if len(waiting) > ahead:
                    yield _result(*waiting.popleft())
            while waiting:
                yield _result(*waiting.popleft())
        finally:
            pool.shutdown(cancel_futures=True)

    def _read(self, number: int) -> tuple[bytes, picture.VideoFrame | None]:
        """Content and frame of a picture; no frame if it is damaged. Raises PipelineError if it may not be read."""
        path = self._sequence.path(number)
        try:
            data = read_bounded(path, limits.PICTURE_BYTES)
        except PermissionError as error:
            raise PipelineError(
                f"{path.name} may not be read: {error.strerror}. Allow your user to read it, or copy it to another "
                "folder.",
                code="clip-no-permission",
            ) from error
        except OSError:
            return b"", None
        return data, picture.decode(data, path)

    def _converter(self, number: int) -> picture.Converter:
        """A converter to pictures like the first good one, whose errors name the picture of this number."""
        frame, data = self._first
        return picture.Converter(self._sequence.path(number), frame, data, self._rotate)

    def _picture(self, number: int) -> np.ndarray | None:
        data, frame = self._read(number)
        return None if frame is None else self._converter(number).picture_of(frame, data)


def _result(number: int, wanted: bool, image: Future[np.ndarray | None] | None) -> tuple[int, bool, np.ndarray | None]:
    return number, wanted, image.result() if image else None
