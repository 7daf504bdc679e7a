"""Guesses a rig map for an unknown armature from the bones' names, its rest pose and its skin. NumPy only.

Names are parsed in many languages (``bone_names``). The rest pose adds what is known of bodies: left-right symmetry,
a pair of legs with thigh and shin of similar length, and arms of certain proportions. Each candidate for a limb gets a
score from both, and the best candidates become legs and arms. Importers' axes and bone tails are not trusted: the body
is looked at in several frames (``body_frame``), and a tail is where the bone's children begin.
"""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass, replace

import numpy as np

from . import body_frame, bone_names, guess_confidence
from .body_frame import Skeleton
from .known_bones import KnownBones
from .limb_candidates import NONE, Limb, Limbs
from .maps import LIMBS, MapError, RigMap

__all__ = ["Guess", "Skeleton", "guess"]

# Set by hand, judged on the test rigs (tests/rigs) with and without names.
_TWO_LEGS = "two legs, chains of bones from the hips down to the floor that mirror each other"
_BEYOND_DOUBT = 8.0  # score of a map at which no other frame is tried: names fit too, without them it is about 1
# Logarithm of how probable it is that the rest pose is none in which a body stands, and the pose as it is one is.
_POSE_FOR_REST = -2.0
_MAX_BONES = 4000  # that may be a body's: without face, fingers and bones that deform nothing
_MAX_ALL_BONES = 20_000
_LEVEL_TRUNK = math.cos(math.radians(50))  # a trunk further from the vertical is an animal's; set by hand


@dataclass(frozen=True)
class Guess:
    """A guessed map and the confidence of each of its bones."""

    rig_map: RigMap
    confidence: dict[str, float]  # bone -> 0 to 1; for every bone of ``rig_map.mapped_bones()``
    evidence: dict[str, guess_confidence.Evidence]  # what each of them rests on


def guess(name: str, skeleton: Skeleton) -> Guess:
    """Guess the map of a two-legged rig.

    Raises MapError if no legs or arms are found, four legs, or the trunk of an animal.
    """
    if len(skeleton.names) > _MAX_ALL_BONES:
        raise _wrong_size(name, len(skeleton.names))
    known = KnownBones.of(skeleton)
    if not 6 <= known.candidates.sum() <= _MAX_BONES:
        raise _wrong_size(name, len(skeleton.names))
    if not np.isfinite([skeleton.heads, skeleton.tails]).all():
        raise MapError(
            f"Bones of {name} lie at no finite position. Correct its rest pose in Edit Mode.", code="no-character-rig"
        )
    if bone_names.of_four_legs(known.parsed):
        raise _four_legs(name)
    skeleton = skeleton.in_unit_size()
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


