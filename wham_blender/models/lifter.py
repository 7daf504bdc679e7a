"""The per-frame lifter: keypoints and the landmark net's 3D of one frame to an SMPL pose.

A first network guesses the pose; a second one corrects it some times over. Each time it is told how far the guess's
points are from what was seen, in the picture and in 3D, and how each joint would have to turn to bring them there.
So it learns how much to believe, not how a body moves: that it is told (learned gradient descent, Song et al., *Human
Body Model Fitting by Learned Gradient Descent*, ECCV 2020).

All of it happens in the axes of a camera that looks straight at the person's box with the spine upright: where in the
picture someone is, and how the camera is rolled, changes nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from smplx.lbs import batch_rodrigues
from torch import Tensor, nn

from ..body.points import PointBody
from ..body.rotations import matrix_from_r6d, r6d_from_matrix
from ..skeleton import COCO_NAMES, mirror_permutation

# COCO-17, then what the landmark net sees of feet and hands.
POINT_NAMES = (
    *COCO_NAMES,
    "left_heel", "right_heel", "left_foot_index", "right_foot_index",
    "left_index", "right_index", "left_pinky", "right_pinky",
)  # fmt: skip
POINTS = len(POINT_NAMES)
LANDMARK_MIRROR = mirror_permutation(POINT_NAMES)
SEEN = POINTS * 2 + POINTS + 1 + POINTS * 3 + 1  # numbers that the first network takes
# What the second takes besides: two kinds of errors, turns of both kinds, the pose so far, its shape and distance.
TOLD = POINTS * 2 + POINTS * 3 + 2 * 24 * 3 + 24 * 6 + 10 + 1
D_FEAT = 24 * 6 + 10
ROUNDS = 3
_SHOULDERS, _HIPS = slice(5, 7), slice(11, 13)
_METRES, _TURNS = 10.0, 3.0  # so that what is told is about one


class Look(NamedTuple):
    """What is seen of N people, in the axes of the camera that looks straight at each."""

    keypoints: Tensor  # (N, 25, 2) from the hips, in shares of half the box's side, 0 where masked
    mask: Tensor  # (N, 25) bool: confident
    extent: Tensor  # (N, 1) half the box's side over its distance
    landmarks: Tensor  # (N, 25, 3) the landmark net's 3D, metres, hip-centred
    seen3d: Tensor  # (N, 1) 1 where that counts


class Estimate(NamedTuple):
    """A pose in those axes, and where it has the body."""

    rotations: Tensor  # (N, 24, 3, 3)
    betas: Tensor  # (N, 10)
    joints: Tensor  # (N, 24, 3) metres, hip-centred
    points: Tensor  # (N, 25, 3) the same
    turns: Tensor  # (N, 24, 3, 3) global rotations of the joints


def look_straight(
    pixels: Tensor, mask: Tensor, sides: Tensor, landmarks: Tensor, focal: Tensor, middle: Tensor
) -> tuple[Look, Tensor]:
    """Turn what a camera saw into a `Look`, and give the turns (N, 3, 3) from the camera's axes to the look's.

    pixels (N, 25, 2); mask (N, 25) bool; sides (N,) of the boxes in pixels; landmarks (N, 25, 3) metres in the axes of
    a camera turned to the person but not rolled; focal (N,) and middle (N, 2) of the picture in pixels.
    """
    rays = torch.cat([(pixels - middle[:, None]) / focal[:, None, None], torch.ones_like(pixels[..., :1])], 2)
    hips = rays[:, _HIPS].mean(1)
    turn = ahead(hips)
    rays = rays @ turn.mT
    extent = (sides / 2 / focal / hips.norm(dim=1))[:, None]
    points = rays[..., :2] / rays[..., 2:].clamp(min=0.1) / extent[..., None]
    spine = points[:, _SHOULDERS].mean(1) - points[:, _HIPS].mean(1)
    x, y = torch.nn.functional.normalize(spine + spine.new_tensor([0, -1e-6]), dim=1).unbind(1)
    zero = torch.zeros_like(x)
    roll = torch.stack([-y, x, zero, -x, -y, zero, zero, zero, zero + 1], 1).view(-1, 3, 3)  # brings the spine upright
    points = points @ roll[:, :2, :2].mT * mask[..., None]
    look = Look(points, mask, extent, landmarks @ roll.mT, torch.ones_like(extent))
    return look, roll @ turn


def ahead(rays: Tensor) -> Tensor:
    """The least turns (N, 3, 3) that bring rays (N, 3) onto the camera's own axis."""
    x, y, z = torch.nn.functional.normalize(rays, dim=1).unbind(1)
    share = 1 / (1 + z).clamp(min=1e-6)
    rows = [1 - x * x * share, -x * y * share, -x, -x * y * share, 1 - y * y * share, -y, x, y, z]
    return torch.stack(rows, 1).view(-1, 3, 3)


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


