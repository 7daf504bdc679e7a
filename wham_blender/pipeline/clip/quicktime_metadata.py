"""Reads the focal length and the rate of slow motion that phones write into QuickTime and MP4 files.

Format: Apple, *QuickTime File Format*; keys: Apple's and Android's.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator
from pathlib import Path

from ...files import open_regular

_FOCAL_LENGTH = b"com.apple.quicktime.camera.focal_length.35mm_equivalent"
_CAPTURE_RATE = b"com.android.capture.fps"
_HOLDERS = (b"trak", b"udta")  # of metadata, beside the film itself; FFmpeg writes them into the latter
_MAX_HEADER = 64 << 20  # bytes; phones write shorter ones
_MAX_ATOMS = 10_000  # side by side; a fragmented film of hours has as many, each after the header
_NUMBER_FORMATS = {21: ">i", 22: ">I", 23: ">f", 24: ">d"}  # by well-known type; type 1 is text


def focal_length(clip: Path) -> float | None:
    """The 35 mm equivalent focal length in millimetres; None if missing, or the clip is no MP4 or QuickTime file."""
    value = _number(clip, _FOCAL_LENGTH)
    return value if value and 5 <= value <= 1000 else None


def capture_rate(clip: Path) -> float | None:
    """Frames per second at which an Android phone filmed, whatever the file plays at; None as in `focal_length`."""
    value = _number(clip, _CAPTURE_RATE)
    return value if value and 1 <= value <= 10_000 else None


def _number(clip: Path, key: bytes) -> float | None:
    """The number that the file's metadata give for a key; None if there is none."""
    try:
        movie = _header(clip)
        for holder in (movie, *(content for name, content in _atoms(movie) if name in _HOLDERS)):
            for name, content in _atoms(holder):
                if name == b"meta" and (value := _value(content, key)) is not None:
                    return value
    except (OSError, struct.error, ValueError, OverflowError):  # OverflowError: an atom of 2^63 bytes
        pass  # a damaged header
    return None


def _header(clip: Path) -> bytes:
    """The content of the file's ``moov`` atom."""
    with open_regular(clip) as stream:
        for start in itertools.islice(iter(lambda: stream.read(8), b""), _MAX_ATOMS):
            size, name = struct.unpack(">I4s", start)
            size = struct.unpack(">Q", stream.read(8))[0] - 16 if size == 1 else size - 8
            if size < 0:
                break
            if name == b"moov":
                return stream.read(size) if size <= _MAX_HEADER else b""
            stream.seek(size, 1)
    return b""


def _atoms(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and content of consecutive atoms."""
    offset = 0
    for _ in range(_MAX_ATOMS):
        if offset + 8 > len(content):
            return
        size, name = struct.unpack_from(">I4s", content, offset)
        if size < 8:
            return
        yield name, content[offset + 8 : offset + size]
        offset += size


def _value(meta: bytes, key: bytes) -> float | None:
    """The number for a key in a ``meta`` atom: ``keys`` lists names, ``ilst`` their values by index."""
    children = dict(_atoms(meta))
    if b"keys" not in children:
        children = dict(_atoms(meta[4:]))  # ISO files have a version first
    names = [content for _, content in _atoms(children.get(b"keys", b"")[8:])]
    for number, item in _atoms(children.get(b"ilst", b"")):
        index = struct.unpack(">I", number)[0] - 1
        if index < len(names) and names[index] == key:
            data = dict(_atoms(item)).get(b"data", b"")
            kind = struct.unpack_from(">I", data)[0]
            return (
                float(data[8:].decode())
                if kind == 1
                else float(struct.unpack(_NUMBER_FORMATS.get(kind, ">f"), data[8:])[0])
            )
    return None
