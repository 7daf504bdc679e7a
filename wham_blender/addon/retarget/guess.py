"""Guesses which bones of an unknown armature play which joint, from their names and from where they lie. NumPy only.

Names are read in many languages (``words``). Where they say nothing, the rest pose does: a person is symmetric, stands
on a pair of legs whose halves are alike, and has arms whose parts keep certain proportions. Both count together: of
all chains of bones the one is taken that fits best.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from . import bone_names
from .maps import LIMBS, MapError, RigMap

# Lengths of the parts of limbs against each other as in people (Drillis and Contini's segment lengths), with spreads
# wide enough for cartoon characters: mean and standard deviation of the logarithm of the ratio.
_THIGH_TO_SHIN = (0.0, 0.25)
_FOOT_TO_SHIN = (math.log(0.5), 0.5)
_LEG_TO_HEIGHT = (math.log(0.49), 0.35)
_UPPER_TO_FOREARM = (math.log(1.15), 0.25)
_HAND_TO_FOREARM = (math.log(0.75), 0.5)
_ARM_TO_LEG = (math.log(0.65), 0.8)
_NAMED = 2.0  # how much a name counts for the part that it says, and against every other
_LEAST_SCORE = -9.0  # of a limb whose names say nothing; below it is none
_SYMMETRIC = 0.02  # of the height: how far a bone may lie from its mirror image
_LARGEST = 2000  # bones

# A limb's score for a chain and three places in it, with names and of the shape alone; None where it can be no limb.
_Score = Callable[[Sequence[int], tuple[int, int, int]], tuple[float, float] | None]


@dataclass(frozen=True)
class Skeleton:
    """An armature's rest pose, in any unit."""

    names: tuple[str, ...]
    parents: tuple[int, ...]  # -1 for a root; a parent may come after its children
    heads: np.ndarray  # (N, 3)
    tails: np.ndarray  # (N, 3)


@dataclass(frozen=True)
class Guess:
    """A map and how sure each of its bones is."""

    rig_map: RigMap
    confidence: dict[str, float]  # bone -> 0 to 1; for every bone of ``rig_map.played()``


@dataclass(frozen=True)
class _Limb:
    """Three bones of a chain on the left side, or on the side that lies at positive x while left is not known."""

    chain: tuple[int, ...]  # from the bone at the trunk to the tip
    joints: tuple[int, int, int]  # places in the chain: hip, knee, ankle or shoulder, elbow, wrist
    score: float
    shape: float  # the part of the score that names have no part in

    def bones(self) -> tuple[int, ...]:
        return tuple(self.chain[place] for place in self.joints)


def guess(name: str, skeleton: Skeleton) -> Guess:
    """Find the joints of a two-legged rig that stands upright in its rest pose, z or y up.

    Raises MapError with a sentence where there are no legs or arms, or four legs.
    """
    if not 6 <= len(skeleton.names) <= _LARGEST:
        raise MapError(
            f"{name} has {len(skeleton.names)} bones; a character has between 6 and {_LARGEST}. "
            "Choose the armature of a character."
        )
    tried: list[tuple[float, Guess]] = []
    refusal: MapError | None = None
    # Which way is up and which way to the side; the first is Blender's own and wins where others are as good.
    for axes in ((0, 1, 2), (1, 0, 2), (0, 2, 1), (2, 0, 1)):
        try:
            tried.append(_Body(name, skeleton, axes).guess())
        except MapError as error:
            refusal = refusal or error
    if not tried:
        assert refusal
        raise refusal
    return max(tried, key=lambda one: one[0])[1]


