"""What the open per-frame lifter makes of a person's landmarks: WHAM's image features, and poses of its own.

It stands where the full pipeline has HMR2.0's features. Its poses, smoothed, are nearer to held-out motion than those
that the open WHAM weights make of its features, so draft quality takes the body's pose from here and contacts,
world orientation and path from WHAM.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from ...body.rotations import closest_rotation, mirror_pose
from ...models.lifter import Lifter, Look, feature_of, look_straight
from ...skeleton import JOINT_NAMES
from ...weights import WeightsError
from ..people.landmarks import COCO_LANDMARKS, LANDMARK_MIRROR
from ..people.types import COUNTED_CONFIDENCE, Person
from .types import View

# The lifter's points among the landmarks: COCO's, then heels, toes, index and little fingers, left first.
OBSERVED = np.array([*COCO_LANDMARKS, 29, 30, 31, 32, 19, 20, 17, 18])
_ENDS = [JOINT_NAMES.index(f"{side}_{part}") for side in ("left", "right") for part in ("foot", "hand")]  # never taught
_BATCH = 4096  # frames
_SMOOTHING = 1.5  # frames at 30 fps, standard deviation; chosen on held-out motion capture
# How many of 25 points may be hidden, and from how many on a person is seen in part: what nobody sees the landmark net
# makes up in 3D, and folds legs that are behind a table. The mean of what the lifter says with that 3D and without is
# nearer than either, on drawn pictures cut by the edge or hidden from the hips down, and with filmed errors no worse.
_HIDDEN = (2, 7)
_CHANGING = 5.0  # frames, standard deviation, over which the one gives way to the other


@dataclass
class FramePoses:
    """The lifter's poses of F frames, the mean of both views, smooth."""

    poses: np.ndarray  # (F, 24, 3, 3) rotation matrices, the root's in the camera frame
    betas: np.ndarray  # (F, 10)


def load(path: str | Path) -> Lifter:
    """The lifter in an ``.npz`` of its tensors; raises WeightsError where the file holds none."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return Lifter.from_state_dict(
                {name: torch.from_numpy(arrays[name]).float() for name in arrays.files}
            ).eval()
    except (OSError, ValueError, KeyError, RuntimeError, EOFError, zipfile.BadZipFile) as error:
        raise WeightsError(
            f"The weight file {Path(path).name} is not a lifter ({error}). Install the extension again."
        ) from error


def describe(
    lifter: Lifter, person: Person, size: tuple[int, int], camera_K: np.ndarray
) -> tuple[View, View, FramePoses]:
    """Features and first poses of a person's F frames, as filmed and in the mirror, and the poses of all frames.

    size: the picture's width and height; camera_K (3, 3).
    """
    plain, poses, betas = _view(lifter, *look_at(person, camera_K))
    from_right = camera_K.copy()
    from_right[0, 2] = size[0] - camera_K[0, 2]
    mirrored, *turned = _view(lifter, *look_at(_mirrored(person, size[0]), from_right))
    mean = gaussian_filter1d((poses + mirror_pose(turned[0])).numpy(), _SMOOTHING, axis=0, mode="nearest")
    own = FramePoses(closest_rotation(torch.from_numpy(mean)).numpy(), ((betas + turned[1]) / 2).numpy())
    return plain, mirrored, own


def look_at(person: Person, camera_K: np.ndarray) -> tuple[Look, Tensor]:
    """What the lifter is told of a person's F frames, and the turns (F, 3, 3) from the camera's axes to the look's.

    The points are the landmark net's, whoever saw the keypoints: with its errors the lifter learned.
    """
    points, depths = person.landmarks[:, OBSERVED], person.landmarks_3d[:, OBSERVED]
    depths = depths - depths[:, 11:13].mean(1, keepdims=True)

    def tensor(values: ArrayLike) -> Tensor:
        return torch.from_numpy(np.asarray(values, np.float32))

    count = len(points)
    return look_straight(
        tensor(points[..., :2]), torch.from_numpy(points[..., 2] >= COUNTED_CONFIDENCE),
        tensor(200 * person.boxes[:, 2]), tensor(depths), torch.full((count,), float(camera_K[0, 0])),
        tensor(camera_K[:2, 2]).expand(count, 2),
    )  # fmt: skip


def _mirrored(person: Person, width: int) -> Person:
    """The landmarks as they would be seen in the mirrored clip."""
    landmarks = person.landmarks[:, LANDMARK_MIRROR] * (-1, 1, 1) + (width, 0, 0)
    return replace(person, landmarks=landmarks, landmarks_3d=person.landmarks_3d[:, LANDMARK_MIRROR] * (-1, 1, 1))


@torch.inference_mode()
def _view(lifter: Lifter, look: Look, turn: Tensor) -> tuple[View, Tensor, Tensor]:
    """The lifter's view of F looks, their turns (F, 3, 3) being given; all poses (F, 24, 3, 3) and betas (F, 10)."""
    poses, betas = _posed(lifter, look)
    hidden = np.interp((~look.mask).sum(1).numpy(), _HIDDEN, (0, 1))
    share = torch.from_numpy(gaussian_filter1d(hidden, _CHANGING, mode="nearest")).float() / 2
    if share.any():
        others = _posed(lifter, look._replace(seen3d=torch.zeros_like(look.seen3d)))
        poses = closest_rotation(torch.lerp(poses, others[0], share[:, None, None, None]))
        betas = torch.lerp(betas, others[1], share[:, None])
    poses[:, 0] = turn.mT @ poses[:, 0]
    features = feature_of(poses, betas)
    poses[:, _ENDS] = torch.eye(3)
    return View(poses[0].numpy(), betas[0].numpy(), features.numpy()), poses, betas


def _posed(lifter: Lifter, look: Look) -> tuple[Tensor, Tensor]:
    """The lifter's poses and betas of all frames, a batch at a time."""
    parts = [lifter(Look(*(column[at : at + _BATCH] for column in look))) for at in range(0, len(look.mask), _BATCH)]
    poses, betas = (torch.cat(values) for values in zip(*parts, strict=True))
    return poses, betas
