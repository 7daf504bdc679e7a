"""Converts bone rotations in armature space to keyframe values of a rig's controls. NumPy only.

A control may be connected to another one through any number of helper bones and constraints. What matters is which
control's rotation and location it inherits; ``rig_probe`` measures that. All values are in armature space.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ... import quaternions


@dataclass(frozen=True)
class Control:
    """A bone that is keyed or only observed, and the controls that it follows. Parents come before it in a sequence."""

    name: str
    rest: np.ndarray  # (4, 4) its pose matrix while all controls are at rest; normalized axes
    rotation_parent: int  # index of the control whose rotation it inherits; -1 for none
    location_parent: int  # index of the control that its head moves with; -1 for none
    location_matrix: np.ndarray  # (3, 3) movement of its head per unit of its location, at rest
    # What its channels hold at rest: nothing, unless another pose counts as rest.
    rotation_at_rest: np.ndarray = field(default_factory=lambda: np.array([1.0, 0.0, 0.0, 0.0]))  # (4,)
    location_at_rest: np.ndarray = field(default_factory=lambda: np.zeros(3))

    @property
    def head(self) -> np.ndarray:
        """Its head (3,) at rest."""
        return self.rest[:3, 3]


@dataclass(frozen=True)
class Keys:
    """Keyframe values of controls over F frames."""

    rotations: dict[str, np.ndarray]  # control -> (F, 4) quaternions with continuous signs
    locations: dict[str, np.ndarray]  # control -> (F, 3)
    # Of all controls and observed bones, as what was written of the keyframes moves them, in armature space:
    world_rotations: dict[str, np.ndarray]  # (F, 4) from rest
    heads: dict[str, np.ndarray]  # (F, 3)

    @property
    def controls(self) -> list[str]:
        """All controls that are keyed."""
        return list(dict.fromkeys([*self.rotations, *self.locations]))


def complete_rotations(
    controls: Sequence[Control], rotations: Mapping[str, np.ndarray], count: int
) -> list[np.ndarray]:
    """Rotations (count, 4) from rest of all controls: as given, else inherited from the rotation parent."""
    identity = np.broadcast_to([1.0, 0.0, 0.0, 0.0], (count, 4))
    complete: list[np.ndarray] = []
    for control in controls:
        inherited = complete[control.rotation_parent] if control.rotation_parent >= 0 else identity
        complete.append(rotations.get(control.name, inherited))
    return complete


def head_positions(
    controls: Sequence[Control], rotations: Sequence[np.ndarray], positions: Mapping[str, np.ndarray]
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Heads (F, 3) of all controls without location keyframes of their own, and with them.

    ``positions``: target positions of the heads of controls that are keyed in location.
    """
    inherited: list[np.ndarray] = []
    heads: list[np.ndarray] = []
    for control in controls:
        if control.location_parent < 0:
            inherited.append(np.broadcast_to(control.head, (len(rotations[0]), 3)))
        else:
            parent = control.location_parent
            offset = control.head - controls[parent].head
            inherited.append(heads[parent] + quaternions.rotate(rotations[parent], offset))
        heads.append(positions.get(control.name, inherited[-1]))
    return inherited, heads


class Written:
    """What is written of the values of a control: here all of it. Keyframe reduction writes less, with an error."""

    def rotation(self, control: str, local: np.ndarray) -> np.ndarray:
        """The rotations (F, 4) that the keyframes of a control give, wanted ``local``."""
        return local

    def location(self, control: str, wanted: np.ndarray) -> np.ndarray:
        """The locations (F, 3) that the keyframes of a control give."""
        return wanted


def solve(
    controls: Sequence[Control],
    rotations: Mapping[str, np.ndarray],
    positions: Mapping[str, np.ndarray],
    count: int,
    written: Written,
) -> Keys:
    """Keyframe values that give controls the rotations (F, 4) from rest and their heads the positions (F, 3).

    Controls are solved from parents to children, relative to what was ``written`` of their parents: so errors of that
    do not add up along a limb.
    """
    complete: list[np.ndarray] = []
    heads: list[np.ndarray] = []
    local_rotations, locations = {}, {}
    for control in controls:
        parent = (
            complete[control.rotation_parent]
            if control.rotation_parent >= 0
            else np.broadcast_to([1.0, 0.0, 0.0, 0.0], (count, 4))
        )
        carrier = control.location_parent
        head = np.broadcast_to(control.head, (count, 3))
        if carrier >= 0:
            head = heads[carrier] + quaternions.rotate(complete[carrier], control.head - controls[carrier].head)
        rotation = parent
        if control.name in rotations:
            rest = quaternions.of_matrices(control.rest[:3, :3])
            local = quaternions.multiply(quaternions.inverse(parent), rotations[control.name])
            local = quaternions.multiply(quaternions.inverse(rest), quaternions.multiply(local, rest))
            local = quaternions.multiply(control.rotation_at_rest, local)
            local = quaternions.without_jumps(quaternions.normalized(local))
            local_rotations[control.name] = local
            local = written.rotation(control.name, local)
            local = quaternions.multiply(quaternions.inverse(control.rotation_at_rest), local)
            local = quaternions.multiply(rest, quaternions.multiply(local, quaternions.inverse(rest)))
            rotation = quaternions.multiply(parent, local)
        if control.name in positions:
            movement = quaternions.rotate(quaternions.inverse(parent), positions[control.name] - head)
            moved = movement @ np.linalg.inv(control.location_matrix).T
            locations[control.name] = moved + control.location_at_rest
            moved = written.location(control.name, locations[control.name]) - control.location_at_rest
            movement = moved @ control.location_matrix.T
            head = head + quaternions.rotate(parent, movement)
        complete.append(rotation)
        heads.append(head)
    names = [control.name for control in controls]
    return Keys(
        local_rotations, locations, dict(zip(names, complete, strict=True)), dict(zip(names, heads, strict=True))
    )
