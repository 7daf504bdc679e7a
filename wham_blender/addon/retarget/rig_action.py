"""A baked motion as an action: a rig's controls keyed, with the source's markers and the rig's switches set."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field

import bpy
import numpy as np

from ... import quaternions
from ..scene.action import CONSTANT, ActionWriter
from ..scene.keyframe_reduction import Channel, reduce_keyframes
from .controls import Keys
from .maps import IK_STRETCH, RigMap

_CARRIERS = 4  # what a foot hangs from, each with an error of its own: they add up to twice one of them, on average


@dataclass(frozen=True)
class Thinning:
    """How far curves may be from the motion, so that keys can be left out."""

    angle: float  # radians that a control may turn off
    distance: float  # metres that a control may stand off, and about what a planted foot may
    leg: float  # metres from hip to sole: what an angle becomes at the foot
    metres: Mapping[str, float]  # control -> metres that one unit of its location moves it
    planted: Mapping[str, np.ndarray]  # control that carries feet -> (F,) whether one of them is planted


@dataclass
class Written:
    """An action, and what leaving keys out has cost."""

    action: bpy.types.Action
    keys: int = 0  # of all controls, each counted once for all components of a rotation or a location
    most: int = 0  # as many as there would be with one a frame
    angle: float = 0.0  # radians: the largest error of a rotation
    distance: float = 0.0  # metres: the largest error of a location
    notes: list[str] = field(default_factory=list)  # sentences for the animator


@dataclass(frozen=True)
class _Channel:
    """A property of a control and its values (F, n)."""

    control: str
    path: str
    values: np.ndarray
    error: Callable[[np.ndarray, np.ndarray], np.ndarray]  # radians for rotations, metres for locations
    turns: bool


def write(
    source: bpy.types.Object,
    rig: bpy.types.Object,
    rig_map: RigMap,
    frames: np.ndarray,
    keys: Keys,
    thinning: Thinning | None,
    strip: bool,
    on_ik: Collection[str],
) -> Written:
    """Key the controls at scene frames (F,) in a new action, with the source's markers and the switches set.

    ``on_ik``: the limbs that their IK controls drive; all others are on FK.
    With ``thinning`` only the keys that are needed. The action becomes the rig's, or a strip above all others.
    """
    animation = rig.animation_data_create()
    before = animation.action, getattr(animation, "action_slot", None)
    writer = ActionWriter(rig, f"{source.animation_data.action.name} {rig.name}", frames)
    written = Written(writer.action)
    for channel in _channels(rig, keys, {} if thinning is None else thinning.metres):
        written.most += len(frames)
        if thinning is None:
            writer.write(channel.path, channel.values, channel.control)
            written.keys += len(frames)
            continue
        curves = reduce_keyframes(_track(channel, thinning), frames)
        writer.write_curves(channel.path, curves, channel.control)
        written.keys += len(curves.rows)
        if channel.turns:
            written.angle = max(written.angle, curves.error)
        else:
            written.distance = max(written.distance, curves.error)
    _write_settings(writer, rig, rig_map, on_ik)
    for marker in source.animation_data.action.pose_markers:
        writer.action.pose_markers.new(marker.name).frame = marker.frame
    if strip:
        _to_strip(animation, writer.action, float(frames[0]), *before)
    elif before[0] is not None and before[0].users == 0:
        before[0].use_fake_user = True  # else it would be gone when the file is saved
        written.notes.append(f"the action {before[0].name}, which it had, is kept with a fake user")
    return written


def _channels(rig: bpy.types.Object, keys: Keys, metres: Mapping[str, float]) -> Iterator[_Channel]:
    for name, locations in keys.locations.items():
        unit = metres.get(name, 1.0)

        def apart(one: np.ndarray, other: np.ndarray, unit: float = unit) -> np.ndarray:
            return unit * np.linalg.norm(one - other, axis=1)

        yield _Channel(name, _path(name, "location"), locations, apart, False)
    for name, rotations in keys.rotations.items():
        mode = rig.pose.bones[name].rotation_mode
        if mode == "QUATERNION":
            yield _Channel(name, _path(name, "rotation_quaternion"), rotations, _between_quaternions, True)
        elif mode == "AXIS_ANGLE":
            vectors = quaternions.to_axis_angle(rotations)
            angles = np.linalg.norm(vectors, axis=1, keepdims=True)
            axes = np.where(angles > 1e-9, vectors / np.maximum(angles, 1e-9), [0.0, 1.0, 0.0])
            values = np.concatenate([angles, axes], 1)
            yield _Channel(name, _path(name, "rotation_axis_angle"), values, _between_axis_angles, True)
        else:
            values = quaternions.to_euler(rotations, mode)
            yield _Channel(name, _path(name, "rotation_euler"), values, _between_eulers, True)


def _between_quaternions(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    one, other = quaternions.normalized(one), quaternions.normalized(other)
    chord = np.minimum(np.linalg.norm(one - other, axis=1), np.linalg.norm(one + other, axis=1))
    return 4 * np.arcsin(np.clip(chord / 2, 0, 1))


def _between_axis_angles(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    def turns(values: np.ndarray) -> np.ndarray:
        return quaternions.about(quaternions.normalized(values[:, 1:]), values[:, 0])

    return _between_quaternions(turns(one), turns(other))


def _between_eulers(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """At most so much: three turns one after the other."""
    return np.abs(one - other).sum(1)


def _track(channel: _Channel, thinning: Thinning) -> Channel:
    """Where a foot is planted, what carries it keeps nearer to the motion, and its keys where that begins and ends."""
    count = len(channel.values)
    planted = thinning.planted.get(channel.control, np.zeros(count, bool))
    share = 2 * thinning.distance / _CARRIERS
    most = thinning.angle if channel.turns else thinning.distance
    held = min(most, share / thinning.leg if channel.turns else share)
    kept = np.zeros(count, bool)
    edges = np.flatnonzero(np.diff(planted))
    kept[edges] = kept[edges + 1] = True
    return Channel(channel.values, np.where(planted, held, most), channel.error, kept)


def _write_settings(writer: ActionWriter, rig: bpy.types.Object, rig_map: RigMap, on_ik: Collection[str]) -> None:
    """Key once what the controls need: follow settings, and limbs on IK or FK."""
    values: dict[tuple[str, str], float] = {(one.bone, one.property): one.value for one in rig_map.settings}
    for limb, ik in rig_map.ik.items():
        if switch := ik.switch:
            values[switch.bone, switch.property] = switch.ik if limb in on_ik else switch.fk
    writer.frames = writer.frames[:1]
    for (bone, name), value in values.items():
        if name == IK_STRETCH:
            writer.write(_path(bone, name), np.array([[value]]), bone, CONSTANT)
        elif name in rig.pose.bones[bone]:
            path = f'{_path(bone, "")[:-1]}["{bpy.utils.escape_identifier(name)}"]'
            writer.write(path, np.array([[value]]), bone, CONSTANT)


def _to_strip(
    animation: bpy.types.AnimData,
    action: bpy.types.Action,
    start: float,
    below: bpy.types.Action | None,
    below_slot: bpy.types.ID | None,
) -> None:
    """Lay an action over all that an object does, in a track of its own; its active action goes into one below."""
    slot = getattr(animation, "action_slot", None)
    animation.action = None
    if below is not None:
        _add_strip(animation, below, below_slot, below.frame_range[0], "HOLD")
    _add_strip(animation, action, slot, start, "NOTHING" if animation.nla_tracks else "HOLD")


def _add_strip(
    animation: bpy.types.AnimData, action: bpy.types.Action, slot: bpy.types.ID | None, start: float, outside: str
) -> None:
    track = animation.nla_tracks.new()
    track.name = action.name
    strip = track.strips.new(action.name, int(np.floor(start)), action)
    if slot is not None:
        strip.action_slot = slot
    strip.frame_start = start
    strip.extrapolation = outside


def _path(bone: str, channel: str) -> str:
    return f'pose.bones["{bpy.utils.escape_identifier(bone)}"].{channel}'
