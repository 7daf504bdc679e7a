"""Virtual cameras on moving bodies, and the errors that the landmark net makes: endless training views.

A view is what the pipeline would have seen: 25 keypoints in a box and the landmark net's 3D, with the truth beside.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from smplx.lbs import batch_rigid_transform, batch_rodrigues

from wham_blender import weights
from wham_blender.models.lifter import LANDMARK_MIRROR, POINTS
from wham_blender.skeleton import FOOT_MIRROR, JOINT_MIRROR, PARENTS

from . import mocap

# Parent of each of the 25 points in the chain along which the landmark net's errors add up (-1: the hips' middle).
_CHAIN = (5, 0, 0, 0, 0, 11, 12, 5, 6, 7, 8, -1, -1, 11, 12, 13, 14, 15, 16, 15, 16, 9, 10, 9, 10)
_CHAIN_ORDER = (11, 12, 5, 6, 13, 14, 7, 8, 0, 15, 16, 9, 10, 1, 2, 3, 4, 17, 18, 19, 20, 21, 22, 23, 24)


class TrainingBody(torch.nn.Module):
    """The open body's skeleton and the points on it, batched and without vertices.

    A point that is a weighted mean of skinned vertices is linear in the joints' transforms, so the mesh is folded into
    a small basis once.
    """

    rest: torch.Tensor  # (24, 3) joints of the mean body, metres
    rest_shapes: torch.Tensor  # (10, 24, 3)
    basis: torch.Tensor  # (29, 24, 4)
    basis_shapes: torch.Tensor  # (10, 29, 24, 4)
    parents: torch.Tensor

    def __init__(self, path: Path | None = None) -> None:
        super().__init__()
        with np.load(path or weights.find("body").path, allow_pickle=False) as arrays:
            data = {
                name: torch.from_numpy(arrays[name].astype(np.float64)) for name in arrays.files if name != "posedirs"
            }
        rows = torch.cat([data["J_regressor_wham"][:17], data["J_regressor_landmarks"], data["J_regressor_feet"]])
        template, shapes = data["v_template"], data["shapedirs"]

        def fold(values: torch.Tensor, last: float) -> torch.Tensor:
            homogeneous = torch.cat([values, torch.full((len(values), 1), last, dtype=values.dtype)], 1)
            return torch.einsum("rv,vj,vk->rjk", rows, data["weights"], homogeneous).float()

        self.register_buffer("rest", (data["J_regressor"] @ template).float())
        self.register_buffer("rest_shapes", torch.einsum("jv,vkb->bjk", data["J_regressor"], shapes).float())
        self.register_buffer("basis", fold(template, 1.0))
        self.register_buffer("basis_shapes", torch.stack([fold(shapes[..., index], 0.0) for index in range(10)]))
        self.register_buffer("parents", torch.tensor(PARENTS))

    def forward(self, rotations: torch.Tensor, betas: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Pose the body at the origin: rotations (N, 24, 3, 3), betas (N, 10).

        Returns joints (N, 24, 3), the 25 observed points (N, 25, 3) and the foot points (N, 4, 3), metres.
        """
        rest = self.rest + torch.einsum("nb,bjk->njk", betas, self.rest_shapes)
        joints, transforms = batch_rigid_transform(rotations, rest, self.parents, dtype=rotations.dtype)
        basis = self.basis + torch.einsum("nb,brjk->nrjk", betas, self.basis_shapes)
        points = torch.einsum("nrjk,njik->nri", basis, transforms[:, :, :3])
        return joints, points[:, :POINTS], points[:, POINTS:]

    def foot_points(self, poses: np.ndarray, trans: np.ndarray) -> np.ndarray:
        """Foot points (F, 4, 3) of the mean body; poses (F, 72), trans (F, 3)."""
        with torch.no_grad():
            rotations = batch_rodrigues(torch.from_numpy(poses).float().reshape(-1, 3)).reshape(-1, 24, 3, 3)
            feet = self(rotations, torch.zeros(len(poses), 10))[2].numpy()
        return feet + trans[:, None]


