"""Weight files: reads ``bundled_weights/manifest.toml``, finds the files that ship with the add-on and checks them.

Standard library only (and NumPy for body models), so that the add-on and the worker both use it. ``library`` keeps the
files that users bring, ``contents`` recognises a file by its content, ``download`` downloads one.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..errors import CodedError, reason
from ..files import sha256_of


class WeightsError(CodedError):
    """A weight file is missing, or is not the expected one."""


@dataclass(frozen=True)
class WeightFile:
    """A file that the pipeline reads."""

    role: str  # detector, landmarks, landmarks_fast, hands, body, lifter or wham; or a Published's
    path: Path
    sha256: str
    licence: str  # SPDX name
    source: str
    version: str
    figures: dict[str, Any]  # accuracy measured after training


@dataclass(frozen=True)
class Published:
    """A file of Full quality, which users bring themselves: its licence forbids to ship it, or it is too large."""

    role: str  # yolo, vitpose, hmr2, wham, smpl, smpl_male, smpl_female
    name: str  # as its authors call it
    title: str
    does: str  # its purpose in a few words
    licence: str
    allows: str  # what the licence allows, a sentence
    agree: str  # to what the user must agree, and where, before the download, a sentence; empty: nothing
    page: str  # where its authors describe it
    address: str  # of the file itself; empty if it can only be downloaded in a browser
    account: bool = False  # whether the address needs a user's name and password
    member: str = ""  # the file's name in the archive at the address; empty if the address is the file's
    size: int = 0  # bytes of what is at the address; 0 if not known
    sha256: str = ""  # of what is at the address; empty if not known: then only its content is checked

    @property
    def kind(self) -> str:
        """The role that `contents.recognise` gives such a file: it does not know the gender of an SMPL body."""
        return self.role.partition("_")[0]


def folder() -> Path:
    """The folder of the bundled files: in the installed extension, or beside the package in a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "bundled_weights"
    return installed if installed.is_dir() else package.parent / "bundled_weights"


def _entries(base: Path, table: str) -> list[dict[str, Any]]:
    return list(tomllib.loads((base / "manifest.toml").read_text("utf-8"))[table])


def _unreadable(base: Path, error: Exception) -> WeightsError:
    return WeightsError(
        f"The list of weight files in {base} cannot be read ({reason(error)}). Install the extension again.",
        code="extension-damaged",
    )


def manifest(base: Path | None = None) -> dict[str, WeightFile]:
    """All bundled files by role. Raises WeightsError if the manifest is missing or damaged."""
    base = base or folder()
    try:
        return {
            entry["role"]: WeightFile(
                entry["role"], base / entry["name"], entry["sha256"], entry["licence"], entry["source"],
                entry.get("version", ""), entry.get("figures", {}),
            )
            for entry in _entries(base, "file")
        }  # fmt: skip
    except (OSError, KeyError, TypeError, ValueError) as error:  # TOML's and UTF-8's errors are ValueErrors
        raise _unreadable(base, error) from error


def published(base: Path | None = None) -> list[Published]:
    """The files of Full quality, in the manifest's order. Raises WeightsError as `manifest` does."""
    base = base or folder()
    try:
        return [Published(**entry) for entry in _entries(base, "published")]
    except (OSError, KeyError, TypeError, ValueError) as error:  # TOML's and UTF-8's errors are ValueErrors
        raise _unreadable(base, error) from error


def calibrations(base: Path) -> list[dict[str, Any]]:
    """The entries of a folder's ``calibrations.toml``: measured errors of sets of WHAM weights; none without the file.

    Raises WeightsError if the file is damaged.
    """
    path = base / "calibrations.toml"
    try:
        return list(tomllib.loads(path.read_text("utf-8"))["calibration"]) if path.is_file() else []
    except (OSError, KeyError, TypeError, ValueError) as error:  # TOML's and UTF-8's errors are ValueErrors
        raise _unreadable(base, error) from error


def published_for(role: str) -> Published:
    """The entry of a role; raises WeightsError if there is none."""
    entries = {entry.role: entry for entry in published()}
    if role not in entries:
        raise WeightsError(
            f"There is no file of Full quality called '{role}': choose one of {', '.join(entries)}.",
            code="weights-role-unknown",
        )
    return entries[role]


def find(role: str, base: Path | None = None) -> WeightFile:
    """The bundled file of a role, checked against its hash once per process.

    Raises WeightsError if it is missing or damaged.
    """
    entry = manifest(base).get(role)
    if entry is None:
        raise WeightsError(
            f"No weight file for '{role}' ships with this copy. Install the extension again.", code="extension-damaged"
        )
    if not entry.path.is_file():
        raise WeightsError(
            f"The weight file {entry.path.name} is missing. Install the extension again.", code="extension-damaged"
        )
    stat = entry.path.stat()
    if _sha256(str(entry.path), stat.st_mtime_ns, stat.st_size) != entry.sha256:
        raise WeightsError(
            f"The weight file {entry.path.name} is damaged: its content is not the one that was shipped. "
            "Install the extension again.",
            code="extension-damaged",
        )
    return entry


@lru_cache(maxsize=64)
def _sha256(path: str, _modified: int, _size: int) -> str:
    return sha256_of(Path(path))
