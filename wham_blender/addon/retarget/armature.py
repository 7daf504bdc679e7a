"""Reads the rest pose of a Blender armature object for guessing a rig map."""

from __future__ import annotations

import bpy
import numpy as np

from .guess import Skeleton


def rest_skeleton(armature: bpy.types.Object) -> Skeleton:
    """An armature's rest pose in armature space; the object's transform is ignored."""
    bones = list(armature.data.bones)
    indices = {bone.name: index for index, bone in enumerate(bones)}

    def points(attribute: str) -> np.ndarray:
        return np.array([getattr(bone, attribute) for bone in bones]).reshape(-1, 3)

    return Skeleton(
        names=tuple(indices),
        parents=tuple(indices[bone.parent.name] if bone.parent else -1 for bone in bones),
        heads=points("head_local"),
        tails=points("tail_local"),
    )
