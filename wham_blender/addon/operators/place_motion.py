"""Turn, move, scale and level a whole motion: everybody of the clip and the camera together, so that they still fit."""

import bpy
import numpy as np
from bpy.props import BoolProperty, EnumProperty, FloatProperty, FloatVectorProperty

from ... import animation, quaternions
from ..scene import character
from ..scene.character import CharacterError
from .edit import CharacterEdit

_STILL = np.array([1.0, 0.0, 0.0, 0.0])


def _start(armature: bpy.types.Object) -> np.ndarray:
    """The point (3,) of the ground z = 0 under the character's first key."""
    return character.read(armature).root[0] * [1.0, 1.0, 0.0]


class WHAM_OT_turn_motion(CharacterEdit, bpy.types.Operator):
    """Turn the motion, everybody else of the clip and the camera about the place where the character starts."""

    bl_idname = "wham.turn_motion"
    bl_label = "Turn Motion"

    angle: FloatProperty(
        name="Angle", description="To the left, seen from above", subtype="ANGLE", default=float(np.radians(90))
    )

    def edit(self, context: bpy.types.Context, armature: bpy.types.Object) -> str:
        """Turn all that was imported together."""
        turn = quaternions.about(np.array([0.0, 0.0, 1.0]), np.array(self.angle))
        start = _start(armature)
        character.move(character.together(armature, context.scene), turn, start - quaternions.rotate(turn, start))
        return f"Turned by {np.degrees(self.angle):.4g} degrees"


class WHAM_OT_move_motion(CharacterEdit, bpy.types.Operator):
    """Move the motion, everybody else of the clip and the camera."""

    bl_idname = "wham.move_motion"
    bl_label = "Move Motion"

    start: EnumProperty(
        name="Start",
        description="Where the character starts",
        items=[
            ("KEEP", "Where It Is", "Move from where it is"),
            ("ORIGIN", "At the World's Origin", "Start over the middle of the grid"),
            ("CURSOR", "At the 3D Cursor", "Start on the 3D cursor, which stands for the floor"),
        ],
    )
    offset: FloatVectorProperty(
        name="Move", description="How far, along the world's axes", subtype="TRANSLATION", size=3
    )

    def edit(self, context: bpy.types.Context, armature: bpy.types.Object) -> str:
        """Move all that was imported together."""
        offset = np.array(self.offset, float)
        if self.start != "KEEP":
            goal = np.array(context.scene.cursor.location) if self.start == "CURSOR" else np.zeros(3)
            offset += goal - _start(armature)
        character.move(character.together(armature, context.scene), _STILL, offset)
        return "Moved by {:.4g}, {:.4g}, {:.4g} m".format(*offset)


class WHAM_OT_set_actor_height(CharacterEdit, bpy.types.Operator):
    """Make the character as tall as the actor was: body, way and camera grow together and still fit the clip."""

    bl_idname = "wham.set_actor_height"
    bl_label = "Set Actor Height"

    height: FloatProperty(
        name="Height",
        description="Of the actor, from sole to crown",
        subtype="DISTANCE",
        default=1.75,
        min=0.1,
        max=100.0,
    )

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Begin with the height that the character has."""
        self.height = character.height(character.active(context))
        return context.window_manager.invoke_props_dialog(self)

    def edit(self, context: bpy.types.Context, armature: bpy.types.Object) -> str:
        """Scale all that was imported together about the place where the character starts."""
        scale = self.height / character.height(armature)
        offset = (1 - scale) * _start(armature)
        character.move(character.together(armature, context.scene), _STILL, offset, scale)
        return f"Scaled by {scale:.4g}"


class WHAM_OT_set_floor(CharacterEdit, bpy.types.Operator):
    """Raise or lower the motion, everybody else of the clip and the camera."""

    bl_idname = "wham.set_floor"
    bl_label = "Set Floor Level"

    from_contacts: BoolProperty(
        name="Contacts on the Floor",
        description="Put the feet that are planted on the ground, z = 0: half of the contacts lie higher, half lower",
        default=True,
    )
    raise_by: FloatProperty(
        name="Raise", description="Then raise by this much; lower where it is negative", subtype="DISTANCE"
    )

    def edit(self, context: bpy.types.Context, armature: bpy.types.Object) -> str:
        """Level all that was imported together."""
        height = self.raise_by
        if self.from_contacts:
            floor = animation.floor_height(character.read(armature))
            if floor is None:
                raise CharacterError(
                    f"{armature.name} has no contacts to find the floor with. Mark contacts with a lower threshold, "
                    "or raise it by an amount."
                )
            height -= floor
        character.move(character.together(armature, context.scene), _STILL, np.array([0.0, 0.0, height]))
        return f"Raised by {100 * height:.3g} cm"
