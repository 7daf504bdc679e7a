"""Decodes a picture of an image sequence (PNG, JPEG, TIFF, WebP, EXR) from its bytes, with FFmpeg through PyAV."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from av.video import VideoFrame
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import VideoReformatter

from ... import limits
from ..errors import PipelineError
from . import pictures

# Exif's orientations: the matrix that takes x, y (down) of the stored picture to those of the upright one.
_ORIENTATIONS = {
    1: [[1, 0], [0, 1]], 2: [[-1, 0], [0, 1]], 3: [[-1, 0], [0, -1]], 4: [[1, 0], [0, -1]], 5: [[0, 1], [1, 0]],
    6: [[0, -1], [1, 0]], 7: [[0, -1], [-1, 0]], 8: [[0, 1], [-1, 0]],
}  # fmt: skip
_FORMATS = {
    b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "mjpeg", b"II*\0": "tiff", b"MM\0*": "tiff", b"RIFF": "webp",
    b"v/1\x01": "exr",
}  # fmt: skip
_MOST_PARTS = 10_000  # of a file that are looked at for Exif; honest ones have some dozens
_STRICT = {"png", "mjpeg"}  # decoders that otherwise fill what a cut-off file lacks, and do not mind unknown tags
_EXR_COMPRESSION = b"compression\0compression\0\x01\0\0\0"
_DWA = b"\x08\x09"  # compressions that FFmpeg 8 decodes to black


def decode(data: bytes, path: Path) -> VideoFrame | None:
    """The picture of a file with content ``data``; None if it is damaged, or no picture.

    Raises PipelineError for an EXR with a compression that cannot be read.
    """
    name = next((name for magic, name in _FORMATS.items() if data.startswith(magic)), None)
    if name is None:
        return None
    if name == "exr" and data.partition(_EXR_COMPRESSION)[2][:1] in (_DWA[:1], _DWA[1:]):
        raise PipelineError(
            f"{path.name} is compressed with DWAA or DWAB, which cannot be read. Save the pictures with another "
            "compression such as ZIP, or as PNG or JPEG.",
            code="pictures-unreadable",
        )
    context = VideoCodecContext.create(name, "r")
    assert isinstance(context, VideoCodecContext)
    # Without max_pixels, FFmpeg takes GBs for a frame before its size is seen.
    context.options = {"max_pixels": str(limits.CLIP_PIXELS), "threads": "1"}
    context.options |= {"err_detect": "explode"} if name in _STRICT else {}
    try:
        frames = [*context.decode(av.Packet(data)), *context.decode(None)]
    except (av.FFmpegError, ValueError):
        return None
    return frames[0] if frames else None


class Converter(pictures.Converter):
    """Converts pictures of one sequence to upright RGB pictures of the size of the first one.

    Pictures with alpha are shown over black. Floating-point pictures are linear, as in EXR, and become sRGB.
    """

    def __init__(self, path: Path, first: VideoFrame, data: bytes, rotate: int) -> None:
        self._exif = np.array(_ORIENTATIONS[orientation(data)])
        super().__init__(path, first, None, rotate)

    def picture_of(self, frame: VideoFrame, data: bytes) -> np.ndarray | None:
        """As `picture`, with the content of the frame's file, which holds its orientation."""
        self._exif = np.array(_ORIENTATIONS[orientation(data)])
        return self.picture(frame)

    def picture(self, frame: VideoFrame) -> np.ndarray | None:
        """The picture (H, W, 3) uint8 RGB, upright; None if it is damaged. Raises PipelineError as its base does."""
        if frame.is_corrupt:
            return None
        name = frame.format.name
        try:
            if "f32" in name or "f16" in name:
                frame = _srgb(frame)
            elif name == "pal8" or any(component.is_alpha for component in frame.format.components):
                frame = _over_black(frame)
        except (av.FFmpegError, ValueError):
            return None
        return super().picture(frame)

    def _orientation(self, frame: VideoFrame) -> np.ndarray:
        return self._turn @ self._exif  # PyAV does not tell mirrored orientations of pictures


def _srgb(frame: VideoFrame) -> VideoFrame:
    linear = VideoReformatter().reformat(frame, format="gbrpf32le", threads=1).to_ndarray()
    linear = np.clip(np.nan_to_num(linear), 0, 1)
    curved = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return VideoFrame.from_ndarray(np.round(255 * curved).astype(np.uint8), "rgb24")


def _over_black(frame: VideoFrame) -> VideoFrame:
    rgba = VideoReformatter().reformat(frame, format="rgba", threads=1).to_ndarray()
    alpha = rgba[..., 3:].astype(np.uint16)
    return VideoFrame.from_ndarray((rgba[..., :3] * alpha // 255).astype(np.uint8), "rgb24")


def orientation(data: bytes) -> int:
    """Exif's orientation of a picture, 1 to 8; 1 if the file does not say."""
    try:
        for tiff in _tiff_structures(data):
            return _tag_of_orientation(tiff)
    except struct.error:  # it is cut off
        pass
    return 1


def _tiff_structures(data: bytes) -> Iterator[bytes]:
    """Exif's data in a JPEG, PNG or WebP file; a TIFF file itself. Raises struct.error if the file ends before it."""
    if data[:4] in (b"II*\0", b"MM\0*"):
        yield data
        return
    jpeg, png = data.startswith(b"\xff\xd8"), data.startswith(b"\x89PNG")
    at = 2 if jpeg else 8 if png else 12
    for _ in range(_MOST_PARTS):
        if jpeg:
            name, size = struct.unpack_from(">2sH", data, at)
            if name == b"\xff\xda":  # the picture itself
                return
            start, length, after = at + 4, size - 2, at + 2 + size
        else:
            size, name = struct.unpack_from(">I4s", data, at) if png else struct.unpack_from("<4sI", data, at)[::-1]
            start, length, after = at + 8, size, at + (12 + size if png else 8 + size + size % 2)
        content = data[start : start + length] if name in (b"\xff\xe1", b"eXIf", b"EXIF") else b""
        if content.startswith((b"Exif\0\0", b"II*\0", b"MM\0*")):
            yield content.removeprefix(b"Exif\0\0")
        at = after


def _tag_of_orientation(tiff: bytes) -> int:
    order = "<" if tiff.startswith(b"II") else ">"
    (at,) = struct.unpack_from(f"{order}I", tiff, 4)
    (count,) = struct.unpack_from(f"{order}H", tiff, at)
    for entry in range(count):
        tag, _kind, _length, value = struct.unpack_from(f"{order}HHIH", tiff, at + 2 + 12 * entry)
        if tag == 0x112:
            return int(value) if value in _ORIENTATIONS else 1
    return 1
