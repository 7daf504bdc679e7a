"""Measures a rig for a bake: which controls are keyed, and how the bones and the feet that they move lie at rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

import bpy
import numpy as np

from . import foot_geometry, foot_mesh, map_check, reference_pose, rig_probe
from .bake_options import BakeError, Options
from .deforming_parent import deforming_parent
from .maps import LIMBS, LimbIK, RigMap
from .reference_pose import ReferencePose
from .rig_probe import ProbedRig
from .transfer import Space, Target


@dataclass(frozen=True)
class MeasuredRig:
    """What of a rig is keyed."""

    target: Target
    rig_probed: ProbedRig
    ik_legs: Mapping[str, LimbIK]
    reference: ReferencePose
    loose: Mapping[str, str]  # see _loose_ends
    deforming_parent: str  # see _deforming_parent


def measure(rig: bpy.types.Object, rig_map: RigMap, space: Space, options: Options) -> MeasuredRig:
    """Probe a rig, and check what shows then: that limbs are connected and have a length."""
    reference = reference_pose.choose(rig, rig_map, options.rest_pose)
    ik_legs = _ik_legs(rig_map) if options.plant_feet else {}
    rig_probed = _probe(rig, rig_map, options, ik_legs, reference)
    loose = _loose_ends(rig, rig_map, rig_probed)
    _check_connected(rig_map, rig_probed, loose)
    parent = _deforming_parent(rig, rig_map, options)
    if loose or parent:
        rig_probed = _probe(rig, rig_map, options, ik_legs, reference, (*loose.values(), *([parent] if parent else ())))
    target = _target(rig, rig_map, space, rig_probed, _keyed_twist_bones(rig_map))
    _check_limbs(rig, target)
    return MeasuredRig(target, rig_probed, ik_legs, reference, loose, parent)


def _keyed_twist_bones(rig_map: RigMap) -> list[str]:
    """The twist bones of limbs whose bones are keyed themselves; on limbs with controls the rig twists them."""
    return [
        name
        for joint, names in rig_map.twists.items()
        if joint in rig_map.bones and rig_map.bones[joint] not in rig_map.controls
        for name in names
    ]


def _ik_legs(rig_map: RigMap) -> dict[str, LimbIK]:
    """The legs with IK controls and a switch: planted feet are keyed on those."""
    return {limb: ik for limb, ik in rig_map.ik.items() if "leg" in limb and ik.target and ik.pole and ik.switch}


def _loose_ends(rig: bpy.types.Object, rig_map: RigMap, rig_probed: ProbedRig) -> dict[str, str]:
    """Feet and hands that do not follow their limbs, as bones for IK: limb -> bone. They are keyed in location too."""
    loose = {}
    for limb, (_, middle, end) in LIMBS.items():
        bone, above = rig_map.bones.get(end, ""), rig_map.bones[middle]
        if not bone or bone in rig_map.controls or above in rig_map.controls:
            continue
        if rig.data.bones[above] not in rig.data.bones[bone].parent_recursive and not _follows(rig_probed, bone, above):
            loose[limb] = bone
    return loose


def _deforming_parent(rig: bpy.types.Object, rig_map: RigMap, options: Options) -> str:
    """The bone above the hips that must move with them, see deforming_parent.py; "" if controls are keyed."""
    if rig_map.location_bone in rig_map.controls:
        return ""
    return deforming_parent(rig, rig_map.location_bone, rig_map.root if options.root_motion else "")


def _check_connected(rig_map: RigMap, rig_probed: ProbedRig, loose: Mapping[str, str]) -> None:
    """Raise MapFault if a bone of a limb stays where it is when the one above it turns, for another limb's is named."""
    for limb, joints in LIMBS.items():
        for upper, lower in pairwise(joints):
            bone, above = rig_map.bones.get(lower, ""), rig_map.bones[upper]
            if not bone or (limb in loose and lower == joints[-1]):
                continue
            if not _is_below(rig_probed, rig_map.control(bone), rig_map.control(above), "location_parent"):
                raise map_check.MapFault(
                    f"The rig map {rig_map.name} does not fit: {bone}, which is named for "
                    f"{map_check.joint_label(lower)}, does not follow {above}, named for "
                    f"{map_check.joint_label(upper)}. Choose bones of one limb in the list of the rig map, or name "
                    "their controls in the map.",
                    code="rig-map-not-connected",
                    bones=(bone, above),
                )


