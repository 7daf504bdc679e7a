"""Cameras as people hold them: on a stand, turned after somebody, in the hand, carried beside or behind somebody."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from .place import View

KINDS = ("static", "pan", "handheld", "beside", "behind")
# Root mean square of a hand's shake, each axis: degrees and metres. Set by hand after phone clips.
_SHAKE = {
    "static": (0.0, 0.0),
    "pan": (0.0, 0.0),
    "handheld": (0.4, 0.012),
    "beside": (0.3, 0.01),
    "behind": (0.3, 0.01),
}
_BODY_HEIGHT = 1.75  # metres
_RATE = 240  # times a second at which a camera's path is computed
_FOLLOWING = 0.5  # seconds, standard deviation of the filter between the person's path and the camera's


@dataclass(frozen=True)
class Shot:
    """How a film is shot."""

    kind: str  # one of KINDS
    size: tuple[int, int]
    azimuth: float  # degrees: where the camera is, seen from the person; about z from x, for the followers from ahead
    height: float = 1.4  # metres
    fill: float = 0.65  # height of a standing person over that of the picture; less where that would leave the picture
    focal: float = 0.75  # focal length over the picture's longer side: 0.75 is a phone's main lens


class Camera:
    """A shot of people who are at ``hips`` (P, T, 3) at ``times`` (T,), seconds of the film."""

    def __init__(self, shot: Shot, times: np.ndarray, hips: np.ndarray, rng: np.random.Generator) -> None:
        self._shot = shot
        focal = shot.focal * max(shot.size)
        self._distance = _BODY_HEIGHT * focal / (shot.fill * shot.size[1])
        self.camera_K = np.array([[focal, 0, shot.size[0] / 2], [0, focal, shot.size[1] / 2], [0, 0, 1]])
        grid = np.linspace(times[0], times[-1], max(8, round(_RATE * (times[-1] - times[0]))))
        middle = CubicSpline(times, hips.mean(0))(grid)
        rate = 1 / (grid[1] - grid[0])
        self._grid, self._path = grid, gaussian_filter1d(middle, _FOLLOWING * rate, axis=0, mode="nearest")
        turning, moving = _SHAKE[shot.kind]
        self._turned = CubicSpline(grid, np.radians(shake(grid, turning, rng)))
        self._moved = CubicSpline(grid, shake(grid, moving, rng))
        self._aim()

    def step_back(self) -> None:
        """Go a tenth farther away."""
        self._distance *= 1.1
        self._aim()

    def view(self, time: float) -> View:
        """The camera at a time of the film."""
        centre = self._centre(time) + self._moved(time)
        ahead = self._target(time) - self._centre(time)
        ahead /= np.linalg.norm(ahead)
        right = np.cross(ahead, [0, 0, 1])
        right /= np.linalg.norm(right)
        rotation = Rotation.from_rotvec(self._turned(time)).as_matrix() @ np.array(
            [right, np.cross(ahead, right), ahead]
        )
        return View(rotation, -rotation @ centre, self.camera_K, self._shot.size)

    def _aim(self) -> None:
        kind, path = self._shot.kind, self._path
        angle = np.radians(self._shot.azimuth)
        if kind in ("beside", "behind"):
            way = path[-1] - path[0]
            angle += np.arctan2(way[1], way[0])
        offset = self._distance * np.array([np.cos(angle), np.sin(angle), 0])
        centre = path * (1, 1, 0) if kind in ("beside", "behind") else np.tile(path.mean(0) * (1, 1, 0), (len(path), 1))
        centre = centre + offset + (0, 0, self._shot.height)
        target = np.tile((path.min(0) + path.max(0)) / 2, (len(path), 1)) if kind == "static" else path
        # A standing person's middle, while the person is on the feet.
        target = target * (1, 1, 0) + (0, 0, 0.88)
        self._centre: Callable[[float], np.ndarray] = CubicSpline(self._grid, centre)
        self._target: Callable[[float], np.ndarray] = CubicSpline(self._grid, target)


def shake(times: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    """Shake of a hand (T, 3): sines of 0.2 to 6 Hz, amplitude ~ 1/f; ``amount`` is the RMS of each axis."""
    hertz = np.geomspace(0.2, 6.0, 14)
    waves = np.sin(2 * np.pi * (hertz * times[:, None])[..., None] + rng.uniform(0, 2 * np.pi, (14, 3)))
    moved = (waves / hertz[:, None]).sum(1)
    return amount * (moved - moved.mean(0)) / moved.std(0)
