"""Import a motion file: characters with their actions, the camera and its clip, in one new collection."""

import uuid
from pathlib import Path

import bpy
import numpy as np
from bpy.props import StringProperty

from ... import motion as motion_file
from ... import weights
from ...motion import Motion, MotionFileError, planted
from .. import camera, character, rig
from ..action import ActionWriter, write_pose
from ..properties import PlacementOptions
from ..scene import take_over_clip


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
        clip = Path(bpy.path.abspath(self.clip)) if self.clip else None
        try:
            import_file(self, context, Path(bpy.path.abspath(self.filepath)), clip)
        except MotionFileError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        return {"FINISHED"}


def import_file(operator: bpy.types.Operator, context: bpy.types.Context, path: Path, clip: Path | None) -> None:
    """Bring the people of a motion file into the scene as the operator's PlacementOptions say.

    Raises MotionFileError where the file is none; what is less than whole is reported through the operator.
    """
    people = motion_file.load(path)
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
    for number, person in enumerate(people, 1):
        label = name if len(people) == 1 else f"{name} person {number}"
        armature = _build_character(operator, label, person, place(person.frame, person.time), collection)
        _note(armature, person, take, len(people), scene_rate)

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


def _build_character(
    operator: bpy.types.Operator, name: str, person: Motion, frames: np.ndarray, collection: bpy.types.Collection
) -> bpy.types.Object:
    try:
        body = rig.shape_body(weights.find("body").path, person)
        lack = "" if body else "The motion was made with another body than the one that ships inside"
    except weights.WeightsError as error:
        body, lack = None, str(error).removesuffix(".")
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
