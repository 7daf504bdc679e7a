"""Keyframe reduction: removes keyframes while cubic curves through the others stay within a tolerance. NumPy only.

Blender's own decimation needs a Graph Editor, treats every F-curve separately, so that the components of a rotation
keep keyframes at different frames, and measures its error in the units of a curve instead of degrees. Here all
components of a channel have keyframes at the same frames, and the error is the rotation error or distance of a control.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

_COARSE = 8  # of so many rows one is looked at first; set by hand


@dataclass(frozen=True)
class Channel:
    """The components of one property, keyed at every frame, and the error that reduction may make."""

    values: np.ndarray  # (F, n) one row a frame
    tolerance: np.ndarray  # (F,) largest allowed error, in the unit of ``error``
    error: Callable[[np.ndarray, np.ndarray], np.ndarray]  # distance (F,) between two sets of values (F, n)
    required: np.ndarray  # (F,) bool: rows that keep their keyframe and where the slope may be discontinuous


@dataclass(frozen=True)
class ReducedCurves:
    """Cubic Hermite curves through K keyframes, with the slopes on both sides of each, in units a frame."""

    rows: np.ndarray  # (K,) rising; includes the first and the last row
    values: np.ndarray  # (K, n)
    slopes_before: np.ndarray  # (K, n)
    slopes_after: np.ndarray  # (K, n)
    full: np.ndarray  # (F, n) what the curves give at every frame
    error: float  # the largest remaining error, in the channel's unit


def reduce_keyframes(channel: Channel, frames: np.ndarray) -> ReducedCurves:
    """The keyframes that a channel at scene frames (F,) needs to stay within its tolerance.

    Starts with the required keyframes and adds one at the largest error between each pair of neighbours, until the
    error is within the tolerance everywhere (Ramer 1972, Douglas and Peucker 1973, with cubic Hermite curves instead of
    lines). Slopes are those of the full motion.
    """
    values = channel.values
    before, after = _slopes(values, frames, channel.required)
    keyed = channel.required.copy()
    keyed[[0, -1]] = True
    full, error = values.copy(), np.zeros(len(values))
    for step in (_COARSE, 1):  # most keyframes are found by looking at some rows only, which takes less time
        unsure = np.arange(0, len(values), step)
        while len(unsure):
            rows = np.flatnonzero(keyed)
            full[unsure] = _evaluated(values, before, after, frames, rows, unsure)
            error[unsure] = channel.error(full[unsure], values[unsure])
            excess = np.where(keyed[unsure], 0.0, error[unsure] / channel.tolerance[unsure])
            spans = np.searchsorted(rows, unsure, side="right")  # between two keyframes each
            starts = np.flatnonzero(np.diff(spans, prepend=-1))
            largest = np.repeat(np.maximum.reduceat(excess, starts), np.diff(starts, append=len(spans)))
            wrong = largest > 1.0
            worst = np.flatnonzero(wrong & (excess == largest))
            worst = worst[np.unique(spans[worst], return_index=True)[1]]  # one of each span
            keyed[unsure[worst]] = True
            unsure = unsure[wrong]  # curves of the other spans stay as they are
    rows = np.flatnonzero(keyed)
    return ReducedCurves(rows, values[rows], before[rows], after[rows], full, float(error.max()))


def _slopes(values: np.ndarray, frames: np.ndarray, corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slopes (F, n) before and after each row; they differ only at corners (F,) bool."""
    if len(frames) < 2:
        return np.zeros_like(values), np.zeros_like(values)
    steps = np.diff(values, axis=0) / np.diff(frames)[:, None]
    smooth = np.gradient(values, frames, axis=0)
    before, after = np.concatenate([steps[:1], steps]), np.concatenate([steps, steps[-1:]])
    return np.where(corners[:, None], before, smooth), np.where(corners[:, None], after, smooth)


def _evaluated(
    values: np.ndarray, before: np.ndarray, after: np.ndarray, frames: np.ndarray, rows: np.ndarray, wanted: np.ndarray
) -> np.ndarray:
    """The cubic Hermite curves through some rows at the wanted ones (n,); Bezier handles can represent them exactly."""
    if len(rows) < 2:
        return values[wanted]
    span = np.clip(np.searchsorted(rows, wanted, side="right") - 1, 0, len(rows) - 2)
    start, stop = rows[span], rows[span + 1]
    length = (frames[stop] - frames[start])[:, None]
    t = (frames[wanted] - frames[start])[:, None] / length
    return (
        (1 + 2 * t) * (1 - t) ** 2 * values[start]
        + t**2 * (3 - 2 * t) * values[stop]
        + t * (1 - t) ** 2 * length * after[start]
        - t**2 * (1 - t) * length * before[stop]
    )
