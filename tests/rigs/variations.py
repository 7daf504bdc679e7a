"""Skeletons as they may come, at random: other names, axes, proportions, tails and bones beside the body's. NumPy only.

Each is one of the test rigs (``skeletons``) whose joints are known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tests.rigs import skeletons
from wham_blender.addon.retarget import maps
from wham_blender.addon.retarget.guess import Skeleton
from wham_blender.addon.retarget.maps import JOINTS

# Without those whose feet hang elsewhere, or with two layers of bones at one place.
KINDS = tuple(kind for kind in skeletons.KINDS if kind not in ("quaternius", "mmd_d"))
_LEFT_RIGHT = (("L", "R"), ("l", "r"), ("Left", "Right"), ("left", "right"))
_WORDS = {
    "pelvis": "Hips pelvis Pelvis hip root.x Bassin", "spine": "Spine spine chest Torso", "neck": "Neck neck Hals",
    "head": "Head head HEAD Kopf", "hip": "UpLeg thigh UpperLeg Thigh upper_leg Oberschenkel",
    "knee": "Leg calf LowerLeg shin Shin lower_leg Unterschenkel", "ankle": "Foot foot ankle Ankle Fuss",
    "foot": "Toe toe ToeBase ball Zehen", "collar": "Shoulder clavicle collar Clavicle Schulter",
    "shoulder": "Arm upperarm UpperArm upper_arm Oberarm", "elbow": "ForeArm forearm LowerArm lowerarm Unterarm",
    "wrist": "Hand hand wrist Wrist",
}  # fmt: skip


@dataclass(frozen=True)
class Variation:
    """A skeleton and its map."""

    kind: str
    skeleton: Skeleton
    truth: maps.RigMap
    named: bool  # the names mean something


def make(kind: str, seed: int) -> Variation:
    """A variation of a kind, the same for the same seed."""
    rng = np.random.default_rng([seed, sum(map(ord, kind))])
    rows = skeletons.read(kind)
    names = [row.name for row in rows]
    parents = [names.index(row.parent) if row.parent else -1 for row in rows]
    heads, tails = (np.array([getattr(row, end) for row in rows], float) for end in ("head", "tail"))
    truth = maps.fit(maps.shipped()[kind], names)
    heads, tails = _proportions(rng, truth, names, parents, heads, tails)
    tails = _tails(rng, parents, heads, tails)
    style = rng.choice(["own", "own", "other", "none", "partly"])
    renamed = _names(rng, style, truth, names)
    heads, tails = heads + rng.normal(0, 0.002, heads.shape), tails + rng.normal(0, 0.002, tails.shape)
    for _ in range(rng.integers(0, 5)):
        renamed, parents, heads, tails = _strand(rng, renamed, parents, heads, tails)
    rotation, up = _axes(rng)
    scale = 10.0 ** rng.uniform(-2, 2)
    translate = dict(zip(names, renamed, strict=False))
    offset = scale * rng.normal(0, 0.2, 3)
    heads, tails = (scale * points @ rotation.T + offset for points in (heads, tails))
    skeleton = Skeleton(tuple(renamed), tuple(parents), heads, tails, up=up)
    return Variation(kind, skeleton, maps.renamed(truth, lambda name: translate.get(name, name)), style != "none")


def _proportions(
    rng: np.random.Generator,
    truth: maps.RigMap,
    names: Sequence[str],
    parents: list[int],
    heads: np.ndarray,
    tails: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Legs, arms and head of another length, as in cartoon characters."""
    heads, tails = heads.copy(), tails.copy()
    for parts, low, high in ((("hip", "knee", "ankle"), 0.5, 1.4), (("shoulder", "elbow", "wrist"), 0.6, 1.3)):
        factor = rng.uniform(low, high)
        for side in ("left", "right"):
            bone = truth.bones.get(f"{side}_{parts[0]}")
            if bone is None:
                continue
            first = names.index(bone)
            below = _below(parents, first)
            start = heads[first].copy()
            heads[below] = start + factor * (heads[below] - start)
            tails[below] = start + factor * (tails[below] - start)
    return heads, tails


def _below(parents: Sequence[int], bone: int) -> list[int]:
    found = [bone]
    for other in found:
        found += [child for child, parent in enumerate(parents) if parent == other]
    return found


