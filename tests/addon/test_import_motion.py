"""Import Motion: skeleton, skin, contacts and camera of the evaluated scene match the motion file."""

import re
import shutil
import threading
from dataclasses import replace

import bpy
import numpy as np
import pytest
from bpy_extras.object_utils import world_to_camera_view
from mathutils import Vector

from tests.addon.conftest import CLIP, DELIVER, import_file, make_motion
from tests.rigs import make
from wham_blender import limits, weights
from wham_blender import motion as motion_file
from wham_blender.addon import build_scene, hooks, settings
from wham_blender.addon.jobs.job_record import Status
from wham_blender.addon.jobs.queue import job_queue
from wham_blender.addon.operators import reading as reading_operator
from wham_blender.addon.properties import PlacementSettings, placement_settings
from wham_blender.addon.retarget.bake_all import bake_all, pair_by_name, target_rigs
from wham_blender.addon.retarget.bake_options import BakeError, Options
from wham_blender.addon.scene import reading
from wham_blender.addon.scene.action import ActionKeys
from wham_blender.errors import CodedError
from wham_blender.motion import forward_kinematics, planted
from wham_blender.skeleton import FOOT_POINTS, JOINT_NAMES

MILLIMETRE = 0.001


def objects(kind, collection=None):
    return [o for o in (collection or bpy.data.collections["dance"]).objects if o.type == kind]


def curves(action):
    """All curves of an action, before and after 4.4."""
    if hasattr(action, "slots"):
        (slot,), (layer,) = action.slots, action.layers
        return list(layer.strips[0].channelbag(slot).fcurves)
    return list(action.fcurves)


def go_to(frame):
    whole = int(np.floor(frame))
    bpy.context.scene.frame_set(whole, subframe=frame - whole)
    return bpy.context.evaluated_depsgraph_get()


@pytest.mark.parametrize(
    ("fps", "scene_fps", "start", "expected"),
    [
        ("CLIP", 24, 1, lambda row: 1 + row),
        ("SCENE", 25, 100, lambda row: 100 + row),
        ("SCENE", 24, -3, lambda row: -3 + row * 24 / 25),
    ],
)
def test_joints_and_rotations_match_the_motion_file(motion, motion_path, fps, scene_fps, start, expected):
    bpy.context.scene.render.fps = scene_fps
    assert bpy.ops.wham.import_motion(filepath=str(motion_path), fps=fps, start_frame=start) == {"FINISHED"}
    (armature,) = objects("ARMATURE")
    assert sorted(armature.data.bones.keys()) == sorted(JOINT_NAMES)
    positions, rotations = forward_kinematics(motion.poses, motion.trans, motion.rest_joints)
    upright = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]])
    for row in range(len(motion)):
        evaluated = armature.evaluated_get(go_to(expected(row)))
        for joint, name in enumerate(JOINT_NAMES):
            bone = evaluated.pose.bones[name]
            head = evaluated.matrix_world @ bone.head
            assert np.linalg.norm(np.array(head) - positions[row, joint]) < MILLIMETRE, (row, name)
            rotation = np.array(bone.matrix.to_3x3()) @ np.array(bone.bone.matrix_local.to_3x3()).T
            assert np.abs(rotation @ upright - rotations[row, joint]).max() < 1e-4, (row, name)


def test_quaternion_keys_do_not_change_sign(motion, motion_path):
    bpy.ops.wham.import_motion(filepath=str(motion_path))
    (armature,) = objects("ARMATURE")
    found = {(c.data_path, c.array_index): c for c in curves(armature.animation_data.action)}
    assert len(found) == 3 + 24 * 4 + 4 + 4 + 3
    for name in JOINT_NAMES:
        assert armature.pose.bones[name].rotation_mode == "QUATERNION"
        path = f'pose.bones["{name}"].rotation_quaternion'
        keys = np.array([[k.co[1] for k in found[path, i].keyframe_points] for i in range(4)]).T
        assert len(keys) == len(motion)
        assert np.sum(keys[1:] * keys[:-1], axis=1).min() > 0, name
        assert np.abs(np.linalg.norm(keys, axis=1) - 1).max() < 1e-5
        assert found[path, 0].group.name == name
    steps = {f'["{name}"]' for name in (*(f"contact_{point}" for point in FOOT_POINTS), "seen")}
    for (path, _), curve in found.items():
        assert {k.interpolation for k in curve.keyframe_points} == {"CONSTANT" if path in steps else "LINEAR"}


