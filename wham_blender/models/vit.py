"""The plain vision transformer that ViTPose-H and HMR2.0 share.

Dosovitskiy et al., ICLR 2021 (arXiv 2010.11929), as Xu et al., *ViTPose*, NeurIPS 2022 (arXiv 2204.12484) use it: no
class token, padded patches, features as a map.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

HEIGHT, WIDTH = 256, 192  # pixels of the input
PATCH = 16
ROWS, COLUMNS = HEIGHT // PATCH, WIDTH // PATCH
# ViT-H
CHANNELS = 1280
DEPTH = 32
HEADS = 16


class Attention(nn.Module):
    """Multi-head self-attention: (N, tokens, channels) to the same."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, tokens, channels) to the same."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Two layers; the hidden one is four times as wide."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, 4 * channels)
        self.fc2 = nn.Linear(4 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, tokens, channels) to the same."""
        return self.fc2(nn.functional.gelu(self.fc1(x)))


class Block(nn.Module):
    """Attention and an MLP, each after a norm and with a residual connection."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, eps=1e-6)
        self.attn = Attention(channels, heads)
        self.norm2 = nn.LayerNorm(channels, eps=1e-6)
        self.mlp = Mlp(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, tokens, channels) to the same."""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class PatchEmbed(nn.Module):
    """Embeds the picture's patches as tokens."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, channels, PATCH, PATCH, padding=2)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, 256, 192) of any precision to (N, 192, channels) in the precision of the weights."""
        return self.proj(images.to(self.proj.weight.dtype)).flatten(2).mT


class ViT(nn.Module):
    """ViT-H by default; ``depth``: number of blocks."""

    def __init__(self, depth: int = DEPTH, channels: int = CHANNELS, heads: int = HEADS) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(channels)
        # The first row was a class token's: the published network adds it to every patch's.
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + ROWS * COLUMNS, channels))
        self.blocks = nn.ModuleList(Block(channels, heads) for _ in range(depth))
        self.last_norm = nn.LayerNorm(channels, eps=1e-6)

    def forward(self, images: Tensor) -> Tensor:
        """Pictures (N, 3, 256, 192), RGB normalised as for ImageNet, to tokens (N, 16 * 12, channels)."""
        x = self.patch_embed(images) + self.pos_embed[:, 1:] + self.pos_embed[:, :1]
        for block in self.blocks:
            x = block(x)
        return self.last_norm(x)
