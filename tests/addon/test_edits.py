"""Edits of an imported character in the evaluated scene: what they change, what they leave, undo, redo, the file."""

from dataclasses import replace

import addon_utils
import bpy
import numpy as np
import pytest
from bpy_extras.object_utils import world_to_camera_view
from mathutils import Matrix, Vector

from tests.addon.conftest import is_one_undo_step, make_motion
from wham_blender import animation, quaternions
from wham_blender import motion as motion_file
from wham_blender.addon.panels.result import WHAM_PT_edit, details, statistics
from wham_blender.addon.scene import character
from wham_blender.addon.ui import contact_overlay, timeline_bars
from wham_blender.doubts import doubts
from wham_blender.motion import planted
from wham_blender.skeleton import FOOT_POINTS, JOINT_NAMES

EDITS = (
    "mark_contacts", "smooth_motion", "turn_motion", "move_motion", "set_actor_height", "set_floor", "trim_motion",
    "loop_motion", "match_scene", "measure_motion",
)  # fmt: skip


@pytest.fixture
def two(motion, body, tmp_path):
    """Two people and their moving camera, keyed one a frame from frame 1; the first is active."""
    other = make_motion(body, seed=1)
    other.trans += [1, 2, 0]
    motion_file.save(tmp_path / "two.npz", [motion, other])
    bpy.ops.wham.import_motion(filepath=str(tmp_path / "two.npz"), fps="CLIP")
    first, second = (o for o in bpy.data.objects if o.type == "ARMATURE")
    bpy.context.view_layer.objects.active = first
    return first, second


def go_to(frame):
    bpy.context.scene.frame_set(int(frame))
    return bpy.context.evaluated_depsgraph_get()


def joints(armature, frames=range(1, 41, 3)):
    """World positions (N, 24, 3) of the evaluated bones' heads."""
    found = []
    for frame in frames:
        posed = armature.evaluated_get(go_to(frame))
        found.append([posed.matrix_world @ posed.pose.bones[name].head for name in JOINT_NAMES])
    return np.array(found)


def in_picture(armature, frames=range(1, 41, 3)):
    """Where the camera of the scene sees the bones' heads (N, 24, 2)."""
    scene, seen = bpy.context.scene, []
    for frame, points in zip(frames, joints(armature, frames), strict=True):
        go_to(frame)
        seen.append([world_to_camera_view(scene, scene.camera, Vector(point))[:2] for point in points])
    return np.array(seen)


def markers(armature):
    return sorted((m.frame, m.name) for m in armature.animation_data.action.pose_markers)


def steps(down, first):
    """Frames and names of the markers of contacts (F, 4) whose first row is at a scene frame."""
    feet = {"L step": np.any(down[:, :2], axis=1), "R step": np.any(down[:, 2:], axis=1)}
    landed = {name: np.flatnonzero(foot & ~np.append(False, foot[:-1])) for name, foot in feet.items()}
    return sorted((first + row, name) for name, rows in landed.items() for row in rows)


def test_what_is_read_is_what_blender_shows_and_writing_it_changes_nothing(two):
    armature = two[0]
    armature.matrix_world = Matrix.Translation((1, 2, 3)) @ Matrix.Rotation(0.7, 4, (1, 2, 3)) @ Matrix.Scale(1.5, 4)
    before = joints(armature)
    found = character.read(armature)
    assert np.abs(found.pose()[0][::3] - before).max() < 1e-4
    character.write(armature, found)
    assert np.abs(joints(armature) - before).max() < 1e-4


def test_foot_points_are_on_the_skin(two, body, motion):
    armature = two[0]
    (skin,) = armature.children
    rest = np.array([vertex.co for vertex in skin.data.vertices])
    assert np.abs(body["J_regressor_feet"] @ rest - np.array(armature.wham_motion.feet).reshape(4, 3)).max() < 1e-5
    assert armature.wham_motion.height == pytest.approx(np.ptp(rest[:, 2]), abs=1e-5)


