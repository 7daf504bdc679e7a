"""Weight files: what ``bundled_weights/manifest.toml`` lists, finds each file that ships inside and checks it.

Standard library only (and NumPy where a body model is looked into), so that the add-on and the worker both use it.
``library`` keeps the files that people bring themselves, ``contents`` tells what a file holds, ``download`` fetches.
"""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any


class WeightsError(Exception):
    """A weight file is missing or not what it should be; the text is a sentence for the animator."""


@dataclass(frozen=True)
class WeightFile:
    """A file that the pipeline reads."""

    role: str  # detector, landmarks, landmarks_fast, body, lifter or wham; or a Published's
    path: Path
    sha256: str
    licence: str  # SPDX name
    source: str
    version: str
    figures: dict[str, Any]  # what was measured when it was made


@dataclass(frozen=True)
class Published:
    """A file of full quality, which people bring themselves: it may not be shipped, or is too large."""

    role: str  # yolo, vitpose, hmr2, wham, smpl, smpl_male, smpl_female
    name: str  # as its authors call it
    title: str
    does: str  # a few words
    licence: str
    allows: str  # what the licence allows, a sentence
    agree: str  # who must agree to what where before it is downloaded, a sentence; empty: nobody to anything
    page: str  # where its authors describe it
    address: str  # of the file itself; empty where only a person can fetch it
    account: bool = False  # whether the address wants a user's name and password
    member: str = ""  # the file's name in the archive at the address; empty where the address is the file's
    size: int = 0  # bytes of what is at the address; 0 where not known
    sha256: str = ""  # of what is at the address; empty where not known: then its content is looked at alone

    @property
    def kind(self) -> str:
        """What `contents.look` calls the role of such a file: it knows SMPL, and not of which gender."""
        return self.role.partition("_")[0]


def folder() -> Path:
    """Where the bundled files lie: inside the installed extension, or beside the package in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "bundled_weights"
    return inside if inside.is_dir() else package.parent / "bundled_weights"


def _entries(base: Path, table: str) -> list[dict[str, Any]]:
    return list(tomllib.loads((base / "manifest.toml").read_text("utf-8"))[table])


def _unreadable(base: Path, error: Exception) -> WeightsError:
    return WeightsError(f"The list of weight files in {base} cannot be read ({error}). Install the extension again.")


def manifest(base: Path | None = None) -> dict[str, WeightFile]:
    """All bundled files by role. Raises WeightsError where the manifest is missing or damaged."""
    base = base or folder()
    try:
        return {
            entry["role"]: WeightFile(
                entry["role"], base / entry["name"], entry["sha256"], entry["licence"], entry["source"],
                entry.get("version", ""), entry.get("figures", {}),
            )
            for entry in _entries(base, "file")
        }  # fmt: skip
    except (OSError, KeyError, TypeError, tomllib.TOMLDecodeError) as error:
        raise _unreadable(base, error) from error


def published(base: Path | None = None) -> list[Published]:
    """The files of full quality, in the manifest's order. Raises WeightsError as `manifest` does."""
    base = base or folder()
    try:
        return [Published(**entry) for entry in _entries(base, "published")]
    except (OSError, KeyError, TypeError, tomllib.TOMLDecodeError) as error:
        raise _unreadable(base, error) from error


def calibrations(base: Path) -> list[dict[str, Any]]:
    """What a folder's ``calibrations.toml`` lists: how far each set of WHAM weights can be trusted; none without it.

    Raises WeightsError where the file is damaged.
    """
    path = base / "calibrations.toml"
    try:
        return list(tomllib.loads(path.read_text("utf-8"))["calibration"]) if path.is_file() else []
    except (OSError, KeyError, TypeError, tomllib.TOMLDecodeError) as error:
        raise _unreadable(base, error) from error


def published_for(role: str) -> Published:
    """The entry of a role; raises WeightsError where there is none."""
    entries = {entry.role: entry for entry in published()}
    if role not in entries:
        raise WeightsError(f"There is no file of full quality called '{role}': choose one of {', '.join(entries)}.")
    return entries[role]


def find(role: str, base: Path | None = None) -> WeightFile:
    """The bundled file of a role, checked against its hash once a process.

    Raises WeightsError where it is missing or has changed.
    """
    entry = manifest(base).get(role)
    if entry is None:
        raise WeightsError(f"No weight file for '{role}' ships with this copy. Install the extension again.")
    if not entry.path.is_file():
        raise WeightsError(f"The weight file {entry.path.name} is missing. Install the extension again.")
    stat = entry.path.stat()
    if _sha256(str(entry.path), stat.st_mtime_ns, stat.st_size) != entry.sha256:
        raise WeightsError(
            f"The weight file {entry.path.name} is damaged: its content is not the one that was shipped. "
            "Install the extension again."
        )
    return entry


@lru_cache(maxsize=64)
def _sha256(path: str, _modified: int, _size: int) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
