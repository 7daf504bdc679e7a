"""Writes a baked motion as an action: keyframes on a rig's controls, the source's markers, and IK/FK switches."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field

import bpy
import numpy as np

from ... import quaternions
from ..scene.action import CONSTANT, ActionWriter
from ..scene.keyframe_reduction import Channel, ReducedCurves, reduce_keyframes
from .controls import Keys, Written
from .maps import IK_INFLUENCE, IK_STRETCH, RigMap
from .rig_animation import ActiveAction, bone_path, let_through, rotation_channel
from .rig_probe import ik_constraints

_EXACT = 1e-9  # radians or metres: a tolerance that only a keyframe keeps
_CARRIERS = 4  # controls above a foot with independent errors: on average these add up to twice one of them


@dataclass(frozen=True)
class RigMotion:
    """A motion as keyframe values of a rig's controls."""

    rig_map: RigMap
    frames: np.ndarray  # (F,) scene frames
    keys: Keys
    ik_limbs: Collection[str]  # limbs that the IK controls drive; all others are on FK
    held: Mapping[str, tuple[str, np.ndarray]] = field(default_factory=dict)  # see rig_animation.held_channels


@dataclass(frozen=True)
class Reduction:
    """Tolerances of keyframe reduction, and what is needed to keep planted feet within them."""

    angle: float  # radians: largest rotation error of a control, in the world as well
    distance: float  # metres: largest location error of a control, and about that of a planted foot
    leg_length: float  # metres from hip to sole: converts an angle to a distance at the foot
    metres: Mapping[str, float]  # control -> metres that one unit of its location moves it
    planted: Mapping[str, np.ndarray]  # control that moves feet -> (F,) bool: one of these feet is planted


@dataclass
class BakedAction:
    """A new action, and the number of its keyframes and the errors of their reduction."""

    action: bpy.types.Action
    keys: int = 0  # of all controls; the components of a rotation or location count once
    unreduced_keys: int = 0  # with a keyframe at every frame
    angle_error: float = 0.0  # radians, the largest of all rotations
    distance_error: float = 0.0  # metres, the largest of all locations
    notes: list[str] = field(default_factory=list)  # sentences for the animator
    warnings: list[str] = field(default_factory=list)  # the same, of what makes the rig show less than the motion


@dataclass(frozen=True)
class _KeyedProperty:
    """A property of a control and its values (F, n)."""

    control: str
    path: str
    values: np.ndarray
    error: Callable[[np.ndarray, np.ndarray], np.ndarray]  # radians for rotations, metres for locations
    rotations: Callable[[np.ndarray], np.ndarray] | None = None  # (F, 4) of values; None for locations


class Reducer(Written):
    """Reduces the keyframes of controls as they are solved, and keeps the curves."""

    def __init__(self, rig: bpy.types.Object, frames: np.ndarray, reduction: Reduction) -> None:
        self._rig, self._frames, self.reduction = rig, frames, reduction
        self.curves: dict[str, ReducedCurves] = {}  # by the property's path
        self.exact = np.zeros(len(frames), bool)  # rows at which controls that move feet have keyframes

    def rotation(self, control: str, local: np.ndarray) -> np.ndarray:
        """The rotations (F, 4) that the remaining keyframes give."""
        prop = _rotation_property(self._rig, control, local)
        assert prop.rotations
        return prop.rotations(self._reduced(prop))

    def location(self, control: str, wanted: np.ndarray) -> np.ndarray:
        """The locations (F, 3) that the remaining keyframes give."""
        return self._reduced(_location_property(control, wanted, self.reduction.metres.get(control, 1.0)))

    def _reduced(self, prop: _KeyedProperty) -> np.ndarray:
        curves = self.curves[prop.path] = reduce_keyframes(self._channel(prop), self._frames)
        return curves.full

    def _channel(self, prop: _KeyedProperty) -> Channel:
        """A channel to reduce: lower tolerance while a foot below is planted, keyframes where contacts change."""
        reduction, count = self.reduction, len(prop.values)
        planted = reduction.planted.get(prop.control, np.zeros(count, bool))
        per_carrier = 2 * reduction.distance / _CARRIERS
        tolerance = reduction.angle if prop.rotations else reduction.distance
        planted_tolerance = min(tolerance, per_carrier / reduction.leg_length if prop.rotations else per_carrier)
        required = np.zeros(count, bool)
        edges = np.flatnonzero(np.diff(planted))
        required[edges] = required[edges + 1] = True
        tolerances = np.where(planted, planted_tolerance, tolerance)
        if prop.control in reduction.planted:
            tolerances[self.exact] = _EXACT
        return Channel(prop.values, tolerances, prop.error, required)


