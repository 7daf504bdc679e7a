"""Image sequences: numbered pictures of one folder that are a clip. Finds them by a folder, a picture or a pattern.

The picture with the lowest number is the clip's first frame, and each number is a frame: a number without a picture is
a missing frame. Standard library only.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from . import limits
from .errors import CodedError
from .files import file_state

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".exr", ".webp")
# The last number of a name counts, as in Blender. ASCII digits only: int() takes others, which Blender does not count.
_NUMBERED = re.compile(r"(.*?)([0-9]{1,30})([^0-9]*)", re.DOTALL)
_PATTERNS = (re.compile(r"(.*?)(#+)([^#]*)", re.DOTALL), re.compile(r"(.*)%(?:0?([0-9]{1,2}))?d(.*)", re.DOTALL))


class SequenceError(CodedError):
    """A folder or pattern names no image sequence, or several."""


@dataclass(frozen=True)
class ImageSequence:
    """Numbered pictures of one folder, at least two."""

    folder: Path
    name: str  # the pictures' names with "#" for the digits, at least as many as all have
    files: dict[int, str]  # number -> name, in rising order

    @property
    def first(self) -> Path:
        """The picture with the lowest number."""
        return self.path(min(self.files))

    @property
    def count(self) -> int:
        """Frames of the clip, missing ones included."""
        return max(self.files) - min(self.files) + 1

    def path(self, number: int) -> Path:
        """The picture of a number; raises KeyError if it is missing."""
        return self.folder / self.files[number]

    def gaps(self) -> Iterator[tuple[int, int]]:
        """First and last number of each gap in the numbering."""
        before = None
        for number in self.files:
            if before is not None and number > before + 1:
                yield before + 1, number - 1
            before = number

    def state(self) -> list[int]:
        """Number of pictures, their bytes, their newest modification in nanoseconds, and a hash of all their states."""
        states = [(number, name, file_state(self.folder / name)) for number, name in self.files.items()]
        known = [state for *_, state in states if state]
        digest = hashlib.sha256(repr(states).encode("utf-8", "surrogatepass")).digest()
        newest = max((state[1] for state in known), default=0)
        return [len(states), sum(state[0] for state in known), newest, int.from_bytes(digest[:15], "big")]


def find(path: Path) -> ImageSequence | None:
    """The sequence that a folder, one of its pictures, or a pattern such as ``shot_####.png`` names.

    None for anything else: a video, a single picture, a missing file. Raises SequenceError if a folder or pattern names
    no sequence or several, if one is too long, and if the folder may not be read.
    """
    try:
        if path.is_dir():
            return _of_folder(path)
        if path.is_file():
            return _of_picture(path)
    except PermissionError as error:
        raise SequenceError(
            f"{path.name} may not be read: {error.strerror}. Allow your user to read it, or copy it to another folder.",
            code="clip-no-permission",
        ) from error
    except (OSError, ValueError):  # whoever opens it gets the same error; ValueError: a null character
        return None
    return _of_pattern(path)


def clip_state(path: Path) -> list[int]:
    """`file_state` of a clip, or that of its pictures if it is an image sequence; empty if there is none."""
    try:
        sequence = find(path)
    except SequenceError:
        return []
    return sequence.state() if sequence else file_state(path)


def may_name_sequence(path: str) -> bool:
    """Whether a path is that of a folder, a picture or a pattern. Reads no folder: panels ask at every redraw."""
    suffix = Path(path).suffix.lower()
    return suffix in PICTURE_SUFFIXES or bool(path and not suffix and Path(path).is_dir())


def series(name: str) -> str:
    """The name of a picture with "#" for its number: the same for all pictures of a sequence."""
    match = _NUMBERED.fullmatch(Path(name).stem)
    return f"{match[1]}#{match[3]}{Path(name).suffix}" if match else name


def _of_folder(folder: Path) -> ImageSequence:
    groups: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for name in _pictures(folder):
        stem, suffix = Path(name).stem, Path(name).suffix
        if not name.startswith(".") and (match := _NUMBERED.fullmatch(stem)):  # macOS puts "._" files beside others
            groups.setdefault((match[1], match[3] + suffix), []).append((match[2], name))
    series = {key: found for key, found in groups.items() if len(found) > 1}
    if not series:
        raise SequenceError(
            f"The folder {folder.name} holds no numbered pictures. Choose a video, or a folder of pictures whose names "
            f"differ in a number and end in {', '.join(PICTURE_SUFFIXES)}.",
            code="sequence-not-found",
        )
    if len(series) > 1:
        names = sorted(_name(*key, found) for key, found in series.items())
        listed = ", ".join(names[:5]) + " ..." * (len(names) > 5)
        raise SequenceError(
            f"The folder {folder.name} holds {len(names)} image sequences: {listed}. Choose a picture of one of them "
            "instead of the folder.",
            code="sequence-ambiguous",
        )
    ((key, found),) = series.items()
    return _sequence(folder, *key, found)


def _of_picture(picture: Path) -> ImageSequence | None:
    match = _NUMBERED.fullmatch(picture.stem)
    if picture.suffix.lower() not in PICTURE_SUFFIXES or match is None:
        return None
    head, tail = match[1], match[3] + picture.suffix
    found = _members(picture.parent, head, tail)
    return _sequence(picture.parent, head, tail, found) if len(found) > 1 else None


def _of_pattern(path: Path) -> ImageSequence | None:
    matches = (pattern.fullmatch(path.name) for pattern in _PATTERNS)
    match = next(filter(None, matches), None)
    if match is None or path.suffix.lower() not in PICTURE_SUFFIXES:
        return None
    head, least, tail = match[1], len(match[2]) if "#" in (match[2] or "") else int(match[2] or 1), match[3]
    try:
        found = [each for each in _members(path.parent, head, tail) if len(each[0]) >= least]
    except OSError as error:
        raise SequenceError(
            f"The folder {path.parent} cannot be read: {error.strerror}. Check the path.", code="sequence-not-found"
        ) from error
    if len(found) < 2:
        raise SequenceError(
            f"No two pictures in {path.parent} are named {path.name}. Check the path and the number of digits, or "
            "choose one of the pictures.",
            code="sequence-not-found",
        )
    return _sequence(path.parent, head, tail, found)


def _members(folder: Path, head: str, tail: str) -> list[tuple[str, str]]:
    """Digits and name of each picture of a series."""
    numbered = re.compile(re.escape(head) + "([0-9]{1,30})" + re.escape(tail))
    return [(match[1], name) for name in _pictures(folder) if (match := numbered.fullmatch(name))]


def _pictures(folder: Path) -> list[str]:
    """Names of a folder's files that end as pictures do. Raises OSError, and SequenceError for too large a folder."""
    names = []
    with os.scandir(folder) as entries:
        for number, entry in enumerate(entries, 1):
            if number > limits.FOLDER_ENTRIES:
                raise SequenceError(
                    f"The folder {folder.name} holds more than {limits.FOLDER_ENTRIES} files. Move the pictures to a "
                    "folder of their own.",
                    code="sequence-too-long",
                )
            with contextlib.suppress(OSError):  # a link that leads to itself
                if entry.name.lower().endswith(PICTURE_SUFFIXES) and entry.is_file():
                    names.append(entry.name)
    return names


def _sequence(folder: Path, head: str, tail: str, found: list[tuple[str, str]]) -> ImageSequence:
    """The sequence of pictures, each given by its digits and name."""
    files: dict[int, str] = {}
    for digits, name in sorted(found, key=lambda each: (int(each[0]), each[1])):
        other = files.setdefault(int(digits), name)
        if other != name:
            raise SequenceError(
                f"{other} and {name} have the same number, so they cannot be frames of one clip. Move one of them to "
                "another folder, or choose a pattern such as shot_####.png with as many # as digits.",
                code="sequence-ambiguous",
            )
    if len(files) > limits.SEQUENCE_PICTURES:
        raise SequenceError(
            f"{_name(head, tail, found)} has {len(files)} pictures, and a clip may have {limits.SEQUENCE_PICTURES}. "
            "Move a part of them to another folder.",
            code="sequence-too-long",
        )
    return ImageSequence(folder, _name(head, tail, found), files)


def _name(head: str, tail: str, found: list[tuple[str, str]]) -> str:
    return head + "#" * min(len(digits) for digits, _ in found) + tail
