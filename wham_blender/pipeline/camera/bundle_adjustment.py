"""Bundle adjustment of one key frame of the background with the frames that share its corners.

A corner on the key frame's ray b, of inverse depth d, is observed in a frame along R b + d t: R and t are the camera's
motion since the key frame, in units of the corners' mean depth. Levenberg-Marquardt with a robust (Cauchy) cost; the
inverse depths are eliminated from each step's equations (Schur complement). Lengths in the picture are pixels of the
tracked images, from the picture's centre.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
from scipy.spatial.transform import Rotation

# Set by hand, judged on the synthetic clips of the tests.
NOISE_PIXELS = 0.35  # standard deviation of a corner's position
OUTLIER_PIXELS = 1.5  # scale of the robust cost
TRANSLATION_SD = 0.5  # standard deviation of the camera's translation from its key frame, in mean depths
_INVERSE_DEPTH_SD = 0.8  # standard deviation of the corners' inverse depths, whose mean is 1
_MAX_INVERSE_DEPTH = 20.0
_NEAREST = 0.05  # least depth at which a corner is projected, in mean depths: behind the camera it would be mirrored
_MAX_STEPS = 40
_LEAST_GAIN = 1e-4  # of the cost, below which the fit has converged
_FIRST_DAMPING, _MAX_DAMPING = 1e-3, 1e6
_OUTLIER = OUTLIER_PIXELS / NOISE_PIXELS


class Model(Enum):
    """What the camera does beside nothing: it rotates, and may zoom or move. The value: parameters a frame."""

    ROTATION = 3
    ZOOM = 4
    TRANSLATION = 6


@dataclass
class KeyFrameTracks:
    """One key frame's corners in the m frames that share them."""

    frames: np.ndarray  # (m,) network frames
    points: np.ndarray  # (n, 2) pixels, in the key frame
    observations: np.ndarray  # (m, n, 2) pixels
    observed: np.ndarray  # (m, n) bool


@dataclass(frozen=True)
class Pose:
    """The camera's motion relative to a key frame, and the key frame's corners."""

    rotation: np.ndarray  # (m, 3, 3)
    translation: np.ndarray  # (m, 3) mean depths
    log_zoom: np.ndarray  # (m,) logarithm of the focal length over the key frame's
    inverse_depths: np.ndarray  # (n,)

    @property
    def zoom(self) -> np.ndarray:
        """The focal length (m,) over the key frame's."""
        return np.exp(self.log_zoom)


@dataclass(frozen=True)
class Fit:
    """The pose of least cost."""

    pose: Pose
    cost: float  # robust, of residuals in standard deviations
    parameters: int  # number of fitted parameters


@dataclass(frozen=True)
class _Projection:
    """The corners of a pose in the pictures, beside where they are observed."""

    rotated: np.ndarray  # (m, n, 3) rays of the key frame in each frame's axes
    projected: np.ndarray  # (m, n, 2) at a focal length of 1
    scale: np.ndarray  # (m, n, 1) standard deviations of a corner for a unit across the ray, mean depths
    residual: np.ndarray  # (m, n, 2) standard deviations
    squared: np.ndarray  # (m, n) squared residuals over the square of the robust cost's scale
    focal: np.ndarray  # (m, 1, 1) pixels


@dataclass(frozen=True)
class _Equations:
    """The normal equations of a step: of each frame, and of the inverse depths if these are fitted."""

    normal: np.ndarray  # (m, size, size)
    right_side: np.ndarray  # (m, size)
    depth_normal: np.ndarray  # (n,), or (0,) if depths are fixed
    depth_right_side: np.ndarray  # as depth_normal
    cross: np.ndarray  # (m * size, n) of frames and inverse depths

    def step(self, damping: float) -> tuple[np.ndarray, np.ndarray]:
        """The damped step of the frames (m, size) and of the inverse depths (n,), which is 0 where they are fixed."""
        count, size, _ = self.normal.shape
        damped = self.normal + damping * np.einsum("mii->mi", self.normal)[:, :, None] * np.eye(size)
        if not len(self.depth_normal):
            return np.linalg.solve(damped, self.right_side[..., None])[..., 0], np.zeros(1)
        blocks = np.zeros((count, size, count, size))
        blocks[np.arange(count), :, np.arange(count)] = damped
        depth_normal = self.depth_normal * (1 + damping)
        eliminated = self.cross / depth_normal
        step = np.linalg.solve(
            blocks.reshape(count * size, -1) - eliminated @ self.cross.T,
            self.right_side.ravel() - eliminated @ self.depth_right_side,
        )
        return step.reshape(count, size), (self.depth_right_side - self.cross.T @ step) / depth_normal


