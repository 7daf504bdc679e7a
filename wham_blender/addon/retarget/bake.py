"""A motion onto somebody else's rig: read the source, carry it over, key the rig's controls in a new action."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

import bpy
import numpy as np

from ... import quaternions
from ...animation import Animation, with_arms_spread
from ..scene import character
from . import controls, foot_geometry, foot_locking, rig_action, rig_probe, root, transfer
from .maps import LIMBS, LimbIK, MapError, RigMap, mirrored
from .rig_action import Written
from .transfer import Pose, Space, Target


class BakeError(Exception):
    """A motion cannot be baked onto a rig; the text is a sentence for the animator."""


@dataclass(frozen=True)
class Options:
    """How a motion is baked."""

    plant_feet: bool = True  # legs bend so that feet stand still where the motion's do; else they only point as its do
    root_motion: bool = False  # on the map's root bone instead of the hips alone
    arm_spread: float = 0.0  # radians that arms turn outwards
    thin: bool = False  # leave out keys, as far as the next two allow
    angle: float = np.radians(0.5)  # radians
    distance: float = 0.005  # metres
    strip: bool = False  # into a strip of the NLA instead of the rig's action


def bake(source: bpy.types.Object, rig: bpy.types.Object, rig_map: RigMap, options: Options) -> Written:
    """Bake the motion of an imported character onto a rig, as a new action.

    Raises BakeError, CharacterError or MapError before anything is changed.
    """
    refuse(rig)
    if options.root_motion and not rig_map.root:
        raise BakeError(
            f"The rig map {rig_map.name} names no root bone for {rig.name}. Keep the motion on the hips, or give the "
            "rig a bone on the floor that carries all others, and name it in the map."
        )
    motion = with_arms_spread(character.read(source), options.arm_spread)
    try:
        space = Space.of_matrix(np.array(rig.matrix_world))
    except ValueError as error:
        raise BakeError(f"{rig.name} cannot get a motion: {error}. Give it a size again.") from error
    if np.linalg.det(space.axes) < 0:
        rig_map = mirrored(rig_map)
    twists = _keyed_twists(rig, rig_map)
    roots = [rig_map.root] if options.root_motion else []
    legs = _legs_on_ik(rig_map) if options.plant_feet else {}
    located = [*roots, rig_map.control(rig_map.mover), *(name for ik in legs.values() for name in (ik.target, ik.pole))]
    toes = [ik.toe for ik in legs.values() if ik.toe]
    names = list(dict.fromkeys([*located, *map(rig_map.control, rig_map.played().values()), *twists, *toes]))
    hips = [rig_map.bones[f"{side}_hip"] for side in ("left", "right")]
    bones = [*roots, *rig_map.played().values(), *twists]
    found = rig_probe.measure(rig, rig_map, names, located, hips, bones)
    if roots and not _carries(found, rig_map.root, rig_map.control(rig_map.mover)):
        raise BakeError(
            f"{rig_map.root}, which the rig map {rig_map.name} names as root, does not carry the pelvis of {rig.name}. "
            "Correct the map, or keep the motion on the hips."
        )
    target = _target(rig, rig_map, space, found, twists)
    rate = character.key_rate(source, motion)
    pose = transfer.carry_over(motion, target)
    if options.plant_feet:
        pose = foot_locking.plant(motion, target, pose, _spread(target, found, pose), rate)
    way = root.way(motion, target, pose, rate) if options.root_motion else None
    keys = _keys(target, found, pose, way, legs)
    thinning = _thinning(target, found, motion, options, legs) if options.thin else None
    return rig_action.write(source, rig, rig_map, motion.frames, keys, thinning, options.strip, legs)


def refuse(rig: bpy.types.Object) -> None:
    """Raise BakeError where a rig cannot be keyed."""
    if rig.type != "ARMATURE":
        raise BakeError(f"{rig.name} is no armature. Select the armature of the character that shall get the motion.")
    if character.is_character(rig):
        raise BakeError(f"{rig.name} is an imported motion itself. Select the rig that shall get the motion.")
    if rig.library is not None:
        raise BakeError(
            f"{rig.name} is linked from {bpy.path.basename(rig.library.filepath)} and cannot be keyed. Make a library "
            "override of it first: Object > Library Override > Make."
        )
    if rig.override_library is not None and rig.override_library.is_system_override:
        raise BakeError(
            f"The library override of {rig.name} is locked. Make it editable first: right-click it in the Outliner, "
            "Library Override > Make > Selected."
        )
    if rig.animation_data is not None and rig.animation_data.use_tweak_mode:
        raise BakeError(f"A strip of {rig.name} is open in the NLA editor. Leave its tweak mode first (Tab).")


def _keyed_twists(rig: bpy.types.Object, rig_map: RigMap) -> list[str]:
    """The twist bones that are keyed: those of limbs whose bones are; where controls are keyed, the rig twists."""
    return [
        name
        for joint, names in rig_map.twists.items()
        if joint in rig_map.bones and rig_map.bones[joint] not in rig_map.controls
        for name in names
    ]


def _carries(found: rig_probe.Response, root: str, mover: str) -> bool:
    """Whether one control moves and turns with another."""
    names = [one.name for one in found.controls]
    for way in ("turns_with", "moves_with"):
        place = names.index(mover)
        while place >= 0 and names[place] != root:
            place = getattr(found.controls[place], way)
        if place < 0:
            return False
    return True


def _legs_on_ik(rig_map: RigMap) -> dict[str, LimbIK]:
    """The legs that IK controls can drive: planted feet are keyed on those."""
    return {limb: ik for limb, ik in rig_map.ik.items() if "leg" in limb and ik.target and ik.pole and ik.switch}


def _target(
    rig: bpy.types.Object, rig_map: RigMap, space: Space, found: rig_probe.Response, twists: list[str]
) -> Target:
    bones = rig.data.bones
    inside = set()
    for joints in LIMBS.values():
        for joint, following in pairwise(joints):
            if following in rig_map.bones:
                above = {bone.name for bone in bones[rig_map.bones[following]].parent_recursive}
                inside |= above & set(rig_map.twists.get(joint, ()))
    kept = {joint: tuple(name for name in names if name in twists) for joint, names in rig_map.twists.items()}
    target = Target(
        rig_map=replace(rig_map, twists=kept),
        space=space,
        heads={bone: space.from_armature(point) for bone, point in found.heads.items()},
        tails={bone: space.from_armature(point) for bone, point in found.tails.items()},
        soles=np.zeros((4, 3)),
        inside=frozenset(inside),
    )
    return replace(target, soles=foot_geometry.soles(target))


def _thinning(
    target: Target, found: rig_probe.Response, motion: Animation, options: Options, legs: Mapping[str, LimbIK]
) -> rig_action.Thinning:
    """What may be left out, and where feet are planted."""
    rig_map = target.rig_map
    carriers: dict[str, np.ndarray] = {}
    for number, side in enumerate(("left", "right")):
        planted = motion.contacts[:, 2 * number : 2 * number + 2].any(1)
        roles = ("pelvis", *(f"{side}_{part}" for part in ("hip", "knee", "ankle", "foot")))
        bones = [rig_map.mover, *(rig_map.bones[role] for role in roles if role in rig_map.bones)]
        ik = legs.get(f"{side}_leg")
        for control in {rig_map.root, *map(rig_map.control, bones), *((ik.target, ik.toe) if ik else ())}:
            carriers[control] = carriers.get(control, np.zeros_like(planted)) | planted
    scale = target.space.scale
    metres = {one.name: scale * float(np.linalg.norm(one.shift, 2)) for one in found.controls}
    return rig_action.Thinning(options.angle, options.distance, target.leg_length(), metres, carriers)


def _turns(target: Target, pose: Pose) -> dict[str, np.ndarray]:
    """How controls turn (F, 4) in the armature's space."""
    return {target.rig_map.control(bone): target.space.turns_to_armature(turns) for bone, turns in pose.turns.items()}


