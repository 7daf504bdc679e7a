"""Imported characters: finds them in a scene, reads and writes their animation as arrays, trims and transforms it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import bpy
import numpy as np
from mathutils import Matrix, Quaternion, Vector

from ... import animation, quaternions
from ...animation import Animation
from ...errors import CodedError
from ...motion import true_intervals
from ...skeleton import JOINT_NAMES
from .action import CONSTANT, ActionKeys, scale_time, trim_curve
from .contacts import (
    CONTACT_PROPERTIES,
    PROBABILITY_PROPERTIES,
    CustomProperty,
    key_property,
    write_contacts,
    write_probabilities,
)

_LOCATION = f'pose.bones["{JOINT_NAMES[0]}"].location'
_CONFIDENCE = CustomProperty("confidence", "Clip", "Confidence of the keypoints, the mean over the body")
_VISIBLE = CustomProperty("seen", "Clip", "1 where the clip shows the person, 0 where it is filled in", CONSTANT)


class CharacterError(CodedError):
    """A character cannot be read or edited; the text is a sentence for the animator."""


def is_character(obj: bpy.types.Object | None) -> bool:
    """Whether an object is the armature of an imported motion."""
    return obj is not None and obj.type == "ARMATURE" and bool(obj.wham_motion.take)


def active(context: bpy.types.Context) -> Any:
    """The armature of the active character; also found if its body mesh is active. None if there is none."""
    armature = context.active_object
    if armature is not None and not is_character(armature):
        armature = armature.parent
    return armature if is_character(armature) else None


def imported_with(armature: bpy.types.Object, scene: bpy.types.Scene) -> list[bpy.types.Object]:
    """The armatures and the camera of the same import, including the given armature."""
    take = armature.wham_motion.take
    return [obj for obj in scene.objects if obj.wham_motion.take == take and obj.type in {"ARMATURE", "CAMERA"}]


def read(armature: bpy.types.Object) -> Animation:
    """A character's animation in world space. Raises CharacterError if keyframes of the import are missing."""
    try:
        keys = ActionKeys(armature)
        frames = keys.frames_of(_LOCATION)
        rest = _rest(armature)
        root = keys.read(_LOCATION, 3, frames) @ rest[0, :3, :3].T + rest[0, :3, 3]
        rotations = np.stack([keys.read(_rotation(name), 4, frames) for name in JOINT_NAMES], 1)
        names = (*CONTACT_PROPERTIES, *PROBABILITY_PROPERTIES, _CONFIDENCE.name, _VISIBLE.name)
        values = {name: keys.read(f'["{name}"]', 1, frames)[:, 0] for name in names}
    except (LookupError, KeyError) as error:
        reason = str(error.args[0]) if error.args else str(error)
        raise CharacterError(
            f"{armature.name} no longer has the keys that it was imported with: {reason}. "
            "Undo what removed them, or import the motion again.",
            code="keys-missing",
        ) from error
    rotations[..., 1:] = np.einsum("jab,fjb->fja", rest[:, :3, :3], rotations[..., 1:])
    rotations = quaternions.normalized(rotations)
    location, rotation, scale = _world_transform(armature)
    rotations[:, 0] = quaternions.multiply(rotation, rotations[:, 0])
    return Animation(
        frames=frames,
        root=quaternions.rotate(rotation, root * scale) + location,
        rotations=rotations,
        heads=rest[:, :3, 3] * scale,
        feet=np.array(armature.wham_motion.feet).reshape(4, 3) * scale,
        contacts=np.stack([values[name] for name in CONTACT_PROPERTIES], 1) > 0.5,
        probabilities=np.stack([values[name] for name in PROBABILITY_PROPERTIES], 1),
        confidence=values[_CONFIDENCE.name],
        visible=values[_VISIBLE.name] > 0.5,
    )


