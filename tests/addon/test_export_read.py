"""Exported files, read by other programs' libraries, say what the scene does: joints, vertices, shape keys, times."""

import subprocess
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import bpy
import numpy as np
import pytest
from mathutils import Matrix

import build
from tests.addon.test_bake import points
from tests.addon.test_export import PRESETS, SUFFIX
from tests.rigs.scenes import push_down
from wham_blender.addon.export import export as exporting

READ = Path(__file__).parents[1] / "readers/read.py"
MILLIMETRE = 0.001
TURNED = Matrix.Translation((1, -2, 0)) @ Matrix.Rotation(2.1, 4, "Z") @ Matrix.Scale(0.9, 4)
TARGETS = ("UNREAL", "UNITY", "GODOT", "USD")
BONES = {  # head, tail, parent
    "root": ((0, 0, 0), (0, 0.3, 0), None),
    "hips": ((0, 0, 1.0), (0, 0, 1.2), "root"),
    "spine": ((0, 0, 1.2), (0, 0, 1.5), "hips"),
    "arm.L": ((0.2, 0, 1.4), (0.6, 0, 1.4), "spine"),
    "arm.R": ((-0.2, 0, 1.4), (-0.6, 0, 1.4), "spine"),
    "control": ((0.9, 0, 1.4), (0.9, 0.2, 1.4), "arm.L"),
}


def make_rig(scale=1.0, matrix=TURNED, first=1):
    """A small body with weights for four bones, which moves for eight frames."""
    rig = bpy.data.objects.new("hero", bpy.data.armatures.new("hero"))
    bpy.context.scene.collection.objects.link(rig)
    bpy.context.view_layer.objects.active = rig
    bpy.ops.object.mode_set(mode="EDIT")
    for name, (head, tail, parent) in BONES.items():
        bone = rig.data.edit_bones.new(name)
        bone.head, bone.tail = [scale * x for x in head], [scale * x for x in tail]
        bone.parent = rig.data.edit_bones.get(parent or "")
        bone.use_deform = name not in ("root", "control")
    bpy.ops.object.mode_set(mode="OBJECT")
    rig.matrix_world = matrix
    for frame, angle, forward in ((0, 0.1, 0.0), (3, 0.7, 0.1), (7, -0.4, 0.3)):
        for name, turn in (
            ("hips", (0, 0, 0.5)),
            ("spine", (0.4, 0, 0.2)),
            ("arm.L", (1, 0.2, 0)),
            ("arm.R", (0, 0, 1)),
        ):
            bone = rig.pose.bones[name]
            bone.rotation_mode = "XYZ"
            bone.rotation_euler = [angle * x for x in turn]
            bone.keyframe_insert("rotation_euler", frame=first + frame)
        rig.pose.bones["hips"].location = 0, scale * 0.1 * forward, scale * forward
        rig.pose.bones["hips"].keyframe_insert("location", frame=first + frame)
        rig.pose.bones["control"].location = scale * angle * 0.2, 0, 0
        rig.pose.bones["control"].keyframe_insert("location", frame=first + frame)
    return rig


def make_mesh(rig, name, half=False, weighted=True, scale=1.0):
    """A bar along the arms, or its left half, with weights that blend from one bone to the next."""
    steps, sides = np.linspace(0 if half else -0.8, 0.8, 9 if half else 17), ((-1, -1), (1, -1), (1, 1), (-1, 1))
    vertices = [(x, 0.1 * y, 1.4 + 0.1 * z) for x in steps for y, z in sides]
    faces = [
        (4 * row + side, 4 * row + (side + 1) % 4, 4 * row + 4 + (side + 1) % 4, 4 * row + 4 + side)
        for row in range(len(steps) - 1)
        for side in range(4)
    ]
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata([[scale * x for x in vertex] for vertex in vertices], [], faces)
    obj = bpy.data.objects.new(name, mesh)
    bpy.context.scene.collection.objects.link(obj)
    obj.parent = rig
    if not weighted:
        return obj
    groups = {bone: obj.vertex_groups.new(name=bone) for bone in ("spine", "arm.L", "arm.R")}
    for number, (x, _, _) in enumerate(vertices):
        out = min(max((abs(x) - 0.1) / 0.3, 0), 1)
        groups["spine"].add([number], 1 - out, "REPLACE")
        groups["arm.L" if x > 0 else "arm.R"].add([number], out, "REPLACE")
    return obj


