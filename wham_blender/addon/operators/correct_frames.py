"""Operators that correct what was seen in a range of frames: distrust it, swap left and right.

They change the motion at once, without the worker, and record the correction for when the clip is processed again.
"""

import bpy
from bpy.props import EnumProperty

from ... import corrections
from ...animation import Animation
from ...corrected_animation import bridged, with_swapped_sides
from ...corrections import Change, Distrusted, Part, Swapped
from ..scene import character, recorded_corrections
from ..scene.character import CharacterError
from .time_motion import RangeEdit


class CorrectFrames(RangeEdit):
    """Base of corrections of a range: without another one that of the preview range, or between timeline markers."""

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Show a dialog that starts with the range that is selected in the timeline."""
        self.first, self.last = selected_range(context)
        return context.window_manager.invoke_props_dialog(self)

    def corrected_range(self, context: bpy.types.Context, motion: Animation, owner: str) -> tuple[float, float]:
        """First and last scene frame; raises CharacterError if the motion has no keyframe between them."""
        if not (self.first or self.last):
            self.first, self.last = selected_range(context)
        return self.frame_range(motion, owner, 1)


def selected_range(context: bpy.types.Context) -> tuple[int, int]:
    """The preview range; else the frames between the timeline's markers around the current frame, else that frame."""
    scene, frame = context.scene, context.scene.frame_current
    if scene.use_preview_range:
        return scene.frame_preview_start, scene.frame_preview_end
    markers = [marker.frame for marker in scene.timeline_markers]
    before, after = ([each for each in markers if each <= frame], [each for each in markers if each > frame])
    return (max(before), min(after)) if before and after else (frame, frame)


def recorded(armature: bpy.types.Object, change: Change | None) -> str:
    """Keep a correction, and say so in a sentence; None: the character does not know its frames in the clip."""
    if change is None:
        return "Process Again does not apply it, as this character was imported without its clip's frames"
    recorded_corrections.add(armature, change)
    return "Process Again applies it, too"


class WHAM_OT_distrust_frames(CorrectFrames, bpy.types.Operator):
    """Fill in frames in which the person was seen wrongly, from the motion before and after. Planted feet stay"""

    bl_idname = "wham.distrust_frames"
    bl_label = "Distrust Frames"

    def edit(self, context: bpy.types.Context, armature: bpy.types.Object) -> str:
        """Bridge the range."""
        motion = character.read(armature)
        first, last = self.corrected_range(context, motion, armature.name)
        if motion.frames[0] > first - 1e-3 or motion.frames[-1] < last + 1e-3:
            raise CharacterError(
                f"Frames {first:.0f} to {last:.0f} reach to an end of the motion of {armature.name}, where nothing can "
                "be bridged. Use Trim Motion there.",
                code="bridge-at-end",
            )
        after = bridged(motion, first, last, character.key_rate(armature, motion))
        character.check(armature, after)
        seen = recorded_corrections.seen_range(armature, first, last)
        said = recorded(armature, Distrusted(seen[2], *seen[:2]) if seen else None)
        character.write(armature, after, motion)
        return f"Frames {first:.0f} to {last:.0f} are bridged. {said}"


class WHAM_OT_swap_sides(CorrectFrames, bpy.types.Operator):
    """Exchange left and right in frames in which they were taken for each other"""

    bl_idname = "wham.swap_sides"
    bl_label = "Swap Left and Right"

    part: EnumProperty(
        name="Part",
        description="Which limbs are exchanged",
        items=recorded_corrections.PARTS,
        default=corrections.Part.LOWER.name,
    )

    def edit(self, context: bpy.types.Context, armature: bpy.types.Object) -> str:
        """Exchange the limbs in the range."""
        motion, part = character.read(armature), Part[self.part]
        first, last = self.corrected_range(context, motion, armature.name)
        after = with_swapped_sides(motion, first, last, part)
        character.check(armature, after)
        seen = recorded_corrections.seen_range(armature, first, last)
        said = recorded(armature, Swapped(seen[2], *seen[:2], part) if seen else None)
        character.write(armature, after, motion)
        return f"Left and right are exchanged in frames {first:.0f} to {last:.0f}. {said}"
