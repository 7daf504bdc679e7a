"""Fingers baked onto rigs: they point where the source's do, in the scene as Blender evaluates it."""

import math
import re
from dataclasses import replace

import bpy
import pytest
from mathutils import Matrix

from tests.addon.conftest import make_motion
from tests.addon.test_bake import PLACED, TURNED, UNEVEN, bake
from tests.addon.test_fingers import with_hands
from tests.addon.test_import_motion import curves
from tests.rigs import baked, make
from tests.rigs.baked import finger_angle
from wham_blender import motion as motion_file
from wham_blender.addon.retarget import maps, rig_map_state

FRAMES = (1, 14, 27, 40)
# With hands of five fingers, and those of which the test skeletons have three or two.
KINDS = (
    "mixamo", "unreal_ue4", "unreal_ue5", "unity_humanoid", "vroid", "rigify", "rigify_metarig", "daz_genesis_8",
    "daz_genesis_9", "character_creator", "autorig_pro", "autorig_pro_control", "makehuman_default", "metahuman",
    "mmd", "smplx", "second_life", "blenrig", "quaternius_modular",
)  # fmt: skip


@pytest.fixture
def source(body, tmp_path):
    """An imported character whose fingers move, with large turns of all joints."""
    motion_file.save(tmp_path / "hands.npz", [with_hands(make_motion(body))])
    bpy.ops.wham.import_motion(filepath=str(tmp_path / "hands.npz"), fps="CLIP")
    return bpy.context.selected_objects[0]


def fingers_of(rig):
    return baked.fingers_of(rig, rig_map_state.map_of(rig))


def other_side(joint):
    side, _, name = joint.partition("_")
    return f"{'right' if side == 'left' else 'left'}_{name}"


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        *((kind, {}) for kind in KINDS),
        ("mixamo", {"rest": "A", "rolls": "random", "object_matrix": TURNED}),
        ("unreal_ue4", {"rest": "T", "rolls": "random", "object_matrix": UNEVEN}),
        ("makehuman_default", {"object_matrix": PLACED @ Matrix.Diagonal((-1, 1, 1, 1))}),
    ],
)
def test_fingers_point_where_the_sources_do(source, kind, options):
    rig = make.make_rig(kind, **options)
    fingers = fingers_of(rig)
    if rig.matrix_world.determinant() < 0:
        fingers = {joint: fingers[other_side(joint)] for joint in fingers}
    assert len(fingers) >= 10
    bake(source, rig, plant_feet=False)
    for frame in FRAMES:
        bpy.context.scene.frame_set(frame)
        assert finger_angle(source, rig, fingers) < 1.0, frame


@pytest.mark.parametrize("kind", ["mixamo", "unreal_ue4", "makehuman_default", "rigify_metarig"])
def test_fingers_of_bones_without_telling_names_are_found_by_place(source, kind):
    rig = make.make_rig(kind)
    named = fingers_of(rig)
    rig = make.make_rig(kind, names="shuffled")
    was = {bone.name: bone["was"] for bone in rig.data.bones}
    rig_map_state.load_or_guess(rig)
    found = {joint: was[bone] for joint, bone in fingers_of(rig).items()}
    assert found == named
    bake(source, rig, plant_feet=False)
    bpy.context.scene.frame_set(27)
    assert finger_angle(source, rig, fingers_of(rig)) < 1.0


def without_bones(rig, *endings):
    bpy.context.view_layer.objects.active = rig
    bpy.ops.object.mode_set(mode="EDIT")
    for bone in [bone for bone in rig.data.edit_bones if bone.name.endswith(endings)]:
        rig.data.edit_bones.remove(bone)
    bpy.ops.object.mode_set(mode="OBJECT")
    return rig


@pytest.mark.parametrize(
    ("gone", "count"),
    [
        (("3",), 20),  # two bones a finger
        (("Index2", "Index3", "Middle2", "Middle3", "Thumb2", "Thumb3"), 18),
        (tuple(f"{finger}{number}" for finger in ("Ring", "Pinky") for number in (1, 2, 3)), 18),
        (tuple(f"{finger}{number}" for finger in ("Ring", "Pinky", "Index") for number in (1, 2, 3)), 12),
    ],
)
def test_fingers_of_fewer_bones_point_from_their_joint_to_the_next_or_to_the_tip(source, gone, count):
    rig = without_bones(make.make_rig("mixamo"), *gone)
    fingers = fingers_of(rig)
    assert len(fingers) == count
    bake(source, rig, plant_feet=False)
    for frame in FRAMES:
        bpy.context.scene.frame_set(frame)
        assert finger_angle(source, rig, fingers) < 1.0


