"""Finds the finger bones of a rig below its hands, by names in many languages or by where they lie. NumPy only."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, replace

import numpy as np

from ...skeleton import HAND_FINGERS
from . import bone_names
from .body_frame import Skeleton
from .maps import RigMap

_WORDS = {
    "thumb": r"thumb|pollex|daumen|pouce|pulgar|polegar|pollice|большой|親指|拇指",
    "index": r"index|ind(?![a-z])|fore_?finger|pointer|zeige|indice|indicador|указат|人指|人差|食指",
    "middle": r"middle|mid(?![a-z])|medio|majeur|mittel|средн|中指",
    "ring": r"ring(?![a-z])|anular|annul|безым|薬指|無名|无名",
    "pinky": r"pinky|pinkie|pink(?![a-z])|little|auric|klein|menique|mindinho|мизин|小指|尾指",
}  # fmt: skip
_FINGER_WORDS = {finger: re.compile(words) for finger, words in _WORDS.items()}
_NUMBERED = re.compile(r"(?:finger|digit|f)_?0?([1-5])(?!\d)")  # the thumb is the first, where a hand has five of them
_BY_NUMBER = {"1": "thumb", "2": "index", "3": "middle", "4": "ring", "5": "pinky"}
# Bones of a finger that are none of its joints.
_PALM = re.compile(r"meta|carpal|palm")
_OTHER = re.compile(
    r"twist|corrective|weapon|socket|effector"
    r"|(?<![a-z])(?:base|tip|nub|end|ik|pole|target|master|mch|org|vis|wgt|tweak|slot|prop|gun)(?![a-z])"
)
# The fingers that hands of so many of them have, from the thumb's side, without it; set by hand.
_ACROSS = {
    1: ("middle",),
    2: ("index", "middle"),
    3: ("index", "middle", "pinky"),
    4: ("index", "middle", "ring", "pinky"),
}
_METACARPAL = (
    0.5  # of the distance from wrist to the next joint: a bone that begins nearer is none of a finger's joints
)
_LEAST_LENGTH = 0.15  # of a hand's: shorter chains are no fingers


def complete(rig_map: RigMap, skeleton: Skeleton) -> RigMap:
    """The map with the fingers that it lacks and that a rig at rest seems to have."""
    fingers = dict(rig_map.fingers)
    for side in ("left", "right"):
        hand = rig_map.bones.get(f"{side}_wrist", "")
        known = {
            finger: [f"{side}_{finger}{number}" for number in (1, 2, 3) if f"{side}_{finger}{number}" in fingers]
            for finger in HAND_FINGERS
        }
        lacking = [finger for finger, joints in known.items() if len(joints) < 3]
        if not lacking or hand not in skeleton.names:
            continue
        found = _Hand.of(skeleton, hand).fingers()
        taken = {bone for finger in HAND_FINGERS if finger not in lacking for bone in map(fingers.get, known[finger])}
        for finger in lacking:
            chain = found.get(finger, [])
            if len(chain) > len(known[finger]) and not taken & set(chain):
                for joint in known[finger]:
                    del fingers[joint]
                numbers = _numbers(finger, chain)
                fingers |= {f"{side}_{finger}{number}": bone for number, bone in zip(numbers, chain, strict=True)}
    used = {*rig_map.mapped_bones().values()}
    return replace(rig_map, fingers={joint: bone for joint, bone in fingers.items() if bone not in used})


def _numbers(finger: str, chain: list[str]) -> tuple[int, ...]:
    """Which of the three joints the bones of a chain are: a thumb of two bones lacks the one in the palm."""
    return (2, 3) if finger == "thumb" and len(chain) == 2 else (1, 2, 3)[: len(chain)]


@dataclass(frozen=True)
class _Hand:
    """The bones below a hand."""

    skeleton: Skeleton
    wrist: np.ndarray  # (3,)
    below: tuple[int, ...]  # parents first
    depth: dict[int, int]

    @classmethod
    def of(cls, skeleton: Skeleton, hand: str) -> _Hand:
        top = skeleton.names.index(hand)
        depth, below = {top: 0}, []
        waiting = list(range(len(skeleton.names)))
        while True:
            new = [bone for bone in waiting if skeleton.parents[bone] in depth and bone not in depth]
            if not new:
                break
            for bone in new:
                depth[bone] = depth[skeleton.parents[bone]] + 1
            below += new
        return cls(skeleton, skeleton.heads[top], tuple(below), depth)

    def fingers(self) -> dict[str, list[str]]:
        """Up to three bones of each finger, from the palm outwards."""
        chains = self._by_words() or self._by_numbers() or self._by_place()
        found = {finger: self._joints(finger, chain) for finger, chain in chains.items()}
        return {finger: [self.skeleton.names[bone] for bone in chain] for finger, chain in found.items() if chain}

    def _by_words(self) -> dict[str, list[int]]:
        return self._chains({bone: self._finger_of(bone) for bone in self.below})

    def _by_numbers(self) -> dict[str, list[int]]:
        matches = {bone: _NUMBERED.search(self._plain(bone)) for bone in self.below}
        found = self._chains({bone: _BY_NUMBER[match[1]] if match else "" for bone, match in matches.items()})
        return found if len(found) == len(_BY_NUMBER) else {}

    def _chains(self, fingers: dict[int, str]) -> dict[str, list[int]]:
        """The longest chain of bones of each finger's name."""
        chains: dict[str, list[int]] = {}
        ends: dict[int, list[int]] = {}
        for bone, finger in fingers.items():
            if not finger or self._is_other(bone, finger):
                continue
            above = next((each for each in self._above(bone) if fingers.get(each) == finger and each in ends), None)
            ends[bone] = [*(ends[above] if above is not None else ()), bone]
            if len(ends[bone]) > len(chains.get(finger, ())):
                chains[finger] = ends[bone]
        return chains

    def _by_place(self) -> dict[str, list[int]]:
        """Fingers of bones without telling names: chains that lie beside each other, the thumb's begins nearer."""
        children: dict[int, list[int]] = {}
        for bone in self.below:
            children.setdefault(self.skeleton.parents[bone], []).append(bone)
        leaves = [bone for bone in self.below if bone not in children and not self._is_end(bone)]
        leaves += [bone for bone in self.below if children.get(bone) and all(map(self._is_end, children[bone]))]
        chains = []
        for leaf in leaves:
            chain = [leaf]
            for above in self._above(leaf):
                if above not in self.depth or self.depth[above] == 0 or len(children[above]) > 1:
                    break
                chain.insert(0, above)
            chains.append(chain)
        reach = max((float(np.linalg.norm(self.skeleton.tails[chain[-1]] - self.wrist)) for chain in chains), default=0)
        chains = [
            chain
            for chain in chains
            if len(chain) > 1
            and np.linalg.norm(self.skeleton.tails[chain[-1]] - self.skeleton.heads[chain[0]]) > _LEAST_LENGTH * reach
            and not any(map(self._is_end, chain))
        ]
        if not 1 <= len(chains) <= 5:
            return {}
        heads = np.array([self.skeleton.heads[chain[-2]] for chain in chains])
        middle = heads.mean(0) - self.wrist
        spread = heads - heads.mean(0)
        spread = spread - np.outer(spread @ middle, middle) / max(float(middle @ middle), 1e-12)
        across = np.linalg.svd(spread)[2][0]
        order = sorted(range(len(chains)), key=lambda number: float(spread[number] @ across))
        near = np.linalg.norm(heads - self.wrist, axis=1)
        if near[order[-1]] < near[order[0]]:
            order.reverse()
        thumb = [order.pop(0)] if len(order) > 2 and near[order[0]] < 0.9 * np.mean(near[order[1:]]) else []
        names = ("thumb",) * len(thumb) + _ACROSS.get(len(order), ())
        return {finger: chains[number] for finger, number in zip(names, [*thumb, *order], strict=False)}

    def _joints(self, finger: str, chain: list[int]) -> list[int]:
        """A chain without a metacarpal, of up to three bones; a thumb's is the first of its joints."""
        if len(chain) > 3:
            first, second = (float(np.linalg.norm(self.skeleton.heads[bone] - self.wrist)) for bone in chain[:2])
            in_palm = finger != "thumb" and first < _METACARPAL * second
            chain = chain[1:] if in_palm or _PALM.search(self._plain(chain[0])) else chain
        return chain[:3]

    def _finger_of(self, bone: int) -> str:
        name = self._plain(bone)
        return next((finger for finger, words in _FINGER_WORDS.items() if words.search(name)), "")

    def _plain(self, bone: int) -> str:
        decoded = bone_names.decoded(self.skeleton.names[bone])
        spaced = re.sub(r"(?<=[a-zа-я])(?=[A-ZА-Я])|[^\w]+", "_", unicodedata.normalize("NFKC", decoded))
        return spaced.casefold()

    def _is_other(self, bone: int, finger: str) -> bool:
        """Whether a bone that is named after a finger is none of its joints."""
        name = self._plain(bone)
        return bool(_OTHER.search(name) or (finger != "thumb" and _PALM.search(name)))

    def _is_end(self, bone: int) -> bool:
        """Whether a bone only marks the end of the one above it."""
        return self._is_other(bone, "")

    def _above(self, bone: int) -> list[int]:
        found = []
        while (bone := self.skeleton.parents[bone]) >= 0:
            found.append(bone)
        return found
