"""The preview shows what a bake would, without a key, and whatever ends it, the rig is as it was."""

import math

import addon_utils
import bpy
import numpy as np
import pytest

from tests.addon.test_bake import bake, directions
from tests.addon.test_bake import source as source
from tests.rigs import make
from wham_blender.addon.retarget import pose_backup, rig_map_state, rig_preview

CHANNELS = ("location", "rotation_quaternion", "rotation_euler", "rotation_axis_angle", "scale")


def state_of(rig):
    """Everything of a rig that a preview may change."""
    bones = {
        bone.name: (
            *(tuple(getattr(bone, channel)) for channel in CHANNELS),
            *(constraint.influence for constraint in bone.constraints),
            tuple((name, value) for name, value in bone.items() if isinstance(value, int | float)),
        )
        for bone in rig.pose.bones
    }
    return bones, rig.data.pose_position, rig.animation_data and rig.animation_data.action


def rig_of(kind, **options):
    """A rig that somebody has posed, with its map in the list."""
    rig = make.make_rig(kind, **options)
    bpy.context.view_layer.objects.active = rig
    bpy.ops.wham.guess_rig_map()
    rng = np.random.default_rng(1)
    posed = list(rig.pose.bones)[::3]
    if kind == "rigify":  # whose tweaks a bake does not put back
        posed = [rig.pose.bones[name] for name in rig_map_state.from_rows().controls.values()]
    for bone in posed:
        bone.rotation_mode = ("QUATERNION", "XYZ", "AXIS_ANGLE")[int(rng.integers(3))]
        bone.rotation_euler, bone.rotation_axis_angle = rng.normal(0, 0.1, 3), (0.2, *rng.normal(0, 1, 3))
        bone.location = rng.normal(0, 0.02, 3)
    bpy.context.view_layer.update()  # drivers write into channels, too
    return rig


@pytest.mark.parametrize("kind", ["mixamo", "rigify", "unreal_ue5", "quaternius"])
def test_it_shows_what_a_bake_shows_and_gives_everything_back(source, kind):
    rig = rig_of(kind)
    before = state_of(rig)
    actions = len(bpy.data.actions)
    bpy.context.scene.frame_set(14)
    assert bpy.ops.wham.preview_rig_map() == {"FINISHED"}
    assert rig_preview.rig() == rig
    assert directions(source, rig) < 0.1
    shown = [rig.matrix_world @ bone.head for bone in rig.pose.bones]
    bpy.context.scene.frame_set(31)
    assert directions(source, rig) < 0.1
    assert len(bpy.data.actions) == actions
    assert bpy.ops.wham.preview_rig_map() == {"FINISHED"}
    assert rig_preview.rig() is None
    assert state_of(rig) == before
    bake(source, rig, plant_feet=False)
    bpy.context.scene.frame_set(14)
    fitted = rig_map_state.map_of(rig)
    for bone, place in zip(rig.pose.bones, shown, strict=True):
        if bone.name in fitted.bones.values():
            assert ((rig.matrix_world @ bone.head) - place).length < 1e-3, bone.name


def test_it_follows_the_map(source):
    rig = rig_of("smplx")
    before = state_of(rig)
    bpy.context.scene.frame_set(14)
    bpy.ops.wham.preview_rig_map()
    elbow = rig.pose.bones["left_elbow"].matrix.copy()
    bpy.ops.wham.clear_rig_map_bone(joint="left_elbow")
    assert "No bone is named for the left elbow" in str(rig_preview.error())
    assert state_of(rig)[0] == before[0]  # no pose, but the preview goes on
    bpy.ops.wham.set_rig_map_bone(joint="left_elbow", bone="left_shoulder")
    bpy.ops.wham.set_rig_map_bone(joint="left_shoulder", bone="left_elbow")
    assert "left_shoulder, which is named for the left elbow, is a parent of left_elbow" in str(rig_preview.error())
    bpy.ops.wham.set_rig_map_bone(joint="left_shoulder", bone="left_shoulder")
    bpy.ops.wham.set_rig_map_bone(joint="left_elbow", bone="left_elbow")
    assert rig_preview.error() is None
    assert np.allclose(rig.pose.bones["left_elbow"].matrix, elbow, atol=1e-5)
    bpy.ops.wham.guess_rig_map()  # begins anew
    assert state_of(rig) == before


def test_a_wrong_map_is_said_and_nothing_is_changed(source):
    rig = rig_of("smplx")
    before = state_of(rig)
    bpy.ops.wham.clear_rig_map_bone(joint="left_elbow")
    with pytest.raises(RuntimeError, match="No bone is named for the left elbow"):
        bpy.ops.wham.preview_rig_map()
    assert state_of(rig) == before
    assert not pose_backup.is_kept(rig)


