"""Bakes an imported character's motion onto another rig: retargets it and keys the rig's controls in a new action."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import bpy
import numpy as np

from ...animation import Animation, evenly, resampled, with_arms_spread
from ..scene import character
from ..scene.checks import check_frames, check_numbers
from ..scene.units import metres_per_unit
from . import armature as armatures
from . import (
    bake_check,
    controls,
    finger_bones,
    foot_locking,
    leftovers,
    leg_error,
    map_check,
    pose_backup,
    reference_pose,
    result_check,
    rig_action,
    rig_animation,
    root,
    transfer,
)
from .bake_options import BakeError, Options
from .control_keys import control_keys, hip_offsets
from .leg_error import Leg
from .maps import LIMBS, LimbIK, MapError, RigMap, mirrored
from .measured_rig import MeasuredRig, measure
from .reference_pose import ReferencePose
from .rig_action import BakedAction, Reducer, Reduction, RigMotion
from .rig_probe import ProbedRig
from .transfer import Pose, Space, Target

_LARGEST = 1e12  # of a keyframe value; rigs may be built in thousandths of a millimetre


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
            "rig a bone on the floor that is the parent of all others, and name it in the map.",
            code="no-root-bone",
        )
    notes = map_check.check(rig, rig_map)
    motion = character.read(source)
    metres, shown = metres_per_unit(source), motion
    motion = evenly(with_arms_spread(motion, options.arm_spread))
    space, object_motion = _object(rig, motion.frames, metres, options)
    rig_map = _with_fingers(rig, rig_map, motion)
    if np.linalg.det(space.axes) < 0:
        rig_map = mirrored(rig_map)
    keyed, without_fingers = _measured(rig, rig_map, space, options)
    target, rig_probed, ik_legs = keyed.target, keyed.rig_probed, keyed.ik_legs
    rate = character.key_rate(source, motion)
    pose = transfer.retarget(motion, target)
    if options.plant_feet:
        pose = foot_locking.lock_feet(motion, target, pose, hip_offsets(target, rig_probed, pose), rate)
    root_path = root.root_path(motion, target, pose, rate) if options.root_motion else None
    if object_motion is not None:
        pose = rig_animation.carried_pose(pose, object_motion)
        root_path = root_path and rig_animation.carried_path(root_path, object_motion)
    check_frames(motion.frames, rig.name)
    keys = control_keys(keyed, pose, root_path, controls.Written())
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
            still = bake_check.check_rig(rig, target, rig_probed, pose, rig_motion, tolerance)
        if still:
            baked.warnings.append(_held_fingers(rig, f"{leftovers.listed(still)} do not rotate as they are keyed"))
        _add_leftovers(baked, rig, keys, keyed.deforming_parent, motion.frames)
    reference_pose.keep(rig, keyed.reference)
    if not keyed.reference.is_rest:
        notes.append("the pose that it was in counts as its rest")
    notes += result_check.notes(rig, target, rig_probed, motion, metres, options.plant_feet)
    baked.notes += notes
    baked.warnings += without_fingers
    if object_motion is not None:
        baked.notes.append("its object moves, and the keyframes compensate for that")
    if held:
        count = len({bone for bone, _ in held.values()})
        bones = f"{count} bones" if count > 1 else next(iter(held.values()))[0]
        baked.notes.append(f"a key holds other channels of {bones}, which leftover values or NLA tracks would move")
    return baked


def _add_leftovers(
    baked: BakedAction, rig: bpy.types.Object, keys: controls.Keys, parent: str, frames: np.ndarray
) -> None:
    """Add what is to be said about what the rig has been left with."""
    if uneven := leftovers.unevenly_scaled(rig, keys.controls):
        baked.notes.append(f"the uneven scale that {leftovers.listed(uneven)} had is 1 in the new action")
    if parent:
        baked.notes.append(f"{parent} moves with the hips, as it deforms vertices next to theirs")
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
    rig_map = _with_fingers(rig, rig_map, motion)
    if np.linalg.det(space.axes) < 0:
        rig_map = mirrored(rig_map)
    keyed, _ = _measured(rig, rig_map, space, options)
    shown = resampled(motion, np.clip([frame], motion.frames[0], motion.frames[-1]))
    pose = transfer.retarget(shown, keyed.target, transfer.ground(motion, keyed.target))
    keys = control_keys(keyed, pose, None, controls.Written())
    return keys, _held(rig, keys, keyed.reference, options)


def _measured(rig: bpy.types.Object, rig_map: RigMap, space: Space, options: Options) -> tuple[MeasuredRig, list[str]]:
    """See `measure`. If only the fingers cannot be keyed, a rig without them, and a warning that says why."""
    try:
        return measure(rig, rig_map, space, options), []
    except MapError as error:
        if not rig_map.fingers:
            raise
        measured = measure(rig, replace(rig_map, fingers={}), space, options)
        return measured, [_held_fingers(rig, str(error).removesuffix("."))]


def _held_fingers(rig: bpy.types.Object, reason: str) -> str:
    return f"Not all fingers of {rig.name} have the motion: {reason}. Mute their constraints and drivers to bake them."


def _with_fingers(rig: bpy.types.Object, rig_map: RigMap, motion: Animation) -> RigMap:
    """The map with all fingers that the rig has; with none if the motion has none, so that they keep their pose."""
    if motion.fingertips is None:
        return replace(rig_map, fingers={})
    return finger_bones.complete(rig_map, armatures.rest_skeleton(rig, skin=False))


def _held(
    rig: bpy.types.Object, keys: controls.Keys, reference: ReferencePose, options: Options
) -> dict[str, tuple[str, np.ndarray]]:
    """See rig_animation.held_channels."""
    paths = {rig_action.path_of(rig, control, rotation=False) for control in keys.locations}
    paths |= {rig_action.path_of(rig, control, rotation=True) for control in keys.rotations}
    return rig_animation.held_channels(rig, keys.controls, paths, options.nla_strip, reference)


def _reduced_keys(
    keyed: MeasuredRig,
    pose: Pose,
    root_path: tuple[np.ndarray, np.ndarray] | None,
    full: controls.Keys,
    reducer: Reducer,
) -> controls.Keys:
    """The keys, solved with keyframe reduction, of which ``full`` are the ones without."""
    legs, tolerance = _legs(keyed.target, keyed.rig_probed, keyed.ik_legs), reducer.reduction.angle
    rows = np.array([True])
    while rows.any():
        keys = control_keys(keyed, pose, root_path, reducer)
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
            f"{rig.name} cannot get a motion: {error}. Correct these values in its properties.", code="rig-scale-zero"
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
