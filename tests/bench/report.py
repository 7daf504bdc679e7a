"""Output of every bench: the figures as a printed table and, on request, as a JSON file."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Cell = str | int | float | None


def json_path(description: str | None) -> str | None:
    """The value of --json, for benches without other options."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", help="also write the figures there")
    path: str | None = parser.parse_args().json
    return path


def report(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]], json_path: str | Path | None = None
) -> None:
    """Print the rows as an aligned table under a title; write them to ``json_path`` as one object a row.

    Floats are shown with four significant digits and written in full. Raises ValueError if a row does
    not have one cell for each column.
    """
    lines = [list(columns), *([_show(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    numeric = [all(isinstance(row[i], int | float | None) for row in rows) for i in range(len(columns))]
    print(title)
    for line in lines:
        cells = zip(line, widths, numeric, strict=True)
        print("  ".join(text.rjust(width) if right else text.ljust(width) for text, width, right in cells).rstrip())
    if json_path:
        Path(json_path).write_text(json.dumps(record(title, columns, rows), indent=2) + "\n", "utf-8")


def record(title: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> dict[str, Any]:
    """The table as a JSON object: one object a row."""
    return {"title": title, "rows": [dict(zip(columns, row, strict=True)) for row in rows]}


def _show(cell: Cell) -> str:
    if cell is None:
        return "-"
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)
