"""Imported characters: finds them in a scene, reads and writes their animation as arrays, trims and transforms it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import Any

import bpy
import numpy as np
from mathutils import Matrix, Quaternion, Vector

from ... import animation, quaternions
from ...animation import Animation
from ...errors import CodedError
from ...motion import true_intervals
from ...skeleton import ALL_JOINT_NAMES, ALL_PARENTS, HAND_JOINT_NAMES, JOINT_NAMES
from .action import CONSTANT, ActionKeys, scale_time, scaled_frames, trim_curve
from .checks import LAST_FRAME, check_frames, check_numbers
from .contacts import (
    CONTACT_PROPERTIES,
    PROBABILITY_PROPERTIES,
    CustomProperty,
    key_property,
    remember_steps,
    write_contacts,
    write_probabilities,
)
from .evaluation import world_matrix
from .units import metres_per_unit

LOCATION = f'pose.bones["{JOINT_NAMES[0]}"].location'
_CONFIDENCE = CustomProperty("confidence", "Clip", "Confidence of the keypoints, the mean over the body")
_HAND_CONFIDENCE = tuple(
    CustomProperty(f"{side}_hand_confidence", "Clip", f"How surely the {side} hand was seen; 0 where it is filled in")
    for side in ("left", "right")
)
_CLIP_FRAME = "clip_frame"
_LEAST_SCALE, _SCALE_TOLERANCE = 1e-6, 2e-3  # of an object; between its axes, relative
_FASTEST = 1e6  # frames a second
_SAME_FRAME = 1e-3  # frames
_VISIBLE = CustomProperty("seen", "Clip", "1 where the clip shows the person, 0 where it is filled in", CONSTANT)


class CharacterError(CodedError):
    """A character cannot be read or edited; the text is a sentence for the animator."""


def is_character(obj: bpy.types.Object | None) -> bool:
    """Whether an object is the armature of an imported motion."""
    return obj is not None and obj.type == "ARMATURE" and bool(obj.wham_motion.take)


def active(context: bpy.types.Context) -> Any:
    """The armature of the active character; also found if its body mesh is active. None if there is none."""
    return owner(context.active_object)


def owner(obj: bpy.types.Object | None) -> Any:
    """The armature of the character that an object is, or is the body mesh of; None if it is neither."""
    armature = obj if obj is None or is_character(obj) else obj.parent
    return armature if is_character(armature) else None


def has_fingers(armature: bpy.types.Object) -> bool:
    """Whether a character has finger bones."""
    return any(name in armature.data.bones for name in HAND_JOINT_NAMES)


def joint_names(armature: bpy.types.Object) -> tuple[str, ...]:
    """The names of the joints that a character's action keys."""
    return ALL_JOINT_NAMES if has_fingers(armature) else JOINT_NAMES


def imported_with(armature: bpy.types.Object, scene: bpy.types.Scene) -> list[bpy.types.Object]:
    """The armatures and the camera of the same import, including the given armature."""
    take = armature.wham_motion.take
    return [obj for obj in scene.objects if obj.wham_motion.take == take and obj.type in {"ARMATURE", "CAMERA"}]


def people_by_job(scene: bpy.types.Scene) -> dict[str, set[int]]:
    """The numbers of the people in a scene, by the name of the job that their motions come from."""
    found: dict[str, set[int]] = {}
    for obj in scene.objects:
        if is_character(obj):
            found.setdefault(obj.wham_motion.job, set()).add(obj.wham_motion.person)
    return found


