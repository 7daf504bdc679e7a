"""Temporal SMPLify: fits a placed motion to the 2D keypoints, with the camera fixed.

Gauss-Newton with analytic Jacobians. Terms couple a frame with the next two at most, so the normal equations are a
narrow band and the cost is linear in the frames. The shape is fitted beforehand, on frames of the whole clip. After
Bogo et al., *Keep it SMPL*, ECCV 2016 (arXiv 1607.08128), and the refinement in the supplement of WHAM (arXiv
2312.07531).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.linalg.lapack import dtrtri
from scipy.ndimage import gaussian_filter1d

from ...body.body import Body
from ...body.kinematics import PointKinematics, PosedPoints, rotation_vector_jacobian
from ...motion import planted, rotation_matrices
from ...skeleton import COCO_NAMES, JOINT_NAMES
from ..people.types import is_confident
from .placement import Placed, penetration_correction, rotation_vectors

WINDOW, OVERLAP = 192, 32  # frames of a window, and frames that two windows share; set by hand
_SHAPE_FRAMES = 96  # frames, spread over the clip, to which the shape is fitted; set by hand
_ITERATIONS = 12  # at most; set by hand
_TOLERANCE = 5e-4  # decrease of the objective, as a fraction of it, below which the iteration ends; set by hand
_HALVINGS = 6  # of a step that does not lower the objective; set by hand
_ACCELERATION_SPAN = 2.0  # frames, standard deviation, over which the acceleration seen is averaged; set by hand
_MIN_DEPTH = 0.3  # metres before the camera: a projection of nearer points would have huge derivatives


@dataclass(frozen=True)
class Terms:
    """Standard deviations of the objective's terms, scaled for errors that are alike in neighbouring frames.

    Chosen on held-out motion capture seen by virtual cameras, with seed 0 (``build.py bench smplify``).
    """

    keypoint: float = 0.02  # in the picture, as a fraction of the bounding box's side
    outlier: float = 3.0  # times `keypoint`: beyond it a keypoint loses weight (Geman-McClure's sigma)
    pose: float = 1.0  # times each joint's (_JOINT_STDS)
    translation: float = 0.1  # metres
    pose_change: float = 0.02  # radians a frame squared, of the correction
    translation_change: float = 0.004  # metres a frame squared, of the correction
    acceleration: float = 0.005  # metres a frame squared, of the body's points, where they are seen to move evenly
    slide: float = 0.003  # metres a frame that a planted foot point moves
    slide_outlier: float = 5.0  # times `slide`: beyond it a contact loses weight
    height: float = 0.08  # metres of a planted foot point from its height before the fit
    shape: float = 0.1  # betas
    stature: float = 0.01  # metres: the picture alone does not give a person's height


# Radians by which a joint is corrected, standard deviation; chosen with `Terms`. Joints that COCO's keypoints do not
# show are left out: they keep their pose.
_JOINT_STDS = {
    "pelvis": 0.12, "spine1": 0.012, "spine2": 0.012, "spine3": 0.012, "neck": 0.02, "head": 0.02,
    "left_collar": 0.012, "right_collar": 0.012, "left_shoulder": 0.04, "right_shoulder": 0.04,
    "left_elbow": 0.04, "right_elbow": 0.04, "left_hip": 0.03, "right_hip": 0.03, "left_knee": 0.03,
    "right_knee": 0.03, "left_ankle": 0.02, "right_ankle": 0.02,
}  # fmt: skip
_FITTED_JOINTS = [JOINT_NAMES.index(name) for name in _JOINT_STDS]
_JOINTS, _FEET = slice(len(COCO_NAMES)), slice(len(COCO_NAMES), None)  # among the points
_DIFFERENCES = {0: (1,), 1: (-1, 1), 2: (1, -2, 1)}  # coefficients of the differences over time, by their order


@dataclass
class Keypoints2D:
    """The 2D keypoints of one person, over the frames of a Placed."""

    keypoints: np.ndarray  # (F, 17, 3) COCO x, y in pixels and confidence
    boxes: np.ndarray  # (F, 3) cx, cy (pixels), s (200 pixels)
    camera_K: np.ndarray  # (3, 3) pixels


def fit_to_keypoints(
    placed: Placed,
    target: Keypoints2D,
    body: Body,
    progress: Callable[[int, int], None] | None = None,
    terms: Terms | None = None,
) -> Placed:
    """The motion that minimises the objective of ``Terms``: keypoints, contacts, smoothness and the motion given.

    Runs window by window, so memory does not grow with the clip. If the objective does not decrease or is not finite,
    the motion is returned unchanged. progress is called with the frames done and their number.
    """
    terms = terms or Terms()
    count = len(placed.poses)
    spans = list(_windows(count))
    total = sum(map(len, spans)) + _SHAPE_FRAMES
    done = 0

    def report(fraction: float, frames: int) -> None:
        if progress:
            progress(round((done + fraction * frames) / total * count), count)

    spread = np.linspace(0, count - 1, min(count, _SHAPE_FRAMES)).round().astype(int)
    shape_window = _Window(placed, target, body, spread, terms, consecutive=False)
    correction = shape_window.fit(placed.betas, lambda fraction: report(fraction, _SHAPE_FRAMES), shape=True)
    betas = placed.betas if correction is None else correction.betas
    done += _SHAPE_FRAMES

    changes, total_weight = np.zeros((count, len(_FITTED_JOINTS) + 1, 3)), np.zeros((count, 1, 1))
    for span in spans:
        window = _Window(placed, target, body, span, terms)
        correction = window.fit(betas, lambda fraction, span=span: report(fraction, len(span)))  # type: ignore[misc]
        weight = _window_weight(span, count)[:, None, None]
        total_weight[span] += weight
        if correction is not None:
            changes[span] += weight * correction.changes
        done += len(span)
    changes /= total_weight
    before, after, lowest = 0.0, 0.0, np.zeros(count)
    for span in spans:
        window = _Window(placed, target, body, span, terms)
        before += window.evaluate(window.no_correction()).value
        joined = window.evaluate(_Correction(changes[span], betas))
        after += joined.value
        lowest[span] = joined.posed.points[:, _FEET, 2].min(1)
    if not after < before:
        return placed
    changes[:, -1, 2] += penetration_correction(lowest)
    return _corrected(placed, body, _Correction(changes, betas))


def _windows(count: int) -> Iterator[np.ndarray]:
    """Frames of windows, each of which shares OVERLAP frames with the next."""
    begin = 0
    while True:
        end = begin + WINDOW
        if end + OVERLAP >= count:
            yield np.arange(begin, count)
            return
        yield np.arange(begin, end)
        begin = end - OVERLAP


def _window_weight(span: np.ndarray, count: int) -> np.ndarray:
    """Weight (n,) of a window's frames in the mean of two windows: a linear cross-fade where they overlap."""
    ramp = (np.arange(OVERLAP) + 1) / (OVERLAP + 1)
    weight = np.ones(len(span))
    if span[0] > 0:
        weight[:OVERLAP] = ramp
    if span[-1] < count - 1:
        weight[-OVERLAP:] = ramp[::-1]
    return weight


