"""Rigs as they arrive from other programs: skin on bones above the hips, thousands of bones, a root as the object."""

import math
import re
import time

import bpy
import numpy as np
import pytest
from mathutils import Matrix, Quaternion, Vector

from tests.addon.test_scenes import EVERY, baked, files, source  # noqa: F401  (fixtures)
from tests.rigs import bvh, make, scenes
from wham_blender.addon.retarget import maps, rig_map_state
from wham_blender.addon.retarget.armature import rest_skeleton
from wham_blender.addon.retarget.guess import guess


def add_bone(rig, name, like, *, above):
    """A bone at the place of another one, as its parent or child."""
    bpy.context.view_layer.objects.active = rig
    bpy.ops.object.mode_set(mode="EDIT")
    bones = rig.data.edit_bones
    made = bones.new(name)
    made.head, made.tail = bones[like].head, bones[like].tail
    if above:
        made.parent, bones[like].parent = bones[like].parent, made
    else:
        made.parent = bones[like]
    bpy.ops.object.mode_set(mode="OBJECT")


def skin(rig, weights):
    """A mesh with a row of vertices at each bone; edges join the rows. ``weights``: bone -> shares of its vertices."""
    places = [rig.data.bones[bone].head_local for bone in weights]
    count = len(places)
    mesh = bpy.data.meshes.new("skin")
    mesh.from_pydata(places, [(number, number + 1) for number in range(count - 1)], [])
    made = bpy.data.objects.new("skin", mesh)
    bpy.context.scene.collection.objects.link(made)
    for number, shares in enumerate(weights.values()):
        for bone, share in shares.items():
            group = made.vertex_groups.get(bone) or made.vertex_groups.new(name=bone)
            group.add([number], share, "REPLACE")
    made.modifiers.new("Armature", "ARMATURE").object = rig
    return made


def longest_edge(mesh, frames):
    longest = 0.0
    for frame in frames:
        bpy.context.scene.frame_set(frame)
        evaluated = mesh.evaluated_get(bpy.context.evaluated_depsgraph_get()).data
        for edge in evaluated.edges:
            first, second = (evaluated.vertices[index].co for index in edge.vertices)
            longest = max(longest, (first - second).length)
    return longest


@pytest.mark.parametrize("root_motion", [False, True], ids=["on the hips", "on the root"])
@pytest.mark.parametrize("reduced", [False, True], ids=["every frame", "reduced"])
def test_skin_on_a_bone_above_the_hips_leaves_no_spike(source, root_motion, reduced):  # noqa: F811
    rig = make.make_rig("unreal_ue5")
    add_bone(rig, "Body", "pelvis", above=True)
    bones = ("thigh_l", "pelvis", "thigh_r", "Body", "spine_01")
    mesh = skin(rig, {bone: {bone: 1.0} for bone in bones})
    rest = longest_edge(mesh, [1])
    said, failed = baked(source, rig, plant_feet=False, root_motion=root_motion, reduce_keys=reduced)
    assert not failed
    assert "Body moves with the hips, as it deforms vertices next to theirs" in said
    assert scenes.measure(source, rig, EVERY)[0] < (2 if reduced else 0.1)
    assert longest_edge(mesh, EVERY) < 1.5 * rest + 0.01


def test_a_root_whose_skin_hangs_from_nothing_else_stays_where_it_is(source):  # noqa: F811
    rig = make.make_rig("unreal_ue5")
    skin(rig, {bone: {bone: 1.0} for bone in ("thigh_l", "pelvis", "thigh_r")})
    skin(rig, {"root": {"root": 1.0}})  # a shadow on the floor
    said, failed = baked(source, rig, plant_feet=False)
    assert not failed
    assert "moves with the hips" not in said
    assert not any("root" in path for path in _paths(rig))


def test_a_vertex_that_is_shared_with_the_root_takes_the_root_along(source):  # noqa: F811
    rig = make.make_rig("unreal_ue5")
    skin(rig, {"pelvis": {"pelvis": 0.8, "root": 0.2}})
    said, _ = baked(source, rig, plant_feet=False)
    assert "root moves with the hips" in said
    assert scenes.measure(source, rig, EVERY)[0] < 0.1


