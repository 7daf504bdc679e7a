"""The path of a camera that moves, in metres: from the parallax of the background and the people's feet on the ground.

Bundle adjustment gives the camera's path in units of its own, the corners' mean depth. The ground gives the metres: it
is a plane through many corners and through the feet of people whose size, and so whose distance, is known. The legs'
pose, which is poor along the line of sight, has no part in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..camera.camera_motion import CameraMotion

# Set by hand, judged on made films of training walks with a camera that goes along.
_HORIZON = 0.03  # sine of the angle below the horizon from which on a corner may be on the ground
_TILTS = np.linspace(-0.18, 0.18, 7)  # radians, in two directions, in which the ground's normal is searched about up
_MAX_TILT = 0.25  # radians from up: a steeper plane is not the ground
_UP_STD = 0.1  # radians, of `estimate_up` without the ground
_WINDOW = 0.05  # of the logarithm of the camera's height: corners within it agree on the ground
_PLANE_STD = 0.03  # of a corner's inverse depth from the ground's, as a fraction
_ON_GROUND = 0.1  # fraction of the inverse depth within which a corner lies on the ground
_MIN_GROUND_CORNERS, _MIN_GROUND_FRACTION = 15, 0.25  # on the ground, of those below the horizon: fewer may be chance
_MIN_FOOT_FRAMES = 5  # with a foot on the ground, that give a key frame's unit in metres

# Standard deviations of a step: fractions of the step itself, if the ground gives its metres, if another key frame's
# ground does, and if nothing does; and the noise, as a fraction of the unit of length.
_GROUND_STD, _NEIGHBOUR_STD, _UNKNOWN_STD = 0.03, 0.3, 1.0
_STEP_NOISE = 2e-4
# Standard deviation of the ground's normal, radians: of the ground itself, and the noise for a camera's movement of one
# unit of length: the smaller the movement, the less can a tilt of all corners be told from it.
_NORMAL_STD, _NORMAL_NOISE = 0.02, 1.5e-3
_USUAL_DISTANCE = 4.0  # metres, to people whose feet nobody sees
_UNKNOWN_UNIT = 2.0  # of the person's distance: how far the background is if nothing else is known


@dataclass
class CameraPath:
    """How a camera moves between L network frames, in the axes that its rotations refer to."""

    steps: np.ndarray  # (L - 1, 3) metres
    std: np.ndarray  # (L - 1,) metres, standard deviation of each coordinate; inf: not known
    ground: np.ndarray  # (3,) sum of unit normals of the ground, up, each over its variance; 0: none is visible

    def at(self, times: np.ndarray, network_times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Steps (T - 1, 3) and their std (T - 1,) between rising times (T,), seconds; network_times (L,)."""
        path = np.insert(self.steps.cumsum(0), 0, 0, axis=0)
        path = np.stack([np.interp(times, network_times, column) for column in path.T], 1)
        row = np.searchsorted(network_times, (times[1:] + times[:-1]) / 2) - 1
        inside = (row >= 0) & (row < len(self.std))
        return np.diff(path, axis=0), np.where(inside, self.std[row.clip(0, len(self.std) - 1)], np.inf)


@dataclass
class FeetInCamera:
    """Feet that stand on the ground: n frames of any people."""

    frame: np.ndarray  # (n,) network frame
    lowest: np.ndarray  # (n, 3) metres, camera axes: the lowest planted foot point


@dataclass(frozen=True)
class Background:
    """What the background tells of the camera, for T frames of the clip's 30 fps clock."""

    motion: CameraMotion
    network_times: np.ndarray  # (L,) rising, seconds
    times: np.ndarray  # (T,) rising, seconds

    def camera_path(self, people: Sequence[FeetInCamera], up: np.ndarray) -> CameraPath:
        """The camera's path; people: with frames of the clock; up (3,): in the axes of the camera's rotations."""
        network_frame = np.searchsorted(self.network_times, self.times - 1e-3).clip(0, len(self.network_times) - 1)
        feet = FeetInCamera(
            network_frame[np.concatenate([person.frame for person in people])],
            np.concatenate([person.lowest for person in people]),
        )
        distance = float(np.median(feet.lowest[:, 2])) if len(feet.lowest) else _USUAL_DISTANCE
        return camera_path(self.motion, feet, distance, up)


