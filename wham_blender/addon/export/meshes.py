"""Copies a character's meshes for export: modifiers applied below the rig's deformation, weights and shape keys kept.

Files have a mesh in its rest pose with weights, so all modifiers but the rig's are applied to the rest pose. A mesh
that is not deformed, but follows the rig, gets full weight for the bone that it moves with.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from itertools import product

import bpy
import numpy as np
from mathutils import Matrix
from mathutils.kdtree import KDTree

from ... import quaternions
from ..scene.action import ActionWriter
from .skeleton_copy import SampledSkeleton, exported_parent

_FOLLOWING = 5e-4  # metres: a mesh that moves less relative to a bone follows it; half of what is promised
_TYPES = {"MESH", "CURVE", "SURFACE", "FONT"}  # objects that Blender makes meshes of
_HOLDING = {"CHILD_OF", "COPY_TRANSFORMS"}  # constraints that parent an object, beside ARMATURE
_SHARED = 1e-6  # least weight that counts


@dataclass
class MeshSamples:
    """A mesh of a character, and how it moves over F frames."""

    source: bpy.types.Object
    deformed: bool  # by the rig; else it follows the rig as a whole
    matrices: list[np.ndarray] = field(default_factory=list)  # F times (4, 4), to the world; empty if it is deformed
    values: dict[str, list[float]] = field(
        default_factory=dict
    )  # F values of each shape key; empty if none is animated
    _stand_in: bpy.types.Object | None = None

    def watch(self, scene: bpy.types.Scene) -> None:
        """Put an object without modifiers, fast to evaluate, into the scene for `observe`, if that needs one."""
        keys = getattr(self.source.data, "shape_keys", None)
        if self.deformed and (keys is None or keys.animation_data is None):
            return
        self._stand_in = self.source.copy()
        self._stand_in.modifiers.clear()
        self._stand_in.hide_viewport = False
        scene.collection.objects.link(self._stand_in)
        if keys is not None and keys.animation_data is not None:
            self.values = {block.name: [] for block in keys.key_blocks}

    def observe(self, graph: bpy.types.Depsgraph) -> None:
        """Append the values in the frame that is evaluated."""
        if self._stand_in is None:
            return
        if not self.deformed:
            self.matrices.append(np.array(self._stand_in.evaluated_get(graph).matrix_world))
        if self.values:
            blocks = self._stand_in.data.shape_keys.evaluated_get(graph).key_blocks
            for name, values in self.values.items():
                values.append(0.0 if blocks[name].mute else blocks[name].value)

    def forget(self) -> None:
        """Remove the object that `watch` made."""
        if self._stand_in is not None:
            bpy.data.objects.remove(self._stand_in)
            self._stand_in = None


@dataclass
class AppliedMesh:
    """A mesh with its modifiers applied, in the space of its object."""

    samples: MeshSamples
    mesh: bpy.types.Mesh
    matrix: np.ndarray  # (4, 4) to the space of the rig's object, in the rig's rest pose
    keys: dict[str, np.ndarray]  # coordinates (V, 3) of each shape key but the first
    left_out: list[str]  # names of shape keys that the modifiers made unusable


@dataclass(frozen=True)
class Placed:
    """Where a mesh is in the skeleton's rest pose, and what it follows there."""

    applied: AppliedMesh
    matrix: np.ndarray  # (4, 4) from its object's space to the rest pose, in metres
    bone: str  # that the whole mesh follows; "" if it has weights or stands still


def character_meshes(rig: bpy.types.Object, objects: Iterable[bpy.types.Object]) -> list[MeshSamples]:
    """The meshes among objects that a rig deforms, or that hang from it; neither widgets nor other rigs' meshes."""
    widgets = {bone.custom_shape for bone in rig.pose.bones}
    found = []
    for obj in objects:
        if obj.type not in _TYPES or obj in widgets:
            continue
        rigs = [modifier.object for modifier in obj.modifiers if modifier.type == "ARMATURE" and modifier.object]
        if obj.parent is not None and obj.parent.type == "ARMATURE" and obj.parent_type == "ARMATURE":
            rigs.append(obj.parent)
        if rig in rigs or (not rigs and (_first_armature(obj) == rig or _is_held(obj, rig))):
            found.append(MeshSamples(obj, rig in rigs))
    return found


