"""Rig maps: files that come back as they were, names that fit, controls that drive the bones that the map says."""

import os

import bpy
import numpy as np
import pytest
from mathutils import Matrix, Quaternion, Vector

from tests.rigs import make
from wham_blender.addon.retarget import bake, maps
from wham_blender.addon.retarget.bake_options import Options
from wham_blender.skeleton import JOINT_NAMES, PARENTS

SHIPPED = maps.shipped()
NEXT = {name: JOINT_NAMES[parent] for name, parent in zip(JOINT_NAMES, PARENTS, strict=True) if parent >= 0}


@pytest.mark.parametrize("key", SHIPPED)
def test_written_maps_are_read_back_unchanged(key, tmp_path):
    path = tmp_path / "folder" / "map.toml"
    maps.write(SHIPPED[key], path)
    assert maps.read(path) == SHIPPED[key]
    assert [file.name for file in path.parent.iterdir()] == ["map.toml"]


def test_there_is_a_test_rig_for_every_map():
    assert set(make.KINDS) == set(SHIPPED)


@pytest.mark.parametrize("kind", make.KINDS)
def test_a_rig_gets_its_own_map_and_its_joints_lie_in_the_body(kind):
    armature = make.make_rig(kind)
    bones = armature.data.bones
    fitted = maps.matching(bones.keys(), SHIPPED.values())
    assert fitted is not None
    assert fitted.name == SHIPPED[kind].name
    assert set(maps.all_names(fitted)) <= set(bones.keys())
    height = {joint: bones[bone].head_local.z for joint, bone in fitted.bones.items()}
    for side, sign in (("left", 1), ("right", -1)):
        assert height[f"{side}_hip"] > height[f"{side}_knee"] + 0.3 > height[f"{side}_ankle"] + 0.6
        reach = [sign * bones[fitted.bones[f"{side}_{part}"]].head_local.x for part in ("shoulder", "elbow", "wrist")]
        assert reach == sorted(reach)
        assert reach[0] > 0.1
    spine = [bones[bone].head_local.z for bone in (*fitted.spine, *fitted.neck, fitted.bones["head"])]
    assert spine == sorted(spine)
    if kind != "rigify":  # its deforming bones have no tree of their own
        for joint, bone in fitted.bones.items():
            parent = NEXT.get(joint, "")
            if parent in fitted.bones and not (kind == "quaternius" and "ankle" in joint):  # they hang from the root
                assert bones[fitted.bones[parent]] in bones[bone].parent_recursive, joint


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("mixamo", lambda name: f"mixamorig7:{name}"),
        ("mixamo", lambda name: name.upper()),
        ("unity_humanoid", lambda name: name[0].lower() + name[1:]),
        ("rigify", lambda name: name.replace(".", "_")),
        ("unreal_ue5", lambda name: f"Manny {name}"),
        ("unity_humanoid", lambda name: name.replace("Left", "Left_").replace("Right", "Right_")),  # Starter Assets
        ("kaykit", lambda name: name.replace(".", "FBXASC046")),
        ("second_life", lambda name: f"rig-{name}"),
        ("mmd_d", lambda name: f"{name[1:]}.{'LR'['左右'.index(name[0])]}" if name[0] in "左右" else name),
        ("mmd_d", lambda name: name.replace("D", "Ｄ")),
    ],
)
def test_prefix_case_and_punctuation_do_not_matter(key, change):
    names = maps.all_names(SHIPPED[key])
    fitted = maps.fit(SHIPPED[key], ["Camera", *map(change, names)])
    assert maps.all_names(fitted) == [change(name) for name in names]


def test_metahumans_are_told_from_other_rigs_of_unreal_and_their_twist_bones_left_alone():
    names = [bone.name for bone in make.make_rig("metahuman").data.bones]
    fitted = maps.matching(names, SHIPPED.values())
    assert fitted is not None
    assert (fitted.name, fitted.twists) == (SHIPPED["metahuman"].name, {})
    assert {"thigh_correctiveRoot_l", "lowerarm_correctiveRoot_r"} <= set(fitted.marks)
    plain = [name for name in names if "corrective" not in name]
    found = maps.matching(plain, SHIPPED.values())
    assert found is not None
    assert found.name == SHIPPED["unreal_ue5"].name


