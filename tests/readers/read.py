"""Reads an exported file with a reader that is not Blender's, and says where its joints and vertices are.

``python read.py FILE RATE FRAMES OUT.npz`` samples FRAMES times, RATE a second, from 0 s. Everything written is in
metres with z up: ``names`` (B), ``parents`` (B), ``joints`` (F, B, 3), ``span`` (2) the first and last key's time in
seconds, and for each mesh NAME ``points/NAME`` (F, V, 3), ``faces/NAME`` the number of faces, ``keys/NAME`` (K) the
names of its blend shapes and ``values/NAME`` (F, K) their weights.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

Z_UP = np.array([[1.0, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])  # from y up


@dataclass
class Contents:
    """What a file holds."""

    names: list[str]
    parents: list[str]  # the name of each joint's parent, "" for none
    joints: np.ndarray  # (F, B, 3)
    span: tuple[float, float]  # seconds
    points: dict[str, np.ndarray] = field(default_factory=dict)
    faces: dict[str, int] = field(default_factory=dict)
    keys: dict[str, list[str]] = field(default_factory=dict)
    values: dict[str, np.ndarray] = field(default_factory=dict)

    def save(self, path: str) -> None:
        """Write all as arrays."""
        arrays: dict[str, Any] = {
            "names": self.names, "parents": self.parents, "joints": self.joints, "span": self.span,
        }  # fmt: skip
        for kind in ("points", "faces", "keys", "values"):
            arrays |= {f"{kind}/{name}": value for name, value in getattr(self, kind).items()}
        np.savez(path, **arrays)


def elements(found: Any) -> list[Any]:
    """The elements of one of ufbx's lists, kept forever: ufbx 0.0.5 frees them when it hands them out, and crashes."""
    listed = [found[number] for number in range(len(found))]
    for element in listed:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(element))
    return listed


def read_fbx(path: str, times: Sequence[float]) -> Contents:
    """With ufbx, which also evaluates curves and skins."""
    import ufbx

    scene = ufbx.load_file(path, target_axes=ufbx.axes_right_handed_z_up, target_unit_meters=1.0)
    bones = [node for node in elements(scene.nodes) if node.bone is not None]
    parents = [node.parent.name if node.parent.bone is not None else "" for node in bones]
    keys = [key.time for curve in elements(scene.anim_curves) for key in curve.keyframes]
    result = Contents(
        [bone.name for bone in bones], parents, np.zeros((len(times), len(bones), 3)), (min(keys), max(keys))
    )
    for row, time in enumerate(times):
        shown = ufbx.evaluate_scene(scene, scene.anim, time, evaluate_skinning=True)
        nodes = elements(shown.nodes)
        result.joints[row] = [node.node_to_world.c3 for node in nodes if node.bone is not None]
        for node in nodes:
            mesh = node.mesh
            if mesh is None:
                continue
            points = np.array(list(mesh.skinned_position.values), float)
            if mesh.skinned_is_local:
                matrix = node.geometry_to_world
                points = points @ np.array([matrix.c0, matrix.c1, matrix.c2]) + np.array(matrix.c3)
            channels = [channel for each in elements(mesh.blend_deformers) for channel in elements(each.channels)]
            result.faces[node.name], result.keys[node.name] = mesh.num_faces, [channel.name for channel in channels]
            result.points.setdefault(node.name, np.zeros((len(times), *points.shape)))[row] = points
            result.values.setdefault(node.name, np.zeros((len(times), len(channels))))[row] = [
                channel.weight for channel in channels
            ]
    return result


def read_gltf(path: str, times: Sequence[float]) -> Contents:
    """With pygltflib, which reads the container; skinning is as the specification says."""
    from pygltflib import GLTF2

    gltf = GLTF2().load(path)
    assert gltf is not None and len(gltf.animations) == 1, "one animation"
    accessor = Accessors(gltf)
    (animation,) = gltf.animations
    tracks: dict[tuple[int, str], tuple[np.ndarray, np.ndarray]] = {}
    for channel in animation.channels:
        sampler = animation.samplers[channel.sampler]
        at, values = accessor.read(sampler.input)[:, 0], accessor.read(sampler.output)
        tracks[channel.target.node, channel.target.path] = at, values.reshape(len(at), -1)
    names = [node.name for node in gltf.nodes]
    above = {child: number for number, node in enumerate(gltf.nodes) for child in node.children or []}
    joints = sorted({joint for skin in gltf.skins for joint in skin.joints})
    result = Contents(
        [names[joint] for joint in joints],
        [names[above[joint]] if above.get(joint) in joints else "" for joint in joints],
        np.zeros((len(times), len(joints), 3)),
        (min(at[0] for at, _ in tracks.values()), max(at[-1] for at, _ in tracks.values())),
    )
    for row, time in enumerate(times):
        shown = {track: sampled(*keyed, time, track[1] == "rotation") for track, keyed in tracks.items()}
        worlds = node_matrices(gltf, shown, above)
        result.joints[row] = [(Z_UP @ worlds[joint])[:3, 3] for joint in joints]
        for number, node in enumerate(gltf.nodes):
            if node.mesh is not None:
                add_gltf_mesh(result, accessor, number, shown.get((number, "weights")), worlds, len(times), row)
    return result


