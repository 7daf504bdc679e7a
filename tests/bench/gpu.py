"""All networks and whole jobs on this machine's graphics card: equal to the processor? how fast? in how much memory?

``build.py bench gpu [--small] [--device DEVICE] [--json FILE]`` needs nothing but the repository and what its lock
installs, and takes at most about eight minutes after that. The published networks have drawn numbers in files of the
published format and size, 5.3 GB in the system's folder for temporary files. Without a CUDA card, or with ``--small``,
all networks are small, and on the processor the figures say nothing about a card. A measurement that fails does not
stop the others; the exit status is then 1, and also where a card does not calculate as the processor does.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from tests import published
from tests.bench.report import Cell, record, report
from tests.on_card import jobs, networks, recurrent, speed
from tests.on_card.networks import PUBLISHED, SMALL, Size
from wham_blender.models import vit
from wham_blender.pipeline import cuda, devices
from wham_blender.pipeline.people.batched_network import half_precision
from wham_blender.weights.library import Library

_LIMIT = 420.0  # seconds from the start: measurements at the published size that would begin later are left out
_COMPILE_LIMIT = {False: 90.0, True: 600.0}  # seconds for the recurrent networks by whether small; compiling takes most
_TRANSFORMERS = {"vitpose": "ViTPose-H", "hmr2": "HMR2.0"}


@dataclass
class Bench:
    """What is measured on what, and what was found."""

    device: torch.device
    size: Size
    folder: Path  # for temporary files
    begun: float = field(default_factory=time.perf_counter)
    tables: list[dict[str, Any]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
        """Print a table and keep it."""
        report(f"\n{title}", columns, rows)
        self.tables.append(record(title, columns, rows))

    def attempt(self, what: str, work: Callable[[], None]) -> None:
        """Do a part of the bench; what it raises is a fault, and the next part follows."""
        if time.perf_counter() - self.begun > _LIMIT and self.size != SMALL:
            self.faults.append(f"{what}: left out, as {_LIMIT:.0f} s had passed")
            return
        try:
            work()
        except Exception as error:  # an unknown machine: one part that fails must not hide the others
            traceback.print_exc()
            self.faults.append(f"{what}: {type(error).__name__}: {str(error).strip().partition(chr(10))[0]}")
        gc.collect()
        if self.device.type == "cuda":
            cuda.free_cache()

    def check(self, what: str, passed: bool) -> None:
        """Note a fault if a check did not pass."""
        if not passed:
            self.faults.append(what)


def heading(device: torch.device) -> str:
    """One line about the machine; it says so where there is no card."""
    torch_version = f"PyTorch {torch.__version__}"
    if device.type != "cuda":
        return (
            f"on CPU: figures say nothing about a card ({platform.processor() or platform.machine()}, {torch_version})"
        )
    name, capability = cuda.describe(str(device))
    total = cuda.memory(device)[1] / 1e9
    return f"on {name}, compute capability {capability[0]}.{capability[1]}, {total:.0f} GB, {torch_version}"


def parity(bench: Bench, library: Library) -> None:
    """Every network in both precisions against the processor."""
    half = half_precision(bench.device) if bench.device.type == "cuda" else torch.bfloat16
    rows: list[list[Cell]] = []

    def compare(case: networks.Case) -> None:
        row, equal = networks.compare(case, bench.device, half)
        rows.append(row)
        bench.check(f"{case.name} does not calculate as the processor does", equal)

    for case in networks.cases(library, bench.size):
        bench.attempt(case.name, lambda: compare(case))  # noqa: B023 - called at once
    bench.table("Relative errors against the processor", networks.COLUMNS, rows)


def speeds(bench: Bench, library: Library) -> None:
    """Networks in batches and one at a time, and batches by memory."""
    rates: list[list[Cell]] = []
    batches: list[list[Cell]] = []

    def transformer(role: str) -> None:
        model, make = speed.transformer(role, library.file(role).path, bench.device, bench.size.largest)
        rates.extend(speed.transformer_speed(model, make(), _TRANSFORMERS[role], bench.size.seconds))
        row, recovered = speed.short_memory(model, make, _TRANSFORMERS[role], bench.size.largest)
        batches.append(row)
        bench.check(f"{_TRANSFORMERS[role]} does not go on when memory runs short", recovered)

    yolo, wham = (library.file(role).path for role in ("yolo", "wham"))
    bench.attempt("YOLO's speed", lambda: rates.extend(speed.yolo_speed(yolo, bench.device, bench.size)))
    for role in _TRANSFORMERS:
        bench.attempt(f"{_TRANSFORMERS[role]}'s speed", lambda: transformer(role))  # noqa: B023 - called at once
    bench.attempt("WHAM's speed", lambda: rates.extend(speed.wham_speed(wham, bench.device, bench.size)))
    bench.table("Speed, all ways of a network in turn", speed.SPEED_COLUMNS, rates)
    bench.table("Crops a batch by memory", speed.MEMORY_COLUMNS, batches)


def recurrence(bench: Bench, library: Library) -> None:
    """WHAM's recurrent networks as they are, as a CUDA graph, and compiled."""
    small = bench.size == SMALL
    rows, why = recurrent.measure(library.file("wham").path, bench.device, small, _COMPILE_LIMIT[small])
    bench.table("Recurrent networks; only measured, jobs run them as they are", recurrent.COLUMNS, rows)
    if why:
        print(f"Not all were measured: {why}.")
    bench.check("WHAM's recurrent networks were not measured", bool(rows))


