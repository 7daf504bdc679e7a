"""The positions that toe and heel of a foot keep while they are planted: on the floor, a foot length apart. NumPy only.

A pin is the position of one foot point during one contact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ... import quaternions
from ...motion import true_intervals
from ...planted_feet import Contact, contacts_of, nearest_rows, simultaneous

_MOST_ITERATIONS = 200  # of _separate; a few are enough unless a foot steps many times while its other end stays


@dataclass(frozen=True)
class Floor:
    """The floor as a plane, and the thresholds for standing on it; lengths in the body's space."""

    up: np.ndarray  # (3,) of length one
    height: float  # of the plane along ``up``
    step: float  # a contact farther from the floor is on something else: stairs, a box
    slip: float  # a planted point that strays farther than this drifts, and its pin follows it
    creep: float  # the most that a pin moves from row to row when it follows
    gap: int  # rows without contact that are bridged if the point hardly moves meanwhile

    def project(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 3) moved along ``up`` to height zero."""
        return points - (points @ self.up)[..., None] * self.up


@dataclass(frozen=True)
class Pins:
    """The pins of one foot over F frames."""

    planted: np.ndarray  # (F, 2) bool: toe, heel
    positions: np.ndarray  # (F, 2, 3) only valid where they are planted
    ground: np.ndarray  # (F,) height of the ground under the foot, also where nothing is planted


def pin(points: np.ndarray, source: np.ndarray, planted: np.ndarray, length: float, floor: Floor) -> Pins:
    """The pins of a foot whose toe and heel are at points (F, 2, 3), and stand ``length`` apart when the foot is flat.

    In each contact a point (planted (F, 2)) gets one position, the mean of where it is, so that corrections are small.
    Toe and heel that are planted together are moved to the foot's length. ``source`` (F, 2, 3) are the source's points
    on the target's scale: contacts on stairs keep its height, and pins follow slowly what drifts far.
    """
    planted = bridge_gaps(planted, source, floor)
    positions, ground = points.copy(), np.full(len(points), floor.height)
    for group in _overlapping(planted):
        centres = {contact: floor.project(points[contact.rows, contact.point]).mean(0) for contact in group}
        _separate(group, centres, length, points, floor)
        height = _ground_height(group, source @ floor.up, floor)
        for contact, centre in centres.items():
            drift = pin_drift(floor.project(source[contact.rows, contact.point]), floor)
            positions[contact.rows, contact.point] = centre + drift + height * floor.up
            ground[contact.rows] = height
        _restore_length(group, positions, planted, length)
    held = np.asarray(planted.any(1))
    if held.any():
        before, after = nearest_rows(held)
        ground = np.minimum(ground[before], ground[after])
    # A foot that goes down by two steps or more has left the roof or box that it stood on, or even the floor.
    lowest = (source @ floor.up).min(1)
    for start, stop in true_intervals(~held):
        heights, low = ground[start:stop], lowest[start:stop]
        for lower in (np.minimum(heights, floor.height), low):
            if (heights - low).max() > 2 * floor.step:
                heights = lower
        ground[start:stop] = np.minimum(heights, low + floor.step)
    return Pins(planted, positions, ground)


def bridge_gaps(planted: np.ndarray, source: np.ndarray, floor: Floor) -> np.ndarray:
    """Contacts (F, 2) without short gaps in which the point does not step.

    Where toe follows heel or heel toe, both are planted for a moment, so that the foot is flat in between. A point of
    ``source`` (F, 2, 3) steps if it moves farther than half of ``floor.slip`` in the gap.
    """
    planted = planted.copy()

    def stays(point: int, start: int, stop: int) -> bool:
        path = source[start : stop + 1, point] - source[start - 1, point]
        return bool(np.linalg.norm(path, axis=1).max() < floor.slip / 2)

    for point in (0, 1):
        for start, stop in true_intervals(~planted[:, point]):
            if start > 0 and stop < len(planted) and stop - start <= floor.gap:
                planted[start:stop, point] = stays(point, start, stop)
    for first, second in ((0, 1), (1, 0)):
        starts = true_intervals(planted[:, second])[:, 0]
        for _, stop in true_intervals(planted[:, first]):
            for start in starts[(starts >= stop) & (starts <= stop + 2)]:
                planted[stop - 1 : start + 1] |= stays(second, stop, start)
    return planted


def pin_drift(points: np.ndarray, floor: Floor) -> np.ndarray:
    """How a pin moves (F, 3) with points (F, 3) on the floor, from their mean; not at all while they stay near it.

    The mean of following them forwards and backwards in time, so that it is as far ahead of them as behind.
    """
    strayed = points - points.mean(0)
    if np.linalg.norm(strayed, axis=1).max() <= floor.slip:
        return np.zeros_like(points)
    return (_follow(strayed, floor) + _follow(strayed[::-1], floor)[::-1]) / 2


def _follow(points: np.ndarray, floor: Floor) -> np.ndarray:
    """Positions (F, 3) that stay within ``floor.slip`` of points (F, 3), as far as steps of ``floor.creep`` allow."""
    result = np.empty_like(points)
    position, longest = np.zeros(3), np.inf
    for row, point in enumerate(points):
        offset = point - position
        distance = max(float(np.linalg.norm(offset)), 1e-12)
        position = position + offset / distance * np.clip(distance - floor.slip, 0.0, longest)
        result[row], longest = position, floor.creep
    return result


def _overlapping(planted: np.ndarray) -> list[list[Contact]]:
    """The contacts (F, 2) of a foot in groups that overlap in time, whose positions depend on each other."""
    groups: list[list[Contact]] = []
    end = 0
    for contact in sorted(contacts_of(planted), key=lambda contact: contact.start):
        if not groups or contact.start >= end:
            groups.append([])
        groups[-1].append(contact)
        end = max(end, contact.stop)
    return groups


def _separate(
    group: Sequence[Contact], centres: dict[Contact, np.ndarray], length: float, points: np.ndarray, floor: Floor
) -> None:
    """Move the centres (3,) of toes and heels that are planted together to the foot's length, both by the same amount.

    Pair after pair until all fit (Müller et al. 2007, Position Based Dynamics).
    """
    pairs = simultaneous(group)
    for _ in range(_MOST_ITERATIONS):
        worst = 0.0
        for toe, heel, rows in pairs:
            foot = centres[toe] - centres[heel]
            distance = float(np.linalg.norm(foot))
            if distance < 0.1 * length:  # too short for a direction: take that of the pose
                foot, distance = floor.project(points[rows, 0] - points[rows, 1]).mean(0), 0.0
            correction = (length - distance) * quaternions.normalized(foot)
            centres[toe] = centres[toe] + correction / 2
            centres[heel] = centres[heel] - correction / 2
            worst = max(worst, abs(length - distance))
        if worst < 1e-7 * length:
            break


def _ground_height(group: Sequence[Contact], heights: np.ndarray, floor: Floor) -> float:
    """The height of the ground under a group: the floor's, or that of its points (F, 2) if it is a step away."""
    height = float(np.median(np.concatenate([heights[contact.rows, contact.point] for contact in group])))
    return height if abs(height - floor.height) > floor.step else floor.height


def _restore_length(group: Sequence[Contact], positions: np.ndarray, planted: np.ndarray, length: float) -> None:
    """Move toe and heel whose pins drift back to the foot's length where both are planted.

    The correction extends to the other rows of their contacts, so that no pin jumps where the other end lands.
    """
    rows = np.arange(min(contact.start for contact in group), max(contact.stop for contact in group))
    both = rows[planted[rows].all(1)]
    foot = positions[both, 0] - positions[both, 1]
    correction = quaternions.normalized(foot) * (length - np.linalg.norm(foot, axis=1, keepdims=True)) / 2
    if not len(both) or np.abs(correction).max() < 1e-6 * length:
        return
    for contact in group:
        inside = (both >= contact.start) & (both < contact.stop)
        for axis in range(3) if inside.any() else ():
            shift = np.interp(np.arange(contact.start, contact.stop), both[inside], correction[inside, axis])
            positions[contact.rows, contact.point, axis] += shift if contact.point == 0 else -shift