def nodes():
    """Geometry nodes that subdivide a mesh."""
    tree = bpy.data.node_groups.new("cut", "GeometryNodeTree")
    for direction in ("INPUT", "OUTPUT"):
        tree.interface.new_socket("Geometry", in_out=direction, socket_type="NodeSocketGeometry")
    first, cut, last = (
        tree.nodes.new(kind) for kind in ("NodeGroupInput", "GeometryNodeSubdivideMesh", "NodeGroupOutput")
    )
    tree.links.new(first.outputs[0], cut.inputs[0])
    tree.links.new(cut.outputs[0], last.inputs[0])
    return tree


def add_keys(obj):
    """Shape keys: one animated, one driven by a bone, one with a constant value."""
    obj.shape_key_add(name="Basis")
    for name, shift in (("Smile", (0, 0.05, 0)), ("Driven", (0, 0, 0.08)), ("Still", (0, -0.1, 0.02))):
        block = obj.shape_key_add(name=name, from_mix=False)
        for vertex, point in zip(obj.data.vertices, block.data, strict=True):
            point.co = vertex.co + (vertex.co.x**2) * Matrix.Diagonal(shift) @ type(vertex.co)((1, 1, 1))
    keys = obj.data.shape_keys.key_blocks
    for frame, value in ((1, 0.0), (4, 1.0), (8, 0.3)):
        keys["Smile"].value = value
        keys["Smile"].keyframe_insert("value", frame=frame)
    keys["Still"].value = 0.4
    driver = keys["Driven"].driver_add("value").driver
    driver.type = "SUM"
    variable = driver.variables.new()
    variable.type = "TRANSFORMS"
    target = variable.targets[0]
    target.id, target.bone_target = obj.parent, "arm.L"
    target.transform_type, target.transform_space = "ROT_X", "LOCAL_SPACE"


MODIFIERS: dict[str, tuple[str, dict]] = {
    "mirror": ("MIRROR", {}),
    "subsurf": ("SUBSURF", {"levels": 1}),
    "solidify": ("SOLIDIFY", {"thickness": 0.02}),
    "decimate": ("DECIMATE", {"ratio": 0.7}),
    "array": ("ARRAY", {"relative_offset_displace": (0, 1.5, 0)}),
    "weighted normal": ("WEIGHTED_NORMAL", {}),
    "nodes": ("NODES", {}),
}  # fmt: skip
FOLLOWERS = ("on a bone", "on the armature", "on an empty", "on a control")
HIDDEN = ("in an excluded collection", "in a hidden collection", "hidden", "hidden in the viewport")


