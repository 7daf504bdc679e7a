"""Guesses a rig map for an unknown armature from the bones' names and its rest pose. NumPy only.

Names are parsed in many languages (``bone_names``). The rest pose adds what is known of bodies: left-right symmetry,
a pair of legs with thigh and shin of similar length, and arms of certain proportions. Each candidate chain of bones
gets a score from both, and the best chains become legs and arms.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np

from . import bone_names
from .maps import LIMBS, MapError, RigMap

# Ratios of limb segments in people (Drillis and Contini's segment lengths): mean and standard deviation of the
# logarithm of the ratio. The deviations are set by hand, wide enough for cartoon characters.
_THIGH_TO_SHIN = (0.0, 0.25)
_FOOT_TO_SHIN = (math.log(0.5), 0.5)
_LEG_TO_HEIGHT = (math.log(0.49), 0.35)
_UPPER_TO_FOREARM = (math.log(1.15), 0.25)
_HAND_TO_FOREARM = (math.log(0.75), 0.5)
_ARM_TO_LEG = (math.log(0.65), 0.8)
# The scores are set by hand, judged on the test rigs (tests/rigs) with and without names.
_NAME_SCORE = 2.0  # for a name of the expected part, and against a name of another
_MIN_SHAPE_SCORE = -9.0  # of a limb without its names; below it no limb is found
_SYMMETRY_TOLERANCE = 0.02  # of the height: distance of a bone to the mirror image of its partner
_MAX_BONES = 2000
# Candidates for a limb, three bones each, on one side: the rigs of tests/rigs have 1,200 at most. A chain of 40 bones
# has 10,000, which take a second to look at; long tentacles would take hours.
_MAX_CANDIDATES = 10_000

# The score of a chain and three indices in it as a limb, with names and by shape only; None if it cannot be a limb.
_Score = Callable[[Sequence[int], tuple[int, int, int]], tuple[float, float] | None]


@dataclass(frozen=True)
class Skeleton:
    """An armature's rest pose, in any unit."""

    names: tuple[str, ...]
    parents: tuple[int, ...]  # indices, -1 for a root; in any order
    heads: np.ndarray  # (N, 3)
    tails: np.ndarray  # (N, 3)


@dataclass(frozen=True)
class Guess:
    """A guessed map and the confidence of each of its bones."""

    rig_map: RigMap
    confidence: dict[str, float]  # bone -> 0 to 1; for every bone of ``rig_map.mapped_bones()``


@dataclass(frozen=True)
class _Limb:
    """Three bones of a chain at positive x; which side that is, is decided later."""

    chain: tuple[int, ...]  # from the bone at the trunk to the tip
    joints: tuple[int, int, int]  # indices in the chain: hip, knee, ankle or shoulder, elbow, wrist
    score: float
    shape_score: float  # the score without names

    def bones(self) -> tuple[int, ...]:
        return tuple(self.chain[index] for index in self.joints)


def guess(name: str, skeleton: Skeleton) -> Guess:
    """Guess the map of a two-legged rig that stands upright in its rest pose, z or y up.

    Raises MapError if no legs or arms are found, or four legs.
    """
    if not 6 <= len(skeleton.names) <= _MAX_BONES:
        raise MapError(
            f"{name} has {len(skeleton.names)} bones; a character has between 6 and {_MAX_BONES}. "
            "Choose the armature of a character.",
            code="no-character-rig",
        )
    candidates: list[tuple[float, Guess]] = []
    first_error: MapError | None = None
    # Candidates for the side, depth and up axes. Blender's own convention is first and wins ties.
    for axes in ((0, 1, 2), (1, 0, 2), (0, 2, 1), (2, 0, 1)):
        try:
            candidates.append(_Body(name, skeleton, axes).guess())
        except MapError as error:
            first_error = first_error or error
    if not candidates:
        assert first_error
        raise first_error
    return max(candidates, key=lambda candidate: candidate[0])[1]


