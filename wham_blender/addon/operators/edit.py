"""Base class of the operators that edit an imported character: conditions, undo, reports."""

from collections.abc import Callable
from typing import ClassVar

import bpy

from ...errors import CodedError
from ..scene import character
from ..scene.checks import check_properties
from ..translations import report, translate


class CharacterEdit:
    """Base of operators that edit the active imported character, with a redo panel. They need no worker."""

    bl_options: ClassVar[set[str]] = {"REGISTER", "UNDO"}
    poll_message_set: ClassVar[Callable[[str], None]]  # of bpy.types.Operator, like the next
    report: Callable[[set[str], str], None]
    properties: bpy.types.OperatorProperties

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Require an active imported character whose keyframes can be edited."""
        armature = character.active(context)
        reason = None
        if armature is None:
            reason = "Select the armature or the body of an imported motion"
        elif armature.library or armature.override_library or armature.data.library:
            reason = "This character is linked from another file: make it local first"
        elif armature.animation_data is None or armature.animation_data.action is None:
            reason = "This character has no action: choose its action again in the Action Editor"
        elif armature.animation_data.action.library:
            reason = "The action of this character is linked from another file: make it local first"
        elif context.mode.startswith("EDIT"):
            reason = "Leave Edit Mode first"
        if reason:
            cls.poll_message_set(translate(reason))
        return reason is None

    def edit(self, context: bpy.types.Context, armature: bpy.types.Object) -> str:
        """Edit the character and return the report; raises CodedError before anything is changed."""
        raise NotImplementedError

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Edit the active character."""
        try:
            check_properties(self.properties)
            result = self.edit(context, character.active(context))
        except CodedError as error:
            report(self, {"ERROR"}, str(error))
            return {"CANCELLED"}
        report(self, {"INFO"}, result)
        return {"FINISHED"}