TYPES = {5121: np.uint8, 5123: np.uint16, 5125: np.uint32, 5126: np.float32}
SIZES = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}


class Accessors:
    """Reads a glTF file's accessors as arrays (n, components)."""

    def __init__(self, gltf: Any) -> None:
        self.gltf = gltf

    def read(self, number: int) -> np.ndarray:
        """Values (n, components) of an accessor."""
        accessor = self.gltf.accessors[number]
        size, kind = SIZES[accessor.type], TYPES[accessor.componentType]
        values = np.zeros((accessor.count, size), kind)
        if accessor.bufferView is not None:
            values = self._view(accessor.bufferView, accessor.byteOffset or 0, accessor.count * size, kind)
            values = values.reshape(-1, size).copy()
        if accessor.sparse is not None:
            sparse = accessor.sparse
            index_type = TYPES[sparse.indices.componentType]
            rows = self._view(sparse.indices.bufferView, sparse.indices.byteOffset or 0, sparse.count, index_type)
            changed = self._view(sparse.values.bufferView, sparse.values.byteOffset or 0, sparse.count * size, kind)
            values[rows] = changed.reshape(-1, size)
        scale = {5121: 255.0, 5123: 65535.0}[accessor.componentType] if accessor.normalized else 1.0
        return values / scale

    def _view(self, number: int, offset: int, count: int, kind: Any) -> np.ndarray:
        view = self.gltf.bufferViews[number]
        assert not view.byteStride, "interleaved buffers are not read"
        return np.frombuffer(self.gltf.binary_blob(), kind, count, (view.byteOffset or 0) + offset)


def sampled(at: np.ndarray, values: np.ndarray, time: float, rotation: bool) -> np.ndarray:
    """A track's value at a time, linear between keys."""
    after = int(np.clip(np.searchsorted(at, time), 1, len(at) - 1)) if len(at) > 1 else 0
    if not after:
        return values[0]
    part = np.clip((time - at[after - 1]) / (at[after] - at[after - 1]), 0, 1)
    first, second = values[after - 1], values[after]
    if rotation and first @ second < 0:
        second = -second
    value = (1 - part) * first + part * second
    return value / np.linalg.norm(value) if rotation else value


