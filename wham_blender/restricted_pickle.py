"""Reads pickles from outside without Python's pickle module: nothing that they name is imported, made or called.

Plain values (numbers, text, bytes, lists, tuples, dictionaries) become Python's own; every class and function becomes a
`Name`, and every object a `Call` that records what the pickle would have called. Memory and time are bounded by
``limits``. The format: Lib/pickletools.py in Python's source. Standard library only.
"""

from __future__ import annotations

import codecs
import re
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any

from . import limits

_NAME = re.compile(r"[\w<>]+(\.[\w<>]+)+")
_RENAMED = {"__builtin__": "builtins", "copy_reg": "copyreg"}  # since Python 2
_DICTIONARIES = ("collections.OrderedDict", "collections.defaultdict", "builtins.dict")
_BYTES = ("_codecs.encode", "builtins.bytes", "builtins.bytearray")  # how older protocols write bytes
_SHORT = 64 << 10  # bytes; text above is the content of an array, and stays bytes
_BLOCK = 1 << 20  # bytes
_STEPS_PER_CHECK = 64  # of the time; one step with a crafted dictionary takes milliseconds
_LONGEST_NUMBER = 1000  # bytes or digits; conversion of longer ones takes time with the square of their length
_LARGEST_KEY = 1 << 60  # larger integers can be made to have the same hash, and a dictionary of those takes for ever


class PickleError(ValueError):
    """A pickle is damaged, or larger than any honest one; the text says which."""


class UnsafePickle(Exception):
    """A pickle names a class or function that is not allowed; the text is its name."""


@dataclass(frozen=True, slots=True)
class Name:
    """A class or function."""

    text: str  # "collections.OrderedDict"


@dataclass(frozen=True, slots=True)
class Skipped:
    """A value that was not read because of its size."""

    size: int  # bytes


@dataclass(frozen=True, slots=True)
class Stored:
    """An object that is kept outside of the pickle, such as the storage of a tensor of PyTorch."""

    key: Any


@dataclass(slots=True, eq=False)
class Call:
    """An object as the pickle describes it."""

    name: str  # of its class, or of the function that would make it; empty if that is no name
    args: tuple[Any, ...] = ()
    state: Any = None
    items: dict[Any, Any] | None = None  # None where there are none: a million empty ones would take 120 MB
    elements: list[Any] | None = None


