"""Foot contacts in Blender: animated custom properties, and pose markers where a contact begins or ends.

``contact_left_toe`` and so on are 1 while the point is planted, else 0. ``contact_probability_left_toe`` is the
network's output, from which Mark Contacts computes the contacts again.
"""

from __future__ import annotations

from dataclasses import dataclass

import bpy
import numpy as np

from ...skeleton import FOOT_POINTS
from .action import CONSTANT, LINEAR, ActionKeys

CONTACT_PROPERTIES = tuple(f"contact_{point}" for point in FOOT_POINTS)
PROBABILITY_PROPERTIES = tuple(f"contact_probability_{point}" for point in FOOT_POINTS)
_LABELS = tuple("{} {}".format(point[0].upper(), point.split("_")[1]) for point in FOOT_POINTS)


@dataclass(frozen=True)
class CustomProperty:
    """An animated custom property of an object, between 0 and 1."""

    name: str
    group: str  # of its F-curve in the action
    description: str
    interpolation: int = LINEAR


def write_contacts(keys: ActionKeys, armature: bpy.types.Object, planted: np.ndarray) -> None:
    """Key the contacts (F, 4) bool, in the order of FOOT_POINTS, and add markers where they begin and end."""
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
    """Key a custom property of an object with values (F,) between 0 and 1; the property is created if missing."""
    if prop.name not in owner:
        owner[prop.name] = 0.0
        owner.id_properties_ui(prop.name).update(min=0.0, max=1.0, description=prop.description)
    keys.write(f'["{prop.name}"]', np.asarray(values, float)[:, None], prop.group, prop.interpolation)


def _update_markers(action: bpy.types.Action, planted: np.ndarray, frames: np.ndarray) -> None:
    """Replace the contact markers by markers where contacts (F, 4) begin and end; other pose markers stay."""
    markers = action.pose_markers
    contact_markers = {f"{label} {event}" for label in _LABELS for event in ("down", "up")}
    for marker in [marker for marker in markers if marker.name in contact_markers]:
        markers.remove(marker)
    for label, column in zip(_LABELS, planted.T, strict=True):
        for row in np.flatnonzero(np.diff(column, prepend=False)):
            markers.new(f"{label} {'down' if column[row] else 'up'}").frame = round(float(frames[row]))
