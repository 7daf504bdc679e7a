"""Checks JSON from outside against dataclasses: one description for reading, writing and refusing. Standard library.

A field's type may be text, number, truth value, Any (one of these, or None), an enum, a record, a list or dictionary
of them, or a path that the caller adds; `Annotated` adds rules: ``fraction: Annotated[float, Within(0, 1)]``.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import os
import types
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from . import limits
from .files import read_bounded

Record = TypeVar("Record")

_INTEGERS = 2**128  # times in nanoseconds and inodes are larger than 2**53; larger ones could be no numbers
_MOST_ITEMS = 100_000  # of a list or dictionary


class InvalidRecord(ValueError):
    """A value has another type or range than its field; the text names the field and the value."""


@dataclasses.dataclass(frozen=True)
class Within:
    """The range of a number, ends included."""

    lowest: float
    highest: float

    def check(self, value: Any) -> str:
        """What is wrong with a value; empty if nothing is."""
        return "" if self.lowest <= value <= self.highest else f"not from {self.lowest:g} to {self.highest:g}"


@dataclasses.dataclass(frozen=True)
class AtMost:
    """The largest length of a text, list or dictionary."""

    length: int

    def check(self, value: Any) -> str:
        """What is wrong with a value; empty if nothing is."""
        return "" if len(value) <= self.length else f"longer than {self.length}"


@dataclasses.dataclass(frozen=True)
class OsPath:
    """A text that is a path: lone surrogates stand for bytes that are not UTF-8, as in `os.fsdecode`.

    JSON holds them as escapes. The text is for opening the file; `errors.one_line` gives one that can be shown.
    """

    def check(self, value: str) -> str:
        """What is wrong with a value; empty if nothing is."""
        try:
            os.fsencode(value)
        except UnicodeEncodeError:
            return "no path of this system"
        return "a path with a null character" if "\0" in value else ""


@dataclasses.dataclass(frozen=True)
class FileName:
    """A text that is the name of a file without a folder."""

    def check(self, value: str) -> str:
        """What is wrong with a value; empty if nothing is."""
        return "" if value not in ("", ".", "..") and not set(value) & set("/\\:\0") else "no file name"


def parse(text: str | bytes, most: int) -> Any:
    """The value of JSON text of at most ``most`` bytes. Raises InvalidRecord for anything else, NaN included."""
    if len(text) > most:
        raise InvalidRecord(f"it has more than {most} bytes")
    marks = (",", "[", "{") if isinstance(text, str) else (b",", b"[", b"{")
    if sum(map(text.count, marks)) > limits.JSON_VALUES:  # type: ignore[arg-type]
        raise InvalidRecord(f"it has more than {limits.JSON_VALUES} values")
    try:
        return json.loads(text, parse_constant=_no_constant, parse_float=_finite)
    except (ValueError, RecursionError) as error:  # nested too deeply
        raise InvalidRecord(str(error)) from error


def _no_constant(name: str) -> None:
    raise InvalidRecord(f"{name} is no number of JSON")


def _finite(text: str) -> float:
    """The number of a JSON text; 1e999 would be infinite."""
    if not math.isfinite(number := float(text)):
        raise InvalidRecord(f"the number {text[:20]} is too large")
    return number


def load(path: Path, kind: type[Record], most: int = limits.JSON_BYTES) -> Record:
    """The record of a JSON file. Raises OSError if it cannot be read, InvalidRecord if it does not fit ``kind``."""
    return make(kind, parse(read_bounded(path, most), most))


def make(kind: type[Record], values: object, name: str = "") -> Record:
    """A dataclass ``kind`` of the values of its fields by name; nested dataclasses, lists and dictionaries too.

    Fields with a default may be missing. Raises InvalidRecord for an unknown or missing field, and for a value of
    another type or range. Numbers are finite, and texts are valid Unicode.
    """
    if not isinstance(values, dict):
        raise InvalidRecord(f"the record {name or kind.__name__} is {_shown(values)}, not an object")
    hints: dict[str, Any] = _hints(kind)  # type: ignore[arg-type]
    if unknown := values.keys() - hints.keys():
        raise InvalidRecord(f"the record {name or kind.__name__} has the unknown field {min(map(str, unknown))!r}")
    required = {
        field.name
        for field in dataclasses.fields(kind)  # type: ignore[arg-type]
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }
    if missing := required - values.keys():
        raise InvalidRecord(f"the record {name or kind.__name__} lacks {min(missing)}")
    prefix = f"{name}." if name else ""
    return kind(**{key: value_of(hints[key], value, f"{prefix}{key}") for key, value in values.items()})


@cache
def _hints(kind: Any) -> dict[str, Any]:
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def value_of(hint: Any, value: Any, name: str) -> Any:
    """``value`` as the type ``hint``, which is one that a field of a record may have. Raises InvalidRecord."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        lengths = [rule for rule in arguments[1:] if isinstance(rule, AtMost)]
        if isinstance(value, (str, list, dict)) and any(rule.check(value) for rule in lengths):
            # Before the items are looked at: that could take a second for a file of a few MB.
            raise InvalidRecord(f"the field {name} is {_shown(value)}, {lengths[0].check(value)}")
        if any(isinstance(rule, OsPath) for rule in arguments[1:]):
            _expect(isinstance(value, str), name, value, "a text")
        else:
            value = value_of(arguments[0], value, name)
        if problem := "; ".join(filter(None, (rule.check(value) for rule in arguments[1:]))):
            raise InvalidRecord(f"the field {name} is {_shown(value)}, {problem}")
        return value
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        (inner,) = [argument for argument in arguments if argument is not type(None)]
        return value_of(inner, value, name)
    if origin in (list, tuple):  # lists of one type; tuples as list[T] or tuple[T, ...]
        _expect(isinstance(value, list) and len(value) <= _MOST_ITEMS, name, value, "a list")
        return origin(value_of(arguments[0], each, f"{name}[{row}]") for row, each in enumerate(value))
    if origin is dict:
        _expect(isinstance(value, dict) and len(value) <= _MOST_ITEMS, name, value, "an object")
        return {value_of(str, key, name): value_of(arguments[1], each, f"{name}.{key}") for key, each in value.items()}
    if dataclasses.is_dataclass(hint):
        return make(hint, value, name)  # type: ignore[arg-type]
    if isinstance(hint, type) and issubclass(hint, enum.Enum):  # stored by name
        names = hint.__members__
        _expect(isinstance(value, str) and value in names, name, value, f"one of these values: {', '.join(names)}")
        return hint[value]
    check, description = _SIMPLE[hint]
    _expect(check(value), name, value, description)
    return float(value) if hint is float else value