def test_rest_pose_is_upright_and_faces_minus_y(motion_path):
    bpy.ops.wham.import_motion(filepath=str(motion_path))
    (armature,), (skin,) = objects("ARMATURE"), objects("MESH")
    bones = armature.data.bones
    assert bones["head"].head_local.z > bones["pelvis"].head_local.z > bones["left_knee"].head_local.z
    assert bones["left_foot"].head_local.y < bones["left_ankle"].head_local.y
    assert bones["left_hand"].head_local.x > 0 > bones["right_hand"].head_local.x
    lowest = min(vertex.co.z for vertex in skin.data.vertices)
    assert lowest == pytest.approx(0, abs=1e-6)
    assert bones["left_knee"].tail_local == bones["left_ankle"].head_local
    left, right = (np.array(bones[f"{side}_elbow"].matrix_local.to_3x3()) for side in ("left", "right"))
    assert left[:, 2] @ right[:, 2] > 0.9  # z axes alike on both sides


def test_skin_matches_linear_blend_skinning(motion, motion_path, body):
    bpy.ops.wham.import_motion(filepath=str(motion_path), fps="CLIP")
    (skin,) = objects("MESH")
    rest = body["v_template"] + body["shapedirs"] @ motion.betas
    positions, rotations = forward_kinematics(motion.poses, motion.trans, motion.rest_joints)
    for row in (0, 13, len(motion) - 1):
        mesh = skin.evaluated_get(go_to(1 + row)).data
        moved = np.empty((len(rest), 3), np.float32)
        mesh.vertices.foreach_get("co", moved.ravel())
        by_joint = np.einsum("jab,vjb->vja", rotations[row], rest[:, None] - motion.rest_joints) + positions[row]
        expected = np.einsum("vj,vja->va", body["weights"], by_joint)
        assert np.abs(moved - expected).max() < MILLIMETRE


def test_contacts_are_keyed_and_marked(motion, motion_path):
    bpy.ops.wham.import_motion(filepath=str(motion_path), fps="CLIP", start_frame=5)
    (armature,) = objects("ARMATURE")
    down = planted(motion.contacts)
    for row in range(len(motion)):
        go_to(5 + row)
        assert [armature[f"contact_{point}"] for point in FOOT_POINTS] == down[row].tolist()
        likely = [armature[f"contact_probability_{point}"] for point in FOOT_POINTS]
        assert np.abs(likely - motion.contacts[row]).max() < 1e-6
    markers = sorted((m.frame, m.name) for m in armature.animation_data.action.pose_markers)
    feet = {"L step": np.any(down[:, :2], axis=1), "R step": np.any(down[:, 2:], axis=1)}
    landed = {name: foot & ~np.append(False, foot[:-1]) for name, foot in feet.items()}
    assert markers == sorted((5 + row, name) for name, rows in landed.items() for row in np.flatnonzero(rows))
    assert len(markers) > 4


def test_contacts_have_keys_only_where_they_change(motion, motion_path):
    bpy.ops.wham.import_motion(filepath=str(motion_path), fps="CLIP", start_frame=5)
    (armature,) = objects("ARMATURE")
    down = planted(motion.contacts)
    for index, point in enumerate(FOOT_POINTS):
        changes = {5 + row for row in range(1, len(down)) if down[row, index] != down[row - 1, index]}
        keyed = ActionKeys(armature).frames_of(f'["contact_{point}"]')
        assert set(keyed) == changes | {5, 4 + len(down)}


def test_camera_projects_joints_to_the_clips_pixels(motion, motion_path):
    bpy.ops.wham.import_motion(filepath=str(motion_path), fps="CLIP")
    scene = bpy.context.scene
    (camera,) = objects("CAMERA")
    assert scene.camera == camera
    assert (scene.render.resolution_x, scene.render.resolution_y) == (1280, 720)
    joints = motion.joints()
    for row in range(0, len(motion), 7):
        go_to(1 + row)
        seen = (joints[row] @ motion.camera_R[row].T + motion.camera_t[row]) @ motion.camera_K.T
        for point, (x, y, depth) in zip(joints[row], seen, strict=True):
            u, v, _ = world_to_camera_view(scene, camera, Vector(point))
            assert abs(u * 1280 - x / depth) < 1
            assert abs((1 - v) * 720 - y / depth) < 1


