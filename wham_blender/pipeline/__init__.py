"""The worker: a clip goes in, a Motion file comes out. Runs outside Blender, in a Python of its own.

Importing it, before any of the libraries, keeps them quiet: none asks the network, installs anything, talks in between
or writes beside the jobs' own cache.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache_folder() -> Path:
    """The worker's folder in the user's cache, where job folders lie unless one is named."""
    home = Path.home()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = home / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    return base / "wham_blender"


os.environ.update(
    YOLO_OFFLINE="true", YOLO_AUTOINSTALL="false", YOLO_VERBOSE="false", YOLO_CONFIG_DIR=str(cache_folder()),
    ULTRALYTICS_SAFE_LOAD="true",
    OPENCV_FFMPEG_LOGLEVEL="-8", OPENCV_LOG_LEVEL="ERROR",
)  # fmt: skip
