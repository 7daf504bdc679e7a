"""Import a motion file: characters with their actions, the camera and its clip, in one new collection."""

import uuid
from pathlib import Path

import bpy
import numpy as np
from bpy.props import StringProperty

from ... import motion as motion_file
from ...motion import Motion, MotionFileError, planted
from .. import bodies, camera, character, hooks, rig
from ..action import ActionWriter, write_pose
from ..bake import BakeError
from ..options import SECTIONS, draw_names
from ..properties import PlacementOptions
from ..retarget.maps import MapError
from ..scene import take_over_clip
from ..weights_box import library
from .bake import asked_rigs, bake_all, paired


class WHAM_OT_import_motion(PlacementOptions, bpy.types.Operator):
    """Make keyframed characters of a motion file (.npz)."""

    bl_idname = "wham.import_motion"
    bl_label = "Import Motion"
    bl_options = {"REGISTER", "UNDO"}

    filepath: StringProperty(name="Motion", subtype="FILE_PATH", options={"SKIP_SAVE"})
    clip: StringProperty(
        name="Clip",
        description="The video behind the camera; empty for the one of that name beside the motion file",
        subtype="FILE_PATH",
        options={"SKIP_SAVE"},
    )
    filter_glob: StringProperty(default="*.npz", options={"HIDDEN"})

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Ask for the file where none was dropped."""
        if self.filepath:
            return self.execute(context)
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Read the file and build what it holds."""
        if not self.filepath:
            self.report({"ERROR"}, "No motion file was named. Choose an .npz written by Import Video as Motion.")
            return {"CANCELLED"}
        clip = Path(bpy.path.abspath(self.clip)) if self.clip else None
        try:
            asked_rigs(self, context)
            import_file(self, context, Path(bpy.path.abspath(self.filepath)), clip)
        except (BakeError, MapError, MotionFileError) as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        return {"FINISHED"}

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the options."""
        self.layout.use_property_split = True
        draw_names(self.layout, self, ("clip", *SECTIONS["Character"], *SECTIONS["Scene"]))


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
    body, lack = bodies.for_motion(person, library())
    if lack:
        operator.report({"WARNING"}, f"{lack}: only its bones are made.")
    armature = rig.build(name, person, body, collection)
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