def node_matrices(gltf: Any, shown: dict[tuple[int, str], np.ndarray], above: dict[int, int]) -> list[np.ndarray]:
    """Each node's matrix (4, 4) to the world, y up."""
    local = []
    for number, node in enumerate(gltf.nodes):
        x, y, z, w = shown.get((number, "rotation"), node.rotation or (0, 0, 0, 1))
        turn = [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
        matrix = np.eye(4)
        matrix[:3, :3] = np.array(turn) * shown.get((number, "scale"), node.scale or (1, 1, 1))
        matrix[:3, 3] = shown.get((number, "translation"), node.translation or (0, 0, 0))
        local.append(matrix if not node.matrix else np.array(node.matrix).reshape(4, 4).T)

    def world(number: int) -> np.ndarray:
        return world(above[number]) @ local[number] if number in above else local[number]

    return [world(number) for number in range(len(local))]


def add_gltf_mesh(
    result: Contents, accessor: Accessors, number: int, weights: np.ndarray | None, worlds: list[np.ndarray],
    count: int, row: int,
) -> None:  # fmt: skip
    """Put a mesh node's skinned vertices into row ``row`` of the result."""
    node = accessor.gltf.nodes[number]
    mesh = accessor.gltf.meshes[node.mesh]
    keys = (mesh.extras or {}).get("targetNames", [])
    if weights is None:
        weights = np.array(mesh.weights or [0.0] * len(keys))
    found = []
    for primitive in mesh.primitives:
        points = accessor.read(primitive.attributes.POSITION).astype(float)
        for target, weight in zip(primitive.targets or [], weights, strict=True):
            points = points + weight * accessor.read(target["POSITION"])
        points = np.c_[points, np.ones(len(points))]
        if node.skin is None:
            found.append(points @ worlds[number].T)
            continue
        skin = accessor.gltf.skins[node.skin]
        inverse = accessor.read(skin.inverseBindMatrices).reshape(-1, 4, 4).swapaxes(1, 2)
        matrices = np.array([worlds[joint] for joint in skin.joints]) @ inverse
        joints, parts = accessor.read(primitive.attributes.JOINTS_0), accessor.read(primitive.attributes.WEIGHTS_0)
        assert np.allclose(parts.sum(1), 1, atol=1e-3), "weights add to 1"
        found.append(np.einsum("vj,vjab,vb->va", parts, matrices[joints.astype(int)], points))
    total = np.concatenate(found) @ Z_UP.T
    result.points.setdefault(node.name, np.zeros((count, len(total), 3)))[row] = total[:, :3]
    indices = [accessor.gltf.accessors[primitive.indices].count // 3 for primitive in mesh.primitives]
    result.faces[node.name], result.keys[node.name] = sum(indices), keys
    result.values.setdefault(node.name, np.zeros((count, len(keys))))[row] = weights


def read_usd(path: str, times: Sequence[float]) -> Contents:
    """With OpenUSD's own library, which also evaluates skeletons and blend shapes."""
    from pxr import Usd, UsdGeom, UsdSkel

    stage = Usd.Stage.Open(path)
    unit = UsdGeom.GetStageMetersPerUnit(stage)
    to_z = Z_UP if UsdGeom.GetStageUpAxis(stage) == "Y" else np.eye(4)
    rate = stage.GetTimeCodesPerSecond()
    (root,) = (prim for prim in stage.Traverse() if prim.IsA(UsdSkel.Root))
    cache = UsdSkel.Cache()
    cache.Populate(UsdSkel.Root(root), Usd.TraverseInstanceProxies())
    (skeleton,) = (UsdSkel.Skeleton(prim) for prim in stage.Traverse() if prim.IsA(UsdSkel.Skeleton))
    query = cache.GetSkelQuery(skeleton)
    order = list(query.GetJointOrder())
    names = [joint.rsplit("/", 1)[-1] for joint in order]
    parents = [
        order[parent].rsplit("/", 1)[-1] if parent >= 0 else "" for parent in query.GetTopology().GetParentIndices()
    ]
    codes = query.GetAnimQuery().GetJointTransformTimeSamples()
    result = Contents(names, parents, np.zeros((len(times), len(names), 3)), (codes[0] / rate, codes[-1] / rate))
    meshes = [UsdGeom.Mesh(prim) for prim in stage.Traverse() if prim.IsA(UsdGeom.Mesh)]
    for row, time in enumerate(times):
        transforms = UsdGeom.XformCache(time * rate)

        def placed(points: Any, prim: Any, transforms: Any = transforms) -> np.ndarray:
            world = np.array(transforms.GetLocalToWorldTransform(prim))
            return (np.c_[points, np.ones(len(points))] @ world @ to_z.T)[:, :3] * unit

        joints = np.array(query.ComputeJointSkelTransforms(time * rate))
        result.joints[row] = placed(joints[:, 3, :3], skeleton.GetPrim())
        for mesh in meshes:
            prim = mesh.GetPrim()
            name = prim.GetParent().GetName()
            skinning = cache.GetSkinningQuery(prim)
            points = mesh.GetPointsAttr().Get(time * rate)
            carrier = prim
            if skinning and skinning.HasBlendShapes():
                shapes = UsdSkel.BlendShapeQuery(UsdSkel.BindingAPI(prim))
                keyed = query.GetAnimQuery().ComputeBlendShapeWeights(time * rate)
                mapper = skinning.GetBlendShapeMapper()
                weights = mapper.Remap(keyed) if mapper else keyed
                computed = shapes.ComputeSubShapeWeights(weights)
                indices, offsets = shapes.ComputeBlendShapePointIndices(), shapes.ComputeSubShapePointOffsets()
                assert shapes.ComputeDeformedPoints(*computed, indices, offsets, points)
                result.keys[name] = [str(key) for key in skinning.GetBlendShapeOrder()]
                result.values.setdefault(name, np.zeros((len(times), len(weights))))[row] = weights
            if skinning and skinning.HasJointInfluences():
                assert skinning.ComputeSkinnedPoints(query.ComputeSkinningTransforms(time * rate), points, time * rate)
                carrier = skeleton.GetPrim()
            found = placed(points, carrier)
            result.points.setdefault(name, np.zeros((len(times), len(found), 3)))[row] = found
            result.faces[name] = len(mesh.GetFaceVertexCountsAttr().Get())
    return result


READERS = {".fbx": read_fbx, ".glb": read_gltf, ".usdc": read_usd}


if __name__ == "__main__":
    gc.disable()  # ufbx 0.0.5 crashes when its objects are collected, also at exit
    file, rate, frames, out = sys.argv[1:]
    READERS[Path(file).suffix](file, [frame / float(rate) for frame in range(int(frames))]).save(out)
    os._exit(0)
