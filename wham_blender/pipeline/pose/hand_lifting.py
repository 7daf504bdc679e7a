"""Finger angles and wrist orientations of hands as the hand net sees them, by the hand lifter."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from ...models.hand_lifter import HandInput, HandLifter
from ...models.lifter import rotation_to_optical_axis, rotation_to_upright
from .hand_skeleton import ANGLES, HandSkeleton
from .lifter_features import load_network

_MIRROR = np.array([-1.0, 1, 1])
_KNUCKLES = [5, 9, 9, 13]  # points above the wrist in the input's axes, as in `people.hands.crop_around_hand`
_FOREARM = (-1.0, 0.0, 0.0)  # from the right elbow to the wrist in the rest pose
# The lifter follows the body's wrist where the picture is ambiguous, and takes a palm for a back where that is wrong.
# So it lifts each look with the wrist twisted about the forearm by these angles, too, and `_consistent` chooses.
_TWISTS = np.radians([0.0, 90, 180, -90])
# Costs of a radian between the rotations of two frames, and of one from the body's wrist, where a radian of expected
# error costs 1, and the angle above which they do not grow; the best of a grid on the bench's films 100 to 103.
_CHANGE_COST, _BODY_COST, _LARGEST = 5.0, 0.8, 2.0


@dataclass(frozen=True)
class SeenArm:
    """What the body knows of F frames of a hand, in the camera's axes."""

    elbow: np.ndarray  # (F, 3, 3) rotation from rest
    wrist: np.ndarray  # (F, 3, 3)
    size: np.ndarray  # (F,) length of the hand over its distance along the optical axis

    def at(self, frames: np.ndarray) -> SeenArm:
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
    """The hand (F, 21, 5) of one person and side, as in `Person.hands`, with scores (F,); of any value where that is 0.

    Each look is lifted with several orientations of the wrist, of which `_consistent` chooses one a frame.
    """
    frames = np.flatnonzero(scores)
    angles, errors = np.zeros((len(scores), ANGLES)), np.ones((len(scores), ANGLES + 1))
    rotation = np.tile(np.eye(3), (len(scores), 1, 1))
    if len(frames):
        seen_arm, count = arm.at(frames), len(frames) * len(_TWISTS)
        looks = np.tile(frames, len(_TWISTS))
        arms = replace(arm.at(looks), wrist=_twisted(seen_arm).reshape(-1, 3, 3))
        cameras, sides = np.broadcast_to(camera_K, (count, 3, 3)), np.full(count, side)
        seen, to_input = hand_input(hands[looks], scores[looks], arms, cameras, sides)
        estimate = lifter(seen)
        rotations = (to_input.mT @ estimate.rotation).double().numpy()
        if side == 0:
            rotations = _MIRROR[:, None] * rotations * _MIRROR
        rotations, expected = rotations.reshape(len(_TWISTS), -1, 3, 3), estimate.errors.exp().double().numpy()
        chosen = _consistent(rotations, expected[:, -1].reshape(len(_TWISTS), -1), seen_arm.wrist, frames)
        rows = chosen * len(frames) + np.arange(len(frames))
        angles[frames], errors[frames] = estimate.angles.double().numpy()[rows], expected[rows]
        rotation[frames] = rotations[chosen, np.arange(len(frames))]
    return LiftedHand(angles, rotation, errors)


def _twisted(arm: SeenArm) -> np.ndarray:
    """The wrist's rotations (H, F, 3, 3), twisted about the forearm by `_TWISTS`."""
    twists = Rotation.from_rotvec(_TWISTS[:, None] * np.array(_FOREARM)).as_matrix()
    return np.asarray(arm.elbow @ twists[:, None] @ arm.elbow.swapaxes(1, 2) @ arm.wrist)


def _consistent(rotations: np.ndarray, errors: np.ndarray, wrist: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """For each of F frames, rising numbers (F,), the one (F,) of H rotations (H, F, 3, 3) that makes the best course.

    That is the one of the least expected errors (H, F), radians, that stays near the body's wrist (F, 3, 3) and changes
    little from frame to frame: the shortest path through all of them.
    """
    costs = errors + _BODY_COST * np.minimum(_angles(rotations, wrist), _LARGEST)
    changes = np.minimum(_angles(rotations[:, None, :-1], rotations[None, :, 1:]), _LARGEST) / np.diff(frames)
    total, before = costs[:, 0], np.zeros((len(frames), len(costs)), int)
    for row in range(1, len(frames)):
        paths = total[:, None] + _CHANGE_COST * changes[:, :, row - 1]
        before[row] = paths.argmin(0)
        total = costs[:, row] + paths.min(0)
    chosen = np.full(len(frames), total.argmin())
    for row in range(len(frames) - 1, 0, -1):
        chosen[row - 1] = before[row, chosen[row]]
    return chosen


def _angles(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Angles (...), radians, between rotations (..., 3, 3)."""
    return np.asarray(np.arccos((((first * second).sum((-2, -1)) - 1) / 2).clip(-1, 1)))


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
