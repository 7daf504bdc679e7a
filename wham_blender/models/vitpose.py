"""The network of ViTPose-H: a person's upright crop to heatmaps of COCO's 17 keypoints.

Xu et al., *ViTPose: Simple Vision Transformer Baselines for Human Pose Estimation*, NeurIPS 2022 (arXiv 2204.12484),
with the classic decoder.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..skeleton import COCO_NAMES
from . import vit
from .loading import fill

HEATMAP = (64, 48)  # rows and columns
_FILTERS = 256
_REFUSAL = (
    "These are not the weights of ViTPose-H: {}. Choose the published file, vitpose-h-multi-coco.pth, or leave the "
    "choice to the add-on."
)


class KeypointHead(nn.Module):
    """Two transposed convolutions, each of which doubles the resolution, then one heatmap per keypoint."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for channels in (vit.CHANNELS, _FILTERS):
            layers.append(nn.ConvTranspose2d(channels, _FILTERS, 4, stride=2, padding=1, bias=False))
            layers += [nn.BatchNorm2d(_FILTERS), nn.ReLU(inplace=True)]
        self.deconv_layers = nn.Sequential(*layers)
        self.final_layer = nn.Conv2d(_FILTERS, len(COCO_NAMES), 1)

    def forward(self, x: Tensor) -> Tensor:
        """Features (N, 1280, 16, 12) to heatmaps (N, 17, 64, 48)."""
        return self.final_layer(self.deconv_layers(x).to(self.final_layer.weight.dtype))


class ViTPose(nn.Module):
    """The network; ``depth``: number of the transformer's blocks."""

    def __init__(self, depth: int = vit.DEPTH) -> None:
        super().__init__()
        self.backbone = vit.ViT(depth)
        self.keypoint_head = KeypointHead()

    @classmethod
    def from_state_dict(cls, tensors: Mapping[str, Tensor], depth: int | None = None) -> ViTPose:
        """The network with the published file's tensors, all of them and no others, in evaluation mode.

        ``depth`` None: ``vit.DEPTH`` blocks. Raises WeightsError if a tensor does not fit.
        """
        with torch.device("meta"):
            model = cls(vit.DEPTH if depth is None else depth)
        fill(model, tensors, _REFUSAL)
        return model.eval().requires_grad_(False)

    def half_precision_parts(self) -> list[nn.Module]:
        """The modules that may run in half precision; they do nearly all of the work."""
        return [self.backbone, self.keypoint_head.deconv_layers]

    def forward(self, images: Tensor) -> Tensor:
        """Crops (N, 3, 256, 192), normalised RGB, to heatmaps (N, 17, 64, 48), COCO's order."""
        # As a map, tokens are channels-last already: the convolutions take them without a copy.
        tokens = self.backbone(images).mT.unflatten(-1, (vit.ROWS, vit.COLUMNS))
        return self.keypoint_head(tokens)
