"""Operator Reduce Keys: smooth curves with few keyframes for an imported character."""

import math

import bpy
from bpy.props import FloatProperty

from ..scene.reduced_keys import reduce_keys
from .edit import CharacterEdit


class WHAM_OT_reduce_keys(CharacterEdit, bpy.types.Operator):
    """Replace the character's keyframes by smooth curves with few keyframes. Other edits key every frame again"""

    bl_idname = "wham.reduce_keys"
    bl_label = "Reduce Keys"

    angle_error: FloatProperty(
        name="Rotation Error",
        description="Maximum rotation error of a bone",
        default=math.radians(0.5),
        min=math.radians(0.01),
        max=math.pi,
        subtype="ANGLE",
    )
    distance_error: FloatProperty(
        name="Location Error",
        description="Maximum location error of the pelvis, and about that of a planted foot, in meters",
        default=0.005,
        min=0.0001,
        max=10.0,
        precision=4,
    )

    def edit(self, context: bpy.types.Context, armature: bpy.types.Object) -> str:
        """Reduce the keyframes."""
        before, after = reduce_keys(armature, self.angle_error, self.distance_error)
        return f"{after} keyframes instead of {before}"
