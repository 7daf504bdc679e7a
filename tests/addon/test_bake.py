"""Motions baked onto rigs: limbs point where the source's do, in the scene as Blender evaluates it."""

import math
from itertools import pairwise

import bpy
import numpy as np
import pytest
from mathutils import Matrix

from tests.addon.conftest import make_motion
from tests.addon.test_import_motion import curves
from tests.rigs import make
from wham_blender import motion as motion_file
from wham_blender.addon.retarget import rig_map_state
from wham_blender.addon.retarget.maps import LIMBS
from wham_blender.addon.scene import character

TURNED = Matrix.Translation((3, -2, 0.5)) @ Matrix.Rotation(2.1, 4, (0.2, -0.4, 1)) @ Matrix.Scale(0.01, 4)
PLACED = Matrix.Translation((1, 0, 0)) @ Matrix.Rotation(0.7, 4, "Z") @ Matrix.Scale(0.9, 4)
UNEVEN = Matrix.Translation((1, 1, 0)) @ Matrix.Rotation(0.4, 4, "X") @ Matrix.Diagonal((1.2, 0.7, 1.0, 1.0))
ARMS = [limb for limb in LIMBS if "arm" in limb]
Y_UP = Matrix.Rotation(math.pi / 2, 4, "X") @ Matrix.Scale(0.01, 4)


@pytest.fixture
def source(motion, tmp_path):
    """An imported character with large, varied turns of all joints; 40 keys from frame 1."""
    motion_file.save(tmp_path / "dance.npz", [motion])
    bpy.ops.wham.import_motion(filepath=str(tmp_path / "dance.npz"), fps="CLIP")
    return bpy.context.selected_objects[0]


@pytest.fixture
def walk(request, body, tmp_path):
    """An imported character that sways on its way: 60 smooth keys, and each foot planted half of the time."""
    made = make_motion(body, count=getattr(request, "param", 60), rate=30.0)
    made.poses[:] = 0.15 * made.poses
    made.poses[:, :3] = math.pi / 2, 0, 0  # upright
    made.trans[:] = made.trans * [2.0, 0.1, 0.0] + [0.0, 0.0, 0.95]
    motion_file.save(tmp_path / "walk.npz", [made])
    bpy.ops.wham.import_motion(filepath=str(tmp_path / "walk.npz"), fps="CLIP")
    return bpy.context.selected_objects[0]


def bake(source, *rigs, **options):
    for thing in bpy.context.selected_objects:
        thing.select_set(False)
    for thing in (source, *rigs):
        thing.select_set(True)
    bpy.context.view_layer.objects.active = rigs[-1]
    assert bpy.ops.wham.bake_to_rig(**options) == {"FINISHED"}


def head(armature, bone):
    return armature.matrix_world @ armature.pose.bones[bone].head


def directions(source, rig, limbs=LIMBS):
    """Largest angle in degrees between limbs of source and rig in the frame that is shown."""
    bones = rig_map_state.map_of(rig).bones
    worst = 0.0
    for limb in limbs:
        joints = LIMBS[limb]
        for start, end in pairwise(joints):
            one = head(source, end) - head(source, start)
            other = head(rig, bones[end]) - head(rig, bones[start])
            worst = max(worst, math.degrees(one.angle(other)))
    return worst


FRAMES = range(1, 41, 3)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        *((kind, {}) for kind in make.KINDS),
        ("mixamo", {"rest": "A", "rolls": "random", "object_matrix": TURNED}),
        ("unreal_ue5", {"rest": "T", "rolls": "random", "object_matrix": UNEVEN}),
        ("makehuman_default", {"legs": 1.5, "object_matrix": UNEVEN}),
    ],
)
def test_limbs_point_where_the_sources_do(source, kind, options):
    rig = make.make_rig(kind, **options)
    bake(source, rig, plant_feet=False)
    for frame in FRAMES:
        bpy.context.scene.frame_set(frame)
        assert directions(source, rig) < 1.0, frame


def points(rig, bones, frames):
    """Heads (F, B, 3) of bones in the world."""
    found = []
    for frame in frames:
        bpy.context.scene.frame_set(frame)
        found.append([head(rig, bone) for bone in bones])
    return np.array(found)


