"""Operator Mark Contacts: thresholds the network's contact probabilities again, with other settings."""

import bpy
import numpy as np
from bpy.props import FloatProperty, IntProperty

from ...motion import LIFTED_BELOW, PLANTED_ABOVE, planted, true_intervals
from ..scene import character
from ..scene.action import ActionKeys
from ..scene.checks import LAST_FRAME
from ..scene.contacts import write_contacts
from .edit import CharacterEdit


class WHAM_OT_mark_contacts(CharacterEdit, bpy.types.Operator):
    """Set from the contact probabilities when toes and heels are planted: custom properties and pose markers"""

    bl_idname = "wham.mark_contacts"
    bl_label = "Mark Contacts"

    threshold: FloatProperty(
        name="Threshold",
        description="Contact probability above which a toe or heel is planted; lower values find more contacts",
        default=PLANTED_ABOVE,
        min=0.0,
        max=1.0,
    )
    hysteresis: FloatProperty(
        name="Hysteresis",
        description="How far the probability may fall below the threshold before the contact ends; higher values "
        "avoid flicker",
        default=round(PLANTED_ABOVE - LIFTED_BELOW, 3),
        min=0.0,
        max=1.0,
    )
    shortest: IntProperty(
        name="Minimum Length",
        description="Minimum length of a contact in scene frames; shorter ones are removed",
        default=1,
        min=1,
        max=LAST_FRAME,
    )

    def edit(self, context: bpy.types.Context, armature: bpy.types.Object) -> str:
        """Mark the contacts; the motion itself is not changed."""
        motion = character.read(armature)
        lifted_below = max(self.threshold - self.hysteresis, 0.0)
        contacts = planted(motion.probabilities, self.threshold, lifted_below)
        frames = motion.frames
        last = frames[-1] - frames[-2] if len(frames) > 1 else 1.0
        ends = np.append(frames[1:], frames[-1] + last)  # each key lasts to the next
        for column in contacts.T:
            for start, stop in true_intervals(column):
                column[start:stop] = ends[stop - 1] - frames[start] > self.shortest - 1e-3
        keys = ActionKeys(armature)
        keys.frames = motion.frames
        write_contacts(keys, armature, contacts)
        character.update_statistics(armature, character.replace(motion, contacts=contacts))
        return f"{armature.wham_motion.contacts} contacts marked"
