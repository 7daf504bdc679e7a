"""Opens a clip with FFmpeg (through PyAV) and chooses its video stream; only the file itself is ever read."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video import VideoStream

from ... import limits
from ...files import open_regular
from ..errors import PipelineError
from ..processors import processor_cores

# Containers of films and single pictures. Those that name other files or addresses, such as playlists (hls, dash),
# scripts (concat), image sequences (image2) and network sessions (sdp), are left out: they would be opened, too.
_FORMATS = (
    "mov,matroska,avi,asf,flv,mpegts,mpeg,mpegvideo,mxf,ogg,dv,gif,apng,nut,ivf,obu,h264,hevc,m4v,mjpeg,yuv4mpegpipe,"
    "wtv,png_pipe,jpeg_pipe,bmp_pipe,tiff_pipe,webp_pipe"
)
_NO_PICTURES = Disposition.attached_pic | Disposition.timed_thumbnails
THREADS = min(8, processor_cores())  # each holds frames of its own, and the networks are slower than eight
_BUFFER = 256 * limits.KB

CONVERT = "Convert the clip to MP4 (H.264), for example by rendering it from Blender's video editor, and try again."


@contextlib.contextmanager
def opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The open clip and its best video stream.

    Raises PipelineError if the file does not exist, may not be read, is empty, or is no video that can be decoded, and
    instead of FFmpeg's errors inside of the block.
    """
    with _file(path) as file, contextlib.ExitStack() as stack:
        options = {"max_pixels": str(limits.CLIP_PIXELS)}  # else FFmpeg takes GBs for a frame before its size is seen
        try:
            container = stack.enter_context(
                av.open(
                    file, "r", options=options, metadata_errors="replace", buffer_size=_BUFFER,
                    container_options={"format_whitelist": _FORMATS, "protocol_whitelist": "none"},
                )
            )  # fmt: skip
            stream = _best_stream(container)
        except (av.FFmpegError, OSError, ValueError, LookupError) as error:
            raise PipelineError(
                f"{path.name} is not a video, or it was cut off while it was copied. {CONVERT}", code="clip-unreadable"
            ) from error
        check_size(path, stream.codec_context.width, stream.codec_context.height)
        if stream.codec_context.codec.intra_only:  # else half a picture of Motion JPEG is filled with stale memory
            options["err_detect"] = "explode"
        stream.codec_context.options = options
        stream.codec_context.thread_count = THREADS
        stream.thread_type = "AUTO"
        try:
            yield container, stream
        except av.FFmpegError as error:
            raise undecodable(path) from error


def undecodable(path: Path) -> PipelineError:
    """The error to raise if no frame of a clip can be decoded."""
    return PipelineError(f"No frame of {path.name} can be decoded. {CONVERT}", code="clip-unreadable")


@contextlib.contextmanager
def _file(path: Path) -> Iterator[BinaryIO]:
    try:
        found = path.is_file()
        file = open_regular(path) if found else None
    except PermissionError as error:
        raise PipelineError(
            f"{path.name} may not be read: {error.strerror}. Allow your user to read it, or copy it to another folder.",
            code="clip-no-permission",
        ) from error
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        raise PipelineError(
            f"The clip {path.name} cannot be read: {getattr(error, 'strerror', None) or error}. Check its disk, or "
            "copy it again.",
            code="clip-not-readable",
        ) from error
    if file is None:
        raise PipelineError(f"There is no clip {path.name} in {path.parent}. Check the path.", code="clip-not-found")
    with file:
        if os.fstat(file.fileno()).st_size == 0:
            raise PipelineError(f"{path.name} is an empty file. Copy the clip again.", code="clip-empty")
        yield file


def _best_stream(container: InputContainer) -> VideoStream:
    """The video stream with the largest moving picture; raises LookupError if there is none that can be decoded.

    A stream of one frame, or shorter than half of the longest, is a title picture. Of several streams of one size it is
    the one that the file names as default, then the first.
    """
    streams = [
        stream
        for stream in container.streams.video
        if stream.codec_context and stream.codec_context.width and not stream.disposition & _NO_PICTURES
    ]
    if not streams:
        raise LookupError("no video stream")
    seconds = {stream.index: duration(container, stream) for stream in streams}
    longest = max(seconds.values())

    def rank(stream: VideoStream) -> tuple[bool, int, bool, int]:
        moves = stream.frames != 1 and 2 * seconds[stream.index] >= longest
        area = stream.codec_context.width * stream.codec_context.height
        return moves, area, bool(stream.disposition & Disposition.default), -stream.index

    return max(streams, key=rank)


def check_size(path: Path, width: int, height: int) -> None:
    """Raise PipelineError for pictures that are too small to show anybody, or too large for memory."""
    least, most = limits.CLIP_LEAST_SIDE, limits.CLIP_MOST_SIDE
    if not least <= min(width, height) <= max(width, height) <= most or width * height > limits.CLIP_PIXELS:
        raise PipelineError(
            f"The picture of {path.name} has {width} x {height} pixels. Choose a clip of {least} to {most} pixels a "
            f"side and at most {limits.CLIP_PIXELS // 1_000_000} megapixels.",
            code="clip-size-refused",
        )


def known_frames(container: InputContainer, stream: VideoStream) -> int:
    """Number of frames that players show, by the file's index; 0 if the container has no complete one."""
    if not stream.frames:
        return 0
    if container.format.name.startswith("mov"):  # an edit list hides samples, or shows them again
        return sum(not entry.is_discard for entry in stream.index_entries)
    if container.format.name == "avi":
        # Its header counts the ticks of its clock; empty entries repeat the frame before.
        return sum(entry.size > 0 for entry in stream.index_entries)
    return 0


def duration(container: InputContainer, stream: VideoStream) -> float:
    """Seconds of the video stream by the file's header; 0 if it does not say."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    end = (container.duration or 0) / av.time_base
    with contextlib.suppress(KeyError, ValueError):  # Matroska's sound may be longer than its video
        hours, minutes, seconds = stream.metadata["DURATION"].split(":")
        end = int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    start = float((stream.start_time or 0) * (stream.time_base or 0))
    if container.format.name.startswith("mpeg"):  # there, the container's duration counts from its start
        start -= (container.start_time or 0) / av.time_base
    return max(0.0, end - max(0.0, start))
