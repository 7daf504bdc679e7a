"""What HMR2.0 sees in a person's crops: WHAM's image features, and the pose that a track begins with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...body.rotations import matrix_from_columns
from ...models.hmr2 import D_FEAT, HMR2
from ..array_file import ArrayFile
from ..checkpoints import load_network
from ..people.batched_network import CROP, BatchedNetwork, Note
from ..progress import Progress
from .types import View

VIEWS = 2  # as filmed, and in the mirror
# The smallest number that half precision knows. WHAM takes a feature of exactly zero for one that is missing, and for
# the whole clip: none may become so by rounding.
_LEAST = np.float16(2.0**-24)


def load_hmr2(path: str | Path) -> HMR2:
    """HMR2.0, float32, on the CPU; raises WeightsError with a sentence where the file is another."""
    return load_network(path, "hmr2", HMR2.from_state_dict)


def hmr2(model: HMR2, device: torch.device, note: Note) -> BatchedNetwork:
    """HMR2.0, as `describe` takes it: crops to features (n, 2, 1024), pose (n, 2, 144) and betas (n, 2, 10)."""

    def infer(pictures: Tensor) -> tuple[Tensor, ...]:
        output = model.see(pictures)
        return tuple(torch.stack(each.chunk(VIEWS), 1) for each in (output.features, output.pose, output.betas))

    return BatchedNetwork(model, infer, "HMR2.0", device, note)


def describe(
    network: BatchedNetwork, crops: ArrayFile, rows: np.ndarray, target: ArrayFile | None, progress: Progress
) -> dict[str, np.ndarray]:
    """Look at a person's crops, and write the features of F frames to ``target`` in half precision, (F, 2, 1024).

    crops: the file of crops (N, 256, 192, 3) uint8 RGB; rows (F,) int64, never falling: which of them belongs to
    each frame. ``target`` None: WHAM takes no features, so only the first crop is looked at. Returns the first frame's
    pose (2, 24, 3, 3) and betas (2, 10), as filmed and in the mirror.
    """

    def look(own: np.ndarray) -> list[np.ndarray]:
        return network(crops.read(CROP, np.uint8)[own])  # mapped anew, so that what was seen leaves memory

    _, pose, betas = look(rows[:1])
    poses = matrix_from_columns(torch.from_numpy(pose[0]).unflatten(-1, (24, 6))).numpy()
    begin = {"init_pose": poses, "init_betas": betas[0]}
    if target is None:
        return begin
    distinct, step = np.unique(rows), network.batch
    with target.writing((VIEWS, D_FEAT), np.float16) as append:
        for at in range(0, len(distinct), step):
            own = distinct[at : at + step]
            features = half(look(own)[0])
            frames = rows[np.searchsorted(rows, own[0]) : np.searchsorted(rows, own[-1], "right")]
            append(features[np.searchsorted(own, frames)])
            progress(min(at + len(own), len(distinct)), len(distinct))
    return begin


def half(features: np.ndarray) -> np.ndarray:
    """Numbers in half precision, none of which is zero."""
    small = features.astype(np.float16)
    return np.where(small == 0, np.copysign(_LEAST, small), small)


def views(begin: dict[str, np.ndarray], file: ArrayFile | None) -> list[View]:
    """What `describe` wrote and returned, as the lift takes it: as filmed, and in the mirror."""
    features = None if file is None else file.read((VIEWS, D_FEAT), np.float16)
    return [
        View(begin["init_pose"][view], begin["init_betas"][view], None if features is None else features[:, view])
        for view in range(VIEWS)
    ]
