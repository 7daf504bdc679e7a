"""Frames in which an unknown skeleton may stand: which way is up, where the middle is, and which bones are a pair.

Importers rotate skeletons in many ways, and their bones' tails point anywhere. NumPy only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from .bone_names import ParsedName

_SYMMETRY_TOLERANCE = 0.02  # of the height: distance of a bone to the mirror image of its counterpart
_NAMED_TOLERANCE = 0.25  # the same if their names say that they are a pair, for characters that are not symmetric
_ALIKE = 0.02  # of the size: difference of the lengths of a bone and its counterpart
_FEW_PAIRS = 4
_TO_THE_SIDE = 0.5  # of the largest extent of pairs: an axis along which they lie apart less is not the side
_MIDDLE = 0.06  # of the height: distance to the plane of symmetry of bones in the middle, in a pose
_LONGEST_LEAF = 0.4  # length of a bone without children, of the skeleton's size; longer tails are an importer's
# Length of a bone without children, of the one above, if its tail is an importer's: in a file whose other tails are
# trusted it is a mark at the end of a chain. Set by hand.
_LEAF = {True: 0.5, False: 0.8}
_AT_CHILDREN = 0.8  # cosine, in the median, of tails that were made by someone who wanted them so; set by hand
_MOST_AT_ONE_PLACE = 20  # bones that are looked at: layers of controls lie over one another, but not hundreds
_SAME_POSE = 0.05  # of the size: joints of a pose that is as good as the rest pose
_SAMPLED = 300  # bones that vote for the middle; twice as many take four times as long
# Logarithms of how probable it is that a file's body stands so, set by hand: as the world shows it, as it is posed,
# along an axis of the armature.
LIKELY = -1.2  # above it, the world or the pose says that the body stands so
_AS_IN_WORLD, _AS_POSED, _AS_BLENDER, _ALONG_AXIS = 0.0, -1.0, -1.5, -4.0


@dataclass(frozen=True)
class Skeleton:
    """An armature's rest pose, in any unit."""

    names: tuple[str, ...]
    parents: tuple[int, ...]  # indices, -1 for a root; in any order
    heads: np.ndarray  # (N, 3)
    tails: np.ndarray  # (N, 3)
    weights: np.ndarray | None = None  # (N,) how much of the skin each bone deforms; None if it is not known
    centers: np.ndarray | None = None  # (N, 3) the mean of the vertices that it deforms; not finite without vertices
    up: np.ndarray = field(default_factory=lambda: np.array([0.0, 0.0, 1.0]))  # (3,) the world's, in armature space
    posed: np.ndarray | None = None  # (N, 3) heads in the pose as it is
    posed_tails: np.ndarray | None = None  # (N, 3)

    def in_unit_size(self) -> Skeleton:
        """The skeleton with the largest extent 1, so that no unit is too small or too large for a tolerance."""
        size = float(np.ptp(self.heads, axis=0).max())
        if not np.isfinite(size) or size <= 0:
            return self

        def scaled(points: np.ndarray | None) -> np.ndarray | None:
            return None if points is None else points / size

        return replace(
            self, heads=self.heads / size, tails=self.tails / size, centers=scaled(self.centers),
            posed=scaled(self.posed), posed_tails=scaled(self.posed_tails),
        )  # fmt: skip

    def as_posed(self) -> Skeleton | None:
        """The skeleton with the pose as it is for its rest; None if that differs by a place and a rotation only."""
        if self.posed is None or self.posed_tails is None:
            return None
        before, after = self.heads - self.heads.mean(0), self.posed - self.posed.mean(0)
        if np.abs(after - before @ _posed_rotation(self).T).max() < _SAME_POSE * np.abs(before).max():
            return None
        return replace(self, heads=self.posed, tails=self.posed_tails, centers=None, posed=None, posed_tails=None)


@dataclass(frozen=True)
class Frame:
    """A skeleton with x to the side, y the depth, z up, and x = 0 the middle of the body; right-handed."""

    heads: np.ndarray  # (N, 3)
    tails: np.ndarray  # (N, 3) estimated, see ``estimated_tails``
    reach: np.ndarray  # (N,) length from each head along its longest chain of children to the tip
    partner: list[int]  # each bone's left-right counterpart: another bone, itself in the middle, or -1 for none
    floor: float
    height: float
    prior: float  # logarithm of how probable the frame is


