"""Rigs and scenes as studios have them: a rig gets the motion, or is as it was and a sentence says what to do."""

import math
import re

import bpy
import numpy as np
import pytest
from bpy_extras.object_utils import world_to_camera_view
from mathutils import Vector

from tests.addon.conftest import import_file, make_motion
from tests.addon.test_bake import bake
from tests.addon.test_bake_feet import Feet
from tests.rigs import make, scenes, walks
from wham_blender import motion as motion_file
from wham_blender.addon.properties import PlacementSettings
from wham_blender.addon.retarget.bake_all import bake_all
from wham_blender.addon.retarget.bake_options import Options
from wham_blender.addon.scene import character
from wham_blender.addon.scene.action import ActionKeys, curves_of, scale_time
from wham_blender.errors import CodedError

EVERY = range(1, 15)  # frames of the motion
STEPS, WALKED = 3, range(14, 38)  # of a walk, and frames in its middle
HELD = "a key holds other channels of"
# Cases in which the rig gets the motion, and what is said about them beside the number of keys.
RIGHT = {
    **dict.fromkeys(("plain", "locked_channels", "other_rotation_modes", "extrapolation NOTHING"), ""),
    **dict.fromkeys(("placed_object", "delta_transforms", "still_parent", "leftover_scales"), ""),
    **dict.fromkeys(("uneven_object", "mirrored_object", "world_location"), ""),
    **dict.fromkeys(("inherit_rotation_off", "inherit_rotation_off_everywhere"), ""),
    **dict.fromkeys((case for case in scenes.CASES if case.startswith("inherit scale")), ""),
    "leftover_uneven_scales": "the uneven scale that mixamorig:LeftArm had is 1 in the new action",
    **dict.fromkeys(("excluded", "excluded_and_moved", "other_view_layer", "other_scene"), "not in the view layer"),
    **dict.fromkeys(("hidden", "hidden_collection"), "but is hidden"),
    **dict.fromkeys(("disabled", "disabled_collection"), "has its motion, but is"),
    "rest_position": "it was in Rest Position, and is in Pose Position now",
    **dict.fromkeys(("leftover_locations", "leftover_pose", "keys_before_and_after", "keys_in_other_modes"), HELD),
    **dict.fromkeys((case for case in scenes.CASES if case.startswith("track below")), HELD),
    **dict.fromkeys(("shared_action", "muted_curves", "scaling_track", "tracked"), HELD),
    "solo_track": "the NLA track NlaTrack is not solo any more",
    "nla_off": "",
    **dict.fromkeys(("moving_object", "moving_parent"), "its object moves, and the keyframes compensate for that"),
    **{f"blend {kind}": f"blended with {kind.title()} at influence 1, and replaces now" for kind in
       ("COMBINE", "ADD", "SUBTRACT", "MULTIPLY")},
    "influence 0.3": "blended with Replace at influence 0.3, and replaces now",
    **{f"{kind} over a track": f"blended with {kind.title()}" for kind in ("COMBINE", "ADD")},
}  # fmt: skip
IN_STRIPS = {"nla_off": "its NLA was switched off, and is on now"}  # what is said of a strip instead
# Cases that leave the rig as it was: the message, with its remedy.
REFUSED = {
    "growing_parent": r"its size changes while the motion plays.*Clear its parent",
    "driven_rotation": r"hold their rotation \(.*mixamorig:LeftArm.*\)\. Mute their constraints and drivers",
    "copied_rotation": r"hold their rotation \(.*mixamorig:LeftArm.*\)\. Mute their constraints and drivers",
    "driven_location": r"mixamorig:Spine1 is \d+ cm off\. Mute the drivers of mixamorig:Spine1",
    "driven_helper": r"is \d+ degrees off\. Mute the drivers of helper",
}


