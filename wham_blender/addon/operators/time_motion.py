"""Operators on a motion's time: trim, loop, match the scene's frame rate to the clip's, update the statistics."""

import math

import bpy
from bpy.props import BoolProperty, IntProperty

from ... import animation
from ..scene import character
from ..scene.character import CharacterError
from ..scene.checks import LAST_FRAME
from ..scene.scene_settings import match_clip
from .edit import CharacterEdit


class RangeEdit(CharacterEdit):
    """Base of edits of a range of scene frames."""

    first: IntProperty(
        name="First", description="First scene frame of the range", default=0, min=-LAST_FRAME, max=LAST_FRAME
    )
    last: IntProperty(
        name="Last",
        description="Last scene frame of the range; if both are 0, the range is the entire motion",
        default=0,
        min=-LAST_FRAME,
        max=LAST_FRAME,
    )

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Show a dialog that starts with the preview range if there is one, else with the range of the motion."""
        record, scene = character.active(context).wham_motion, context.scene
        ends = (math.ceil(record.first_frame), math.floor(record.last_frame))
        if scene.use_preview_range:
            ends = max(ends[0], scene.frame_preview_start), min(ends[1], scene.frame_preview_end)
        self.first, self.last = ends
        return context.window_manager.invoke_props_dialog(self)

    def frame_range(self, armature: bpy.types.Object, shortest: int) -> tuple[float, float]:
        """First and last scene frame; raises CharacterError if the range has fewer than ``shortest`` keyframes."""
        motion = character.read(armature)
        frames = motion.frames
        first, last = (self.first, self.last) if self.first or self.last else (frames[0], frames[-1])
        inside = len(animation.between(motion, first, last))
        if inside < shortest:
            raise CharacterError(
                f"{armature.name} has {inside} keys between frames {first:.0f} and {last:.0f}; at least {shortest} are "
                f"needed. Its motion goes from {frames[0]:.0f} to {frames[-1]:.0f}.",
                code="too-few-keys",
            )
        return first, last


class WHAM_OT_trim_motion(RangeEdit, bpy.types.Operator):
    """Delete the character's keyframes outside a range. Other people and the camera are not changed"""

    bl_idname = "wham.trim_motion"
    bl_label = "Trim Motion"

    def edit(self, context: bpy.types.Context, armature: bpy.types.Object) -> str:
        """Trim the character."""
        first, last = self.frame_range(armature, 1)
        character.trim(armature, first, last)
        return f"{armature.wham_motion.frames} keyframes are left"


class WHAM_OT_loop_motion(RangeEdit, bpy.types.Operator):
    """Make a cycle of a range by blending its end into its start. Both should show the same phase of a step"""

    bl_idname = "wham.loop_motion"
    bl_label = "Loop Motion"

    blend: IntProperty(
        name="Blend",
        description="Number of keyframes over which the end is blended into the start. The cycle is shorter than the "
        "range by this number",
        default=8,
        min=1,
        max=LAST_FRAME,
    )
    in_place: BoolProperty(
        name="In Place",
        description="Remove the movement over the floor, as game engines need it. If disabled, each repetition "
        "continues where the last one ended",
    )
    repeat: BoolProperty(
        name="Repeat",
        description="Repeat the cycle before and after its keyframes, with Cycles modifiers on the F-curves",
        default=True,
    )

    def edit(self, context: bpy.types.Context, armature: bpy.types.Object) -> str:
        """Make the cycle."""
        first, last = self.frame_range(armature, 2 * self.blend + 2)
        cycle = animation.looped(animation.between(character.read(armature), first, last), self.blend, in_place=False)
        cycle = animation.planted_cycle(cycle, character.key_rate(armature, cycle))
        if self.in_place:
            cycle = animation.without_travel(cycle)
        character.check(armature, cycle)
        character.trim(armature, cycle.frames[0], cycle.frames[-1])
        character.write(armature, cycle)
        action = armature.animation_data.action
        action.use_frame_range = action.use_cyclic = True
        action.frame_start, action.frame_end = cycle.frames[0], cycle.frames[-1]
        if self.repeat:
            character.add_cycles(armature)
        return f"A cycle of {cycle.frames[-1] - cycle.frames[0]:g} frames"


class WHAM_OT_match_scene(CharacterEdit, bpy.types.Operator):
    """Set the scene's frame rate, range, resolution and camera from the clip, and move the keyframes to whole frames"""

    bl_idname = "wham.match_scene"
    bl_label = "Match Scene to Clip"

    def edit(self, context: bpy.types.Context, armature: bpy.types.Object) -> str:
        """Move the keyframes of everything that was imported together, and set up the scene."""
        imported = character.imported_with(armature, context.scene)
        rate = armature.wham_motion.clip_rate
        first, last = character.retime(imported, rate)
        camera = next((obj for obj in imported if obj.type == "CAMERA"), None)
        match_clip(context.scene, camera, rate, first, last)
        return f"The scene runs at {rate:.5g} frames a second, from {first:.0f} to {last:.0f}"


class WHAM_OT_measure_motion(CharacterEdit, bpy.types.Operator):
    """Update the statistics in the panel after keyframes were edited by hand: foot sliding, contacts, frames"""

    bl_idname = "wham.measure_motion"
    bl_label = "Measure Again"

    def edit(self, context: bpy.types.Context, armature: bpy.types.Object) -> str:
        """Measure the character again."""
        character.update_statistics(armature, character.read(armature))
        return "Measured"
