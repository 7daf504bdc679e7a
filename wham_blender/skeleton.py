"""Names, order and left-right pairs of SMPL and finger joints, COCO keypoints and WHAM foot points. NumPy only."""

from __future__ import annotations

import numpy as np

JOINT_NAMES = (
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle",
    "right_ankle", "spine3", "left_foot", "right_foot", "neck", "left_collar", "right_collar", "head",
    "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
    "left_hand", "right_hand",
)  # fmt: skip
PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)

# SMPL-H's finger joints, which the wrists carry. HAND_PARENTS are rows of ALL_JOINT_NAMES.
HAND_FINGERS = ("index", "middle", "pinky", "ring", "thumb")
HAND_JOINT_NAMES = tuple(
    f"{side}_{finger}{number}" for side in ("left", "right") for finger in HAND_FINGERS for number in (1, 2, 3)
)
HAND_PARENTS = tuple(
    len(JOINT_NAMES) + row - 1 if row % 3 else JOINT_NAMES.index(f"{name.partition('_')[0]}_wrist")
    for row, name in enumerate(HAND_JOINT_NAMES)
)
# The joints of a skeleton with fingers: 54, of which the first 24 are SMPL's.
ALL_JOINT_NAMES = JOINT_NAMES + HAND_JOINT_NAMES
ALL_PARENTS = PARENTS + HAND_PARENTS
FINGERTIP_NAMES = tuple(f"{side}_{finger}_tip" for side in ("left", "right") for finger in HAND_FINGERS)

COCO_NAMES = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder",
    "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee",
    "right_knee", "left_ankle", "right_ankle",
)  # fmt: skip

FOOT_POINTS = ("left_toe", "left_heel", "right_toe", "right_heel")

# How sentences name joints, foot points and limbs: whole phrases, as no language translates the side by itself.
PHRASES = {
    "root": "the root", "pelvis": "the pelvis", "spine": "the spine", "neck": "the neck", "head": "the head",
    "left_hip": "the left hip", "right_hip": "the right hip", "hip": "the hip",
    "left_knee": "the left knee", "right_knee": "the right knee", "knee": "the knee",
    "left_ankle": "the left ankle", "right_ankle": "the right ankle", "ankle": "the ankle",
    "left_foot": "the left toes", "right_foot": "the right toes",
    "left_collar": "the left collar", "right_collar": "the right collar",
    "left_shoulder": "the left shoulder", "right_shoulder": "the right shoulder", "shoulder": "the shoulder",
    "left_elbow": "the left elbow", "right_elbow": "the right elbow", "elbow": "the elbow",
    "left_wrist": "the left wrist", "right_wrist": "the right wrist", "wrist": "the wrist",
    "left_toe": "the left toe", "right_toe": "the right toe",
    "left_heel": "the left heel", "right_heel": "the right heel",
    "left_leg": "the left leg", "right_leg": "the right leg",
    "left_arm": "the left arm", "right_arm": "the right arm",
}  # fmt: skip


def mirror_permutation(names: tuple[str, ...]) -> np.ndarray:
    """Index of each name's left-right counterpart: ``mirrored = values[..., permutation, :]``.

    Returns (N,) int64; names without a side map to themselves.
    """
    swapped = [
        name.replace("left_", "right_") if name.startswith("left_") else name.replace("right_", "left_")
        for name in names
    ]
    return np.array([names.index(name) for name in swapped])


JOINT_MIRROR = mirror_permutation(JOINT_NAMES)
HAND_MIRROR = mirror_permutation(HAND_JOINT_NAMES)
COCO_MIRROR = mirror_permutation(COCO_NAMES)
FOOT_MIRROR = mirror_permutation(FOOT_POINTS)