def read(armature: bpy.types.Object) -> Animation:
    """A character's animation in world space, in metres.

    Raises CharacterError if keyframes or bones of the import are missing, or if its object cannot be read at its scale,
    and ValueRefused for keyframes that are no numbers or lie on one another. What it returns can be written.
    """
    location, rotation, scale = _world_transform(armature)
    check_rate(armature, armature.wham_motion.keyed_rate)
    try:
        keys = ActionKeys(armature)
        frames = keys.frames_of(LOCATION)
        if armature.wham_motion.reduced:  # smooth curves between few keyframes, read at as many frames as it had
            # Of one keyframe there is one: a second row on the same frame could not be written back.
            count = max(armature.wham_motion.frames, 2) if frames[-1] > frames[0] else 1
            frames = np.linspace(frames[0], frames[-1], count)
        check_frames(frames, armature.name)
        rest = _rest(armature)
        root = keys.read(LOCATION, 3, frames) @ rest[0, :3, :3].T + rest[0, :3, 3]
        joints, fingers = joint_names(armature), has_fingers(armature)
        rotations = np.empty((len(joints), len(frames), 4)).swapaxes(0, 1)  # each joint's side by side in memory
        for joint, name in enumerate(joints):
            rotations[:, joint] = keys.read(rotation_path(name), 4, frames)
        names = [*CONTACT_PROPERTIES, *PROBABILITY_PROPERTIES, _CONFIDENCE.name, _VISIBLE.name]
        if fingers:
            names += [each.name for each in _HAND_CONFIDENCE]
        values = {name: keys.read(f'["{name}"]', 1, frames)[:, 0] for name in names}
    except LookupError as error:
        raise _keys_missing(armature, error) from error
    lengths = np.sqrt(np.einsum("fji,fji->fj", rotations, rotations))
    if lengths.min() < _LEAST_SCALE:
        raise CharacterError(
            f"A rotation of {armature.name} is a quaternion of length zero. Undo what set it, or delete that keyframe.",
            code="key-no-number",
        )
    _rotate_axes(rotations, rest)
    rotations /= lengths[..., None]
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
        hand_confidence=np.stack([values[each.name] for each in _HAND_CONFIDENCE], 1) if fingers else None,
        fingertips=_fingertips(armature) * scale if fingers else None,
    )


def write(armature: bpy.types.Object, changed: Animation, before: Animation | None = None) -> None:
    """Key an animation on the character, the inverse of read(), and update its statistics.

    before: the animation that `read` has returned. Curves that are the same in both are not touched, of which most
    edits leave many; with few changed rows, only these are keyed. None: all is keyed.
    Raises ValueRefused before that if it cannot be keyed, see `check`.
    """
    check(armature, changed)
    keys = ActionKeys(armature)
    if armature.wham_motion.reduced:  # their Bezier handles do not fit other keyframes
        keys.clear(LOCATION, *map(rotation_path, joint_names(armature)))
        armature.wham_motion.reduced, before = False, None
    keys.frames = changed.frames
    location, rotations = _channels(armature, changed)
    rotations = quaternions.without_jumps(rotations)
    names = joint_names(armature)
    if before is None or not np.array_equal(before.frames, changed.frames):
        keys.write(LOCATION, location, names[0])
        for joint, name in enumerate(names):
            keys.write(rotation_path(name), rotations[:, joint], name)
    else:
        old_location, old = _channels(armature, before)
        keys.change(LOCATION, old_location, location, names[0])
        for joint, name in enumerate(names):
            keys.change(rotation_path(name), old[:, joint], rotations[:, joint], name)
    write_properties(keys, armature, changed.contacts, changed.probabilities, changed.confidence, changed.visible)
    write_hand_confidence(keys, armature, changed.hand_confidence)
    update_statistics(armature, changed)


def write_rows(armature: bpy.types.Object, before: Animation, part: Animation) -> None:
    """Key some rows of an animation, changed by less than half a turn; all other keyframes stay to the bit.

    before: the animation that `read` has returned; part: rows of it that follow one another, of which those that differ
    are keyed. Contacts and other properties are not written. Raises ValueRefused before that if they cannot be keyed.
    """
    check(armature, part)
    keys = ActionKeys(armature)
    same = animation.between(before, *part.frames[[0, -1]])
    rows = (part.rotations != same.rotations).any((1, 2)) | (part.root != same.root).any(1)
    part, same = animation.selected(part, rows), animation.selected(same, rows)
    location, rotations = _channels(armature, part)
    _, old = _channels(armature, same)
    rotations *= np.where(np.sum(rotations * old, -1, keepdims=True) < 0, -1.0, 1.0)
    keys.write_rows(LOCATION, location, JOINT_NAMES[0], part.frames)
    for joint, name in enumerate(joint_names(armature)):
        keys.write_rows(rotation_path(name), rotations[:, joint], name, part.frames)


