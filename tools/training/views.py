"""Training views for the lifter: simulated ones, and rendered pictures seen by the landmark network (``drawn.py``)."""

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

# Factors on the network's errors on rendered bodies, to match those on people (bench landmarks).
_ERROR_SCALE_2D, _ERROR_SCALE_3D = (0.6, 1.05), (0.75, 1.1)
_BENT_FRACTION = 0.1  # of the poses are made to sit, crouch or kneel, which is rare in the clips
_ANY_ORIENTATION_FRACTION = 0.12  # of the poses are seen from any side, above and below too; set by hand
_SIZE_ERROR = 0.06  # standard deviation of the logarithm of the estimated body size

# A view, the true rotations (N, 24, 3, 3), the root's in camera axes, betas (N, 10), joints and points (N, 49, 3).
Sample = tuple[simulate.View, Tensor, Tensor, Tensor]


class ViewSampler:
    """Draws batches of simulated views of random poses of a motion library."""

    def __init__(
        self, library: simulate.Library, body: simulate.TrainingBody, errors: simulate.LandmarkErrors, seed: int, *,
        perturbed: bool,
    ) -> None:  # fmt: skip
        self.library, self.body, self.errors, self.perturbed = library, body, errors, perturbed
        self.generator = torch.Generator().manual_seed(seed)
        self.starts, self.lengths = torch.tensor(library.starts), torch.tensor(library.lengths)

    def draw(self, count: int) -> Sample:
        """A batch of new views."""
        camera, rotations, betas, placed = self.bodies(count)
        return simulate.observe(placed[:, 24:], camera, self.generator, self.errors), rotations, betas, placed

    def bodies(self, count: int) -> tuple[simulate.Camera, Tensor, Tensor, Tensor]:
        """Random cameras, and the rotations, betas, joints and points of a Sample."""
        g = self.generator
        clips = torch.multinomial(self.library.weights, count, replacement=True, generator=g)
        position = torch.rand(count, generator=g)
        rotations = self.library.rotations[self.starts[clips] + (position * self.lengths[clips]).long()]
        if self.perturbed:
            rotations = simulate.perturb(rotations, g)
            bent = torch.rand(count, 1, 1, 1, generator=g) < _BENT_FRACTION
            rotations = torch.where(bent, simulate.with_bent_legs(rotations, g), rotations)
            tilt = torch.randn(count, 3, generator=g) * torch.where(torch.rand(count, 1, generator=g) < 0.15, 0.6, 0.1)
            rotations[:, 0] = batch_rodrigues(tilt) @ rotations[:, 0]
            anyhow = torch.rand(count, 1, 1, generator=g) < _ANY_ORIENTATION_FRACTION
            rotations[:, 0] = torch.where(anyhow, simulate.random_rotations(count, g), rotations[:, 0])
        betas = simulate.random_betas(count, g)
        camera = simulate.random_cameras(count, g)
        rotations = torch.cat([(camera.rotation @ rotations[:, 0])[:, None], rotations[:, 1:]], 1)
        return camera, rotations, betas, self.body.placed(rotations, betas)


class PictureSampler:
    """Draws batches of the pictures of ``drawn.py`` and their mirror images."""

    def __init__(self, path: Path, body: simulate.TrainingBody, seed: int, *, varied: bool) -> None:
        """``varied``: augmented and shuffled for training; otherwise as they were observed, in their order."""
        with np.load(path, allow_pickle=False) as arrays:
            pictures = dict(arrays)
        mirrored = _mirrored(pictures) if varied else {}
        self._pictures = {
            name: torch.from_numpy(np.concatenate([values, mirrored[name]]) if varied else values)
            for name, values in pictures.items()
        }
        self._body, self._varied = body, varied
        self.generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return len(self._pictures["betas"])

    def draw(self, count: int) -> Sample:
        """A batch of pictures; random ones if they are varied."""
        g = self.generator
        rows = torch.randint(len(self), (count,), generator=g) if self._varied else torch.arange(count) % len(self)
        poses, betas, place, focal, size, both, both_3d = (
            self._pictures[name][rows] for name in ("poses", "betas", "place", "focal", "size", "seen", "seen_3d")
        )

        def pick(low: float, high: float) -> Tensor:
            return torch.rand(count, 1, 1, generator=g) * (high - low) + low

        # The result of the picture, of its mirror image, or (in half of the cases) their mean, as in the pipeline.
        plain_weight = ((pick(0, 4).floor() + 1) // 2) / 2 if self._varied else 0.5
        observed, landmarks = (plain_weight * each[:, 0] + (1 - plain_weight) * each[:, 1] for each in (both, both_3d))
        landmarks = landmarks - landmarks[:, 11:13].mean(1, keepdim=True)
        pixels, mask = observed[..., :2], observed[..., 2] >= CONFIDENCE_THRESHOLD
        rotations = batch_rodrigues(poses.reshape(-1, 3)).view(count, 24, 3, 3)
        placed = self._body.placed(rotations, betas)
        camera = simulate.Camera(torch.eye(3).expand(count, 3, 3), focal, size, place)
        if self._varied:
            true, deep = camera.project(placed[:, 24:]), placed[:, 24:] @ rotation_to_optical_axis(place).mT
            pixels = torch.lerp(true, pixels, pick(*_ERROR_SCALE_2D))
            pixels = pixels + simulate.keypoint_offsets(count, g) * simulate.box_side(pixels)[:, None, None] / 2
            landmarks = _aligned(landmarks, deep) @ simulate.rotation_errors(count, g).mT
            landmarks = landmarks * torch.exp(_SIZE_ERROR * torch.randn(count, 1, 1, generator=g))
            landmarks = torch.lerp(deep, landmarks, pick(*_ERROR_SCALE_3D))
        return simulate.build_view(pixels, mask, landmarks, camera, g), rotations, betas, placed


def _aligned(points: Tensor, true: Tensor) -> Tensor:
    """Points (N, K, 3) rotated and scaled about their origin to the true ones.

    The network's errors of size and global rotation on rendered bodies differ from those on people, as the open body's
    shapes are more varied than people's: they are removed here, and those of people are added by the caller.
    """
    rotated = points @ closest_rotation(true.mT @ points).mT
    return rotated * (true.norm(dim=-1).mean(1) / rotated.norm(dim=-1).mean(1).clamp(min=1e-6))[:, None, None]


def _mirrored(pictures: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The mirror images of pictures."""
    flip = np.array([-1, 1, 1], np.float32)
    swapped = list(LANDMARK_MIRROR)
    seen = pictures["seen"][:, ::-1, swapped] * flip
    seen[..., 0] += pictures["size"][:, None, None, 0]
    return pictures | {
        "poses": simulate.mirror_poses(pictures["poses"]).astype(np.float32),
        "place": pictures["place"] * flip,
        "seen": seen,
        "seen_3d": pictures["seen_3d"][:, ::-1, swapped] * flip,
    }
