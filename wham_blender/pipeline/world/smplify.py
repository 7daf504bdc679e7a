"""Temporal SMPLify: bends a placed motion until the body projects onto the keypoints that were seen.

Two stages of L-BFGS under a camera that is known: first only where the body stands and faces, then every joint. Shape
is found on frames of the whole clip beforehand. After Bogo et al., *Keep it SMPL*, ECCV 2016 (arXiv 1607.08128), and
the refinement in the supplement of WHAM (arXiv 2312.07531); the weights were chosen on held-out motion capture seen by
virtual cameras (``build.py bench refine``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.fft import idct
from scipy.spatial.transform import Rotation
from smplx.lbs import batch_rodrigues
from torch import Tensor

from ...body.body import Body
from ...motion import planted, rotation_matrices
from ...skeleton import JOINT_NAMES
from ..people.types import counted
from ..pose.wham_inference import one_thread
from .placement import Placed, out_of_the_floor

WINDOW, OVERLAP = 192, 32  # frames fitted together, and those that two windows share
_SHAPE_FRAMES = 96  # frames, spread over the clip, that tell the shape
_STEPS = (12, 60)  # of L-BFGS: the camera's stage and the stage of everything
_USUAL = 0.04  # radians that a joint is off, about
_LEVER = 0.3  # metres from a joint to the points that it moves, about
_NEAREST = 0.3  # metres before the camera, where a projection still makes sense


@dataclass(frozen=True)
class Terms:
    """How far each kind of evidence is off, as standard deviations; a frame's evidence repeats itself in the next."""

    keypoint: float = 0.02  # of the box's side, across the picture
    outlier: float = 3.0  # in those: from here on a keypoint is believed less (Geman and McClure's sigma)
    pose: float = 1.0  # times each joint's own (_JOINTS)
    place: float = 0.1  # metres
    pose_change: float = 0.02  # radians a frame squared, of the correction
    place_change: float = 0.004  # metres a frame squared, of the correction
    acceleration: float = 0.005  # metres a frame squared, of the body's points
    slide: float = 0.003  # metres a frame that a planted foot point moves
    slide_outlier: float = 5.0  # in those: from here on a contact is believed less
    height: float = 0.08  # metres of a planted foot point from where it was
    shape: float = 0.1  # betas
    stature: float = 0.01  # metres: a picture does not tell how tall somebody is


# Radians that a joint is off at first. What COCO's points do not show stays as it is.
_JOINTS = {
    "pelvis": 0.12, "spine1": 0.012, "spine2": 0.012, "spine3": 0.012, "neck": 0.02, "head": 0.02,
    "left_collar": 0.012, "right_collar": 0.012, "left_shoulder": 0.04, "right_shoulder": 0.04,
    "left_elbow": 0.04, "right_elbow": 0.04, "left_hip": 0.03, "right_hip": 0.03, "left_knee": 0.03,
    "right_knee": 0.03, "left_ankle": 0.02, "right_ankle": 0.02,
}  # fmt: skip
_FREE = [JOINT_NAMES.index(name) for name in _JOINTS]


@dataclass
class Seen:
    """What the picture shows of one person, over the frames of a Placed."""

    keypoints: np.ndarray  # (F, 17, 3) COCO x, y in pixels and confidence
    boxes: np.ndarray  # (F, 3) cx, cy (pixels), s (200 pixels)
    camera_K: np.ndarray  # (3, 3) pixels


