"""Compares what Blender shows with what was keyed: of the imported character before a bake, of the rig after it.

Constraints, drivers, muted F-curves, NLA tracks and other add-ons may all change a pose after its keys; a few frames
tell.
"""

from __future__ import annotations

from dataclasses import dataclass

import bpy
import numpy as np

from ... import quaternions
from ...animation import Animation
from ...errors import CodedError
from ...skeleton import ALL_JOINT_NAMES
from ..scene.evaluation import evaluated
from .controls import Keys
from .rig_action import RigMotion
from .rig_animation import bone_path
from .rig_probe import ProbedRig
from .transfer import Pose, Target

_EVENLY = 12  # frames that are looked at, beside those of the largest rotation of each control
# Measured without keyframe reduction on all test rigs: up to 0.04 degrees and 0.0001 leg lengths, of Rigify's IK.
_ANGLE = np.radians(1.0)  # of a bone, in each frame
_DISTANCE = 0.01  # of the hips, and from a joint to the one above, in leg lengths
_CHAIN = 6  # errors of reduced keyframes that may add up; measured: 4.4 angles, 1.5 distances
_SOURCE_DISTANCE = 0.02  # of a joint of the imported character, in heights of its rest pose
_FLOAT = 1e-5  # of a coordinate, far from the world's origin: Blender's float32, and those it computes them from
_MOST_NAMED = 3  # bones and what holds them in a sentence


@dataclass(frozen=True)
class Tolerance:
    """The errors that keyframe reduction may make of one control."""

    angle: float = 0.0  # radians
    distance: float = 0.0  # metres


def check_source(source: bpy.types.Object, motion: Animation, metres: float) -> None:
    """Raise CodedError if Blender shows another motion of an imported character than its keys (F rows) hold.

    ``metres``: of a unit of the scene.
    """
    if source.data.pose_position == "REST":  # for a moment, to look at the bind pose
        return
    rows = _evenly(len(motion))
    positions, _ = motion.pose()
    most = max(_SOURCE_DISTANCE * float(np.ptp(motion.heads[:, 2])), _FLOAT * float(np.abs(positions).max()))
    with evaluated(source) as at:
        for row in rows:
            (shown,) = at(motion.frames[row])
            world = shown.matrix_world
            heads = (
                np.array([world @ shown.pose.bones[name].head for name in ALL_JOINT_NAMES[: positions.shape[1]]])
                * metres
            )
            if np.linalg.norm(heads - positions[row], axis=1).max() > most:
                raise CodedError(
                    f"Blender shows another motion of {source.name} at frame {motion.frames[row]:.0f} than its keys "
                    "hold, and the keys are what is baked. Unmute its F-curves, clear its parent (Alt+P, Keep "
                    "Transformation), and remove its constraints, drivers, F-curve modifiers and NLA tracks, or bake "
                    "them into its action (Object > Animation > Bake Action).",
                    code="motion-not-shown",
                )


def check_rig(
    rig: bpy.types.Object,
    target: Target,
    rig_probed: ProbedRig,
    pose: Pose,
    keyed: RigMotion,
    tolerance: Tolerance,
) -> list[str]:
    """Raise CodedError if Blender does not show a pose (F rows) on a rig that has its keys; fingers may be off.

    Returns the finger bones that are. ``pose``: as if the rig's object stayed at its first place.
    """
    space, rig_map = target.space, target.rig_map
    hips = [rig_map.bones[f"{side}_hip"] for side in ("left", "right")]
    wanted_hips = space.to_armature(pose.hips)
    fingers, held = {*rig_map.fingers.values()}, set[str]()
    located = {rig_map.root, *keyed.keys.locations, *fingers} - {rig_map.location_bone}
    lengths = _lengths(rig, {bone: head for bone, head in rig_probed.heads.items() if bone not in located})
    most = _ANGLE + _CHAIN * tolerance.angle, _DISTANCE * target.leg_length() + _CHAIN * tolerance.distance
    wanted = {}
    for bone, rotations in pose.rotations.items():
        along = rig_probed.tails[bone] - rig_probed.heads[bone]
        wanted[bone] = quaternions.rotate(space.rotations_to_armature(rotations), along)
    with evaluated(rig) as at:
        for row in _telling(keyed.keys, len(keyed.frames)):
            (shown,) = at(keyed.frames[row])
            bones = shown.pose.bones
            angles = {
                name: _angle(np.array(bones[name].tail - bones[name].head), directions[row])
                for name, directions in wanted.items()
            }
            off = sorted((name for name in angles if angles[name] > most[0]), key=lambda name: -angles[name])
            held |= fingers.intersection(off)
            off = [name for name in off if name not in fingers]
            distances = {
                name: abs(float((bones[name].head - bones[above].head).length) - length)
                for (name, above), length in lengths.items()
            }
            distances[hips[0]] = float(np.linalg.norm(np.mean([bones[hip].head for hip in hips], 0) - wanted_hips[row]))
            far = max(distances, key=distances.__getitem__)
            distance = space.scale * distances[far]
            if off or distance > most[1]:
                name, error = (off[0], f"{np.degrees(angles[off[0]]):.0f} degrees") if off else (far, _length(distance))
                raise CodedError(
                    f"{rig.name} does not show the motion that was keyed, and is as it was: at frame "
                    f"{keyed.frames[row]:.0f} {name} is {error} off. "
                    f"Mute {_holders(rig, name)}, or use a rig map that names the controls to key.",
                    code="bake-not-shown",
                )
    return sorted(held)


def _lengths(rig: bpy.types.Object, heads: dict[str, np.ndarray]) -> dict[tuple[str, str], float]:
    """The distances of bones' heads at rest to those of the next of these bones above, which they keep."""
    lengths = {}
    for name, head in heads.items():
        above = next((bone.name for bone in rig.data.bones[name].parent_recursive if bone.name in heads), None)
        if above is not None:
            lengths[name, above] = float(np.linalg.norm(head - heads[above]))
    return lengths


def _length(metres: float) -> str:
    return f"{100 * metres:.0f} cm"


def _holders(rig: bpy.types.Object, off: str) -> str:
    """What may hold a bone that does not follow its keys, itself or by the bones above it."""
    holders = []
    for name in (off, *(bone.name for bone in rig.data.bones[off].parent_recursive)):
        constraints = [each.name for each in rig.pose.bones[name].constraints if not each.mute and each.influence]
        drivers = rig.animation_data.drivers if rig.animation_data else ()
        driven = any(driver.data_path.startswith(bone_path(name)) and not driver.mute for driver in drivers)
        holders += [f"the constraint {each} of {name}" for each in constraints]
        holders += [f"the drivers of {name}"] if driven else []
    return ", ".join(holders[:_MOST_NAMED]) or "its NLA tracks, constraints and drivers"


def _telling(keys: Keys, count: int) -> list[int]:
    """Rows at which something that holds a control shows most: those of its largest rotation and location."""
    rows = {int(np.argmin(np.abs(values[:, 0]))) for values in keys.rotations.values()}
    rows |= {int(np.argmax(np.abs(values).sum(1))) for values in keys.locations.values()}
    return sorted({*rows, *_evenly(count)})


def _evenly(count: int) -> list[int]:
    return sorted({round(row) for row in np.linspace(0, count - 1, min(count, _EVENLY))})


def _angle(first: np.ndarray, second: np.ndarray) -> float:
    lengths = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(np.arccos(np.clip(first @ second / max(lengths, 1e-12), -1, 1)))
