"""Strategies for damaged and crafted files, given valid ones: bytes, zip archives, .npy arrays, pickles."""

from __future__ import annotations

import pickle
import pickletools
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

# Sizes, counts and offsets that overflow, or ask for much memory.
SIZES = (
    0,
    1,
    2,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0xFFFF,
    1 << 24,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    1 << 40,
    2**63 - 1,
    2**64 - 1,
)


def place(size: int) -> SearchStrategy[int]:
    """An offset in ``size`` bytes, often near the beginning or the end, where headers are."""
    last = max(0, size - 1)
    near = min(last, 300)
    return st.one_of(st.integers(0, last), st.integers(0, near), st.integers(last - near, last))


class Seed(bytes):
    """A valid file; hypothesis writes its arguments into messages, where the content would be too long."""

    def __repr__(self) -> str:
        return f"{len(self)} bytes"


class Members(dict[str, bytes]):
    """The members of a valid archive."""

    def __repr__(self) -> str:
        return f"{len(self)} members"


def damaged(valid: bytes, most: int = 4) -> SearchStrategy[bytes]:
    """A file with up to ``most`` bits, bytes, blocks and numbers changed, or cut off."""
    return _damaged(Seed(valid), most)


@st.composite
def _damaged(draw: DrawFn, valid: bytes, most: int) -> bytes:
    data = valid
    for _ in range(draw(st.integers(1, most))):
        at = draw(place(len(data)))
        length = draw(st.sampled_from((1, 2, 4, 8, 16, 64, 512, 4096)))
        match draw(
            st.sampled_from(("bit", "byte", "number", "number", "cut", "delete", "repeat", "insert", "zero", "swap"))
        ):
            case "bit" if data:
                data = data[:at] + bytes([data[at] ^ 1 << draw(st.integers(0, 7))]) + data[at + 1 :]
            case "byte":
                data = data[:at] + bytes([draw(st.integers(0, 255))]) + data[at + 1 :]
            case "number":
                code = draw(st.sampled_from(("<H", ">H", "<L", ">L", "<Q", ">Q")))
                width = struct.calcsize(code)
                number = struct.pack(code, draw(st.sampled_from(SIZES)) % (1 << 8 * width))
                data = data[:at] + number + data[at + width :]
            case "cut":
                data = data[:at]
            case "delete":
                data = data[:at] + data[at + length :]
            case "repeat":
                data = data[: at + length] + data[at : at + length] * draw(st.integers(1, 8)) + data[at + length :]
            case "insert":
                data = data[:at] + draw(st.binary(max_size=16)) + data[at:]
            case "zero":
                data = data[:at] + bytes(length) + data[at + length :]
            case "swap":
                other = draw(place(len(data)))
                block = data[other : other + length]
                data = data[:at] + block + data[at + length :]
    return data


# --- zip archives ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Member:
    """A member as it is written, whose fields need not be true."""

    name: bytes
    raw: bytes  # as stored
    method: int = 0  # 8: deflated
    crc: int = 0
    size: int = 0  # unpacked
    packed: int | None = None  # None: the size of ``raw``
    flags: int = 0
    name_inside: bytes | None = None  # in the header before the data; None: the same

    @classmethod
    def of(cls, name: str, content: bytes, deflate: bool = False) -> Member:
        """A valid member."""
        raw = zlib.compress(content, 6, -15) if deflate else content
        return cls(name.encode(), raw, 8 if deflate else 0, zlib.crc32(content), len(content))


def zipped(members: list[Member]) -> bytes:
    """A zip archive (PKWARE's APPNOTE.TXT) of these members."""
    body, directory = bytearray(), bytearray()
    for member in members:
        packed = len(member.raw) if member.packed is None else member.packed
        fields = struct.pack(
            "<HHHHLLL", member.flags, member.method, 0, 0x21, member.crc, packed % (1 << 32), member.size % (1 << 32)
        )
        offset, inside = len(body), member.name if member.name_inside is None else member.name_inside
        body += b"PK\x03\x04\x14\0" + fields + struct.pack("<HH", len(inside), 0) + inside + member.raw
        directory += (
            b"PK\x01\x02\x14\0\x14\0" + fields + struct.pack("<HHHHHLL", len(member.name), 0, 0, 0, 0, 0, offset)
        )
        directory += member.name
    count = len(members) % (1 << 16)
    return bytes(body + directory) + struct.pack(
        "<4sHHHHLLH", b"PK\x05\x06", 0, 0, count, count, len(directory), len(body), 0
    )