@one_thread()
def refine(
    placed: Placed,
    seen: Seen,
    body: Body,
    progress: Callable[[int, int], None] | None = None,
    terms: Terms | None = None,
) -> Placed:
    """The motion whose body agrees best with keypoints, contacts and with how it was, by ``Terms``.

    Runs window by window, so memory does not grow with the clip. Where nothing better is found, or no finite
    number, the motion stays as it was. progress is told the frames done, of how many.
    """
    terms = terms or Terms()
    count = len(placed.poses)
    spans = list(_windows(count))
    total = sum(len(span) for span in spans) + _SHAPE_FRAMES
    done = 0

    def tell(share: float, frames: int) -> None:
        if progress:
            progress(round((done + share * frames) / total * count), count)

    betas = torch.from_numpy(placed.betas)
    spread = np.linspace(0, count - 1, min(count, _SHAPE_FRAMES)).round().astype(int)
    shaped = _Window(placed, seen, body, spread, terms, steady=False)
    found = shaped.fit(betas, lambda share: tell(share, _SHAPE_FRAMES), shape=True)
    done += _SHAPE_FRAMES
    betas = betas if found is None else found.betas.cpu()

    turns, shift, weight = np.zeros((count, 24, 3)), np.zeros((count, 3)), np.zeros((count, 1))
    for span in spans:
        window = _Window(placed, seen, body, span, terms)
        found = window.fit(betas, lambda share, span=span: tell(share, len(span)))  # type: ignore[misc]
        share = _fade(span, count)[:, None]
        weight[span] += share
        if found is not None:
            turns[span] += share[..., None] * found.turns.cpu().numpy()
            shift[span] += share * found.shift.cpu().numpy()
        done += len(span)
    turns /= weight[..., None]
    shift /= weight
    before, after, lowest = 0.0, 0.0, np.zeros(count)
    for span in spans:
        window = _Window(placed, seen, body, span, terms)
        with torch.no_grad():
            before += float(window.loss(window.nothing()))
            found = window.correction(turns[span], shift[span], betas)
            after += float(window.loss(found))
            lowest[span] = window.lowest_foot(found)
    if not after < before:
        return placed
    shift[:, 2] += out_of_the_floor(lowest)
    return _corrected(placed, body, betas, turns, shift)


def _windows(count: int) -> Iterator[np.ndarray]:
    """Rows of windows that share OVERLAP frames with the next."""
    begin = 0
    while True:
        end = begin + WINDOW
        if end + OVERLAP >= count:
            yield np.arange(begin, count)
            return
        yield np.arange(begin, end)
        begin = end - OVERLAP


def _fade(span: np.ndarray, count: int) -> np.ndarray:
    """Each frame's weight (n,) in the mean of two windows: linear where they overlap."""
    steps = (np.arange(OVERLAP) + 1) / (OVERLAP + 1)
    weight = np.ones(len(span))
    if span[0] > 0:
        weight[:OVERLAP] = steps
    if span[-1] < count - 1:
        weight[-OVERLAP:] = steps[::-1]
    return weight


class _Broken(Exception):
    """A number that is not finite turned up."""


@dataclass
class _Correction:
    """What is added to n frames: turns in each joint's own axes, metres of the pelvis, and the shape they go with."""

    turns: Tensor  # (n, 24, 3) axis-angle, radians
    shift: Tensor  # (n, 3)
    betas: Tensor  # (10,)


