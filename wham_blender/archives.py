"""Reads zip archives and the arrays of ``.npz`` files from outside: all sizes are checked before memory is allocated.

`numpy.load` is not used: it allocates whatever an array's header says, and evaluates that header as Python text. The
formats: NumPy Enhancement Proposal 1, and PKWARE's APPNOTE.TXT. Standard library and NumPy only; NumPy is imported when
an array is read, because the list of weight files is drawn without it.
"""

from __future__ import annotations

import contextlib
import os
import re
import struct
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, BinaryIO

from . import limits
from .errors import CodedError
from .files import open_regular

if TYPE_CHECKING:
    import numpy as np

_END_RECORD = b"PK\x05\x06"
_END_BYTES = 22 + 0xFFFF  # of the end record with the longest comment
_MAGIC = b"\x93NUMPY"
_LONGEST_HEADER = 10_000  # bytes, as NumPy's own limit
# Numbers, booleans and text of known size: no objects, structures or dates.
_HEADER = re.compile(
    r"\{'descr': '([<>|=])([biufU])(\d{1,5})', 'fortran_order': (True|False), 'shape': \(((?:\d{1,18}, ?)*\d{0,18},?)\)"
    r",? *\}\s*"
)
_ALLOWED = {"b": {1}, "i": {1, 2, 4, 8}, "u": {1, 2, 4, 8}, "f": {2, 4, 8}}
_CHARACTERS = 1 << 16  # of a text array; a motion's meta has a few thousand
_BLOCK = 1 << 20  # bytes
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class UnreadableArchive(ValueError):
    """An archive or an array in it is damaged, too large or of an unknown kind; the text says which."""


@dataclass(frozen=True)
class ArrayHeader:
    """What an ``.npy`` header says."""

    dtype: str  # NumPy's, "<f4"
    shape: tuple[int, ...]
    fortran_order: bool
    bytes: int  # of the data


@contextlib.contextmanager
def opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """A zip archive to be read. Raises OSError if it is no regular file, UnreadableArchive if it cannot be read.

    Whatever the zip module raises in the block for a damaged member is raised as UnreadableArchive, too.
    """
    with open_regular(path) as stream:
        try:
            _check_directory(stream)
            with zipfile.ZipFile(stream) as archive:
                # Reading a few bytes of the other compressions can unpack gigabytes at once.
                if any(entry.compress_type not in _COMPRESSIONS for entry in archive.infolist()):
                    raise UnreadableArchive("a member is compressed by another method than deflate")
                yield archive
        except (OSError, UnreadableArchive, MemoryError, CodedError):
            raise
        except Exception as error:  # zipfile raises a dozen types, RuntimeError and NotImplementedError among them
            raise UnreadableArchive(str(error) or type(error).__name__) from error


def _check_directory(stream: BinaryIO) -> None:
    """Refuse an archive whose list of members takes more memory than any honest one's."""
    size = stream.seek(0, 2)
    stream.seek(max(0, size - _END_BYTES))
    tail = stream.read()
    start = tail.rfind(_END_RECORD)
    if start < 0 or len(tail) < start + 22:
        raise UnreadableArchive("it is no zip archive, or was cut off")
    (directory,) = struct.unpack_from("<L", tail, start + 12)
    if directory == 0xFFFFFFFF or tail[max(0, start - 20) : start].startswith(b"PK\x06\x07"):
        stream.seek(0)  # a file above 4 GB: its size is in another record, whose place the next one holds
        if start < 20:
            raise UnreadableArchive("its end is damaged")
        (offset,) = struct.unpack_from("<Q", tail, start - 12)
        if offset + 56 > size:
            raise UnreadableArchive("its end is damaged")
        stream.seek(offset)
        (directory,) = struct.unpack_from("<Q", stream.read(56), 40)
    if directory > limits.ZIP_DIRECTORY_BYTES:
        raise UnreadableArchive("it holds more members than any file of this kind")
    stream.seek(0)


def names(path: Path) -> set[str]:
    """The names of all arrays in an ``.npz``. Raises as `opened` does."""
    with opened(path) as archive:
        return {name.removesuffix(".npy") for name in archive.namelist()}


def content(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, most: int) -> bytes:
    """A member of an open archive. Raises UnreadableArchive if it has more than ``most`` bytes.

    `zipfile.ZipFile.read` is not used: what unpacks to more than its entry says, it unpacks whole before it complains.
    """
    if entry.file_size > most:
        raise UnreadableArchive(f"{entry.filename} unpacks to {entry.file_size} bytes, more than {most}")
    with archive.open(entry) as stream:
        return stream.read(entry.file_size)


def headers(path: Path, wanted: Iterable[str] | None = None) -> dict[str, ArrayHeader]:
    """The headers of the arrays of an ``.npz`` whose names are in ``wanted``; all if None. Raises as `opened` does."""
    with opened(path) as archive:
        found = {}
        for name, entry in _entries(archive, wanted).items():
            with archive.open(entry) as stream:
                found[name] = _header(stream)
        return found


def _entries(archive: zipfile.ZipFile, wanted: Iterable[str] | None) -> dict[str, zipfile.ZipInfo]:
    """The members by the names of their arrays: those in ``wanted``, or all if None."""
    chosen = None if wanted is None else set(wanted)
    found = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
    return {name: entry for name, entry in found.items() if chosen is None or name in chosen}


