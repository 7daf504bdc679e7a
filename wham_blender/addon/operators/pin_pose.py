"""Operator Pin Pose: bends a character's motion to the pose that the animator has given it at the current frame."""

from dataclasses import replace

import bpy
import numpy as np
from bpy.props import FloatProperty

from ... import quaternions
from ...animation import Animation, resampled, selected
from ...corrected_animation import inserted, pinned
from ..scene import character, pinned_poses
from ..scene.character import CharacterError
from ..scene.checks import LAST_FRAME
from .correct_frames import recorded
from .edit import CharacterEdit

# Radians and metres by which a pose must differ from the motion: smaller differences are those of Blender's float32.
_LEAST = 1e-3, 1e-4
_LEAST_KEYED = 0.035, 0.02  # the same of a pose that is keyed already, from its neighbours; set by hand


class WHAM_OT_pin_pose(CharacterEdit, bpy.types.Operator):
    """Blend the motion around the current frame into the pose that you have given the character there"""

    bl_idname = "wham.pin_pose"
    bl_label = "Pin Pose"

    falloff: FloatProperty(
        name="Falloff",
        description="Number of scene frames before and after, over which the motion is blended into the pose. Frames "
        "farther away are not changed",
        default=12.0,
        min=1.0,
        soft_max=120.0,
        max=LAST_FRAME,
    )

    def edit(self, context: bpy.types.Context, armature: bpy.types.Object) -> str:
        """Pin the pose that Blender shows at the current frame."""
        _check_shows_its_action(armature)
        frame = context.scene.frame_current_final
        before = character.read(armature)
        if not before.frames[0] <= frame <= before.frames[-1]:
            raise CharacterError(
                f"{armature.name} has no motion at frame {frame:g}: it goes from {before.frames[0]:.0f} to "
                f"{before.frames[-1]:.0f}. Go to one of its frames, and pose it there.",
                code="pin-outside",
            )
        now = resampled(before, np.array([frame]))
        pose = character.posed(armature, now, context)
        motion, pose = _without_key(before, now, pose)
        part = pinned(motion, pose, max(self.falloff, 1.0), character.key_rate(armature, before))
        pin = pinned_poses.described(armature, resampled(motion, pose.frames), pose, max(self.falloff, 1.0))
        if armature.wham_motion.reduced:  # the curves between few keyframes cannot be changed in some rows only
            character.write(armature, inserted(before, part))
        else:
            character.write_rows(armature, before, part)
            character.update_statistics(armature, inserted(before, part))
        context.scene.frame_set(context.scene.frame_current, subframe=context.scene.frame_subframe)
        said = recorded(armature, pin)
        return f"Pinned at frame {frame:g}; the motion is blended into it over {self.falloff:g} frames. {said}"


def _check_shows_its_action(armature: bpy.types.Object) -> None:
    """Raise CharacterError if Blender shows another pose than that of the action, which would be pinned."""
    if armature.data.pose_position == "REST":
        raise CharacterError(
            f"{armature.name} is in Rest Position, and shows no pose. Choose Pose Position in the properties of the "
            "armature.",
            code="pin-rest-position",
        )
    animation = armature.animation_data
    alone = animation.action_blend_type == "REPLACE" and animation.action_influence == 1
    if not alone and any(track.strips and not track.mute for track in animation.nla_tracks):
        raise CharacterError(
            f"{armature.name} shows its action mixed with NLA tracks, and their sum cannot be pinned. Mute the tracks in "
            "the NLA editor, and pose it again.",
            code="pin-mixed-action",
        )


def _without_key(before: Animation, now: Animation, pose: Animation) -> tuple[Animation, Animation]:
    """The motion as it is without the pose, and the pose with joints that were not posed as the motion has them.

    If the pose is keyed already, by hand or by Auto Keying, the motion at that frame is that between its neighbours.
    Raises CharacterError if the pose is that of the motion.
    """
    least = _LEAST
    row = int(np.abs(before.frames - pose.frames[0]).argmin())
    if not _differs(now, pose, least).any() and 0 < row < len(before) - 1:
        others = np.delete(np.arange(len(before)), row)
        near = others[max(row - 2, 0) : row + 2]
        rest = selected(before, near)
        now, least = resampled(rest, pose.frames), _LEAST_KEYED
        before = replace(before, root=before.root.copy(), rotations=before.rotations.copy())
        before.root[row], before.rotations[row] = now.root[0], now.rotations[0]
    posed = _differs(now, pose, least)
    if not posed.any():
        raise CharacterError(
            "The pose at this frame is that of the motion. Rotate bones in Pose Mode or move the pelvis, and use Pin "
            "Pose before you go to another frame.",
            code="pin-not-posed",
        )
    rotations = np.where(posed[1:, None], pose.rotations, now.rotations)
    return before, replace(pose, root=pose.root if posed[0] else now.root, rotations=rotations)


def _differs(now: Animation, pose: Animation, least: tuple[float, float]) -> np.ndarray:
    """Whether the root's place differs, and the rotation of each joint, by ``least``: (1 + J,) bool."""
    turned = quaternions.to_axis_angle(quaternions.multiply(pose.rotations[0], quaternions.inverse(now.rotations[0])))
    moved = np.linalg.norm(pose.root - now.root) > least[1]
    return np.append(moved, np.linalg.norm(turned, axis=1) > least[0])
