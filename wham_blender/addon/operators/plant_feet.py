"""Operator Plant Again: holds planted feet in place after contacts or poses were edited, without the worker."""

import bpy
import numpy as np

from ... import animation
from ..scene import character
from ..scene.character import CharacterError
from ..scene.contacts import with_moved_markers
from .edit import CharacterEdit


class WHAM_OT_plant_again(CharacterEdit, bpy.types.Operator):
    """Hold each toe and heel in one place while it is planted, after you moved step markers or contact keyframes"""

    bl_idname = "wham.plant_again"
    bl_label = "Plant Again"

    def edit(self, context: bpy.types.Context, armature: bpy.types.Object) -> str:
        """Plant the feet, and put the markers where the steps are now."""
        read = character.read(armature)
        action = armature.animation_data.action
        moved_contacts = with_moved_markers(armature, action, read.contacts, read.frames)
        before = character.replace(read, contacts=moved_contacts)
        if not before.contacts.any():
            raise CharacterError(
                f"{armature.name} has no contacts to plant its feet by. Set the contact properties to 1 where its feet "
                "stand, or use Mark Contacts.",
                code="no-contacts-to-plant",
            )
        after = animation.planted_again(before, character.key_rate(armature, before))
        character.write(armature, after, read)
        moved = np.linalg.norm(after.foot_points() - before.foot_points(), axis=-1).max()
        return f"Feet planted; they moved by {100 * moved:.1f} cm at most"
