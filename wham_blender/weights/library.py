"""The files of full quality that a user has: where each lies, and whether it is still the one that was looked at.

Kept in ``library.json`` in a folder of the user's, into which downloads go too; a file chosen elsewhere stays there.
Standard library only.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from ..folders import data_folder
from . import Published, WeightFile, WeightsError, contents, published, published_for

_MOST_FILES = 20_000  # looked at in a folder that somebody chose
NEEDED = ("yolo", "vitpose", "hmr2", "wham")  # for full quality; WHAM's file holds SMPL's body
BODIES = {"neutral": "smpl", "male": "smpl_male", "female": "smpl_female"}  # roles of SMPL's bodies by gender
_GENDERS = {"neutral": "neutral", "male": "male", "m": "male", "female": "female", "f": "female"}


def default_folder() -> Path:
    """The library of this user, unless another is named: the variable WHAM_WEIGHTS, else in the data folder."""
    if named := os.environ.get("WHAM_WEIGHTS"):
        return Path(named)
    return data_folder() / "weights"


def gender_of(path: Path) -> str:
    """Neutral, male or female, by the name of a body's file: the content does not say it. Empty where no name does."""
    for name in (path.stem, path.parent.name if path.stem == "model" else ""):
        for word in re.split(r"[^a-z]+", name.lower()):
            if word in _GENDERS:
                return _GENDERS[word]
    return ""


def _role(path: Path, found: contents.Contents) -> str | None:
    """The role of a file with such contents: of bodies of one kind the name says which it is."""
    return BODIES[gender_of(path) or "neutral"] if found.role == "smpl" else found.role


@dataclass(frozen=True)
class _Known:
    """A file as it was when its content was looked at."""

    path: str  # from the library's folder where it lies in there, which may be moved as a whole
    size: int
    modified: int  # nanoseconds
    sha256: str = ""  # empty: not computed yet


class Library:
    """The files in one ``library.json``."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or default_folder()

    @property
    def body_copy(self) -> Path:
        """Where the worker keeps a copy of the body in WHAM's file for the add-on, which reads no checkpoints."""
        return self.folder / "body_in_wham.npz"

    def path(self, role: str) -> Path | None:
        """Where the role's file lies; None where there is none, or another one has come to lie there."""
        known = self._read().get(role)
        path = self.folder / known.path if known else None
        return path if known and path and _state(path) == (known.size, known.modified) else None

    def missing(self) -> list[Published]:
        """The files that full quality lacks."""
        return [entry for entry in published() if entry.role in NEEDED and self.path(entry.role) is None]

    def choose(self, path: Path, role: str | None = None) -> Published:
        """Take a file for the role that its content has; the entry of that role.

        Raises WeightsError where it is not what ``role`` asks for, or nothing that the add-on uses.
        """
        wanted = published_for(role) if role else None
        found = contents.look(path)
        own = _role(path, found)
        if role in BODIES.values() and found.role == "smpl" and not gender_of(path):
            own = role  # whoever named the file knows better
        if own is None or (wanted and own != role):
            seems = published_for(own).title if own else found.description
            raise WeightsError(
                f"{path.name} is not {wanted.title if wanted else 'a file of full quality'}: it seems to be "
                f"{seems}. Choose {wanted.name if wanted else 'another file'}."
            )
        self._keep({own: path})
        return published_for(own)

    def search(self, folder: Path) -> list[Published]:
        """Take from a folder, and the folders in it, a file for each role that has none yet; the roles' entries."""
        wanted = {entry.role: entry for entry in published() if self.path(entry.role) is None}
        found: dict[str, Path] = {}
        for path in _files(folder):
            role = _role(path, contents.look(path))
            if role in wanted and role not in found:
                found[role] = path
        if found:
            self._keep(found)
        return [wanted[role] for role in found]

    def forget(self, role: str) -> None:
        """Use the role's file no longer; it stays where it lies."""
        known = self._read()
        known.pop(role, None)
        self._write(known)

    def file(self, role: str) -> WeightFile:
        """The role's file with its hash, which takes some seconds the first time.

        Raises WeightsError where there is none.
        """
        path = self.path(role)
        entry = published_for(role)
        if path is None:
            raise WeightsError(
                f"The file of {entry.title} is missing. Choose {entry.name} in the add-on's preferences."
            )
        known = self._read()
        if not known[role].sha256:
            with path.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            known[role] = self._known(path, digest)
            self._write(known)
        return WeightFile(role, path, known[role].sha256, entry.licence, entry.page, "", {})

    def _known(self, path: Path, sha256: str = "") -> _Known:
        state = _state(path)
        if state is None:
            raise WeightsError(f"There is no file at {path}. Choose another.")
        folder = self.folder.absolute()
        return _Known(str(path.relative_to(folder) if path.is_relative_to(folder) else path), *state, sha256)

    def _keep(self, paths: dict[str, Path]) -> None:
        self._write(self._read() | {role: self._known(path.absolute()) for role, path in paths.items()})

    def _read(self) -> dict[str, _Known]:
        try:
            kept = json.loads((self.folder / "library.json").read_text("utf-8"))
            return {role: _Known(**known) for role, known in kept.items()}
        except (OSError, ValueError, TypeError, AttributeError):  # none yet, or damaged: choosing makes it anew
            return {}

    def _write(self, known: dict[str, _Known]) -> None:
        aside = self.folder / f".library.json.{os.getpid()}.part"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            aside.write_text(json.dumps({role: asdict(each) for role, each in known.items()}, indent=1), "utf-8")
            aside.replace(self.folder / "library.json")
        except OSError as error:
            raise WeightsError(
                f"Cannot write to {self.folder}: {error.strerror}. Make room there, or allow writing to it."
            ) from error


def _state(path: Path) -> tuple[int, int] | None:
    """Size and time of the last change; None where there is no such file."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return (stat.st_size, stat.st_mtime_ns) if path.is_file() else None


def _files(folder: Path) -> Iterator[Path]:
    """Files worth a look, in the order of their names."""
    seen = 0
    for base, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            seen += 1
            if seen > _MOST_FILES:
                raise WeightsError(f"{folder} holds too many files to look through. Choose the folder of the weights.")
            if name.lower().endswith(contents.SUFFIXES):
                yield Path(base, name)