@dataclass
class Library:
    """All frames of many clips in a row, as tensors."""

    rotations: torch.Tensor  # (T, 24, 3, 3) local rotations; the root's is global, y up
    trans: torch.Tensor  # (T, 3)
    contacts: torch.Tensor  # (T, 4)
    flat_floor: torch.Tensor  # (T,) bool
    starts: list[int]
    lengths: list[int]

    @classmethod
    def of(cls, clips: list[mocap.Clip], *, turned: bool = True) -> Library:
        """Join clips; with ``turned`` each comes again mirrored."""
        poses = [clip.poses for clip in clips] + ([mirror_poses(clip.poses) for clip in clips] if turned else [])
        flip = np.array([-1.0, 1, 1])
        trans = [clip.trans for clip in clips] + ([clip.trans * flip for clip in clips] if turned else [])
        contacts = [clip.contacts for clip in clips] + (
            [clip.contacts[:, FOOT_MIRROR] for clip in clips] if turned else []
        )
        flat = [np.full(len(clip.poses), clip.flat_floor) for clip in clips] * (2 if turned else 1)
        lengths = [len(pose) for pose in poses]
        joined = torch.from_numpy(np.concatenate(poses)).float()
        return cls(
            batch_rodrigues(joined.reshape(-1, 3)).reshape(-1, 24, 3, 3),
            torch.from_numpy(np.concatenate(trans)).float(),
            torch.from_numpy(np.concatenate(contacts)).float(),
            torch.from_numpy(np.concatenate(flat)),
            [int(start) for start in np.cumsum([0, *lengths[:-1]])],
            lengths,
        )


def mirror_poses(poses: np.ndarray) -> np.ndarray:
    """Axis-angle poses (F, 72) of the left-right mirror image."""
    return (poses.reshape(-1, 24, 3)[:, JOINT_MIRROR] * np.array([1.0, -1, -1])).reshape(-1, 72)


def split(folder: Path, body: TrainingBody) -> tuple[list[mocap.Clip], list[mocap.Clip]]:
    """The clips of a mocap folder for training, and those kept for validation: the named ones, else every tenth."""
    clips = mocap.read_folder(folder, body.rest.double().numpy(), body.foot_points)
    kept = [clip for clip in clips if clip.held_out] or clips[::10]
    return [clip for clip in clips if all(clip is not other for other in kept)] or clips, kept


@dataclass
class Camera:
    """Virtual cameras, one a sample: all (N, ...)."""

    rotation: torch.Tensor  # (N, 3, 3) world (y up) to camera (OpenCV axes)
    focal: torch.Tensor  # (N,) pixels
    size: torch.Tensor  # (N, 2) width, height in pixels
    place: torch.Tensor  # (N, 3) the hips in camera axes, metres


def random_cameras(count: int, generator: torch.Generator) -> Camera:
    """Cameras as phones are held: any heading, high and low, rolled, near and far, upright and sideways pictures."""

    def uniform(low: float, high: float) -> torch.Tensor:
        return torch.rand(count, generator=generator) * (high - low) + low

    def normal(scale: float) -> torch.Tensor:
        return torch.randn(count, generator=generator) * scale

    yaw = uniform(-np.pi, np.pi)
    pitch = normal(0.25)
    roll = torch.where(uniform(0, 1) < 0.7, normal(0.06), normal(0.4))
    turn = lambda axis, angle: batch_rodrigues(torch.eye(3)[axis] * angle[:, None])  # noqa: E731
    rotation = turn(2, roll) @ turn(0, pitch + np.pi) @ turn(1, yaw)
    long_side = uniform(640, 1920)
    short_side = long_side * uniform(0.5, 1.0)
    portrait = uniform(0, 1) < 0.5
    size = torch.stack([torch.where(portrait, short_side, long_side), torch.where(portrait, long_side, short_side)], 1)
    focal = size.norm(dim=1) * uniform(0.6, 1.6)
    depth = focal * 1.8 / (size.amax(1) * uniform(0.15, 0.95).clamp(max=0.95))
    middle = (torch.rand(count, 2, generator=generator) - 0.5) * 0.7 * size
    place = torch.cat([middle / focal[:, None], torch.ones(count, 1)], 1) * depth[:, None].clamp(min=1.6)
    return Camera(rotation, focal, size, place)


