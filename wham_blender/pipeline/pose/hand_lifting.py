"""Finger angles and wrist orientations of hands as the hand net sees them, by the hand lifter."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...models.hand_lifter import HandInput, HandLifter
from ...models.lifter import rotation_to_optical_axis, rotation_to_upright
from .hand_skeleton import ANGLES, HandSkeleton
from .lifter_features import load_network

_BATCH = 1024  # frames
_MIRROR = np.array([-1.0, 1, 1])
_KNUCKLES = [5, 9, 9, 13]  # points above the wrist in the input's axes, as in `people.hands.crop_around_hand`
_FOREARM = (-1.0, 0.0, 0.0)  # from the right elbow to the wrist in the rest pose


@dataclass(frozen=True)
class SeenArm:
    """What the body knows of F frames of a hand, in the camera's axes."""

    elbow: np.ndarray  # (F, 3, 3) rotation from rest
    wrist: np.ndarray  # (F, 3, 3)
    size: np.ndarray  # (F,) length of the hand over its distance along the optical axis

    def at(self, frames: np.ndarray | slice) -> SeenArm:
        """The same of some frames only."""
        return SeenArm(self.elbow[frames], self.wrist[frames], self.size[frames])


@dataclass(frozen=True)
class LiftedHand:
    """A hand in F frames."""

    angles: np.ndarray  # (F, ANGLES) radians
    rotation: np.ndarray  # (F, 3, 3) from SMPL's rest axes to the camera's
    errors: np.ndarray  # (F, ANGLES + 1) radians that the angles, and last the rotation, are expected to be wrong by


def load_hand_lifter(path: str | Path) -> HandLifter:
    """The hand lifter from an ``.npz`` of its tensors. Raises WeightsError if the file does not hold them."""
    return load_network(Path(path), HandLifter.from_state_dict).eval()


@torch.inference_mode()
def lift(
    lifter: HandLifter, hands: np.ndarray, scores: np.ndarray, arm: SeenArm, camera_K: np.ndarray, side: int
) -> LiftedHand:
    """The hand (F, 21, 5) of one person and side, as in `Person.hands`, with scores (F,)."""
    if not len(hands):
        return LiftedHand(np.zeros((0, ANGLES)), np.zeros((0, 3, 3)), np.zeros((0, ANGLES + 1)))
    parts = []
    for at in range(0, len(hands), _BATCH):
        part = slice(at, at + _BATCH)
        parts.append(_lift(lifter, hands[part], scores[part], arm.at(part), camera_K, side))
    names = [each.name for each in fields(LiftedHand)]
    return LiftedHand(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def _lift(
    lifter: HandLifter, hands: np.ndarray, scores: np.ndarray, arm: SeenArm, camera_K: np.ndarray, side: int
) -> LiftedHand:
    count = len(hands)
    cameras, sides = np.broadcast_to(camera_K, (count, 3, 3)), np.full(count, side)
    seen, to_input = hand_input(hands, scores, arm, cameras, sides)
    estimate = lifter(seen)
    rotation = (to_input.mT @ estimate.rotation).double().numpy()
    if side == 0:
        rotation = _MIRROR[:, None] * rotation * _MIRROR
    return LiftedHand(estimate.angles.double().numpy(), rotation, estimate.errors.exp().double().numpy())


def hand_input(
    hands: np.ndarray, scores: np.ndarray, arm: SeenArm, camera_K: np.ndarray, side: np.ndarray
) -> tuple[HandInput, Tensor]:
    """Hands as the lifter's input, left ones in the mirror, and the rotations (N, 3, 3) from the camera's axes to its.

    hands (N, 21, 5); scores (N,); camera_K (N, 3, 3); side (N,): 0 left, 1 right.
    """
    mirror = np.where((np.asarray(side) == 0)[:, None], _MIRROR, 1.0)
    pixels, metres = hands[..., :2].astype(float), hands[..., 2:] * mirror[:, None]
    bearings = np.concatenate([pixels, np.ones_like(pixels[..., :1])], -1) @ np.linalg.inv(camera_K).swapaxes(1, 2)
    rotations = [_tensor(mirror[:, :, None] * each * mirror[:, None]) for each in (arm.elbow, arm.wrist)]
    rays = _tensor(bearings * mirror[:, None])
    rotation = rotation_to_optical_axis(rays.mean(1))
    rays = rays @ rotation.mT
    flat = rays[..., :2] / rays[..., 2:].clamp(min=0.1)
    roll = roll_upright(flat)
    to_input = roll @ rotation
    centred = (flat - flat.mean(1, keepdim=True)) @ roll[:, :2, :2].mT
    extent = (centred**2).sum((1, 2)).div(centred.shape[1]).sqrt().clamp(min=1e-6)
    relative = extent.log() - _tensor(arm.size).clamp(min=1e-6).log()
    elbow, wrist = (to_input @ each for each in rotations)
    local = _tensor(metres) @ roll.mT
    return HandInput(
        centred / extent[:, None, None], local - local.mean(1, keepdim=True),
        torch.stack([_tensor(scores), relative.clamp(-3, 1) + 1], 1), elbow @ elbow.new_tensor(_FOREARM), wrist,
    ), to_input  # fmt: skip


def roll_upright(points: Tensor) -> Tensor:
    """Rotations (N, 3, 3) about the optical axis that bring the fingers of points (N, 21, 2) up."""
    up = points[:, _KNUCKLES].mean(1) - points[:, 0]
    return rotation_to_upright(up + up.new_tensor([0, -1e-9]))


def hand_length(skeleton: HandSkeleton) -> float:
    """Metres from the wrist to the tip of the stretched middle finger."""
    return float(np.linalg.norm(np.diff(skeleton.points[[0, 9, 10, 11, 12]], axis=0), axis=1).sum())


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.asarray(values, np.float32))
