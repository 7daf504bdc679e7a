"""Fingers baked onto rigs: they point where the source's do, in the scene as Blender evaluates it."""

import math
from dataclasses import replace

import bpy
import numpy as np
import pytest
from mathutils import Matrix, Vector

from tests.addon.conftest import make_motion
from tests.addon.test_bake import PLACED, TURNED, UNEVEN, bake
from tests.addon.test_fingers import with_hands
from tests.addon.test_import_motion import curves
from tests.rigs import make
from wham_blender import motion as motion_file
from wham_blender.addon.retarget import armature as armatures
from wham_blender.addon.retarget import finger_bones, rig_map_state
from wham_blender.addon.retarget.maps import RigMap
from wham_blender.skeleton import HAND_FINGERS

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
    return finger_bones.complete(rig_map_state.map_of(rig), armatures.rest_skeleton(rig)).fingers


def worst_direction(source, rig, fingers):
    """The largest angle in degrees between finger bones of source and rig, in the frame that is shown."""
    angles = {}
    for side in ("left", "right"):
        for finger in HAND_FINGERS:
            chain = [number for number in (1, 2, 3) if f"{side}_{finger}{number}" in fingers]
            for number, following in zip(chain, [*chain[1:], None], strict=True):
                ours, theirs = (
                    source.pose.bones[f"{side}_{finger}{number}"],
                    rig.pose.bones[fingers[f"{side}_{finger}{number}"]],
                )
                if following is None:
                    ends = source.pose.bones[f"{side}_{finger}3"].tail, theirs.tail
                else:
                    ends = (
                        source.pose.bones[f"{side}_{finger}{following}"].head,
                        rig.pose.bones[fingers[f"{side}_{finger}{following}"]].head,
                    )
                one = source.matrix_world.to_3x3() @ (ends[0] - ours.head)
                other = rig.matrix_world.to_3x3() @ (ends[1] - theirs.head)
                angles[f"{side}_{finger}{number}"] = math.degrees(one.angle(other))
    return max(angles.values())


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
    if "object_matrix" in options and rig.matrix_world.determinant() < 0:
        other = {"left": "right", "right": "left"}
        fingers = {f"{other[joint.split('_')[0]]}_{joint.split('_')[1]}": bone for joint, bone in fingers.items()}
    assert len(fingers) >= 10
    bake(source, rig, plant_feet=False)
    for frame in FRAMES:
        bpy.context.scene.frame_set(frame)
        assert worst_direction(source, rig, fingers) < 1.0, frame