def whole_jobs(bench: Bench, library: Library) -> None:
    """A clip in Full quality, and in Draft quality with its networks on the device."""
    stages: list[list[Cell]] = []

    def full() -> None:
        stages.extend(jobs.full(bench.folder / "full", library.folder, bench.device, bench.size))

    def draft() -> None:
        rows, of_stages = jobs.draft(bench.folder / "draft", bench.device, bench.size)
        stages.extend(of_stages)
        bench.table(f"Draft quality, {bench.size.clip_frames} frames", jobs.DRAFT_COLUMNS, rows)

    bench.attempt("Full quality", full)
    bench.attempt("Draft quality", draft)
    bench.table(f"Stages, {bench.size.clip_frames} frames of {jobs.CLIP.name}", jobs.STAGE_COLUMNS, stages)


def main() -> int:
    """Measure everything and print the tables; 1 if something failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", help="also write the figures there")
    parser.add_argument("--small", action="store_true", help="small networks, a few frames: in seconds")
    parser.add_argument("--device", default="auto", help="auto, cpu, or cuda:N")
    arguments = parser.parse_args()
    device = torch.device(devices.choose(arguments.device, lambda text, code: print(f"{text} ({code})")))
    size = SMALL if arguments.small or device.type != "cuda" else PUBLISHED
    about = heading(device)
    print(f"Bench of all networks {about}", flush=True)
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(vit, "DEPTH", size.depth):
        bench = Bench(device, size, Path(folder))
        library = published.library(Path(folder, "library"), size.depth, yolo_config=size.yolo)
        print(f"Drew the published networks' numbers in {time.perf_counter() - bench.begun:.0f} s", flush=True)
        for part in (parity, speeds, recurrence, whole_jobs):
            bench.attempt(part.__name__, lambda: part(bench, library))  # noqa: B023 - called at once
        seconds = time.perf_counter() - bench.begun
    for fault in bench.faults:
        print(f"FAULT: {fault}")
    print(f"{len(bench.faults)} faults in {seconds:.0f} s, {about}")
    if arguments.json:
        found = {
            "machine": about, "size": vars(size), "seconds": seconds, "faults": bench.faults, "tables": bench.tables
        }  # fmt: skip
        Path(arguments.json).write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    return int(bool(bench.faults))


if __name__ == "__main__":
    sys.exit(main())
