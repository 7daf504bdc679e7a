"""The bones of a rig that deform its meshes, as they move in the world: what an exported skeleton is made of."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import bpy
import numpy as np
from mathutils import Matrix

from ... import quaternions

# Rigify deforms with bones (DEF-) that hang from others of the same place (ORG-), which make the tree.
_ORIGINAL, _DEFORMING = "ORG-", "DEF-"


@dataclass(frozen=True)
class Sampled:
    """B bones over F frames. At rest they stand over the world's origin, as the object is turned and scaled."""

    names: tuple[str, ...]  # parents first
    parents: tuple[int, ...]  # -1 for none
    lengths: np.ndarray  # (B,) metres
    rest_heads: np.ndarray  # (B, 3) metres
    rest_turns: np.ndarray  # (B, 4)
    heads: np.ndarray  # (F, B, 3) metres, in the world
    turns: np.ndarray  # (F, B, 4)
    origin: np.ndarray  # (3,) metres: where the object is in the world at rest

    def highest(self) -> int:
        """The bone without a parent that most others hang from."""

        def top(bone: int) -> int:
            while self.parents[bone] >= 0:
                bone = self.parents[bone]
            return bone

        return int(np.bincount([top(bone) for bone in range(len(self.names))]).argmax())

    def with_root(self, name: str) -> Sampled:
        """With one more bone on the floor, which carries all that have no parent; it stays at the origin."""
        count = len(self.heads)
        still = np.array([1.0, 0.0, 0.0, 0.0])
        size = 0.1 * float(np.ptp(self.rest_heads[:, 2]))
        return replace(
            self,
            names=(name, *self.names),
            parents=(-1, *(above + 1 if above >= 0 else 0 for above in self.parents)),
            lengths=np.concatenate([[size], self.lengths]),
            rest_heads=np.concatenate([np.zeros((1, 3)), self.rest_heads]),
            rest_turns=np.concatenate([still[None], self.rest_turns]),
            heads=np.concatenate([np.zeros((count, 1, 3)), self.heads], 1),
            turns=np.concatenate([np.broadcast_to(still, (count, 1, 4)), self.turns], 1),
        )

    def moved(self, parents: tuple[int, ...], turns: np.ndarray, heads: np.ndarray) -> Sampled:
        """With other parents and another motion."""
        order = sorted(range(len(parents)), key=lambda bone: _depth(parents, bone))
        place = {old: new for new, old in enumerate(order)}
        return Sampled(
            names=tuple(self.names[bone] for bone in order),
            parents=tuple(place[parents[bone]] if parents[bone] >= 0 else -1 for bone in order),
            lengths=self.lengths[order],
            rest_heads=self.rest_heads[order],
            rest_turns=self.rest_turns[order],
            heads=heads[:, order],
            turns=turns[:, order],
            origin=self.origin,
        )

    def in_axes(self, axes: np.ndarray, unit: float) -> Sampled:
        """Turned by a matrix (3, 3), and in another unit, of which ``unit`` are a metre."""
        turn = quaternions.of_matrices(axes)
        return replace(
            self,
            lengths=unit * self.lengths,
            rest_heads=unit * self.rest_heads @ axes.T,
            rest_turns=quaternions.multiply(turn, self.rest_turns),
            heads=unit * self.heads @ axes.T,
            turns=quaternions.multiply(turn, self.turns),
        )

    def rest_matrix(self, bone: int) -> Matrix:
        """A bone's pose at rest, as Blender has it."""
        turned = np.stack([quaternions.rotate(self.rest_turns[bone], axis) for axis in np.eye(3)], 1)
        return Matrix.Translation(self.rest_heads[bone]) @ Matrix(turned.tolist()).to_4x4()

    def keys(self, rest: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rotations (B, F, 4) and locations (B, F, 3) to key on bones that stand so (B, 4, 4) at rest."""
        rest_turns, rest_heads = quaternions.of_matrices(rest[:, :3, :3]), rest[:, :3, 3]
        still = np.array([1.0, 0.0, 0.0, 0.0])
        rotations, locations = [], []
        for bone, above in enumerate(self.parents):
            turn, head = (still, np.zeros(3)) if above < 0 else (self.turns[:, above], self.heads[:, above])
            rest_turn, rest_head = (still, np.zeros(3)) if above < 0 else (rest_turns[above], rest_heads[above])
            own = quaternions.multiply(quaternions.inverse(rest_turn), rest_turns[bone])
            against = quaternions.multiply(quaternions.inverse(turn), self.turns[:, bone])
            rotation = quaternions.multiply(quaternions.inverse(own), against)
            offset = quaternions.rotate(quaternions.inverse(rest_turn), rest_heads[bone] - rest_head)
            moved = quaternions.rotate(quaternions.inverse(turn), self.heads[:, bone] - head) - offset
            rotations.append(quaternions.without_jumps(quaternions.normalized(rotation)))
            locations.append(quaternions.rotate(quaternions.inverse(own), moved))
        return np.array(rotations), np.array(locations)


def sample(rig: bpy.types.Object, scene: bpy.types.Scene, frames: Sequence[int], root: str) -> Sampled:
    """A rig's deforming bones, and its root, in each frame as a scene that holds the rig evaluates it."""
    bones = _exported(rig, root)
    names = tuple(bone.name for bone in bones)
    place = {name: number for number, name in enumerate(names)}
    layer = scene.view_layers[0]
    matrices, objects = np.empty((len(frames), len(names), 4, 4)), np.empty((len(frames), 4, 4))
    for row, frame in enumerate(frames):
        scene.frame_set(frame)
        seen = rig.evaluated_get(layer.depsgraph)
        objects[row] = seen.matrix_world
        matrices[row] = [seen.pose.bones[name].matrix for name in names]
    origin = objects[0, :3, 3].copy()
    turned = objects[0].copy()
    turned[:3, 3] = 0
    rest = turned @ np.array([bone.matrix_local for bone in bones], float)
    tails = np.array([bone.tail_local for bone in bones], float) @ turned[:3, :3].T
    world = objects[:, None] @ matrices
    sampled = Sampled(
        names=names,
        parents=tuple(-1 for _ in bones),
        lengths=np.linalg.norm(tails - rest[:, :3, 3], axis=1),
        rest_heads=rest[:, :3, 3],
        rest_turns=_turns(rest),
        heads=world[..., :3, 3],
        turns=_turns(world),
        origin=origin,
    )
    parents = [place.get(exported_parent(bone, place), -1) for bone in bones]
    return sampled.moved(tuple(parents), sampled.turns, sampled.heads)


def _exported(rig: bpy.types.Object, root: str) -> list[bpy.types.Bone]:
    """The bones that deform, or all where none does; and the root."""
    bones = list(rig.data.bones)
    if any(bone.use_deform for bone in bones):
        bones = [bone for bone in bones if bone.use_deform or bone.name == root]
    return bones


def exported_parent(bone: bpy.types.Bone, exported: Collection[str]) -> str:
    """The exported bone that one hangs from, "" where there is none."""
    for above in bone.parent_recursive:
        twin = above.name.replace(_ORIGINAL, _DEFORMING, 1) if above.name.startswith(_ORIGINAL) else above.name
        if twin in exported and twin != bone.name:
            return twin
    return ""


def _turns(matrices: np.ndarray) -> np.ndarray:
    """Rotations (..., 4) of matrices (..., 4, 4), whose y axes keep their direction whatever they are stretched."""
    y = quaternions.normalized(matrices[..., :3, 1])
    x = matrices[..., :3, 0]
    x = quaternions.normalized(x - np.sum(x * y, -1, keepdims=True) * y)
    return quaternions.of_matrices(np.stack([x, y, np.cross(x, y)], -1))


def _depth(parents: Sequence[int], bone: int) -> int:
    depth = 0
    while (bone := parents[bone]) >= 0:
        depth += 1
    return depth
