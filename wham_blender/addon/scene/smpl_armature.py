"""Builds a character: an armature with SMPL's 24 joints and fingers as bones, and the body mesh skinned to it."""

from __future__ import annotations

import bpy
import numpy as np
from mathutils import Vector

from ...fingers import flexion_axes, proportional
from ...motion import Motion
from ...skeleton import ALL_JOINT_NAMES, HAND_JOINT_NAMES, HAND_PARENTS, JOINT_NAMES, PARENTS
from .body_mesh import Body, Hands

# SMPL's rest pose (y up, facing z) to Blender's (z up, facing -y).
BODY_TO_BLENDER = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])

# The joint at a bone's tail: the first child, but spine1 for the pelvis ...
_TAIL_JOINT = {parent: child for child, parent in reversed(list(enumerate(PARENTS)))} | {0: JOINT_NAMES.index("spine1")}
# ... and for the last bone of a chain the offset of its tail: metres, SMPL's axes, set by hand.
_TAIL_OFFSET = {
    "head": (0.0, 0.18, 0.02), "left_foot": (0.0, 0.0, 0.07), "right_foot": (0.0, 0.0, 0.07),
    "left_hand": (0.08, 0.0, 0.0), "right_hand": (-0.08, 0.0, 0.0),
}  # fmt: skip
# Default offsets of the foot points from their joints, in the order of FOOT_POINTS: metres, SMPL's axes, set by hand.
_DEFAULT_FOOT_POINTS = tuple(
    (f"{side}_{joint}", offset)
    for side in ("left", "right")
    for joint, offset in (("foot", (0.0, -0.03, 0.07)), ("ankle", (0.0, -0.08, -0.05)))
)
# Colours of Blender's theme: the sides as those of the planted feet in the viewport and the timeline.
_PALETTES = {"left": "THEME04", "right": "THEME02", "": "THEME09"}
_MANNEQUIN = "Mannequin"  # the body's material: plain, so that it is nobody in particular
_MANNEQUIN_COLOR, _MANNEQUIN_ROUGHNESS = (0.55, 0.56, 0.58, 1.0), 0.6
_MIN_BONE_LENGTH = 0.01  # metres; Blender removes bones of zero length
_MIN_SKIN_WEIGHT = 1e-4  # smaller skinning weights are dropped
_SLIDER_LIMIT = 5.0  # of a shape key's value; Blender's limit is 10


def hands_of(motion: Motion, body: Body | None) -> Hands:
    """A body's fingers, by proportion if it has none."""
    if body is not None and body.hands is not None:
        return body.hands
    return Hands(*proportional(motion.rest_joints.astype(float)), None)


def build(
    name: str, motion: Motion, body: Body | None, collection: bpy.types.Collection, hands: Hands | None = None
) -> bpy.types.Object:
    """An armature object in its rest pose, pelvis above the origin and lowest point at z = 0, with its skinned mesh.

    hands: the finger bones that it gets, and that the mesh is skinned to.
    Pose correctives (SMPL's ``posedirs``) are left out: Blender's armature modifier is plain linear blend skinning.
    """
    rest = motion.rest_joints.astype(float)
    lowest = (rest if body is None else body.vertices)[:, 1].min()
    origin = np.array([rest[0, 0], lowest, rest[0, 2]])
    armature = _build_armature(name, rest - origin, collection)
    if hands is not None:
        _add_fingers(armature, hands.joints - origin, hands.tips - origin)
    _sort_bones(armature)
    feet = _default_foot_points(rest) if body is None or body.feet is None else body.feet
    armature.wham_motion.feet = ((feet - origin) @ BODY_TO_BLENDER.T).ravel()
    if body is not None:
        _build_mesh(f"{name} body", body, _skin_weights(body, hands), origin, armature)
    armature.wham_motion.height = np.ptp((rest if body is None else body.vertices)[:, 1])
    return armature


