"""The worst values of operators' properties, keyframes, scales and bones: a sentence, and an unchanged scene."""

import re
from collections.abc import Iterator

import bpy
import numpy as np
import pytest

from tests.addon.conftest import make_motion
from tests.rigs import make
from wham_blender import motion as motion_file
from wham_blender.addon.retarget import maps, rig_map_state
from wham_blender.addon.scene import character

SKIPPED = {
    # They start processes, use the network, or read and write folders of jobs, weights and the worker.
    *("cancel", "clean_jobs", "copy_report", "copy_worker_report", "discard_job", "drop_clips", "import_folder"),
    *("import_job",),
    *("import_person", "import_video", "refresh_jobs", "resume_job", "install_worker", "check_worker", "repair_worker"),
    *("remove_worker", "move_worker", "measure_storage"),
    *("import_motion",),  # opens a motion file: tests/test_motion_file.py and test_import_motion.py
}
NUMBERS = {
    "FLOAT": (0.0, float("nan"), float("inf"), -float("inf"), 3.4e38, 1e-45),
    "INT": (0, 2**20, 2**31 - 1, -(2**31)),
}
TEXTS = ("", "no such name", "x" * 100_000, "a\0b", "\ud800", "\udcff", "../../a/b", "\n\t\x7f", "nul:|?*")
BY_BLENDER = re.compile(r"Converting py args to operator properties|argument|surrogates not allowed|null character")


def skipped_by_name(name: str) -> bool:
    return name in SKIPPED or "weight" in name or "smpl" in name or "body" in name


def operators() -> list[str]:
    return [name for name in dir(bpy.ops.wham) if not skipped_by_name(name)]


def values_of(prop: bpy.types.Property) -> Iterator[object]:
    """The worst values of a property, in the form in which an operator takes it."""
    if prop.type in NUMBERS:
        for value in (*NUMBERS[prop.type], prop.hard_min, prop.hard_max):
            yield [value] * prop.array_length if prop.is_array else value
    elif prop.type == "STRING":
        yield from TEXTS
    elif prop.type == "BOOLEAN":
        yield from (False, True)
    elif prop.type == "ENUM":
        yield from (*(item.identifier for item in prop.enum_items), "no such item", "")


def calls() -> list[tuple[str, dict[str, object]]]:
    """Operators and their arguments: one property at its worst, the others as they are by default."""
    found: list[tuple[str, dict[str, object]]] = []
    for name in operators():
        found.append((name, {}))
        for prop in getattr(bpy.ops.wham, name).get_rna_type().properties:
            if prop.identifier not in ("rna_type", "filter_glob", "check_existing"):
                found += [(name, {prop.identifier: value}) for value in values_of(prop)]
    return found


