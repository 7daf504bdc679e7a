"""Finds the bone above the hips that deforms the body's mesh with them, and so must move with them in a bake."""

from __future__ import annotations

import bpy
import numpy as np

from .armature import is_skin

# Share of a vertex's weight on a bone that stays, set by hand: 2 cm of a spike for each metre that the body goes away.
_APART = 0.02


def deforming_parent(rig: bpy.types.Object, body: str, keep: str) -> str:
    """The highest bone above ``body`` whose vertices share edges with those of its children; or "".

    If it stayed where it is at rest while the body moves away, these vertices would be drawn out into spikes. ``keep``
    is not looked at: the bone that root motion is keyed on.
    """
    above = [bone.name for bone in rig.data.bones[body].parent_recursive if bone.name != keep]
    found: set[str] = set()
    for mesh in bpy.data.objects if above else ():
        if mesh.type == "MESH" and is_skin(mesh, rig):
            found |= _deforming(mesh, above, {bone.name for bone in rig.data.bones})
    return next((name for name in reversed(above) if name in found), "")


def _deforming(mesh: bpy.types.Object, above: list[str], deforming: set[str]) -> set[str]:
    """The bones of ``above`` whose share of the weight differs within one edge, or is a part of a vertex's."""
    columns = {group.index: above.index(group.name) for group in mesh.vertex_groups if group.name in above}
    if not columns:
        return set()
    bones = {group.index for group in mesh.vertex_groups if group.name in deforming}
    shares, totals = np.zeros((len(mesh.data.vertices), len(above))), np.zeros(len(mesh.data.vertices))
    for number, vertex in enumerate(mesh.data.vertices):
        for element in vertex.groups:
            if element.group in bones:
                totals[number] += element.weight
                if element.group in columns:
                    shares[number, columns[element.group]] += element.weight
    shares /= np.maximum(totals, 1e-9)[:, None]
    ends = np.empty(2 * len(mesh.data.edges), np.int32)
    mesh.data.edges.foreach_get("vertices", ends)
    first, second = ends.reshape(-1, 2).T
    differs = np.abs(shares[first] - shares[second]) > _APART
    partly = (shares > _APART) & (shares < 1 - _APART)
    return {name for number, name in enumerate(above) if differs[:, number].any() or partly[:, number].any()}
