"""Operators on a motion's time: trim, loop, match the scene's frame rate to the clip's, update the statistics."""

import math
from typing import ClassVar

import bpy
from bpy.props import BoolProperty, EnumProperty, FloatProperty, IntProperty

from ... import animation, cycles
from ...animation import Animation
from ...cycles import Cycle
from ...errors import CodedError
from ..scene import character
from ..scene.character import CharacterError
from ..scene.checks import LAST_FRAME
from ..scene.scene_settings import match_clip
from ..translations import report, translate
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

    def frame_range(self, motion: Animation, owner: str, shortest: int) -> tuple[float, float]:
        """First and last scene frame; raises CharacterError if the range has fewer than ``shortest`` keyframes."""
        frames = motion.frames
        first, last = (self.first, self.last) if self.first or self.last else (frames[0], frames[-1])
        inside = len(animation.between(motion, first, last))
        if inside < shortest:
            raise CharacterError(
                f"{owner} has {inside} keys between frames {first:.0f} and {last:.0f}; at least {shortest} are "
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
        first, last = self.frame_range(character.read(armature), armature.name, 1)
        character.trim(armature, first, last)
        return f"{armature.wham_motion.frames} keyframes are left"


class WHAM_OT_trim_to_motion(CharacterEdit, bpy.types.Operator):
    """Delete the character's keyframes before it begins to move and after it has stopped, or where it is not seen"""

    bl_idname = "wham.trim_to_motion"
    bl_label = "Trim to Motion"

    speed: FloatProperty(
        name="Minimum Speed",
        description="The character moves while its fastest joint is faster than this, in meters per second",
        default=0.3,  # above the sway of a standing person; set by hand
        min=0.0,
        max=100.0,
    )
    margin: FloatProperty(
        name="Margin", description="Time that is kept before and after, in seconds", default=0.25, min=0.0, max=60.0
    )

    def edit(self, context: bpy.types.Context, armature: bpy.types.Object) -> str:
        """Trim the character."""
        motion = animation.evenly(character.read(armature))
        rows = animation.active_rows(motion, character.key_rate(armature, motion), self.speed, self.margin)
        if rows.start == rows.stop:
            raise CharacterError(
                f"{armature.name} never moves faster than {self.speed:g} m/s. Lower the speed, or use Trim Motion.",
                code="no-movement",
            )
        first, last = motion.frames[rows][[0, -1]]
        character.trim(armature, first, last)
        return f"The motion goes from frame {first:.0f} to {last:.0f}"


_CYCLES = ("Best Cycle", "Second Cycle", "Third Cycle", "Fourth Cycle", "Fifth Cycle")
_BETWEEN_STRIKES = (
    "From one heel strike to a later one of the same foot; cycles are sorted by how well pose, speed and planted feet "
    "agree at both ends"
)


class WHAM_OT_loop_motion(RangeEdit, bpy.types.Operator):
    """Make a cycle between two heel strikes, or of a range. Its end is blended into its start"""

    bl_idname = "wham.loop_motion"
    bl_label = "Loop Motion"

    cycle: EnumProperty(
        name="Cycle",
        description="What becomes the cycle",
        items=[
            ("RANGE", "Range", "The range of frames below. Both ends should show the same phase of a step"),
            *((str(number), name, _BETWEEN_STRIKES) for number, name in enumerate(_CYCLES, 1)),
        ],
    )
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
    found: ClassVar[list[Cycle]] = []  # those that the dialog lists

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Show a dialog with the cycles found; it starts with the best one, or the preview range if there is one."""
        try:
            armature = character.active(context)
            self._find(armature, character.read(armature))
        except CodedError as error:
            report(self, {"ERROR"}, str(error))
            return {"CANCELLED"}
        super().invoke(context, event)
        self.cycle = "1" if self.found and not context.scene.use_preview_range else "RANGE"
        return context.window_manager.invoke_props_dialog(self, width=420)

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the cycles to choose from and the options."""
        layout = self.layout
        column = layout.column(align=True)
        for number, cycle in enumerate(self.found, 1):
            column.prop_enum(self, "cycle", str(number), text=translate(cycle_text(cycle)))
        column.prop_enum(self, "cycle", "RANGE")
        layout.use_property_split = True
        for name in (*(("first", "last") if self.cycle == "RANGE" else ()), "blend", "in_place", "repeat"):
            layout.prop(self, name)

    def _find(self, armature: bpy.types.Object, motion: Animation) -> None:
        """Find the cycles of a character; they stay with the class, since each redo makes a new operator."""
        rate = armature.wham_motion.keyed_rate
        type(self).found = cycles.cycles(motion, rate, self.blend, len(_CYCLES))

    def edit(self, context: bpy.types.Context, armature: bpy.types.Object) -> str:
        """Make the cycle."""
        motion = character.read(armature)
        if self.cycle == "RANGE":
            first, last = self.frame_range(motion, armature.name, 2 * self.blend + 2)
        else:
            self._find(armature, motion)
            if len(self.found) < int(self.cycle):
                raise CharacterError(
                    f"{armature.name} has {len(self.found)} cycles between heel strikes. Choose another one, a range, "
                    "or find more contacts with Mark Contacts.",
                    code="no-such-cycle",
                )
            first, last = self.found[int(self.cycle) - 1].first, self.found[int(self.cycle) - 1].last
        chosen = animation.between(motion, first, last)
        blended = animation.looped(chosen, self.blend, in_place=False)
        cycle = animation.planted_cycle(blended, character.key_rate(armature, blended))
        rate = armature.wham_motion.keyed_rate
        slides = [cycles.seam_sliding(each, rate) for each in (blended, cycle)]
        if self.in_place:
            cycle = animation.without_travel(cycle)
        character.check(armature, cycle)
        character.write(armature, cycle)
        character.trim(armature, cycle.frames[0], cycle.frames[-1])  # what other curves it has
        action = armature.animation_data.action
        action.use_frame_range = action.use_cyclic = True
        action.frame_start, action.frame_end = cycle.frames[0], cycle.frames[-1]
        if self.repeat:
            character.add_cycles(armature)
        text = f"A cycle of {cycle.frames[-1] - cycle.frames[0]:g} frames."
        if slides[0] is not None and slides[1] is not None:
            text += f" Planted feet slide by {100 * slides[1]:.1f} cm/s, before planting by {100 * slides[0]:.1f}."
        return text


def cycle_text(cycle: Cycle) -> str:
    """A cycle as the dialog lists it."""
    return (
        f"{cycle.first:.0f} to {cycle.last:.0f}: {cycle.seconds:.2f} s, {cycle.steps} steps; pose "
        f"{100 * cycle.pose:.1f} cm, speed {100 * cycle.speed:.0f} cm/s off, feet {cycle.feet:.0%}"
    )


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