@pytest.fixture(scope="module")
def files(body, tmp_path_factory):
    """Folder of files with an imported character: "dance", in which all joints rotate far, and "walk".

    With what the rig that nothing was done to shows of each, its joints (F, B, 3); those of the walk at half frames,
    too, and also with keyframe reduction.
    """
    folder, wanted = tmp_path_factory.mktemp("scenes"), {}
    motion_file.save(folder / "dance.npz", [make_motion(body, len(EVERY))])
    for name in ("dance", "walk"):
        bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
        bpy.ops.wham.import_motion(filepath=str(folder / "dance.npz"), fps="CLIP")
        (source,) = bpy.context.selected_objects
        if name == "walk":
            write_walk(source)
        bpy.ops.wm.save_as_mainfile(filepath=str(folder / f"{name}.blend"))
        for reduced in (False, True) if name == "walk" else (False,):
            rig = make.make_rig("mixamo")
            assert not baked(source, rig, plant_feet=name == "walk", reduce_keys=reduced)[1]
            wanted[name, reduced] = scenes.measure(source, rig, halves() if name == "walk" else EVERY)[1]
    return folder, wanted


def opened(folder, name):
    """The imported character of such a file, in which nothing else is."""
    bpy.ops.wm.open_mainfile(filepath=str(folder / f"{name}.blend"), load_ui=False)
    return next(obj for obj in bpy.data.objects if character.is_character(obj))


def halves():
    """The frames of the walk, and those half way between them."""
    return np.arange(1, STEPS * walks.ROWS, 0.5)


def write_walk(source):
    """Have an imported character walk, its feet sliding a little."""
    imported = character.read(source)
    character.write(source, walks.walk(imported.heads, imported.feet * [1, 1, 0], STEPS, sway=0.03))


@pytest.fixture
def source(files):
    """An imported character with large, varied rotations of all joints; keyed at EVERY frame."""
    return opened(files[0], "dance")


@pytest.fixture
def walking(files):
    """An imported character that walks."""
    return opened(files[0], "walk")


def baked(source, rig, **options):
    """What is said about a bake, and the message of its failure."""
    said = []
    _, failed = bake_all([(source, rig)], Options(**options), lambda _kind, text: said.append(text))
    return " ".join(said), failed


def state(rig):
    """All that a bake may change."""
    animation = rig.animation_data
    settings = ("use_nla", "action_blend_type", "action_influence", "action_extrapolation", "action", "action_slot")
    return (
        animation and [getattr(animation, name, None) for name in settings],
        animation and [(track.name, track.is_solo, track.mute, len(track.strips)) for track in animation.nla_tracks],
        rig.data.pose_position,
        [np.array(bone.matrix_basis).tolist() for bone in rig.pose.bones],
        {action: [len(curve.keyframe_points) for curve in _curves(action)] for action in bpy.data.actions},
        *(len(kind) for kind in (bpy.data.objects, bpy.data.armatures, bpy.data.scenes)),
        (rig.hide_viewport, rig.hide_get() if rig.name in bpy.context.view_layer.objects else None),
    )


def _curves(action):
    slots = list(action.slots) if hasattr(action, "slots") else [None]
    return [curve for slot in slots for curve in curves_of(action, slot)]


# Cases in which the rig gets the motion, but has another size or place than the plain one.
OF_ANOTHER_SIZE = {"placed_object", "delta_transforms", "still_parent", "leftover_scales", "uneven_object",
                   "mirrored_object", *(case for case in scenes.CASES if case.startswith("inherit scale"))}  # fmt: skip


def test_every_case_has_its_test():
    assert {*RIGHT, *REFUSED, "limited"} == {*scenes.CASES}


