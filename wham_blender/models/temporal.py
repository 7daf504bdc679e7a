"""The network that corrects the lifter's poses of a whole track: it sees the frames before and after each one.

Its input for each frame is what the lifter's second network sees: the observations, the last estimate and its
residuals; so it weights observations and estimates by how they agree over time. It replaces a filter of a fixed width:
where the observations are noisy it smooths, where the person moves fast it does not.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..body.rotations import r6d_from_matrix
from .lifter import INPUTS, RESIDUALS, Estimate, Lifter, LifterInput, rotation_to_optical_axis

DILATIONS = (1, 2, 4, 8, 1)  # frames between the taps of each block's convolution
KERNEL = 5  # taps of it; all three sizes were set by hand
REACH = sum(DILATIONS) * (KERNEL // 2)  # frames before and after a frame that change its result
_WIDTH = 384


class TemporalBlock(nn.Module):
    """A convolution over time for each channel, and a layer over the channels: (B, F, width) to (B, F, width)."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.over_time = nn.Conv1d(
            width, width, KERNEL, padding="same", padding_mode="replicate", dilation=dilation, groups=width
        )
        self.layer1 = nn.Linear(width, 2 * width)
        self.layer2 = nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, F, width) to (B, F, width)."""
        y = self.over_time(self.norm(x).transpose(1, 2)).transpose(1, 2)
        return x + self.layer2(torch.nn.functional.gelu(self.layer1(y)))


class TemporalLifter(nn.Module):
    """Corrects a lifter's estimates of B tracks of F frames each."""

    def __init__(self, width: int = _WIDTH) -> None:
        super().__init__()
        self.embed = nn.Linear(INPUTS + RESIDUALS + 6, width)
        self.blocks = nn.ModuleList(TemporalBlock(width, dilation) for dilation in DILATIONS)
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, 72 + 10)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    @classmethod
    def from_state_dict(cls, tensors: dict[str, Tensor]) -> TemporalLifter:
        """The network of the width that the tensors have, loaded strictly."""
        network = cls(tensors["embed.weight"].shape[0])
        network.load_state_dict(tensors)
        return network

    def forward(
        self, lifter: Lifter, observed: LifterInput, estimate: Estimate, to_track: Tensor, tracks: int = 1
    ) -> Estimate:
        """The corrected estimates of B F frames, track after track.

        to_track (B F, 3, 3): rotations from the axes of ``observed`` to axes that do not change within a track, see
        `track_axes`; tracks: B.
        """
        with torch.autocast(to_track.device.type, enabled=False):
            root = r6d_from_matrix(to_track @ estimate.rotations[:, 0])
        x = self.embed(torch.cat([lifter.correction_input(observed, estimate), root], 1)).unflatten(0, (tracks, -1))
        for block in self.blocks:
            x = block(x)
        return lifter.changed(estimate, self.out(self.norm(x)).flatten(0, 1))


def track_axes(rays: Tensor) -> Tensor:
    """Rotation (3, 3) from the camera's axes to those of a track: of a camera that looks at its mean direction.

    rays (F, 3): directions to the person.
    """
    return rotation_to_optical_axis(torch.nn.functional.normalize(rays, dim=1).mean(0, keepdim=True))[0]
