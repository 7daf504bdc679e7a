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
    slip: float  # a planted point that strays further than this drifts, and its pin follows
    creep: float  # how far at most, from row to row
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
    target's scale: contacts on stairs keep their height, and pins follow slowly what drifts far.
    """
    planted = bridged(planted, source, floor)
    places, levels = points.copy(), np.full(len(points), floor.height)
    for chain in _chains(planted):
        centres = {contact: floor.above(points[contact.rows, contact.column]).mean(0) for contact in chain}
        _at_length(chain, centres, length, points, floor)
        level = _level(chain, source @ floor.up, floor)
        for contact, centre in centres.items():
            slid = followed(floor.above(source[contact.rows, contact.column]), floor)
            places[contact.rows, contact.column] = centre + slid + level * floor.up
            levels[contact.rows] = level
        _keep_length(chain, places, planted, length)
    rows = np.flatnonzero(planted.any(1))
    if len(rows):
        following = rows[np.minimum(np.searchsorted(rows, np.arange(len(points))), len(rows) - 1)]
        last = rows[np.maximum(np.searchsorted(rows, np.arange(len(points)), side="right") - 1, 0)]
        levels = np.minimum(levels[last], levels[following])
    # A foot that goes down by two steps and more has left the roof or the box that it stood on, or the floor itself.
    lowest = (source @ floor.up).min(1)
    for start, stop in spells(np.asarray(~planted.any(1))):
        ground, low = levels[start:stop], lowest[start:stop]
        for lower in (np.minimum(ground, floor.height), low):
            if (ground - low).max() > 2 * floor.step:
                ground = lower
        levels[start:stop] = np.minimum(ground, low + floor.step)
    return Pins(planted, places, levels)


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


def followed(points: np.ndarray, floor: Floor) -> np.ndarray:
    """How a pin goes after points (F, 3) on the floor, from their mean: it stays there while they stay near.

    It is as far ahead of them as it is behind, being led by a lead of length ``floor.slip`` forwards and backwards.
    """
    strayed = points - points.mean(0)
    if np.linalg.norm(strayed, axis=1).max() <= floor.slip:
        return np.zeros_like(points)
    return (_led(strayed, floor.slip, floor.creep) + _led(strayed[::-1], floor.slip, floor.creep)[::-1]) / 2


def _led(points: np.ndarray, lead: float, creep: float) -> np.ndarray:
    """Who is led by points (F, 3) on a lead of that length, and makes no longer steps than ``creep``."""
    found = np.empty_like(points)
    place, most = np.zeros(3), np.inf
    for row, point in enumerate(points):
        way = point - place
        far = max(float(np.linalg.norm(way)), 1e-12)
        place = place + way / far * np.clip(far - lead, 0.0, most)
        found[row], most = place, creep
    return found


@dataclass(frozen=True)
class _Contact:
    """A time through which toes or heel are planted."""

    column: int  # 0 toes, 1 heel
    start: int
    stop: int

    @property
    def rows(self) -> slice:
        """Its rows."""
        return slice(self.start, self.stop)


def _chains(planted: np.ndarray) -> list[list[_Contact]]:
    """The contacts (F, 2) of a foot, those together that hang on each other because both its ends are planted."""
    contacts = [_Contact(column, start, stop) for column in (0, 1) for start, stop in spells(planted[:, column])]
    chains: list[list[_Contact]] = []
    end = 0
    for contact in sorted(contacts, key=lambda one: one.start):
        if not chains or contact.start >= end:
            chains.append([])
        chains[-1].append(contact)
        end = max(end, contact.stop)
    return chains


def _at_length(
    chain: Sequence[_Contact], centres: dict[_Contact, np.ndarray], length: float, points: np.ndarray, floor: Floor
) -> None:
    """Move the places (3,) of toes and heels that are planted at once to the foot's length, both as far.

    Moving pair after pair comes to an end (Mueller et al. 2007, Position Based Dynamics).
    """
    toes, heels = ([contact for contact in chain if contact.column == column] for column in (0, 1))
    pairs = [(toe, heel) for toe in toes for heel in heels if toe.start < heel.stop and heel.start < toe.stop]
    for _ in range(_ROUNDS):
        worst = 0.0
        for toe, heel in pairs:
            along = centres[toe] - centres[heel]
            distance = float(np.linalg.norm(along))
            if distance < 0.1 * length:  # hardly a direction: take the foot's own
                rows = slice(max(toe.start, heel.start), min(toe.stop, heel.stop))
                along, distance = floor.above(points[rows, 0] - points[rows, 1]).mean(0), 0.0
            off = (length - distance) * quaternions.normalized(along)
            centres[toe] = centres[toe] + off / 2
            centres[heel] = centres[heel] - off / 2
            worst = max(worst, abs(length - distance))
        if worst < 1e-7 * length:
            break


def _level(chain: Sequence[_Contact], heights: np.ndarray, floor: Floor) -> float:
    """The height of the ground under a chain: the floor's, or where its points (F, 2) are if that is a step away."""
    height = float(np.median(np.concatenate([heights[contact.rows, contact.column] for contact in chain])))
    return height if abs(height - floor.height) > floor.step else floor.height


def _keep_length(chain: Sequence[_Contact], places: np.ndarray, planted: np.ndarray, length: float) -> None:
    """Bring toes and heel that slide back to the foot's length where both are planted; what is moved stays moved."""
    rows = np.arange(min(contact.start for contact in chain), max(contact.stop for contact in chain))
    both = rows[planted[rows].all(1)]
    along = places[both, 0] - places[both, 1]
    off = quaternions.normalized(along) * (length - np.linalg.norm(along, axis=1, keepdims=True)) / 2
    if not len(both) or np.abs(off).max() < 1e-6 * length:
        return
    for contact in chain:
        inside = (both >= contact.start) & (both < contact.stop)
        for axis in range(3) if inside.any() else ():
            moved = np.interp(np.arange(contact.start, contact.stop), both[inside], off[inside, axis])
            places[contact.rows, contact.column, axis] += moved if contact.column == 0 else -moved
