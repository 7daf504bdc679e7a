"""Reduces the keyframes of an imported character, as a bake does those of a rig; edits key every frame again."""

from __future__ import annotations

from collections.abc import Callable

import bpy
import numpy as np

from ... import quaternions
from ...planted_feet import LEGS
from ...skeleton import JOINT_NAMES
from . import character
from .action import ActionKeys
from .evaluation import world_matrix
from .keyframe_reduction import Channel, reduce_keyframes
from .units import metres_per_unit

_CARRIERS = 4  # joints whose errors add up at a foot: pelvis, hip, knee, ankle


def reduce_keys(armature: bpy.types.Object, angle: float, distance: float) -> tuple[int, int]:
    """Key the pelvis' location and all rotations with smooth curves; the numbers of keyframes before and after.

    ``angle``: largest error of a bone's rotation, radians; ``distance``: of the pelvis' location, and about that of
    a planted foot, metres. Raises CharacterError or ValueRefused before anything is changed.
    """
    motion = character.read(armature)
    keys = ActionKeys(armature)
    keys.frames = motion.frames
    planted = {
        joint: np.any(motion.contacts[:, leg.points], axis=1)
        for leg in LEGS
        for joint in (leg.hip, leg.knee, leg.ankle)
    }
    planted[0] = np.any(motion.contacts, axis=1)
    leg = LEGS[0]
    length = np.linalg.norm(np.diff(motion.heads[[leg.hip, leg.knee, leg.ankle]], axis=0), axis=1).sum()
    location = keys.read(character.LOCATION, 3, motion.frames)
    distance_in_units = distance / (metres_per_unit(armature) * float(np.mean(world_matrix(armature).to_scale())))
    channel = _channel(location, planted[0], distance_in_units, distance_in_units / _CARRIERS, _distance)
    groups, curves = (
        {character.LOCATION: JOINT_NAMES[0]},
        {character.LOCATION: reduce_keyframes(channel, motion.frames)},
    )
    for joint, name in enumerate(character.joint_names(armature)):
        path = character.rotation_path(name)
        groups[path] = name
        values = quaternions.without_jumps(keys.read(path, 4, motion.frames))
        on_foot = planted.get(joint, np.zeros(len(motion), bool))
        channel = _channel(values, on_foot, angle, min(angle, distance / _CARRIERS / length), _angle)
        curves[path] = reduce_keyframes(channel, motion.frames)
    for path, reduced in curves.items():
        keys.write_curves(path, reduced, groups[path])
    armature.wham_motion.reduced = True
    return len(motion) * len(curves), sum(len(reduced.rows) for reduced in curves.values())


_Error = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _channel(
    values: np.ndarray, planted: np.ndarray, tolerance: float, planted_tolerance: float, error: _Error
) -> Channel:
    """A channel with values (F, n) whose tolerance is lower while a foot below is planted, (F,) bool."""
    required = np.zeros(len(values), bool)
    edges = np.flatnonzero(np.diff(planted))
    required[edges] = required[edges + 1] = True
    return Channel(values, np.where(planted, planted_tolerance, tolerance), error, required)


def _distance(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.linalg.norm(one - other, axis=1)


def _angle(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The angles (F,) in radians between rotations (F, 4), which Blender normalizes."""
    chord = np.linalg.norm(quaternions.normalized(one) - quaternions.normalized(other), axis=1)
    return 4 * np.arcsin(np.clip(chord / 2, 0, 1))
