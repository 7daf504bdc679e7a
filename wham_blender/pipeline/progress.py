"""Progress and remaining time of a job, estimated from the time that each stage took on this machine before."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated

from .. import limits, protocol, records
from ..files import read_bounded, replace_text

Progress = Callable[[int, int], None]  # called with units done and units in total; a total of 0 means unknown

# Seconds per frame and person, measured on one core of a processor: the initial estimate until this machine has been
# measured. On a machine that is faster in all stages alike, only the proportions matter.
_SECONDS_PER_FRAME = {
    "detect": 0.11,
    "boxes": 0.06,
    "tracks": 0.0001,
    "camera": 0.006,
    "features": 0.001,
    "wham": 0.006,
    "placement": 0.0015,
    "smplify": 0.015,
    "hands": 0.005,
    "write": 0.0005,
    "film": 0.01,
}
# Role of a large network: the stage that it runs in, and that stage's seconds per frame with it, measured likewise.
_LARGE_NETWORKS = {"vitpose": ("detect", 8.0), "hmr2": ("features", 8.0)}
_UNKNOWN_STAGE = 0.01  # seconds per frame of a stage that the table lacks; set by hand
_NEWEST_WEIGHT = 0.5  # of the newest run in the exponential mean that is kept; set by hand
_PRIOR_SECONDS = 3.0  # of work: as much as this must be measured to outweigh the stored rates; set by hand
_LEAST_RATE, _MOST_RATE = 1e-9, 1e4  # seconds per frame; ViT-H takes 8 on one core
_MIN_FRAMES = 30  # a stage with fewer is too short to measure its rate
_MESSAGE_INTERVAL = 0.1  # seconds


_Rates = dict[str, dict[str, Annotated[float, records.Within(_LEAST_RATE, _MOST_RATE)]]]  # by machine and stage


class StageRates:
    """Seconds per frame of each stage, stored in a file by kind of machine ("cpu draft").

    ``roles``: of the weight files that are used, because the large networks slow stages down.
    """

    def __init__(self, path: Path, machine: str, roles: Iterable[str] = ()) -> None:
        self._path, self._machine = path, machine
        self._defaults = _SECONDS_PER_FRAME | dict(_LARGE_NETWORKS[role] for role in roles if role in _LARGE_NETWORKS)
        self._measured: _Rates = {}
        with contextlib.suppress(OSError, records.InvalidRecord):  # none yet, or damaged
            stored = records.parse(read_bounded(path, limits.SETTINGS_BYTES), limits.SETTINGS_BYTES)
            self._measured = records.value_of(_Rates, stored, "rates")

    def __getitem__(self, stage: str) -> float:
        """The rate measured on this machine, else the default."""
        return self._measured.get(self._machine, {}).get(stage) or self._defaults.get(stage, _UNKNOWN_STAGE)

    def learn(self, stage: str, rate: float) -> None:
        """Update the stored mean with a measured rate. A file that cannot be written is ignored."""
        rates = self._measured.setdefault(self._machine, {})
        mean = _NEWEST_WEIGHT * rate + (1 - _NEWEST_WEIGHT) * rates.get(stage, rate)
        rates[stage] = min(max(mean, _LEAST_RATE), _MOST_RATE)  # 0 where the clock is too coarse
        with contextlib.suppress(OSError):
            replace_text(self._path, json.dumps(self._measured, indent=1))


class JobProgress:
    """Sends Progress messages: the fraction of the expected time of all stages that has been worked through."""

    def __init__(
        self, rates: StageRates, tell: Callable[[protocol.Message], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rates, self._tell, self._clock = rates, tell, clock
        self._expected: dict[str, float] = {}  # seconds of each stage
        self._not_begun: dict[str, float] = {}  # seconds of each stage that are not begun
        self._finished = self._cached = 0.0  # expected seconds of finished stages; and of those found in the cache
        self._elapsed = 0.0  # seconds that the finished stages took which were not in the cache
        self._stage, self._stage_expected, self._stage_frames = "", 0.0, 1  # the running stage
        self._stage_begin = self._last_message = 0.0  # clock times
        self._fraction = 0.0

    def expect(self, stages: Iterable[str], frames: float) -> None:
        """Set the number of frames, summed over people, that stages which are not begun have to process."""
        for stage in stages:
            self._expected[stage] = self._not_begun[stage] = self._rates[stage] * frames

    def begin(self, stage: str, weight: float = 1.0) -> None:
        """Begin a stage; ``weight`` is this call's fraction of it if it runs once for each of several people.

        The stage that has not finished is taken for not begun: one that is begun twice would have no time left.
        """
        if self._stage_expected:
            self._not_begun[self._stage] += self._stage_expected
        self._stage, self._stage_expected, self._stage_frames = stage, self._expected.get(stage, 0.0) * weight, 1
        self._not_begun[stage] = self._not_begun.get(stage, 0.0) - self._stage_expected
        self._stage_begin = self._clock()
        self._last_message = self._stage_begin - _MESSAGE_INTERVAL

    def update(self, done: int, total: int) -> None:
        """``done`` of the stage's ``total`` frames (0: unknown) are processed; sends at most ten messages a second."""
        now = self._clock()
        if now - self._last_message >= _MESSAGE_INTERVAL:
            self._last_message, self._stage_frames = now, total
            stage_done = self._stage_expected * min(1.0, done / total) if total else 0.0
            self._send(done, self._finished + stage_done, now - self._stage_begin)

    def finish(self, cached: bool = False) -> None:
        """The stage is finished, or its result was ``cached`` by an earlier run."""
        seconds = self._clock() - self._stage_begin
        frames = self._stage_expected / self._rates[self._stage]
        if cached:
            self._cached += self._stage_expected
        else:
            self._elapsed += seconds
            if frames >= _MIN_FRAMES:
                self._rates.learn(self._stage, seconds / frames)
        self._finished += self._stage_expected
        self._stage_expected = 0.0
        self._send(self._stage_frames, self._finished, 0.0)

    def _send(self, frames_done: int, seconds_done: float, stage_elapsed: float) -> None:
        total = self._finished + self._stage_expected + sum(self._not_begun.values())
        self._fraction = max(self._fraction, min(1.0, seconds_done / total) if total > 0 else 0.0)
        # The rest will be as much slower than expected as the work so far; the prior keeps the first seconds from
        # dominating the estimate.
        slowdown = (self._elapsed + stage_elapsed + _PRIOR_SECONDS) / (seconds_done - self._cached + _PRIOR_SECONDS)
        left = max(0.0, total - seconds_done) * slowdown  # rounding may leave less than nothing
        self._tell(protocol.Progress(self._stage, frames_done, self._stage_frames, self._fraction, round(left, 1)))
