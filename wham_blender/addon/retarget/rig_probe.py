"""Probes a rig: measures on a copy which controls each control follows, and the rest positions of its bones.

Parents, constraints, drivers and bones that are not keyed all have an effect, in ways that differ from rig to rig.
Therefore a copy in a temporary scene is posed, one control after the other, and evaluated; the rig is not changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import bpy
import numpy as np
from mathutils import Euler, Quaternion, Vector

from .controls import Control
from .leftovers import limits, listed, unevenly_scaled
from .maps import IK_INFLUENCE, MapError, RigMap
from .reference_pose import ReferencePose
from .rig_animation import between_controls

_TEST_ROTATION = Quaternion(Vector((1, 2, 3)).normalized(), 0.6)  # about an arbitrary axis, to detect partial copies
_TOLERANCE = 2e-3  # of rotation matrices, and relative to the rig's size; set by hand, judged on the test rigs


@dataclass(frozen=True)
class ProbedRig:
    """A rig with all its controls at rest, and what each control follows."""

    controls: list[Control]  # the requested controls and the observed bones, parents first
    heads: dict[str, np.ndarray]  # (3,) of each requested bone, in armature space
    tails: dict[str, np.ndarray]
    matrices: dict[str, np.ndarray]  # (4, 4) of each requested bone, with the scale that its pose has

    @property
    def names(self) -> list[str]:
        """The names of the controls, in order."""
        return [control.name for control in self.controls]


def probe(
    armature: bpy.types.Object,
    rig_map: RigMap,
    controls: Iterable[str],
    located: Iterable[str],
    bones: tuple[Iterable[str], Iterable[str]],
    reference: ReferencePose,
) -> ProbedRig:
    """Measure a rig on a copy of it. The ``reference`` pose counts as rest.

    ``controls`` will be keyed, those in ``located`` in location too. ``bones``: those of which the controls that they
    follow are measured, and those of which the rest positions are. Raises MapError if a control does not rotate as it
    is keyed.
    """
    names, located = list(controls), list(located)
    measured = [*names, *(bone for bone in bones[0] if bone not in names)]
    with _temporary_copy(armature) as copy:
        apply_settings(copy, rig_map)
        for name in unevenly_scaled(armature, names):
            copy.pose.bones[name].scale = (1.0, 1.0, 1.0)
        for name in (*names, *between_controls(copy, names)):
            _set_pose(copy.pose.bones[name], reference)
        rest = _pose_matrices(copy, measured)
        heads, tails, matrices = {}, {}, {}
        for name in bones[1]:
            pose = copy.pose.bones[name]
            heads[name], tails[name], matrices[name] = np.array(pose.head), np.array(pose.tail), np.array(pose.matrix)
        if flat := [name for name, matrix in zip(measured, rest, strict=True) if not _has_scale(matrix)]:
            raise MapError(
                f"Bones of {armature.name} are scaled to nothing: {listed(flat)}. Clear their scale in Pose Mode.",
                code="bones-scaled-to-zero",
            )
        rotation_followers, location_followers, problem = _followers(
            _Copy(copy, reference), names, located, measured, rest
        )
        if problem:
            raise MapError(
                f"Bones of {armature.name} cannot be keyed: {problem}. Mute their constraints and drivers, or use a "
                "rig map that names the controls to key instead.",
                code="controls-constrained",
            )
        movements = _location_movements(_Copy(copy, reference), located, measured, rest)
    counts = [rotation_followers.sum(1), location_followers.sum(1)]
    parents = [
        (_lowest(rotation_followers[:, i], counts[0]), _lowest(location_followers[:, i], counts[1]))
        for i in range(len(measured))
    ]
    order = _parents_first(parents)
    new_index = {old: new for new, old in enumerate(order)} | {-1: -1}
    result = []
    for i in order:
        rotation_parent, location_parent = parents[i]
        location_matrix = movements[i] - (movements[location_parent] if location_parent >= 0 else 0.0)
        matrix = rest[i].copy()
        matrix[:3, :3] /= np.linalg.norm(matrix[:3, :3], axis=0)
        parents_now = new_index[rotation_parent], new_index[location_parent]
        at_rest = reference.rotation(measured[i]), reference.location(measured[i])
        result.append(Control(measured[i], matrix, *parents_now, location_matrix, *at_rest))
    if held := [
        control.name for control in result if control.name in located and not _has_scale(control.location_matrix)
    ]:
        raise MapError(
            f"Bones of {armature.name} do not move as they are keyed: {listed(held)}. Unlock their location: mute "
            "their constraints, or use a rig map that names the controls to key instead.",
            code="controls-constrained",
        )
    return ProbedRig(result, heads, tails, matrices)


def _lowest(follows: np.ndarray, counts: np.ndarray) -> int:
    """The lowest in the hierarchy of the controls (C,) that a bone follows, which has the fewest followers; or -1."""
    followed = np.flatnonzero(follows)
    return int(followed[np.argmin(counts[followed])]) if len(followed) else -1


def _parents_first(parents: list[tuple[int, int]]) -> list[int]:
    """All indices, each after its two parents: a bone may follow one control in rotation and another in location."""
    order: dict[int, None] = {}
    waiting = list(range(len(parents)))
    while waiting:
        ready = [i for i in waiting if all(parent < 0 or parent in order for parent in parents[i])]
        if not ready:  # two bones that seem to carry each other: the check after the bake tells
            ready = waiting[:1]
        order |= dict.fromkeys(ready)
        waiting = [i for i in waiting if i not in order]
    return list(order)


def ik_constraints(bone: bpy.types.PoseBone) -> list[bpy.types.Constraint]:
    """A bone's IK constraints."""
    return [constraint for constraint in bone.constraints if constraint.type == "IK"]


