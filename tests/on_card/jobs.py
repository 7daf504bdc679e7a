"""Whole jobs on a device: seconds and memory of each stage."""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from tests import published
from tests.bench.report import Cell
from tests.on_card.networks import Size
from wham_blender import motion, protocol
from wham_blender.pipeline.people import yolo
from wham_blender.pipeline.stages.job import Job
from wham_blender.pipeline.stages.run import run

STAGE_COLUMNS = ["job", "stage", "seconds", "most on the card, MB", "process until then, MB"]
DRAFT_COLUMNS = ["draft", "seconds", "frames a second", "largest difference: axis-angle", "path, mm"]
CLIP = Path(__file__).parents[1] / "clips" / "balance_cam01.mp4"
_MB = 1e6


class Stages:
    """Takes a job's messages, and notes seconds and memory when its stage changes."""

    def __init__(self, name: str, device: torch.device) -> None:
        self.rows: list[list[Cell]] = []
        self._name, self._device = name, device
        self._stage, self._begun = "start", time.perf_counter()
        self._reset()

    def __call__(self, message: protocol.Message) -> None:
        """Take a message."""
        if isinstance(message, protocol.Progress) and message.stage != self._stage:
            self.end()
            self._stage = message.stage

    def end(self) -> None:
        """End the last stage."""
        now = time.perf_counter()
        card = torch.cuda.max_memory_allocated(self._device) / _MB if self._device.type == "cuda" else None
        unit = 1 if sys.platform == "darwin" else 1024
        process = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / _MB
        self.rows.append([self._name, self._stage, now - self._begun, card, process])
        self._begun = now
        self._reset()

    def _reset(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)


def full(folder: Path, library: Path, device: torch.device, size: Size) -> list[list[Cell]]:
    """Rows of STAGE_COLUMNS of a job in Full quality. Raises RuntimeError if its motion is not finite.

    The drawn YOLO detects nothing, so MoveNet's boxes are taken after it has run.
    """
    stages = Stages("full", device)
    with mock.patch.object(yolo, "Yolo", published.SeesLikeMoveNet):
        run(_job(folder, device, size, quality="full", weights=library), stages)
    stages.end()
    _check(motion.load(folder / "motion.npz"))
    return stages.rows


def draft(folder: Path, device: torch.device, size: Size) -> tuple[list[list[Cell]], list[list[Cell]]]:
    """Rows of DRAFT_COLUMNS, of the processor and of another device, and of STAGE_COLUMNS of the device."""
    rows: list[list[Cell]] = []
    stages, expected = Stages("draft", device), None
    devices = {"processor": torch.device("cpu"), **({} if device.type == "cpu" else {"card": device})}
    for name, each in devices.items():
        stages, begun = Stages("draft", each), time.perf_counter()
        run(_job(folder / name, each, size, quality="draft"), stages)
        seconds = time.perf_counter() - begun
        stages.end()
        (person,) = motion.load(folder / name / "motion.npz")
        _check([person])
        expected = expected or person
        rotation, path = (np.abs(getattr(person, each) - getattr(expected, each)).max() for each in ("poses", "trans"))
        rows.append([name, seconds, len(person.poses) / seconds, float(rotation), 1000 * float(path)])
    return rows, stages.rows


def _job(folder: Path, device: torch.device, size: Size, **settings: Any) -> Job:
    folder.mkdir(parents=True, exist_ok=True)
    return Job(
        CLIP, folder / "motion.npz", resume=folder / "job", device=str(device), end=size.clip_frames,
        refine=size.whole, hands=size.whole, **settings,
    )  # fmt: skip


def _check(people: list[motion.Motion]) -> None:
    for person in people:
        if not all(np.isfinite(value).all() for value in (person.poses, person.trans, person.camera_t)):
            raise RuntimeError("The motion has numbers that are not finite.")
