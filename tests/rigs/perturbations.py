"""Skeletons as other programs would have written them: one change each to names, tails, axes, size, bones or pose.

A ``Subject`` is a skeleton whose joints are known, of a generated rig (``skeletons``) or of a file (``truth``).
Guessing was not fitted on these. NumPy only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import numpy as np

from tests.rigs import skeletons, truth
from wham_blender.addon.retarget import maps
from wham_blender.addon.retarget.body_frame import Skeleton
from wham_blender.addon.retarget.maps import RigMap

_LIMB_PARTS = ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")


@dataclass(frozen=True)
class Subject:
    """A skeleton, and what its bones were called before it was changed."""

    name: str
    skeleton: Skeleton
    truth: RigMap | None  # of a generated rig; None of a file, which ``truth.json`` knows
    was: dict[str, str] = field(default_factory=dict)  # its bones -> original names

    @property
    def refused(self) -> bool:
        """Whether it is an animal, which must be refused."""
        return self.truth is None and "refused" in truth.known()[self.name]

    def faults(self, found: RigMap | None) -> list[str]:
        """What is wrong with a map; of an animal any refusal is right."""
        if self.refused or found is None:
            return [] if self.refused and found is None else ["refused"]
        present = set(self.was.values())
        original = maps.renamed(found, lambda bone: self.was.get(bone, bone))
        if self.truth is None:
            faults = truth.faults(self.name, original, "") or []
        else:
            wanted, got = self.truth.bones, original.bones
            faults = [
                f"{joint} is {got.get(joint, 'empty')}"
                for joint in dict.fromkeys([*wanted, *got])
                if got.get(joint) != wanted.get(joint) and not (joint not in got and wanted.get(joint) not in present)
            ]
            for chain in ("spine", "neck"):
                kept = tuple(bone for bone in getattr(self.truth, chain) if bone in present)
                if getattr(original, chain) != kept:
                    faults.append(f"{chain} is {', '.join(getattr(original, chain))}")
        if "" not in present:
            return faults
        # Bones are missing: joints may be empty then, and truth.json knows no shorter spine.
        allowed = *(f"{joint} is empty" for joint in maps.OPTIONAL_JOINTS), *(() if self.truth else ("spine", "neck"))
        return [fault for fault in faults if not fault.startswith(allowed)]

    def limb_faults(self, found: RigMap | None) -> list[str]:
        """Those of legs and arms, without which a bake ruins the character."""
        return [each for each in self.faults(found) if each == "refused" or any(f"_{p} " in each for p in _LIMB_PARTS)]


def generated(kind: str) -> Subject:
    """A generated rig."""
    rows = skeletons.read(kind)
    names = [row.name for row in rows]
    heads, tails = (np.array([getattr(row, end) for row in rows], float) for end in ("head", "tail"))
    skeleton = Skeleton(
        tuple(names), tuple(names.index(row.parent) if row.parent else -1 for row in rows), heads, tails
    )
    return Subject(kind, skeleton, maps.fit(maps.shipped()[kind], names), dict(zip(names, names, strict=True)))


def of_file(stem: str, skeleton: Skeleton) -> Subject:
    """A file that ``truth.json`` knows."""
    return Subject(stem, skeleton, None, dict(zip(skeleton.names, skeleton.names, strict=True)))


# --- names -----------------------------------------------------------------------------------------------------------


def _renamed(subject: Subject, change: Callable[[int, str], str]) -> Subject:
    names = [change(number, name) for number, name in enumerate(subject.skeleton.names)]
    old = [subject.was.get(name, name) for name in subject.skeleton.names]
    skeleton = replace(subject.skeleton, names=tuple(names))
    return replace(subject, skeleton=skeleton, was=dict(zip(names, old, strict=True)))


def _numbered(subject: Subject) -> Subject:
    return _renamed(subject, lambda number, name: f"{name}_{number:02}")


def _shuffled_numbers(subject: Subject) -> Subject:
    order = np.random.default_rng(0).permutation(len(subject.skeleton.names))
    return _renamed(subject, lambda number, name: f"{name}_{order[number]:02}")


def _some_names(subject: Subject) -> Subject:
    rng = np.random.default_rng(1)
    return _renamed(subject, lambda number, name: f"Object_{number}" if rng.random() < 0.4 else name)


def _sides_spelled_out(subject: Subject) -> Subject:
    """Left and right as words before the name, whatever they were: "Thigh.L" is "LeftThigh"."""

    def change(_number: int, name: str) -> str:
        match = re.search(r"(?<![A-Za-z])([LlRr])(?![A-Za-z])", name)
        if not match:
            return name
        rest = (name[: match.start()] + name[match.end() :]).strip("._- ")
        return f"{'left' if match[1] in 'Ll' else 'right'}_{rest}"

    return _renamed(subject, change)


# --- shape -----------------------------------------------------------------------------------------------------------


def _with_tails(style: str) -> Callable[[Subject], Subject]:
    def change(subject: Subject) -> Subject:
        heads, offset = subject.skeleton.heads, subject.skeleton.tails - subject.skeleton.heads
        size = float(np.ptp(heads, axis=0).max())
        rng = np.random.default_rng(2)
        made = {
            "random": 0.1 * size * rng.normal(size=heads.shape),
            "opposite": np.where(np.arange(len(heads))[:, None] % 2 == 0, -offset, offset),
            "one axis": np.broadcast_to([0.0, 0.1 * size, 0.0], heads.shape),
            "none": 0 * offset,
        }[style]
        return replace(subject, skeleton=replace(subject.skeleton, tails=heads + made))

    return change


def rotations() -> list[np.ndarray]:
    """The 24 rotations (3, 3) by right angles."""
    found = []
    for order in ((0, 1, 2), (1, 2, 0), (2, 0, 1), (0, 2, 1), (1, 0, 2), (2, 1, 0)):
        for signs in product((1.0, -1.0), repeat=3):
            matrix = np.eye(3)[list(order)] * np.array(signs)[:, None]
            if np.linalg.det(matrix) > 0:
                found.append(matrix)
    return found


def _turned(subject: Subject, rotation: np.ndarray, *, shown: bool, scale: float = 1.0) -> Subject:
    """Rotated and scaled; ``shown``: the object's own rotation makes up for it, so that the world has it as it was."""

    def points(values: np.ndarray | None) -> np.ndarray | None:
        return None if values is None else scale * values @ rotation.T

    old = subject.skeleton
    skeleton = replace(
        old, heads=scale * old.heads @ rotation.T, tails=scale * old.tails @ rotation.T, centers=points(old.centers),
        posed=points(old.posed), posed_tails=points(old.posed_tails),
        up=rotation @ old.up if shown else np.array([0.0, 0.0, 1.0]),
    )  # fmt: skip
    return replace(subject, skeleton=skeleton)


