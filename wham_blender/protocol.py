"""Messages from the worker to the add-on: typed, one JSON object a line.

The worker calls ``send``; the add-on reads lines and calls ``decode``. A line that is not a message (printed by a
library, cut off, or with a value of another type or range than its field) becomes a ``Log``. Standard library only.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

from . import limits, records
from .errors import printable
from .records import AtMost, FileName, OsPath, Within

Text = Annotated[str, AtMost(limits.TEXT)]
Code = Annotated[str, AtMost(100)]  # of an error, see `errors.CodedError`
Count = Annotated[int, Within(0, 2**53)]

# Where ``send`` writes; None: to standard output. launch.py sets it, so that what libraries print cannot come between.
descriptor: int | None = None
_writing = threading.Lock()


@dataclass(frozen=True)
class Progress:
    """Progress of a job: ``done`` of ``total`` units (frames) of one stage; ``fraction`` 0..1 of the job.

    ``total`` is 0 if it is not known.
    """

    stage: Annotated[str, AtMost(100)]
    done: Count
    total: Count
    fraction: Annotated[float, Within(0, 1)]
    seconds_left: Annotated[float, Within(0, 1e12)] | None = None


@dataclass(frozen=True)
class Log:
    """A line for the log file."""

    text: Text


@dataclass(frozen=True)
class Warn:
    """A warning that is shown to the animator; the job goes on. ``code`` as in `errors.CodedError`."""

    text: Text
    code: Code = ""


@dataclass(frozen=True)
class FoundPerson:
    """A person found in the clip; frames are counted in the clip from 1."""

    id: Annotated[int, Within(1, 2**31)]
    first_frame: Count
    last_frame: Count
    frames: Count
    height: Annotated[float, Within(0, 1000)]  # of the picture's; the body may reach beyond it
    picture: Annotated[str, FileName()] | None = None  # a PNG of the person in the job folder


@dataclass(frozen=True)
class People:
    """The people found, largest and longest first: the first limits.PEOPLE of them."""

    people: Annotated[list[FoundPerson], AtMost(limits.PEOPLE)] = field(default_factory=list)


@dataclass(frozen=True)
class Clip:
    """The content of the clip that the job reads: its SHA-256."""

    sha256: Annotated[str, AtMost(64)]


@dataclass(frozen=True)
class Environment:
    """Versions of Python and the packages, and the graphics card: for error reports."""

    text: Text


@dataclass(frozen=True)
class Failed:
    """The job ended without a result; ``text`` and ``code`` as in `errors.CodedError`."""

    text: Text
    code: Code = ""


@dataclass(frozen=True)
class Done:
    """The job succeeded; ``path`` is the Motion file written."""

    path: Annotated[str, OsPath(), AtMost(limits.TEXT)]


Message = Progress | Log | Warn | Clip | People | Environment | Failed | Done
Tell = Callable[[Message], None]
_KINDS = (Progress, Log, Warn, Clip, People, Environment, Failed, Done)
_TYPES: dict[str, type] = {kind.__name__: kind for kind in _KINDS}


def clean(text: str) -> str:
    """A text as messages and records may hold it: not too long, and printable."""
    return printable(text[: limits.TEXT])


def encode(message: Message) -> str:
    """One line of ASCII without a line break, ``{"type": "Progress", "stage": ...}``."""
    values = asdict(message, dict_factory=_cleaned)
    if isinstance(message, Done):
        values["path"] = message.path  # as it is: it shall be opened
    return json.dumps({"type": type(message).__name__, **values})


def _cleaned(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    return {name: clean(value) if isinstance(value, str) else value for name, value in fields}


def decode(line: str) -> Message:
    """The message in one line; a ``Log`` of the line itself if it is not a message. Never raises."""
    try:
        values = records.parse(line, limits.MESSAGE_BYTES)
        if isinstance(values, dict):
            message: Message = records.make(_TYPES[values.pop("type")], values)
            return message
    except (records.InvalidRecord, KeyError, TypeError):  # TypeError: the type is a list
        pass
    return Log(clean(line.rstrip("\r\n")))


def send(message: Message) -> None:
    """Write a message for the process that started this one, from any thread. Nothing happens if it reads no more."""
    write_line(encode(message))


def write_line(line: str) -> None:
    """Write a line of text where messages go, from any thread. Nothing happens if nobody reads it any more."""
    with _writing:
        try:
            if descriptor is None:
                print(line, flush=True)
            else:
                content = f"{line}\n".encode("utf-8", "replace")
                while content:
                    content = content[os.write(descriptor, content) :]
        except OSError:
            _discard_further_lines()


def _discard_further_lines() -> None:
    """Have lines go nowhere from now on: what is left in a buffer would fail again when the process ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno() if descriptor is None else descriptor)
    os.close(nowhere)
