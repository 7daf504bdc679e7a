"""A map is guessed, corrected, saved and shared in the panel; what is wrong is said in sentences."""

from typing import Any

import bpy
import pytest

from tests.addon.test_registration import Layout
from tests.rigs import make
from wham_blender.addon.panels import bake, rig_map
from wham_blender.addon.retarget import maps, rig_map_state


@pytest.fixture(autouse=True)
def _own_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    rig_map_state.state().bones.clear()
    rig_map_state.state().armature = None


def rows(joint):
    return [row for row in rig_map_state.state().bones if row.joint == joint]


def test_a_known_rig_is_shown_with_its_own_map():
    armature = make.make_rig("mixamo")
    assert bpy.ops.wham.guess_rig_map() == {"FINISHED"}
    assert rig_map_state.state().source == "Mixamo"
    assert [row.bone for row in rows("spine")] == ["mixamorig:Spine", "mixamorig:Spine1", "mixamorig:Spine2"]
    assert {rig_map_state.row_confidence(row) for row in rig_map_state.state().bones if row.bone} == {1.0}
    assert rows("root")[0].bone == ""
    assert rig_map_state.from_rows() == rig_map_state.known_map(armature) == rig_map_state.map_of(armature)


def test_rigifys_controls_outlive_a_correction():
    make.make_rig("rigify")
    bpy.ops.wham.guess_rig_map()
    rows("left_foot")[0].bone = ""
    made = rig_map_state.from_rows()
    assert made.control("DEF-spine.001") == made.control(made.location_bone) == "torso"
    assert made.ik == maps.shipped()["rigify"].ik
    assert "DEF-toe.L" not in made.controls
    assert "DEF-toe.R" in made.controls


def test_guessed_corrected_saved_and_known_from_then_on(tmp_path):
    armature = make.make_rig("unreal_ue5", names="shuffled")
    with pytest.raises(maps.MapError, match="Press Guess Rig Map"):
        rig_map_state.map_of(armature)
    bpy.ops.wham.guess_rig_map()
    record = rig_map_state.state()
    assert record.source == rig_map_state.GUESSED
    was = {bone["was"]: bone.name for bone in armature.data.bones}
    assert rows("left_knee")[0].bone == was["calf_l"]
    assert 0.5 < rig_map_state.row_confidence(rows("left_knee")[0]) < 1

    rows("left_foot")[0].bone = was["calf_twist_01_l"]
    assert rig_map_state.row_confidence(rows("left_foot")[0]) == 1
    bpy.ops.wham.add_rig_map_bone(chain="spine")
    rows("spine")[-1].bone = was["interaction"]
    assert rows("root")[0].bone == was["root"]
    rows("root")[0].bone = was["ik_foot_root"]
    record.name = "Our Hero: ../best"
    assert bpy.ops.wham.save_rig_map() == {"FINISHED"}
    assert [path.name for path in rig_map_state.user_folder().iterdir()] == ["our_hero_best.toml"]

    other = make.make_rig("unreal_ue5", names="shuffled")
    known = rig_map_state.map_of(other)
    assert known.name == "Our Hero: ../best"
    assert known.bones["left_foot"] == was["calf_twist_01_l"]
    assert known.spine[-1] == was["interaction"]
    assert known.root == was["ik_foot_root"]
    assert known.spine_at == (0.5, 1.0, 1.5, 2.0, 2.5, 3.0)

    assert bpy.ops.wham.export_rig_map(filepath=str(tmp_path / "hero.toml")) == {"FINISHED"}
    (rig_map_state.user_folder() / "our_hero_best.toml").unlink()
    assert rig_map_state.known_map(other) is None
    assert bpy.ops.wham.import_rig_map(filepath=str(tmp_path / "hero.toml")) == {"FINISHED"}
    assert rig_map_state.known_map(other) == known