def test_it_needs_a_motion():
    rig_of("mixamo")
    with pytest.raises(RuntimeError, match="Import a motion first"):
        bpy.ops.wham.preview_rig_map()


def test_rest_position_comes_back(source):
    rig = rig_of("mixamo")
    rig.data.pose_position = "REST"
    bpy.ops.wham.preview_rig_map()
    assert directions(source, rig) < 0.1
    bpy.ops.wham.preview_rig_map()
    assert rig.data.pose_position == "REST"


def test_what_is_animated_has_the_value_of_the_frame_that_is_shown_then(source):
    rig = rig_of("mixamo")
    head = rig.pose.bones["mixamorig:Head"]
    head.rotation_mode = "XYZ"
    for frame in (1, 40):
        head.rotation_euler = (0, 0, frame / 40)
        head.keyframe_insert("rotation_euler", frame=frame)
    bpy.context.scene.frame_set(1)
    bpy.ops.wham.preview_rig_map()
    bpy.context.scene.frame_set(40)
    assert directions(source, rig) < 0.1
    bpy.ops.wham.preview_rig_map()
    assert math.isclose(head.rotation_euler.z, 1.0, abs_tol=1e-5)


def test_undo_ends_it(source):
    rig = rig_of("mixamo")
    before = state_of(rig)[0]
    bpy.ops.ed.undo_push(message="before")
    bpy.ops.wham.preview_rig_map()
    bpy.context.scene.name = "Other"
    bpy.ops.ed.undo_push(message="while it is shown")  # this step holds the pose that is shown
    bpy.ops.ed.undo()
    rig = bpy.data.objects["mixamo"]
    assert not pose_backup.is_kept(rig)
    assert state_of(rig)[0] == before
    bpy.ops.ed.redo()
    rig = bpy.data.objects["mixamo"]
    assert bpy.context.scene.name == "Other"
    assert not pose_backup.is_kept(rig)
    assert state_of(rig)[0] == before


def test_a_saved_file_has_the_rig_s_own_pose(source, tmp_path):
    rig = rig_of("rigify")
    before = state_of(rig)[0]
    bpy.ops.wham.preview_rig_map()
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "film.blend"))
    assert rig_preview.rig() is None
    assert state_of(rig)[0] == before
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "film.blend"))
    assert state_of(bpy.data.objects["rig"])[0] == before


def test_a_file_that_was_saved_without_a_word_heals(source, tmp_path):
    """Automatic saves call no handlers."""
    rig = rig_of("mixamo")
    before = state_of(rig)[0]
    bpy.ops.wham.preview_rig_map()
    bpy.app.handlers.save_pre.remove(rig_preview._end)
    try:
        bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "film.blend"))
    finally:
        bpy.app.handlers.save_pre.append(rig_preview._end)
    assert pose_backup.is_kept(rig)
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "film.blend"))
    rig = bpy.data.objects["mixamo"]
    assert not pose_backup.is_kept(rig)
    assert state_of(rig)[0] == before


def test_a_bake_the_end_of_the_motion_and_of_the_add_on_end_it(source):
    rig = rig_of("mixamo")
    before = state_of(rig)
    bpy.ops.wham.preview_rig_map()
    addon_utils.disable("wham_blender", default_set=True)
    try:
        assert state_of(rig) == before
    finally:
        addon_utils.enable("wham_blender", default_set=True)
    bpy.ops.wham.guess_rig_map()
    bpy.ops.wham.preview_rig_map()
    bake(source, rig)
    assert not pose_backup.is_kept(rig)
    assert rig.animation_data.action is not None
    rig.animation_data_clear()
    bpy.context.view_layer.objects.active = rig
    bpy.ops.wham.preview_rig_map()
    bpy.data.objects.remove(source)
    rig_preview.refresh()
    assert rig_preview.rig() is None
    assert not pose_backup.is_kept(rig)


def test_rendering_ends_it(source):
    rig = rig_of("mixamo")
    before = state_of(rig)
    bpy.ops.wham.preview_rig_map()
    for handler in [*bpy.app.handlers.render_init]:
        handler(bpy.context.scene)
    assert state_of(rig) == before


def test_a_damaged_backup_does_no_harm(source):
    rig = rig_of("mixamo")
    for text in ("{", "[]", '{"bones": {}}', "1"):
        rig.wham_pose_backup = text
        pose_backup.restore_all()
        assert not pose_backup.is_kept(rig)