@dataclass
class Errors:
    """Sizes of the landmark net's errors.

    Set so that the simulated net is off by as much as the real one is on two filmed people (PA-MPJPE 81 and 63 mm; 74
    simulated); not fitted joint by joint.
    """

    keypoint: float = 0.012  # of the box's side, per point and frame
    keypoint_bias: float = 0.010  # the same for the whole sequence
    depth: float = 0.065  # metres along the view per bone, adding up along the chain
    across: float = 0.024  # metres across the view per bone
    turn: float = 0.13  # radians, of the whole 3D skeleton
    depth_scale: tuple[float, float] = (0.65, 1.1)
    masked: float = 0.06  # share of points of low confidence


@dataclass
class View:
    """What the pipeline would have observed: N samples."""

    keypoints: torch.Tensor  # (N, 25, 2) in the box, -1..1, 0 where masked
    mask: torch.Tensor  # (N, 25) bool: confident
    place: torch.Tensor  # (N, 3) place and size of the box in the picture
    landmarks: torch.Tensor  # (N, 25, 3) metres, hip-centred, camera axes
    box: torch.Tensor  # (N, 3) cx, cy, side in pixels


def observe(points: torch.Tensor, camera: Camera, generator: torch.Generator, errors: Errors, frames: int = 1) -> View:
    """Look at points (N, 25, 3), relative to the hips and in camera axes, as the detector and landmark net do.

    ``frames``: samples come in runs of that many consecutive frames; slow errors are shared within a run.
    """
    count = len(points)
    runs = count // frames

    def noise(*shape: int, slow: float = 0.6) -> torch.Tensor:
        """Unit normal (count, *shape), partly constant within each run."""
        fast = torch.randn(count, *shape, generator=generator)
        if frames == 1:
            return fast
        kept = torch.randn(runs, 1, *shape, generator=generator).expand(runs, frames, *shape).reshape(count, *shape)
        wave = torch.randn(runs, frames // 8 + 2, *shape, generator=generator).reshape(runs, frames // 8 + 2, -1)
        wave = torch.nn.functional.interpolate(wave.transpose(1, 2), size=frames, mode="linear", align_corners=True)
        wave = wave.transpose(1, 2).reshape(count, *shape)
        return slow * (0.7 * kept + 0.7 * wave) + (1 - slow**2) ** 0.5 * fast

    def pick(*shape: int) -> torch.Tensor:
        """Uniform 0..1, the same within a run."""
        return torch.rand(runs, *shape, generator=generator).repeat_interleave(frames, 0)

    seen = points + camera.place[:, None]
    pixels = seen[..., :2] / seen[..., 2:].clamp(min=0.3) * camera.focal[:, None, None] + camera.size[:, None] / 2
    # The box as the clean-up makes it: round the confident points, times 1.2, a little off.
    low, high = pixels[:, :17].amin(1), pixels[:, :17].amax(1)
    side = (high - low).amax(1) * 1.2
    amount = (0.4 + 1.2 * pick(1))[:, :, None]
    pixels = pixels + side[:, None, None] * amount * (
        errors.keypoint * noise(POINTS, 2, slow=0.8)
        + errors.keypoint_bias * noise(POINTS, 2, slow=1.0 if frames > 1 else 0)
    )
    wild = torch.rand(count, POINTS, generator=generator) < 0.01
    pixels = torch.where(
        wild[..., None],
        pixels + side[:, None, None] * 0.08 * torch.randn(count, POINTS, 2, generator=generator),
        pixels,
    )
    mask = torch.rand(count, POINTS, generator=generator) > errors.masked * 2 * pick(1)
    lost = pick(1) < 0.06  # legs below the picture, a frequent truncation
    legs = torch.zeros(POINTS, dtype=torch.bool)
    legs[13:21] = True
    mask &= ~(lost & legs)
    centre = (low + high) / 2 + side[:, None] * 0.02 * noise(2, slow=0.9)
    side = side * (1 + 0.06 * noise(1, slow=0.9)[:, 0])
    box = torch.cat([centre, side[:, None]], 1)

    keypoints = (pixels - centre[:, None]) / (side[:, None, None] / 2)
    keypoints = keypoints * mask[..., None]
    longest = camera.size.amax(1)
    place = torch.stack([
        (2 * centre[:, 0] - camera.size[:, 0]) / longest, (2 * centre[:, 1] - camera.size[:, 1]) / longest,
        side / longest,
    ], 1)  # fmt: skip

    landmarks = _landmark_errors(points, camera, noise, pick, errors)
    return View(keypoints, mask, place, landmarks, box)


def _landmark_errors(points: torch.Tensor, camera: Camera, noise, pick, errors: Errors) -> torch.Tensor:  # type: ignore[no-untyped-def]
    """The landmark net's 3D of points (N, 25, 3): seen along its own crop's axis, off in depth, scale and turn."""
    ray = camera.place / camera.place.norm(dim=1, keepdim=True)
    ahead = torch.tensor([0.0, 0, 1]).expand_as(ray)
    axis = torch.linalg.cross(ray, ahead)
    angle = torch.atan2(axis.norm(dim=1), ray[:, 2])
    toward = batch_rodrigues(axis / axis.norm(dim=1, keepdim=True).clamp(min=1e-9) * angle[:, None])
    wobble = batch_rodrigues(errors.turn * noise(3, slow=0.9))
    hips = points[:, 11:13].mean(1, keepdim=True)
    turned = torch.einsum("nij,nkj->nki", wobble @ toward, points - hips)
    low, high = errors.depth_scale
    scale = 0.95 + 0.1 * pick(1)
    stretch = torch.cat([scale, scale, scale * (low + (high - low) * pick(1))], 1)
    turned = turned * stretch[:, None]
    size = torch.tensor([errors.across, errors.across, errors.depth])
    step = noise(POINTS, 3, slow=0.85) * size * (0.5 + pick(1))[:, :, None]
    drift = torch.zeros_like(turned)
    for point in _CHAIN_ORDER:
        parent = _CHAIN[point]
        drift[:, point] = step[:, point] + (drift[:, parent] if parent >= 0 else 0)
    turned = turned + drift
    swapped = pick(1)[:, :, None] < 0.01
    turned = torch.where(swapped, turned[:, LANDMARK_MIRROR], turned)
    return turned - turned[:, 11:13].mean(1, keepdim=True)


def perturb(
    rotations: torch.Tensor, generator: torch.Generator, other: torch.Tensor | None = None, size: float = 0.12
) -> torch.Tensor:
    """New poses (N, 24, 3, 3) near those given: joints turned a little, arms of ``other`` taken now and then."""
    count = len(rotations)
    out = rotations.clone()
    if other is not None:
        arms = [13, 14, 16, 17, 18, 19, 20, 21, 22, 23]
        take = torch.rand(count, generator=generator) < 0.3
        out[:, arms] = torch.where(take[:, None, None, None], other[:, arms], out[:, arms])
    amount = torch.rand(count, 1, 1, generator=generator) * size
    turns = batch_rodrigues((torch.randn(count, 24, 3, generator=generator) * amount).reshape(-1, 3)).reshape(
        -1, 24, 3, 3
    )
    return out @ turns


def random_betas(count: int, generator: torch.Generator) -> torch.Tensor:
    """Body shapes (N, 10) over the open body's whole range."""
    return torch.randn(count, 10, generator=generator).clamp(-2.5, 2.5)