class _Bundle:
    """The cost of a model of the camera's motion for one key frame, and its derivatives."""

    def __init__(self, tracks: KeyFrameTracks, focal: float, model: Model, fit_depths: bool) -> None:
        self._tracks, self._focal, self._model, self._fit_depths = tracks, focal, model, fit_depths
        self._rays = np.column_stack([tracks.points / focal, np.ones(len(tracks.points))])

    def project(self, pose: Pose) -> _Projection:
        """Project the corners."""
        rotated = np.einsum("mij,nj->mni", pose.rotation, self._rays)
        point = rotated + pose.inverse_depths[:, None] * pose.translation[:, None]
        z = np.maximum(point[..., 2:], _NEAREST)
        projected = point[..., :2] / z
        focal = self._focal * pose.zoom[:, None, None]
        residual = (self._tracks.observations - focal * projected) / NOISE_PIXELS
        squared = (residual**2).sum(-1) / _OUTLIER**2
        return _Projection(rotated, projected, focal / z / NOISE_PIXELS, residual, squared, focal)

    def cost(self, pose: Pose, projection: _Projection) -> float:
        """The robust cost of the residuals, and of translations and inverse depths far from their means."""
        cost = _OUTLIER**2 * np.log1p(projection.squared)[self._tracks.observed].sum()
        if self._model is Model.TRANSLATION:
            depths = (pose.inverse_depths - 1) / _INVERSE_DEPTH_SD
            cost += (depths**2).sum() + ((pose.translation / TRANSLATION_SD) ** 2).sum()
        return float(cost)

    def equations(self, pose: Pose, projection: _Projection) -> _Equations:
        """The normal equations at a pose; each corner has the weight of the robust cost."""
        weight = self._tracks.observed / (1 + projection.squared)
        of_point = np.zeros((*weight.shape, 2, 3))  # derivatives of the projection by the point
        of_point[..., 0, 0] = of_point[..., 1, 1] = 1
        of_point[..., 2] = -projection.projected
        of_point *= projection.scale[..., None]
        jacobian = np.empty((*weight.shape, 2, self._model.value))
        jacobian[..., :3] = np.cross(projection.rotated[:, :, None], of_point)
        if self._model is Model.TRANSLATION:
            jacobian[..., 3:] = of_point * pose.inverse_depths[:, None, None]
        elif self._model is Model.ZOOM:
            jacobian[..., 3] = projection.focal * projection.projected / NOISE_PIXELS
        weighted = jacobian * weight[..., None, None]
        normal = np.einsum("mnki,mnkj->mij", weighted, jacobian)
        right_side = np.einsum("mnki,mnk->mi", weighted, projection.residual)
        if self._model is Model.TRANSLATION:
            normal[:, [3, 4, 5], [3, 4, 5]] += TRANSLATION_SD**-2
            right_side[:, 3:] -= pose.translation / TRANSLATION_SD**2
        if not self._fit_depths:
            return _Equations(normal, right_side, np.zeros(0), np.zeros(0), np.zeros((0, 0)))
        of_depth = np.einsum("mnkj,mj->mnk", of_point, pose.translation)
        depth_weight = weight[..., None] * of_depth
        return _Equations(
            normal,
            right_side,
            (weight[..., None] * of_depth**2).sum((0, 2)) + _INVERSE_DEPTH_SD**-2,
            (depth_weight * projection.residual).sum((0, 2)) - (pose.inverse_depths - 1) / _INVERSE_DEPTH_SD**2,
            np.einsum("mnki,mnk->min", weighted, of_depth).reshape(-1, weight.shape[1]),
        )

    def moved(self, pose: Pose, step: np.ndarray, depth_step: np.ndarray) -> Pose:
        """The pose after a step of the frames (m, size) and of the inverse depths (n,)."""
        return Pose(
            Rotation.from_rotvec(step[:, :3]).as_matrix() @ pose.rotation,
            pose.translation + step[:, 3:] if self._model is Model.TRANSLATION else pose.translation,
            pose.log_zoom + step[:, 3] if self._model is Model.ZOOM else pose.log_zoom,
            np.clip(pose.inverse_depths + depth_step, 0, _MAX_INVERSE_DEPTH),
        )


def adjust(
    tracks: KeyFrameTracks,
    focal: float,
    model: Model = Model.ROTATION,
    start: Pose | None = None,
    inverse_depths: np.ndarray | None = None,
) -> Fit:
    """Fit a model of the camera's motion to the tracks of a key frame's corners.

    focal: of the key frame, pixels. start: the pose from which the fit begins if it has the same frames, else that of
    the key frame; its zoom and depths are not used. inverse_depths (n,): fixed; else a model with translation fits
    them.
    """
    count, points = tracks.observed.shape
    fit_depths = model is Model.TRANSLATION and inverse_depths is None
    bundle = _Bundle(tracks, focal, model, fit_depths)
    rotation, translation = np.tile(np.eye(3), (count, 1, 1)), np.zeros((count, 3))
    if start is not None and len(start.rotation) == count:
        rotation = start.rotation
        translation = start.translation if model is Model.TRANSLATION else translation
    pose = Pose(rotation, translation, np.zeros(count), np.ones(points) if inverse_depths is None else inverse_depths)
    best, least, damping = pose, np.inf, _FIRST_DAMPING
    for _ in range(_MAX_STEPS):
        projection = bundle.project(pose)
        cost = bundle.cost(pose, projection)
        if cost < least:
            gain, best, least, damping = least - cost, pose, cost, damping / 4
            if gain < _LEAST_GAIN * least:
                break
            equations = bundle.equations(pose, projection)
        else:
            damping *= 8
            if damping > _MAX_DAMPING:
                break
        pose = bundle.moved(best, *equations.step(damping))
    return Fit(best, least, count * model.value + (points if fit_depths else 0))
