"""Marks actions as assets with tags, a description and a picture, so that a library grows in the Asset Browser."""

from __future__ import annotations

from collections.abc import Sequence

import bpy
import numpy as np

from .evaluation import evaluated

_SIDE = 128  # pixels of the picture
_POSES = 3  # in the picture, at even times, the first at the left
_MARGIN = 0.08  # of the picture's side
_WIDTH = 0.012  # half of a bone's width, of the picture's side
_BACKGROUND, _BONE = np.array([0.13, 0.13, 0.14, 1.0]), np.array([0.85, 0.86, 0.88, 1.0])


def mark(armature: bpy.types.Object, tags: Sequence[str]) -> bpy.types.Action:
    """Mark the action of an armature as an asset, with its own tags and these; the action."""
    action = armature.animation_data.action
    if action.asset_data is None:
        action.asset_mark()
    first, last = action.frame_range
    rate = bpy.context.scene.render.fps / bpy.context.scene.render.fps_base
    action.asset_data.description = f"{(last - first) / rate:.2f} s, made with Import Video as Motion"
    known = {tag.name for tag in action.asset_data.tags}
    for tag in ("motion capture", *(["loop"] if action.use_cyclic else []), *tags):
        if tag not in known:
            action.asset_data.tags.new(tag)
    picture = _picture(_bones(armature, np.linspace(first, last, 2 * _POSES + 1)[1::2]))
    preview = action.preview_ensure()
    preview.image_size = (_SIDE, _SIDE)
    preview.image_pixels_float.foreach_set(picture.astype(np.float32).ravel())
    return action


def _bones(armature: bpy.types.Object, frames: np.ndarray) -> np.ndarray:
    """Heads and tails (F, B, 2, 3) of the bones that deform, or of all if none does, in the world."""
    names = [bone.name for bone in armature.data.bones if bone.use_deform] or list(armature.data.bones.keys())
    found = []
    with evaluated(armature) as at:
        for frame in frames:
            posed = at(float(frame))[0]
            bones = [posed.pose.bones[name] for name in names]
            found.append([[posed.matrix_world @ end for end in (bone.head, bone.tail)] for bone in bones])
    return np.array(found)


def _picture(bones: np.ndarray) -> np.ndarray:
    """A picture (side, side, 4), the lowest row first, of poses (F, B, 2, 3) seen from the front.

    They stand side by side, whatever their places: somebody who jumps down would be outside of it.
    """
    points = bones[..., [0, 2]]
    low, high = points.min((1, 2)), points.max((1, 2))
    size = max(float((high - low)[:, 1].max()), float((high - low)[:, 0].max() * len(bones)), 1e-6)
    middle = (low + high) / 2
    middle[:, 1] = low[:, 1] + size / 2
    points = (points - middle[:, None, None]) / size * (1 - 2 * _MARGIN) + 0.5
    points[..., 0] += ((np.arange(len(bones)) + 0.5) / len(bones) - 0.5)[:, None, None]
    axis = (np.arange(_SIDE) + 0.5) / _SIDE
    pixels = np.stack(np.meshgrid(axis, axis), -1)
    covered = np.zeros((_SIDE, _SIDE))
    for start, end in points.reshape(-1, 2, 2):
        along = end - start
        fraction = np.clip((pixels - start) @ along / max(float(along @ along), 1e-9), 0, 1)
        distance = np.linalg.norm(pixels - start - fraction[..., None] * along, axis=-1)
        covered = np.maximum(covered, np.clip((_WIDTH - distance) * _SIDE + 0.5, 0, 1))
    return _BACKGROUND + covered[..., None] * (_BONE - _BACKGROUND)
