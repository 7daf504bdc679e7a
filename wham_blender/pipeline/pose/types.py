"""WHAM's input and output for one track."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass
class View:
    """Output of HMR2.0 or the lifter for a track, as filmed or mirrored (for the flip test)."""

    init_pose: np.ndarray  # (24, 3, 3) SMPL pose of the first frame, the root's in the camera frame
    init_betas: np.ndarray  # (10,)
    features: np.ndarray | None = None  # (F, d_feat), may be memory-mapped; None skips the integrator


@dataclass(frozen=True)
class WhamInput:
    """WHAM's input for one track over F frames at 30 fps."""

    keypoints: np.ndarray  # (F, 17, 3) COCO x, y in pixels and confidence
    boxes: np.ndarray  # (F, 3) centre in pixels and side / 200
    size: tuple[int, int]  # width and height of the picture, pixels
    views: Sequence[View]  # as filmed, and mirrored if the flip test is wanted
    cam_angvel: np.ndarray | None = None  # (F, 6) camera angular velocity, see camera_angular_velocity; None: static
    camera_K: np.ndarray | None = None  # (3, 3) intrinsics in pixels; None: see default_intrinsics

    def __len__(self) -> int:
        return len(self.keypoints)


@dataclass
class WhamTrack:
    """WHAM's output for one person over F frames, float32; camera axes are OpenCV's, WHAM's world is y down."""

    poses: np.ndarray  # (F, 24, 3, 3) rotation matrices, the root's in the camera frame
    betas: np.ndarray  # (F, 10)
    cam: np.ndarray  # (F, 3) weak-perspective camera: scale, tx, ty
    trans_cam: np.ndarray  # (F, 3) metres: midpoint of the hips in the camera frame
    contacts: np.ndarray  # (F, 4) raw: left toe, left heel, right toe, right heel
    offset: np.ndarray  # (F, 3) metres: midpoint of the hips in SMPL's output without a translation
    feet: np.ndarray  # (F, 4, 3) metres: the four foot points in the unrefined world
    root: np.ndarray  # (F + 1, 6) r6d of the root in the world, before the first frame and after each
    velocity: np.ndarray  # (F, 3) of the root in its axes, metres a frame
    root_refined: np.ndarray  # (F + 1, 6)
    velocity_refined: np.ndarray  # (F, 3)
    root_world: np.ndarray  # (F, 3, 3) the refined rollout
    trans_world: np.ndarray  # (F, 3) metres: midpoint of the hips in the refined rollout
