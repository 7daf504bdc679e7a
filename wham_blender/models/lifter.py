"""The network of the per-frame lifter: keypoints and the landmark net's 3D points of one frame to an SMPL pose.

A first network estimates the pose, and a second one corrects it in a few iterations. Its input has the residuals of the
last estimate, in the picture and in 3D, and the joint rotations that would reduce them. So it learns how to weight the
observations, and need not learn kinematics (learned gradient descent, Song et al., *Human Body Model Fitting by Learned
Gradient Descent*, ECCV 2020).

Both work in the axes of a virtual camera that points at the person's hips and is rolled so that the spine is upright:
the result does not depend on the person's position in the picture or on the camera's roll.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from smplx.lbs import batch_rodrigues
from torch import Tensor, nn

from ..body.points import PointBody
from ..body.rotations import matrix_from_r6d, r6d_from_matrix
from ..skeleton import COCO_NAMES, mirror_permutation

# COCO-17, then the landmark net's points on feet and hands.
POINT_NAMES = (
    *COCO_NAMES,
    "left_heel", "right_heel", "left_foot_index", "right_foot_index",
    "left_index", "right_index", "left_pinky", "right_pinky",
)  # fmt: skip
POINTS = len(POINT_NAMES)
LANDMARK_MIRROR = mirror_permutation(POINT_NAMES)
INPUTS = POINTS * 2 + POINTS + 1 + POINTS * 3 + 1  # inputs of the first network
# Further inputs of the second: residuals in 2D and 3D, joint rotations for both, and the pose, shape and depth so far.
RESIDUALS = POINTS * 2 + POINTS * 3 + 2 * 24 * 3 + 24 * 6 + 10 + 1
D_FEAT = 24 * 6 + 10
ITERATIONS = 3
_SHOULDERS, _HIPS = slice(5, 7), slice(11, 13)
_RESIDUAL_SCALE, _ROTATION_SCALE = 10.0, 3.0  # bring metres and radians to about unit size; set by hand


class LifterInput(NamedTuple):
    """Observations of N people, in the axes of a virtual camera that points at each and has the spine upright."""

    keypoints: Tensor  # (N, 25, 2) from the optical axis, which passes the hips, in half box sides; 0 where masked
    mask: Tensor  # (N, 25) bool: confident
    half_extent: Tensor  # (N, 1) half the box's side over its distance
    landmarks: Tensor  # (N, 25, 3) the landmark net's 3D points, metres, hip-centred
    has_landmarks: Tensor  # (N, 1) 1 if the 3D points are used, else 0


class Estimate(NamedTuple):
    """A pose in the axes of LifterInput, with the joints and points of the body in it."""

    rotations: Tensor  # (N, 24, 3, 3)
    betas: Tensor  # (N, 10)
    joints: Tensor  # (N, 24, 3) metres, hip-centred
    points: Tensor  # (N, 25, 3) the same
    global_rotations: Tensor  # (N, 24, 3, 3) of the joints


def centre_on_person(
    pixels: Tensor, mask: Tensor, sides: Tensor, landmarks: Tensor, focal: Tensor, middle: Tensor
) -> tuple[LifterInput, Tensor]:
    """Observations of a camera as LifterInput, and the rotations (N, 3, 3) from the camera's axes to those.

    pixels (N, 25, 2); mask (N, 25) bool; sides (N,) of the boxes in pixels; landmarks (N, 25, 3) metres in the axes of
    a camera rotated to the person but not rolled; focal (N,) and middle (N, 2) of the picture in pixels.
    """
    rays = torch.cat([(pixels - middle[:, None]) / focal[:, None, None], torch.ones_like(pixels[..., :1])], 2)
    hips = rays[:, _HIPS].mean(1)
    rotation = rotation_to_optical_axis(hips)
    rays = rays @ rotation.mT
    half_extent = (sides / 2 / focal / hips.norm(dim=1))[:, None]
    points = rays[..., :2] / rays[..., 2:].clamp(min=0.1) / half_extent[..., None]
    spine = points[:, _SHOULDERS].mean(1) - points[:, _HIPS].mean(1)
    roll = rotation_to_upright(spine + spine.new_tensor([0, -1e-6]))
    points = points @ roll[:, :2, :2].mT * mask[..., None]
    observed = LifterInput(points, mask, half_extent, landmarks @ roll.mT, torch.ones_like(half_extent))
    return observed, roll @ rotation


def rotation_to_upright(directions: Tensor) -> Tensor:
    """Rotations (N, 3, 3) about the camera's optical axis that bring directions (N, 2) in the picture up."""
    x, y = torch.nn.functional.normalize(directions, dim=1).unbind(1)
    zero = torch.zeros_like(x)
    return torch.stack([-y, x, zero, -x, -y, zero, zero, zero, zero + 1], 1).view(-1, 3, 3)