def test_what_is_wrong_is_said():
    bpy.ops.object.add()
    with pytest.raises(RuntimeError, match="Select the armature to bake the motion onto"):
        bpy.ops.wham.guess_rig_map()
    with pytest.raises(RuntimeError, match="Guess the rig map of a character first"):
        bpy.ops.wham.save_rig_map()
    make.make_metarig("horse")
    with pytest.raises(RuntimeError, match="stands on four legs"):
        bpy.ops.wham.guess_rig_map()
    make.make_rig("smplx")
    bpy.ops.wham.guess_rig_map()
    knee = rows("left_knee")[0]
    for bone, said in (
        ("", "No bone is named for the left knee. Choose it in the list"),
        ("right_knee", "right_knee is named for two joints"),
        ("gone", "smplx has no bone gone, which is named for the left knee"),
    ):
        knee.bone = bone
        with pytest.raises(RuntimeError, match=said):
            bpy.ops.wham.save_rig_map()


def test_a_damaged_file_of_the_users_is_told_and_others_still_fit(tmp_path):
    folder = rig_map_state.user_folder()
    folder.mkdir(parents=True)
    (folder / "bad.toml").write_text("name = 3", "utf-8")
    assert rig_map_state.user_maps()[1] == [
        "bad.toml is not a rig map: the record map lacks bones. It must be a TOML file as Save Map writes it."
    ]
    (folder / "a_folder.toml").mkdir()
    (folder / "gone.toml").symlink_to(folder / "nowhere")
    maps.write(maps.replace(maps.shipped()["smpl"], name="My SMPL"), folder / "mine.toml")
    assert [error.partition(" ")[0] for error in rig_map_state.user_maps()[1]] == [
        "a_folder.toml",
        "bad.toml",
        "gone.toml",
    ]
    make.make_rig("smpl")
    drawn: list[tuple] = []
    bake.WHAM_PT_bake.draw(type("Panel", (), {"layout": Layout(drawn)})(), bpy.context)
    assert ("label", "smpl: My SMPL") in [(call[0], call[-1]) for call in drawn]
    assert bpy.ops.wham.guess_rig_map() == {"FINISHED"}
    with pytest.raises(RuntimeError, match=r"bad\.toml is not a rig map"):
        bpy.ops.wham.import_rig_map(filepath=str(folder / "bad.toml"))


def test_a_name_of_any_length_or_script_is_a_file():
    make.make_rig("smpl")
    bpy.ops.wham.guess_rig_map()
    for name in ("骨" * 66, "x" * 200, "../" * 20, "\N{GRINNING FACE}"):
        rig_map_state.state().name = name
        assert bpy.ops.wham.save_rig_map() == {"FINISHED"}
    rig_map_state.state().name = "x" * 201
    with pytest.raises(RuntimeError, match="not of 0 to 200 bytes"):
        bpy.ops.wham.save_rig_map()
    assert len(rig_map_state.user_maps()[0]) == 3
    assert rig_map_state.user_maps()[1] == []


def draw() -> list[tuple]:
    drawn: list[tuple] = []
    stand_in: Any = type("Panel", (), {"layout": Layout(drawn)})()
    rig_map.WHAM_PT_rig_map.draw(stand_in, bpy.context)
    return drawn


def sentences(drawn: list[tuple]) -> str:
    return " ".join(call[-1] for call in drawn if call[0] == "label" and call[-1])


def test_the_panel_draws():
    make.make_rig("unity_humanoid", names="shuffled")
    bpy.ops.wham.guess_rig_map()
    drawn = draw()
    stand_in: Any = type("Panel", (), {"layout": Layout(drawn)})()
    bake.WHAM_PT_bake.draw(stand_in, bpy.context)
    assert ("operator", "wham.bake_to_rig", None) in drawn
    assert ("operator", "wham.save_rig_map", "Save") in drawn
    assert ("label", "Shoulder") in [(call[0], call[-1]) for call in drawn]
    count = len(rig_map_state.state().bones)
    assert count == 23
    assert [call[1] for call in drawn].count("wham.choose_rig_map_bone") == count
    assert [call[1] for call in drawn].count("wham.set_rig_map_bone") == count
    assert [call[1] for call in drawn].count("wham.mirror_rig_map_bone") == 16 + 1
    rows("left_wrist")[0].bone = rows("right_wrist")[0].bone
    assert "is named for two joints" in sentences(draw())


def test_a_bone_that_the_map_s_check_refuses_is_said_in_the_panel():
    make.make_rig("smplx")
    bpy.ops.wham.guess_rig_map()
    before = draw()
    assert "does not fit" not in sentences(before)
    bpy.ops.wham.set_rig_map_bone(joint="left_shoulder", bone="left_elbow")
    bpy.ops.wham.set_rig_map_bone(joint="left_elbow", bone="left_shoulder")
    drawn = draw()
    assert "left_shoulder, which is named for the left elbow, is a parent of left_elbow" in sentences(drawn)


