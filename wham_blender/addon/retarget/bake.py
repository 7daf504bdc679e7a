"""Bakes an imported character's motion onto another rig: retargets it and keys the rig's controls in a new action."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

import bpy
import numpy as np

from ... import quaternions
from ...animation import Animation, evenly, resampled, with_arms_spread
from ...errors import CodedError
from ..scene import character
from ..scene.checks import check_frames, check_numbers
from ..scene.units import metres_per_unit
from . import (
    bake_check,
    controls,
    foot_geometry,
    foot_locking,
    foot_mesh,
    leftovers,
    leg_error,
    map_check,
    pose_backup,
    reference_pose,
    result_check,
    rig_action,
    rig_animation,
    rig_probe,
    root,
    transfer,
)
from .leg_error import Leg
from .maps import LIMBS, LimbIK, MapError, RigMap, mirrored
from .reference_pose import ReferencePose
from .rig_action import BakedAction, Reducer, Reduction, RigMotion
from .rig_probe import ProbedRig
from .transfer import Pose, Space, Target

_LARGEST = 1e12  # of a keyframe value; rigs may be built in thousandths of a millimetre


class BakeError(CodedError):
    """A motion cannot be baked onto a rig; the text is a sentence for the animator."""


@dataclass(frozen=True)
class Options:
    """How a motion is baked."""

    plant_feet: bool = True  # foot locking: planted feet stay in place; else legs only match directions
    root_motion: bool = False  # on the map's root bone instead of the hips alone
    arm_spread: float = 0.0  # radians that arms rotate outwards
    reduce_keys: bool = False  # keyframe reduction, within the next two tolerances
    angle_tolerance: float = np.radians(0.5)  # radians
    distance_tolerance: float = 0.005  # metres
    nla_strip: bool = False  # into an NLA strip instead of the rig's active action
    rest_pose: str = reference_pose.AUTO  # what counts as the rig's rest, see reference_pose.choose


def bake(source: bpy.types.Object, rig: bpy.types.Object, rig_map: RigMap, options: Options) -> BakedAction:
    """Bake the motion of an imported character onto a rig, as a new action.

    Raises CodedError before anything is changed.
    """
    check_rig(rig)
    pose_backup.restore(rig)
    for name in ("arm_spread", "angle_tolerance", "distance_tolerance"):
        check_numbers(getattr(options, name), name.replace("_", " "))
    if options.root_motion and not rig_map.root:
        raise BakeError(
            f"The rig map {rig_map.name} names no root bone for {rig.name}. Keep the motion on the hips, or give the "
            "rig a bone on the floor that carries all others, and name it in the map.",
            code="no-root-bone",
        )
    notes = map_check.check(rig, rig_map)
    motion = character.read(source)
    metres, shown = metres_per_unit(source), motion
    motion = evenly(with_arms_spread(motion, options.arm_spread))
    space, object_motion = _object(rig, motion.frames, metres, options)
    if np.linalg.det(space.axes) < 0:
        rig_map = mirrored(rig_map)
    keyed = _measured(rig, rig_map, space, options)
    target, rig_probed, ik_legs = keyed.target, keyed.rig_probed, keyed.ik_legs
    rate = character.key_rate(source, motion)
    pose = transfer.retarget(motion, target)
    if options.plant_feet:
        pose = foot_locking.lock_feet(motion, target, pose, _hip_offsets(target, rig_probed, pose), rate)
    root_path = root.root_path(motion, target, pose, rate) if options.root_motion else None
    if object_motion is not None:
        pose = rig_animation.carried_pose(pose, object_motion)
        root_path = root_path and rig_animation.carried_path(root_path, object_motion)
    check_frames(motion.frames, rig.name)
    keys = _control_keys(keyed, pose, root_path, controls.Written())
    _check_keys(rig, keys)
    reducer = None
    if options.reduce_keys:
        reducer = Reducer(rig, motion.frames, _reduction(target, rig_probed, motion, options, ik_legs))
        keys = _reduced_keys(keyed, pose, root_path, keys, reducer)
    bake_check.check_source(source, shown, metres)
    held = _held(rig, keys, keyed.reference, options)
    tolerance = bake_check.Tolerance()
    if options.reduce_keys:
        tolerance = bake_check.Tolerance(options.angle_tolerance, options.distance_tolerance)
    with rig_animation.restored_on_error(rig):
        rig_motion = RigMotion(rig_map, motion.frames, keys, ik_legs, held)
        baked = rig_action.write(source, rig, rig_motion, reducer, options.nla_strip)
        with leftovers.without_limits(rig):
            bake_check.check_rig(rig, target, rig_probed, pose, rig_motion, tolerance)
        _add_leftovers(baked, rig, keys, keyed.torn, motion.frames)
    reference_pose.keep(rig, keyed.reference)
    if not keyed.reference.is_rest:
        notes.append("the pose that it was in counts as its rest")
    notes += result_check.notes(rig, target, rig_probed, motion, metres, options.plant_feet)
    baked.notes += notes
    if object_motion is not None:
        baked.notes.append("its object moves, and the keys make up for that")
    if held:
        count = len({bone for bone, _ in held.values()})
        bones = f"{count} bones" if count > 1 else next(iter(held.values()))[0]
        baked.notes.append(f"a key holds other channels of {bones}, which leftover values or NLA tracks would move")
    return baked


def _add_leftovers(
    baked: BakedAction, rig: bpy.types.Object, keys: controls.Keys, torn: str, frames: np.ndarray
) -> None:
    """Add what is to be said about what the rig has been left with."""
    if uneven := leftovers.unevenly_scaled(rig, keys.controls):
        baked.notes.append(f"the uneven scale that {leftovers.listed(uneven)} had is 1 in the new action")
    if torn:
        baked.notes.append(f"{torn} goes along with the hips, as skin hangs from it")
    if held := leftovers.held_back(rig, frames):
        baked.warnings.append(
            f"{rig.name} is held back by limit constraints: {leftovers.listed(held)}. Mute them in the properties of "
            "these bones if the whole motion shall show."
        )


def keys_at(
    source: bpy.types.Object, rig: bpy.types.Object, rig_map: RigMap, frame: float, options: Options
) -> tuple[controls.Keys, dict[str, tuple[str, np.ndarray]]]:
    """The values, one row each, that give a rig the pose that an imported character has at a scene frame.

    With all limbs on FK and without foot locking, which needs the frames around, whatever ``options`` say. And the
    values that other channels must have then, see rig_animation.held_channels. Raises CodedError as `bake` does.
    """
    check_rig(rig)
    map_check.check(rig, rig_map)
    motion, options = character.read(source), replace(options, plant_feet=False, root_motion=False)
    space, _ = _object(rig, np.array([frame]), metres_per_unit(source), options)
    if np.linalg.det(space.axes) < 0:
        rig_map = mirrored(rig_map)
    keyed = _measured(rig, rig_map, space, options)
    shown = resampled(motion, np.clip([frame], motion.frames[0], motion.frames[-1]))
    pose = transfer.retarget(shown, keyed.target, transfer.ground(motion, keyed.target))
    keys = _control_keys(keyed, pose, None, controls.Written())
    return keys, _held(rig, keys, keyed.reference, options)


def _held(
    rig: bpy.types.Object, keys: controls.Keys, reference: ReferencePose, options: Options
) -> dict[str, tuple[str, np.ndarray]]:
    """See rig_animation.held_channels."""
    paths = {rig_action.path_of(rig, control, rotation=False) for control in keys.locations}
    paths |= {rig_action.path_of(rig, control, rotation=True) for control in keys.rotations}
    return rig_animation.held_channels(rig, keys.controls, paths, options.nla_strip, reference)


def _measured(rig: bpy.types.Object, rig_map: RigMap, space: Space, options: Options) -> _Keyed:
    """Probe a rig, and check what shows then: that limbs hang together and have a length."""
    reference = reference_pose.choose(rig, rig_map, options.rest_pose)
    ik_legs = _ik_legs(rig_map) if options.plant_feet else {}
    rig_probed = _probe(rig, rig_map, options, ik_legs, reference)
    loose = _loose_ends(rig, rig_map, rig_probed)
    _check_connected(rig_map, rig_probed, loose)
    torn = _torn_bone(rig, rig_map, options)
    if loose or torn:
        rig_probed = _probe(rig, rig_map, options, ik_legs, reference, (*loose.values(), *([torn] if torn else ())))
    target = _target(rig, rig_map, space, rig_probed, _keyed_twist_bones(rig_map))
    _check_limbs(rig, target)
    return _Keyed(target, rig_probed, ik_legs, reference, loose, torn)


def _reduced_keys(
    keyed: _Keyed,
    pose: Pose,
    root_path: tuple[np.ndarray, np.ndarray] | None,
    full: controls.Keys,
    reducer: Reducer,
) -> controls.Keys:
    """The keys, solved with keyframe reduction, of which ``full`` are the ones without."""
    legs, tolerance = _legs(keyed.target, keyed.rig_probed, keyed.ik_legs), reducer.reduction.angle
    rows = np.array([True])
    while rows.any():
        keys = _control_keys(keyed, pose, root_path, reducer)
        rows = leg_error.worst_rows(leg_error.largest(legs, full, keys), tolerance, reducer.exact)
        reducer.exact |= rows
    return keys


def _object(
    rig: bpy.types.Object, frames: np.ndarray, metres: float, options: Options
) -> tuple[Space, tuple[np.ndarray, np.ndarray] | None]:
    """The space of a rig's object at the first of F scene frames, and how it moves, see `motion_of_object`."""
    matrices = rig_animation.object_matrices(rig, frames, options.nla_strip)
    matrices[:, :3] *= metres
    try:
        space = Space.of_matrix(matrices[0])
    except ValueError as error:
        raise BakeError(
            f"{rig.name} cannot get a motion: {error}. Give it a size again.", code="rig-scale-zero"
        ) from error
    try:
        motion = rig_animation.motion_of_object(matrices)
    except ValueError as error:
        raise BakeError(
            f"{rig.name} cannot get a motion: {error} while the motion plays, by its parent, a constraint or an NLA "
            "strip. Clear its parent (Alt+P, Keep Transformation), or remove those keyframes of the scale.",
            code="rig-moves",
        ) from error
    if motion is not None and not space.is_uniform:
        raise BakeError(
            f"{rig.name} cannot get a motion: it is scaled unevenly, and its parent, a constraint or an NLA strip "
            "moves it. Apply its scale (Ctrl+A), or clear its parent (Alt+P, Keep Transformation).",
            code="rig-moves",
        )
    return space, motion


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


