"""The vertices of a character's feet in its rest pose: the meshes that the foot bones of a rig carry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import bpy
import numpy as np
from mathutils import Matrix, Vector

from .maps import RigMap

_NEAR = 1.5  # lengths of a shin around the ankle in which vertices are looked at; clown shoes reach one
_CARRIED = 0.5  # of a vertex's weight: more than this is on bones of the foot


def vertices(
    rig: bpy.types.Object, rig_map: RigMap, matrices: Mapping[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The vertices (N, 3) of the left and right foot at rest, in armature space: with toes, and without their bone's.

    matrices: (4, 4) of the mapped bones at rest, with scale, which a pose may have although it is at rest otherwise.
    """
    bones = rig.data.bones
    meshes = list(_meshes(rig))
    whole, hind = {}, {}
    for side in ("left", "right"):
        top, toes = rig_map.bones[f"{side}_ankle"], rig_map.bones.get(f"{side}_foot", "")
        front = _with_children(bones, toes) if toes else set()
        foot = _with_children(bones, top) - front
        ankle, knee = (np.array(bones[rig_map.bones[f"{side}_{joint}"]].head_local) for joint in ("ankle", "knee"))
        reach = _NEAR * float(np.linalg.norm(knee - ankle))
        scaled = matrices[top] @ np.linalg.inv(np.array(bones[top].matrix_local))

        def carried(
            names: set[str],
            ankle: np.ndarray = ankle,
            reach: float = reach,
            scaled: np.ndarray = scaled,
        ) -> np.ndarray:
            parts = [_carried(mesh, _rest_matrix(rig, mesh), names, ankle, reach) for mesh in meshes]
            return np.concatenate([np.zeros((0, 3)), *parts]) @ scaled[:3, :3].T + scaled[:3, 3]

        whole[side], hind[side] = carried(foot | front), carried(foot)
    return whole, hind


def _with_children(bones: bpy.types.ArmatureBones, name: str) -> set[str]:
    return {name, *(child.name for child in bones[name].children_recursive)}


def _meshes(rig: bpy.types.Object) -> Iterator[bpy.types.Object]:
    for obj in bpy.data.objects:
        if obj.type == "MESH" and (obj.parent == rig or any(_deforms(modifier, rig) for modifier in obj.modifiers)):
            yield obj


def _deforms(modifier: bpy.types.Modifier, rig: bpy.types.Object) -> bool:
    return modifier.type == "ARMATURE" and modifier.object == rig


def _rest_matrix(rig: bpy.types.Object, mesh: bpy.types.Object) -> Matrix:
    """From a mesh's space to armature space while the rig is at rest."""
    if mesh.parent == rig and mesh.parent_type == "BONE" and mesh.parent_bone in rig.data.bones:
        bone = rig.data.bones[mesh.parent_bone]
        end = Matrix.Translation(Vector((0.0, bone.length, 0.0)))
        return bone.matrix_local @ end @ mesh.matrix_parent_inverse @ mesh.matrix_basis
    return rig.matrix_world.inverted_safe() @ mesh.matrix_world


def _carried(mesh: bpy.types.Object, matrix: Matrix, foot: set[str], ankle: np.ndarray, reach: float) -> np.ndarray:
    """The vertices (N, 3) of a mesh that bones of a foot carry, within ``reach`` of the ankle (3,)."""
    points = np.empty((len(mesh.data.vertices), 3), np.float32)
    mesh.data.vertices.foreach_get("co", points.ravel())
    points = points @ np.array(matrix)[:3, :3].T + np.array(matrix)[:3, 3]
    near = np.flatnonzero(np.linalg.norm(points - ankle, axis=1) < reach)
    if mesh.parent_type == "BONE":
        return points[near] if mesh.parent_bone in foot else np.zeros((0, 3))
    groups = {group.index for group in mesh.vertex_groups if group.name in foot}
    deforming = _deforming(mesh)
    carried = [row for row in near if groups and _share(mesh.data.vertices[row], groups, deforming) > _CARRIED]
    return points[carried]


def _deforming(mesh: bpy.types.Object) -> set[int]:
    """The vertex groups of a mesh that are bones: the others, of other modifiers, move nothing."""
    rigs = [modifier.object for modifier in mesh.modifiers if modifier.type == "ARMATURE" and modifier.object]
    names: Mapping[str, object] = {name: None for rig in rigs for name in rig.data.bones.keys()}  # noqa: SIM118 - a collection of Blender yields bones
    return {group.index for group in mesh.vertex_groups if group.name in names}


def _share(vertex: bpy.types.MeshVertex, groups: set[int], deforming: set[int]) -> float:
    """The share of a vertex's weights that is on some groups."""
    weights = {each.group: each.weight for each in vertex.groups if each.group in deforming}
    total = sum(weights.values())
    return sum(weight for group, weight in weights.items() if group in groups) / total if total else 0.0