def apply_settings(armature: bpy.types.Object, rig_map: RigMap) -> None:
    """Set the custom properties that the map's controls need, all limbs to FK."""
    values = [(setting.bone, setting.property, setting.value) for setting in rig_map.settings]
    values += [(ik.switch.bone, ik.switch.property, ik.switch.fk) for ik in rig_map.ik.values() if ik.switch]
    for bone, name, value in values:
        owner = armature.pose.bones[bone]
        if name == IK_INFLUENCE:
            for constraint in ik_constraints(owner):
                constraint.influence = value
        elif isinstance(owner.get(name), int | float):
            owner[name] = type(owner[name])(value)


@contextmanager
def _temporary_copy(armature: bpy.types.Object) -> Iterator[bpy.types.Object]:
    """A copy of a rig without its animation, in Pose Position, in a temporary scene; all is removed at the end."""
    scene = bpy.data.scenes.new("Rig under test")
    copy, data = armature.copy(), None
    try:
        if armature.data.pose_position == "REST":
            copy.data = data = armature.data.copy()
            data.pose_position = "POSE"
        if copy.animation_data is not None:
            copy.animation_data.action = None
            copy.animation_data.use_nla = False
        for bone in copy.pose.bones:
            for constraint in limits(bone):
                constraint.mute = True
        copy.hide_viewport = False
        scene.collection.objects.link(copy)
        yield copy
    finally:
        bpy.data.objects.remove(copy)
        if data is not None:
            bpy.data.armatures.remove(data)
        bpy.data.scenes.remove(scene)


def _has_scale(matrix: np.ndarray) -> bool:
    """Whether the upper left (3, 3) of a matrix has finite values and can be inverted."""
    sizes = np.linalg.norm(matrix[:3, :3], axis=0)
    return bool(np.isfinite(matrix).all() and abs(np.linalg.det(matrix[:3, :3])) > 1e-6 * max(np.prod(sizes), 1e-12))


def _pose_matrices(copy: bpy.types.Object, names: list[str]) -> np.ndarray:
    """The evaluated pose matrices (N, 4, 4) of bones, in armature space."""
    copy.update_tag()
    copy.users_scene[0].view_layers[0].update()
    return np.array([copy.pose.bones[name].matrix for name in names], float)


@dataclass(frozen=True)
class _Copy:
    """A copy of a rig, in a pose that counts as rest."""

    armature: bpy.types.Object
    reference: ReferencePose

    def pose(self, bone: str, rotation: Quaternion | None = None, location: Iterable[float] = (0, 0, 0)) -> None:
        """Turn and move a bone from the reference pose."""
        _set_pose(self.armature.pose.bones[bone], self.reference, rotation, location)

    def matrices(self, names: list[str]) -> np.ndarray:
        """See _pose_matrices."""
        return _pose_matrices(self.armature, names)


