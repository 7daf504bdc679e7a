"""Exported files say what the scene does: read again by Blender, joints are where they were in the same frames."""

import json
import struct
from dataclasses import replace
from pathlib import Path

import bpy
import numpy as np
import pytest
from mathutils import Matrix
from mathutils.kdtree import KDTree

from tests.addon.conftest import make_motion
from tests.addon.test_bake import bake, points
from tests.rigs import make
from wham_blender import motion as motion_file
from wham_blender.addon.export import export as exporting
from wham_blender.addon.export.export import PRESETS, ExportError
from wham_blender.addon.retarget import rig_map_state
from wham_blender.addon.scene.action import ActionKeys
from wham_blender.errors import CodedError

MILLIMETRE = 0.001
TURNED = Matrix.Translation((1, -2, 0)) @ Matrix.Rotation(2.1, 4, "Z") @ Matrix.Scale(0.9, 4)
FRAMES = range(1, 31, 4)
READ_FRAMES = range(0, 30, 4)  # the same frames in a file, which begins at 0
SUFFIX = {"UNREAL": ".fbx", "UNITY": ".fbx", "GODOT": ".glb", "BVH": ".bvh", "USD": ".usdc"}


@pytest.fixture
def source(body, tmp_path):
    """An imported character that walks and sways, at 30 fps, from frame 1 to 30."""
    made = make_motion(body, count=30, rate=30.0)
    made.poses[:] *= 0.4
    made.poses[:, :3] = np.pi / 2, 0, 0
    made.trans[:] = made.trans * [1.0, 0.1, 0.0] + [0.0, 0.0, 0.95]
    motion_file.save(tmp_path / "walk.npz", [made])
    bpy.ops.wham.import_motion(filepath=str(tmp_path / "walk.npz"), fps="CLIP")
    return bpy.context.selected_objects[0]


def export(thing, path, target, **options):
    """Write a file, of which no trace is left in the scene, and return its path."""
    bpy.context.view_layer.objects.active = thing
    kinds = ("objects", "actions", "scenes", "meshes", "armatures")
    before = [set(getattr(bpy.data, kind)) for kind in kinds]
    frame = bpy.context.scene.frame_current
    assert bpy.ops.wham.export_motion(filepath=str(path), target=target, **options) == {"FINISHED"}
    assert [set(getattr(bpy.data, kind)) for kind in kinds] == before
    assert bpy.context.scene.frame_current == frame
    return path.with_suffix(SUFFIX[target])


def read(path, rate=30):
    """The armature of a file, read into an empty scene of `rate` fps by Blender's own importer."""
    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
    bpy.context.scene.render.fps = rate
    if path.suffix == ".fbx":
        bpy.ops.import_scene.fbx(filepath=str(path), anim_offset=0.0)
    elif path.suffix == ".glb":
        bpy.ops.import_scene.gltf(filepath=str(path))
    elif path.suffix == ".bvh":
        bpy.ops.import_anim.bvh(filepath=str(path), global_scale=0.01, update_scene_fps=True)
    else:
        bpy.ops.wm.usd_import(filepath=str(path))
    (armature,) = (thing for thing in bpy.data.objects if thing.type == "ARMATURE")
    return armature


def skin(frame):
    """The evaluated vertices (V, 3) of all skinned meshes in the world."""
    bpy.context.scene.frame_set(frame)
    graph = bpy.context.evaluated_depsgraph_get()
    found = []
    for thing in bpy.context.scene.objects:
        if thing.type == "MESH" and any(modifier.type == "ARMATURE" for modifier in thing.modifiers):
            seen = thing.evaluated_get(graph)
            found += [seen.matrix_world @ vertex.co for vertex in seen.data.vertices]
    return found


@pytest.mark.parametrize(
    ("target", "root_motion"),
    [("UNREAL", "HIPS"), ("UNREAL", "ROOT"), ("UNITY", "HIPS"), ("GODOT", "ROOT"), ("BVH", "ROOT"), ("USD", "HIPS")],
)
def test_what_is_read_again_is_what_was_there(source, target, root_motion, tmp_path):
    names = source.data.bones.keys()
    wanted, vertices = points(source, names, FRAMES), skin(21)[::97]
    armature = read(export(source, tmp_path / "walk", target, root_motion=root_motion))
    assert set(armature.data.bones.keys()) - set(names) == ({"root"} if root_motion == "ROOT" else set())
    frames = FRAMES if target == "BVH" else READ_FRAMES  # its importer begins at 1, unless told
    assert np.abs(points(armature, names, frames) - wanted).max() < MILLIMETRE
    if target != "USD":  # whose reader keeps no action for bones in some versions
        assert tuple(armature.animation_data.action.frame_range) == ((1, 30) if target == "BVH" else (0, 29))
    scene = bpy.context.scene
    assert scene.render.fps / scene.render.fps_base == pytest.approx(30, abs=1e-3)
    if root_motion == "ROOT":
        root, hips = points(armature, ["root", "pelvis"], frames).swapaxes(0, 1)
        assert np.abs(root[:, 2]).max() < MILLIMETRE
        assert np.linalg.norm((root - hips)[:, :2], axis=1).max() < 0.2
        assert np.linalg.norm(root[-1] - root[0]) > 0.4
    if target != "BVH":
        seen = skin(20)
        tree = KDTree(len(seen))
        for number, point in enumerate(seen):
            tree.insert(point, number)
        tree.balance()
        assert max(tree.find(vertex)[2] for vertex in vertices) < MILLIMETRE


