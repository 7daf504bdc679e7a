"""Finger joints at rest where a body file has none, and a relaxed hand. NumPy only.

SMPL's T-pose: metres, y up, the left hand points along x with its palm down.
"""

from __future__ import annotations

import numpy as np

from .skeleton import HAND_FINGERS, JOINT_NAMES

# The open body's left hand: finger joints and fingertip less the wrist, divided by the distance from SMPL's wrist to
# its hand joint; tests compare them with the body file.
_PROPORTIONS = {
    "index": ((1.009, -0.034, 0.254), (1.25, -0.098, 0.292), (1.449, -0.2, 0.315), (1.666, -0.327, 0.346)),
    "middle": ((1.0, -0.001, 0.0), (1.309, -0.105, -0.041), (1.551, -0.217, -0.056), (1.769, -0.324, -0.067)),
    "pinky": ((0.851, -0.052, -0.368), (1.028, -0.13, -0.448), (1.148, -0.208, -0.495), (1.298, -0.311, -0.563)),
    "ring": ((0.943, -0.003, -0.19), (1.207, -0.085, -0.274), (1.421, -0.185, -0.324), (1.648, -0.3, -0.389)),
    "thumb": ((0.367, -0.032, 0.237), (0.481, -0.225, 0.432), (0.729, -0.393, 0.622), (0.946, -0.535, 0.713)),
}  # fmt: skip
# How far the joints of a relaxed hand are bent beyond the open body's rest pose, radians; set by eye.
_RELAXED = {
    "index": (0.25, 0.4, 0.2), "middle": (0.3, 0.45, 0.25), "ring": (0.35, 0.5, 0.25), "pinky": (0.35, 0.45, 0.25),
    "thumb": (0.0, 0.1, 0.15),
}  # fmt: skip


def proportional(rest_joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Finger joints (30, 3) and fingertips (10, 3) in the proportions of the open body, for SMPL's joints (24, 3)."""
    hands = []
    for side, sign in (("left", 1.0), ("right", -1.0)):
        wrist, hand = (rest_joints[JOINT_NAMES.index(f"{side}_{joint}")] for joint in ("wrist", "hand"))
        shape = np.array([_PROPORTIONS[finger] for finger in HAND_FINGERS]) * [sign, 1.0, 1.0]
        hands.append(wrist + shape * np.linalg.norm(hand - wrist))
    points = np.concatenate(hands)  # (10, 4, 3)
    return points[:, :3].reshape(-1, 3), points[:, 3]


def flexion_axes(joints: np.ndarray, tips: np.ndarray) -> np.ndarray:
    """The unit axes (30, 3) about which the finger joints bend towards the palm, for joints and tips as above."""
    chains = np.concatenate([joints.reshape(10, 3, 3), tips[:, None]], 1)
    bones = np.diff(chains, axis=1)  # (10, 3, 3)
    axes = np.cross(bones, [0.0, -1.0, 0.0])
    thumbs = HAND_FINGERS.index("thumb") + np.array([0, len(HAND_FINGERS)])
    axes[thumbs] = np.cross(bones[thumbs, 0], bones[thumbs, 2])[:, None]  # they are a little bent at rest
    return (axes / np.linalg.norm(axes, axis=-1, keepdims=True)).reshape(-1, 3)


def relaxed(joints: np.ndarray, tips: np.ndarray) -> np.ndarray:
    """Axis-angle rotations (30, 3) of a relaxed hand, radians, for finger joints and tips at rest as above."""
    angles = np.array([_RELAXED[finger] for finger in HAND_FINGERS] * 2).reshape(-1, 1)
    return angles * flexion_axes(joints, tips)
