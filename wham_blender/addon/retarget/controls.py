"""Converts bone rotations in armature space to keyframe values of a rig's controls. NumPy only.

A control may be connected to another one through any number of helper bones and constraints. What matters is which
control's rotation and location it inherits; ``rig_probe`` measures that. All values are in armature space.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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

    @property
    def head(self) -> np.ndarray:
        """Its head (3,) at rest."""
        return self.rest[:3, 3]


@dataclass(frozen=True)
class Keys:
    """Keyframe values of controls over F frames."""

    rotations: dict[str, np.ndarray]  # control -> (F, 4) quaternions with continuous signs
    locations: dict[str, np.ndarray]  # control -> (F, 3)

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


def solve(
    controls: Sequence[Control], rotations: Mapping[str, np.ndarray], positions: Mapping[str, np.ndarray], count: int
) -> Keys:
    """Keyframe values that give controls the rotations (F, 4) from rest and their heads the positions (F, 3)."""
    complete = complete_rotations(controls, rotations, count)
    inherited_heads, _ = head_positions(controls, complete, positions)
    local_rotations, locations = {}, {}
    for control, rotation, inherited_head in zip(controls, complete, inherited_heads, strict=True):
        parent = complete[control.rotation_parent] if control.rotation_parent >= 0 else np.array([1.0, 0.0, 0.0, 0.0])
        if control.name in rotations:
            rest = quaternions.of_matrices(control.rest[:3, :3])
            local = quaternions.multiply(quaternions.inverse(parent), rotation)
            local = quaternions.multiply(quaternions.inverse(rest), quaternions.multiply(local, rest))
            local_rotations[control.name] = quaternions.without_jumps(quaternions.normalized(local))
        if control.name in positions:
            movement = quaternions.rotate(quaternions.inverse(parent), positions[control.name] - inherited_head)
            locations[control.name] = movement @ np.linalg.inv(control.location_matrix).T
    return Keys(local_rotations, locations)
