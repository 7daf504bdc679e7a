"""Single views for the lifter to learn from: simulated ones without end, and pictures that the net has looked at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from smplx.lbs import batch_rodrigues
from torch import Tensor

from tools.training import simulate
from wham_blender.body.rotations import closest_rotation
from wham_blender.models.lifter import LANDMARK_MIRROR, rotation_to_optical_axis
from wham_blender.pipeline.people.types import CONFIDENCE_THRESHOLD

# Shares of what the net was off on drawn bodies that are kept: it is off by about as much on people (bench landmarks).
_KEPT_2D, _KEPT_3D = (0.6, 1.05), (0.75, 1.1)
_FOLDED = 0.1  # of the poses sit, crouch or kneel, which the clips seldom do
_SIZE = 0.06  # in the logarithm: how wrong the net takes a person's size

# A view, the true rotations (N, 24, 3, 3), the root's in camera axes, betas (N, 10), joints and points (N, 49, 3).
Sample = tuple[simulate.View, Tensor, Tensor, Tensor]


class Views:
    """Draws batches of simulated views of random poses."""

    def __init__(
        self, library: simulate.Library, body: simulate.TrainingBody, errors: simulate.Errors, seed: int, *,
        perturbed: bool,
    ) -> None:  # fmt: skip
        self.motion, self.body, self.errors, self.perturbed = library, body, errors, perturbed
        self.generator = torch.Generator().manual_seed(seed)
        self.starts, self.lengths = torch.tensor(library.starts), torch.tensor(library.lengths)
        self.shares = self.lengths.float().sqrt()

    def draw(self, count: int) -> Sample:
        """A batch of new views."""
        camera, rotations, betas, placed = self.bodies(count)
        return simulate.observe(placed[:, 24:], camera, self.generator, self.errors), rotations, betas, placed

    def bodies(self, count: int) -> tuple[simulate.Camera, Tensor, Tensor, Tensor]:
        """Cameras, and before them what a Sample has beside the view."""
        g = self.generator
        # Clips by the root of their length: an hour of walking does not drown a minute of gymnastics.
        clips = torch.multinomial(self.shares, count, replacement=True, generator=g)
        part = torch.rand(count, generator=g)
        rotations = self.motion.rotations[self.starts[clips] + (part * self.lengths[clips]).long()]
        if self.perturbed:
            rotations = simulate.perturb(rotations, g)
            low = torch.rand(count, 1, 1, 1, generator=g) < _FOLDED
            rotations = torch.where(low, simulate.folded(rotations, g), rotations)
            tilt = torch.randn(count, 3, generator=g) * torch.where(torch.rand(count, 1, generator=g) < 0.15, 0.6, 0.1)
            rotations[:, 0] = batch_rodrigues(tilt) @ rotations[:, 0]
        betas = simulate.random_betas(count, g)
        camera = simulate.random_cameras(count, g)
        rotations = torch.cat([(camera.rotation @ rotations[:, 0])[:, None], rotations[:, 1:]], 1)
        return camera, rotations, betas, self.body.placed(rotations, betas)


class Drawn:
    """Draws batches of the pictures that ``drawn.py`` kept; each is there in the mirror, too."""

    def __init__(self, path: Path, body: simulate.TrainingBody, seed: int, *, varied: bool) -> None:
        """``varied``: as the training wants them, else as they were seen, in their order."""
        with np.load(path, allow_pickle=False) as arrays:
            kept = dict(arrays)
        turned = _mirrored(kept) if varied else {}
        self._kept = {
            name: torch.from_numpy(np.concatenate([values, turned[name]]) if varied else values)
            for name, values in kept.items()
        }
        self._body, self._varied = body, varied
        self.generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return len(self._kept["betas"])

    def draw(self, count: int) -> Sample:
        """Some of them."""
        g = self.generator
        rows = torch.randint(len(self), (count,), generator=g) if self._varied else torch.arange(count) % len(self)
        poses, betas, place, focal, size, both, both_3d = (
            self._kept[name][rows] for name in ("poses", "betas", "place", "focal", "size", "seen", "seen_3d")
        )

        def pick(low: float, high: float) -> Tensor:
            return torch.rand(count, 1, 1, generator=g) * (high - low) + low

        # The plain view, the mirrored one, or in half of the cases their mean, to which the pipeline comes near.
        plain = ((pick(0, 4).floor() + 1) // 2) / 2 if self._varied else 0.5
        seen, landmarks = (plain * each[:, 0] + (1 - plain) * each[:, 1] for each in (both, both_3d))
        landmarks = landmarks - landmarks[:, 11:13].mean(1, keepdim=True)
        pixels, mask = seen[..., :2], seen[..., 2] >= CONFIDENCE_THRESHOLD
        rotations = batch_rodrigues(poses.reshape(-1, 3)).view(count, 24, 3, 3)
        placed = self._body.placed(rotations, betas)
        camera = simulate.Camera(torch.eye(3).expand(count, 3, 3), focal, size, place)
        if self._varied:
            true, deep = camera.project(placed[:, 24:]), placed[:, 24:] @ rotation_to_optical_axis(place).mT
            pixels = torch.lerp(true, pixels, pick(*_KEPT_2D))
            pixels = pixels + simulate.taken_elsewhere(count, g) * simulate.box_side(pixels)[:, None, None] / 2
            landmarks = _aligned(landmarks, deep) @ simulate.turned_as_a_whole(count, g).mT
            landmarks = landmarks * torch.exp(_SIZE * torch.randn(count, 1, 1, generator=g))
            landmarks = torch.lerp(deep, landmarks, pick(*_KEPT_3D))
        return simulate.seen_as(pixels, mask, landmarks, camera, g), rotations, betas, placed


def _aligned(points: Tensor, true: Tensor) -> Tensor:
    """Points (N, K, 3) turned and scaled round their origin to the true ones.

    How large the whole drawn body is and how it is turned, the net sees otherwise wrong than with people: it knows the
    sizes of people, and the open body's shapes are evenly spread over more.
    """
    turned = points @ closest_rotation(true.mT @ points).mT
    return turned * (true.norm(dim=-1).mean(1) / turned.norm(dim=-1).mean(1).clamp(min=1e-6))[:, None, None]


def _mirrored(kept: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same pictures in the mirror."""
    across = np.array([-1, 1, 1], np.float32)
    swapped = list(LANDMARK_MIRROR)
    seen = kept["seen"][:, ::-1, swapped] * across
    seen[..., 0] += kept["size"][:, None, None, 0]
    return kept | {
        "poses": simulate.mirror_poses(kept["poses"]).astype(np.float32),
        "place": kept["place"] * across,
        "seen": seen,
        "seen_3d": kept["seen_3d"][:, ::-1, swapped] * across,
    }