class Reader:
    """Reads the pickles that follow each other in a stream. The limits are for all of them together."""

    def __init__(
        self,
        stream: IO[bytes],
        size: int,
        allows: Callable[[str], object] | None = None,
        longest: int = limits.PICKLE_BYTES,
    ) -> None:
        """size: bytes from the stream's position to its end; longest: values of more bytes are Skipped."""
        self.names: set[str] = set()  # of all classes and functions
        self.stored: list[Any] = []  # keys of all Stored
        self._stream, self._left = stream, size
        self._allows, self._longest = allows, longest
        self._steps = self._bytes = 0
        self._end = time.thread_time() + limits.PICKLE_SECONDS  # this thread's, so that waiting for a disk is free
        self._stack: list[Any] = []
        self._marked: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def load(self) -> Any:
        """The next object. Raises PickleError; UnsafePickle if ``allows`` is false for a name."""
        self._stack, self._marked, self._memo = [], [], {}
        operations = _OPERATIONS
        try:
            while (code := self._read(1)) != b".":
                self._step()
                operations[code](self)
            return self._stack.pop()
        except (LookupError, TypeError, ValueError, struct.error, AttributeError) as error:
            if isinstance(error, PickleError):
                raise
            raise PickleError("it is damaged, or no pickle") from error

    def _step(self) -> None:
        self._steps += 1
        if self._steps % _STEPS_PER_CHECK == 0:
            self._check_time()
            if self._steps > limits.PICKLE_STEPS:
                raise PickleError("it holds more objects than any file of this kind")

    def _check_time(self) -> None:
        if time.thread_time() > self._end:
            raise PickleError("reading it takes longer than any file of this kind")

    def _count(self, size: int) -> None:
        """Count the bytes of a value before it is read."""
        self._bytes += size
        if self._bytes > limits.PICKLE_BYTES:
            raise PickleError("it holds more data than any file of this kind")

    def _read(self, size: int) -> bytes:
        if not 0 <= size <= self._left:
            raise PickleError("it ends too early")
        content = self._stream.read(size)
        if len(content) != size:
            raise PickleError("it ends too early")
        self._left -= size
        return content

    def _number(self, code: str) -> Any:
        return struct.unpack(code, self._read(struct.calcsize(code)))[0]

    def _line(self) -> str:
        """A short line without its end."""
        line = self._stream.readline(min(_LONGEST_NUMBER, self._left))
        self._left -= len(line)
        if not line.endswith(b"\n"):
            raise PickleError("it ends too early, or a number or name is too long")
        return line[:-1].decode("utf-8")

    def _long_line(self) -> bytes | Skipped:
        """A line of any length with its end."""
        content, size = bytearray(), 0
        while not content.endswith(b"\n"):
            block = self._stream.readline(min(_BLOCK, self._left))
            self._left -= len(block)
            size += len(block)
            self._check_time()
            if not block or size > limits.PICKLE_LINE_BYTES:
                raise PickleError("it ends too early, or a text is too long")
            if size > self._longest:
                content.clear()
            content += block
        if size > self._longest:
            return Skipped(size)
        self._count(size)
        return bytes(content)

    def _value(self, size: int) -> bytes | Skipped:
        if not 0 <= size <= self._left:
            raise PickleError("it ends too early")
        if size > self._longest:
            self._stream.seek(size, 1)
            self._left -= size
            return Skipped(size)
        self._count(size)
        return self._read(size)

    def _text(self, content: bytes | Skipped, encoding: str) -> str | bytes | Skipped:
        """Text; where it is long, its characters as the bytes that Python 3 writes so in older protocols."""
        if isinstance(content, Skipped):
            return content
        if len(content) <= _SHORT:
            return content.decode(encoding, "surrogatepass" if encoding == "utf-8" else "strict")
        if encoding == "latin1":
            return content
        # Decoded as a whole, each character may take four bytes.
        blocks = (content[start : start + _BLOCK] for start in range(0, len(content), _BLOCK))
        return b"".join(part.encode("latin1") for part in codecs.iterdecode(blocks, encoding))

    def _since_mark(self) -> list[Any]:
        items, self._stack = self._stack, self._marked.pop()
        return items

    def _named(self, module: str, name: str) -> Name:
        if not (isinstance(module, str) and isinstance(name, str) and len(module) <= 200 and len(name) <= 200):
            raise PickleError("a name is no text, or too long")
        text = f"{_RENAMED.get(module, module)}.{name}"
        if not _NAME.fullmatch(text):
            raise PickleError("a name is damaged")
        if self._allows and not self._allows(text):
            raise UnsafePickle(text)
        self.names.add(text)
        return Name(text)

    def _call(self, function: Any, args: Any) -> Any:
        if not isinstance(args, tuple):
            raise PickleError("the arguments of a call are no tuple")
        name = function.text if isinstance(function, Name) else ""
        if name in _DICTIONARIES:
            made: dict[Any, Any] = {}
            for key, value in args[0] if args and isinstance(args[0], list) else ():  # as Python 2 writes them
                self._put(made, key, value)
            return made
        if name in _BYTES and not args:
            return b""
        if name in _BYTES and isinstance(args[0], (bytes, Skipped)):
            return args[0]
        if name in _BYTES and isinstance(args[0], str):
            self._count(len(args[0]))
            return args[0].encode("latin1")
        return Call(name, args)

    def _put(self, target: Any, key: Any, value: Any) -> None:
        """Set an item. Keys of other types than plain ones are left out: hashing shared tuples may take for ever."""
        self._step()
        if isinstance(target, Call):
            target.items = target = {} if target.items is None else target.items
        if type(target) is not dict:
            raise PickleError("an item is set of what has none")
        if (
            (isinstance(key, int) and abs(key) < _LARGEST_KEY)
            or (isinstance(key, (str, bytes)) and len(key) <= _SHORT)
            or isinstance(key, float)
            or key is None
        ):
            target[key] = value

    def _put_all(self, target: Any, items: list[Any]) -> None:
        if len(items) % 2:
            raise PickleError("a key has no value")
        for index in range(0, len(items), 2):
            self._put(target, items[index], items[index + 1])

    def _extend(self, target: Any, items: list[Any]) -> None:
        if isinstance(target, Call):
            if target.name == "builtins.set" and target.args:  # a set is a call with a list, as in older protocols
                target = target.args[0]
            else:
                target.elements = target = [] if target.elements is None else target.elements
        if type(target) is not list:
            raise PickleError("an element is added to what has none")
        target.extend(items)

    # The operations, by the names of pickletools.

    def _mark(self) -> None:
        self._marked.append(self._stack)
        self._stack = []

    def _pop(self) -> None:
        if self._stack:
            self._stack.pop()
        else:
            self._since_mark()

    def _pop_mark(self) -> None:
        self._since_mark()

    def _ignore(self, size: int) -> None:  # the protocol's number and the sizes of frames
        self._read(size)

    def _integer(self) -> None:  # INT, which older protocols use for truth values as well
        line = self._line()
        self._stack.append({"00": False, "01": True}[line] if line in ("00", "01") else int(line))

    def _long_text(self) -> None:
        self._stack.append(int(self._line().removesuffix("L")))

    def _long_bytes(self, code: str) -> None:
        if (size := self._number(code)) > _LONGEST_NUMBER:
            raise PickleError("a number is too long")
        self._stack.append(int.from_bytes(self._read(size), "little", signed=True))

    def _string(self) -> None:
        line = self._long_line()
        if isinstance(line, bytes):
            quoted = line.strip()
            if len(quoted) < 2 or quoted[:1] != quoted[-1:] or quoted[:1] not in (b"'", b'"'):
                raise PickleError("a text has no quotation marks")
            line = codecs.escape_decode(quoted[1:-1])[0]
        self._stack.append(self._text(line, "latin1"))

    def _unicode(self) -> None:
        line = self._long_line()
        self._stack.append(self._text(line if isinstance(line, Skipped) else line[:-1], "raw-unicode-escape"))

    def _sized_text(self, code: str, encoding: str) -> None:
        self._stack.append(self._text(self._value(self._number(code)), encoding))

    def _persistent(self, key: Any) -> None:
        if isinstance(key, tuple) and len(key) > 1 and key[0] == "module" and isinstance(key[1], Name):
            self._stack.append(key[1])  # PyTorch before 1.6 names the class of a network so, with its source
            return
        self.stored.append(key)
        self._stack.append(Stored(key))

    def _build(self) -> None:
        state = self._stack.pop()
        target = self._stack[-1]
        if isinstance(target, Call):
            target.state = state
        elif type(target) is not dict:  # the attributes of an ordered dictionary are of no use
            raise PickleError("a state is set of what has none")

    def _reduce(self) -> None:
        args = self._stack.pop()
        self._stack[-1] = self._call(self._stack[-1], args)

    def _new_with_keywords(self) -> None:
        self._stack.pop()
        self._reduce()

    def _call_since_mark(self, function: Any = None) -> None:  # OBJ, INST
        items = self._since_mark()
        self._stack.append(self._call(function or items[0], tuple(items if function else items[1:])))

    def _stack_global(self) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        self._stack.append(self._named(module, name))

    def _tuple_of(self, count: int) -> None:
        items = tuple(self._stack[-count:])
        if len(items) != count:
            raise PickleError("it is damaged")
        self._stack[-count:] = [items]

    def _dictionary(self) -> None:
        items, made = self._since_mark(), {}  # type: ignore[var-annotated]
        self._put_all(made, items)
        self._stack.append(made)

    def _set_item(self) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._put(self._stack[-1], key, value)

    def _set_items(self) -> None:
        items = self._since_mark()
        self._put_all(self._stack[-1], items)

    def _add(self) -> None:
        value = self._stack.pop()
        self._extend(self._stack[-1], [value])

    def _add_all(self) -> None:
        items = self._since_mark()
        self._extend(self._stack[-1], items)

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _remember(self, index: int) -> None:
        self._memo[index] = self._stack[-1]

    def _recall(self, index: int) -> None:
        self._stack.append(self._memo[index])


