"""How a rig responds to its controls, measured on a copy of it: what each control follows, and how bones stand at rest.

Parents, constraints, drivers and bones that are not keyed all play a part in that, in ways that differ from rig to
rig. A copy in a scene of its own is posed and looked at, one control after the other; the rig itself is not touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import bpy
import numpy as np
from mathutils import Euler, Quaternion, Vector

from .controls import Control
from .maps import MapError, RigMap

_PROBE = Quaternion(Vector((1, 2, 3)).normalized(), 0.6)  # a turn that no axis or part of it can be mistaken for
_SAME = 2e-3  # of turns as matrices, and of the rig's size
_NAMED = 4  # bones that an error names


@dataclass(frozen=True)
class Response:
    """A rig with all its controls at rest, and what each of them follows."""

    controls: list[Control]  # the asked-for ones and the watched bones, parents first
    heads: dict[str, np.ndarray]  # (3,) of each bone that was asked for, in the armature's space
    tails: dict[str, np.ndarray]


def measure(
    armature: bpy.types.Object,
    rig_map: RigMap,
    controls: Iterable[str],
    located: Iterable[str],
    watched: Iterable[str],
    bones: Iterable[str],
) -> Response:
    """Pose a copy of a rig and see what follows what.

    ``controls`` are keyed, those ``located`` in location too; of ``watched`` bones it is asked what they follow, and of
    ``bones`` where they are. Raises MapError where a control does not do what it is keyed to.
    """
    names, located, watched = list(controls), list(located), list(watched)
    seen = [*names, *(bone for bone in watched if bone not in names)]
    with _copy(armature) as copy:
        prepare(copy, rig_map)
        for name in names:
            _set(copy.pose.bones[name])
        rest = _poses(copy, seen)
        heads, tails = {}, {}
        for name in bones:
            pose = copy.pose.bones[name]
            heads[name], tails[name] = np.array(pose.head), np.array(pose.tail)
        size = max(np.ptp(rest[:, :3, 3], axis=0).max(), 1e-6)
        turns, places, refusal = _followers(copy, names, located, seen, rest, size)
        if refusal:
            raise MapError(
                f"Bones of {armature.name} {refusal}. Mute their constraints, or use a rig map that names the controls "
                "to key instead."
            )
        shifts = _shifts(copy, names, located, seen, rest, size)
    # What has more followers is further up; a control's parent is the lowest of those that it follows.
    ups = [turns.sum(1), places.sum(1)]
    order = sorted(range(len(seen)), key=lambda one: -max(ups[0][one], ups[1][one]) if one < len(names) else 1)
    place = {old: new for new, old in enumerate(order)}

    def parent(follows: np.ndarray, up: np.ndarray, one: int) -> int:
        above = np.flatnonzero(follows[:, one])
        return place[int(above[np.argmin(up[above])])] if len(above) else -1

    made, moved = [], np.zeros((len(seen), 3, 3))
    for one in order:
        above = parent(places, ups[1], one)
        moved[one] = shifts[one]
        if above >= 0:
            moved[one] -= shifts[order[above]]
        matrix = rest[one].copy()
        matrix[:3, :3] /= np.linalg.norm(matrix[:3, :3], axis=0)
        made.append(Control(seen[one], matrix, parent(turns, ups[0], one), above, moved[one]))
    return Response(made, heads, tails)


def prepare(armature: bpy.types.Object, rig_map: RigMap) -> None:
    """Set a rig's properties as the map's controls need them, its limbs to FK."""
    values = [(one.bone, one.property, one.value) for one in rig_map.settings]
    values += [(ik.switch.bone, ik.switch.property, ik.switch.fk) for ik in rig_map.ik.values() if ik.switch]
    for bone, name, value in values:
        owner = armature.pose.bones[bone]
        if name in owner:
            owner[name] = type(owner[name])(value)


@contextmanager
def _copy(armature: bpy.types.Object) -> Iterator[bpy.types.Object]:
    """A copy of a rig without its animation, in a scene of its own, while it is needed."""
    scene = bpy.data.scenes.new("Rig under test")
    copy = armature.copy()
    try:
        if copy.animation_data is not None:
            copy.animation_data.action = None
            copy.animation_data.use_nla = False
        copy.hide_viewport = False
        scene.collection.objects.link(copy)
        yield copy
    finally:
        bpy.data.objects.remove(copy)
        bpy.data.scenes.remove(scene)


def _poses(copy: bpy.types.Object, names: list[str]) -> np.ndarray:
    """The poses (N, 4, 4) of bones as Blender evaluates them now."""
    copy.update_tag()
    copy.users_scene[0].view_layers[0].update()
    return np.array([copy.pose.bones[name].matrix for name in names], float)


def _set(bone: bpy.types.PoseBone, turn: Quaternion | None = None, location: Iterable[float] = (0, 0, 0)) -> None:
    """Turn and move a bone from its rest; its scale stays."""
    turn = turn or Quaternion()
    bone.location = tuple(location)
    if bone.rotation_mode == "QUATERNION":
        bone.rotation_quaternion = turn
    elif bone.rotation_mode == "AXIS_ANGLE":
        axis, angle = turn.to_axis_angle()
        bone.rotation_axis_angle = (angle, *axis)
    else:
        bone.rotation_euler = turn.to_euler(bone.rotation_mode) if turn.angle else Euler()


def _followers(
    copy: bpy.types.Object, names: list[str], located: list[str], seen: list[str], rest: np.ndarray, size: float
) -> tuple[np.ndarray, np.ndarray, str]:
    """Which turns (C, N) and which heads (C, N) follow each control, as bools, and what is wrong; empty for nothing."""
    turns, places = np.zeros((2, len(names), len(seen)), bool)
    held, torn = [], []
    inverse = np.linalg.inv(rest)
    expected = np.array(_PROBE.to_matrix())
    for number, name in enumerate(names):
        _set(copy.pose.bones[name], _PROBE, 0.05 * size * np.array([3, 2, 5]) if name in located else (0, 0, 0))
        change = _poses(copy, seen) @ inverse
        _set(copy.pose.bones[name])
        axes = rest[number, :3, :3] / np.linalg.norm(rest[number, :3, :3], axis=0)
        if np.abs(axes.T @ change[number, :3, :3] @ axes - expected).max() > _SAME:
            held.append(name)
            continue
        follows = np.abs(change[:, :3, :3] - change[number, :3, :3]).max((1, 2)) < _SAME
        partly = ~follows & (np.abs(change[:, :3, :3] - np.eye(3)).max((1, 2)) > _SAME)
        torn += [seen[other] for other in np.flatnonzero(partly[: len(names)])]
        turns[number] = follows
        heads = rest[:, :3, 3]
        moved = np.einsum("nij,nj->ni", change[:, :3, :3], heads) + change[:, :3, 3] - heads
        carried = heads @ change[number, :3, :3].T + change[number, :3, 3] - heads
        still = np.abs(carried).max(1) < _SAME * size  # nothing can be told of what lies where nothing moves
        places[number] = np.where(still, follows, np.abs(moved - carried).max(1) < _SAME * size)
        turns[number, number] = places[number, number] = False
    refusal = ""
    if held:
        refusal = f"do not turn as they are keyed, because constraints or drivers hold them: {_listed(held)}"
    elif torn:
        refusal = f"turn only in part with what they hang from: {_listed(list(dict.fromkeys(torn)))}"
    return turns, places, refusal


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")


def _shifts(
    copy: bpy.types.Object, names: list[str], located: list[str], seen: list[str], rest: np.ndarray, size: float
) -> np.ndarray:
    """How heads (N, 3, 3) move where all controls that are keyed in location move along each axis by one."""
    found = np.zeros((len(seen), 3, 3))
    for axis in range(3):
        step = 0.1 * size
        for name in located:
            _set(copy.pose.bones[name], location=step * np.eye(3)[axis])
        found[:, :, axis] = (_poses(copy, seen)[:, :3, 3] - rest[:, :3, 3]) / step
    for name in located:
        _set(copy.pose.bones[name])
    return found
