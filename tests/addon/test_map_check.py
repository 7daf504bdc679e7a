"""Maps that would bake to ruin are refused before anything is written; those that are right are not."""

import re
from collections.abc import Callable
from dataclasses import replace

import bpy
import numpy as np
import pytest
from mathutils import Matrix, Vector

from tests.addon.test_bake import bake
from tests.addon.test_bake import source as source
from tests.addon.test_bake import walk as walk
from tests.rigs import make, skeletons, variations
from wham_blender.addon.retarget import bake as baking
from wham_blender.addon.retarget import foot_locking, map_check, maps, rig_map_state
from wham_blender.addon.retarget.bake_all import target_rigs
from wham_blender.addon.retarget.maps import RigMap


def fitted(rig: bpy.types.Object) -> RigMap:
    found = maps.matching(rig.data.bones.keys(), maps.shipped().values())
    assert found is not None
    return found


def with_bones(rig_map: RigMap, **bones: str) -> RigMap:
    return replace(rig_map, bones=rig_map.bones | bones)


def exchanged(rig_map: RigMap, *pairs: tuple[str, str]) -> RigMap:
    bones = dict(rig_map.bones)
    for one, other in pairs:
        bones[one], bones[other] = bones[other], bones[one]
    return replace(rig_map, bones=bones)


def add_bone(rig: bpy.types.Object, name: str, parent: str, head: Vector, tail: Vector) -> None:
    bpy.context.view_layer.objects.active = rig
    bpy.ops.object.mode_set(mode="EDIT")
    bone = rig.data.edit_bones.new(name)
    bone.head, bone.tail, bone.parent = head, tail, rig.data.edit_bones.get(parent)
    bpy.ops.object.mode_set(mode="OBJECT")


def carry(rig: bpy.types.Object, bones: list[str], edges: tuple[tuple[int, int], ...] = ()) -> bpy.types.Object:
    """A mesh with a chain of small edges along each bone, which carries them: five vertices each, and more edges."""
    points: list[Vector] = []
    lines = [*edges]
    for bone in bones:
        start, along = rig.data.bones[bone].head_local, rig.data.bones[bone].vector
        lines += [(len(points) + number, len(points) + number + 1) for number in range(4)]
        points += [start + along * number / 4 for number in range(5)]
    mesh = bpy.data.meshes.new("skin")
    mesh.from_pydata(points, lines, [])
    skin = bpy.data.objects.new("skin", mesh)
    bpy.context.scene.collection.objects.link(skin)
    for number, bone in enumerate(bones):
        skin.vertex_groups.new(name=bone).add(range(5 * number, 5 * number + 5), 1.0, "ADD")
    skin.modifiers.new("Armature", "ARMATURE").object = rig
    return skin


def thumbs_for_legs(rig: bpy.types.Object) -> tuple[RigMap, str, str]:
    bones = {
        f"{side}_{joint}": f"thumb_0{number}_{side[0]}"
        for side in ("left", "right")
        for number, joint in enumerate(("hip", "knee", "ankle"), 1)
    }
    wrong = without_toes(with_bones(fitted(rig), **bones))
    return (
        wrong,
        "rig-map-not-connected",
        "thumb_01_l, which is named for the left hip, is a child of hand_l, which belongs to the left arm",
    )


def thumbs_for_legs_beside_the_arms(rig: bpy.types.Object) -> tuple[RigMap, str, str]:
    """As some files have them: the hands hang from elsewhere."""
    rig_map, _, _ = thumbs_for_legs(rig)
    bpy.context.view_layer.objects.active = rig
    bpy.ops.object.mode_set(mode="EDIT")
    for side in "lr":
        rig.data.edit_bones[f"thumb_01_{side}"].parent = rig.data.edit_bones["pelvis"]
    bpy.ops.object.mode_set(mode="OBJECT")
    return rig_map, "rig-map-proportions", "the distance of the hips: .* Correct thumb_01_l, thumb_01_r"


def without_toes(rig_map: RigMap) -> RigMap:
    return replace(rig_map, bones={joint: bone for joint, bone in rig_map.bones.items() if "foot" not in joint})