class _Body:
    """A skeleton with axes permuted so that x is to the side, y the depth and z up."""

    def __init__(self, name: str, skeleton: Skeleton, axes: tuple[int, int, int]) -> None:
        self.name = name
        self.names = skeleton.names
        self.parents = skeleton.parents
        self.handedness = np.linalg.det(np.eye(3)[list(axes)])  # -1 if permuting the axes has mirrored the body
        self.heads, self.tails = skeleton.heads[:, axes], skeleton.tails[:, axes]
        self.parsed = [bone_names.parse(bone) for bone in self.names]
        self.children: list[list[int]] = [[] for _ in self.names]
        for bone, parent in enumerate(self.parents):
            if parent >= 0:
                self.children[parent].append(bone)
        self.top_down = self._parents_first()
        self.depths = np.zeros(len(self.names), int)
        for bone in self.top_down:
            self.depths[bone] = self.depths[self.parents[bone]] + 1 if self.parents[bone] >= 0 else 0
        points = np.concatenate([self.heads, self.tails])
        if not np.isfinite(points).all():
            raise MapError(
                f"Bones of {name} lie at no finite position. Correct its rest pose in Edit Mode.",
                code="no-character-rig",
            )
        self.floor = float(points[:, 2].min())
        self.height = float(points[:, 2].max()) - self.floor
        if self.height <= 0:
            raise MapError(
                f"All bones of {name} lie in a plane. Choose the armature of a character.", code="no-character-rig"
            )
        middle = np.median(self.heads[:, 0])
        self.heads, self.tails = self.heads - (middle, 0, 0), self.tails - (middle, 0, 0)
        self.partner = self._mirror_partners()
        self.tops = np.maximum(self.heads[:, 2], self.tails[:, 2])
        for bone in reversed(self.top_down):
            if self.parents[bone] >= 0:
                self.tops[self.parents[bone]] = max(self.tops[self.parents[bone]], self.tops[bone])

    def _parents_first(self) -> list[int]:
        order = [bone for bone, parent in enumerate(self.parents) if parent < 0]
        for bone in order:
            order += self.children[bone]
        return order

    def guess(self) -> tuple[float, Guess]:
        """The score of the best legs and arms, and the map that they give."""
        if sum(math.comb(len(chain), 3) for chain in self._chains()) > _MAX_CANDIDATES:
            raise MapError(
                f"{self.name} has too many or too long chains of bones to find legs and arms among them. Choose "
                "another rig, or name its bones by hand and save the map.",
                code="limbs-not-found",
            )
        self._refuse_four_legs()
        leg = max(self._limbs(self._score_leg), key=lambda limb: limb.score, default=None)
        if leg is None or leg.shape_score < _MIN_SHAPE_SCORE:
            raise self._missing("legs", "hips down to the floor")
        leg_length = self._length(leg)
        arms = self._limbs(lambda chain, joints: self._score_arm(chain, joints, leg_length))
        chest = self.heads[leg.bones()[0], 2] + 0.2 * leg_length  # arms begin above it, skirts and tails below
        arms = (limb for limb in arms if self.heads[limb.chain[0], 2] > chest)
        arm = max(arms, key=lambda limb: limb.score, default=None)
        if arm is None or arm.shape_score < _MIN_SHAPE_SCORE:
            raise self._missing("arms", "chest to the hands")
        return leg.score + arm.score, self._assemble(leg, arm)

    def _missing(self, limbs: str, extent: str) -> MapError:
        return MapError(
            f"{self.name} has no pair of {limbs} that could be found: two chains of bones from the {extent}, mirror "
            "images of each other. Choose another rig, or name its bones by hand and save the map.",
            code="limbs-not-found",
        )

    # --- symmetry and chains ----------------------------------------------------------------------------------------

    def _mirror_partners(self) -> list[int]:
        """Each bone's left-right counterpart: another bone, itself on the middle plane, or -1 for none."""
        ends = np.concatenate([self.heads, self.tails], 1)
        mirrored = ends * np.tile([-1.0, 1.0, 1.0], 2)
        partner = [-1] * len(ends)
        for bone, image in enumerate(mirrored):
            distances = np.linalg.norm(ends - image, axis=1)
            near = np.flatnonzero(distances < _SYMMETRY_TOLERANCE * self.height)
            if len(near):
                # Of several bones at one position (a bone and its control) take the one at the same tree depth.
                steps = np.abs(self.depths[near] - self.depths[bone])
                partner[bone] = int(near[np.lexsort((distances[near], steps))[0]])
        return [other if other >= 0 and partner[other] == bone else -1 for bone, other in enumerate(partner)]

    def _ancestors(self, bone: int) -> list[int]:
        """A bone's parent, its parent and so on."""
        ancestors: list[int] = []
        while (bone := self.parents[bone]) >= 0:
            ancestors.append(bone)
        return ancestors

    def _chains(self) -> Iterator[list[int]]:
        """Chains at positive x from the trunk to each tip, whose bones have mirror partners."""
        for bone, other in enumerate(self.partner):
            if other in (-1, bone) or self.heads[bone, 0] + self.tails[bone, 0] <= 0:
                continue
            parent = self.parents[bone]
            if parent < 0 or self.partner[parent] in (-1, parent):
                yield from self._paths([bone])

    def _paths(self, start: list[int]) -> Iterator[list[int]]:
        paths = [start]
        while paths:
            path = paths.pop()
            children = [child for child in self.children[path[-1]] if self.partner[child] not in (-1, child)]
            if not children:
                yield path
            paths += [[*path, child] for child in reversed(children)]

    def _limbs(self, score: _Score) -> Iterator[_Limb]:
        for chain in self._chains():
            for joints in combinations(range(len(chain)), 3):
                scores = score(chain, joints)
                if scores is not None:
                    yield _Limb(tuple(chain), joints, scores[0], scores[1])

    def _length(self, limb: _Limb) -> float:
        first, second, third = (self.heads[bone] for bone in limb.bones())
        return float(np.linalg.norm(second - first) + np.linalg.norm(third - second))

    def _length_to_tip(self, chain: Sequence[int], start: int) -> float:
        """Length along a chain from the head of a bone to the tail of the last one."""
        points = [*(self.heads[bone] for bone in chain[start:]), self.tails[chain[-1]]]
        return float(sum(np.linalg.norm(after - before) for before, after in pairwise(points)))

    # --- scores -----------------------------------------------------------------------------------------------------

    def _name_score(self, bones: Sequence[int], parts: Sequence[str]) -> float:
        """Positive for bones with names of the expected parts, negative for names of other parts and helpers."""
        total = 0.0
        for bone, part in zip(bones, parts, strict=True):
            parsed = self.parsed[bone]
            if parsed.parts:
                total += _NAME_SCORE / len(parsed.parts) ** 0.5 if part in parsed.parts else -_NAME_SCORE
            total -= _NAME_SCORE * parsed.helper
        return total

    def _score_leg(self, chain: Sequence[int], joints: tuple[int, int, int]) -> tuple[float, float] | None:
        bones = [chain[index] for index in joints]
        hip, knee, ankle = (self.heads[bone] for bone in bones)
        thigh, shin = knee - hip, ankle - knee
        thigh_length, shin_length = float(np.linalg.norm(thigh)), float(np.linalg.norm(shin))
        if min(thigh_length, shin_length) < 0.02 * self.height or hip[0] < 0.005 * self.height:
            return None
        if max(thigh[2] / thigh_length, shin[2] / shin_length) > -0.5:  # more than 60 degrees from the vertical
            return None
        shape = _log_likelihood(thigh_length / shin_length, _THIGH_TO_SHIN)
        shape += _log_likelihood((thigh_length + shin_length) / self.height, _LEG_TO_HEIGHT)
        shape += _log_likelihood(self._length_to_tip(chain, joints[2]) / shin_length, _FOOT_TO_SHIN)
        shape -= 4 * (2 + thigh[2] / thigh_length + shin[2] / shin_length)
        # The hip is the first bone away from the middle; later ones along the thigh are twist bones.
        shape -= sum(self.heads[bone, 0] > 0.5 * hip[0] for bone in chain[: joints[0]])
        shape -= ((ankle[2] - self.floor) / (0.15 * self.height)) ** 2
        foot = self.tails[chain[-1]] - ankle
        shape -= 2 * (-foot[2] > 0.9 * np.linalg.norm(foot))  # it continues vertically: no foot
        return shape + self._name_score(bones, ("hip", "knee", "ankle")), shape

    def _score_arm(
        self, chain: Sequence[int], joints: tuple[int, int, int], leg_length: float
    ) -> tuple[float, float] | None:
        bones = [chain[index] for index in joints]
        shoulder, elbow, wrist = (self.heads[bone] for bone in bones)
        upper, forearm = float(np.linalg.norm(elbow - shoulder)), float(np.linalg.norm(wrist - elbow))
        if min(upper, forearm) < 0.01 * self.height or shoulder[0] < 0.01 * self.height or wrist[0] <= shoulder[0] / 2:
            return None
        shape = _log_likelihood(upper / forearm, _UPPER_TO_FOREARM)
        shape += _log_likelihood((upper + forearm) / leg_length, _ARM_TO_LEG)
        shape += _log_likelihood(self._length_to_tip(chain, joints[2]) / forearm, _HAND_TO_FOREARM)
        along = (wrist - shoulder) / (upper + forearm)
        shape -= 3 * (1 - float(np.linalg.norm(along)))  # arms are nearly straight at rest
        shape -= 4 * max(0.0, float(along[2]))  # and not raised above the shoulders
        for start, end in pairwise(joints):  # bones within a segment (twist bones) lie on its line
            line = self.heads[chain[end]] - self.heads[chain[start]]
            for bone in chain[start + 1 : end]:
                offset = np.cross(line, self.heads[bone] - self.heads[chain[start]]) / (line @ line)
                shape -= 0.5 * float(offset @ offset) / 0.04**2
        shape -= 0.5 * (joints[0] == 0)  # most rigs have a collar bone
        shape -= max(0, joints[0] - 2)
        shape += 1.5 * (len(self.children[bones[2]]) >= 3)  # fingers
        shape -= sum(len(self.children[bone]) >= 4 for bone in chain[joints[0] : joints[2]])
        return shape + self._name_score(bones, ("shoulder", "elbow", "wrist")), shape

    def _refuse_four_legs(self) -> None:
        depths = []
        for chain in self._chains():
            points = np.concatenate([self.heads[chain], self.tails[chain[-1:]]])
            drop = points[0, 2] - points[:, 2].min()
            if drop > 0.35 * self.height and points[:, 2].min() < self.floor + 0.08 * self.height and len(chain) > 2:
                depths.append(points[0, 1])
        if depths and max(depths) - min(depths) > 0.3 * self.height:
            raise MapError(
                f"{self.name} stands on four legs: a person's motion does not fit it. Choose a two-legged character.",
                code="four-legs",
            )

    # --- the whole body ---------------------------------------------------------------------------------------------

    def _assemble(self, leg: _Limb, arm: _Limb) -> Guess:
        below, above = ([limb.chain[0], *self._ancestors(limb.chain[0])][1:] or [limb.chain[0]] for limb in (leg, arm))
        common = [bone for bone in below if bone in above]
        if not common:
            raise MapError(
                f"Legs and arms of {self.name} hang on different bones. Give all bones a common root.",
                code="no-common-root",
            )
        pelvis = common[0]
        hip_height = self.heads[leg.bones()[0], 2] - self.floor
        if self.heads[pelvis, 2] - self.floor < 0.3 * hip_height and below.index(pelvis) > 0:
            pelvis = below[below.index(pelvis) - 1]  # the common bone lies on the floor: it is the root
        trunk = list(reversed(above[: above.index(pelvis)] if pelvis in above else above[: above.index(common[0])]))
        upper, head = self._neck_and_head(trunk[-1] if trunk else pelvis, arm)
        spine = [bone for bone in trunk if "neck" not in self.parsed[bone].parts]
        neck = [bone for bone in trunk if bone not in spine] + upper
        roots = [bone for bone in self._ancestors(pelvis) if self.heads[bone, 2] - self.floor < 0.1 * hip_height]

        joints: dict[str, int] = {"pelvis": pelvis}
        if head is not None:
            joints["head"] = head
        left = "left" if self._left_is_positive(leg, arm) else "right"
        right = "right" if left == "left" else "left"
        ball, collar = self._ball(leg), self._collar(arm)
        sided = {"foot": ball, "collar": collar}
        for limb, kind in ((leg, "leg"), (arm, "arm")):
            sided |= {
                joint.removeprefix("left_"): bone
                for joint, bone in zip(LIMBS[f"left_{kind}"], limb.bones(), strict=True)
            }
        for part, sided_bone in sided.items():
            if sided_bone is not None:
                joints[f"{left}_{part}"], joints[f"{right}_{part}"] = sided_bone, self.partner[sided_bone]
        rig_map = RigMap(
            name=self.name,
            bones={joint: self.names[bone] for joint, bone in joints.items()},
            spine=tuple(self.names[bone] for bone in spine),
            neck=tuple(self.names[bone] for bone in neck),
            root=self.names[roots[-1]] if roots else "",
        )
        confidence: dict[str, float] = {}
        for joint, bone in joints.items():
            part = joint.removeprefix("left_").removeprefix("right_")
            limb_ = leg if part in ("hip", "knee", "ankle", "foot") else arm
            confidence[self.names[bone]] = self._confidence(bone, part, joint, limb_.shape_score)
        lower_score = min(leg.shape_score, arm.shape_score)
        for part, bones in (("spine", spine), ("neck", neck)):
            confidence |= {self.names[bone]: self._confidence(bone, part, part, lower_score) for bone in bones}
        return Guess(rig_map, confidence)

    def _neck_and_head(self, chest: int, arm: _Limb) -> tuple[list[int], int | None]:
        """The bones between chest and head, and the head or None."""
        shoulder = self.heads[arm.bones()[0], 2]
        path: list[int] = []
        bone = chest
        while True:
            middle = [i for i in self.children[bone] if self.partner[i] == i and self.tops[i] > shoulder]
            # A bone whose head is at its parent's head lies inside the skull: the parent of the face bones.
            middle = [i for i in middle if np.linalg.norm(self.heads[i] - self.heads[bone]) > 0.01 * self.height]
            if not middle:
                break
            bone = max(middle, key=lambda i: ("head" in self._chain_parts(i), self.tops[i]))
            path.append(bone)
            if "head" in self.parsed[bone].parts or any(self.partner[i] != i for i in self.children[bone]):
                break  # eyes and ears are children of the head
        named = [bone for bone in path if "head" in self.parsed[bone].parts]
        if named:
            return path[: path.index(named[0])], named[0]
        top = max((self.tops[bone] for bone in path), default=0.0)
        # Bones that begin near the top of the head are end bones.
        while len(path) > 1 and self.heads[path[-1], 2] - shoulder > 0.75 * (top - shoulder):
            path.pop()
        return (path[:-1], path[-1]) if path else ([], None)

    def _chain_parts(self, bone: int) -> set[str]:
        return {part for i in (bone, *self.children[bone]) for part in self.parsed[i].parts}

    def _ball(self, leg: _Limb) -> int | None:
        """The bone at the ball of the foot; None if there is none, or if each toe has its own bone."""
        ankle = leg.bones()[2]
        length = max(self._length_to_tip(leg.chain, leg.joints[2]), 1e-9)
        ahead = [
            bone
            for bone in self.children[ankle]
            if self.partner[bone] not in (-1, bone)
            and np.linalg.norm((self.heads[bone] - self.heads[ankle])[:2]) > 0.3 * length
            and not self.parsed[bone].helper
        ]
        named = [bone for bone in ahead if "foot" in self.parsed[bone].parts]
        if len(ahead) >= 4:
            return None
        return max(named or ahead, key=lambda bone: len(self.children[bone]), default=None)

    def _collar(self, arm: _Limb) -> int | None:
        above = arm.chain[: arm.joints[0]]
        named = [bone for bone in above if "collar" in self.parsed[bone].parts]
        return next(iter(named or above), None)

    def _left_is_positive(self, leg: _Limb, arm: _Limb) -> bool:
        """Whether positive x is left: by left and right in the names, else by the direction of the toes."""
        votes = [self.parsed[bone].side for limb in (leg, arm) for bone in limb.bones()]
        if votes.count("left") != votes.count("right"):
            return votes.count("left") > votes.count("right")
        ankle = leg.bones()[2]
        foot = self.tails[leg.chain[-1]] - self.heads[ankle]
        # Facing -y with z up, the left hand is at positive x.
        return bool(foot[1] * self.handedness <= 0)

    def _confidence(self, bone: int, part: str, joint: str, shape_score: float) -> float:
        """At most 0.75 from the limb's shape; a matching name raises it, a name of another part or side lowers it."""
        parsed = self.parsed[bone]
        by_shape = 0.75 / (1 + math.exp(-(shape_score + 5)))
        if not parsed.parts:
            confidence = by_shape
        elif part in parsed.parts:
            confidence = 1 - (1 - by_shape) * (0.1 if len(parsed.parts) == 1 else 0.3)
        else:
            confidence = 0.5 * by_shape
        if parsed.side and joint.startswith(("left", "right")) and not joint.startswith(parsed.side):
            confidence *= 0.3
        return round(confidence * (0.5 if parsed.helper else 1.0), 3)


def _log_likelihood(ratio: float, expected: tuple[float, float]) -> float:
    """Of the logarithm of a ratio, normal with (mean, standard deviation), up to a constant; 0 is best."""
    mean, deviation = expected
    return -0.5 * ((math.log(max(ratio, 1e-6)) - mean) / deviation) ** 2
