"""Writes small clips of a known film, in the formats of phones, cameras and editors, with FFmpeg's encoders."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import av.filter
import numpy as np
from av.video import VideoFrame
from av.video.format import VideoFormat
from av.video.stream import VideoStream

SIZE = 160, 96
# SWS_CS_* of the matrix with which a picture is encoded, by the AVColorSpace that says so in the file.
MATRICES = {
    "bt709": (1, 1), "fcc": (4, 4), "bt470bg": (5, 5), "smpte170m": (6, 5), "smpte240m": (7, 7), "bt2020nc": (9, 9),
}  # fmt: skip
LIMITED, FULL = 1, 2


def picture(number: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Frame ``number``, from 1, (H, W, 3) RGB: colours that a wrong matrix changes, and a red box that moves right."""
    width, height = size
    image = np.full((height, width, 3), 90, np.uint8)
    image[..., 0] = np.linspace(40, 215, width)[None]
    image[..., 1] = np.linspace(215, 40, height)[:, None]
    side = width // 5
    left = round(0.02 * width * number) % (width - side)
    image[height // 4 : height * 3 // 4, left : left + side] = 220, 60, 40
    return image


def woven(number: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """An interlaced frame: the upper field shows the film's frame 2 n - 1, the lower the next."""
    image = picture(2 * number - 1, size)
    image[1::2] = picture(2 * number, size)[1::2]
    return image


def write(  # noqa: PLR0913 - the properties of a clip
    path: Path,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    *,
    pictures: Sequence[np.ndarray] | None = None,
    times: Sequence[float] | None = None,
    fps: Fraction | int = 30,
    options: dict[str, str] | None = None,
    matrix: tuple[int, int] = (2, 5),
    color_range: int = LIMITED,
    field: str = "prog",
    container: dict[str, str] | None = None,
) -> Path:
    """Encode pictures, twelve of the film by default, at times in seconds, or at the frame rate; returns the path.

    ``matrix``: one of MATRICES' values; ``field``: of FFmpeg's filter setfield, for interlaced pictures.
    """
    images = [picture(number) for number in range(1, 13)] if pictures is None else pictures
    height, width = images[0].shape[:2]
    time_base = Fraction(1, fps) if times is None else Fraction(1, 90000)
    flagged = av.filter.Graph()
    source = flagged.add_buffer(width=width, height=height, format=VideoFormat(pixels), time_base=time_base)
    flagged.link_nodes(source, flagged.add("setfield", field), flagged.add("buffersink")).configure()
    with av.open(str(path), "w", container_options=container or {}) as output:
        stream = output.add_stream(codec, rate=fps, options=options or {"crf": "4", "qscale": "2", "b": "8M"})
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        stream.time_base = stream.codec_context.time_base = time_base
        stream.codec_context.colorspace, stream.codec_context.color_range = matrix[0], color_range
        for number, image in enumerate(images):
            frame = VideoFrame.from_ndarray(image, "rgb24").reformat(
                format=pixels, dst_colorspace=matrix[1], dst_color_range=color_range, interpolation="BICUBIC"
            )
            frame.pts, frame.time_base = number if times is None else round(times[number] * 90000), time_base
            flagged.vpush(frame)
            frame = flagged.vpull()
            frame.colorspace, frame.color_range = matrix[0], color_range
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def rewrapped(
    source: Path,
    path: Path,
    *,
    delay: float = 0.0,
    slower: int = 1,
    sound: float = 0.0,
    keep: Callable[[int], bool] = lambda number: True,
    options: dict[str, str] | None = None,
) -> Path:
    """The same packets in another container, ``delay`` seconds later, with seconds of silence; returns the path.

    ``slower``: so many times slower, as slow motion is.
    ``keep``: whether the packet of that number, from 0, stays.
    """
    with av.open(str(source)) as old, av.open(str(path), "w", container_options=options or {}) as output:
        video = old.streams.video[0]
        stream = output.add_stream_from_template(video)
        if sound:
            silence = output.add_stream("aac", rate=48000, layout="mono")
            for start in range(0, round(sound * 48000), 1024):
                frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
                frame.sample_rate, frame.pts = 48000, start
                output.mux(silence.encode(frame))
        for number, packet in enumerate(old.demux(video)):
            if packet.dts is None or packet.pts is None or not keep(number):
                continue
            ticks = round(delay / packet.time_base)
            packet.pts, packet.dts, packet.stream = slower * packet.pts + ticks, slower * packet.dts + ticks, stream
            packet.duration = slower * (packet.duration or 0)
            output.mux(packet)
    return path


def trimmed(source: Path, first: int, seconds: float) -> Path:
    """The MP4 file itself, with an edit list that hides what is before frame ``first`` and after some seconds."""
    data = bytearray(source.read_bytes())
    with av.open(str(source)) as container:
        stream = container.streams.video[0]
        assert stream.average_rate and stream.time_base
        ticks = first * round(1 / (stream.average_rate * stream.time_base))
    entry = data.index(b"elst") + 12
    _, start = struct.unpack_from(">Ii", data, entry)
    struct.pack_into(">Ii", data, entry, round(1000 * seconds), start + ticks)
    source.write_bytes(data)
    return source


def with_matrix(source: Path, a: int, b: int, c: int, d: int) -> Path:
    """The MP4 file itself, with the display matrix x' = a x + c y, y' = b x + d y; returns the path."""
    data = source.read_bytes()
    # 40 bytes into the track header's content (version 0), after the header's own eight.
    place = data.index(b"tkhd") + 4 + 40
    assert data[place : place + 4] == (1 << 16).to_bytes(4, "big")
    values = struct.pack(">iiiiii", a << 16, b << 16, 0, c << 16, d << 16, 0)
    source.write_bytes(data[:place] + values + data[place + 24 :])
    return source
