"""Estimates the direction of gravity from WHAM's world, the body's balance and how cameras are usually held."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...skeleton import JOINT_NAMES

# Standard deviations in radians, set by hand to what was measured on simulated scenes of training motion.
_WHAM_STD, _BALANCE_STD = 0.09, 0.05
# Seconds: both are off by this times the velocity, along it. A foot that is taken for planted a frame too early or too
# late turns the balance of a runner by 6 degrees, as the feet are then that much farther ahead or behind.
_TIMING_STD = 0.03
_BALANCE_OUTLIER = (
    0.6  # radians from up beyond which the balance loses most of its weight; set by hand, as what follows
)
_GROUND_OUTLIER = 0.25  # radians from the ground's normal to up, beyond which the ground is a slope
# A person is not standing if both hips are nearer to the ankles than this times the leg length: who sits down is soon
# held by the chair, and leans.
_STANDING_REACH = 0.9
_ROLL_STD = 0.05  # radians, standard deviation of the roll of a hand-held camera
_ROLL_OUTLIER = 0.3  # radians beyond which a roll is intended
_PITCH_STD = 0.6  # radians, standard deviation of a camera's pitch

# Body segments (de Leva, J. Biomechanics 1996, men): from, to, fraction of the body's mass, where along the segment the
# segment's centre of mass is, 0..1.
_SEGMENTS = [
    ("neck", "head", 0.069, 0.9), ("neck", "pelvis", 0.435, 0.5),
    *((f"{side}_{a}", f"{side}_{b}", mass, position) for side in ("left", "right") for a, b, mass, position in (
        ("shoulder", "elbow", 0.027, 0.58), ("elbow", "wrist", 0.022, 0.6), ("hip", "knee", 0.142, 0.41),
        ("knee", "ankle", 0.043, 0.45), ("ankle", "foot", 0.014, 0.5),
    )),
]  # fmt: skip


def centre_of_mass(joints: np.ndarray) -> np.ndarray:
    """The body's centre of mass (F, 3) from SMPL's joints (F, 24, 3)."""
    weights = np.zeros(len(JOINT_NAMES))
    for start, end, mass, position in _SEGMENTS:
        weights[JOINT_NAMES.index(start)] += mass * (1 - position)
        weights[JOINT_NAMES.index(end)] += mass * position
    return np.einsum("j,fjk->fk", weights / weights.sum(), joints)


def up_from_balance(joints: np.ndarray, feet: np.ndarray, contacts: np.ndarray) -> np.ndarray:
    """Direction (F, 3) from the planted feet to the centre of mass; its length is the frame's weight, 0..1.

    joints (F, 24, 3) and feet (F, 4, 3) in axes that do not move, contacts (F, 4) 0..1. Averaged over time, a standing
    or walking person's centre of mass is above the support. Frames where the person is not standing have weight 0.
    """
    force = np.clip(contacts, 0, 1) ** 2
    total = force.sum(1)
    support = np.einsum("fk,fki->fi", force, feet) / np.maximum(total, 1e-6)[:, None]
    up = centre_of_mass(joints) - support
    up /= np.linalg.norm(up, axis=1, keepdims=True)
    hip, knee, ankle = (joints[:, [JOINT_NAMES.index(f"{s}_{part}") for s in ("left", "right")]]
                        for part in ("hip", "knee", "ankle"))  # fmt: skip
    legs = np.linalg.norm(hip - knee, axis=-1) + np.linalg.norm(knee - ankle, axis=-1)
    reach = (np.linalg.norm(hip - ankle, axis=-1) / legs).max(1)
    return up * (np.minimum(total, 1) * (total > 0.3) * (reach > _STANDING_REACH))[:, None]


@dataclass(frozen=True)
class UpEvidence:
    """A measured direction, in the axes that the camera's rotations refer to, which do not move."""

    direction: np.ndarray  # (3,) unit vector, up; or zero, if up is known to lie across certain directions only
    information: np.ndarray  # (3, 3) inverse of the covariance, 1 / radians squared
    outlier: float = np.inf  # radians from up beyond which it loses most of its weight


def evidence_of_body(wham_up: np.ndarray, balance_up: np.ndarray, velocity: np.ndarray) -> list[UpEvidence]:
    """What one person tells of up.

    wham_up (F, 3): up of WHAM's world in every frame; balance_up (F, 3): `up_from_balance` of the same frames;
    velocity (3,): metres a second, the mean over the frames.
    """
    error = np.outer(velocity, velocity) * _TIMING_STD**2
    # The median: WHAM's error in a single frame must not tilt the world, where the picture has the body upright.
    evidence = [UpEvidence(_unit(np.median(wham_up, 0)), np.linalg.inv(_WHAM_STD**2 * np.eye(3) + error))]
    weight = np.linalg.norm(balance_up, axis=1).mean()
    if weight > 0:
        information = weight * np.linalg.inv(_BALANCE_STD**2 * np.eye(3) + error)
        evidence.append(UpEvidence(_unit(balance_up.sum(0)), information, _BALANCE_OUTLIER))
    return evidence


def evidence_of_ground(ground: np.ndarray) -> list[UpEvidence]:
    """What the background tells of up; ground (3,): the ground's normal over its variance, as `CameraPath` has it."""
    size = float(np.linalg.norm(ground))
    return [UpEvidence(ground / size, size * np.eye(3), _GROUND_OUTLIER)] if size else []


def estimate_up(camera_R: np.ndarray, evidence: Sequence[UpEvidence]) -> tuple[np.ndarray, np.ndarray]:
    """Up (3,), a unit vector in the axes that the camera's rotations refer to, and its information (3, 3).

    camera_R (T, 3, 3): rotations from these axes to the camera. Prior: few cameras are rolled, and most look about
    horizontally. Whether something is an outlier is judged by the evidence with a wider bound: judged by all, strong
    evidence would confirm itself.
    """
    right, _, forward = (_unit(axis) for axis in camera_R.mT.mean(0).T)
    pitch = UpEvidence(np.zeros(3), np.outer(forward, forward) / _PITCH_STD**2)
    roll = UpEvidence(np.zeros(3), np.outer(right, right) / _ROLL_STD**2, _ROLL_OUTLIER)
    information, sums, up = np.zeros((3, 3)), np.zeros(3), np.zeros(3)
    for each in sorted((*evidence, pitch, roll), key=lambda each: -each.outlier):
        weight = 1.0 if np.isinf(each.outlier) else 1 / (1 + (_angle(up, each, right) / each.outlier) ** 2) ** 2
        information = information + weight * each.information
        sums = sums + weight * each.information @ each.direction
        up = _unit(np.linalg.solve(information, sums))
    return up, information


def _angle(up: np.ndarray, evidence: UpEvidence, right: np.ndarray) -> float:
    """Radians by which up (3,) is off evidence; if that has no direction, off the plane across ``right`` (3,)."""
    if evidence.direction.any():
        return float(np.arccos(np.clip(up @ evidence.direction, -1, 1)))
    return float(np.arcsin(np.clip(up @ right, -1, 1)))


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)
