"""How the camera turned during a clip, told by the background: found while the clip is decoded, solved afterwards.

`BackgroundTracker` follows corners outside the people from key frames through the clip and notices cuts. `solve` makes
rotations of what it saw: every key frame and the looks that share its corners are one small bundle adjustment, once
for a camera that only turns and once for one that also moves, and the evidence chooses. Between looks that are far
apart a bundle from nearly equal views finds depth and movement without a start of its own (Yu and Gallup, *3D
Reconstruction from Accidental Motion*, CVPR 2014).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from .background_tracks import LONG_SIDE, BackgroundTracks

_NOISE = 0.35  # pixels by which a corner is off
_OUTLIER = 1.5  # pixels from which it is hardly believed
_STILL = 0.0016  # of the picture's longer side: what a camera on a tripod may seem to move
_IN_BUNDLE = 30  # looks of one key frame that are solved at once; the others are fitted to their points
_NEARNESS = 0.8  # standard deviation of the corners' inverse depths round their mean of one
_TRAVEL = 0.5  # standard deviation of the camera's way within a key frame, in mean depths
_PARALLAX = 1.5  # pixels by which near and far corners must part (the tenth that does most) to call it movement
_CALIBRATED = 4  # key frames that tell the focal length
_TURNS = 4.0  # cost a number up to which turns explain what corners do, whatever the focal length
_TELLS = 1.05  # times the least cost from which on a guessed focal length is refuted
ZOOM_THRESHOLD = 0.04  # change of the focal length from which a zoom is called one


@dataclass
class CameraMotion:
    """The camera over L looks of a clip."""

    rotations: np.ndarray  # (L, 3, 3) float64, world to camera; a shot's first is the identity
    kind: np.ndarray  # (L,) int64: STATIC, ROTATING or MOVING, the same for a whole shot
    is_estimated: np.ndarray  # (L,) bool: the background told; elsewhere the last good motion goes on
    zoom: np.ndarray  # (L,) focal length over that of the shot's first look
    focal: np.ndarray  # () pixels, as given or as the camera's way told it

    def rotations_at(self, times: np.ndarray, looks: np.ndarray) -> np.ndarray:
        """Rotations (F, 3, 3) at times (F,), seconds, where the looks were at rising times (L,)."""
        if len(looks) < 2 or not (self.rotations != self.rotations[0]).any():
            return np.repeat(self.rotations[:1], len(times), 0)
        return Slerp(looks, Rotation.from_matrix(self.rotations))(np.clip(times, looks[0], looks[-1])).as_matrix()


STATIC, ROTATING, MOVING = 0, 1, 2


@dataclass
class _Star:
    """One key frame's corners in the looks after it."""

    looks: np.ndarray  # (m,) look numbers
    rays: np.ndarray  # (n, 2) pixels from the picture's centre, in the key frame
    seen: np.ndarray  # (m, n, 2) pixels from the centre
    known: np.ndarray  # (m, n) bool


@dataclass
class _Fit:
    """A camera's way from a key frame on."""

    rotation: np.ndarray  # (m, 3, 3)
    shift: np.ndarray  # (m, 3) mean depths
    zoom: np.ndarray  # (m,)
    nearness: np.ndarray  # (n,) inverse depths
    cost: float  # in units of the noise
    numbers: int  # that were fitted


def solve_camera_motion(
    corners: BackgroundTracks, camera_K: np.ndarray, size: tuple[int, int], camera: str, guessed: bool
) -> CameraMotion:
    """The camera's turns over all looks.

    camera_K (3, 3): in pixels; camera: auto, static or moving (then nothing is taken for standing still); guessed: the
    focal length is a guess, and turns may tell a better one.
    """
    if camera not in ("auto", "static", "moving"):
        raise ValueError(f"no camera setting: {camera}")
    count = len(corners.shot)
    scale = LONG_SIDE / max(size)
    motion = CameraMotion(
        np.tile(np.eye(3), (count, 1, 1)), np.zeros(count, np.int64), np.ones(count, bool), np.ones(count),
        np.array(camera_K[0, 0]),
    )  # fmt: skip
    motion.is_estimated[:] = np.isin(np.arange(count), np.concatenate([corners.key, corners.seen_look]))
    if camera == "static":
        return motion
    stars = [_star(corners, key, camera_K[:2, 2], scale) for key in range(len(corners.key))]
    moving = [camera == "moving" or not _stands(stars, corners, shot) for shot in range(int(corners.shot.max()) + 1)]
    focal = float(motion.focal) * scale
    if guessed and any(moving):
        focal = _focal([star for star, key in zip(stars, corners.key, strict=True) if moving[corners.shot[key]]], focal)
        motion.focal = np.array(focal / scale)
    for shot, moves in enumerate(moving):
        if moves:
            _solve_shot(motion, corners, stars, shot, focal)
    return motion


