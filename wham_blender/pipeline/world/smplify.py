"""Temporal SMPLify: fits a placed motion to the 2D keypoints, with the camera fixed.

L-BFGS in two stages: first the root's translation and rotation, then all joints. The shape is fitted beforehand, on
frames of the whole clip. After Bogo et al., *Keep it SMPL*, ECCV 2016 (arXiv 1607.08128), and the refinement in the
supplement of WHAM (arXiv 2312.07531).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.fft import idct
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation
from smplx.lbs import batch_rodrigues
from torch import Tensor

from ...body.body import Body
from ...motion import planted, rotation_matrices
from ...skeleton import JOINT_NAMES
from ..people.types import is_confident
from ..pose.wham_inference import one_thread
from .placement import Placed, penetration_correction

WINDOW, OVERLAP = 192, 32  # frames of a window, and frames that two windows share; set by hand
_SHAPE_FRAMES = 96  # frames, spread over the clip, to which the shape is fitted; set by hand
_ITERATIONS = (12, 60)  # of L-BFGS: the root's stage and the stage of all joints; set by hand
_TYPICAL_STD = 0.04  # radians, about the mean of _JOINT_STDS
_LEVER = 0.3  # metres, a typical distance from a joint to the points that it moves
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


@dataclass
class Keypoints2D:
    """The 2D keypoints of one person, over the frames of a Placed."""

    keypoints: np.ndarray  # (F, 17, 3) COCO x, y in pixels and confidence
    boxes: np.ndarray  # (F, 3) cx, cy (pixels), s (200 pixels)
    camera_K: np.ndarray  # (3, 3) pixels


@one_thread()
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
    total = sum(len(span) for span in spans) + _SHAPE_FRAMES
    done = 0

    def report(fraction: float, frames: int) -> None:
        if progress:
            progress(round((done + fraction * frames) / total * count), count)

    betas = torch.from_numpy(placed.betas)
    spread = np.linspace(0, count - 1, min(count, _SHAPE_FRAMES)).round().astype(int)
    shape_window = _Window(placed, target, body, spread, terms, consecutive=False)
    correction = shape_window.fit(betas, lambda fraction: report(fraction, _SHAPE_FRAMES), shape=True)
    done += _SHAPE_FRAMES
    betas = betas if correction is None else correction.betas.cpu()

    rotations, translation, total_weight = np.zeros((count, 24, 3)), np.zeros((count, 3)), np.zeros((count, 1))
    for span in spans:
        window = _Window(placed, target, body, span, terms)
        correction = window.fit(betas, lambda fraction, span=span: report(fraction, len(span)))  # type: ignore[misc]
        weight = _window_weight(span, count)[:, None]
        total_weight[span] += weight
        if correction is not None:
            rotations[span] += weight[..., None] * correction.rotations.cpu().numpy()
            translation[span] += weight * correction.translation.cpu().numpy()
        done += len(span)
    rotations /= total_weight[..., None]
    translation /= total_weight
    before, after, lowest = 0.0, 0.0, np.zeros(count)
    for span in spans:
        window = _Window(placed, target, body, span, terms)
        with torch.no_grad():
            before += float(window.loss(window.no_correction()))
            correction = window.correction(rotations[span], translation[span], betas)
            after += float(window.loss(correction))
            lowest[span] = window.lowest_foot(correction)
    if not after < before:
        return placed
    translation[:, 2] += penetration_correction(lowest)
    return _corrected(placed, body, betas, rotations, translation)


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


class _NotFiniteError(Exception):
    """The objective is infinite or not a number."""


@dataclass
class _Correction:
    """What the fit adds to n frames: rotations in each joint's axes, a translation of the pelvis, and the new shape."""

    rotations: Tensor  # (n, 24, 3) axis-angle, radians
    translation: Tensor  # (n, 3) metres
    betas: Tensor  # (10,)


