"""Foot contacts in Blender: animated custom properties, and markers where a foot comes down or lifts.

``contact_left_toe`` and so on are 1 where the point is planted, else 0; ``contact_probability_left_toe`` is what the
network said, from which the contacts can be marked again.
"""

from __future__ import annotations

import bpy
import numpy as np

from ...skeleton import FOOT_POINTS
from .action import CONSTANT, LINEAR, ActionKeys

PROPERTIES = tuple(f"contact_{point}" for point in FOOT_POINTS)
PROBABILITIES = tuple(f"contact_probability_{point}" for point in FOOT_POINTS)
_LABELS = tuple("{} {}".format(point[0].upper(), point.split("_")[1]) for point in FOOT_POINTS)
_GROUP = "Contacts"


def write_contacts(keys: ActionKeys, armature: bpy.types.Object, planted: np.ndarray) -> None:
    """Key the contacts (F, 4) bool, in the order of FOOT_POINTS, and mark where they begin and end."""
    for name, point, column in zip(PROPERTIES, FOOT_POINTS, planted.T, strict=True):
        key_property(
            keys, armature, name, column, _GROUP, f"1 where the {point.replace('_', ' ')} is planted", CONSTANT
        )
    _mark(keys.action, planted, keys.frames)


def write_probabilities(keys: ActionKeys, armature: bpy.types.Object, probabilities: np.ndarray) -> None:
    """Key what the network said of each foot point (F, 4), 0 to 1."""
    for name, point, column in zip(PROBABILITIES, FOOT_POINTS, probabilities.T, strict=True):
        words = f"How likely the {point.replace('_', ' ')} is on the floor"
        key_property(keys, armature, name, column, "Contact probabilities", words)


def key_property(
    keys: ActionKeys,
    owner: bpy.types.Object,
    name: str,
    values: np.ndarray,
    group: str,
    description: str,
    interpolation: int = LINEAR,
) -> None:
    """Key a custom property of an object that lies between 0 and 1: values (F,)."""
    if name not in owner:
        owner[name] = 0.0
        owner.id_properties_ui(name).update(min=0.0, max=1.0, description=description)
    keys.add(f'["{name}"]', np.asarray(values, float)[:, None], group, interpolation)


def _mark(action: bpy.types.Action, planted: np.ndarray, frames: np.ndarray) -> None:
    """Put pose markers where contacts (F, 4) switch, instead of those of an earlier marking; others stay."""
    markers = action.pose_markers
    ours = {f"{label} {way}" for label in _LABELS for way in ("down", "up")}
    for marker in [marker for marker in markers if marker.name in ours]:
        markers.remove(marker)
    for label, column in zip(_LABELS, planted.T, strict=True):
        for row in np.flatnonzero(np.diff(column, prepend=False)):
            markers.new(f"{label} {'down' if column[row] else 'up'}").frame = round(float(frames[row]))
