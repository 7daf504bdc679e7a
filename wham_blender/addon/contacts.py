"""Foot contacts in Blender: four animated custom properties, and markers where a foot comes down or lifts."""

from __future__ import annotations

import bpy
import numpy as np

from ..motion import planted
from ..skeleton import FOOT_POINTS
from .action import ActionWriter


def write_contacts(writer: ActionWriter, armature: bpy.types.Object, contacts: np.ndarray, frames: np.ndarray) -> None:
    """Key ``contact_left_toe`` ... on the armature and mark the switches in its action.

    Takes contacts (F, 4) probabilities in the order of FOOT_POINTS and the scene frames (F,) of those rows.
    """
    for point, probability, down in zip(FOOT_POINTS, contacts.T, planted(contacts).T, strict=True):
        name = f"contact_{point}"
        armature[name] = 0.0
        armature.id_properties_ui(name).update(
            min=0.0, max=1.0, description=f"Probability that the {point.replace('_', ' ')} is on the floor"
        )
        writer.add(f'["{name}"]', probability[:, None], "Contacts")
        side, part = point.split("_")
        for row in np.flatnonzero(np.diff(down, prepend=False)):
            label = f"{side[0].upper()} {part} {'down' if down[row] else 'up'}"
            writer.action.pose_markers.new(label).frame = round(float(frames[row]))
