"""Builds the scene of a motion file: characters, their actions, the solved camera and its clip, in one collection."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import bpy
import numpy as np

from .. import motion as motion_file
from ..motion import Motion, planted
from . import hooks
from .properties import PlacementSettings
from .retarget.bake import BakeError, Options
from .retarget.bake_all import Report, bake_all, pair_by_name, target_rigs
from .retarget.maps import MapError
from .scene import body_mesh, camera, character, smpl_armature
from .scene.action import ActionWriter, write_pose
from .scene.scene_settings import match_clip
from .settings import library


def import_file(
    context: bpy.types.Context, path: Path, clip: Path | None, settings: PlacementSettings, report: Report
) -> str:
    """Build the people of a motion file and their camera in the scene, and bake them onto rigs if ``settings`` say so.

    clip: the video behind the camera; None for the one beside the motion file that the file names.
    report: gets warnings and errors after which the import goes on.
    Raises MotionFileError if the file cannot be read. Returns why a bake onto rigs failed; empty if none did.
    """
    people = motion_file.load(path)
    rigs: list[bpy.types.Object] = []
    failed = ""
    if settings.to_rigs:
        try:
            rigs = target_rigs(context, settings.rigs)
        except (BakeError, MapError) as error:  # the rig was deleted or renamed while the worker ran
            failed = str(error)
    clip_name = Path(str(people[0].meta.get("clip") or "")).name
    if context.mode != "OBJECT":
        bpy.ops.object.mode_set(mode="OBJECT")
    for selected in context.selected_objects:
        selected.select_set(False)

    name = Path(clip_name or path.name).stem
    timing = _Timing.of(people, context.scene, settings)
    take = uuid.uuid4().hex
    collection = bpy.data.collections.new(name)
    context.scene.collection.children.link(collection)
    armatures = []
    for number, person in enumerate(people, 1):
        label = name if len(people) == 1 else f"{name} person {number}"
        armature = _build_character(label, person, timing.frames(person.frame, person.time), collection, report)
        _write_metadata(armature, person, take, len(people), timing.scene_rate)
        armatures.append(armature)
    solved = camera.of_people(people)
    camera_object = camera.build(f"{name} camera", solved, timing.frames(solved.frame, solved.time), collection)
    camera_object.wham_motion.take, camera_object.wham_motion.size = take, solved.size
    if settings.clip_rate:
        last_frame = timing.frames(solved.frame, solved.time)[-1]
        match_clip(context.scene, camera_object, timing.clip_rate, settings.start_frame, last_frame)
    elif context.scene.camera is None:
        context.scene.camera = camera_object
    _show_clip(camera_object, clip or path.parent / clip_name, timing, report)
    if rigs:
        failed = _bake_onto_rigs(context, armatures, rigs, settings.bake, report)
    hooks.call(context, armatures, report)
    if failed:
        report({"ERROR"}, f"{failed} The motion is there as a new character.")
    return failed


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


def _show_clip(camera_object: bpy.types.Object, clip: Path, timing: _Timing, report: Report) -> None:
    """Show the clip as the camera's background, if there is one."""
    if not clip.is_file():
        return
    camera.show_clip(camera_object, clip, timing.settings.start_frame - int(timing.first_frame) + 1)
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
    if not failed:
        for rig in rigs:
            rig.select_set(True)
        context.view_layer.objects.active = rigs[0]
    return failed


def _build_character(
    name: str, person: Motion, frames: np.ndarray, collection: bpy.types.Collection, report: Report
) -> bpy.types.Object:
    """An armature with its skinned body mesh, if there is one for this motion, and its action; selected."""
    body, missing = body_mesh.for_motion(person, library())
    if missing:
        report({"WARNING"}, f"{missing}: only its bones are made.")
    armature = smpl_armature.build(name, person, body, collection)
    armature.select_set(True)
    writer = ActionWriter(armature, name, frames)
    write_pose(writer, armature, person)
    character.write_properties(
        writer, armature, planted(person.contacts), person.contacts, person.confidence, person.visible
    )
    return armature


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
