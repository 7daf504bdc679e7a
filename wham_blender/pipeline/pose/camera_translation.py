"""Solves each frame's translation from camera to body so that the pose projects onto the 2D keypoints.

WHAM's weak-perspective camera gives a translation, too, but from the size of the bounding box. This one is accurate to
a few pixels.
"""

from __future__ import annotations

import numpy as np
import torch

from ...body.body import Body
from ..people.types import is_confident
from .types import WhamTrack
from .wham_inference import CHUNK

# Set by hand.
_REWEIGHTINGS = 4
_OUTLIER = 0.03  # across the line of sight, as a fraction of the distance: beyond it a keypoint loses weight
_MIN_KEYPOINTS = 6


def solve_translation(track: WhamTrack, body: Body, keypoints: np.ndarray, camera_K: np.ndarray) -> np.ndarray:
    """Translations (F, 3) of the midpoint of the hips in camera axes, metres.

    keypoints (F, 17, 3): COCO x, y in pixels and confidence; camera_K (3, 3). Frames with too few confident keypoints
    keep the translation of the weak-perspective camera.
    """
    result = track.trans_cam.astype(np.float64)
    confident = is_confident(keypoints)
    usable = confident.sum(1) >= _MIN_KEYPOINTS
    points = _points(track, body).astype(np.float64)
    rays = (keypoints[..., :2] - camera_K[:2, 2]) / camera_K[[0, 1], [0, 1]]
    # A point p + t lies on its ray (x, y, 1) if t_x - x t_z = x p_z - p_x, and likewise for y: linear in t.
    rows = np.zeros((*rays.shape, 3))
    rows[..., 0, 0] = rows[..., 1, 1] = 1.0
    rows[..., 2] = -rays
    target = rays * points[..., 2:] - points[..., :2]
    confidence = (keypoints[..., 2] * confident)[usable]
    rows, target = rows[usable], target[usable]
    weight = confidence
    for _ in range(_REWEIGHTINGS):
        weighted = rows * weight[..., None, None]
        normal = np.einsum("fkai,fkaj->fij", weighted, rows)
        solution = np.linalg.solve(normal, np.einsum("fkai,fka->fi", weighted, target)[..., None])[..., 0]
        residual = np.linalg.norm(np.einsum("fkai,fi->fka", rows, solution) - target, axis=-1)
        weight = confidence / np.maximum(1.0, residual / np.abs(solution[:, None, 2]) / _OUTLIER)
    in_front = solution[:, 2] > 0.1
    result[np.flatnonzero(usable)[in_front]] = solution[in_front]
    return result.astype(np.float32)


@torch.inference_mode()
def _points(track: WhamTrack, body: Body) -> np.ndarray:
    """COCO's 17 points (F, 17, 3) relative to the hips in camera axes, with the track's median betas."""
    device = body.smpl.v_template.device
    betas = torch.from_numpy(np.median(track.betas, 0)).to(device)
    parts = []
    for begin in range(0, len(track.poses), CHUNK):
        # A copy: in a long clip they are in a file and read only, which PyTorch warns of.
        poses = torch.from_numpy(track.poses[begin : begin + CHUNK].copy()).to(device)
        parts.append(body.landmarks(poses, betas.expand(len(poses), -1)).joints[:, :17].cpu().numpy())
    return np.concatenate(parts)