def _star(corners: BackgroundTracks, key: int, centre: np.ndarray, scale: float) -> _Star:
    points = np.flatnonzero(corners.point_key == key)
    first = points[0]
    rows = np.flatnonzero((corners.seen_point >= first) & (corners.seen_point <= points[-1]))
    looks, places = np.unique(corners.seen_look[rows], return_inverse=True)
    seen = np.zeros((len(looks), len(points), 2))
    known = np.zeros(seen.shape[:2], bool)
    seen[places, corners.seen_point[rows] - first] = (corners.seen[rows] - centre) * scale
    known[places, corners.seen_point[rows] - first] = True
    return _Star(looks, (corners.point[points].astype(np.float64) - centre) * scale, seen, known)


def _stands(stars: list[_Star], corners: BackgroundTracks, shot: int) -> bool:
    """Whether the background of a shot stays where it is."""
    way = [
        np.median(np.linalg.norm(star.seen[row] - star.rays, axis=1)[star.known[row]])
        for star, key in zip(stars, corners.key, strict=True)
        if corners.shot[key] == shot
        for row in range(len(star.looks))
    ]
    return not way or float(np.quantile(way, 0.95)) < _STILL * LONG_SIDE


def _solve_shot(motion: CameraMotion, corners: BackgroundTracks, stars: list[_Star], shot: int, focal: float) -> None:
    """Chain the key frames of one shot."""
    kinds = []
    looks = np.flatnonzero(corners.shot == shot)
    done = np.zeros(len(motion.rotations), bool)
    done[looks[0]] = True
    for star, key in zip(stars, corners.key, strict=True):
        if corners.shot[key] != shot:
            continue
        _go_on(motion, done, looks, int(key))
        if not len(star.looks):
            continue
        kind, fit = _choose(star, focal * motion.zoom[key])
        kinds += [kind] * len(star.looks)
        motion.rotations[star.looks] = fit.rotation @ motion.rotations[key]
        motion.zoom[star.looks] = fit.zoom * motion.zoom[key]
        done[star.looks] = True
    _go_on(motion, done, looks, int(looks[-1]))
    motion.kind[looks] = MOVING if np.mean(np.equal(kinds, MOVING)) > 0.2 else ROTATING


def _go_on(motion: CameraMotion, done: np.ndarray, looks: np.ndarray, until: int) -> None:
    """Where nothing was seen, up to that look, the last good turn goes on."""
    for look in range(int(looks[0]) + 1, until + 1):
        if not done[look]:
            first = max(int(looks[0]), look - 4)
            turn = Rotation.from_matrix(motion.rotations[look - 1] @ motion.rotations[first].T).as_rotvec()
            step = Rotation.from_rotvec(turn / max(look - 1 - first, 1)).as_matrix()
            motion.rotations[look] = step @ motion.rotations[look - 1]
            motion.zoom[look] = motion.zoom[look - 1]
            done[look] = True


def _choose(star: _Star, focal: float) -> tuple[int, _Fit]:
    """The simplest movement that explains a key frame's corners: a turn, a turn with a zoom, or any movement."""
    part = np.unique(np.linspace(0, len(star.looks) - 1, _IN_BUNDLE).round().astype(int))
    sample = _Star(star.looks[part], star.rays, star.seen[part], star.known[part])
    turn = _fit(sample, focal)
    fits = [(ROTATING, turn)]
    zoomed = _fit(sample, focal, start=turn, zooms=True)
    if np.abs(np.log(zoomed.zoom)).max() > ZOOM_THRESHOLD:
        fits.append((ROTATING, zoomed))
    moved = _moved(sample, focal, turn)
    # Depth can explain away the corners' own errors: it has to show.
    way = moved.shift[:, None, :2] - sample.rays / focal * moved.shift[:, None, 2:]
    parted = np.linalg.norm(way, axis=2) * np.abs(moved.nearness - np.median(moved.nearness))
    if focal * np.quantile(parted, 0.9) > _PARALLAX:
        fits.append((MOVING, moved))
    observed = 2 * sample.known.sum()
    kind, best = min(fits, key=lambda each: each[1].cost + each[1].numbers * np.log(max(observed, 2)))
    whole = _fit(star, focal, start=turn, zooms=best is zoomed, moves=kind == MOVING, nearness=best.nearness)
    return kind, whole