def _channels(armature: bpy.types.Object, changed: Animation) -> tuple[np.ndarray, np.ndarray]:
    """The pelvis' location (F, 3) and the bones' rotations (F, J, 4) that give an animation, as they are keyed."""
    rest = _rest(armature)
    location, rotation, scale = _world_transform(armature)
    root = quaternions.rotate(quaternions.inverse(rotation), changed.root - location) / scale
    rotations = changed.rotations.copy()
    rotations[:, 0] = quaternions.multiply(quaternions.inverse(rotation), rotations[:, 0])
    _rotate_axes(rotations, rest.swapaxes(1, 2))
    return (root - rest[0, :3, 3]) @ rest[0, :3, :3], rotations


def _rotate_axes(rotations: np.ndarray, rest: np.ndarray) -> None:
    """Multiply the axes of rotations (F, J, 4) by the upper left 3 x 3 of each joint's matrix (J, 4, 4), in place."""
    for joint, matrix in enumerate(rest):  # one matrix product a joint takes a tenth of the time of one of all
        rotations[:, joint, 1:] = rotations[:, joint, 1:] @ matrix[:3, :3].T


def posed(armature: bpy.types.Object, now: Animation, context: bpy.types.Context) -> Animation:
    """The pose in which Blender shows a character, constraints included, as an animation of one row like ``now``."""
    shown = armature.evaluated_get(context.evaluated_depsgraph_get())
    rest = _rest(armature)
    matrices = np.array([shown.pose.bones[name].matrix for name in joint_names(armature)], float)
    turned = matrices[:, :3, :3] / np.linalg.norm(matrices[:, :3, :3], axis=1, keepdims=True)
    world = quaternions.of_matrices(turned @ np.swapaxes(rest[:, :3, :3], 1, 2))
    local = world.copy()
    for joint, parent in enumerate(ALL_PARENTS[: len(local)]):
        if parent >= 0:
            local[joint] = quaternions.multiply(quaternions.inverse(world[parent]), world[joint])
    location, rotation, scale = _world_transform(armature)
    local[0] = quaternions.multiply(rotation, local[0])
    root = quaternions.rotate(rotation, matrices[0, :3, 3] * scale) + location
    return replace(now, root=root[None], rotations=local[None])


def write_clip_frames(keys: ActionKeys, armature: bpy.types.Object, numbers: np.ndarray) -> None:
    """Key which frame (F,) of the clip, from 1, each keyframe of an imported character shows."""
    armature[_CLIP_FRAME] = float(numbers[0])
    armature.id_properties_ui(_CLIP_FRAME).update(description="Number of the frame of the clip, from 1")
    keys.write(f'["{_CLIP_FRAME}"]', np.asarray(numbers, float)[:, None], "Clip")


def clip_frame(armature: bpy.types.Object, frame: float) -> int | None:
    """The number of the clip's frame that is shown at a scene frame; None if the character does not know it."""
    known = _clip_frames(armature)
    return None if known is None else max(1, round(float(np.interp(frame, *known))))


def scene_frame(armature: bpy.types.Object, number: int) -> float | None:
    """The scene frame at which a frame of the clip is shown; None if the character does not know it."""
    known = _clip_frames(armature)
    return None if known is None else float(np.interp(number, *known[::-1]))


def _clip_frames(armature: bpy.types.Object) -> tuple[np.ndarray, np.ndarray] | None:
    """Scene frames and the numbers of the clip's frames that are shown there, both (F,)."""
    path = f'["{_CLIP_FRAME}"]'
    try:
        keys = ActionKeys(armature)
        frames = keys.frames_of(path)
        return frames, keys.read(path, 1, frames)[:, 0]
    except LookupError:
        return None


def check(armature: bpy.types.Object, changed: Animation) -> None:
    """Raise ValueRefused if an animation has numbers or scene frames that keyframes cannot have."""
    check_frames(changed.frames, armature.name)
    for values, name in (
        (changed.root, f"The location of {armature.name} after this edit"),
        (changed.rotations, f"A rotation of {armature.name} after this edit"),
        (changed.heads, f"The size of {armature.name} after this edit"),
        (changed.feet, f"The size of {armature.name} after this edit"),
    ):
        check_numbers(values, name)