def write(
    source: bpy.types.Object, rig: bpy.types.Object, motion: RigMotion, reducer: Reducer | None, nla_strip: bool
) -> BakedAction:
    """Key a motion on a rig in a new action, with the source's pose markers and the IK/FK switches.

    Without a ``reducer``, with which the keys were solved, there is a keyframe at every frame. The action becomes the
    rig's active one, or with ``nla_strip`` a strip in a new NLA track above all others.
    """
    before = ActiveAction.of(rig)
    notes = let_through(rig, nla_strip)
    animation = rig.animation_data_create()
    writer = ActionWriter(rig, f"{source.animation_data.action.name} {rig.name}", motion.frames)
    baked = BakedAction(writer.action, notes=notes)
    for prop in _keyed_properties(rig, motion.keys):
        baked.unreduced_keys += len(motion.frames)
        if reducer is None:
            writer.write(prop.path, prop.values, prop.control)
            baked.keys += len(motion.frames)
            continue
        curves = reducer.curves[prop.path]
        writer.write_curves(prop.path, curves, prop.control)
        baked.keys += len(curves.rows)
        if prop.rotations:
            baked.angle_error = max(baked.angle_error, curves.error)
        else:
            baked.distance_error = max(baked.distance_error, curves.error)
    _write_settings(writer, rig, motion)
    for marker in source.animation_data.action.pose_markers:
        writer.action.pose_markers.new(marker.name).frame = marker.frame
    if nla_strip:
        _push_to_nla(animation, writer.action, (float(motion.frames[0]), float(motion.frames[-1])), before)
    elif before is not None and before.action.users == 0 and before.action.library is None:
        before.action.use_fake_user = True  # Blender does not save actions without users
        baked.notes.append(f"the action {before.action.name}, which it had, is kept with a fake user")
    return baked


def _keyed_properties(rig: bpy.types.Object, keys: Keys) -> Iterator[_KeyedProperty]:
    for name, locations in keys.locations.items():
        yield _location_property(name, locations, 1.0)
    for name, rotations in keys.rotations.items():
        yield _rotation_property(rig, name, rotations)


