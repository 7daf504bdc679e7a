"""Builds the scene of a motion file: characters, their actions, the solved camera and its clip, in one collection."""

import uuid
from pathlib import Path

import bpy
import numpy as np

from .. import motion as motion_file
from ..motion import Motion, planted
from . import hooks
from .retarget.bake import BakeError
from .retarget.bake_all import asked_rigs, bake_all, paired
from .retarget.maps import MapError
from .scene import body_mesh, camera, character, smpl_armature
from .scene.action import ActionWriter, write_pose
from .scene.scene_settings import take_over_clip
from .settings import library


def import_file(operator: bpy.types.Operator, context: bpy.types.Context, path: Path, clip: Path | None) -> str:
    """Bring the people of a motion file into the scene, and onto rigs, as the operator's PlacementOptions say.

    Raises MotionFileError where the file is none; what is less than whole is reported through the operator. Returns
    why rigs did not get their motion; empty where all that were asked for did.
    """
    people = motion_file.load(path)
    try:
        rigs, failed = asked_rigs(operator, context), ""
    except (BakeError, MapError) as problem:  # the rig was there when the import began
        rigs, failed = [], str(problem)
    clip_name = Path(str(people[0].meta.get("clip") or "")).name
    if clip is None:
        clip = path.parent / clip_name
    if context.mode != "OBJECT":
        bpy.ops.object.mode_set(mode="OBJECT")
    for selected in context.selected_objects:
        selected.select_set(False)

    scene = context.scene
    name = Path(clip_name or path.name).stem
    rate = people[0].mocap_framerate
    scene_rate = rate if operator.fps == "CLIP" else scene.render.fps / scene.render.fps_base
    first_frame = min(person.frame[0] for person in people)
    first_time = min(person.time[0] for person in people)

    def place(frame: np.ndarray, time: np.ndarray) -> np.ndarray:
        if operator.fps == "CLIP":
            return operator.start_frame + (frame - first_frame).astype(float)
        return operator.start_frame + np.round((time - first_time) * scene_rate, 4)

    take = uuid.uuid4().hex
    collection = bpy.data.collections.new(name)
    scene.collection.children.link(collection)
    armatures = []
    for number, person in enumerate(people, 1):
        label = name if len(people) == 1 else f"{name} person {number}"
        armature = _build_character(operator, label, person, place(person.frame, person.time), collection)
        _note(armature, person, take, len(people), scene_rate)
        armatures.append(armature)

    solved = camera.of_people(people)
    frames = place(solved.frame, solved.time)
    seen_from = camera.build(f"{name} camera", solved, frames, collection)
    seen_from.wham_motion.take, seen_from.wham_motion.size = take, solved.size
    if operator.fps == "CLIP":
        take_over_clip(scene, seen_from, rate, operator.start_frame, frames[-1])
    elif scene.camera is None:
        scene.camera = seen_from
    if clip.is_file():
        camera.show_clip(seen_from, clip, operator.start_frame - int(first_frame) + 1)
        if abs(scene_rate / rate - 1) > 1e-3:
            operator.report(
                {"WARNING"},
                f"The scene runs at {scene_rate:g} fps and the clip at {rate:g}: the background will not keep step. "
                "Import with the clip's frame rate to see it in step.",
            )
    if rigs:
        failed = _onto_rigs(operator, context, armatures, rigs)
    hooks.call(operator, context, armatures)
    if failed:
        operator.report({"ERROR"}, f"{failed} The motion is there as a new character.")
    return failed


def _onto_rigs(
    operator: bpy.types.Operator,
    context: bpy.types.Context,
    armatures: list[bpy.types.Object],
    rigs: list[bpy.types.Object],
) -> str:
    """Bake what was imported onto rigs, and hide what has given its motion; returns why some failed."""
    context.view_layer.update()
    try:
        done, failed = bake_all(operator, paired(armatures, rigs))
    except BakeError as problem:
        return str(problem)
    for armature in done:
        for thing in (armature, *armature.children):
            thing.select_set(False)
            thing.hide_set(True)
            thing.hide_render = True
    if not failed:
        for rig in rigs:
            rig.select_set(True)
        context.view_layer.objects.active = rigs[0]
    return failed


def _build_character(
    operator: bpy.types.Operator, name: str, person: Motion, frames: np.ndarray, collection: bpy.types.Collection
) -> bpy.types.Object:
    body, lack = body_mesh.for_motion(person, library())
    if lack:
        operator.report({"WARNING"}, f"{lack}: only its bones are made.")
    armature = smpl_armature.build(name, person, body, collection)
    armature.select_set(True)
    writer = ActionWriter(armature, name, frames)
    write_pose(writer, armature, person)
    character.write_tracks(
        writer, armature, planted(person.contacts), person.contacts, person.confidence, person.visible
    )
    return armature


def _note(armature: bpy.types.Object, person: Motion, take: str, people: int, rate: float) -> None:
    """Keep on the armature what the result panel says and the edits need."""
    meta, record = person.meta, armature.wham_motion
    record.take, record.people = take, people
    record.clip, record.clip_rate, record.keyed_rate = str(meta.get("clip") or ""), person.mocap_framerate, rate
    record.quality = str(meta.get("quality") or "")
    used = meta.get("weights")
    if isinstance(used, dict):
        names = [f"{Path(str(each.get('name'))).stem} {each.get('version') or ''}".strip() for each in used.values()]
        record.weights = ", ".join(names)
    character.measure(armature, character.read(armature))