def make_character(rig):
    """All kinds of meshes on one rig."""
    for name, (kind, values) in MODIFIERS.items():
        obj = make_mesh(rig, name, half=kind == "MIRROR")
        modifier = obj.modifiers.new(name, kind)
        for key, value in values.items():
            setattr(modifier, key, value)
        if kind == "NODES":
            modifier.node_group = nodes()
        obj.modifiers.new("Armature", "ARMATURE").object = rig
    keyed = make_mesh(rig, "shape keys", half=True)
    add_keys(keyed)
    keyed.modifiers.new("Mirror", "MIRROR")
    keyed.modifiers.new("Subdivision", "SUBSURF").levels = 1
    keyed.modifiers.new("Armature", "ARMATURE").object = rig
    for name in HIDDEN:
        make_mesh(rig, name).modifiers.new("Armature", "ARMATURE").object = rig
    mirrored = make_mesh(rig, "negative scale")
    mirrored.scale = 100, -100, 100
    mirrored.data.transform(Matrix.Diagonal((0.01, -0.01, 0.01, 1)))
    mirrored.modifiers.new("Armature", "ARMATURE").object = rig
    followers = [make_mesh(rig, name, weighted=False) for name in FOLLOWERS]
    followers[0].parent_type, followers[0].parent_bone = "BONE", "arm.L"
    empty = bpy.data.objects.new("empty", None)
    bpy.context.scene.collection.objects.link(empty)
    empty.parent, empty.parent_type, empty.parent_bone = rig, "BONE", "arm.R"
    followers[2].parent = empty
    followers[3].parent_type, followers[3].parent_bone = "BONE", "control"
    followers[3].scale = 1, 2, 1
    widget = make_mesh(rig, "widget", weighted=False)
    rig.pose.bones["root"].custom_shape = widget


def hide():
    """Hide what is to be hidden."""
    scene = bpy.context.scene
    for name in HIDDEN[:2]:
        collection = bpy.data.collections.new(name)
        scene.collection.children.link(collection)
        collection.objects.link(bpy.data.objects[name])
        scene.collection.objects.unlink(bpy.data.objects[name])
        layer = bpy.context.view_layer.layer_collection.children[name]
        layer.exclude, layer.hide_viewport = name == HIDDEN[0], name == HIDDEN[1]
    bpy.data.objects["hidden"].hide_set(True)
    bpy.data.objects["hidden in the viewport"].hide_viewport = True


def vertices(frames):
    """The evaluated vertices (F, V, 3) of each mesh in the world."""
    found: dict[str, list] = {}
    for frame in frames:
        bpy.context.scene.frame_set(frame)
        graph = bpy.context.evaluated_depsgraph_get()
        for obj in bpy.context.scene.objects:
            if obj.type == "MESH":
                seen = obj.evaluated_get(graph)
                places = [seen.matrix_world @ vertex.co for vertex in seen.data.vertices]
                found.setdefault(obj.name, []).append(places)
    return {name: np.array(places) for name, places in found.items()}


def read(path, rate, frames):
    """What another reader finds in a file at times from 0 s on."""
    out = path.with_suffix(".npz")
    subprocess.run([build.environment("readers"), READ, path, str(rate), str(frames), out], check=True)
    with np.load(out) as arrays:
        return {plain(name): arrays[name] for name in arrays.files}


def plain(name):
    """A name as USD allows it."""
    return name.replace(" ", "_").replace(".", "_")


def export(rig, path, target, root_motion=False):
    file = path.with_suffix(SUFFIX[target])
    return file, exporting.export(bpy.context, rig, file, PRESETS[target], root_motion, True)


def farthest(places, others):
    """The largest distance of a place to the nearest of the others, for places (V, 3)."""
    return max(np.linalg.norm(others - place, axis=1).min() for place in places)


def off(contents, wanted, bones):
    """The largest distance in metres between joints read (F, B, 3) and those wanted."""
    names = [plain(name) for name in contents["names"]]
    found = contents["joints"][:, [names.index(plain(bone)) for bone in bones]]
    return np.linalg.norm(found - wanted, axis=-1).max()


@cache
def character(target):
    """Vertices and joints of the character in the scene, what its file has, and what the export reported."""
    rig = make_rig()
    make_character(rig)
    wanted, joints = vertices(range(1, 9)), points(rig, ["hips", "spine", "arm.L", "arm.R"], range(1, 9))
    hide()
    with TemporaryDirectory() as folder:
        path, report = export(rig, Path(folder, "hero"), target)
        return wanted, joints, read(path, bpy.context.scene.render.fps, 8), report


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", [*MODIFIERS, "shape keys", "negative scale", *HIDDEN, *FOLLOWERS])
def test_each_mesh_is_whole_and_moves_as_in_the_scene(target, name):
    wanted, _, contents, _ = character(target)
    found = contents[f"points/{plain(name)}"]
    for frame in (0, 3, 7):
        assert farthest(wanted[name][frame], found[frame]) < MILLIMETRE
        assert farthest(found[frame], wanted[name][frame]) < MILLIMETRE