def estimated_tails(skeleton: Skeleton) -> np.ndarray:
    """Where bones end (N, 3): at the mean of their children's heads.

    Bones without children end where their vertices lie, else where their own tail or the bone above them points to.
    """
    heads, parents = skeleton.heads, np.array(skeleton.parents)
    own = skeleton.tails - heads
    total, count = np.zeros_like(heads), np.zeros(len(heads))
    has_parent = parents >= 0
    offset = heads - heads[parents]
    size = float(np.ptp(heads, axis=0).max()) or 1.0
    apart = has_parent & (np.linalg.norm(offset, axis=1) > 1e-3 * size)
    np.add.at(total, parents[apart], heads[apart])
    np.add.at(count, parents[apart], 1)
    inner = count > 0
    tails = np.where(inner[:, None], total / np.maximum(count, 1)[:, None], heads)
    lengths = np.linalg.norm(tails - heads, axis=1)
    trusted = _points_at_children(own[inner], (tails - heads)[inner])
    above = np.where(has_parent, np.linalg.norm(offset, axis=1), 0.0)
    for bone in np.flatnonzero(~inner):
        limit = above[bone] or lengths[parents[bone]] * has_parent[bone] or 0.1 * size
        direction = own[bone]
        if skeleton.centers is not None and np.isfinite(skeleton.centers[bone]).all():
            direction = 2 * (skeleton.centers[bone] - heads[bone])
        elif has_parent[bone] and apart[bone]:
            along = offset[bone] / above[bone]
            # The tail that the file has is kept if it is no importer's: those lie along the parent, or along an axis.
            length = float(np.linalg.norm(direction))
            if length > _LONGEST_LEAF * size or length < 1e-3 * limit:
                direction = along * _LEAF[trusted] * limit
            elif not trusted:
                direction = along * length
        longest = _LONGEST_LEAF * size / max(float(np.linalg.norm(direction)), 1e-12)
        tails[bone] = heads[bone] + direction * min(1.0, longest)
    return tails


def _points_at_children(own: np.ndarray, wanted: np.ndarray) -> bool:
    """Whether the tails (B, 3) that bones with children have point to these; else the file's tails tell nothing."""
    cosines = np.sum(own * wanted, 1) / np.maximum(np.linalg.norm(own, axis=1) * np.linalg.norm(wanted, axis=1), 1e-12)
    return not len(cosines) or float(np.median(cosines)) > _AT_CHILDREN


@dataclass(frozen=True)
class _Pairs:
    """Counterparts that do not depend on a frame."""

    named: np.ndarray  # (P, 2), see _named_pairs
    alike: list[int]  # see _alike


def frames(skeleton: Skeleton, parsed: Sequence[ParsedName], candidates: np.ndarray) -> Iterator[Frame]:
    """The frames in which a skeleton may stand, the likeliest first.

    ``candidates`` (N,): bones that may be a body's.
    """
    tails = estimated_tails(skeleton)
    named = _named_pairs(parsed)
    reach = _reach(skeleton.parents, skeleton.heads, tails)
    alike = _alike(skeleton.parents, skeleton.heads, reach, candidates)
    for up, prior in _ups(skeleton):
        for side in _sides(skeleton.heads, up, named, alike):
            depth = np.cross(up, side)
            axes = np.stack([side, depth, up], 1)
            heads, ends = skeleton.heads @ axes, tails @ axes
            points = np.concatenate([heads[candidates], ends[candidates]])
            floor, height = float(points[:, 2].min()), float(np.ptp(points[:, 2]))
            if height <= 1e-9 * max(1.0, float(np.abs(points).max())):
                continue
            middle = _middle(heads, candidates, height, named, alike)
            heads, ends = heads - (middle, 0, 0), ends - (middle, 0, 0)
            partner = _partners(skeleton.parents, heads, ends, _Pairs(named, alike), height, candidates)
            yield Frame(heads, ends, reach, partner, floor, height, prior)


def _reach(parents: Sequence[int], heads: np.ndarray, tails: np.ndarray) -> np.ndarray:
    """The length (N,) from each bone's head along its longest chain of children to the tip."""
    reach = np.linalg.norm(tails - heads, axis=1)
    lengths = np.linalg.norm(heads - heads[np.array(parents)], axis=1)
    for bone in np.argsort(-_depths(parents), kind="stable").tolist():
        if parents[bone] >= 0:
            reach[parents[bone]] = max(reach[parents[bone]], lengths[bone] + reach[bone])
    return reach


def _ups(skeleton: Skeleton) -> list[tuple[np.ndarray, float]]:
    """Directions (3,) that may be up, with their priors."""
    found: list[tuple[np.ndarray, float]] = [(skeleton.up, _AS_IN_WORLD)]
    if skeleton.posed is not None:
        found.append((_posed_rotation(skeleton).T @ skeleton.up, _AS_POSED))
    found.append((np.array([0.0, 0.0, 1.0]), _AS_BLENDER))
    found += [(sign * axis, _ALONG_AXIS) for axis in np.eye(3)[[1, 2, 0]] for sign in (1.0, -1.0)]
    chosen: list[tuple[np.ndarray, float]] = []
    for up, prior in found:
        axis = np.eye(3)[np.argmax(np.abs(up))] * np.sign(up[np.argmax(np.abs(up))])
        up = axis if axis @ up > 0.96 else up / np.linalg.norm(up)
        if not any(up @ other > 0.96 for other, _ in chosen):
            chosen.append((up, prior))
    return chosen


