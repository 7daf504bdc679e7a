"""The error report of a job: versions, options and log as text to copy, without private names. No bpy.

Paths are cut to their last part, except inside the add-on, the worker's Python and the jobs folder; the names of the
user, the home folder and the computer are replaced.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import platform
import re
import socket
import time
from collections.abc import Iterable
from pathlib import Path

from ... import image_sequence
from ...errors import printable
from ...files import open_regular
from .job_record import JobRecord
from .results_key import version

_PACKAGE = Path(__file__).resolve().parents[2]
_LOG_LINES = 60
_LOG_BYTES = 1 << 16
# Absolute paths up to their last part: in quotation marks, or unquoted, where white space ends them.
_START = r"(?:[A-Za-z]:[\\/]|\\\\|/)"
_PATHS = [
    re.compile(rf"(?<=([\"'])){_START}[^\"'\n]*[\\/](?=[^\"'\n\\/]*\1)"),
    re.compile(rf"(?<![\w.<>~/\\])(?<!https:){_START}(?:[^\s\"'<>|:*?,;\\/]*[\\/])*(?=[^\s\"'<>|:*?,;\\/])"),
]


def of_job(record: JobRecord, blender: str, python: Path | None) -> str:
    """The report of a job. ``blender`` describes Blender and its card; ``python`` is the worker's, if there is one."""
    clip = Path(record.clip)
    options = ", ".join(f"{name}={value}" for name, value in record.options.items())
    lines = [
        f"Import Video as Motion {version()}, {time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC",
        blender,
        f"{platform.system()} {platform.release()} {platform.machine()}, {os.cpu_count()} processors",
        f"Worker: {record.environment or 'unknown'}",
        f"Clip: {record.title}, {_size(clip)}",
        f"Options: {options}",
        f"Job: {record.status.name.lower()} after {max(0.0, record.ended - record.started):.0f} s",
        *([f"Error: {record.error} ({record.error_code or 'no code'})"] if record.error else []),
        *(f"Warning: {warning}" for warning in record.warnings),
        f"People: {len(record.people)}",
        "",
        f"Log, its last {_LOG_LINES} lines:",
        *_tail(record.log),
    ]
    folders = [_PACKAGE.parent, record.folder.parent, clip.parent, *([python.parents[1]] if python else [])]
    return scrub(printable("\n".join(lines)), folders) + "\n"


def _size(clip: Path) -> str:
    with contextlib.suppress(image_sequence.SequenceError):
        if sequence := image_sequence.find(clip):
            count, size, *_ = sequence.state()
            return f"{count} pictures, {size / 1e6:.1f} MB"
    return f"{clip.stat().st_size / 1e6:.1f} MB" if clip.is_file() else "missing"


def scrub(text: str, folders: Iterable[Path] = ()) -> str:
    """The text without private names; of paths only the last part, or the part inside one of ``folders``."""
    home = Path.home()
    known = {printable(str(folder)): "<folder>" for folder in folders if len(folder.parts) > 1} | {str(home): "/home"}
    for folder in sorted(known, key=len, reverse=True):
        for spelling in (folder.replace("\\", "\\\\"), folder, folder.replace("\\", "/")):
            text = re.sub(rf"{re.escape(spelling)}(?!\w)", known[folder], text, flags=re.IGNORECASE)
    for path in _PATHS:
        text = path.sub("<folder>/", text)
    for name, stand_in in ((_user(), "<user>"), (home.name, "<user>"), (socket.gethostname(), "<computer>")):
        if len(name) > 2:
            text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", stand_in, text, flags=re.IGNORECASE)
    return text


def _tail(log: Path) -> list[str]:
    try:
        with open_regular(log) as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - _LOG_BYTES))
            return stream.read().decode("utf-8", "replace").splitlines()[-_LOG_LINES:]
    except OSError as error:
        return [f"it cannot be read: {error.strerror}"]


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return ""