def test_bones_that_slide_along_their_chain_arrive_in_blender_where_they_were(tmp_path):
    """Rigify's deform bones are stretched by their controls; Blender's FBX importer connects bones that touch."""
    rig = make.make_rig("rigify")
    for frame, side in ((1, 1.0), (11, -1.0)):
        for name in ("torso", "chest", "upper_arm_tweak.L.001", "thigh_tweak.R.001"):
            bone = rig.pose.bones[name]
            bone.location = 0.03 * side, 0.05 * side, 0.02
            bone.keyframe_insert("location", frame=frame)
    names = [bone.name for bone in rig.data.bones if bone.use_deform]
    wanted = points(rig, names, range(1, 12))
    for target in ("UNREAL", "UNITY"):
        write(rig, tmp_path / f"{target}.fbx", PRESETS[target])
    for target in ("UNREAL", "UNITY"):
        armature = read(tmp_path / f"{target}.fbx")
        assert np.abs(points(armature, names, range(11)) - wanted).max() < MILLIMETRE


@pytest.mark.parametrize(
    ("kind", "target"),
    [("mixamo", "GODOT"), ("unreal_ue5", "UNREAL"), ("rigify", "UNITY")],
)
def test_baked_rigs_arrive_as_they_move(source, kind, target, tmp_path):
    rig = make.make_rig(kind, object_matrix=None if kind == "rigify" else TURNED)
    bpy.ops.mesh.primitive_cube_add(size=0.1)
    hat = bpy.context.object
    hat.parent, hat.parent_type, hat.parent_bone = rig, "BONE", rig_map_state.map_of(rig).bones["head"]
    bake(source, rig, root_motion="ROOT" if kind == "unreal_ue5" else "HIPS")
    fitted = rig_map_state.map_of(rig)
    names = [*fitted.mapped_bones().values(), *([fitted.root] if kind == "unreal_ue5" else [])]
    wanted = points(rig, names, FRAMES)
    seen = hat.evaluated_get(bpy.context.evaluated_depsgraph_get())
    corners = np.array([seen.matrix_world @ vertex.co for vertex in seen.data.vertices])
    armature = read(export(rig, tmp_path / "hero", target, root_motion="ROOT"))
    found = np.array(skin(READ_FRAMES[-1]))
    assert max(np.linalg.norm(found - corner, axis=1).min() for corner in corners) < MILLIMETRE
    assert np.abs(points(armature, names, READ_FRAMES) - wanted).max() < MILLIMETRE
    bones = armature.data.bones
    assert [bone.name for bone in bones if bone.parent is None] == [fitted.root or "root"]
    chain = [bone.name for bone in bones[fitted.bones["left_ankle"]].parent_recursive]
    assert chain.index(fitted.bones["left_knee"]) < chain.index(fitted.bones["left_hip"])
    assert {fitted.bones["pelvis"]} <= set(chain)
    if kind == "rigify":
        assert {bone.name[:4] for bone in bones} == {"DEF-", "root"}


def model(path, name):
    """Unit and up axis of an FBX file, and turn and scale of one of its nodes."""
    from io_scene_fbx import parse_fbx

    def properties(element):
        (table,) = (each for each in element.elems if each.id == b"Properties70")
        return {each.props[0]: each.props[4:] for each in table.elems}

    elements = {each.id: each for each in parse_fbx.parse(str(path))[0].elems}
    settings = properties(elements[b"GlobalSettings"])
    (node,) = (e for e in elements[b"Objects"].elems if e.id == b"Model" and e.props[1].split(b"\0")[0] == name)
    placed = properties(node)
    turn, scale = placed.get(b"Lcl Rotation", [0, 0, 0]), placed.get(b"Lcl Scaling", [1, 1, 1])
    return settings[b"UnitScaleFactor"][0], settings[b"UpAxis"][0], turn, scale