class _Body:
    """A skeleton with x to the side, y along the depth and z up."""

    def __init__(self, name: str, skeleton: Skeleton, axes: tuple[int, int, int]) -> None:
        self.name = name
        self.names = skeleton.names
        self.parents = skeleton.parents
        self.handed = np.linalg.det(np.eye(3)[list(axes)])  # -1 where swapping axes has mirrored the body
        self.heads, self.tails = skeleton.heads[:, axes], skeleton.tails[:, axes]
        self.readings = [bone_names.read(bone) for bone in self.names]
        self.children: list[list[int]] = [[] for _ in self.names]
        for bone, parent in enumerate(self.parents):
            if parent >= 0:
                self.children[parent].append(bone)
        points = np.concatenate([self.heads, self.tails])
        self.floor = float(points[:, 2].min())
        self.height = float(points[:, 2].max()) - self.floor
        if self.height <= 0:
            raise MapError(f"All bones of {name} lie in a plane. Choose the armature of a character.")
        middle = np.median(self.heads[:, 0])
        self.heads, self.tails = self.heads - (middle, 0, 0), self.tails - (middle, 0, 0)
        self.partner = self._pairs()

    def guess(self) -> tuple[float, Guess]:
        """The best legs and arms, what lies between them, and their score."""
        self._refuse_four_legs()
        leg = max(self._limbs(self._score_leg), key=lambda limb: limb.score, default=None)
        if leg is None or leg.shape < _LEAST_SCORE:
            raise self._lacks("legs", "hips down to the floor")
        leg_length = self._length(leg)
        arms = self._limbs(lambda chain, joints: self._score_arm(chain, joints, leg_length))
        chest = self.heads[leg.bones()[0], 2] + 0.2 * leg_length  # arms begin above it, skirts below
        arms = (limb for limb in arms if self.heads[limb.chain[0], 2] > chest)
        arm = max(arms, key=lambda limb: limb.score, default=None)
        if arm is None or arm.shape < _LEAST_SCORE:
            raise self._lacks("arms", "chest to the hands")
        return leg.score + arm.score, self._assemble(leg, arm)

    def _lacks(self, limbs: str, where: str) -> MapError:
        return MapError(
            f"{self.name} has no pair of {limbs} that could be told: two chains of bones from the {where}, mirror "
            "images of each other. Choose another rig, or name its bones by hand and save the map."
        )

    # --- symmetry and chains ----------------------------------------------------------------------------------------

    def _pairs(self) -> list[int]:
        """Each bone's mirror image: another bone, itself in the middle, or -1 where there is none."""
        places = np.concatenate([self.heads, self.tails], 1)
        mirrored = places * np.tile([-1.0, 1.0, 1.0], 2)
        partner = [-1] * len(places)
        for bone, place in enumerate(mirrored):
            apart = np.linalg.norm(places - place, axis=1)
            near = np.flatnonzero(apart < _SYMMETRIC * self.height)
            if len(near):
                # Of bones in one place (a bone and its control) the image is the one as deep in the tree.
                depth = len(self._ancestors(bone))
                ranked = [(abs(len(self._ancestors(int(one))) - depth), apart[one], int(one)) for one in near]
                partner[bone] = min(ranked)[2]
        return [other if other >= 0 and partner[other] == bone else -1 for bone, other in enumerate(partner)]

    def _ancestors(self, bone: int) -> list[int]:
        """A bone's parent, its parent and so on."""
        found: list[int] = []
        while (bone := self.parents[bone]) >= 0:
            found.append(bone)
        return found

    def _branches(self) -> Iterator[list[int]]:
        """Chains at positive x from the trunk to each tip, whose bones have mirror images."""
        for bone, other in enumerate(self.partner):
            if other in (-1, bone) or self.heads[bone, 0] + self.tails[bone, 0] <= 0:
                continue
            parent = self.parents[bone]
            if parent < 0 or self.partner[parent] in (-1, parent):
                yield from self._paths([bone])

    def _paths(self, path: list[int]) -> Iterator[list[int]]:
        further = [child for child in self.children[path[-1]] if self.partner[child] not in (-1, child)]
        if not further:
            yield path
        for child in further:
            yield from self._paths([*path, child])

    def _limbs(self, score: _Score) -> Iterator[_Limb]:
        for chain in self._branches():
            for first in range(len(chain)):
                for second in range(first + 1, len(chain)):
                    for third in range(second + 1, len(chain)):
                        joints = (first, second, third)
                        found = score(chain, joints)
                        if found is not None:
                            yield _Limb(tuple(chain), joints, found[0], found[1])

    def _length(self, limb: _Limb) -> float:
        first, second, third = (self.heads[bone] for bone in limb.bones())
        return float(np.linalg.norm(second - first) + np.linalg.norm(third - second))

    def _tip(self, chain: Sequence[int], start: int) -> float:
        """Length along a chain from the head of one bone to the tail of the last."""
        points = [*(self.heads[bone] for bone in chain[start:]), self.tails[chain[-1]]]
        return float(sum(np.linalg.norm(after - before) for before, after in pairwise(points)))

    # --- scores -----------------------------------------------------------------------------------------------------

    def _named(self, bones: Sequence[int], parts: Sequence[str]) -> float:
        """For names that say the parts, and against those that say others."""
        total = 0.0
        for bone, part in zip(bones, parts, strict=True):
            reading = self.readings[bone]
            if reading.parts:
                total += _NAMED / len(reading.parts) ** 0.5 if part in reading.parts else -_NAMED
            total -= _NAMED * reading.helper
        return total

    def _score_leg(self, chain: Sequence[int], joints: tuple[int, int, int]) -> tuple[float, float] | None:
        bones = [chain[place] for place in joints]
        hip, knee, ankle = (self.heads[bone] for bone in bones)
        thigh, shin = knee - hip, ankle - knee
        thigh_length, shin_length = float(np.linalg.norm(thigh)), float(np.linalg.norm(shin))
        if min(thigh_length, shin_length) < 0.02 * self.height or hip[0] < 0.005 * self.height:
            return None
        if max(thigh[2] / thigh_length, shin[2] / shin_length) > -0.5:  # more than 60 degrees from straight down
            return None
        shape = _fit(thigh_length / shin_length, _THIGH_TO_SHIN)
        shape += _fit((thigh_length + shin_length) / self.height, _LEG_TO_HEIGHT)
        shape += _fit(self._tip(chain, joints[2]) / shin_length, _FOOT_TO_SHIN)
        shape -= 4 * (2 + thigh[2] / thigh_length + shin[2] / shin_length)
        # The hip is where the chain has come to the side; what follows on the thigh are twist bones.
        shape -= sum(self.heads[bone, 0] > 0.5 * hip[0] for bone in chain[: joints[0]])
        shape -= ((ankle[2] - self.floor) / (0.15 * self.height)) ** 2
        foot = self.tails[chain[-1]] - ankle
        shape -= 2 * (-foot[2] > 0.9 * np.linalg.norm(foot))  # it goes on straight down: no foot
        return shape + self._named(bones, ("hip", "knee", "ankle")), shape

    def _score_arm(
        self, chain: Sequence[int], joints: tuple[int, int, int], leg_length: float
    ) -> tuple[float, float] | None:
        bones = [chain[place] for place in joints]
        shoulder, elbow, wrist = (self.heads[bone] for bone in bones)
        upper, forearm = float(np.linalg.norm(elbow - shoulder)), float(np.linalg.norm(wrist - elbow))
        if min(upper, forearm) < 0.01 * self.height or shoulder[0] < 0.01 * self.height or wrist[0] <= shoulder[0] / 2:
            return None
        shape = _fit(upper / forearm, _UPPER_TO_FOREARM)
        shape += _fit((upper + forearm) / leg_length, _ARM_TO_LEG)
        shape += _fit(self._tip(chain, joints[2]) / forearm, _HAND_TO_FOREARM)
        along = (wrist - shoulder) / (upper + forearm)
        shape -= 3 * (1 - float(np.linalg.norm(along)))  # arms are nearly straight at rest
        shape -= 4 * max(0.0, float(along[2]))  # and not raised
        for start, end in pairwise(joints):  # bones within upper arm and forearm (twist bones) lie on their line
            line = self.heads[chain[end]] - self.heads[chain[start]]
            for bone in chain[start + 1 : end]:
                off = np.cross(line, self.heads[bone] - self.heads[chain[start]]) / (line @ line)
                shape -= 0.5 * float(off @ off) / 0.04**2
        shape -= 0.5 * (joints[0] == 0)  # most have a collar bone
        shape -= max(0, joints[0] - 2)
        shape += 1.5 * (len(self.children[bones[2]]) >= 3)  # fingers
        shape -= sum(len(self.children[bone]) >= 4 for bone in chain[joints[0] : joints[2]])
        return shape + self._named(bones, ("shoulder", "elbow", "wrist")), shape

    def _refuse_four_legs(self) -> None:
        starts = []
        for chain in self._branches():
            points = np.concatenate([self.heads[chain], self.tails[chain[-1:]]])
            drop = points[0, 2] - points[:, 2].min()
            if drop > 0.35 * self.height and points[:, 2].min() < self.floor + 0.08 * self.height and len(chain) > 2:
                starts.append(points[0, 1])
        if starts and max(starts) - min(starts) > 0.3 * self.height:
            raise MapError(
                f"{self.name} stands on four legs: a person's motion does not fit it. Choose a two-legged character."
            )

    # --- the whole body ---------------------------------------------------------------------------------------------

    def _assemble(self, leg: _Limb, arm: _Limb) -> Guess:
        below, above = ([limb.chain[0], *self._ancestors(limb.chain[0])][1:] or [limb.chain[0]] for limb in (leg, arm))
        shared = [bone for bone in below if bone in above]
        if not shared:
            raise MapError(f"Legs and arms of {self.name} hang on different bones. Give all bones a common root.")
        pelvis = shared[0]
        hip_height = self.heads[leg.bones()[0], 2] - self.floor
        if self.heads[pelvis, 2] - self.floor < 0.3 * hip_height and below.index(pelvis) > 0:
            pelvis = below[below.index(pelvis) - 1]  # the common bone lies on the floor: a root and no pelvis
        trunk = list(reversed(above[: above.index(pelvis)] if pelvis in above else above[: above.index(shared[0])]))
        upper, head = self._neck_and_head(trunk[-1] if trunk else pelvis, arm)
        spine = [bone for bone in trunk if "neck" not in self.readings[bone].parts]
        neck = [bone for bone in trunk if bone not in spine] + upper
        roots = [bone for bone in self._ancestors(pelvis) if self.heads[bone, 2] - self.floor < 0.1 * hip_height]

        found: dict[str, int] = {"pelvis": pelvis}
        if head is not None:
            found["head"] = head
        left = "left" if self._left_is_positive(leg, arm) else "right"
        right = "right" if left == "left" else "left"
        ball, collar = self._ball(leg), self._collar(arm)
        ends = {"foot": ball, "collar": collar}
        for limb, kind in ((leg, "leg"), (arm, "arm")):
            ends |= {
                joint.removeprefix("left_"): bone
                for joint, bone in zip(LIMBS[f"left_{kind}"], limb.bones(), strict=True)
            }
        for part, one in ends.items():
            if one is not None:
                found[f"{left}_{part}"], found[f"{right}_{part}"] = one, self.partner[one]
        rig_map = RigMap(
            name=self.name,
            bones={joint: self.names[bone] for joint, bone in found.items()},
            spine=tuple(self.names[bone] for bone in spine),
            neck=tuple(self.names[bone] for bone in neck),
            root=self.names[roots[-1]] if roots else "",
        )
        sure: dict[str, float] = {}
        for joint, bone in found.items():
            part = joint.removeprefix("left_").removeprefix("right_")
            limb_ = leg if part in ("hip", "knee", "ankle", "foot") else arm
            sure[self.names[bone]] = self._confidence(bone, part, joint, limb_.shape)
        for part, bones in (("spine", spine), ("neck", neck)):
            sure |= {self.names[bone]: self._confidence(bone, part, part, min(leg.shape, arm.shape)) for bone in bones}
        return Guess(rig_map, sure)

    def _neck_and_head(self, chest: int, arm: _Limb) -> tuple[list[int], int | None]:
        """The bones between chest and head, and the head, where there is one."""
        shoulder = self.heads[arm.bones()[0], 2]
        path: list[int] = []
        bone = chest
        while True:
            middle = [one for one in self.children[bone] if self.partner[one] == one and self._top(one) > shoulder]
            # What begins where the bone before it does lies inside the head: a face's parent.
            middle = [one for one in middle if np.linalg.norm(self.heads[one] - self.heads[bone]) > 0.01 * self.height]
            if not middle:
                break
            bone = max(middle, key=lambda one: ("head" in self._chain_parts(one), self._top(one)))
            path.append(bone)
            if "head" in self.readings[bone].parts or any(self.partner[one] != one for one in self.children[bone]):
                break  # eyes and ears hang on the head
        named = [bone for bone in path if "head" in self.readings[bone].parts]
        if named:
            return path[: path.index(named[0])], named[0]
        top = max((self._top(bone) for bone in path), default=0.0)
        # What begins near the crown is the mark of its end.
        while len(path) > 1 and self.heads[path[-1], 2] - shoulder > 0.75 * (top - shoulder):
            path.pop()
        return (path[:-1], path[-1]) if path else ([], None)

    def _chain_parts(self, bone: int) -> set[str]:
        return {part for one in (bone, *self.children[bone]) for part in self.readings[one].parts}

    def _top(self, bone: int) -> float:
        return max(float(self.heads[bone, 2]), float(self.tails[bone, 2]), *map(self._top, self.children[bone]), -1e9)

    def _ball(self, leg: _Limb) -> int | None:
        """The bone at the ball of the foot; none where every toe has its own."""
        ankle = leg.bones()[2]
        length = max(self._tip(leg.chain, leg.joints[2]), 1e-9)
        ahead = [
            bone
            for bone in self.children[ankle]
            if self.partner[bone] not in (-1, bone)
            and np.linalg.norm((self.heads[bone] - self.heads[ankle])[:2]) > 0.3 * length
            and not self.readings[bone].helper
        ]
        named = [bone for bone in ahead if "foot" in self.readings[bone].parts]
        if len(ahead) >= 4:
            return None
        return max(named or ahead, key=lambda bone: len(self.children[bone]), default=None)

    def _collar(self, arm: _Limb) -> int | None:
        before = arm.chain[: arm.joints[0]]
        named = [bone for bone in before if "collar" in self.readings[bone].parts]
        return next(iter(named or before), None)

    def _left_is_positive(self, leg: _Limb, arm: _Limb) -> bool:
        """By the names' words for left and right; where there are none, the toes say which way is front."""
        votes = [self.readings[bone].side for limb in (leg, arm) for bone in limb.bones()]
        if votes.count("left") != votes.count("right"):
            return votes.count("left") > votes.count("right")
        ankle = leg.bones()[2]
        foot = self.tails[leg.chain[-1]] - self.heads[ankle]
        # Facing -y with z up, the left hand is at positive x.
        return bool(foot[1] * self.handed <= 0)

    def _confidence(self, bone: int, part: str, joint: str, shape: float) -> float:
        """Half from how well the limb's shape fits, and more where the name says the same; less where it objects."""
        reading = self.readings[bone]
        by_shape = 0.75 / (1 + math.exp(-(shape + 5)))
        if not reading.parts:
            sure = by_shape
        elif part in reading.parts:
            sure = 1 - (1 - by_shape) * (0.1 if len(reading.parts) == 1 else 0.3)
        else:
            sure = 0.5 * by_shape
        if reading.side and joint.startswith(("left", "right")) and not joint.startswith(reading.side):
            sure *= 0.3
        return round(sure * (0.5 if reading.helper else 1.0), 3)


def _fit(ratio: float, expected: tuple[float, float]) -> float:
    """How well a ratio of lengths agrees with the expected mean and spread of its logarithm; 0 is best."""
    mean, spread = expected
    return -0.5 * ((math.log(max(ratio, 1e-6)) - mean) / spread) ** 2