def _posed_rotation(skeleton: Skeleton) -> np.ndarray:
    """The rotation (3, 3) from the rest pose to the pose as it is that fits all heads best (Kabsch)."""
    assert skeleton.posed is not None
    before, after = skeleton.heads - skeleton.heads.mean(0), skeleton.posed - skeleton.posed.mean(0)
    left, _, right = np.linalg.svd(after.T @ before)
    left[:, 2] *= np.linalg.det(left @ right)
    return left @ right


def _named_pairs(parsed: Sequence[ParsedName]) -> np.ndarray:
    """Bones (P, 2) whose names differ in left and right only."""
    by_stem: dict[str, dict[str, list[int]]] = {}
    for bone, name in enumerate(parsed):
        if name.side:
            by_stem.setdefault(name.stem, {}).setdefault(name.side, []).append(bone)
    pairs = [
        (sides["left"][0], sides["right"][0])
        for sides in by_stem.values()
        if len(sides.get("left", ())) == 1 == len(sides.get("right", ()))
    ]
    return np.array(pairs, int).reshape(-1, 2)


def _sides(heads: np.ndarray, up: np.ndarray, named: np.ndarray, alike: Sequence[int]) -> list[np.ndarray]:
    """Horizontal directions (3,) that may go to the side of the body."""
    axes = [axis for axis in np.eye(3) if abs(axis @ up) < 0.3]
    level = [_unit(axis - up * (axis @ up)) for axis in axes] or [_unit(np.cross(up, np.eye(3)[np.argmin(np.abs(up))]))]
    if len(named) >= 4:
        apart = heads[named[:, 0]] - heads[named[:, 1]]
        apart = apart - np.outer(apart @ up, up)
        direction = apart.sum(0)
        if np.linalg.norm(direction) > 0.5 * np.linalg.norm(apart, axis=1).sum() > 0:
            direction = _unit(direction)
            nearest = max(level, key=lambda axis: abs(axis @ direction))
            return [nearest if abs(nearest @ direction) > 0.96 else direction]
    pairs = _indices(alike)
    if len(pairs) >= _FEW_PAIRS:  # of the body, which lie apart to the side more than ahead
        apart = heads[pairs[:, 0]] - heads[pairs[:, 1]]
        extents = [float(np.linalg.norm(apart @ axis)) for axis in level]
        level = [axis for axis, extent in zip(level, extents, strict=True) if extent > _TO_THE_SIDE * max(extents)]
    return level


def _indices(alike: Sequence[int]) -> np.ndarray:
    """The pairs (P, 2) of counterparts."""
    return np.array([(bone, other) for bone, other in enumerate(alike) if bone < other], int).reshape(-1, 2)


def _alike(parents: Sequence[int], heads: np.ndarray, reach: np.ndarray, candidates: np.ndarray) -> list[int]:
    """Each bone's counterpart by the tree and the bones' lengths, which a pose does not change; see `Frame.partner`.

    Children of a bone in the middle are pairs of equal ones, or lie in the middle; children of a pair are pairs.
    """
    count = len(heads)
    children: list[list[int]] = [[] for _ in range(count)]
    for bone, parent in enumerate(parents):
        if parent >= 0 and candidates[bone]:
            children[parent].append(bone)
    lengths = np.linalg.norm(heads - heads[np.maximum(parents, 0)], axis=1)
    depths = _depths(parents)
    tolerance = _ALIKE * float(np.ptp(heads, axis=0).max())
    partner = [bone if parent < 0 else -1 for bone, parent in enumerate(parents)]
    for bone in np.argsort(depths, kind="stable").tolist():
        other = partner[bone]
        if other < bone:  # it has none, or its counterpart came first
            continue
        mine, theirs = children[bone], children[other]
        if len(mine) * len(theirs) > _MOST_AT_ONE_PLACE**2:
            continue
        costs = [
            (abs(lengths[i] - lengths[j]) + abs(reach[i] - reach[j]) + 1e-6 * abs(a - b) * tolerance, i, j)
            for a, i in enumerate(mine)
            for b, j in enumerate(theirs)
            if i < j or bone != other
        ]
        for cost, i, j in sorted(costs):
            if cost < tolerance and partner[i] == partner[j] == -1:
                partner[i], partner[j] = j, i
        if bone == other:
            for child in mine:
                partner[child] = child if partner[child] == -1 else partner[child]
    return partner