@pytest.mark.parametrize("walk", [120], indirect=True)  # slow enough to need few keyframes
@pytest.mark.parametrize("kind", ["mixamo", "rigify"])
def test_keyframe_reduction_stays_within_its_tolerances(walk, kind):
    rig = make.make_rig(kind)
    bake(walk, rig)
    fitted = rig_map_state.map_of(rig)
    ends = [fitted.bones[f"{side}_{end}"] for side in ("left", "right") for end in ("ankle", "wrist")]
    frames = range(1, 121, 3)
    whole = points(rig, ends, frames)
    every = curves(rig.animation_data.action)
    bake(walk, rig, keying="FEW", angle_error=math.radians(1), distance_error=0.005)
    action = rig.animation_data.action
    few = curves(action)
    assert sum(len(curve.keyframe_points) for curve in few) < 0.4 * sum(len(curve.keyframe_points) for curve in every)
    off = np.linalg.norm(points(rig, ends, frames) - whole, axis=-1)
    assert off.max() < 0.04
    if kind == "mixamo":
        (thigh,) = (one for one in few if "LeftUpLeg" in one.data_path and one.array_index == 0)
        left = character.read(walk).contacts[:, :2].any(1)
        edges = np.flatnonzero(np.diff(left)) + 1  # the last frame before; frames count from 1
        assert len(edges) >= 2
        assert {*edges, *(edges + 1)} <= {round(point.co.x) for point in thigh.keyframe_points}
    planted = character.read(walk).contacts[::3]
    for number, side in enumerate(("left", "right")):
        assert off[planted[:, 2 * number : 2 * number + 2].any(1), 2 * number].max() < 0.006, side


def rotations(rig, bones, frames):
    """Rotations (F, B, 3, 3) of bones in the world."""
    found = []
    for frame in frames:
        bpy.context.scene.frame_set(frame)
        found.append(
            [np.array((rig.matrix_world @ rig.pose.bones[bone].matrix).to_3x3().normalized()) for bone in bones]
        )
    return np.array(found)


@pytest.mark.parametrize("plant_feet", [True, False])
@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        ("mixamo", "QUATERNION"),
        ("mixamo", "ZXY"),
        ("mixamo", "AXIS_ANGLE"),
        ("rigify", "QUATERNION"),
        ("unreal_ue5", "XYZ"),
    ],
)
def test_errors_of_keyframe_reduction_do_not_add_up_along_limbs(walk, kind, mode, plant_feet):
    rig = make.make_rig(kind)
    for bone in rig.pose.bones:
        bone.rotation_mode = mode
    bake(walk, rig, plant_feet=plant_feet)
    fitted = rig_map_state.map_of(rig)
    bones = [
        fitted.bones[f"{side}_{joint}"] for side in ("left", "right") for joint in ("shoulder", "elbow", "hip", "knee")
    ]
    frames = range(1, 61, 2)
    full = rotations(rig, bones, frames)
    bake(walk, rig, plant_feet=plant_feet, keying="FEW", angle_error=math.radians(0.5))
    few = rotations(rig, bones, frames)
    angles = 2 * np.degrees(np.arcsin(np.linalg.norm(few - full, axis=(2, 3)) / math.sqrt(8)))
    assert angles.max() < 0.55


def deselect():
    for thing in bpy.context.selected_objects:
        thing.select_set(False)
    bpy.context.view_layer.objects.active = None


@pytest.mark.parametrize("kind", ["mixamo", "rigify"])
def test_nla_strip_is_above_the_previous_action_and_has_the_markers(walk, kind):
    rig = make.make_rig(kind)
    bake(walk, rig)
    first = rig.animation_data.action
    wanted = [(marker.name, marker.frame) for marker in walk.animation_data.action.pose_markers]
    assert [(marker.name, marker.frame) for marker in first.pose_markers] == wanted
    assert len(wanted) > 4
    bones = [rig_map_state.map_of(rig).bones[role] for role in ("left_wrist", "right_knee")]
    joints = points(rig, bones, [10, 45])
    bake(walk, rig, layer="STRIP", root_motion="HIPS")
    assert rig.animation_data.action is None
    below, above = rig.animation_data.nla_tracks
    assert below.strips[0].action == first
    assert above.strips[0].action.name.startswith(f"dance {rig.name}")
    assert (above.strips[0].frame_start, above.strips[0].frame_end) == (1, 60)
    assert above.strips[0].extrapolation == "NOTHING"
    assert np.allclose(points(rig, bones, [10, 45]), joints, atol=1e-5)
    bake(walk, rig)
    bake(walk, rig)
    assert sum(action.use_fake_user for action in bpy.data.actions) == 1  # the one that the last bake replaced


