"""Imports character files of any kind with Blender's own importers, as a user would. Needs bpy."""

from __future__ import annotations

from pathlib import Path

import bpy

from tests.rigs import pmx

ENDINGS = (".glb", ".gltf", ".vrm", ".fbx", ".bvh", ".blend", ".dae", ".pmx")


def find(folder: Path) -> list[Path]:
    """The character files in a folder, in the order of their names."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in ENDINGS)


def load(path: Path) -> bpy.types.Object:
    """Import a file into the scene; its armature with the most skinned vertices, then with the most bones.

    Raises ValueError if the file has no armature or this Blender has no importer for it.
    """
    ending = path.suffix.lower()
    if ending in (".glb", ".gltf", ".vrm"):
        if ending == ".vrm":  # a glTF binary by another name
            raise ValueError("rename it to .glb: Blender's importer takes no .vrm")
        bpy.ops.import_scene.gltf(filepath=str(path))
    elif ending == ".fbx":
        bpy.ops.import_scene.fbx(filepath=str(path))
    elif ending == ".bvh":
        bpy.ops.import_anim.bvh(filepath=str(path))
    elif ending == ".dae":
        if not hasattr(bpy.ops.wm, "collada_import") or bpy.app.version >= (5, 0, 0):
            raise ValueError("this Blender reads no COLLADA files")
        bpy.ops.wm.collada_import(filepath=str(path))
    elif ending == ".blend":
        with bpy.data.libraries.load(str(path)) as (available, wanted):
            wanted.objects = list(available.objects)
        for loaded in wanted.objects:
            bpy.context.scene.collection.objects.link(loaded)
    else:
        pmx.load(path)
    bpy.context.view_layer.update()
    armatures = [thing for thing in bpy.context.scene.objects if thing.type == "ARMATURE"]
    if not armatures:
        raise ValueError("it has no armature")
    return max(
        armatures, key=lambda thing: (sum(len(mesh.data.vertices) for mesh in skins(thing)), len(thing.data.bones))
    )


def skins(armature: bpy.types.Object) -> list[bpy.types.Object]:
    """The meshes that an armature deforms, and those that hang from its bones."""
    return [
        thing
        for thing in bpy.context.scene.objects
        if thing.type == "MESH"
        and (
            any(modifier.type == "ARMATURE" and modifier.object == armature for modifier in thing.modifiers)
            or (thing.parent == armature and thing.parent_type == "BONE")
        )
    ]
