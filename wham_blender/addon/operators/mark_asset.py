"""Operator Add to Asset Browser: marks the action of the active armature as an asset."""

from collections.abc import Callable
from typing import ClassVar

import bpy
from bpy.props import StringProperty

from ..scene import action_asset
from ..translations import report, translate


class WHAM_OT_mark_asset(bpy.types.Operator):
    """Mark the active armature's action as an asset with a picture and tags, for the Asset Browser"""

    bl_idname = "wham.mark_asset"
    bl_label = "Add to Asset Browser"
    bl_options: ClassVar[set[str]] = {"REGISTER", "UNDO"}
    poll_message_set: ClassVar[Callable[[str], None]]

    tags: StringProperty(name="Tags", description="Words by which the action is found, separated by commas")

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Require an armature with an action of this file."""
        active = context.active_object
        action = active and active.type == "ARMATURE" and active.animation_data and active.animation_data.action
        if not action or action.library:
            cls.poll_message_set(translate("Select an armature that has an action of this file"))
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Mark the action."""
        tags = [tag.strip() for tag in self.tags.split(",") if tag.strip()]
        action = action_asset.mark(context.active_object, tags)
        report(
            self, {"INFO"}, f"{action.name} is in the Asset Browser; save the file in an asset library to keep it there"
        )
        return {"FINISHED"}
