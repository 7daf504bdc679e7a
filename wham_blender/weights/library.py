"""The user's weight files for Full quality (networks and SMPL bodies): their paths, and whether they have changed.

Stored in ``library.json`` in the weights folder, where downloads go too; a file chosen elsewhere is not copied.
Standard library only.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from .. import limits, records
from ..files import file_state, read_bounded, replace_text, sha256_of
from ..folders import data_folder
from ..records import AtMost, Within
from . import Published, WeightFile, WeightsError, contents, published, published_for

NEEDED = ("yolo", "vitpose", "hmr2", "wham")  # for Full quality; WHAM's file holds SMPL's body
BODIES = {"neutral": "smpl", "male": "smpl_male", "female": "smpl_female"}  # roles of SMPL's bodies by gender
Look = Callable[[Path, int, int], contents.Contents]  # of a file, the number of files before it, and of all
_GENDERS = {"neutral": "neutral", "male": "male", "m": "male", "female": "female", "f": "female"}


def default_folder() -> Path:
    """The library's folder: that of the environment variable WHAM_WEIGHTS, else in the data folder."""
    if named := os.environ.get("WHAM_WEIGHTS"):
        return Path(named)
    return data_folder() / "weights"


def gender_of(path: Path) -> str:
    """Neutral, male or female, from the name of a body's file, whose content does not contain it; empty if unknown."""
    for name in (path.stem, path.parent.name if path.stem == "model" else ""):
        for word in re.split(r"[^a-z]+", name.lower()):
            if word in _GENDERS:
                return _GENDERS[word]
    return ""


def _role(path: Path, content: contents.Contents) -> str | None:
    """The role of a file with such contents; the gender of an SMPL body comes from the file's name."""
    return BODIES[gender_of(path) or "neutral"] if content.role == "smpl" else content.role


@dataclass(frozen=True)
class _FileRecord:
    """A file as it was when its content was recognised."""

    path: Annotated[str, AtMost(limits.TEXT)]  # relative to the library's folder if in there: it can be moved
    size: Annotated[int, Within(0, 2**63)]
    modified: int  # nanoseconds


_FILES = Annotated[dict[str, _FileRecord], AtMost(100)]  # by role, of which there are seven


