"""Where a person stands before the camera, told by the picture: where a pose projects onto its keypoints.

WHAM's weak camera says it too, but from the box's size; the keypoints say it to a few pixels.
"""

from __future__ import annotations

import numpy as np
import torch

from ...body.body import Body
from ..people.types import counted
from .types import WhamTrack
from .wham_inference import CHUNK

_ROUNDS = 4  # of reweighting
_OUTLIER = 0.03  # of the distance, across the line of sight: from here on a keypoint is believed less
_LEAST_KEYPOINTS = 6


def stand(lift: WhamTrack, body: Body, keypoints: np.ndarray, camera_K: np.ndarray) -> np.ndarray:
    """Translations (F, 3) of the middle of the hips in the camera's axes, metres.

    keypoints (F, 17, 3): COCO x, y in pixels and confidence; camera_K (3, 3). Frames with too few counted keypoints
    keep the weak camera's translation.
    """
    found = lift.trans_cam.astype(np.float64)
    trusted = counted(keypoints)
    usable = trusted.sum(1) >= _LEAST_KEYPOINTS
    points = _points(lift, body).astype(np.float64)
    rays = (keypoints[..., :2] - camera_K[:2, 2]) / camera_K[[0, 1], [0, 1]]
    # A point p + t lies on its ray (x, y, 1) where t_x - x t_z = x p_z - p_x, and likewise for y: linear in t.
    sides = np.zeros((*rays.shape, 3))
    sides[..., 0, 0] = sides[..., 1, 1] = 1.0
    sides[..., 2] = -rays
    wanted = rays * points[..., 2:] - points[..., :2]
    weight = (keypoints[..., 2] * trusted)[usable]
    sides, wanted = sides[usable], wanted[usable]
    trust = weight
    for _ in range(_ROUNDS):
        weighted = sides * trust[..., None, None]
        normal = np.einsum("fkai,fkaj->fij", weighted, sides)
        place = np.linalg.solve(normal, np.einsum("fkai,fka->fi", weighted, wanted)[..., None])[..., 0]
        off = np.linalg.norm(np.einsum("fkai,fi->fka", sides, place) - wanted, axis=-1) / np.abs(place[:, None, 2])
        trust = weight / np.maximum(1.0, off / _OUTLIER)
    in_front = place[:, 2] > 0.1
    found[np.flatnonzero(usable)[in_front]] = place[in_front]
    return found.astype(np.float32)


@torch.inference_mode()
def _points(lift: WhamTrack, body: Body) -> np.ndarray:
    """COCO's 17 points (F, 17, 3) round the hips in the camera's axes, of the clip's one shape."""
    device = body.smpl.v_template.device
    betas = torch.from_numpy(np.median(lift.betas, 0)).to(device)
    parts = []
    for begin in range(0, len(lift.poses), CHUNK):
        poses = torch.from_numpy(lift.poses[begin : begin + CHUNK]).to(device)
        parts.append(body.landmarks(poses, betas.expand(len(poses), -1)).joints[:, :17].cpu().numpy())
    return np.concatenate(parts)