@pytest.mark.parametrize("case", RIGHT)
@pytest.mark.parametrize("strip", [False, True], ids=["action", "strip"])
def test_the_rig_gets_the_motion(source, files, case, strip):
    rig = make.make_rig("mixamo")
    scenes.CASES[case](rig)
    said, failed = baked(source, rig, plant_feet=False, nla_strip=strip)
    assert not failed
    expected = IN_STRIPS.get(case, RIGHT[case]) if strip else RIGHT[case]
    blended = "blended" in expected and strip  # the strip itself is not blended
    assert re.search("" if blended else expected, said), said
    assert (said.count(";") > 0 or "not in" in said or "hidden" in said) == bool(expected) or blended, said
    limbs, joints = scenes.measure(source, rig, EVERY)
    assert limbs < 0.1
    if case not in OF_ANOTHER_SIZE:
        assert np.abs(joints - files[1]["dance", False]).max() < 2e-5  # metres


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("strip", [False, True], ids=["action", "strip"])
def test_a_rig_that_would_show_something_else_is_left_as_it_was(source, case, strip):
    rig = make.make_rig("mixamo")
    scenes.CASES[case](rig)
    before = state(rig)
    said, failed = baked(source, rig, plant_feet=False, nla_strip=strip)
    assert re.search(REFUSED[case], failed), failed
    assert not said
    assert state(rig) == before


@pytest.mark.parametrize("strip", [False, True], ids=["action", "strip"])
@pytest.mark.parametrize("bound", [0.7, 0.05], ids=["wide", "narrower than the test rotation"])
def test_limits_hold_as_the_animator_set_them_and_are_named(source, strip, bound):
    rig = make.make_rig("mixamo")
    scenes.limited(rig)
    limit = rig.pose.bones[scenes.ARM].constraints[0]
    limit.min_x = limit.min_y = limit.min_z = -bound
    limit.max_x = limit.max_y = limit.max_z = bound
    said, failed = baked(source, rig, plant_feet=False, nla_strip=strip)
    assert not failed
    assert re.search(r"is held back by limit constraints: mixamorig:LeftArm by up to \d+ degrees\. Mute them", said), (
        said
    )
    assert scenes.measure(source, rig, EVERY)[0] > 10
    assert not limit.mute
    limit.mute = True
    assert scenes.measure(source, rig, EVERY)[0] < 0.1
    limit.mute = False
    limit.min_x = limit.min_y = limit.min_z = -math.pi
    limit.max_x = limit.max_y = limit.max_z = math.pi
    assert "held back" not in baked(source, rig, plant_feet=False)[0]


@pytest.mark.parametrize("strip", [False, True], ids=["action", "strip"])
def test_all_is_restored_if_the_rig_does_not_show_the_motion(source, strip):
    rig = make.make_rig("mixamo")
    scenes.keyed(rig)
    scenes.push_down(rig).is_solo = True
    scenes.keyed(rig)
    scenes.blend("ADD", 0.4, "NOTHING")(rig)
    scenes.rest_position(rig)
    scenes.driven_location(rig)
    before = state(rig)
    _, failed = baked(source, rig, plant_feet=False, nla_strip=strip)
    assert "does not show the motion that was keyed, and is as it was" in failed
    assert state(rig) == before
    rig.animation_data.drivers[0].mute = True
    _, failed = baked(source, rig, plant_feet=False, nla_strip=strip)
    assert not failed
    assert scenes.measure(source, rig, EVERY)[0] < 0.1


@pytest.mark.parametrize("reduced", [False, True], ids=["every frame", "reduced"])
@pytest.mark.parametrize("modes", [[mode] for mode in scenes.OTHERS] + [scenes.OTHERS], ids="-".join)
def test_rotation_modes_give_the_same_motion(files, modes, reduced):
    """At keyframes any motion, and a walk between them too, where scenes of other frame rates have their frames."""
    folder, wanted = files
    for name in ("dance", "walk"):
        source, rig = opened(folder, name), make.make_rig("mixamo")
        for number, bone in enumerate(rig.pose.bones):
            bone.rotation_mode = modes[number % len(modes)]
        scenes.keyed(rig)
        assert not baked(source, rig, plant_feet=name == "walk", reduce_keys=reduced)[1]
        limbs, joints = scenes.measure(source, rig, EVERY if name == "dance" else halves())
        if name == "dance":
            assert limbs < (3.0 if reduced else 0.1)
    # The axis of a rotation near zero may turn fast, so that axes between keyframes are not half way.
    most = 0.03 if reduced else 0.015 if "AXIS_ANGLE" in modes else 0.003
    assert np.linalg.norm(joints - wanted["walk", reduced], axis=-1).max() < most  # metres