def check_rate(armature: bpy.types.Object, rate: float) -> None:
    """Raise CharacterError if a frame rate that is stored on a character is no frame rate."""
    if not 0 < rate <= _FASTEST:
        raise CharacterError(
            f"{armature.name} has a frame rate of {rate:g} stored with it, so that its times are not known. Import the "
            "motion again.",
            code="character-rate",
        )


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


def write_hand_confidence(keys: ActionKeys, armature: bpy.types.Object, confidence: np.ndarray | None) -> None:
    """Key how surely the hands were seen, (F, 2), 0..1; None without fingers."""
    if confidence is not None:
        for definition, column in zip(_HAND_CONFIDENCE, confidence.T, strict=True):
            key_property(keys, armature, definition, column)


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
    """The height of a character in its rest pose, in metres; with uneven scale a mean."""
    units = armature.wham_motion.height * float(np.mean(armature.matrix_world.to_scale()))
    return units * metres_per_unit(armature)


def trim(armature: bpy.types.Object, first: float, last: float) -> None:
    """Remove a character's keyframes outside the scene frames first to last, and update its statistics."""
    keys = ActionKeys(armature)
    for curve in keys.curves():
        for modifier in [modifier for modifier in curve.modifiers if modifier.type == "CYCLES"]:
            curve.modifiers.remove(modifier)
    before = read(armature)
    if armature.wham_motion.reduced:
        write(armature, before)
    for curve in keys.curves():
        trim_curve(curve, first, last)
    # Properties with keyframes at their changes only: the value at the first frame may have its key before it.
    trimmed = animation.between(before, first, last)
    keys.frames = trimmed.frames
    write_contacts(keys, armature, trimmed.contacts)
    key_property(keys, armature, _VISIBLE, trimmed.visible)
    update_statistics(armature, trimmed)


def add_cycles(armature: bpy.types.Object) -> None:
    """Add Cycles modifiers to all F-curves; the pelvis location repeats with offset, all others repeat."""
    for curve in ActionKeys(armature).curves():
        cycles = curve.modifiers.new("CYCLES")
        cycles.mode_before = cycles.mode_after = "REPEAT_OFFSET" if curve.data_path == LOCATION else "REPEAT"


def retime(objects: list[bpy.types.Object], rate: float) -> tuple[float, float]:
    """Move keyframes and markers of one import's objects for another frame rate; the first keyframe stays.

    Returns the first and the last scene frame. Raises CharacterError or ValueRefused before anything is changed.
    """
    animations = {obj: read(obj) for obj in objects if is_character(obj)}
    origin = min(before.frames[0] for before in animations.values())
    factor = rate / next(iter(animations)).wham_motion.keyed_rate
    keyed: dict[bpy.types.Action, list[bpy.types.FCurve]] = {}
    for obj in objects:
        check_rate(obj, rate)
        for owner in (obj, obj.data) if obj.type == "CAMERA" else (obj,):  # the camera's data have the film's frames
            with contextlib.suppress(LookupError):  # a static camera has no keyframes, and one without film none either
                keys = ActionKeys(owner)
                keyed[keys.action] = keys.curves()
                for curve in keys.curves():
                    check_frames(scaled_frames(curve, origin, factor), obj.name)
    for action, curves in keyed.items():
        for curve in curves:
            scale_time(curve, origin, factor)
        for marker in action.pose_markers:
            marker.frame = round(np.clip(origin + (marker.frame - origin) * factor, -LAST_FRAME, LAST_FRAME))
    for obj in objects:
        record = obj.wham_motion
        record.keyed_rate, record.zero_frame = rate, origin + (record.zero_frame - origin) * factor
    for obj, before in animations.items():
        remember_steps(obj, obj.animation_data.action)
        update_statistics(obj, replace(before, frames=origin + (before.frames - origin) * factor))
    return origin, max(obj.wham_motion.last_frame for obj in animations)