def camera_path(motion: CameraMotion, feet: FeetInCamera, distance: float, up: np.ndarray) -> CameraPath:
    """The camera's path in the network frames; distance: metres from the camera to the people; up (3,)."""
    steps, is_known, units = _steps_in_units(motion)
    up = up / np.linalg.norm(up)
    ground, scales = np.zeros(3), {}
    for key in np.unique(motion.corner_key_frame):
        rows = motion.corner_key_frame == key
        plane, is_normal_known = fit_ground(motion.corner_rays[rows], motion.corner_inverse_depths[rows], up)
        if plane is None:
            continue
        if is_normal_known:
            baseline = np.linalg.norm(motion.centre[motion.key_frame == key], axis=1).max()
            ground -= plane / np.linalg.norm(plane) / (_NORMAL_STD**2 + (_NORMAL_NOISE / baseline) ** 2)
        metres = _metres(motion, int(key), plane, feet)
        if metres is not None:
            scales[int(key)] = metres
    usual = float(np.median(list(scales.values()))) if scales else _UNKNOWN_UNIT * distance
    scale = np.array([scales.get(int(key), usual) for key in units])
    fraction = np.where(np.isin(units, list(scales)), _GROUND_STD, _NEIGHBOUR_STD if scales else _UNKNOWN_STD)
    size = scale * np.linalg.norm(steps, axis=1)
    std = np.where(is_known, np.hypot(fraction * size, _STEP_NOISE * scale), np.inf)
    return CameraPath(steps * scale[:, None], std, ground)


def _steps_in_units(motion: CameraMotion) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The camera's steps (L - 1, 3), whether they are known (L - 1,), and the key frame (L - 1,) of their unit."""
    key = motion.key_frame
    frames = np.arange(len(key))
    same, first = key[:-1] == key[1:], frames[:-1] == key[1:]
    before = np.where(same[:, None], motion.centre[:-1], 0)
    known = (key[1:] >= 0) & (same | first)
    return np.where(known[:, None], motion.centre[1:] - before, 0), known, key[1:]


def _metres(motion: CameraMotion, key: int, plane: np.ndarray, feet: FeetInCamera) -> float | None:
    """Metres of a key frame's unit of length, with which feet stand on the ground; None if no feet do so."""
    rows = np.flatnonzero((motion.key_frame[feet.frame] == key) | (feet.frame == key))
    frame = feet.frame[rows]
    centre = np.where((frame == key)[:, None], 0, motion.centre[frame])
    # plane @ (centre + R^T foot / metres) = 1
    along = np.einsum("nji,nj->ni", motion.rotations[frame], feet.lowest[rows]) @ plane
    rest = 1 - centre @ plane
    fits = (along > 0) & (rest > 0)
    return float(np.median(along[fits] / rest[fits])) if fits.sum() >= _MIN_FOOT_FRAMES else None


def fit_ground(rays: np.ndarray, inverse_depths: np.ndarray, up: np.ndarray) -> tuple[np.ndarray | None, bool]:
    """The ground (3,): the inverse depth on it is plane @ ray; None if too few corners lie on one plane.

    Besides, whether the corners determine the plane's normal; otherwise it is up.

    rays (n, 3), inverse_depths (n,): corners; up (3,): unit vector, within some degrees of the ground's normal.
    """
    below = (rays @ up < -_HORIZON * np.linalg.norm(rays, axis=1)) & (inverse_depths > 0)
    rays, inverse_depths = rays[below], inverse_depths[below]
    if len(rays) < _MIN_GROUND_CORNERS:
        return None, False
    plane = _search_ground(rays, inverse_depths, up, _TILTS)
    for _ in range(8):
        weight = 1 / (1 + ((inverse_depths - rays @ plane) / (2 * _PLANE_STD * inverse_depths)) ** 2) ** 2
        rows = rays * (np.sqrt(weight) / (_PLANE_STD * inverse_depths))[:, None]
        across = (np.eye(3) - np.outer(up, up)) / (_UP_STD * np.linalg.norm(plane))
        normal = rows.T @ rows + across.T @ across
        plane = np.linalg.solve(normal, rows.T @ (np.sqrt(weight) / _PLANE_STD))
    is_level = bool(-plane @ up > np.cos(_MAX_TILT) * np.linalg.norm(plane))
    if not is_level:  # a wall, whose foot is on the ground
        plane = _search_ground(rays, inverse_depths, up, np.zeros(1))
    on_ground = np.abs(inverse_depths - rays @ plane) < _ON_GROUND * inverse_depths
    enough = on_ground.sum() >= max(_MIN_GROUND_CORNERS, _MIN_GROUND_FRACTION * len(rays))
    return plane if enough else None, is_level


def _search_ground(rays: np.ndarray, inverse_depths: np.ndarray, up: np.ndarray, tilts: np.ndarray) -> np.ndarray:
    """The plane (3,) that most corners agree on, of those tilted from level by tilts (n,), radians, both ways."""
    side = np.cross(up, np.eye(3)[np.abs(up).argmin()])
    side /= np.linalg.norm(side)
    best, best_score = -up, -np.inf
    for one in tilts:
        for other in tilts:
            normal = up + one * side + other * np.cross(up, side)
            drop = -rays @ normal
            rows = drop > 1e-3
            ratios = np.sort(np.log(inverse_depths[rows] / drop[rows]))
            if not len(ratios):
                continue
            counts = np.searchsorted(ratios, ratios + 2 * _WINDOW) - np.arange(len(ratios))
            score = counts.max() - (one**2 + other**2) / (2 * _UP_STD**2)
            if score > best_score:
                first = counts.argmax()
                middle = np.median(ratios[first : first + counts[first]])
                best, best_score = -normal * np.exp(middle), score
    return best