CYCLES = "CYCLES"
OUTSIDE = [-20, -5, 0, 15, 41, 80]  # frames of the scene, but not of the motion


@pytest.mark.parametrize(("track", "settings"), [
    (False, ("COMBINE", 0.4, "NOTHING")), (True, ("REPLACE", 1.0)), (True, ("COMBINE", 0.4)),
    (True, ("REPLACE", 1.0, "NOTHING")), (True, ("REPLACE", 1.0, "HOLD_FORWARD")),
], ids=str)  # fmt: skip
@pytest.mark.parametrize("keys", ["long", "range", CYCLES, "LINEAR", "slots", "one"])
def test_what_the_rig_did_before_stays_before_and_after_a_strip(source, keys, track, settings):
    if keys == "slots" and bpy.app.version < (4, 4, 0):
        pytest.skip("actions have slots since Blender 4.4")
    scene, rig = bpy.context.scene, make.make_rig("mixamo")
    scene.frame_start, scene.frame_end = 0, 80  # negative frames are none of a scene
    if track:
        scenes.keyed(rig, -30, 90)
        scenes.push_down(rig)
    scenes.active(rig, keys)
    scenes.blend(*settings)(rig)
    outside = OUTSIDE[2:] if keys in (CYCLES, "LINEAR") else OUTSIDE
    before = scenes.measure(source, rig, outside)[1]
    assert not baked(source, rig, plant_feet=False, nla_strip=True)[1]
    assert np.abs(scenes.measure(source, rig, outside)[1] - before).max() < 1e-5
    assert scenes.measure(source, rig, EVERY)[0] < 0.1


def test_a_strip_that_begins_between_two_frames_ends_with_its_last_key(source):
    keys = ActionKeys(source)
    for curve in keys.curves():
        scale_time(curve, 0.25, 1.25)  # from 1.1875 to 17.4375
    rig = make.make_rig("mixamo")
    assert not baked(source, rig, plant_feet=False, nla_strip=True)[1]
    (strip,) = rig.animation_data.nla_tracks[0].strips
    assert (strip.frame_start, strip.frame_end) == (1.1875, 17.4375)
    assert strip.scale == 1
    assert scenes.measure(source, rig, [1.1875, 9.3125, 17.4375])[0] < 0.1


@pytest.mark.skipif(bpy.app.version < (4, 4, 0), reason="actions have slots since Blender 4.4")
def test_slots_of_actions(source):
    """The source's action gets a slot for another object; the rig's was in an action with that of another rig."""
    other, rig = make.make_rig("mixamo"), make.make_rig("mixamo")
    camera = next(obj for obj in bpy.data.objects if obj.type == "CAMERA")
    camera.animation_data.action = source.animation_data.action
    camera.animation_data.action_slot = camera.animation_data.action.slots.new("OBJECT", "Camera")
    action = scenes.keyed(other)
    rig.animation_data_create().action = action
    rig.animation_data.action_slot = action.slots.new("OBJECT", rig.name)
    assert not baked(source, rig, plant_feet=False, nla_strip=True)[1]
    assert scenes.measure(source, rig, EVERY)[0] < 0.1
    (track, _) = rig.animation_data.nla_tracks
    assert track.strips[0].action_slot == action.slots[1]


@pytest.mark.parametrize("strip", [False, True], ids=["action", "strip"])
def test_a_rig_under_a_moving_parent_plants_its_feet_in_the_world(walking, strip):
    source = walking
    for kind in ("mixamo", "rigify"):
        rig = make.make_rig(kind)
        scenes.moving_parent(rig)
        said, failed = baked(source, rig, nla_strip=strip)
        assert not failed
        assert "its object moves" in said
        feet = Feet(rig).at(WALKED)
        contacts = character.read(source).contacts[WALKED.start - 1 : WALKED.stop - 1]
        steps = np.linalg.norm(np.diff(feet, axis=0), axis=-1)
        assert steps[contacts[1:] & contacts[:-1]].max() < 0.002
        assert np.abs(feet[..., 2][contacts]).max() < 0.005


