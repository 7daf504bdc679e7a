"""Finds the bones that may be a leg or an arm, and scores them by their names and by their shape. NumPy only."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import TypeVar

import numpy as np

from .body_frame import LIKELY, Frame, Skeleton
from .known_bones import NAME_SCORE, KnownBones
from .maps import MapError

# Ratios of limb segments in people (Drillis and Contini's segment lengths): mean and standard deviation of the
# logarithm of the ratio. The deviations are set by hand, wide enough for cartoon characters.
_THIGH_TO_SHIN = (0.0, 0.25)
_FOOT_TO_SHIN = (math.log(0.5), 0.5)
_LEG_TO_HEIGHT = (math.log(0.49), 0.35)
_UPPER_TO_FOREARM = (math.log(1.15), 0.25)
_HAND_TO_FOREARM = (math.log(0.75), 0.5)
_ARM_TO_LEG = (math.log(0.65), 0.8)
# The scores are set by hand, judged on the test rigs (tests/rigs) with and without names.
_MOST_AGAINST = -2.5  # that one unusual length counts: cartoon characters have short legs and big boots
_UNNAMED = 1.0  # against a bone without a name, where others have the name that it should have
_MIN_SHAPE_SCORE = -9.0  # of a limb without its names; below it no limb is found
_NAMED = 2.5 * NAME_SCORE  # the score of names that leave no doubt
_MIN_NAMED = -25.0  # the same of a limb with such names, whose shape may be a pose's
_MIN_LEG = 0.1  # length of a leg, of the height: chibi characters have 0.2, and the fingers of a lying body 0.06
# Candidates for a limb, three bones each, on one side: the rigs of tests/rigs have 1,200 at most. A chain of 60 bones
# has 34,000; long tentacles would take hours.
_MAX_CANDIDATES = 30_000
_DETAILED = 400  # candidates for a limb that are looked at in detail, after the lengths of their segments
NONE = -1

# The score of three bones as a limb, with names and by shape only; None if they cannot be one.
_Numbers = TypeVar("_Numbers", float, np.ndarray)
_Score = Callable[[tuple[int, int, int]], tuple[float, float] | None]


@dataclass(frozen=True)
class Limb:
    """The bones of a limb at positive x; which side that is, is decided later."""

    bones: tuple[int, int, int]  # hip, knee, ankle or shoulder, elbow, wrist; the wrist is -1 if there is none
    above: tuple[int, ...]  # bones of the limb above the first, from the trunk
    score: float
    shape_score: float  # the score without names


class Limbs:
    """A skeleton in a frame in which x is to the side, y the depth and z up, and x = 0 the middle."""

    def __init__(self, name: str, skeleton: Skeleton, known: KnownBones, frame: Frame) -> None:
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
        self.reach = frame.reach
        self.name_scores = {part: self._with_counterparts(part, known.name_scores[part]) for part in known.name_scores}
        self.above = self._paired_ancestors(known.top_down)

    def _with_counterparts(self, part: str, scores: np.ndarray) -> np.ndarray:
        """The scores (N,) of names for a part: a bone whose name says nothing has its counterpart's.

        Where other bones of both sides have the part's name, one without a name is rather a scarf's.
        """
        scores, known = scores.copy(), False
        for bone, name in enumerate(self.parsed):
            other = self.partner[bone]
            if other in (NONE, bone) or name.helper:
                continue
            if not name.parts:
                scores[bone] = max(scores[bone], scores[other]) if self.parsed[other].parts else scores[bone]
            known |= part in name.parts and part in self.parsed[other].parts
        if known:
            scores[[bone for bone, name in enumerate(self.parsed) if not name.parts]] -= _UNNAMED
        return scores

    def best_leg(self) -> Limb | None:
        """The best leg, and None if there is none. Raises MapError if there are too many candidates."""
        return self._best(self._score_leg, self._leg_lengths)

    def best_arm(self, leg: Limb) -> Limb | None:
        """The best arm of a body with such a leg."""
        leg_length = self.length(leg)
        chest = self.heads[leg.bones[0], 2] + 0.2 * leg_length  # arms begin above it, skirts and tails below

        def score(bones: tuple[int, int, int]) -> tuple[float, float] | None:
            first = (*self.above[bones[0]], bones[0])[0]
            return self._score_arm(bones, leg_length) if self.heads[first, 2] > chest else None

        return self._best(score, self._arm_lengths)

    def _best(self, score: _Score, lengths: Callable[[np.ndarray], np.ndarray]) -> Limb | None:
        best = max(self._limbs(self._triples, score, lengths), key=lambda limb: limb.score, default=None)
        if best is None or best.shape_score < (
            _MIN_NAMED if best.score - best.shape_score > _NAMED else _MIN_SHAPE_SCORE
        ):
            return None
        return best

    # --- candidates for limbs ---------------------------------------------------------------------------------------

    def ancestors(self, bone: int) -> list[int]:
        """A bone's parent, its parent and so on."""
        ancestors: list[int] = []
        while (bone := self.parents[bone]) >= 0:
            ancestors.append(bone)
        return ancestors

    def is_sided(self, bone: int) -> bool:
        """Whether a bone has a counterpart on the other side."""
        return self.partner[bone] not in (NONE, bone)

    def _paired_ancestors(self, top_down: Sequence[int]) -> list[tuple[int, ...]]:
        """For each bone at positive x with a counterpart, the bones above it that have one too, from the trunk."""
        above: list[tuple[int, ...]] = [()] * len(self.names)
        for bone in top_down:
            parent = self.parents[bone]
            if parent >= 0 and self.is_sided(parent) and self.is_sided(bone):
                above[bone] = (*above[parent], parent)
        return above

    def positive(self) -> list[int]:
        """Candidates at positive x that have a counterpart."""
        side = self.heads[:, 0] + self.tails[:, 0]
        return [bone for bone in np.flatnonzero(self.candidates & (side > 0)).tolist() if self.is_sided(bone)]

    @cached_property
    def _triples(self) -> np.ndarray:
        """Candidates for limbs (T, 3): bones of one chain each, from the trunk; the last is -1 in limbs of two."""
        positive = self.positive()
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
            beyond = [child for child in self.children[bone] if child in allowed and not self._is_beside(child)]
            if not beyond or any(map(self._in_a_palm, beyond)):
                triples += [(first, bone, NONE) for first in above]
        triples += self._loose_feet(positive)
        return np.array(triples, int).reshape(-1, 3)

    def _is_beside(self, bone: int) -> bool:
        """Whether a bone does not go on where the one above it ends: a finger's, a twist bone, a helper."""
        offset = self.heads[bone] - self.heads[self.parents[bone]]
        return self.parsed[bone].helper or bool(np.linalg.norm(offset) < 0.01 * self.height)

    def _in_a_palm(self, bone: int) -> bool:
        """Whether three bones or more begin at one point: those of a palm, in a hand without a bone of its own."""
        parent = self.parents[bone]
        beside = [other for other in self.children[parent] if self.is_sided(other)] if parent >= 0 else []
        apart = np.linalg.norm(self.heads[beside] - self.heads[bone], axis=1) if beside else np.zeros(0)
        return int(np.sum(apart < 0.01 * self.height)) > 2

    def _loose_feet(self, positive: list[int]) -> list[tuple[int, int, int]]:
        """Legs whose feet have another parent, as bones for IK do: (hip, knee, ankle)."""
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

    def _limbs(self, triples: np.ndarray, score: _Score, lengths: Callable[[np.ndarray], np.ndarray]) -> list[Limb]:
        """Scored candidates for a limb; ``lengths`` gives cheap scores (T,), by which the best are chosen."""
        if not len(triples):
            return []
        rough = lengths(triples)
        chosen = np.argsort(-rough, kind="stable")[:_DETAILED]
        limbs = []
        for hip, knee, ankle in triples[chosen[np.isfinite(rough[chosen])]].tolist():
            scores = score((hip, knee, ankle))
            if scores is not None:
                limbs.append(Limb((hip, knee, ankle), self.above[hip], scores[0], scores[1]))
        return limbs

    def ends(self, triples: np.ndarray) -> np.ndarray:
        """The three joints (T, 3, 3); of limbs of two bones the last is the tail of the second."""
        points = self.heads[triples]
        missing = triples[:, 2] == NONE
        points[missing, 2] = self.tails[triples[missing, 1]]
        return points

    def _leg_lengths(self, triples: np.ndarray) -> np.ndarray:
        points = self.ends(triples)
        upper, lower = np.diff(points, axis=1).transpose(1, 0, 2)
        sizes = np.linalg.norm([upper, lower], axis=-1)
        with np.errstate(divide="ignore", invalid="ignore"):
            down = np.maximum(upper[:, 2] / sizes[0], lower[:, 2] / sizes[1])
            score = _log_likelihood(sizes[0] / sizes[1], _THIGH_TO_SHIN)
        names = self._rough_names(triples, ("hip", "knee", "ankle"))
        score = score + names
        fits = (sizes.min(0) >= 0.02 * self.height) & (points[:, 0, 0] >= 0.005 * self.height)
        # Legs may be raised in a rest pose: then their names tell, if it is known which way is up. Else an animal that
        # is looked at as if it stood on its hind legs has such legs, too.
        fits &= (down <= -0.5) | ((names > _NAMED) & (self.frame.prior > LIKELY))
        fits &= (sizes.sum(0) >= _MIN_LEG * self.height) & (triples[:, 2] != NONE)
        return np.where(fits, score, -np.inf)

    def _arm_lengths(self, triples: np.ndarray) -> np.ndarray:
        points = self.ends(triples)
        sizes = np.linalg.norm(np.diff(points, axis=1), axis=-1).T
        with np.errstate(divide="ignore", invalid="ignore"):
            score = _log_likelihood(sizes[0] / sizes[1], _UPPER_TO_FOREARM)
        score = score + self._rough_names(triples, ("shoulder", "elbow", "wrist"))
        x = points[:, :, 0]
        fits = (sizes.min(0) >= 0.01 * self.height) & (x[:, 0] >= 0.01 * self.height) & (x[:, 2] > x[:, 0] / 2)
        return np.where(fits, score, -np.inf)

    def _rough_names(self, triples: np.ndarray, parts: Sequence[str]) -> np.ndarray:
        scores = (self.name_scores[part][triples[:, column]] for column, part in enumerate(parts))
        return np.sum([np.where(triples[:, column] == NONE, 0.0, each) for column, each in enumerate(scores)], 0)

    def length(self, limb: Limb) -> float:
        """The length of a limb's two segments."""
        first, second, third = self.ends(np.array([limb.bones]))[0]
        return float(np.linalg.norm(second - first) + np.linalg.norm(third - second))

    # --- scores -----------------------------------------------------------------------------------------------------

    def _name_score(self, bones: Sequence[int], parts: Sequence[str]) -> float:
        """Positive for bones with names of the expected parts, negative for names of other parts and helpers."""
        named = zip(bones, parts, strict=True)
        return float(sum(self.name_scores[part][bone] for bone, part in named if bone != NONE))

    def _score_leg(self, bones: tuple[int, int, int]) -> tuple[float, float] | None:
        hip, knee, ankle = (self.heads[bone] for bone in bones)
        thigh, shin = knee - hip, ankle - knee
        thigh_length, shin_length = float(np.linalg.norm(thigh)), float(np.linalg.norm(shin))
        shape = _log_likelihood(thigh_length / shin_length, _THIGH_TO_SHIN)
        shape += max(_log_likelihood((thigh_length + shin_length) / self.height, _LEG_TO_HEIGHT), _MOST_AGAINST)
        shape += max(_log_likelihood(self.reach[bones[2]] / shin_length, _FOOT_TO_SHIN), _MOST_AGAINST)
        shape -= 4 * (2 + thigh[2] / thigh_length + shin[2] / shin_length)
        # The hip is the first bone away from the middle; later ones along the thigh are twist bones.
        for bone in self.above[bones[0]]:
            if self.heads[bone, 0] > 0.5 * hip[0]:
                shape -= 1 + 3 * min(1.0, float(np.linalg.norm(hip - self.heads[bone])) / thigh_length)
        shape -= ((ankle[2] - self.floor) / (0.15 * self.height)) ** 2
        shape -= self._off_line(bones)
        shape -= 1.0 * (bones[1] not in self.above[bones[2]])  # the foot has another parent
        tip = self.tip(bones[2]) - ankle
        shape -= 2 * (-tip[2] > 0.9 * np.linalg.norm(tip))  # it continues vertically: no foot
        names = self._name_score(bones, ("hip", "knee", "ankle")) - self._passed_over(bones, ("knee", "ankle"))
        return shape + names, shape

    def _passed_over(self, bones: tuple[int, int, int], parts: tuple[str, str]) -> float:
        """For bones within the segments that have the name of the joint that ends them: that comes too late."""
        passed = 0
        for start, end, part in zip(bones, bones[1:], parts, strict=False):
            inside = self._inside(start, end)
            passed += sum(part in self.parsed[bone].parts and not self.parsed[bone].helper for bone in inside)
        return NAME_SCORE * passed

    def _inside(self, start: int, end: int) -> tuple[int, ...]:
        """The bones between two bones of a chain."""
        above = self.above[end] if end != NONE else ()
        return above[above.index(start) + 1 :] if start in above else ()

    def _off_line(self, bones: tuple[int, int, int]) -> float:
        """How much speaks against bones within the segments of a limb: twist bones lie on the line, joints do not."""
        joints, against = self.ends(np.array([bones]))[0], 0.0
        for number in (0, 1):
            start, line = joints[number], joints[number + 1] - joints[number]
            for bone in self._inside(bones[number], bones[number + 1]):
                offset = np.cross(line, self.heads[bone] - start) / (line @ line)
                against += 0.5 * float(offset @ offset) / 0.04**2
        return against

    def tip(self, bone: int) -> np.ndarray:
        """The end of the longest chain below a bone."""
        while children := [child for child in self.children[bone] if self.reach[child] > 0]:
            head = self.heads[bone]
            bone = max(children, key=lambda child: np.linalg.norm(self.heads[child] - head) + self.reach[child])
        return self.tails[bone]

    def _score_arm(self, bones: tuple[int, int, int], leg_length: float) -> tuple[float, float] | None:
        shoulder, elbow, wrist = self.ends(np.array([bones]))[0]
        upper, forearm = float(np.linalg.norm(elbow - shoulder)), float(np.linalg.norm(wrist - elbow))
        chain = [*self.above[bones[0]], bones[0], *self._inside(bones[0], bones[1])]
        chain += [bones[1], *self._inside(bones[1], bones[2])]
        first = len(self.above[bones[0]])
        shape = max(_log_likelihood(upper / forearm, _UPPER_TO_FOREARM), -5.0)
        shape += _log_likelihood((upper + forearm) / leg_length, _ARM_TO_LEG)
        if bones[2] == NONE:
            shape -= 2.0
        else:
            shape += max(_log_likelihood(self.reach[bones[2]] / forearm, _HAND_TO_FOREARM), -4.0)
        along = (wrist - shoulder) / (upper + forearm)
        shape -= 3 * (1 - float(np.linalg.norm(along)))  # arms are nearly straight at rest
        shape -= 4 * max(0.0, float(along[2]))  # and not raised above the shoulders
        shape -= self._off_line(bones)
        shape -= 0.5 * (first == 0)  # most rigs have a collar bone
        shape -= max(0, first - 2)
        if bones[2] != NONE:
            shape += 1.5 * (len(self.children[bones[2]]) >= 3)  # fingers
            shape -= 6.0 * self._in_a_palm(bones[2])
        shape -= sum(len(self.children[bone]) >= 4 for bone in chain[first:])
        names = self._name_score(bones, ("shoulder", "elbow", "wrist")) - self._passed_over(bones, ("elbow", "wrist"))
        return shape + names, shape


def _log_likelihood(ratio: _Numbers, expected: tuple[float, float]) -> _Numbers:
    """Of the logarithm of ratios, normal with (mean, standard deviation), up to a constant; 0 is best."""
    mean, deviation = expected
    return -0.5 * ((np.log(np.maximum(ratio, 1e-6)) - mean) / deviation) ** 2