def write(armature: bpy.types.Object, changed: Animation) -> None:
    """Key an animation on the character, the inverse of read(), and update its statistics."""
    keys = ActionKeys(armature)
    keys.frames = changed.frames
    rest = _rest(armature)
    location, rotation, scale = _world_transform(armature)
    root = quaternions.rotate(quaternions.inverse(rotation), changed.root - location) / scale
    keys.write(_LOCATION, (root - rest[0, :3, 3]) @ rest[0, :3, :3], JOINT_NAMES[0])
    rotations = changed.rotations.copy()
    rotations[:, 0] = quaternions.multiply(quaternions.inverse(rotation), rotations[:, 0])
    rotations[..., 1:] = np.einsum("jba,fjb->fja", rest[:, :3, :3], rotations[..., 1:])
    rotations = quaternions.without_jumps(rotations)
    for joint, name in enumerate(JOINT_NAMES):
        keys.write(_rotation(name), rotations[:, joint], name)
    write_properties(keys, armature, changed.contacts, changed.probabilities, changed.confidence, changed.visible)
    update_statistics(armature, changed)


def write_properties(
    keys: ActionKeys,
    armature: bpy.types.Object,
    contacts: np.ndarray,
    probabilities: np.ndarray,
    confidence: np.ndarray,
    visible: np.ndarray,
) -> None:
    """Key the custom properties: contacts (F, 4) bool, contact probabilities (F, 4), confidence and visible (F,)."""
    write_contacts(keys, armature, contacts)
    write_probabilities(keys, armature, probabilities)
    key_property(keys, armature, _CONFIDENCE, confidence)
    key_property(keys, armature, _VISIBLE, visible)


def update_statistics(armature: bpy.types.Object, current: Animation) -> None:
    """Store an animation's statistics on the armature, for the result panel."""
    record = armature.wham_motion
    record.frames, record.first_frame, record.last_frame = len(current), current.frames[0], current.frames[-1]
    record.confidence = current.confidence[current.visible].mean() if current.visible.any() else 0.0
    record.contacts = sum(len(true_intervals(column)) for column in current.contacts.T)
    slide = animation.sliding(current, record.keyed_rate)
    record.sliding = -1.0 if slide is None else slide
    ranges = [(current.frames[start], current.frames[stop - 1]) for start, stop in true_intervals(~current.visible)]
    record.hidden = ", ".join(f"{first:.0f}" if first == last else f"{first:.0f}-{last:.0f}" for first, last in ranges)


def key_rate(armature: bpy.types.Object, current: Animation) -> float:
    """The number of keyframes a second."""
    interval = float(np.median(np.diff(current.frames))) if len(current) > 1 else 1.0
    return armature.wham_motion.keyed_rate / interval


def height(armature: bpy.types.Object) -> float:
    """The height of a character in its rest pose, in metres."""
    return armature.wham_motion.height * _world_transform(armature)[2]


def trim(armature: bpy.types.Object, first: float, last: float) -> None:
    """Remove a character's keyframes outside the scene frames first to last, and update its statistics."""
    keys = ActionKeys(armature)
    for curve in keys.curves():
        for modifier in [modifier for modifier in curve.modifiers if modifier.type == "CYCLES"]:
            curve.modifiers.remove(modifier)
        trim_curve(curve, first, last)
    trimmed = read(armature)
    keys.frames = trimmed.frames
    write_contacts(keys, armature, trimmed.contacts)
    update_statistics(armature, trimmed)


def add_cycles(armature: bpy.types.Object) -> None:
    """Add Cycles modifiers to all F-curves; the pelvis location repeats with offset, all others repeat."""
    for curve in ActionKeys(armature).curves():
        cycles = curve.modifiers.new("CYCLES")
        cycles.mode_before = cycles.mode_after = "REPEAT_OFFSET" if curve.data_path == _LOCATION else "REPEAT"