def test_static_camera_has_no_keys(motion, tmp_path, body):
    still = make_motion(body)
    still.camera_R[:], still.camera_t[:] = still.camera_R[0], still.camera_t[0]
    motion_file.save(tmp_path / "still.npz", [still])
    bpy.ops.wham.import_motion(filepath=str(tmp_path / "still.npz"))
    (camera,) = objects("CAMERA")
    assert camera.animation_data is None
    assert np.linalg.norm(camera.location) == pytest.approx(np.hypot(5, 1.2), abs=1e-4)


def test_clip_beside_the_file_is_the_background(motion_path):
    bpy.ops.wham.import_motion(filepath=str(motion_path))
    assert not objects("CAMERA")[0].data.background_images
    shutil.copy(CLIP, motion_path.with_name("dance.mp4"))
    bpy.ops.wham.import_motion(filepath=str(motion_path), fps="CLIP", start_frame=50)
    (camera,) = objects("CAMERA", bpy.data.collections["dance.001"])
    (background,) = camera.data.background_images
    assert camera.data.show_background_images
    assert background.image.size[:] == (1768, 994)
    # Row 0 is the clip's frame 11: at scene frame 50 the background must show that one, the tenth after the first.
    bpy.context.scene.frame_set(50)
    assert background.image_user.frame_offset == 10


def test_a_clip_that_an_earlier_version_turned_is_not_shown_lying(body, tmp_path):
    motion = make_motion(body)
    shutil.copy(CLIP, tmp_path / "dance.mp4")
    motion.meta["settings"] = {"rotate": 90}
    motion_file.save(tmp_path / "turned.npz", [motion])
    assert bpy.ops.wham.import_motion(filepath=str(tmp_path / "turned.npz")) == {"FINISHED"}
    assert not objects("CAMERA")[0].data.background_images


def test_scene_takes_the_clips_rate_and_range(motion_path, tmp_path, body):
    scene = bpy.context.scene
    bpy.ops.wham.import_motion(filepath=str(motion_path), fps="CLIP", start_frame=3)
    assert (scene.render.fps, scene.frame_start, scene.frame_end) == (25, 3, 42)
    motion_file.save(tmp_path / "ntsc.npz", [make_motion(body, rate=30000 / 1001)])
    bpy.ops.wham.import_motion(filepath=str(tmp_path / "ntsc.npz"), fps="CLIP")
    assert scene.render.fps == 30
    assert scene.render.fps_base == pytest.approx(1.001)
    motion_file.save(tmp_path / "phone.npz", [make_motion(body, rate=30.02)])
    bpy.ops.wham.import_motion(filepath=str(tmp_path / "phone.npz"), fps="CLIP")
    assert scene.render.fps == 30
    assert scene.render.fps / scene.render.fps_base == pytest.approx(30.02)


def test_scenes_own_settings_stay_unless_the_clips_are_asked_for(motion_path):
    scene = bpy.context.scene
    render = scene.render
    render.resolution_x, render.resolution_y, render.resolution_percentage = 640, 360, 50
    render.pixel_aspect_x, scene.frame_start, scene.frame_end = 2.0, 5, 9
    bpy.ops.wham.import_motion(filepath=str(motion_path), start_frame=100, fps="SCENE")
    (first,) = objects("CAMERA")
    assert scene.camera == first  # there was none
    bpy.ops.wham.import_motion(filepath=str(motion_path), fps="SCENE")
    assert scene.camera == first
    assert (render.resolution_x, render.resolution_y, render.resolution_percentage) == (640, 360, 50)
    assert (render.fps, render.pixel_aspect_x, scene.frame_start, scene.frame_end) == (24, 2.0, 5, 9)
    bpy.ops.wham.import_motion(filepath=str(motion_path), fps="CLIP")
    assert scene.camera != first
    assert (render.resolution_x, render.resolution_y, render.resolution_percentage) == (1280, 720, 100)
    assert (render.fps, render.pixel_aspect_x, scene.frame_start, scene.frame_end) == (25, 1.0, 1, 40)


