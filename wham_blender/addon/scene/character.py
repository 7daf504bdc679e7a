"""An imported character in the scene: which object it is, its animation as arrays and back, and what is found in it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import bpy
import numpy as np
from mathutils import Matrix, Quaternion, Vector

from ... import animation, quaternions
from ...animation import Animation
from ...motion import spells
from ...skeleton import JOINT_NAMES
from .action import CONSTANT, ActionKeys, cut, stretch
from .contacts import PROBABILITIES, PROPERTIES, key_property, write_contacts, write_probabilities

_LOCATION = f'pose.bones["{JOINT_NAMES[0]}"].location'


class CharacterError(Exception):
    """A character cannot be read or edited; the text is a sentence for the animator."""


def is_character(thing: bpy.types.Object | None) -> bool:
    """Whether an object is the armature of an imported motion."""
    return thing is not None and thing.type == "ARMATURE" and bool(thing.wham_motion.take)


def active(context: bpy.types.Context) -> Any:
    """The armature of the imported motion that is active, or whose body is; None where neither is."""
    chosen = context.active_object
    if chosen is not None and not is_character(chosen):
        chosen = chosen.parent
    return chosen if is_character(chosen) else None


def together(armature: bpy.types.Object, scene: bpy.types.Scene) -> list[bpy.types.Object]:
    """The armatures and the camera that were imported together with one, itself among them."""
    take = armature.wham_motion.take
    return [thing for thing in scene.objects if thing.wham_motion.take == take and thing.type in {"ARMATURE", "CAMERA"}]


def read(armature: bpy.types.Object) -> Animation:
    """A character's animation in the world; raises CharacterError where keys that it came with are gone."""
    try:
        keys = ActionKeys(armature)
        frames = keys.frames_of(_LOCATION)
        rest = _rest(armature)
        root = keys.read(_LOCATION, 3, frames) @ rest[0, :3, :3].T + rest[0, :3, 3]
        turns = np.stack([keys.read(_rotation(name), 4, frames) for name in JOINT_NAMES], 1)
        flags = {name: keys.read(f'["{name}"]', 1, frames)[:, 0] for name in (*PROPERTIES, *PROBABILITIES)}
        confidence, seen = (keys.read(f'["{name}"]', 1, frames)[:, 0] for name in ("confidence", "seen"))
    except (LookupError, KeyError) as error:
        reason = str(error.args[0]) if error.args else str(error)
        raise CharacterError(
            f"{armature.name} no longer has the keys that it was imported with: {reason}. "
            "Undo what removed them, or import the motion again."
        ) from error
    turns[..., 1:] = np.einsum("jab,fjb->fja", rest[:, :3, :3], turns[..., 1:])
    turns = quaternions.normalized(turns)
    location, rotation, scale = _placement(armature)
    turns[:, 0] = quaternions.multiply(rotation, turns[:, 0])
    return Animation(
        frames=frames,
        root=quaternions.rotate(rotation, root * scale) + location,
        turns=turns,
        heads=rest[:, :3, 3] * scale,
        feet=np.array(armature.wham_motion.feet).reshape(4, 3) * scale,
        contacts=np.stack([flags[name] for name in PROPERTIES], 1) > 0.5,
        probabilities=np.stack([flags[name] for name in PROBABILITIES], 1),
        confidence=confidence,
        seen=seen > 0.5,
    )


def write(armature: bpy.types.Object, changed: Animation) -> None:
    """Key the character as the animation says, and measure it again; the inverse of read()."""
    keys = ActionKeys(armature)
    keys.frames = changed.frames
    rest = _rest(armature)
    location, rotation, scale = _placement(armature)
    root = quaternions.rotate(quaternions.inverse(rotation), changed.root - location) / scale
    keys.add(_LOCATION, (root - rest[0, :3, 3]) @ rest[0, :3, :3], JOINT_NAMES[0])
    turns = changed.turns.copy()
    turns[:, 0] = quaternions.multiply(quaternions.inverse(rotation), turns[:, 0])
    turns[..., 1:] = np.einsum("jba,fjb->fja", rest[:, :3, :3], turns[..., 1:])
    turns = quaternions.without_jumps(turns)
    for joint, name in enumerate(JOINT_NAMES):
        keys.add(_rotation(name), turns[:, joint], name)
    write_tracks(keys, armature, changed.contacts, changed.probabilities, changed.confidence, changed.seen)
    measure(armature, changed)


def write_tracks(
    keys: ActionKeys,
    armature: bpy.types.Object,
    contacts: np.ndarray,
    probabilities: np.ndarray,
    confidence: np.ndarray,
    seen: np.ndarray,
) -> None:
    """Key what is known beside the pose: contacts and probabilities (F, 4), confidence and whether seen (F,)."""
    write_contacts(keys, armature, contacts)
    write_probabilities(keys, armature, probabilities)
    key_property(keys, armature, "confidence", confidence, "Clip", "How sure the keypoints are, mean of the body")
    key_property(
        keys, armature, "seen", seen, "Clip", "1 where the clip shows the person; 0 where it is made up", CONSTANT
    )


def measure(armature: bpy.types.Object, found: Animation) -> None:
    """Note on the armature what the result panel says of an animation."""
    record = armature.wham_motion
    record.frames, record.first_frame, record.last_frame = len(found), found.frames[0], found.frames[-1]
    record.confidence = found.confidence[found.seen].mean() if found.seen.any() else 0.0
    record.contacts = sum(len(spells(column)) for column in found.contacts.T)
    slide = animation.sliding(found, record.keyed_rate)
    record.sliding = -1.0 if slide is None else slide
    ends = [(found.frames[start], found.frames[stop - 1]) for start, stop in spells(~found.seen)]
    record.hidden = ", ".join(f"{first:.0f}" if first == last else f"{first:.0f}-{last:.0f}" for first, last in ends)


