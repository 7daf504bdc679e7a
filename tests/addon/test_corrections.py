"""Corrections of an imported character: poses pinned, frames bridged, sides swapped, steps moved; kept, processed."""

import json
from dataclasses import replace

import bpy
import numpy as np
import pytest
from mathutils import Quaternion

from tests.addon.conftest import DELIVER, is_one_undo_step, make_motion
from tests.addon.test_edits import joints, markers
from wham_blender import corrections
from wham_blender import motion as motion_file
from wham_blender.addon.jobs.import_job import jobs as known_jobs
from wham_blender.addon.scene import character, recorded_corrections
from wham_blender.corrected_animation import bridged
from wham_blender.corrections import Continued, Distrusted, Part, Place, Swapped
from wham_blender.skeleton import JOINT_NAMES

LEFT, RIGHT = JOINT_NAMES.index("left_ankle"), JOINT_NAMES.index("right_ankle")


@pytest.fixture
def person(body):
    """A motion whose hips are seen to walk through the picture; calm, with the left foot planted in rows 5 to 34."""
    calm = make_motion(body)
    rows = np.arange(40)[:, None]
    poses = 0.15 * np.sin(rows / 6 + np.arange(72)) * (np.arange(72) >= 3)
    trans = np.hstack([0 * rows, -0.005 * rows, 1 + 0 * rows])
    contacts = np.zeros((40, 4), np.float32)
    contacts[5:35, :2] = 1
    keypoints = np.ones((40, 17, 3))
    keypoints[..., 0] = 100 + 25 * rows
    keypoints[..., 1] = 360
    return replace(
        calm, poses=poses, trans=trans, contacts=contacts, keypoints=keypoints, meta=calm.meta | {"person": 2}
    )


@pytest.fixture
def walker(person, tmp_path):
    """The person imported, keyed one frame of the clip a scene frame: clip frame 11 at scene frame 1."""
    motion_file.save(tmp_path / "walker.npz", [person])
    bpy.ops.wham.import_motion(filepath=str(tmp_path / "walker.npz"), fps="CLIP")
    (armature,) = (obj for obj in bpy.data.objects if obj.type == "ARMATURE")
    return armature


def keys(armature):
    """The raw keyframes of all curves, by path and component: frame and value (n, 2) float32."""
    found = {}
    for curve in character.ActionKeys(armature).curves():
        points = np.empty(2 * len(curve.keyframe_points), np.float32)
        curve.keyframe_points.foreach_get("co", points)
        found[curve.data_path, curve.array_index] = points.reshape(-1, 2)
    return found


def turn(armature, frame, bone="left_shoulder", angle=0.5):
    bpy.context.scene.frame_set(frame)
    posed = armature.pose.bones[bone]
    posed.rotation_quaternion = posed.rotation_quaternion @ Quaternion((1, 0, 0), angle)
    bpy.context.view_layer.update()
    return posed.matrix.copy()


def test_a_pinned_pose_is_reached_and_nothing_beyond_changes(walker):
    before, shown = keys(walker), joints(walker, [20])
    posed = turn(walker, 20)
    assert bpy.ops.wham.pin_pose(falloff=6) == {"FINISHED"}
    assert np.abs(np.array(walker.pose.bones["left_shoulder"].matrix) - posed).max() < 1e-4
    after = keys(walker)
    assert before.keys() == after.keys()
    for path, points in after.items():
        beyond = np.abs(points[:, 0] - 20) >= 6
        assert (points[beyond] == before[path][beyond]).all()  # to the bit
        if "left_shoulder" not in path[0]:
            assert np.abs(points - before[path]).max() < 1e-5
    away = [np.abs(joints(walker, [frame])[0, JOINT_NAMES.index("left_wrist")] - shown[0, 20]).max() for frame in (20,)]
    assert away[0] > 0.02
    turned = [before[path][:, 1] - after[path][:, 1] for path in after if "left_shoulder" in path[0]]
    size = np.linalg.norm(turned, axis=0)
    assert (np.diff(size[13:20]) > 0).all() and (np.diff(size[19:26]) < 0).all()
    # A second pin, of the root: planted feet stay, the other leg goes along.
    feet = character.read(walker).foot_points()
    bpy.context.scene.frame_set(12)
    walker.pose.bones["pelvis"].location[1] -= 0.05
    assert bpy.ops.wham.pin_pose(falloff=5) == {"FINISHED"}
    moved = np.linalg.norm(character.read(walker).foot_points() - feet, axis=-1)
    assert moved[:, :2].max() < 0.002
    assert moved[11, 2] > 0.03