def test_contacts_are_marked_again_in_place(two, motion):
    armature = two[0]
    action = armature.animation_data.action
    action.pose_markers.new("mine").frame = 9
    pose = joints(armature)
    assert bpy.ops.wham.mark_contacts(threshold=0.8, hysteresis=0.5, shortest=6) == {"FINISHED"}
    down = planted(motion.contacts, 0.8, 0.3, 6)
    assert not (down == planted(motion.contacts)).all()
    for row in range(40):
        go_to(1 + row)
        assert [armature[f"contact_{point}"] for point in FOOT_POINTS] == down[row].tolist()
    found = markers(armature)
    assert (9, "mine") in found
    assert [mark for mark in found if mark != (9, "mine")] == steps(down, 1)
    assert armature.animation_data.action == action
    assert (joints(armature) == pose).all()
    # The probabilities stay, so that the first marking can be had again.
    bpy.ops.wham.mark_contacts()
    assert (character.read(armature).contacts == planted(motion.contacts)).all()


def test_smoothing_works_on_what_other_edits_left(two):
    armature = two[0]
    bpy.ops.wham.turn_motion(angle=1.0)
    bpy.ops.wham.mark_contacts(threshold=0.9)
    before = character.read(armature)
    assert bpy.ops.wham.smooth_motion(strength=0.2) == {"FINISHED"}
    expected = animation.smoothed(before, 5.0, 25.0)
    assert np.abs(joints(armature) - expected.pose()[0][::3]).max() < 1e-3
    assert np.abs(expected.root - before.root).max() > 5e-4
    after = character.read(armature)
    assert (after.contacts == before.contacts).all()
    assert len(after) == len(before)


TURN = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]])


@pytest.mark.parametrize(
    ("operator", "options", "moved"),
    [
        ("turn_motion", {"angle": np.pi / 2}, lambda x, p: (x - p) @ TURN.T + p),
        ("move_motion", {"offset": (1, -2, 0.5)}, lambda x, p: x - [-1, 2, -0.5]),
        ("move_motion", {"start": "ORIGIN"}, lambda x, p: x - p),
        ("move_motion", {"start": "CURSOR", "offset": (1, 0, 0)}, lambda x, p: x - p + [8, 6, 5]),
        ("set_floor", {"from_contacts": False, "raise_by": -0.2}, lambda x, p: x - [0, 0, 0.2]),
    ],
)
def test_everybody_and_the_camera_move_together(two, operator, options, moved):
    bpy.context.scene.cursor.location = 7, 6, 5
    before, seen = [joints(each) for each in two], [in_picture(each) for each in two]
    start = before[0][0, 0] * [1, 1, 0]
    assert getattr(bpy.ops.wham, operator)(**options) == {"FINISHED"}
    for armature, old, picture in zip(two, before, seen, strict=True):
        assert np.abs(joints(armature) - moved(old, start)).max() < 1e-4
        assert np.abs(in_picture(armature) - picture).max() < 1e-4


def test_actor_height_scales_bodies_way_and_camera(two):
    armature = two[0]
    (skin,) = armature.children
    before, seen = [joints(each) for each in two], [in_picture(each) for each in two]
    start = before[0][0, 0] * [1, 1, 0]
    tall = armature.wham_motion.height
    assert bpy.ops.wham.set_actor_height(height=1.2 * tall) == {"FINISHED"}
    for each, old, picture in zip(two, before, seen, strict=True):
        assert np.abs(joints(each) - (start + 1.2 * (old - start))).max() < 1e-4
        assert np.abs(in_picture(each) - picture).max() < 1e-4
        assert each.scale[:] == (1, 1, 1)
    assert np.ptp([vertex.co.z for vertex in skin.data.vertices]) == pytest.approx(1.2 * tall, rel=1e-5)
    assert character.height(armature) == pytest.approx(1.2 * tall, rel=1e-5)
    assert np.abs(character.read(armature).feet).max() < 1.2 * tall


def test_floor_goes_under_the_contacts(two):
    armature = two[0]
    assert animation.floor_height(character.read(armature)) != pytest.approx(0, abs=0.01)
    seen = in_picture(two[1])
    assert bpy.ops.wham.set_floor() == {"FINISHED"}
    assert animation.floor_height(character.read(armature)) == pytest.approx(0, abs=1e-5)
    assert np.abs(in_picture(two[1]) - seen).max() < 1e-4
    bpy.ops.wham.mark_contacts(shortest=100)
    with pytest.raises(RuntimeError, match="no contacts to find the floor with"):
        bpy.ops.wham.set_floor()


