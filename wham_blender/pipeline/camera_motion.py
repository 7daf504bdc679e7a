"""How the camera turned during a clip, told by the background: found while the clip is decoded, solved afterwards.

`Background` follows corners outside the people from key frames through the clip and notices cuts. `solve` makes
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

_LONG_SIDE = 640  # pixels of the pictures in which corners are followed
_CORNERS = 220
_LEAST = 16  # corners: with fewer nothing can be said
_RENEW = 0.55  # of a key frame's corners: with fewer in sight the next look becomes the key frame
_BOX_MARGIN = 0.12  # of a person's box, on each side: hair, shoes and shadows move too
_BACK = 0.6  # pixels by which a corner may miss itself when followed back
_UNTIL = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 20, 0.01)
_WINDOW = (17, 17)  # pixels
_LEVELS = 4
_DARK = 20.0  # of 255: mean brightness of a black frame
_ALIKE = 0.7  # correlation of two looks' thumbnails from which they rather show one scene

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
ZOOM = 0.04  # change of the focal length from which a zoom is called one


@dataclass
class Corners:
    """Corners of the background over L looks: P points of K key frames, seen M times."""

    shot: np.ndarray  # (L,) int64 the uninterrupted take that a look belongs to, from 0
    key: np.ndarray  # (K,) int64 look of each key frame
    point_key: np.ndarray  # (P,) int64 key frame of each point
    point: np.ndarray  # (P, 2) float32 pixels in the key frame
    seen_look: np.ndarray  # (M,) int64
    seen_point: np.ndarray  # (M,) int64
    seen: np.ndarray  # (M, 2) float32 pixels


class Background:
    """Follows the background's corners while a clip is decoded; holds two small pictures at any time."""

    def __init__(self) -> None:
        self._key: _KeyFrame | None = None
        self._grey: np.ndarray = np.empty((0, 0), np.uint8)  # the look
        self._scale = 1.0  # of its pixels to the clip's
        self._found: np.ndarray | None = None  # which of the key frame's corners are in it
        self._before: np.ndarray | None = None  # the look before, grey
        self._before_clear: np.ndarray | None = None  # and its background, for new corners
        self._shot = 0
        self._shots: list[int] = []
        self._keys: list[int] = []
        self._points: list[np.ndarray] = []
        self._seen: list[tuple[int, np.ndarray, np.ndarray]] = []  # look, point numbers, pixels

    def follow(self, image: np.ndarray) -> bool:
        """Find the corners in the next look, (H, W, 3) uint8 RGB; True where it begins another scene: after a cut."""
        scale = _LONG_SIDE / max(image.shape[:2])
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else image
        self._grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
        self._scale = self._grey.shape[1] / image.shape[1]
        self._found = self._find()
        cut = self._found is None and self._is_cut()
        if cut:
            self._shot += 1
            self._key = None
        return cut

    def keep(self, boxes: np.ndarray) -> None:
        """Keep what was found outside the people's boxes (n, 4) x1, y1, x2, y2 in that look."""
        number, clear = len(self._shots), _clear(self._grey.shape, boxes * self._scale)
        if self._key and self._found is not None:
            column, row = np.round(self._key.places[self._found]).astype(int).T
            self._found[self._found] = clear[row, column] > 0
            if self._found.sum() >= _LEAST:
                places = self._key.places[self._found] / self._scale
                self._seen.append((number, self._key.first + np.flatnonzero(self._found), places))
        if self._key is None or (self._found is not None and self._key.is_worn(self._found)):
            self._renew(self._grey, clear, number)
        self._before, self._before_clear = self._grey, clear
        self._shots.append(self._shot)

    def corners(self) -> Corners:
        """Everything seen so far."""
        looks = [np.full(len(points), look) for look, points, _ in self._seen]
        return Corners(
            shot=np.array(self._shots, np.int64),
            key=np.array(self._keys, np.int64),
            point_key=np.repeat(np.arange(len(self._keys)), [len(points) for points in self._points]).astype(np.int64),
            point=np.concatenate([*self._points, np.empty((0, 2))]).astype(np.float32),
            seen_look=np.concatenate([*looks, np.empty(0)]).astype(np.int64),
            seen_point=np.concatenate([*(points for _, points, _ in self._seen), np.empty(0)]).astype(np.int64),
            seen=np.concatenate([*(places for _, _, places in self._seen), np.empty((0, 2))]).astype(np.float32),
        )

    def _find(self) -> np.ndarray | None:
        """Which of the key frame's corners, or of the look before's, are in this look; None where too few are."""
        if self._key is None:
            return None
        found = self._key.find(self._grey)
        last = len(self._shots) - 1
        if found.sum() < _LEAST and self._before is not None and self._keys[-1] != last:
            old = self._key
            self._renew(self._before, self._before_clear, last)
            if self._key is not old:
                found = self._key.find(self._grey)
                if found.sum() < _LEAST:  # the old one may come into sight again, after a dark moment
                    self._key = old
                    self._keys.pop()
                    self._points.pop()
        return found if found.sum() >= _LEAST else None

    def _renew(self, grey: np.ndarray, clear: np.ndarray | None, number: int) -> None:
        """Make a look the key frame, if it has corners enough."""
        points = cv2.goodFeaturesToTrack(grey, _CORNERS, 0.005, 9, mask=clear)
        if points is None or len(points) < _LEAST:
            return
        points = cv2.cornerSubPix(grey, points, (5, 5), (-1, -1), _UNTIL)[:, 0]
        self._key = _KeyFrame(grey, points, sum(map(len, self._points)))
        self._keys.append(number)
        self._points.append(points / self._scale)

    def _is_cut(self) -> bool:
        """Whether the look, which cannot be followed, shows another scene, and is not just blurred or black."""
        if self._before is None or self._key is None or self._grey.mean() < _DARK:
            return False
        ahead = cv2.goodFeaturesToTrack(self._grey, _CORNERS, 0.005, 9)
        if ahead is None or len(ahead) < 2 * _LEAST:
            return False
        last = self._key.grey if self._before.mean() < _DARK else self._before
        first, second = (
            cv2.resize(each, (32, 32), interpolation=cv2.INTER_AREA).ravel() for each in (last, self._grey)
        )
        return bool(np.corrcoef(first, second)[0, 1] < _ALIKE)


