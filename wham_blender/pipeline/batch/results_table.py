"""The table of a batch's results, a CSV file with a line for each clip."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

from ...errors import one_line
from ...files import replace_text
from .clip_list import BatchClip
from .clip_worker import Outcome

NAME = "results.csv"
_COLUMNS: dict[str, Callable[[Outcome], object]] = {
    "status": lambda outcome: outcome.status,
    "seconds": lambda outcome: outcome.seconds,
    "frames": lambda outcome: outcome.frames or None,
    "people": lambda outcome: outcome.people or None,
    "confidence": lambda outcome: outcome.confidence,
    "foot_slide_cm_per_s": lambda outcome: None if outcome.sliding is None else round(100 * outcome.sliding, 2),
    "memory_mb": lambda outcome: round(outcome.memory / 1e6) or None,
    "warnings": lambda outcome: " ".join(outcome.warnings),
    "error": lambda outcome: outcome.code,
    "sentence": lambda outcome: outcome.sentence,
}


class ResultsTable:
    """The table; lines are added as clips end, and `finish` brings them into the order of the clips."""

    def __init__(self, folder: Path, clips: list[BatchClip]) -> None:
        """Raises OSError if the table cannot be written."""
        self.path = folder / NAME
        self._clips = clips
        self.outcomes: dict[int, Outcome] = {}
        replace_text(self.path, _line(["clip", "motion", *_COLUMNS]))

    def add(self, number: int, outcome: Outcome) -> None:
        """Add the outcome of a clip. Raises OSError."""
        self.outcomes[number] = outcome
        with self.path.open("a", encoding="utf-8", newline="") as stream:
            stream.write(self._row(number))

    def finish(self) -> None:
        """Write all lines in the order of the clips. Raises OSError."""
        rows = [self._row(number) for number in sorted(self.outcomes)]
        replace_text(self.path, _line(["clip", "motion", *_COLUMNS]) + "".join(rows))

    def _row(self, number: int) -> str:
        clip, outcome = self._clips[number], self.outcomes[number]
        written = clip.output.name if not outcome.code else ""
        return _line([str(clip.clip), written, *(value(outcome) for value in _COLUMNS.values())])


def _line(cells: list[object]) -> str:
    stream = io.StringIO(newline="")
    csv.writer(stream).writerow([_cell(cell) for cell in cells])
    return stream.getvalue()


def _cell(value: object) -> str:
    text = "" if value is None else one_line(str(value))
    # A spreadsheet would run it as a formula: names of files may begin with anything.
    return f"'{text}" if isinstance(value, str) and text.startswith(("=", "+", "-", "@")) else text
