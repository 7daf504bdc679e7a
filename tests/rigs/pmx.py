"""Reads the skeleton and skin of a MikuMikuDance model (PMX 2.0 and 2.1) into an armature and a mesh. Needs bpy.

As the MMD tools add-on does: z up, facing -y, legs on IK, and bones that get another bone's rotation added.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from mathutils import Vector

_SCALE = 0.08  # metres a unit
_TAIL_IS_BONE, _IK, _GRANT_ROTATION, _GRANT, _FIXED_AXIS, _LOCAL_AXES, _KEY = (
    0x1,
    0x20,
    0x100,
    0x300,
    0x400,
    0x800,
    0x2000,
)


@dataclass
class _Bone:
    name: str
    head: Vector
    parent: int
    tail: Vector | None = None
    tail_bone: int = -1
    grant: tuple[int, float] | None = None  # bone whose rotation is added, and its factor
    ik: tuple[int, int] | None = None  # last bone of the chain, and the number of bones above it that turn


@dataclass
class _Reader:
    data: bytes
    at: int = 0
    encoding: str = "utf-16-le"
    sizes: tuple[int, ...] = field(default=(0,) * 8)  # of the header

    def take(self, layout: str) -> tuple:
        values = struct.unpack_from("<" + layout, self.data, self.at)
        self.at += struct.calcsize("<" + layout)
        return values

    def one(self, layout: str) -> Any:
        return self.take(layout)[0]

    def text(self) -> str:
        size = self.one("i")
        self.at += size
        return self.data[self.at - size : self.at].decode(self.encoding)

    def index(self, kind: int, unsigned: bool = False) -> int:
        return self.one({1: "B" if unsigned else "b", 2: "H" if unsigned else "h", 4: "i"}[self.sizes[kind]])

    def point(self) -> Vector:
        x, y, z = self.take("3f")
        return Vector((x, z, y)) * _SCALE


_VERTEX, _TEXTURE, _BONE = 2, 3, 5  # indices in the header's sizes


def load(path: Path) -> bpy.types.Object:
    """The armature of a file, in the scene, with its mesh as a child."""
    reader = _Reader(path.read_bytes())
    signature, _version, count = reader.take("4sfB")
    assert signature == b"PMX "
    reader.sizes = reader.take(f"{count}B")
    reader.encoding = ("utf-16-le", "utf-8")[reader.sizes[0]]
    name = reader.text() or path.stem
    for _ in range(3):
        reader.text()
    points, weights = _vertices(reader)
    faces = [reader.index(_VERTEX, True) for _ in range(reader.one("i"))]
    for _ in range(reader.one("i")):
        reader.text()
    for _ in range(reader.one("i")):
        _skip_material(reader)
    bones = [_bone(reader) for _ in range(reader.one("i"))]
    armature = _armature(name, bones)
    _skin(armature, bones, points, np.reshape(faces, (-1, 3)), weights)
    bpy.context.view_layer.update()
    return armature


def _vertices(reader: _Reader) -> tuple[list[Vector], list[list[tuple[int, float]]]]:
    points, weights = [], []
    for _ in range(reader.one("i")):
        points.append(reader.point())
        reader.take(f"{5 + 4 * reader.sizes[1]}f")
        kind = reader.one("B")
        count = {0: 1, 1: 2, 2: 4, 3: 2, 4: 4}[kind]
        found = [reader.index(_BONE) for _ in range(count)]
        if count == 1:
            shares = [1.0]
        elif count == 2:
            first = reader.one("f")
            shares = [first, 1 - first]
        else:
            shares = list(reader.take("4f"))
        if kind == 3:
            reader.take("9f")
        reader.take("f")
        weights.append([(bone, share) for bone, share in zip(found, shares, strict=True) if bone >= 0 and share > 0])
    return points, weights


def _skip_material(reader: _Reader) -> None:
    reader.text(), reader.text()
    reader.take("11fB5f")
    reader.index(_TEXTURE), reader.index(_TEXTURE)
    reader.one("B")
    reader.one("B") if reader.one("B") else reader.index(_TEXTURE)
    reader.text()
    reader.one("i")


def _bone(reader: _Reader) -> _Bone:
    name = reader.text()
    reader.text()
    bone = _Bone(name, reader.point(), reader.index(_BONE))
    reader.one("i")
    flags = reader.one("H")
    if flags & _TAIL_IS_BONE:
        bone.tail_bone = reader.index(_BONE)
    else:
        bone.tail = bone.head + reader.point()
    if flags & _GRANT:
        grant = reader.index(_BONE), reader.one("f")
        bone.grant = grant if flags & _GRANT_ROTATION else None
    reader.take(f"{3 * bool(flags & _FIXED_AXIS) + 6 * bool(flags & _LOCAL_AXES)}f")
    if flags & _KEY:
        reader.one("i")
    if flags & _IK:
        last = reader.index(_BONE)
        reader.take("if")
        links = reader.one("i")
        for _ in range(links):
            reader.index(_BONE)
            if reader.one("B"):
                reader.take("6f")
        bone.ik = last, links
    return bone


def _armature(name: str, bones: list[_Bone]) -> bpy.types.Object:
    armature = bpy.data.objects.new(name, bpy.data.armatures.new(name))
    bpy.context.scene.collection.objects.link(armature)
    bpy.context.view_layer.objects.active = armature
    bpy.ops.object.mode_set(mode="EDIT")
    made = [armature.data.edit_bones.new(bone.name) for bone in bones]
    for edit, bone in zip(made, bones, strict=True):
        edit.head = bone.head
        edit.tail = bones[bone.tail_bone].head if bone.tail_bone >= 0 else bone.tail or bone.head
        if (edit.tail - edit.head).length < 1e-3:
            edit.tail = edit.head + Vector((0, 0, 0.05))
        edit.parent = made[bone.parent] if bone.parent >= 0 else None
        bone.name = edit.name
    bpy.ops.object.mode_set(mode="OBJECT")
    for bone in bones:
        if bone.grant:
            constraint = armature.pose.bones[bone.name].constraints.new("COPY_ROTATION")
            constraint.target, constraint.subtarget = armature, bones[bone.grant[0]].name
            constraint.mix_mode, constraint.influence = "ADD", min(max(bone.grant[1], 0.0), 1.0)
            constraint.owner_space = constraint.target_space = "LOCAL"
        if bone.ik and bones[bone.ik[0]].parent >= 0:
            constraint = armature.pose.bones[bones[bones[bone.ik[0]].parent].name].constraints.new("IK")
            constraint.target, constraint.subtarget = armature, bone.name
            constraint.chain_count = bone.ik[1]
    return armature


def _skin(
    armature: bpy.types.Object,
    bones: list[_Bone],
    points: list[Vector],
    faces: np.ndarray,
    weights: list[list[tuple[int, float]]],
) -> None:
    mesh = bpy.data.meshes.new(armature.name)
    mesh.from_pydata(points, [], faces.tolist())
    skin = bpy.data.objects.new(f"{armature.name} skin", mesh)
    bpy.context.scene.collection.objects.link(skin)
    skin.parent = armature
    groups = [skin.vertex_groups.new(name=bone.name) for bone in bones]
    for vertex, shares in enumerate(weights):
        for bone, share in shares:
            groups[bone].add([vertex], share, "ADD")
    modifier = skin.modifiers.new("Armature", "ARMATURE")
    modifier.object = armature