class _KeyFrame:
    """A picture and its corners, and where they are now."""

    def __init__(self, grey: np.ndarray, points: np.ndarray, first: int) -> None:
        self.grey, self.points, self.first = grey, points, first
        self.places = points.copy()
        self._step = np.zeros(2, np.float32)

    def is_worn(self, found: np.ndarray) -> bool:
        """Whether too few of the corners (n,) were found for another look."""
        return bool(found.sum() < max(_LEAST, _RENEW * len(self.points)))

    def find(self, grey: np.ndarray) -> np.ndarray:
        """Follow the corners to another look; which of them (n,) are found there."""
        guess = self.places + self._step
        places, there = _track(self.grey, grey, self.points, guess)
        back, home = _track(grey, self.grey, places, self.points)
        found = there & home & (np.linalg.norm(back - self.points, axis=1) < _BACK)
        column, row = np.round(places).astype(int).T
        found &= (column >= 0) & (row >= 0) & (column < grey.shape[1]) & (row < grey.shape[0])
        if found.sum() < _LEAST:
            return found
        homography, fits = cv2.findHomography(self.points[found], places[found], cv2.USAC_MAGSAC, 3.0)
        if homography is not None and fits.sum() >= _LEAST / 2:
            # Corners behind a person are looked for where the rest says they went.
            expected = cv2.perspectiveTransform(self.points[:, None], homography)[:, 0]
            found &= np.linalg.norm(places - expected, axis=1) < 0.1 * _LONG_SIDE
            places = np.where(found[:, None], places, expected).astype(np.float32)
        self._step = np.median(places[found] - self.places[found], axis=0) if found.any() else self._step
        self.places = places
        return found