def transform(objects: list[bpy.types.Object], rotation: np.ndarray, offset: np.ndarray, scale: float = 1.0) -> None:
    """Transform the keyframes of characters and cameras: scale and rotate about the world's origin, then translate.

    ``rotation`` is a quaternion, ``offset`` (3,) metres. Bones and body meshes are scaled, too. Raises CharacterError
    or ValueRefused before anything is changed.
    """
    # A linked duplicate has the original's action or armature data: each is changed once.
    characters = {obj.animation_data and obj.animation_data.action: obj for obj in objects if is_character(obj)}
    before = {obj: read(obj) for obj in characters.values()}
    after = {}
    for obj, now in before.items():
        scaled = replace(now, root=scale * now.root, heads=scale * now.heads, feet=scale * now.feet)
        after[obj] = animation.moved(scaled, rotation, offset)
        check(obj, after[obj])
    cameras = [CameraPath.of(obj).moved(rotation, offset, scale) for obj in objects if obj.type == "CAMERA"]
    if scale != 1.0:
        of_data = {obj.data: obj for obj in characters.values()}
        for obj in of_data.values():
            _skins(obj)
        for obj in of_data.values():
            scale_data(obj, scale)
    for obj, changed in after.items():
        write(obj, changed, before[obj] if scale == 1.0 else None)
    for path in cameras:
        path.write()
        record = path.camera.wham_motion
        record.floor, record.world_scale = scale * record.floor + offset[2], scale * record.world_scale


def _skins(armature: bpy.types.Object) -> dict[bpy.types.Object, Matrix]:
    """The skinned meshes of a character, and their transforms to the armature. Raises CharacterError for scale zero."""
    skins = {}
    for skin in armature.children:
        if skin.type == "MESH" and any(modifier.type == "ARMATURE" for modifier in skin.modifiers):
            _world_scale(skin, skin.matrix_world)
            skins[skin] = armature.matrix_world.inverted() @ skin.matrix_world
    return skins


def scale_data(armature: bpy.types.Object, scale: float) -> None:
    """Scale the bones and skinned meshes of a character about the armature's origin.

    Raises CharacterError for a mesh of scale zero, before anything is changed.
    """
    skins = _skins(armature)
    armature.data.transform(Matrix.Scale(scale, 4))
    armature.data.update_tag()  # transform() alone does not update the pose bones
    for skin, to_armature in skins.items():
        skin.data.transform(to_armature.inverted() @ Matrix.Scale(scale, 4) @ to_armature, shape_keys=True)
        skin.data.update()
    for user in bpy.data.objects:
        if user.data == armature.data:  # a linked duplicate would be scaled again by its old height
            record = user.wham_motion
            record.feet = [scale * value for value in record.feet]
            record.height *= scale


