"""How far a job is and how long it will take, by what each stage took on this machine when it last ran."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from .. import protocol
from ..files import replace_text

Progress = Callable[[int, int], None]  # called with units done and units in all; 0 in all: not known

# Seconds for one frame of one person, as measured on one core of a processor: what counts until this machine's own
# are known. Only their proportions matter where another machine is faster in all.
_SECONDS = {
    "detect": 0.11,
    "tracks": 0.0001,
    "camera": 0.006,
    "features": 0.001,
    "wham": 0.006,
    "placement": 0.0015,
    "smplify": 0.015,
    "write": 0.0005,
}
# And what the large networks add to a stage, measured likewise.
_LARGE = {"vitpose": ("detect", 8.0), "hmr2": ("features", 8.0)}
_UNKNOWN = 0.01  # of a stage that the table lacks
_NEWEST = 0.5  # weight of the newest run in the mean that is kept
_TRUST = 3.0  # seconds of work that must be seen before its pace outweighs what the rates foretell
_ENOUGH = 30  # frames from which on a stage's pace is worth remembering
_EVERY = 0.1  # seconds between two messages


class StageRates:
    """Seconds a frame of each stage, kept in a file for every kind of machine ("cpu draft").

    ``roles``: of the weight files that are used, as the large networks make stages slow.
    """

    def __init__(self, path: Path, kind: str, roles: Iterable[str] = ()) -> None:
        self._path, self._kind = path, kind
        self._shipped = _SECONDS | dict(_LARGE[role] for role in roles if role in _LARGE)
        self._all: dict[str, dict[str, float]] = {}
        with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
            kept = json.loads(path.read_text("utf-8"))
            self._all = {name: {s: float(r) for s, r in rates.items() if r > 0} for name, rates in kept.items()}

    def __getitem__(self, stage: str) -> float:
        """The rate measured here, else the one that ships."""
        return self._all.get(self._kind, {}).get(stage) or self._shipped.get(stage, _UNKNOWN)

    def learn(self, stage: str, rate: float) -> None:
        """Take in what a stage took. A file that cannot be written is no reason to stop."""
        mine = self._all.setdefault(self._kind, {})
        mine[stage] = _NEWEST * rate + (1 - _NEWEST) * mine.get(stage, rate)
        with contextlib.suppress(OSError):
            replace_text(self._path, json.dumps(self._all, indent=1))


class JobProgress:
    """Tells how far a job of several stages is, in shares of the seconds that they are expected to take."""

    def __init__(
        self, rates: StageRates, tell: Callable[[protocol.Message], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rates, self._tell, self._clock = rates, tell, clock
        self._expected: dict[str, float] = {}  # seconds of each stage
        self._ahead: dict[str, float] = {}  # what of them is not begun
        self._through = self._kept = 0.0  # what of them is through; and was found done by an earlier run
        self._spent = 0.0  # seconds that what was not found done really took
        self._stage, self._now, self._total = "", 0.0, 1  # that runs, its expected seconds, its frames
        self._begun = self._told = 0.0
        self._fraction = 0.0

    def expect(self, stages: Iterable[str], frames: float) -> None:
        """Say how many frames, counted once for each person, stages that are not begun have to do."""
        for stage in stages:
            self._expected[stage] = self._ahead[stage] = self._rates[stage] * frames

    def begin(self, stage: str, weight: float = 1.0) -> None:
        """A stage begins; ``weight`` is its part where it is done once for each of several people."""
        self._stage, self._now, self._total = stage, self._expected.get(stage, 0.0) * weight, 1
        self._ahead[stage] = self._ahead.get(stage, 0.0) - self._now
        self._begun = self._clock()
        self._told = self._begun - _EVERY

    def at(self, done: int, total: int) -> None:
        """Of the stage's frames ``done`` of ``total`` (0: nobody knows) are through; tells it now and then."""
        now = self._clock()
        if now - self._told >= _EVERY:
            self._told, self._total = now, total
            through = self._now * min(1.0, done / total) if total else 0.0
            self._say(done, self._through + through, now - self._begun)

    def finish(self, kept: bool = False) -> None:
        """The stage is through, or was ``kept`` from an earlier run."""
        took = self._clock() - self._begun
        frames = self._now / self._rates[self._stage]
        if kept:
            self._kept += self._now
        else:
            self._spent += took
            if frames >= _ENOUGH:
                self._rates.learn(self._stage, took / frames)
        self._through += self._now
        self._now = 0.0
        self._say(self._total, self._through, 0.0)

    def _say(self, done: int, through: float, spent: float) -> None:
        whole = self._through + self._now + sum(self._ahead.values())
        self._fraction = max(self._fraction, min(1.0, through / whole) if whole > 0 else 0.0)
        # As much slower than expected as it was so far, but not by what the first seconds seem to show.
        slower = (self._spent + spent + _TRUST) / (through - self._kept + _TRUST)
        left = (whole - through) * slower
        self._tell(protocol.Progress(self._stage, done, self._total, self._fraction, round(left, 1)))