def test_a_bone_in_the_pelvis_keeps_its_orientation_in_a_shortened_spine():
    names = set(maps.all_names(SHIPPED["quaternius"])) - {"Chest"}
    fitted = maps.fit(SHIPPED["quaternius"], names)
    assert (fitted.spine, fitted.spine_at) == (("Hips", "Abdomen", "Torso"), (0.0, 1.0, 3.0))


def test_mikumikudance_is_keyed_without_its_inverse_kinematics(motion_path):
    """The D bones get the rotation of the legs added, which inverse kinematics holds on the floor."""
    bpy.ops.wham.import_motion(filepath=str(motion_path), fps="CLIP")
    source = bpy.context.selected_objects[0]
    rig = make.make_rig("mmd_d")
    for side in "左右":
        constraint = rig.pose.bones[f"{side}ひざ"].constraints.new("IK")
        constraint.target, constraint.subtarget, constraint.chain_count = rig, f"{side}足ＩＫ", 2
        for part in ("足", "ひざ", "足首"):
            constraint = rig.pose.bones[f"{side}{part}D"].constraints.new("COPY_ROTATION")
            constraint.target, constraint.subtarget, constraint.mix_mode = rig, f"{side}{part}", "ADD"
            constraint.owner_space = constraint.target_space = "LOCAL"
    fitted = maps.matching(rig.data.bones.keys(), SHIPPED.values())
    assert fitted is not None
    assert fitted.name == SHIPPED["mmd_d"].name
    bake.bake(source, rig, fitted, Options(plant_feet=False))
    for frame in (1, 14, 33):
        bpy.context.scene.frame_set(frame)
        assert rig.pose.bones["左ひざ"].constraints[0].influence == 0
        for joints in maps.LIMBS.values():
            one, other = (
                [thing.matrix_world @ thing.pose.bones[bones[joint]].head for joint in joints]
                for thing, bones in ((source, {joint: joint for joint in joints}), (rig, fitted.bones))
            )
            for number in (0, 1):
                assert (one[number + 1] - one[number]).angle(other[number + 1] - other[number]) < 2e-3


def test_missing_bones_are_named_and_optional_ones_are_not_missed():
    names = maps.all_names(SHIPPED["unity_humanoid"])
    fitted = maps.fit(SHIPPED["unity_humanoid"], set(names) - {"Chest", "LeftToes", "Root"})
    assert fitted.spine == ("Spine", "UpperChest")
    assert fitted.spine_at == (1.5, 3.0)
    assert "left_foot" not in fitted.bones
    assert fitted.root == ""
    with pytest.raises(maps.MapError, match=r"lacks 2 of the \d+ bones in the map VRM.*: LeftFoot, RightHand\. Choose"):
        maps.fit(SHIPPED["unity_humanoid"], set(names) - {"LeftFoot", "RightHand"})
    assert maps.matching(["Bone", "Bone.001"], SHIPPED.values()) is None


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("name = ", "name = = ", "not a rig map"),
        ('name = "Rigify"', "name = 3", "map.name is 3, not a text"),
        ("[controls]", "[levers]", "unknown field 'levers'"),
        ('left_hip = "DEF-thigh.L"\n', "", "lacks left_hip"),
        ('left_hip = "DEF-thigh.L"', "left_hip = 1", "bones.left_hip is 1, not a text"),
        ('left_hip = "DEF-thigh.L"', 'left_hip = ""', "bones.left_hip is '', not of 1 to 63 bytes"),
        ('left_hip = "DEF-thigh.L"', 'left_hip = "DEF-thigh.R"', "DEF-thigh.R is named for two joints"),
        ('neck = ["DEF-spine.004"]', 'neck = "DEF-spine.004"', "neck is 'DEF-spine.004', not a list"),
        ("neck_at = [1.0]", "neck_at = [0.5]", "neck_at need"),
        ('optional = ["', 'optional = ["DEF-foot.L", "', "cannot be optional"),
        ('location_bone = "DEF-spine.001"', 'location_bone = "torso"', "torso has a control but is mapped to no joint"),
        ("[ik.left_leg]", "[ik.tail]", "ik is a dict, with the unknown key tail"),
        ("fk = 1.0}", 'fk = "on"}', "switch.fk is 'on', not a number"),
        ("fk = 1.0}", "fk = nan}", "switch.fk is nan, not a number"),
        ("[[settings]]", "[settings]", "not a rig map"),
    ],
)
def test_a_damaged_file_raises_a_map_error(old, new, said, tmp_path):
    text = maps.to_toml(SHIPPED["rigify"])
    assert old in text
    path = tmp_path / "shared.toml"
    path.write_text(text.replace(old, new, 1), "utf-8")
    with pytest.raises(maps.MapError, match=said) as caught:
        maps.read(path)
    assert str(caught.value).startswith("shared.toml")