def arrays(path: Path, wanted: Iterable[str] | None = None, most: int = limits.ARRAYS_BYTES) -> dict[str, np.ndarray]:
    """The arrays of an ``.npz`` whose names are in ``wanted`` and that it has; all of them if None.

    Other members are not unpacked. Raises OSError if the file is no regular file or cannot be read, UnreadableArchive
    if it is damaged, an array is of another kind than numbers and text, or the arrays have more than ``most`` bytes.
    """
    with opened(path) as archive:
        entries = _entries(archive, wanted)
        if (total := sum(entry.file_size for entry in entries.values())) > most:
            raise UnreadableArchive(f"its arrays have {total} bytes, more than {most}")
        found = {}
        for name, entry in entries.items():
            with archive.open(entry) as stream:
                found[name] = _array(stream, entry.file_size)
        return found


def stored(path: Path, least: int, most: int = limits.ARRAYS_BYTES) -> dict[str, tuple[ArrayHeader, int]]:
    """The arrays of an ``.npz`` that can be mapped: those that are not compressed and have ``least`` bytes or more.

    Their headers, and where in the file the numbers begin. They are read through, block by block, so that damaged ones
    are refused. Raises as `arrays` does.
    """
    with opened(path) as archive, open_regular(path) as file:
        entries = {
            name: entry
            for name, entry in _entries(archive, None).items()
            if entry.compress_type == zipfile.ZIP_STORED and entry.file_size >= least
        }
        if (total := sum(entry.file_size for entry in entries.values())) > most:
            raise UnreadableArchive(f"its arrays have {total} bytes, more than {most}")
        found = {}
        for name, entry in entries.items():
            with archive.open(entry) as stream:
                header = _header(stream)
                begin = stream.tell()
                while stream.read(_BLOCK):  # its checksum is compared at the end
                    pass
                if stream.tell() - begin != header.bytes:
                    raise UnreadableArchive("an array has another size than its header says")
            file.seek(entry.header_offset + 26)  # behind 30 bytes and two texts of these lengths, the numbers begin
            lengths = struct.unpack("<HH", file.read(4))
            found[name] = header, entry.header_offset + 30 + sum(lengths) + begin
        return found


def array_file(path: Path, most: int = limits.ARRAYS_BYTES) -> np.ndarray:
    """The array of an ``.npy``. Raises as `arrays` does."""
    with open_regular(path) as stream:
        if (size := os.fstat(stream.fileno()).st_size) > most:
            raise UnreadableArchive(f"its array has {size} bytes, more than {most}")
        return _array(stream, size)


def _array(stream: IO[bytes], size: int) -> np.ndarray:
    """The array in the format ``.npy`` that is all of a stream of ``size`` bytes."""
    import numpy as np

    header = _header(stream)
    if stream.tell() + header.bytes != size:
        raise UnreadableArchive("an array has another size than its header says")
    # Filled block by block: a member that unpacks to less than its header says must not cost its size.
    content = bytearray()
    while block := stream.read(min(_BLOCK, header.bytes + 1 - len(content))):  # its checksum is compared at the end
        content += block
    if len(content) != header.bytes:
        raise UnreadableArchive("an array was cut off")
    array = np.frombuffer(content, header.dtype)
    return array.reshape(header.shape, order="F" if header.fortran_order else "C")


def _header(stream: IO[bytes]) -> ArrayHeader:
    """Read the header of an array in the format ``.npy``."""
    start = stream.read(8)
    if start[:6] != _MAGIC or len(start) < 8 or start[6] not in (1, 2, 3):
        raise UnreadableArchive("a member is no array")
    width, code = (2, "<H") if start[6] == 1 else (4, "<L")
    (length,) = struct.unpack(code, stream.read(width).ljust(width, b"\0"))
    if length > _LONGEST_HEADER:
        raise UnreadableArchive("the header of an array is too long")
    match = _HEADER.fullmatch(stream.read(length).decode("latin1"))
    if not match:
        raise UnreadableArchive("an array is damaged, or holds other things than numbers and text")
    order, kind, size, fortran, sizes = match.groups()
    shape = tuple(int(each) for each in sizes.split(",") if each.strip())
    return checked_header(f"{order}{kind}{size}", shape, fortran == "True")


def checked_header(dtype: str, shape: tuple[int, ...], fortran_order: bool) -> ArrayHeader:
    """An ArrayHeader after a check of type and shape. Raises UnreadableArchive; sizes of data are not limited."""
    kind, size = dtype[1], int(dtype[2:])
    if (size > _CHARACTERS) if kind == "U" else (size not in _ALLOWED.get(kind, set())):
        raise UnreadableArchive(f"an array has elements of the unknown kind {dtype}")
    if len(shape) > limits.ARRAY_DIMENSIONS or any(not 0 <= each < 1 << 48 for each in shape):
        raise UnreadableArchive("an array has an impossible shape")
    count = 1
    for each in shape:
        count *= each
    return ArrayHeader(dtype, shape, fortran_order, count * (4 * size if kind == "U" else size))
