"""The worker: reads a clip and writes a Motion file. Runs outside Blender, in a separate Python environment.

Import it before any of the libraries: it sets the environment variables that keep them from using the network,
installing packages, printing messages and writing outside the worker's cache.
"""

from __future__ import annotations

import os

from ..folders import cache_folder

os.environ.update(
    YOLO_OFFLINE="true", YOLO_AUTOINSTALL="false", YOLO_VERBOSE="false", YOLO_CONFIG_DIR=str(cache_folder()),
    ULTRALYTICS_SAFE_LOAD="true",
    OPENCV_FFMPEG_LOGLEVEL="-8", OPENCV_LOG_LEVEL="ERROR",
)  # fmt: skip