class _Body(Limbs):
    """The whole body, in a frame: legs, arms, trunk and head, or why it is none."""

    def result(self) -> tuple[float, Guess | MapError]:
        """The score of the best legs and arms and the map that they give, or the reason why there is none."""
        try:
            leg = self.best_leg()
            if leg is None:
                self._refuse_four_legs()
                raise self._missing(_TWO_LEGS)
        except MapError as error:
            return -100.0, error
        try:
            self._refuse_four_legs()
            arm = self.best_arm(leg)
            self._refuse_animals(leg, arm)
            if arm is None and leg.score < leg.shape_score:  # by their names, what was found are no legs
                raise self._missing(_TWO_LEGS)
            if arm is None:
                raise self._missing("two arms, chains of bones from the chest to the hands that mirror each other")
            return leg.score + arm.score, self._assemble(leg, arm)
        except MapError as error:
            return leg.score - 20.0, error

    def _missing(self, limbs: str) -> MapError:
        return MapError(
            f"Not found in {self.name}: {limbs}. Choose another rig, or name its bones by hand and save the map.",
            code="limbs-not-found",
        )

    # --- animals ----------------------------------------------------------------------------------------------------

    def _refuse_four_legs(self) -> None:
        """Raise MapError if there are legs before and behind the middle, or if bones are called so."""
        depths, positive = [], set(self.positive())
        for bone in sorted(positive):
            if positive.intersection(self.above[bone]):
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

    def _refuse_animals(self, leg: Limb, arm: Limb | None) -> None:
        """Raise MapError if the trunk lies level, as in birds, or if the arms are wings."""
        flying = bone_names.wings(self.parsed) and (
            arm is None or any("wing" in self.parsed[i].words for i in arm.bones if i != NONE)
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

    def _assemble(self, leg: Limb, arm: Limb) -> Guess:
        first = [(*limb.above, limb.bones[0])[0] for limb in (leg, arm)]
        below, above = (self.ancestors(bone) or [bone] for bone in first)
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
        roots = [bone for bone in self.ancestors(pelvis) if self.heads[bone, 2] - self.floor < 0.1 * hip_height]

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
            if bone is not None and bone != NONE:
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
        self, leg: Limb, arm: Limb, parts: dict[int, str], sides: dict[int, str], side_certainty: float
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
        """The pelvis's orientation for a bone of the spine that lies in it, beside legs with a parent below; or ()."""
        called_pelvis = spine and self.parsed[spine[0]].parts == {"pelvis"}
        on_floor = self.heads[pelvis, 2] - self.floor < 0.3 * hip_height
        if len(spine) < 2 or not (called_pelvis or on_floor):
            return ()
        return tuple(3.0 * number / (len(spine) - 1) for number in range(len(spine)))

    def _neck_and_head(self, chest: int, arm: Limb) -> tuple[list[int], int | None]:
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
            if bone == chest and not far:  # of motion files: a neck that begins where the chest does
                far = [i for i in middle if self.tops[i] - self.heads[i, 2] > 0.05 * self.height]
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
        """Whether a bone called head deforms nothing itself, but a child that is the head does."""
        if self.skinned is None or self.skinned[bone]:
            return False
        return any("head" in self.parsed[child].parts and self.skinned[child] for child in self.children[bone])

    def _chain_parts(self, bone: int) -> set[str]:
        return {part for i in (bone, *self.children[bone]) for part in self.parsed[i].parts}

    def _ball(self, leg: Limb) -> int | None:
        """The bone at the ball of the foot; None if there is none, or if each toe has its own bone."""
        ankle = leg.bones[2]
        length = max(self.reach[ankle], 1e-9)
        ahead = [
            bone
            for bone in self.children[ankle]
            if self.is_sided(bone)
            and self.reach[bone] > 0.05 * length  # not a bone that marks the tip
            and not self.parsed[bone].helper
            and (
                np.linalg.norm((self.heads[bone] - self.heads[ankle])[:2]) > 0.3 * length
                or (
                    "foot" in self.parsed[bone].parts
                    and np.linalg.norm(self.heads[bone] - self.heads[ankle]) > 0.3 * length
                )
            )
        ]
        named = [bone for bone in ahead if "foot" in self.parsed[bone].parts]
        if len(ahead) >= 4:
            return None
        return max(named or ahead, key=lambda bone: len(self.children[bone]), default=None)

    def _collar(self, arm: Limb) -> int | None:
        above = arm.above
        named = [bone for bone in above if "collar" in self.parsed[bone].parts and not self.parsed[bone].helper]
        if self.skinned is not None:
            named = [bone for bone in named if self.skinned[bone]] or named
            above = tuple(bone for bone in above if self.skinned[bone]) or above
        return next(iter(named or above), None)

    def _left_is_positive(self, leg: Limb, arm: Limb) -> float:
        """Above zero if positive x is left, by what points ahead and by names; its size is the certainty.

        What the body shows comes before names: some makers call left what is left for who looks at the character.
        """
        ankle = leg.bones[2]
        foot = (self.tip(ankle) - self.heads[ankle])[:2]
        ahead = -3.0 * float(foot[1]) / max(float(np.linalg.norm(foot)), 0.03 * self.height)
        hip, knee, end = (self.heads[bone] for bone in leg.bones)
        ahead += (
            -20.0 * float((knee - (hip + end) / 2)[1]) / max(float(np.linalg.norm(end - hip)), 1e-6)
        )  # knees bend ahead
        shoulder, elbow, wrist = self.ends(np.array([arm.bones]))[0]
        ahead += 10.0 * float((elbow - (shoulder + wrist) / 2)[1]) / max(float(np.linalg.norm(wrist - shoulder)), 1e-6)
        votes = [self.parsed[bone].side for limb in (leg, arm) for bone in limb.bones if bone != NONE]
        names = float(np.sign(votes.count("left") - votes.count("right")))
        # Facing -y with z up, the left hand is at positive x. Only feet that point clearly ahead outvote the names.
        return ahead + 2.6 * names
