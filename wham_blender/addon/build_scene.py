"""Builds the scene of a motion file: characters, their actions, the solved camera and its clip, in one collection."""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass, replace
from pathlib import Path

import bpy
import numpy as np

from ..errors import one_line
from ..fingers import relaxed
from ..motion import Motion, planted
from . import hooks
from .properties import PlacementSettings
from .retarget.bake_all import Report, bake_all, pair_by_name, target_rigs
from .retarget.bake_options import BakeError, Options
from .retarget.maps import MapError
from .scene import camera, character, scene_settings, shared_world, smpl_armature
from .scene.action import ActionWriter, write_pose
from .scene.body_mesh import Body
from .scene.camera import SolvedCamera
from .scene.character import CharacterError
from .scene.checks import check_frames
from .scene.reading import Contents
from .scene.recorded_corrections import write_places
from .scene.scene_settings import extend_range, match_clip
from .scene.shared_world import Alignment, NoSharedWorld
from .scene.units import checked_unit, metres_per_unit

_WHOLE = 0.0005  # seconds: keyframes that are all nearer to whole frames are put there
_UNEVEN = 0.002  # seconds; containers that round times to milliseconds are off by one
_NEAR_WHOLE = 0.02  # relative: a rate of so nearly a whole number is that number in a clip of uneven frames
_SCALED = 0.005  # relative: a person who is scaled by more is said to be
_LONGEST_PATH = 1023  # bytes that Blender's data hold


def build(
    context: bpy.types.Context, contents: Contents, clip: Path | None, settings: PlacementSettings, report: Report
) -> str:
    """Build the people of a motion file and their camera in the scene, and bake them onto rigs if ``settings`` say so.

    clip: the video behind the camera; None for the one beside the motion file that the file names.
    report: gets warnings and errors after which the import goes on.
    Returns why a bake onto rigs failed; empty if none did. Raises ValueRefused before anything is changed if keyframes
    would lie outside of Blender's frames. After any other exception, everything that was made is removed again.
    """
    contents = _with_hands(contents, settings.hands)
    people = contents.people
    checked_unit(context.scene)
    world = _world(contents, context.scene, report)
    timing = _Timing.of(contents, context.scene, settings, world)
    tracks: list[Motion | SolvedCamera] = [*people, contents.camera]
    keyed = [timing.frames(track.time) for track in tracks]
    for frames in keyed:
        check_frames(frames, contents.path.name)
    rigs: list[bpy.types.Object] = []
    failed = ""
    if settings.to_rigs:
        try:
            rigs = target_rigs(context, settings.rigs)
        except (BakeError, MapError) as error:  # the rig was deleted or renamed while the worker ran
            failed = str(error)
    if context.mode != "OBJECT":
        bpy.ops.object.mode_set(mode="OBJECT")
    selected, active = list(context.selected_objects), context.view_layer.objects.active
    for obj in selected:
        obj.select_set(False)
    before = _everything()
    try:
        if world is None:
            armatures = _build_scene(context, contents, clip, timing, keyed, report)
        else:
            armatures = _join(world, context, contents, timing, keyed, report)
    except Exception:
        if context.mode != "OBJECT":
            bpy.ops.object.mode_set(mode="OBJECT")
        bpy.data.batch_remove(_everything() - before)
        for obj in selected:
            obj.select_set(True)
        context.view_layer.objects.active = active
        raise
    if rigs:
        failed = _bake_onto_rigs(context, armatures, rigs, settings.bake, report)
    hooks.call(context, armatures, report)
    if failed:
        report({"ERROR"}, f"{failed} The motion is there as a new character.")
    return failed


def _with_hands(contents: Contents, choice: str) -> Contents:
    """The people with the hands that the property ``hands`` asks for: FILM, RELAXED or NONE."""
    people = contents.people
    if choice == "NONE":
        people = [replace(person, hand_poses=None, hand_confidence=None) for person in people]
    elif choice == "RELAXED":
        people = []
        for person, (body, _) in zip(contents.people, contents.bodies, strict=True):
            hands = smpl_armature.hands_of(person, body)
            poses = np.tile(relaxed(hands.joints, hands.tips), (len(person), 1, 1))
            people.append(replace(person, hand_poses=poses, hand_confidence=np.zeros((len(person), 2))))
    return replace(contents, people=people)