def a_leg_of_the_other_side(rig: bpy.types.Object) -> tuple[RigMap, str, str]:
    parts = ("hip", "knee", "ankle", "foot")
    wrong = exchanged(fitted(rig), *((f"left_{part}", f"right_{part}") for part in parts))
    return wrong, "rig-map-sides", "thigh_r and thigh_l are named for left and right of the legs"


def a_knee_of_the_other_side(rig: bpy.types.Object) -> tuple[RigMap, str, str]:
    wrong = exchanged(fitted(rig), ("left_knee", "right_knee"))
    return wrong, "rig-map-not-connected", "calf_r, which is named for the left knee, is not a child of thigh_l"


def everything_of_the_other_side(rig: bpy.types.Object) -> tuple[RigMap, str, str]:
    return maps.mirrored(fitted(rig)), "rig-map-sides", "toes ball_r and ball_l point backwards"


def forearm_for_upper_arm(rig: bpy.types.Object) -> tuple[RigMap, str, str]:
    wrong = exchanged(fitted(rig), ("left_shoulder", "left_elbow"))
    return wrong, "rig-map-not-connected", "upperarm_l, which is named for the left elbow, is a parent of lowerarm_l"


def a_control_for_a_hand(rig: bpy.types.Object) -> tuple[RigMap, str, str]:
    carry(rig, list(fitted(rig).mapped_bones().values()))
    wrong = with_bones(fitted(rig), left_wrist="ik_hand_l")
    return wrong, "rig-map-no-skin", "ik_hand_l, which .* deforms nothing of the mesh, and hand_l deforms it there"


def a_control_far_from_its_hand(rig: bpy.types.Object) -> tuple[RigMap, str, str]:
    hand = rig.data.bones["hand_l"]
    offset = Vector((0.0, -0.15, 0.0))
    add_bone(rig, "hand_control", "root", hand.head_local + offset, hand.tail_local + offset)
    carry(rig, list(fitted(rig).mapped_bones().values()))
    wrong = with_bones(fitted(rig), left_wrist="hand_control")
    return wrong, "rig-map-no-skin", "hand_control, which .* deforms nothing of the mesh, and hand_r on the other side"


def one_bone_twice(rig: bpy.types.Object) -> tuple[RigMap, str, str]:
    wrong = with_bones(fitted(rig), left_wrist="lowerarm_l")
    return wrong, "rig-map-bone-twice", "lowerarm_l is named for the left elbow and for the left wrist"


def the_pelvis_as_root(rig: bpy.types.Object) -> tuple[RigMap, str, str]:
    return replace(fitted(rig), root="pelvis"), "rig-map-bone-twice", "pelvis is named for the pelvis and for the root"


def the_spine_upside_down(rig: bpy.types.Object) -> tuple[RigMap, str, str]:
    right = fitted(rig)
    wrong = replace(right, spine=tuple(reversed(right.spine)))
    return wrong, "rig-map-not-connected", "is a parent of .*, which is named for a part of the trunk below it"


def a_head_in_a_hand(rig: bpy.types.Object) -> tuple[RigMap, str, str]:
    add_bone(rig, "lamp", "hand_l", rig.data.bones["hand_l"].tail_local, rig.data.bones["hand_l"].tail_local * 1.1)
    return (
        with_bones(fitted(rig), head="lamp"),
        "rig-map-not-connected",
        "lamp, .* is a child of hand_l, which belongs to the left arm",
    )


def a_limb_that_goes_back(rig: bpy.types.Object) -> tuple[RigMap, str, str]:
    """A finger's tip is no elbow: hierarchy and both sides are as they should be."""
    bones = {}
    for side, letter in (("left", "l"), ("right", "r")):
        upper, fore = rig.data.bones[f"upperarm_{letter}"], rig.data.bones[f"lowerarm_{letter}"]
        back = upper.head_local.lerp(fore.head_local, 0.3)
        add_bone(rig, f"back_{letter}", fore.name, back, back + Vector((0, 0, 0.1)))
        bones[f"{side}_wrist"] = f"back_{letter}"
    return (
        with_bones(fitted(rig), **bones),
        "rig-map-proportions",
        "the left arm folds back on itself, with the bones .*back_l",
    )


