"""From how bones shall turn to the values that are keyed: rotations and locations of a rig's controls. NumPy only.

A control may hang from another through any number of helper bones and constraints; all that counts is whose turn and
whose motion it takes over, which ``addon/response.py`` measures. Everything is in the armature's own space.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ... import quaternions


@dataclass(frozen=True)
class Control:
    """A bone that is keyed, or one that is only looked at, and what it follows. Parents come before it."""

    name: str
    rest: np.ndarray  # (4, 4) its pose where all controls are at rest; its axes have length one
    turns_with: int  # place in the sequence of the control whose turn it takes over; -1 for none
    moves_with: int  # the same for where its head goes
    shift: np.ndarray  # (3, 3) how its head moves for each unit of its location, at rest

    @property
    def head(self) -> np.ndarray:
        """Its head (3,) at rest."""
        return self.rest[:3, 3]


@dataclass(frozen=True)
class Keys:
    """What is keyed on controls over F frames."""

    rotations: dict[str, np.ndarray]  # control -> (F, 4) quaternions whose signs do not jump
    locations: dict[str, np.ndarray]  # control -> (F, 3)


def turns_of(controls: Sequence[Control], wanted: Mapping[str, np.ndarray], count: int) -> list[np.ndarray]:
    """How each control turns from rest (count, 4): as wanted, else with what it hangs from."""
    still = np.broadcast_to([1.0, 0.0, 0.0, 0.0], (count, 4))
    found: list[np.ndarray] = []
    for control in controls:
        above = found[control.turns_with] if control.turns_with >= 0 else still
        found.append(wanted.get(control.name, above))
    return found


def heads_of(
    controls: Sequence[Control], turns: Sequence[np.ndarray], places: Mapping[str, np.ndarray]
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Where each control's head (F, 3) would be without a location of its own, and where it is with it.

    ``places``: where the heads of controls that are keyed in location shall be.
    """
    free: list[np.ndarray] = []
    heads: list[np.ndarray] = []
    for control in controls:
        if control.moves_with < 0:
            free.append(np.broadcast_to(control.head, (len(turns[0]), 3)))
        else:
            offset = control.head - controls[control.moves_with].head
            free.append(heads[control.moves_with] + quaternions.rotate(turns[control.moves_with], offset))
        heads.append(places.get(control.name, free[-1]))
    return free, heads


def keys(
    controls: Sequence[Control], wanted: Mapping[str, np.ndarray], places: Mapping[str, np.ndarray], count: int
) -> Keys:
    """The keys that turn controls from rest as wanted (F, 4) and bring heads to their places (F, 3)."""
    turns = turns_of(controls, wanted, count)
    free, _ = heads_of(controls, turns, places)
    rotations, locations = {}, {}
    for control, turn, unmoved in zip(controls, turns, free, strict=True):
        above = turns[control.turns_with] if control.turns_with >= 0 else np.array([1.0, 0.0, 0.0, 0.0])
        if control.name in wanted:
            rest = quaternions.of_matrices(control.rest[:3, :3])
            local = quaternions.multiply(quaternions.inverse(above), turn)
            local = quaternions.multiply(quaternions.inverse(rest), quaternions.multiply(local, rest))
            rotations[control.name] = quaternions.without_jumps(quaternions.normalized(local))
        if control.name in places:
            moved = quaternions.rotate(quaternions.inverse(above), places[control.name] - unmoved)
            locations[control.name] = moved @ np.linalg.inv(control.shift).T
    return Keys(rotations, locations)
