"""The per-frame lifter: keypoints and the landmark net's 3D of one frame to an SMPL pose and a feature.

Its last hidden layer is WHAM's image feature, its pose the first pose of a track.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..skeleton import COCO_NAMES, mirror_permutation

# COCO-17, then what the landmark net sees of feet and hands.
POINT_NAMES = (
    *COCO_NAMES,
    "left_heel", "right_heel", "left_foot_index", "right_foot_index",
    "left_index", "right_index", "left_pinky", "right_pinky",
)  # fmt: skip
POINTS = len(POINT_NAMES)
LANDMARK_MIRROR = mirror_permutation(POINT_NAMES)
INPUTS = POINTS * 2 + POINTS + 3 + POINTS * 3 + 1


class Block(nn.Module):
    """Two layers with a residual: (N, width) to (N, width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.layer1 = nn.Linear(width, width)
        self.layer2 = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(N, width) to (N, width)."""
        return x + self.layer2(torch.nn.functional.gelu(self.layer1(self.norm(x))))


class Lifter(nn.Module):
    """A residual network on one frame's points.

    width: of the hidden layers; depth: number of blocks; d_feat: width of the feature.
    """

    def __init__(self, width: int = 512, depth: int = 3, d_feat: int = 256) -> None:
        super().__init__()
        self.embed = nn.Linear(INPUTS, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.feature = nn.Linear(width, d_feat)
        self.pose = nn.Linear(d_feat, 144)
        self.betas = nn.Linear(d_feat, 10)

    @classmethod
    def from_state_dict(cls, tensors: dict[str, Tensor]) -> Lifter:
        """Build the size that the tensors have and load them, strictly."""
        width, d_feat = tensors["embed.weight"].shape[0], tensors["feature.weight"].shape[0]
        depth = len({name.split(".")[1] for name in tensors if name.startswith("blocks.")})
        lifter = cls(width, depth, d_feat)
        lifter.load_state_dict(tensors)
        return lifter

    def forward(
        self, keypoints: Tensor, mask: Tensor, place: Tensor, landmarks: Tensor, seen3d: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Lift N frames.

        keypoints (N, 25, 2) in the box, -1..1, zero where masked; mask (N, 25) bool, confident points; place (N, 3) of
        the box in the picture; landmarks (N, 25, 3) metres, hip-centred, camera axes; seen3d (N, 1) 1 where they count.
        Returns the feature (N, d_feat), the pose's 6D rotations (N, 144), joint 0 in camera axes, and betas (N, 10).
        """
        count = len(keypoints)
        x = torch.cat(
            [
                keypoints.reshape(count, -1), mask.to(keypoints.dtype), place,
                (landmarks * seen3d[..., None]).reshape(count, -1), seen3d,
            ], 1,
        )  # fmt: skip
        x = self.embed(x)
        for block in self.blocks:
            x = block(x)
        feature = torch.nn.functional.gelu(self.feature(self.norm(x)))
        return feature, self.pose(feature), self.betas(feature)
