"""A motion onto somebody else's rig: read the source, carry it over, key the rig's controls in a new action."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import bpy
import numpy as np

from .. import quaternions
from ..animation import Animation
from . import character, rig_action
from .retarget import controls, response, root, transfer
from .retarget.maps import LIMBS, MapError, RigMap, mirrored
from .retarget.transfer import Pose, Space, Target
from .rig_action import Written

_FLOOR_ABOVE, _FLOOR_BELOW = 0.02, 0.15  # of a leg: where an armature's origin may lie from its feet to be the floor
_TOE, _HEEL = 0.6, 0.35  # of the toes' length before the ball, and of the foot's length behind the ankle


class BakeError(Exception):
    """A motion cannot be baked onto a rig; the text is a sentence for the animator."""


@dataclass(frozen=True)
class Options:
    """How a motion is baked."""

    root_motion: bool = False  # on the map's root bone instead of the hips alone
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
    motion = character.read(source)
    try:
        space = Space.of_matrix(np.array(rig.matrix_world))
    except ValueError as error:
        raise BakeError(f"{rig.name} cannot get a motion: {error}. Give it a size again.") from error
    if np.linalg.det(space.axes) < 0:
        rig_map = mirrored(rig_map)
    twists = _keyed_twists(rig, rig_map)
    roots = [rig_map.root] if options.root_motion else []
    located = [*roots, rig_map.control(rig_map.mover)]
    names = list(dict.fromkeys([*roots, *map(rig_map.control, rig_map.played().values()), *twists]))
    hips = [rig_map.bones[f"{side}_hip"] for side in ("left", "right")]
    bones = [*roots, *rig_map.played().values(), *twists]
    found = response.measure(rig, rig_map, names, located, hips, bones)
    if roots and not _carries(found, rig_map.root, located[-1]):
        raise BakeError(
            f"{rig_map.root}, which the rig map {rig_map.name} names as root, does not carry the pelvis of {rig.name}. "
            "Correct the map, or keep the motion on the hips."
        )
    target = _target(rig, rig_map, space, found, twists)
    pose = transfer.carry_over(motion, target)
    way = root.way(motion, target, pose, character.key_rate(source, motion)) if options.root_motion else None
    keys = _keys(target, found, pose, way)
    thinning = _thinning(target, found, motion, options) if options.thin else None
    return rig_action.write(source, rig, rig_map, motion.frames, keys, thinning, options.strip)


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


def _carries(found: response.Response, root: str, mover: str) -> bool:
    """Whether one control moves and turns with another."""
    names = [one.name for one in found.controls]
    for way in ("turns_with", "moves_with"):
        place = names.index(mover)
        while place >= 0 and names[place] != root:
            place = getattr(found.controls[place], way)
        if place < 0:
            return False
    return True


def _target(
    rig: bpy.types.Object, rig_map: RigMap, space: Space, found: response.Response, twists: list[str]
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
    return replace(target, soles=_soles(target))


def _soles(target: Target) -> np.ndarray:
    """About where toes and heels (4, 3) are, from the bones of the feet: on the floor that the rig stands on at rest.

    That is the level of the armature's origin where this can be, else the lowest end of a foot's bones.
    """
    stand = target.standing()
    up, front = quaternions.rotate(stand, np.array([[0.0, 0.0, 1.0], [0.0, -1.0, 0.0]]))
    feet = []
    for side in ("left", "right"):
        ankle = target.joint(f"{side}_ankle")
        toes = target.rig_map.bones.get(f"{side}_foot")
        ball = target.heads[toes] if toes else target.tails[target.rig_map.bones[f"{side}_ankle"]]
        feet.append((ankle, ball, target.tails[toes] if toes else ball))
    leg = np.linalg.norm(target.direction("left_hip")) + np.linalg.norm(target.direction("left_knee"))
    lowest = float(np.min(np.array(feet) @ up))
    origin = float(target.space.origin @ up)
    floor = origin if -_FLOOR_BELOW * leg < origin - lowest < _FLOOR_ABOVE * leg else lowest
    soles = []
    for ankle, ball, tip in feet:
        along = ball - ankle - up * ((ball - ankle) @ up)
        if np.linalg.norm(along) < 0.05 * leg:
            along = 0.2 * leg * front
        for point in (ankle + along + _TOE * (tip - ball), ankle - _HEEL * along):
            soles.append(point + up * (floor - point @ up))
    return np.array(soles)


def _thinning(target: Target, found: response.Response, motion: Animation, options: Options) -> rig_action.Thinning:
    """What may be left out, and where feet are planted."""
    rig_map = target.rig_map
    carriers: dict[str, np.ndarray] = {}
    for number, side in enumerate(("left", "right")):
        planted = motion.contacts[:, 2 * number : 2 * number + 2].any(1)
        roles = ("pelvis", *(f"{side}_{part}" for part in ("hip", "knee", "ankle", "foot")))
        bones = [rig_map.mover, *(rig_map.bones[role] for role in roles if role in rig_map.bones)]
        for control in {rig_map.root, *map(rig_map.control, bones)}:
            carriers[control] = carriers.get(control, np.zeros_like(planted)) | planted
    scale = target.space.scale
    metres = {one.name: scale * float(np.linalg.norm(one.shift, 2)) for one in found.controls}
    return rig_action.Thinning(options.angle, options.distance, target.leg_length(), metres, carriers)


def _keys(
    target: Target, found: response.Response, pose: Pose, way: tuple[np.ndarray, np.ndarray] | None
) -> controls.Keys:
    """The keys that give the rig's controls a pose, and its root bone a way over the ground."""
    rig_map, space = target.rig_map, target.space
    count = len(pose.hips)
    wanted = {rig_map.control(bone): space.turns_to_armature(turns) for bone, turns in pose.turns.items()}
    roots = {}
    if way is not None:
        wanted[rig_map.root] = space.turns_to_armature(way[0])
        roots[rig_map.root] = space.to_armature(way[1])
    mover = rig_map.control(rig_map.mover)
    hips = [number for number, one in enumerate(found.controls) if one.name in _hips(rig_map)]
    turns = controls.turns_of(found.controls, wanted, count)
    _, heads = controls.heads_of(found.controls, turns, {**roots, mover: np.zeros((count, 3))})
    carried = np.mean([heads[number] for number in hips], 0)
    _, pushed = controls.heads_of(found.controls, turns, {**roots, mover: np.ones((count, 3))})
    if any(np.abs(pushed[number] - heads[number] - 1.0).max() > 1e-6 for number in hips):
        raise MapError(
            f"The legs do not follow {mover}, which the rig map {rig_map.name} names for the pelvis. Correct the map."
        )
    places = {**roots, mover: space.to_armature(pose.hips) - carried}
    return controls.keys(found.controls, wanted, places, count)


def _hips(rig_map: RigMap) -> list[str]:
    return [rig_map.bones[f"{side}_hip"] for side in ("left", "right")]