def _check_keys(rig: bpy.types.Object, keys: controls.Keys) -> None:
    """Raise BakeError if controls would get values that are no numbers, or huge."""
    for values_of in (keys.rotations, keys.locations):
        for control, values in values_of.items():
            if not (np.abs(values) <= _LARGEST).all():
                raise BakeError(
                    f"{rig.name} cannot get a motion: there is no usual number for {control}. Look whether the "
                    "motion or the bones of the rig go far away.",
                    code="rig-no-values",
                )


def check_rig(rig: bpy.types.Object) -> None:
    """Raise BakeError if a rig cannot be keyed."""
    if rig.type != "ARMATURE":
        raise BakeError(
            f"{rig.name} is no armature. Select the armature of the character that shall get the motion.",
            code="not-an-armature",
        )
    if character.is_character(rig):
        raise BakeError(
            f"{rig.name} is an imported motion itself. Select the rig that shall get the motion.",
            code="rig-is-imported-motion",
        )
    if rig.library is not None:
        raise BakeError(
            f"{rig.name} is linked from {bpy.path.basename(rig.library.filepath)} and cannot be keyed. Make a library "
            "override of it first: Object > Library Override > Make.",
            code="rig-linked",
        )
    if rig.override_library is not None and rig.override_library.is_system_override:
        raise BakeError(
            f"The library override of {rig.name} is locked. Make it editable first: right-click it in the Outliner, "
            "Library Override > Make > Selected.",
            code="rig-override-locked",
        )
    if rig.data.library is not None and rig.data.pose_position == "REST":
        raise BakeError(
            f"{rig.name} is in Rest Position, and its armature is linked from "
            f"{bpy.path.basename(rig.data.library.filepath)}. Open that file, and choose Pose Position there in the "
            "properties of the armature.",
            code="rig-rest-position",
        )
    if rig.animation_data is not None and rig.animation_data.use_tweak_mode:
        raise BakeError(
            f"A strip of {rig.name} is open in the NLA editor. Leave its tweak mode first (Tab).", code="nla-tweak-mode"
        )


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


