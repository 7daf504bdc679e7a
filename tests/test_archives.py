"""Archives and arrays from outside are refused before they cost memory, and others are read as NumPy reads them."""

from __future__ import annotations

import io
import os
import struct
import threading
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from wham_blender import archives, limits
from wham_blender.archives import UnreadableArchive
from wham_blender.files import open_regular, read_bounded

HONEST = {
    "a": np.arange(6.0).reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(6, dtype="f4").reshape(2, 3)),
    "text": np.array("Gehört zu " * 500),
    "empty": np.zeros((0, 3)),
    "truth": np.array(True),
    "number": np.int64(3),
    "flags": np.array([True, False]),
    "big-endian": np.arange(5, dtype=">i2"),
    "p0/poses": np.ones((2, 72), np.float16),
}
SMALL = 1 << 22  # bytes that may be allocated for a file that is refused


def npz(path: Path, header: str, content: bytes = b"", method: int = zipfile.ZIP_DEFLATED) -> Path:
    """An archive of one array ``a`` with that text as its header."""
    text = header.encode("latin1")
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("a.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + content)
    return path


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_honest_files_are_read_as_numpy_reads_them(tmp_path: Path, save: object) -> None:
    path = tmp_path / "a.npz"
    save(path, **HONEST)  # type: ignore[operator]
    found = archives.arrays(path)
    assert list(found) == list(HONEST)
    for name, value in HONEST.items():
        expected = np.asarray(value)
        assert (found[name].dtype, found[name].shape) == (expected.dtype, expected.shape)
        assert np.array_equal(found[name], expected)
        assert found[name].flags.writeable
    assert archives.headers(path)["a"].shape == (2, 3)
    assert list(archives.arrays(path, ["flags", "not there"])) == ["flags"]


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
        "{'descr': [('x', '<f4')], 'fortran_order': False, 'shape': (1,), }",
        "{'descr': '<M8', 'fortran_order': False, 'shape': (1,), }",
        "{'descr': '<f3', 'fortran_order': False, 'shape': (1,), }",
        "{'descr': '<U99999', 'fortran_order': False, 'shape': (1,), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999999, 99999999999999), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (" + "1, " * 20 + "), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (-1,), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': " + "(" * 9000,
        "",
    ],
)
def test_headers_of_other_kinds_are_refused(tmp_path: Path, header: str) -> None:
    with pytest.raises(UnreadableArchive):
        archives.arrays(npz(tmp_path / "a.npz", header, bytes(8)))


def test_an_array_that_claims_more_than_it_has_costs_no_memory(tmp_path: Path) -> None:
    path = npz(tmp_path / "a.npz", "{'descr': '<f8', 'fortran_order': False, 'shape': (60000000,), }", bytes(8))
    tracemalloc.start()
    with pytest.raises(UnreadableArchive, match="another size"):
        archives.arrays(path)
    assert tracemalloc.get_traced_memory()[1] < SMALL
    tracemalloc.stop()


def test_a_member_that_unpacks_to_more_than_its_entry_says_costs_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data.pkl", bytes(200 * limits.MB))
    content = bytearray(path.read_bytes())
    struct.pack_into("<L", content, 22, 500)  # of the member itself
    struct.pack_into("<L", content, content.rfind(b"PK\x01\x02") + 24, 500)  # of the list of members
    path.write_bytes(content)
    tracemalloc.start()
    with pytest.raises(UnreadableArchive), archives.opened(path) as archive:
        archives.content(archive, archive.infolist()[0], 1000)
    assert tracemalloc.get_traced_memory()[1] < SMALL
    tracemalloc.stop()


def test_a_member_above_the_limit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.pkl", b"12345")
    with archives.opened(path) as archive:
        (entry,) = archive.infolist()
        assert archives.content(archive, entry, 5) == b"12345"
        with pytest.raises(UnreadableArchive, match="more than 4"):
            archives.content(archive, entry, 4)


def test_members_that_nobody_asked_for_are_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(4):
            archive.writestr(f"{number}.npy", bytes(200 * limits.MB))
        wanted = io.BytesIO()
        np.save(wanted, np.ones(3))
        archive.writestr("wanted.npy", wanted.getvalue())
    tracemalloc.start()
    assert archives.arrays(path, ["wanted"])["wanted"].tolist() == [1, 1, 1]
    with pytest.raises(UnreadableArchive, match="bytes, more than"):
        archives.arrays(path)
    assert tracemalloc.get_traced_memory()[1] < SMALL
    tracemalloc.stop()


def test_an_archive_with_a_huge_list_of_members_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(3000):
            archive.writestr(f"{number:01400}", b"")
    tracemalloc.start()
    with pytest.raises(UnreadableArchive, match="more members"), archives.opened(path):
        pass
    assert tracemalloc.get_traced_memory()[1] < SMALL
    tracemalloc.stop()


def test_every_flipped_bit_gives_the_same_arrays_or_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, **HONEST)  # type: ignore[arg-type]
    content = bytearray(path.read_bytes())
    random = np.random.default_rng(0)
    refused = 0
    for place in random.integers(0, len(content), 600):
        bit = 1 << int(random.integers(8))
        content[place] ^= bit
        path.write_bytes(content)
        try:
            found = archives.arrays(path)
        except UnreadableArchive as error:
            assert str(error)
            refused += 1
        else:  # a flip in a time stamp, or in the name of a member
            assert all(np.array_equal(found[name], np.asarray(HONEST[name])) for name in found.keys() & HONEST.keys())
        content[place] ^= bit
    assert refused > 300


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, tmp_path, Path("/dev/zero")):
        with pytest.raises(OSError, match="not a regular file"):
            open_regular(path)
        with pytest.raises(OSError, match="not a regular file"):
            archives.arrays(path)
    assert threading.active_count() < 50
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        with pytest.raises(OSError, match="not a regular file"):
            open_regular(tmp_path)
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors


def test_a_file_beyond_its_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"12345")
    assert read_bounded(path, 5) == b"12345"
    with pytest.raises(OSError, match="more than 4 bytes"):
        read_bounded(path, 4)
