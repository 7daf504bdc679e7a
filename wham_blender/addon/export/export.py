"""Exports a character's motion: copies its deform bones to a clean skeleton and calls Blender's exporters.

Controls, constraints and object scale of a rig make exported files arrive rotated, a hundred times too large or without
a root. Therefore the deform bones are copied into a temporary scene, with the object's transform applied and a keyframe
at every frame, in the units and axes of the receiving program: no node of the file has a scale or rotation.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import bpy
import numpy as np
from mathutils import Matrix

from ... import quaternions
from ...errors import CodedError
from ..retarget import rig_animation, rig_map_state, root
from ..retarget.transfer import Space
from ..scene import character
from ..scene.action import ActionKeys, ActionWriter
from ..scene.checks import check_numbers
from .meshes import MeshSamples, Placed, apply_modifiers, attach, build, character_meshes
from .skeleton_copy import SampledSkeleton, sample

ARMATURE = "Armature"  # by this name Unreal recognizes the node as Blender's armature and not as a bone
_ROOT = "root"  # the usual name of the root bone in games
_KEPT = (
    "scenes",
    "shape_keys",
    "libraries",
    "screens",
    "window_managers",
    "workspaces",
    "all_ids",
)  # of data, not to be removed
_STATIC_TOLERANCE = 1e-4  # metres: a root bone that moves less is static
_RIGID_TOLERANCE = 1e-5  # metres: a bone whose head moves less relative to its parent gets no location keyframes
_LONGEST_PATH = 300  # characters of a path in a sentence
_LEAST_LENGTH = 1e-5  # of a bone, in file units; Blender deletes bones without length
_MOST_TRANSFORMS = 5_000_000  # bones times frames: 10 hours of SMPL's 24 bones at 6 frames a second; takes 1 GB
_Y_UP = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])  # from z up to y up


class ExportError(CodedError):
    """A motion cannot be exported; the text is a sentence for the animator."""


@dataclass(frozen=True)
class Preset:
    """The file format and conventions of a receiving program."""

    label: str
    description: str
    suffix: str
    unit: float  # file units per metre
    y_up: bool  # the copy is rotated to y up and its object back, which cancels the exporter's own rotation
    meshes: bool  # whether the format has meshes
    exporter: str  # identifier of Blender's export operator
    write: Callable[[str, SkeletonCopy], set[str]]


@dataclass(frozen=True)
class SkeletonCopy:
    """The copied skeleton, in a temporary scene."""

    scene: bpy.types.Scene
    armature: bpy.types.Object
    rigid: bool  # only bones without a parent have location keyframes


@dataclass(frozen=True)
class Exported:
    """Statistics of an exported file."""

    frames: tuple[int, int]  # first and last scene frame
    rate: float  # frames a second
    bones: int
    meshes: int
    left_out: tuple[tuple[str, str], ...]  # names of objects and of their shape keys that could not be kept
    bendy: int  # Bendy Bones, which are straight in the file, and so bend meshes otherwise


def export(
    context: bpy.types.Context, rig: bpy.types.Object, path: Path, preset: Preset, root_motion: bool, meshes: bool
) -> Exported:
    """Write a rig's motion to a file, with the meshes that it deforms or that are parented to its bones.

    ``root_motion``: on a root bone, which is added if there is none; else on the hips. Raises CodedError; then there is
    no new file, and an older one is as it was.
    """
    if not _has_operator(preset.exporter):
        raise ExportError(
            f"Blender's exporter for {preset.suffix} files is switched off. Enable its add-on in the preferences.",
            code="exporter-disabled",
        )
    _check_scale(rig)
    first, last = _range(rig)
    rate = context.scene.render.fps / context.scene.render.fps_base
    found = character_meshes(rig, context.scene.objects) if meshes and preset.meshes else []
    with _replaced(path) as unfinished, _temporary_scene(context, rig) as temporary:
        skeleton, placed = _sampled(rig, temporary, range(first, last + 1), root_motion, found)
        temporary.collection.objects.unlink(rig)
        temporary.frame_start, temporary.frame_end = 0, last - first
        temporary.frame_set(0)
        copy = _copy(context, temporary, skeleton, placed, preset)
        with context.temp_override(scene=temporary, view_layer=temporary.view_layers[0], **_active(copy.armature)):
            try:
                result = preset.write(str(unfinished), copy)
            except Exception as error:  # of an exporter of Blender or of another add-on, with any fault
                raise _not_written(path, _last_line(error)) from error
        if result != {"FINISHED"} or not unfinished.is_file():
            raise _not_written(path, "the exporter made no file")
    left_out = tuple((each.applied.samples.source.name, key) for each in placed for key in each.applied.left_out)
    bendy = [bone for bone in rig.data.bones if bone.use_deform and bone.bbone_segments > 1]
    deformed = any(mesh.deformed for mesh in found)
    return Exported((first, last), rate, len(skeleton.names), len(placed), left_out, len(bendy) * deformed)


# --- the file --------------------------------------------------------------------------------------------------------


@contextmanager
def _replaced(path: Path) -> Iterator[Path]:
    """A file beside ``path`` that replaces it when the block ends without an exception, else it is deleted.

    Raises ExportError if it cannot be written, before the block.
    """
    unfinished = path.with_name(f".{os.getpid()}.part{path.suffix}") if path.name else path
    try:
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISDIR(path.lstat().st_mode):  # which also finds names that are too long
                raise IsADirectoryError(0, "there is a folder of this name")
        unfinished.open("wb").close()
    except (OSError, ValueError) as error:  # ValueError: a null character or a lone surrogate in the path
        raise _not_written(path, getattr(error, "strerror", None) or str(error)) from error
    try:
        unfinished.unlink()
        yield unfinished
        unfinished.replace(path)
    except OSError as error:
        raise _not_written(path, error.strerror or str(error)) from error
    finally:
        with contextlib.suppress(OSError):  # must not hide the block's exception
            unfinished.unlink(missing_ok=True)


def _not_written(path: Path, reason: str) -> ExportError:
    shown = str(path) if len(str(path)) <= _LONGEST_PATH else f"{str(path)[:_LONGEST_PATH]}..."
    return ExportError(
        f"{shown} could not be written: {reason.rstrip('.')}. Choose another name, or a folder that you may write to.",
        code="export-failed",
    )


def _last_line(error: Exception) -> str:
    """What an exporter reported, or the last line of its traceback, which Blender gives with where it caught it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and not line.startswith("Location:")]
    return (lines[-1] if lines else type(error).__name__).removeprefix("Error: ")


