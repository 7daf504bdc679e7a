"""From packets to upright RGB pictures: decodes, deinterlaces and converts frames, each by its own format."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from pathlib import Path

import av
import av.filter
import cv2
import numpy as np
from av.buffer import Buffer
from av.container import InputContainer
from av.packet import Packet
from av.video import VideoFrame, VideoStream
from av.video.reformatter import Interpolation, VideoReformatter

from ... import limits
from ..errors import PipelineError
from .container import CONVERT, check_size

_QUARTER_TURN = np.array([[0, -1], [1, 0]])  # clockwise: x, y (down) becomes -y, x
# Of yuv formats, swscale converts those of the matrices up to BT.2020's, without YCgCo.
_UNKNOWN_MATRICES = {8: "YCgCo", 10: "BT.2020, constant luminance", 11: "SMPTE ST 2085", 14: "ICtCp", 15: "IPT-C2"}
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

    def __iter__(self) -> Iterator[VideoFrame | float]:
        before = None
        for frame in _deinterlaced(self._decoded()):
            now = stamp(frame)
            if now is not None:
                lost = list(self._lost(before, now))
                if before is None:
                    self.undecoded_before_first = len(lost)
                else:
                    yield from lost
                before = now
            yield frame
        if before is not None:
            yield from self._lost(before, math.inf)

    def _decoded(self) -> Iterator[VideoFrame]:
        for packet in _packets(self._container, self._stream):
            if packet and packet.pts is not None and not packet.is_discard and self._stream.time_base:
                heapq.heappush(self._sent, float(packet.pts * self._stream.time_base))
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
            graph, graph_format = _bwdif(frame), frame_format
        if graph:
            yield from _filtered(graph, frame)
        else:
            yield frame
    if graph:
        yield from _filtered(graph, None)


def _bwdif(frame: VideoFrame) -> av.filter.Graph:
    """A filter graph for frames like this one; progressive ones pass it unchanged."""
    graph = av.filter.Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base)
    graph.link_nodes(source, graph.add("bwdif", "mode=send_frame:deint=interlaced"), graph.add("buffersink"))
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
    """Converts frames of one clip to upright RGB pictures of the size of its first frame.

    ``rotate``: 0, 90, 180 or 270 degrees clockwise, after the clip's own rotation.
    """

    def __init__(self, path: Path, first: VideoFrame, rotate: int) -> None:
        if rotate not in (0, 90, 180, 270):
            raise ValueError(f"a clip cannot be turned by {rotate} degrees")
        check_size(path, first.width, first.height)
        self._path = path
        self._turn = np.linalg.matrix_power(_QUARTER_TURN, rotate // 90)
        self._reformatter = VideoReformatter()
        self._turned = _swaps_sides(self._orientation(first))
        self.width, self.height = (first.height, first.width) if self._turned else (first.width, first.height)

    def picture(self, frame: VideoFrame) -> np.ndarray | None:
        """The frame (H, W, 3) uint8 RGB, upright; None if it is damaged.

        Raises PipelineError if its aspect ratio is not that of the first frame, or its colours cannot be converted.
        """
        if frame.is_corrupt:
            return None
        try:
            rgb = self._reformatter.reformat(frame, format="rgb24", interpolation=Interpolation.BICUBIC, threads=1)
            image = rgb.to_ndarray()
        except (av.FFmpegError, ValueError, AssertionError) as error:
            if matrix := _UNKNOWN_MATRICES.get(frame.colorspace):
                raise PipelineError(
                    f"The colours of {self._path.name} ({matrix}) cannot be converted. {CONVERT}", code="clip-colours"
                ) from error
            return None
        if rgb.format.name != "rgb24" or image.shape != (frame.height, frame.width, 3):
            return None
        return self._with_first_size(_oriented(image, self._orientation(frame)))

    def _orientation(self, frame: VideoFrame) -> np.ndarray:
        return self._turn @ display_matrix(frame)

    def _with_first_size(self, image: np.ndarray) -> np.ndarray:
        height, width = image.shape[:2]
        if (width, height) == (self.width, self.height):
            return image
        if abs(width / height * self.height / self.width - 1) > _ASPECT_TOLERANCE:
            raise PipelineError(
                f"The picture of {self._path.name} changes from {self.width} x {self.height} to {width} x {height} "
                "pixels. Cut the clip there, and import the parts one by one.",
                code="clip-size-changes",
            )
        shrinks = width > self.width
        return cv2.resize(
            image, (self.width, self.height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        )


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
    return np.ascontiguousarray(image)
