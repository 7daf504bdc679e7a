"""Finds the ranges of a motion that make good cycles: from one heel strike to a later one of the same foot. NumPy only.

A cycle needs the same phase of a step at both ends. Its ends are compared over the rows that `animation.looped` blends:
heading and place on the floor are ignored there, as it removes both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import quaternions
from .animation import Animation, evenly, repeated, sliding
from .motion import true_intervals
from .planted_feet import LEGS
from .skeleton import JOINT_NAMES

_SHORTEST, _LONGEST = 0.4, 12.0  # seconds of a cycle: half of a quick step pair, and a phrase of a dance; set by hand
_SAME_CONTACT = 0.1  # seconds: a foot that lifts for less has not stepped
# What counts as much as one centimetre between the poses, set by hand: speeds of joints that differ by 10 cm/s, and a
# foot point of four that is planted at one end only in a tenth of the rows.
_SPEED, _CONTACT = 0.1, 40.0
_MOST = 200  # strikes that are compared: every pair of them


@dataclass(frozen=True)
class Cycle:
    """A range of scene frames that may be looped, and how well its ends agree."""

    first: float
    last: float
    blend: int  # rows at the end that `looped` blends into the start
    seconds: float  # of one repetition
    steps: int  # of both feet
    pose: float  # mean distance of the joints between the ends, metres
    speed: float  # mean difference of the joints' velocities, metres a second
    feet: float  # fraction of the foot points that agree in being planted or not

    @property
    def cost(self) -> float:
        """How badly the ends agree, in centimetres of the pose."""
        return 100 * self.pose + 100 * _SPEED * self.speed + _CONTACT * (1 - self.feet)


def cycles(animation: Animation, rate: float, blend: int = 8, count: int = 5) -> list[Cycle]:
    """The ``count`` cycles whose ends agree best, the best first; none without two strikes of one foot.

    ``rate``: scene frames a second; ``blend``: rows over which the end will be blended into the start.
    """
    animation = evenly(animation)
    if len(animation) < 2:
        return []
    rate /= animation.frames[1] - animation.frames[0]
    strikes = [heel_strikes(animation.contacts[:, leg.points], rate) for leg in LEGS]
    ends = _Ends.of(animation, rate)
    found = [
        cycle
        for rows in strikes
        for number, start in enumerate(rows)
        for stop in rows[number + 1 :]
        if _SHORTEST * rate <= stop - start <= _LONGEST * rate
        and (cycle := ends.compared(int(start), int(stop), blend, np.concatenate(strikes)))
    ]
    return sorted(found, key=lambda cycle: (round(cycle.cost, 1), cycle.seconds))[:count]  # of equals the shortest


def heel_strikes(planted: np.ndarray, rate: float) -> np.ndarray:
    """The rows at which a foot, planted (F, 2) at toe and heel, comes down; ``rate``: rows a second."""
    down = np.any(planted, axis=1)
    intervals = true_intervals(down)
    starts = [start for number, (start, _) in enumerate(intervals)
              if start > 0 and (number == 0 or start - intervals[number - 1][1] >= _SAME_CONTACT * rate)]  # fmt: skip
    return np.array(starts[:_MOST], int)


@dataclass(frozen=True)
class _Ends:
    """What is compared at the ends of cycles."""

    animation: Animation
    rate: float  # rows a second
    positions: np.ndarray  # (F, J, 3) of the joints, relative to the pelvis' place on the floor and heading
    velocities: np.ndarray  # (F, J, 3) metres a second, in the same axes

    @classmethod
    def of(cls, animation: Animation, rate: float) -> _Ends:
        positions, _ = animation.pose()
        positions = positions[:, : len(JOINT_NAMES)]
        straight = quaternions.inverse(quaternions.heading(animation.rotations[:, 0]))[:, None]
        floor = animation.root[:, None] * [1.0, 1.0, 0.0]
        velocities = np.gradient(positions, axis=0) * rate
        return cls(
            animation, rate, quaternions.rotate(straight, positions - floor), quaternions.rotate(straight, velocities)
        )

    def compared(self, start: int, stop: int, blend: int, strikes: np.ndarray) -> Cycle | None:
        """The cycle from one strike to another one; None if the motion is too short around it for the blend."""
        period = stop - start
        first = min(max(start - blend // 2, 0), len(self.animation) - period - blend)
        if first < 0 or period <= blend:
            return None
        head, tail = slice(first, first + blend), slice(first + period, first + period + blend)
        contacts = self.animation.contacts
        return Cycle(
            first=float(self.animation.frames[first]), last=float(self.animation.frames[first + period + blend - 1]),
            blend=blend, seconds=float(period / self.rate), steps=int(((strikes >= start) & (strikes < stop)).sum()),
            pose=_mean_length(self.positions[head] - self.positions[tail]),
            speed=_mean_length(self.velocities[head] - self.velocities[tail]),
            feet=float((contacts[head] == contacts[tail]).mean()),
        )  # fmt: skip


def _mean_length(vectors: np.ndarray) -> float:
    return float(np.linalg.norm(vectors, axis=-1).mean())


def seam_sliding(cycle: Animation, rate: float) -> float | None:
    """The mean speed of planted foot points, metres a second, in a cycle that is repeated once; None without contacts.

    ``rate``: scene frames a second.
    """
    return sliding(repeated(cycle, 2), rate)
