"""Characters that other people have made (tests/rigs/characters): guessed, baked, or refused with the reason."""

from pathlib import Path

import bpy
import pytest

from tests.addon.conftest import make_motion
from tests.rigs import baked, files, truth
from wham_blender import motion as motion_file
from wham_blender.addon.retarget import armature, bake, guess, map_check, maps, rig_map_state
from wham_blender.addon.retarget.bake_options import Options
from wham_blender.addon.scene import character

FOLDER = Path(__file__).parents[1] / "rigs/characters"
STEMS = [path.stem for path in files.find(FOLDER)]
PEOPLE = [stem for stem in STEMS if "refused" not in truth.known()[stem]]


def test_there_are_people_and_an_animal():
    assert len(PEOPLE) == 3
    assert len(STEMS) == 4


@pytest.mark.parametrize("stem", STEMS)
def test_guessed_right_or_refused(stem):
    rig = files.load(FOLDER / f"{stem}.glb")
    found, code = None, ""
    try:
        found = guess.guess(stem, armature.rest_skeleton(rig)).rig_map
    except maps.MapError as error:
        code = error.code
    assert truth.faults(stem, found, code) == []


@pytest.mark.parametrize("stem", PEOPLE)
def test_known_or_guessed_the_limbs_follow(stem, body, tmp_path):
    rig = files.load(FOLDER / f"{stem}.glb")
    bpy.ops.object.select_all(action="DESELECT")
    motion_file.save(tmp_path / "dance.npz", [make_motion(body, 12)])
    bpy.ops.wham.import_motion(filepath=str(tmp_path / "dance.npz"), fps="CLIP")
    (source,) = bpy.context.selected_objects
    rig_map_state.load_or_guess(rig)
    rig_map = rig_map_state.from_rows()
    assert truth.faults(stem, rig_map, "") == []
    map_check.check(rig, rig_map)
    bake.bake(source, rig, rig_map, Options(plant_feet=False))
    found = baked.measure(source, rig, rig_map, character.read(source))
    assert found.limb_angle < 1, found.limb


def test_the_panel_says_why_a_bird_has_no_map():
    rig = files.load(FOLDER / "M2MBird.glb")
    with pytest.raises(maps.MapError, match="wings where a person has arms"):
        rig_map_state.load_or_guess(rig)
    assert "wings where a person has arms" in rig_map_state.state().refusal