def move_marker(walker):
    walker.animation_data.action.pose_markers[0].frame = 12


@pytest.mark.parametrize(
    ("operator", "options", "prepare"),
    [
        ("pin_pose", {"falloff": 6}, lambda walker: turn(walker, 20)),
        ("plant_again", {}, move_marker),
        ("distrust_frames", {"first": 15, "last": 20}, None),
        ("swap_sides", {"first": 10, "last": 15}, None),
        ("add_box", {"box": (0.1, 0.2, 0.3, 0.9)}, None),
        ("remove_correction", {"number": 0}, None),
        ("clear_corrections", {}, None),
        ("trim_to_motion", {"speed": 0.8, "margin": 0.0}, None),
        ("loop_motion", {"blend": 5}, None),
        ("reduce_keys", {}, None),
    ],
)
def test_each_correction_is_one_step_of_undo_with_what_it_records(walker, operator, options, prepare):
    def state():
        armature = bpy.data.objects[name]
        document, steps = recorded_corrections.document(armature), armature.wham_motion.steps
        return document, steps, {path: points.tolist() for path, points in keys(armature).items()}

    name = walker.name
    bpy.ops.wham.distrust_frames(first=30, last=31)
    if prepare:
        prepare(walker)
    is_one_undo_step(operator, options, state)


def test_a_pose_that_is_keyed_already_is_pinned_too(walker):
    before = character.read(walker)
    turn(walker, 20)
    walker.pose.bones["left_shoulder"].keyframe_insert("rotation_quaternion", frame=20)
    keyed = character.read(walker).rotations[19, 16]
    assert bpy.ops.wham.pin_pose(falloff=6) == {"FINISHED"}
    after = character.read(walker).rotations[:, 16]
    assert abs(after[19] @ keyed) > 1 - 1e-6
    assert abs(after[17] @ before.rotations[17, 16]) < 0.999
    bpy.context.scene.frame_set(30)
    with pytest.raises(RuntimeError, match="The pose at this frame is that of the motion"):
        bpy.ops.wham.pin_pose()
    bpy.context.scene.frame_set(60)
    with pytest.raises(RuntimeError, match="has no motion at frame 60"):
        bpy.ops.wham.pin_pose()


def test_what_is_not_the_action_s_own_pose_is_not_pinned(walker):
    before = keys(walker)
    turn(walker, 20)
    walker.data.pose_position = "REST"
    with pytest.raises(RuntimeError, match="is in Rest Position, and shows no pose"):
        bpy.ops.wham.pin_pose()
    walker.data.pose_position = "POSE"
    walker.animation_data.nla_tracks.new().strips.new("below", 1, walker.animation_data.action.copy())
    walker.animation_data.action_blend_type = "ADD"
    with pytest.raises(RuntimeError, match="mixed with NLA tracks"):
        bpy.ops.wham.pin_pose()
    after = keys(walker)
    assert all((points == before[path]).all() for path, points in after.items())
    walker.animation_data.action_blend_type = "REPLACE"
    turn(walker, 20)
    assert bpy.ops.wham.pin_pose() == {"FINISHED"}


def test_distrusted_frames_are_bridged_and_recorded(walker):
    before = character.read(walker)
    spoilt = replace(before, rotations=before.rotations.copy(), root=before.root.copy())
    spoilt.rotations[14:20, 1:] = [0.6, 0.8, 0, 0]
    spoilt.root[14:20] += 0.4
    character.write(walker, spoilt)
    assert bpy.ops.wham.distrust_frames(first=15, last=20) == {"FINISHED"}
    after = character.read(walker)
    off = np.linalg.norm(after.pose()[0] - before.pose()[0], axis=-1)
    assert off[14:20].max() < 0.06  # a sixth of a second of a calm motion
    assert off[np.r_[:14, 20:40]].max() < 1e-4
    assert after.visible.tolist() == [not 14 <= row < 20 for row in range(40)]
    assert not after.confidence[14:20].any()
    slip = np.linalg.norm(np.diff(after.pose()[0][:, LEFT], axis=0), axis=1)[13:20]
    assert slip.max() < 0.002 + np.linalg.norm(np.diff(before.pose()[0][:, LEFT], axis=0), axis=1).max()
    document = recorded_corrections.document(walker)
    assert document.distrusted == (Distrusted(Place(24, round(425 / 1280, 4), 0.5), 25, 30),)
    with pytest.raises(RuntimeError, match="reach to an end of the motion"):
        bpy.ops.wham.distrust_frames(first=1, last=4)
    bpy.context.scene.timeline_markers.new("a", frame=22)
    bpy.context.scene.timeline_markers.new("b", frame=24)
    bpy.context.scene.frame_set(23)
    bpy.ops.wham.distrust_frames()
    assert recorded_corrections.document(walker).distrusted[1].last == 34