def a_finger_for_a_forearm(rig: bpy.types.Object) -> tuple[RigMap, str, str]:
    hand = rig.data.bones["hand_l"]
    add_bone(rig, "finger", "hand_l", hand.tail_local, hand.tail_local + hand.vector * 0.3)
    wrong = with_bones(fitted(rig), left_elbow="hand_l", left_wrist="finger")
    return wrong, "rig-map-not-symmetric", "left and right differ, as from the elbow to the wrist one side is"


RUINS: tuple[Callable[[bpy.types.Object], tuple[RigMap, str, str]], ...] = (
    thumbs_for_legs, thumbs_for_legs_beside_the_arms, a_leg_of_the_other_side, a_knee_of_the_other_side,
    everything_of_the_other_side, forearm_for_upper_arm, a_control_for_a_hand, a_control_far_from_its_hand,
    one_bone_twice, the_pelvis_as_root, the_spine_upside_down, a_head_in_a_hand, a_limb_that_goes_back,
    a_finger_for_a_forearm,
)  # fmt: skip


@pytest.mark.parametrize("ruin", RUINS, ids=lambda ruin: ruin.__name__)
def test_a_map_that_would_ruin_a_character_is_refused(source, ruin):
    rig = make.make_rig("unreal_ue5")
    wrong, code, said = ruin(rig)
    actions = len(bpy.data.actions)
    with pytest.raises(map_check.MapFault, match=said) as caught:
        baking.bake(source, rig, wrong, baking.Options())
    assert caught.value.code == code
    assert caught.value.bones
    assert str(caught.value).startswith("The rig map Unreal Mannequin (UE5) does not fit unreal_ue5: ")
    assert rig.animation_data is None
    assert len(bpy.data.actions) == actions


def test_a_limb_that_does_not_follow_is_found_where_bones_have_no_tree(source):
    """Rigify's deforming bones hang from helpers, by constraints."""
    rig = make.make_rig("rigify")
    right = fitted(rig)
    wrong = exchanged(right, ("left_knee", "right_knee"))
    with pytest.raises(map_check.MapFault) as caught:
        baking.bake(source, rig, wrong, baking.Options())
    assert caught.value.code in ("rig-map-sides", "rig-map-not-connected")


def test_a_bone_that_does_not_follow_the_one_above_is_found_by_what_it_does(source):
    """A constraint may carry it, so that its parents tell nothing."""
    rig = make.make_rig("mixamo")
    add_bone(
        rig, "prop", "", *(rig.data.bones["mixamorig:LeftForeArm"].head_local + Vector((0, 0, z)) for z in (0, 0.1))
    )
    rig.pose.bones["prop"].constraints.new("LIMIT_SCALE").owner_space = "LOCAL"
    wrong = with_bones(fitted(rig), left_elbow="prop")
    with pytest.raises(
        map_check.MapFault, match=r"prop, which .* does not follow mixamorig:LeftArm, named for"
    ) as caught:
        baking.bake(source, rig, wrong, baking.Options())
    assert caught.value.code == "rig-map-not-connected"


def test_an_animal_that_was_mapped_by_hand_is_refused(source):
    """Front legs for arms: everything hangs together, but the trunk lies level."""
    rig = make.make_metarig("horse")
    bones = {"pelvis": "spine.002", "head": "head"}
    for side, letter in (("left", "L"), ("right", "R")):
        for parts, chain in (
            (("hip", "knee", "ankle"), ("thigh", "lower_leg", "hind_foot")),
            (("shoulder", "elbow", "wrist"), ("upper_arm", "forearm", "forefoot")),
        ):
            bones |= {f"{side}_{part}": f"{bone}.{letter}" for part, bone in zip(parts, chain, strict=True)}
    with pytest.raises(map_check.MapFault, match=r"between trunk and legs there are .* degrees, as in an animal"):
        baking.bake(source, rig, RigMap("by hand", bones), baking.Options())


