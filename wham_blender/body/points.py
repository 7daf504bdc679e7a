"""A body of a few points instead of a mesh: joints and surface points of many poses and shapes at once, in torch."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from ..skeleton import PARENTS


class PointBody(nn.Module):
    """SMPL's 24 joints, and R points each of which is a weighted mean of skinned vertices.

    Such a point is linear in the joints' transforms, so the mesh is folded into a small basis once. Bodies of other
    sizes load into one made with ``PointBody(R)``.
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
        levels = [[j for j, own in enumerate(generation) if own == number] for number in range(max(generation) + 1)]
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
        # All joints of a generation at once: many times fewer small products than joint by joint, as smplx has it.
        sizes = [len(row) for row in self._rows]
        bones = rest - rest.index_select(1, self._parents)
        first, *turned = rotations.index_select(1, self._order).split(sizes, 1)
        start, *reaching = bones.index_select(1, self._order).split(sizes, 1)
        turns, joints = [first], [start + rest[:, :1]]
        for row, turn, bone in zip(self._rows[1:], turned, reaching, strict=True):
            above = turns[-1].index_select(1, row)
            joints.append(joints[-1].index_select(1, row) + (above @ bone[..., None])[..., 0])
            turns.append(above @ turn)
        turn, joint = (torch.cat(parts, 1).index_select(1, self._back) for parts in (turns, joints))
        shift = joint - (turn @ rest[..., None])[..., 0]
        basis = self.basis + torch.einsum("nb,brjk->nrjk", betas, self.basis_shapes)
        moves = torch.cat([turn, shift[..., None]], 3).permute(0, 1, 3, 2).flatten(1, 2)  # (N, 24 * 4, 3)
        return joint, basis.flatten(2) @ moves, turn

    def moved_by(self) -> Tensor:
        """(24, R): how far each point goes along with each joint, 0..1."""
        share = self.basis[..., 3].T.clone()
        for joint in range(len(PARENTS) - 1, 0, -1):
            share[PARENTS[joint]] += share[joint]
        return share
