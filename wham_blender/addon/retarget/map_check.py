"""Checks a rig map before a bake: whether limbs are connected, sides and proportions are a body's, and bones have skin.

A map that names thumbs as legs gives keys as well as a right one, and what they do to the character is only seen later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

import bpy
import numpy as np

from ...skeleton import PHRASES
from . import armature as armatures
from . import reference_pose
from .maps import LIMBS, MapError, RigMap
from .rig_animation import bone_path

# (joint, its parent), of each side
_PARENTS = (
    ("knee", "hip"), ("ankle", "knee"), ("foot", "ankle"),
    ("shoulder", "collar"), ("elbow", "shoulder"), ("wrist", "elbow"),
)  # fmt: skip
_MAY_BE_LOOSE = ("ankle", "wrist")  # bones for IK: the bake keeps them at the ends of their limbs
_SIDES = ("left", "right")
# Ratios beyond the outer bounds are refused, beyond the inner ones reported. "size" is the length of trunk and legs.
# Measured: on the rigs of tests/rigs, on 525 of their variations (legs 0.5 to 1.4, arms 0.6 to 1.3 times as long), and
# on 11 character files by other makers, with chibi, robot and motion capture skeletons among them. The inner bounds are
# those values and a fifth more, the outer ones about twice as far.
_RATIOS: dict[str, tuple[float, float, float, float]] = {
    "the legs": (0.12, 0.33, 0.80, 0.93),  # of the size; measured 0.39 to 0.71
    "the arms": (0.08, 0.16, 0.83, 1.60),  # of the size; 0.19 to 0.69
    "the thighs": (0.12, 0.26, 0.72, 0.88),  # of the legs; 0.31 to 0.60
    "the upper arms": (0.12, 0.30, 0.72, 0.88),  # of the arms; 0.45 to 0.60
    "the distance of the hips": (0.01, 0.08, 0.63, 1.20),  # of the size; 0.12 to 0.52
    "the distance of the shoulders": (0.03, 0.12, 0.70, 1.50),  # of the size; 0.15 to 0.58
}
_LENGTHS_DIFFER = (1.35, 2.0)  # of left and right, reported and refused; measured up to 1.22
_PLACES_DIFFER = (0.10, 0.40)  # of a hip or shoulder to its mirror image, of the size; measured up to 0.05
_CROSSED = -0.05  # of the size: a left joint is so far on the right; measured: at least 0.09 on its own side
_FOLDED = -0.85  # cosine of the angle between the segments of a limb at rest; measured 0.68 and more
_LEGS_ALONG_TRUNK = -0.3  # cosine of the angle from the trunk, upwards, to the legs; measured up to -0.95
_TOES_BEHIND = -0.5  # of the foot's length; measured 0.54 ahead and more
_NO_LENGTH = 1e-4  # of the size: legs that are shorter have no direction
_SAME_PLACE = 0.05  # of the size: bones so near to one another may be two layers of one joint


class MapFault(MapError):
    """A map does not fit a rig; ``bones`` are those to correct."""

    def __init__(self, text: str, *, code: str, bones: tuple[str, ...] = ()) -> None:
        super().__init__(text, code=code)
        self.bones = bones


@dataclass(frozen=True)
class _Fit:
    """A map and the rig that it shall fit."""

    rig: bpy.types.Object
    rig_map: RigMap

    @property
    def name(self) -> str:
        return self.rig_map.name

    def bone(self, joint: str) -> str:
        return self.rig_map.bones.get(joint, "")

    def bones(self, *joints: str) -> tuple[str, ...]:
        return tuple(self.rig_map.bones[joint] for joint in joints if joint in self.rig_map.bones)

    def is_child_of(self, bone: str, above: str) -> bool:
        return any(each.name == above for each in self.rig.data.bones[bone].parent_recursive)

    def moved_by_others(self, bone: str) -> bool:
        """Whether controls, constraints or drivers may move a bone: then its parents do not tell what it follows."""
        if bone in self.rig_map.controls:
            return True
        bones = self.rig.pose.bones
        if any(not each.mute and each.influence for one in _and_above(bones[bone]) for each in one.constraints):
            return True
        drivers = self.rig.animation_data.drivers if self.rig.animation_data else ()
        return any(driver.data_path.startswith(bone_path(bone)) for driver in drivers)


def _and_above(bone: bpy.types.PoseBone) -> list[bpy.types.PoseBone]:
    return [bone, *bone.parent_recursive]


def joint_label(joint: str) -> str:
    """A joint, limb or bone of a chain in sentences: "the left knee", "the bone 2/4 of the spine"."""
    chain, _, number = joint.partition(" ")
    return f"the bone {number} of {PHRASES[chain]}" if number else PHRASES.get(joint, joint)


def check(rig: bpy.types.Object, rig_map: RigMap) -> list[str]:
    """Raise MapFault if a fitted map cannot be right for a rig; else what is unusual, as notes for the animator."""
    fit = _Fit(rig, rig_map)
    found = faults(rig, rig_map) or list(_skinless(fit))
    if found:
        raise found[0]
    return _notes(fit)


def faults(rig: bpy.types.Object, rig_map: RigMap) -> list[MapFault]:
    """What shows without a look at the meshes, which takes no time: hierarchy, sides and proportions."""
    fit = _Fit(rig, rig_map)
    found = [*_twice(fit), *_unconnected(fit)]
    if found:
        return found
    at_rest = list(_misshapen(fit, _Shape.of(rig_map, lambda bone: rig.data.bones[bone].head_local)))
    # The rest pose of a motion capture file may be none in which anyone could stand: then the pose as it is tells, or,
    # after a bake, the one that it had before.
    if not at_rest or not list(_misshapen(fit, _Shape.of(rig_map, lambda bone: rig.pose.bones[bone].head))):
        return []
    kept = reference_pose.kept_heads(rig)
    return at_rest if kept is None or list(_misshapen(fit, _Shape.of(rig_map, kept.__getitem__))) else []


# --- hierarchy -------------------------------------------------------------------------------------------------------


def _twice(fit: _Fit) -> Iterator[MapFault]:
    rig_map = fit.rig_map
    named = [(joint_label(joint), bone) for joint, bone in rig_map.mapped_bones().items()]
    named += [(joint_label("root"), rig_map.root)] if rig_map.root else []
    first: dict[str, str] = {}
    for joint, bone in named:
        if bone in first:
            yield MapFault(
                f"The rig map {fit.name} does not fit {fit.rig.name}: {bone} is named for {first[bone]} and for "
                f"{joint}. Choose another bone for one of them in the list of the rig map.",
                code="rig-map-bone-twice",
                bones=(bone,),
            )
        first.setdefault(bone, joint)


def _unconnected(fit: _Fit) -> Iterator[MapFault]:
    for side in _SIDES:
        for lower, upper in _PARENTS:
            joints = f"{side}_{lower}", f"{side}_{upper}"
            bone, above = map(fit.bone, joints)
            if not bone or not above or fit.is_child_of(bone, above):
                continue
            if fit.is_child_of(above, bone):
                yield MapFault(
                    f"The rig map {fit.name} does not fit {fit.rig.name}: {bone}, which is named for "
                    f"{joint_label(joints[0])}, is a parent of {above}, named for {joint_label(joints[1])}. Exchange "
                    "them in the list of the rig map.",
                    code="rig-map-not-connected",
                    bones=(bone, above),
                )
            elif lower not in _MAY_BE_LOOSE and not fit.moved_by_others(bone):
                yield MapFault(
                    f"The rig map {fit.name} does not fit {fit.rig.name}: {bone}, which is named for "
                    f"{joint_label(joints[0])}, is not a child of {above}, named for {joint_label(joints[1])}. Choose "
                    "bones of one limb in the list of the rig map.",
                    code="rig-map-not-connected",
                    bones=(bone, above),
                )
    yield from _in_another_limb(fit)
    rig_map = fit.rig_map
    trunk = [fit.bone("pelvis"), *rig_map.spine, *rig_map.neck, *fit.bones("head")]
    for below, bone in pairwise(trunk):
        if fit.is_child_of(below, bone):
            yield MapFault(
                f"The rig map {fit.name} does not fit {fit.rig.name}: {bone} is a parent of {below}, which is named "
                "for a part of the trunk below it. List the bones of spine and neck from the pelvis up.",
                code="rig-map-not-connected",
                bones=(bone, below),
            )


def _in_another_limb(fit: _Fit) -> Iterator[MapFault]:
    """Legs in hands, an arm in a leg, a head in an arm."""
    limbs = {bone: limb for limb, joints in LIMBS.items() for bone in fit.bones(*joints)}
    starts = {joints[0]: limb for limb, joints in LIMBS.items()}
    starts |= dict.fromkeys(("pelvis", "head"), "")
    for joint, own in starts.items():
        bone = fit.bone(joint)
        if not bone:
            continue
        carrier = next((each.name for each in fit.rig.data.bones[bone].parent_recursive if each.name in limbs), None)
        if carrier is not None and limbs[carrier] != own:
            yield MapFault(
                f"The rig map {fit.name} does not fit {fit.rig.name}: {bone}, which is named for {joint_label(joint)}, "
                f"is a child of {carrier}, which belongs to {joint_label(limbs[carrier])}. Correct them in the list of "
                "the rig map.",
                code="rig-map-not-connected",
                bones=(bone, carrier),
            )


# --- shape -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Shape:
    """The joints of a body in any unit and place."""

    at: dict[str, np.ndarray]  # joint -> (3,)

    @classmethod
    def of(cls, rig_map: RigMap, place: Callable[[str], object]) -> _Shape:
        return cls({joint: np.array(place(bone), float) for joint, bone in rig_map.bones.items()})

    def middle(self, part: str) -> np.ndarray:
        return np.mean([self.at[f"{side}_{part}"] for side in _SIDES], 0)

    def apart(self, part: str) -> np.ndarray:
        """From the right joint to the left one."""
        return self.at[f"left_{part}"] - self.at[f"right_{part}"]

    def segment(self, side: str, start: str, end: str) -> np.ndarray | None:
        first, second = self.at.get(f"{side}_{start}"), self.at.get(f"{side}_{end}")
        return None if first is None or second is None else second - first

    def length(self, start: str, end: str) -> float | None:
        """Of a segment, the mean of both sides."""
        found = [self.segment(side, start, end) for side in _SIDES]
        known = [float(np.linalg.norm(each)) for each in found if each is not None]
        return float(np.mean(known)) if known else None

    @property
    def trunk(self) -> np.ndarray:
        return self.middle("shoulder") - self.middle("hip")

    @property
    def legs(self) -> float:
        return (self.length("hip", "knee") or 0.0) + (self.length("knee", "ankle") or 0.0)

    @property
    def size(self) -> float:
        return max(float(np.linalg.norm(self.trunk)) + self.legs, 1e-12)

    @property
    def left(self) -> np.ndarray:
        """The direction (3,) to the left, by hips and shoulders."""
        return _unit(_unit(self.apart("hip")) + _unit(self.apart("shoulder")))

    def ratios(self) -> dict[str, tuple[float, tuple[str, ...]]]:
        """The names of `_RATIOS`, as far as they can be measured, with the joints that they belong to."""
        size, legs = self.size, self.legs
        upper, fore = self.length("shoulder", "elbow") or 0.0, self.length("elbow", "wrist")
        found = {
            "the legs": (legs / size, ("hip", "knee", "ankle")),
            "the thighs": ((self.length("hip", "knee") or 0.0) / max(legs, 1e-12), ("hip", "knee", "ankle")),
            "the distance of the hips": (float(np.linalg.norm(self.apart("hip"))) / size, ("hip",)),
            "the distance of the shoulders": (float(np.linalg.norm(self.apart("shoulder"))) / size, ("shoulder",)),
        }
        if fore is not None:
            arms = max(upper + fore, 1e-12)
            found["the arms"] = arms / size, ("shoulder", "elbow", "wrist")
            found["the upper arms"] = upper / arms, ("shoulder", "elbow", "wrist")
        return found

    def mirrored_off(self, part: str) -> float:
        """How far the left joint is from the mirror image of the right one, of the size."""
        middle = (self.middle("hip") + self.middle("shoulder")) / 2
        right = self.at[f"right_{part}"]
        image = right - 2 * self.left * ((right - middle) @ self.left)
        return float(np.linalg.norm(self.at[f"left_{part}"] - image)) / self.size

    def lengths_differ(self) -> Iterator[tuple[str, str, float]]:
        """(first joint, second joint, length of the longer side's segment divided by the other's)."""
        for start, end in (("hip", "knee"), ("knee", "ankle"), ("shoulder", "elbow"), ("elbow", "wrist")):
            both = [self.segment(side, start, end) for side in _SIDES]
            lengths = sorted(float(np.linalg.norm(each)) for each in both if each is not None)
            if len(lengths) == 2:
                yield start, end, lengths[1] / max(lengths[0], 1e-12)


def _unit(vector: np.ndarray) -> np.ndarray:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-12))


def _misshapen(fit: _Fit, shape: _Shape) -> Iterator[MapFault]:
    if shape.legs < _NO_LENGTH * shape.size:
        return  # the bake has a sentence on bones at one point
    yield from _wrong_sides(fit, shape)
    for limb, joints in LIMBS.items():
        if all(joint in shape.at for joint in joints):
            upper, lower = (_unit(shape.at[end] - shape.at[start]) for start, end in pairwise(joints))
            if upper @ lower < _FOLDED:
                yield MapFault(
                    f"The rig map {fit.name} does not fit {fit.rig.name}: {joint_label(limb)} folds back on "
                    f"itself, with the bones {', '.join(fit.bones(*joints))}. Put these bones in their order, or "
                    "choose others in the list of the rig map.",
                    code="rig-map-proportions",
                    bones=fit.bones(*joints),
                )
    legs = sum(shape.at[f"{side}_ankle"] - shape.at[f"{side}_hip"] for side in _SIDES)
    if (along := float(_unit(legs) @ _unit(shape.trunk))) > _LEGS_ALONG_TRUNK:
        yield MapFault(
            f"The rig map {fit.name} does not fit {fit.rig.name}: between trunk and legs there are "
            f"{np.degrees(np.arccos(-along)):.0f} degrees, as in an animal. A person's motion needs a character that "
            f"stands upright; {', '.join(fit.bones('left_hip', 'left_ankle'))} and {fit.bone('left_shoulder')} are "
            "named for hip, ankle and shoulder.",
            code="rig-map-proportions",
            bones=fit.bones("left_hip", "left_ankle", "left_shoulder"),
        )
    for name, (value, parts) in shape.ratios().items():
        lowest, _, _, highest = _RATIOS[name]
        if not lowest <= value <= highest:
            bones = fit.bones(*(f"{side}_{part}" for side in _SIDES for part in parts))
            yield MapFault(
                f"The rig map {fit.name} does not fit {fit.rig.name}: its proportions are no person's "
                f"({_measured(name, value)}). Correct {', '.join(bones)} in the list of the rig map, or choose another "
                "character.",
                code="rig-map-proportions",
                bones=bones,
            )
    for start, end, ratio in shape.lengths_differ():
        if ratio > _LENGTHS_DIFFER[1]:
            bones = fit.bones(*(f"{side}_{part}" for side in _SIDES for part in (start, end)))
            yield MapFault(
                f"The rig map {fit.name} does not fit {fit.rig.name}: left and right differ, as "
                f"{_longer(start, end, ratio)}. Correct {', '.join(bones)} in the list of the rig map.",
                code="rig-map-not-symmetric",
                bones=bones,
            )
    for part in ("hip", "shoulder"):
        if (off := shape.mirrored_off(part)) > _PLACES_DIFFER[1]:
            bones = fit.bones(f"left_{part}", f"right_{part}")
            yield MapFault(
                f"The rig map {fit.name} does not fit {fit.rig.name}: {bones[0]} and {bones[1]} are no mirror images "
                f"of each other, {off:.0%} of the body apart. Correct them in the list of the rig map.",
                code="rig-map-not-symmetric",
                bones=bones,
            )


def _wrong_sides(fit: _Fit, shape: _Shape) -> Iterator[MapFault]:
    if _unit(shape.apart("hip")) @ _unit(shape.apart("shoulder")) < 0:
        bones = fit.bones("left_hip", "right_hip", "left_shoulder", "right_shoulder")
        yield MapFault(
            f"The rig map {fit.name} does not fit {fit.rig.name}: {bones[0]} and {bones[1]} are named for left and "
            f"right of the legs, {bones[2]} and {bones[3]} of the arms, and they lie the other way round. Exchange "
            "left and right of legs or arms in the list of the rig map.",
            code="rig-map-sides",
            bones=bones,
        )
        return
    left, size = shape.left, shape.size
    for part in ("knee", "ankle", "foot", "elbow", "wrist", "collar"):
        bones = fit.bones(f"left_{part}", f"right_{part}")
        if len(bones) == 2 and shape.apart(part) @ left < _CROSSED * size:
            yield MapFault(
                f"The rig map {fit.name} does not fit {fit.rig.name}: {bones[0]}, which is named for "
                f"{joint_label(f'left_{part}')}, lies on the right of {bones[1]}, named for "
                f"{joint_label(f'right_{part}')}. Exchange them in the list of the rig map.",
                code="rig-map-sides",
                bones=bones,
            )
    feet = [shape.segment(side, "ankle", "foot") for side in _SIDES]
    ahead = np.cross(left, _unit(shape.trunk))
    if all(foot is not None and _unit(foot) @ ahead < _TOES_BEHIND for foot in feet):
        bones = fit.bones("left_foot", "right_foot")
        yield MapFault(
            f"The rig map {fit.name} does not fit {fit.rig.name}: the toes {bones[0]} and {bones[1]} point backwards, "
            "so that left and right of the whole body are exchanged. Exchange them in the list of the rig map.",
            code="rig-map-sides",
            bones=bones,
        )


def _measured(name: str, value: float) -> str:
    """What is unusual, as a clause."""
    _, low, high, _ = _RATIOS[name]
    whole = {"the thighs": "the legs", "the upper arms": "the arms"}.get(name, "trunk and legs")
    return f"{name}: {value:.0%} of the length of {whole} ({low:.0%} to {high:.0%} is usual)"


def _longer(start: str, end: str, ratio: float) -> str:
    """That a segment of one side is longer than the other's, as a clause."""
    return f"from {joint_label(start)} to {joint_label(end)} one side is {ratio:.1f} times as long"


