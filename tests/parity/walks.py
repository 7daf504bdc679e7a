"""A walk whose truth is known, and what WHAM would make of it: input for the tests of ``world.place``."""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from wham_blender.body.body import Body
from wham_blender.pipeline.pose.types import WhamTrack

STEP_FRAMES = 18
STEP = 0.5  # metres
LIFT = 0.08  # metres that a foot swings above the floor
Y_UP_TO_Z_UP = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])


def walk(body: Body, steps: int = 10, rise: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Walk towards -y on z = 0, or up stairs of that rise (m) a step, planted feet kept flat and still by the legs.

    Returns poses (F, 24, 3, 3), the pelvis (F, 3) in metres, z up, and contacts (F, 4) of zeros and ones.
    """
    rest = body.rest_joints(torch.zeros(10)).numpy().astype(np.float64)
    count = steps * STEP_FRAMES
    phase = np.arange(count) / STEP_FRAMES
    poses = np.tile(np.eye(3), (count, 24, 1, 1))
    poses[:, 0] = Y_UP_TO_Z_UP
    contacts = np.zeros((count, 4))
    forward = STEP * phase
    for side, (hip, knee, ankle) in enumerate(((1, 4, 7), (2, 5, 8))):
        # Stance and swing take a step each; a foot lands half a step before the pelvis and leaves half behind it.
        own = phase + side
        swing = own % 2 - 1  # 0..1 while swinging, below 0 while planted
        landed = 2 * np.floor(own / 2) - side + 0.5
        moved = np.clip(swing, 0, 1)
        foot = STEP * (landed + 2 * moved**2 * (3 - 2 * moved))
        lifted = LIFT * np.sin(np.pi * moved) ** 2
        down = 0.9 * (rest[hip, 1] - rest[ankle, 1]) - lifted + rise * (forward - foot) / STEP
        thigh, shank = rest[knee, 1:] - rest[hip, 1:], rest[ankle, 1:] - rest[knee, 1:]
        bend, lean = _two_links(thigh, shank, -down, foot - forward)
        poses[:, hip] = Rotation.from_rotvec(np.outer(lean, [1, 0, 0])).as_matrix()
        poses[:, knee] = Rotation.from_rotvec(np.outer(bend, [1, 0, 0])).as_matrix()
        poses[:, ankle] = Rotation.from_rotvec(np.outer(-(bend + lean), [1, 0, 0])).as_matrix()
        contacts[:, 2 * side : 2 * side + 2] = (swing < 0)[:, None]
    pelvis = np.stack([np.zeros(count), -forward, np.zeros(count)], 1)
    feet = foot_points(body, poses, pelvis)
    pelvis[:, 2] -= np.median(feet[contacts > 0.5][:, 2])
    pelvis[:, 2] += rise * phase
    return poses, pelvis, contacts


def _two_links(
    thigh: np.ndarray, shank: np.ndarray, down: np.ndarray, forward: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Knee and hip angles about x that bring the ankle to (down, forward) of the hip, by the law of cosines."""
    upper, lower = complex(*thigh), complex(*shank)
    target = down + 1j * forward
    cosine = (np.abs(target) ** 2 - abs(upper) ** 2 - abs(lower) ** 2) / (2 * abs(upper) * abs(lower))
    bend = np.arccos(np.clip(cosine, -1, 1)) - np.angle(upper.conjugate() * lower)
    return bend, np.angle(target) - np.angle(upper + np.exp(1j * bend) * lower)


def foot_points(body: Body, poses: np.ndarray, pelvis: np.ndarray) -> np.ndarray:
    """The four foot points (F, 4, 3) of poses (F, 24, 3, 3) whose pelvis is at (F, 3), metres."""
    betas = torch.zeros(len(poses), 10)
    points = body.landmarks(torch.tensor(poses, dtype=torch.float32), betas)
    around = (points.feet + points.offset[:, None]).numpy() - body.rest_joints(torch.zeros(10))[0].numpy()
    return around + pelvis[:, None]


def as_lifted(
    body: Body,
    poses: np.ndarray,
    pelvis: np.ndarray,
    contacts: np.ndarray,
    camera_R: np.ndarray,
    camera_t: np.ndarray,
    rng: np.random.Generator | None = None,
) -> WhamTrack:
    """What WHAM would say of that walk seen by a camera (F, 3, 3), (F, 3).

    With a generator: depth 5 % off, the direction 1 cm, the world's yaw drifting, a slow sinking of 10 cm a second
    and the pelvis 3 mm a frame off.
    """
    count = len(poses)
    to_wham = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])  # y down
    in_camera = poses.copy()
    in_camera[:, 0] = camera_R @ poses[:, 0]
    rest = body.rest_joints(torch.zeros(10))[0].numpy()
    offset = body.landmarks(torch.tensor(in_camera, dtype=torch.float32), torch.zeros(count, 10)).offset.numpy()
    hips_cam = np.einsum("nij,nj->ni", camera_R, pelvis) + camera_t + offset - rest
    hips_world = pelvis + np.einsum("nji,nj->ni", camera_R, offset - rest)
    yaw: np.ndarray = np.zeros(count)
    world: np.ndarray = hips_world @ to_wham.T
    if rng is not None:
        hips_cam *= 1 + 0.05 * rng.standard_normal((count, 1))
        hips_cam[:, :2] += 0.01 * rng.standard_normal((count, 2))
        yaw = 0.003 * np.arange(count)
        world = world + np.cumsum([0.0, 0.1 / 30, 0.0] + 0.003 * rng.standard_normal((count, 3)), 0)
    turn = Rotation.from_rotvec(np.outer(yaw, [0, 1, 0])).as_matrix() @ to_wham
    steps = np.einsum("nij,nj->ni", turn @ to_wham.T, np.diff(world, axis=0, prepend=world[:1]))
    none = np.zeros((count, 3), np.float32)
    return WhamTrack(
        poses=in_camera.astype(np.float32), betas=np.zeros((count, 10), np.float32), cam=none,
        trans_cam=hips_cam.astype(np.float32), contacts=contacts.astype(np.float32),
        offset=offset, feet=none, root=none, velocity=none, root_refined=none, velocity_refined=none,
        root_world=(turn @ poses[:, 0]).astype(np.float32), trans_world=np.cumsum(steps, 0).astype(np.float32),
    )  # fmt: skip
