"""How well results follow filmed people: association with the truth, and figures of position, speed, lag and contact.

Units: pixels and metres, time in seconds; F frames of a film, P true people, J joints. Noise: speeds are compared by
the regression of the result's velocity on the true one, so what moves independently of the truth does not count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.optimize import linear_sum_assignment

_GATE = 0.4  # of the true box's longer side: the mean distance of joints up to which a result is on a person
_KEEPING = 0.7  # another result must be nearer than this fraction of the last one's distance, or the last one stays
_LEAST_CORRELATION = 0.5  # of velocities: below it, a result moves otherwise than the person, not later
LAGS = np.arange(-0.2, 0.2001, 0.005)  # seconds that are tried, the result's delay


@dataclass
class Association:
    """Which result follows whom: (P, F) its number and its row, -1 where nobody does; and the invented ones."""

    result: np.ndarray
    row: np.ndarray
    invented: list[int]  # results that follow nobody in more than half of their frames

    def changes(self, person: int) -> int:
        """How often another result takes over a person."""
        numbers = self.result[person][self.result[person] >= 0]
        return int((np.diff(numbers) != 0).sum())

    def runs(self, person: int) -> list[np.ndarray]:
        """Frames of each interval in which one result follows a person without a gap."""
        frames = np.flatnonzero(self.result[person] >= 0)
        if not len(frames):
            return []
        broken = (np.diff(frames) > 1) | (np.diff(self.result[person, frames]) != 0)
        return np.split(frames, np.flatnonzero(broken) + 1)


def associate(true: np.ndarray, sides: np.ndarray, results: Sequence[tuple[np.ndarray, np.ndarray]]) -> Association:
    """Associate results with people frame by frame, by the mean distance of joints in the picture.

    true (P, F, J, 2), sides (P, F) of the true boxes; each result: its frames (N,), counted from 0, and joints
    (N, J, 2). A result keeps its person unless another is clearly nearer.
    """
    people, frames = true.shape[:2]
    rows = np.full((len(results) + 1, frames), -1)  # the last: where nobody follows
    distance = np.full((people, len(results), frames), np.inf)
    for number, (at, joints) in enumerate(results):
        rows[number, at] = np.arange(len(at))
        distance[:, number, at] = np.linalg.norm(true[:, at] - joints, axis=-1).mean(-1) / sides[:, at]
    chosen = np.full((people, frames), -1)
    last = np.full(people, -1)
    for frame in range(frames):
        cost = distance[:, :, frame].copy()
        allowed = cost < _GATE
        known = np.flatnonzero(last >= 0)
        cost[known, last[known]] *= _KEEPING
        for person, number in zip(*linear_sum_assignment(np.where(allowed, cost, 1e3)), strict=True):
            if allowed[person, number]:
                chosen[person, frame] = last[person] = number
    row = rows[chosen, np.arange(frames)]
    followed = [(chosen == number).any(0).sum() for number in range(len(results))]
    invented = [number for number, (at, _) in enumerate(results) if 2 * followed[number] <= len(at)]
    return Association(chosen, row, invented)


def velocities(points: np.ndarray, fps: float) -> np.ndarray:
    """(F - 1, ...) velocities of points (F, ...) between frames."""
    return np.diff(points, axis=0) * fps


def speed_products(predicted: np.ndarray, true: np.ndarray, fps: float) -> tuple[float, float]:
    """Sums whose ratio is the share of the true speed that is kept; of points (F, J, d) in the same frames.

    The ratio is the slope of the regression of the predicted velocity on the true one: noise does not raise it, a lag
    and wrong directions lower it.
    """
    moved, truly_moved = velocities(predicted, fps), velocities(true, fps)
    return float((moved * truly_moved).sum()), float((truly_moved**2).sum())


def lag_products(predicted: np.ndarray, true: np.ndarray, fps: float) -> np.ndarray:
    """(3, L) sums of velocity products for each of `LAGS`; of points (F, J, d) in the same, successive frames.

    Added over films, `best_lag` takes them.
    """
    count = len(true)
    products = np.zeros((3, len(LAGS)))
    if count < 4:
        return products
    position = CubicSpline(np.arange(count), true)
    moved = velocities(predicted, fps)
    for number, shift in enumerate(LAGS * fps):
        times = np.arange(count) - shift
        known = (times[:-1] >= 0) & (times[1:] <= count - 1)
        before, here = velocities(position(times), fps)[known], moved[known]
        products[:, number] = (here * before).sum(), (before**2).sum(), (here**2).sum()
    return products


def best_lag(products: np.ndarray) -> float | None:
    """Seconds by which the result is late: where velocities correlate best; None if they hardly do."""
    both, true, predicted = products
    size = np.sqrt(true * predicted)
    if not (size > 0).all():
        return None
    correlation = both / size
    best = int(correlation.argmax())
    if correlation[best] < _LEAST_CORRELATION:
        return None
    if not 0 < best < len(LAGS) - 1:
        return float(LAGS[best])
    left, middle, right = correlation[best - 1 : best + 2]
    return float(LAGS[best] + (LAGS[1] - LAGS[0]) * 0.5 * (left - right) / (left - 2 * middle + right))


def regression(predicted: np.ndarray, true: np.ndarray) -> tuple[float, float]:
    """Sums whose ratio is the slope of a line through predicted values (F,) over true ones, about their means."""
    centred = true - true.mean()
    return float((centred * predicted).sum()), float((centred**2).sum())


def counts(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """(3,) hits, predicted and true ones, of bool arrays."""
    return np.array([(predicted & true).sum(), predicted.sum(), true.sum()], float)


def noise_variance(points: np.ndarray) -> np.ndarray:
    """(J,) variance of one coordinate of points (F, J, 2) that is noise from frame to frame.

    From third differences, in the calmest third of the frames, where movement adds little to them.
    """
    third = np.diff(points, 3, axis=0)
    speed = np.linalg.norm(points[3:] - points[:-3], axis=-1)
    calm = speed <= np.quantile(speed, 1 / 3, axis=0)
    square = np.where(calm[..., None], third**2, np.nan)
    return np.nanmedian(square, (0, 2)) / 0.455 / 20  # 0.455: the median of a squared normal variable


def travel(predicted: np.ndarray, seen: np.ndarray, steps: int) -> tuple[float, float]:
    """Sums of the ways of predicted and seen points (F, J, 2) over ``steps`` frames, noise taken out of the seen ones.

    A seen displacement is shortened by what its noise adds on average; those within twice the noise do not count.
    """
    moved, seen_moved = (np.linalg.norm(each[steps:] - each[:-steps], axis=-1) for each in (predicted, seen))
    added = 4 * noise_variance(seen)  # of two coordinates at both ends
    counted = seen_moved**2 > 4 * added
    way = np.sqrt(np.maximum(seen_moved**2 - added, 0))
    return float(moved[counted].sum()), float(way[counted].sum())
