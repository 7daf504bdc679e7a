"""Batches with the real networks: kept between clips, the same motion as alone, done clips are skipped."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from tests.bench.killed import motion as arrays_of
from tests.bench.killed import same
from tests.end_to_end.test_command import CLIP, LAUNCHER, WAIT
from wham_blender import protocol
from wham_blender.pipeline.batch.clip_worker import DONE, FAILED, KEPT, ClipWorker, Outcome, Task
from wham_blender.pipeline.job_process import result
from wham_blender.pipeline.options import job_parser

QUICK = ["--quality=fast", "--no-refine", "--device=cpu"]


def arguments(folder: Path, frames: int, *more: str) -> list[str]:
    return [f"--output={folder / 'm.npz'}", f"--resume={folder / 'job'}", f"--end={frames}", "--skip-finished", *QUICK,
            *more, "--", str(CLIP)]  # fmt: skip


def test_a_kept_process_gives_the_motion_of_one_alone_and_skips_what_is_done(tmp_path: Path) -> None:
    worker, said = ClipWorker(), list[protocol.Message]()

    def run(name: str, frames: int, *more: str) -> Outcome:
        return worker.run(Task(arguments(tmp_path / name, frames, *more)), said.append)

    first, second = run("a", 8), run("b", 10)
    assert (first.status, second.status, second.people, second.code) == (DONE, DONE, 1, "")
    assert second.frames in (9, 10)
    assert 0.5 < (second.confidence or 0) < 1
    assert list((tmp_path / "b").iterdir()) == [tmp_path / "b/m.npz"]  # the stages are deleted
    result(job_parser(None).parse_args(arguments(tmp_path / "alone", 10)), said.append)
    assert same(arrays_of(tmp_path / "b/m.npz"), arrays_of(tmp_path / "alone/m.npz"))
    again = run("b", 10)
    assert (again.status, again.frames, again.confidence) == (KEPT, second.frames, second.confidence)
    (tmp_path / "b/m.npz").write_bytes((tmp_path / "a/m.npz").read_bytes())
    assert run("b", 10).status == DONE  # other options were used
    np.savez(tmp_path / "b/m.npz", a=1)
    failed = run("b", 10, "--person=9")
    assert (failed.status, failed.code) == (FAILED, "person-not-found")


def test_the_command_starts_the_worker_and_reports_what_failed(tmp_path: Path) -> None:
    (tmp_path / "damaged.mp4").write_bytes(b"no video")
    command: list[str | Path] = [
        sys.executable,
        "-I",
        LAUNCHER,
        "wham_blender.pipeline",
        "batch",
        tmp_path / "damaged.mp4",
    ]
    ended = subprocess.run(
        [*command, "-o", tmp_path / "out", "--device=cpu"], capture_output=True, text=True, timeout=WAIT,
        env=os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")},
    )  # fmt: skip
    assert ended.returncode == 1
    assert ended.stdout == f"Wrote {tmp_path / 'out/results.csv'}\n"
    with (tmp_path / "out/results.csv").open(encoding="utf-8", newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert (row["status"], row["error"]) == ("failed", "clip-unreadable")
    assert row["sentence"] in ended.stderr
    assert "Traceback" not in (tmp_path / "out/batch.log").read_text("utf-8"), json.dumps(row)