class _Window:
    """The frames that are fitted together, as tensors, and their objective."""

    def __init__(
        self, placed: Placed, seen: Seen, body: Body, span: np.ndarray, terms: Terms, *, steady: bool = True
    ) -> None:
        """steady: the frames follow each other, so that the terms of time make sense."""
        device = body.smpl.v_template.device

        def tensor(values: np.ndarray) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(values, np.float32)).to(device)

        self.body, self.terms, self.steady = body, terms, steady and len(span) > 2
        self.rotations = tensor(rotation_matrices(placed.poses[span].reshape(-1, 24, 3)))
        self.pelvis = tensor(placed.trans[span] + placed.rest_joints[0])
        self.betas = tensor(placed.betas)
        self.camera_R, self.camera_t = tensor(placed.camera_R[span]), tensor(placed.camera_t[span])
        self.camera_K = tensor(seen.camera_K)
        keypoints = seen.keypoints[span]
        trusted = counted(keypoints) & np.isfinite(keypoints).all(-1)
        self.points = tensor(np.where(trusted[..., None], keypoints[..., :2], 0))
        self.trust = tensor(np.where(trusted, keypoints[..., 2], 0))
        self.size = tensor(200.0 * seen.boxes[span, 2]).clamp(min=1.0)
        down = planted(placed.contacts)[span]
        self.down = tensor(down)
        self.held = tensor(down[1:] & down[:-1])
        self.sizes = terms.pose * tensor(np.array(list(_JOINTS.values())))[:, None]
        up = body.smpl.v_template[:, 1].cpu().numpy() + body.smpl.shapedirs[:, 1].cpu().numpy() @ placed.betas
        directions = body.smpl.shapedirs[:, 1]
        self.tallness = directions[int(up.argmax())] - directions[int(up.argmin())]
        with torch.no_grad():
            self.feet = self._posed(self.nothing())[1]

    def correction(self, turns: np.ndarray, shift: np.ndarray, betas: Tensor) -> _Correction:
        """One made of arrays."""
        like = self.pelvis
        return _Correction(torch.from_numpy(turns).to(like), torch.from_numpy(shift).to(like), betas.to(like))

    def nothing(self) -> _Correction:
        """The one that changes nothing."""
        count = len(self.rotations)
        return _Correction(self.pelvis.new_zeros(count, 24, 3), self.pelvis.new_zeros(count, 3), self.betas)

    def _posed(self, by: _Correction) -> tuple[Tensor, Tensor]:
        """COCO's points (n, 17, 3) and the foot points (n, 4, 3) in the world."""
        count = len(by.turns)
        rotations = self.rotations @ batch_rodrigues(by.turns.reshape(-1, 3)).view(count, 24, 3, 3)
        betas = by.betas.expand(count, -1)
        points = self.body.landmarks(rotations, betas)
        middle = points.offset + self.pelvis + by.shift - self.body.rest_joints(by.betas)[0]
        return points.joints[:, :17] + middle[:, None], points.feet + middle[:, None]

    def lowest_foot(self, by: _Correction) -> np.ndarray:
        """Height (n,) of each frame's lowest foot point."""
        return self._posed(by)[1][..., 2].amin(1).cpu().numpy()

    def curves(self, size: float, change: float, lever: float) -> Tensor:
        """Curves (n, n) over the frames whose multiples are about equally likely, smooth ones larger than quick ones.

        In them the problem is round, and L-BFGS takes a few steps where frame by frame it takes hundreds.
        """
        count = len(self.rotations)
        if not self.steady:
            return torch.eye(count, device=self.pelvis.device)
        frequency = np.arange(count)
        step = 2 - 2 * np.cos(np.pi * frequency / count)  # of the cosines' first differences, squared
        stiff = (size / change) ** 2 + (size * lever / self.terms.acceleration) ** 2
        planted_share = float(self.held.mean())
        held = planted_share * (size * lever / self.terms.slide) ** 2
        curves = idct(np.eye(count), axis=0, norm="ortho") / np.sqrt(1 + step**2 * stiff + step * held)
        return torch.from_numpy(curves).to(self.pelvis)

    def loss(self, by: _Correction) -> Tensor:
        """Minus the logarithm of how likely all of it is, up to a constant."""
        terms = self.terms
        joints, feet = self._posed(by)
        seen = torch.einsum("nij,nkj->nki", self.camera_R, joints) + self.camera_t[:, None]
        flat = torch.einsum("ij,nkj->nki", self.camera_K, seen)
        off = flat[..., :2] / flat[..., 2:].clamp(min=_NEAREST) - self.points
        square = (off**2).sum(-1) / (terms.keypoint * self.size)[:, None] ** 2
        total = (self.trust * square / (1 + square / terms.outlier**2)).sum()
        total = total + ((by.turns[:, _FREE] / self.sizes) ** 2).sum() + ((by.shift / terms.place) ** 2).sum()
        total = total + (self.down * ((feet - self.feet)[..., 2] / terms.height) ** 2).sum()
        if self.steady:
            total = total + (torch.diff(by.turns, n=2, dim=0) ** 2).sum() / terms.pose_change**2
            total = total + (torch.diff(by.shift, n=2, dim=0) ** 2).sum() / terms.place_change**2
            total = total + (torch.diff(joints, n=2, dim=0) ** 2).sum() / terms.acceleration**2
            slid = (torch.diff(feet, dim=0) ** 2).sum(-1) / terms.slide**2
            total = total + (self.held * slid / (1 + slid / terms.slide_outlier**2)).sum()
        changed = by.betas - self.betas
        share = len(joints) / _SHAPE_FRAMES
        total = total + share * ((changed / terms.shape) ** 2).sum()
        return total + share * _SHAPE_FRAMES * ((self.tallness @ changed) / terms.stature) ** 2

    def fit(self, betas: Tensor, tell: Callable[[float], None], *, shape: bool = False) -> _Correction | None:
        """The best correction found with a shape, or with ``shape`` of pose and shape; None where nothing is better."""
        unknown = _Unknowns(self, betas)
        with torch.no_grad():
            before = float(self.loss(unknown.correction()))
        if not np.isfinite(before):
            return None
        best, kept = before, unknown.values()
        stages = ("shift", "facing"), ("shift", "facing", "bends", *(("betas",) if shape else ()))
        looks = 0

        def look() -> Tensor:
            nonlocal best, kept, looks
            unknown.forget_slopes()
            loss = self.loss(unknown.correction())
            loss.backward()
            value = float(loss.detach())
            if not np.isfinite(value):
                raise _Broken
            if value < best:
                best, kept = value, unknown.values()
            looks += 1
            tell(min(1.0, looks / (1.2 * sum(_STEPS))))
            return loss

        for names, steps in zip(stages, _STEPS, strict=True):
            free = unknown.free(kept, names)
            with suppress(_Broken):  # what was found before stands
                torch.optim.LBFGS(free, max_iter=steps, history_size=20, line_search_fn="strong_wolfe").step(look)
        if not best < before:
            return None
        unknown.free(kept, ())
        return unknown.correction()


