"""The vertices of a character's feet in its rest pose: the meshes that the foot bones of a rig deform."""

from __future__ import annotations

from collections.abc import Mapping

import bpy
import numpy as np

from .armature import deforming_bones, is_skin, rest_matrix
from .maps import RigMap

# Set by hand on the characters of tests/rigs: lengths of a leg around the ankle in which vertices are looked at (feet
# of cartoon characters are longer than shins), and the share of a vertex's weight that bones of the foot must have.
_NEAR, _CARRIED = 1.2, 0.5


def vertices(
    rig: bpy.types.Object, rig_map: RigMap, matrices: Mapping[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The vertices (N, 3) of the left and right foot at rest, in armature space, and two facts about each.

    These are whether toes deform it (N,), and the share (N,) of its weight on foot and toes; the shin has the rest.
    matrices: (4, 4) of the mapped bones at rest, with scale, which a pose may have although it is at rest otherwise.
    """
    bones = rig.data.bones
    meshes = [
        (mesh, _points(mesh, rig))
        for mesh in bpy.data.objects
        if mesh.type == "MESH" and (mesh.parent == rig or is_skin(mesh, rig))
    ]
    whole, on_toes, shares = {}, {}, {}
    for side in ("left", "right"):
        top, toes = rig_map.bones[f"{side}_ankle"], rig_map.bones.get(f"{side}_foot", "")
        front = _with_children(bones, toes) if toes else set()
        foot = _with_children(bones, top) - front
        joints = [np.array(bones[rig_map.bones[f"{side}_{joint}"]].head_local) for joint in ("hip", "knee", "ankle")]
        ankle, reach = joints[2], _NEAR * float(np.linalg.norm(np.diff(joints, axis=0), axis=1).sum())
        scaled = matrices[top] @ np.linalg.inv(np.array(bones[top].matrix_local))
        found: list[np.ndarray] = [np.zeros((0, 5))]  # position, and shares of the weight of foot and toes
        for mesh, points in meshes:
            near = np.flatnonzero(np.linalg.norm(points - ankle, axis=1) < reach)
            found.append(np.column_stack([points[near], _shares(mesh, near, (foot, front))]))
        carried = np.concatenate(found)
        points = carried[:, :3] @ scaled[:3, :3].T + scaled[:3, 3]
        chosen = carried[:, 3:].sum(1) > _CARRIED
        whole[side], on_toes[side] = points[chosen], carried[chosen, 4] > carried[chosen, 3]
        shares[side] = carried[chosen, 3:].sum(1)
    return whole, on_toes, shares


def _with_children(bones: bpy.types.ArmatureBones, name: str) -> set[str]:
    return {name, *(child.name for child in bones[name].children_recursive)}


def _points(mesh: bpy.types.Object, rig: bpy.types.Object) -> np.ndarray:
    """The vertices (N, 3) of a mesh at rest, in armature space."""
    points = np.empty((len(mesh.data.vertices), 3), np.float32)
    mesh.data.vertices.foreach_get("co", points.ravel())
    matrix = rest_matrix(mesh, rig)
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def _shares(mesh: bpy.types.Object, rows: np.ndarray, parts: tuple[set[str], set[str]]) -> np.ndarray:
    """The shares (R, 2) of the weight of some vertices that is on two sets of bones."""
    shares = np.zeros((len(rows), 2))
    if mesh.parent_type == "BONE":
        shares[:] = [mesh.parent_bone in part for part in parts]
        return shares
    deforming = deforming_bones(mesh)
    names = {group.index: group.name for group in mesh.vertex_groups if group.name in deforming}
    if not any(part & {*names.values()} for part in parts):
        return shares
    for number, row in enumerate(rows):
        weights = {names[each.group]: each.weight for each in mesh.data.vertices[row].groups if each.group in names}
        if total := sum(weights.values()):
            shares[number] = [sum(weight for name, weight in weights.items() if name in part) / total for part in parts]
    return shares