@dataclass(frozen=True)
class CameraPath:
    """Locations (F, 3) in metres and rotations (F, 4) of a camera at its keyframes; F = 1 for a static one without."""

    camera: bpy.types.Object
    keys: ActionKeys | None
    locations: np.ndarray
    rotations: np.ndarray

    @classmethod
    def of(cls, camera: bpy.types.Object) -> CameraPath:
        """Raises CharacterError if some of its keyframes are missing."""
        try:
            keys = ActionKeys(camera)
            keys.frames = keys.frames_of("location")
        except LookupError:
            matrix = world_matrix(camera)
            locations = np.array([matrix.translation]) * metres_per_unit(camera)
            return cls(camera, None, locations, np.array([matrix.to_quaternion()]))
        path = cls(camera, keys, np.zeros((0, 3)), np.zeros((0, 4)))
        locations, rotations = path.at(keys.frames)
        return replace(path, locations=locations, rotations=rotations)

    def covers(self, frames: np.ndarray) -> np.ndarray:
        """At which of the scene frames (C,) the camera is known, (C,) bool."""
        if self.keys is None:
            return np.ones(len(frames), bool)
        first, last = self.keys.frames[0] - _SAME_FRAME, self.keys.frames[-1] + _SAME_FRAME
        return (frames >= first) & (frames <= last)

    def at(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Locations (C, 3) in metres and rotations (C, 4) at scene frames (C,). Raises CharacterError, see `of`."""
        if self.keys is None:
            return np.repeat(self.locations, len(frames), 0), np.repeat(self.rotations, len(frames), 0)
        try:
            locations = self.keys.read("location", 3, frames) * metres_per_unit(self.camera)
            return locations, quaternions.normalized(self.keys.read("rotation_quaternion", 4, frames))
        except LookupError as error:
            raise _keys_missing(self.camera, error) from error

    def moved(self, rotation: np.ndarray, offset: np.ndarray, scale: float) -> CameraPath:
        """See `transform`. Raises ValueRefused if the result has numbers that keyframes cannot have."""
        locations = quaternions.rotate(rotation, scale * self.locations) + offset
        rotations = quaternions.without_jumps(quaternions.multiply(rotation, self.rotations))
        check_numbers(np.concatenate([locations, rotations], 1), f"The location of {self.camera.name} after this edit")
        return replace(self, locations=locations, rotations=rotations)

    def write(self) -> None:
        """Key the camera, or put the static camera there."""
        locations = self.locations / metres_per_unit(self.camera)
        if self.keys is None:
            size = self.camera.matrix_world.to_scale()
            placed = Vector(locations[0]), Quaternion(self.rotations[0]), size
            self.camera.matrix_world = Matrix.LocRotScale(*placed)
        else:
            self.keys.write("location", locations, "Camera")
            self.keys.write("rotation_quaternion", self.rotations, "Camera")


def _keys_missing(obj: bpy.types.Object, error: LookupError) -> CharacterError:
    reason = str(error.args[0]) if error.args else str(error)
    return CharacterError(
        f"{obj.name} no longer has the keys that it was imported with: {reason}. "
        "Undo what removed them, or import the motion again.",
        code="keys-missing",
    )


def _rest(armature: bpy.types.Object) -> np.ndarray:
    """The bones' rest matrices (J, 4, 4) in armature space. Raises LookupError if a bone is missing."""
    names = joint_names(armature)
    if missing := [name for name in names if name not in armature.data.bones]:
        raise LookupError(f"the bone {missing[0]} is gone")
    return np.array([armature.data.bones[name].matrix_local for name in names], float)


def _fingertips(armature: bpy.types.Object) -> np.ndarray:
    """The tails (10, 3) of the fingers' last bones at rest, in armature space."""
    return np.array([armature.data.bones[name].tail_local for name in HAND_JOINT_NAMES[2::3]], float)


def rotation_path(bone: str) -> str:
    """The data path of a bone's rotation."""
    return f'pose.bones["{bone}"].rotation_quaternion'


def _world_transform(armature: bpy.types.Object) -> tuple[np.ndarray, np.ndarray, float]:
    """Location (3,) in metres, rotation (4,) and scale, metres a unit, of an armature object in world space.

    Raises CharacterError unless the scale is the same on all axes and above zero: only then is a motion of the bones,
    which are rigid, one in the world.
    """
    matrix = world_matrix(armature)
    scale = _world_scale(armature, matrix)
    location, rotation, axes = matrix.decompose()
    gram = np.array(matrix.to_3x3().transposed() @ matrix.to_3x3())
    if np.abs(gram - scale**2 * np.eye(3)).max() > _SCALE_TOLERANCE * scale**2 or min(axes) <= 0:
        raise CharacterError(
            f"{armature.name} is scaled by {axes.x:.4g}, {axes.y:.4g} and {axes.z:.4g}, itself or by its parents; its "
            "motion needs one scale above zero on all axes. Set them to 1.",
            code="character-scale",
        )
    metres = metres_per_unit(armature)
    return metres * np.array(location), np.array(rotation), metres * scale


def _world_scale(obj: bpy.types.Object, world: Matrix) -> float:
    """The mean scale of an object's matrix, above zero. Raises CharacterError if it is zero or no number."""
    matrix = np.array(world)
    sizes = np.linalg.norm(matrix[:3, :3], axis=0)
    if not (np.isfinite(matrix).all() and sizes.min() > _LEAST_SCALE and abs(np.linalg.det(matrix[:3, :3])) > 0):
        raise CharacterError(
            f"{obj.name} is scaled to nothing, itself or by its parents. Set their scale to 1.", code="character-scale"
        )
    return float(sizes.mean())
