"""An unknown rig is guessed right: by its names in many languages, and by its shape where names say nothing."""

import bpy
import numpy as np
import pytest
from mathutils import Euler, Matrix

from tests.rigs import make
from wham_blender.addon.retarget import bone_names, guess, maps
from wham_blender.addon.retarget.armature import rest_skeleton

BY_SHAPE = 0.75  # the most that a bone is sure of without a name
TURNED = Matrix.Translation((3, 1, 0)) @ Euler((0, 0, 2.0)).to_matrix().to_4x4() @ Matrix.Scale(0.01, 4)


def guessed(armature):
    found = guess.guess(armature.name, rest_skeleton(armature))
    assert set(found.confidence) == set(found.rig_map.mapped_bones().values())
    return found


BY_NAME = ("quaternius",)  # names alone tell where the feet are that hang from the root


@pytest.mark.parametrize("kind", [kind for kind in make.KINDS if kind != "rigify"])
@pytest.mark.parametrize(
    "form",
    [
        {},
        {"names": "shuffled"},
        {"names": "shuffled", "rest": "T", "rolls": "random", "legs": 0.6},
        {"names": "shuffled", "rest": "A", "legs": 1.6, "object_matrix": TURNED},
    ],
    ids=["named", "shuffled", "shuffled, T, short legs", "shuffled, A, long legs, turned and scaled"],
)
def test_every_joint_is_found(kind, form):
    if form and kind in BY_NAME:
        pytest.skip("without names it cannot be known")
    armature = make.make_rig(kind, **form)
    was = {bone.name: bone.get("was", bone.name) for bone in armature.data.bones}
    truth = maps.fit(maps.shipped()[kind], was.values())
    found = guessed(armature)
    assert {joint: was[bone] for joint, bone in found.rig_map.mapped_bones().items()} == truth.mapped_bones()
    assert found.rig_map.root == "" or was[found.rig_map.root] == truth.root
    if form:
        assert 0.3 < min(found.confidence.values()) <= max(found.confidence.values()) <= BY_SHAPE
    elif kind not in {"rigify_metarig", "character_creator", "blenrig"}:  # necks called spine, and twist, and controls
        assert min(found.confidence.values()) > BY_SHAPE
    fitted = maps.fit(maps.from_toml(maps.to_toml(found.rig_map), "guess"), was)
    assert fitted == found.rig_map


# The names of: pelvis, three of the spine, neck, head; then of each side collar ... wrist and hip ... toes.
CONVENTIONS = {
    "German": "Becken Bauch Brust Brust2 Hals Kopf Schulter.{s} Oberarm.{s} Unterarm.{s} Hand.{s} Oberschenkel.{s} "
    "Unterschenkel.{s} Fuß.{s} Zehen.{s} | links rechts",
    "French": "bassin dos dos2 poitrine cou tête clavicule_{s} bras_{s} avant_bras_{s} main_{s} cuisse_{s} mollet_{s} "
    "pied_{s} orteils_{s} | gauche droite",
    "Spanish": "cadera columna columna2 pecho cuello cabeza clavícula_{s} brazo_{s} antebrazo_{s} mano_{s} muslo_{s} "
    "espinilla_{s} pie_{s} dedos_{s} | izq der",
    "Russian": "таз спина грудь грудь2 шея голова ключица_{s} плечо_{s} предплечье_{s} кисть_{s} бедро_{s} голень_{s} "
    "стопа_{s} носок_{s} | лев прав",
    "Chinese": "骨盆 脊柱1 脊柱2 胸 脖子 头 {s}锁骨 {s}上臂 {s}前臂 {s}手 {s}大腿 {s}小腿 {s}脚 {s}脚趾 | 左 右",
    "Japanese, MMD": "センター 上半身 上半身2 上半身3 首 頭 {s}肩 {s}腕 {s}ひじ {s}手首 {s}足 {s}ひざ "
    "{s}足首 {s}つま先 | 左 右",
    "3ds Max Biped": "Bip01_Pelvis Bip01_Spine Bip01_Spine1 Bip01_Spine2 Bip01_Neck Bip01_Head Bip01_{s}_Clavicle "
    "Bip01_{s}_UpperArm Bip01_{s}_Forearm Bip01_{s}_Hand Bip01_{s}_Thigh Bip01_{s}_Calf Bip01_{s}_Foot Bip01_{s}_Toe0 "
    "| L R",
    "glued": "hips spine1 spine2 spine3 neck head {s}clavicle {s}upperarm {s}forearm {s}hand {s}thigh {s}shin {s}foot "
    "{s}toe | l r",
}
PARTS = ("collar", "shoulder", "elbow", "wrist", "hip", "knee", "ankle", "foot")
UNITY = (
    "Hips Spine Chest UpperChest Neck Head {s}Shoulder {s}UpperArm {s}LowerArm {s}Hand {s}UpperLeg {s}LowerLeg {s}Foot "
    "{s}Toes | Left Right"
)


def spelled(convention):
    names, sides = (half.split() for half in convention.split("|"))
    return names[:6] + [name.format(s=side) for side in sides for name in names[6:]]