@pytest.mark.parametrize("kind", make.KINDS)
def test_right_maps_are_not_refused(kind):
    for options in ({}, {"rest": "T", "rolls": "random"}, {"rest": "A", "scale": 0.01, "legs": 0.6}):
        if kind == "rigify" and options:
            continue
        rig = make.make_rig(kind, **options)
        carry(rig, list(fitted(rig).mapped_bones().values()))
        assert map_check.check(rig, fitted(rig)) == []
        bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)


def test_variations_of_all_rigs_are_not_refused():
    for kind in variations.KINDS:
        for seed in range(3):
            made = variations.make(kind, seed)
            skeleton = made.skeleton
            parents = ["" if parent < 0 else skeleton.names[parent] for parent in skeleton.parents]
            rows = [
                skeletons.BoneRow(name, parent, tuple(head), tuple(tail), 0.0)
                for name, parent, head, tail in zip(
                    skeleton.names, parents, skeleton.heads, skeleton.tails, strict=True
                )
            ]
            rig = make._from_rows("variation", rows)
            assert map_check.check(rig, made.truth) == [], (kind, seed)
            bpy.data.objects.remove(rig)


def test_unusual_proportions_are_reported_and_baked(source, capfd):
    rig = make.make_rig("mixamo", legs=0.3)
    bake(source, rig, plant_feet=False)
    assert rig.animation_data.action is not None
    said = capfd.readouterr().out
    assert "its proportions are unusual, check whether the map is right: the legs: 34% of" not in said
    rig = make.make_rig("mixamo", legs=0.2)
    bake(source, rig, plant_feet=False)
    assert "its proportions are unusual, check whether the map is right: the legs:" in capfd.readouterr().out
    rig = make.make_rig("mixamo", legs=0.04)
    with pytest.raises(RuntimeError, match=r"legs: \d+% of the length of trunk and legs"):
        bake(source, rig, plant_feet=False)


def test_an_import_that_shall_be_baked_is_refused_before_the_worker_runs():
    rig = make.make_rig("smplx")
    rig_map_state.load_or_guess(rig)
    rig_map_state.find_row("left_knee").bone = "right_ankle"
    rig_map_state.find_row("right_ankle").bone = "left_knee"
    with pytest.raises(map_check.MapFault):
        target_rigs(bpy.context, [rig.name])


def test_skin_that_is_torn_apart_is_noted(walk, capfd):
    rig = make.make_rig("mixamo")
    hips = rig.data.bones["mixamorig:Hips"]
    add_bone(rig, "prop", "", hips.head_local, hips.head_local + Vector((0, 0, 0.1)))
    bones = [*fitted(rig).mapped_bones().values(), "prop"]
    skin = carry(rig, bones)
    bake(walk, rig)
    assert "stretched" not in capfd.readouterr().out
    bpy.data.objects.remove(skin)
    carry(rig, bones, ((0, 5 * len(bones) - 5),))  # from the head of the hips to that of the prop
    bake(walk, rig)
    assert re.search(r"skin is stretched by [12]\.\d m near mixamorig:Hips, prop in frame 60", capfd.readouterr().out)
    assert [thing.name for thing in bpy.data.objects if thing.type == "MESH"] == [f"{walk.name} body", "skin"]


def test_feet_under_the_floor_are_noted(walk, monkeypatch, capfd):
    rig = make.make_rig("mixamo", object_matrix=Matrix.Scale(0.5, 4))
    bake(walk, rig)
    assert "below the floor" not in capfd.readouterr().out
    lock_feet = foot_locking.lock_feet

    def sunk(*arguments):
        pose = lock_feet(*arguments)
        return replace(pose, hips=pose.hips - np.array([0.0, 0.0, 0.1]))

    monkeypatch.setattr(foot_locking, "lock_feet", sunk)
    bake(walk, rig)
    assert re.search(r"foot is \d+ cm below the floor in frame", capfd.readouterr().out)