def is_text(value: object) -> bool:
    """Whether it is a string without lone surrogates, which cannot be shown: only paths may have them, see OsPath."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _INTEGERS


def _is_number(value: object) -> bool:
    return _is_integer(value) or (isinstance(value, float) and math.isfinite(value))


def _is_scalar(value: object) -> bool:
    return value is None or isinstance(value, bool) or is_text(value) or _is_number(value)


_SIMPLE: dict[Any, tuple[Callable[[object], bool], str]] = {
    str: (is_text, "a text"),
    bool: (lambda value: isinstance(value, bool), "true or false"),
    int: (_is_integer, "an integer"),
    float: (_is_number, "a number"),
    Path: (lambda value: isinstance(value, Path), "a path"),  # given by the caller: JSON has none
    Any: (_is_scalar, "a text, number, true, false or null"),
}


def _expect(valid: bool, name: str, value: object, description: str) -> None:
    if not valid:
        raise InvalidRecord(f"the field {name} is {_shown(value)}, not {description}")


def _shown(value: object) -> str:
    """A value as it is quoted in an error."""
    if isinstance(value, int) and abs(value) > _INTEGERS:
        return "a huge integer"  # Python refuses to print one of thousands of digits
    text = ascii(value) if isinstance(value, (str, int, float, bool, type(None))) else f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:60]}..."