@pytest.mark.parametrize("target", TARGETS)
def test_joints_are_where_they_were_and_only_the_character_is_in_the_file(target):
    wanted, joints, contents, report = character(target)
    assert off(contents, joints, ["hips", "spine", "arm.L", "arm.R"]) < 0.02 * MILLIMETRE
    names = {name.partition("/")[2] for name in contents if name.startswith("points/")}
    assert names == {plain(name) for name in wanted} - {"widget"}
    assert report.meshes == len(names)
    assert {plain(name) for name in contents["names"]} == {*map(plain, BONES), "on_a_control"} - {"control", "root"}
    assert contents["span"] == pytest.approx([0, 7 / 24], abs=1e-6)
    assert not report.left_out


@pytest.mark.parametrize("target", TARGETS)
def test_shape_keys_keep_names_and_values(target):
    _, _, contents, _ = character(target)
    keys = [str(name) for name in contents["keys/shape_keys"]]
    assert keys == ["Smile", "Driven", "Still"]
    values = contents["values/shape_keys"]
    assert values[[0, 3, 7], 0] == pytest.approx([0, 1, 0.3], abs=1e-4)
    assert np.ptp(values[:, 1]) > 0.5
    assert values[:, 2] == pytest.approx(0.4, abs=1e-4)


@pytest.mark.parametrize("target", TARGETS)
def test_instances_and_what_nodes_add_after_the_rig_move_with_the_surface(target, tmp_path):
    rig = make_rig()
    obj = make_mesh(rig, "studs")
    obj.modifiers.new("Armature", "ARMATURE").object = rig
    modifier = obj.modifiers.new("Studs", "NODES")
    modifier.node_group = studs()
    wanted = vertices([8])["studs"][0]
    path, _ = export(rig, tmp_path / "hero", target)
    found = read(path, 24, 8)["points/studs"][7]
    assert (len(wanted), len(np.unique(found.round(5), axis=0))) == (68, 68 + 68 * 8)
    assert farthest(wanted, found) < MILLIMETRE
    assert farthest(found, wanted) < 0.02  # half the diagonal of a stud


def studs():
    """Geometry nodes that add an instance of a cube, 2 cm wide, on each vertex."""
    tree = bpy.data.node_groups.new("studs", "GeometryNodeTree")
    for direction in ("INPUT", "OUTPUT"):
        tree.interface.new_socket("Geometry", in_out=direction, socket_type="NodeSocketGeometry")
    first, cube, spread, join, last = (
        tree.nodes.new(kind)
        for kind in (
            "NodeGroupInput", "GeometryNodeMeshCube", "GeometryNodeInstanceOnPoints", "GeometryNodeJoinGeometry",
            "NodeGroupOutput",
        )
    )  # fmt: skip
    cube.inputs["Size"].default_value = 0.02, 0.02, 0.02
    for output, target in (
        (first.outputs[0], spread.inputs["Points"]),
        (cube.outputs[0], spread.inputs["Instance"]),
        (spread.outputs[0], join.inputs[0]),
        (first.outputs[0], join.inputs[0]),
        (join.outputs[0], last.inputs[0]),
    ):
        tree.links.new(output, target)
    return tree


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("unit", [1.0, 0.01])
def test_a_file_has_the_metres_of_the_scenes_units(target, unit, tmp_path):
    bpy.context.scene.unit_settings.scale_length = unit
    rig = make_rig(1 / unit, TURNED)
    make_mesh(rig, "body", scale=1 / unit).modifiers.new("Armature", "ARMATURE").object = rig
    make_mesh(rig, "hat", weighted=False, scale=1 / unit)
    wanted, joints = vertices([1, 8]), points(rig, ["hips", "arm.L"], [1, 8])
    path, _ = export(rig, tmp_path / "hero", target)
    contents = read(path, 24, 8)
    contents["joints"] = contents["joints"][[0, 7]]
    assert off(contents, joints * unit, ["hips", "arm.L"]) < 0.02 * MILLIMETRE
    for name, places in wanted.items():
        assert farthest(places[1] * unit, contents[f"points/{name}"][7]) < MILLIMETRE


