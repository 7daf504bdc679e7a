"""Reads the tensors of published weight files safely, and says what a file is if it is the wrong one.

Only tensors are taken from a file: code that it names is never run. ``torch.load`` is not used: with ``weights_only``
it still calls what allocates as much memory as the file says. The formats: torch/serialization.py in PyTorch's source.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import os
import re
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import torch
from torch import Tensor, nn

from .. import archives, limits
from ..errors import reason
from ..files import open_regular
from ..restricted_pickle import Call, Name, Reader, Stored, UnsafePickle
from ..weights import WeightsError, published_for
from ..weights.contents import Contents, is_archive, is_page, load, pickle_reader, recognise

Tensors = dict[str, Tensor]
Network = TypeVar("Network", bound=nn.Module)

# Tensors, and what training tools store beside them (settings, counters), which is ignored.
_TENSOR_NAMES = (
    r"collections\.(OrderedDict|defaultdict|Counter)|_codecs\.encode|copyreg\._reconstructor"
    r"|torch(\.cuda|\.storage)?\.\w*(Storage|Tensor)|torch\.(Size|device|bool|(u?int|b?float|complex)\d\w*)"
    r"|torch\.(_utils\._rebuild_\w+|_tensor\._rebuild_from_type_v2|nn\.parameter\.Parameter|serialization\._get_layout)"
)
_TRAINING_NAMES = (
    r"(omegaconf|yacs|pytorch_lightning|lightning|lightning_fabric|numpy|typing|pathlib|argparse|mmcv|mmengine)\..*"
    r"|builtins\.(dict|list|tuple|set|frozenset|int|float|complex|bool|str|bytes|bytearray|object)"
)
_ELEMENTS = {
    "DoubleStorage": torch.float64, "FloatStorage": torch.float32, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
}  # fmt: skip
_LOCAL_HEADER = struct.Struct("<4s22xHH")  # of a zip's member: the lengths of its name and extra field are at the end


def read(path: str | Path) -> Tensors:
    """Every tensor of a checkpoint (a PyTorch file or ``.npz``) by name, memory-mapped if the file allows it.

    Raises WeightsError if the file is damaged, unsafe or holds no tensors.
    """
    path = Path(path)
    if path.suffix == ".npz":
        with _sentences(path):
            return {name: torch.from_numpy(array) for name, array in archives.arrays(path).items()}
    checkpoint = read_checkpoint(path, _TRAINING_NAMES)
    with _sentences(path):
        content = checkpoint.content
        for key in ("state_dict", "model"):
            inner = _mapping(_mapping(content).get(key))
            if inner:
                content = inner
                break
        found = {str(name): checkpoint.tensor(value) for name, value in _mapping(content).items()}
    tensors = {name: tensor for name, tensor in found.items() if tensor is not None}
    if not tensors:
        raise WeightsError(f"{path.name} holds no weights. Choose another file.", code="weights-wrong-file")
    return tensors


def _mapping(record: object) -> Mapping[Any, Any]:
    """The items of a recorded dictionary, also of a class of its own; none for other records."""
    return record if isinstance(record, dict) else (record.items or {}) if isinstance(record, Call) else {}


@dataclass
class Checkpoint:
    """What is in a PyTorch file: the records of its pickle, and its tensors."""

    content: Any
    _file: mmap.mmap
    _places: dict[str, tuple[int, int]]  # of the storages by their keys: offset in the file, and bytes
    _left: int = field(init=False)  # bytes of tensors that may still be made

    def __post_init__(self) -> None:
        self._left = 2 * len(self._file) + limits.BROADCAST_BYTES

    def tensor(self, record: object) -> Tensor | None:
        """The tensor of a record, None if it is no tensor. Raises ValueError if it reaches beyond its data."""
        for _ in range(3):  # a parameter, or a tensor with attributes, is wrapped in another call
            match record:
                case Call(name="torch._utils._rebuild_tensor" | "torch._utils._rebuild_tensor_v2"):
                    return self._view(*record.args[:4])
                case Call(name="torch._tensor._rebuild_from_type_v2", args=(Name(function), _, tuple(args), *_)):
                    record = Call(function, args)
                case Call(name=name, args=(inner, *_)) if name.startswith("torch._utils._rebuild_parameter"):
                    record = inner
        return None

    def _view(self, storage: Any, first: Any, shape: Any, strides: Any) -> Tensor:
        if not isinstance(storage, Stored):
            raise ValueError("a tensor has no data")
        name, element, count = _storage_key(storage.key)
        offset, size = self._places[name]
        (first,), shape, strides = _sizes((first,)), _sizes(shape), _sizes(strides)
        span = 1 + sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True))
        if count * element.itemsize > size or first + span > count:
            raise ValueError("a tensor reaches beyond its data")
        numbers = math.prod(shape)
        self._count(numbers * element.itemsize)
        if not numbers:
            return torch.empty(shape, dtype=element)
        offset += first * element.itemsize
        if offset % element.itemsize == 0:
            part = torch.frombuffer(self._file, dtype=element, count=span, offset=offset)
        else:  # in files of PyTorch before 1.6; not all processors read such numbers
            self._count(span * element.itemsize)
            part = torch.frombuffer(bytearray(self._file[offset : offset + span * element.itemsize]), dtype=element)
        return torch.as_strided(part, shape, strides)

    def _count(self, size: int) -> None:
        """Count the bytes of a tensor before it is made."""
        self._left -= size
        if self._left < 0:
            raise ValueError("its tensors are larger than the file")


def _sizes(record: Any) -> tuple[int, ...]:
    """A shape or strides: numbers that are neither negative nor absurd. Raises ValueError."""
    if isinstance(record, Call) and record.name == "torch.Size" and record.args:
        record = record.args[0]
    if not isinstance(record, (tuple, list)) or len(record) > limits.ARRAY_DIMENSIONS:
        raise ValueError("a tensor has no shape")
    if not all(type(size) is int and 0 <= size < 1 << 48 for size in record):
        raise ValueError("a tensor has an impossible shape")
    return tuple(record)


def _storage_key(key: Any) -> tuple[str, torch.dtype, int]:
    """Name, type and number of the elements of a storage. Raises ValueError if it is of no known kind."""
    if isinstance(key, tuple) and len(key) >= 5 and key[0] == "storage" and isinstance(key[1], Name):
        element = _ELEMENTS.get(key[1].text.rpartition(".")[2])
        (count,) = _sizes((key[4],))
        if element and isinstance(key[2], str) and key[5:] in ((), (None,)):
            return key[2], element, count
    raise ValueError("it stores tensors in an unknown way")


def read_checkpoint(path: Path, names: str) -> Checkpoint:
    """A PyTorch file. ``names``: pattern of the classes and functions that it may name, besides those of tensors.

    Nothing that the file names is imported, instantiated or called. Raises WeightsError if the file is damaged, or
    names anything else.
    """
    allows = re.compile(f"{_TENSOR_NAMES}|{names}").fullmatch
    with _sentences(path), open_regular(path) as stream:
        head = stream.read(512)
        if is_page(head):
            raise WeightsError(
                f"{path.name} is a web page, not weights: the download asked for a login or a click. Open the page in "
                "a browser, download the file there, and choose that.",
                code="weights-web-page",
            )
        size = os.fstat(stream.fileno()).st_size
        if is_archive(head):
            with archives.opened(path) as archive:
                reader = pickle_reader(archive, allows=allows)
                places = _members(archive, stream, size)
            content = reader.load()
        else:
            stream.seek(0)
            reader = Reader(stream, size, allows)
            content, legacy = load(reader)
            places = _parts(reader, stream, size) if legacy else {}
        # Copy on write: the file itself can never be changed through a tensor.
        return Checkpoint(content, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY), places)


def _members(archive: zipfile.ZipFile, stream: BinaryIO, size: int) -> dict[str, tuple[int, int]]:
    """Offset and bytes of the storages, which are members of the archive that are not compressed."""
    places = {}
    for entry in archive.infolist():
        folder, _, name = entry.filename.rpartition("/")
        if name == "byteorder" and archive.open(entry).read(16) != b"little":
            raise ValueError("its numbers are stored in another order")
        if not folder.endswith("/data") or entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
            continue
        stream.seek(entry.header_offset)
        signature, *lengths = _LOCAL_HEADER.unpack(stream.read(_LOCAL_HEADER.size))
        offset = entry.header_offset + _LOCAL_HEADER.size + sum(lengths)
        if signature != b"PK\x03\x04" or offset + entry.file_size > size:
            raise ValueError("a member of the archive is damaged")
        places[name] = offset, entry.file_size
    return places


def _parts(reader: Reader, stream: BinaryIO, size: int) -> dict[str, tuple[int, int]]:
    """Offsets and sizes of the storages in a file of PyTorch before 1.6: each follows its count, behind the pickles."""
    elements = {name: element for name, element, _ in map(_storage_key, reader.stored)}
    names = reader.load()
    places = {}
    for name in names if isinstance(names, list) else ():
        (count,) = struct.unpack("<q", stream.read(8))
        offset, length = stream.tell(), count * elements[name].itemsize
        if count < 0 or offset + length > size:
            raise ValueError("the data of a tensor are incomplete")
        places[name] = offset, length
        stream.seek(length, 1)
    return places


@contextlib.contextmanager
def _sentences(path: Path) -> Iterator[None]:
    """Whatever a file makes its readers raise in the block is raised as a WeightsError."""
    try:
        yield
    except UnsafePickle as error:
        raise WeightsError(
            f"The weight file {path.name} is not safe: it asks for the code {error}, which no weights need. "
            "Nothing of it was run. Download the file again from its own page.",
            code="weights-unsafe",
        ) from error
    except MemoryError as error:
        raise WeightsError(
            f"The weight file {path.name} cannot be read: this computer has too little free memory. Close other "
            "programs, and try again.",
            code="out-of-memory",
        ) from error
    except (OSError, LookupError, TypeError, ValueError, RuntimeError, struct.error) as error:  # whatever damage raises
        raise WeightsError(
            f"The weight file {path.name} cannot be read: it is incomplete or no PyTorch file ({reason(error)}). "
            "Download it again, and compare its size with the page's.",
            code="weights-damaged",
        ) from error


def load_network(path: str | Path, role: str, build: Callable[[Tensors], Network]) -> Network:
    """The network that ``build`` constructs from a checkpoint's tensors.

    ``role``: of the published file that is expected. Raises WeightsError if the file is another one, or damaged.
    """
    path = Path(path)
    expected = published_for(role)
    found = Contents(role, "") if path.suffix == ".npz" else recognise(path)
    tensors = read(path) if found.role in (role, None) else {}
    if found.role != role:
        raise WeightsError(
            f"{path.name} is {found.description}, not {expected.title}. Choose {expected.name}.",
            code="weights-wrong-file",
        )
    try:
        return build(tensors)
    except (WeightsError, RuntimeError, ValueError, TypeError, LookupError, ArithmeticError) as error:
        raise WeightsError(
            f"{path.name} is damaged, or another version. {reason(error)}", code="weights-damaged"
        ) from error