def _everything() -> set[bpy.types.ID]:
    """All data of the kinds that an import makes."""
    data = bpy.data
    kinds = [data.objects, data.collections, data.armatures, data.meshes, data.materials, data.cameras]
    kinds += [data.actions, data.images]
    return {item for kind in kinds for item in kind}


def _build_scene(
    context: bpy.types.Context,
    contents: Contents,
    clip: Path | None,
    timing: _Timing,
    keyed: list[np.ndarray],
    report: Report,
) -> list[bpy.types.Object]:
    """Build all in a collection of its own; ``keyed``: scene frames of each person and of the camera."""
    people, solved = contents.people, contents.camera
    name, take = _clip_name(contents), uuid.uuid4().hex
    collection = bpy.data.collections.new(name)
    context.scene.collection.children.link(collection)
    armatures = _build_people(contents, take, timing, keyed, collection, report)
    camera_object = _build_camera(f"{name} camera", solved, keyed[-1], collection, checked_unit(context.scene))
    record = camera_object.wham_motion
    record.take, record.size, record.speed = take, solved.size, _speed(people[0])
    record.clip_sha256 = str(people[0].meta.get("clip_sha256") or "")
    record.keyed_rate, record.zero_frame, record.start_frame = timing.scene_rate, timing.zero_frame, timing.start_frame
    _show_film(camera_object, contents, clip, keyed[-1], report)
    # The scene's own settings last, since they would stay if anything failed.
    if timing.takes_clip_rate:
        match_clip(context.scene, camera_object, timing.clip_rate, timing.start_frame, keyed[-1][-1])
        context.scene.frame_set(max(timing.start_frame, 0))  # a frame beside the motion would show no film
    elif context.scene.camera is None:
        context.scene.camera = camera_object
    if cube := scene_settings.startup_cube(context.scene, np.concatenate([person.trans for person in people])):
        cube.hide_set(True)
        report({"INFO"}, f"{cube.name} is hidden, as the character would stand in it")
    return armatures


def _clip_name(contents: Contents) -> str:
    clip_name = Path(str(contents.people[0].meta.get("clip") or "")).name
    return one_line(Path(clip_name or contents.path.name).stem)


def _build_people(
    contents: Contents,
    take: str,
    timing: _Timing,
    keyed: list[np.ndarray],
    collection: bpy.types.Collection,
    report: Report,
) -> list[bpy.types.Object]:
    """Build the characters, each named after the clip and the person's number in it; arguments as `_build_scene`."""
    name, people, armatures = _clip_name(contents), contents.people, []
    for row, (person, body) in enumerate(zip(people, contents.bodies, strict=True)):
        number = _number(person)
        known = number or (row + 1 if len(people) > 1 else 0)
        label = f"{name} Person {known}" if known else name
        armature = _build_character(label, person, body, keyed[row], collection, report)
        _write_metadata(armature, person, take, len(people), timing)
        armature.wham_motion.job = contents.path.parent.name
        armatures.append(armature)
    return armatures


def _world(contents: Contents, scene: bpy.types.Scene, report: Report) -> _World | None:
    """The world of the clip that the people join; None if they get one of their own, with a warning if that is odd."""
    found = shared_world.find(scene, contents.people)
    if found is None:
        return None
    record = found.wham_motion
    frames = record.zero_frame + contents.camera.time * record.keyed_rate
    try:
        alignment = shared_world.align(found, contents.people, contents.camera, frames, _speed(contents.people[0]))
    except (NoSharedWorld, CharacterError) as error:
        why = str(error).rstrip(".")
        report(
            {"WARNING"},
            f"This person does not join the others of {_clip_name(contents)}, but gets a world and a camera of their "
            f"own: {why}. Import the clip again with Person set to All People to have everybody in one world.",
        )
        return None
    return _World(found, alignment)


@dataclass(frozen=True)
class _World:
    """A world in the scene: its camera, and how it differs from the one of the motion file."""

    camera: bpy.types.Object
    alignment: Alignment