def test_a_strip_that_is_open_is_not_written_to(walk):
    rig = make.make_rig("mixamo")
    bake(walk, rig, layer="STRIP")
    keys = [len(curve.keyframe_points) for curve in curves(rig.animation_data.nla_tracks[0].strips[0].action)]
    (track,) = rig.animation_data.nla_tracks
    track.select = track.strips[0].select = True
    rig.animation_data.use_tweak_mode = True
    with pytest.raises(RuntimeError, match=r"A strip of mixamo is open in the NLA editor. Leave its tweak mode first"):
        bake(walk, rig)
    rig.animation_data.use_tweak_mode = False
    assert len(rig.animation_data.nla_tracks) == 1
    assert [len(curve.keyframe_points) for curve in curves(track.strips[0].action)] == keys
    bake(walk, rig)


@pytest.mark.parametrize(("kind", "matrix"), [("unreal_ue5", None), ("rigify", None), ("smplx", PLACED)])
def test_a_root_bone_carries_the_body_over_the_floor(walk, kind, matrix):
    rig = make.make_rig(kind, object_matrix=matrix)
    fitted = rig_map_state.map_of(rig)
    bones = [fitted.bones["pelvis"], fitted.bones["left_wrist"], fitted.bones["right_ankle"]]
    frames = range(1, 61, 4)
    bake(walk, rig)
    before = points(rig, bones, frames)
    bake(walk, rig, root_motion="ROOT")
    assert np.abs(points(rig, bones, frames) - before).max() < 1e-4
    root = points(rig, [fitted.root], frames)[:, 0]
    assert np.ptp(root[:, 2]) < 1e-4
    assert np.abs(root[:, 2]).max() < 0.2
    assert np.linalg.norm((root - before[:, 0])[:, :2], axis=1).max() < 0.15
    assert np.linalg.norm(root[-1] - root[0]) > 1.0


def test_a_root_bone_without_the_pelvis_is_refused(walk):
    rig = make.make_rig("unreal_ue5")
    bpy.ops.wham.guess_rig_map()
    rows = [row for row in rig_map_state.state().bones if row.joint == "root"]
    rows[0].bone = "interaction"
    with pytest.raises(RuntimeError, match=r"interaction, which the rig map .* is no parent of the pelvis"):
        bake(walk, rig, root_motion="ROOT")
    rows[0].bone = ""
    with pytest.raises(RuntimeError, match=r"names no root bone for unreal_ue5\. Keep the motion on the hips"):
        bake(walk, rig, root_motion="ROOT")
    assert rig.animation_data is None


def test_several_rigs_at_once_and_failures_are_reported(source):
    good, strange = make.make_rig("mixamo"), make.make_rig("mixamo", names="shuffled")
    other = make.make_rig("smplx")
    strange.name = "Strange"
    with pytest.raises(RuntimeError, match=r"No rig map is known for Strange.*The other 2 of 3 rigs have their motion"):
        bake(source, good, strange, other)
    assert good.animation_data.action
    assert other.animation_data.action
    assert strange.animation_data is None
    for frame in (1, 20, 40):
        bpy.context.scene.frame_set(frame)
        assert directions(source, good, ARMS) < 1
        assert directions(source, other, ARMS) < 1