# --- what is exported ------------------------------------------------------------------------------------------------


def _range(rig: bpy.types.Object) -> tuple[int, int]:
    """First and last scene frame of a rig's action and NLA strips. Raises ExportError if it has none."""
    ranges = rig_animation.ranges_played(rig)
    if not ranges:
        raise ExportError(f"{rig.name} has no animation. Bake a motion onto it first.", code="no-animation")
    for ends in ranges:
        check_numbers(ends, f"A scene frame of a keyframe or strip of {rig.name}")
    first, last = min(start for start, _ in ranges), max(end for _, end in ranges)
    if (last - first) * len(rig.data.bones) > _MOST_TRANSFORMS:
        raise ExportError(
            f"The animation of {rig.name} goes from frame {first:.0f} to {last:.0f}, which is too long for one file. "
            "Delete the keyframes that lie far outside, or export it in parts.",
            code="export-too-long",
        )
    return int(np.floor(first + 1e-3)), int(np.ceil(last - 1e-3))


def _check_scale(rig: bpy.types.Object) -> None:
    """Raise ExportError if a rig is scaled to nothing."""
    try:
        Space.of_matrix(np.array(rig.matrix_world))
    except ValueError as error:
        raise ExportError(
            f"{rig.name} cannot be exported: {error}. Correct these values in its properties.", code="rig-scale-zero"
        ) from error


def _known_bones(rig: bpy.types.Object) -> dict[str, str]:
    """The names of a rig's "pelvis" and "root" bones, as far as they are known."""
    if character.is_character(rig):
        return {"pelvis": "pelvis"}
    rig_map = rig_map_state.chosen_map(rig)
    return {} if rig_map is None else {"pelvis": rig_map.bones["pelvis"], "root": rig_map.root}