def test_a_character_does_not_stand_in_the_cube_of_the_first_scene(motion_path):
    bpy.ops.mesh.primitive_cube_add()
    cube = bpy.context.object
    cube.location.x = 0.5
    bpy.ops.wham.import_motion(filepath=str(motion_path))
    assert cube.visible_get()  # somebody has moved it
    cube.location.x = 0
    bpy.context.view_layer.update()
    bpy.ops.wham.import_motion(filepath=str(motion_path))
    assert not cube.visible_get()


def test_one_undo_removes_the_import(motion_path):
    kept = ("objects", "actions", "collections", "armatures", "meshes", "cameras")
    bpy.ops.mesh.primitive_cube_add()
    bpy.ops.ed.undo_push(message="a cube")
    before = {kind: sorted(getattr(bpy.data, kind).keys()) for kind in kept}
    bpy.ops.wham.import_motion("EXEC_DEFAULT", True, filepath=str(motion_path))
    assert all(len(getattr(bpy.data, kind)) > len(before[kind]) for kind in kept)
    bpy.ops.ed.undo()
    assert {kind: sorted(getattr(bpy.data, kind).keys()) for kind in kept} == before
    bpy.ops.ed.redo()
    assert objects("ARMATURE")[0].animation_data.action


def test_motion_without_a_clips_name_is_named_after_its_file(motion, tmp_path, body):
    nameless = make_motion(body)
    nameless.meta["clip"] = None
    motion_file.save(tmp_path / "jump.npz", [nameless])
    assert bpy.ops.wham.import_motion(filepath=str(tmp_path / "jump.npz")) == {"FINISHED"}
    assert objects("ARMATURE", bpy.data.collections["jump"])


def test_second_import_does_not_change_the_first(motion_path):
    bpy.ops.wham.import_motion(filepath=str(motion_path), fps="CLIP")
    first = bpy.data.collections["dance"]
    (armature,) = objects("ARMATURE")
    names = sorted(o.name for o in first.objects)
    go_to(20)
    before = [np.array(bone.matrix) for bone in armature.pose.bones]
    bpy.ops.wham.import_motion(filepath=str(motion_path), fps="CLIP", start_frame=30)
    assert sorted(o.name for o in first.objects) == names
    (second,) = objects("ARMATURE", bpy.data.collections["dance.001"])
    assert second.animation_data.action != armature.animation_data.action
    assert second.data != armature.data
    go_to(20)
    assert all((np.array(b.matrix) == m).all() for b, m in zip(armature.pose.bones, before, strict=True))


def test_all_people_of_a_file_and_their_one_camera(motion, tmp_path, body):
    other = make_motion(body, seed=1)
    other.frame += 10
    other.time += 10 / 25
    motion_file.save(tmp_path / "two.npz", [motion, other])
    bpy.ops.wham.import_motion(filepath=str(tmp_path / "two.npz"), fps="CLIP")
    first, second = objects("ARMATURE")
    assert (first.name, second.name) == ("dance Person 1", "dance Person 2")
    assert len(objects("CAMERA")) == 1
    evaluated = second.evaluated_get(go_to(1 + 10 + 4))
    assert np.linalg.norm(np.array(evaluated.pose.bones["head"].head) - other.joints()[4, 15]) < MILLIMETRE
    assert len({mesh.data.materials[0] for mesh in objects("MESH")}) == 1
    bones = first.data.bones
    assert {c.name: len(c.bones) for c in first.data.collections} == {"Center": 6, "Left": 9, "Right": 9}
    assert bones["left_knee"].color.palette != bones["right_knee"].color.palette


def test_motion_of_another_body_gets_no_mesh(motion, tmp_path, body):
    taller = make_motion(body)
    taller.rest_joints *= 1.1
    motion_file.save(tmp_path / "taller.npz", [taller])
    bpy.ops.wham.import_motion(filepath=str(tmp_path / "taller.npz"), fps="CLIP")
    (armature,) = objects("ARMATURE")
    assert not objects("MESH")
    evaluated = armature.evaluated_get(go_to(8))
    assert np.linalg.norm(np.array(evaluated.pose.bones["left_hand"].head) - taller.joints()[7, 22]) < MILLIMETRE