@pytest.mark.parametrize("target", TARGETS)
def test_a_rig_at_a_hundred_times_its_bones_scale_is_as_large_as_it_looks(target, tmp_path):
    rig = make_rig(100, Matrix.Scale(0.01, 4))
    make_mesh(rig, "body", scale=100).modifiers.new("Armature", "ARMATURE").object = rig
    wanted, joints = vertices([8]), points(rig, ["hips", "arm.L"], range(1, 9))
    path, _ = export(rig, tmp_path / "hero", target)
    contents = read(path, 24, 8)
    assert off(contents, joints, ["hips", "arm.L"]) < 0.02 * MILLIMETRE
    assert farthest(wanted["body"][0], contents["points/body"][7]) < MILLIMETRE


@pytest.mark.parametrize("target", TARGETS)
def test_a_rig_that_is_animated_as_an_object_takes_its_meshes_along(target, tmp_path):
    rig = make_rig()
    for frame in (1, 8):
        rig.location.x, rig.rotation_euler.z = 0.1 * frame, 0.2 * frame
        rig.keyframe_insert("location", frame=frame)
        rig.keyframe_insert("rotation_euler", frame=frame)
    body, hat = make_mesh(rig, "body"), make_mesh(rig, "hat", weighted=False)
    body.parent_type = "ARMATURE"  # deforms without a modifier
    red = bpy.data.materials.new("red")
    hat.data.materials.append(None)
    hat.material_slots[0].link, hat.material_slots[0].material = "OBJECT", red
    wanted, joints = vertices([1, 8]), points(rig, ["hips", "arm.L"], range(1, 9))
    bpy.context.scene.frame_set(5)
    path, _ = export(rig, tmp_path / "hero", target)
    contents = read(path, 24, 8)
    assert off(contents, joints, ["hips", "arm.L"]) < 0.02 * MILLIMETRE
    for name, places in wanted.items():
        for row, frame in enumerate((0, 7)):
            assert farthest(places[row], contents[f"points/{name}"][frame]) < MILLIMETRE
    assert b"red" in path.read_bytes()


@pytest.mark.parametrize("target", [*TARGETS, "BVH"])
@pytest.mark.parametrize(("fps", "base"), [(12, 0.96), (30, 1.001), (25, 2.0), (60, 1.0)])
def test_a_file_has_the_scenes_frame_rate_and_begins_at_zero(target, fps, base, tmp_path):
    render = bpy.context.scene.render
    render.fps, render.fps_base = fps, base
    rig = make_rig(first=1001)
    make_mesh(rig, "body").modifiers.new("Armature", "ARMATURE").object = rig
    joints = points(rig, ["hips", "arm.L"], range(1001, 1009))
    path, report = export(rig, tmp_path / "hero", target)
    assert report.frames == (1001, 1008)
    if target == "BVH":
        lines = path.read_text().splitlines()
        assert "Frames: 8" in [" ".join(line.split()) for line in lines]
        assert float(next(line for line in lines if "Frame Time" in line).split()[-1]) == pytest.approx(
            base / fps, abs=1e-6
        )
        return
    contents = read(path, fps / base, 8)
    assert contents["span"] == pytest.approx([0, 7 * base / fps], abs=1e-5)
    assert off(contents, joints, ["hips", "arm.L"]) < 0.05 * MILLIMETRE