def _is_held(obj: bpy.types.Object, rig: bpy.types.Object) -> bool:
    """Whether a constraint attaches an object to a rig, as props are put into hands."""
    for constraint in obj.constraints:
        if constraint.type == "ARMATURE":
            targets = [target.target for target in constraint.targets]
        else:
            targets = [constraint.target] if constraint.type in _HOLDING else []
        if rig in targets and not constraint.mute:
            return True
    return False


def _first_armature(obj: bpy.types.Object) -> bpy.types.Object | None:
    """The nearest armature above an object."""
    while obj is not None and obj.type != "ARMATURE":
        obj = obj.parent
    return obj


# --- modifiers -------------------------------------------------------------------------------------------------------


def apply_modifiers(samples: MeshSamples, rig: bpy.types.Object, scene: bpy.types.Scene) -> AppliedMesh | None:
    """Apply a mesh's modifiers but the rig's deformation, for the basis and for each shape key; None without faces.

    The rig must be evaluated in its rest position.
    """
    work = samples.source.copy()
    work.data = samples.source.data.copy()
    scene.collection.objects.link(work)
    work.hide_viewport = work.show_only_shape_key = False
    if work.parent_type == "ARMATURE":
        work.parent_type = "OBJECT"
    for modifier in list(work.modifiers):
        if modifier.type == "ARMATURE" and modifier.object == rig:
            work.modifiers.remove(modifier)
    if any(modifier.type == "NODES" for modifier in work.modifiers):
        work.modifiers.new("Realize", "NODES").node_group = _realize_instances()
    keys = getattr(work.data, "shape_keys", None)
    blocks = list(keys.key_blocks)[1:] if keys is not None and keys.use_relative else []
    if keys is not None and blocks:
        keys.animation_data_clear()
        for block in blocks:
            block.mute, block.slider_max, block.value = False, max(1.0, block.slider_max), 0.0
    layer = scene.view_layers[0]
    layer.update()
    evaluated = work.evaluated_get(layer.depsgraph)
    mesh = bpy.data.meshes.new_from_object(evaluated, preserve_all_data_layers=True, depsgraph=layer.depsgraph)
    _keep_materials(mesh, evaluated)
    matrix = rig.evaluated_get(layer.depsgraph).matrix_world.inverted() @ evaluated.matrix_world
    applied = AppliedMesh(samples, mesh, np.array(matrix), {}, [])
    loops = _loops(mesh)
    for block in blocks:
        block.value = 1.0
        layer.update()
        shape = evaluated.to_mesh()
        if len(shape.vertices) == len(mesh.vertices) and np.array_equal(_loops(shape), loops):
            applied.keys[block.name] = _coordinates(shape)
        else:
            applied.left_out.append(block.name)
        evaluated.to_mesh_clear()
        block.value = 0.0
    data, kind = work.data, work.type
    bpy.data.objects.remove(work)
    getattr(bpy.data, "meshes" if kind == "MESH" else "curves").remove(data)
    return applied if len(mesh.polygons) else None


def _realize_instances() -> bpy.types.NodeTree:
    """Geometry nodes that make the instances of the nodes before them part of the mesh."""
    tree = bpy.data.node_groups.new("Realize", "GeometryNodeTree")
    for direction in ("INPUT", "OUTPUT"):
        tree.interface.new_socket("Geometry", in_out=direction, socket_type="NodeSocketGeometry")
    first, middle, last = (
        tree.nodes.new(kind) for kind in ("NodeGroupInput", "GeometryNodeRealizeInstances", "NodeGroupOutput")
    )
    tree.links.new(first.outputs[0], middle.inputs[0])
    tree.links.new(middle.outputs[0], last.inputs[0])
    return tree


def _keep_materials(mesh: bpy.types.Mesh, evaluated: bpy.types.Object) -> None:
    """Give a mesh the materials of an object's slots, some of which may be the object's own."""
    for number, slot in enumerate(evaluated.material_slots):
        material = slot.material and slot.material.original
        if number < len(mesh.materials):
            mesh.materials[number] = material
        else:
            mesh.materials.append(material)


def _coordinates(mesh: bpy.types.Mesh) -> np.ndarray:
    found = np.empty(3 * len(mesh.vertices), np.float32)
    mesh.vertices.foreach_get("co", found)
    return found.reshape(-1, 3).astype(float)


