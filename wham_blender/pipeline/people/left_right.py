"""Corrects frames in which the landmark net swapped a person's left and right limbs."""

from __future__ import annotations

import numpy as np

from .landmarks import LANDMARK_MIRROR, LANDMARKS
from .types import is_confident

# Upper and lower body are swapped independently; the face belongs to the upper body.
_BODY_PARTS = (np.r_[0:23], np.r_[23:LANDMARKS])
# Cost of a swapped frame, as a mean jump of the points in extents of the part; set by hand. It must be above zero: else
# swapping all frames would cost as little as swapping none.
_SWAP_COST = 0.004


def fix_left_right(landmarks: np.ndarray, landmarks_3d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Landmarks (n, 33, 3) in pixels and in metres of one track, with left and right consistent over its frames.

    Of all choices of frames to swap, the one that minimises the jumps of points between frames plus a cost per swapped
    frame. A track that is swapped from the first frame to the last stays so.
    """
    landmarks, landmarks_3d = landmarks.copy(), landmarks_3d.copy()
    for part in _BODY_PARTS:
        original, swapped = landmarks[:, part], landmarks[:, LANDMARK_MIRROR[part]]
        rows = np.ix_(_frames_to_swap(_jumps(original, original), _jumps(swapped, original)), part)
        for values in (landmarks, landmarks_3d):
            values[rows] = values[:, LANDMARK_MIRROR][rows]
    return landmarks, landmarks_3d


def _jumps(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Mean jump of points (n, K, 3) from each frame to the next, (n - 1,), in extents of the part.

    Points below the confidence threshold in either frame count as zero.
    """
    distance = np.linalg.norm((after[1:] - before[:-1])[..., :2], axis=-1) * (
        is_confident(after[1:]) & is_confident(before[:-1])
    )
    return distance.mean(-1) / np.ptp(after[1:, :, :2], axis=1).max(-1).clip(1)


def _frames_to_swap(same: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Indices of the frames, of n, to swap: the state sequence of least cost, by the Viterbi algorithm.

    Jumps from each frame to the next (n - 1,): ``same`` if both or none are swapped, ``other`` if one is.
    """
    transitions = np.array([[same, other], [other, same]])  # (2, 2, n - 1): from state to state; 1 is swapped
    state_cost = np.array([0.0, _SWAP_COST])
    cost, previous_states = state_cost, []
    for transition in np.moveaxis(transitions, 2, 0):
        path_costs = cost[:, None] + transition
        previous_states.append(path_costs.argmin(0))
        cost = path_costs.min(0) + state_cost
    states = [int(cost.argmin())]
    for previous in reversed(previous_states):
        states.append(int(previous[states[-1]]))
    return np.flatnonzero(states[::-1])
