"""What a rig has been left with and a bake must allow for: uneven scales and limit constraints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import bpy
import numpy as np

from ..scene.evaluation import evaluated
from ..scene.units import metres_per_unit

_EVEN = 2e-3  # scales that differ by less, relatively, shear nothing that could be seen or measured
_MOST_FRAMES = 200  # at which limits are looked at
_HELD_ANGLE = np.radians(0.5)  # by which a limit holds a bone back without a word
_HELD_DISTANCE = 1e-3  # the same of its location, of the rig's size
_MOST_NAMED = 3  # bones in a sentence


def unevenly_scaled(rig: bpy.types.Object, names: Iterable[str]) -> list[str]:
    """The bones with another scale on one axis than on the others, among these and those above them.

    Squash and stretch leaves such scales. Their children are sheared and cannot rotate as they are keyed; an
    even scale may be the size that the animator gave a head or the whole character.
    """
    bones = rig.data.bones
    chains = dict.fromkeys(bone for name in names for bone in (bones[name], *bones[name].parent_recursive))
    scales = {bone.name: np.abs(rig.pose.bones[bone.name].scale) for bone in chains}
    return [name for name, scale in scales.items() if np.ptp(scale) > _EVEN * scale.max()]


def listed(names: Iterable[str]) -> str:
    """Names of bones in a sentence, the first ones."""
    found = list(names)
    more = len(found) - _MOST_NAMED
    return ", ".join([*found[:_MOST_NAMED], *([f"and {more} more of them"] if more > 0 else [])])


# --- limits ----------------------------------------------------------------------------------------------------------


def limits(bone: bpy.types.PoseBone) -> list[bpy.types.Constraint]:
    """A bone's constraints that hold it within bounds, and leave it alone where the motion keeps within them."""
    return [each for each in bone.constraints if each.type.startswith("LIMIT_") and not each.mute and each.influence]


@contextmanager
def without_limits(rig: bpy.types.Object) -> Iterator[None]:
    """Mute the limits of a rig's bones within the block."""
    muted = [constraint for bone in rig.pose.bones for constraint in limits(bone)]
    try:
        for constraint in muted:
            constraint.mute = True
        yield
    finally:
        for constraint in muted:
            constraint.mute = False


def held_back(rig: bpy.types.Object, frames: np.ndarray) -> list[str]:
    """For each of a rig's bones that limits hold back from its keys in scene frames (F,): its name and by how much."""
    limited = [bone.name for bone in rig.pose.bones if limits(bone)]
    if not limited:
        return []
    chosen = frames[np.unique(np.linspace(0, len(frames) - 1, min(len(frames), _MOST_FRAMES)).round().astype(int))]
    shown = _local_matrices(rig, limited, chosen)
    with without_limits(rig):
        keyed = _local_matrices(rig, limited, chosen)
    size = max((bone.head_local.length for bone in rig.data.bones), default=0.0)
    metres = rig.matrix_world.median_scale * metres_per_unit(rig)
    found = []
    for name in limited:
        traces = np.einsum("fij,fij->f", _axes(shown[name]), _axes(keyed[name]))  # of the rotations between
        angle = float(np.arccos(np.clip((traces - 1) / 2, -1, 1)).max())
        moved = float(np.linalg.norm(shown[name][:, :3, 3] - keyed[name][:, :3, 3], axis=1).max())
        if angle > _HELD_ANGLE:
            found.append(f"{name} by up to {np.degrees(angle):.0f} degrees")
        elif moved > _HELD_DISTANCE * size:
            found.append(f"{name} by up to {100 * metres * moved:.3g} cm")
    return found


def _local_matrices(rig: bpy.types.Object, names: list[str], frames: np.ndarray) -> dict[str, np.ndarray]:
    """The matrices (F, 4, 4) of bones relative to their parents."""
    found: dict[str, list[np.ndarray]] = {name: [] for name in names}
    with evaluated(rig) as at:
        for frame in frames:
            (shown,) = at(frame)
            for name in names:
                bone = shown.pose.bones[name]
                above = bone.parent.matrix.inverted_safe() if bone.parent else None
                found[name].append(np.array(above @ bone.matrix if above else bone.matrix))
    return {name: np.array(matrices) for name, matrices in found.items()}


def _axes(matrices: np.ndarray) -> np.ndarray:
    axes = matrices[:, :3, :3]
    return np.asarray(axes / np.maximum(np.linalg.norm(axes, axis=1, keepdims=True), 1e-12))