@pytest.mark.parametrize("kind", ["CHILD_OF", "COPY_TRANSFORMS", "ARMATURE"])
@pytest.mark.parametrize("target", TARGETS)
def test_what_a_constraint_attaches_to_a_bone_moves_with_it(target, kind, tmp_path):
    rig = make_rig()
    sword, other = make_mesh(rig, "sword", weighted=False), make_mesh(rig, "other", weighted=False)
    for obj, muted in ((sword, False), (other, True)):
        obj.parent = None
        constraint = obj.constraints.new(kind)
        holder = constraint.targets.new() if kind == "ARMATURE" else constraint
        holder.target, holder.subtarget, constraint.mute = rig, "arm.R", muted
    wanted = vertices([1, 8])["sword"]
    path, _ = export(rig, tmp_path / "hero", target)
    contents = read(path, 24, 8)
    assert "points/other" not in contents
    for row, frame in enumerate((0, 7)):
        assert farthest(wanted[row], contents["points/sword"][frame]) < MILLIMETRE


def test_bendy_bones_are_told(tmp_path, capfd):
    rig = make_rig()
    make_mesh(rig, "hat", weighted=False)
    rig.data.bones["spine"].bbone_segments = rig.data.bones["control"].bbone_segments = 8
    bpy.context.view_layer.objects.active = rig
    for count in (0, 1):
        assert export(rig, tmp_path / "hero", "GODOT")[1].bendy == count
        if not count:
            make_mesh(rig, "body").modifiers.new("Armature", "ARMATURE").object = rig
    capfd.readouterr()
    assert bpy.ops.wham.export_motion(filepath=str(tmp_path / "hero"), target="GODOT") == {"FINISHED"}
    assert "Bendy Bones (1 of hero) are straight in files" in capfd.readouterr().out


@pytest.mark.parametrize("kind", ["solo", "muted", "NLA off", "slots", "range"])
def test_the_frames_of_a_file_are_those_that_blender_plays(kind, tmp_path):
    rig = make_rig()
    animation = rig.animation_data
    if kind == "slots":
        if bpy.app.version < (4, 4, 0):
            pytest.skip("actions have slots since Blender 4.4")
        other = bpy.data.objects.new("other", None)  # whose keys are in the same action
        other.animation_data_create().action = animation.action
        other.animation_data.action_slot = animation.action.slots.new("OBJECT", "other")
        for frame in (-30, 50):
            other.keyframe_insert("location", frame=frame)
    elif kind == "range":
        animation.action.use_frame_range, animation.action.frame_start, animation.action.frame_end = True, 3, 6
    else:
        track = push_down(rig)
        for frame in (50, 99):
            rig.pose.bones["spine"].keyframe_insert("rotation_euler", frame=frame)
        track.is_solo, track.mute, animation.use_nla = kind == "solo", kind == "muted", kind != "NLA off"
    _, report = export(rig, tmp_path / "hero", "GODOT")
    assert report.frames == {"solo": (1, 8), "slots": (1, 8), "range": (3, 6)}.get(kind, (50, 99))


@pytest.mark.parametrize("target", TARGETS)
def test_a_rig_in_rest_position_is_exported_as_it_moves(target, tmp_path):
    rig = make_rig()
    make_mesh(rig, "body").modifiers.new("Armature", "ARMATURE").object = rig
    joints = points(rig, ["hips", "arm.L"], range(1, 9))
    rig.data.pose_position = "REST"
    path, _ = export(rig, tmp_path / "hero", target)
    assert off(read(path, 24, 8), joints, ["hips", "arm.L"]) < 0.02 * MILLIMETRE
    assert rig.data.pose_position == "REST"


