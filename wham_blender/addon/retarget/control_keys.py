"""Turns the pose of a rig's bones into the keyframe values of its controls: FK, IK legs, root bone and loose ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ... import quaternions
from . import controls
from .maps import LIMBS, LimbIK, MapError
from .measured_rig import MeasuredRig
from .rig_probe import ProbedRig
from .transfer import Pose, Target


def control_keys(
    keyed: MeasuredRig, pose: Pose, root_path: tuple[np.ndarray, np.ndarray] | None, written: controls.Written
) -> controls.Keys:
    """The keyframe values that give the rig a pose, and its root bone the rotations (F, 4) and positions (F, 3).

    Legs on IK get keyframes on their FK controls, too, so that the animator can switch back.
    """
    target, rig_probed, ik_legs, loose = keyed.target, keyed.rig_probed, keyed.ik_legs, keyed.loose
    rig_map, space = target.rig_map, target.space
    rotations = _control_rotations(target, pose)
    positions = {}
    if root_path is not None:
        rotations[rig_map.root] = space.rotations_to_armature(root_path[0])
        positions[rig_map.root] = space.to_armature(root_path[1])
    body = rig_map.control(rig_map.location_bone)
    hips = _hips_at_zero_location(target, rig_probed, rotations, positions)
    positions[body] = space.to_armature(pose.hips) - hips.mean(0)
    if keyed.deforming_parent:
        rest = {control.name: control.head for control in rig_probed.controls}
        rotations[keyed.deforming_parent] = rotations[body]
        offset = quaternions.rotate(rotations[body], rest[keyed.deforming_parent] - rest[body])
        positions[keyed.deforming_parent] = positions[body] + offset
    if ik_legs:
        offsets = hip_offsets(target, rig_probed, pose)
        for limb, ik in ik_legs.items():
            side = limb.removesuffix("_leg")
            hip = pose.hips + offsets[:, ("left", "right").index(side)]
            leg = _ik_leg_transforms(target, rig_probed, pose, ik, side, hip)
            rotations |= leg.rotations
            positions |= leg.positions
    positions |= _loose_positions(target, rig_probed, pose, rotations, positions, loose)
    return controls.solve(rig_probed.controls, rotations, positions, len(pose.hips), written)


def _control_rotations(target: Target, pose: Pose) -> dict[str, np.ndarray]:
    """The rotations (F, 4) of controls from rest, in armature space."""
    to_armature = target.space.rotations_to_armature
    return {target.rig_map.control(bone): to_armature(rotations) for bone, rotations in pose.rotations.items()}


def _hips_at_zero_location(
    target: Target,
    rig_probed: ProbedRig,
    rotations: Mapping[str, np.ndarray],
    positions: Mapping[str, np.ndarray],
) -> np.ndarray:
    """Both hips (2, F, 3) in armature space while the control that moves the body is at the armature's origin.

    Raises MapError if they do not move with it.
    """
    rig_map = target.rig_map
    body = rig_map.control(rig_map.location_bone)
    hips = [rig_probed.names.index(rig_map.bones[f"{side}_hip"]) for side in ("left", "right")]
    count = len(rotations[body])
    complete = controls.complete_rotations(rig_probed.controls, rotations, count)
    _, at_zero = controls.head_positions(rig_probed.controls, complete, {**positions, body: np.zeros((count, 3))})
    _, at_one = controls.head_positions(rig_probed.controls, complete, {**positions, body: np.ones((count, 3))})
    if any(np.abs(at_one[hip] - at_zero[hip] - 1.0).max() > 1e-6 for hip in hips):
        raise MapError(
            f"The legs do not follow {body}, which the rig map {rig_map.name} names for the pelvis. Correct the map.",
            code="legs-not-following",
        )
    return np.array([at_zero[hip] for hip in hips])


def hip_offsets(target: Target, rig_probed: ProbedRig, pose: Pose) -> np.ndarray:
    """Both hips (F, 2, 3) relative to their midpoint, in the body's space."""
    rotations = _control_rotations(target, pose)
    hips = target.space.from_armature(_hips_at_zero_location(target, rig_probed, rotations, {}))
    return np.moveaxis(hips - hips.mean(0), 0, 1)


def _loose_positions(
    target: Target,
    rig_probed: ProbedRig,
    pose: Pose,
    rotations: Mapping[str, np.ndarray],
    positions: Mapping[str, np.ndarray],
    loose: Mapping[str, str],
) -> dict[str, np.ndarray]:
    """Where feet and hands with another parent must be (F, 3), in armature space: at the ends of their limbs."""
    complete = controls.complete_rotations(rig_probed.controls, rotations, len(pose.hips))
    _, heads = controls.head_positions(rig_probed.controls, complete, positions)
    found = {}
    for limb, bone in loose.items():
        upper, lower, _ = LIMBS[limb]
        start = target.space.from_armature(heads[rig_probed.names.index(target.rig_map.bones[upper])])
        vectors = (target.limb_vector(joint, pose.rotations) for joint in (upper, lower))
        found[bone] = target.space.to_armature(start + sum(vectors))
    return found


@dataclass(frozen=True)
class _Transforms:
    """Rotations (F, 4) from rest and head positions (F, 3) of controls, in armature space."""

    rotations: dict[str, np.ndarray]
    positions: dict[str, np.ndarray]


def _ik_leg_transforms(
    target: Target, rig_probed: ProbedRig, pose: Pose, ik: LimbIK, side: str, hip: np.ndarray
) -> _Transforms:
    """The transforms of a leg's IK controls; hip (F, 3) in the body's space."""
    bones, space = target.rig_map.bones, target.space
    rest = {control.name: control.head for control in rig_probed.controls}
    foot, toes = bones[f"{side}_ankle"], bones.get(f"{side}_foot")
    knee = hip + target.limb_vector(f"{side}_hip", pose.rotations)
    ankle = space.to_armature(knee + target.limb_vector(f"{side}_knee", pose.rotations))
    knee, ahead = (space.to_armature(points) for points in (knee, knee + pose.knee_directions[f"{side}_leg"]))
    rotations = {ik.target: space.rotations_to_armature(pose.rotations[foot])}
    foot_to_target = rest[ik.target] - rig_probed.heads[foot]
    pole_distance = np.linalg.norm(rest[ik.pole] - rig_probed.heads[bones[f"{side}_knee"]])
    positions = {
        ik.target: ankle + quaternions.rotate(rotations[ik.target], foot_to_target),
        ik.pole: knee + pole_distance * quaternions.normalized(ahead - knee),
    }
    if toes and ik.toe:
        rotations[ik.toe] = space.rotations_to_armature(pose.rotations[toes])
    return _Transforms(rotations, positions)