def _scaled(scale: float) -> Callable[[Subject], Subject]:
    return lambda subject: _turned(subject, np.eye(3), shown=True, scale=scale)


# --- bones -----------------------------------------------------------------------------------------------------------

# word, of both sides, number of bones, joint that it hangs from, where it begins and each step of it (of the height;
# to the left, back, up)
_EXTRAS: dict[str, tuple[tuple[str, bool, int, str, tuple[float, ...], tuple[float, ...]], ...]] = {
    "weapon": (("sword", False, 3, "right_wrist", (-0.02, -0.02, 0), (0, -0.15, 0.02)),),
    "cape": tuple((f"cape{n}", True, 5, "chest", (0.02 + 0.03 * n, 0.08, 0), (0.005, 0.02, -0.12)) for n in range(3)),
    "tail": (("tail", False, 8, "pelvis", (0, 0.05, 0), (0, 0.06, -0.02)),),
    "hair": tuple(
        (f"hair{n}", True, 6, "head", (0.01 + 0.015 * n, 0.04, 0.08), (0.002, 0.01, -0.06)) for n in range(4)
    ),
    "wings": (("wing", True, 4, "chest", (0.03, 0.07, 0.0), (0.15, 0.03, 0.06)),),
    "skirt": tuple(
        (f"skirt{n}", True, 4, "pelvis", (0.03 + 0.03 * n, 0.04 - 0.04 * n, -0.02), (0.01, 0, -0.09)) for n in range(3)
    ),
    "ears": (("ear", True, 3, "head", (0.04, 0.0, 0.08), (0.01, 0.0, 0.05)),),
    "twist bones": tuple(
        (f"{joint}_twist", True, 1, f"*_{joint}", (0, 0, 0), (0, 0, -0.08))
        for joint in ("hip", "knee", "shoulder", "elbow")
    ),
    "helpers": tuple(
        (f"{joint}_helper", True, 2, f"*_{joint}", (0, 0.02, 0), (0, 0.03, 0))
        for joint in ("hip", "knee", "shoulder", "elbow")
    ),
    "targets of IK": (
        ("foot_ik", True, 2, "", (0.055, 0, 0.05), (0, -0.08, -0.02)),
        ("hand_ik", True, 1, "", (0.3, 0, 0.7), (0.05, 0, 0)),
        ("knee_pole", True, 1, "", (0.06, -0.4, 0.3), (0, -0.05, 0)),
    ),
    "pouches and scarves": (
        ("pouch", True, 1, "pelvis", (0.1, 0, 0), (0, 0, -0.06)),
        ("scarf", True, 4, "chest", (0.02, -0.06, 0.02), (0.01, 0, -0.07)),
    ),
}  # fmt: skip


