"""Operator Next Doubt: goes to the next frame where a character's motion is probably wrong, and says why."""

import bpy

from ...doubts import doubts, next_doubt
from ..scene import character
from .edit import CharacterEdit


class WHAM_OT_next_doubt(CharacterEdit, bpy.types.Operator):
    """Go to the next frame where the motion is probably wrong: not seen, unsure, sliding, sunk or jumping"""

    bl_idname = "wham.next_doubt"
    bl_label = "Next Doubt"

    def edit(self, context: bpy.types.Context, armature: bpy.types.Object) -> str:
        """Set the scene's frame, and store the sentence for the panel."""
        scene, record = context.scene, armature.wham_motion
        found = doubts(character.read(armature), record.keyed_rate)
        doubt = next_doubt(found, scene.frame_current)
        if doubt is None:
            record.doubt = record.doubt_operator = ""
            return "Nothing doubtful was found: no slide, jump or gap"
        scene.frame_set(round(doubt.first))
        record.doubt_first, record.doubt_last = doubt.first, doubt.last
        record.doubt, record.doubt_operator = doubt.sentence, doubt.operator
        return f"{found.index(doubt) + 1} of {len(found)}: {doubt.sentence}"
