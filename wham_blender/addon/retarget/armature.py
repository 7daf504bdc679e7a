"""Reads a Blender armature object, its rest pose and its skin, for guessing a rig map."""

from __future__ import annotations

import bpy
import numpy as np

from .body_frame import Skeleton
from .maps import IK_INFLUENCE, LIMBS, RigMap, Setting
from .rig_probe import ik_constraints

_SAMPLED_VERTICES = 20_000  # of each mesh that tell which bones deform it; more take longer than a click may


def rest_skeleton(armature: bpy.types.Object, *, skin: bool = True) -> Skeleton:
    """An armature's rest pose in armature space, the world's up there, and with ``skin`` what the bones deform."""
    bones = list(armature.data.bones)
    indices = {bone.name: index for index, bone in enumerate(bones)}

    def points(attribute: str) -> np.ndarray:
        return np.array([getattr(bone, attribute) for bone in bones]).reshape(-1, 3)

    linear = np.array(armature.matrix_world)[:3, :3]
    up = linear.T @ [0.0, 0.0, 1.0]
    size = np.linalg.norm(up)
    weights, centers = _deformed(armature, indices) if skin else (None, None)
    deforming = np.array([bone.use_deform for bone in bones])
    if weights is None and len(bones) and deforming.any() and not deforming.all():
        weights = deforming.astype(float)
    poses = [armature.pose.bones[bone.name] for bone in bones]
    posed, posed_tails = (np.array([getattr(pose, end) for pose in poses]).reshape(-1, 3) for end in ("head", "tail"))
    return Skeleton(
        names=tuple(indices),
        parents=tuple(indices[bone.parent.name] if bone.parent else -1 for bone in bones),
        heads=points("head_local"),
        tails=points("tail_local"),
        weights=weights,
        centers=centers,
        up=up / size if np.isfinite(size) and size > 0 else np.array([0.0, 0.0, 1.0]),
        posed=posed if np.isfinite(posed).all() else None,
        posed_tails=posed_tails if np.isfinite(posed_tails).all() else None,
    )


def ik_settings(armature: bpy.types.Object, rig_map: RigMap) -> tuple[Setting, ...]:
    """The settings that switch off the IK constraints on limbs, which would hold the bones that a map keys.

    Also those of another layer of bones at the same place, whose rotation the limbs may get added.
    """
    bones, size = armature.data.bones, max(*armature.dimensions, 1e-9)
    scale = max(map(abs, armature.matrix_world.to_scale()))
    places = [
        bones[rig_map.bones[joint]].head_local for limb in LIMBS.values() for joint in limb if joint in rig_map.bones
    ]
    found = []
    for pose in armature.pose.bones:
        if not any(constraint.influence > 0 and not constraint.mute for constraint in ik_constraints(pose)):
            continue
        count = max(constraint.chain_count for constraint in ik_constraints(pose))
        chain = [pose, *pose.parent_recursive][: count or None]
        near = 1e-3 * size / max(scale, 1e-9)
        if any((each.bone.head_local - place).length < near for each in chain for place in places):
            found.append(Setting(pose.name, IK_INFLUENCE, 0.0))
    return tuple(found)


def deformed_vertices(armature: bpy.types.Object) -> dict[str, float] | None:
    """How many vertices each bone deforms, by weight; None if the rig has no skin."""
    names = armature.data.bones.keys()
    weights, _ = _deformed(armature, {name: index for index, name in enumerate(names)})
    return None if weights is None else dict(zip(names, weights.tolist(), strict=True))


def _deformed(armature: bpy.types.Object, indices: dict[str, int]) -> tuple[np.ndarray | None, np.ndarray | None]:
    """How many vertices each bone deforms (N,), by weight, and their mean (N, 3) in armature space; else None."""
    weights, sums = np.zeros(len(indices)), np.zeros((len(indices), 3))
    for thing in armature.id_data.users_scene[0].objects if armature.users_scene else ():
        if thing.type != "MESH":
            continue
        if thing.parent == armature and thing.parent_type == "BONE" and thing.parent_bone in indices:
            place = rest_matrix(thing, armature)
            bone = indices[thing.parent_bone]
            corners = np.array(thing.bound_box) @ place[:3, :3].T + place[:3, 3]
            weights[bone] += len(thing.data.vertices)
            sums[bone] += len(thing.data.vertices) * corners.mean(0)
        elif is_skin(thing, armature):
            _add_skin(thing, rest_matrix(thing, armature), indices, weights, sums)
    if not weights.any():
        return None, None
    with np.errstate(invalid="ignore"):
        return weights, sums / np.where(weights > 0, weights, np.nan)[:, None]


def is_skin(mesh: bpy.types.Object, armature: bpy.types.Object) -> bool:
    """Whether an Armature modifier of a mesh deforms it with the bones of an armature."""
    return any(modifier.type == "ARMATURE" and modifier.object == armature for modifier in mesh.modifiers)


def deforming_bones(mesh: bpy.types.Object) -> set[str]:
    """The bones of a mesh's Armature modifiers. Vertex groups without such a bone deform nothing."""
    rigs = [modifier.object for modifier in mesh.modifiers if modifier.type == "ARMATURE" and modifier.object]
    return {bone.name for rig in rigs for bone in rig.data.bones}


def rest_matrix(mesh: bpy.types.Object, armature: bpy.types.Object) -> np.ndarray:
    """The matrix (4, 4) from the space of a mesh to armature space, with the bone at rest that may be its parent."""
    matrix = armature.matrix_world.inverted_safe() @ mesh.matrix_world
    if mesh.parent == armature and mesh.parent_type == "BONE" and mesh.parent_bone in armature.data.bones:
        pose = armature.pose.bones[mesh.parent_bone]
        matrix = pose.bone.matrix_local @ pose.matrix.inverted_safe() @ matrix
    return np.array(matrix)


def _add_skin(
    thing: bpy.types.Object, place: np.ndarray, indices: dict[str, int], weights: np.ndarray, sums: np.ndarray
) -> None:
    """Add a mesh's vertices to the weights and to the weighted sums of their positions."""
    groups = {group.index: indices[group.name] for group in thing.vertex_groups if group.name in indices}
    vertices = thing.data.vertices
    for number in range(0, len(vertices), -(-len(vertices) // _SAMPLED_VERTICES) or 1):
        vertex = vertices[number]
        at = place[:3, :3] @ vertex.co + place[:3, 3]
        for element in vertex.groups:
            bone = groups.get(element.group)
            if bone is not None and element.weight > 0:
                weights[bone] += element.weight
                sums[bone] += element.weight * at
