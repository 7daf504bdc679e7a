"""Looks at a character after a bake: skin that is torn apart, feet under the floor. What it finds are notes.

`bake_check` compares bones with their keys; a bone that no key reaches, or a sole that the bones do not tell of, shows
in the meshes only.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import bpy
import numpy as np

from ...animation import Animation
from ..scene.evaluation import evaluated
from . import armature as armatures
from . import transfer
from .rig_probe import ProbedRig
from .transfer import Target

_FEET = {"left": "the left foot", "right": "the right foot"}  # as sentences name them
_FRAMES = 5  # that are looked at: a whole mesh is deformed in each
_MOST_VERTICES = 2_000_000  # of all meshes together; more would take longer than the bake
# Of an edge that is torn, in leg lengths more than at rest, and relative to its length there. Measured on 12 character
# files by other makers, whose limbs turn by up to 70 degrees: at most 0.12 leg lengths.
_TORN, _TIMES = 0.3, 3.0
_SUNK = 0.035  # leg lengths that a foot is below the floor, and deeper than that of the source: 3 cm of a person's


@dataclass(frozen=True)
class _Skin:
    """A copy of a mesh that has its Armature modifiers alone."""

    original: bpy.types.Object
    copy: bpy.types.Object
    edges: np.ndarray  # (E, 2) vertices
    lengths: np.ndarray  # (E,) at rest, in units of the mesh

    def torn(self, shown: bpy.types.Object, metres: float) -> tuple[float, int, int]:
        """The edge that has become longest against its rest: by how many metres, and its vertex numbers."""
        points = _points(shown.data)
        now = np.linalg.norm(points[self.edges[:, 0]] - points[self.edges[:, 1]], axis=1)
        # Scales that bones have been left with are part of the rest: half of the skin has that size.
        scale = float(np.median(now / np.maximum(self.lengths, 1e-12)))
        longer = np.where(now > _TIMES * scale * self.lengths, now - scale * self.lengths, 0.0)
        worst = int(np.argmax(longer))
        size = float(np.mean(shown.matrix_world.to_scale())) * metres
        return abs(float(longer[worst]) * size), *self.edges[worst].tolist()

    def bone(self, vertex: int) -> str:
        """The bone that deforms a vertex most."""
        groups = {group.index: group.name for group in self.original.vertex_groups}
        weights = {groups[each.group]: each.weight for each in self.original.data.vertices[vertex].groups}
        deforming = armatures.deforming_bones(self.original)
        bones = {name: weight for name, weight in weights.items() if name in deforming}
        return max(bones, key=bones.__getitem__, default="no bone")


def notes(
    rig: bpy.types.Object, target: Target, rig_probed: ProbedRig, motion: Animation, metres: float, on_floor: bool
) -> list[str]:
    """What an animator should look at, after the motion (F rows) was written.

    ``metres``: of a unit of the scene. ``on_floor``: feet were to stay above the floor.
    """
    feet = _Feet.of(target, rig_probed, motion, metres)
    rows = {int(np.argmax(np.linalg.norm(motion.root - motion.root[0], axis=1)))}
    rows |= {round(row) for row in np.linspace(0, len(motion) - 1, min(len(motion), _FRAMES))}
    leg = target.leg_length()
    torn: tuple[float, str] = (_TORN * leg, "")
    sunk: tuple[float, str] = (_SUNK * leg, "")
    with _skins(rig) as skins, evaluated(rig, *(skin.copy for skin in skins)) as at:
        for row in sorted(rows):
            shown, *meshes = at(motion.frames[row])
            for skin, mesh in zip(skins, meshes, strict=True):
                if len(mesh.data.vertices) != len(skin.original.data.vertices):
                    continue  # a shape that another modifier makes
                by, first, second = skin.torn(mesh, metres)
                if by > torn[0]:
                    ends = ", ".join(dict.fromkeys((skin.bone(first), skin.bone(second))))
                    name, frame = skin.original.name, motion.frames[row]
                    torn = by, f"{name} is stretched by {by:.2g} m near {ends} in frame {frame:.0f}"
            depth, side = feet.depth(shown, row)
            if on_floor and depth > sunk[0]:
                sunk = (
                    depth,
                    f"{_FEET[side]} is {100 * depth:.0f} cm below the floor in frame {motion.frames[row]:.0f}",
                )
    return [text for _, text in (torn, sunk) if text]


@contextmanager
def _skins(rig: bpy.types.Object) -> Iterator[list[_Skin]]:
    """The meshes that a rig deforms, as copies that nothing else deforms; they are removed at the end."""
    found = [thing for thing in bpy.data.objects if thing.type == "MESH" and armatures.is_skin(thing, rig)]
    if sum(len(thing.data.vertices) for thing in found) > _MOST_VERTICES:
        found = []
    skins: list[_Skin] = []
    try:
        for thing in found:
            if not len(thing.data.edges):
                continue
            copy = thing.copy()
            for modifier in list(copy.modifiers):
                if modifier.type != "ARMATURE":
                    copy.modifiers.remove(modifier)
            ends = np.empty(2 * len(thing.data.edges), np.int32)
            thing.data.edges.foreach_get("vertices", ends)
            edges = ends.reshape(-1, 2)
            rest = _points(thing.data)
            skins.append(_Skin(thing, copy, edges, np.linalg.norm(rest[edges[:, 0]] - rest[edges[:, 1]], axis=1)))
        yield skins
    finally:
        for skin in skins:
            bpy.data.objects.remove(skin.copy)


def _points(mesh: bpy.types.Mesh) -> np.ndarray:
    """The vertices (V, 3)."""
    points = np.empty(3 * len(mesh.vertices), np.float32)
    mesh.vertices.foreach_get("co", points)
    return points.reshape(-1, 3).astype(float)


@dataclass(frozen=True)
class _Feet:
    """The soles of a rig, and how deep those of the source are."""

    points: dict[str, list[tuple[str, np.ndarray]]]  # side -> (bone, (N, 4) homogeneous, from the bone's rest)
    floor: float  # metres, in the world
    source: np.ndarray  # (F, 2) metres over the floor of the lowest point of each foot, on the rig's scale
    metres: float

    @classmethod
    def of(cls, target: Target, rig_probed: ProbedRig, motion: Animation, metres: float) -> _Feet:
        ground = transfer.ground(motion, target)
        heights = ground.scale * (motion.foot_points()[..., 2] - ground.floor)
        bones = target.rig_map.bones
        points: dict[str, list[tuple[str, np.ndarray]]] = {}
        for number, side in enumerate(("left", "right")):
            heel = [target.foot_points[2 * number + 1], *target.outlines.get(side, ())]
            ankle = bones[f"{side}_ankle"]
            points[side] = [
                (bone, _local(target.space.to_armature(np.array(part)), rig_probed.matrices[bone]))
                for bone, part in ((bones.get(f"{side}_foot", ankle), [target.foot_points[2 * number]]), (ankle, heel))
            ]
        lowest = np.minimum(heights.reshape(-1, 2, 2).min(-1), 0.0)
        return cls(points, ground.floor, lowest, metres)

    def depth(self, shown: bpy.types.Object, row: int) -> tuple[float, str]:
        """How many metres a foot is below the floor, beyond what the source's is, and which foot."""
        depths = {}
        for number, (side, parts) in enumerate(self.points.items()):
            heights = [
                (points @ (np.array(shown.matrix_world @ shown.pose.bones[bone].matrix)).T)[:, 2]
                for bone, points in parts
            ]
            lowest = self.metres * float(np.concatenate(heights).min())
            depths[side] = self.floor + float(self.source[row, number]) - lowest
        side = max(depths, key=depths.__getitem__)
        return depths[side], side


def _local(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Points (N, 3) in armature space as (N, 4) in the space of a bone with that matrix."""
    return np.concatenate([points, np.ones((len(points), 1))], 1) @ np.linalg.inv(matrix).T
