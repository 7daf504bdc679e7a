"""A character's motion for other programs: a clean copy of its skeleton, through Blender's exporters.

What rigs have beside the bones that deform (controls, constraints, scaled objects) makes exported files arrive
turned, a hundred times too large or without a root. So the deforming bones are copied, with the transforms of the
object applied and one key a frame, into a scene of their own, in the units and axes that the receiver has itself: no
node of the file is scaled or turned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import bpy
import numpy as np
from mathutils import Matrix

from ... import quaternions
from ..retarget import rig_map_state, root
from ..scene import character
from ..scene.action import ActionWriter
from .skeleton_copy import Sampled, exported_parent, sample

ARMATURE = "Armature"  # a name by which Unreal knows that the node is Blender's armature and no bone
_ROOT = "root"  # what games call the bone that carries the body
_STILL = 1e-4  # metres: a root bone that moves less stays where it is
_RIGID = 1e-5  # metres: a bone whose head moves less against its parent gets no location keys
_Y_UP = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])  # from z up to y up


class ExportError(Exception):
    """A motion cannot be exported; the text is a sentence for the animator."""


@dataclass(frozen=True)
class Preset:
    """What a receiver wants."""

    label: str
    description: str
    suffix: str
    unit: float  # how many of the file's units are a metre
    y_up: bool  # whether the copy is turned to y up and its object back, so that the exporter's own turn leaves none
    meshes: bool  # whether the format takes them
    exporter: str  # the operator
    write: Callable[[str, Copy], set[str]]


@dataclass(frozen=True)
class Copy:
    """What is exported, in a scene of its own."""

    scene: bpy.types.Scene
    armature: bpy.types.Object
    rigid: bool  # no bone but those without a parent moves against its parent's


@dataclass(frozen=True)
class Exported:
    """What a file holds."""

    frames: tuple[int, int]  # first and last scene frame
    rate: float  # frames a second
    bones: int
    meshes: int


def export(
    context: bpy.types.Context, rig: bpy.types.Object, path: Path, preset: Preset, root_motion: bool, meshes: bool
) -> Exported:
    """Write a rig's motion, with the meshes that it deforms or carries on bones, to a file.

    ``root_motion``: on a root bone, which is made where there is none; else on the hips. Raises ExportError.
    """
    if not _has_operator(preset.exporter):
        raise ExportError(
            f"Blender's exporter for {preset.suffix} files is switched off. Enable its add-on in the preferences."
        )
    first, last = _range(rig)
    scene = context.scene
    rate = scene.render.fps / scene.render.fps_base
    skins = _skins(rig, context) if meshes and preset.meshes else []
    with _own_scene(context, rig) as made:
        known = _known_bones(rig)
        sampled = sample(rig, made, range(first, last + 1), known.get("root", ""))
        sampled = _with_root(known, sampled, root_motion, rate)
        made.frame_start, made.frame_end = first, last
        copy = _copy(context, made, rig, sampled, skins, preset, np.arange(first, last + 1, dtype=float))
        with context.temp_override(scene=made, view_layer=made.view_layers[0], **_active(copy.armature)):
            try:
                done = preset.write(str(path), copy)
            except RuntimeError as error:
                raise ExportError(
                    f"{path} could not be written: {str(error).removeprefix('Error: ').strip()}"
                ) from error
    if done != {"FINISHED"} or not path.is_file():
        raise ExportError(f"{path} was not written. Choose a folder that you may write to.")
    return Exported((first, last), rate, len(sampled.names), len(skins))


# --- what is exported ------------------------------------------------------------------------------------------------


def _range(rig: bpy.types.Object) -> tuple[int, int]:
    """First and last scene frame of a rig's action and strips; raises ExportError where it has none."""
    animation = rig.animation_data
    ends: list[tuple[float, float]] = []
    if animation is not None:
        if animation.action is not None:
            ends.append(tuple(animation.action.frame_range))
        strips = [strip for track in animation.nla_tracks if not track.mute for strip in track.strips if not strip.mute]
        ends += [(strip.frame_start, strip.frame_end) for strip in strips]
    if not ends:
        raise ExportError(f"{rig.name} has no animation. Bake a motion onto it first.")
    return int(np.floor(min(start for start, _ in ends) + 1e-3)), int(np.ceil(max(end for _, end in ends) - 1e-3))