def test_missing_body_file_gets_no_mesh(motion_path, monkeypatch, tmp_path):
    monkeypatch.setattr(weights, "folder", lambda: tmp_path)
    assert bpy.ops.wham.import_motion(filepath=str(motion_path)) == {"FINISHED"}
    assert objects("ARMATURE")
    assert not objects("MESH")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "There is no file bad.npz"),
        (b"", "bad.npz is not a motion file"),
        (b"PK\x03\x04 half a zip", "bad.npz is not a motion file"),
        ({"poses": np.zeros((3, 72))}, "bad.npz lacks something a motion file needs"),
    ],
)
def test_bad_files_raise_a_message(tmp_path, content, sentence):
    path = tmp_path / "bad.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content:
        np.savez(path, **content)
    with pytest.raises(RuntimeError, match=sentence):
        bpy.ops.wham.import_motion(filepath=str(path))
    assert not bpy.data.collections
    assert not bpy.data.actions


def everything():
    kinds = ("objects", "collections", "armatures", "meshes", "cameras", "actions", "images", "shape_keys")
    return {kind: sorted(getattr(bpy.data, kind).keys()) for kind in kinds}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"poses": np.array([object()])}, "bad.npz is not a motion file"),
        ({"meta": '{"weights": {"wham": "a text"}}'}, "meta.weights.wham is 'a text', not an object"),
        ({"meta": '{"size": "large"}'}, "meta.size is 'large', not a list"),
        ({"meta": '{"size": [0, 0]}'}, "meta.size"),
        ({"meta": '{"clip": {"name": "dance.mp4"}}'}, "meta.clip is a dict, not a text"),
        ({"meta": '{"quality": "full\\u0000"}'}, "meta holds a null character"),
        ({"camera_R": np.zeros((40, 3, 3))}, "camera_R holds a matrix that is no rotation"),
        ({"frame": np.ones(40, int)}, "frame does not rise"),
    ],
)
def test_nothing_is_built_of_a_file_with_a_wrong_value(motion_path, tmp_path, values, words):
    with np.load(motion_path) as data:
        np.savez(tmp_path / "bad.npz", **dict(data) | values)
    bpy.ops.mesh.primitive_cube_add()
    before = everything()
    with pytest.raises(RuntimeError, match=re.escape(words)):
        bpy.ops.wham.import_motion(filepath=str(tmp_path / "bad.npz"))
    assert everything() == before
    assert bpy.context.selected_objects == [bpy.data.objects["Cube"]]


@pytest.mark.parametrize(
    ("start", "rate", "words"),
    [
        (1_048_540, "CLIP", "would be at frame 1048575"),
        (2**30, "SCENE", "would be at frame"),
        (-(2**20), "CLIP", "at frame -1048576"),
    ],
)
def test_keys_beyond_blenders_frames_are_refused(motion_path, start, rate, words):
    bpy.ops.mesh.primitive_cube_add()
    bpy.ops.object.mode_set(mode="EDIT")
    before = everything()
    with pytest.raises(CodedError, match=words):
        settings = PlacementSettings(start_frame=start, clip_rate=rate == "CLIP")
        import_file(bpy.context, motion_path, None, settings, lambda *report: None)
    assert everything() == before
    assert bpy.context.mode == "EDIT_MESH"
    settings = PlacementSettings(start_frame=1_048_535, clip_rate=True)
    import_file(bpy.context, motion_path, None, settings, lambda *report: None)
    (armature,) = objects("ARMATURE")
    assert [round(frame) for frame in armature.animation_data.action.frame_range] == [1_048_535, 1_048_574]


