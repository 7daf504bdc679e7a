"""Where this project keeps its large files: the add-on and the worker look in the same place. Standard library only."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

NAME = "wham_blender"
RECORD = "location.json"


def default_folder() -> Path:
    """The platform's own folder for an application's data."""
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return base / NAME


def data_folder() -> Path:
    """Where everything lies: the folder that the user moved it to, else the platform's."""
    return Path(record().get("folder") or default_folder())


def record() -> dict[str, str]:
    """What a move noted in the platform's folder: ``folder``, ``moving_to``, ``left_behind``; each may be missing."""
    try:
        noted = json.loads((default_folder() / RECORD).read_text("utf-8"))
        return {key: value for key, value in noted.items() if isinstance(value, str)}
    except (OSError, ValueError, AttributeError):
        return {}
