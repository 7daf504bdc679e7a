"""Loads what every job needs: launch.py imports this module in a process that waits for a job.

Libraries, the hashes of the bundled weights, and those of the stages' source, which name their results in the cache.
"""

from __future__ import annotations

from pathlib import Path

from .. import weights
from .stages import camera, detect, features, hands, motions, pose, run, tracks, world
from .stages.cache import source_digest

__all__ = ["motions", "run"]

for _stage in (detect, tracks, camera, features, pose, world, hands):
    source_digest(Path(str(_stage.__file__)).resolve())
for _role in weights.manifest():
    weights.find(_role)