@pytest.mark.parametrize("module", ["camera.build", "camera.show_film", "character.write_properties", "match_clip"])
def test_a_fault_while_building_leaves_the_scene_as_it_was(motion_path, monkeypatch, module, capfd):
    def fault(*_):
        raise ArithmeticError("out of luck")

    shutil.copy(CLIP, motion_path.with_name("dance.mp4"))
    owner, _, name = module.rpartition(".")
    monkeypatch.setattr(getattr(build_scene, owner) if owner else build_scene, name, fault)
    bpy.ops.mesh.primitive_cube_add()
    before, cube = everything(), bpy.context.object
    sentence = "motion.npz could not be imported, and the scene is as it was: out of luck. The console says"
    with pytest.raises(RuntimeError, match=sentence):
        bpy.ops.wham.import_motion(filepath=str(motion_path), fps="CLIP")
    assert "Traceback" in capfd.readouterr().err
    assert everything() == before
    assert bpy.context.selected_objects == [cube]
    assert bpy.context.object == cube
    assert bpy.context.scene.camera is None
    assert bpy.context.scene.render.fps == 24
    assert bpy.context.mode == "OBJECT"


def test_a_disk_that_does_not_answer_is_a_sentence(motion_path, monkeypatch):
    answers = threading.Event()
    monkeypatch.setattr(limits, "READING_SECONDS", 0.2)
    monkeypatch.setattr(reading, "read", lambda *_: answers.wait(60))
    try:
        with pytest.raises(RuntimeError, match=r"motion\.npz was not read within 0 seconds"):
            bpy.ops.wham.import_motion(filepath=str(motion_path))
    finally:
        answers.set()


class Window:
    """What an operator in a window gets, and the events that it waits for."""

    def __init__(self):
        self.window, self.workspace, self.window_manager = object(), self, self
        self.timers, self.handlers, self.text = [], [], None

    def event_timer_add(self, seconds, window):
        assert window is self.window
        self.timers.append(seconds)
        return seconds

    def event_timer_remove(self, timer):
        self.timers.remove(timer)

    def modal_handler_add(self, operator):
        self.handlers.append(operator)

    def status_text_set(self, text):
        self.text = text


@pytest.mark.parametrize("cancels", [False, True])
def test_a_window_goes_on_while_a_thread_reads(motion_path, monkeypatch, cancels):
    """With a stand-in for the window, which bpy as a module does not have; tests/gui has a real one."""
    answers, read, window, said = threading.Event(), reading.read, Window(), []
    monkeypatch.setattr(reading, "read", lambda *given: answers.wait(60) and read(*given))
    monkeypatch.setattr(reading_operator, "from_window", lambda operator: True)
    operator = reading_operator.ReadingOperator()
    operator.options = type("Options", (), {"is_repeat": False})
    operator.report = lambda *report: said.append(report)
    begun = reading.Reading(motion_path, settings.library())

    def build(context):
        assert context is window
        assert len(begun.result().people) == 1
        return {"FINISHED"}

    def event(kind):
        return operator.modal(window, type("Event", (), {"type": kind, "value": "PRESS"}))

    assert operator.when_read(window, begun, build) == {"RUNNING_MODAL"}
    assert window.handlers == [operator]
    assert len(window.timers) == 1
    assert window.text == "Reading the motion. Esc: cancel"
    for kind in ("TIMER", "MOUSEMOVE", "TIMER"):
        assert event(kind) == {"RUNNING_MODAL"}
    if cancels:
        assert event("ESC") == {"CANCELLED"}
        assert said == [({"INFO"}, "The import was cancelled.")]
    answers.set()
    if not cancels:
        begun.result()
        assert event("MOUSEMOVE") == {"RUNNING_MODAL"}
        assert event("TIMER") == {"FINISHED"}
    assert not window.timers
    assert window.text is None


def test_a_job_enters_the_scene_when_a_thread_has_read_its_motion(fake_worker, queue, clip, motion_path, monkeypatch):
    answers, read = threading.Event(), reading.read
    monkeypatch.setattr(reading, "read", lambda *given: answers.wait(60) and read(*given))
    fake_worker(DELIVER.format(motion=str(motion_path)))
    work = queue()
    queue.until(lambda: work.reading)
    for _ in range(3):
        job_queue._on_timer()
    assert not bpy.data.collections
    monkeypatch.setattr(reading, "read", None)  # it is read once
    answers.set()
    queue.to_end()
    assert work.record.status is Status.IMPORTED
    assert "dance" in bpy.data.collections