def _sampled(
    rig: bpy.types.Object, scene: bpy.types.Scene, frames: range, root_motion: bool, found: list[MeshSamples]
) -> tuple[SampledSkeleton, list[Placed]]:
    """Sample a rig and its meshes at frames, in a temporary scene that contains the rig."""
    known = _known_bones(rig)
    for mesh in found:
        mesh.watch(scene)
    with _changed(rig.data, pose_position="POSE"):

        def observe(graph: bpy.types.Depsgraph) -> None:
            for mesh in found:
                mesh.observe(graph)

        skeleton = sample(rig, scene, frames, known.get("root", ""), _unit(scene), observe)
    for mesh in found:
        mesh.forget()
    skeleton = _with_root(known, skeleton, root_motion, scene.render.fps / scene.render.fps_base)
    check_numbers(skeleton.heads, f"The location of a bone of {rig.name}")
    placed = []
    scene.frame_set(frames[0])
    with _changed(rig.data, pose_position="REST"):
        for mesh in found:
            applied = apply_modifiers(mesh, rig, scene)
            if applied is not None:
                followed, skeleton = attach(applied, rig, skeleton)
                placed.append(followed)
    return skeleton, placed


def _unit(scene: bpy.types.Scene) -> float:
    """The length of Blender's unit in a scene, in metres."""
    return 1.0 if scene.unit_settings.system == "NONE" else scene.unit_settings.scale_length


@contextmanager
def _changed(block: bpy.types.ID, **values: object) -> Iterator[None]:
    """Set properties for the time of the block; those that have the value already are not touched."""
    before = {name: getattr(block, name) for name, value in values.items() if getattr(block, name) != value}
    try:
        for name in before:
            setattr(block, name, values[name])
        yield
    finally:
        for name, value in before.items():
            setattr(block, name, value)


def _with_root(known: dict[str, str], skeleton: SampledSkeleton, root_motion: bool, rate: float) -> SampledSkeleton:
    """The skeleton with root motion on its root bone, or with a static root."""
    name = known.get("root", "")
    if name not in skeleton.names:
        if not root_motion:
            return skeleton
        name = _ROOT if _ROOT not in skeleton.names else f"{_ROOT}_motion"
        skeleton = skeleton.with_root(name)
    index = skeleton.names.index(name)
    rotations, heads = skeleton.rotations.copy(), skeleton.heads.copy()
    moves = np.ptp(heads[:, index], axis=0).max() > _STATIC_TOLERANCE
    rest_rotation, rest_head = skeleton.rest_rotations[index], skeleton.rest_heads[index]
    if not root_motion:
        rotations[:, index], heads[:, index] = rest_rotation, rest_head
    elif not moves:
        known_pelvis = known.get("pelvis") in skeleton.names
        pelvis = skeleton.names.index(known["pelvis"]) if known_pelvis else skeleton.main_root()
        from_rest = quaternions.multiply(rotations[:, pelvis], quaternions.inverse(skeleton.rest_rotations[pelvis]))
        path, yaw = root.floor_path(heads[:, pelvis], from_rest, rate)
        path[:, 2] = rest_head[2]
        offset = (rest_head - skeleton.rest_heads[pelvis]) * [1.0, 1.0, 0.0]
        rotations[:, index] = quaternions.multiply(yaw, rest_rotation)
        heads[:, index] = path + quaternions.rotate(yaw, offset)
    parents = tuple(index if parent < 0 and bone != index else parent for bone, parent in enumerate(skeleton.parents))
    return skeleton.with_motion(parents, rotations, heads)


# --- the copy --------------------------------------------------------------------------------------------------------


@contextmanager
def _temporary_scene(context: bpy.types.Context, rig: bpy.types.Object) -> Iterator[bpy.types.Scene]:
    """A scene with only the rig; all that is added to the file meanwhile, by an exporter too, is removed at the end.

    Objects that were renamed because an added object took their name get it back.
    """
    names = {obj: obj.name for obj in bpy.data.objects if obj.library is None}
    before = {block for blocks in _all_data() for block in blocks}
    shown = {window: window.scene for window in context.window_manager.windows}
    places = _Places(context.scene.objects)
    scene = bpy.data.scenes.new(_name(rig))
    render, settings = scene.render, context.scene.render
    render.fps, render.fps_base = settings.fps, settings.fps_base
    scene.unit_settings.system = context.scene.unit_settings.system
    scene.unit_settings.scale_length = context.scene.unit_settings.scale_length
    try:
        with _changed(rig, hide_viewport=False):  # Blender does not evaluate hidden objects
            scene.collection.objects.link(rig)
            yield scene
    finally:
        if rig.name in scene.collection.objects:
            scene.collection.objects.unlink(rig)
        for window, shown_scene in shown.items():  # Blender's glTF exporter shows the scene that it exports
            if window.scene != shown_scene:
                window.scene = shown_scene
                places.restore()  # Blender has evaluated the animation, over what was moved but not keyed
        rig.update_tag()  # else it keeps the pose of the last sampled frame until the frame changes
        bpy.data.batch_remove([block for blocks in _all_data() for block in blocks if block not in before])
        for obj, name in names.items():
            if obj.name != name:
                obj.name = name
        bpy.data.scenes.remove(scene)