def test_files_that_are_no_text_or_too_large_are_refused(tmp_path):
    (tmp_path / "a.toml").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "b.toml").write_bytes(b"#" * (1 << 21))
    (tmp_path / "d.toml").mkdir()
    os.mkfifo(tmp_path / "e.toml") if hasattr(os, "mkfifo") else None  # without a writer, reading it would never end
    for name in ("a", "b", "c", "d", "e", "a\0b", "x" * 300):
        with pytest.raises(maps.MapError, match="cannot be read as a rig map: "):
            maps.read(tmp_path / f"{name}.toml")


RIGIFY = maps.to_toml(SHIPPED["rigify"])
DEEP = ".".join(["a"] * 800)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{RIGIFY}[{DEEP}]\n" + "".join(f"k{n}.{DEEP} = 1\n" for n in range(13)), "a key of more than 4 parts"),
        (f'{RIGIFY}[x]\n"a" . \'b\'.c."d.e".f = 1', "a key of more than 4 parts"),
        (f'{RIGIFY}"""', "a string of several lines"),
        (f"{RIGIFY}x = {'[' * 14000}", "not a rig map: "),
        (f"{RIGIFY}x = {'{a = ' * 5000}", "not a rig map: "),
        ("{" * 32000, "not a rig map: "),
        (f"{RIGIFY}x = 1{'0' * 10000}", "not a rig map: "),
        (RIGIFY.replace("fk = 1.0", "fk = 1e999"), "switch.fk is inf, not a number"),
        (RIGIFY.replace("fk = 1.0", f"fk = 0x{'f' * 20000}", 1), "switch.fk is a huge integer, not a number"),
        (RIGIFY.replace("fk = 1.0", "fk = 2000000.0"), "not from -1e.06 to 1e.06"),
        (RIGIFY.replace('"torso"', f'"{"x" * 64}"'), "not of 1 to 63 bytes"),
        (RIGIFY.replace('"torso"', '"\ud800"'), "surrogates not allowed"),
        (RIGIFY.replace('neck = ["DEF-spine.004"]', f"neck = {['a'] * 200}"), "longer than 100"),
        (RIGIFY.replace('name = "Rigify"', f'name = "{"x" * 300}"'), "not of 0 to 200 bytes"),
        (f"{RIGIFY}{'x' * 30000} = 1", "not a rig map: "),
        (f'x = "{chr(92)}"{chr(92) + chr(34)}' * 6000, "not a rig map: "),
        ("# " * 20000, "more than 32768 bytes"),
    ],
)
def test_a_map_that_would_take_minutes_or_cannot_be_used_is_refused_at_once(text, said):
    with pytest.raises(maps.MapError, match=said) as caught:
        maps.from_toml(text, "shared.toml")
    assert len(str(caught.value)) < 450
    str(caught.value).encode()


