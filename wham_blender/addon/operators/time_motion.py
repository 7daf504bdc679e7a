"""Trim a motion, make a loop of it, and give the scene the clip's frame rate."""

import bpy
import numpy as np
from bpy.props import BoolProperty, IntProperty

from ... import animation
from ..scene import character
from ..scene.character import CharacterError
from ..scene.scene_settings import take_over_clip
from .edit import CharacterEdit


class RangeEdit(CharacterEdit):
    """Base of edits of a range of scene frames, which begins with the whole motion."""

    first: IntProperty(name="First", description="Scene frame where it begins", default=0)
    last: IntProperty(name="Last", description="Scene frame where it ends; both 0 is the whole motion", default=0)

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Begin with the preview range where there is one, else with the whole motion, and ask."""
        record, scene = character.active(context).wham_motion, context.scene
        ends = (int(np.ceil(record.first_frame)), int(record.last_frame))
        if scene.use_preview_range:
            ends = max(ends[0], scene.frame_preview_start), min(ends[1], scene.frame_preview_end)
        self.first, self.last = ends
        return context.window_manager.invoke_props_dialog(self)

    def chosen(self, armature: bpy.types.Object, shortest: int) -> tuple[float, float]:
        """First and last frame; raises CharacterError where they hold fewer than ``shortest`` keys."""
        found = character.read(armature)
        first, last = (self.first, self.last) if self.first or self.last else (found.frames[0], found.frames[-1])
        inside = np.count_nonzero((found.frames >= first) & (found.frames <= last))
        if inside < shortest:
            raise CharacterError(
                f"{armature.name} has {inside} keys between frames {first:.0f} and {last:.0f}; at least {shortest} are "
                f"needed. Its motion goes from {found.frames[0]:.0f} to {found.frames[-1]:.0f}."
            )
        return first, last


class WHAM_OT_trim_motion(RangeEdit, bpy.types.Operator):
    """Throw away the character's keys before and after a range. The camera and others keep theirs."""

    bl_idname = "wham.trim_motion"
    bl_label = "Trim Motion"

    def edit(self, context: bpy.types.Context, armature: bpy.types.Object) -> str:
        """Trim the character."""
        first, last = self.chosen(armature, 1)
        character.trim(armature, first, last)
        return f"{armature.wham_motion.frames} keys are left"


class WHAM_OT_loop_motion(RangeEdit, bpy.types.Operator):
    """Make a cycle of a range: its end fades into its start. Best where both show the same moment of a step."""

    bl_idname = "wham.loop_motion"
    bl_label = "Loop Motion"

    blend: IntProperty(
        name="Blend",
        description="Keys over which the end fades into the start; the cycle is this much shorter than the range",
        default=8,
        min=1,
    )
    in_place: BoolProperty(
        name="In Place",
        description="Take the way over the floor out, as for a game's engine; otherwise each round goes on from where "
        "the last one ended",
    )
    repeat: BoolProperty(
        name="Repeat",
        description="Let the cycle go on for ever, before and after its keys (Cycles modifiers on the curves)",
        default=True,
    )

    def edit(self, context: bpy.types.Context, armature: bpy.types.Object) -> str:
        """Make the cycle."""
        first, last = self.chosen(armature, 2 * self.blend + 2)
        character.trim(armature, first, last)
        cycle = animation.looped(character.read(armature), self.blend, self.in_place)
        character.trim(armature, cycle.frames[0], cycle.frames[-1])
        character.write(armature, cycle)
        if self.repeat:
            character.repeat(armature)
        return f"A cycle of {cycle.frames[-1] - cycle.frames[0]:g} frames"


class WHAM_OT_match_scene(CharacterEdit, bpy.types.Operator):
    """Give the scene the clip's frame rate, range, size and camera, and place the keys for that: one a frame."""

    bl_idname = "wham.match_scene"
    bl_label = "Match Scene to Clip"

    def edit(self, context: bpy.types.Context, armature: bpy.types.Object) -> str:
        """Place all that was imported together for the clip's frame rate, and set up the scene."""
        things = character.together(armature, context.scene)
        rate = armature.wham_motion.clip_rate
        first, last = character.retime(things, rate)
        camera = next((thing for thing in things if thing.type == "CAMERA"), None)
        take_over_clip(context.scene, camera, rate, first, last)
        return f"The scene runs at {rate:.5g} frames a second, from {first:.0f} to {last:.0f}"


class WHAM_OT_measure_motion(CharacterEdit, bpy.types.Operator):
    """Measure the character again after you changed keys yourself: sliding, contacts, frames."""

    bl_idname = "wham.measure_motion"
    bl_label = "Measure Again"

    def edit(self, context: bpy.types.Context, armature: bpy.types.Object) -> str:
        """Bring the panel's figures up to date."""
        character.measure(armature, character.read(armature))
        return "Measured"