def _default_foot_points(rest: np.ndarray) -> np.ndarray:
    """Approximate toes and heels (4, 3) on the sole for joints (24, 3) at rest."""
    return np.array([rest[JOINT_NAMES.index(joint)] + offset for joint, offset in _DEFAULT_FOOT_POINTS])


def _build_armature(name: str, rest: np.ndarray, collection: bpy.types.Collection) -> bpy.types.Object:
    armature = bpy.data.objects.new(name, bpy.data.armatures.new(name))
    armature.show_in_front = True
    armature.data.display_type = "STICK"
    collection.objects.link(armature)
    bpy.context.view_layer.objects.active = armature
    bpy.ops.object.mode_set(mode="EDIT")
    bones = armature.data.edit_bones
    for joint, joint_name in enumerate(JOINT_NAMES):
        bone = bones.new(joint_name)
        bone.head = BODY_TO_BLENDER @ rest[joint]
        along = rest[_TAIL_JOINT[joint]] - rest[joint] if joint in _TAIL_JOINT else np.array(_TAIL_OFFSET[joint_name])
        if np.linalg.norm(along) < _MIN_BONE_LENGTH:
            along = np.array([0.0, _MIN_BONE_LENGTH, 0.0])
        bone.tail = bone.head + Vector(BODY_TO_BLENDER @ along)
        # Roll: the z axis of vertical bones points to the front, of horizontal ones up, on both sides of the body.
        vertical = abs(along[1]) > 0.7 * np.linalg.norm(along)
        bone.align_roll((0.0, -1.0, 0.0) if vertical else (0.0, 0.0, 1.0))
        if joint:
            bone.parent = bones[JOINT_NAMES[PARENTS[joint]]]
    bpy.ops.object.mode_set(mode="OBJECT")
    _set_channels(armature)
    return armature


def _set_channels(armature: bpy.types.Object) -> None:
    for bone in armature.pose.bones:
        bone.rotation_mode = "QUATERNION"
        bone.lock_location = [bone.parent is not None] * 3


