"""SMPL reduced to its joints and a few surface points, for many poses and shapes at once; torch."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from ..skeleton import PARENTS


class PointBody(nn.Module):
    """SMPL's 24 joints, and R points, each a weighted mean of skinned vertices.

    Such a point is linear in the joints' transforms, so the mesh is reduced to a small basis once. The buffers are
    zeros until a state dict of the same R is loaded.
    """

    rest: Tensor  # (24, 3) joints of the mean body, metres
    rest_shapes: Tensor  # (10, 24, 3)
    basis: Tensor  # (R, 24, 4)
    basis_shapes: Tensor  # (10, R, 24, 4)

    def __init__(self, points: int) -> None:
        super().__init__()
        self.register_buffer("rest", torch.zeros(24, 3))
        self.register_buffer("rest_shapes", torch.zeros(10, 24, 3))
        self.register_buffer("basis", torch.zeros(points, 24, 4))
        self.register_buffer("basis_shapes", torch.zeros(10, points, 24, 4))
        generation = [0]
        for parent in PARENTS[1:]:
            generation.append(generation[parent] + 1)
        levels = [[j for j, depth in enumerate(generation) if depth == level] for level in range(max(generation) + 1)]
        order = [joint for level in levels for joint in level]
        self._parents = torch.tensor((0, *PARENTS[1:]))
        self._order, self._back = torch.tensor(order), torch.tensor([order.index(j) for j in range(len(order))])
        self._rows = [torch.zeros(1, dtype=torch.long)]  # of each joint's parent in the generation before
        self._rows += [torch.tensor([above.index(PARENTS[j]) for j in below]) for above, below in pairwise(levels)]

    def forward(self, rotations: Tensor, betas: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pose the body at the origin: rotations (N, 24, 3, 3), betas (N, 10).

        Returns joints (N, 24, 3) and points (N, R, 3), metres, and the joints' global rotations (N, 24, 3, 3).
        """
        rest = self.rest + torch.einsum("nb,bjk->njk", betas, self.rest_shapes)
        # All joints of a generation at once: many times fewer small products than joint by joint, as in smplx.
        sizes = [len(row) for row in self._rows]
        bones = rest - rest.index_select(1, self._parents)
        root_rotation, *local_rotations = rotations.index_select(1, self._order).split(sizes, 1)
        root_bone, *other_bones = bones.index_select(1, self._order).split(sizes, 1)
        by_level, joints = [root_rotation], [root_bone + rest[:, :1]]
        for row, local, bone in zip(self._rows[1:], local_rotations, other_bones, strict=True):
            parent = by_level[-1].index_select(1, row)
            joints.append(joints[-1].index_select(1, row) + (parent @ bone[..., None])[..., 0])
            by_level.append(parent @ local)
        rotation, joint = (torch.cat(parts, 1).index_select(1, self._back) for parts in (by_level, joints))
        shift = joint - (rotation @ rest[..., None])[..., 0]
        basis = self.basis + torch.einsum("nb,brjk->nrjk", betas, self.basis_shapes)
        transforms = torch.cat([rotation, shift[..., None]], 3).permute(0, 1, 3, 2).flatten(1, 2)  # (N, 24 * 4, 3)
        return joint, basis.flatten(2) @ transforms, rotation

    def joint_influence(self) -> Tensor:
        """(24, R): how far each point moves with each joint, 0..1: skinning weights of the joint and all below it."""
        influence = self.basis[..., 3].T.clone()
        for joint in range(len(PARENTS) - 1, 0, -1):
            influence[PARENTS[joint]] += influence[joint]
        return influence