def _moved(star: _Star, focal: float, turn: _Fit) -> _Fit:
    """The better fit of a camera that moves, begun with a turn and with the essential matrix."""
    starts = turn, _essential(star, focal, turn)
    return min((_fit(star, focal, start=start, moves=True) for start in starts), key=lambda fit: fit.cost)


def _essential(star: _Star, focal: float, turn: _Fit) -> _Fit:
    """A start for a camera that moves: by the essential matrix of the widest look, evenly on the way there."""
    wide = int(np.argmax((np.linalg.norm(star.seen - star.rays, axis=2) * star.known).sum(1)))
    first, last = (points[star.known[wide]] / focal for points in (star.rays, star.seen[wide]))
    matrix, fits = cv2.findEssentialMat(first, last, np.eye(3), cv2.USAC_MAGSAC, 0.999, _OUTLIER / focal)
    if matrix is None or matrix.shape != (3, 3):
        return turn
    _, rotation, shift, _ = cv2.recoverPose(matrix, first, last, np.eye(3), mask=fits)
    share = np.minimum((star.looks - star.looks[0] + 1) / (star.looks[wide] - star.looks[0] + 1), 1.5)
    turns = Rotation.from_rotvec(np.outer(share, Rotation.from_matrix(rotation).as_rotvec())).as_matrix()
    # As far as the corners part beyond the turn, on the average.
    turned = star.rays[star.known[wide]] / focal @ rotation[:2, :2].T + rotation[:2, 2]
    reach = np.median(np.linalg.norm(last - turned, axis=1)) / max(np.linalg.norm(shift[:2]), 0.2)
    return replace(turn, rotation=turns, shift=np.outer(share, shift[:, 0]) * min(reach, _TRAVEL))