def _with_extra(kind: str, *, named: bool) -> Callable[[Subject], Subject]:
    def change(subject: Subject) -> Subject:
        skeleton = subject.skeleton
        at = _joints(subject)
        if at is None:
            return subject
        side, back, up, height = _axes(subject, at)
        names, parents = list(skeleton.names), list(skeleton.parents)
        heads, tails = list(skeleton.heads), list(skeleton.tails)
        weights = None if skeleton.weights is None else list(skeleton.weights)
        centers = None if skeleton.centers is None else list(skeleton.centers)
        root = skeleton.parents.index(-1)
        floor = np.min(np.array(skeleton.heads) @ up)
        middle = skeleton.heads[[at["left_hip"], at["right_hip"]]].mean(0)
        foot = middle + up * (floor - middle @ up)
        for word, both, count, joint, start, step in _EXTRAS[kind]:
            for sign, letter in ((1.0, "L"), (-1.0, "R")) if both else ((1.0, ""),):
                where = joint.replace("*", "left" if sign > 0 else "right")
                parent = at.get(where, root) if joint else root
                origin = skeleton.heads[parent] if joint else foot
                mirrored = np.array([sign if both else 1.0, 1.0, 1.0])
                head = origin + height * np.stack([side, back, up], 1) @ (np.array(start) * mirrored)
                along = height * np.stack([side, back, up], 1) @ (np.array(step) * mirrored)
                for number in range(count):
                    name = f"{word}_{number}{'.' + letter if letter else ''}" if named else f"Object_{len(names)}"
                    while name in names:
                        name += "x"
                    names.append(name)
                    parents.append(parent)
                    heads.append(head)
                    tails.append(head + along)
                    if weights is not None and centers is not None:
                        carried = kind not in ("targets of IK", "helpers")
                        weights.append(50.0 if carried else 0.0)
                        centers.append(head + along / 2 if carried else np.full(3, np.nan))
                    parent, head = len(names) - 1, head + along
        made = replace(
            skeleton, names=tuple(names), parents=tuple(parents), heads=np.array(heads), tails=np.array(tails),
            weights=None if weights is None else np.array(weights),
            centers=None if centers is None else np.array(centers), posed=None, posed_tails=None,
        )  # fmt: skip
        return replace(subject, skeleton=made)

    return change


def _joints(subject: Subject) -> dict[str, int] | None:
    """The joints of a subject that has its original bones, by index; "chest" is the last bone of the spine."""
    index = {name: number for number, name in enumerate(subject.skeleton.names)}
    if subject.truth is not None:
        chest = subject.truth.spine[-1] if subject.truth.spine else subject.truth.bones["pelvis"]
        found = dict(subject.truth.bones) | {"chest": chest}
    elif subject.refused:
        return None
    else:
        found = truth.joints(subject.name)
    named = {original: index[name] for name, original in subject.was.items()}
    return {joint: named[bone] for joint, bone in found.items() if bone in named}


