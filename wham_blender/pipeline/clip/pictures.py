"""From packets to upright RGB pictures: decodes, deinterlaces and converts frames, each by its own format."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import av.filter
import cv2
import numpy as np
from av.buffer import Buffer
from av.container import InputContainer
from av.packet import Packet
from av.video import VideoFrame, VideoStream

from ... import limits
from ..errors import PipelineError
from . import tone_mapping
from .container import CONVERT, THREADS, check_size

_QUARTER_TURN = np.array([[0, -1], [1, 0]])  # clockwise: x, y (down) becomes -y, x
# Of yuv formats, swscale converts those of the matrices up to BT.2020's, without YCgCo.
_UNKNOWN_MATRICES = {8: "YCgCo", 10: "BT.2020, constant luminance", 11: "SMPTE ST 2085", 14: "ICtCp", 15: "IPT-C2"}
_NO_MATRICES = {0, 2, 3}  # RGB, unspecified, reserved
_BT709, _BT601, _BT2020 = 1, 6, 9
_HD_WIDTH, _SD_HEIGHT = 1280, 576  # pixels; larger pictures without a matrix are BT.709's, as in mpv
_MOST_ASPECT = 4  # of a pixel; lenses and formats have up to 2, others come from damaged headers
_SQUARE_TOLERANCE = Fraction(1, 200)  # such pixels come from rounding when a film was scaled
_ASPECT_TOLERANCE = 0.02  # of a frame's aspect ratio: pixels are rounded when a stream changes to a smaller size


class Decoder:
    """Decodes a clip from its position on, once, in order of presentation; interlaced frames become progressive.

    Instead of a frame that could not be decoded comes its stamp, seconds. The clip ends where it cannot be read on.
    Iterating raises PipelineError if one packet gives more frames than any honest one.
    """

    def __init__(self, path: Path, container: InputContainer, stream: VideoStream) -> None:
        self.undecoded_before_first = 0  # frames that need others from before the clip's beginning; players hide them
        self._path, self._container, self._stream = path, container, stream
        self._sent: list[float] = []  # heap of the stamps of packets whose frames have not come yet
        self._frame_seconds = 1 / float(stream.guessed_rate or 30)
        # AVI holds no presentation times. Those that FFmpeg finds for H.264 with B-frames jump back and forth.
        self._counted = container.format.name == "avi"

    def __iter__(self) -> Iterator[VideoFrame | float]:
        before = None
        for frame in _deinterlaced(self._decoded()):
            now = stamp(frame)
            if now is not None:
                lost = list(self._lost(before, now))
                if before is not None:
                    yield from lost
                elif not self._counted:  # else the decoder holds frames back, and the first has a later one's count
                    self.undecoded_before_first = len(lost)
                before = now
            yield frame
        if before is not None:
            yield from self._lost(before, math.inf)

    def _decoded(self) -> Iterator[VideoFrame]:
        for packet in _packets(self._container, self._stream):
            ticks = None if packet is None or packet.is_discard else packet.dts if self._counted else packet.pts
            if ticks is not None and self._stream.time_base:
                heapq.heappush(self._sent, float(ticks * self._stream.time_base))
            try:
                frames = self._stream.decode(packet)
            except (av.FFmpegError, ValueError):
                continue
            if packet and len(frames) > limits.CLIP_PACKET_FRAMES:
                raise PipelineError(
                    f"One packet of {self._path.name} holds {len(frames)} frames. {CONVERT}", code="clip-unreadable"
                )
            for frame in frames:
                frame.time_base = self._stream.time_base
                if self._counted:
                    frame.pts = frame.dts
                yield frame

    def _lost(self, before: float | None, now: float) -> Iterator[float]:
        """Stamps of packets between two frames, about a frame from both: fields and hidden frames lie nearer."""
        distance = 0.75 * self._frame_seconds
        while self._sent and self._sent[0] < now + 1e-6:
            waiting = heapq.heappop(self._sent)
            if (before is None or waiting > before + distance) and waiting < now - distance:
                before = waiting
                yield waiting


def _packets(container: InputContainer, stream: VideoStream) -> Iterator[Packet[VideoStream] | None]:
    """The stream's packets, and None at the end, for which the decoder gives what it still holds."""
    try:
        for packet in container.demux(stream):
            if packet.size:  # an empty one would end decoding
                yield packet
    except (av.FFmpegError, OSError, ValueError, LookupError):  # LookupError: PyAV's, of a stream that begins late
        pass  # the file breaks off or is damaged here
    yield None


