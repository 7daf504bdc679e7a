"""What names, tree and skin say of a skeleton's bones, before it is known how the body stands. NumPy only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from . import bone_names
from .body_frame import Skeleton
from .maps import LIMBS

# The scores are set by hand, judged on the test rigs (tests/rigs) with and without names.
NAME_SCORE = 3.0  # for a name of the expected part, and against a name of another
_UNSKINNED = -2.0  # of a bone that deforms no vertices, in a rig that has a skin: a control or a helper


@dataclass(frozen=True)
class KnownBones:
    """What is known of bones before a frame is chosen."""

    parsed: list[bone_names.ParsedName]
    children: list[list[int]]
    depths: np.ndarray  # (N,) in the tree
    top_down: list[int]  # parents first
    skinned: np.ndarray | None  # (N,) bool: it deforms vertices itself or by a twist bone; None if nothing has a skin
    candidates: np.ndarray  # (N,) bool: it may be a bone of the body
    name_scores: dict[str, np.ndarray]  # part -> (N,) what each bone's name says of it

    @classmethod
    def of(cls, skeleton: Skeleton) -> KnownBones:
        """Read the names, the tree and the skin of a skeleton."""
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
        # A helper that is a child of another one is within a finger, a strand of hair, a skirt or a face.
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
            # Feet with another parent may deform nothing: their names keep them.
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
            scores[bone] = NAME_SCORE / len(name.parts) ** 0.5 if part in name.parts else -NAME_SCORE
        scores[bone] -= NAME_SCORE * name.helper
    return scores if skinned is None else scores + np.where(skinned, 0.0, _UNSKINNED)