@pytest.fixture
def scene(body, tmp_path, monkeypatch):
    """A file with an imported character and its camera, and a rig with a guessed map; the function opens it again."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("BLENDER_USER_SCRIPTS", str(tmp_path / "scripts"))
    monkeypatch.chdir(tmp_path)
    motion_file.save(tmp_path / "one.npz", [make_motion(body, count=20)])
    bpy.ops.wham.import_motion(filepath=str(tmp_path / "one.npz"), fps="CLIP")
    path = str(tmp_path / "scene.blend")
    (armature,) = (thing for thing in bpy.data.objects if thing.type == "ARMATURE")
    rig = make.make_rig("mixamo")
    rig.name = "hero"
    names = armature.name, rig.name
    bpy.ops.wm.save_as_mainfile(filepath=path)

    def opened(active: int = 0) -> bpy.types.Object:
        bpy.ops.wm.open_mainfile(filepath=path)
        things = [bpy.data.objects[name] for name in names]
        for thing in things:
            thing.select_set(True)
        bpy.context.view_layer.objects.active = things[1]
        bpy.ops.wham.guess_rig_map()
        bpy.context.view_layer.objects.active = things[active]
        return things[active]

    return opened


def keys_of(action: bpy.types.Action) -> Iterator[tuple]:
    """Path, index, and keyframes of each curve of an action, in Blender before and since 4.4."""
    holders = [action] if hasattr(action, "fcurves") else [
        bag for layer in action.layers for strip in layer.strips for bag in strip.channelbags
    ]  # fmt: skip
    for holder in holders:
        for curve in holder.fcurves:
            points = np.empty(2 * len(curve.keyframe_points), np.float32)
            curve.keyframe_points.foreach_get("co", points)
            yield curve.data_path, curve.array_index, len(curve.modifiers), points


def state() -> dict[str, object]:
    """All of the file that operators could change; arrays as bytes."""
    found: dict[str, object] = {}
    for action in bpy.data.actions:
        found[f"action {action.name}"] = [(*rest, points.tobytes()) for *rest, points in keys_of(action)]
        found[f"markers {action.name}"] = [(marker.name, marker.frame) for marker in action.pose_markers]
    for thing in bpy.data.objects:
        data, record = thing.animation_data, thing.wham_motion
        action = data and data.action and data.action.name
        tracks = [track.name for track in data.nla_tracks] if data else []
        stored = [np.array(getattr(record, prop.identifier)).tobytes() for prop in record.bl_rna.properties
                  if prop.identifier not in ("rna_type", "name")]  # fmt: skip
        found[f"object {thing.name}"] = np.array(thing.matrix_world).tobytes(), action, tracks, stored
    for armature in bpy.data.armatures:
        found[f"armature {armature.name}"] = np.array([bone.matrix_local for bone in armature.bones]).tobytes()
    for mesh in bpy.data.meshes:
        points = np.empty(3 * len(mesh.vertices), np.float32)
        mesh.vertices.foreach_get("co", points)
        found[f"mesh {mesh.name}"] = points.tobytes()
    scene = bpy.context.scene
    found["scene"] = (scene.render.fps, scene.frame_start, scene.frame_end, scene.frame_current, len(bpy.data.scenes))
    return found


def usable() -> bool:
    """Whether all keyframes are finite numbers at ascending scene frames."""
    for action in bpy.data.actions:
        for *_, points in keys_of(action):
            frames = points[::2]
            if not np.isfinite(points).all() or not (np.diff(frames) > 0).all() or np.abs(frames).max() > 1_048_574:
                return False
    return True


def refusal(name: str, arguments: dict[str, object]) -> str:
    """The sentence with which an operator refuses, "Blender" if Blender does, empty if it works."""
    try:
        getattr(bpy.ops.wham, name)(**arguments)
    except RuntimeError as error:
        assert "Traceback" not in str(error), (name, str(arguments)[:200], str(error)[-600:])
        assert re.search(r"\w.*\s.*\w", str(error)), (name, error)
        return str(error)
    except (TypeError, ValueError) as error:
        assert BY_BLENDER.search(str(error)), (name, error)
        return "Blender"
    return ""


def test_the_worst_values_of_every_property(scene):
    tried, refused = 0, 0
    scene()
    before = state()
    for name, arguments in calls():
        active = 1 if name in ("guess_rig_map", "bake_to_rig") else 0
        bpy.context.view_layer.objects.active = [bpy.data.objects["dance"], bpy.data.objects["hero"]][active]
        sentence = refusal(name, arguments)
        shown = name, str(arguments)[:200], sentence
        tried, refused = tried + 1, refused + bool(sentence)
        if sentence:
            assert state() == before, shown
        else:
            assert usable(), shown
            if state() != before:
                scene()
                assert state() == before
    assert tried > 150
    assert refused > 30


EDITS = (
    "mark_contacts", "smooth_motion", "turn_motion", "move_motion", "set_actor_height", "set_floor", "trim_motion",
    "loop_motion", "match_scene", "measure_motion",
)  # fmt: skip
PELVIS = 'pose.bones["pelvis"].location'
KNEE = 'pose.bones["left_knee"].rotation_quaternion'


def curve(thing, path, index=0):
    return character.ActionKeys(thing)._curves.fcurves.find(path, index=index)


def set_key(path, index, part, value, row=3):
    def change(armature):
        curve(armature, path, index).keyframe_points[row].co[part] = value

    return change


def set_scale(*scale):
    def change(armature):
        armature.scale = scale

    return change


def set_record(name, value):
    def change(armature):
        setattr(armature.wham_motion, name, value)

    return change


def hang_on_nothing(armature):
    armature.parent = bpy.data.objects.new("nothing", None)
    bpy.context.scene.collection.objects.link(armature.parent)
    armature.parent.scale = 0, 0, 0


def delete_bone(armature):
    bpy.ops.object.mode_set(mode="EDIT")
    armature.data.edit_bones.remove(armature.data.edit_bones["left_hand"])
    bpy.ops.object.mode_set(mode="OBJECT")


def zero_rotation(armature):
    for index in range(4):
        set_key(KNEE, index, 1, 0.0)(armature)


def unrotated_camera(_armature):
    camera = bpy.context.scene.camera
    curves = character.ActionKeys(camera)._curves.fcurves
    curves.remove(curves.find("rotation_quaternion", index=2))


def scale_skin(armature):
    armature.children[0].scale = 1, 0, 1


TOGETHER = ("turn_motion", "move_motion", "set_actor_height", "set_floor")  # edits of everybody and the camera
FAULTS = [
    ("scaled to nothing", set_scale(0, 0, 0), EDITS),
    ("scaled to nothing", set_scale(1, 0, 1), EDITS),
    ("needs one scale above zero", set_scale(-1, 1, 1), EDITS),
    ("needs one scale above zero", set_scale(1, 1.5, 1), EDITS),
    ("scaled to nothing", hang_on_nothing, EDITS),
    ("dance body is scaled to nothing", scale_skin, ("set_actor_height",)),
    ("is no number at frame 4", set_key(PELVIS, 2, 1, float("nan")), EDITS),
    ("is no number at frame 4", set_key(KNEE, 1, 1, float("nan")), EDITS),
    ("quaternion of length zero", zero_rotation, EDITS),
    ("so close that they fall on one", set_key(PELVIS, 0, 0, 3.0), EDITS),
    ("Keyframes of dance would be at frame", set_key(PELVIS, 0, 0, 3e7, row=-1), EDITS),
    ("the bone left_hand is gone", delete_bone, EDITS),
    ("frame rate of 0 stored", set_record("keyed_rate", 0.0), EDITS),
    ("frame rate of nan stored", set_record("keyed_rate", float("nan")), EDITS),
    ("frame rate of 0 stored", set_record("clip_rate", 0.0), ("match_scene",)),
    ("would be at frame", set_record("keyed_rate", 1e-4), ("match_scene",)),
    ("so close that they fall on one", set_record("clip_rate", 0.001), ("match_scene",)),
    ("is 0 m tall", set_record("height", 0.0), ("set_actor_height",)),
    ("is nan m tall", set_record("height", float("nan")), ("set_actor_height",)),
    ("no longer has the keys that it was imported with", unrotated_camera, TOGETHER),
]


@pytest.mark.parametrize(
    ("sentence", "change", "edits"), FAULTS, ids=[f"{n} {fault[0]}" for n, fault in enumerate(FAULTS)]
)
def test_a_character_that_cannot_be_edited_is_left_as_it_is(scene, sentence, change, edits):
    change(scene())
    bpy.context.view_layer.update()
    before = state()
    for edit in edits:
        with pytest.raises(RuntimeError, match=sentence):
            getattr(bpy.ops.wham, edit)()
        assert state() == before, edit


def test_at_the_last_frames_keyframes_stay_apart(scene):
    """There Blender's numbers have steps of a sixteenth of a frame."""
    armature = scene()
    for thing in (armature, bpy.context.scene.camera):
        for each in character.ActionKeys(thing).curves():
            for key in each.keyframe_points:
                key.co[0] += 1_048_000
            each.update()
    for edit in (*TOGETHER, "smooth_motion", "measure_motion"):
        assert getattr(bpy.ops.wham, edit)() == {"FINISHED"}
    assert bpy.ops.wham.trim_motion(first=1_048_002, last=1_048_019) == {"FINISHED"}
    assert character.read(armature).frames.tolist() == list(range(1_048_002, 1_048_020))
    before = state()
    for rate, sentence in ((2500.0, "would be at frame 10486"), (0.5, "so close that they fall on one")):
        armature.wham_motion.clip_rate = rate
        with pytest.raises(RuntimeError, match=sentence):
            bpy.ops.wham.match_scene()
        armature.wham_motion.clip_rate = 25.0
        assert state() == before