@pytest.mark.parametrize("language", CONVENTIONS)
def test_names_are_read_in_many_languages(language):
    armature = make.make_rig("unity_humanoid")
    names = spelled(CONVENTIONS[language])
    for old, new in zip(spelled(UNITY), names, strict=True):
        armature.data.bones[old].name = new
    found = guessed(armature)
    assert found.rig_map.bones["pelvis"] == names[0]
    assert (*found.rig_map.spine, *found.rig_map.neck, found.rig_map.bones["head"]) == tuple(names[1:6])
    for number, (side, part) in enumerate((side, part) for side in ("left", "right") for part in PARTS):
        assert found.rig_map.bones[f"{side}_{part}"] == names[6 + number]
        reading = bone_names.parse(names[6 + number])
        assert (reading.side, reading.helper, part in reading.parts) == (side, False, True), names[6 + number]
    assert min(found.confidence.values()) > BY_SHAPE


def test_a_name_of_another_part_lowers_the_confidence():
    armature = make.make_rig("unity_humanoid")
    bones = armature.data.bones
    bones["LeftLowerLeg"].name, bones["RightFoot"].name = "Head.001", "LeftFoot.001"
    found = guessed(armature)
    assert found.rig_map.bones["left_knee"] == "Head.001"
    assert found.rig_map.bones["right_ankle"] == "LeftFoot.001"
    unsure = {bone for bone, sure in found.confidence.items() if sure < 0.5}
    assert unsure == {"Head.001", "LeftFoot.001"}


@pytest.mark.parametrize("turn", [(0, 0, np.pi), (0, 0, np.pi / 2), (-np.pi / 2, 0, 0), (-np.pi / 2, np.pi / 2, 0)])
def test_left_is_left_whichever_way_the_bones_face(turn):
    armature = make.make_rig("mixamo", names="shuffled")
    armature.data.transform(Euler(turn).to_matrix().to_4x4())
    assert armature.data.bones[guessed(armature).rig_map.bones["left_knee"]]["was"] == "mixamorig:LeftLeg"


@pytest.mark.parametrize("kind", ["cat", "horse", "wolf", "basic_quadruped"])
def test_four_legs_are_refused(kind):
    with pytest.raises(maps.MapError, match="stands on four legs: a person's motion does not fit it"):
        guessed(make.make_metarig(kind))


@pytest.mark.parametrize(("part", "said"), [("hip", "two legs"), ("shoulder", "two arms")])
def test_a_rig_without_legs_or_arms_is_refused(part, said):
    armature = make.make_rig("mixamo", names="shuffled")
    was = {bone["was"]: bone.name for bone in armature.data.bones}
    fitted = maps.fit(maps.shipped()["mixamo"], was)
    roots = [was[fitted.bones[f"{side}_{'collar' if part == 'shoulder' else part}"]] for side in ("left", "right")]
    bpy.ops.object.mode_set(mode="EDIT")
    bones = armature.data.edit_bones
    for name in [bone.name for root in roots for bone in (bones[root], *bones[root].children_recursive)]:
        bones.remove(bones[name])
    bpy.ops.object.mode_set(mode="OBJECT")
    with pytest.raises(maps.MapError, match=f"Not found in mixamo: {said}"):
        guessed(armature)


def test_a_single_bone_is_no_character():
    bpy.ops.object.armature_add()
    with pytest.raises(maps.MapError, match="has 1 bones; a character has between 6 and 4000"):
        guessed(bpy.context.object)


def tentacles(length, count=1):
    """A skeleton of ``count`` pairs of chains from one root, mirror images of each other."""
    heads, parents = [(0.0, 0.0, 1.0)], [-1]
    for side in (1, -1):
        for chain in range(count):
            for number in range(length):
                parents.append(len(heads) - 1 if number else 0)
                heads.append((side * (0.1 + 0.03 * chain + 0.001 * number), 0.02 * chain, 1 - 0.01 * number))
    points = np.array(heads)
    return guess.Skeleton(tuple(f"b{n}" for n in range(len(heads))), tuple(parents), points, points - [0, 0, 0.01])


def in_one_place(count):
    return guess.Skeleton(
        tuple(f"b{n}" for n in range(count)), tuple(range(-1, count - 1)), np.zeros((count, 3)), np.ones((count, 3))
    )


def nowhere():
    skeleton = tentacles(20)
    skeleton.heads[3] = np.nan
    return skeleton


@pytest.mark.parametrize(
    ("skeleton", "said"),
    [
        (tentacles(60), "too many or too long chains"),
        (tentacles(999), "too many or too long chains"),
        (tentacles(8, count=100), "Not found in|too many|four legs"),
        (in_one_place(2000), "Not found in"),
        (in_one_place(5000), "a character has between 6 and 4000"),
        (nowhere(), "no finite position"),
    ],
    ids=["60 bones", "999 bones", "100 chains", "one place", "5000 bones", "not finite"],
)
def test_rigs_that_would_take_hours_are_refused_at_once(skeleton, said):
    with pytest.raises(maps.MapError, match=said):
        guess.guess("octopus", skeleton)


def test_names_of_many_words_are_read():
    for number in range(2000):
        assert bone_names.parse(f"{'a b ' * 14}{number}")
