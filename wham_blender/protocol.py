"""Messages from the worker to the add-on: typed, one JSON object a line on standard output.

The worker writes ``encode(message)``; the add-on reads lines and calls ``decode``. A line that is not a message
(printed by a library, or cut off) becomes a ``Log``. Standard library only.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Progress:
    """Progress of a job: ``done`` of ``total`` units (frames) of one stage; ``fraction`` 0..1 of the job.

    ``total`` is 0 if it is not known.
    """

    stage: str
    done: int
    total: int
    fraction: float
    seconds_left: float | None = None


@dataclass(frozen=True)
class Log:
    """A line for the log file."""

    text: str


@dataclass(frozen=True)
class Warn:
    """A warning that is shown to the animator; the job goes on. ``code`` as in `errors.CodedError`."""

    text: str
    code: str = ""


@dataclass(frozen=True)
class People:
    """The people found, largest and longest first.

    Each is ``{"id", "first_frame", "last_frame", "frames", "height"}``, frames counted in the clip from 1, height as
    a fraction of the picture's; and ``"picture"``, the name of a PNG of the person in the job folder, if there is one.
    """

    people: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Clip:
    """The content of the clip that the job reads: its SHA-256."""

    sha256: str


@dataclass(frozen=True)
class Environment:
    """Versions of Python and the packages, and the graphics card: for error reports."""

    text: str


@dataclass(frozen=True)
class Failed:
    """The job ended without a result; ``text`` and ``code`` as in `errors.CodedError`."""

    text: str
    code: str = ""


@dataclass(frozen=True)
class Done:
    """The job succeeded; ``path`` is the Motion file written."""

    path: str


Message = Progress | Log | Warn | Clip | People | Environment | Failed | Done
_KINDS = (Progress, Log, Warn, Clip, People, Environment, Failed, Done)
_TYPES: dict[str, type] = {kind.__name__: kind for kind in _KINDS}


def encode(message: Message) -> str:
    """One line of JSON without a line break, ``{"type": "Progress", "stage": ...}``."""
    return json.dumps({"type": type(message).__name__, **asdict(message)}, ensure_ascii=False)


def decode(line: str) -> Message:
    """The message in one line; a ``Log`` of the line itself if it is not a message."""
    try:
        record = json.loads(line)
        return _TYPES[record.pop("type")](**record)
    except (ValueError, KeyError, TypeError, AttributeError):
        return Log(line.rstrip("\r\n"))