_OPERATIONS: dict[bytes, Callable[[Reader], None]] = {
    b"(": Reader._mark,
    b"0": Reader._pop,
    b"1": Reader._pop_mark,
    b"2": lambda reader: reader._push(reader._stack[-1]),
    b"N": lambda reader: reader._push(None),
    b"\x88": lambda reader: reader._push(True),
    b"\x89": lambda reader: reader._push(False),
    b"I": Reader._integer,
    b"J": lambda reader: reader._push(reader._number("<i")),
    b"K": lambda reader: reader._push(reader._number("<B")),
    b"M": lambda reader: reader._push(reader._number("<H")),
    b"L": Reader._long_text,
    b"\x8a": lambda reader: reader._long_bytes("<B"),
    b"\x8b": lambda reader: reader._long_bytes("<i"),
    b"F": lambda reader: reader._push(float(reader._line())),
    b"G": lambda reader: reader._push(reader._number(">d")),
    b"S": Reader._string,
    b"T": lambda reader: reader._sized_text("<i", "latin1"),
    b"U": lambda reader: reader._sized_text("<B", "latin1"),
    b"V": Reader._unicode,
    b"X": lambda reader: reader._sized_text("<L", "utf-8"),
    b"\x8c": lambda reader: reader._sized_text("<B", "utf-8"),
    b"\x8d": lambda reader: reader._sized_text("<Q", "utf-8"),
    b"B": lambda reader: reader._push(reader._value(reader._number("<L"))),
    b"C": lambda reader: reader._push(reader._value(reader._number("<B"))),
    b"\x8e": lambda reader: reader._push(reader._value(reader._number("<Q"))),
    b"\x96": lambda reader: reader._push(reader._value(reader._number("<Q"))),
    b"P": lambda reader: reader._persistent(reader._line()),
    b"Q": lambda reader: reader._persistent(reader._stack.pop()),
    b"c": lambda reader: reader._push(reader._named(reader._line(), reader._line())),
    b"\x93": Reader._stack_global,
    b"R": Reader._reduce,
    b"\x81": Reader._reduce,
    b"\x92": Reader._new_with_keywords,
    b"b": Reader._build,
    b"i": lambda reader: reader._call_since_mark(reader._named(reader._line(), reader._line())),
    b"o": Reader._call_since_mark,
    b")": lambda reader: reader._push(()),
    b"t": lambda reader: reader._push(tuple(reader._since_mark())),
    b"\x85": lambda reader: reader._tuple_of(1),
    b"\x86": lambda reader: reader._tuple_of(2),
    b"\x87": lambda reader: reader._tuple_of(3),
    b"]": lambda reader: reader._push([]),
    b"l": lambda reader: reader._push(reader._since_mark()),
    b"a": Reader._add,
    b"e": Reader._add_all,
    b"}": lambda reader: reader._push({}),
    b"d": Reader._dictionary,
    b"s": Reader._set_item,
    b"u": Reader._set_items,
    b"\x8f": lambda reader: reader._push(Call("builtins.set", ([],))),
    b"\x90": Reader._add_all,
    b"\x91": lambda reader: reader._push(Call("builtins.frozenset", (reader._since_mark(),))),
    b"p": lambda reader: reader._remember(int(reader._line())),
    b"q": lambda reader: reader._remember(reader._number("<B")),
    b"r": lambda reader: reader._remember(reader._number("<L")),
    b"\x94": lambda reader: reader._remember(len(reader._memo)),
    b"g": lambda reader: reader._recall(int(reader._line())),
    b"h": lambda reader: reader._recall(reader._number("<B")),
    b"j": lambda reader: reader._recall(reader._number("<L")),
    b"\x80": lambda reader: reader._ignore(1),
    b"\x95": lambda reader: reader._ignore(8),
}