def rotation_to_optical_axis(rays: Tensor) -> Tensor:
    """The smallest rotations (N, 3, 3) that bring rays (N, 3) onto the camera's optical axis."""
    x, y, z = torch.nn.functional.normalize(rays, dim=1).unbind(1)
    factor = 1 / (1 + z).clamp(min=1e-6)
    rows = [1 - x * x * factor, -x * y * factor, -x, -x * y * factor, 1 - y * y * factor, -y, x, y, z]
    return torch.stack(rows, 1).view(-1, 3, 3)


class Block(nn.Module):
    """Two layers with a residual connection: (N, width) to (N, width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.layer1 = nn.Linear(width, width)
        self.layer2 = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(N, width) to (N, width)."""
        return x + self.layer2(torch.nn.functional.gelu(self.layer1(self.norm(x))))


class Trunk(nn.Module):
    """Blocks between two linear layers: (N, inputs) to (N, outputs)."""

    def __init__(self, inputs: int, outputs: int, width: int, depth: int) -> None:
        super().__init__()
        self.embed = nn.Linear(inputs, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs) to (N, outputs)."""
        x = self.embed(x)
        for block in self.blocks:
            x = block(x)
        return self.out(self.norm(x))


class Lifter(nn.Module):
    """Lifts each frame independently; the body that it poses is part of it.

    width: of the hidden layers; depth: blocks of the first network; refine_depth: of the second.
    """

    def __init__(self, width: int = 512, depth: int = 4, refine_depth: int = 3) -> None:
        super().__init__()
        self.body = PointBody(POINTS)
        self.guess = Trunk(INPUTS, 144 + 10, width, depth)
        self.refine = Trunk(INPUTS + RESIDUALS, 72 + 10, width, refine_depth)
        nn.init.zeros_(self.refine.out.weight)
        nn.init.zeros_(self.refine.out.bias)

    @classmethod
    def from_state_dict(cls, tensors: dict[str, Tensor]) -> Lifter:
        """The network of the size that the tensors have, loaded strictly."""
        depths = [
            len({name.split(".")[2] for name in tensors if name.startswith(f"{part}.blocks.")})
            for part in ("guess", "refine")
        ]
        lifter = cls(tensors["guess.embed.weight"].shape[0], *depths)
        lifter.load_state_dict(tensors)
        return lifter

    def forward(self, observed: LifterInput) -> tuple[Tensor, Tensor]:
        """Rotations (N, 24, 3, 3) in the axes of LifterInput, and betas (N, 10)."""
        last = self.iterate(observed)[-1]
        return last.rotations, last.betas

    def iterate(self, observed: LifterInput) -> list[Estimate]:
        """The first estimate and each corrected one; no gradient flows from one to the one before."""
        estimates = [self.first_estimate(observed)]
        for _ in range(ITERATIONS):
            estimates.append(self.correct(observed, Estimate(*(value.detach() for value in estimates[-1]))))
        return estimates

    def first_estimate(self, observed: LifterInput) -> Estimate:
        """The first network's estimate."""
        output = self.guess(_input_features(observed)).float()
        with _full_precision(output):
            return self.estimate_of(matrix_from_r6d(output[:, :144].unflatten(1, (24, 6))), output[:, 144:])

    def correct(self, observed: LifterInput, estimate: Estimate) -> Estimate:
        """An estimate after one correction by the second network."""
        return self.changed(estimate, self.refine(self.correction_input(observed, estimate)))

    def correction_input(self, observed: LifterInput, estimate: Estimate) -> Tensor:
        """The observations, the estimate's residuals against them, and the estimate, (N, INPUTS + RESIDUALS)."""
        with _full_precision(estimate.betas):
            residuals = self._residual_features(observed, estimate)
        return torch.cat([_input_features(observed), residuals], 1)

    def changed(self, estimate: Estimate, change: Tensor) -> Estimate:
        """An estimate changed by (N, 82): a rotation of each joint in its own axes, axis-angle, then of the betas."""
        with _full_precision(change):
            change = change.float()
            rotations = batch_rodrigues(change[:, :72].reshape(-1, 3)).view(-1, 24, 3, 3)
            return self.estimate_of(estimate.rotations @ rotations, estimate.betas + change[:, 72:])

    def estimate_of(self, rotations: Tensor, betas: Tensor) -> Estimate:
        """The estimate of rotations (N, 24, 3, 3) and betas (N, 10), in the axes of the rotations."""
        joints, points, global_rotations = self.body(rotations, betas)
        hips = points[:, _HIPS].mean(1, keepdim=True)
        return Estimate(rotations, betas, joints - hips, points - hips, global_rotations)

    def _residual_features(self, observed: LifterInput, estimate: Estimate) -> Tensor:
        """Residuals of the estimate against the observations, and the estimate itself, (N, RESIDUALS)."""
        mask = observed.mask[..., None].to(estimate.points.dtype)
        rays = observed.keypoints * observed.half_extent[..., None]
        translation = fit_translation(rays, estimate.points, mask)
        in_camera = estimate.points + translation[:, None]
        depth = in_camera[..., 2:].clamp(min=0.2)
        residual_2d = (rays * depth - in_camera[..., :2]) * mask  # metres
        residual_2d = residual_2d.clamp(-0.5, 0.5)
        residual_3d = (observed.landmarks - estimate.points) * observed.has_landmarks[..., None]
        influence = self.body.joint_influence()
        flat = torch.cat([residual_2d, torch.zeros_like(depth)], 2)
        rotations = [
            _joint_rotations(estimate, flat, mask, influence),
            _joint_rotations(estimate, residual_3d, torch.ones_like(mask), influence),
        ]
        return torch.cat(
            [
                _RESIDUAL_SCALE * residual_2d.flatten(1), _RESIDUAL_SCALE * residual_3d.flatten(1),
                *(_ROTATION_SCALE * rotation.flatten(1) for rotation in rotations),
                r6d_from_matrix(estimate.rotations).flatten(1), estimate.betas, (1 / translation[:, 2:]),
            ], 1,
        )  # fmt: skip