def test_names_are_shortened_in_their_middle():
    rig = make.make_rig("mixamo")
    bpy.ops.wham.guess_rig_map()
    assert rig_map_state.common_prefix() == "mixamorig:"
    bone = rig.data.bones["mixamorig:LeftForeArm"]
    bone.name = "mixamorig:LeftForeArm_of_the_hero_with_long_names_L"
    rows("left_elbow")[0].bone = bone.name
    (shown,) = [call[-1] for call in draw() if call[1:2] == ("wham.choose_rig_map_bone",) and "…" in (call[-1] or "")]
    assert shown.startswith("Left")
    assert shown.endswith("_L")
    assert len(shown) < 24


ANIMALS = (("horse", "metarig stands on four legs"), ("bird", "metarig has wings where a person has arms"))


@pytest.mark.parametrize(("kind", "said"), ANIMALS)
def test_a_refused_rig_gets_all_rows_and_the_reason(kind, said):
    rig = make.make_metarig(kind)
    with pytest.raises(RuntimeError, match=said):
        bpy.ops.wham.guess_rig_map()
    record = rig_map_state.state()
    assert (record.armature, record.source) == (rig, "by hand")
    assert {row.joint for row in record.bones} == {*maps.JOINTS, "spine", "neck", "root"}
    assert not any(row.bone for row in record.bones)
    assert said in sentences(draw())
    with pytest.raises(maps.MapError, match=said):
        rig_map_state.map_of(rig)
    rows("pelvis")[0].bone = rig.data.bones[0].name
    assert "No bone is named for the left hip" in sentences(draw())
    assert said in sentences(draw())


def test_a_refused_rig_is_mapped_by_hand_and_baked(motion_path):
    """One leg is turned aside, so that the legs are no pair: one side is picked, the other one mirrored."""
    bpy.ops.wham.import_motion(filepath=str(motion_path), fps="CLIP")
    source = bpy.context.selected_objects[0]
    rig = make.make_rig("unity_humanoid")
    for bone in rig.data.bones:
        bone["was"] = bone.name
        bone.name = f"b{abs(hash(bone.name)) % 100_000}{'.L' * ('Left' in bone.name)}{'.R' * ('Right' in bone.name)}"
    was = {bone["was"]: bone.name for bone in rig.data.bones}
    for side in ("Left", "Right"):
        for part in ("UpperLeg", "LowerLeg", "Foot", "Toes", "Shoulder", "UpperArm", "LowerArm", "Hand"):
            rig.data.bones[was[side + part]].name = f"{part[::-1].lower()}x.{side[0]}"
    was = {bone["was"]: bone.name for bone in rig.data.bones}
    refuse = maps.MapError("Not found in it: two legs.", code="limbs-not-found")

    def cannot(*_arguments):
        raise refuse

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rig_map_state.guess, "guess", cannot)
        with pytest.raises(RuntimeError, match="two legs"):
            bpy.ops.wham.guess_rig_map()
    constraint = rig.pose.bones[was["LeftLowerLeg"]].constraints.new("IK")
    constraint.target, constraint.subtarget, constraint.chain_count = rig, was["RightHand"], 2
    truth = maps.fit(maps.shipped()["unity_humanoid"], was)
    for joint, bone in truth.bones.items():
        if not joint.startswith("right"):
            assert bpy.ops.wham.set_rig_map_bone(joint=joint, bone=was[bone]) == {"FINISHED"}
    rig_map_state.add_chain_row("spine")
    rig_map_state.add_chain_row("spine")
    for number, bone in enumerate(truth.spine, 1):
        bpy.ops.wham.set_rig_map_bone(joint="spine", number=number, bone=was[bone])
    bpy.ops.wham.set_rig_map_bone(joint="neck", bone=was[truth.neck[0]])
    assert bpy.ops.wham.mirror_rig_map_bone() == {"FINISHED"}
    made = rig_map_state.from_rows()
    assert made.bones == {joint: was[bone] for joint, bone in truth.bones.items()}
    assert (made.spine, made.neck) == (tuple(was[bone] for bone in truth.spine), (was[truth.neck[0]],))
    assert [setting.bone for setting in made.settings] == [was["LeftLowerLeg"]]  # its IK would hold it
    source.select_set(True)
    rig.select_set(True)
    assert bpy.ops.wham.bake_to_rig(plant_feet=False) == {"FINISHED"}
    assert rig.animation_data.action is not None