class _Window:
    """The frames that are fitted together, as tensors, and their objective."""

    def __init__(
        self, placed: Placed, target: Keypoints2D, body: Body, span: np.ndarray, terms: Terms, *,
        consecutive: bool = True,
    ) -> None:  # fmt: skip
        """span (n,): the frames; consecutive: they follow each other, so that terms over time apply."""
        device = body.smpl.v_template.device

        def tensor(values: np.ndarray) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(values, np.float32)).to(device)

        self.body, self.terms, self.consecutive = body, terms, consecutive and len(span) > 2
        self.rotations = tensor(rotation_matrices(placed.poses[span].reshape(-1, 24, 3)))
        self.pelvis = tensor(placed.trans[span] + placed.rest_joints[0])
        self.betas = tensor(placed.betas)
        self.camera_R, self.camera_t = tensor(placed.camera_R[span]), tensor(placed.camera_t[span])
        self.camera_K = tensor(target.camera_K)
        keypoints = target.keypoints[span]
        usable = is_confident(keypoints) & np.isfinite(keypoints).all(-1)
        self.keypoints = tensor(np.where(usable[..., None], keypoints[..., :2], 0))
        self.confidence = tensor(np.where(usable, keypoints[..., 2], 0))
        self.box_side = tensor(200.0 * target.boxes[span, 2]).clamp(min=1.0)
        down = planted(placed.contacts)[span]
        self.planted = tensor(down)
        self.stays_planted = tensor(down[1:] & down[:-1])
        self.joint_stds = terms.pose * tensor(np.array(list(_JOINT_STDS.values())))[:, None]
        up = body.smpl.v_template[:, 1].cpu().numpy() + body.smpl.shapedirs[:, 1].cpu().numpy() @ placed.betas
        directions = body.smpl.shapedirs[:, 1]
        self.stature_slope = directions[int(up.argmax())] - directions[int(up.argmin())]
        with torch.no_grad():
            joints, self.feet = self._points(self.no_correction())
            self.acceleration_stds = self._acceleration_stds(joints)

    def _acceleration_stds(self, joints: Tensor) -> Tensor:
        """Standard deviations (n - 2, 17, 1) of the points' acceleration, metres a frame squared.

        At least the terms', and as large as the acceleration that the keypoints or the motion given show: one size for
        all would halve the path of fast hands. joints (n, 17, 3): the points of the motion given.
        """
        depth = self._in_camera(joints)[..., 2:].clamp(min=_MIN_DEPTH)
        seen = torch.diff(self.keypoints, n=2, dim=0) * depth[1:-1] / self.camera_K[0, 0]
        confident = (self.confidence > 0)[..., None]
        seen = seen.norm(dim=-1, keepdim=True) * (confident[2:] & confident[1:-1] & confident[:-2])
        given = torch.diff(joints, n=2, dim=0).norm(dim=-1, keepdim=True)
        square = torch.maximum(seen, given) ** 2
        nearby = gaussian_filter1d(square.cpu().numpy(), _ACCELERATION_SPAN, axis=0, mode="nearest")
        even = self.terms.acceleration**2
        return (even + (torch.from_numpy(nearby).to(square) - even).clamp(min=0)).sqrt()

    def correction(self, rotations: np.ndarray, translation: np.ndarray, betas: Tensor) -> _Correction:
        """A correction from arrays."""
        like = self.pelvis
        return _Correction(torch.from_numpy(rotations).to(like), torch.from_numpy(translation).to(like), betas.to(like))

    def no_correction(self) -> _Correction:
        """The correction that changes nothing."""
        count = len(self.rotations)
        return _Correction(self.pelvis.new_zeros(count, 24, 3), self.pelvis.new_zeros(count, 3), self.betas)

    def _points(self, by: _Correction) -> tuple[Tensor, Tensor]:
        """COCO's points (n, 17, 3) and the foot points (n, 4, 3) in the world."""
        count = len(by.rotations)
        rotations = self.rotations @ batch_rodrigues(by.rotations.reshape(-1, 3)).view(count, 24, 3, 3)
        betas = by.betas.expand(count, -1)
        points = self.body.landmarks(rotations, betas)
        hips = points.offset + self.pelvis + by.translation - self.body.rest_joints(by.betas)[0]
        return points.joints[:, :17] + hips[:, None], points.feet + hips[:, None]

    def _in_camera(self, points: Tensor) -> Tensor:
        """Points (n, K, 3) of the world in camera axes."""
        return torch.einsum("nij,nkj->nki", self.camera_R, points) + self.camera_t[:, None]

    def lowest_foot(self, by: _Correction) -> np.ndarray:
        """Height (n,) of each frame's lowest foot point, metres."""
        return self._points(by)[1][..., 2].amin(1).cpu().numpy()

    def smooth_basis(self, size: float, change: float, lever: float) -> Tensor:
        """Cosines over the frames (n, n), scaled so that the prior of their coefficients is about a unit normal.

        A preconditioner: low frequencies may be large, high ones are small, and L-BFGS takes a few iterations where
        it would take hundreds frame by frame. size and change: standard deviations of the values and of their second
        differences; lever: metres that a foot or keypoint moves by a unit.
        """
        count = len(self.rotations)
        if not self.consecutive:
            return torch.eye(count, device=self.pelvis.device)
        frequency = np.arange(count)
        step = 2 - 2 * np.cos(np.pi * frequency / count)  # of the cosines' first differences, squared
        stiff = (size / change) ** 2 + (size * lever / self.terms.acceleration) ** 2
        planted_fraction = float(self.stays_planted.mean())
        held = planted_fraction * (size * lever / self.terms.slide) ** 2
        basis = idct(np.eye(count), axis=0, norm="ortho") / np.sqrt(1 + step**2 * stiff + step * held)
        return torch.from_numpy(basis).to(self.pelvis)

    def loss(self, by: _Correction) -> Tensor:
        """The objective: the sum of all terms, each the square of a residual over its standard deviation."""
        terms = self.terms
        joints, feet = self._points(by)
        projected = torch.einsum("ij,nkj->nki", self.camera_K, self._in_camera(joints))
        off = projected[..., :2] / projected[..., 2:].clamp(min=_MIN_DEPTH) - self.keypoints
        square = (off**2).sum(-1) / (terms.keypoint * self.box_side)[:, None] ** 2
        total = (self.confidence * square / (1 + square / terms.outlier**2)).sum()
        total = total + ((by.rotations[:, _FITTED_JOINTS] / self.joint_stds) ** 2).sum()
        total = total + ((by.translation / terms.translation) ** 2).sum()
        total = total + (self.planted * ((feet - self.feet)[..., 2] / terms.height) ** 2).sum()
        if self.consecutive:
            total = total + (torch.diff(by.rotations, n=2, dim=0) ** 2).sum() / terms.pose_change**2
            total = total + (torch.diff(by.translation, n=2, dim=0) ** 2).sum() / terms.translation_change**2
            total = total + ((torch.diff(joints, n=2, dim=0) / self.acceleration_stds) ** 2).sum()
            slide = (torch.diff(feet, dim=0) ** 2).sum(-1) / terms.slide**2
            total = total + (self.stays_planted * slide / (1 + slide / terms.slide_outlier**2)).sum()
        change = by.betas - self.betas
        fraction = len(joints) / _SHAPE_FRAMES
        total = total + fraction * ((change / terms.shape) ** 2).sum()
        return total + fraction * _SHAPE_FRAMES * ((self.stature_slope @ change) / terms.stature) ** 2

    def fit(self, betas: Tensor, report: Callable[[float], None], *, shape: bool = False) -> _Correction | None:
        """The correction with the lowest objective for the shape ``betas`` (10,), or with ``shape`` of pose and shape.

        None if no correction lowers the objective. report is called with the fraction done, 0..1.
        """
        parameters = _Parameters(self, betas)
        with torch.no_grad():
            before = float(self.loss(parameters.correction()))
        if not np.isfinite(before):
            return None
        best, best_values = before, parameters.values()
        stages = ("translation", "root"), ("translation", "root", "joints", *(("betas",) if shape else ()))
        evaluations = 0

        def closure() -> Tensor:
            nonlocal best, best_values, evaluations
            parameters.zero_grad()
            loss = self.loss(parameters.correction())
            loss.backward()
            value = float(loss.detach())
            if not np.isfinite(value):
                raise _NotFiniteError
            if value < best:
                best, best_values = value, parameters.values()
            evaluations += 1
            report(min(1.0, evaluations / (1.2 * sum(_ITERATIONS))))
            return loss

        for names, iterations in zip(stages, _ITERATIONS, strict=True):
            free = parameters.free(best_values, names)
            with suppress(_NotFiniteError):  # the best values so far are kept
                lbfgs = _LBFGS(free, max_iter=iterations, history_size=20, line_search_fn="strong_wolfe")
                lbfgs.step(closure)
        if not best < before:
            return None
        parameters.free(best_values, ())
        return parameters.correction()


