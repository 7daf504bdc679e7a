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
from wham_blender.addon import character, rig_map_state
from wham_blender.addon.retarget.maps import LIMBS

TURNED = Matrix.Translation((3, -2, 0.5)) @ Matrix.Rotation(2.1, 4, (0.2, -0.4, 1)) @ Matrix.Scale(0.01, 4)
UNEVEN = Matrix.Translation((1, 1, 0)) @ Matrix.Rotation(0.4, 4, "X") @ Matrix.Diagonal((1.2, 0.7, 1.0, 1.0))
Y_UP = Matrix.Rotation(math.pi / 2, 4, "X") @ Matrix.Scale(0.01, 4)


@pytest.fixture
def source(motion, tmp_path):
    """An imported character with large, varied turns of all joints; 40 keys from frame 1."""
    motion_file.save(tmp_path / "dance.npz", [motion])
    bpy.ops.wham.import_motion(filepath=str(tmp_path / "dance.npz"), fps="CLIP")
    return bpy.context.selected_objects[0]


@pytest.fixture
def walk(body, tmp_path):
    """An imported character that sways on its way: 120 smooth keys, and each foot planted half of the time."""
    made = make_motion(body, count=120, rate=30.0)
    made.poses[:] = 0.15 * made.poses
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
    bake(source, rig)
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


@pytest.mark.parametrize("kind", ["mixamo", "rigify"])
def test_few_keys_stay_as_near_as_asked_and_say_so(walk, kind):
    rig = make.make_rig(kind)
    bake(walk, rig)
    fitted = rig_map_state.map_of(rig)
    ends = [fitted.bones[f"{side}_{end}"] for side in ("left", "right") for end in ("ankle", "wrist")]
    frames = range(1, 121)
    whole = points(rig, ends, frames)
    every = curves(rig.animation_data.action)
    bake(walk, rig, keying="FEW", angle_error=math.radians(1), distance_error=0.005)
    action = rig.animation_data.action
    few = curves(action)
    assert sum(len(curve.keyframe_points) for curve in few) < 0.4 * sum(len(curve.keyframe_points) for curve in every)
    off = np.linalg.norm(points(rig, ends, frames) - whole, axis=-1)
    assert off.max() < 0.04
    planted = character.read(walk).contacts
    for number, side in enumerate(("left", "right")):
        assert off[planted[:, 2 * number : 2 * number + 2].any(1), 2 * number].max() < 0.006, side
