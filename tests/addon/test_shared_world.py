"""People of one clip who are imported one after the other: one world, one camera, one time."""

from dataclasses import replace

import bpy
import numpy as np
import pytest

from tests.addon.conftest import import_file, make_motion
from tests.addon.test_import_motion import go_to, objects
from wham_blender import motion as motion_file
from wham_blender import quaternions
from wham_blender.addon.properties import PlacementSettings

PER_FRAME = (
    "poses", "trans", "contacts", "confidence", "visible", "camera_R", "camera_t", "frame", "time", "keypoints",
)  # fmt: skip
ANGLE, SHIFT = np.radians(70), np.array([3.0, -2.0, 0.0])
ROTATION = np.array([[np.cos(ANGLE), -np.sin(ANGLE), 0], [np.sin(ANGLE), np.cos(ANGLE), 0], [0, 0, 1]])


def person(body, number, rows):
    """A person in some frames of a clip of 50, in the world of the whole clip."""
    whole = make_motion(body, 50, seed=number)
    whole.meta |= {"person": number, "clip_sha256": "ab" * 32}
    return replace(whole, **{name: getattr(whole, name)[rows] for name in PER_FRAME})


def in_another_world(motion, scale=1.0):
    """The same person and camera, solved with another origin, heading and size."""
    pelvis = scale * (motion.trans + motion.rest_joints[0]) @ ROTATION.T + SHIFT
    poses = motion.poses.reshape(len(motion), 24, 3).copy()
    roots = quaternions.multiply(quaternions.of_matrices(ROTATION), quaternions.of_axis_angle(poses[:, 0]))
    poses[:, 0] = quaternions.to_axis_angle(roots)
    camera_R = motion.camera_R @ ROTATION.T
    centre = scale * -np.einsum("fji,fj->fi", motion.camera_R, motion.camera_t) @ ROTATION.T + SHIFT
    rest = scale * motion.rest_joints
    return replace(
        motion, poses=poses.reshape(-1, 72), trans=pelvis - rest[0], rest_joints=rest, camera_R=camera_R,
        camera_t=-np.einsum("fij,fj->fi", camera_R, centre),
    )  # fmt: skip


@pytest.fixture
def bring(tmp_path):
    """Imports one person's motion file, and gives what was reported."""

    def bring(motion, **changes):
        said = []
        path = tmp_path / "motion.npz"
        motion_file.save(path, [motion])
        settings = PlacementSettings(**{"clip_rate": True} | changes)
        import_file(bpy.context, path, None, settings, lambda kind, text: said.append((*kind, text)))
        return said

    return bring


def heads(armature, frame):
    evaluated = armature.evaluated_get(go_to(frame))
    return np.array([evaluated.matrix_world @ evaluated.pose.bones[name].head for name in ("pelvis", "head")])


def test_person_2_joins_the_world_camera_and_time_of_person_1(body, bring):
    first, second = person(body, 1, slice(0, 40)), person(body, 2, slice(10, 50))
    bring(first, start_frame=7)
    (info,) = bring(in_another_world(second), start_frame=1)
    assert info == (
        "INFO",
        "dance Person 2 is in the world of dance Person 1, under its camera and at its time. "
        "Start Frame 1 was not used.",
    )
    one, two = objects("ARMATURE")
    for armature, number in ((one, 1), (two, 2)):
        label = f"dance Person {number}"
        assert {armature.name, armature.data.name, armature.animation_data.action.name} == {label}
        assert armature.children[0].name == armature.children[0].data.name == f"{label} body"
        assert armature.wham_motion.people == 2
    assert one.wham_motion.take == two.wham_motion.take
    (camera,) = objects("CAMERA")
    assert [collection.name for collection in bpy.data.collections] == ["dance"]
    assert (bpy.context.scene.frame_start, bpy.context.scene.frame_end) == (7, 56)
    for row in (0, 20, 39):
        truth = second.joints()[row, [0, 15]]
        assert np.abs(heads(two, 17 + row) - truth).max() < 0.002, row
    whole = make_motion(body, 50)
    for row in (5, 39, 40, 49):  # the camera moves on where only the second person is seen
        seen = camera.evaluated_get(go_to(7 + row)).matrix_world
        centre = -whole.camera_R[row].T @ whole.camera_t[row]
        assert np.abs(np.array(seen.translation) - centre).max() < 0.002, row
        assert np.abs(np.array(seen.to_3x3())[:, 2] + whole.camera_R[row][2]).max() < 1e-3, row


def test_who_was_seen_earlier_begins_before_the_others(body, bring):
    bring(person(body, 2, slice(10, 50)))
    bring(in_another_world(person(body, 1, slice(0, 40))))
    scene = bpy.context.scene
    assert scene.use_preview_range and (scene.frame_preview_start, scene.frame_preview_end) == (-9, 40)
    assert [armature.wham_motion.first_frame for armature in objects("ARMATURE")] == [1, -9]


def test_a_world_of_another_size_gets_the_size_of_the_first(body, bring):
    """With Actor Height in the second import only, or after Set Actor Height."""
    first, second = person(body, 1, slice(0, 40)), person(body, 2, slice(0, 40))
    bring(first)
    bpy.context.view_layer.objects.active = objects("ARMATURE")[0]
    bpy.ops.wham.set_actor_height(height=1.5 * objects("ARMATURE")[0].wham_motion.height)
    bpy.ops.wham.move_motion(offset=(0, 0, 2))
    said = bring(in_another_world(second, scale=1.2))
    one, two = objects("ARMATURE")
    assert said[-1][0] == "INFO" and "scaled by 1.3" in said[-1][1]
    in_scene, in_film = heads(two, 1), second.joints()[0, [0, 15]]
    ratio = np.linalg.norm(np.diff(in_scene, axis=0)) / np.linalg.norm(np.diff(in_film, axis=0))
    assert ratio == pytest.approx(1.5, rel=0.07)
    assert in_scene[0, 2] - 2 == pytest.approx(ratio * in_film[0, 2], abs=0.01)
    assert one.wham_motion.take == two.wham_motion.take


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"camera_K": np.array([[1000.0, 0, 610], [0, 1000, 390], [0, 0, 1]])}, "its lens is 28.1 mm instead of 25.3"),
        ({"speed": 2.0}, "its Slow Motion is set to another value"),
    ],
)
def test_another_camera_gives_another_world_and_says_why(body, bring, change, why):
    bring(person(body, 1, slice(0, 40)))
    second = person(body, 2, slice(0, 40))
    second.meta |= {"speed": change.pop("speed", 1.0)}
    ((kind, text),) = bring(replace(second, **change))
    assert kind == "WARNING" and why in text
    assert len(bpy.data.cameras) == len(bpy.data.collections) == 2


def test_the_same_person_again_is_another_take(body, bring):
    bring(person(body, 1, slice(0, 40)))
    assert bring(person(body, 1, slice(0, 40))) == []
    assert len(bpy.data.cameras) == len(bpy.data.collections) == 2
    assert bring(person(body, 2, slice(0, 40)))[0][0] == "INFO"  # joins the newest
    assert len(bpy.data.collections["dance.001"].objects) == 5
