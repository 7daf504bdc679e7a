"""The folders for large files and for the cache, which the add-on and the worker share. Standard library only."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from . import limits, records
from .files import read_bounded

NAME = "wham_blender"
RECORD = "location.json"


def default_folder() -> Path:
    """The platform's folder for application data."""
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return base / NAME


def data_folder() -> Path:
    """The folder of worker, weights and jobs: the one that the user moved them to, else `default_folder`."""
    return Path(record().get("folder") or default_folder())


def cache_folder() -> Path:
    """The platform's folder for an application's cache."""
    home = Path.home()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = home / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    return base / NAME


def record() -> dict[str, str]:
    """What a move wrote into `default_folder`: ``folder``, ``moving_to``, ``left_behind``; each may be missing.

    Empty if there is no record, or any value in it is no absolute path.
    """
    try:
        kept = records.parse(read_bounded(default_folder() / RECORD, limits.SETTINGS_BYTES), limits.SETTINGS_BYTES)
    except (OSError, records.InvalidRecord):
        return {}
    return kept if isinstance(kept, dict) and all(map(_is_path, kept.values())) else {}


def _is_path(value: object) -> bool:
    """Whether a value is an absolute path; other than in other records, with lone surrogates too: folders have them."""
    return isinstance(value, str) and Path(value).is_absolute() and "\0" not in value