# --- skin ------------------------------------------------------------------------------------------------------------


def _skinless(fit: _Fit) -> Iterator[MapFault]:
    """Bones that deform nothing of the mesh, beside another bone that deforms it there."""
    weights = armatures.deformed_vertices(fit.rig)
    if weights is None:
        return
    shape = _Shape.of(fit.rig_map, lambda bone: fit.rig.data.bones[bone].head_local)
    followers = _constrained_to(fit.rig)
    taken = {*fit.rig_map.mapped_bones().values(), *(bone for names in fit.rig_map.twists.values() for bone in names)}
    for joint in (joint for joints in LIMBS.values() for joint in joints if joint in fit.rig_map.bones):
        bone = fit.bone(joint)
        if _deforms(fit.rig, followers, bone, weights):
            continue
        place = shape.at[joint]
        near = {
            other: float(np.linalg.norm(np.array(fit.rig.data.bones[other].head_local) - place))
            for other, weight in weights.items()
            if weight > 0 and other not in taken
        }
        near = {other: distance for other, distance in near.items() if distance < _SAME_PLACE * shape.size}
        near = {other: distance for other, distance in near.items() if not fit.moved_by_others(other)}
        side, _, part = joint.partition("_")
        counterpart = fit.bone(f"{'right' if side == 'left' else 'left'}_{part}")
        nearest = min(near, key=near.__getitem__, default="")
        if nearest:
            yield MapFault(
                f"The rig map {fit.name} does not fit {fit.rig.name}: {bone}, which is named for {joint_label(joint)}, "
                f"deforms nothing of the mesh, and {nearest} deforms it there. Choose that one in the list of the rig "
                "map.",
                code="rig-map-no-skin",
                bones=(bone,),
            )
        elif counterpart and _deforms(fit.rig, followers, counterpart, weights):
            yield MapFault(
                f"The rig map {fit.name} does not fit {fit.rig.name}: {bone}, which is named for {joint_label(joint)}, "
                f"deforms nothing of the mesh, and {counterpart} on the other side does. Choose the bone that deforms "
                "it in the list of the rig map.",
                code="rig-map-no-skin",
                bones=(bone,),
            )