def test_a_bake_onto_a_rig_with_drivers_is_silent(source, capfd):
    """Blender complains of each driver whose bone is not there; Rigify's rigs have a hundred."""
    rig = make.make_rig("rigify")
    capfd.readouterr()
    assert not baked(source, rig)[1]
    scenes.moving_parent(rig)
    assert not baked(source, rig)[1]
    said = capfd.readouterr()
    assert "invalid driver" not in said.out + said.err


def test_a_root_bone_under_a_moving_parent_goes_over_the_floor(source):
    plain, rig = make.make_rig("unreal_ue5"), make.make_rig("unreal_ue5")
    scenes.moving_parent(rig)
    for each in (plain, rig):
        assert not baked(source, each, root_motion=True)[1]
    joints = [scenes.measure(source, each, EVERY)[1] for each in (plain, rig)]
    assert np.abs(joints[0] - joints[1]).max() < 2e-5
    roots = []
    for frame in EVERY:
        bpy.context.scene.frame_set(frame)
        roots.append([each.matrix_world @ each.pose.bones["root"].head for each in (plain, rig)])
    assert np.abs(np.diff(np.array(roots), axis=1)).max() < 2e-5


# --- the imported character ------------------------------------------------------------------------------------------


def muted(source):
    for curve in curves_of(source.animation_data.action, getattr(source.animation_data, "action_slot", None)):
        curve.mute = "right_knee" in curve.data_path


def held_in_place(source):
    source.pose.bones["left_elbow"].constraints.new("LIMIT_ROTATION").use_limit_x = True


@pytest.mark.parametrize("prepare", [muted, held_in_place, scenes.moving_parent])
def test_a_character_that_does_not_show_its_keys_is_not_baked(source, prepare):
    rig = make.make_rig("mixamo")
    prepare(source)
    before = state(rig)
    _, failed = baked(source, rig)
    assert re.search(r"another motion of dance at frame \d+ than its keys hold.*Unmute its F-curves", failed)
    assert state(rig) == before


def test_a_character_in_rest_position_or_out_of_sight_is_baked(source):
    rig = make.make_rig("mixamo")
    source.data.pose_position = "REST"
    assert not baked(source, rig, plant_feet=False)[1]
    source.data.pose_position = "POSE"
    assert scenes.measure(source, rig, EVERY)[0] < 0.1
    layer = bpy.context.view_layer.layer_collection.children["dance"]
    source.hide_viewport = layer.exclude = True
    source.location, source.rotation_euler = (2, 1, 0), (0, 0, 1)  # Blender does not evaluate it
    assert not baked(source, rig, plant_feet=False)[1]
    source.hide_viewport = layer.exclude = False
    assert scenes.measure(source, rig, EVERY)[0] < 0.1


# --- linked rigs -----------------------------------------------------------------------------------------------------


def overridden(rig, folder):
    """A library override of a rig that is moved to a file of its own."""
    collection = scenes.own_collection(rig)
    bpy.data.libraries.write(str(folder / "hero.blend"), {collection})
    for thing in (rig.animation_data and rig.animation_data.action, rig.data, collection):
        if thing:
            bpy.data.batch_remove([thing])
    with bpy.data.libraries.load(str(folder / "hero.blend"), link=True) as (_, to):
        to.collections = ["Cast"]
    bpy.context.scene.collection.children.link(to.collections[0])
    made = to.collections[0].override_hierarchy_create(bpy.context.scene, bpy.context.view_layer)
    (rig,) = (obj for obj in made.all_objects if obj.type == "ARMATURE")
    rig.override_library.is_system_override = False
    return rig