@dataclass
class _Correction:
    """What the fit adds to n frames, and the new shape."""

    changes: np.ndarray  # (n, 19, 3): axis-angle of _FITTED_JOINTS in their own axes, then the translation in metres
    betas: np.ndarray  # (10,)


class _SumOfSquares:
    """A sum of squares of R vectors in n frames, with half its gradient and half its Hessian by Gauss-Newton.

    The Hessian couples a vector with itself and with the same vector in the next two frames.
    """

    def __init__(self, count: int, vectors: int) -> None:
        self.value = 0.0
        self.gradient = np.zeros((count, vectors, 3))
        self.own = np.zeros((count, vectors, 3, 3))  # the Hessian's part that is no multiple of the identity
        self.coupled = np.zeros((3, count, vectors))  # by frames apart, in the earlier one: multiples of the identity

    def add(self, vectors: np.ndarray, which: slice, std: np.ndarray, order: int = 0, outlier: float = np.inf) -> None:
        """Add the differences over time of the vectors (n, r, 3) that are at ``which`` of the R.

        std (n - order, r): their standard deviations; outlier: times these, beyond it a difference loses weight.
        """
        difference = np.diff(vectors, order, axis=0)
        weight = self._add(((difference / std[..., None]) ** 2).sum(-1), 1.0, outlier) / std**2
        for first, factor in enumerate(_DIFFERENCES[order]):
            rows = slice(first, first + len(difference))
            self.gradient[rows, which] += (factor * weight)[..., None] * difference
            for apart, other in enumerate(_DIFFERENCES[order][first:]):
                self.coupled[apart, rows, which] += factor * other * weight

    def add_residuals(
        self, residuals: np.ndarray, jacobian: np.ndarray, which: slice, weight: np.ndarray, outlier: float = np.inf
    ) -> None:
        """Add residuals (n, r, k), in standard deviations, with weights (n, r).

        jacobian (n, r, k, 3): their derivatives by the vectors at ``which``; outlier: as in `add`.
        """
        weight = self._add((residuals**2).sum(-1), weight, outlier)
        weighted = weight[..., None, None] * jacobian
        self.gradient[:, which] += (weighted * residuals[..., None]).sum(-2)
        self.own[:, which] += weighted.mT @ jacobian

    def within_frames(self) -> np.ndarray:
        """Half the Hessian (n, R, 3, 3) of each vector by itself."""
        return self.own + self.coupled[0, ..., None, None] * np.eye(3)

    def _add(self, square: np.ndarray, weight: np.ndarray | float, outlier: float) -> np.ndarray:
        """Add Geman-McClure's function of the squares; returns its derivative by them, their weight in the Hessian."""
        ratio = 1 + square / outlier**2
        self.value += float((weight * square / ratio).sum())
        return weight / ratio**2