def _tails(rng: np.random.Generator, parents: Sequence[int], heads: np.ndarray, tails: np.ndarray) -> np.ndarray:
    """As they are, along one axis, opposite on mirrored bones, or anywhere: as importers leave them."""
    style = rng.choice(["own", "axis", "opposite", "random"])
    lengths = np.linalg.norm(tails - heads, axis=1, keepdims=True)
    if style == "own":
        return tails
    if style == "axis":
        return heads + lengths * np.eye(3)[rng.integers(3)]
    if style == "opposite":
        return np.where(heads[:, :1] < -0.01, 2 * heads - tails, tails)
    directions = rng.normal(size=heads.shape)
    return heads + lengths * directions / np.linalg.norm(directions, axis=1, keepdims=True)


def _names(rng: np.random.Generator, style: str, truth: maps.RigMap, names: list[str]) -> list[str]:
    """The kind's own names, changed; names of another convention; or names that say nothing, of all or some bones."""
    made = list(names)
    if style in ("other", "partly"):
        sides = _LEFT_RIGHT[rng.integers(len(_LEFT_RIGHT))]
        before, mark = bool(rng.integers(2)), rng.choice(["", "_", ".", "-"]) or "_"
        words = {part: rng.choice(text.split()) for part, text in _WORDS.items()}
        for joint, bone in truth.mapped_bones().items():
            part = joint.removeprefix("left_").removeprefix("right_").split(" ")[0]
            word = words[part] + (joint.split(" ")[1] if " of " in joint else "")
            if joint in JOINTS and joint.startswith(("left", "right")):
                side = sides[joint.startswith("right")]
                word = f"{side}{mark}{word}" if before else f"{word}{mark}{side}"
            made[names.index(bone)] = word
    if style == "none" or style == "partly":
        for number in range(len(made)):
            if style == "none" or rng.random() < 0.4:
                made[number] = f"Bone.{rng.integers(10**6):06}"
    prefix = rng.choice(["", "", "mixamorig:", "Char_", "Armature|"])
    made = [prefix + name for name in made]
    if rng.random() < 0.3:
        made = [name.upper() if rng.random() < 0.5 else name.lower() for name in made] if style == "none" else made
    if rng.random() < 0.2:
        made = [f"{name}_{number:02}" for number, name in enumerate(made)]
    if rng.random() < 0.1:
        made = [name.replace(".", "FBXASC046") for name in made]
    seen: set[str] = set()
    for number, name in enumerate(made):
        while name in seen:
            name += "x"
        seen.add(name)
        made[number] = name
    return made


def _strand(
    rng: np.random.Generator, names: list[str], parents: list[int], heads: np.ndarray, tails: np.ndarray
) -> tuple[list[str], list[int], np.ndarray, np.ndarray]:
    """The skeleton with a pair of chains beside the body's: hair, a skirt, straps, a prop."""
    bone, length = int(rng.integers(len(names))), int(rng.integers(1, 5))
    start = heads[bone] + rng.normal(0, 0.05, 3)
    step = rng.normal(0, 0.08, 3) - [0, 0, 0.05]
    word = rng.choice(["hair", "strap", "Bone", "skirt", "prop", "extra"])
    names, parents = list(names), list(parents)
    for side, mirror in (("L", 1.0), ("R", -1.0)):
        parent = bone
        for number in range(length):
            head = (start + number * step) * [mirror, 1, 1]
            names.append(f"{word}{number}.{side}.{len(names)}")
            parents.append(parent)
            heads, tails = np.vstack([heads, head]), np.vstack([tails, head + step * [mirror, 1, 1]])
            parent = len(names) - 1
    return names, parents, heads, tails


def _axes(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A rotation (3, 3) of the rest, and which way is up (3,) as the object shows it: right, or Blender's z."""
    turns = [
        np.eye(3),
        np.eye(3)[[0, 2, 1]] * [1, 1, -1],
        np.eye(3)[[0, 2, 1]] * [1, -1, 1],
        np.eye(3)[[1, 0, 2]] * [1, -1, 1],
    ]
    rotation = np.array(turns[rng.integers(len(turns))])
    rotation[0] *= np.linalg.det(rotation)
    up = rotation @ [0.0, 0.0, 1.0] if rng.random() < 0.8 else np.array([0.0, 0.0, 1.0])
    return rotation, up