def test_still_camera_moves_too(motion, tmp_path, body):
    still = make_motion(body)
    still.camera_R[:], still.camera_t[:] = still.camera_R[0], still.camera_t[0]
    motion_file.save(tmp_path / "still.npz", [still])
    bpy.ops.wham.import_motion(filepath=str(tmp_path / "still.npz"), fps="CLIP")
    (armature,) = (o for o in bpy.data.objects if o.type == "ARMATURE")
    seen = in_picture(armature)
    bpy.ops.wham.turn_motion(angle=2.0)
    bpy.ops.wham.set_actor_height(height=2.5)
    bpy.context.view_layer.update()
    assert np.abs(in_picture(armature) - seen).max() < 1e-4


def test_trim_leaves_the_range_as_it_was(two):
    armature, other = two
    armature["own"] = 1.0
    for frame in (1, 20, 40):
        armature.keyframe_insert('["own"]', frame=frame)
    before, rest, contacts = joints(armature, range(10, 31)), joints(other), character.read(armature).contacts[9:30]
    assert bpy.ops.wham.trim_motion(first=10, last=30) == {"FINISHED"}
    found = character.read(armature)
    assert (found.contacts == contacts).all()
    assert contacts[0].any()  # it began before
    assert found.frames.tolist() == list(range(10, 31))
    assert np.abs(joints(armature, range(10, 31)) - before).max() < 1e-5
    curves = character.ActionKeys(armature).curves()
    assert {key.co[0] for curve in curves if curve.data_path == '["own"]' for key in curve.keyframe_points} == {20}
    assert {key.interpolation for curve in curves if "contact_left" in curve.data_path
            for key in curve.keyframe_points} == {"CONSTANT"}  # fmt: skip
    assert all(10 <= frame <= 30 for frame, _ in markers(armature))
    assert (armature.wham_motion.frames, armature.wham_motion.last_frame) == (21, 30)
    assert (joints(other) == rest).all()
    with pytest.raises(RuntimeError, match=r"has 0 keys between frames 50 and 60.*Its motion goes from 10 to 30"):
        bpy.ops.wham.trim_motion(first=50, last=60)


@pytest.mark.parametrize("in_place", [False, True])
def test_loop_repeats(two, in_place):
    armature = two[0]
    assert bpy.ops.wham.loop_motion(first=5, last=34, blend=6, in_place=in_place) == {"FINISHED"}
    assert character.read(armature).frames.tolist() == list(range(5, 30))
    once, again = joints(armature, range(5, 30)), joints(armature, range(29, 54))
    way = again[0, 0] - once[0, 0]
    assert np.abs(again - once - way).max() < 1e-4
    assert (np.abs(way).max() < 1e-5) == in_place
    action = armature.animation_data.action
    assert (action.use_cyclic, action.frame_start, action.frame_end) == (True, 5, 29)
    go_to(29 + 24 * 3 + 4)
    assert armature["contact_left_toe"] == character.read(armature).contacts[4, 0]
    bpy.ops.wham.trim_motion(first=5, last=20)  # ends the repetition
    assert np.abs(joints(armature, [60]) - joints(armature, [20])).max() < 1e-6
    with pytest.raises(RuntimeError, match="at least 18 are needed"):
        bpy.ops.wham.loop_motion()


def test_cycles_are_found_between_heel_strikes(two):
    armature = two[0]
    assert bpy.ops.wham.loop_motion(cycle="1", blend=3) == {"FINISHED"}
    action, found = armature.animation_data.action, character.read(armature)
    assert (action.use_cyclic, action.frame_start, action.frame_end) == (True, found.frames[0], found.frames[-1])
    assert len(found) < 38
    with pytest.raises(RuntimeError, match="has 0 cycles between heel strikes"):
        bpy.ops.wham.loop_motion(cycle="1", blend=30)


def test_trim_to_motion(two):
    armature = two[0]
    assert bpy.ops.wham.trim_to_motion(speed=0.3) == {"FINISHED"}
    assert armature.wham_motion.frames == 40  # it never stands still
    with pytest.raises(RuntimeError, match=r"never moves faster than 90 m/s"):
        bpy.ops.wham.trim_to_motion(speed=90)


