"""The networks' 6D rotations, mirrored poses and the nearest rotation; torch, any leading dimensions.

For axis-angle vectors see SciPy's ``Rotation``, and smplx's ``batch_rodrigues`` where gradients are needed.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..skeleton import JOINT_MIRROR


def r6d_from_matrix(matrix: Tensor) -> Tensor:
    """(..., 3, 3) to (..., 6): the first two rows."""
    return matrix[..., :2, :].flatten(-2)


def matrix_from_r6d(r6d: Tensor) -> Tensor:
    """(..., 6) to (..., 3, 3) by Gram-Schmidt on the two rows (Zhou et al., CVPR 2019, arXiv 1812.07035)."""
    first, second = r6d.unflatten(-1, (2, 3)).unbind(-2)
    x = torch.nn.functional.normalize(first, dim=-1)
    y = torch.nn.functional.normalize(second - (x * second).sum(-1, keepdim=True) * x, dim=-1)
    return torch.stack([x, y, torch.linalg.cross(x, y)], -2)


def matrix_from_columns(r6d: Tensor) -> Tensor:
    """(..., 6) to (..., 3, 3) if the six numbers are the first two columns, as in HMR2.0."""
    return matrix_from_r6d(r6d).mT


def closest_rotation(matrix: Tensor) -> Tensor:
    """Project (..., 3, 3) to SO(3): the rotation nearest in the Frobenius norm."""
    u, _, vh = torch.linalg.svd(matrix)
    vh = torch.cat([vh[..., :2, :], vh[..., 2:, :] * torch.det(u @ vh)[..., None, None]], -2)
    return u @ vh


def mirror_pose(poses: Tensor) -> Tensor:
    """Mirrored poses (..., 24, 3, 3): left and right swapped, reflected in x."""
    sign = poses.new_tensor([-1.0, 1.0, 1.0])
    return poses[..., JOINT_MIRROR, :, :] * sign[:, None] * sign
