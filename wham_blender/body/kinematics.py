"""COCO's points and the foot points of posed bodies, with their derivatives by joint rotations and shape. NumPy only.

The derivatives are written out and not computed by backpropagation: those by rotations of a joint are cross products of
the joint's axes with its distances to the points, and for given rotations, points are linear in the shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..skeleton import PARENTS
from .body import Body


@dataclass(frozen=True)
class PosedPoints:
    """n posed bodies in the world, metres."""

    points: np.ndarray  # (n, 21, 3): COCO's 17, then left toe, left heel, right toe, right heel
    joints: np.ndarray  # (n, 24, 3)
    rotations: np.ndarray  # (n, 24, 3, 3) of the joints, from rest to the world
    parts: np.ndarray  # (n, M, 3): a point is the sum of its parts, one for each joint that it is skinned to


class PointKinematics:
    """The points of a body near given poses. Pose corrections, if the body has any, stay those of the given poses."""

    def __init__(self, body: Body, poses: np.ndarray, moving: Sequence[int]) -> None:
        """poses (n, 24, 3, 3): local rotation matrices; moving: the joints by which derivatives are taken."""
        regressor = body.point_regressor(poses)
        skinned = regressor.weights != 0
        skinned |= np.any(regressor.templates != 0, axis=(0, 3)) | np.any(regressor.directions != 0, axis=(2, 3))
        self._point, self._joint = np.nonzero(skinned)
        self._rest, self._rest_directions = regressor.rest, regressor.rest_directions
        # Offsets from the joints in their own axes, times the skinning weight: (n or 1, M, 3) and (M, 3, 10).
        self._weight = regressor.weights[skinned][:, None]
        self._offset = regressor.templates[:, skinned] - self._weight * regressor.rest[self._joint]
        shift = self._weight[..., None] * regressor.rest_directions[self._joint]
        self._offset_directions = regressor.directions[skinned] - shift
        self._sum = np.equal.outer(np.arange(len(regressor.weights)), self._point).astype(float)  # (21, M)

        ancestors = [_ancestors(joint) for joint in range(len(PARENTS))]
        pairs = {
            (point, moving.index(above))
            for point, joint in zip(self._point, self._joint, strict=True)
            for above in ancestors[joint] & set(moving)
        }
        self._moved, self._mover = np.array(sorted(pairs)).T  # which point moves with which of the moving joints
        self._moving = np.array(moving)
        below = np.array([[above in ancestors[joint] for joint in self._joint] for above in moving])
        self._lever_sum = below[self._mover] & (self._point == self._moved[:, None])  # (pairs, M)
        self._lever_sum = self._lever_sum.astype(float)

    def pose(self, local: np.ndarray, pelvis: np.ndarray, betas: np.ndarray) -> PosedPoints:
        """The points with local rotations (n, 24, 3, 3), the pelvis joint at (n, 3) metres and the shape (10,)."""
        rest = self._rest + self._rest_directions @ betas
        rotations, joints = np.empty_like(local), np.empty((len(local), 24, 3))
        for joint, parent in enumerate(PARENTS):
            if parent < 0:
                rotations[:, joint], joints[:, joint] = local[:, joint], pelvis
            else:
                rotations[:, joint] = rotations[:, parent] @ local[:, joint]
                joints[:, joint] = joints[:, parent] + rotations[:, parent] @ (rest[joint] - rest[parent])
        offset = self._offset + self._offset_directions @ betas
        parts = (rotations[:, self._joint] @ offset[..., None])[..., 0] + self._weight * joints[:, self._joint]
        return PosedPoints(self._sum @ parts, joints, rotations, parts)

    def by_rotations(self, posed: PosedPoints, axes: np.ndarray) -> np.ndarray:
        """Derivatives (n, 21, 3, K, 3) of the points by three parameters of each of the K moving joints.

        axes (n, K, 3, 3): column i is the joint's angular velocity per unit of its parameter i, in its own axes.
        """
        axes = posed.rotations[:, self._moving] @ axes
        levers = self._lever_sum @ posed.parts
        levers -= (self._lever_sum @ self._weight) * posed.joints[:, self._moving[self._mover]]
        x, y, z = (axes[:, self._mover, row] for row in range(3))
        a, b, c = (levers[..., row, None] for row in range(3))
        moved = np.stack([y * c - z * b, z * a - x * c, x * b - y * a], 2)  # cross products, without NumPy's slow one
        derivative = np.zeros((len(axes), len(self._sum), 3, len(self._moving), 3))
        derivative[:, self._moved, :, self._mover] = moved.swapaxes(0, 1)
        return derivative

    def by_betas(self, posed: PosedPoints) -> np.ndarray:
        """Derivatives (n, 21, 3, 10) of the points by the shape."""
        joints = np.zeros((len(posed.rotations), 24, 3, 10))
        for joint, parent in enumerate(PARENTS[1:], 1):
            bone = self._rest_directions[joint] - self._rest_directions[parent]
            joints[:, joint] = joints[:, parent] + posed.rotations[:, parent] @ bone
        parts = posed.rotations[:, self._joint] @ self._offset_directions
        parts += self._weight[..., None] * joints[:, self._joint]
        return (self._sum @ parts.reshape(*parts.shape[:2], -1)).reshape(len(parts), -1, 3, 10)


def _ancestors(joint: int) -> set[int]:
    """The joint and all above it."""
    return {joint} if PARENTS[joint] < 0 else {joint} | _ancestors(PARENTS[joint])


def rotation_vector_jacobian(vectors: np.ndarray) -> np.ndarray:
    """Matrices (..., 3, 3): how a rotation by axis-angle (..., 3) changes, in its own axes, per change of the vector.

    The right Jacobian of SO(3): Sola et al., *A micro Lie theory for state estimation in robotics*, arXiv 1812.01537.
    """
    square = (vectors**2).sum(-1)[..., None, None]
    angle = np.sqrt(square)
    first = 0.5 * np.sinc(angle / (2 * np.pi)) ** 2  # (1 - cos a) / a^2
    small = angle < 1e-3
    safe = np.where(small, 1.0, angle)
    second = np.where(small, 1 / 6, (safe - np.sin(safe)) / safe**3)
    cross = np.cross(np.eye(3), vectors[..., None, :])
    return np.eye(3) - first * cross + second * (cross @ cross)