def test_no_node_is_turned_or_scaled_in_the_units_of_its_receiver(source, tmp_path):
    taken = bpy.data.objects.new("Armature", None)
    for target, unit, up in (("UNREAL", 1, 2), ("UNITY", 100, 1)):
        path = export(source, tmp_path / target, target)
        for name in (b"Armature", b"dance body"):
            found = model(path, name)
            assert found[:2] == (unit, up)
            assert np.allclose(found[2], 0, atol=1e-4)
            assert np.allclose(found[3], 1, atol=1e-6)
    data = export(source, tmp_path / "hero", "GODOT").read_bytes()
    length = struct.unpack("<I", data[12:16])[0]
    nodes = {node["name"]: node for node in json.loads(data[20 : 20 + length])["nodes"]}
    assert not {"rotation", "scale", "matrix"} & set(nodes["Armature"])
    assert taken.name == "Armature"


def test_uneven_scale_is_warned_of(source, tmp_path, capfd):
    source.scale = (1, 1.2, 1)
    bpy.context.view_layer.update()
    export(source, tmp_path / "walk", "BVH")
    assert "dance is scaled unevenly, so that its bones change their lengths" in capfd.readouterr().out


def test_what_cannot_be_exported_is_said(source, tmp_path):
    rig = make.make_rig("mixamo")
    with pytest.raises(RuntimeError, match=r"mixamo has no animation\. Bake a motion onto it first"):
        bpy.ops.wham.export_motion(filepath=str(tmp_path / "a.fbx"))
    rig.animation_data_create()
    with pytest.raises(RuntimeError, match="mixamo has no animation"):
        bpy.ops.wham.export_motion(filepath=str(tmp_path / "a.fbx"))
    bpy.context.view_layer.objects.active = source
    (tmp_path / "file").write_text("")
    with pytest.raises(RuntimeError, match=r"could not be written|was not written"):
        bpy.ops.wham.export_motion(filepath=str(tmp_path / "file" / "a.fbx"))
    assert len(bpy.data.scenes) == 1
    bpy.context.view_layer.objects.active = None
    with pytest.raises(RuntimeError, match="Select the armature of the character to export"):
        bpy.ops.wham.export_motion(filepath=str(tmp_path / "a.fbx"))


def test_a_file_that_cannot_be_written_is_told_and_nothing_is_left(source, tmp_path):
    (tmp_path / "folder.fbx").mkdir()
    (tmp_path / "file").write_text("")
    for name in ("folder.fbx", "file/a.fbx", "missing/a.fbx", f"{'x' * 300}.fbx", "a\0b.fbx", "\ud800.fbx"):
        before = blocks()
        with pytest.raises(ExportError, match=r"could not be written: .*Choose another name"):
            write(source, tmp_path / name)
        assert blocks() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.fbx", "walk.npz"]


OF_BLENDER = RuntimeError("Error: Python: Traceback (most recent call last):\n  x\nOSError: full\nLocation: x.py:1")


@pytest.mark.parametrize("fault", [OF_BLENDER, OSError(28, "full"), KeyError("full"), None])
def test_an_exporter_that_fails_leaves_the_old_file_and_the_scene(source, tmp_path, fault):
    def exporter(path, copy):
        Path(path).write_bytes(b"half a file")
        bpy.data.meshes.new("of the exporter")
        if fault is None:
            Path(path).unlink()
            return {"CANCELLED"}
        raise fault

    path = tmp_path / "walk.fbx"
    path.write_bytes(b"the old file")
    before = blocks()
    with pytest.raises(ExportError, match=r"could not be written: (.*full|the exporter made no file)") as caught:
        write(source, path, replace(PRESETS["UNREAL"], write=exporter))
    assert "Traceback" not in str(caught.value)
    assert blocks() == before
    assert path.read_bytes() == b"the old file"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["walk.fbx", "walk.npz"]


def test_motions_that_no_file_can_hold_are_told(source, tmp_path):
    (*_, last) = ActionKeys(source).curves()[0].keyframe_points
    last.co[0] = 1_000_000
    before = blocks()
    with pytest.raises(ExportError, match="goes from frame 1 to 1000000, which is too long for one file"):
        write(source, tmp_path / "walk.fbx")
    last.co[0], value = 30, last.co[1]
    last.co[1] = float("nan")
    with pytest.raises(CodedError, match="The location of a bone of dance is nan"):
        write(source, tmp_path / "walk.fbx")
    last.co[1] = value
    source.scale = 0, 1, 1
    bpy.context.view_layer.update()
    with pytest.raises(ExportError, match="dance cannot be exported: the object's scale is zero"):
        write(source, tmp_path / "walk.fbx")
    assert blocks() == before
    assert not (tmp_path / "walk.fbx").exists()


def blocks():
    """Names of all data of the file, and what is active."""
    kinds = ("objects", "actions", "scenes", "meshes", "armatures", "materials", "collections")
    context = bpy.context
    return [sorted(getattr(bpy.data, kind).keys()) for kind in kinds], context.scene, context.object, context.mode


def write(thing, path, preset=PRESETS["UNREAL"]):
    return exporting.export(bpy.context, thing, path, preset, False, True)
