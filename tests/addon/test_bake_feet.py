"""Foot locking after a bake: in the evaluated scene planted feet neither slide nor penetrate the floor."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import bpy
import numpy as np
import pytest
from mathutils import Matrix, Vector

from tests.addon.test_bake import bake
from tests.rigs import baked, make, shoes, walks
from wham_blender.addon.retarget import rig_map_state
from wham_blender.addon.scene import character

SCALED = Matrix.Translation((3, -2, 0.5)) @ Matrix.Rotation(2.1, 4, (0.2, -0.4, 1)) @ Matrix.Scale(0.01, 4)
UNEVEN = Matrix.Translation((1, 1, 0)) @ Matrix.Rotation(0.3, 4, "Z") @ Matrix.Diagonal((1.2, 0.8, 1.0, 1.0))
MIRRORED = Matrix.Diagonal((-1.0, 1.0, 1.0, 1.0))
FRAMES = range(30, 80)


@pytest.fixture
def walking(motion_path):
    """An imported character that walks, its feet sliding a little by a sway of the pelvis."""
    bpy.ops.wham.import_motion(filepath=str(motion_path), fps="CLIP")
    source = bpy.context.selected_objects[0]
    imported = character.read(source)
    feet = imported.feet * [1, 1, 0]
    character.write(source, walks.walk(imported.heads, feet, sway=0.03))
    return source


class Feet:
    """Toes and heels of a rig, from its bones at rest: below the middle of the toes, and behind the ankle."""

    def __init__(self, rig):
        self.rig = rig
        bones = rig_map_state.map_of(rig).bones
        self.points = []
        for side in ("left", "right"):
            foot, toes = (rig.data.bones[bones[f"{side}_{joint}"]] for joint in ("ankle", "foot"))
            ahead = toes.head_local - foot.head_local
            for bone, point in (
                (toes, (toes.head_local + toes.tail_local) / 2),
                (foot, foot.head_local - 0.3 * ahead),
            ):
                point.z = 0.0  # where test rigs stand
                self.points.append((bone.name, bone.matrix_local.inverted() @ point))

    def at(self, frames):
        """World positions (F, 4, 3) at these frames: left toe, left heel, right toe, right heel; metres."""
        positions = []
        for frame in frames:
            bpy.context.scene.frame_set(int(frame), subframe=frame % 1)
            pose, world = self.rig.pose.bones, self.rig.matrix_world
            positions.append([world @ pose[bone].matrix @ point for bone, point in self.points])
        return np.array(positions)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("mixamo", {"legs": 0.5, "rest": "T", "rolls": "random", "scale": 100, "object_matrix": SCALED}),
        ("unreal_ue4", {"legs": 2.0, "rest": "A", "rolls": "random"}),
        ("makehuman_cmu", {"object_matrix": UNEVEN}),
        ("rigify_metarig", {"object_matrix": MIRRORED}),
        ("rigify", {"legs": 0.7, "rest": "T"}),
    ],
)
def test_planted_feet_neither_slide_nor_penetrate_the_floor(walking, kind, options):
    rig = make.make_rig(kind, **options)
    bake(walking, rig, plant_feet=False)
    unlocked = Feet(rig).at(FRAMES)
    bake(walking, rig)
    source = character.read(walking)
    feet = Feet(rig).at(FRAMES)
    if options.get("object_matrix") is MIRRORED:
        feet, unlocked = feet[:, [2, 3, 0, 1]], unlocked[:, [2, 3, 0, 1]]
    contacts = source.contacts[FRAMES.start - 1 : FRAMES.stop - 1]
    steps = np.linalg.norm(np.diff(feet, axis=0), axis=-1)
    assert steps[contacts[1:] & contacts[:-1]].max() < 0.002
    planted = contacts.reshape(-1, 2, 2).any(2).repeat(2, axis=1)
    jumps = np.linalg.norm(np.diff(feet - unlocked, axis=0), axis=-1)[planted[1:] != planted[:-1]]
    assert jumps.max() < 0.005  # no jump at touchdown and lift-off
    assert steps.max() > 0.03
    assert feet[..., 2].min() > -0.002
    assert np.abs(feet[..., 2][contacts]).max() < 0.005  # foot locking's heel may differ a little from this one
    if kind == "rigify":
        switches = [rig.pose.bones[f"{limb}_parent.L"]["IK_FK"] for limb in ("thigh", "upper_arm")]
        assert switches == [0.0, 1.0]  # legs on IK, arms on FK
        for fk, deforming in (("shin_fk.L", "DEF-shin.L"), ("foot_fk.L", "DEF-foot.L")):
            joints = [rig.pose.bones[name].matrix.translation for name in (fk, deforming)]
            assert (joints[0] - joints[1]).length < 0.001  # FK matches IK, so that the switch can be set back


def test_planted_feet_do_not_slide_between_keyframes(walking):
    rig = make.make_rig("mixamo")
    bake(walking, rig)
    between = Feet(rig).at(np.arange(30, 50, 0.5))
    contacts = np.repeat(character.read(walking).contacts[29:49], 2, axis=0)
    contacts[1::2] &= np.roll(contacts, -1, axis=0)[1::2]
    steps = np.linalg.norm(np.diff(between, axis=0), axis=-1)
    assert steps[contacts[1:] & contacts[:-1]].max() < 0.002


def test_feet_slide_without_plant_feet(walking):
    rig = make.make_rig("mixamo", legs=1.5)
    bake(walking, rig, plant_feet=False)
    feet = Feet(rig).at(FRAMES)
    contacts = character.read(walking).contacts[FRAMES.start - 1 : FRAMES.stop - 1]
    steps = np.linalg.norm(np.diff(feet, axis=0), axis=-1)
    assert steps[contacts[1:] & contacts[:-1]].max() > 0.004


def test_plant_feet_does_not_change_arms_and_trunk(walking):
    rig = make.make_rig("unreal_ue5", legs=0.6)
    rotations = []
    for plant in (False, True):
        bake(walking, rig, plant_feet=plant)
        bpy.context.scene.frame_set(50)
        names = ("pelvis", "spine_03", "head", "upperarm_l", "lowerarm_r", "hand_l")
        rotations.append([rig.pose.bones[name].matrix.to_quaternion() for name in names])
    for one, other in zip(*rotations, strict=True):
        assert one.rotation_difference(other).angle < math.radians(0.1)


def _without_toes(rig):
    bpy.context.view_layer.objects.active = rig
    bpy.ops.object.mode_set(mode="EDIT")
    for name in [bone.name for bone in rig.data.edit_bones if "Toe" in bone.name]:
        rig.data.edit_bones.remove(rig.data.edit_bones[name])
    bpy.ops.object.mode_set(mode="OBJECT")
    bpy.ops.wham.guess_rig_map()


def _long_tails(rig):
    """Tails of the last bones as importers leave them: of any length, any way."""
    bpy.context.view_layer.objects.active = rig
    bpy.ops.object.mode_set(mode="EDIT")
    for bone in rig.data.edit_bones:
        if not bone.children:
            bone.tail = bone.head + Vector((0.1, 0.2, -0.45))
    bpy.ops.object.mode_set(mode="OBJECT")


@dataclass(frozen=True)
class Style:
    """A kind of rig and its shoes."""

    kind: str
    rig: dict[str, Any] = field(default_factory=dict)
    shoes: dict[str, Any] = field(default_factory=dict)
    change: Callable[[Any], None] | None = None


STYLES = {
    "person": Style("mixamo"),
    "boots": Style("mixamo", shoes={"size": 2.0}),
    "chibi": Style("unreal_ue4", {"legs": 0.6}, {"size": 2.0}),
    "no toe bones": Style("mixamo", shoes={"size": 1.5}, change=_without_toes),
    "toe bones that carry nothing": Style("unreal_ue5", shoes={"size": 1.2, "toes": "nothing"}),
    "toe bones that carry the sole": Style("kaykit", {"legs": 0.6}, {"size": 2.0, "toes": "sole"}),
    "heels that the shin stretches": Style("kaykit", {"legs": 0.6}, {"size": 2.0, "toes": "nothing", "shin": 0.4}),
    "feet that hang from the root": Style("quaternius", shoes={"size": 1.3}),
    "long tails": Style("mixamo", change=_long_tails),
    "6 metres": Style("unreal_ue4", {"object_matrix": Matrix.Scale(6 / 1.65, 4)}),
    "1 centimetre": Style("mixamo", {"scale": 0.01 / 1.65}, {"size": 1.5}),
    "controls": Style("rigify", {"legs": 0.7}, {"size": 1.5}),
}


@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)
def test_shoes_of_any_style_stand_and_roll_without_sliding(walking, style):
    rig = make.make_rig(style.kind, **style.rig)
    if style.change:
        style.change(rig)
    rig_map_state.load_or_guess(rig)
    rig_map = rig_map_state.from_rows()
    shoes.put_on(rig, rig_map, **style.shoes)
    animation = character.read(walking)
    bake(walking, rig, plant_feet=False)
    unlocked = baked.measure(walking, rig, rig_map, animation)
    bake(walking, rig)
    found = baked.measure(walking, rig, rig_map, animation)
    assert unlocked.typical_slip is not None and unlocked.typical_slip > 2.0
    bounds = {  # mm a frame, cm, degrees a frame and degrees, of a person's size
        "slip": (0.0, 2.0), "typical_slip": (0.0, 2.0), "lowest": (-1.0, 1.0), "floats": (0.0, 1.0),
        "toe_step": (0.0, 20.0), "limb_angle": (0.0, 1.0),
    }  # fmt: skip
    measured = {name: getattr(found, name) for name in bounds}
    if measured["toe_step"] is None:  # no toe bones
        del measured["toe_step"]
    assert all(bounds[name][0] <= value < bounds[name][1] for name, value in measured.items()), measured
