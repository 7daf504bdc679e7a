"""A batch on Ray's local cluster; skipped where Ray is missing: `build.py` runs it in the environment with Ray."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.ray_scenario import CLIPS, processes
from tests.end_to_end.test_command import ROOT, WAIT


def test_a_lost_node_loses_nothing_and_a_lost_head_is_a_sentence(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    ended = subprocess.run(
        [sys.executable, "-m", "tests.end_to_end.ray_scenario", tmp_path], cwd=ROOT, timeout=WAIT,
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    results, sentence = [line for line in ended.stdout.splitlines() if line.startswith(("[", "The Ray"))]
    assert results == str([f"{number} done {number}" for number in range(CLIPS)])  # none is lost, none is there twice
    written = [path.read_text("utf-8") for path in sorted(tmp_path.glob("*.npz"), key=lambda path: int(path.stem))]
    assert written == [f"motion {number}" for number in range(CLIPS)]  # the same as alone
    assert sentence.startswith("The Ray cluster ")
    assert "cannot be reached: " in sentence
    assert len(processes(tmp_path)) > 1