@cache
def deflated(megabytes: int, head: bytes = b"") -> bytes:
    """``head`` and then so many MB of zeros, deflated to a thousandth."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    start = packer.compress(head) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return start + block * megabytes + packer.flush()


def bomb(name: str, megabytes: int, size: int, head: bytes = b"") -> Member:
    """A member that unpacks to so many MB and says that it has ``size`` bytes."""
    return Member(name.encode(), deflated(megabytes, head), 8, 0, size)


Inner = Callable[[str, bytes], SearchStrategy[bytes]]  # takes name and content of a member


def archives(members: Mapping[str, bytes], inner: Inner) -> SearchStrategy[bytes]:
    """A zip archive of these members, some of them changed by ``inner``, with fields that are wrong."""
    return _archives(Members(members), inner)


@st.composite
def _archives(draw: DrawFn, members: Mapping[str, bytes], change: Inner) -> bytes:
    deflate = draw(st.booleans())
    chosen = draw(st.sets(st.sampled_from(sorted(members)), max_size=2))
    written = []
    for name, content in members.items():
        written.append(Member.of(name, draw(change(name, content)) if name in chosen else content, deflate))
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(written) - 1))
        member, size = written[at], draw(st.sampled_from(SIZES))
        match draw(
            st.sampled_from(
                ("drop", "twice", "rename", "inside", "size", "packed", "crc", "flags", "method", "bomb", "honest bomb")
            )
        ):
            case "drop" if len(written) > 1:
                del written[at]
            case "twice":
                written.append(member)
            case "rename":
                written[at] = replace(member, name=draw(_names(members)))
            case "inside":
                written[at] = replace(member, name_inside=draw(_names(members)))
            case "size":
                written[at] = replace(member, size=size)
            case "packed":
                written[at] = replace(member, packed=size)
            case "crc":
                written[at] = replace(member, crc=member.crc ^ 1)
            case "flags":
                written[at] = replace(member, flags=draw(st.sampled_from((1, 8, 0x40, 0x800, 0x2000))))
            case "method":
                written[at] = replace(member, method=draw(st.sampled_from((0, 1, 8, 9, 12, 14, 93, 99))))
            case "bomb":
                written[at] = bomb(member.name.decode("utf-8", "replace"), 3000, member.size, member.raw[:64])
            case "honest bomb":
                written[at] = bomb(member.name.decode("utf-8", "replace"), 3000, 3000 << 20, member.raw[:64])
    whole = zipped(written)
    return draw(damaged(whole, 2)) if draw(st.integers(0, 3)) == 0 else whole


def _names(members: Mapping[str, bytes]) -> SearchStrategy[bytes]:
    odd = (
        b"",
        b"/",
        b"../../x.npy",
        b"a\0b",
        b"\xff\xfe",
        b"x" * 60000,
        b"data.pkl",
        b"archive/data.pkl",
        b"p0/poses.npy",
    )
    return st.sampled_from((*odd, *(name.encode() for name in members)))


# --- .npy arrays -----------------------------------------------------------------------------------------------------

_DESCRIPTIONS = (
    "'<f4'", "'<f8'", "'<i8'", "'|b1'", "'|O'", "'<U4'", "'<U1000000000'", "'|S9'", "'|V8'", "'<M8[s]'", "'>f8'",
    "'<c16'", "'<f16'",
    "'<f2'", "'<f'", "''", "None", "7", "[('a', '<f8')]", "[('a', '|O')]", "('<f8', (1000000000,))", "'<f8,|O'",
    "(" * 300 + ")" * 300, "[" * 5000, "'<U0'", "'<i999999'",
)  # fmt: skip
_COUNTS = (0, 1, 3, 24, 72, 1000, 1 << 20, 1 << 31, 1 << 40, 1 << 62, 10**30, -1, -(1 << 63))


def npy(valid: bytes) -> SearchStrategy[bytes]:
    """An array with another header, or damaged."""
    return _npy(Seed(valid))


@st.composite
def _npy(draw: DrawFn, valid: bytes) -> bytes:
    if draw(st.booleans()):
        return draw(damaged(valid))
    shape = draw(st.lists(st.sampled_from(_COUNTS), max_size=4)) if draw(st.integers(0, 9)) else [1] * 100
    text = draw(st.sampled_from((
        "{{'descr': {0}, 'fortran_order': {1}, 'shape': {2}, }}", "{{'descr': {0}, 'shape': {2}}}",
        "{{'shape': {2}, 'fortran_order': {1}, 'descr': {0}}}",
    )))  # fmt: skip
    order = draw(st.sampled_from(("True", "False", "None", "1")))
    header = text.format(draw(st.sampled_from(_DESCRIPTIONS)), order, tuple(shape)).encode()
    version = draw(st.sampled_from((1, 1, 1, 2, 3, 0, 9)))
    length = draw(st.sampled_from((len(header) + 1,) * 5 + (0, 65535, 1 << 31)))
    start = struct.pack("<H", min(length, 65535)) if version == 1 else struct.pack("<L", length)
    body = draw(st.sampled_from((b"", bytes(8), bytes(4096), valid[128:])))
    return b"\x93NUMPY" + bytes([version, 0]) + start + header + b"\n" + body


# --- pickles ---------------------------------------------------------------------------------------------------------

# What SMPL's files and PyTorch's name, and what attackers name.
NAMES = (
    "numpy ndarray", "numpy dtype", "numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct",
    "numpy.core.multiarray scalar", "numpy._core.numeric _frombuffer", "scipy.sparse.csc csc_matrix",
    "scipy.sparse._csr csr_matrix", "chumpy.ch Ch", "chumpy.reordering Select", "copyreg _reconstructor",
    "copy_reg _reconstructor", "__builtin__ object", "builtins set", "builtins list", "builtins bytearray",
    "_codecs encode",
    "collections OrderedDict", "collections defaultdict", "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_parameter", "torch FloatStorage", "torch LongStorage", "torch Size",
    "torch.nn.modules.conv Conv2d",
    "ultralytics.nn.tasks DetectionModel", "omegaconf.dictconfig DictConfig", "os system", "builtins eval",
    "builtins getattr",
    "numpy load", "x y", " ", "a.b.c d.e.f",
)  # fmt: skip
_TEXTS = ("", "x", "shape", "_shape", "data", "indices", "f8", "O8", "|", "<", "latin1", "f" * 300, "é", "v_template")
_NUMBERS = (*SIZES, -1, -(2**31), 10**40, 0.5, 1e308, float("inf"), float("nan"))

_plain = st.one_of(
    st.sampled_from((None, True, False, (), b"", bytes(8), bytes(64))),
    st.sampled_from(_TEXTS),
    st.sampled_from(_NUMBERS),
)


def _assembled(value: object) -> bytes:
    return pickle.dumps(value, 2)[2:-1]


def _call(name: str, arguments: list[bytes], state: bytes | None) -> bytes:
    module, _, attribute = name.partition(" ")
    called = f"c{module}\n{attribute}\n".encode() + b"(" + b"".join(arguments) + b"tR"
    return called if state is None else called + state + b"b"


def _expressions() -> SearchStrategy[bytes]:
    """Opcodes that leave one value on the stack: numbers, texts, collections, and calls with states."""
    return st.recursive(
        _plain.map(_assembled),
        lambda inner: st.one_of(
            st.builds(_call, st.sampled_from(NAMES), st.lists(inner, max_size=4), st.none() | inner),
            st.lists(inner, max_size=4).map(lambda each: b"(" + b"".join(each) + b"t"),
            st.lists(inner, max_size=4).map(lambda each: b"](" + b"".join(each) + b"e"),
            st.lists(st.tuples(_plain.map(_assembled), inner).map(b"".join), max_size=3).map(
                lambda each: b"}(" + b"".join(each) + b"u"
            ),
        ),
        max_leaves=8,
    )


def _argument(name: str) -> SearchStrategy[bytes]:
    """The encoded argument of an opcode by pickletools' name of its kind."""
    text = st.sampled_from(_TEXTS).map(str.encode)
    size = st.sampled_from(SIZES)

    def counted(width: int) -> SearchStrategy[bytes]:
        return st.builds(
            lambda body, lie: ((len(body) if lie is None else lie) % (1 << 8 * width)).to_bytes(width, "little") + body,
            text, st.none() | st.none() | size,
        )  # fmt: skip

    fixed = {"uint1": 1, "uint2": 2, "int4": 4, "uint4": 4, "uint8": 8, "float8": 8}
    widths = {
        "string1": 1, "string4": 4, "bytes1": 1, "bytes4": 4, "bytes8": 8, "bytearray8": 8, "unicodestring1": 1,
        "unicodestring4": 4, "unicodestring8": 8, "long1": 1, "long4": 4,
    }  # fmt: skip
    if name in fixed:
        return size.map(lambda number: (number % (1 << 8 * fixed[name])).to_bytes(fixed[name], "little"))
    if name in widths:
        return counted(widths[name])
    if name == "stringnl_noescape_pair":
        return st.sampled_from(NAMES).map(lambda full: full.replace(" ", "\n", 1).encode() + b"\n")
    if name.startswith(("decimalnl", "floatnl")):
        return st.sampled_from((*map(str, _NUMBERS), "00", "9" * 5000, "", "L", "1_0")).map(
            lambda n: n.encode() + b"\n"
        )
    return st.sampled_from(("'x'", '"', "x", "'\\x", "", "\\ud800")).map(lambda line: line.encode() + b"\n")