def _deinterlaced(frames: Iterator[VideoFrame]) -> Iterator[VideoFrame]:
    """The same frames; interlaced ones are replaced by progressive ones (BWDIF), which keep their times."""
    graph, graph_format = None, None
    for frame in frames:
        frame_format = frame.format.name, frame.width, frame.height
        if graph and frame_format != graph_format:
            yield from _filtered(graph, None)
            graph = None
        if not graph and frame.interlaced_frame:
            # Progressive frames pass it unchanged.
            graph, graph_format = _graph(frame, ("bwdif", "mode=send_frame:deint=interlaced")), frame_format
        if graph:
            yield from _filtered(graph, frame)
        else:
            yield frame
    if graph:
        yield from _filtered(graph, None)


def _graph(frame: VideoFrame, *filters: tuple[str, str]) -> av.filter.Graph:
    """FFmpeg's filters one after the other, each with its arguments, for frames like this one."""
    graph = av.filter.Graph()
    graph.threads = THREADS
    time_base = frame.time_base or Fraction(1, 1000)  # a single picture has none
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=time_base)
    graph.link_nodes(source, *(graph.add(name, arguments) for name, arguments in filters), graph.add("buffersink"))
    graph.configure()
    return graph


def _filtered(graph: av.filter.Graph, frame: VideoFrame | None) -> Iterator[VideoFrame]:
    """What the graph gives after a frame, or after the last one."""
    graph.vpush(frame)
    while True:
        try:
            yield graph.vpull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return


def stamp(frame: VideoFrame) -> float | None:
    """The frame's presentation time in the clip's own time, seconds; None if the file does not say."""
    ticks = frame.dts if frame.pts is None else frame.pts
    return None if ticks is None or not frame.time_base else float(ticks * frame.time_base)