def test_a_motion_that_goes_far_away_is_not_baked(scene):
    set_key(PELVIS, 0, 1, 3e38)(scene())
    before = state()
    with pytest.raises(RuntimeError, match="hero cannot get a motion: there is no usual number for mixamorig:Hips"):
        bpy.ops.wham.bake_to_rig(plant_feet=False)
    with pytest.raises(RuntimeError, match="The location of dance after this edit is"):
        bpy.ops.wham.turn_motion()
    assert state() == before


def unscaled_pose(rig):
    rig.pose.bones["mixamorig:Hips"].scale = 0, 0, 0


def held_hips(rig):
    rig.pose.bones["mixamorig:Hips"].constraints.new("COPY_LOCATION").target = bpy.data.objects["dance"]


def leg_without_length(rig):
    bpy.ops.object.mode_set(mode="EDIT")
    bones = rig.data.edit_bones
    for bone in bones:
        bone.use_connect = False
    for side in ("Left", "Right"):
        at = bones[f"mixamorig:{side}Foot"].head.copy()
        for name in ("UpLeg", "Leg"):
            bones[f"mixamorig:{side}{name}"].head = at
            bones[f"mixamorig:{side}{name}"].tail = at + bones[f"mixamorig:{side}Foot"].vector
    bpy.ops.object.mode_set(mode="OBJECT")