def test_a_bridge_goes_on_as_the_motion_did(walker):
    before = character.read(walker)
    after = bridged(replace(before, contacts=before.contacts & False), 15, 20, 25)
    step = np.linalg.norm(np.diff(after.root, n=2, axis=0), axis=1)
    usual = np.linalg.norm(np.diff(before.root, n=2, axis=0), axis=1).max()
    assert step.max() < usual + 0.01


@pytest.mark.parametrize("part", [Part.LOWER, Part.UPPER, Part.ALL])
def test_swapped_limbs_are_where_the_others_were(walker, part):
    before = character.read(walker).pose()[0]
    assert bpy.ops.wham.swap_sides(first=10, last=15, part=part.name) == {"FINISHED"}
    after = character.read(walker)
    now, inside = after.pose()[0], slice(9, 15)
    if part is not Part.UPPER:
        assert np.abs(now[inside, LEFT] - before[inside, RIGHT]).max() < 0.06  # as far as legs reach
        assert np.abs(before[inside, LEFT] - before[inside, RIGHT]).max() > 0.15
        assert after.contacts[10].tolist() == [False, False, True, True]
    wrists = [JOINT_NAMES.index(f"{side}_wrist") for side in ("left", "right")]
    if part is Part.ALL:
        assert np.abs(now[inside, wrists] - before[inside][:, wrists[::-1]]).max() < 0.1
    if part is Part.LOWER:
        assert np.abs(now[inside, wrists] - before[inside, wrists]).max() < 1e-4
    assert np.abs(now[20:] - before[20:]).max() < 1e-4
    assert recorded_corrections.document(walker).swapped == (
        Swapped(Place(19, round(300 / 1280, 4), 0.5), 20, 25, part),
    )


def test_a_step_begins_where_its_marker_was_moved(walker):
    bpy.ops.wham.plant_again()
    assert markers(walker) == [(6, "L step")]
    (marker,) = walker.animation_data.action.pose_markers
    marker.frame = 12
    assert bpy.ops.wham.plant_again() == {"FINISHED"}
    after = character.read(walker)
    assert np.flatnonzero(after.contacts[:, 0]).tolist() == list(range(11, 35))
    assert markers(walker) == [(12, "L step")]
    slip = np.linalg.norm(np.diff(after.foot_points(), axis=0), axis=-1)
    assert slip[after.contacts[1:] & after.contacts[:-1]].max() < 0.002
    walker.animation_data.action.pose_markers[0].frame = 3
    bpy.ops.wham.plant_again()
    assert np.flatnonzero(character.read(walker).contacts[:, 1]).tolist() == list(range(2, 35))
    walker.animation_data.action.pose_markers.remove(walker.animation_data.action.pose_markers[0])
    with pytest.raises(RuntimeError, match="has no contacts"):
        bpy.ops.wham.plant_again()


