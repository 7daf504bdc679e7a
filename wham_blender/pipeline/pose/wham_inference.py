"""Runs WHAM on one track: keypoints, bounding boxes and features to poses, contacts and the root's trajectory.

Runs in chunks with a small state between them, so memory beyond inputs and outputs does not grow with the clip. For the
flip test, the clip and its mirror image are one batch; pose, shape and contacts are the means of both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from ...body.body import Body
from ...body.rotations import closest_rotation, matrix_from_r6d, mirror_pose, r6d_from_matrix
from ...models.wham import WHAM, LstmState, WhamFrames, WhamOutput
from ...skeleton import COCO_MIRROR, FOOT_MIRROR
from .types import WhamInput, WhamTrack

FPS = 30.0  # of the network's training data
CHUNK = 256  # frames
_MASKED_BELOW = 0.3  # keypoint confidence, as in WHAM's published code
_CONTACT_ABOVE = 0.5  # WHAM's threshold for a foot point in contact


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep PyTorch to one CPU thread.

    A frame is a few dozen small matrix products, one after the other. With several threads each product waits for the
    slowest core: if another program keeps one core busy, WHAM runs ten times slower or worse.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def network_input(keypoints: np.ndarray, boxes: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints (F, K, 3) in pixels and boxes (F, 3) of (cx, cy, side / 200) to WHAM's input, where K is 17.

    Returns x (F, 2 K + 3) float32 (keypoints in -1..1 of their box, the box's position and size in the image) and the
    mask (F, K) bool of keypoints with low confidence.
    """
    centre, side = boxes[:, :2], 200.0 * boxes[:, 2:]
    points = 2.0 * (keypoints[..., :2] - centre[:, None]) / side[:, None]
    position = np.concatenate([2.0 * centre - size, side], 1) / max(size)
    x = np.concatenate([points.reshape(len(points), -1), position], 1)
    return x.astype(np.float32), keypoints[..., 2] < _MASKED_BELOW


def camera_angular_velocity(camera_R: np.ndarray, fps: float = FPS) -> np.ndarray:
    """World-to-camera rotations (F, 3, 3) to WHAM's ``cam_angvel`` (F, 6), zero for a static camera.

    In each frame the first two rows of R[t] R[t+1]^T less the identity's, times fps; the last frame repeats the first.
    """
    step = camera_R[:-1] @ camera_R[1:].transpose(0, 2, 1)
    angvel = (step[:, :2].reshape(-1, 6) - (1, 0, 0, 0, 1, 0)) * fps
    return np.concatenate([angvel, angvel[:1] if len(angvel) else np.zeros((1, 6))]).astype(np.float32)