def _set_pose(
    bone: bpy.types.PoseBone,
    reference: ReferencePose,
    rotation: Quaternion | None = None,
    location: Iterable[float] = (0, 0, 0),
) -> None:
    """Set a pose bone's rotation and location from the reference pose; its scale is not changed."""
    rotation = Quaternion(reference.rotation(bone.name)) @ (rotation or Quaternion())
    bone.location = tuple(reference.location(bone.name) + np.array(tuple(location), float))
    if bone.rotation_mode == "QUATERNION":
        bone.rotation_quaternion = rotation
    elif bone.rotation_mode == "AXIS_ANGLE":
        axis, angle = rotation.to_axis_angle()
        bone.rotation_axis_angle = (angle, *axis)
    else:
        bone.rotation_euler = rotation.to_euler(bone.rotation_mode) if rotation.angle else Euler()


def _size(rest: np.ndarray) -> float:
    """The largest extent of bones with matrices (N, 4, 4)."""
    return max(float(np.ptp(rest[:, :3, 3], axis=0).max()), 1e-6)


def _followers(
    copy: _Copy, names: list[str], located: list[str], measured: list[str], rest: np.ndarray
) -> tuple[np.ndarray, np.ndarray, str]:
    """Which bones follow each control in rotation (C, N) bool and location (C, N) bool, and a problem or ""."""
    by_rotation, by_location = np.zeros((2, len(names), len(measured)), bool)
    constrained, partial = [], []
    inverse, size = np.linalg.inv(rest), _size(rest)
    expected = np.array(_TEST_ROTATION.to_matrix())
    for number, name in enumerate(names):
        location = 0.05 * size * np.array([3, 2, 5]) if name in located else (0, 0, 0)
        copy.pose(name, _TEST_ROTATION, location)
        change = copy.matrices(measured) @ inverse
        copy.pose(name)
        axes = rest[number, :3, :3] / np.linalg.norm(rest[number, :3, :3], axis=0)
        if np.abs(axes.T @ change[number, :3, :3] @ axes - expected).max() > _TOLERANCE:
            constrained.append(name)
            continue
        follows = np.abs(change[:, :3, :3] - change[number, :3, :3]).max((1, 2)) < _TOLERANCE
        partly = ~follows & (np.abs(change[:, :3, :3] - np.eye(3)).max((1, 2)) > _TOLERANCE)
        partial += [measured[other] for other in np.flatnonzero(partly[: len(names)])]
        by_rotation[number] = follows
        heads = rest[:, :3, 3]
        moved = np.einsum("nij,nj->ni", change[:, :3, :3], heads) + change[:, :3, 3] - heads
        expected_move = heads @ change[number, :3, :3].T + change[number, :3, 3] - heads
        # Near the fixed point of the test motion the movement cannot tell a follower: use the rotation there.
        fixed = np.abs(expected_move).max(1) < _TOLERANCE * size
        by_location[number] = np.where(fixed, follows, np.abs(moved - expected_move).max(1) < _TOLERANCE * size)
        by_rotation[number, number] = by_location[number, number] = False
    problem = ""
    if constrained:
        problem = f"constraints or drivers hold their rotation ({listed(constrained)})"
    elif partial:
        problem = f"they rotate only in part with their parents ({listed(dict.fromkeys(partial))})"
    return by_rotation, by_location, problem


def _location_movements(copy: _Copy, located: list[str], measured: list[str], rest: np.ndarray) -> np.ndarray:
    """Movements of heads (N, 3, 3), a column per axis, when all located controls move along that axis by one unit."""
    movements = np.zeros((len(measured), 3, 3))
    for axis in range(3):
        step = 0.1 * _size(rest)
        for name in located:
            copy.pose(name, location=step * np.eye(3)[axis])
        movements[:, :, axis] = (copy.matrices(measured)[:, :3, 3] - rest[:, :3, 3]) / step
    for name in located:
        copy.pose(name)
    return movements