def _join(
    world: _World,
    context: bpy.types.Context,
    contents: Contents,
    timing: _Timing,
    keyed: list[np.ndarray],
    report: Report,
) -> list[bpy.types.Object]:
    """Build the people in a world of the scene, under its camera and at its time; arguments as `_build_scene`."""
    camera_object, record, alignment = world.camera, world.camera.wham_motion, world.alignment
    others = [obj for obj in character.imported_with(camera_object, context.scene) if obj.type == "ARMATURE"]
    collection = camera_object.users_collection[0]
    armatures = _build_people(contents, record.take, timing, keyed, collection, report)
    context.view_layer.update()
    character.transform(armatures, alignment.rotation, alignment.offset, alignment.scale)
    shared_world.extend(camera_object, contents.camera, keyed[-1], alignment)
    for armature in (*others, *armatures):
        armature.wham_motion.people = len(others) + len(armatures)
    if timing.takes_clip_rate:
        extend_range(context.scene, keyed[-1][0], keyed[-1][-1])
    said = f"{armatures[0].name} is in the world of {others[0].name}, under its camera and at its time."
    if abs(alignment.scale - 1) > _SCALED:
        said += f" It was scaled by {alignment.scale:.2f}."
    if timing.start_frame != record.start_frame:
        said += f" Start Frame {timing.start_frame} was not used."
    report({"INFO"}, said)
    return armatures


@dataclass(frozen=True)
class _Timing:
    """At which scene frames the frames of a clip are keyed."""

    start_frame: int  # the option
    takes_clip_rate: bool  # the scene takes it, and the range of frames
    clip_rate: float  # frames per second, as the clip is played
    scene_rate: float  # after the import
    zero_frame: float  # scene frame at the clip's time zero

    @classmethod
    def of(
        cls, contents: Contents, scene: bpy.types.Scene, settings: PlacementSettings, world: _World | None
    ) -> _Timing:
        """The timing of everybody in a motion file; in a world that is there already, the one of that."""
        person, frames = contents.people[0], contents.camera
        rate = _rate(person.mocap_framerate, frames.frame, frames.time) / _speed(person)
        if world is not None:
            record = world.camera.wham_motion
            follows = settings.clip_rate is not False and scene.camera == world.camera
            return cls(settings.start_frame, follows, rate, record.keyed_rate, record.zero_frame)
        takes_clip_rate = scene_settings.takes_clip_rate(scene, settings.clip_rate)
        scene_rate = rate if takes_clip_rate else scene_settings.rate_of(scene)
        zero_frame = settings.start_frame - frames.time[0] * scene_rate
        return cls(settings.start_frame, takes_clip_rate, rate, scene_rate, zero_frame)

    def frames(self, time: np.ndarray) -> np.ndarray:
        """Scene frames (F,) at times (F,) in seconds: whole ones if all are as good as that."""
        frames = self.zero_frame + time * self.scene_rate
        whole = np.round(frames)
        return whole if np.abs(frames - whole).max() < _WHOLE * self.scene_rate else np.round(frames, 4)


def _speed(person: Motion) -> float:
    """How many times slower the clip is played than it was filmed."""
    return float(person.meta.get("speed") or 1.0)


def _rate(mean: float, numbers: np.ndarray, times: np.ndarray) -> float:
    """The frame rate of a clip by its frames' numbers and times (F,): the mean, or the usual one if they are uneven."""
    elapsed, passed = times - times[0], numbers - numbers[0]
    if len(times) < 2 or np.abs(elapsed - passed / mean).max() < _UNEVEN:
        return mean
    usual = float(1 / np.median(np.diff(elapsed) / np.diff(passed)))
    whole = max(1, round(usual))
    return whole if abs(usual / whole - 1) < _NEAR_WHOLE else usual