def _check_limbs(rig: bpy.types.Object, target: Target) -> None:
    """Raise BakeError if a thigh, shin, upper arm or forearm has no length, and so no direction."""
    bones = target.rig_map.bones
    for joints in LIMBS.values():
        for joint, following in pairwise(joints):
            end = bones.get(following, f"the end of {bones[joint]}")
            if np.linalg.norm(target.direction(joint)) < 1e-4 * np.ptp(list(target.heads.values()), axis=0).max():
                raise BakeError(
                    f"{rig.name} cannot get a motion: {bones[joint]} and {end} are at the same point. Move them apart "
                    "in Edit Mode, or choose other bones in the rig map.",
                    code="rig-no-values",
                )


def _probe(
    rig: bpy.types.Object,
    rig_map: RigMap,
    options: Options,
    ik_legs: Mapping[str, LimbIK],
    reference: ReferencePose,
    others: tuple[str, ...] = (),
) -> ProbedRig:
    """Probe the controls that will be keyed. Raises BakeError if the root bone is no parent of the pelvis."""
    roots = [rig_map.root] if options.root_motion else []
    body = rig_map.control(rig_map.location_bone)
    located = [*roots, body, *(name for ik in ik_legs.values() for name in (ik.target, ik.pole)), *others]
    mapped, twists = [*rig_map.mapped_bones().values(), *rig_map.fingers.values()], _keyed_twist_bones(rig_map)
    toes = [ik.toe for ik in ik_legs.values() if ik.toe]
    names = list(dict.fromkeys([*located, *map(rig_map.control, mapped), *twists, *toes]))
    hips = [rig_map.bones[f"{side}_{part}"] for part in ("hip", "shoulder") for side in ("left", "right")]
    measured = hips, [*roots, *mapped, *twists]
    rig_probed = rig_probe.probe(rig, rig_map, names, located, measured, reference)
    if roots and not _follows(rig_probed, body, rig_map.root):
        raise BakeError(
            f"{rig_map.root}, which the rig map {rig_map.name} names as root, is no parent of the pelvis of "
            f"{rig.name}. Correct the map, or keep the motion on the hips.",
            code="root-not-parent",
        )
    return rig_probed


def _follows(rig_probed: ProbedRig, control: str, ancestor: str) -> bool:
    """Whether a control inherits both rotation and location of an ancestor."""
    return all(_is_below(rig_probed, control, ancestor, parent) for parent in ("rotation_parent", "location_parent"))


def _is_below(rig_probed: ProbedRig, control: str, ancestor: str, parent: str) -> bool:
    """Whether a control is the ancestor or below it. ``parent``: "rotation_parent" or "location_parent"."""
    names = rig_probed.names
    index = names.index(control)
    while index >= 0 and names[index] != ancestor:
        index = getattr(rig_probed.controls[index], parent)
    return index >= 0


def _target(
    rig: bpy.types.Object, rig_map: RigMap, space: Space, rig_probed: ProbedRig, keyed_twists: list[str]
) -> Target:
    bones = rig.data.bones
    inline = set()
    for joints in LIMBS.values():
        for joint, following in pairwise(joints):
            if following in rig_map.bones:
                parents = {bone.name for bone in bones[rig_map.bones[following]].parent_recursive}
                inline |= parents & set(rig_map.twists.get(joint, ()))
    twists = {joint: tuple(name for name in names if name in keyed_twists) for joint, names in rig_map.twists.items()}
    target = Target(
        rig_map=replace(rig_map, twists=twists),
        space=space,
        heads={bone: space.from_armature(point) for bone, point in rig_probed.heads.items()},
        tails={bone: space.from_armature(point) for bone, point in rig_probed.tails.items()},
        foot_points=np.zeros((4, 3)),
        inline_twists=frozenset(inline),
    )
    points, on_toes, shares = foot_mesh.vertices(rig, rig_map, rig_probed.matrices)
    points = {side: space.from_armature(found) for side, found in points.items()}
    return foot_geometry.with_feet(target, points, on_toes, shares)
