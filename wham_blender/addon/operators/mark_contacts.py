"""Mark Contacts: decide anew, from what the network said, when a foot is planted."""

import bpy
import numpy as np
from bpy.props import FloatProperty, IntProperty

from ...motion import LIFTED_BELOW, PLANTED_ABOVE, planted
from ..scene import character
from ..scene.action import ActionKeys
from ..scene.contacts import write_contacts
from .edit import CharacterEdit


class WHAM_OT_mark_contacts(CharacterEdit, bpy.types.Operator):
    """Mark again when toes and heels are planted: the contact properties and the markers in the action."""

    bl_idname = "wham.mark_contacts"
    bl_label = "Mark Contacts"

    threshold: FloatProperty(
        name="Threshold",
        description="How sure the network must be that a foot is down; lower finds more contacts",
        default=PLANTED_ABOVE,
        min=0.0,
        max=1.0,
    )
    hysteresis: FloatProperty(
        name="Hysteresis",
        description="How far it may fall below the threshold before the foot counts as lifted; more stops flicker",
        default=round(PLANTED_ABOVE - LIFTED_BELOW, 3),
        min=0.0,
        max=1.0,
    )
    shortest: IntProperty(
        name="Shortest",
        description="Scene frames that a contact must last; shorter ones are dropped",
        default=1,
        min=1,
    )

    def edit(self, context: bpy.types.Context, armature: bpy.types.Object) -> str:
        """Mark the contacts; the motion itself stays."""
        found = character.read(armature)
        rows = self.shortest * character.key_rate(armature, found) / armature.wham_motion.keyed_rate
        below = max(self.threshold - self.hysteresis, 0.0)
        contacts = planted(found.probabilities, self.threshold, below, int(np.ceil(rows - 1e-3)))
        keys = ActionKeys(armature)
        keys.frames = found.frames
        write_contacts(keys, armature, contacts)
        character.measure(armature, character.replace(found, contacts=contacts))
        return f"{armature.wham_motion.contacts} contacts marked"
