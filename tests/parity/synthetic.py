"""Synthetic SMPL body and network weights: the numbers on which the reference outputs in ``reference/`` were computed.

No licensed file is involved. Every array comes from NumPy's PCG64, seeded by a name (its CRC-32) and a number, so that
any machine and any implementation can make the same values. The order of the draws is part of the recipe.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence

import numpy as np

from wham_blender.skeleton import JOINT_NAMES, PARENTS

VERTICES, TRIANGLES = 6890, 13776  # as in SMPL
_BODY_NOISE = 0.03  # metres, standard deviation of the vertices about their bone
_SKINNING_SCALE = 0.02  # square metres
_ROW_VERTICES = 12  # with a weight in each row of a joint regressor

# Rest pose, metres; x to the body's left, y up, z to the front. The right side is the left one mirrored in x.
_REST = {
    "pelvis": (0.0, 0.0, 0.0),
    "spine1": (0.0, 0.11, -0.02),
    "spine2": (0.0, 0.24, -0.02),
    "spine3": (0.0, 0.30, 0.0),
    "neck": (0.0, 0.51, -0.03),
    "head": (0.0, 0.58, 0.01),
    "left_hip": (0.07, -0.09, 0.0),
    "left_knee": (0.10, -0.47, 0.0),
    "left_ankle": (0.09, -0.87, -0.03),
    "left_foot": (0.11, -0.93, 0.09),
    "left_collar": (0.08, 0.42, -0.02),
    "left_shoulder": (0.17, 0.45, -0.03),
    "left_elbow": (0.43, 0.44, -0.05),
    "left_wrist": (0.68, 0.45, -0.06),
    "left_hand": (0.77, 0.44, -0.07),
}
_FACE = ((0, 0.08, 0.10), (0.03, 0.11, 0.09), (-0.03, 0.11, 0.09), (0.08, 0.09, 0), (-0.08, 0.09, 0))  # from the head
_FOOT_POINTS = (("foot", (0, 0, 0.08)), ("ankle", (0, -0.06, -0.05)))  # toe, heel: a joint and the offset from it


def _sides(*joints: str) -> list[str]:
    return [f"{side}_{joint}" for joint in joints for side in ("left", "right")]


# The joints at which the rows of WHAM's regressors lie: COCO's after the face, then its 14 others, and Human3.6M's 17.
_COCO_LIMBS = _sides("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
_WHAM_OTHERS = [
    "pelvis", *_sides("hip", "knee", "ankle"), "neck", "head", *_sides("shoulder", "elbow"), "left_wrist",
]  # fmt: skip
_H36M = [
    "pelvis", "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", "spine1", "neck",
    "head", "head", "left_shoulder", "left_elbow", "left_wrist", "right_shoulder", "right_elbow", "right_wrist",
]  # fmt: skip

_IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)  # r6d
# Layers whose outputs have to be like a trained network's (rotations near the identity, a person in front of the
# camera, contacts on both sides of 0.5): the drawn values times the first number, plus the second.
_SCALED: dict[str, tuple[float, float | Sequence[float]]] = {
    "trajectory_decoder.regressor.declayer1.bias": (1, _IDENTITY),
    "motion_decoder.regressor.declayer0.weight": (4, 0),
    "motion_decoder.regressor.declayer0.bias": (1, _IDENTITY * len(JOINT_NAMES)),
    "motion_decoder.regressor.declayer1.weight": (5, 0),
    "motion_decoder.regressor.declayer2.bias": (1, (0.9, 0.0, 0.0)),
    "motion_decoder.regressor.declayer3.weight": (40, 0),
    "motion_decoder.regressor.declayer3.bias": (1, 0.5),
}


def generator(name: str, seed: int) -> np.random.Generator:
    """The random numbers of one name."""
    return np.random.Generator(np.random.PCG64([zlib.crc32(name.encode()), seed]))


def rest_joints() -> np.ndarray:
    """The 24 joints (24, 3) of the rest pose, metres."""
    rows = []
    for name in JOINT_NAMES:
        x, y, z = _REST[name.replace("right_", "left_")]
        rows.append((-x if name.startswith("right_") else x, y, z))
    return np.array(rows)


def body_model(seed: int = 0) -> dict[str, np.ndarray]:
    """The arrays of an SMPL file (6890 vertices, 24 joints), WHAM's joint regressors and mean parameters, float64.

    A vertex lies at a random place along a random bone, with noise; skinning weights fall off with the distance from
    the joints; regressors are random weights of the nearest vertices.
    """
    draw, joints = generator("body_model", seed), rest_joints()
    at = dict(zip(JOINT_NAMES, joints, strict=True))
    # A bone goes from a joint to its first child; the last joint of a limb is a bone of no length.
    ends = joints[[PARENTS.index(joint) if joint in PARENTS else joint for joint in range(len(PARENTS))]]
    bone = draw.integers(0, len(joints), VERTICES)
    along = draw.random((VERTICES, 1))
    vertices = joints[bone] * (1 - along) + ends[bone] * along
    vertices = vertices + draw.normal(0, _BODY_NOISE, (VERTICES, 3))
    squared = ((vertices[:, None] - joints) ** 2).sum(-1)
    near = np.exp(-squared / _SKINNING_SCALE) + 1e-9

    def regressor(targets: Sequence[np.ndarray]) -> np.ndarray:
        """Rows that sum to one, each over the vertices nearest to a target."""
        rows = np.zeros((len(targets), VERTICES))
        for row, target in zip(rows, targets, strict=True):
            nearest = ((vertices - target) ** 2).sum(1).argsort()[:_ROW_VERTICES]
            row[nearest] = draw.dirichlet(np.ones(_ROW_VERTICES))
        return rows

    coco = [at["head"] + offset for offset in np.array(_FACE)] + [at[name] for name in _COCO_LIMBS]
    feet = [at[f"{side}_{name}"] + offset for side in ("left", "right") for name, offset in _FOOT_POINTS]
    kinematic_tree = np.array([PARENTS, range(len(PARENTS))], np.int64)
    kinematic_tree[0, 0] = 2**32 - 1  # SMPL's files have the root's parent, -1, without its sign
    body = {
        "v_template": vertices,
        "weights": near / near.sum(1, keepdims=True),
        "kintree_table": kinematic_tree,
        "mean_cam": np.array([0.9, 0.0, 0.0]),
    }
    # From here on one draw after the other, in the recipe's order.
    body["shapedirs"] = draw.normal(0, 0.004, (VERTICES, 3, 10))
    body["posedirs"] = draw.normal(0, 0.0005, (VERTICES, 3, 207))
    body["J_regressor"] = regressor(list(joints))
    body["f"] = draw.integers(0, VERTICES, (TRIANGLES, 3)).astype(np.uint32)
    body["J_regressor_wham"] = regressor([*coco, *(at[name] for name in _WHAM_OTHERS)])
    body["J_regressor_h36m"] = regressor([at[name] for name in _H36M])
    body["J_regressor_feet"] = regressor(feet)
    body["mean_pose"] = np.array(_IDENTITY * len(joints)) + draw.normal(0, 0.05, 6 * len(joints))
    body["mean_shape"] = draw.normal(0, 0.3, 10)
    return body


def state_dict(shapes: Mapping[str, Sequence[int]], seed: int = 0) -> dict[str, np.ndarray]:
    """Float32 weights of those names and shapes; each depends on its name, its shape and the seed alone.

    Uniform: matrices and convolutions within 1 / sqrt(inputs of a neuron), weights of norms within 0.9..1.1, running
    variances within 0.8..1.2, other vectors within 0.05. Then `_SCALED`.
    """
    weights = {}
    for name, shape in shapes.items():
        low, high = _range(name, shape)
        scale, offset = _SCALED.get(name, (1, 0))
        drawn = generator(name, seed).uniform(low, high, shape)
        weights[name] = np.asarray(drawn * scale + np.asarray(offset), np.float32)
    return weights


def _range(name: str, shape: Sequence[int]) -> tuple[float, float]:
    if len(shape) > 1:
        bound = 1 / math.sqrt(math.prod(shape[1:]))
        return -bound, bound
    if name.endswith("running_var"):
        return 0.8, 1.2
    if name.endswith("weight"):
        return 0.9, 1.1
    return -0.05, 0.05
