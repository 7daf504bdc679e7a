"""Estimates the direction of gravity from WHAM's world, the body's balance and how cameras are usually held."""

from __future__ import annotations

import numpy as np

from ...skeleton import JOINT_NAMES

# All of these were set by hand.
_BODY_STD = 0.08  # radians, standard deviation of WHAM's up and the balance together
_BALANCE_OUTLIER = 0.35  # radians between the two beyond which the balance loses most of its weight
_GROUND_OUTLIER = 0.25  # radians from the ground's normal to up, beyond which the ground is a slope
_STANDING_REACH = 0.8  # a person is not standing if both hips are nearer to the ankles than this times the leg length
_ROLL_STD = 0.05  # radians, standard deviation of the roll of a hand-held camera
_ROLL_OUTLIER = 0.25  # radians beyond which a roll is intended
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


def estimate_up(
    camera_R: np.ndarray, wham_up: np.ndarray, balance_up: np.ndarray, ground: np.ndarray | None = None
) -> np.ndarray:
    """Up (3,), not normalised, in the axes that the camera's rotations refer to.

    camera_R (T, 3, 3): rotations from these axes to the camera; wham_up (n, 3): up of WHAM's world in every frame;
    balance_up (n, 3): `up_from_balance` of the same frames; ground (3,): the ground's normal over its variance, as
    `CameraPath` has it. Prior: few cameras are rolled, and most look about horizontally.
    """
    # The median: WHAM's error in a single frame must not tilt the world, where the picture has the body upright.
    up = np.median(wham_up, 0)
    up /= np.linalg.norm(up)
    weight = np.linalg.norm(balance_up, axis=1).mean()
    if weight > 0:
        mean = balance_up.sum(0) / np.linalg.norm(balance_up.sum(0))
        angle = np.arccos(np.clip(up @ mean, -1, 1))
        up = up + mean * weight / (1 + (angle / _BALANCE_OUTLIER) ** 2) ** 2
    axes = camera_R.mT.mean(0)  # the camera's mean axes
    right, down, forward = axes.T / np.linalg.norm(axes, axis=0)
    roll, pitch = np.arctan2(up @ right, -up @ down), np.arctan2(up @ forward, -up @ down)
    level = 1 / _ROLL_STD**2 / (1 + (roll / _ROLL_OUTLIER) ** 2) ** 2
    roll /= 1 + level * _BODY_STD**2
    pitch /= 1 + (_BODY_STD / _PITCH_STD) ** 2
    up = -down + np.tan(roll) * right + np.tan(pitch) * forward
    if ground is None or not ground.any():
        return up
    up /= np.linalg.norm(up)
    weight = np.linalg.norm(ground)
    angle = np.arccos(np.clip(up @ ground / weight, -1, 1))
    return up / _BODY_STD**2 + ground / (1 + (angle / _GROUND_OUTLIER) ** 2) ** 2
