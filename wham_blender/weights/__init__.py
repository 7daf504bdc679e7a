"""The weight files that ship inside: reads ``bundled_weights/manifest.toml``, finds each file and checks it.

Standard library only, so that the add-on and the worker both use it.
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
    """One entry of the manifest."""

    role: str  # detector, landmarks, body, lifter or wham
    path: Path
    sha256: str
    licence: str  # SPDX name
    source: str
    version: str
    figures: dict[str, Any]  # what was measured when it was made


def folder() -> Path:
    """Where the bundled files lie: inside the installed extension, or beside the package in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "bundled_weights"
    return inside if inside.is_dir() else package.parent / "bundled_weights"


def manifest(base: Path | None = None) -> dict[str, WeightFile]:
    """All entries by role. Raises WeightsError where the manifest is missing or damaged."""
    base = base or folder()
    try:
        entries = tomllib.loads((base / "manifest.toml").read_text("utf-8"))["file"]
        return {
            entry["role"]: WeightFile(
                entry["role"], base / entry["name"], entry["sha256"], entry["licence"], entry["source"],
                entry.get("version", ""), entry.get("figures", {}),
            )
            for entry in entries
        }  # fmt: skip
    except (OSError, KeyError, TypeError, tomllib.TOMLDecodeError) as error:
        raise WeightsError(
            f"The list of weight files in {base} cannot be read ({error}). Install the extension again."
        ) from error


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
