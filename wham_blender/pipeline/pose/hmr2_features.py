"""WHAM's image features and first pose of a track, from HMR2.0 on the person's crops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...body.rotations import matrix_from_columns
from ...models.hmr2 import D_FEAT, HMR2
from ..array_file import ArrayFile
from ..checkpoints import load_network
from ..people.batched_network import CROP, BatchedNetwork, Log
from ..progress import Progress
from .types import View

VIEWS = 2  # as filmed, and mirrored
# The smallest positive number in half precision. WHAM takes a feature of exactly zero as missing, and then changes its
# output for the whole clip, so no feature may be rounded to zero.
_SMALLEST = np.float16(2.0**-24)


def load_hmr2(path: str | Path) -> HMR2:
    """HMR2.0, float32, on the CPU. Raises WeightsError if the file does not hold its weights."""
    return load_network(path, "hmr2", HMR2.from_state_dict)


def hmr2_network(model: HMR2, device: torch.device, log: Log) -> BatchedNetwork:
    """HMR2.0 for `extract_features`: crops to features (n, 2, 1024), pose (n, 2, 144) and betas (n, 2, 10)."""

    def infer(pictures: Tensor) -> tuple[Tensor, ...]:
        output = model.forward_cropped(pictures)
        return tuple(torch.stack(values.chunk(VIEWS), 1) for values in (output.features, output.pose, output.betas))

    return BatchedNetwork(model, infer, "HMR2.0", device, log)


def extract_features(
    network: BatchedNetwork, crops: ArrayFile, rows: np.ndarray, target: ArrayFile | None, progress: Progress
) -> dict[str, np.ndarray]:
    """Run HMR2.0 on a person's crops, and write the features of F frames to ``target`` in half precision, (F, 2, 1024).

    crops: the file of crops (N, 256, 192, 3) uint8 RGB; rows (F,) int64, non-decreasing: the crop of each frame.
    ``target`` None: WHAM takes no features, so only the first crop is run. Returns the first frame's pose
    (2, 24, 3, 3) and betas (2, 10), as filmed and mirrored.
    """

    def infer(batch: np.ndarray) -> list[np.ndarray]:
        return network(crops.read(CROP, np.uint8)[batch])  # mapped again each time, so that old pages leave memory

    _, pose, betas = infer(rows[:1])
    poses = matrix_from_columns(torch.from_numpy(pose[0]).unflatten(-1, (24, 6))).numpy()
    first_pose = {"init_pose": poses, "init_betas": betas[0]}
    if target is None:
        return first_pose
    distinct, step = np.unique(rows), network.batch
    with target.writing((VIEWS, D_FEAT), np.float16) as append:
        for at in range(0, len(distinct), step):
            batch = distinct[at : at + step]
            features = to_half_precision(infer(batch)[0])
            frames = rows[np.searchsorted(rows, batch[0]) : np.searchsorted(rows, batch[-1], "right")]
            append(features[np.searchsorted(batch, frames)])
            progress(min(at + len(batch), len(distinct)), len(distinct))
    return first_pose


def to_half_precision(features: np.ndarray) -> np.ndarray:
    """Features as float16, none of which is zero."""
    rounded = features.astype(np.float16)
    return np.where(rounded == 0, np.copysign(_SMALLEST, rounded), rounded)


def views_of(first_pose: dict[str, np.ndarray], file: ArrayFile | None) -> list[View]:
    """The views of WhamInput, as filmed and mirrored, from the return value and the file of `extract_features`."""
    features = None if file is None else file.read((VIEWS, D_FEAT), np.float16)
    return [
        View(
            first_pose["init_pose"][view],
            first_pose["init_betas"][view],
            None if features is None else features[:, view],
        )
        for view in range(VIEWS)
    ]