def test_shape_keys_that_modifiers_make_unusable_are_told(tmp_path, capfd):
    rig = make_rig()
    obj = make_mesh(rig, "face", half=True)
    obj.shape_key_add(name="Basis")
    for name, x in (("Open", 0.2), ("Smile", 0.0)):  # Open moves the seam apart, so that the halves are not merged
        block = obj.shape_key_add(name=name, from_mix=False)
        for point in block.data:
            point.co.x += x
            point.co.y += 0.05
    obj.modifiers.new("Mirror", "MIRROR")
    obj.modifiers.new("Armature", "ARMATURE").object = rig
    path, report = export(rig, tmp_path / "hero", "GODOT")
    assert report.left_out == (("face", "Open"),)
    assert list(read(path, 24, 8)["keys/face"]) == ["Smile"]
    assert bpy.ops.wham.export_motion(filepath=str(path), target="GODOT") == {"FINISHED"}
    assert "Shape keys were left out: Open of face." in capfd.readouterr().out


def state():
    """What an animator would miss in a scene, and all data of the file."""
    context = bpy.context
    kinds = [prop.identifier for prop in bpy.data.bl_rna.properties if prop.type == "COLLECTION"]
    objects = [
        (obj.name, obj.mode, obj.select_get(), obj.visible_get(), obj.hide_viewport, obj.hide_render, obj.parent,
         obj.data and obj.data.name, [(m.name, m.type, m.show_viewport) for m in obj.modifiers],
         [list(row) for row in obj.matrix_basis], [list(row) for row in obj.matrix_world],
         obj.animation_data and obj.animation_data.action)
        for obj in context.view_layer.objects
    ]  # fmt: skip
    bones = [
        (bone.name, list(bone.location), list(bone.rotation_euler), [list(row) for row in bone.matrix])
        for obj in context.scene.objects if obj.type == "ARMATURE" for bone in obj.pose.bones
    ]  # fmt: skip
    keys = [
        (key.name, [(block.name, block.value, block.mute) for block in key.key_blocks]) for key in bpy.data.shape_keys
    ]
    render, units = context.scene.render, context.scene.unit_settings
    return {
        "shown": [window.scene for window in context.window_manager.windows],
        "data": {kind: sorted((block.name, block.users) for block in getattr(bpy.data, kind)) for kind in kinds},
        "objects": objects, "bones": bones, "keys": keys, "mode": context.mode, "active": context.object,
        "scene": (context.scene, context.scene.frame_current_final, render.fps, render.fps_base, units.scale_length),
        "range": (context.scene.frame_start, context.scene.frame_end),
        "rest": [armature.pose_position for armature in bpy.data.armatures],
        "curves": [len(action.frame_range) for action in bpy.data.actions],
    }  # fmt: skip


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("mode", ["OBJECT", "POSE"])
def test_the_scene_is_as_it_was(mode, fails, tmp_path, monkeypatch):
    rig = make_rig()
    make_character(rig)
    bpy.data.scenes.new("another")
    target = bpy.data.objects.new("target", None)
    bpy.context.scene.collection.objects.link(target)
    for frame in (1, 8):
        target.location.x = frame
        target.keyframe_insert("location", frame=frame)
    constraint = rig.pose.bones["spine"].constraints.new("DAMPED_TRACK")
    constraint.target, constraint.influence = target, 0.1
    hide()
    rig.data.pose_position = "REST" if fails else "POSE"
    bpy.context.scene.frame_set(3, subframe=0.25)
    bpy.context.view_layer.objects.active = rig
    rig.pose.bones["arm.R"].rotation_euler = 1, 0.5, 0.2  # not keyed
    bpy.data.objects["mirror"].select_set(True)
    rig.select_set(False)
    bpy.ops.object.mode_set(mode=mode)
    bpy.context.view_layer.update()
    before = state()
    if fails:
        fault = KeyError("in the middle")
        for step in ("attach", "build", "_with_root", "apply_modifiers"):
            with monkeypatch.context() as patch, pytest.raises(KeyError):
                patch.setattr(exporting, step, lambda *_: (_ for _ in ()).throw(fault))
                export(rig, tmp_path / "other", "UNITY")
            bpy.context.view_layer.update()
            assert state() == before, step
    else:
        for target in (*TARGETS, "BVH"):
            export(rig, tmp_path / "hero", target)
            bpy.context.view_layer.update()
            assert state() == before, target
