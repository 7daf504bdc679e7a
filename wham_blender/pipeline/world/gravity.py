"""Which way is up: told by WHAM, by how people keep their balance, and by how cameras are held."""

from __future__ import annotations

import numpy as np

from ...skeleton import JOINT_NAMES

_UNSURE = 0.08  # radians that WHAM and balance together are off
_DISAGREE = 0.35  # radians between the two from which on balance is hardly believed
_STANDING = 0.8  # of the legs' length that the hips are from the feet of one who stands
_ROLL, _ROLLED = 0.05, 0.25  # radians that a camera is held askew, and from which on it is so on purpose
_PITCH = 0.6  # radians that it looks up or down

# Shares of the body's mass and where along a segment it is (de Leva, J. Biomechanics 1996, men): from, to, mass, place.
_SEGMENTS = [
    ("neck", "head", 0.069, 0.9), ("neck", "pelvis", 0.435, 0.5),
    *((f"{side}_{a}", f"{side}_{b}", mass, place) for side in ("left", "right") for a, b, mass, place in (
        ("shoulder", "elbow", 0.027, 0.58), ("elbow", "wrist", 0.022, 0.6), ("hip", "knee", 0.142, 0.41),
        ("knee", "ankle", 0.043, 0.45), ("ankle", "foot", 0.014, 0.5),
    )),
]  # fmt: skip


def mass_centre(joints: np.ndarray) -> np.ndarray:
    """The body's centre of mass (F, 3) of SMPL's joints (F, 24, 3)."""
    place = np.zeros(len(JOINT_NAMES))
    for start, end, mass, share in _SEGMENTS:
        place[JOINT_NAMES.index(start)] += mass * (1 - share)
        place[JOINT_NAMES.index(end)] += mass * share
    return np.einsum("j,fjk->fk", place / place.sum(), joints)


def balance(joints: np.ndarray, feet: np.ndarray, contacts: np.ndarray) -> np.ndarray:
    """Up as each frame's balance has it (F, 3), its length the frame's weight.

    joints (F, 24, 3) and feet (F, 4, 3) in axes that stay, contacts (F, 4) 0..1. Over a while, who moves on their feet
    has the centre of mass above where they stand, or they would fall. Who sits or lies tells nothing.
    """
    force = np.clip(contacts, 0, 1) ** 2
    total = force.sum(1)
    stand = np.einsum("fk,fki->fi", force, feet) / np.maximum(total, 1e-6)[:, None]
    up = mass_centre(joints) - stand
    up /= np.linalg.norm(up, axis=1, keepdims=True)
    hip, knee, ankle = (joints[:, [JOINT_NAMES.index(f"{s}_{part}") for s in ("left", "right")]]
                        for part in ("hip", "knee", "ankle"))  # fmt: skip
    legs = np.linalg.norm(hip - knee, axis=-1) + np.linalg.norm(knee - ankle, axis=-1)
    reach = (np.linalg.norm(hip - ankle, axis=-1) / legs).max(1)
    return up * (np.minimum(total, 1) * (total > 0.3) * (reach > _STANDING))[:, None]


def upward(fixed: np.ndarray, said: np.ndarray, balanced: np.ndarray) -> np.ndarray:
    """The way up (3,) in fixed axes.

    fixed (T, 3, 3): the camera's rotations from those axes; said (n, 3): what WHAM says of every frame; balanced
    (n, 3): `balance` of the same. Few cameras are rolled, and they rather look level than not.
    """
    # The median, so that the body's tilt in a single frame comes from the picture alone.
    up = np.median(said, 0)
    up /= np.linalg.norm(up)
    weight = np.linalg.norm(balanced, axis=1).mean()
    if weight > 0:
        mean = balanced.sum(0) / np.linalg.norm(balanced.sum(0))
        apart = np.arccos(np.clip(up @ mean, -1, 1))
        up = up + mean * weight / (1 + (apart / _DISAGREE) ** 2) ** 2
    held = fixed.mT.mean(0)  # the camera's axes
    right, down, ahead = held.T / np.linalg.norm(held, axis=0)
    roll, pitch = np.arctan2(up @ right, -up @ down), np.arctan2(up @ ahead, -up @ down)
    level = 1 / _ROLL**2 / (1 + (roll / _ROLLED) ** 2) ** 2
    roll /= 1 + level * _UNSURE**2
    pitch /= 1 + (_UNSURE / _PITCH) ** 2
    return -down + np.tan(roll) * right + np.tan(pitch) * ahead