class _Places:
    """Where animated objects and their bones are, keyed or not."""

    _SIZES: ClassVar = {
        "location": 3,
        "rotation_quaternion": 4,
        "rotation_axis_angle": 4,
        "rotation_euler": 3,
        "scale": 3,
    }

    def __init__(self, objects: Iterable[bpy.types.Object]) -> None:
        self._objects, self._bones = [], []
        for obj in objects:
            if obj.animation_data is None:
                continue
            self._objects.append((obj, {name: tuple(getattr(obj, name)) for name in self._SIZES}))
            if obj.pose is not None:
                values = {name: np.empty(size * len(obj.pose.bones), np.float32) for name, size in self._SIZES.items()}
                for name, array in values.items():
                    obj.pose.bones.foreach_get(name, array)
                self._bones.append((obj, values))

    def restore(self) -> None:
        """Put all where it was."""
        for obj, places in self._objects:
            for name, value in places.items():
                if tuple(getattr(obj, name)) != value:
                    setattr(obj, name, value)
        for obj, arrays in self._bones:
            for name, array in arrays.items():
                obj.pose.bones.foreach_set(name, array)
            obj.update_tag()


def _all_data() -> list[bpy.types.bpy_prop_collection]:
    """All data of the file but what goes with other data (scenes are removed last, shape keys with their meshes)."""
    kinds = [prop.identifier for prop in bpy.data.bl_rna.properties if prop.type == "COLLECTION"]
    return [getattr(bpy.data, kind) for kind in kinds if kind not in _KEPT]


def _name(rig: bpy.types.Object) -> str:
    """The name of the motion: exporters use the scene's name."""
    animation = rig.animation_data
    if animation.action is not None:
        return animation.action.name
    return next((strip.name for track in reversed(animation.nla_tracks) for strip in track.strips), rig.name)


def _copy(
    context: bpy.types.Context,
    scene: bpy.types.Scene,
    skeleton: SampledSkeleton,
    placed: list[Placed],
    preset: Preset,
) -> SkeletonCopy:
    """Build and key a copy of the skeleton and its meshes in the scene, in a preset's units and axes."""
    scene.unit_settings.system, scene.unit_settings.scale_length = "METRIC", 1 / preset.unit
    axes = _Y_UP if preset.y_up else np.eye(3)
    skeleton = skeleton.in_axes(axes, preset.unit)
    moving = skeleton.moving(_RIGID_TOLERANCE * preset.unit)
    skeleton = skeleton.unconnected(moving)
    armature = bpy.data.objects.new(ARMATURE, bpy.data.armatures.new(ARMATURE))
    _take_name(armature, ARMATURE)
    scene.collection.objects.link(armature)
    with context.temp_override(scene=scene, view_layer=scene.view_layers[0], **_active(armature)):
        bpy.ops.object.mode_set(mode="EDIT")
        bones = armature.data.edit_bones
        for number, name in enumerate(skeleton.names):
            bone = bones.new(name)
            bone.length = max(skeleton.lengths[number], _LEAST_LENGTH)
            bone.matrix = skeleton.rest_matrix(number)
            bone.use_deform = skeleton.deforming[number]
        for name, parent in zip(skeleton.names, skeleton.parents, strict=True):
            bones[name].parent = bones[skeleton.names[parent]] if parent >= 0 else None
        bpy.ops.object.mode_set(mode="OBJECT")
    armature.matrix_world = Matrix(axes.T.tolist()).to_4x4()
    frames = np.arange(scene.frame_start, scene.frame_end + 1, dtype=float)
    writer = ActionWriter(armature, scene.name, frames)
    rest = np.array([armature.data.bones[name].matrix_local for name in skeleton.names])
    rotations, locations = skeleton.keys(rest)
    for number, name in enumerate(skeleton.names):
        armature.pose.bones[name].rotation_mode = "QUATERNION"
        writer.write(f'pose.bones["{bpy.utils.escape_identifier(name)}"].rotation_quaternion', rotations[number], name)
        if skeleton.parents[number] < 0 or moving[number]:
            writer.write(f'pose.bones["{bpy.utils.escape_identifier(name)}"].location', locations[number], name)
    to_copy = np.eye(4)
    to_copy[:3, :3] = preset.unit * axes
    for each in placed:
        name = each.applied.samples.source.name
        obj = bpy.data.objects.new(name, each.applied.mesh)
        _take_name(obj, name)
        scene.collection.objects.link(obj)
        build(each, obj, armature, to_copy, frames)
    scene.view_layers[0].update()
    rigid = not any(move and parent >= 0 for move, parent in zip(moving, skeleton.parents, strict=True))
    return SkeletonCopy(scene, armature, rigid)