def _add_fingers(armature: bpy.types.Object, joints: np.ndarray, tips: np.ndarray) -> None:
    """Add bones for finger joints (30, 3) with tips (10, 3), SMPL's axes; their local -x axes bend them to the palm."""
    bpy.ops.object.mode_set(mode="EDIT")
    bones = armature.data.edit_bones
    axes = flexion_axes(joints, tips)
    for row, name in enumerate(HAND_JOINT_NAMES):
        along = (joints[row + 1] if row % 3 < 2 else tips[row // 3]) - joints[row]
        bone = bones.new(name)
        bone.head = BODY_TO_BLENDER @ joints[row]
        bone.tail = bone.head + Vector(BODY_TO_BLENDER @ along)
        bone.align_roll(Vector(BODY_TO_BLENDER @ np.cross(along, axes[row])))
        bone.parent = bones[ALL_JOINT_NAMES[HAND_PARENTS[row]]]
    bpy.ops.object.mode_set(mode="OBJECT")
    _set_channels(armature)


def _sort_bones(armature: bpy.types.Object) -> None:
    """Put the bones into collections by side, fingers into their own, and give each side its colour."""
    collections = {title: armature.data.collections.new(title) for title in ("Center", "Left", "Right")}
    if any(name in armature.data.bones for name in HAND_JOINT_NAMES):
        collections["Fingers"] = armature.data.collections.new("Fingers")
    for bone in armature.data.bones:
        side = next((side for side in ("left", "right") if bone.name.startswith(side)), "")
        collections["Fingers" if bone.name in HAND_JOINT_NAMES else side.capitalize() or "Center"].assign(bone)
        bone.color.palette = _PALETTES[side]


def _mannequin() -> bpy.types.Material:
    """The material of all bodies; a new one if the file has none, or another one of its name."""
    for material in bpy.data.materials:
        if material.get("wham_mannequin") and not material.library:
            return material
    material = bpy.data.materials.new(_MANNEQUIN)
    material["wham_mannequin"] = True
    material.diffuse_color, material.roughness = _MANNEQUIN_COLOR, _MANNEQUIN_ROUGHNESS
    if material.node_tree is None:  # before Blender 5
        material.use_nodes = True
    shader = next(node for node in material.node_tree.nodes if node.type == "BSDF_PRINCIPLED")
    shader.inputs["Base Color"].default_value = _MANNEQUIN_COLOR
    shader.inputs["Roughness"].default_value = _MANNEQUIN_ROUGHNESS
    return material


def _skin_weights(body: Body, hands: Hands | None) -> np.ndarray:
    """Skinning weights (V, 24), or with fingers (V, 54)."""
    if hands is None or hands.weights is None:
        return body.weights
    weights = np.hstack([body.weights, hands.weights])
    weights[:, [JOINT_NAMES.index("left_hand"), JOINT_NAMES.index("right_hand")]] = 0
    return weights


def _build_mesh(name: str, body: Body, weights: np.ndarray, origin: np.ndarray, armature: bpy.types.Object) -> None:
    mesh = bpy.data.meshes.new(name)
    vertices = (body.vertices - origin) @ BODY_TO_BLENDER.T
    shapes = None if body.shapes is None else np.einsum("ab,vbk->kva", BODY_TO_BLENDER, body.shapes)
    if shapes is not None:  # the mesh is the mean body; its shape keys add the person's shape
        vertices = vertices - np.einsum("k,kva->va", body.betas[: len(shapes)], shapes)
    _set_triangles(mesh, vertices, body.faces)
    mesh.shade_smooth()
    mesh.materials.append(_mannequin())
    skin = bpy.data.objects.new(name, mesh)
    for collection in armature.users_collection:
        collection.objects.link(skin)
    skin.parent = armature
    skin.modifiers.new("Armature", "ARMATURE").object = armature
    for joint, column in enumerate(weights.T):
        group = skin.vertex_groups.new(name=ALL_JOINT_NAMES[joint])
        group.add(np.flatnonzero(column == 1.0).tolist(), 1.0, "REPLACE")  # most vertices, in one call
        shared = np.flatnonzero((column > _MIN_SKIN_WEIGHT) & (column != 1.0))
        for vertex, weight in zip(shared.tolist(), column[shared].tolist(), strict=True):
            group.add([vertex], weight, "REPLACE")
    if shapes is not None:
        _add_shape_keys(skin, vertices, shapes, body.betas)


def _set_triangles(mesh: bpy.types.Mesh, vertices: np.ndarray, faces: np.ndarray) -> None:
    """Make a mesh of vertices (V, 3) and triangles (T, 3), as from_pydata does in three times as long."""
    mesh.vertices.add(len(vertices))
    mesh.vertices.foreach_set("co", vertices.astype(np.float32).ravel())
    mesh.loops.add(faces.size)
    mesh.loops.foreach_set("vertex_index", faces.astype(np.int32).ravel())
    mesh.polygons.add(len(faces))
    mesh.polygons.foreach_set("loop_start", np.arange(0, faces.size, 3, dtype=np.int32))
    mesh.update(calc_edges=True)


def _add_shape_keys(skin: bpy.types.Object, vertices: np.ndarray, shapes: np.ndarray, betas: np.ndarray) -> None:
    """Add SMPL's shape directions (K, V, 3) as shape keys with the betas as values; they do not move the bones."""
    skin.shape_key_add(name="Basis", from_mix=False)
    for number, (shape, beta) in enumerate(zip(shapes, betas, strict=False)):
        key = skin.shape_key_add(name=f"Shape{number:03}", from_mix=False)
        key.data.foreach_set("co", (vertices + shape).astype(np.float32).ravel())
        key.slider_min, key.slider_max = min(-_SLIDER_LIMIT, beta), max(_SLIDER_LIMIT, beta)
        key.value = beta
