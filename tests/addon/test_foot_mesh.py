"""Soles, heels and toes come from what the foot bones carry: shoes of any shape stand on the floor and roll over it."""

import bpy
import numpy as np
import pytest
from mathutils import Matrix, Vector

from tests.addon.test_bake import bake
from tests.addon.test_bake_feet import walking as walking
from tests.rigs import make
from wham_blender.addon.retarget import rig_map_state
from wham_blender.addon.scene import character

FRAMES = range(20, 90)
SOLE = 0.06  # metres below the floor of the bones
SIDES = {"Left": -1, "Right": 1}


def put_on(rig: bpy.types.Object, *, toes: bool, parented: bool, sole: float = SOLE) -> list[bpy.types.Object]:
    """Boots with thick soles and round caps on a Mixamo rig, which then stands on them; without toe bones if asked."""
    bpy.context.view_layer.objects.active = rig
    bpy.ops.object.mode_set(mode="EDIT")
    for bone in list(rig.data.edit_bones):
        if not toes and "Toe" in bone.name:
            rig.data.edit_bones.remove(bone)
    bpy.ops.object.mode_set(mode="OBJECT")
    boots = []
    for side in SIDES:
        foot = rig.data.bones[f"mixamorig:{side}Foot"]
        ball = foot.tail_local if not toes else rig.data.bones[f"mixamorig:{side}ToeBase"].head_local
        ahead = Vector((ball.x - foot.head_local.x, ball.y - foot.head_local.y, 0.0))
        length, ahead = ahead.length, ahead.normalized()
        aside = ahead.cross(Vector((0.0, 0.0, 1.0)))
        rows = []  # along, aside, height of the sole and of the cap's front
        for along, height in (
            (-0.5, 0.0),
            (-0.5, 0.08),
            (0.4, 0.0),
            (1.0, 0.0),
            (1.4, 0.0),
            (1.75, 0.03),
            (1.75, 0.07),
        ):
            for across in (-0.045, 0.045):
                point = foot.head_local + ahead * along * length + aside * across
                rows.append((point.x, point.y, height - sole))
        mesh = bpy.data.meshes.new("boot")
        mesh.from_pydata(rows, [], [(0, 1, 3, 2)])
        boot = bpy.data.objects.new("boot", mesh)
        bpy.context.scene.collection.objects.link(boot)
        if parented:
            boot.parent, boot.parent_type, boot.parent_bone = rig, "BONE", foot.name
            bpy.context.view_layer.update()
            end = foot.matrix_local @ Matrix.Translation((0.0, foot.length, 0.0))
            boot.matrix_parent_inverse = end.inverted()
        else:
            boot.parent = rig
            boot.modifiers.new("Armature", "ARMATURE").object = rig
            front = boot.vertex_groups.new(name=f"mixamorig:{side}ToeBase") if toes else None
            back = boot.vertex_groups.new(name=foot.name)
            for number in range(len(rows)):
                (front if front and number >= 8 else back).add([number], 1.0, "REPLACE")
            boot.vertex_groups.new(name="outline").add(range(len(rows)), 1.0, "REPLACE")  # of no bone
        boots.append(boot)
    bpy.context.view_layer.update()
    if not toes:  # no map is known then
        bpy.context.view_layer.objects.active = rig
        bpy.ops.wham.guess_rig_map()
    return boots


def lowest(boots: list[bpy.types.Object], frames: range) -> np.ndarray:
    """The lowest points (F, 2) of the boots in the evaluated scene, metres."""
    heights = []
    for frame in frames:
        bpy.context.scene.frame_set(frame)
        depsgraph = bpy.context.evaluated_depsgraph_get()
        row = []
        for boot in boots:
            evaluated = boot.evaluated_get(depsgraph)
            mesh = evaluated.to_mesh()
            row.append(min((evaluated.matrix_world @ vertex.co).z for vertex in mesh.vertices))
            evaluated.to_mesh_clear()
        heights.append(row)
    return np.array(heights)


@pytest.mark.parametrize("parented", [False, True], ids=["skinned", "parented"])
@pytest.mark.parametrize("toes", [True, False], ids=["toes", "no toes"])
def test_boots_stand_on_the_floor(walking, toes, parented):
    if toes and parented:
        pytest.skip("a boot that hangs from one bone has no toes")
    rig = make.make_rig("mixamo", scale=1.0)
    boots = put_on(rig, toes=toes, parented=parented)
    bake(walking, rig)
    assert ("left_foot" in rig_map_state.map_of(rig).bones) is toes
    heights = lowest(boots, FRAMES)
    contacts = character.read(walking).contacts[FRAMES.start - 1 : FRAMES.stop - 1].reshape(-1, 2, 2)
    assert heights.min() > -0.01
    assert np.abs(heights[contacts.any(2)]).max() < 0.01


def test_what_is_no_foot_is_not_taken_for_one(walking):
    """Stilts, or a cape that is weighted to a foot: the bones tell better."""
    rig = make.make_rig("mixamo")
    bake(walking, rig)
    action = rig.animation_data.action
    curves = {(curve.data_path, curve.array_index): curve for curve in _curves(action)}
    expected = {key: curve.evaluate(40) for key, curve in curves.items()}
    put_on(rig, toes=True, parented=False, sole=1.5)
    bake(walking, rig)
    found = {(curve.data_path, curve.array_index): curve.evaluate(40) for curve in _curves(rig.animation_data.action)}
    assert found == pytest.approx(expected, abs=1e-5)


def _curves(action):
    if hasattr(action, "fcurves"):
        return list(action.fcurves)
    return [
        curve for layer in action.layers for strip in layer.strips for bag in strip.channelbags for curve in bag.fcurves
    ]
