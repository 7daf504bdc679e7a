"""Foot contacts in Blender: animated custom properties, and a pose marker where a foot comes down.

``contact_left_toe`` and so on are 1 while the point is planted, else 0; they have keyframes only where they change.
``contact_probability_left_toe`` is the network's output, from which Mark Contacts computes the contacts again.
"""

from __future__ import annotations

from dataclasses import dataclass

import bpy
import numpy as np

from ...motion import true_intervals
from ...skeleton import FOOT_POINTS
from .action import CONSTANT, LINEAR, ActionKeys

CONTACT_PROPERTIES = tuple(f"contact_{point}" for point in FOOT_POINTS)
PROBABILITY_PROPERTIES = tuple(f"contact_probability_{point}" for point in FOOT_POINTS)
_STEPS = {"left": "L step", "right": "R step"}  # the markers' names
# Earlier versions had two markers for each contact of a toe or heel, whose names overlapped.
_FORMER_MARKERS = {
    f"{side} {part} {event}" for side in "LR" for part in ("toe", "heel") for event in ("down", "up")
}  # fmt: skip


@dataclass(frozen=True)
class CustomProperty:
    """An animated custom property of an object, between 0 and 1."""

    name: str
    group: str  # of its F-curve in the action
    description: str
    interpolation: int = LINEAR


def write_contacts(keys: ActionKeys, armature: bpy.types.Object, planted: np.ndarray) -> None:
    """Key the contacts (F, 4) bool, in the order of FOOT_POINTS, and add a marker where a foot comes down."""
    for name, point, column in zip(CONTACT_PROPERTIES, FOOT_POINTS, planted.T, strict=True):
        description = f"1 where the {point.replace('_', ' ')} is planted"
        key_property(keys, armature, CustomProperty(name, "Contacts", description, CONSTANT), column)
    _update_markers(keys.action, planted, keys.frames)


def write_probabilities(keys: ActionKeys, armature: bpy.types.Object, probabilities: np.ndarray) -> None:
    """Key the network's contact probabilities (F, 4), 0 to 1, in the order of FOOT_POINTS."""
    for name, point, column in zip(PROBABILITY_PROPERTIES, FOOT_POINTS, probabilities.T, strict=True):
        description = f"How likely the {point.replace('_', ' ')} is on the floor"
        key_property(keys, armature, CustomProperty(name, "Contact probabilities", description), column)


def key_property(keys: ActionKeys, owner: bpy.types.Object, prop: CustomProperty, values: np.ndarray) -> None:
    """Key a custom property of an object with values (F,) between 0 and 1; the property is created if missing.

    One that is constant between keyframes has them at its changes only, so that these can be seen in the timeline, and
    at both ends, where its cycles begin and end if the motion is looped.
    """
    if prop.name not in owner:
        owner[prop.name] = 0.0
        owner.id_properties_ui(prop.name).update(min=0.0, max=1.0, description=prop.description)
    values = np.asarray(values, float)
    rows = np.arange(len(values))
    if prop.interpolation == CONSTANT:
        changes = np.diff(values, prepend=np.nan) != 0
        changes[-1] = True
        rows = np.flatnonzero(changes)
    keys.write(f'["{prop.name}"]', values[rows, None], prop.group, prop.interpolation, keys.frames[rows])


def _update_markers(action: bpy.types.Action, planted: np.ndarray, frames: np.ndarray) -> None:
    """Replace the contact markers: one where a foot with contacts (F, 4) comes down; other pose markers stay."""
    markers = action.pose_markers
    for marker in [marker for marker in markers if marker.name in {*_STEPS.values(), *_FORMER_MARKERS}]:
        markers.remove(marker)
    for side, name in _STEPS.items():
        foot = np.any(planted[:, [point.startswith(side) for point in FOOT_POINTS]], axis=1)
        for start, _ in true_intervals(foot):
            markers.new(name).frame = round(float(frames[start]))
