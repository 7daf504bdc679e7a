"""The folders for large files and for the cache, which the add-on and the worker share. Standard library only."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

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
    """What a move wrote into `default_folder`: ``folder``, ``moving_to``, ``left_behind``; each may be missing."""
    try:
        kept = json.loads((default_folder() / RECORD).read_text("utf-8"))
        return {key: value for key, value in kept.items() if isinstance(value, str)}
    except (OSError, ValueError, AttributeError):
        return {}
