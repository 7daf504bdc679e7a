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
        ("", "No bone is named for left knee. Choose it in the list"),
        ("right_knee", "right_knee is named for two joints"),
        ("gone", "smplx has no bone gone, which is named for left knee"),
    ):
        knee.bone = bone
        with pytest.raises(RuntimeError, match=said):
            bpy.ops.wham.save_rig_map()


def test_a_damaged_file_of_the_users_is_told_and_others_still_fit(tmp_path):
    folder = rig_map_state.user_folder()
    folder.mkdir(parents=True)
    (folder / "bad.toml").write_text("name = 3", "utf-8")
    assert rig_map_state.user_maps()[1] == [
        "bad.toml is not a rig map: map lacks bones. It must be a TOML file as Save Map writes it."
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


def test_the_panel_draws():
    make.make_rig("unity_humanoid", names="shuffled")
    bpy.ops.wham.guess_rig_map()
    drawn: list[tuple] = []
    stand_in: Any = type("Panel", (), {"layout": Layout(drawn)})()
    rig_map.WHAM_PT_rig_map.draw(stand_in, bpy.context)
    record = rig_map_state.state()
    for row in record.bones:
        rig_map.WHAM_UL_rig_bones.draw_item(stand_in, bpy.context, Layout(drawn), record, row, 0, record, "active")
    bake.WHAM_PT_bake.draw(stand_in, bpy.context)
    assert ("operator", "wham.bake_to_rig", None) in drawn
    assert ("operator", "wham.save_rig_map", "Save") in drawn
    assert ("label", "left knee") in [(call[0], call[-1]) for call in drawn]
    assert sum(call[0] == "prop_search" for call in drawn) == len(record.bones) == 23