def _take_name(obj: bpy.types.Object, name: str) -> None:
    """Rename an object; another object of that name gets a temporary one."""
    other = bpy.data.objects.get((name, None))
    if other is not None and other != obj:
        other.name = f"{name} meanwhile"
    obj.name = name


def _active(armature: bpy.types.Object) -> dict[str, object]:
    """Context members that an operator needs to work on an armature, which becomes the active object."""
    layer = next(iter(armature.users_scene)).view_layers[0]
    layer.objects.active = armature
    return {"object": armature, "active_object": armature, "selected_objects": [armature]}


# --- presets ---------------------------------------------------------------------------------------------------------


def _has_operator(name: str) -> bool:
    module, _, verb = name.partition(".")
    return verb in dir(getattr(bpy.ops, module))


def _write_fbx(path: str, copy: SkeletonCopy, axis_forward: str, axis_up: str, scale: str) -> set[str]:
    # A file without meshes has no rest pose but the current one. Only the scene's range is exported, from frame 0.
    for curve in ActionKeys(copy.armature).curves():
        curve.keyframe_points.insert(
            -1, float(curve.data_path.endswith("rotation_quaternion") and not curve.array_index)
        )
    copy.scene.frame_set(-1)
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


def _write_unreal(path: str, copy: SkeletonCopy) -> set[str]:
    return _write_fbx(path, copy, "Y", "Z", "FBX_SCALE_NONE")


def _write_unity(path: str, copy: SkeletonCopy) -> set[str]:
    return _write_fbx(path, copy, "-Z", "Y", "FBX_SCALE_UNITS")


def _write_godot(path: str, copy: SkeletonCopy) -> set[str]:
    render = copy.scene.render
    render.fps_base = 1 / render.fps_base  # Blender's exporter multiplies by it where it ought to divide
    return bpy.ops.export_scene.gltf(
        filepath=path,
        export_format="GLB",
        use_active_scene=True,
        export_animation_mode="ACTIVE_ACTIONS",
        export_anim_single_armature=False,  # else actions of other objects with these bone names are exported, too
        export_optimize_animation_size=False,
        export_negative_frame="SLIDE",
    )


def _write_bvh(path: str, copy: SkeletonCopy) -> set[str]:
    return bpy.ops.export_anim.bvh(
        filepath=path,
        frame_start=copy.scene.frame_start,
        frame_end=copy.scene.frame_end,
        root_transform_only=copy.rigid,
    )


def _write_usd(path: str, copy: SkeletonCopy) -> set[str]:
    return bpy.ops.wm.usd_export(filepath=path, export_animation=True, export_lights=False, export_cameras=False)


PRESETS = {
    "UNREAL": Preset(
        "Unreal Engine",
        "FBX in centimetres, z up, as Unreal's own skeletons are",
        ".fbx", 100.0, False, True, "export_scene.fbx", _write_unreal,
    ),
    "UNITY": Preset(
        "Unity",
        "FBX in metres, y up, without rotated or scaled objects",
        ".fbx", 1.0, True, True, "export_scene.fbx", _write_unity,
    ),
    "GODOT": Preset(
        "Godot, glTF",
        "glTF in one file, for Godot and other programs that read glTF",
        ".glb", 1.0, False, True, "export_scene.gltf", _write_godot,
    ),
    "BVH": Preset(
        "BVH",
        "Skeleton and motion alone, in centimetres, y up, for motion capture tools",
        ".bvh", 100.0, True, False, "export_anim.bvh", _write_bvh,
    ),
    "USD": Preset(
        "USD",
        "Universal Scene Description in metres, z up",
        ".usdc", 1.0, False, True, "wm.usd_export", _write_usd,
    ),
}  # fmt: skip