def _loops(mesh: bpy.types.Mesh) -> np.ndarray:
    """The vertices of the faces' corners, which tell whether two meshes have the same faces."""
    found = np.empty(len(mesh.loops), np.int32)
    mesh.loops.foreach_get("vertex_index", found)
    return found


# --- what follows what -----------------------------------------------------------------------------------------------


def attach(applied: AppliedMesh, rig: bpy.types.Object, skeleton: SampledSkeleton) -> tuple[Placed, SampledSkeleton]:
    """Find what a mesh follows: its weights, the bone that moves as it does, or nothing if it stands still.

    A mesh that moves as no bone does gets a bone, which the skeleton then has.
    """
    if applied.samples.deformed:
        return Placed(applied, skeleton.from_rig() @ applied.matrix, ""), skeleton
    matrices = np.diag([*3 * [skeleton.metres], 1.0]) @ np.array(applied.samples.matrices)
    coordinates = _coordinates(applied.mesh)
    corners = np.array(list(product(*zip(coordinates.min(0), coordinates.max(0), strict=True))))
    corners = np.c_[corners, np.ones(8)]
    points = np.einsum("fij,cj->fci", matrices, corners)[..., :3]
    preferred = _bone_above(applied.samples.source, rig, skeleton.names)
    if not preferred and np.ptp(points, axis=0).max() < _FOLLOWING:
        return Placed(applied, matrices[0], ""), skeleton
    order = sorted(range(len(skeleton.names)), key=lambda bone: skeleton.names[bone] != preferred)
    bone = next((each for each in order if _distance_from(skeleton, each, points) < _FOLLOWING), None)
    if bone is None:
        skeleton = _with_bone(skeleton, applied.samples.source.name, matrices)
        bone = len(skeleton.names) - 1
    posed = _matrix(skeleton.rotations[0, bone], skeleton.heads[0, bone])
    at_rest = _matrix(skeleton.rest_rotations[bone], skeleton.rest_heads[bone])
    return Placed(applied, at_rest @ np.linalg.inv(posed) @ matrices[0], skeleton.names[bone]), skeleton


def _bone_above(obj: bpy.types.Object, rig: bpy.types.Object, exported: Collection[str]) -> str:
    """The exported bone that an object hangs from, "" if there is none."""
    while obj.parent is not None and obj.parent != rig:
        obj = obj.parent
    bone = rig.data.bones.get(obj.parent_bone) if obj.parent is not None and obj.parent_type == "BONE" else None
    if bone is None:
        return ""
    return bone.name if bone.name in exported else exported_parent(bone, exported)


def _distance_from(skeleton: SampledSkeleton, bone: int, points: np.ndarray) -> float:
    """How far points (F, C, 3) move relative to a bone, at most, in metres."""
    inverse = quaternions.inverse(skeleton.rotations[:, None, bone])
    local = quaternions.rotate(inverse, points - skeleton.heads[:, None, bone])
    return float(np.ptp(local, axis=0).max())


def _with_bone(skeleton: SampledSkeleton, name: str, matrices: np.ndarray) -> SampledSkeleton:
    """The skeleton with another bone, the last one, that moves as matrices (F, 4, 4) in metres do."""
    while name in skeleton.names:
        name += "_bone"
    axes = matrices[..., :3, :3] / np.linalg.norm(matrices[..., :3, :3], axis=-2, keepdims=True)
    axes[..., 0] *= np.sign(np.linalg.det(axes))[:, None]
    rotations, heads = quaternions.of_matrices(axes), matrices[..., :3, 3]
    return replace(
        skeleton,
        names=(*skeleton.names, name),
        parents=(*skeleton.parents, skeleton.main_root()),
        lengths=np.append(skeleton.lengths, np.median(skeleton.lengths)),
        rest_heads=np.concatenate([skeleton.rest_heads, heads[:1] - skeleton.metres * skeleton.object_matrix[:3, 3]]),
        rest_rotations=np.concatenate([skeleton.rest_rotations, rotations[:1]]),
        heads=np.concatenate([skeleton.heads, heads[:, None]], 1),
        rotations=np.concatenate([skeleton.rotations, rotations[:, None]], 1),
        deforming=(*skeleton.deforming, True),
    )