def test_few_keys_keep_the_motion_and_an_edit_keys_every_frame_again(two):
    armature = two[0]
    count = lambda: sum(len(curve.keyframe_points) for curve in character.ActionKeys(armature).curves())  # noqa: E731
    whole, keys = character.read(armature), count()
    assert bpy.ops.wham.reduce_keys(angle_error=np.radians(2), distance_error=0.02) == {"FINISHED"}
    assert count() < 0.95 * keys
    few = character.read(armature)
    assert few.frames.tolist() == whole.frames.tolist()
    angles = quaternions.to_axis_angle(quaternions.multiply(quaternions.inverse(whole.rotations), few.rotations))
    assert np.degrees(np.linalg.norm(angles, axis=-1)).max() < 2.01
    assert np.linalg.norm(few.root - whole.root, axis=1).max() < 0.0201
    shown = joints(armature, range(5, 31))
    assert bpy.ops.wham.trim_motion(first=5, last=30) == {"FINISHED"}
    assert np.abs(joints(armature, range(5, 31)) - shown).max() < 1e-4
    assert character.ActionKeys(armature).frames_of(character.LOCATION).tolist() == list(range(5, 31))


def test_a_motion_of_one_frame_can_be_edited_with_few_keys(two):
    armature = two[0]
    assert bpy.ops.wham.trim_motion(first=5, last=5) == {"FINISHED"}
    assert bpy.ops.wham.reduce_keys() == {"FINISHED"}
    assert character.read(armature).frames.tolist() == [5]
    shown = joints(armature, [5])
    assert bpy.ops.wham.move_motion(offset=(1, 0, 0)) == {"FINISHED"}
    assert np.abs(joints(armature, [5]) - shown - [1, 0, 0]).max() < 1e-5


def test_actions_become_assets_with_tags_and_a_picture(two):
    bpy.ops.wham.loop_motion(first=5, last=34, blend=6)
    assert bpy.ops.wham.mark_asset(tags="dance, wild") == {"FINISHED"}
    assert bpy.ops.wham.mark_asset(tags="dance") == {"FINISHED"}
    action = two[0].animation_data.action
    assert sorted(tag.name for tag in action.asset_data.tags) == ["dance", "loop", "motion capture", "wild"]
    assert action.use_fake_user
    pixels = np.array(action.preview.image_pixels_float).reshape(*action.preview.image_size, 4)
    drawn = pixels[..., 0] > 0.5
    assert 0.02 < drawn.mean() < 0.5
    assert all(drawn[:, columns].any() for columns in (slice(0, 42), slice(43, 85), slice(86, 128)))


def test_scene_is_matched_after_an_import_at_its_own_rate(motion_path):
    scene = bpy.context.scene
    scene.render.fps = 60
    bpy.ops.wham.import_motion(filepath=str(motion_path), start_frame=11, fps="SCENE")
    (armature,) = (o for o in bpy.data.objects if o.type == "ARMATURE")
    found = character.read(armature)
    pose, marked = found.pose()[0], [name for _, name in markers(armature)]
    sliding = armature.wham_motion.sliding
    assert found.frames[-1] == pytest.approx(11 + 39 * 60 / 25, abs=1e-3)
    assert bpy.ops.wham.match_scene() == {"FINISHED"}
    assert (scene.render.fps, scene.frame_start, scene.frame_end) == (25, 11, 50)
    assert (scene.render.resolution_x, scene.render.resolution_y) == (1280, 720)
    assert scene.camera.type == "CAMERA"
    assert np.abs(joints(armature, range(11, 51)) - pose).max() < 1e-3
    assert armature.wham_motion.sliding == pytest.approx(sliding, rel=1e-3)
    assert sorted(name for _, name in markers(armature)) == sorted(marked)
    assert max(frame for frame, _ in markers(armature)) <= 50


def test_result_is_told_and_measured_again(motion, body, tmp_path):
    person = make_motion(body)
    person.visible[10:14] = person.visible[30] = False
    person.confidence[:] = np.where(person.visible, 0.8, 0.1)
    person.meta |= {"quality": "draft", "weights": {"wham": {"name": "open_wham.npz", "version": "1", "sha256": "0"}}}
    motion_file.save(tmp_path / "one.npz", [person])
    bpy.ops.wham.import_motion(filepath=str(tmp_path / "one.npz"), fps="CLIP", start_frame=1)
    (armature,) = (o for o in bpy.data.objects if o.type == "ARMATURE")
    told = dict(statistics(armature)) | dict(details(armature))
    down = planted(person.contacts)
    assert told["Frames"] == "40 (1 to 40), 1.56 s"
    assert told["Not Detected"] == "frames 11-14, 31: interpolated"
    assert told["Confidence"] == "80% on average"
    assert told["Contacts"] == str(np.count_nonzero(np.diff(down.astype(int), axis=0, prepend=0) == 1))
    assert (told["Clip"], told["People"], told["Quality"], told["Weights"]) == (
        "dance.mp4",
        "1",
        "draft",
        "open_wham 1",
    )
    expected = animation.sliding(replace(character.read(armature), contacts=down), 25.0)
    assert expected is not None
    assert told["Foot Sliding"] == f"{100 * expected:.1f} cm/s in contact"
    curve = next(c for c in character.ActionKeys(armature).curves() if c.data_path.endswith("location"))
    for key in curve.keyframe_points:
        key.co[1] *= 3
    curve.update()
    bpy.ops.wham.measure_motion()
    assert dict(statistics(armature))["Foot Sliding"] != told["Foot Sliding"]