def _paths(rig):
    action = rig.animation_data.action
    return [curve.data_path for curve in scenes.curves_of(action, getattr(rig.animation_data, "action_slot", None))]


def test_legs_that_stretched_animation_has_left_of_different_lengths(source):  # noqa: F811
    """Mannequiny.glb: inverse kinematics that stretches has left a scale along each thigh."""
    plain = make.make_rig("mixamo")
    baked(source, plain)
    wanted = scenes.measure(source, plain, EVERY)[1]
    rig = make.make_rig("mixamo")
    for name, scale in (("LeftUpLeg", (1, 1.03, 1)), ("LeftFoot", (1, 0.99, 0.98)), ("RightUpLeg", (1, 1.01, 1))):
        rig.pose.bones[f"mixamorig:{name}"].scale = scale
    said, failed = baked(source, rig)
    assert not failed
    assert re.search("the uneven scale that mixamorig:.*, mixamorig:.*, mixamorig:.* had is 1 in the new action", said)
    assert np.abs(scenes.measure(source, rig, EVERY)[1] - wanted).max() < 1e-4


def test_thousands_of_bones_are_mapped_and_baked_in_seconds(source):  # noqa: F811
    """2,424 bones: hair, skirt and cloth simulation, as a game's characters have them."""
    rig = make.make_rig("mixamo")
    rng = np.random.default_rng(1)
    bpy.context.view_layer.objects.active = rig
    bpy.ops.object.mode_set(mode="EDIT")
    bones = rig.data.edit_bones
    truth = rig_map_state.map_of(rig).bones
    while len(bones) < 2424:
        above = bones["mixamorig:Head" if rng.random() < 0.6 else "mixamorig:Hips"]
        head, step = above.head + (above.tail - above.head) * rng.random(), Vector(rng.normal(0, 0.02, 3))
        for number in range(6):
            made = bones.new(f"x{len(bones)}")
            made.head, made.tail, made.parent = head + number * step, head + (number + 1) * step, above
            above = made
    bpy.ops.object.mode_set(mode="OBJECT")
    begun = time.process_time()
    found = guess(rig.name, rest_skeleton(rig))
    guessed = time.process_time() - begun
    assert found.rig_map.bones == truth
    begun = time.process_time()
    _, failed = baked(source, rig, plant_feet=False)
    took = time.process_time() - begun
    assert not failed
    assert guessed < 3
    assert took < 20
    assert scenes.measure(source, rig, [1, 20])[0] < 0.1


def test_a_root_bone_that_became_the_object_of_an_fbx(source, tmp_path):  # noqa: F811
    """Unreal's skeletons: Blender makes the root the armature object, scaled from centimetres and animated."""
    rig = make.make_rig("unreal_ue5", scale=100)
    bpy.ops.object.mode_set(mode="EDIT")
    for name in ("root", "interaction", "center_of_mass"):
        rig.data.edit_bones.remove(rig.data.edit_bones[name])
    bpy.ops.object.mode_set(mode="OBJECT")
    rig.name, rig.scale = "root", (0.01, 0.01, 0.01)
    for frame, place in ((1, (0, 0, 0)), (20, (0, -1, 0))):
        rig.location = place
        rig.keyframe_insert("location", frame=frame)
    for obj in bpy.data.objects:
        obj.select_set(obj == rig)
    path = str(tmp_path / "hero.fbx")
    bpy.ops.export_scene.fbx(filepath=path, use_selection=True, add_leaf_bones=False, object_types={"ARMATURE"})
    bpy.data.objects.remove(rig)
    bpy.ops.import_scene.fbx(filepath=path)
    (again,) = (obj for obj in bpy.context.selected_objects if obj.type == "ARMATURE")
    assert again.name.startswith("root")
    assert "pelvis" in again.data.bones
    assert "root" not in again.data.bones
    said, failed = baked(source, again, plant_feet=False)
    assert not failed, said
    assert scenes.measure(source, again, EVERY)[0] < 0.1
    legs = {joint: joint for joint in maps.LIMBS["left_leg"]}
    sizes = [leg_length(again, rig_map_state.map_of(again).bones), leg_length(source, legs)]
    assert math.isclose(*sizes, rel_tol=0.3)