def _deforms(rig: bpy.types.Object, followers: Mapping[str, set[str]], bone: str, weights: Mapping[str, float]) -> bool:
    """Whether a bone deforms vertices itself, or by bones below it and bones that constraints make follow them."""
    bones, found, new = rig.pose.bones, {bone}, [bone]
    while new:
        name = new.pop()
        if weights.get(name, 0.0) > 0:
            return True
        beside = {child.name for child in bones[name].children} | followers.get(name, set())
        new += beside - found
        found |= beside
    return False


def _constrained_to(rig: bpy.types.Object) -> dict[str, set[str]]:
    """Bone -> bones that constraints make follow it."""
    found: dict[str, set[str]] = {}
    for bone in rig.pose.bones:
        for constraint in bone.constraints:
            targets = [constraint, *getattr(constraint, "targets", ())]
            for target in targets if not constraint.mute else ():
                if getattr(target, "target", None) == rig and getattr(target, "subtarget", ""):
                    found.setdefault(target.subtarget, set()).add(bone.name)
    return found


# --- what is only unusual --------------------------------------------------------------------------------------------


def _notes(fit: _Fit) -> list[str]:
    shape = _Shape.of(fit.rig_map, lambda bone: fit.rig.data.bones[bone].head_local)
    unusual = [
        _measured(name, value)
        for name, (value, _) in shape.ratios().items()
        if not _RATIOS[name][1] <= value <= _RATIOS[name][2]
    ]
    unusual += [
        _longer(start, end, ratio) for start, end, ratio in shape.lengths_differ() if ratio > _LENGTHS_DIFFER[0]
    ]
    unusual += [
        f"{fit.bone(f'left_{part}')} and {fit.bone(f'right_{part}')} are no mirror images of each other"
        for part in ("hip", "shoulder")
        if shape.mirrored_off(part) > _PLACES_DIFFER[0]
    ]
    return [f"its proportions are unusual, check whether the map is right: {'; '.join(unusual)}"] if unusual else []