def _matrix(rotation: np.ndarray, head: np.ndarray) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = quaternions.to_matrices(rotation)
    matrix[:3, 3] = head
    return matrix


# --- the copy --------------------------------------------------------------------------------------------------------


def build(
    placed: Placed, obj: bpy.types.Object, armature: bpy.types.Object, to_copy: np.ndarray, frames: np.ndarray
) -> None:
    """Give an empty mesh object its mesh, in the rest pose of the copied skeleton, to which it is attached.

    ``to_copy`` (4, 4): from the rest pose in metres to the file's axes and unit; ``frames`` (F,) of the keyframes.
    """
    applied, matrix = placed.applied, to_copy @ placed.matrix
    mesh, samples = applied.mesh, applied.samples
    mesh.transform(Matrix(matrix.tolist()))
    if np.linalg.det(matrix[:3, :3]) < 0:
        mesh.flip_normals()
    obj.parent = armature
    _set_weights(obj, samples, armature, placed.bone)
    if samples.deformed or placed.bone:
        obj.modifiers.new("Armature", "ARMATURE").object = armature
    if not applied.keys:
        return
    source = samples.source.data.shape_keys
    obj.shape_key_add(name=source.reference_key.name, from_mix=False)
    for name, points in applied.keys.items():
        block = obj.shape_key_add(name=name, from_mix=False)
        points = points @ matrix[:3, :3].T + matrix[:3, 3]
        block.data.foreach_set("co", points.astype(np.float32).ravel())
        original = source.key_blocks[name]
        block.slider_min, block.slider_max = original.slider_min, original.slider_max
        values = np.array(samples.values.get(name) or [0.0 if original.mute else original.value])
        block.value = values[0]
    varying = {name: np.array(values) for name, values in samples.values.items() if name in applied.keys}
    varying = {name: values for name, values in varying.items() if np.ptp(values) > 0}
    if varying:
        writer = ActionWriter(mesh.shape_keys, armature.animation_data.action.name, frames)
        for name, values in varying.items():
            writer.write(f'key_blocks["{bpy.utils.escape_identifier(name)}"].value', values[:, None], "Shape Keys")


def _restore_group(obj: bpy.types.Object, name: str) -> None:
    """Make a vertex group of the attribute of its name, to which Blender 4.2 turns it when it realizes instances."""
    attribute = obj.data.attributes.get(name)
    if name in obj.vertex_groups or attribute is None or (attribute.domain, attribute.data_type) != ("POINT", "FLOAT"):
        return
    weights = [each.value for each in attribute.data]
    obj.data.attributes.remove(attribute)
    group = obj.vertex_groups.new(name=name)
    for vertex, weight in enumerate(weights):
        if weight > 0:
            group.add([vertex], weight, "REPLACE")


def _set_weights(obj: bpy.types.Object, samples: MeshSamples, armature: bpy.types.Object, bone: str) -> None:
    """Keep the weights of exported bones, or give all vertices full weight for one bone."""
    if not samples.deformed:
        obj.vertex_groups.clear()
        if bone:
            obj.vertex_groups.new(name=bone).add(range(len(obj.data.vertices)), 1.0, "REPLACE")
        return
    for group in samples.source.vertex_groups:
        _restore_group(obj, group.name)
    deforming = {each.name for each in armature.data.bones if each.use_deform}
    for group in list(obj.vertex_groups):
        if group.name not in deforming:
            obj.vertex_groups.remove(group)
    if not any(modifier.type == "NODES" for modifier in samples.source.modifiers):
        return
    # Nodes after the rig's deformation may add vertices without weights, which move with the surface that they are on.
    weights = [{each.group: each.weight for each in vertex.groups} for vertex in obj.data.vertices]
    bare = [vertex for vertex, each in enumerate(weights) if sum(each.values()) < _SHARED]
    if not bare or len(bare) == len(weights):
        return
    tree = KDTree(len(weights) - len(bare))
    for vertex in set(range(len(weights))) - set(bare):
        tree.insert(obj.data.vertices[vertex].co, vertex)
    tree.balance()
    for vertex in bare:
        for group, weight in weights[tree.find(obj.data.vertices[vertex].co)[1]].items():
            obj.vertex_groups[group].add([vertex], weight, "REPLACE")
