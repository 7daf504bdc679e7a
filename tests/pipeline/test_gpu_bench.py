"""``build.py bench gpu`` without a card: the same code on the processor, small, which says so."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.bench import gpu

SAYS_NOTHING = "on CPU: figures say nothing about a card"


def test_it_runs_without_a_card_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "found.json"
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--small", "--device", "cpu", "--json", str(file)])
    status = gpu.main()
    lines = capfd.readouterr().out.splitlines()
    assert status == 0, lines
    assert SAYS_NOTHING in lines[0]
    assert lines[-1].startswith("0 faults")
    assert SAYS_NOTHING in lines[-1]
    found = json.loads(file.read_text("utf-8"))
    assert SAYS_NOTHING in found["machine"]
    tables = {table["title"].split(",")[0].split(";")[0]: table["rows"] for table in found["tables"]}
    errors = tables["Relative errors against the processor"]
    assert [row["network"] for row in errors] == [
        "YOLO", "ViTPose-H", "HMR2.0", "WHAM, published", "WHAM, open", "lifter", "temporal lifter", "hand lifter",
    ]  # fmt: skip
    assert all(row["single precision"] == 0 for row in errors)  # the same processor
    assert all(0 < row["half precision"] < 0.1 for row in errors)
    assert {row["network"] for row in tables["Speed"]} == {"YOLO", "ViTPose-H", "HMR2.0", "WHAM"}
    assert all(row["a second"] > 0 for row in tables["Speed"])
    assert all(row["when short"] < row["batch chosen"] for row in tables["Crops a batch by memory"])
    compiled = tables["Recurrent networks"]
    assert len(compiled) == 2
    assert all(row["largest difference"] < 1e-4 for row in compiled)
    stages = {(row["job"], row["stage"]) for row in tables["Stages"]}
    assert stages >= {("full", stage) for stage in ("detect", "features", "wham", "placement")}
    assert stages >= {("draft", stage) for stage in ("detect", "features", "wham", "placement")}
    assert all(row["path, mm"] == 0 for row in tables["Draft quality"])