def test_what_is_known_survives_the_file_and_copying(two, tmp_path):
    told = statistics(two[0])
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "scene.blend"))
    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
    addon_utils.enable("wham_blender", default_set=True)
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "scene.blend"))
    first, second = (o for o in bpy.data.objects if o.type == "ARMATURE")
    bpy.context.view_layer.objects.active = first
    assert statistics(first) == told
    assert set(character.imported_with(first, bpy.context.scene)) == {first, second, bpy.context.scene.camera}
    # A linked duplicate shares the action: it is rotated once, not twice.
    double = first.copy()
    bpy.context.scene.collection.objects.link(double)
    before, seen = joints(first), in_picture(second)
    bpy.ops.wham.turn_motion(angle=np.pi)
    assert np.abs(joints(first)[..., 2] - before[..., 2]).max() < 1e-4
    assert np.abs(joints(first)[0, 0] - before[0, 0]).max() < 1e-4
    assert np.abs(joints(first)[5, 0] - before[5, 0]).max() > 0.1
    assert np.abs(in_picture(second) - seen).max() < 1e-4
    for active in (double, first):  # the second time nothing is left to scale
        bpy.context.view_layer.objects.active = active
        bpy.ops.wham.set_actor_height(height=2)
        assert double.wham_motion.height == pytest.approx(2)
        assert first.wham_motion.height == pytest.approx(2)


@pytest.mark.parametrize(
    ("operator", "options"),
    [
        ("mark_contacts", {"threshold": 0.9}), ("smooth_motion", {"strength": 1.0}), ("turn_motion", {}),
        ("move_motion", {"offset": (1, 0, 0)}), ("set_actor_height", {"height": 3.0}), ("set_floor", {}),
        ("trim_motion", {"first": 5, "last": 9}), ("loop_motion", {}), ("match_scene", {}),
    ],
)  # fmt: skip
def test_each_edit_is_one_step_of_undo_and_comes_back(two, operator, options):
    def state():
        armature = bpy.data.objects[name]
        keys = character.ActionKeys(armature).curves()
        shape = [tuple(key.co) for curve in keys[::7] for key in curve.keyframe_points]
        camera, scene = bpy.context.scene.camera, bpy.context.scene
        return (shape, markers(armature), statistics(armature), [b.head_local[:] for b in armature.data.bones],
                [m[:] for m in camera.matrix_world], scene.render.fps, scene.frame_end)  # fmt: skip

    name = two[0].name
    if operator == "match_scene":
        bpy.context.scene.frame_end = 999
    is_one_undo_step(operator, options, state)


def test_refusals_say_why(two):
    armature = two[0]
    (skin,) = armature.children
    bpy.context.view_layer.objects.active = skin
    assert all(getattr(bpy.ops.wham, edit).poll() for edit in EDITS)  # its body is as good as the armature
    bpy.ops.object.mode_set(mode="EDIT")
    refused("Leave Edit Mode first")
    bpy.ops.object.mode_set(mode="OBJECT")
    bpy.context.view_layer.objects.active = armature
    action = armature.animation_data.action
    armature.animation_data.action = None
    refused("has no action")
    armature.animation_data.action = action
    bpy.context.view_layer.objects.active = bpy.context.scene.camera
    refused("Select the armature or the body of an imported motion")
    assert not WHAM_PT_edit.poll(bpy.context)


def refused(sentence):
    for edit in EDITS:
        with pytest.raises(RuntimeError, match=sentence):
            getattr(bpy.ops.wham, edit)()