def test_import_onto_rigs(motion_path, tmp_path, motion):
    rig = make.make_rig("mixamo")
    deselect()
    with pytest.raises(RuntimeError, match="No rig is named or selected"):
        bpy.ops.wham.import_motion(filepath=str(motion_path), target="BAKE")
    with pytest.raises(RuntimeError, match="There is no rig Hero in the scene"):
        bpy.ops.wham.import_motion(filepath=str(motion_path), target="BAKE", rig="Hero")
    assert not any(character.is_character(thing) for thing in bpy.data.objects)
    bpy.ops.wham.import_motion(filepath=str(motion_path), fps="CLIP", target="BAKE", rig="mixamo", keying="FEW")
    (source,) = (thing for thing in bpy.data.objects if character.is_character(thing))
    assert source.hide_get()
    assert bpy.context.active_object == rig
    bpy.context.scene.frame_set(20)
    assert directions(source, rig, ARMS) < 2

    second = make.make_rig("mixamo")
    motion_file.save(tmp_path / "two.npz", [motion, motion])
    for thing in (rig, second):
        thing.select_set(True)
    bpy.ops.wham.import_motion(filepath=str(tmp_path / "two.npz"), target="BAKE")
    assert rig.animation_data.action != second.animation_data.action
    deselect()
    expected = r"2 motions need 2 rigs; selected: 1.*The motion is there as a new character"
    with pytest.raises(RuntimeError, match=expected):
        bpy.ops.wham.import_motion(filepath=str(tmp_path / "two.npz"), target="BAKE", rig=rig.name)


@pytest.mark.parametrize(
    ("make_it", "said"),
    [
        (lambda: make.make_metarig("horse"), "metarig stands on four legs: a person's motion does not fit it"),
        (
            lambda: bpy.data.objects.new("Rock", bpy.data.meshes.new("Rock")),
            "Select the armature to bake the motion onto",
        ),
        (lambda: legless(), "Not found in mixamo: two legs"),
    ],
)
def test_objects_that_are_no_two_legged_rig_are_refused(source, make_it, said):
    thing = make_it()
    if thing.name not in bpy.context.scene.objects:
        bpy.context.scene.collection.objects.link(thing)
    with pytest.raises(RuntimeError, match=said):
        bake(source, thing)


def legless():
    rig = make.make_rig("mixamo")
    bpy.ops.object.mode_set(mode="EDIT")
    bones = rig.data.edit_bones
    for name in [bone.name for bone in bones if "Leg" in bone.name]:
        bones.remove(bones[name])
    bpy.ops.object.mode_set(mode="OBJECT")
    return rig


@pytest.mark.parametrize("kind", ["mixamo", "rigify"])
def test_linked_rigs_need_an_override_and_get_their_motion_then(source, tmp_path, kind):
    rig = make.make_rig(kind)
    collection = bpy.data.collections.new("Hero")
    for owner in list(rig.users_collection):
        owner.objects.unlink(rig)
    collection.objects.link(rig)
    bpy.data.libraries.write(str(tmp_path / "hero.blend"), {collection})
    bpy.data.objects.remove(rig)
    with bpy.data.libraries.load(str(tmp_path / "hero.blend"), link=True) as (_, to):
        to.collections = ["Hero"]
    bpy.context.scene.collection.children.link(to.collections[0])
    (linked,) = to.collections[0].objects
    with pytest.raises(RuntimeError, match=r"is linked from hero.blend and cannot be keyed. Make a library override"):
        bake(source, linked)
    made = to.collections[0].override_hierarchy_create(bpy.context.scene, bpy.context.view_layer)
    (rig,) = made.objects
    if rig.override_library.is_system_override:
        with pytest.raises(RuntimeError, match=r"The library override of .* is locked"):
            bake(source, rig)
        rig.override_library.is_system_override = False
    bake(source, rig, keying="FEW")
    bpy.context.scene.frame_set(20)
    assert directions(source, rig, ARMS) < 2
    bake(source, rig, layer="STRIP")


def test_arms_are_spread_as_asked(walk):
    rig = make.make_rig("mixamo", rest="A")
    bake(walk, rig)
    bones = ["mixamorig:LeftArm", "mixamorig:LeftForeArm", "mixamorig:RightArm", "mixamorig:RightForeArm"]
    before = points(rig, bones, FRAMES)
    bake(walk, rig, arm_spread=math.radians(20))
    after = points(rig, bones, FRAMES)
    for start, end, sign in ((0, 1, 1), (2, 3, -1)):
        one, other = before[:, end] - before[:, start], after[:, end] - after[:, start]
        lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
        turned = np.degrees(np.arccos(np.clip(np.sum(one * other, 1) / lengths, -1, 1)))
        assert turned.min() > 3
        assert turned.max() < 20.1
        assert (np.cross(one, other)[:, 1] * sign < 0).all()  # seen from the front, which is -y, away from the body