def test_fingers_that_are_bent_at_rest_point_where_the_sources_do(source):
    rig = make.make_rig("mixamo")
    bpy.context.view_layer.objects.active = rig
    bpy.ops.object.mode_set(mode="EDIT")
    for name in ("LeftHandIndex1", "LeftHandMiddle2", "RightHandThumb2", "RightHandRing1"):
        bone = rig.data.edit_bones[f"mixamorig:{name}"]
        turn = Matrix.Translation(bone.head) @ Matrix.Rotation(0.9, 4, "X") @ Matrix.Translation(-bone.head)
        for each in (bone, *bone.children_recursive):
            each.transform(turn)
    bpy.ops.object.mode_set(mode="OBJECT")
    bake(source, rig, plant_feet=False)
    for frame in FRAMES:
        bpy.context.scene.frame_set(frame)
        assert finger_angle(source, rig, fingers_of(rig)) < 1.0


@pytest.mark.parametrize("kind", ["mixamo", "rigify"])
def test_reduced_keys_keep_finger_directions_within_their_tolerance(source, kind):
    rig = make.make_rig(kind)
    bake(source, rig, plant_feet=False, keying="FEW", angle_error=math.radians(1))
    few = [curve for curve in curves(rig.animation_data.action) if re.search("(?i)thumb|index", curve.data_path)]
    assert len(few) >= 12
    assert sum(len(curve.keyframe_points) for curve in few) < 0.8 * len(few) * 40
    for frame in range(1, 41):
        bpy.context.scene.frame_set(frame)
        assert finger_angle(source, rig, fingers_of(rig)) < 5.0


@pytest.mark.parametrize("kind", ["mixamo", "rigify"])
def test_motions_without_hands_leave_the_fingers_alone(body, tmp_path, kind):
    motion_file.save(tmp_path / "body.npz", [make_motion(body)])
    bpy.ops.wham.import_motion(filepath=str(tmp_path / "body.npz"), fps="CLIP")
    source, rig = bpy.context.selected_objects[0], make.make_rig(kind)
    bake(source, rig, plant_feet=False)
    keyed = " ".join(curve.data_path for curve in curves(rig.animation_data.action))
    assert not re.search("(?i)thumb|index|pinky", keyed)


def test_a_finger_that_a_constraint_holds_does_not_stop_the_bake(source, capfd):
    rig = make.make_rig("mixamo")
    hold = rig.pose.bones["mixamorig:LeftHandIndex1"].constraints.new("COPY_ROTATION")
    hold.target, hold.subtarget = rig, "mixamorig:Hips"
    bake(source, rig, plant_feet=False)
    assert "Not all fingers of mixamo have the motion" in capfd.readouterr().out
    bpy.context.scene.frame_set(20)
    one, other = source.pose.bones["left_elbow"], rig.pose.bones["mixamorig:LeftForeArm"]
    assert abs((one.matrix.col[1].to_3d()).length - other.matrix.col[1].to_3d().length) < 0.01


def test_vrm_1_thumbs_begin_with_the_metacarpal():
    rig = make.make_rig("unity_humanoid")
    for side in ("Left", "Right"):
        for old, new in (("Proximal", "Metacarpal"), ("Intermediate", "Proximal")):
            rig.data.bones[f"{side}Thumb{old}"].name = f"{side}Thumb{new}"
    found = fingers_of(rig)
    assert [found[f"left_thumb{number}"] for number in (1, 2, 3)] == [
        "LeftThumbMetacarpal", "LeftThumbProximal", "LeftThumbDistal",
    ]  # fmt: skip


def test_maps_with_fingers_are_written_and_read():
    for rig_map in maps.shipped().values():
        assert maps.from_toml(maps.to_toml(rig_map), rig_map.name) == rig_map
    assert sum(len(rig_map.fingers) == 30 for rig_map in maps.shipped().values()) >= 19
    with pytest.raises(maps.MapError, match="named for two joints"):
        maps.from_toml(maps.to_toml(replace(maps.shipped()["mixamo"], fingers={"left_thumb1": "LeftHand"})), "odd")
