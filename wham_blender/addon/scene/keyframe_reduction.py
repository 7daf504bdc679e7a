"""Leaves out keys where smooth curves through the others come near enough. NumPy only.

Blender's own decimation wants a Graph Editor, treats every curve alone, so that a rotation's components lose their keys
at different frames, and counts its error in a curve's units instead of degrees. Here all components of a control share
their keys, and the error is what an animator sees: how far a control turns or stands from where it should.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np


@dataclass(frozen=True)
class Track:
    """All that is keyed together on a control."""

    values: np.ndarray  # (F, n) one row a frame
    tolerance: np.ndarray  # (F,) the largest error that may be, in the unit of ``error``
    error: Callable[[np.ndarray, np.ndarray], np.ndarray]  # how far rows (F, n) are from others: (F,)
    kept: np.ndarray  # (F,) bool: rows whose keys stay and where the curve may have a corner


@dataclass(frozen=True)
class Curves:
    """Cubic curves through K keys, with a slope before and one after each key, in units a frame."""

    rows: np.ndarray  # (K,) rising; the first and the last frame are among them
    values: np.ndarray  # (K, n)
    before: np.ndarray  # (K, n)
    after: np.ndarray  # (K, n)
    error: float  # the largest that is left


def reduced(track: Track, frames: np.ndarray) -> Curves:
    """The keys of a track at frames (F,) that it cannot do without.

    Keys are added where the error is largest, between all keys at once, until it is within the tolerance everywhere
    (Ramer 1972, Douglas and Peucker 1973, with cubic Hermite curves instead of lines). Slopes are the motion's own.
    """
    values = track.values
    before, after = _slopes(values, frames, track.kept)
    keyed = track.kept.copy()
    keyed[[0, -1]] = True
    while True:
        rows = np.flatnonzero(keyed)
        error = track.error(_evaluated(values, before, after, frames, rows), values)
        excess = np.where(keyed, 0.0, error / track.tolerance)
        if excess.max() <= 1.0:
            return Curves(rows, values[rows], before[rows], after[rows], float(error.max()))
        for start, stop in pairwise(rows):
            worst = start + int(np.argmax(excess[start:stop]))
            keyed[worst] |= excess[worst] > 1.0


def _slopes(values: np.ndarray, frames: np.ndarray, corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slopes (F, n) on both sides of each row; they differ at corners alone."""
    if len(frames) < 2:
        return np.zeros_like(values), np.zeros_like(values)
    steps = np.diff(values, axis=0) / np.diff(frames)[:, None]
    smooth = np.gradient(values, frames, axis=0)
    before, after = np.concatenate([steps[:1], steps]), np.concatenate([steps, steps[-1:]])
    return np.where(corners[:, None], before, smooth), np.where(corners[:, None], after, smooth)


def _evaluated(
    values: np.ndarray, before: np.ndarray, after: np.ndarray, frames: np.ndarray, rows: np.ndarray
) -> np.ndarray:
    """The curves (F, n) through some rows, at all frames: in Hermite's form, which Bezier handles can say too."""
    if len(rows) < 2:
        return values
    span = np.clip(np.searchsorted(rows, np.arange(len(frames)), side="right") - 1, 0, len(rows) - 2)
    start, stop = rows[span], rows[span + 1]
    length = (frames[stop] - frames[start])[:, None]
    t = (frames - frames[start])[:, None] / length
    return (
        (1 + 2 * t) * (1 - t) ** 2 * values[start]
        + t**2 * (3 - 2 * t) * values[stop]
        + t * (1 - t) ** 2 * length * after[start]
        - t**2 * (1 - t) * length * before[stop]
    )
