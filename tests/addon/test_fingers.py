"""Fingers of imported characters: bones, skin, keys and edits, in the evaluated scene."""

from dataclasses import replace

import bpy
import numpy as np
import pytest

from tests.addon.conftest import make_motion
from tests.addon.test_bake import points
from tests.addon.test_export import export, read
from wham_blender import animation, fingers, weights
from wham_blender import motion as motion_file
from wham_blender.addon.scene import character
from wham_blender.skeleton import ALL_JOINT_NAMES, ALL_PARENTS, HAND_JOINT_NAMES, JOINT_NAMES

UPRIGHT = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]])  # SMPL's rest axes to Blender's


def with_hands(motion, seed=0):
    """Random finger rotations of up to 50 degrees, and hands that come into view and leave it."""
    rng = np.random.default_rng(seed)
    t = np.arange(len(motion))[:, None, None] / len(motion)
    poses = 0.5 * np.sin(2 * np.pi * t + rng.uniform(0, 2 * np.pi, (30, 3)))
    seen = 0.5 + 0.5 * np.sin(2 * np.pi * t[:, :, 0] + [0, 1])
    return replace(motion, hand_poses=poses, hand_confidence=seen)


@pytest.fixture
def handed(body):
    return with_hands(make_motion(body))


@pytest.fixture
def imported(handed, tmp_path):
    """Imports the motion with options; the armature."""

    def import_it(motion=handed, **options):
        motion_file.save(tmp_path / "motion.npz", [motion])
        bpy.ops.wham.import_motion(filepath=str(tmp_path / "motion.npz"), fps="CLIP", **options)
        return bpy.context.view_layer.objects.active

    return import_it


def go_to(frame):
    bpy.context.scene.frame_set(int(frame))
    return bpy.context.evaluated_depsgraph_get()


def truth(motion, body):
    """Positions (F, 54, 3) and rotations (F, 54, 3, 3) of a motion's joints and fingers in the world."""
    vertices = body["v_template"] + body["shapedirs"] @ motion.betas
    rest = np.concatenate([motion.rest_joints, body["J_regressor_hands"] @ vertices])
    positions, rotations = motion_file.forward_kinematics(motion.poses, motion.trans, motion.rest_joints)
    places, turns = list(np.moveaxis(positions, 1, 0)), list(np.moveaxis(rotations, 1, 0))
    local = motion_file.rotation_matrices(motion.hand_poses)
    for joint in range(24, 54):
        parent = ALL_PARENTS[joint]
        places.append(places[parent] + turns[parent] @ (rest[joint] - rest[parent]))
        turns.append(turns[parent] @ local[:, joint - 24])
    return np.stack(places, 1), np.stack(turns, 1)


def heads(armature, frame):
    posed = armature.evaluated_get(go_to(frame))
    return np.array([posed.matrix_world @ posed.pose.bones[name].head for name in ALL_JOINT_NAMES])


def test_finger_bones_move_as_the_motion_file_says(imported, handed, body):
    armature = imported()
    assert {*armature.data.bones.keys()} == {*ALL_JOINT_NAMES}
    positions, rotations = truth(handed, body)
    for row in range(0, len(handed), 5):
        posed = armature.evaluated_get(go_to(1 + row))
        for joint, name in enumerate(ALL_JOINT_NAMES):
            bone = posed.pose.bones[name]
            assert np.linalg.norm(np.array(posed.matrix_world @ bone.head) - positions[row, joint]) < 0.001, name
            rotation = np.array(bone.matrix.to_3x3()) @ np.array(bone.bone.matrix_local.to_3x3()).T
            assert np.abs(rotation @ UPRIGHT - rotations[row, joint]).max() < 1e-4, name


def test_the_skin_is_the_posed_body(imported, handed, body):
    """Compared with linear blend skinning by the body file's arrays."""
    armature = imported()
    positions, rotations = truth(handed, body)
    vertices = body["v_template"] + body["shapedirs"] @ handed.betas
    rest = np.concatenate([handed.rest_joints, body["J_regressor_hands"] @ vertices])
    skin = np.hstack([body["weights"] * (np.arange(24) < 22), body["weights_hands"]])
    wanted = np.einsum("vj,jab,vjb->va", skin, rotations[7], vertices[:, None] - rest) + skin @ positions[7]
    (mesh,) = armature.children
    shown = mesh.evaluated_get(go_to(8))
    found = np.array([shown.matrix_world @ vertex.co for vertex in shown.data.vertices])
    assert np.abs(found - wanted).max() < 0.001


def test_local_minus_x_bends_every_finger_to_the_palm(imported):
    armature = imported(hands="RELAXED")
    for name in HAND_JOINT_NAMES:
        bone = armature.data.bones[name]
        axes = np.array(bone.matrix_local.to_3x3())
        moved = axes @ [0, np.cos(0.5), -np.sin(0.5)] - axes[:, 1]
        side = 1 if name.startswith("left") else -1
        if "thumb" in name:  # towards the fingers
            assert side * moved[0] > 0.1, name
        else:
            assert moved[2] < -0.2, name


