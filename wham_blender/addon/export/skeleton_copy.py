"""Samples the deform bones of a rig in world space, for a clean copy of the skeleton to export."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

import bpy
import numpy as np
from mathutils import Matrix

from ... import quaternions

# Rigify's deform bones (DEF-) are children of ORG- bones at the same position, which have the body's hierarchy.
_ORIGINAL, _DEFORMING = "ORG-", "DEF-"
_SHIFT = 4e-6  # of the skeleton's size; the importer takes for equal what differs by less than 1e-6


@dataclass(frozen=True)
class SampledSkeleton:
    """B bones over F frames. The rest pose has the object's rotation and scale, but stands at the world's origin."""

    names: tuple[str, ...]  # parents first
    parents: tuple[int, ...]  # -1 for none
    lengths: np.ndarray  # (B,) metres
    rest_heads: np.ndarray  # (B, 3) metres
    rest_rotations: np.ndarray  # (B, 4)
    heads: np.ndarray  # (F, B, 3) metres, in the world
    rotations: np.ndarray  # (F, B, 4)
    deforming: tuple[bool, ...]  # whether weights for the bone count
    object_matrix: np.ndarray  # (4, 4): the object's place in the first frame, in Blender's units
    metres: float  # the length of Blender's unit

    def main_root(self) -> int:
        """The bone without a parent that has the most descendants."""

        def root_of(bone: int) -> int:
            while self.parents[bone] >= 0:
                bone = self.parents[bone]
            return bone

        return int(np.bincount([root_of(bone) for bone in range(len(self.names))]).argmax())

    def with_root(self, name: str) -> SampledSkeleton:
        """With an additional static bone at the origin, the parent of all bones without a parent."""
        count = len(self.heads)
        identity = np.array([1.0, 0.0, 0.0, 0.0])
        size = 0.1 * float(np.ptp(self.rest_heads[:, 2]))
        return replace(
            self,
            names=(name, *self.names),
            parents=(-1, *(parent + 1 if parent >= 0 else 0 for parent in self.parents)),
            lengths=np.concatenate([[size], self.lengths]),
            rest_heads=np.concatenate([np.zeros((1, 3)), self.rest_heads]),
            rest_rotations=np.concatenate([identity[None], self.rest_rotations]),
            heads=np.concatenate([np.zeros((count, 1, 3)), self.heads], 1),
            rotations=np.concatenate([np.broadcast_to(identity, (count, 1, 4)), self.rotations], 1),
            deforming=(False, *self.deforming),
        )

    def with_motion(self, parents: tuple[int, ...], rotations: np.ndarray, heads: np.ndarray) -> SampledSkeleton:
        """With other parents, rotations (F, B, 4) and heads (F, B, 3); bones are sorted again, parents first."""
        order = sorted(range(len(parents)), key=lambda bone: _depth(parents, bone))
        new_index = {old: new for new, old in enumerate(order)}
        return SampledSkeleton(
            names=tuple(self.names[bone] for bone in order),
            parents=tuple(new_index[parents[bone]] if parents[bone] >= 0 else -1 for bone in order),
            lengths=self.lengths[order],
            rest_heads=self.rest_heads[order],
            rest_rotations=self.rest_rotations[order],
            heads=heads[:, order],
            rotations=rotations[:, order],
            deforming=tuple(self.deforming[bone] for bone in order),
            object_matrix=self.object_matrix,
            metres=self.metres,
        )

    def from_rig(self) -> np.ndarray:
        """The matrix (4, 4) from the space of the rig's object to the rest pose in metres."""
        matrix = np.eye(4)
        matrix[:3, :3] = self.metres * self.object_matrix[:3, :3]
        return matrix

    def in_axes(self, axes: np.ndarray, unit: float) -> SampledSkeleton:
        """Rotated by a matrix (3, 3), in another unit, ``unit`` to the metre."""
        rotation = quaternions.of_matrices(axes)
        return replace(
            self,
            lengths=unit * self.lengths,
            rest_heads=unit * self.rest_heads @ axes.T,
            rest_rotations=quaternions.multiply(rotation, self.rest_rotations),
            heads=unit * self.heads @ axes.T,
            rotations=quaternions.multiply(rotation, self.rotations),
        )

    def moving(self, tolerance: float) -> list[bool]:
        """Whether each bone's head moves by more than a tolerance relative to its parent."""
        _, locations = self.keys(np.array([self.rest_matrix(bone) for bone in range(len(self.names))]))
        return [bool(np.abs(moves).max() > tolerance) for moves in locations]

    def unconnected(self, moving: Sequence[bool]) -> SampledSkeleton:
        """With the rest heads of moving bones, and what is below them, shifted by less than anyone sees.

        Blender's FBX importer connects a bone whose head is at its parent's tail, and then ignores its location.
        """
        size = float(np.ptp(self.rest_heads, axis=0).max())
        shifts = np.zeros_like(self.rest_heads)
        for bone, parent in enumerate(self.parents):
            if parent >= 0:
                sideways = np.array([_SHIFT * size * moving[bone], 0.0, 0.0])
                shifts[bone] = shifts[parent] + quaternions.rotate(self.rest_rotations[parent], sideways)
        return replace(self, rest_heads=self.rest_heads + shifts)

    def rest_matrix(self, bone: int) -> Matrix:
        """A bone's rest matrix."""
        axes = np.stack([quaternions.rotate(self.rest_rotations[bone], axis) for axis in np.eye(3)], 1)
        return Matrix.Translation(self.rest_heads[bone]) @ Matrix(axes.tolist()).to_4x4()

    def keys(self, rest: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Keyframe values, rotations (B, F, 4) and locations (B, F, 3), for bones with rest matrices (B, 4, 4)."""
        rest_rotations, rest_heads = quaternions.of_matrices(rest[:, :3, :3]), rest[:, :3, 3]
        world = np.array([1.0, 0.0, 0.0, 0.0]), np.zeros(3)
        rotations, locations = [], []
        for bone, parent in enumerate(self.parents):
            parent_rotation, parent_head = world if parent < 0 else (self.rotations[:, parent], self.heads[:, parent])
            parent_rest, parent_rest_head = world if parent < 0 else (rest_rotations[parent], rest_heads[parent])
            local_rest = quaternions.multiply(quaternions.inverse(parent_rest), rest_rotations[bone])
            local = quaternions.multiply(quaternions.inverse(parent_rotation), self.rotations[:, bone])
            rotation = quaternions.multiply(quaternions.inverse(local_rest), local)
            offset = quaternions.rotate(quaternions.inverse(parent_rest), rest_heads[bone] - parent_rest_head)
            position = quaternions.rotate(quaternions.inverse(parent_rotation), self.heads[:, bone] - parent_head)
            rotations.append(quaternions.without_jumps(quaternions.normalized(rotation)))
            locations.append(quaternions.rotate(quaternions.inverse(local_rest), position - offset))
        return np.array(rotations), np.array(locations)


def sample(
    rig: bpy.types.Object,
    scene: bpy.types.Scene,
    frames: Sequence[int],
    root: str,
    metres: float,
    observe: Callable[[bpy.types.Depsgraph], None],
) -> SampledSkeleton:
    """Sample a rig's deform bones and its root bone at each frame, evaluated in a scene that contains the rig.

    ``metres``: the length of Blender's unit; ``observe`` is called with each frame as it is evaluated.
    """
    bones = _exported_bones(rig, root)
    names = tuple(bone.name for bone in bones)
    indices = {name: index for index, name in enumerate(names)}
    layer = scene.view_layers[0]
    matrices, objects = np.empty((len(frames), len(names), 4, 4)), np.empty((len(frames), 4, 4))
    for row, frame in enumerate(frames):
        scene.frame_set(frame)
        evaluated = rig.evaluated_get(layer.depsgraph)
        objects[row] = evaluated.matrix_world
        matrices[row] = [evaluated.pose.bones[name].matrix for name in names]
        observe(layer.depsgraph)
    object_axes = objects[0].copy()
    object_axes[:3, 3] = 0
    rest = object_axes @ np.array([bone.matrix_local for bone in bones], float)
    tails = np.array([bone.tail_local for bone in bones], float) @ object_axes[:3, :3].T
    world = objects[:, None] @ matrices
    skeleton = SampledSkeleton(
        names=names,
        parents=tuple(-1 for _ in bones),
        lengths=metres * np.linalg.norm(tails - rest[:, :3, 3], axis=1),
        rest_heads=metres * rest[:, :3, 3],
        rest_rotations=_rotations(rest),
        heads=metres * world[..., :3, 3],
        rotations=_rotations(world),
        deforming=tuple(bone.use_deform for bone in bones),
        object_matrix=objects[0],
        metres=metres,
    )
    parents = [indices.get(exported_parent(bone, indices), -1) for bone in bones]
    return skeleton.with_motion(tuple(parents), skeleton.rotations, skeleton.heads)


def _exported_bones(rig: bpy.types.Object, root: str) -> list[bpy.types.Bone]:
    """The deform bones and the root bone; all bones if none deforms."""
    bones = list(rig.data.bones)
    if any(bone.use_deform for bone in bones):
        bones = [bone for bone in bones if bone.use_deform or bone.name == root]
    return bones


def exported_parent(bone: bpy.types.Bone, exported: Collection[str]) -> str:
    """The nearest exported ancestor of a bone, "" if there is none."""
    for ancestor in bone.parent_recursive:
        name = ancestor.name
        name = name.replace(_ORIGINAL, _DEFORMING, 1) if name.startswith(_ORIGINAL) else name
        if name in exported and name != bone.name:
            return name
    return ""


def _rotations(matrices: np.ndarray) -> np.ndarray:
    """Rotations (..., 4) of matrices (..., 4, 4) without scale and shear; the direction of the y axis is kept."""
    y = quaternions.normalized(matrices[..., :3, 1])
    x = matrices[..., :3, 0]
    x = quaternions.normalized(x - np.sum(x * y, -1, keepdims=True) * y)
    return quaternions.of_matrices(np.stack([x, y, np.cross(x, y)], -1))


def _depth(parents: Sequence[int], bone: int) -> int:
    depth = 0
    while (bone := parents[bone]) >= 0:
        depth += 1
    return depth
