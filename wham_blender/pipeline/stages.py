"""What a job keeps of its stages in its folder, so that a run goes on where the last one ended."""

from __future__ import annotations

import hashlib
import json
import os
import time
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from .. import protocol
from .errors import unwritable, unwritten
from .pace import Pace
from .track import Progress

Tell = Callable[[protocol.Message], None]
Arrays = dict[str, np.ndarray]

# What each stage adds to the code that made its settings: where that changed, a kept stage is made anew.
_SOURCES = {
    "watch": [
        f"pipeline/{name}.py"
        for name in (
            "video",
            "detect",
            "yolo",
            "follow",
            "keypoints",
            "litert",
            "observe",
            "cutouts",
            "crop_network",
            "camera_motion",
            "track",
        )
    ]
    + ["models/vit.py", "models/vitpose.py"],
    "clean": [],
    "camera": ["pipeline/camera_motion.py"],
    "features": [
        *(f"pipeline/{name}.py" for name in ("run", "features", "image_features", "crop_network")),
        *(f"models/{name}.py" for name in ("lifter", "vit", "hmr2")),
        "body/points.py",
    ],
    "lift": ["pipeline/lift.py", "pipeline/sight.py", "models/wham.py", "body/body.py", "body/rotations.py"],
    "world": [*(f"pipeline/{name}.py" for name in ("world", "contacts", "level", "stance")), "motion.py"],
    "refine": ["pipeline/refine.py", "body/body.py", "motion.py"],
}
_PACKAGE = Path(__file__).parents[1]
_STALE = 3600.0  # seconds after which a file written aside belongs to no running job


def joined(records: Iterable[Arrays]) -> Arrays:
    """Several records as one: {"0/name": ..., "1/name": ...}."""
    return {f"{number}/{name}": value for number, record in enumerate(records) for name, value in record.items()}


def parted(arrays: Arrays) -> list[Arrays]:
    """The records that joined made one of."""
    records: dict[int, Arrays] = {}
    for name, value in arrays.items():
        number, field = name.split("/")
        records.setdefault(int(number), {})[field] = value
    return [records[number] for number in sorted(records)]


class Stages:
    """Does stages or finds what an earlier run kept of them."""

    def __init__(self, folder: Path, tell: Tell, pace: Pace) -> None:
        self.timings: dict[str, float] = {}  # seconds, of the stages done in this run
        self._folder, self._tell, self._pace = folder, tell, pace
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for aside in folder.glob(".*.part"):  # of runs that were killed
                if time.time() - aside.stat().st_mtime > _STALE:
                    aside.unlink(missing_ok=True)
        except OSError as error:
            raise unwritable(folder, error) from error

    def beside(self, stage: str, settings: list[Any], name: str) -> Path:
        """The file in which a stage of these settings keeps what is too much for arrays in memory."""
        return self._folder / f"{stage}-{_key(stage, settings)}.{name}"

    def do(
        self, stage: str, settings: list[Any], make: Callable[[Progress], Arrays], share: float = 1.0,
        beside: Path | None = None,
    ) -> tuple[Arrays, str]:  # fmt: skip
        """The stage's arrays and the key that names them, to be put into the settings of stages that build on them.

        ``share`` is this call's part of the stage, where it is done once for each of several people; ``beside``: the
        file that ``make`` writes too.
        """
        key = _key(stage, settings)
        path = self._folder / f"{stage}-{key}.npz"
        self._pace.begin(stage, share)
        arrays = _load(path) if beside is None or beside.is_file() else None
        kept = arrays is not None
        if arrays is None:
            begun = time.monotonic()
            self._pace.at(0, 1)
            arrays = make(self._pace.at)
            save(path, arrays)
            self.timings[stage] = round(self.timings.get(stage, 0.0) + time.monotonic() - begun, 3)
        else:
            self._tell(protocol.Log(f"{stage}: kept from an earlier run"))
        self._pace.finish(kept)
        return arrays, key


def _key(stage: str, settings: list[Any]) -> str:
    source = b"".join((_PACKAGE / name).read_bytes() for name in _SOURCES[stage])
    return hashlib.sha256(json.dumps([stage, *settings]).encode() + source).hexdigest()[:20]


def _load(path: Path) -> Arrays | None:
    """What a stage kept; None where there is nothing, or nothing whole."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return dict(archive)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None


def save(path: Path, arrays: Arrays) -> None:
    """Write arrays aside, then put them in place; raises PipelineError where they cannot be written."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with aside.open("wb") as stream:
            np.savez(stream, allow_pickle=False, **arrays)
        aside.replace(path)
    except OSError as error:
        raise unwritten(path.parent, error) from error
    finally:
        aside.unlink(missing_ok=True)