class Trunk(nn.Module):
    """Blocks between two linear layers: (N, inputs) to (N, outputs)."""

    def __init__(self, inputs: int, outputs: int, width: int, depth: int) -> None:
        super().__init__()
        self.embed = nn.Linear(inputs, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs) to (N, outputs)."""
        x = self.embed(x)
        for block in self.blocks:
            x = block(x)
        return self.out(self.norm(x))


class Lifter(nn.Module):
    """Lifts frames one by one; it carries the body that it poses.

    width: of the hidden layers; depth: blocks of the first network; refine_depth: of the second.
    """

    moved_by: Tensor

    def __init__(self, width: int = 512, depth: int = 4, refine_depth: int = 3) -> None:
        super().__init__()
        self.body = PointBody(POINTS)
        self.guess = Trunk(SEEN, 144 + 10, width, depth)
        self.refine = Trunk(SEEN + TOLD, 72 + 10, width, refine_depth)
        nn.init.zeros_(self.refine.out.weight)
        nn.init.zeros_(self.refine.out.bias)

    @classmethod
    def from_state_dict(cls, tensors: dict[str, Tensor]) -> Lifter:
        """Build the size that the tensors have and load them, strictly."""
        depths = [
            len({name.split(".")[2] for name in tensors if name.startswith(f"{part}.blocks.")})
            for part in ("guess", "refine")
        ]
        lifter = cls(tensors["guess.embed.weight"].shape[0], *depths)
        lifter.load_state_dict(tensors)
        return lifter

    def forward(self, look: Look) -> tuple[Tensor, Tensor]:
        """Rotations (N, 24, 3, 3) in the look's axes, and betas (N, 10)."""
        last = self.rounds(look)[-1]
        return last.rotations, last.betas

    def rounds(self, look: Look) -> list[Estimate]:
        """The first guess, then what each correction makes of it; no gradient goes from one to the one before."""
        estimates = [self.first(look)]
        for _ in range(ROUNDS):
            estimates.append(self.corrected(look, Estimate(*(value.detach() for value in estimates[-1]))))
        return estimates

    def first(self, look: Look) -> Estimate:
        """The first guess."""
        guess = self.guess(_seen(look)).float()
        with _whole(guess):
            return self._estimate(matrix_from_r6d(guess[:, :144].unflatten(1, (24, 6))), guess[:, 144:])

    def corrected(self, look: Look, now: Estimate) -> Estimate:
        """What a correction makes of an estimate."""
        with _whole(now.betas):
            told = self._told(look, now)
        change = self.refine(torch.cat([_seen(look), told], 1)).float()
        with _whole(change):
            turn = batch_rodrigues(change[:, :72].reshape(-1, 3)).view(-1, 24, 3, 3)
            return self._estimate(now.rotations @ turn, now.betas + change[:, 72:])

    def _estimate(self, rotations: Tensor, betas: Tensor) -> Estimate:
        joints, points, turns = self.body(rotations, betas)
        hips = points[:, _HIPS].mean(1, keepdim=True)
        return Estimate(rotations, betas, joints - hips, points - hips, turns)

    def _told(self, look: Look, now: Estimate) -> Tensor:
        """How far the estimate is from what was seen, (N, TOLD)."""
        mask = look.mask[..., None].to(now.points.dtype)
        rays = look.keypoints * look.extent[..., None]
        place = stand(rays, now.points, mask)
        there = now.points + place[:, None]
        depth = there[..., 2:].clamp(min=0.2)
        across = (rays * depth - there[..., :2]) * mask  # metres
        across = across.clamp(-0.5, 0.5)
        deep = (look.landmarks - now.points) * look.seen3d[..., None]
        weighted = self.body.moved_by()
        flat = torch.cat([across, torch.zeros_like(depth)], 2)
        turns = [_turns(now, flat, mask, weighted), _turns(now, deep, torch.ones_like(mask), weighted)]
        return torch.cat(
            [
                _METRES * across.flatten(1), _METRES * deep.flatten(1), *(_TURNS * turn.flatten(1) for turn in turns),
                r6d_from_matrix(now.rotations).flatten(1), now.betas, (1 / place[:, 2:]),
            ], 1,
        )  # fmt: skip


def _whole(like: Tensor) -> torch.autocast:
    """No half precision for what is not learned."""
    return torch.autocast(like.device.type, enabled=False)


def _seen(look: Look) -> Tensor:
    return torch.cat(
        [
            look.keypoints.flatten(1), look.mask.to(look.extent.dtype), look.extent,
            (look.landmarks * look.seen3d[..., None]).flatten(1), look.seen3d,
        ], 1,
    )  # fmt: skip


def stand(rays: Tensor, points: Tensor, weight: Tensor) -> Tensor:
    """Where (N, 3) points (N, 25, 3) stand to be seen along rays (N, 25, 2), in least squares. weight (N, 25, 1)."""
    total = weight.sum(1).clamp(min=1e-6)
    wanted = rays * points[..., 2:] - points[..., :2]  # = place across - ray * distance
    ray_mean, wanted_mean = (rays * weight).sum(1) / total, (wanted * weight).sum(1) / total
    spread = rays - ray_mean[:, None]
    distance = -(spread * (wanted - wanted_mean[:, None]) * weight).sum((1, 2))
    distance = (distance / (spread**2 * weight).sum((1, 2)).clamp(min=1e-6)).clamp(0.5, 60.0)[:, None]
    return torch.cat([wanted_mean + ray_mean * distance, distance], 1)


def _turns(now: Estimate, off: Tensor, weight: Tensor, moved_by: Tensor) -> Tensor:
    """Small turns (N, 24, 3) of each joint, in its own axes, that would bring its points about to where they belong.

    off (N, 25, 3): how far that is, metres.
    """
    share = moved_by @ torch.cat(
        [
            torch.linalg.cross(now.points, off) * weight, off * weight, now.points * weight,
            (now.points**2).sum(2, keepdim=True) * weight, weight,
        ], 2,
    )  # fmt: skip
    about, force, arm, square, total = share.split([3, 3, 3, 1, 1], 2)
    torque = about - torch.linalg.cross(now.joints, force)
    inertia = square - 2 * (now.joints * arm).sum(2, keepdim=True) + (now.joints**2).sum(2, keepdim=True) * total
    return (now.turns.mT @ (torque / (inertia + 0.01))[..., None])[..., 0]


def feature_of(rotations: Tensor, betas: Tensor) -> Tensor:
    """WHAM's image feature (N, 154) of poses (N, 24, 3, 3), the root's in camera axes, and betas (N, 10)."""
    return torch.cat([r6d_from_matrix(rotations).flatten(1), betas], 1)
