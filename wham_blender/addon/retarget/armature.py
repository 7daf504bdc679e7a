"""What an armature object of Blender is to a rig map: its bones at rest, and the map that fits it."""

from __future__ import annotations

import bpy
import numpy as np

from .guess import Skeleton


def rest_skeleton(armature: bpy.types.Object) -> Skeleton:
    """An armature's rest pose in its own space: how the object is turned and scaled says nothing of its bones."""
    bones = list(armature.data.bones)
    place = {bone.name: number for number, bone in enumerate(bones)}

    def points(attribute: str) -> np.ndarray:
        return np.array([getattr(bone, attribute) for bone in bones]).reshape(-1, 3)

    return Skeleton(
        names=tuple(place),
        parents=tuple(place[bone.parent.name] if bone.parent else -1 for bone in bones),
        heads=points("head_local"),
        tails=points("tail_local"),
    )
