"""Bake to Rig: an imported motion onto the armature of another character."""

import bpy

from .. import bake, character, rig_map_state
from ..bake import BakeError
from ..character import CharacterError
from ..retarget.maps import MapError


class WHAM_OT_bake_to_rig(bpy.types.Operator):
    """Give the motion of an imported character to the selected rigs, as an action of their own."""

    bl_idname = "wham.bake_to_rig"
    bl_label = "Bake to Rig"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Refuse without a motion and a rig, and say so."""
        reason = None
        if context.mode != "OBJECT":
            reason = "Go to Object Mode first"
        elif not any(character.is_character(thing) for thing in context.scene.objects):
            reason = "Import a motion first"
        elif not _rigs(context):
            reason = "Select the armature of the character that shall get the motion"
        if reason:
            cls.poll_message_set(reason)
        return reason is None

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Bake onto each rig."""
        try:
            sources = _sources(context)
            for rig in _rigs(context):
                done = bake.bake(sources[0], rig, rig_map_state.map_of(rig))
                self.report({"INFO"}, f"{rig.name}: {done.keys} frames baked into {done.action.name}")
        except (BakeError, CharacterError, MapError) as problem:
            self.report({"ERROR"}, str(problem))
            return {"CANCELLED"}
        return {"FINISHED"}


def _rigs(context: bpy.types.Context) -> list[bpy.types.Object]:
    """The selected armatures that are no imported motions."""
    chosen = dict.fromkeys([context.active_object, *context.selected_objects])
    armatures = [thing for thing in chosen if thing is not None and thing.type == "ARMATURE"]
    return [thing for thing in armatures if not character.is_character(thing)]


def _sources(context: bpy.types.Context) -> list[bpy.types.Object]:
    """The imported motions that are selected, or all of the scene where none is; raises BakeError for more than one."""
    selected = [thing for thing in context.selected_objects if character.is_character(thing)]
    found = selected or [thing for thing in context.scene.objects if character.is_character(thing)]
    if len(found) > 1:
        names = ", ".join(thing.name for thing in found)
        raise BakeError(f"Several motions could be meant: {names}. Select one of them together with the rig.")
    return found
