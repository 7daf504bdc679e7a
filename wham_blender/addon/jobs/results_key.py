"""Decides whether a job's motion files still belong to its clip, options, weights and version of the add-on. No bpy.

Nothing is hashed here but small files: a clip may have gigabytes, and this runs in Blender's main thread. The worker
hashes the clip and the weights; here a file counts as the same while its `files.file_state` is. Programs can set a
file's size and modification time, but not its change time.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ... import limits, weights
from ...files import file_state, read_bounded
from ...weights.library import Library

_PACKAGE = Path(__file__).resolve().parents[2]


def results_key(clip_state: list[int], options: Mapping[str, Any], library: Library) -> str:
    """Hash of all that motion files depend on, people aside; 20 hexadecimal digits.

    clip_state: `files.file_state` of the clip. options: those of WHAM_OT_import_video that change a motion.
    """
    content = [clip_state, dict(sorted(options.items())), _weights_state(library), version()]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:20]


def _weights_state(library: Library) -> list[Any]:
    """The files of Full quality as they are now, and what the lists of the shipped weights and calibrations hold."""
    chosen = [[role, str(path), file_state(path)] for role, path in sorted(library.paths().items())]
    lists = [
        weights.folder() / "manifest.toml",
        *(base / "calibrations.toml" for base in (weights.folder(), library.folder)),
    ]
    return [chosen, [_digest(path) for path in lists]]


def _digest(path: Path) -> str:
    """The hash of a small file; empty if there is none."""
    try:
        return hashlib.sha256(read_bounded(path, limits.SETTINGS_BYTES)).hexdigest()
    except OSError:
        return ""


@cache
def version() -> str:
    """The add-on's version."""
    for folder in (_PACKAGE, _PACKAGE.parent):  # as installed, and in a checkout
        try:
            return str(tomllib.loads((folder / "blender_manifest.toml").read_text("utf-8"))["version"])
        except (OSError, ValueError, KeyError):
            continue
    return "unknown"