class _LBFGS(torch.optim.LBFGS):
    """PyTorch's L-BFGS without the import of PyTorch's compiler.

    A wrapper around this method imports it at the first call: most of the time of a process's first fit.
    """

    add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)


class _Parameters:
    """A correction as numbers of about unit size, which L-BFGS needs to converge."""

    def __init__(self, window: _Window, betas: Tensor) -> None:
        terms, start = window.terms, window.no_correction()
        self._rotation_basis = window.smooth_basis(terms.pose * _TYPICAL_STD, terms.pose_change, _LEVER)
        self._translation_basis = terms.translation * window.smooth_basis(
            terms.translation, terms.translation_change, 1.0
        )
        self._joint_stds, self._shape_std = window.joint_stds, terms.shape
        self._joints = torch.tensor(_FITTED_JOINTS, device=start.rotations.device)
        self._values = {
            "translation": start.translation,
            "root": start.rotations[:, :1],  # the pelvis is the first of _FITTED_JOINTS
            "joints": start.rotations[:, : len(_FITTED_JOINTS) - 1],
            "betas": betas.to(start.translation) / terms.shape,
        }

    def free(self, values: dict[str, Tensor], names: Sequence[str]) -> list[Tensor]:
        """Set all parameters to values; those of ``names`` are returned, as leaves with gradients."""
        self._values = {name: value.clone().requires_grad_(name in names) for name, value in values.items()}
        return [self._values[name] for name in names]

    def values(self) -> dict[str, Tensor]:
        """Copies of all parameters."""
        return {name: value.detach().clone() for name, value in self._values.items()}

    def zero_grad(self) -> None:
        """Drop the gradients of the last evaluation."""
        for value in self._values.values():
            value.grad = None

    def correction(self) -> _Correction:
        """The correction that the parameters stand for."""
        fitted = torch.cat([self._values["root"], self._values["joints"]], 1)
        fitted = (self._rotation_basis @ fitted.flatten(1)).view_as(fitted) * self._joint_stds
        rotations = fitted.new_zeros(len(fitted), 24, 3).index_copy(1, self._joints, fitted)
        translation = self._translation_basis @ self._values["translation"]
        return _Correction(rotations, translation, self._values["betas"] * self._shape_std)


def _corrected(placed: Placed, body: Body, betas: Tensor, rotations: np.ndarray, translation: np.ndarray) -> Placed:
    poses = Rotation.from_rotvec(placed.poses.reshape(-1, 3)) * Rotation.from_rotvec(rotations.reshape(-1, 3))
    rest = body.rest_joints(betas.to(body.smpl.v_template.device)).cpu().numpy()
    pelvis = placed.trans + placed.rest_joints[0] + translation
    return replace(
        placed,
        poses=poses.as_rotvec().reshape(-1, 72).astype(np.float32),
        trans=(pelvis - rest[0]).astype(np.float32),
        betas=betas.numpy(),
        rest_joints=rest,
    )