def _fit(
    star: _Star,
    focal: float,
    start: _Fit | None = None,
    moves: bool = False,
    zooms: bool = False,
    nearness: np.ndarray | None = None,
) -> _Fit:
    """Least squares over one key frame's looks, robust against corners that go their own way.

    A corner on the key frame's ray b, of inverse depth d, is seen in a look along R b + d t. Levenberg-Marquardt with
    the depths eliminated; ``nearness`` (n,) keeps them as they are.
    """
    count, points = star.known.shape
    rays = np.column_stack([star.rays / focal, np.ones(points)])
    rotation, shift, zoom = np.tile(np.eye(3), (count, 1, 1)), np.zeros((count, 3)), np.zeros(count)
    if start is not None and len(start.rotation) == count:
        rotation, shift = start.rotation, start.shift * moves
    depth = np.ones(points) if nearness is None else nearness
    free = moves and nearness is None
    size = 6 if moves else 4 if zooms else 3
    damping, best = 1e-3, np.inf
    state = rotation, shift, zoom, depth
    for _ in range(40):
        rotation, shift, zoom, depth = state
        turned = np.einsum("mij,nj->mni", rotation, rays)
        place = turned + depth[:, None] * shift[:, None]
        z = np.maximum(place[..., 2:], 0.05)
        flat = place[..., :2] / z
        lens = focal * np.exp(zoom)[:, None, None]
        off = (star.seen - lens * flat) / _NOISE
        squared = (off**2).sum(-1) / (_OUTLIER / _NOISE) ** 2
        cost = (_OUTLIER / _NOISE) ** 2 * np.log1p(squared)[star.known].sum()
        if moves:
            cost += (((depth - 1) / _NEARNESS) ** 2).sum() + ((shift / _TRAVEL) ** 2).sum()
        if cost < best:
            gain = best - cost
            best, kept, damping = cost, state, damping / 4
            weight = star.known / (1 + squared)
            slope = np.zeros((count, points, 2, 3))
            slope[..., 0, 0] = slope[..., 1, 1] = 1
            slope[..., 2] = -flat
            slope *= (lens / z / _NOISE)[..., None]
            jacobian = np.empty((count, points, 2, size))
            jacobian[..., :3] = np.cross(turned[:, :, None], slope)
            if moves:
                jacobian[..., 3:] = slope * depth[:, None, None]
            elif zooms:
                jacobian[..., 3] = lens * flat / _NOISE
            weighted = jacobian * weight[..., None, None]
            normal = np.einsum("mnki,mnkj->mij", weighted, jacobian)
            right = np.einsum("mnki,mnk->mi", weighted, off)
            if moves:
                normal[:, [3, 4, 5], [3, 4, 5]] += _TRAVEL**-2
                right[:, 3:] -= shift / _TRAVEL**2
            if free:
                along = np.einsum("mnkj,mj->mnk", slope, shift)
                cross = np.einsum("mnki,mnk->min", weighted, along).reshape(-1, points)
                inner = (weight[..., None] * along**2).sum((0, 2)) + _NEARNESS**-2
                inner_right = (weight[..., None] * along * off).sum((0, 2)) - (depth - 1) / _NEARNESS**2
            if gain < 1e-4 * best:
                break
        else:
            damping *= 8
            if damping > 1e6:
                break
        damped = normal + damping * np.einsum("mii->mi", normal)[:, :, None] * np.eye(size)
        if free:
            blocks = np.zeros((count, size, count, size))
            blocks[np.arange(count), :, np.arange(count)] = damped
            whole = blocks.reshape(count * size, -1)
            share = cross / (inner * (1 + damping))
            step = np.linalg.solve(whole - share @ cross.T, right.ravel() - share @ inner_right)
            deeper = (inner_right - cross.T @ step) / (inner * (1 + damping))
            step = step.reshape(count, size)
        else:
            step = np.linalg.solve(damped, right[..., None])[..., 0]
            deeper = 0
        rotation, shift, zoom, depth = kept
        state = (
            Rotation.from_rotvec(step[:, :3]).as_matrix() @ rotation,
            shift + step[:, 3:] if moves else shift,
            zoom + step[:, 3] if zooms and not moves else zoom,
            np.clip(depth + deeper, 0, 20),
        )
    rotation, shift, zoom, depth = kept
    return _Fit(rotation, shift, np.exp(zoom), depth, float(best), count * size + (points if free else 0))


def _focal(stars: list[_Star], guess: float) -> float:
    """The focal length with which the camera's way explains the corners best; the guess where they do not tell."""
    wide = sorted((star for star in stars if len(star.looks) > 1), key=_width)[-_CALIBRATED:]
    parts = []
    for star in wide:
        part = np.unique(np.linspace(0, len(star.looks) - 1, 8).round().astype(int))
        parts.append(_Star(star.looks[part], star.rays, star.seen[part], star.known[part]))

    def cost(focal: float) -> float:
        turns = [_fit(part, focal) for part in parts]
        if turns_only:
            return sum(turn.cost for turn in turns)
        return sum(_moved(part, focal, turn).cost for part, turn in zip(parts, turns, strict=True))

    tried = LONG_SIDE * np.geomspace(0.5, 2.4, 9)
    turns_only = True
    costs = np.array([cost(focal) for focal in tried])
    if costs.min() > 2 * _TURNS * sum(part.known.sum() for part in parts):
        turns_only = False
        costs = np.array([cost(focal) for focal in tried])
    best = int(costs.argmin())
    usual = float(np.interp(guess, tried, costs))
    if not 0 < best < len(tried) - 1 or usual < _TELLS * costs[best]:
        return guess
    # Once more, closer by; then the bottom of a parabola.
    closer = tried[best] * (tried[1] / tried[0]) ** np.array([-0.5, 0, 0.5])
    around = np.array([cost(closer[0]), costs[best], cost(closer[2])])
    a, b, _ = np.polyfit(np.log(closer), around, 2)
    return float(np.exp(np.clip(-b / (2 * a), *np.log(closer[[0, 2]])))) if a > 0 else guess


def _width(star: _Star) -> float:
    """How far the corners of a key frame go, pixels."""
    return float(np.linalg.norm(star.seen[-1] - star.rays, axis=1)[star.known[-1]].mean())
