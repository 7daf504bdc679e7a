"""The network of the hand lifter: the hand net's points of one look to finger angles and the wrist's orientation.

As the body's lifter (``lifter.py``): a first network estimates the hand, a second one corrects it from the residuals
of the last estimate, in the picture and in 3D. Both say how uncertain they are of each angle.

They know right hands only: left ones are given to them in the mirror. They work in the axes of a virtual camera that
points at the hand and is rolled so that the fingers are up.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from smplx.lbs import batch_rodrigues
from torch import Tensor, nn

from ..body.rotations import matrix_from_r6d, r6d_from_matrix
from .lifter import Trunk

POINTS, ANGLES = 21, 22
CHAINS = ((5, 6, 7, 8), (9, 10, 11, 12), (17, 18, 19, 20), (13, 14, 15, 16), (1, 2, 3, 4))  # points of the fingers
INPUTS = POINTS * 2 + POINTS * 3 + 2 + 3 + 6  # of the first network
RESIDUALS = POINTS * 2 + POINTS * 3 + ANGLES + 6  # further ones of the second
OUTPUTS = ANGLES + 6 + ANGLES + 1  # angles, rotation, and logarithms of their errors; a correction's rotation has 3
ITERATIONS = 2
_METRES = 12.0  # brings a hand's points to about unit size; set by hand
_LOGARITHMS = (-5.0, 1.0)  # least and greatest of the errors, radians; set by hand


class HandInput(NamedTuple):
    """What is seen of N right hands, in the axes of a virtual camera that points at each and has the fingers up."""

    points: Tensor  # (N, 21, 2) about their mean; their root mean square distance from it is one
    metres: Tensor  # (N, 21, 3) the hand net's 3D points, about their mean
    scores: Tensor  # (N, 2) the hand net's, and the logarithm of the points' extent in lengths of the hand
    forearm: Tensor  # (N, 3) of length one, from elbow to wrist
    wrist: Tensor  # (N, 3, 3) the body's rotation from rest


class HandEstimate(NamedTuple):
    """Hands in the axes of HandInput."""

    angles: Tensor  # (N, 22) radians, within the limits
    rotation: Tensor  # (N, 3, 3) of the wrist, from rest
    errors: Tensor  # (N, 23) logarithms of the expected errors in radians: of the angles and of the rotation
    points: Tensor  # (N, 21, 3) metres, from the wrist, in the wrist's axes


class HandBody(nn.Module):
    """The right hand of the mean body: angles to points."""

    rest: Tensor  # (21, 3) metres from the wrist, at rest
    axes: Tensor  # (5, 3, 3, 3) of finger, joint and up to three rotations, in order; 0 where there are fewer
    rest_angles: Tensor  # (22,)
    limits: Tensor  # (2, 22) the lowest and the highest angles

    def __init__(self) -> None:
        super().__init__()
        counts = [[2, 1, 1]] * 4 + [[3, 2, 1]]
        slots = [9 * f + 3 * j + a for f, joints in enumerate(counts) for j, n in enumerate(joints) for a in range(n)]
        self._slots = slots
        for name, shape in (("rest", (POINTS, 3)), ("axes", (5, 3, 3, 3)), ("rest_angles", (ANGLES,)),
                            ("limits", (2, ANGLES))):  # fmt: skip
            self.register_buffer(name, torch.zeros(shape))

    def fill(self, rest: np.ndarray, axes: list[np.ndarray], rest_angles: np.ndarray, limits: np.ndarray) -> None:
        """Take a hand: its points, the axis (3,) of each angle, the angles at rest, and their limits (2, 22)."""
        flat = np.zeros((45, 3))
        flat[self._slots] = axes
        for buffer, values in ((self.rest, rest), (self.axes, flat.reshape(5, 3, 3, 3)),
                               (self.rest_angles, rest_angles), (self.limits, limits)):  # fmt: skip
            buffer.copy_(torch.from_numpy(np.asarray(values, np.float32)))

    def joints(self, angles: Tensor) -> Tensor:
        """Rotations (N, 15, 3, 3) of the joints relative to their parents."""
        flat = angles.new_zeros(len(angles), 45)
        flat[:, self._slots] = angles - self.rest_angles
        vectors = self.axes.reshape(45, 3) * flat[..., None]
        rotations = batch_rodrigues(vectors.reshape(-1, 3)).view(len(angles), 15, 3, 3, 3)
        return rotations[:, :, 0] @ rotations[:, :, 1] @ rotations[:, :, 2]

    def points(self, joints: Tensor) -> Tensor:
        """Points (N, 21, 3), from the wrist and in its axes, of joints (N, 15, 3, 3)."""
        local = joints.view(-1, 5, 3, 3, 3)
        chains = torch.tensor(CHAINS, device=joints.device)
        position = self.rest[chains[:, 0]].expand(len(local), 5, 3)
        placed, rotation = [position], None
        for joint in range(3):
            rotation = local[:, :, joint] if rotation is None else rotation @ local[:, :, joint]
            bone = self.rest[chains[:, joint + 1]] - self.rest[chains[:, joint]]
            position = position + (rotation @ bone[..., None])[..., 0]
            placed.append(position)
        points = position.new_zeros(len(joints), POINTS, 3)
        points[:, chains.flatten()] = torch.stack(placed, 2).flatten(1, 2)
        return points


class HandLifter(nn.Module):
    """Lifts each look independently. width: of the hidden layers; depth: blocks of each network."""

    def __init__(self, width: int = 192, depth: int = 2) -> None:
        super().__init__()
        self.body = HandBody()
        self.guess = Trunk(INPUTS, OUTPUTS, width, depth)
        self.refine = Trunk(INPUTS + RESIDUALS, OUTPUTS - 3, width, depth)
        nn.init.zeros_(self.refine.out.weight)
        nn.init.zeros_(self.refine.out.bias)

    @classmethod
    def from_state_dict(cls, tensors: dict[str, Tensor]) -> HandLifter:
        """The network of the size that the tensors have, loaded strictly."""
        depth = len({name.split(".")[2] for name in tensors if name.startswith("guess.blocks.")})
        lifter = cls(tensors["guess.embed.weight"].shape[0], depth)
        lifter.load_state_dict(tensors)
        return lifter

    def forward(self, seen: HandInput) -> HandEstimate:
        """The last estimate."""
        return self.iterate(seen)[-1]

    def iterate(self, seen: HandInput) -> list[HandEstimate]:
        """The first estimate and each corrected one; no gradient flows from one to the one before."""
        inputs = _input_features(seen)
        # Angles before the limits are applied, rotation, errors.
        raw, r6d, errors = self.guess(inputs).split([ANGLES, 6, ANGLES + 1], 1)
        rotation = matrix_from_r6d(r6d + r6d.new_tensor([1.0, 0, 0, 0, 1, 0]))
        estimates = [self._estimate(raw, rotation, errors)]
        for _ in range(ITERATIONS):
            last = HandEstimate(*(value.detach() for value in estimates[-1]))
            raw, rotation, errors = raw.detach(), rotation.detach(), errors.detach()
            change = self.refine(torch.cat([inputs, self._residuals(seen, last)], 1))
            raw_change, axis_angle, errors_change = change.split([ANGLES, 3, ANGLES + 1], 1)
            raw, rotation = raw + raw_change, batch_rodrigues(axis_angle) @ rotation
            errors = errors + errors_change
            estimates.append(self._estimate(raw, rotation, errors))
        return estimates

    def _estimate(self, raw: Tensor, rotation: Tensor, errors: Tensor) -> HandEstimate:
        low, high = self.body.limits
        angles = low + (high - low) * torch.sigmoid(raw)
        points = self.body.points(self.body.joints(angles))
        return HandEstimate(angles, rotation, errors.clamp(*_LOGARITHMS), points)

    def _residuals(self, seen: HandInput, estimate: HandEstimate) -> Tensor:
        """Residuals of an estimate against what is seen, and the estimate itself, (N, RESIDUALS)."""
        points = estimate.points @ estimate.rotation.mT
        points = points - points.mean(1, keepdim=True)
        flat = points[..., :2]  # weak perspective, its scale by least squares
        scale = (flat * seen.points).sum((1, 2)) / (flat**2).sum((1, 2)).clamp(min=1e-6)
        return torch.cat(
            [
                2 * (seen.points - scale[:, None, None] * flat).flatten(1),
                2 * _METRES * (seen.metres - points).flatten(1), estimate.angles,
                r6d_from_matrix(estimate.rotation),
            ], 1,
        )  # fmt: skip


def _input_features(seen: HandInput) -> Tensor:
    """What is seen as one vector, (N, INPUTS)."""
    return torch.cat(
        [
            seen.points.flatten(1), _METRES * seen.metres.flatten(1), seen.scores, seen.forearm,
            r6d_from_matrix(seen.wrist),
        ], 1,
    )  # fmt: skip