@dataclass
class _Evaluation:
    """The objective at a correction."""

    correction: _Correction
    posed: PosedPoints
    of_points: _SumOfSquares  # the terms of the 21 points
    of_changes: _SumOfSquares  # the terms of the correction's changes
    value: float


class _Window:
    """The frames that are fitted together, and their objective."""

    def __init__(
        self, placed: Placed, target: Keypoints2D, body: Body, span: np.ndarray, terms: Terms, *,
        consecutive: bool = True,
    ) -> None:  # fmt: skip
        """span (n,): the frames; consecutive: they follow each other, so that terms over time apply."""
        self.terms, self.consecutive = terms, consecutive and len(span) > 2
        self.rotations = rotation_matrices(placed.poses[span].reshape(-1, 24, 3))
        self.kinematics = PointKinematics(body, self.rotations, _FITTED_JOINTS)
        self.pelvis = (placed.trans[span] + placed.rest_joints[0]).astype(np.float64)
        self.betas = placed.betas.astype(np.float64)
        self.camera_R, self.camera_t = placed.camera_R[span].astype(np.float64), placed.camera_t[span]
        self.camera_K = target.camera_K
        keypoints = target.keypoints[span]
        usable = is_confident(keypoints) & np.isfinite(keypoints).all(-1)
        self.keypoints = np.where(usable[..., None], keypoints[..., :2], 0.0)
        self.confidence = np.where(usable, keypoints[..., 2], 0.0)
        self.keypoint_stds = terms.keypoint * np.maximum(200.0 * target.boxes[span, 2], 1.0)[:, None, None]
        down = planted(placed.contacts)[span]
        self.height_stds = np.where(down, terms.height, np.inf)
        self.slide_stds = np.where(down[1:] & down[:-1], terms.slide, np.inf)
        joint_stds = terms.pose * np.array(list(_JOINT_STDS.values()))
        self.change_stds = np.append(joint_stds, terms.translation)
        self.second_change_stds = np.append(np.full(len(joint_stds), terms.pose_change), terms.translation_change)
        # The shape's change counts as in _SHAPE_FRAMES frames, however many there are; the stature's in each frame.
        by_shape = np.eye(len(self.betas)) / (terms.shape * np.sqrt(_SHAPE_FRAMES))
        by_stature = body.height_and_slope(placed.betas)[1] / terms.stature
        self.shape_rows = np.sqrt(len(span)) * np.vstack([by_shape, by_stature])
        points = self._posed(self.no_correction()).points
        self.feet = points[:, _FEET]
        self.acceleration_stds = self._acceleration_stds(points[:, _JOINTS])

    def _acceleration_stds(self, joints: np.ndarray) -> np.ndarray:
        """Standard deviations (n - 2, 17) of the points' acceleration, metres a frame squared.

        At least the terms', and as large as the acceleration that the keypoints or the motion given show: one size for
        all would halve the path of fast hands. joints (n, 17, 3): the points of the motion given.
        """
        if not self.consecutive:
            return np.zeros((0, joints.shape[1]))
        depth = np.maximum(self._in_camera(joints)[..., 2:], _MIN_DEPTH)
        seen = np.diff(self.keypoints, n=2, axis=0) * depth[1:-1] / self.camera_K[0, 0]
        confident = self.confidence > 0
        seen = np.linalg.norm(seen, axis=-1) * (confident[2:] & confident[1:-1] & confident[:-2])
        given = np.linalg.norm(np.diff(joints, n=2, axis=0), axis=-1)
        nearby = gaussian_filter1d(np.maximum(seen, given) ** 2, _ACCELERATION_SPAN, axis=0, mode="nearest")
        return np.sqrt(np.maximum(nearby, self.terms.acceleration**2))

    def no_correction(self) -> _Correction:
        """The correction that changes nothing."""
        return _Correction(np.zeros((len(self.rotations), len(_FITTED_JOINTS) + 1, 3)), self.betas)

    def _posed(self, by: _Correction) -> PosedPoints:
        """The points of the corrected motion in the world."""
        local = self.rotations.copy()
        local[:, _FITTED_JOINTS] @= rotation_matrices(by.changes[:, :-1])
        return self.kinematics.pose(local, self.pelvis + by.changes[:, -1], by.betas)

    def _in_camera(self, points: np.ndarray) -> np.ndarray:
        """Points (n, K, 3) of the world in camera axes."""
        return points @ self.camera_R.mT + self.camera_t[:, None]

    def evaluate(self, by: _Correction) -> _Evaluation:
        """The objective: the sum of all terms, each the square of a residual over its standard deviation."""
        terms, posed = self.terms, self._posed(by)
        joints, feet = posed.points[:, _JOINTS], posed.points[:, _FEET]
        of_points = _SumOfSquares(*posed.points.shape[:2])
        of_changes = _SumOfSquares(*by.changes.shape[:2])
        off, jacobian = self._reprojection(joints)
        of_points.add_residuals(off, jacobian, _JOINTS, self.confidence, terms.outlier)
        rise = (feet - self.feet)[..., 2:] / self.height_stds[..., None]
        upward = np.array([0, 0, 1.0]) / self.height_stds[..., None, None]
        of_points.add_residuals(rise, upward, _FEET, np.ones_like(self.height_stds))
        of_changes.add(by.changes, slice(None), self.change_stds)
        if self.consecutive:
            of_changes.add(by.changes, slice(None), self.second_change_stds, 2)
            of_points.add(joints, _JOINTS, self.acceleration_stds, 2)
            of_points.add(feet, _FEET, self.slide_stds, 1, terms.slide_outlier)
        of_shape = float(((self.shape_rows @ (by.betas - self.betas)) ** 2).sum())
        return _Evaluation(by, posed, of_points, of_changes, of_points.value + of_changes.value + of_shape)

    def _reprojection(self, joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How far the projected points (n, 17, 3) are from the keypoints, and the derivatives by the points.

        (n, 17, 2) and (n, 17, 2, 3), both in the keypoints' standard deviations.
        """
        in_camera = self._in_camera(joints)
        depth = np.maximum(in_camera[..., 2:], _MIN_DEPTH)
        projected = (in_camera @ self.camera_K.T)[..., :2] / depth
        by_depth = np.where(in_camera[..., 2:] > _MIN_DEPTH, projected, 0.0)[..., None] * np.array([0, 0, 1.0])
        jacobian = (self.camera_K[:2] - by_depth) / depth[..., None] @ self.camera_R[:, None]
        return (projected - self.keypoints) / self.keypoint_stds, jacobian / self.keypoint_stds[..., None]

    def fit(self, betas: np.ndarray, report: Callable[[float], None], *, shape: bool = False) -> _Correction | None:
        """The correction with the lowest objective for the shape ``betas`` (10,), or with ``shape`` of pose and shape.

        None if no correction lowers the objective. report is called with the fraction done, 0..1.
        """
        before = best = self.evaluate(_Correction(self.no_correction().changes, betas.astype(np.float64)))
        for iteration in range(_ITERATIONS):
            report(iteration / _ITERATIONS)
            last, best = best, self._improved(best, shape=shape)
            if not last.value - best.value > _TOLERANCE * last.value:
                break
        report(1.0)
        return best.correction if best.value < before.value else None

    def _improved(self, at: _Evaluation, *, shape: bool) -> _Evaluation:
        """The objective after a step of Gauss-Newton, shortened until it is lower; unchanged if it never is."""
        if not np.isfinite(at.value):
            return at
        try:
            changes, betas = self._step(at, shape=shape)
        except np.linalg.LinAlgError:  # the numbers are so large that the matrix is singular
            return at
        for halving in range(_HALVINGS):
            size = 0.5**halving
            by = _Correction(at.correction.changes - size * changes, at.correction.betas - size * betas)
            candidate = self.evaluate(by)
            if candidate.value < at.value:
                return candidate
        return at

    def _step(self, at: _Evaluation, *, shape: bool) -> tuple[np.ndarray, np.ndarray]:
        """Gauss-Newton's step, to be subtracted: of the changes (n, 19, 3), and of the betas (10,), 0 without shape."""
        jacobian = self._jacobian(at)
        blocks, gradient = self._normal_equations(at, jacobian)
        if not shape:
            changes = _solve_banded(blocks, gradient[..., None])
            return changes.reshape(at.correction.changes.shape), np.zeros_like(self.betas)
        # The shape's columns border the band: the Schur complement eliminates all others.
        by_betas = self.kinematics.by_betas(at.posed)
        weighted = (at.of_points.within_frames() @ by_betas).reshape(*jacobian.shape[:2], -1)
        by_betas = by_betas.reshape(weighted.shape)
        border = jacobian.mT @ weighted
        corner = (by_betas.mT @ weighted).sum(0) + self.shape_rows.T @ self.shape_rows
        of_betas = np.einsum("nrb,nr->b", by_betas, at.of_points.gradient.reshape(weighted.shape[:2]))
        of_betas += self.shape_rows.T @ (self.shape_rows @ (at.correction.betas - self.betas))
        solved = _solve_banded(blocks, np.concatenate([gradient[..., None], border], -1))
        eliminated = np.einsum("ndb,ndc->bc", border, solved)
        betas = np.linalg.solve(corner - eliminated[:, 1:], of_betas - eliminated[:, 0])
        changes = solved[..., 0] - solved[..., 1:] @ betas
        return changes.reshape(at.correction.changes.shape), betas

    def _jacobian(self, at: _Evaluation) -> np.ndarray:
        """Derivatives (n, 63, 57) of the points by the changes."""
        vectors = at.correction.changes[:, :-1]
        by_rotations = self.kinematics.by_rotations(at.posed, rotation_vector_jacobian(vectors))
        by_translation = np.broadcast_to(np.eye(3)[:, None], (*by_rotations.shape[:3], 1, 3))
        jacobian = np.concatenate([by_rotations, by_translation], 3)
        return jacobian.reshape(len(jacobian), 3 * jacobian.shape[1], -1)

    def _normal_equations(self, at: _Evaluation, jacobian: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
        """Half the Hessian in blocks (n - k, 57, 57) of frames k = 0, 1, 2 apart, and half the gradient (n, 57)."""
        count, rows, size = jacobian.shape
        points, changes = at.of_points, at.of_changes
        by_point = jacobian.reshape(count, -1, 3, size)
        gradient = (points.gradient.reshape(count, 1, rows) @ jacobian)[:, 0] + changes.gradient.reshape(count, size)
        diagonal = np.arange(size)
        blocks = []
        for apart in range(3 if self.consecutive else 1):
            if apart == 0:
                weighted = points.within_frames() @ by_point
            else:
                weighted = points.coupled[apart, : count - apart, :, None, None] * by_point[apart:]
            block = jacobian[: count - apart].mT @ weighted.reshape(-1, rows, size)
            block[:, diagonal, diagonal] += np.repeat(changes.coupled[apart, : count - apart], 3, axis=1)
            blocks.append(block)
        return blocks, gradient


def _solve_banded(blocks: list[np.ndarray], right: np.ndarray) -> np.ndarray:
    """The solution (n, D, c) of a symmetric positive definite system with the right sides (n, D, c).

    blocks: (n - k, D, D) for k = 0 or for k = 0, 1, 2: rows of frame t, columns of frame t + k. Raises LinAlgError if
    the system is not positive definite.

    A Cholesky factorization frame by frame, and not SciPy's `solveh_banded`: products of D x D are too small for
    OpenBLAS to split between threads, which wait for each other in a loop. Where other programs keep one of two cores
    busy, the banded factorization takes a hundred times as long.
    """
    if len(blocks) == 1:
        return np.linalg.solve(blocks[0], right)
    count, size, sides = right.shape
    own, next_one, next_two = blocks
    inverse = np.empty_like(own)  # of the factor's diagonal blocks
    below_one, below_two = np.zeros((2, count + 2, size, size))  # the factor's, in the frames of their rows
    solution = np.zeros((count + 2, size, sides))  # rows count and count + 1, which are -1 and -2, stay zeros
    for frame in range(count):
        one, two = below_one[frame], below_two[frame]
        factor = np.linalg.cholesky(own[frame] - one @ one.T - two @ two.T)
        inverse[frame] = dtrtri(factor, lower=1)[0]
        known = right[frame] - one @ solution[frame - 1] - two @ solution[frame - 2]
        solution[frame] = inverse[frame] @ known
        if frame + 1 < count:
            below_one[frame + 1] = (next_one[frame].T - below_two[frame + 1] @ one.T) @ inverse[frame].T
        if frame + 2 < count:
            below_two[frame + 2] = next_two[frame].T @ inverse[frame].T
    for frame in reversed(range(count)):
        later = below_one[frame + 1].T @ solution[frame + 1] + below_two[frame + 2].T @ solution[frame + 2]
        solution[frame] = inverse[frame].T @ (solution[frame] - later)
    return solution[:count]


def _corrected(placed: Placed, body: Body, by: _Correction) -> Placed:
    poses = rotation_matrices(placed.poses.reshape(-1, 24, 3))
    poses[:, _FITTED_JOINTS] @= rotation_matrices(by.changes[:, :-1])
    betas = by.betas.astype(np.float32)
    rest = body.rest_joints(torch.from_numpy(betas).to(body.smpl.v_template.device)).cpu().numpy()
    pelvis = placed.trans + placed.rest_joints[0] + by.changes[:, -1]
    return replace(
        placed,
        poses=rotation_vectors(poses).astype(np.float32),
        trans=(pelvis - rest[0]).astype(np.float32),
        betas=betas,
        rest_joints=rest,
    )