def _known_bones(rig: bpy.types.Object) -> dict[str, str]:
    """The bones of a rig that play "pelvis" and "root", as far as that is known."""
    if character.is_character(rig):
        return {"pelvis": "pelvis"}
    rig_map = rig_map_state.chosen_map(rig)
    return {} if rig_map is None else {"pelvis": rig_map.bones["pelvis"], "root": rig_map.root}


def _skins(rig: bpy.types.Object, context: bpy.types.Context) -> list[bpy.types.Object]:
    """The meshes of the scene that a rig deforms, or that are parented to one of its bones."""
    return [
        thing for thing in context.scene.objects if thing.type == "MESH" and (_deforms(rig, thing) or _bone(rig, thing))
    ]


def _deforms(rig: bpy.types.Object, mesh: bpy.types.Object) -> bool:
    return any(modifier.type == "ARMATURE" and modifier.object == rig for modifier in mesh.modifiers)


def _bone(rig: bpy.types.Object, mesh: bpy.types.Object) -> bpy.types.Bone | None:
    """The bone that a mesh is parented to."""
    on_bone = mesh.parent == rig and mesh.parent_type == "BONE"
    return rig.data.bones.get(mesh.parent_bone) if on_bone else None


def _with_root(known: dict[str, str], sampled: Sampled, root_motion: bool, rate: float) -> Sampled:
    """The skeleton with its way over the ground on a root bone, or with a root that stays where it is."""
    name = known.get("root", "")
    if name not in sampled.names:
        if not root_motion:
            return sampled
        name = _ROOT if _ROOT not in sampled.names else f"{_ROOT}_motion"
        sampled = sampled.with_root(name)
    place = sampled.names.index(name)
    turns, heads = sampled.turns.copy(), sampled.heads.copy()
    moves = np.ptp(heads[:, place], axis=0).max() > _STILL
    rest_turn, rest_head = sampled.rest_turns[place], sampled.rest_heads[place]
    if not root_motion:
        turns[:, place], heads[:, place] = rest_turn, rest_head
    elif not moves:
        pelvis = sampled.names.index(known["pelvis"]) if known.get("pelvis") in sampled.names else sampled.highest()
        turned = quaternions.multiply(turns[:, pelvis], quaternions.inverse(sampled.rest_turns[pelvis]))
        floor, yaw = root.over_ground(heads[:, pelvis], turned, rate)
        floor[:, 2] = rest_head[2]
        beside = (rest_head - sampled.rest_heads[pelvis]) * [1.0, 1.0, 0.0]
        turns[:, place] = quaternions.multiply(yaw, rest_turn)
        heads[:, place] = floor + quaternions.rotate(yaw, beside)
    parents = tuple(place if above < 0 and one != place else above for one, above in enumerate(sampled.parents))
    return sampled.moved(parents, turns, heads)


# --- the copy --------------------------------------------------------------------------------------------------------


@contextmanager
def _own_scene(context: bpy.types.Context, rig: bpy.types.Object) -> Iterator[bpy.types.Scene]:
    """A scene that holds the rig alone, at first; with all that is put into it, it is gone in the end.

    Objects in it may take names that others have, who get them back.
    """
    names = {thing: thing.name for thing in bpy.data.objects if thing.library is None}
    scene = bpy.data.scenes.new(_name(rig))
    render, settings = scene.render, context.scene.render
    render.fps, render.fps_base = settings.fps, settings.fps_base
    try:
        scene.collection.objects.link(rig)
        yield scene
    finally:
        if rig.name in scene.collection.objects:
            scene.collection.objects.unlink(rig)
        gone: list[bpy.types.ID] = list(scene.collection.objects)
        gone += {thing.data for thing in scene.collection.objects}
        gone += {thing.animation_data.action for thing in scene.collection.objects if thing.animation_data}
        bpy.data.batch_remove([each for each in gone if each is not None])
        for thing, name in names.items():
            if thing.name != name:
                thing.name = name
        bpy.data.scenes.remove(scene)


