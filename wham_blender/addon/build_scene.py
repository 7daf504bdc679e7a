"""Builds the scene of a motion file: characters, their actions, the solved camera and its clip, in one collection."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import bpy
import numpy as np

from ..motion import Motion, planted
from . import hooks
from .properties import PlacementSettings
from .retarget.bake import BakeError, Options
from .retarget.bake_all import Report, bake_all, pair_by_name, target_rigs
from .retarget.maps import MapError
from .scene import camera, character, smpl_armature
from .scene.action import ActionWriter, write_pose
from .scene.body_mesh import Body
from .scene.camera import SolvedCamera
from .scene.checks import check_frames
from .scene.reading import Contents, Reading
from .scene.scene_settings import match_clip
from .scene.units import checked_unit, metres_per_unit
from .settings import library


def import_file(
    context: bpy.types.Context, path: Path, clip: Path | None, settings: PlacementSettings, report: Report
) -> str:
    """Read a motion file and `build` what it holds. Raises MotionFileError, too, if the file cannot be read."""
    return build(context, Reading(path, library()).result(), clip, settings, report)


def build(
    context: bpy.types.Context, contents: Contents, clip: Path | None, settings: PlacementSettings, report: Report
) -> str:
    """Build the people of a motion file and their camera in the scene, and bake them onto rigs if ``settings`` say so.

    clip: the video behind the camera; None for the one beside the motion file that the file names.
    report: gets warnings and errors after which the import goes on.
    Returns why a bake onto rigs failed; empty if none did. Raises ValueRefused before anything is changed if keyframes
    would lie outside of Blender's frames. After any other exception, everything that was made is removed again.
    """
    people = contents.people
    checked_unit(context.scene)
    timing = _Timing.of(people, context.scene, settings)
    tracks: list[Motion | SolvedCamera] = [*people, contents.camera]
    keyed = [timing.frames(track.frame, track.time) for track in tracks]
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
        armatures = _build_scene(context, contents, clip, timing, keyed, report)
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


def _everything() -> set[bpy.types.ID]:
    """All data of the kinds that an import makes."""
    data = bpy.data
    kinds = (data.objects, data.collections, data.armatures, data.meshes, data.cameras, data.actions, data.movieclips)
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
    clip_name = Path(str(people[0].meta.get("clip") or "")).name
    name = Path(clip_name or contents.path.name).stem
    take = uuid.uuid4().hex
    collection = bpy.data.collections.new(name)
    context.scene.collection.children.link(collection)
    armatures = []
    for number, (person, body) in enumerate(zip(people, contents.bodies, strict=True), 1):
        label = name if len(people) == 1 else f"{name} person {number}"
        armature = _build_character(label, person, body, keyed[number - 1], collection, report)
        _write_metadata(armature, person, take, len(people), timing.scene_rate)
        armatures.append(armature)
    camera_object = _build_camera(f"{name} camera", solved, keyed[-1], collection, checked_unit(context.scene))
    camera_object.wham_motion.take, camera_object.wham_motion.size = take, solved.size
    _show_clip(camera_object, clip or contents.path.parent / clip_name, camera.rotation_of_clip(people), timing, report)
    # The scene's own settings last, since they would stay if anything failed.
    if timing.settings.clip_rate:
        match_clip(context.scene, camera_object, timing.clip_rate, timing.settings.start_frame, keyed[-1][-1])
    elif context.scene.camera is None:
        context.scene.camera = camera_object
    return armatures


@dataclass(frozen=True)
class _Timing:
    """At which scene frames the frames of a clip are keyed."""

    settings: PlacementSettings
    clip_rate: float  # frames per second
    scene_rate: float  # after the import
    first_frame: int  # of the clip, from 1
    first_time: float  # seconds

    @classmethod
    def of(cls, people: Sequence[Motion], scene: bpy.types.Scene, settings: PlacementSettings) -> _Timing:
        """The timing of everybody in a motion file."""
        rate = people[0].mocap_framerate
        return cls(
            settings,
            clip_rate=rate,
            scene_rate=rate if settings.clip_rate else scene.render.fps / scene.render.fps_base,
            first_frame=min(person.frame[0] for person in people),
            first_time=min(person.time[0] for person in people),
        )

    def frames(self, frame: np.ndarray, time: np.ndarray) -> np.ndarray:
        """Scene frames (F,) of clip frames (F,) and their times (F,) in seconds."""
        if self.settings.clip_rate:
            return self.settings.start_frame + (frame - self.first_frame).astype(float)
        return self.settings.start_frame + np.round((time - self.first_time) * self.scene_rate, 4)


def _show_clip(camera_object: bpy.types.Object, clip: Path, rotate: int, timing: _Timing, report: Report) -> None:
    """Show the clip as the camera's background, if there is one."""
    if not clip.is_file():
        return
    camera.show_clip(camera_object, clip, timing.settings.start_frame - int(timing.first_frame) + 1, rotate)
    if abs(timing.scene_rate / timing.clip_rate - 1) > 1e-3:
        report(
            {"WARNING"},
            f"The scene runs at {timing.scene_rate:g} fps and the clip at {timing.clip_rate:g}: the background will "
            "be out of sync. Import with the clip's frame rate to see it in sync.",
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
    armature = smpl_armature.build(name, person, mesh, collection)
    armature.select_set(True)
    unit = metres_per_unit(armature)
    if unit != 1.0:
        character.scale_data(armature, 1 / unit)
    writer = ActionWriter(armature, name, frames)
    write_pose(writer, armature, person, unit)
    character.write_properties(
        writer, armature, planted(person.contacts), person.contacts, person.confidence, person.visible
    )
    return armature


def _build_camera(
    name: str, solved: SolvedCamera, frames: np.ndarray, collection: bpy.types.Collection, unit: float
) -> bpy.types.Object:
    """The solved camera in a scene whose unit of length has ``unit`` metres; it sees as far as in one of metres."""
    camera_object = camera.build(name, replace(solved, t=solved.t / unit), frames, collection)
    for setting in ("clip_start", "clip_end", "display_size"):
        setattr(camera_object.data, setting, getattr(camera_object.data, setting) / unit)
    return camera_object


def _write_metadata(armature: bpy.types.Object, person: Motion, take: str, people: int, rate: float) -> None:
    """Write what the result panel shows and the edits need to the armature; ``rate`` is the scene's."""
    meta, record = person.meta, armature.wham_motion
    record.take, record.people = take, people
    record.clip, record.clip_rate, record.keyed_rate = str(meta.get("clip") or ""), person.mocap_framerate, rate
    record.quality = str(meta.get("quality") or "")
    used = meta.get("weights")
    if isinstance(used, dict):
        names = [f"{Path(str(each.get('name'))).stem} {each.get('version') or ''}".strip() for each in used.values()]
        record.weights = ", ".join(names)
    character.update_statistics(armature, character.read(armature))