def _opcode(code: bytes, argument: SearchStrategy[bytes]) -> SearchStrategy[bytes]:
    return argument.map(lambda encoded: code + encoded)


@cache
def opcodes() -> SearchStrategy[bytes]:
    """Any opcode with any argument."""
    return st.one_of(*(
        _opcode(opcode.code.encode("latin1"), _argument(opcode.arg.name) if opcode.arg else st.just(b""))
        for opcode in pickletools.opcodes
    ))  # fmt: skip


@cache
def _parts(valid: bytes) -> tuple[bytes, ...]:
    """The opcodes of a pickle with their arguments."""
    positions = [position for _, _, position in pickletools.genops(valid)]
    stop = valid.index(b".", positions[-1]) + 1
    return tuple(valid[a:b] for a, b in zip(positions, [*positions[1:], stop], strict=True))


_LONGEST_REPEAT = 4 << 20  # bytes: repeats of repeats would make examples of gigabytes


@st.composite
def _edited(draw: DrawFn, valid: bytes) -> bytes:
    """A valid pickle, some of whose opcodes are replaced, repeated, removed or moved."""
    parts = list(_parts(valid))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(place(len(parts)))
        match draw(st.sampled_from(("replace", "value", "value", "insert", "delete", "repeat", "move"))):
            case "replace":
                parts[at] = draw(opcodes())
            case "value":
                parts[at] = draw(_expressions())
            case "insert":
                parts.insert(at, draw(opcodes()))
            case "delete" if len(parts) > 1:
                del parts[at]
            case "repeat":
                most = max(1, _LONGEST_REPEAT // max(1, len(parts[at])))
                parts[at] *= min(most, draw(st.sampled_from((2, 3, 1000))))
            case "move":
                parts.insert(draw(place(len(parts))), parts.pop(at))
    return b"".join(parts)


@st.composite
def _bombs(draw: DrawFn) -> bytes:
    """Few bytes that ask for much memory or time."""
    count = draw(st.sampled_from((10, 40, 1000, 100_000)))
    memo = struct.pack("<L", draw(st.sampled_from((1 << 20, 1 << 26, 0x7FFFFFFF, 0xFFFFFFFF))))
    name = draw(st.sampled_from(NAMES)).replace(" ", "\n", 1).encode()
    return b"\x80\x02" + draw(st.sampled_from((
        b"]r" + memo + b".", b"]j" + memo + b".", b"]" * count + b"a" * (count - 1) + b".",
        b")" + b"\x85" * count + b".",
        b"]" + b"2\x86" * min(count, 1000) + b".", b"}" + b")" + b"2\x86" * 40 + b"Ns.", b"}" * count + b"(Nu" + b".",
        b"X" + memo + b"x", b"B" + memo + b"x", b"\x8b" + memo + b"\xff", b"\x95" + memo + memo + b"N.",
        b"I" + b"9" * count + b"\n.", b"(" * count + b"t" * count + b".", b"c" + name + b"\n)R" + b"2b" * count + b".",
        b"c" + name + b"\n(J" + memo + b"tR.", b"c" + name + b"\n(J" + memo + b"\x85C\x01btR.", b"N" * count + b".",
        b"]q\0h\0a" + b"h\0a" * count + b".", b"]q\0h\0a0h\0(h\0e.",
    )))  # fmt: skip


def pickles(valid: bytes) -> SearchStrategy[bytes]:
    """Pickles: damaged, edited, of random opcodes or values, and bombs."""
    values = st.lists(st.tuples(st.sampled_from(_TEXTS).map(_assembled), _expressions()).map(b"".join), max_size=4)
    return st.one_of(
        damaged(valid),
        _edited(Seed(valid)),
        _edited(Seed(valid)),
        st.lists(opcodes(), min_size=1, max_size=12).map(lambda each: b"\x80\x02" + b"".join(each) + b"."),
        _expressions().map(lambda value: b"\x80\x02" + value + b"."),
        values.map(lambda each: b"\x80\x02}(" + b"".join(each) + b"u."),
        _bombs(),
    )