class Converter:
    """Converts frames of one clip to upright RGB pictures with square pixels, of the size of its first frame.

    ``aspect``: width of a pixel by its height. ``rotate``: 0, 90, 180 or 270 degrees clockwise, after the clip's own
    rotation.
    """

    def __init__(self, path: Path, first: VideoFrame, aspect: Fraction | None, rotate: int) -> None:
        if rotate not in (0, 90, 180, 270):
            raise ValueError(f"a clip cannot be turned by {rotate} degrees")
        self._path, self._aspect = path, aspect
        self._turn = np.linalg.matrix_power(_QUARTER_TURN, rotate // 90)
        self._matrix: np.ndarray | None = None
        self._rotation = 0
        self._stored = _square_size(first, aspect)  # width and height before rotation
        self.width, self.height = self._upright(self._stored, first)
        check_size(path, self.width, self.height)
        self._graph: av.filter.Graph | None = None
        self._graph_formats: tuple[object, ...] = ()

    def picture(self, frame: VideoFrame) -> np.ndarray | None:
        """The frame (H, W, 3) uint8 RGB, upright; None if it is damaged.

        Raises PipelineError if its aspect ratio is not that of the first frame, or its colours cannot be converted.
        """
        if frame.is_corrupt:
            return None
        self._check_aspect(frame)
        if matrix := _UNKNOWN_MATRICES.get(frame.colorspace):
            raise PipelineError(
                f"The colours of {self._path.name} ({matrix}) cannot be converted. {CONVERT}", code="clip-colours"
            )
        transfer, primaries = frame.color_trc, frame.color_primaries
        needs_sdr = tone_mapping.is_needed(transfer, primaries)
        try:
            image = self._rgb(frame, "rgb48le" if needs_sdr else "rgb24")
        except (av.FFmpegError, ValueError, AssertionError):
            self._graph = None
            return None
        if needs_sdr:
            image = tone_mapping.to_sdr(image, transfer, primaries)
        return _oriented(image, self._orientation(frame))

    def _rgb(self, frame: VideoFrame, pixels: str) -> np.ndarray:
        """The frame as it is stored, (H, W, 3), scaled to square pixels; rows may be padded.

        By a filter, which uses the memory of pictures again: new memory takes as long as converting a 4K picture.
        """
        formats = frame.format.name, frame.width, frame.height, pixels
        if not self._graph or formats != self._graph_formats:
            width, height = self._stored
            # Without scaling, chroma of more than 8 bits is repeated, as FFmpeg does for 8 bits: a fifth faster.
            method = "neighbor" if (frame.width, frame.height) == self._stored else "bicublin"
            self._graph = _graph(frame, ("scale", f"{width}:{height}:flags={method}"), ("format", pixels))
            self._graph_formats = formats
        tags = frame.colorspace, frame.color_trc, frame.color_primaries
        frame.colorspace = _matrix(frame)
        frame.color_trc = frame.color_primaries = tone_mapping.UNKNOWN  # swscale refuses those that it does not know
        try:
            self._graph.vpush(frame)
        finally:
            frame.colorspace, frame.color_trc, frame.color_primaries = tags
        rgb = self._graph.vpull()
        plane, item = rgb.planes[0], 2 if pixels == "rgb48le" else 1
        return np.ndarray(  # to_ndarray copies where rows are padded
            (rgb.height, rgb.width, 3), f"<u{item}", memoryview(plane), strides=(plane.line_size, 3 * item, item)
        )

    def _orientation(self, frame: VideoFrame) -> np.ndarray:
        """The matrix (2, 2) from stored to upright pixels, read again where the frame's rotation changes.

        Not for each frame: PyAV's side data and its frame hold each other, so that some thirty frames in 4K would stay
        in memory until Python looks for such pairs.
        """
        if self._matrix is None or frame.rotation != self._rotation:
            self._matrix, self._rotation = self._turn @ display_matrix(frame), frame.rotation
        return self._matrix

    def _upright(self, size: tuple[int, int], frame: VideoFrame) -> tuple[int, int]:
        return size[::-1] if _swaps_sides(self._orientation(frame)) else size

    def _check_aspect(self, frame: VideoFrame) -> None:
        width, height = self._upright(_square_size(frame, self._aspect), frame)
        if abs(width / height * self.height / self.width - 1) > _ASPECT_TOLERANCE:
            raise PipelineError(
                f"The picture of {self._path.name} changes from {self.width} x {self.height} to {width} x {height} "
                "pixels. Cut the clip there, and import the parts one by one.",
                code="clip-size-changes",
            )


def _square_size(frame: VideoFrame, aspect: Fraction | None) -> tuple[int, int]:
    """Width and height of the frame with square pixels, before rotation; nothing gets smaller, as in players."""
    width, height, aspect = frame.width, frame.height, aspect or Fraction(1)
    if not 1 / _MOST_ASPECT <= aspect <= _MOST_ASPECT or abs(aspect - 1) < _SQUARE_TOLERANCE:
        return width, height
    return (round(width * aspect), height) if aspect > 1 else (width, round(height / aspect))


def _matrix(frame: VideoFrame) -> int:
    """The frame's colour matrix (AVColorSpace); where the file does not say, the one that players take."""
    if frame.format.is_rgb or frame.colorspace not in _NO_MATRICES:
        return frame.colorspace
    if tone_mapping.is_bt2020(frame.color_trc, frame.color_primaries):
        return _BT2020
    return _BT709 if frame.width >= _HD_WIDTH or frame.height > _SD_HEIGHT else _BT601


def display_matrix(frame: VideoFrame) -> np.ndarray:
    """The matrix (2, 2) that takes stored pixels x, y (down) to displayed ones; positive factors mean nothing."""
    try:
        data = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # PyAV does not know all kinds of side data
        angle = -np.radians(frame.rotation)
        return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    if not isinstance(data, Buffer):
        return np.eye(2)
    return np.frombuffer(bytes(data), np.int32, 9).reshape(3, 3)[:2, :2].T / 65536


def _swaps_sides(matrix: np.ndarray) -> bool:
    return float(np.abs(np.diag(matrix)).sum()) < float(np.abs(matrix).sum()) / 2


def _oriented(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """The picture turned and mirrored as the matrix says; other angles count as the nearest quarter turn."""
    if _swaps_sides(matrix):
        image, across, down = cv2.transpose(image), matrix[0, 1], matrix[1, 0]
    else:
        across, down = matrix[0, 0], matrix[1, 1]
    if across < 0 or down < 0:
        image = cv2.flip(image, -1 if across < 0 and down < 0 else 1 if across < 0 else 0)
    return image