@pytest.mark.parametrize("case", ["leftover_pose", "track below, REPLACE", "COMBINE over a track"])
def test_a_library_override_shows_the_motion_also_when_the_file_is_opened_again(source, tmp_path, case):
    rig = make.make_rig("mixamo")
    scenes.CASES[case](rig)
    rig = overridden(rig, tmp_path)
    assert not baked(source, rig, plant_feet=False)[1]
    assert scenes.measure(source, rig, EVERY)[0] < 0.1
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "shot.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "shot.blend"))
    again = next(obj for obj in bpy.data.objects if obj.override_library and obj.type == "ARMATURE")
    assert scenes.measure(bpy.data.objects["dance"], again, EVERY)[0] < 0.1


def test_a_linked_armature_in_rest_position_is_refused(source, tmp_path):
    rig = make.make_rig("mixamo")
    rig.data.pose_position = "REST"
    rig = overridden(rig, tmp_path)
    with pytest.raises(RuntimeError, match=r"Rest Position, and its armature is linked from hero\.blend\. Open that"):
        bake(source, rig)
    assert rig.animation_data is None


# --- imports ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ["excluded", "other_view_layer", "hidden", "hidden_collection", "disabled_collection"])
def test_an_import_onto_a_rig_that_is_not_shown(motion_path, case):
    rig = make.make_rig("mixamo")
    scenes.CASES[case](rig)
    said = []
    settings = PlacementSettings(to_rigs=True, rigs=(rig.name,), bake=Options(plant_feet=False))
    assert not import_file(bpy.context, motion_path, None, settings, lambda kind, text: said.append((kind, text)))
    (source,) = (obj for obj in bpy.data.objects if character.is_character(obj))
    assert scenes.measure(source, rig, EVERY)[0] < 0.1
    assert any(kind == {"WARNING"} and "has its motion, but is" in text for kind, text in said), said
    assert source.hide_get()


def test_a_rig_of_another_scene_is_not_imported_onto(motion_path):
    rig = make.make_rig("mixamo")
    scenes.other_scene(rig)
    with pytest.raises(RuntimeError, match=r"The rig mixamo is in the scene Set, not in Scene\. Import the motion"):
        bpy.ops.wham.import_motion(filepath=str(motion_path), target="BAKE", rig="mixamo")
    assert not any(character.is_character(obj) for obj in bpy.data.objects)
    bpy.context.window.scene = bpy.data.scenes["Set"]
    bpy.ops.wham.import_motion(filepath=str(motion_path), target="BAKE", rig="mixamo", plant_feet=False)
    (source,) = (obj for obj in bpy.data.objects if character.is_character(obj))
    assert source.users_scene == (bpy.data.scenes["Set"],)
    assert scenes.measure(source, rig, EVERY)[0] < 0.1


@pytest.mark.parametrize("from_viewport", [False, True])
def test_an_import_in_local_view_is_seen_there(motion_path, from_viewport):
    bpy.ops.wm.read_homefile(use_factory_startup=True)
    window, cube = bpy.context.window, bpy.data.objects["Cube"]
    area = next(area for area in window.screen.areas if area.type == "VIEW_3D")
    place = {"window": window, "area": area, "region": next(each for each in area.regions if each.type == "WINDOW")}
    bpy.context.view_layer.objects.active = cube
    with bpy.context.temp_override(**place):
        bpy.ops.view3d.localview()
    assert area.spaces.active.local_view
    with bpy.context.temp_override(**(place if from_viewport else {"window": window})):  # the job queue has no viewport
        bpy.ops.wham.import_motion(filepath=str(motion_path))
    (source,) = (obj for obj in bpy.data.objects if character.is_character(obj))
    for obj in (source, *source.children):
        assert obj.visible_get(viewport=area.spaces.active)
    assert not bpy.data.objects["Light"].visible_get(viewport=area.spaces.active)
    assert source.select_get()