def test_the_selected_bone_goes_into_the_row_and_out_of_others():
    rig = make.make_rig("smplx")
    bpy.ops.wham.guess_rig_map()
    rig.data.bones.active = None
    with pytest.raises(RuntimeError, match="No bone of smplx is active"):
        bpy.ops.wham.set_rig_map_bone(joint="left_knee")
    bpy.ops.object.mode_set(mode="POSE")
    rig.data.bones.active = rig.data.bones["right_knee"]
    assert bpy.ops.wham.set_rig_map_bone(joint="left_knee") == {"FINISHED"}
    assert (rows("left_knee")[0].bone, rows("right_knee")[0].bone) == ("right_knee", "")
    assert rig_map_state.row_confidence(rows("left_knee")[0]) == 1.0
    bpy.ops.object.mode_set(mode="EDIT")
    rig.data.edit_bones.active = rig.data.edit_bones["left_knee"]
    bpy.ops.wham.set_rig_map_bone(joint="left_knee")
    bpy.ops.object.mode_set(mode="OBJECT")
    assert rows("left_knee")[0].bone == "left_knee"
    bpy.ops.wham.choose_rig_map_bone(joint="right_knee", choice="right_knee")
    bpy.ops.wham.clear_rig_map_bone(joint="spine", number=2)
    assert [row.bone for row in rows("spine")] == ["spine1", "", "spine3"]
    for said, call in (
        ("smplx has no bone tail", lambda: bpy.ops.wham.set_rig_map_bone(joint="left_knee", bone="tail")),
        ("has no row 9 for spine", lambda: bpy.ops.wham.clear_rig_map_bone(joint="spine", number=9)),
        ("has no row 1 for tail", lambda: bpy.ops.wham.mirror_rig_map_bone(joint="tail")),
        ("has no row 1 for a joint without a name", lambda: bpy.ops.wham.set_rig_map_bone(bone="spine1")),
    ):
        with pytest.raises(RuntimeError, match=said):
            call()
    bpy.ops.wham.clear_rig_map_bone()
    assert not any(row.bone for row in rig_map_state.state().bones)
    with pytest.raises(RuntimeError, match="nothing to mirror"):
        bpy.ops.wham.mirror_rig_map_bone()


@pytest.mark.parametrize(
    ("kind", "options", "bone", "other"),
    [
        ("rigify_metarig", {}, "thigh.L", "thigh.R"),
        ("mixamo", {}, "mixamorig:LeftLeg", "mixamorig:RightLeg"),
        ("mmd", {}, "左足", "右足"),
        ("unreal_ue5", {"names": "shuffled"}, "thigh_l", "thigh_r"),
    ],
)
def test_a_bone_s_mirror_image_is_found_by_its_name_or_place(kind, options, bone, other):
    rig = make.make_rig(kind, **options)
    was = {each.get("was", each.name): each.name for each in rig.data.bones}
    bpy.ops.wham.guess_rig_map()
    bpy.ops.wham.clear_rig_map_bone()
    bpy.ops.wham.set_rig_map_bone(joint="left_hip", bone=was[bone])
    assert bpy.ops.wham.mirror_rig_map_bone(joint="left_hip") == {"FINISHED"}
    assert rows("right_hip")[0].bone == was[other]
    bpy.ops.wham.clear_rig_map_bone(joint="left_hip")
    bpy.ops.wham.mirror_rig_map_bone(joint="right_hip")
    assert rows("left_hip")[0].bone == was[bone]


def test_a_bone_without_a_mirror_image_is_told(capfd):
    make.make_rig("mixamo")
    bpy.ops.wham.guess_rig_map()
    bpy.ops.wham.set_rig_map_bone(joint="left_hip", bone="mixamorig:Head")
    assert bpy.ops.wham.mirror_rig_map_bone(joint="left_hip") == {"CANCELLED"}
    assert "No mirror image was found of mixamorig:Head" in capfd.readouterr().out
