"""The network of HMR2.0 with ViT-H: a person's crop to an image feature and an SMPL pose.

Goel et al., *Humans in 4D: Reconstructing and Tracking Humans with Transformers*, ICCV 2023 (arXiv 2305.20091).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from . import vit
from .loading import fill

SIDE = 256  # pixels of the square crop
D_FEAT = 1024
_HEADS, _HEAD_WIDTH = 8, 64
_LAYERS = 6
_REFUSAL = (
    "These are not the weights of HMR2.0: {}. Choose the file that WHAM uses, hmr2a.ckpt, or leave the choice to the "
    "add-on."
)
_MARGIN = (SIDE - vit.WIDTH) // 2  # columns on the left and right of the square that the network does not use
CROPPED_COLUMNS = slice(_MARGIN, SIDE - _MARGIN)  # the columns that it uses
_SKIPPED = ("smpl.", "discriminator.")  # prefixes in the published file: the body, and the discriminator of training
_SKIPPED_NAMES = ("initialized",)


class HMR2Output(NamedTuple):
    """HMR2.0's output for N crops."""

    features: Tensor  # (N, 1024): WHAM's image feature
    pose: Tensor  # (N, 144) r6d of SMPL's 24 joints, the matrix's first two columns; the root's in the camera frame
    betas: Tensor  # (N, 10)
    cam: Tensor  # (N, 3) weak-perspective camera of the crop: scale, tx, ty


class PreNorm(nn.Module):
    """A layer after a LayerNorm."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(D_FEAT)
        self.fn = layer

    def forward(self, x: Tensor, *context: Tensor) -> Tensor:
        """(N, tokens, 1024) to the same."""
        return self.fn(self.norm(x), *context)


class _Attention(nn.Module):
    """Multi-head attention, the part that self- and cross-attention share."""

    def __init__(self) -> None:
        super().__init__()
        # The identity stands for the published network's dropout, so that names agree.
        self.to_out = nn.Sequential(nn.Linear(_HEADS * _HEAD_WIDTH, D_FEAT), nn.Identity())

    def _attend(self, *qkv: Tensor) -> Tensor:
        q, k, v = (part.unflatten(-1, (_HEADS, _HEAD_WIDTH)).transpose(1, 2) for part in qkv)
        return self.to_out(scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class SelfAttention(_Attention):
    """Self-attention among the tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.to_qkv = nn.Linear(D_FEAT, 3 * _HEADS * _HEAD_WIDTH, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, tokens, 1024) to the same."""
        return self._attend(*self.to_qkv(x).chunk(3, -1))


class CrossAttention(_Attention):
    """Cross-attention from the tokens to the picture's."""

    def __init__(self) -> None:
        super().__init__()
        self.to_kv = nn.Linear(vit.CHANNELS, 2 * _HEADS * _HEAD_WIDTH, bias=False)
        self.to_q = nn.Linear(D_FEAT, _HEADS * _HEAD_WIDTH, bias=False)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """(N, tokens, 1024) and the picture's (N, 192, 1280) to (N, tokens, 1024)."""
        return self._attend(self.to_q(x), *self.to_kv(context).chunk(2, -1))


class FeedForward(nn.Module):
    """An MLP with hidden layers as wide as its input."""

    def __init__(self) -> None:
        super().__init__()
        # The identities stand for the published network's dropouts, so that names agree.
        self.net = nn.Sequential(
            nn.Linear(D_FEAT, D_FEAT), nn.GELU(), nn.Identity(), nn.Linear(D_FEAT, D_FEAT), nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, tokens, 1024) to the same."""
        return self.net(x)


class CrossTransformer(nn.Module):
    """Layers of self-attention, cross-attention and MLP, each with a residual connection."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.ModuleList([PreNorm(SelfAttention()), PreNorm(CrossAttention()), PreNorm(FeedForward())])
            for _ in range(_LAYERS)
        )

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """(N, tokens, 1024) and the picture's (N, 192, 1280) to (N, tokens, 1024)."""
        for layer in self.layers.children():
            self_attention, cross_attention, feed_forward = layer.children()
            x = x + self_attention(x)
            x = x + cross_attention(x, context)
            x = x + feed_forward(x)
        return x


class TokenDecoder(nn.Module):
    """One query token, the same for every picture, that attends to the picture's tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.to_token_embedding = nn.Linear(1, D_FEAT)
        self.pos_embedding = nn.Parameter(torch.zeros(1, 1, D_FEAT))
        self.transformer = CrossTransformer()

    def forward(self, context: Tensor) -> Tensor:
        """The picture's tokens (N, 192, 1280) to (N, 1024)."""
        token = self.to_token_embedding(context.new_zeros(len(context), 1, 1)) + self.pos_embedding
        return self.transformer(token, context)[:, 0]


class SmplHead(nn.Module):
    """The picture's tokens to SMPL's parameters, as offsets from mean parameters."""

    init_body_pose: Tensor
    init_betas: Tensor
    init_cam: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.transformer = TokenDecoder()
        self.decpose = nn.Linear(D_FEAT, 144)
        self.decshape = nn.Linear(D_FEAT, 10)
        self.deccam = nn.Linear(D_FEAT, 3)
        self.register_buffer("init_body_pose", torch.zeros(1, 144))
        self.register_buffer("init_betas", torch.zeros(1, 10))
        self.register_buffer("init_cam", torch.zeros(1, 3))

    def forward(self, context: Tensor) -> HMR2Output:
        """(N, 192, 1280) to the output."""
        features = self.transformer(context)
        return HMR2Output(
            features,
            self.decpose(features) + self.init_body_pose,
            self.decshape(features) + self.init_betas,
            self.deccam(features) + self.init_cam,
        )


class HMR2(nn.Module):
    """The network; ``depth``: number of the transformer's blocks."""

    def __init__(self, depth: int = vit.DEPTH) -> None:
        super().__init__()
        self.backbone = vit.ViT(depth)
        self.smpl_head = SmplHead()

    @classmethod
    def from_state_dict(cls, tensors: Mapping[str, Tensor], depth: int | None = None) -> HMR2:
        """The network with the published file's tensors, in evaluation mode.

        The file's body (``smpl.*``) and discriminator are skipped by name; every other tensor must be the network's.
        ``depth`` None: ``vit.DEPTH`` blocks. Raises WeightsError if a tensor does not fit.
        """
        with torch.device("meta"):
            model = cls(vit.DEPTH if depth is None else depth)
        network = {
            name: tensor
            for name, tensor in tensors.items()
            if not name.startswith(_SKIPPED) and name not in _SKIPPED_NAMES
        }
        fill(model, network, _REFUSAL)
        return model.eval().requires_grad_(False)

    def half_precision_parts(self) -> list[nn.Module]:
        """The modules that may run in half precision; they do nearly all of the work."""
        return [self.backbone]

    def forward(self, images: Tensor) -> HMR2Output:
        """Square crops (N, 3, 256, 256), normalised RGB; the outer 32 columns on both sides are not used."""
        return self.forward_cropped(images[..., CROPPED_COLUMNS])

    def forward_cropped(self, columns: Tensor) -> HMR2Output:
        """The columns of square crops that are used, (N, 3, 256, 192)."""
        return self.smpl_head(self.backbone(columns).to(self.smpl_head.decpose.weight.dtype))