def mirror_track(keypoints: np.ndarray, boxes: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints (F, 17, 3) and boxes (F, 3) of the mirrored clip, left and right swapped."""
    keypoints, boxes = keypoints[:, COCO_MIRROR], boxes.copy()
    keypoints[..., 0] = size[0] - keypoints[..., 0]
    boxes[:, 0] = size[0] - boxes[:, 0]
    return keypoints, boxes


def default_intrinsics(size: tuple[int, int]) -> np.ndarray:
    """Camera matrix (3, 3) for an unknown lens: focal length = the picture's diagonal, in pixels."""
    focal = np.hypot(*size)
    return np.array([[focal, 0, size[0] / 2], [0, focal, size[1] / 2], [0, 0, 1]])


def full_image_translation(cam: np.ndarray, boxes: np.ndarray, camera_K: np.ndarray) -> np.ndarray:
    """Weak-perspective cameras (F, 3) of boxes (F, 3) to translations (F, 3), metres, in the full image's camera."""
    focal, centre = camera_K[0, 0], camera_K[:2, 2]
    scale = 200.0 * boxes[:, 2] * cam[:, 0]
    shift = cam[:, 1:] + 2.0 * (boxes[:, :2] - centre) / scale[:, None]
    return np.column_stack([shift, 2.0 * focal / scale]).astype(np.float32)


def contact_aware_velocity(root: Tensor, velocity: Tensor, moved: Tensor, planted: Tensor) -> Tensor:
    """The root's velocity (..., 3), metres a frame, root's axes, without the mean slide of planted feet, as in WHAM.

    root (..., 3, 3): its orientation; moved (..., 4, 3): displacement of the feet relative to the root since the frame
    before, in world axes; planted (..., 4) bool.
    """
    velocity_world = (root @ velocity[..., None])[..., 0]
    slide = (moved + velocity_world[..., None, :]) * planted[..., None]
    velocity_world = velocity_world - slide.sum(-2) / ((slide != 0).sum(-2) + 1e-4)
    return (root.mT @ velocity_world[..., None])[..., 0]


def roll_out(root: Tensor, velocity: Tensor, start: Tensor) -> Tensor:
    """Positions (n, 3) from root orientations (n, 3, 3) before each frame and velocities (n, 3) in their axes."""
    return start + torch.cumsum((root @ velocity[..., None])[..., 0], 0)


@one_thread()
@torch.inference_mode()
def run_wham(
    model: WHAM, body: Body, track: WhamInput, progress: Callable[[int], None] | None = None, chunk: int = CHUNK
) -> WhamTrack:
    """Run WHAM over a track of F frames at 30 fps, on the device of the model's weights.

    ``progress`` is called with the number of frames done; ``chunk``: frames at a time.
    """
    keypoints, boxes, size = track.keypoints, track.boxes, track.size
    count, device = len(track), model.mask_embedding.device
    camera_K = default_intrinsics(size) if track.camera_K is None else track.camera_K
    cam_angvel = np.zeros((count, 6), np.float32) if track.cam_angvel is None else track.cam_angvel
    views = track.views
    tracks = [(keypoints, boxes)] + [mirror_track(keypoints, boxes, size) for _ in views[1:]]

    def to_device(arrays: Sequence[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.stack(arrays)).to(device)

    def inputs(rows: slice) -> tuple[Tensor, Tensor]:
        parts = [network_input(points[rows], frames[rows], size) for points, frames in tracks]
        return to_device([x for x, _ in parts]), to_device([mask for _, mask in parts])

    features = [view.features for view in views if view.features is not None]
    residual = torch.tensor([_no_zero(values, chunk) for values in features], device=device)
    poses = to_device([np.asarray(view.init_pose, np.float32) for view in views])
    betas = to_device([np.asarray(view.init_betas, np.float32) for view in views])
    first_points = body.landmarks(poses, betas).joints[:, :17].flatten(1)
    r6d = r6d_from_matrix(poses)
    state = model.start(torch.cat([first_points, inputs(slice(0, 1))[0][:, 0]], 1), r6d, r6d[:, 0])
    rollout = _Rollout(model, r6d[:1, 0])
    result = _empty(count)
    result.root[0] = result.root_refined[0] = r6d[0, 0].cpu()
    for begin in range(0, count, chunk):
        rows = slice(begin, min(begin + chunk, count))
        x, mask = inputs(rows)
        angvel = torch.from_numpy(cam_angvel[rows]).to(device).expand(len(views), -1, -1)
        part = to_device([np.asarray(values[rows], np.float32) for values in features]) if features else None
        output, state = model(WhamFrames(x, mask, angvel, part), state, residual)
        after = slice(rows.start + 1, rows.stop + 1)
        result.root[after], result.velocity[rows] = output.root[0].cpu(), output.velocity[0].cpu()
        result.cam[rows] = output.cam[0].cpu()
        result.trans_cam[rows] = full_image_translation(result.cam[rows], boxes[rows], camera_K)
        pose, shape, contact = _mean_of_views(output)
        points = body.landmarks(pose, shape)
        result.poses[rows], result.betas[rows] = pose.cpu(), shape.cpu()
        result.contacts[rows], result.offset[rows] = contact.cpu(), points.offset.cpu()
        feet, root, velocity, matrices, positions = rollout.advance(output, pose[:, 0], points.feet, contact)
        result.feet[rows], result.root_refined[after] = feet.cpu(), root.cpu()
        result.velocity_refined[rows] = velocity.cpu()
        result.root_world[rows], result.trans_world[rows] = matrices.cpu(), positions.cpu()
        if progress:
            progress(rows.stop)
    return result


def _empty(count: int) -> WhamTrack:
    def array(*shape: int) -> np.ndarray:
        return np.empty(shape, np.float32)

    return WhamTrack(
        poses=array(count, 24, 3, 3), betas=array(count, 10), cam=array(count, 3), trans_cam=array(count, 3),
        contacts=array(count, 4), offset=array(count, 3), feet=array(count, 4, 3), root=array(count + 1, 6),
        velocity=array(count, 3), root_refined=array(count + 1, 6), velocity_refined=array(count, 3),
        root_world=array(count, 3, 3), trans_world=array(count, 3),
    )  # fmt: skip


def _no_zero(features: np.ndarray, chunk: int) -> bool:
    return all(features[begin : begin + chunk].all() for begin in range(0, len(features), chunk))


def _mean_of_views(output: WhamOutput) -> tuple[Tensor, Tensor, Tensor]:
    """Pose (n, 24, 3, 3), betas (n, 10) and contacts (n, 4), the mirrored view's mirrored back."""
    poses = matrix_from_r6d(output.pose.unflatten(-1, (24, 6)))
    if len(poses) == 1:
        return poses[0], output.betas[0], output.contact[0]
    pose = closest_rotation((poses[0] + mirror_pose(poses[1])) / 2)
    return pose, output.betas.mean(0), (output.contact[0] + output.contact[1][:, FOOT_MIRROR]) / 2


class _Rollout:
    """The root's trajectory in the world, before and after the refiner; keeps the last frame between chunks."""

    def __init__(self, model: WHAM, init_root: Tensor) -> None:
        """init_root (1, 6): r6d of the root before the first frame."""
        self.refiner = model.trajectory_refiner
        self.state: LstmState | None = None
        self.root = self.root_refined = matrix_from_r6d(init_root)
        self.position = self.position_refined = init_root.new_zeros(3)
        self.feet: Tensor | None = None  # of the last frame, (1, 4, 3) relative to the hips
        self.feet_world: Tensor | None = None

    def advance(
        self, output: WhamOutput, root_cam: Tensor, feet: Tensor, contact: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Add n frames.

        Takes the root's orientation in the camera (n, 3, 3), the feet relative to the hips in camera axes (n, 4, 3)
        and contacts (n, 4). Returns the feet in the world, the refined root r6d and velocity, and their rollout:
        matrices and positions.
        """
        root = torch.cat([self.root, matrix_from_r6d(output.root[0])])
        velocity = output.velocity[0]
        after = root[1:]
        # Linear blend skinning rotates with the root, so the feet in the world are those in the camera, rotated.
        feet = feet @ (after @ root_cam.mT).mT
        positions = roll_out(root[:-1], velocity, self.position)
        feet_world = feet + positions[:, None]

        before = feet[:1] if self.feet is None else self.feet
        before_world = feet_world[:1] if self.feet_world is None else self.feet_world
        planted = contact > _CONTACT_ABOVE
        planted[0] &= self.feet is not None
        velocity = contact_aware_velocity(after, velocity, torch.diff(feet, dim=0, prepend=before), planted)

        foot_velocity = torch.diff(feet_world, dim=0, prepend=before_world) * FPS * contact[..., None]
        refined, velocity_refined, self.state = self.refiner(
            output.context[:1], foot_velocity.flatten(1)[None], output.root[:1], velocity[None], self.state
        )
        matrices = torch.cat([self.root_refined, matrix_from_r6d(refined[0])])
        rolled = roll_out(matrices[:-1], velocity_refined[0], self.position_refined)

        self.root, self.root_refined = root[-1:], matrices[-1:]
        self.position, self.position_refined = positions[-1], rolled[-1]
        self.feet, self.feet_world = feet[-1:], feet_world[-1:]
        return feet_world, refined[0], velocity_refined[0], matrices[1:], rolled
