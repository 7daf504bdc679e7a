"""Copies of clips for Blender's camera: one picture for each of the clip's frames, at a constant rate, upright.

Blender finds a frame of a film by its number divided by the frame rate. That is another frame where the frames are not
evenly spaced or the clip hides some, and Blender before 4.4 knows no rotation, none knows fields or HDR.
"""

from __future__ import annotations

import os
from pathlib import Path

import av
import cv2
import numpy as np
from av.video import VideoFrame, VideoStream

from ...files import replaced
from ..progress import Progress
from . import container as clip_container
from . import pictures, video_reader
from .video_reader import Source

TOLERANCE = 0.001  # seconds; Matroska and WebM round times to milliseconds
_SIDE = 1280  # pixels: of the longer side of a copy, at most
_RATE = 30  # frames a second; only the frames' numbers matter
_CODECS = {"h264", "hevc", "av1", "vp8", "vp9", "mpeg4", "mjpeg", "prores", "dnxhd"}
_CONTAINERS = {"mov", "matroska", "avi"}
_HDR = (16, 18)  # AVColorTransferCharacteristic: PQ, HLG
# Few frames depend on others: Blender jumps to any frame at once. The encoders in order of preference.
_ENCODERS = {
    "libx264": {"crf": "20", "preset": "veryfast", "g": "10", "bf": "0"},
    "mpeg4": {"qscale": "3", "g": "10", "bf": "0"},
}
_BT709, _LIMITED_RANGE = 1, 1  # AVColorSpace, AVColorRange


def is_constant_rate(numbers: np.ndarray, times: np.ndarray, fps: float, tolerance: float = TOLERANCE) -> bool:
    """Whether frames with these numbers, from 1, and times (F,) in seconds are those of a constant frame rate."""
    return bool(np.abs(times - (numbers - 1) / fps).max() <= tolerance)


def why_not_shown(clip: Path | Source, numbers: np.ndarray, times: np.ndarray, rotate: int) -> str:
    """Why Blender would not show the right pictures of a clip at its frames; empty if it would.

    numbers: (F,) of the frames, from 1; times: (F,) seconds in the file since the first frame; rotate: as in
    `video_reader.probe`. Raises PipelineError as that does.
    """
    if not isinstance(clip, Path):
        return "it is a sequence of pictures"
    with clip_container.opened(clip) as (container, stream):
        first = next(frame for frame in container.decode(stream) if isinstance(frame, VideoFrame))
        begin, rate = pictures.stamp(first), float(stream.guessed_rate or 0)
        reasons = {
            "it has several video streams": stream.index != container.streams.video[0].index,
            "its frames are not evenly spaced": not rate or not is_constant_rate(numbers, times, rate),
            "it is turned or mirrored": bool(rotate) or not np.allclose(pictures.display_matrix(first), np.eye(2)),
            "its pixels are not square": stream.sample_aspect_ratio not in (None, 0, 1),
            "it is interlaced": first.interlaced_frame,
            "it is HDR": stream.codec_context.color_trc in _HDR,
            "its first frame has no time": begin is None,
            "it hides frames or begins late": (
                abs((begin or 0) - (container.start_time or 0) / av.time_base) > TOLERANCE
                or any(entry.is_discard for entry in stream.index_entries)
            ),
            "Blender takes the backslash in its path for a slash": os.sep == "/" and "\\" in str(clip),
            f"Blender may not read {stream.codec_context.name} in {container.format.name}": (
                stream.codec_context.codec.canonical_name not in _CODECS
                or container.format.name.split(",")[0] not in _CONTAINERS
            ),
        }
    return next((reason for reason, applies in reasons.items() if applies), "")


def write(clip: Path | Source, copy: Path, start: int, end: int | None, rotate: int, progress: Progress) -> None:
    """Write frames ``start`` to ``end`` of a clip, upright, to an MP4 file: its frame 1 is the clip's ``start``.

    Damaged frames repeat the one before. Raises PipelineError as `video_reader.read_frames` does, OSError and
    av.FFmpegError if the copy cannot be written.
    """
    encoder = next(name for name in _ENCODERS if name in av.codecs_available)
    info = video_reader.probe(clip, rotate)
    scale = min(1.0, _SIDE / max(info.width, info.height))
    size = tuple(max(2, 2 * round(scale * side / 2)) for side in (info.width, info.height))
    total = (info.last_frame(end) or 0) - start + 1
    with replaced(copy) as file, av.open(file, "w", format="mp4") as output:
        stream = output.add_stream(encoder, rate=_RATE, options=_ENCODERS[encoder])
        assert isinstance(stream, VideoStream)
        (stream.width, stream.height), stream.pix_fmt = size, "yuv420p"
        stream.codec_context.colorspace, stream.codec_context.color_range = _BT709, _LIMITED_RANGE
        image: np.ndarray = np.zeros((size[1], size[0], 3), np.uint8)
        frames = video_reader.read_frames(clip, start, end, rotate, every=True)
        for number, frame in enumerate(frames):
            if frame.image is not None:
                image = cv2.resize(frame.image, size, interpolation=cv2.INTER_AREA)
            picture = VideoFrame.from_ndarray(image, "rgb24").reformat(
                format="yuv420p", dst_colorspace=_BT709, dst_color_range=_LIMITED_RANGE
            )
            picture.pts = number
            output.mux(stream.encode(picture))
            progress(number + 1, max(total, number + 1))
        output.mux(stream.encode(None))