def _middle(all_heads: np.ndarray, chosen: np.ndarray, height: float, named: np.ndarray, alike: Sequence[int]) -> float:
    """x of the plane of symmetry: what most pairs of bones at equal height and depth have in their middle."""
    heads, candidates = all_heads, all_heads[chosen]
    if len(named) >= 4:
        return float(np.median(heads[named, 0].mean(1)))
    step = -(-len(candidates) // _SAMPLED)
    points = candidates[::step]
    first, second = np.triu_indices(len(points), 1)
    apart = np.abs(points[first] - points[second])
    tolerance = 0.5 * _SYMMETRY_TOLERANCE * height
    facing = (apart[:, 1:] < tolerance).all(1) & (apart[:, 0] > 2 * tolerance)
    middles = np.sort((points[first, 0] + points[second, 0])[facing] / 2)
    if not len(middles):
        return float(np.median(points[:, 0]))
    votes = np.searchsorted(middles, middles + tolerance) - np.searchsorted(middles, middles - tolerance)
    pairs = _indices(alike)
    if len(pairs) >= _FEW_PAIRS and votes.max() < 0.5 * len(pairs):  # the rest is a pose: few bones mirror each other
        return float(np.median(heads[pairs, 0].mean(1)))
    best = middles[int(np.argmax(votes))]
    return float(np.median(middles[np.abs(middles - best) <= tolerance]))


def _partners(
    parents: Sequence[int],
    heads: np.ndarray,
    tails: np.ndarray,
    pairs: _Pairs,
    height: float,
    candidates: np.ndarray,
) -> list[int]:
    """Each candidate's counterpart: by name if the names are a pair, else the one at the mirror image of its place.

    Those that have none there get the one that the tree and the lengths tell.
    """
    count = len(heads)
    mirror = np.array([-1.0, 1.0, 1.0])
    partner = [-1] * count
    for left, right in pairs.named.tolist():
        apart = float(np.linalg.norm(heads[left] * mirror - heads[right]))
        if apart < _NAMED_TOLERANCE * height or pairs.alike[left] == right:
            partner[left], partner[right] = right, left
    tolerance = _SYMMETRY_TOLERANCE * height
    depths = _depths(parents)
    cells: dict[tuple[int, ...], list[int]] = {}
    keys = np.floor(heads / tolerance).astype(np.int64)
    for bone in np.flatnonzero(candidates).tolist():
        beside = cells.setdefault(tuple(keys[bone].tolist()), [])
        if len(beside) < _MOST_AT_ONE_PLACE:
            beside.append(bone)
    mirrored = heads * mirror
    mirrored_keys = np.floor(mirrored / tolerance).astype(np.int64).tolist()
    steps = [(x, y, z) for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1)]
    wanted = partner.copy()
    for bone in np.argsort(depths, kind="stable").tolist():
        if partner[bone] >= 0 or not candidates[bone]:
            continue
        x, y, z = mirrored_keys[bone]
        near = [other for a, b, c in steps for other in cells.get((x + a, y + b, z + c), ()) if partner[other] < 0]
        if not near:
            continue
        others = np.array(near)
        apart = np.linalg.norm(heads[others] - mirrored[bone], axis=1)
        ends = np.linalg.norm(tails[others] - tails[bone] * mirror, axis=1)
        fits = apart < tolerance
        if not fits.any():
            continue
        others, apart, ends = others[fits], apart[fits], ends[fits]
        # Of several bones at one position (a bone and its control) take the one at the same place in the tree.
        above = wanted[parents[bone]] if parents[bone] >= 0 else -1
        misfit = np.abs(depths[others] - depths[bone]) + np.array([parents[other] != above for other in others])
        wanted[bone] = int(others[np.lexsort((apart + ends, misfit))[0]])
    found = [other if other >= 0 and wanted[other] == bone else -1 for bone, other in enumerate(wanted)]
    for bone, other in enumerate(pairs.alike):
        if found[bone] >= 0 or other < 0 or found[other] >= 0 or not candidates[bone]:
            continue
        if bone != other or abs(heads[bone, 0]) < _MIDDLE * height:
            found[bone], found[other] = other, bone
    return found


def _depths(parents: Sequence[int]) -> np.ndarray:
    """Each bone's depth in the tree (N,)."""
    depths = [-1] * len(parents)
    for bone in range(len(parents)):
        path = []
        while bone >= 0 and depths[bone] < 0:
            path.append(bone)
            bone = parents[bone]
        depth = depths[bone] if bone >= 0 else -1
        for step in reversed(path):
            depth += 1
            depths[step] = depth
    return np.array(depths)


def _unit(vector: np.ndarray) -> np.ndarray:
    return np.asarray(vector / np.linalg.norm(vector))