@pytest.mark.parametrize("edit", sorted({*EDITS} - {"measure_motion"}))
def test_keys_that_are_gone_are_a_sentence_and_nothing_changes(two, edit):
    second = (
        two[1] if edit in ("turn_motion", "move_motion", "set_actor_height", "set_floor", "match_scene") else two[0]
    )
    curves = character.ActionKeys(second)._curves.fcurves
    curves.remove(curves.find('pose.bones["left_knee"].rotation_quaternion', index=2))
    before = joints(two[0])
    with pytest.raises(RuntimeError, match="no longer has the keys that it was imported with"):
        getattr(bpy.ops.wham, edit)()
    assert (joints(two[0]) == before).all()


def test_feet_are_planted_where_edited_contacts_say(two):
    armature = two[0]
    keys = character.ActionKeys(armature)
    # A toe and a heel: toes that bend, as these random ones, change the length of a foot that is planted at both.
    for name, rows in (("left_toe", (10, 16)), ("left_heel", ()), ("right_toe", ()), ("right_heel", (30, 33))):
        curve = keys._curves.fcurves.find(f'["contact_{name}"]')
        curve.keyframe_points.clear()
        for frame, value in ((1, 0), *zip(rows, (1, 0), strict=False)):
            curve.keyframe_points.insert(frame, value).interpolation = "CONSTANT"
    assert bpy.ops.wham.plant_again() == {"FINISHED"}
    after = character.read(armature)
    assert after.contacts.sum(0).tolist() == [6, 0, 0, 3]
    steps = np.linalg.norm(np.diff(after.foot_points(), axis=0), axis=-1)
    assert steps[after.contacts[1:] & after.contacts[:-1]].max() < 0.002
    assert markers(armature) == [(10, "L step"), (30, "R step")]
    for name in ("left_toe", "right_heel"):
        keys._curves.fcurves.find(f'["contact_{name}"]').keyframe_points.clear()
        armature.keyframe_insert(f'["contact_{name}"]', frame=1)
        keys._curves.fcurves.find(f'["contact_{name}"]').keyframe_points[0].co[1] = 0
    with pytest.raises(RuntimeError, match="has no contacts to plant its feet by"):
        bpy.ops.wham.plant_again()


def test_the_next_doubt_is_shown_at_its_frame(two):
    armature = two[0]
    found = doubts(character.read(armature), armature.wham_motion.keyed_rate)
    assert len(found) > 1
    for doubt in (*found, found[0]):  # and from the start again
        if doubt.first > bpy.context.scene.frame_current or doubt is found[0]:
            assert bpy.ops.wham.next_doubt() == {"FINISHED"}
            assert bpy.context.scene.frame_current == doubt.first
    assert (armature.wham_motion.doubt, armature.wham_motion.doubt_operator) == (found[0].sentence, found[0].operator)


def test_bars_of_the_timeline_say_what_the_contacts_say(two):
    armature = two[0]
    bpy.ops.wham.trim_motion(first=4, last=33)
    found = character.read(armature)
    for column, intervals in enumerate(timeline_bars.contact_intervals(armature)):
        down = [any(first <= frame < last for first, last in intervals) for frame in found.frames]
        assert down == found.contacts[:, column].tolist()
    values, seen, inside = timeline_bars.confidence_at(armature, np.arange(1.0, 41.0))
    assert inside.tolist() == [4 <= frame <= 34 for frame in range(1, 41)]
    assert np.abs(values[3:33] - found.confidence).max() < 1e-6
    assert seen[3:33].tolist() == found.visible.tolist()


def test_discs_lie_where_planted_feet_are(two):
    found = [character.read(each) for each in two]
    for row in range(0, 40, 3):
        go_to(1 + row)
        marks = contact_overlay.planted_points(bpy.context)
        for side, columns in (("left", [0, 1]), ("right", [2, 3])):
            expected = [each.foot_points()[row, c] for each in found for c in columns if each.contacts[row, c]]
            assert len(marks[side]) == len(expected)
            for mark, goal in zip(marks[side], expected, strict=True):
                assert np.linalg.norm(np.array(mark.center) - goal) < 1e-4
                assert 0.02 < mark.radius < 0.06
                assert 0.02 < (mark.bone[1] - mark.bone[0]).length < 0.2
    two[0].hide_set(True)
    assert sum(map(len, contact_overlay.planted_points(bpy.context).values())) == found[1].contacts[39].sum()