def leg_length(obj, bones):
    hip, knee, ankle = (obj.matrix_world @ obj.pose.bones[bones[joint]].head for joint in maps.LIMBS["left_leg"])
    return (hip - knee).length + (knee - ankle).length


def lying_in_a_line(kind, tmp_path):
    """A rig of a motion file whose rest pose has all bones along one axis, in its first frame."""
    bvh.write(tmp_path / "take.bvh", kind)
    bpy.ops.import_anim.bvh(filepath=str(tmp_path / "take.bvh"), global_scale=0.01)
    bpy.context.scene.frame_set(1)
    return bpy.context.object


KINDS_OF_TAKES = ("lafan", "makehuman_cmu")


@pytest.mark.parametrize("kind", KINDS_OF_TAKES)
def test_a_motion_file_without_a_rest_pose_is_guessed_by_its_pose(kind, tmp_path):
    rig = lying_in_a_line(kind, tmp_path)
    truth = maps.fit(maps.shipped()[kind], rig.data.bones.keys())
    assert rig_map_state.map_of(rig) == truth
    for number, bone in enumerate(rig.data.bones):
        bone["was"], bone.name = bone.name, f"b{number:03}"
    was = {bone.name: bone["was"] for bone in rig.data.bones}
    found = guess(rig.name, rest_skeleton(rig)).rig_map.mapped_bones()
    assert {joint: was[bone] for joint, bone in found.items()} == truth.mapped_bones()


@pytest.mark.parametrize("kind", KINDS_OF_TAKES)
@pytest.mark.parametrize("asked", ["AUTO", "POSE"])
def test_the_pose_counts_as_rest_where_nobody_could_stand_at_rest(source, kind, asked, tmp_path):  # noqa: F811
    plain = make.make_rig(kind)
    assert not baked(source, plain, plant_feet=False)[1]
    wanted = scenes.measure(source, plain, EVERY)[1]
    rig = lying_in_a_line(kind, tmp_path)
    for _ in range(2):  # the second time, the pose is the motion's, and the one of the file is remembered
        said, failed = baked(source, rig, plant_feet=False, rest_pose=asked)
        assert not failed
        assert "the pose that it was in counts as its rest" in said
        limbs, joints = scenes.measure(source, rig, EVERY)
        assert limbs < 0.1
        if asked == "AUTO":
            assert np.linalg.norm(joints - wanted, axis=-1).max() < 0.005
        bpy.context.scene.frame_set(17)
    assert baked(source, rig, plant_feet=False, rest_pose="REST")[0].count("rest") == 0


def test_trunk_and_head_follow_the_pose_that_counts_as_rest(source, tmp_path):  # noqa: F811
    """With the rest pose of the file, the limbs fit all the same, and the trunk lies."""
    plain = make.make_rig("lafan")
    baked(source, plain, plant_feet=False)
    wanted = scenes.measure(source, plain, EVERY)[1]
    rig = lying_in_a_line("lafan", tmp_path)
    baked(source, rig, plant_feet=False, rest_pose="REST")
    assert np.linalg.norm(scenes.measure(source, rig, EVERY)[1] - wanted, axis=-1).max() > 0.1


@pytest.mark.parametrize("reduced", [False, True], ids=["every frame", "reduced"])
def test_a_pose_that_is_asked_for_as_rest(source, reduced):  # noqa: F811
    """A rig in T-pose that stands in A-pose, its hips moved, its bones in all rotation modes."""
    rig = make.make_rig("mixamo", rest="T")
    scenes.other_rotation_modes(rig)
    for side, sign in (("Left", 1), ("Right", -1)):
        bone = rig.pose.bones[f"mixamorig:{side}Arm"]
        turn = Quaternion((0, 1, 0), sign * 0.8).to_matrix().to_4x4()
        head = Matrix.Translation(bone.head)
        bone.matrix = head @ turn @ head.inverted() @ bone.matrix
        bpy.context.view_layer.update()
    rig.pose.bones["mixamorig:Hips"].location = (0.1, 0.05, 0.2)
    failed = baked(source, rig, plant_feet=False, rest_pose="POSE", reduce_keys=reduced)[1]
    assert not failed
    assert scenes.measure(source, rig, EVERY)[0] < (3.0 if reduced else 0.1)