def key_rate(armature: bpy.types.Object, found: Animation) -> float:
    """How many keys there are a second."""
    between = float(np.median(np.diff(found.frames))) if len(found) > 1 else 1.0
    return armature.wham_motion.keyed_rate / between


def height(armature: bpy.types.Object) -> float:
    """How tall a character is at rest, in metres."""
    return armature.wham_motion.height * _placement(armature)[2]


def trim(armature: bpy.types.Object, first: float, last: float) -> None:
    """Leave of a character's action only what lies from one scene frame to another, and measure it again."""
    keys = ActionKeys(armature)
    for curve in keys.curves():
        for modifier in [each for each in curve.modifiers if each.type == "CYCLES"]:
            curve.modifiers.remove(modifier)
        cut(curve, first, last)
    left = read(armature)
    keys.frames = left.frames
    write_contacts(keys, armature, left.contacts)
    measure(armature, left)


def repeat(armature: bpy.types.Object) -> None:
    """Let a cycle go on before its first and after its last key; the root goes on from where it came to."""
    for curve in ActionKeys(armature).curves():
        cycles = curve.modifiers.new("CYCLES")
        cycles.mode_before = cycles.mode_after = "REPEAT_OFFSET" if curve.data_path == _LOCATION else "REPEAT"


def retime(things: list[bpy.types.Object], rate: float) -> tuple[float, float]:
    """Place keys and markers of what was imported together for another frame rate; the first key stays.

    Returns the first and the last scene frame. Raises CharacterError before anything is changed.
    """
    found = {thing: read(thing) for thing in things if is_character(thing)}
    records = [thing.wham_motion for thing in found]
    origin = min(record.first_frame for record in records)
    factor = rate / records[0].keyed_rate
    actions = {thing.animation_data.action: thing for thing in things if thing.animation_data}
    for action, thing in actions.items():
        for curve in ActionKeys(thing).curves():
            stretch(curve, origin, factor)
        for marker in action.pose_markers:
            marker.frame = round(origin + (marker.frame - origin) * factor)
    for thing, before in found.items():
        thing.wham_motion.keyed_rate = rate
        measure(thing, replace(before, frames=origin + (before.frames - origin) * factor))
    return origin, max(record.last_frame for record in records)


def move(things: list[bpy.types.Object], turn: np.ndarray, offset: np.ndarray, scale: float = 1.0) -> None:
    """Move characters and cameras with all their keys: scaled and turned about the world's origin, then moved.

    ``turn`` is a quaternion, ``offset`` (3,) metres. Bones and bodies grow with ``scale``. Raises CharacterError
    before anything is changed.
    """
    # A linked duplicate shares its action or its bones with the original: each is changed once.
    characters = {
        thing.animation_data and thing.animation_data.action: thing for thing in things if is_character(thing)
    }
    found = {thing: read(thing) for thing in characters.values()}
    if scale != 1.0:
        for thing in {thing.data: thing for thing in characters.values()}.values():
            _scale_data(thing, scale)
    for thing, before in found.items():
        grown = replace(before, root=scale * before.root, heads=scale * before.heads, feet=scale * before.feet)
        write(thing, animation.moved(grown, turn, offset))
    for thing in things:
        if thing.type == "CAMERA":
            _move_camera(thing, turn, offset, scale)


def _scale_data(armature: bpy.types.Object, scale: float) -> None:
    """Make bones and skinned meshes of a character larger, about the armature's origin."""
    armature.data.transform(Matrix.Scale(scale, 4))
    armature.data.update_tag()  # transform() alone does not reach the posed bones
    for skin in armature.children:
        if skin.type == "MESH" and any(each.type == "ARMATURE" for each in skin.modifiers):
            inside = armature.matrix_world.inverted() @ skin.matrix_world
            skin.data.transform(inside.inverted() @ Matrix.Scale(scale, 4) @ inside, shape_keys=True)
            skin.data.update()
    record = armature.wham_motion
    record.feet = [scale * value for value in record.feet]
    record.height *= scale


def _move_camera(camera: bpy.types.Object, turn: np.ndarray, offset: np.ndarray, scale: float) -> None:
    try:
        keys = ActionKeys(camera)
        keys.frames = keys.frames_of("location")
        locations = keys.read("location", 3, keys.frames)
        rotations = keys.read("rotation_quaternion", 4, keys.frames)
    except LookupError:  # it stands still
        placed = camera.matrix_world
        location = quaternions.rotate(turn, scale * np.array(placed.translation)) + offset
        rotation = quaternions.multiply(turn, np.array(placed.to_quaternion()))
        camera.matrix_world = Matrix.LocRotScale(Vector(location), Quaternion(rotation), placed.to_scale())
        return
    keys.add("location", quaternions.rotate(turn, scale * locations) + offset, "Camera")
    keys.add("rotation_quaternion", quaternions.without_jumps(quaternions.multiply(turn, rotations)), "Camera")


def _rest(armature: bpy.types.Object) -> np.ndarray:
    """The bones' rest matrices (24, 4, 4) in the armature's space."""
    return np.array([armature.data.bones[name].matrix_local for name in JOINT_NAMES], float)


def _rotation(bone: str) -> str:
    return f'pose.bones["{bone}"].rotation_quaternion'


def _placement(armature: bpy.types.Object) -> tuple[np.ndarray, np.ndarray, float]:
    """Location (3,), rotation (4,) and mean scale of an armature in the world."""
    location, rotation, scale = armature.matrix_world.decompose()
    return np.array(location), np.array(rotation), float(np.mean(scale))
