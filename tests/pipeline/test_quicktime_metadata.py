"""The focal length in a clip's metadata, in all the ways that files spell it, and in files that do not."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from wham_blender.pipeline.clip.quicktime_metadata import capture_rate, focal_length

KEY = b"com.apple.quicktime.camera.focal_length.35mm_equivalent"
CLIPS = Path(__file__).parents[1] / "clips"


def atom(name: bytes, *content: bytes) -> bytes:
    inside = b"".join(content)
    return struct.pack(">I4s", 8 + len(inside), name) + inside


def metadata(kind: int, value: bytes, version: bytes = b"", key: bytes = KEY) -> bytes:
    keys = atom(b"keys", struct.pack(">II", 0, 2), atom(b"mdta", b"com.apple.quicktime.make"), atom(b"mdta", key))
    made = atom(struct.pack(">I", 1), atom(b"data", struct.pack(">II", 1, 0), b"Apple"))
    item = atom(struct.pack(">I", 2), atom(b"data", struct.pack(">II", kind, 0), value))
    return atom(b"meta", version, keys, atom(b"ilst", made, item))


VALUES = [(1, b"26"), (21, struct.pack(">i", 26)), (22, struct.pack(">I", 26)), (23, struct.pack(">f", 26.0))]


@pytest.mark.parametrize(("kind", "value"), VALUES)
@pytest.mark.parametrize("version", [b"", bytes(4)], ids=["QuickTime", "ISO"])
@pytest.mark.parametrize("in_track", [False, True])
def test_it_is_read(kind: int, value: bytes, version: bytes, in_track: bool, tmp_path: Path) -> None:
    meta = metadata(kind, value, version)
    movie = atom(
        b"moov", atom(b"mvhd", bytes(100)), atom(b"trak", atom(b"tkhd", bytes(84)), meta) if in_track else meta
    )
    clip = tmp_path / "phone.mov"
    clip.write_bytes(atom(b"ftyp", b"qt  ") + struct.pack(">I4sQ", 1, b"mdat", 16 + 50) + bytes(50) + movie)
    assert focal_length(clip) == 26


@pytest.mark.parametrize("in_user_data", [False, True])
def test_androids_rate_of_slow_motion(in_user_data: bool, tmp_path: Path) -> None:
    meta = metadata(23, struct.pack(">f", 240.0), bytes(4), b"com.android.capture.fps")
    clip = tmp_path / "phone.mp4"
    clip.write_bytes(atom(b"ftyp", b"isom") + atom(b"moov", atom(b"udta", meta) if in_user_data else meta))
    assert capture_rate(clip) == 240
    assert focal_length(clip) is None


@pytest.mark.parametrize("size", range(0, 400, 7))
def test_half_a_header_says_nothing_or_the_truth(size: int, tmp_path: Path) -> None:
    clip = tmp_path / "phone.mov"
    clip.write_bytes((atom(b"ftyp", b"qt  ") + atom(b"moov", metadata(1, b"26")))[:size])
    assert focal_length(clip) in (None, 26)


@pytest.mark.parametrize("value", [b"0", b"-3", b"nan", b"wide", b"\xff"])
def test_nonsense_is_not_believed(value: bytes, tmp_path: Path) -> None:
    clip = tmp_path / "phone.mov"
    clip.write_bytes(atom(b"moov", metadata(1, value)))
    assert focal_length(clip) is None


@pytest.mark.parametrize("size", [1 << 63, (1 << 64) - 1, 16 + (1 << 40)])
def test_an_atom_beyond_the_file_ends_the_search(size: int, tmp_path: Path) -> None:
    clip = tmp_path / "phone.mov"
    clip.write_bytes(struct.pack(">I4sQ", 1, b"mdat", size) + atom(b"moov", metadata(1, b"26")))
    assert focal_length(clip) is None


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize(("count", "found"), [(9_000, 26), (10_000, None)])
def test_atoms_beyond_a_limit_are_not_searched(count: int, found: float | None, nested: bool, tmp_path: Path) -> None:
    """Millions of empty atoms would take minutes."""
    clip = tmp_path / "phone.mov"
    empty, content = struct.pack(">I4s", 8, b"free") * count, metadata(1, b"26")
    clip.write_bytes(atom(b"moov", empty + content) if nested else empty + atom(b"moov", content))
    assert focal_length(clip) == found


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "phone.mov")
    assert focal_length(tmp_path / "phone.mov") is None


def test_clips_without_it(tmp_path: Path) -> None:
    assert focal_length(CLIPS / "walk_and_jump.mp4") is None
    assert focal_length(tmp_path / "gone.mp4") is None
