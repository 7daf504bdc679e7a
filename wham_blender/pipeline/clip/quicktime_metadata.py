"""The focal length that a phone wrote into a clip, as Apple's *QuickTime File Format Specification* lays it down."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

_KEY = b"com.apple.quicktime.camera.focal_length.35mm_equivalent"
_LARGEST = 64 << 20  # bytes: a longer header is no phone's
_NUMBERS = {21: ">i", 22: ">I", 23: ">f", 24: ">d"}  # well-known types of values; 1 is text


def focal_length(clip: Path) -> float | None:
    """Millimetres as on 35 mm film, or None where the clip does not say, or is no MP4 or QuickTime file."""
    try:
        movie = _header(clip)
        for holder in (movie, *(content for name, content in _atoms(movie) if name == b"trak")):
            for name, content in _atoms(holder):
                if name == b"meta" and (value := _value(content)) is not None:
                    return value
    except (OSError, struct.error, UnicodeDecodeError, ValueError):
        pass  # a damaged header tells nothing
    return None


def _header(clip: Path) -> bytes:
    """What is inside the file's ``moov`` atom."""
    with clip.open("rb") as stream:
        while len(start := stream.read(8)) == 8:
            size, name = struct.unpack(">I4s", start)
            size = struct.unpack(">Q", stream.read(8))[0] - 16 if size == 1 else size - 8
            if size < 0:
                break
            if name == b"moov":
                return stream.read(size) if size <= _LARGEST else b""
            stream.seek(size, 1)
    return b""


def _atoms(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and content of the atoms in a row."""
    at = 0
    while at + 8 <= len(content):
        size, name = struct.unpack_from(">I4s", content, at)
        if size < 8:
            return
        yield name, content[at + 8 : at + size]
        at += size


def _value(meta: bytes) -> float | None:
    """The focal length in a ``meta`` atom: ``keys`` holds names, ``ilst`` their values by number."""
    parts = dict(_atoms(meta)) or {}
    if b"keys" not in parts:
        parts = dict(_atoms(meta[4:]))  # with a version in front, as ISO has it
    names = [content for _, content in _atoms(parts.get(b"keys", b"")[8:])]
    for number, item in _atoms(parts.get(b"ilst", b"")):
        index = struct.unpack(">I", number)[0] - 1
        if index < len(names) and names[index] == _KEY:
            data = dict(_atoms(item)).get(b"data", b"")
            kind = struct.unpack_from(">I", data)[0]
            value = (
                float(data[8:].decode()) if kind == 1 else float(struct.unpack(_NUMBERS.get(kind, ">f"), data[8:])[0])
            )
            return value if 5 <= value <= 1000 else None
    return None