def _location_property(control: str, locations: np.ndarray, unit: float) -> _KeyedProperty:
    """``unit``: metres that one unit of the control's location moves it."""

    def distance(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return unit * np.linalg.norm(first - second, axis=1)

    return _KeyedProperty(control, _path(control, "location"), locations, distance)


def _rotation_property(rig: bpy.types.Object, control: str, rotations: np.ndarray) -> _KeyedProperty:
    """Rotations (F, 4) in the control's rotation mode."""
    mode = rig.pose.bones[control].rotation_mode
    if mode == "QUATERNION":
        path = _path(control, "rotation_quaternion")
        return _KeyedProperty(control, path, rotations, _quaternion_error, quaternions.normalized)
    if mode == "AXIS_ANGLE":
        values = quaternions.to_angle_and_axis(rotations)
        path = _path(control, "rotation_axis_angle")
        return _KeyedProperty(control, path, values, _axis_angle_error, _of_axis_and_angle)
    values = quaternions.to_euler(rotations, mode)
    path = _path(control, "rotation_euler")
    return _KeyedProperty(control, path, values, _euler_error, lambda angles: quaternions.of_euler(angles, mode))


def rotation_values(rig: bpy.types.Object, control: str, rotations: np.ndarray) -> np.ndarray:
    """The values (F, n) of a control's rotation channel for rotations (F, 4)."""
    return _rotation_property(rig, control, rotations).values


def _quaternion_error(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Angles (F,) between rotations, in radians."""
    first, second = quaternions.normalized(first), quaternions.normalized(second)
    chord = np.minimum(np.linalg.norm(first - second, axis=1), np.linalg.norm(first + second, axis=1))
    return 4 * np.arcsin(np.clip(chord / 2, 0, 1))


def _of_axis_and_angle(values: np.ndarray) -> np.ndarray:
    """Rotations (F, 4) of angle and axis (F, 1 + 3)."""
    return quaternions.about(quaternions.normalized(values[:, 1:]), values[:, 0])


def _axis_angle_error(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return _quaternion_error(_of_axis_and_angle(first), _of_axis_and_angle(second))


def _euler_error(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """An upper bound of the angles (F,) between rotations: the sum of the differences of the three angles."""
    return np.abs(first - second).sum(1)


def _write_settings(writer: ActionWriter, rig: bpy.types.Object, motion: RigMotion) -> None:
    """Key the map's settings, the IK/FK switches and the channels to hold once, at the first frame."""
    rig_map = motion.rig_map
    values: dict[tuple[str, str], float] = {
        (setting.bone, setting.property): setting.value for setting in rig_map.settings
    }
    for limb, ik in rig_map.ik.items():
        if switch := ik.switch:
            values[switch.bone, switch.property] = switch.ik if limb in motion.ik_limbs else switch.fk
    writer.frames = writer.frames[:1]
    for path, (bone, held) in motion.held.items():
        writer.write(path, held[None], bone, CONSTANT)
    for (bone, name), value in values.items():
        if name == IK_STRETCH:
            writer.write(_path(bone, name), np.array([[value]]), bone, CONSTANT)
        elif name == IK_INFLUENCE:
            for constraint in ik_constraints(rig.pose.bones[bone]):
                channel = f'constraints["{bpy.utils.escape_identifier(constraint.name)}"].influence'
                writer.write(_path(bone, channel), np.array([[value]]), bone, CONSTANT)
        elif name in rig.pose.bones[bone]:
            path = f'{bone_path(bone)}["{bpy.utils.escape_identifier(name)}"]'
            writer.write(path, np.array([[value]]), bone, CONSTANT)


def _push_to_nla(
    animation: bpy.types.AnimData, action: bpy.types.Action, frames: tuple[float, float], before: ActiveAction | None
) -> None:
    """Put an action with keys in a range of frames into a new top NLA track; the action before it into a track below.

    That one goes on showing what it did, also before and after the frames.
    """
    slot = getattr(animation, "action_slot", None)
    animation.action = None
    if before is not None:
        below = _add_strip(animation, before.action, before.slot, before.strip_frames(frames), before.extrapolation)
        below.blend_type = before.blend_type
        if before.influence != 1.0:
            below.use_animated_influence = True
            below.fcurves[0].keyframe_points.insert(below.frame_start, before.influence)
    _add_strip(animation, action, slot, frames, "NOTHING" if animation.nla_tracks else "HOLD")


def _add_strip(
    animation: bpy.types.AnimData,
    action: bpy.types.Action,
    slot: bpy.types.ID | None,
    frames: tuple[float, float],
    extrapolation: str,
) -> bpy.types.NlaStrip:
    """A strip in a new top track that shows an action's frames, first to last, where they are."""
    first, last = frames[0], max(frames[1], frames[0] + 1)  # Blender's strips have a length
    track = animation.nla_tracks.new()
    track.name = action.name
    strip = track.strips.new(action.name, int(np.floor(first)), action)
    if slot is not None:
        strip.action_slot = slot
    strip.action_frame_start, strip.action_frame_end = first, last
    strip.frame_start_raw, strip.frame_end_raw = first, last  # without _raw, it would end where it did before
    strip.extrapolation = extrapolation
    return strip


def path_of(rig: bpy.types.Object, control: str, *, rotation: bool) -> str:
    """The data path at which a control is keyed."""
    return _path(control, rotation_channel(rig.pose.bones[control]) if rotation else "location")


def _path(bone: str, channel: str) -> str:
    return f"{bone_path(bone)}.{channel}"