def _carried_hips(
    target: Target, found: rig_probe.Response, turns: Mapping[str, np.ndarray], places: Mapping[str, np.ndarray]
) -> np.ndarray:
    """Where both hips (2, F, 3) are in the armature's space while the control that moves the body is at zero.

    Raises MapError where they do not go with it.
    """
    rig_map = target.rig_map
    mover = rig_map.control(rig_map.mover)
    names = [one.name for one in found.controls]
    hips = [names.index(rig_map.bones[f"{side}_hip"]) for side in ("left", "right")]
    count = len(turns[mover])
    full = controls.turns_of(found.controls, turns, count)
    _, heads = controls.heads_of(found.controls, full, {**places, mover: np.zeros((count, 3))})
    _, pushed = controls.heads_of(found.controls, full, {**places, mover: np.ones((count, 3))})
    if any(np.abs(pushed[hip] - heads[hip] - 1.0).max() > 1e-6 for hip in hips):
        raise MapError(
            f"The legs do not follow {mover}, which the rig map {rig_map.name} names for the pelvis. Correct the map."
        )
    return np.array([heads[hip] for hip in hips])


def _spread(target: Target, found: rig_probe.Response, pose: Pose) -> np.ndarray:
    """Where both hips (F, 2, 3) are from the middle between them, in the body's space."""
    hips = target.space.from_armature(_carried_hips(target, found, _turns(target, pose), {}))
    return np.moveaxis(hips - hips.mean(0), 0, 1)


