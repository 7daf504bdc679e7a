"""Guesses a rig map for an unknown armature from the bones' names, its rest pose and its skin. NumPy only.

Names are parsed in many languages (``bone_names``). The rest pose adds what is known of bodies: left-right symmetry,
a pair of legs with thigh and shin of similar length, and arms of certain proportions. Each candidate for a limb gets a
score from both, and the best candidates become legs and arms. Importers' axes and bone tails are not trusted: the body
is looked at in several frames (``body_frame``), and a tail is where the bone's children begin.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TypeVar

import numpy as np

from . import body_frame, bone_names, guess_confidence
from .body_frame import Frame, Skeleton
from .maps import LIMBS, MapError, RigMap

__all__ = ["Guess", "Skeleton", "guess"]

# Ratios of limb segments in people (Drillis and Contini's segment lengths): mean and standard deviation of the
# logarithm of the ratio. The deviations are set by hand, wide enough for cartoon characters.
_THIGH_TO_SHIN = (0.0, 0.25)
_FOOT_TO_SHIN = (math.log(0.5), 0.5)
_LEG_TO_HEIGHT = (math.log(0.49), 0.35)
_UPPER_TO_FOREARM = (math.log(1.15), 0.25)
_HAND_TO_FOREARM = (math.log(0.75), 0.5)
_ARM_TO_LEG = (math.log(0.65), 0.8)
# The scores are set by hand, judged on the test rigs (tests/rigs) with and without names.
_NAME_SCORE = 3.0  # for a name of the expected part, and against a name of another
_UNSKINNED = -2.0  # of a bone that carries no vertices, in a rig that has a skin: a control or a helper
_BEYOND_DOUBT = 8.0  # score of a map at which no other frame is tried: names fit too, without them it is about 1
# Logarithm of how probable it is that the rest pose is none in which a body stands, and the pose as it is one is.
_POSE_FOR_REST = -2.0
_MOST_AGAINST = -2.5  # that one unusual length counts: cartoon characters have short legs and big boots
_MIN_SHAPE_SCORE = -9.0  # of a limb without its names; below it no limb is found
_MIN_LEG = 0.1  # length of a leg, of the height: chibi characters have 0.2, and the fingers of a lying body 0.06
_MAX_BONES = 4000  # that may be a body's: without face, fingers and bones that carry nothing
_MAX_ALL_BONES = 20_000
# Candidates for a limb, three bones each, on one side: the rigs of tests/rigs have 1,200 at most. A chain of 60 bones
# has 34,000; long tentacles would take hours.
_MAX_CANDIDATES = 30_000
_DETAILED = 400  # candidates for a limb that are looked at in detail, after the lengths of their segments
_LEVEL_TRUNK = math.cos(math.radians(50))  # a trunk further from the vertical is an animal's; set by hand
_NONE = -1

# The score of three bones as a limb, with names and by shape only; None if they cannot be one.
_Numbers = TypeVar("_Numbers", float, np.ndarray)
_Score = Callable[[tuple[int, int, int]], tuple[float, float] | None]


@dataclass(frozen=True)
class Guess:
    """A guessed map and the confidence of each of its bones."""

    rig_map: RigMap
    confidence: dict[str, float]  # bone -> 0 to 1; for every bone of ``rig_map.mapped_bones()``
    evidence: dict[str, guess_confidence.Evidence]  # what each of them rests on


@dataclass(frozen=True)
class _Limb:
    """The bones of a limb at positive x; which side that is, is decided later."""

    bones: tuple[int, int, int]  # hip, knee, ankle or shoulder, elbow, wrist; the wrist is -1 if there is none
    above: tuple[int, ...]  # bones of the limb above the first, from the trunk
    score: float
    shape_score: float  # the score without names


def guess(name: str, skeleton: Skeleton) -> Guess:
    """Guess the map of a two-legged rig.

    Raises MapError if no legs or arms are found, four legs, or the trunk of an animal.
    """
    if len(skeleton.names) > _MAX_ALL_BONES:
        raise _wrong_size(name, len(skeleton.names))
    known = _Known.of(skeleton)
    if not 6 <= known.candidates.sum() <= _MAX_BONES:
        raise _wrong_size(name, len(skeleton.names))
    if not np.isfinite([skeleton.heads, skeleton.tails]).all():
        raise MapError(
            f"Bones of {name} lie at no finite position. Correct its rest pose in Edit Mode.", code="no-character-rig"
        )
    if bone_names.of_four_legs(known.parsed):
        raise _four_legs(name)
    best: tuple[float, Guess | MapError] | None = None
    for prior, stance in ((0.0, skeleton), (_POSE_FOR_REST, skeleton.as_posed())):
        if stance is None or (best is not None and _is_beyond_doubt(best)):
            continue
        for frame in body_frame.frames(stance, known.parsed, known.candidates):
            found = _Body(name, stance, known, frame).result()
            found = (found[0] + frame.prior + prior, found[1])
            if best is None or found[0] > best[0]:
                best = found
            if _is_beyond_doubt(best):
                break
    if best is None:
        raise MapError(
            f"All bones of {name} lie in a plane. Choose the armature of a character.", code="no-character-rig"
        )
    if isinstance(best[1], MapError):
        if skeleton.weights is not None:  # a skin may be of one part only, such as shoes: it tells nothing of the arms
            with contextlib.suppress(MapError):
                return guess(name, replace(skeleton, weights=None, centers=None))
        raise best[1]
    return best[1]


def _is_beyond_doubt(found: tuple[float, Guess | MapError]) -> bool:
    return isinstance(found[1], Guess) and found[0] > _BEYOND_DOUBT


def _four_legs(name: str) -> MapError:
    return MapError(
        f"{name} stands on four legs: a person's motion does not fit it. Choose a two-legged character.",
        code="four-legs",
    )


def _wrong_size(name: str, count: int) -> MapError:
    return MapError(
        f"{name} has {count} bones; a character has between 6 and {_MAX_BONES}. Choose the armature of a character.",
        code="no-character-rig",
    )


@dataclass(frozen=True)
class _Known:
    """What is known of bones before a frame is chosen."""

    parsed: list[bone_names.ParsedName]
    children: list[list[int]]
    depths: np.ndarray  # (N,) in the tree
    top_down: list[int]  # parents first
    skinned: np.ndarray | None  # (N,) bool: it carries vertices itself or by a twist bone; None if nothing has a skin
    candidates: np.ndarray  # (N,) bool: it may be a bone of the body
    name_scores: dict[str, np.ndarray]  # part -> (N,) what each bone's name says of it

    @classmethod
    def of(cls, skeleton: Skeleton) -> _Known:
        parsed = [bone_names.parse(bone) for bone in bone_names.without_counters(skeleton.names)]
        count = len(parsed)
        children: list[list[int]] = [[] for _ in range(count)]
        for bone, parent in enumerate(skeleton.parents):
            if parent >= 0:
                children[parent].append(bone)
        top_down = [bone for bone, parent in enumerate(skeleton.parents) if parent < 0]
        for bone in top_down:
            top_down += children[bone]
        depths = np.zeros(count, int)
        for bone in top_down:
            depths[bone] = depths[skeleton.parents[bone]] + 1 if skeleton.parents[bone] >= 0 else 0
        beside = np.array([name.helper and not name.parts for name in parsed], bool)
        parents = np.array(skeleton.parents, int)
        # A helper that hangs from another one is within a finger, a strand of hair, a skirt or a face.
        candidates, skinned = ~(beside & (parents >= 0) & beside[parents]), None
        if skeleton.weights is not None and (skeleton.weights > 0).any():
            carries, skinned = skeleton.weights > 0, skeleton.weights > 0
            carries = carries.copy()
            for bone in reversed(top_down):
                if carries[bone] and skeleton.parents[bone] >= 0:
                    carries[skeleton.parents[bone]] = True
            twist = np.array(
                [bool(kids) and any(parsed[kid].helper and skinned[kid] for kid in kids) for kids in children]
            )
            skinned = skinned | twist
            # Feet that hang elsewhere may carry nothing: their names keep them.
            candidates &= carries | np.array([bool(name.parts & {"ankle", "foot"}) for name in parsed])
        scores = {part: _name_scores(part, parsed, skinned) for limb in LIMBS for part in _parts_of(limb)}
        return cls(parsed, children, depths, top_down, skinned, candidates, scores)


def _parts_of(limb: str) -> list[str]:
    return [joint.split("_")[1] for joint in LIMBS[limb]]


def _name_scores(part: str, parsed: Sequence[bone_names.ParsedName], skinned: np.ndarray | None) -> np.ndarray:
    """Positive (N,) for names of the part, negative for those of other parts and helpers, and for bare controls."""
    scores = np.zeros(len(parsed))
    for bone, name in enumerate(parsed):
        if name.parts:
            scores[bone] = _NAME_SCORE / len(name.parts) ** 0.5 if part in name.parts else -_NAME_SCORE
        scores[bone] -= _NAME_SCORE * name.helper
    return scores if skinned is None else scores + np.where(skinned, 0.0, _UNSKINNED)


class _Body:
    """A skeleton in a frame in which x is to the side, y the depth and z up, and x = 0 the middle."""

    def __init__(self, name: str, skeleton: Skeleton, known: _Known, frame: Frame) -> None:
        self.name, self.frame = name, frame
        self.names, self.parents = skeleton.names, skeleton.parents
        self.parsed, self.children, self.depths = known.parsed, known.children, known.depths
        self.skinned, self.candidates = known.skinned, known.candidates
        self.heads, self.tails, self.partner = frame.heads, frame.tails, frame.partner
        self.weights = skeleton.weights
        self.floor, self.height = frame.floor, frame.height
        self.tops = np.maximum(self.heads[:, 2], self.tails[:, 2])
        self.bottoms = np.minimum(self.heads[:, 2], self.tails[:, 2])
        for bone in reversed(known.top_down):
            if self.parents[bone] >= 0:
                self.tops[self.parents[bone]] = max(self.tops[self.parents[bone]], self.tops[bone])
                self.bottoms[self.parents[bone]] = min(self.bottoms[self.parents[bone]], self.bottoms[bone])
        self.reach, self.name_scores = frame.reach, known.name_scores
        self.above = self._paired_ancestors(known.top_down)

    def result(self) -> tuple[float, Guess | MapError]:
        """The score of the best legs and arms and the map that they give, or the reason why there is none."""
        try:
            triples = self._triples()
            leg = max(
                self._limbs(triples, self._score_leg, self._leg_lengths), key=lambda limb: limb.score, default=None
            )
            if leg is None or leg.shape_score < _MIN_SHAPE_SCORE:
                self._refuse_four_legs()
                raise self._missing("legs", "hips down to the floor")
        except MapError as error:
            return -100.0, error
        try:
            self._refuse_four_legs()
            return self._upright(leg, triples)
        except MapError as error:
            return leg.score - 20.0, error

    def _upright(self, leg: _Limb, triples: np.ndarray) -> tuple[float, Guess]:
        leg_length = self._length(leg)
        chest = self.heads[leg.bones[0], 2] + 0.2 * leg_length  # arms begin above it, skirts and tails below

        def score(bones: tuple[int, int, int]) -> tuple[float, float] | None:
            first = (*self.above[bones[0]], bones[0])[0]
            return self._score_arm(bones, leg_length) if self.heads[first, 2] > chest else None

        arm = max(self._limbs(triples, score, self._arm_lengths), key=lambda limb: limb.score, default=None)
        if arm is None or arm.shape_score < _MIN_SHAPE_SCORE:
            self._refuse_animals(leg, None)
            raise self._missing("arms", "chest to the hands")
        self._refuse_animals(leg, arm)
        return leg.score + arm.score, self._assemble(leg, arm)

    def _missing(self, limbs: str, extent: str) -> MapError:
        return MapError(
            f"{self.name} has no pair of {limbs} that could be found: two chains of bones from the {extent}, mirror "
            "images of each other. Choose another rig, or name its bones by hand and save the map.",
            code="limbs-not-found",
        )

    # --- candidates for limbs ---------------------------------------------------------------------------------------

    def _ancestors(self, bone: int) -> list[int]:
        """A bone's parent, its parent and so on."""
        ancestors: list[int] = []
        while (bone := self.parents[bone]) >= 0:
            ancestors.append(bone)
        return ancestors

    def _sided(self, bone: int) -> bool:
        return self.partner[bone] not in (_NONE, bone)

    def _paired_ancestors(self, top_down: Sequence[int]) -> list[tuple[int, ...]]:
        """For each bone at positive x with a counterpart, the bones above it that have one too, from the trunk."""
        above: list[tuple[int, ...]] = [()] * len(self.names)
        for bone in top_down:
            parent = self.parents[bone]
            if parent >= 0 and self._sided(parent) and self._sided(bone):
                above[bone] = (*above[parent], parent)
        return above

    def _positive(self) -> list[int]:
        """Candidates at positive x that have a counterpart."""
        side = self.heads[:, 0] + self.tails[:, 0]
        return [bone for bone in np.flatnonzero(self.candidates & (side > 0)).tolist() if self._sided(bone)]

    def _triples(self) -> np.ndarray:
        """Candidates for limbs (T, 3): bones of one chain each, from the trunk; the last is -1 in limbs of two."""
        positive = self._positive()
        allowed = set(positive)
        count = sum(math.comb(len(self.above[bone]), 2) for bone in positive)
        if count > _MAX_CANDIDATES:
            raise MapError(
                f"{self.name} has too many or too long chains of bones to find legs and arms among them. Choose "
                "another rig, or name its bones by hand and save the map.",
                code="limbs-not-found",
            )
        triples: list[tuple[int, int, int]] = []
        for bone in positive:
            above = [other for other in self.above[bone] if other in allowed]
            triples += [(first, second, bone) for first, second in combinations(above, 2)]
            beyond = [child for child in self.children[bone] if child in allowed]
            if not beyond or any(map(self._in_a_palm, beyond)):
                triples += [(first, bone, _NONE) for first in above]
        triples += self._loose_feet(positive)
        return np.array(triples, int).reshape(-1, 3)

    def _in_a_palm(self, bone: int) -> bool:
        """Whether three bones or more begin at one point: those of a palm, in a hand without a bone of its own."""
        parent = self.parents[bone]
        beside = [other for other in self.children[parent] if self._sided(other)] if parent >= 0 else []
        apart = np.linalg.norm(self.heads[beside] - self.heads[bone], axis=1) if beside else np.zeros(0)
        return int(np.sum(apart < 0.01 * self.height)) > 2

    def _loose_feet(self, positive: list[int]) -> list[tuple[int, int, int]]:
        """Legs whose feet hang from elsewhere, as bones for IK do: (hip, knee, ankle)."""
        feet = [bone for bone in positive if "ankle" in self.parsed[bone].parts and not self.parsed[bone].helper]
        legs = []
        for knee in positive:
            for hip in self.above[knee]:
                thigh = self.heads[knee] - self.heads[hip]
                for foot in feet:
                    shin = self.heads[foot] - self.heads[knee]
                    size = float(np.linalg.norm(shin)) / max(float(np.linalg.norm(thigh)), 1e-9)
                    if knee not in self.above[foot] and foot not in (hip, knee) and 0.4 < size < 2.5:
                        legs.append((hip, knee, foot))
        return legs

    def _limbs(self, triples: np.ndarray, score: _Score, lengths: Callable[[np.ndarray], np.ndarray]) -> list[_Limb]:
        """Scored candidates for a limb; ``lengths`` gives cheap scores (T,), by which the best are chosen."""
        if not len(triples):
            return []
        rough = lengths(triples)
        chosen = np.argsort(-rough, kind="stable")[:_DETAILED]
        limbs = []
        for hip, knee, ankle in triples[chosen[np.isfinite(rough[chosen])]].tolist():
            scores = score((hip, knee, ankle))
            if scores is not None:
                limbs.append(_Limb((hip, knee, ankle), self.above[hip], scores[0], scores[1]))
        return limbs

    def _ends(self, triples: np.ndarray) -> np.ndarray:
        """The three joints (T, 3, 3); of limbs of two bones the last is the tail of the second."""
        points = self.heads[triples]
        missing = triples[:, 2] == _NONE
        points[missing, 2] = self.tails[triples[missing, 1]]
        return points

    def _leg_lengths(self, triples: np.ndarray) -> np.ndarray:
        points = self._ends(triples)
        upper, lower = np.diff(points, axis=1).transpose(1, 0, 2)
        sizes = np.linalg.norm([upper, lower], axis=-1)
        with np.errstate(divide="ignore", invalid="ignore"):
            down = np.maximum(upper[:, 2] / sizes[0], lower[:, 2] / sizes[1])
            score = _log_likelihood(sizes[0] / sizes[1], _THIGH_TO_SHIN)
        score = score + self._rough_names(triples, ("hip", "knee", "ankle"))
        fits = (sizes.min(0) >= 0.02 * self.height) & (points[:, 0, 0] >= 0.005 * self.height) & (down <= -0.5)
        fits &= (sizes.sum(0) >= _MIN_LEG * self.height) & (triples[:, 2] != _NONE)
        return np.where(fits, score, -np.inf)

    def _arm_lengths(self, triples: np.ndarray) -> np.ndarray:
        points = self._ends(triples)
        sizes = np.linalg.norm(np.diff(points, axis=1), axis=-1).T
        with np.errstate(divide="ignore", invalid="ignore"):
            score = _log_likelihood(sizes[0] / sizes[1], _UPPER_TO_FOREARM)
        score = score + self._rough_names(triples, ("shoulder", "elbow", "wrist"))
        x = points[:, :, 0]
        fits = (sizes.min(0) >= 0.01 * self.height) & (x[:, 0] >= 0.01 * self.height) & (x[:, 2] > x[:, 0] / 2)
        return np.where(fits, score, -np.inf)

    def _rough_names(self, triples: np.ndarray, parts: Sequence[str]) -> np.ndarray:
        scores = (self.name_scores[part][triples[:, column]] for column, part in enumerate(parts))
        return np.sum([np.where(triples[:, column] == _NONE, 0.0, each) for column, each in enumerate(scores)], 0)

    def _length(self, limb: _Limb) -> float:
        first, second, third = self._ends(np.array([limb.bones]))[0]
        return float(np.linalg.norm(second - first) + np.linalg.norm(third - second))

    # --- scores -----------------------------------------------------------------------------------------------------

    def _name_score(self, bones: Sequence[int], parts: Sequence[str]) -> float:
        """Positive for bones with names of the expected parts, negative for names of other parts and helpers."""
        named = zip(bones, parts, strict=True)
        return float(sum(self.name_scores[part][bone] for bone, part in named if bone != _NONE))

    def _score_leg(self, bones: tuple[int, int, int]) -> tuple[float, float] | None:
        hip, knee, ankle = (self.heads[bone] for bone in bones)
        thigh, shin = knee - hip, ankle - knee
        thigh_length, shin_length = float(np.linalg.norm(thigh)), float(np.linalg.norm(shin))
        shape = _log_likelihood(thigh_length / shin_length, _THIGH_TO_SHIN)
        shape += max(_log_likelihood((thigh_length + shin_length) / self.height, _LEG_TO_HEIGHT), _MOST_AGAINST)
        shape += max(_log_likelihood(self.reach[bones[2]] / shin_length, _FOOT_TO_SHIN), _MOST_AGAINST)
        shape -= 4 * (2 + thigh[2] / thigh_length + shin[2] / shin_length)
        # The hip is the first bone away from the middle; later ones along the thigh are twist bones.
        shape -= sum(self.heads[bone, 0] > 0.5 * hip[0] for bone in self.above[bones[0]])
        shape -= ((ankle[2] - self.floor) / (0.15 * self.height)) ** 2
        shape -= 1.0 * (bones[1] not in self.above[bones[2]])  # the foot hangs from elsewhere
        tip = self._tip(bones[2]) - ankle
        shape -= 2 * (-tip[2] > 0.9 * np.linalg.norm(tip))  # it continues vertically: no foot
        names = self._name_score(bones, ("hip", "knee", "ankle")) - self._passed_over(bones, ("knee", "ankle"))
        return shape + names, shape

    def _passed_over(self, bones: tuple[int, int, int], parts: tuple[str, str]) -> float:
        """For bones within the segments that have the name of the joint that ends them: that comes too late."""
        passed = 0
        for start, end, part in zip(bones, bones[1:], parts, strict=False):
            above = self.above[end] if end != _NONE else ()
            inside = above[above.index(start) + 1 :] if start in above else ()
            passed += sum(part in self.parsed[bone].parts and not self.parsed[bone].helper for bone in inside)
        return _NAME_SCORE * passed

    def _tip(self, bone: int) -> np.ndarray:
        """The end of the longest chain below a bone."""
        while children := [child for child in self.children[bone] if self.reach[child] > 0]:
            head = self.heads[bone]
            bone = max(children, key=lambda child: np.linalg.norm(self.heads[child] - head) + self.reach[child])
        return self.tails[bone]

    def _score_arm(self, bones: tuple[int, int, int], leg_length: float) -> tuple[float, float] | None:
        shoulder, elbow, wrist = self._ends(np.array([bones]))[0]
        upper, forearm = float(np.linalg.norm(elbow - shoulder)), float(np.linalg.norm(wrist - elbow))
        chain = [*self.above[bones[0]], bones[0], *(b for b in self.above[bones[1]] if bones[0] in self.above[b])]
        chain += [
            bones[1],
            *([] if bones[2] == _NONE else (b for b in self.above[bones[2]] if bones[1] in self.above[b])),
        ]
        first = len(self.above[bones[0]])
        shape = max(_log_likelihood(upper / forearm, _UPPER_TO_FOREARM), -5.0)
        shape += _log_likelihood((upper + forearm) / leg_length, _ARM_TO_LEG)
        if bones[2] == _NONE:
            shape -= 2.0
        else:
            shape += max(_log_likelihood(self.reach[bones[2]] / forearm, _HAND_TO_FOREARM), -4.0)
        along = (wrist - shoulder) / (upper + forearm)
        shape -= 3 * (1 - float(np.linalg.norm(along)))  # arms are nearly straight at rest
        shape -= 4 * max(0.0, float(along[2]))  # and not raised above the shoulders
        middle = chain.index(bones[1])
        for start, end, inside in (
            (shoulder, elbow, chain[first + 1 : middle]),  # bones within a segment (twist bones) lie on its line
            (elbow, wrist, chain[middle + 1 :]),
        ):
            line = end - start
            for bone in inside:
                offset = np.cross(line, self.heads[bone] - start) / (line @ line)
                shape -= 0.5 * float(offset @ offset) / 0.04**2
        shape -= 0.5 * (first == 0)  # most rigs have a collar bone
        shape -= max(0, first - 2)
        if bones[2] != _NONE:
            shape += 1.5 * (len(self.children[bones[2]]) >= 3)  # fingers
            shape -= 6.0 * self._in_a_palm(bones[2])
        shape -= sum(len(self.children[bone]) >= 4 for bone in chain[first:])
        names = self._name_score(bones, ("shoulder", "elbow", "wrist")) - self._passed_over(bones, ("elbow", "wrist"))
        return shape + names, shape

    # --- animals ----------------------------------------------------------------------------------------------------

    def _refuse_four_legs(self) -> None:
        """Raise MapError if there are legs before and behind the middle, or if bones are called so."""
        depths = []
        for bone in self._positive():
            if self.above[bone] and any(other in self.above[bone] for other in self._positive()):
                continue  # not the first of its chain
            drop = self.heads[bone, 2] - self.bottoms[bone]
            long = max((len(self.above[child]) for child in self._below(bone)), default=0) >= 1
            near = self.bottoms[bone] < self.floor + 0.12 * self.height
            if drop > 0.35 * self.height and near and long:
                depths.append(self.heads[bone, 1])
        if depths and max(depths) - min(depths) > 0.3 * self.height:
            raise _four_legs(self.name)

    def _below(self, bone: int) -> list[int]:
        found = list(self.children[bone])
        for child in found:
            found += self.children[child]
        return found

    def _refuse_animals(self, leg: _Limb, arm: _Limb | None) -> None:
        """Raise MapError if the trunk lies level, as in birds, or if the arms are wings."""
        flying = bone_names.wings(self.parsed) and (
            arm is None or any("wing" in self.parsed[i].words for i in arm.bones)
        )
        if flying:
            raise MapError(
                f"{self.name} has wings where a person has arms: a person's motion does not fit it. Choose a "
                "two-legged character with arms.",
                code="no-upright-character",
            )
        if arm is None:
            return
        trunk = self.heads[[arm.bones[0], self.partner[arm.bones[0]]]].mean(0)
        trunk = trunk - self.heads[[leg.bones[0], self.partner[leg.bones[0]]]].mean(0)
        if trunk[2] < _LEVEL_TRUNK * np.linalg.norm(trunk):
            raise MapError(
                f"{self.name} is no upright character: between hips and shoulders its trunk lies level, as an "
                "animal's. A person's motion does not fit it. Choose a two-legged character that stands upright.",
                code="no-upright-character",
            )

    # --- the whole body ---------------------------------------------------------------------------------------------

    def _assemble(self, leg: _Limb, arm: _Limb) -> Guess:
        first = [(*limb.above, limb.bones[0])[0] for limb in (leg, arm)]
        below, above = (self._ancestors(bone) or [bone] for bone in first)
        common = [bone for bone in below if bone in above]
        if not common:
            raise MapError(
                f"Legs and arms of {self.name} hang on different bones. Give all bones a common root.",
                code="no-common-root",
            )
        pelvis = common[0]
        hip_height = self.heads[leg.bones[0], 2] - self.floor
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
        left_score = self._left_is_positive(leg, arm)
        left = "left" if left_score >= 0 else "right"
        right = "right" if left == "left" else "left"
        sided = {"foot": self._ball(leg), "collar": self._collar(arm)}
        for limb, kind in ((leg, "leg"), (arm, "arm")):
            parts = [joint.removeprefix("left_") for joint in LIMBS[f"left_{kind}"]]
            sided |= dict(zip(parts, limb.bones, strict=True))
        for part, bone in sided.items():
            if bone is not None and bone != _NONE:
                joints[f"{left}_{part}"], joints[f"{right}_{part}"] = bone, self.partner[bone]
        rig_map = RigMap(
            name=self.name,
            bones={joint: self.names[bone] for joint, bone in joints.items()},
            spine=tuple(self.names[bone] for bone in spine),
            neck=tuple(self.names[bone] for bone in neck),
            spine_at=self._spine_at(spine, pelvis, hip_height),
            root=self.names[roots[-1]] if roots else "",
        )
        part_of = {bone: joint.removeprefix("left_").removeprefix("right_") for joint, bone in joints.items()}
        part_of |= dict.fromkeys(spine, "spine") | dict.fromkeys(neck, "neck")
        if spine and rig_map.spine_at[0] == 0.0:
            part_of[spine[0]] = "pelvis"
        sides = {bone: joint.split("_")[0] for joint, bone in joints.items() if "_" in joint}
        evidence = self._evidence(leg, arm, part_of, sides, abs(left_score))
        return Guess(rig_map, {bone: each.confidence() for bone, each in evidence.items()}, evidence)

    def _evidence(
        self, leg: _Limb, arm: _Limb, parts: dict[int, str], sides: dict[int, str], side_certainty: float
    ) -> dict[str, guess_confidence.Evidence]:
        """What speaks for each bone, by its name. ``parts``: bone -> its part; ``sides``: bone -> "left" or "right"."""
        fitting = sum(part in self.parsed[bone].parts for bone, part in parts.items()) / len(parts)
        shapes = dict.fromkeys(("hip", "knee", "ankle", "foot"), leg.shape_score)
        shapes |= dict.fromkeys(("collar", "shoulder", "elbow", "wrist"), arm.shape_score)
        worst = min(leg.shape_score, arm.shape_score)
        return {
            self.names[bone]: guess_confidence.Evidence(
                body_shape=worst,
                limb_shape=shapes.get(part, worst),
                name_parts=len(self.parsed[bone].parts),
                name_fits=part in self.parsed[bone].parts,
                helper=self.parsed[bone].helper,
                side_contradicts=bool(
                    self.parsed[bone].side and sides.get(bone, "") not in ("", self.parsed[bone].side)
                ),
                side_certainty=side_certainty,
                names_fitting=fitting,
            )
            for bone, part in parts.items()
        }

    def _spine_at(self, spine: list[int], pelvis: int, hip_height: float) -> tuple[float, ...]:
        """The pelvis's orientation for a bone of the spine that lies in it, beside legs that hang from below; or ()."""
        called_pelvis = spine and self.parsed[spine[0]].parts == {"pelvis"}
        on_floor = self.heads[pelvis, 2] - self.floor < 0.3 * hip_height
        if len(spine) < 2 or not (called_pelvis or on_floor):
            return ()
        return tuple(3.0 * number / (len(spine) - 1) for number in range(len(spine)))

    def _neck_and_head(self, chest: int, arm: _Limb) -> tuple[list[int], int | None]:
        """The bones between chest and head, and the head or None."""
        shoulder = self.heads[arm.bones[0], 2]
        path: list[int] = []
        bone = chest
        while True:
            middle = [i for i in self.children[bone] if self.partner[i] == i and self.tops[i] > shoulder]
            middle = [i for i in middle if self.candidates[i]]
            # A bone whose head is at its parent's head lies inside the skull: the parent of the face bones.
            named = [i for i in middle if self.parsed[i].parts & {"head", "neck"} and not self.parsed[i].helper]
            far = [i for i in middle if np.linalg.norm(self.heads[i] - self.heads[bone]) > 0.01 * self.height]
            middle = [i for i in middle if i in named or i in far] if bone == chest else named or far
            if not middle:
                break
            bone = max(middle, key=lambda i: (i in named, "head" in self._chain_parts(i), self.tops[i]))
            path.append(bone)
            if "head" in self.parsed[bone].parts and not self._goes_on(bone):
                break
            if any(self.partner[i] != i for i in self.children[bone]) and "neck" not in self.parsed[bone].parts:
                break  # eyes and ears are children of the head
        named = [bone for bone in path if "head" in self.parsed[bone].parts]
        if named:
            return path[: path.index(named[-1])], named[-1]
        top = max((self.tops[bone] for bone in path), default=0.0)
        # Bones that begin near the top of the head are end bones.
        while len(path) > 1 and self.heads[path[-1], 2] - shoulder > 0.75 * (top - shoulder):
            path.pop()
        return (path[:-1], path[-1]) if path else ([], None)

    def _goes_on(self, bone: int) -> bool:
        """Whether a bone called head carries nothing itself, but a child that is the head does."""
        if self.skinned is None or self.skinned[bone]:
            return False
        return any("head" in self.parsed[child].parts and self.skinned[child] for child in self.children[bone])

    def _chain_parts(self, bone: int) -> set[str]:
        return {part for i in (bone, *self.children[bone]) for part in self.parsed[i].parts}

    def _ball(self, leg: _Limb) -> int | None:
        """The bone at the ball of the foot; None if there is none, or if each toe has its own bone."""
        ankle = leg.bones[2]
        length = max(self.reach[ankle], 1e-9)
        ahead = [
            bone
            for bone in self.children[ankle]
            if self._sided(bone)
            and np.linalg.norm((self.heads[bone] - self.heads[ankle])[:2]) > 0.3 * length
            and self.reach[bone] > 0.05 * length  # not a bone that marks the tip
            and not self.parsed[bone].helper
        ]
        named = [bone for bone in ahead if "foot" in self.parsed[bone].parts]
        if len(ahead) >= 4:
            return None
        return max(named or ahead, key=lambda bone: len(self.children[bone]), default=None)

    def _collar(self, arm: _Limb) -> int | None:
        above = arm.above
        named = [bone for bone in above if "collar" in self.parsed[bone].parts and not self.parsed[bone].helper]
        if self.skinned is not None:
            named = [bone for bone in named if self.skinned[bone]] or named
            above = tuple(bone for bone in above if self.skinned[bone]) or above
        return next(iter(named or above), None)

    def _left_is_positive(self, leg: _Limb, arm: _Limb) -> float:
        """Above zero if positive x is left, by what points ahead and by names; its size is the certainty.

        What the body shows comes before names: some makers call left what is left for who looks at the character.
        """
        ankle = leg.bones[2]
        foot = (self._tip(ankle) - self.heads[ankle])[:2]
        ahead = -3.0 * float(foot[1]) / max(float(np.linalg.norm(foot)), 0.03 * self.height)
        hip, knee, end = (self.heads[bone] for bone in leg.bones)
        ahead += -20.0 * float((knee - (hip + end) / 2)[1]) / float(np.linalg.norm(end - hip))  # knees bend ahead
        shoulder, elbow, wrist = self._ends(np.array([arm.bones]))[0]
        ahead += 10.0 * float((elbow - (shoulder + wrist) / 2)[1]) / float(np.linalg.norm(wrist - shoulder))
        votes = [self.parsed[bone].side for limb in (leg, arm) for bone in limb.bones if bone != _NONE]
        names = float(np.sign(votes.count("left") - votes.count("right")))
        # Facing -y with z up, the left hand is at positive x. Only feet that point clearly ahead outvote the names.
        return ahead + 2.6 * names


def _log_likelihood(ratio: _Numbers, expected: tuple[float, float]) -> _Numbers:
    """Of the logarithm of ratios, normal with (mean, standard deviation), up to a constant; 0 is best."""
    mean, deviation = expected
    return -0.5 * ((np.log(np.maximum(ratio, 1e-6)) - mean) / deviation) ** 2