def _full_precision(like: Tensor) -> torch.autocast:
    """Turns autocast off: geometry needs single precision, only learned layers bear half."""
    return torch.autocast(like.device.type, enabled=False)


def _input_features(observed: LifterInput) -> Tensor:
    """The observations as one vector, (N, INPUTS)."""
    return torch.cat(
        [
            observed.keypoints.flatten(1), observed.mask.to(observed.half_extent.dtype), observed.half_extent,
            (observed.landmarks * observed.has_landmarks[..., None]).flatten(1), observed.has_landmarks,
        ], 1,
    )  # fmt: skip


def fit_translation(rays: Tensor, points: Tensor, weight: Tensor) -> Tensor:
    """Translations (N, 3) with which points (N, 25, 3) lie on rays (N, 25, 2), by least squares; weight (N, 25, 1)."""
    total = weight.sum(1).clamp(min=1e-6)
    target = rays * points[..., 2:] - points[..., :2]  # = translation across - ray * depth
    ray_mean, target_mean = (rays * weight).sum(1) / total, (target * weight).sum(1) / total
    spread = rays - ray_mean[:, None]
    depth = -(spread * (target - target_mean[:, None]) * weight).sum((1, 2))
    depth = (depth / (spread**2 * weight).sum((1, 2)).clamp(min=1e-6)).clamp(0.5, 60.0)[:, None]
    return torch.cat([target_mean + ray_mean * depth, depth], 1)


def _joint_rotations(estimate: Estimate, residual: Tensor, weight: Tensor, influence: Tensor) -> Tensor:
    """Small rotations (N, 24, 3) of each joint alone, in its axes, that would about remove its points' residuals.

    residual (N, 25, 3): metres, as forces on the points: a joint's torque over its moment of inertia; weight
    (N, 25, 1); influence (24, 25): see PointBody.joint_influence.
    """
    sums = influence @ torch.cat(
        [
            torch.linalg.cross(estimate.points, residual) * weight, residual * weight, estimate.points * weight,
            (estimate.points**2).sum(2, keepdim=True) * weight, weight,
        ], 2,
    )  # fmt: skip
    torque_at_origin, force, moment, square, total = sums.split([3, 3, 3, 1, 1], 2)
    joints = estimate.joints
    torque = torque_at_origin - torch.linalg.cross(joints, force)
    inertia = square - 2 * (joints * moment).sum(2, keepdim=True) + (joints**2).sum(2, keepdim=True) * total
    return (estimate.global_rotations.mT @ (torque / (inertia + 0.01))[..., None])[..., 0]


def pose_feature(rotations: Tensor, betas: Tensor) -> Tensor:
    """WHAM's image feature (N, 154) of poses (N, 24, 3, 3), the root's in camera axes, and betas (N, 10)."""
    return torch.cat([r6d_from_matrix(rotations).flatten(1), betas], 1)