def test_a_clip_that_cannot_be_imported_keeps_no_other_from_it(fake_worker, tmp_path, clip, motion_path):
    fake_worker(DELIVER.format(motion=str(motion_path)))
    names = [{"name": "gone.mp4"}, {"name": clip.name}]
    with pytest.raises(RuntimeError, match="There is no clip at"):  # Blender raises what an operator reports
        bpy.ops.wham.drop_clips(directory=str(tmp_path), files=names)
    assert "dance" in bpy.data.collections


def test_import_leaves_another_objects_edit_mode_and_selects_the_character(motion_path):
    bpy.ops.mesh.primitive_cube_add()
    bpy.ops.object.mode_set(mode="EDIT")
    bpy.ops.wham.import_motion(filepath=str(motion_path))
    assert bpy.context.mode == "OBJECT"
    assert bpy.context.selected_objects == objects("ARMATURE") == [bpy.context.object]


def test_a_file_is_imported_without_an_operator(motion_path):
    """The function that panel, scripts and add-ons call, with settings and a callback for reports."""
    shutil.copy(CLIP, motion_path.with_name("dance.mp4"))
    reports = []
    placed = PlacementSettings(start_frame=5)
    assert import_file(bpy.context, motion_path, None, placed, lambda *report: reports.append(report)) == ""
    (armature,) = objects("ARMATURE")
    assert armature.wham_motion.first_frame == 5
    assert not reports
    assert bpy.data.images["dance.mp4"].size[:] == (1768, 994)


def test_an_import_onto_a_missing_rig_is_reported_and_keeps_the_motion(motion_path):
    reports = []
    settings = PlacementSettings(to_rigs=True, rigs=("Hero",))
    failed = import_file(bpy.context, motion_path, None, settings, lambda *report: reports.append(report))
    assert failed.startswith("There is no rig Hero in the scene.")
    assert reports == [({"ERROR"}, f"{failed} The motion is there as a new character.")]
    assert objects("ARMATURE")


def test_motions_are_baked_without_an_operator(motion_path):
    bpy.ops.wham.import_motion(filepath=str(motion_path))
    (source,) = objects("ARMATURE")
    rig, unknown = make.make_rig("mixamo"), make.make_rig("unreal_ue5", names="shuffled")
    reports = []
    pairs = pair_by_name([source], [rig, unknown])
    done, failed = bake_all(pairs, Options(), lambda *report: reports.append(report))
    assert done == [source]
    assert failed.startswith(f"No rig map is known for {unknown.name}.")
    assert failed.endswith("The other 1 of 2 rigs have their motion.")
    ((kind, text),) = reports
    assert kind == {"INFO"}
    assert text.startswith(f"{rig.name}: ")
    assert rig.animation_data.action.name in text
    assert target_rigs(bpy.context, [rig.name]) == [rig]
    with pytest.raises(BakeError, match="2 motions need 2 rigs; selected: 1") as caught:
        pair_by_name([source, source], [rig])
    assert caught.value.code == "motions-rigs-mismatch"


def test_settings_are_read_from_the_panels_options():
    options = bpy.context.scene.wham
    assert replace(placement_settings(options), bake=Options()) == PlacementSettings()
    options.start_frame, options.fps, options.target, options.rig = 7, "CLIP", "BAKE", "Hero\nOther hero"
    options.root_motion, options.keying, options.layer, options.plant_feet = "ROOT", "FEW", "STRIP", False
    settings = placement_settings(options)
    assert (settings.start_frame, settings.clip_rate, settings.to_rigs) == (7, True, True)
    assert settings.rigs == ("Hero", "Other hero")
    bake = settings.bake
    assert (bake.root_motion, bake.reduce_keys, bake.nla_strip, bake.plant_feet) == (True, True, True, False)


def test_hooks_are_called_without_an_operator():
    def fail(context, armatures):
        raise ArithmeticError("the server is down")

    called, reports = [], []
    hooks.after_import += [fail, lambda context, armatures: called.append(armatures)]
    try:
        hooks.call(bpy.context, [], lambda *report: reports.append(report))
    finally:
        hooks.after_import.clear()
    assert called == [[]]
    ((kind, text),) = reports
    assert kind == {"WARNING"}
    assert "fail, which is called after every import, failed: the server is down" in text
