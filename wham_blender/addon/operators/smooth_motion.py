"""Operator Smooth Motion: removes jitter from a character without delay, and keeps planted feet in place."""

import bpy
from bpy.props import FloatProperty

from ... import animation
from ..scene import character
from .edit import CharacterEdit


class WHAM_OT_smooth_motion(CharacterEdit, bpy.types.Operator):
    """Remove jitter from all bones and the root. Planted feet stay in place"""

    bl_idname = "wham.smooth_motion"
    bl_label = "Smooth Motion"

    strength: FloatProperty(
        name="Strength",
        description="Smooth movements that last less than this many seconds: 0.1 removes jitter only, 0.3 softens "
        "steps, 1 keeps slow movements only",
        default=0.15,
        min=0.0,
        soft_max=1.0,
        max=5.0,
    )

    def edit(self, context: bpy.types.Context, armature: bpy.types.Object) -> str:
        """Smooth the character."""
        if not self.strength:
            return "Nothing is smoothed at strength 0"
        motion = character.read(armature)
        rate = character.key_rate(armature, motion)
        character.write(armature, animation.smoothed(motion, 1 / self.strength, rate))
        return f"Smoothed movements faster than {1 / self.strength:.3g} Hz"