def _show_film(
    camera_object: bpy.types.Object, contents: Contents, clip: Path | None, frames: np.ndarray, report: Report
) -> None:
    """Show the clip as the camera's background, if there is one, or the worker's copy of it where that is needed."""
    meta, numbers = contents.people[0].meta, contents.camera.frame
    name, beside = str(meta.get("clip") or ""), contents.path.parent
    film = clip or beside / Path(name).name
    turned = isinstance(meta.get("settings"), dict) and meta["settings"].get("rotate")  # by versions without copies
    if meta.get("film") or turned:
        film, numbers = beside / str(meta.get("film") or ""), numbers - int(meta.get("film_start") or 1) + 1
        if not film.is_file():
            report(
                {"WARNING"},
                f"{one_line(name)} is not shown behind the camera, as its copy for Blender is not in {beside}. Import "
                "the clip again.",
            )
    if not film.is_file():
        return
    if len(os.fsencode(film)) > _LONGEST_PATH:  # Blender would cut it off, and show a placeholder
        report(
            {"WARNING"},
            f"The path of {one_line(film.name)} is too long for Blender, so the clip is not shown behind the camera. "
            "Move it to a folder with a shorter path to see it.",
        )
        return
    try:
        camera.show_film(camera_object, film, numbers, frames)
    except RuntimeError:  # its format
        report(
            {"WARNING"},
            f"Blender cannot read {one_line(film.name)}, so it is not shown behind the camera. Convert it to MP4.",
        )


def _bake_onto_rigs(
    context: bpy.types.Context,
    armatures: list[bpy.types.Object],
    rigs: list[bpy.types.Object],
    options: Options,
    report: Report,
) -> str:
    """Bake imported characters onto rigs, and hide those that were baked; returns why some failed."""
    context.view_layer.update()
    try:
        done, failed = bake_all(pair_by_name(armatures, rigs), options, report)
    except BakeError as error:
        return str(error)
    for armature in done:
        for obj in (armature, *armature.children):
            obj.select_set(False)
            obj.hide_set(True)
            obj.hide_render = True
    shown = [rig for rig in rigs if rig.name in context.view_layer.objects]  # others cannot be selected
    if not failed and shown:
        for rig in shown:
            rig.select_set(True)
        context.view_layer.objects.active = shown[0]
    return failed


def _build_character(
    name: str,
    person: Motion,
    body: tuple[Body | None, str],
    frames: np.ndarray,
    collection: bpy.types.Collection,
    report: Report,
) -> bpy.types.Object:
    """An armature with its skinned body mesh, if there is one for this motion, and its action; selected."""
    mesh, missing = body
    if missing:
        report({"WARNING"}, f"{missing}: only its bones are made.")
    hands = None if person.hand_poses is None else smpl_armature.hands_of(person, mesh)
    armature = smpl_armature.build(name, person, mesh, collection, hands)
    armature.select_set(True)
    unit = metres_per_unit(armature)
    if unit != 1.0:
        character.scale_data(armature, 1 / unit)
    writer = ActionWriter(armature, name, frames)
    write_pose(writer, armature, person, unit)
    character.write_properties(
        writer, armature, planted(person.contacts), person.contacts, person.confidence, person.visible
    )
    character.write_hand_confidence(writer, armature, person.hand_confidence)
    character.write_clip_frames(writer, armature, person.frame)
    write_places(armature, person)
    return armature


def _build_camera(
    name: str, solved: SolvedCamera, frames: np.ndarray, collection: bpy.types.Collection, unit: float
) -> bpy.types.Object:
    """The solved camera in a scene whose unit of length has ``unit`` metres; it sees as far as in one of metres."""
    camera_object = camera.build(name, replace(solved, t=solved.t / unit), frames, collection)
    for setting in ("clip_start", "clip_end", "display_size"):
        setattr(camera_object.data, setting, getattr(camera_object.data, setting) / unit)
    return camera_object


def _number(person: Motion) -> int:
    """The person's number in the clip, from 1; 0 if the file does not tell."""
    number = person.meta.get("person")
    return number if isinstance(number, int) and 0 < number < 2**31 else 0


def _write_metadata(armature: bpy.types.Object, person: Motion, take: str, people: int, timing: _Timing) -> None:
    """Write what the result panel shows and the edits need to the armature."""
    meta, record = person.meta, armature.wham_motion
    record.take, record.people = take, people
    record.clip, record.film = one_line(str(meta.get("clip") or "")), str(meta.get("film_reason") or "")
    record.clip_rate, record.keyed_rate, record.speed = timing.clip_rate, timing.scene_rate, _speed(person)
    record.person = _number(person)
    record.quality = str(meta.get("quality") or "")
    used = meta.get("weights")
    if isinstance(used, dict):
        names = [f"{Path(str(each.get('name'))).stem} {each.get('version') or ''}".strip() for each in used.values()]
        record.weights = ", ".join(names)
    character.update_statistics(armature, character.read(armature))
