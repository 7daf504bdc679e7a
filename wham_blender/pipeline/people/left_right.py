"""Corrects frames in which the landmark net swapped a person's left and right limbs."""

from __future__ import annotations

import numpy as np

from .landmarks import LANDMARK_MIRROR, LANDMARKS
from .types import is_confident

# Upper and lower body are swapped independently; the face belongs to the upper body.
_BODY_PARTS = (np.r_[0:23], np.r_[23:LANDMARKS])
_COCO_MIRROR = np.array([0, *(index + 1 if index % 2 else index - 1 for index in range(1, 17))])
_COCO_PARTS = (np.r_[0:11], np.r_[11:17])  # the same parts of COCO's keypoints
# Cost of a swapped frame, as a mean jump of the points in extents of the part; set by hand. It must be above zero: else
# swapping all frames would cost as little as swapping none.
_SWAP_COST = 0.004
_CHANGE_COST = 0.03  # the same for a frame that is swapped after one that is not, or the other way round
_METRES = 0.5  # extents of the part in the picture that count as a metre of a jump in 3D
# Both were set on three films of drawn bodies, a flip, a jump and a kick, all of motion to train on: limbs that pass
# each other in the picture look swapped there, and not in depth.


def fix_left_right(landmarks: np.ndarray, landmarks_3d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Landmarks (n, 33, 3) in pixels and in metres of one track, with left and right consistent over its frames.

    Of all choices of frames to swap, the one that minimises the jumps of points between frames, in the picture and in
    3D, plus a cost per swapped frame and per change. A track that is swapped from the first frame to the last stays so.
    """
    landmarks, landmarks_3d = landmarks.copy(), landmarks_3d.copy()
    for part in _BODY_PARTS:
        original, swapped = ((landmarks[:, at], landmarks_3d[:, at]) for at in (part, LANDMARK_MIRROR[part]))
        changed = _jumps(swapped, original) + _CHANGE_COST
        rows = np.ix_(_frames_to_swap(_jumps(original, original), changed), part)
        for values in (landmarks, landmarks_3d):
            values[rows] = values[:, LANDMARK_MIRROR][rows]
    return landmarks, landmarks_3d


def with_swapped_sides(points: np.ndarray, swapped: np.ndarray) -> np.ndarray:
    """Points (n, K, ...) with left and right exchanged where ``swapped`` (n, 2) says so of upper body and legs.

    K: the landmark net's 33, COCO's 17 or none.
    """
    points = points.copy()
    if points.shape[1]:
        is_coco = points.shape[1] == len(_COCO_MIRROR)
        parts, mirror = (_COCO_PARTS, _COCO_MIRROR) if is_coco else (_BODY_PARTS, LANDMARK_MIRROR)
        for part, flags in zip(parts, swapped.T, strict=True):
            rows = np.ix_(flags, part)
            points[rows] = points[:, mirror][rows]
    return points


def _jumps(earlier: tuple[np.ndarray, np.ndarray], later: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Mean jump of points (n, K, 3), pixels and metres, from each frame to the next, (n - 1,), in extents of the part.

    In the picture, points below the confidence threshold in either frame count as zero.
    """
    (before, before_3d), (after, after_3d) = earlier, later
    deep = np.linalg.norm(after_3d[1:] - before_3d[:-1], axis=-1).mean(-1)
    distance = np.linalg.norm((after[1:] - before[:-1])[..., :2], axis=-1) * (
        is_confident(after[1:]) & is_confident(before[:-1])
    )
    return distance.mean(-1) / np.ptp(after[1:, :, :2], axis=1).max(-1).clip(1) + _METRES * deep


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