def test_a_character_is_processed_again_with_its_corrections(person, fake_worker, clip, tmp_path, jobs):
    motion_file.save(tmp_path / "walker.npz", [person])
    fake_worker(
        "said = arguments[arguments.index('--corrections') + 1:][:1] if '--corrections' in arguments else []\n"
        f"open({str(tmp_path / 'said')!r}, 'a').write(repr([open(f).read() for f in said]) + '\\n')\n"
        + DELIVER.format(motion=str(tmp_path / "walker.npz"))
    )
    bpy.ops.wham.import_video(filepath=str(clip), fps="CLIP", person="2")
    walker = bpy.context.view_layer.objects.active
    assert walker.wham_motion.job == next(jobs.iterdir()).name
    bpy.ops.wham.distrust_frames(first=15, last=20)
    bpy.context.scene.frame_set(20)
    assert bpy.ops.wham.add_box(box=(0.1, 0.2, 0.3, 0.9), clip_first=5, clip_last=40) == {"FINISHED"}
    document = recorded_corrections.document(walker)
    (box,) = document.boxes
    assert (box.frame, box.first, box.last, box.person) == (30, 5, 40, Place(29, round(550 / 1280, 4), 0.5))
    assert np.allclose([box.x1, box.y1, box.x2, box.y2], [0.1, 0.2, 0.3, 0.9])
    assert bpy.ops.wham.process_again() == {"FINISHED"}
    assert (tmp_path / "said").read_text("utf-8").splitlines() == ["[]", repr([document.text()])]
    again = bpy.context.view_layer.objects.active
    assert again is not walker
    assert recorded_corrections.document(again) == document
    record = known_jobs.find(again.wham_motion.job)
    assert record is not None
    assert record.person == "2"
    # A pinned pose is bent to again, in a world that the animator has turned; the worker gets none of it.
    bpy.ops.wham.turn_motion(angle=1.0)
    turn(again, 30)
    bpy.ops.wham.pin_pose(falloff=4)
    (pin,) = recorded_corrections.document(again).pinned
    assert (pin.frame, list(pin.rotations)) == (40, ["left_shoulder"])
    bent = character.read(again).rotations[:, 16]
    assert bpy.ops.wham.process_again() == {"FINISHED"}
    third = bpy.context.view_layer.objects.active
    assert third is not again
    rotations = character.read(third).rotations[:, 16]
    assert np.abs(np.sum(rotations * bent, 1)).min() > 1 - 1e-6
    bpy.ops.wham.remove_correction(number=2)
    # One document for all characters of the clip.
    bpy.ops.wham.remove_correction(number=1)
    assert recorded_corrections.document(walker).boxes == ()
    bpy.ops.wham.clear_corrections()
    bpy.ops.wham.process_again()
    assert (tmp_path / "said").read_text("utf-8").splitlines()[-1] == repr([corrections.NO_CORRECTIONS.text()])
    known_jobs.all = []
    bpy.context.view_layer.objects.active.wham_motion.job = "gone"
    with pytest.raises(RuntimeError, match="was imported from is not in"):
        bpy.ops.wham.process_again()


def test_somebody_goes_on_as_somebody_else(walker, person, tmp_path):
    other = replace(person, keypoints=person.keypoints + np.array([0, 100, 0]))
    motion_file.save(tmp_path / "other.npz", [other])
    bpy.ops.wham.import_motion(filepath=str(tmp_path / "other.npz"), fps="SCENE")
    second = bpy.context.view_layer.objects.active
    bpy.context.view_layer.objects.active = walker
    with pytest.raises(RuntimeError, match="Not one but 0 other characters"):
        second.select_set(False)
        bpy.ops.wham.continue_person()
    second.select_set(True)
    bpy.context.scene.frame_set(21)
    assert bpy.ops.wham.continue_person() == {"FINISHED"}
    (change,) = recorded_corrections.document(walker).continued
    assert change == Continued(
        Place(30, round(575 / 1280, 4), 0.5), Place(31, round(600 / 1280, 4), round(460 / 720, 4)), 31
    )
    assert json.loads(walker.wham_motion.corrections)["continued"][0]["first"] == 31


def test_a_drawn_region_is_a_box_of_the_film_in_a_frame_of_another_shape(walker):
    render = bpy.context.scene.render
    render.resolution_x, render.resolution_y = 1280, 1440  # the film fills its width, and half of its height
    with pytest.raises(RuntimeError, match="No box is drawn"):
        bpy.ops.wham.add_box()
    render.use_border = True
    render.border_min_x, render.border_max_x, render.border_min_y, render.border_max_y = 0.25, 0.5, 0.25, 0.5
    assert bpy.ops.wham.add_box(new_person=True) == {"FINISHED"}
    (box,) = recorded_corrections.document(walker).boxes
    assert np.allclose([box.x1, box.y1, box.x2, box.y2], [0.25, 0.5, 0.5, 1.0])
    assert box.person is None
    assert not render.use_border