def _track(
    first: np.ndarray, second: np.ndarray, points: np.ndarray, guess: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Where points (n, 2) of one picture are in another, near a guess (n, 2), and whether they are (n,)."""
    places, there, _ = cv2.calcOpticalFlowPyrLK(
        first, second, points, guess.astype(np.float32), None, None, _WINDOW, _LEVELS, _UNTIL,
        cv2.OPTFLOW_USE_INITIAL_FLOW,
    )  # fmt: skip
    return places, there[:, 0] > 0


def _clear(shape: tuple[int, ...], boxes: np.ndarray) -> np.ndarray:
    """Mask (H, W) uint8 of a picture: 255 outside the people's boxes."""
    clear = np.full(shape[:2], 255, np.uint8)
    margin = _BOX_MARGIN * (boxes[:, 2:] - boxes[:, :2]).max(1, keepdims=True) if len(boxes) else 0
    for x1, y1, x2, y2 in np.maximum(np.concatenate([boxes[:, :2] - margin, boxes[:, 2:] + margin], 1), 0).astype(int):
        clear[y1 : y2 + 1, x1 : x2 + 1] = 0
    return clear


@dataclass
class CameraMotion:
    """The camera over L looks of a clip."""

    rotations: np.ndarray  # (L, 3, 3) float64, world to camera; a shot's first is the identity
    kind: np.ndarray  # (L,) int64: STATIC, TURNING or MOVING, the same for a whole shot
    known: np.ndarray  # (L,) bool: the background told; elsewhere the last good motion goes on
    zoom: np.ndarray  # (L,) focal length over that of the shot's first look
    focal: np.ndarray  # () pixels, as given or as the camera's way told it

    def at(self, times: np.ndarray, looks: np.ndarray) -> np.ndarray:
        """Rotations (F, 3, 3) at times (F,), seconds, where the looks were at rising times (L,)."""
        if len(looks) < 2 or not (self.rotations != self.rotations[0]).any():
            return np.repeat(self.rotations[:1], len(times), 0)
        return Slerp(looks, Rotation.from_matrix(self.rotations))(np.clip(times, looks[0], looks[-1])).as_matrix()


STATIC, TURNING, MOVING = 0, 1, 2


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


def solve(corners: Corners, camera_K: np.ndarray, size: tuple[int, int], camera: str, guessed: bool) -> CameraMotion:
    """The camera's turns over all looks.

    camera_K (3, 3): in pixels; camera: auto, static or moving (then nothing is taken for standing still); guessed: the
    focal length is a guess, and turns may tell a better one.
    """
    if camera not in ("auto", "static", "moving"):
        raise ValueError(f"no camera setting: {camera}")
    count = len(corners.shot)
    scale = _LONG_SIDE / max(size)
    motion = CameraMotion(
        np.tile(np.eye(3), (count, 1, 1)), np.zeros(count, np.int64), np.ones(count, bool), np.ones(count),
        np.array(camera_K[0, 0]),
    )  # fmt: skip
    motion.known[:] = np.isin(np.arange(count), np.concatenate([corners.key, corners.seen_look]))
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


def _star(corners: Corners, key: int, centre: np.ndarray, scale: float) -> _Star:
    points = np.flatnonzero(corners.point_key == key)
    first = points[0]
    rows = np.flatnonzero((corners.seen_point >= first) & (corners.seen_point <= points[-1]))
    looks, places = np.unique(corners.seen_look[rows], return_inverse=True)
    seen = np.zeros((len(looks), len(points), 2))
    known = np.zeros(seen.shape[:2], bool)
    seen[places, corners.seen_point[rows] - first] = (corners.seen[rows] - centre) * scale
    known[places, corners.seen_point[rows] - first] = True
    return _Star(looks, (corners.point[points].astype(np.float64) - centre) * scale, seen, known)


def _stands(stars: list[_Star], corners: Corners, shot: int) -> bool:
    """Whether the background of a shot stays where it is."""
    way = [
        np.median(np.linalg.norm(star.seen[row] - star.rays, axis=1)[star.known[row]])
        for star, key in zip(stars, corners.key, strict=True)
        if corners.shot[key] == shot
        for row in range(len(star.looks))
    ]
    return not way or float(np.quantile(way, 0.95)) < _STILL * _LONG_SIDE


def _solve_shot(motion: CameraMotion, corners: Corners, stars: list[_Star], shot: int, focal: float) -> None:
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
    motion.kind[looks] = MOVING if np.mean(np.equal(kinds, MOVING)) > 0.2 else TURNING


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
    fits = [(TURNING, turn)]
    zoomed = _fit(sample, focal, start=turn, zooms=True)
    if np.abs(np.log(zoomed.zoom)).max() > ZOOM:
        fits.append((TURNING, zoomed))
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

    tried = _LONG_SIDE * np.geomspace(0.5, 2.4, 9)
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
