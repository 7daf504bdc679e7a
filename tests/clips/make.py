"""Writes small clips of a known film, in the formats of phones, cameras and editors, with FFmpeg's encoders."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import av.filter
import numpy as np
from av.video import VideoFrame
from av.video.codeccontext import VideoCodecContext
from av.video.format import VideoFormat
from av.video.stream import VideoStream

SIZE = 160, 96
# SWS_CS_* of the matrix with which a picture is encoded, by the AVColorSpace that says so in the file.
MATRICES = {
    "bt709": (1, 1), "fcc": (4, 4), "bt470bg": (5, 5), "smpte170m": (6, 5), "smpte240m": (7, 7), "bt2020nc": (9, 9),
}  # fmt: skip
LIMITED, FULL = 1, 2
BT2020, PQ, HLG = 9, 16, 18  # primaries and transfers, as files number them
# Linear RGB of BT.709's primaries to that of BT.2020's (ITU-R BT.2087).
TO_BT2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])


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


def hdr(image: np.ndarray, transfer: int) -> np.ndarray:
    """The SDR picture as one of BT.2020's primaries in PQ or HLG, (H, W, 3) uint16, white at 203 cd/m2 (BT.2408)."""
    light = 203 * (image / 255.0) ** 2.4 @ TO_BT2020.T
    if transfer == PQ:
        power = (light / 10000) ** 0.1593017578125
        value = ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375
    else:  # the light of a display of 1000 cd/m2, whose system gamma 1.2 belongs to the luminance
        luminance = light @ [0.2627, 0.6780, 0.0593] / 1000
        scene = light / 1000 * np.maximum(luminance, 1e-9)[..., None] ** (1 / 1.2 - 1)
        high = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
        value = np.where(scene <= 1 / 12, np.sqrt(3 * scene), high)
    return np.rint(65535 * np.clip(value, 0, 1)).astype(np.uint16)


def wide_gamut(image: np.ndarray) -> np.ndarray:
    """The picture as one of BT.2020's primaries without HDR, (H, W, 3) uint16."""
    return np.rint(65535 * ((image / 255.0) ** 2.4 @ TO_BT2020.T) ** (1 / 2.4)).astype(np.uint16)


def write(  # noqa: PLR0913 - the properties of a clip
    path: Path,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    *,
    pictures: Iterable[np.ndarray] | None = None,
    times: Sequence[float] | None = None,
    fps: Fraction | int = 30,
    options: dict[str, str] | None = None,
    matrix: tuple[int, int] = (2, 5),
    color_range: int = LIMITED,
    primaries: int = 2,
    transfer: int = 2,
    aspect: Fraction | None = None,
    field: str = "prog",
    container: dict[str, str] | None = None,
) -> Path:
    """Encode pictures, twelve of the film by default, at times in seconds, or at the frame rate; returns the path.

    Pictures are uint8 or uint16. ``matrix``: one of MATRICES' values; ``primaries``, ``transfer``: the file's tags;
    ``aspect``: of a pixel; ``field``: of FFmpeg's filter setfield, for interlaced pictures.
    """
    images = map(picture, range(1, 13)) if pictures is None else iter(pictures)
    first = next(images)
    height, width = first.shape[:2]
    time_base = Fraction(1, fps) if times is None else Fraction(1, 90000)
    flagged = av.filter.Graph()
    source = flagged.add_buffer(width=width, height=height, format=VideoFormat(pixels), time_base=time_base)
    flagged.link_nodes(source, flagged.add("setfield", field), flagged.add("buffersink")).configure()
    with av.open(str(path), "w", container_options=container or {}) as output:
        stream = output.add_stream(codec, rate=fps, options=options or {"crf": "4", "qscale": "2", "b": "8M"})
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        stream.time_base = stream.codec_context.time_base = time_base
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect

        def tag(tagged: VideoCodecContext | VideoFrame) -> None:
            tagged.colorspace, tagged.color_range = matrix[0], color_range
            tagged.color_primaries, tagged.color_trc = primaries, transfer

        tag(stream.codec_context)
        for number, image in enumerate(itertools.chain([first], images)):
            rgb = VideoFrame.from_ndarray(image, "rgb24" if image.dtype == np.uint8 else "rgb48le")
            frame = rgb.reformat(
                format=pixels, dst_colorspace=matrix[1], dst_color_range=color_range, interpolation="BICUBIC"
            )
            frame.pts, frame.time_base = number if times is None else round(times[number] * 90000), time_base
            flagged.vpush(frame)
            frame = flagged.vpull()
            tag(frame)
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