@pytest.mark.parametrize("choice", ["FILM", "RELAXED", "NONE"])
@pytest.mark.parametrize("film_has_hands", [True, False])
def test_the_hands_are_from_the_film_relaxed_or_none(imported, handed, body, choice, film_has_hands):
    motion = handed if film_has_hands else replace(handed, hand_poses=None, hand_confidence=None)
    armature = imported(motion, hands=choice)
    has_bones = choice == "RELAXED" or (choice == "FILM" and film_has_hands)
    assert len(armature.data.bones) == (54 if has_bones else 24)
    found = character.read(armature)
    if not has_bones:
        assert found.hand_confidence is None
        assert found.rotations.shape[1] == 24
        return
    still = np.abs(np.diff(found.rotations[:, 24:], axis=0)).max() < 1e-6
    assert still == (choice == "RELAXED")
    seen = handed.hand_confidence if choice == "FILM" else np.zeros((40, 2))
    assert found.hand_confidence is not None
    assert np.abs(found.hand_confidence - np.array(seen)).max() < 1e-6
    assert np.abs(found.rotations[0, 24:, 1:]).max() > 0.05


def test_a_body_without_fingers_gets_bones_by_proportion(handed, body):
    """As SMPL's files have none."""
    shape = body["J_regressor_hands"] @ body["v_template"], body["J_regressor_fingertips"] @ body["v_template"]
    joints = body["J_regressor"] @ body["v_template"]
    for expected, found in zip(shape, fingers.proportional(joints), strict=True):
        assert np.abs(expected - found).max() < 0.001
    larger = fingers.proportional(1.2 * joints)
    assert np.abs(larger[0] - 1.2 * shape[0]).max() < 0.0012


def test_licensed_bodies_get_finger_bones_but_no_skin_on_them(imported, handed, monkeypatch, tmp_path, body):
    path = tmp_path / "SMPL_NEUTRAL.npz"
    np.savez(path, **{name: values for name, values in body.items() if "hands" not in name and "tips" not in name})
    monkeypatch.setattr(weights, "find", lambda role: replace(weights.manifest()[role], path=path))
    armature = imported()
    assert len(armature.data.bones) == 54
    (mesh,) = armature.children
    assert {group.name for group in mesh.vertex_groups} == {*JOINT_NAMES}


def test_edits_take_the_fingers_along(imported):
    armature = imported()
    before = character.read(armature)
    bpy.ops.wham.smooth_motion(strength=0.5)
    after = character.read(armature)
    moves = [np.abs(np.diff(each.rotations[:, 24:], axis=0)).sum() for each in (before, after)]
    assert 0.1 * moves[0] < moves[1] < 0.999 * moves[0]
    np.testing.assert_array_equal(after.hand_confidence, before.hand_confidence)

    unturned = heads(armature, 5)
    bpy.ops.wham.turn_motion(angle=np.pi / 2)
    assert np.abs(heads(armature, 5)[:, 2] - unturned[:, 2]).max() < 1e-4
    assert np.abs(heads(armature, 5) - unturned)[24:].max(1).min() > 0.01

    bpy.ops.wham.trim_motion(first=5, last=20)
    trimmed = character.read(armature)
    assert len(trimmed) == 16
    assert before.hand_confidence is not None
    assert trimmed.hand_confidence is not None
    assert np.abs(trimmed.rotations[:, 24:] - after.rotations[4:20, 24:]).max() < 1e-5
    np.testing.assert_allclose(trimmed.hand_confidence, before.hand_confidence[4:20], atol=1e-6)


@pytest.mark.parametrize("target", ["UNREAL", "GODOT", "BVH"])
def test_exported_fingers_are_where_they_were(imported, handed, tmp_path, target):
    handed.poses[:] *= 0.4
    handed.poses[:, :3] = np.pi / 2, 0, 0
    armature = imported()
    frames = range(1, 41, 6)
    wanted = points(armature, HAND_JOINT_NAMES, frames)
    rate = bpy.context.scene.render.fps
    path = export(armature, tmp_path / "hands", target)
    again = read(path, rate)
    assert {*HAND_JOINT_NAMES} <= {*again.data.bones.keys()}
    shown = frames if target == "BVH" else [frame - 1 for frame in frames]
    assert np.abs(points(again, HAND_JOINT_NAMES, shown) - wanted).max() < 0.001


def test_loops_blend_the_fingers(handed, imported):
    looped = animation.looped(character.read(imported()), 6, in_place=True)
    assert np.abs(looped.rotations[-1] - looped.rotations[0])[24:].max() < 1e-9
    assert np.abs(np.diff(looped.rotations[:, 24:], axis=0)).max() > 0.01
    assert looped.hand_confidence is not None
    assert looped.hand_confidence.shape == (len(looped), 2)
    assert (looped.hand_confidence[-1] == looped.hand_confidence[0]).all()
