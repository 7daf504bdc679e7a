"""A motion of Full quality moves the user's SMPL mesh, its shapes as keys; on a small body of that format."""

import pickle

import bpy
import numpy as np
import pytest

from tests.addon.conftest import make_motion
from tests.addon.test_import_motion import go_to, objects
from wham_blender import motion as motion_file
from wham_blender.addon import settings
from wham_blender.addon.worker import python_environment
from wham_blender.motion import forward_kinematics
from wham_blender.skeleton import PARENTS

COUNT = 300  # vertices


@pytest.fixture(scope="module")
def smpl(body):
    """A coarse body of SMPL's format: points near the joints of the one that ships inside, with shapes of their own."""
    rng = np.random.default_rng(1)
    joints = body["J_regressor"] @ body["v_template"]
    nearest = np.arange(COUNT) % 24
    skin = rng.random((COUNT, 24)) ** 8 + 4 * np.eye(24)[nearest]
    regressor = (nearest == np.arange(24)[:, None]) / np.bincount(nearest)[:, None]
    return {
        "v_template": joints[nearest] + rng.normal(0, 0.05, (COUNT, 3)),
        "shapedirs": rng.normal(0, 0.02, (COUNT, 3, 10)),
        "posedirs": np.zeros((COUNT, 3, 207)),
        "J_regressor": regressor,
        "weights": skin / skin.sum(1, keepdims=True),
        "kintree_table": np.array([[2**32 - 1, *PARENTS[1:]], range(24)]),
        "f": np.array([[i, i + 1, i + 2] for i in range(COUNT - 2)], np.uint32),
    }


@pytest.fixture
def library(monkeypatch, tmp_path):
    monkeypatch.setattr(python_environment, "data_folder", lambda: tmp_path / "data")
    return settings.library()


def full_motion(smpl, gender, folder):
    made = make_motion(smpl)
    made.gender, made.meta = gender, made.meta | {"weights": {"wham": {"name": "wham.pth.tar"}}}
    path = folder / "full.npz"
    motion_file.save(path, [made])
    return made, path


@pytest.mark.parametrize(("name", "gender"), [("SMPL_NEUTRAL.npz", "neutral"), ("SMPL_FEMALE.pkl", "female")])
def test_the_mesh_is_smpls_with_its_shapes_as_keys(smpl, library, tmp_path, name, gender):
    file = tmp_path / name
    if name.endswith(".npz"):
        np.savez(file, **smpl)
    else:
        file.write_bytes(pickle.dumps(smpl, protocol=2))
    library.choose(file)
    motion, path = full_motion(smpl, gender, tmp_path)
    assert bpy.ops.wham.import_motion(filepath=str(path), fps="CLIP") == {"FINISHED"}
    (skin,) = objects("MESH")
    keys = skin.data.shape_keys.key_blocks
    assert [key.name for key in keys] == ["Basis", *(f"Shape{number:03}" for number in range(10))]
    assert np.allclose([key.value for key in keys[1:]], motion.betas, atol=1e-6)
    rest = smpl["v_template"] + smpl["shapedirs"] @ motion.betas
    positions, rotations = forward_kinematics(motion.poses, motion.trans, motion.rest_joints)
    for row in (0, 17):
        moved = evaluated(skin, 1 + row)
        by_joint = np.einsum("jab,vjb->vja", rotations[row], rest[:, None] - motion.rest_joints) + positions[row]
        assert np.abs(moved - np.einsum("vj,vja->va", smpl["weights"], by_joint)).max() < 2e-3
    before = evaluated(skin, 1)
    keys[1].value += 1
    assert np.allclose(np.linalg.norm(evaluated(skin, 1) - before, axis=1).max(), reach(smpl), atol=0.02)


def reach(smpl):
    return np.linalg.norm(smpl["shapedirs"][..., 0], axis=1).max()


def evaluated(skin, frame):
    moved = np.empty((COUNT, 3), np.float32)
    skin.evaluated_get(go_to(frame)).data.vertices.foreach_get("co", moved.ravel())
    return moved


def test_the_copy_out_of_whams_file_serves_too(smpl, library, tmp_path):
    library.folder.mkdir(parents=True)
    np.savez(
        library.body_copy, **{name: smpl[name] for name in ("v_template", "shapedirs", "J_regressor", "weights", "f")}
    )
    _, path = full_motion(smpl, "neutral", tmp_path)
    assert bpy.ops.wham.import_motion(filepath=str(path)) == {"FINISHED"}
    assert len(objects("MESH")[0].data.shape_keys.key_blocks) == 11


def test_without_the_file_only_bones_are_made_and_it_is_said(smpl, library, tmp_path, capfd):
    _, path = full_motion(smpl, "male", tmp_path)
    assert bpy.ops.wham.import_motion(filepath=str(path)) == {"FINISHED"}
    assert objects("MESH") == []
    assert "made with SMPL's male body, and the preferences have no file of it that fits" in capfd.readouterr().out
    (tmp_path / "SMPL_MALE.pkl").write_bytes(pickle.dumps(smpl | {"evil": print}))
    library.choose(tmp_path / "SMPL_MALE.pkl")
    bpy.ops.wham.import_motion(filepath=str(path))
    assert "SMPL_MALE.pkl is not safe" in capfd.readouterr().out
    assert objects("MESH") == []


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("f", np.full((9, 3), 2**31), "f holds values that no body has"),
        ("f", np.full((9, 3), -1), "f holds no triangles"),
        ("f", np.zeros((9, 3), int), "f holds no triangles"),
        ("v_template", np.full((COUNT, 3), np.nan), "v_template holds values that no body has"),
        ("weights", np.zeros((7, 24)), "weights has the shape"),
        ("J_regressor", np.zeros((24, 0)), "J_regressor has the shape"),
        ("shapedirs", np.full((COUNT, 3, 10), "1"), "shapedirs has the shape"),
    ],
)
def test_a_body_file_with_a_wrong_array_gives_bones_only(smpl, library, tmp_path, capfd, name, value, words):
    """Blender would end at an index of no vertex."""
    library.folder.mkdir(parents=True)
    np.savez(library.body_copy, **smpl | {name: value})
    _, path = full_motion(smpl, "neutral", tmp_path)
    assert bpy.ops.wham.import_motion(filepath=str(path)) == {"FINISHED"}
    assert f"The body file {library.body_copy.name} cannot be used ({words}" in capfd.readouterr().out
    assert objects("MESH") == []
    assert objects("ARMATURE")


def test_the_body_that_ships_inside_has_no_keys(motion, tmp_path):
    motion_file.save(tmp_path / "draft.npz", [motion])
    bpy.ops.wham.import_motion(filepath=str(tmp_path / "draft.npz"))
    assert objects("MESH")[0].data.shape_keys is None