def test_dots_in_names_and_numbers_are_no_deep_keys():
    text = RIGIFY.replace('"torso"', '"a.b.c.d.e.f"').replace("[bones]", "# a.b.c.d.e.f.g\n[bones]")
    assert maps.from_toml(text, "x").controls["DEF-spine.001"] == "a.b.c.d.e.f"


def test_a_map_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "folder.toml").mkdir()
    for name in ("folder.toml", "a\0b.toml", "\ud800.toml", "x" * 300):
        with pytest.raises(maps.MapError, match="The rig map cannot be written to"):
            maps.write(SHIPPED["smpl"], tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["folder.toml"]


def test_thousands_of_bones_whose_names_end_alike():
    names = [f"{number:05}_{word}" for number in range(2500) for word in ("hips", "pelvis")]
    assert maps.matching(names, SHIPPED.values()) is None


def turn_of(armature, bone):
    """A bone's turn from its rest, in armature space."""
    return armature.pose.bones[bone].matrix.to_3x3() @ armature.data.bones[bone].matrix_local.to_3x3().inverted()


def test_rigifys_controls_drive_the_bones_that_the_map_says():
    armature = make.make_rig("rigify")
    rig_map = maps.fit(SHIPPED["rigify"], armature.data.bones.keys())
    rng = np.random.default_rng(0)
    for setting in rig_map.settings:
        owner = armature.pose.bones[setting.bone]
        if setting.property == maps.IK_STRETCH:
            owner.ik_stretch = setting.value
        else:
            owner[setting.property] = type(owner[setting.property])(setting.value)
    for mode in ("fk", "ik"):
        for ik in rig_map.ik.values():
            assert ik.switch
            armature.pose.bones[ik.switch.bone][ik.switch.property] = getattr(ik.switch, mode)
        for bone in rig_map.mapped_bones().values():
            control = armature.pose.bones[rig_map.control(bone)]
            control.rotation_mode = "QUATERNION"
            control.rotation_quaternion = Quaternion(Vector(rng.normal(size=3)).normalized(), 0.4)
        armature.pose.bones[rig_map.control(rig_map.location_bone)].location = (0.1, 0.2, 0.3)
        bpy.context.view_layer.update()
        if mode == "fk":
            for bone in rig_map.mapped_bones().values():
                apart = turn_of(armature, bone).inverted() @ turn_of(armature, rig_map.control(bone))
                # a bone that stretches between two tweaks takes its direction from the control and its roll from below
                assert Vector((0, 1, 0)).angle(rest_turn(armature, bone, apart) @ Vector((0, 1, 0))) < 0.01, bone
    for limb, ik in rig_map.ik.items():
        hip, knee, ankle = (rig_map.bones[joint] for joint in maps.LIMBS[limb])
        target, pole = armature.pose.bones[ik.target], armature.pose.bones[ik.pole]
        root = armature.pose.bones[hip].head
        forward = -1 if "leg" in limb else 1
        target.matrix = Matrix.Translation(root + Vector((0, 0.1 * forward, -0.5 if "leg" in limb else -0.35)))
        pole.matrix = Matrix.Translation(root + Vector((0, forward, -0.3)))
        bpy.context.view_layer.update()
        assert (armature.pose.bones[ankle].head - target.head).length < 1e-3, limb
        middle = (root + armature.pose.bones[ankle].head) / 2
        assert (armature.pose.bones[knee].head - middle).normalized().y * forward > 0.7, limb


def rest_turn(armature, bone, turn):
    """A turn in armature space, seen from a bone's axes at rest."""
    rest = armature.data.bones[bone].matrix_local.to_3x3()
    return rest.inverted() @ turn @ rest


def test_a_map_saved_with_the_old_key_is_read(tmp_path):
    path = tmp_path / "old.toml"
    path.write_text(maps.to_toml(SHIPPED["rigify"]).replace("location_bone =", "mover ="), "utf-8")
    assert maps.read(path) == SHIPPED["rigify"]