@pytest.mark.parametrize(("fps", "base"), [(25, 2.0), (30, 1.001), (24, 0.5)])
def test_times_with_a_frame_rate_that_has_a_base(body, motion_path, fps, base):
    scene = bpy.context.scene
    scene.render.fps, scene.render.fps_base = fps, base
    bpy.ops.wham.import_motion(filepath=str(motion_path), fps="SCENE", start_frame=1001)
    (source,) = bpy.context.selected_objects
    keys = character.read(source).frames
    assert np.abs((keys - 1001) * base / fps - np.arange(40) / 25).max() < 1e-5  # seconds
    assert source.wham_motion.keyed_rate == pytest.approx(fps / base)
    for strip in (False, True):
        rig = make.make_rig("mixamo")
        assert not baked(source, rig, plant_feet=False, nla_strip=strip)[1]
        assert scenes.measure(source, rig, keys)[0] < 0.1
        ends = (
            tuple(rig.animation_data.action.frame_range)
            if not strip
            else (
                rig.animation_data.nla_tracks[-1].strips[0].frame_start,
                rig.animation_data.nla_tracks[-1].strips[0].frame_end,
            )
        )
        assert ends == pytest.approx((1001, keys[-1]), abs=1e-3)


# --- units -----------------------------------------------------------------------------------------------------------

UNITS = [("METRIC", 0.01, 0.01), ("IMPERIAL", 0.0254, 0.0254), ("METRIC", 10.0, 10.0), ("NONE", 0.01, 1.0)]


def set_units(system, length):
    units = bpy.context.scene.unit_settings
    units.system, units.scale_length = system, length


@pytest.mark.parametrize(("system", "length", "unit"), UNITS)
def test_people_have_their_size_as_blender_shows_it(motion, motion_path, system, length, unit):
    set_units(system, length)
    bpy.ops.wham.import_motion(filepath=str(motion_path), fps="CLIP")
    scene, source = bpy.context.scene, bpy.context.selected_objects[0]
    (skin,) = source.children
    height = np.ptp([vertex.co.z for vertex in skin.data.vertices])  # of the rest pose
    assert height * unit == pytest.approx(np.ptp(motion.rest_joints[:, 1]), rel=0.2)  # from the ankles to the neck
    assert source.wham_motion.height == pytest.approx(height, rel=1e-5)
    assert character.height(source) == pytest.approx(height * unit, rel=1e-5)
    assert np.allclose(source.scale, 1)
    joints = motion.joints()
    camera = scene.camera
    for row in (0, 17, 39):
        scene.frame_set(1 + row)
        for point, bone in zip(joints[row], ("pelvis", "left_hip", "right_hip"), strict=False):
            assert np.abs(np.array(source.pose.bones[bone].head) * unit - point).max() < 1e-4
        seen = (joints[row] @ motion.camera_R[row].T + motion.camera_t[row]) @ motion.camera_K.T
        for point, (x, y, depth) in zip(joints[row], seen, strict=True):
            u, v, _ = world_to_camera_view(scene, camera, Vector(point / unit))
            assert abs(u * 1280 - x / depth) < 1  # the film's pixels
            assert abs((1 - v) * 720 - y / depth) < 1
    distance = max((camera.matrix_world.translation - source.matrix_world @ b.head).length for b in source.pose.bones)
    assert camera.data.clip_start < 0.2 / unit
    assert camera.data.clip_end > 2 * distance
    assert character.read(source).root == pytest.approx(joints[:, 0], abs=1e-4)


