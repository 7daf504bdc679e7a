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
from .maps import IK_INFLUENCE, MapError, RigMap
from .rig_animation import between_controls

_TEST_ROTATION = Quaternion(Vector((1, 2, 3)).normalized(), 0.6)  # about an arbitrary axis, to detect partial copies
_TOLERANCE = 2e-3  # of rotation matrices, and relative to the rig's size; set by hand, judged on the test rigs
_MAX_LISTED = 4  # bones in an error message


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
    observed: Iterable[str],
    bones: Iterable[str],
) -> ProbedRig:
    """Measure a rig on a copy of it.

    ``controls`` will be keyed, those in ``located`` in location too. For ``observed`` bones the controls that they
    follow are measured, for ``bones`` the rest positions. Raises MapError if a control does not rotate as it is keyed.
    """
    names, located, observed = list(controls), list(located), list(observed)
    measured = [*names, *(bone for bone in observed if bone not in names)]
    with _temporary_copy(armature) as copy:
        apply_settings(copy, rig_map)
        for name in (*names, *between_controls(copy, names)):
            _set_pose(copy.pose.bones[name])
        rest = _pose_matrices(copy, measured)
        heads, tails, matrices = {}, {}, {}
        for name in bones:
            pose = copy.pose.bones[name]
            heads[name], tails[name], matrices[name] = np.array(pose.head), np.array(pose.tail), np.array(pose.matrix)
        size = max(np.ptp(rest[:, :3, 3], axis=0).max(), 1e-6)
        if flat := [name for name, matrix in zip(measured, rest, strict=True) if not _has_scale(matrix)]:
            raise MapError(
                f"Bones of {armature.name} are scaled to nothing: {_listed(flat)}. Clear their scale in Pose Mode.",
                code="bones-scaled-to-zero",
            )
        rotation_followers, location_followers, problem = _followers(copy, names, located, measured, rest, size)
        if problem and (uneven := _unevenly_scaled(armature, names)):
            raise MapError(
                f"Bones of {armature.name} are scaled unevenly, so that what hangs from them is sheared: "
                f"{_listed(uneven)}. Clear their scale in Pose Mode (Alt+S).",
                code="bones-scaled-unevenly",
            )
        if problem:
            raise MapError(
                f"Bones of {armature.name} {problem}. Mute their constraints and drivers, or use a rig map that names "
                "the controls to key instead.",
                code="controls-constrained",
            )
        movements = _location_movements(copy, located, measured, rest, size)
    # A control with more followers is higher in the hierarchy; the parent is the lowest of those that are followed.
    counts = [rotation_followers.sum(1), location_followers.sum(1)]
    order = sorted(range(len(measured)), key=lambda i: -max(counts[0][i], counts[1][i]) if i < len(names) else 1)
    new_index = {old: new for new, old in enumerate(order)}

    def parent(follows: np.ndarray, count: np.ndarray, i: int) -> int:
        followed = np.flatnonzero(follows[:, i])
        return new_index[int(followed[np.argmin(count[followed])])] if len(followed) else -1

    result, location_matrices = [], np.zeros((len(measured), 3, 3))
    for i in order:
        location_parent = parent(location_followers, counts[1], i)
        location_matrices[i] = movements[i]
        if location_parent >= 0:
            location_matrices[i] -= movements[order[location_parent]]
        matrix = rest[i].copy()
        matrix[:3, :3] /= np.linalg.norm(matrix[:3, :3], axis=0)
        rotation_parent = parent(rotation_followers, counts[0], i)
        result.append(Control(measured[i], matrix, rotation_parent, location_parent, location_matrices[i]))
    if held := [
        control.name for control in result if control.name in located and not _has_scale(control.location_matrix)
    ]:
        raise MapError(
            f"Bones of {armature.name} do not move as they are keyed: {_listed(held)}. Unlock their location: mute "
            "their constraints, or use a rig map that names the controls to key instead.",
            code="controls-constrained",
        )
    return ProbedRig(result, heads, tails, matrices)


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


def _unevenly_scaled(armature: bpy.types.Object, names: list[str]) -> list[str]:
    """The bones with another scale on one axis than on the others, among these and those above them."""
    bones = armature.data.bones
    chains = dict.fromkeys(bone for name in names for bone in (bones[name], *bones[name].parent_recursive))
    scales = {bone.name: np.abs(armature.pose.bones[bone.name].scale) for bone in chains}
    return [name for name, scale in scales.items() if np.ptp(scale) > _TOLERANCE * scale.max()]


def _pose_matrices(copy: bpy.types.Object, names: list[str]) -> np.ndarray:
    """The evaluated pose matrices (N, 4, 4) of bones, in armature space."""
    copy.update_tag()
    copy.users_scene[0].view_layers[0].update()
    return np.array([copy.pose.bones[name].matrix for name in names], float)


def _set_pose(
    bone: bpy.types.PoseBone, rotation: Quaternion | None = None, location: Iterable[float] = (0, 0, 0)
) -> None:
    """Set a pose bone's rotation and location, zero by default; its scale is not changed."""
    rotation = rotation or Quaternion()
    bone.location = tuple(location)
    if bone.rotation_mode == "QUATERNION":
        bone.rotation_quaternion = rotation
    elif bone.rotation_mode == "AXIS_ANGLE":
        axis, angle = rotation.to_axis_angle()
        bone.rotation_axis_angle = (angle, *axis)
    else:
        bone.rotation_euler = rotation.to_euler(bone.rotation_mode) if rotation.angle else Euler()


def _followers(
    copy: bpy.types.Object, names: list[str], located: list[str], measured: list[str], rest: np.ndarray, size: float
) -> tuple[np.ndarray, np.ndarray, str]:
    """Which bones follow each control in rotation (C, N) bool and location (C, N) bool, and a problem or ""."""
    by_rotation, by_location = np.zeros((2, len(names), len(measured)), bool)
    constrained, partial = [], []
    inverse = np.linalg.inv(rest)
    expected = np.array(_TEST_ROTATION.to_matrix())
    for number, name in enumerate(names):
        location = 0.05 * size * np.array([3, 2, 5]) if name in located else (0, 0, 0)
        _set_pose(copy.pose.bones[name], _TEST_ROTATION, location)
        change = _pose_matrices(copy, measured) @ inverse
        _set_pose(copy.pose.bones[name])
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
        problem = f"do not turn as they are keyed, because constraints or drivers hold them: {_listed(constrained)}"
    elif partial:
        problem = f"turn only in part with what they hang from: {_listed(list(dict.fromkeys(partial)))}"
    return by_rotation, by_location, problem


def _listed(names: list[str]) -> str:
    more = len(names) - _MAX_LISTED
    return ", ".join(names[:_MAX_LISTED]) + (f" and {more} more" if more > 0 else "")


def _location_movements(
    copy: bpy.types.Object, located: list[str], measured: list[str], rest: np.ndarray, size: float
) -> np.ndarray:
    """Movements of heads (N, 3, 3), a column per axis, when all located controls move along that axis by one unit."""
    movements = np.zeros((len(measured), 3, 3))
    for axis in range(3):
        step = 0.1 * size
        for name in located:
            _set_pose(copy.pose.bones[name], location=step * np.eye(3)[axis])
        movements[:, :, axis] = (_pose_matrices(copy, measured)[:, :3, 3] - rest[:, :3, 3]) / step
    for name in located:
        _set_pose(copy.pose.bones[name])
    return movements