def _name(rig: bpy.types.Object) -> str:
    """What the motion is called: exporters call it by the scene."""
    animation = rig.animation_data
    if animation.action is not None:
        return animation.action.name
    return next((strip.name for track in reversed(animation.nla_tracks) for strip in track.strips), rig.name)


def _copy(
    context: bpy.types.Context,
    scene: bpy.types.Scene,
    rig: bpy.types.Object,
    sampled: Sampled,
    skins: list[bpy.types.Object],
    preset: Preset,
    frames: np.ndarray,
) -> Copy:
    """Build and key the skeleton, with copies of the meshes on it, as a preset wants it."""
    scene.collection.objects.unlink(rig)
    scene.unit_settings.scale_length = 1 / preset.unit
    axes = _Y_UP if preset.y_up else np.eye(3)
    sampled = sampled.in_axes(axes, preset.unit)
    armature = bpy.data.objects.new(ARMATURE, bpy.data.armatures.new(ARMATURE))
    _take_name(armature, ARMATURE)
    scene.collection.objects.link(armature)
    with context.temp_override(scene=scene, view_layer=scene.view_layers[0], **_active(armature)):
        bpy.ops.object.mode_set(mode="EDIT")
        bones = armature.data.edit_bones
        for number, name in enumerate(sampled.names):
            bone = bones.new(name)
            bone.length = sampled.lengths[number]
            bone.matrix = sampled.rest_matrix(number)
        for name, above in zip(sampled.names, sampled.parents, strict=True):
            bones[name].parent = bones[sampled.names[above]] if above >= 0 else None
        bpy.ops.object.mode_set(mode="OBJECT")
    armature.matrix_world = Matrix(axes.T.tolist()).to_4x4()
    writer = ActionWriter(armature, scene.name, frames)
    rest = np.array([armature.data.bones[name].matrix_local for name in sampled.names])
    rotations, locations = sampled.keys(rest)
    rigid = True
    for number, name in enumerate(sampled.names):
        armature.pose.bones[name].rotation_mode = "QUATERNION"
        writer.write(f'pose.bones["{bpy.utils.escape_identifier(name)}"].rotation_quaternion', rotations[number], name)
        moving = np.abs(locations[number]).max() > _RIGID * preset.unit
        if sampled.parents[number] < 0 or moving:
            writer.write(f'pose.bones["{bpy.utils.escape_identifier(name)}"].location', locations[number], name)
            rigid &= sampled.parents[number] < 0
    to_copy = Matrix((preset.unit * axes @ np.eye(3)).tolist()).to_4x4() @ Matrix.Translation(-sampled.origin)
    for skin in skins:
        _copy_skin(skin, rig, armature, scene, to_copy, sampled.names)
    scene.view_layers[0].update()
    return Copy(scene, armature, rigid)


def _copy_skin(
    skin: bpy.types.Object,
    rig: bpy.types.Object,
    armature: bpy.types.Object,
    scene: bpy.types.Scene,
    to_copy: Matrix,
    names: Sequence[str],
) -> None:
    """A mesh as it lies at rest, on the copied skeleton; one that hangs from a bone goes whole with it."""
    matrix = skin.matrix_world
    bone = None if _deforms(rig, skin) else _bone(rig, skin)
    if bone is not None:
        on_bone = Matrix.Translation((0, bone.length, 0)) @ skin.matrix_parent_inverse @ skin.matrix_basis
        matrix = rig.matrix_world @ bone.matrix_local @ on_bone
    matrix = to_copy @ matrix
    made = skin.copy()
    made.data = skin.data.copy()
    made.animation_data_clear()
    _take_name(made, skin.name)
    scene.collection.objects.link(made)
    made.data.transform(matrix, shape_keys=True)
    if matrix.determinant() < 0:
        made.data.flip_normals()
    made.parent, made.parent_type = armature, "OBJECT"
    made.matrix_parent_inverse = made.matrix_basis = Matrix()
    made.hide_viewport = made.hide_render = False
    for modifier in made.modifiers:
        if modifier.type == "ARMATURE" and modifier.object == rig:
            modifier.object = armature
    if bone is not None:
        carrier = bone.name if bone.name in names else exported_parent(bone, names)
        made.vertex_groups.clear()
        if carrier:
            made.vertex_groups.new(name=carrier).add(range(len(made.data.vertices)), 1.0, "REPLACE")
        made.modifiers.new("Armature", "ARMATURE").object = armature