def renamed_bone(rig):
    rig.data.bones["mixamorig:LeftHand"].name = "glove"


def moved_to_nowhere(rig):
    rig.location.x = float("nan")


RIG_FAULTS = [
    ("the object's scale is zero", set_scale(0, 1, 1)),
    ("is no number", moved_to_nowhere),
    ("Bones of hero are scaled to nothing: mixamorig:Hips", unscaled_pose),
    ("do not move as they are keyed: mixamorig:Hips", held_hips),
    ("hero has no bone mixamorig:LeftHand", renamed_bone),
    ("hero cannot get a motion", leg_without_length),
]


def test_a_limit_holds_the_motion_back_and_is_told(scene, capfd):
    limit = scene(active=1).pose.bones["mixamorig:Hips"].constraints.new("LIMIT_LOCATION")
    limit.use_max_x, limit.use_min_x, limit.owner_space = True, True, "LOCAL"
    assert bpy.ops.wham.bake_to_rig() == {"FINISHED"}
    assert re.search(r"held back by limit constraints: mixamorig:Hips by up to \d+\.\d cm\.", capfd.readouterr().out)


@pytest.mark.parametrize(("sentence", "change"), RIG_FAULTS, ids=[fault[0] for fault in RIG_FAULTS])
@pytest.mark.parametrize("keying", ["ALL", "FEW"])
def test_a_rig_that_cannot_get_a_motion_is_left_as_it_is(scene, sentence, change, keying):
    change(scene(active=1))
    bpy.context.view_layer.update()
    before = state()
    with pytest.raises(RuntimeError, match=sentence):
        bpy.ops.wham.bake_to_rig(keying=keying)
    assert state() == before


def test_controls_that_are_gone_are_named(scene):
    rig = scene(active=1)
    record = rig_map_state.state()
    made = rig_map_state.from_rows()
    record.base = maps.to_toml(maps.replace(made, controls={"mixamorig:Hips": "gone"}))
    with pytest.raises(RuntimeError, match="hero has no longer the bone gone, which the rig map Mixamo names"):
        bpy.ops.wham.bake_to_rig()
    assert rig.animation_data is None
