"""The user's weight files for full quality (networks and SMPL bodies): their paths, and whether they have changed.

Stored in ``library.json`` in the weights folder, where downloads go too; a file chosen elsewhere is not copied.
Standard library only.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from ..files import file_state, replace_text, sha256_of
from ..folders import data_folder
from . import Published, WeightFile, WeightsError, contents, published, published_for

_MAX_SEARCHED_FILES = 20_000  # maximum number of files in a folder to search; set by hand
NEEDED = ("yolo", "vitpose", "hmr2", "wham")  # for full quality; WHAM's file holds SMPL's body
BODIES = {"neutral": "smpl", "male": "smpl_male", "female": "smpl_female"}  # roles of SMPL's bodies by gender
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

    path: str  # relative to the library's folder if it lies in there, so that the folder can be moved
    size: int
    modified: int  # nanoseconds


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
        """The entries of the files that full quality needs and the library lacks."""
        return [entry for entry in published() if entry.role in NEEDED and self.path(entry.role) is None]

    def choose(self, path: Path, role: str | None = None) -> Published:
        """Add a file under the role that its content shows; returns the entry of that role.

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
                f"{path.name} is not {wanted.title if wanted else 'a file of full quality'}: it seems to be "
                f"{seems}. Choose {wanted.name if wanted else 'another file'}.",
                code="weights-wrong-file",
            )
        self._add({actual: path})
        return published_for(actual)

    def search(self, folder: Path) -> list[Published]:
        """Find files for all roles without one in a folder and its subfolders; returns the entries of those roles."""
        wanted = {entry.role: entry for entry in published() if self.path(entry.role) is None}
        matches: dict[str, Path] = {}
        for path in _files(folder):
            role = _role(path, contents.recognise(path))
            if role in wanted and role not in matches:
                matches[role] = path
        if matches:
            self._add(matches)
        return [wanted[role] for role in matches]

    def forget(self, role: str) -> None:
        """Stop using the role's file, without deleting it."""
        records = self._read()
        records.pop(role, None)
        self._write(records)

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
                f"{path} cannot be read: {error.strerror}. Check its disk and its permissions.",
                code="weights-unreadable",
            ) from error
        return WeightFile(role, path, sha256, entry.licence, entry.page, "", {})

    def _record(self, path: Path) -> _FileRecord:
        state = file_state(path)
        if not state:
            raise WeightsError(f"There is no file at {path}. Choose another.", code="weights-file-not-found")
        folder = self.folder.absolute()
        return _FileRecord(str(path.relative_to(folder) if path.is_relative_to(folder) else path), *state[:2])

    def _add(self, paths: dict[str, Path]) -> None:
        self._write(self._read() | {role: self._record(path.absolute()) for role, path in paths.items()})

    def _read(self) -> dict[str, _FileRecord]:
        try:
            stored = json.loads((self.folder / "library.json").read_text("utf-8"))
            return {
                role: _FileRecord(entry["path"], entry["size"], entry["modified"]) for role, entry in stored.items()
            }
        except (OSError, ValueError, TypeError, KeyError, AttributeError):  # none yet, or damaged: choosing rewrites it
            return {}

    def _write(self, records: dict[str, _FileRecord]) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            content = {role: asdict(record) for role, record in records.items()}
            replace_text(self.folder / "library.json", json.dumps(content, indent=1))
        except OSError as error:
            raise WeightsError(
                f"Cannot write to {self.folder}: {error.strerror}. Make room there, or allow writing to it.",
                code="folder-not-writable",
            ) from error


def _files(folder: Path) -> Iterator[Path]:
    """Files with a suffix of weight files, in the order of their names."""
    count = 0
    for base, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            count += 1
            if count > _MAX_SEARCHED_FILES:
                raise WeightsError(
                    f"{folder} holds too many files to search. Choose the folder of the weights.",
                    code="weights-folder-too-large",
                )
            if name.lower().endswith(contents.SUFFIXES):
                yield Path(base, name)