def retime(objects: list[bpy.types.Object], rate: float) -> tuple[float, float]:
    """Move keyframes and markers of one import's objects for another frame rate; the first keyframe stays.

    Returns the first and the last scene frame. Raises CharacterError before anything is changed.
    """
    animations = {obj: read(obj) for obj in objects if is_character(obj)}
    records = [obj.wham_motion for obj in animations]
    origin = min(record.first_frame for record in records)
    factor = rate / records[0].keyed_rate
    actions = {obj.animation_data.action: obj for obj in objects if obj.animation_data}
    for action, obj in actions.items():
        for curve in ActionKeys(obj).curves():
            scale_time(curve, origin, factor)
        for marker in action.pose_markers:
            marker.frame = round(origin + (marker.frame - origin) * factor)
    for obj, before in animations.items():
        obj.wham_motion.keyed_rate = rate
        update_statistics(obj, replace(before, frames=origin + (before.frames - origin) * factor))
    return origin, max(record.last_frame for record in records)


def transform(objects: list[bpy.types.Object], rotation: np.ndarray, offset: np.ndarray, scale: float = 1.0) -> None:
    """Transform the keyframes of characters and cameras: scale and rotate about the world's origin, then translate.

    ``rotation`` is a quaternion, ``offset`` (3,) metres. Bones and body meshes are scaled, too. Raises CharacterError
    before anything is changed.
    """
    # A linked duplicate has the original's action or armature data: each is changed once.
    characters = {obj.animation_data and obj.animation_data.action: obj for obj in objects if is_character(obj)}
    animations = {obj: read(obj) for obj in characters.values()}
    if scale != 1.0:
        for obj in {obj.data: obj for obj in characters.values()}.values():
            _scale_data(obj, scale)
    for obj, before in animations.items():
        scaled = replace(before, root=scale * before.root, heads=scale * before.heads, feet=scale * before.feet)
        write(obj, animation.moved(scaled, rotation, offset))
    for obj in objects:
        if obj.type == "CAMERA":
            _transform_camera(obj, rotation, offset, scale)


def _scale_data(armature: bpy.types.Object, scale: float) -> None:
    """Scale the bones and skinned meshes of a character about the armature's origin."""
    armature.data.transform(Matrix.Scale(scale, 4))
    armature.data.update_tag()  # transform() alone does not update the pose bones
    for skin in armature.children:
        if skin.type == "MESH" and any(modifier.type == "ARMATURE" for modifier in skin.modifiers):
            to_armature = armature.matrix_world.inverted() @ skin.matrix_world
            skin.data.transform(to_armature.inverted() @ Matrix.Scale(scale, 4) @ to_armature, shape_keys=True)
            skin.data.update()
    record = armature.wham_motion
    record.feet = [scale * value for value in record.feet]
    record.height *= scale


def _transform_camera(camera: bpy.types.Object, rotation: np.ndarray, offset: np.ndarray, scale: float) -> None:
    try:
        keys = ActionKeys(camera)
        keys.frames = keys.frames_of("location")
        locations = keys.read("location", 3, keys.frames)
        rotations = keys.read("rotation_quaternion", 4, keys.frames)
    except LookupError:  # a static camera has no keyframes
        before = camera.matrix_world
        location = quaternions.rotate(rotation, scale * np.array(before.translation)) + offset
        orientation = quaternions.multiply(rotation, np.array(before.to_quaternion()))
        camera.matrix_world = Matrix.LocRotScale(Vector(location), Quaternion(orientation), before.to_scale())
        return
    keys.write("location", quaternions.rotate(rotation, scale * locations) + offset, "Camera")
    keys.write("rotation_quaternion", quaternions.without_jumps(quaternions.multiply(rotation, rotations)), "Camera")


def _rest(armature: bpy.types.Object) -> np.ndarray:
    """The bones' rest matrices (24, 4, 4) in armature space."""
    return np.array([armature.data.bones[name].matrix_local for name in JOINT_NAMES], float)


def _rotation(bone: str) -> str:
    return f'pose.bones["{bone}"].rotation_quaternion'


def _world_transform(armature: bpy.types.Object) -> tuple[np.ndarray, np.ndarray, float]:
    """Location (3,), rotation (4,) and mean scale of an armature object in world space."""
    location, rotation, scale = armature.matrix_world.decompose()
    return np.array(location), np.array(rotation), float(np.mean(scale))