def _axes(subject: Subject, at: dict[str, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Directions to the left, back and up, and the height."""
    heads = subject.skeleton.heads
    side = heads[at["left_hip"]] - heads[at["right_hip"]]
    side = side / np.linalg.norm(side)
    up = heads[[at["left_shoulder"], at["right_shoulder"]]].mean(0) - heads[[at["left_hip"], at["right_hip"]]].mean(0)
    up = up - side * (up @ side)
    up = up / np.linalg.norm(up)
    body = heads[list(at.values())] @ up
    return side, np.cross(up, side), up, float(np.ptp(body))


def _without(*parts: str) -> Callable[[Subject], Subject]:
    """Without the bones of some parts, and what hangs from fingers and toes; other children go to the parent."""

    def change(subject: Subject) -> Subject:
        at = _joints(subject)
        if at is None:
            return subject
        gone: set[int] = set()
        for part in parts:
            if part in ("toes", "hands", "fingers"):
                for side in ("left", "right"):
                    top = at.get(f"{side}_{'foot' if part == 'toes' else 'wrist'}")
                    below = [] if top is None else _below(subject.skeleton, top)
                    gone |= set(below if part == "fingers" else ([] if top is None else [top, *below]))
            elif part == "neck":
                gone |= _neck(subject, at)
            elif part == "spine":
                gone |= _most_of_the_spine(subject, at)
            else:
                gone |= {at[f"{side}_{part}"] for side in ("left", "right") if f"{side}_{part}" in at}
        return _removed(subject, gone)

    return change


def _below(skeleton: Skeleton, top: int) -> list[int]:
    found = [top]
    for bone in found:
        found += [child for child, parent in enumerate(skeleton.parents) if parent == bone]
    return found[1:]


def _trunk(subject: Subject) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if subject.truth is not None:
        return subject.truth.spine, subject.truth.neck
    known = truth.known()[subject.name]

    def first(chain: list[Any]) -> tuple[str, ...]:
        return tuple(chain[0] if chain and isinstance(chain[0], list) else chain)

    return first(known["spine"]), first(known["neck"])


def _neck(subject: Subject, _at: dict[str, int]) -> set[int]:
    return {subject.skeleton.names.index(name) for name, was in subject.was.items() if was in _trunk(subject)[1]}


def _most_of_the_spine(subject: Subject, _at: dict[str, int]) -> set[int]:
    return {subject.skeleton.names.index(name) for name, was in subject.was.items() if was in _trunk(subject)[0][:-1]}


def _three_fingers(subject: Subject) -> Subject:
    """Hands with a thumb and two fingers: the other chains are gone, and hands without fingers get them."""
    at = _joints(subject)
    if at is None:
        return subject
    gone: set[int] = set()
    for side in ("left", "right"):
        wrist = at.get(f"{side}_wrist")
        if wrist is None:
            continue
        chains = [child for child, parent in enumerate(subject.skeleton.parents) if parent == wrist]
        for chain in chains[3:]:
            gone |= {chain, *_below(subject.skeleton, chain)}
    return _removed(subject, gone)


def _removed(subject: Subject, gone: Iterable[int]) -> Subject:
    old, gone = subject.skeleton, set(gone)
    kept = [bone for bone in range(len(old.names)) if bone not in gone]
    new = {bone: number for number, bone in enumerate(kept)} | {-1: -1}

    def parent(bone: int) -> int:
        above = old.parents[bone]
        while above in gone:
            above = old.parents[above]
        return new[above]

    def chosen(values: np.ndarray | None) -> np.ndarray | None:
        return None if values is None else values[kept]

    skeleton = replace(
        old, names=tuple(old.names[bone] for bone in kept), parents=tuple(map(parent, kept)), heads=old.heads[kept],
        tails=old.tails[kept], weights=chosen(old.weights), centers=chosen(old.centers), posed=chosen(old.posed),
        posed_tails=chosen(old.posed_tails),
    )  # fmt: skip
    # The names that are gone stay in ``was`` under another key, so that ``faults`` knows that bones were removed.
    was = {name: subject.was[name] for name in skeleton.names}
    return replace(
        subject, skeleton=skeleton, was=was | {f"{name} (gone)": "" for name in old.names if name not in was}
    )


# --- pose ------------------------------------------------------------------------------------------------------------


def _posed(size: float, *, at_rest: bool) -> Callable[[Subject], Subject]:
    """In another pose by ``size`` radians a joint; ``at_rest``: that is the rest pose, as after Apply Pose as Rest."""

    def change(subject: Subject) -> Subject:
        at = _joints(subject)
        if at is None:
            return subject
        rng = np.random.default_rng(4)
        skeleton = subject.skeleton
        heads, tails = skeleton.heads.copy(), skeleton.tails.copy()
        centers = None if skeleton.centers is None else skeleton.centers.copy()
        for joint in at.values():
            axis = rng.normal(size=3)
            axis /= np.linalg.norm(axis)
            turn = _about(axis, size * rng.uniform(-1, 1))
            below, pivot = _below(skeleton, joint), heads[joint].copy()
            heads[below] = (heads[below] - pivot) @ turn.T + pivot
            both = [joint, *below]
            tails[both] = (tails[both] - pivot) @ turn.T + pivot
            if centers is not None:
                centers[both] = (centers[both] - pivot) @ turn.T + pivot
        made = replace(skeleton, posed=heads, posed_tails=tails)
        if at_rest:
            made = replace(skeleton, heads=heads, tails=tails, centers=centers, posed=None, posed_tails=None)
        return replace(subject, skeleton=made)

    return change


def _about(axis: np.ndarray, angle: float) -> np.ndarray:
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross)


# --- all of them -----------------------------------------------------------------------------------------------------

Change = Callable[[Subject], Subject]


def _nameless(subject: Subject) -> Subject:
    return _renamed(subject, lambda number, _name: f"Object_{number}")


def _chained(*changes: Change) -> Change:
    def change(subject: Subject) -> Subject:
        for each in changes:
            subject = each(subject)
        return subject

    return change


def _each_name(change: Callable[[str], str]) -> Change:
    return lambda subject: _renamed(subject, lambda _number, name: change(name))


def _prefixed(prefix: str) -> Change:
    return _each_name(lambda name: prefix + name)


def _turn(rotation: np.ndarray, *, shown: bool) -> Change:
    return lambda subject: _turned(subject, rotation, shown=shown)


CHANGES: dict[str, list[Change]] = {
    "as it is": [_chained()],
    "names: suffix _01": [_numbered, _shuffled_numbers],
    "names: suffix .001": [_each_name(lambda name: f"{name}.001")],
    "names: FBXASC046": [_each_name(lambda name: re.sub(r"[._ -]", "FBXASC046", name))],
    "names: prefix": [_prefixed(prefix) for prefix in ("mixamorig:", "Armature|", "char01_", "b_")],
    "names: case": [_each_name(str.upper), _each_name(str.lower)],
    "names: sides as words": [_sides_spelled_out],
    "names: 40 % gone": [_some_names],
    "names: none": [_nameless],
    **{f"tails: {style}": [_with_tails(style)] for style in ("random", "opposite", "one axis", "none")},
    "axes: turned, object makes up for it": [_turn(rotation, shown=True) for rotation in rotations()[::3]],
    "axes: turned": [_turn(rotation, shown=False) for rotation in rotations()[::3]],
    "scale: 0.001 to 1000": [_scaled(0.001), _scaled(1000.0)],
    **{f"extra: {kind}": [_with_extra(kind, named=True)] for kind in _EXTRAS},
    "extra: all, without names": [_with_extra(kind, named=False) for kind in _EXTRAS if kind != "targets of IK"],
    "missing: toes": [_without("toes")],
    "missing: neck": [_without("neck")],
    "missing: clavicles": [_without("collar")],
    "missing: all but one of the spine": [_without("spine")],
    "missing: fingers": [_without("fingers")],
    "missing: two fingers": [_three_fingers],
    "missing: toes, neck, clavicles, fingers": [_without("toes", "neck", "collar", "fingers")],
    "posed": [_posed(1.0, at_rest=False)],
    "posed at rest, slightly": [_posed(0.25, at_rest=True)],
    "posed at rest": [_posed(0.6, at_rest=True)],
    "none, and turned": [_chained(_nameless, _turn(rotation, shown=True)) for rotation in rotations()[1::6]],
    "none, and tails along one axis": [_chained(_nameless, _with_tails("one axis"))],
    "none, and tails random": [_chained(_nameless, _with_tails("random"))],
    "none, and posed at rest, slightly": [_chained(_posed(0.25, at_rest=True), _nameless)],
}