def _torn_bone(rig: bpy.types.Object, rig_map: RigMap, options: Options) -> str:
    """The bone above the hips that must go along with them, see leftovers.torn_bone; "" if controls are keyed."""
    if rig_map.location_bone in rig_map.controls:
        return ""
    return leftovers.torn_bone(rig, rig_map.location_bone, rig_map.root if options.root_motion else "")


def _check_connected(rig_map: RigMap, rig_probed: ProbedRig, loose: Mapping[str, str]) -> None:
    """Raise MapFault if a bone of a limb stays where it is when the one above it turns, for another limb's is named."""
    names = rig_probed.names
    for limb, joints in LIMBS.items():
        for upper, lower in pairwise(joints):
            bone, above = rig_map.bones.get(lower, ""), rig_map.bones[upper]
            if not bone or (limb in loose and lower == joints[-1]):
                continue
            index, control = names.index(rig_map.control(bone)), rig_map.control(above)
            while index >= 0 and names[index] != control:
                index = rig_probed.controls[index].location_parent
            if index < 0:
                raise map_check.MapFault(
                    f"The rig map {rig_map.name} does not fit: {bone}, which is named for "
                    f"{map_check.joint_label(lower)}, does not follow {above}, named for "
                    f"{map_check.joint_label(upper)}. Choose bones of one limb in the list of the rig map, or name "
                    "their controls in the map.",
                    code="rig-map-not-connected",
                    bones=(bone, above),
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
    mapped, twists = rig_map.mapped_bones().values(), _keyed_twist_bones(rig_map)
    toes = [ik.toe for ik in ik_legs.values() if ik.toe]
    names = list(dict.fromkeys([*located, *map(rig_map.control, mapped), *twists, *toes]))
    hips = [rig_map.bones[f"{side}_{part}"] for part in ("hip", "shoulder") for side in ("left", "right")]
    measured = hips, [*roots, *mapped, *twists]
    rig_probed = rig_probe.probe(rig, rig_map, names, located, measured, reference)
    if roots and not _follows(rig_probed, body, rig_map.root):
        raise BakeError(
            f"{rig_map.root}, which the rig map {rig_map.name} names as root, does not carry the pelvis of {rig.name}. "
            "Correct the map, or keep the motion on the hips.",
            code="root-not-parent",
        )
    return rig_probed


def _follows(rig_probed: ProbedRig, control: str, ancestor: str) -> bool:
    """Whether a control inherits both rotation and location of an ancestor."""
    names = rig_probed.names
    for parent in ("rotation_parent", "location_parent"):
        index = names.index(control)
        while index >= 0 and names[index] != ancestor:
            index = getattr(rig_probed.controls[index], parent)
        if index < 0:
            return False
    return True


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


def _reduction(
    target: Target, rig_probed: ProbedRig, motion: Animation, options: Options, ik_legs: Mapping[str, LimbIK]
) -> Reduction:
    """The tolerances of keyframe reduction, and when the controls that move a foot have it planted."""
    rig_map = target.rig_map
    planted_by_control: dict[str, np.ndarray] = {}
    for number, side in enumerate(("left", "right")):
        planted = motion.contacts[:, 2 * number : 2 * number + 2].any(1)
        joints = ("pelvis", *(f"{side}_{part}" for part in ("hip", "knee", "ankle", "foot")))
        bones = [rig_map.location_bone, *(rig_map.bones[joint] for joint in joints if joint in rig_map.bones)]
        ik = ik_legs.get(f"{side}_leg")
        for control in {rig_map.root, *map(rig_map.control, bones), *((ik.target, ik.pole, ik.toe) if ik else ())}:
            planted_by_control[control] = planted_by_control.get(control, np.zeros_like(planted)) | planted
    scale = target.space.scale
    metres = {
        control.name: scale * float(np.linalg.norm(control.location_matrix, 2)) for control in rig_probed.controls
    }
    return Reduction(
        options.angle_tolerance, options.distance_tolerance, target.leg_length(), metres, planted_by_control
    )


def _legs(target: Target, rig_probed: ProbedRig, ik_legs: Mapping[str, LimbIK]) -> list[Leg]:
    """The legs on IK, whose error keyframe reduction has to limit."""
    rest = {control.name: control.head for control in rig_probed.controls}
    legs = []
    for limb, ik in ik_legs.items():
        hip, knee, ankle = (target.rig_map.bones[joint] for joint in LIMBS[limb])
        heads = rig_probed.heads
        thigh, shin = (float(np.linalg.norm(heads[b] - heads[a])) for a, b in ((hip, knee), (knee, ankle)))
        legs.append(Leg(ik, hip, thigh, shin, heads[ankle] - rest[ik.target]))
    return legs


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


def _hip_offsets(target: Target, rig_probed: ProbedRig, pose: Pose) -> np.ndarray:
    """Both hips (F, 2, 3) relative to their midpoint, in the body's space."""
    rotations = _control_rotations(target, pose)
    hips = target.space.from_armature(_hips_at_zero_location(target, rig_probed, rotations, {}))
    return np.moveaxis(hips - hips.mean(0), 0, 1)


@dataclass(frozen=True)
class _Keyed:
    """What of a rig is keyed."""

    target: Target
    rig_probed: ProbedRig
    ik_legs: Mapping[str, LimbIK]
    reference: ReferencePose
    loose: Mapping[str, str]  # see _loose_ends
    torn: str  # see _torn_bone


def _control_keys(
    keyed: _Keyed, pose: Pose, root_path: tuple[np.ndarray, np.ndarray] | None, written: controls.Written
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
    if keyed.torn:
        rest = {control.name: control.head for control in rig_probed.controls}
        rotations[keyed.torn] = rotations[body]
        offset = quaternions.rotate(rotations[body], rest[keyed.torn] - rest[body])
        positions[keyed.torn] = positions[body] + offset
    if ik_legs:
        offsets = _hip_offsets(target, rig_probed, pose)
        for limb, ik in ik_legs.items():
            side = limb.removesuffix("_leg")
            hip = pose.hips + offsets[:, ("left", "right").index(side)]
            leg = _ik_leg_transforms(target, rig_probed, pose, ik, side, hip)
            rotations |= leg.rotations
            positions |= leg.positions
    positions |= _loose_positions(target, rig_probed, pose, rotations, positions, loose)
    return controls.solve(rig_probed.controls, rotations, positions, len(pose.hips), written)


def _loose_positions(
    target: Target,
    rig_probed: ProbedRig,
    pose: Pose,
    rotations: Mapping[str, np.ndarray],
    positions: Mapping[str, np.ndarray],
    loose: Mapping[str, str],
) -> dict[str, np.ndarray]:
    """Where feet and hands that hang from elsewhere must be (F, 3), in armature space: at the ends of their limbs."""
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