@pytest.mark.parametrize(("system", "length", "unit"), UNITS)
def test_bakes_and_planted_feet_in_other_units(motion_path, system, length, unit):
    set_units(system, length)
    bpy.ops.wham.import_motion(filepath=str(motion_path), fps="CLIP")
    (source,) = bpy.context.selected_objects
    write_walk(source)
    rigs = [make.make_rig("mixamo", scale=1 / unit), make.make_rig("unreal_ue4", legs=1.5)]
    for rig in (*rigs, make.make_rig("rigify", legs=0.7)):
        if rig is not rigs[0]:  # whose bones have the size
            rig.scale = (1 / unit,) * 3
        for keying in ({}, {"reduce_keys": True}):
            said, failed = baked(source, rig, **keying)
            assert not failed
            feet = Feet(rig).at(WALKED) * unit
            contacts = character.read(source).contacts[WALKED.start - 1 : WALKED.stop - 1]
            steps = np.linalg.norm(np.diff(feet, axis=0), axis=-1)
            most = 0.008 if keying else 0.002
            assert steps[contacts[1:] & contacts[:-1]].max() < most, (rig, keying)
            assert np.abs(feet[..., 2][contacts]).max() < 0.01, (rig, keying)
        (error,) = re.findall(r"degrees and ([\d.]+) mm", said)
        assert float(error) < 5.01
    assert scenes.measure(source, rig, [1])[0] < 60


@pytest.mark.parametrize(("system", "length", "unit"), UNITS)
def test_edits_in_other_units(motion_path, system, length, unit):
    set_units(system, length)
    bpy.ops.wham.import_motion(filepath=str(motion_path), fps="CLIP")
    source, camera = bpy.context.selected_objects[0], bpy.context.scene.camera
    before, seen = character.read(source), character.CameraPath.of(camera).locations
    bpy.ops.wham.set_actor_height(height=1.6 / unit)
    assert character.height(source) == pytest.approx(1.6, rel=1e-4)
    factor = np.ptp(character.read(source).heads[:, 2]) / np.ptp(before.heads[:, 2])
    bpy.ops.wham.move_motion(start="ORIGIN", offset=(1 / unit, 2 / unit, 0))
    assert character.read(source).root[0, :2] == pytest.approx([1, 2], abs=1e-4)
    bpy.context.scene.cursor.location = (3 / unit, 0, 0.5 / unit)
    height = character.read(source).root[0, 2]
    bpy.ops.wham.move_motion(start="CURSOR")
    assert character.read(source).root[0] == pytest.approx([3, 0, height + 0.5], abs=1e-4)
    bpy.ops.wham.set_floor(from_contacts=False, raise_by=-0.25 / unit)
    after = character.read(source)
    assert after.root[0, 2] == pytest.approx(height + 0.25, abs=1e-4)
    offset = after.root[0] - factor * before.root[0]
    assert character.CameraPath.of(camera).locations == pytest.approx(factor * seen + offset, abs=1e-3)


@pytest.mark.parametrize("length", [1e-6, 1e6])
def test_units_in_which_nobody_fits_are_refused(motion_path, length):
    set_units("METRIC", length)
    with pytest.raises(RuntimeError, match=r"The unit scale of Scene is 1e[+-]06, in which people cannot be placed"):
        bpy.ops.wham.import_motion(filepath=str(motion_path))
    assert not bpy.data.objects


def test_statistics_are_those_of_a_scene_in_metres(body, tmp_path):
    found = []
    for length in (1.0, 0.01):
        bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
        set_units("METRIC", length)
        motion_file.save(tmp_path / "dance.npz", [make_motion(body)])
        bpy.ops.wham.import_motion(filepath=str(tmp_path / "dance.npz"))
        (source,) = bpy.context.selected_objects
        bpy.ops.wham.smooth_motion(strength=0.2)
        bpy.ops.wham.measure_motion()
        found.append((source.wham_motion.sliding, source.wham_motion.contacts, character.height(source)))
    assert found[1] == pytest.approx(found[0], rel=1e-3)
    assert not math.isclose(found[0][0], 0.0)


def test_a_bake_with_an_error_of_its_own_changes_nothing(source, monkeypatch):
    """Whatever fails while keys are written: the rig is as it was."""
    rig = make.make_rig("mixamo")
    scenes.keyed(rig)
    before = state(rig)
    broken = CodedError("It broke.", code="broken")

    def fail(*_arguments):
        raise broken

    monkeypatch.setattr("wham_blender.addon.retarget.rig_action._write_settings", fail)
    assert baked(source, rig)[1] == "It broke."
    assert state(rig) == before