def with_edits(source: Path, *parts: tuple[int, float], empty: float = 0.0) -> Path:
    """The MP4 file itself, with an edit list that shows its parts (first frame from 0, seconds), and nothing at first.

    ``empty``: the seconds before the first part. Returns the path.
    """
    with av.open(str(source)) as container:
        stream = container.streams.video[0]
        assert stream.average_rate and stream.time_base
        ticks = round(1 / (stream.average_rate * stream.time_base))
    data = source.read_bytes()
    place = data.index(b"elst") + 12
    _, start = struct.unpack_from(">Ii", data, place)
    edits = [struct.pack(">IiI", round(1000 * seconds), start + first * ticks, 1 << 16) for first, seconds in parts]
    if empty:
        edits.insert(0, struct.pack(">IiI", round(1000 * empty), -1, 1 << 16))
    count = struct.unpack_from(">I", data, place - 4)[0]
    content = data[place - 8 : place - 4] + struct.pack(">I", len(edits)) + b"".join(edits)
    assert count == 1
    source.write_bytes(_with_content(data, (b"moov", b"trak", b"edts", b"elst"), content))
    return source


def with_dolby_vision(source: Path, path: Path) -> Path:
    """The HEVC MP4 file in HLG as phones write Dolby Vision, profile 8.4: its configuration, and metadata a frame.

    The metadata is a NAL unit of its type whose content is none: a decoder must not need it. Returns the path.
    """
    metadata = bytes([62 << 1, 1, 25, 8, 9]) + bytes(range(40))
    with av.open(str(source)) as old, av.open(str(path), "w") as output:
        video = old.streams.video[0]
        stream = output.add_stream_from_template(video)
        for packet in old.demux(video):
            if packet.dts is not None:
                copy = av.Packet(bytes(packet) + struct.pack(">I", len(metadata)) + metadata)
                copy.pts, copy.dts, copy.time_base = packet.pts, packet.dts, packet.time_base
                copy.is_keyframe, copy.stream = packet.is_keyframe, stream
                output.mux(copy)
    profile, level, compatible = 8, 3, 4
    bits = profile << 25 | level << 19 | 0b101 << 16 | compatible << 12
    box = struct.pack(">I4sBBI", 32, b"dvvC", 1, 0, bits) + bytes(18)
    names = b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"hev1"
    data = path.read_bytes()
    start, end = _box(data, names)
    path.write_bytes(_with_content(data, names, data[start + 8 : end] + box))
    return path


def _box(data: bytes, names: Sequence[bytes]) -> tuple[int, int]:
    """Where the box is that is nested in the others, each the first of its name, with its header."""
    start, end = 0, len(data)
    for name in names:
        while data[start + 4 : start + 8] != name:
            start += struct.unpack_from(">I", data, start)[0]
        end = start + struct.unpack_from(">I", data, start)[0]
        if name != names[-1]:
            start += 16 if name == b"stsd" else 8
    return start, end


def _with_content(data: bytes, names: Sequence[bytes], content: bytes) -> bytes:
    """The MP4 file with other content in a box; what comes after the index must not be named by its place."""
    start, end = _box(data, names)
    growth = 8 + len(content) - (end - start)
    changed = bytearray(data[: start + 8] + content + data[end:])
    for count in range(1, len(names) + 1):
        place, _ = _box(data, names[:count])
        struct.pack_into(">I", changed, place, struct.unpack_from(">I", data, place)[0] + growth)
    return bytes(changed)


def with_matrix(source: Path, a: int, b: int, c: int, d: int) -> Path:
    """The MP4 file itself, with the display matrix x' = a x + c y, y' = b x + d y; returns the path."""
    data = source.read_bytes()
    # 40 bytes into the track header's content (version 0), after the header's own eight.
    place = data.index(b"tkhd") + 4 + 40
    assert data[place : place + 4] == (1 << 16).to_bytes(4, "big")
    values = struct.pack(">iiiiii", a << 16, b << 16, 0, c << 16, d << 16, 0)
    source.write_bytes(data[:place] + values + data[place + 24 :])
    return source
