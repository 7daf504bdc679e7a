"""Puts left and right back where the landmark net took one for the other for some looks."""

from __future__ import annotations

import numpy as np

from .landmarks import LANDMARK_MIRROR, LANDMARKS
from .types import counted

# Arms and legs are taken for each other by themselves; the face goes with the arms.
_PARTS = (np.r_[0:23], np.r_[23:LANDMARKS])
_COST = 0.004  # of a look that is turned round, in extents of the part: as if its points had jumped so far


def unswapped(landmarks: np.ndarray, landmarks_3d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Landmarks (n, 33, 3) in pixels and metres of one person's looks, with left and right as in the other looks.

    Of all ways to turn looks round, the one on which points jump least, and fewest looks are turned: whoever is seen
    wrongly from the first look to the last stays so.
    """
    landmarks, landmarks_3d = landmarks.copy(), landmarks_3d.copy()
    for part in _PARTS:
        told, turned = landmarks[:, part], landmarks[:, LANDMARK_MIRROR[part]]
        rows = np.ix_(_swapped(_jumps(told, told), _jumps(turned, told)), part)
        for values in (landmarks, landmarks_3d):
            values[rows] = values[:, LANDMARK_MIRROR][rows]
    return landmarks, landmarks_3d


def _jumps(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """How far points (n, K, 3) jump from each look to the next, (n - 1,) of their extent; hidden ones do not."""
    far = np.linalg.norm((after[1:] - before[:-1])[..., :2], axis=-1) * (counted(after[1:]) & counted(before[:-1]))
    return far.mean(-1) / np.ptp(after[1:, :, :2], axis=1).max(-1).clip(1)


def _swapped(same: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Indices of the looks, of n, to turn round: the cheapest way, by Viterbi's algorithm.

    How far points jump from each look to the next (n - 1,): ``same`` if both are turned or none, ``other`` if one is.
    """
    steps = np.array([[same, other], [other, same]])  # (2, 2, n - 1): from told or turned, to told or turned
    turned = np.array([0.0, _COST])
    cost, came = turned, []
    for step in np.moveaxis(steps, 2, 0):
        ways = cost[:, None] + step
        came.append(ways.argmin(0))
        cost = ways.min(0) + turned
    state = [int(cost.argmin())]
    for before in reversed(came):
        state.append(int(before[state[-1]]))
    return np.flatnonzero(state[::-1])
