"""Operators that rotate, move and scale everybody of a clip together with its camera, so that they stay aligned."""

import bpy
import numpy as np
from bpy.props import BoolProperty, EnumProperty, FloatProperty, FloatVectorProperty

from ... import animation, quaternions
from ..scene import character
from ..scene.character import CharacterError
from ..scene.units import metres_per_unit
from .edit import CharacterEdit

_MOST_TURN = float(np.radians(36_000))
_FARTHEST = 100_000.0  # metres
_LEAST_HEIGHT, _MOST_HEIGHT = 0.001, 10_000.0  # metres, of a character that is scaled
_IDENTITY = np.array([1.0, 0.0, 0.0, 0.0])  # as a quaternion


def _start(armature: bpy.types.Object) -> np.ndarray:
    """The point (3,) on the ground, z = 0, under the character's first keyframe."""
    return character.read(armature).root[0] * [1.0, 1.0, 0.0]


class WHAM_OT_turn_motion(CharacterEdit, bpy.types.Operator):
    """Rotate everybody of the clip and the camera about the point where the active character starts"""

    bl_idname = "wham.turn_motion"
    bl_label = "Rotate Motion"

    angle: FloatProperty(
        name="Angle",
        description="Rotation about the vertical axis, counterclockwise seen from above",
        subtype="ANGLE",
        default=float(np.radians(90)),
        min=-_MOST_TURN,
        max=_MOST_TURN,
    )

    def edit(self, context: bpy.types.Context, armature: bpy.types.Object) -> str:
        """Rotate everything that was imported together."""
        rotation = quaternions.about(np.array([0.0, 0.0, 1.0]), np.array(self.angle))
        start = _start(armature)
        offset = start - quaternions.rotate(rotation, start)
        character.transform(character.imported_with(armature, context.scene), rotation, offset)
        return f"Rotated by {np.degrees(self.angle):.4g} degrees"


class WHAM_OT_move_motion(CharacterEdit, bpy.types.Operator):
    """Move everybody of the clip and the camera"""

    bl_idname = "wham.move_motion"
    bl_label = "Move Motion"

    start: EnumProperty(
        name="Start",
        description="Where the active character starts, before the offset is added",
        items=[
            ("KEEP", "Current Position", "Keep the position where the character starts"),
            ("ORIGIN", "World Origin", "Start at the world origin"),
            ("CURSOR", "3D Cursor", "Start at the 3D cursor, with the floor at its height"),
        ],
    )
    offset: FloatVectorProperty(
        name="Offset",
        description="Distance to move along the world axes",
        subtype="TRANSLATION",
        size=3,
        min=-_FARTHEST,
        max=_FARTHEST,
    )

    def edit(self, context: bpy.types.Context, armature: bpy.types.Object) -> str:
        """Move everything that was imported together."""
        unit = metres_per_unit(armature)
        offset = unit * np.array(self.offset, float)
        if self.start != "KEEP":
            target = unit * np.array(context.scene.cursor.location) if self.start == "CURSOR" else np.zeros(3)
            offset += target - _start(armature)
        character.transform(character.imported_with(armature, context.scene), _IDENTITY, offset)
        return "Moved by {:.4g}, {:.4g}, {:.4g} m".format(*offset)


class WHAM_OT_set_actor_height(CharacterEdit, bpy.types.Operator):
    """Scale the active character to the actor's height, together with its path, everybody else and the camera"""

    bl_idname = "wham.set_actor_height"
    bl_label = "Set Actor Height"

    height: FloatProperty(
        name="Height",
        description="Height of the actor, from the soles to the top of the head",
        subtype="DISTANCE",
        default=1.75,
        min=0.001,
        soft_min=0.1,
        max=1_000_000.0,
        soft_max=100.0,
    )

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Show a dialog that starts with the character's current height."""
        armature = character.active(context)
        self.height = character.height(armature) / metres_per_unit(armature)
        return context.window_manager.invoke_props_dialog(self)

    def edit(self, context: bpy.types.Context, armature: bpy.types.Object) -> str:
        """Scale everything that was imported together about the point where the character starts."""
        start, height = _start(armature), character.height(armature)
        if not _LEAST_HEIGHT <= height <= _MOST_HEIGHT:
            raise CharacterError(
                f"{armature.name} is {height:g} m tall, from which no size can be found. Set its scale to 1, or import "
                "the motion again.",
                code="character-height",
            )
        scale = self.height * metres_per_unit(armature) / height
        offset = (1 - scale) * start
        character.transform(character.imported_with(armature, context.scene), _IDENTITY, offset, scale)
        return f"Scaled by {scale:.4g}"


class WHAM_OT_set_floor(CharacterEdit, bpy.types.Operator):
    """Raise or lower everybody of the clip and the camera, so that planted feet are on the ground"""

    bl_idname = "wham.set_floor"
    bl_label = "Set Floor Level"

    from_contacts: BoolProperty(
        name="Contacts on Floor",
        description="Put the median height of planted toes and heels on the ground, z = 0",
        default=True,
    )
    raise_by: FloatProperty(
        name="Raise",
        description="Distance to raise afterwards; negative values lower",
        subtype="DISTANCE",
        min=-_FARTHEST,
        max=_FARTHEST,
    )

    def edit(self, context: bpy.types.Context, armature: bpy.types.Object) -> str:
        """Raise or lower everything that was imported together."""
        height = self.raise_by * metres_per_unit(armature)
        if self.from_contacts:
            floor = animation.floor_height(character.read(armature))
            if floor is None:
                raise CharacterError(
                    f"{armature.name} has no contacts to find the floor with. Mark contacts with a lower threshold, "
                    "or raise it by an amount.",
                    code="no-contacts",
                )
            height -= floor
        character.transform(character.imported_with(armature, context.scene), _IDENTITY, np.array([0.0, 0.0, height]))
        return f"Raised by {100 * height:.3g} cm"