class _Unknowns:
    """A correction in numbers of about size one, which is what L-BFGS likes."""

    def __init__(self, window: _Window, betas: Tensor) -> None:
        terms, start = window.terms, window.nothing()
        self._turn_curves = window.curves(terms.pose * _USUAL, terms.pose_change, _LEVER)
        self._shift_curves = terms.place * window.curves(terms.place, terms.place_change, 1.0)
        self._sizes, self._shape = window.sizes, terms.shape
        self._at = torch.tensor(_FREE, device=start.turns.device)
        self._all = {
            "shift": start.shift,
            "facing": start.turns[:, :1],  # the pelvis is first
            "bends": start.turns[:, : len(_FREE) - 1],
            "betas": betas.to(start.shift) / terms.shape,
        }

    def free(self, values: dict[str, Tensor], names: Sequence[str]) -> list[Tensor]:
        """Set all to values; those of ``names`` may change from now on."""
        self._all = {name: value.clone().requires_grad_(name in names) for name, value in values.items()}
        return [self._all[name] for name in names]

    def values(self) -> dict[str, Tensor]:
        """All as they are."""
        return {name: value.detach().clone() for name, value in self._all.items()}

    def forget_slopes(self) -> None:
        """Before a loss is derived anew."""
        for value in self._all.values():
            value.grad = None

    def correction(self) -> _Correction:
        """What they say."""
        turns = torch.cat([self._all["facing"], self._all["bends"]], 1)
        turns = (self._turn_curves @ turns.flatten(1)).view_as(turns) * self._sizes
        whole = turns.new_zeros(len(turns), 24, 3).index_copy(1, self._at, turns)
        return _Correction(whole, self._shift_curves @ self._all["shift"], self._all["betas"] * self._shape)


def _corrected(placed: Placed, body: Body, betas: Tensor, turns: np.ndarray, shift: np.ndarray) -> Placed:
    rotations = Rotation.from_rotvec(placed.poses.reshape(-1, 3)) * Rotation.from_rotvec(turns.reshape(-1, 3))
    rest = body.rest_joints(betas.to(body.smpl.v_template.device)).cpu().numpy()
    pelvis = placed.trans + placed.rest_joints[0] + shift
    return replace(
        placed,
        poses=rotations.as_rotvec().reshape(-1, 72).astype(np.float32),
        trans=(pelvis - rest[0]).astype(np.float32),
        betas=betas.numpy(),
        rest_joints=rest,
    )