def _take_name(made: bpy.types.Object, name: str) -> None:
    """Call an object what another may be called, which is called otherwise for now."""
    other = bpy.data.objects.get((name, None))
    if other is not None and other != made:
        other.name = f"{name} meanwhile"
    made.name = name


def _active(armature: bpy.types.Object) -> dict[str, object]:
    """What an operator needs to find in the context to work on an armature."""
    layer = next(iter(armature.users_scene)).view_layers[0]
    layer.objects.active = armature
    return {"object": armature, "active_object": armature, "selected_objects": [armature]}


# --- presets ---------------------------------------------------------------------------------------------------------


def _has_operator(name: str) -> bool:
    module, _, verb = name.partition(".")
    return verb in dir(getattr(bpy.ops, module))


def _write_fbx(path: str, axis_forward: str, axis_up: str, scale: str) -> set[str]:
    return bpy.ops.export_scene.fbx(
        filepath=path,
        object_types={"ARMATURE", "MESH"},
        axis_forward=axis_forward,
        axis_up=axis_up,
        apply_scale_options=scale,
        mesh_smooth_type="FACE",
        add_leaf_bones=False,
        bake_anim_use_nla_strips=False,
        bake_anim_use_all_actions=False,
        bake_anim_simplify_factor=0.0,
    )


def _write_unreal(path: str, copy: Copy) -> set[str]:
    return _write_fbx(path, "Y", "Z", "FBX_SCALE_NONE")


def _write_unity(path: str, copy: Copy) -> set[str]:
    return _write_fbx(path, "-Z", "Y", "FBX_SCALE_UNITS")


def _write_godot(path: str, copy: Copy) -> set[str]:
    return bpy.ops.export_scene.gltf(
        filepath=path,
        export_format="GLB",
        use_active_scene=True,
        export_animation_mode="ACTIVE_ACTIONS",
        export_anim_single_armature=False,  # else all actions of the file whose bones have these names are mixed in
        export_optimize_animation_size=False,
        export_negative_frame="SLIDE",
    )


def _write_bvh(path: str, copy: Copy) -> set[str]:
    return bpy.ops.export_anim.bvh(
        filepath=path,
        frame_start=copy.scene.frame_start,
        frame_end=copy.scene.frame_end,
        root_transform_only=copy.rigid,
    )


def _write_usd(path: str, copy: Copy) -> set[str]:
    return bpy.ops.wm.usd_export(filepath=path, export_animation=True, export_lights=False, export_cameras=False)


PRESETS = {
    "UNREAL": Preset(
        "Unreal Engine",
        "FBX in centimetres, z up, as Unreal's own skeletons are",
        ".fbx", 100.0, False, True, "export_scene.fbx", _write_unreal,
    ),
    "UNITY": Preset(
        "Unity",
        "FBX in metres, y up, no object turned or scaled",
        ".fbx", 1.0, True, True, "export_scene.fbx", _write_unity,
    ),
    "GODOT": Preset(
        "Godot, glTF",
        "glTF in one file, for Godot and all that read glTF",
        ".glb", 1.0, False, True, "export_scene.gltf", _write_godot,
    ),
    "BVH": Preset(
        "BVH",
        "Skeleton and motion alone, in centimetres, y up, as motion capture tools read it",
        ".bvh", 100.0, True, False, "export_anim.bvh", _write_bvh,
    ),
    "USD": Preset(
        "USD",
        "Universal Scene Description in metres, z up",
        ".usdc", 1.0, False, True, "wm.usd_export", _write_usd,
    ),
}  # fmt: skip