def _keys(
    target: Target,
    found: rig_probe.Response,
    pose: Pose,
    way: tuple[np.ndarray, np.ndarray] | None,
    legs: Mapping[str, LimbIK],
) -> controls.Keys:
    """The keys that give the rig's controls a pose, and its root bone a way over the ground.

    Legs on IK have their FK controls keyed all the same, so that their switch can be set back.
    """
    rig_map, space = target.rig_map, target.space
    wanted = _turns(target, pose)
    places = {}
    if way is not None:
        wanted[rig_map.root] = space.turns_to_armature(way[0])
        places[rig_map.root] = space.to_armature(way[1])
    mover = rig_map.control(rig_map.mover)
    places[mover] = space.to_armature(pose.hips) - _carried_hips(target, found, wanted, places).mean(0)
    if legs:
        spread = _spread(target, found, pose)
        for limb, ik in legs.items():
            side = limb.removesuffix("_leg")
            hip = pose.hips + spread[:, ("left", "right").index(side)]
            _add_leg(target, found, pose, side, ik, hip, wanted, places)
    return controls.keys(found.controls, wanted, places, len(pose.hips))


def _add_leg(
    target: Target,
    found: rig_probe.Response,
    pose: Pose,
    side: str,
    ik: LimbIK,
    hip: np.ndarray,
    wanted: dict[str, np.ndarray],
    places: dict[str, np.ndarray],
) -> None:
    """Add how a leg's IK controls turn, and their places, to what is keyed."""
    bones, space = target.rig_map.bones, target.space
    rest = {one.name: one.head for one in found.controls}
    foot, toes = bones[f"{side}_ankle"], bones.get(f"{side}_foot")
    knee = hip + target.vector(f"{side}_hip", pose.turns)
    ankle = space.to_armature(knee + target.vector(f"{side}_knee", pose.turns))
    knee, ahead = (space.to_armature(points) for points in (knee, knee + pose.bends[f"{side}_leg"]))
    wanted[ik.target] = space.turns_to_armature(pose.turns[foot])
    places[ik.target] = ankle + quaternions.rotate(wanted[ik.target], rest[ik.target] - found.heads[foot])
    away = np.linalg.norm(rest[ik.pole] - found.heads[bones[f"{side}_knee"]])
    places[ik.pole] = knee + away * quaternions.normalized(ahead - knee)
    if toes and ik.toe:
        wanted[ik.toe] = space.turns_to_armature(pose.turns[toes])
