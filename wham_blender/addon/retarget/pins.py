"""Where a foot's toes and heel stay while they are planted: on the floor, one foot's length apart. NumPy only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ... import quaternions
from ...motion import spells

_ROUNDS = 200


@dataclass(frozen=True)
class Floor:
    """The floor as a plane, and what of a motion is taken for standing on it."""

    up: np.ndarray  # (3,) of length one
    height: float  # of the plane along ``up``
    step: float  # a contact that is further from the floor stands on something else: stairs, a box
    slip: float  # a planted point that strays further than this slides, and is let slide
    gap: int  # rows without contact that are no step where the point hardly moves

    def above(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 3) moved along ``up`` to height zero."""
        return points - (points @ self.up)[..., None] * self.up


@dataclass(frozen=True)
class Pins:
    """A foot's planted points over F frames."""

    planted: np.ndarray  # (F, 2) bool: toes, heel
    places: np.ndarray  # (F, 2, 3) where they are; means nothing where they are not planted
    levels: np.ndarray  # (F,) height of the ground under the foot, also where nothing is planted


def pin(points: np.ndarray, source: np.ndarray, planted: np.ndarray, length: float, floor: Floor) -> Pins:
    """Pins for a foot whose toes and heel are at points (F, 2, 3) and stand flat ``length`` apart.

    A planted (F, 2) point gets one place a contact, the mean of where it is, so that corrections are small. Toes and
    heel that are planted at once are brought to the foot's length. ``source`` (F, 2, 3) are the source's points on the
    target's scale: contacts on stairs keep their height, and what slides far there may slide.
    """
    planted = bridged(planted, source, floor)
    contacts = [(column, start, stop) for column in (0, 1) for start, stop in spells(planted[:, column])]
    places, levels = points.copy(), np.full(len(points), floor.height)
    if not contacts:
        return Pins(planted, places, levels)
    pairs = [
        (one, other)
        for one, (column, start, stop) in enumerate(contacts)
        for other, (beside, begin, end) in enumerate(contacts)
        if column < beside and start < end and begin < stop
    ]
    centres = np.array([floor.above(points[start:stop, column]).mean(0) for column, start, stop in contacts])
    _at_length(centres, pairs, length, points, contacts, floor)
    raised = _levels(contacts, pairs, source @ floor.up, floor)
    known = np.zeros(len(points), bool)
    for number, (column, start, stop) in enumerate(contacts):
        slid = followed(floor.above(source[start:stop, column]), floor.slip)
        places[start:stop, column] = centres[number] + slid + raised[number] * floor.up
        levels[start:stop], known[start:stop] = raised[number], True
    _keep_length(places, planted, contacts, length)
    rows = np.flatnonzero(known)
    following = rows[np.minimum(np.searchsorted(rows, np.arange(len(points))), len(rows) - 1)]
    last = rows[np.maximum(np.searchsorted(rows, np.arange(len(points)), side="right") - 1, 0)]
    return Pins(planted, places, np.minimum(levels[last], levels[following]))


def bridged(planted: np.ndarray, source: np.ndarray, floor: Floor) -> np.ndarray:
    """Contacts (F, 2) without gaps that are no step; toes and heel that follow each other meet with the foot flat.

    ``source`` (F, 2, 3) is where the points are: one that moves further than half of ``floor.slip`` in a gap steps.
    """
    planted = planted.copy()

    def stays(column: int, start: int, stop: int) -> bool:
        way = source[start : stop + 1, column] - source[start - 1, column]
        return bool(np.linalg.norm(way, axis=1).max() < floor.slip / 2)

    for column in (0, 1):
        for start, stop in spells(~planted[:, column]):
            if start > 0 and stop < len(planted) and stop - start <= floor.gap:
                planted[start:stop, column] = stays(column, start, stop)
    for first, then in ((0, 1), (1, 0)):
        begins = spells(planted[:, then])[:, 0]
        for _, stop in spells(planted[:, first]):
            for begin in begins[(begins >= stop) & (begins <= stop + 2)]:
                planted[stop - 1 : begin + 1] |= stays(then, stop, begin)
    return planted


def followed(points: np.ndarray, slip: float) -> np.ndarray:
    """What follows points (F, 3) on a lead of length ``slip``, from their mean: it stays there while they stay near."""
    strayed = points - points.mean(0)
    found = np.zeros_like(points)
    if np.linalg.norm(strayed, axis=1).max() <= slip:
        return found
    place = np.zeros(3)
    for row, point in enumerate(strayed):
        lead = point - place
        place = place + lead * max(0.0, 1 - slip / max(float(np.linalg.norm(lead)), 1e-9))
        found[row] = place
    return found


def _at_length(
    centres: np.ndarray,
    pairs: Sequence[tuple[int, int]],
    length: float,
    points: np.ndarray,
    contacts: Sequence[tuple[int, int, int]],
    floor: Floor,
) -> None:
    """Move the places (N, 3) of toes and heels that are planted at once to the foot's length, both as far.

    Contacts that overlap are chains, so that moving pair after pair comes to an end (Mueller et al. 2007, Position
    Based Dynamics).
    """
    for _ in range(_ROUNDS):
        worst = 0.0
        for toe, heel in pairs:
            along = centres[toe] - centres[heel]
            distance = float(np.linalg.norm(along))
            if distance < 0.1 * length:  # hardly a direction: take the foot's own
                (_, start, stop), (_, begin, end) = contacts[toe], contacts[heel]
                rows = slice(max(start, begin), min(stop, end))
                along, distance = floor.above(points[rows, 0] - points[rows, 1]).mean(0), 0.0
            off = length * quaternions.normalized(along) - distance * quaternions.normalized(along)
            centres[toe] += off / 2
            centres[heel] -= off / 2
            worst = max(worst, abs(length - distance))
        if worst < 1e-7 * length:
            break


def _levels(
    contacts: Sequence[tuple[int, int, int]], pairs: Sequence[tuple[int, int]], heights: np.ndarray, floor: Floor
) -> list[float]:
    """The height of each contact: the floor's, or its own and its chain's where that is further away than a step."""
    chain = list(range(len(contacts)))
    for one, other in pairs:
        chain = [chain[one] if link == chain[other] else link for link in chain]
    found = []
    for link in chain:
        members = [contact for contact, mine in zip(contacts, chain, strict=True) if mine == link]
        height = float(np.median(np.concatenate([heights[start:stop, column] for column, start, stop in members])))
        found.append(height if abs(height - floor.height) > floor.step else floor.height)
    return found


def _keep_length(
    places: np.ndarray, planted: np.ndarray, contacts: Sequence[tuple[int, int, int]], length: float
) -> None:
    """Bring toes and heel that slide back to the foot's length where both are planted; what is moved stays moved."""
    both = np.asarray(planted.all(1))
    along = places[:, 0] - places[:, 1]
    off = quaternions.normalized(along) * (length - np.linalg.norm(along, axis=1, keepdims=True)) / 2
    for column, start, stop in contacts:
        rows = np.arange(start, stop)
        flat = rows[both[rows]]
        if len(flat) and np.abs(off[flat]).max() > 1e-6 * length:
            sign = 1 if column == 0 else -1
            for axis in range(3):
                places[start:stop, column, axis] += sign * np.interp(rows, flat, off[flat, axis])