class Library:
    """The files in one ``library.json``."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or default_folder()

    @property
    def body_copy(self) -> Path:
        """The worker's copy of the body in WHAM's checkpoint, for the add-on, which cannot read checkpoints."""
        return self.folder / "body_in_wham.npz"

    def path(self, role: str) -> Path | None:
        """The role's file; None if there is none, or its size or modification time has changed."""
        record = self._read().get(role)
        path = self.folder / record.path if record else None
        return path if record and path and file_state(path)[:2] == [record.size, record.modified] else None

    def paths(self) -> dict[str, Path]:
        """Paths of all chosen files by role, including changed and missing files."""
        return {role: self.folder / record.path for role, record in self._read().items()}

    def missing(self) -> list[Published]:
        """The entries of the files that Full quality needs and the library lacks."""
        return [entry for entry in published() if entry.role in NEEDED and self.path(entry.role) is None]

    def choose(self, path: Path, role: str | None = None) -> Published:
        """Add a file under the role that its content shows; returns the entry of that role. Not for Blender's process.

        Raises WeightsError if the file does not fit ``role``, or if the add-on uses no such file.
        """
        wanted = published_for(role) if role else None
        content = contents.recognise(path)
        actual = _role(path, content)
        if role in BODIES.values() and content.role == "smpl" and not gender_of(path):
            actual = role  # only the user knows the gender
        if actual is None or (wanted and actual != role):
            seems = published_for(actual).title if actual else content.description
            raise WeightsError(
                f"{path.name} is not {wanted.title if wanted else 'a file of Full quality'}: it seems to be "
                f"{seems}. Choose {wanted.name if wanted else 'another file'}.",
                code="weights-wrong-file",
            )
        self._add({actual: path})
        return published_for(actual)

    def search(self, folder: Path, look: Look | None = None) -> list[Published]:
        """Find files for all roles without one in a folder and its subfolders; returns the entries of those roles.

        Each is added when it is found, so that a search that is ended keeps what it had. ``look`` is called instead of
        `contents.recognise`. Not for Blender's process. Raises WeightsError.
        """
        wanted = {entry.role: entry for entry in published() if self.path(entry.role) is None}
        found: dict[str, Published] = {}
        paths = list(_files(folder))
        for number, path in enumerate(paths):
            role = _role(path, look(path, number, len(paths)) if look else contents.recognise(path))
            if role in wanted and role not in found and records.is_text(str(path)):
                self._add({role: path})
                found[role] = wanted[role]
        return list(found.values())

    def forget(self, role: str) -> None:
        """Stop using the role's file, without deleting it."""
        files = self._read()
        files.pop(role, None)
        self._write(files)

    def file(self, role: str) -> WeightFile:
        """The role's file with the hash of its content. Takes about a second per GB: for the worker only.

        Raises WeightsError if there is none.
        """
        path = self.path(role)
        entry = published_for(role)
        if path is None:
            raise WeightsError(
                f"The file of {entry.title} is missing. Choose {entry.name} in the add-on's preferences.",
                code="weights-missing",
            )
        # Hashed each time: a replaced file may have the size and modification time of the old one.
        try:
            sha256 = sha256_of(path)
        except OSError as error:
            raise WeightsError(
                f"{path} cannot be read: {error.strerror or error}. Check its disk and its permissions.",
                code="weights-unreadable",
            ) from error
        return WeightFile(role, path, sha256, entry.licence, entry.page, "", {})

    def _record(self, path: Path) -> _FileRecord:
        state = file_state(path)
        if not state:
            raise WeightsError(f"There is no file at {path}. Choose another.", code="weights-file-not-found")
        folder = self.folder.absolute()
        kept = str(path.relative_to(folder) if path.is_relative_to(folder) else path)
        if not records.is_text(kept):  # library.json could not be read again
            raise WeightsError(
                f"The name {path} is not valid UTF-8. Rename the file or its folder, then choose it again.",
                code="name-not-utf8",
            )
        return _FileRecord(kept, *state[:2])

    def _add(self, paths: dict[str, Path]) -> None:
        self._write(self._read() | {role: self._record(path.absolute()) for role, path in paths.items()})

    def _read(self) -> dict[str, _FileRecord]:
        try:
            stored = records.parse(
                read_bounded(self.folder / "library.json", limits.SETTINGS_BYTES), limits.SETTINGS_BYTES
            )
            for entry in stored.values() if isinstance(stored, dict) else ():
                if isinstance(entry, dict):
                    entry.pop("sha256", None)  # of earlier versions
            files: dict[str, _FileRecord] = records.value_of(_FILES, stored, "library")
        except (OSError, records.InvalidRecord):  # none yet, or damaged: choosing rewrites it
            return {}
        return files

    def _write(self, files: dict[str, _FileRecord]) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            content = {role: asdict(record) for role, record in files.items()}
            replace_text(self.folder / "library.json", json.dumps(content, indent=1))
        except OSError as error:
            raise WeightsError(
                f"Cannot write to {self.folder}: {error.strerror}. Make room there, or allow writing to it.",
                code="folder-not-writable",
            ) from error


def _files(folder: Path) -> Iterator[Path]:
    """Regular files with a suffix of weight files, in the order of their names.

    Subfolders that are links, or cannot be read, are left out. Raises WeightsError if the folder itself cannot be read
    or holds too many files.
    """

    def refuse(error: OSError) -> None:
        if error.filename == str(folder):
            raise WeightsError(
                f"{folder} cannot be read: {error.strerror}. Check its disk and its permissions.",
                code="weights-unreadable",
            ) from error

    count = 0
    for base, folders, names in os.walk(folder, onerror=refuse):
        folders.sort()
        count += 1 + len(names)
        if count > limits.SEARCHED_FILES:
            raise WeightsError(
                f"{folder} holds too many files to search. Choose the folder of the weights.",
                code="weights-folder-too-large",
            )
        for name in sorted(names):
            path = Path(base, name)
            if name.lower().endswith(contents.SUFFIXES) and file_state(path):
                yield path
