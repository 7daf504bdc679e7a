"""Smooth Motion: take the fast jitter out of a character without delay, its planted feet left where they are."""

import bpy
from bpy.props import FloatProperty

from ... import animation
from ..scene import character
from .edit import CharacterEdit


class WHAM_OT_smooth_motion(CharacterEdit, bpy.types.Operator):
    """Take jitter out of all bones and the root. Planted feet stay planted. Doing it twice smooths twice."""

    bl_idname = "wham.smooth_motion"
    bl_label = "Smooth Motion"

    strength: FloatProperty(
        name="Strength",
        description="How long a movement must last to stay whole, in seconds: 0.1 takes only trembling, "
        "0.3 softens steps, 1 leaves slow movements alone; 0 does nothing",
        default=0.15,
        min=0.0,
        soft_max=1.0,
        max=5.0,
    )

    def edit(self, context: bpy.types.Context, armature: bpy.types.Object) -> str:
        """Smooth the character."""
        if not self.strength:
            return "Nothing is smoothed at strength 0"
        found = character.read(armature)
        rate = character.key_rate(armature, found)
        character.write(armature, animation.smoothed(found, 1 / self.strength, rate))
        return f"Smoothed what moves more often than {1 / self.strength:.3g} times a second"
