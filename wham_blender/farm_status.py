"""What a job on a render farm says of itself: status.json in its folder on the shared storage. Standard library only.

`pipeline/farm_job.py` writes it on the farm, and the add-on reads it, so that the job's people, its warnings and the
sentence of its failure come back without any connection to the farm.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from . import limits, protocol, records
from .files import replace_text
from .records import AtMost

STATUS, MOTION = "status.json", "motion.npz"  # names of files in the job's folder


@dataclass
class FarmStatus:
    """The messages of a job so far: the newest of each kind, and the first limits.WARNINGS warnings."""

    progress: protocol.Progress | None = None
    clip: protocol.Clip | None = None
    environment: protocol.Environment | None = None
    people: protocol.People | None = None
    warnings: Annotated[list[protocol.Warn], AtMost(limits.WARNINGS)] = field(default_factory=list)
    failed: protocol.Failed | None = None
    done: bool = False  # MOTION is complete

    def add(self, message: protocol.Message) -> None:
        """Keep a message; lines of the log are not kept."""
        match message:
            case protocol.Progress():
                self.progress = message
            case protocol.Clip():
                self.clip = message
            case protocol.Environment():
                self.environment = message
            case protocol.People():
                self.people = message
            case protocol.Warn() if len(self.warnings) < limits.WARNINGS:
                self.warnings.append(message)
            case protocol.Failed():
                self.failed = message
            case protocol.Done():
                self.done = True

    def save(self, folder: Path) -> None:
        """Write it into a job's folder. Raises OSError."""
        replace_text(folder / STATUS, json.dumps(dataclasses.asdict(self)))


def load(folder: Path) -> FarmStatus | None:
    """The status in a job's folder; None if the job has not begun. Raises OSError, and InvalidRecord if damaged."""
    try:
        return records.load(folder / STATUS, FarmStatus)
    except FileNotFoundError:
        return None
