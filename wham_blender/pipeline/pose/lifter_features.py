"""WHAM's image features and first pose of a track, and a pose of each frame, from the open lifter on landmarks.

In Draft quality it replaces HMR2.0. Its smoothed poses are nearer to held-out motion than those that the open WHAM
weights regress from its features, so Draft quality takes the body's pose from the lifter, and contacts, world
orientation and path from WHAM.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from ...body.rotations import closest_rotation, mirror_pose
from ...errors import reason
from ...models.lifter import Lifter, LifterInput, centre_on_person, pose_feature
from ...models.temporal import REACH, TemporalLifter, track_axes
from ...skeleton import JOINT_NAMES
from ...weights import WeightsError
from ..people.landmarks import COCO_LANDMARKS, LANDMARK_MIRROR
from ..people.types import CONFIDENCE_THRESHOLD, Person
from .types import View

# The landmarks that the lifter takes: COCO's, then heels, toes, index and little fingers, left first.
LIFTER_LANDMARKS = np.array([*COCO_LANDMARKS, 29, 30, 31, 32, 19, 20, 17, 18])
_ENDS = [JOINT_NAMES.index(f"{side}_{part}") for side in ("left", "right") for part in ("foot", "hand")]  # not trained
_BATCH = 1024  # frames; each takes about 50 kB in the networks
# The depth of unobserved points is hallucinated: the landmark net folds legs that are behind a table. With up to the
# first number of the 25 points hidden, the lifter uses the net's 3D; with the second number or more, the mean of its
# poses with and without is taken. On rendered pictures cut by the edge, or hidden from the hips down, the mean is
# nearer to the truth than either, and no worse with errors measured on rendered films.
_HIDDEN = (2, 7)
_TRANSITION = 5.0  # frames, standard deviation, of the change from one to the other; set by hand

_Network = TypeVar("_Network", bound=torch.nn.Module)


@dataclass
class LifterPoses:
    """The poses of F frames: mean of the views as filmed and mirrored."""

    poses: np.ndarray  # (F, 24, 3, 3) rotation matrices, the root's in the camera frame
    betas: np.ndarray  # (F, 10)


def load_lifter(path: str | Path) -> Lifter:
    """The lifter from an ``.npz`` of its tensors. Raises WeightsError if the file does not hold them."""
    return load_network(Path(path), Lifter.from_state_dict).eval()


def load_temporal(path: str | Path) -> TemporalLifter:
    """The temporal network from an ``.npz`` of its tensors. Raises WeightsError if the file does not hold them."""
    return load_network(Path(path), TemporalLifter.from_state_dict).eval()


def load_network(path: Path, network: Callable[[dict[str, Tensor]], _Network]) -> _Network:
    """A network from an ``.npz`` of its tensors. Raises WeightsError if the file does not hold them."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return network({name: torch.from_numpy(arrays[name]).float() for name in arrays.files})
    except (OSError, ValueError, KeyError, RuntimeError, EOFError, zipfile.BadZipFile) as error:
        raise WeightsError(
            f"The weight file {path.name} is not a lifter ({reason(error)}). Install the extension again.",
            code="extension-damaged",
        ) from error


@dataclass(frozen=True)
class PoseNetworks:
    """The networks that take landmarks to poses: frame by frame, and over time."""

    lifter: Lifter
    temporal: TemporalLifter

    @classmethod
    def load(cls, lifter: Path, temporal: Path) -> PoseNetworks:
        """The networks from ``.npz`` files of their tensors. Raises WeightsError if a file does not hold them."""
        return cls(load_lifter(lifter), load_temporal(temporal))


def extract_features(
    networks: PoseNetworks, person: Person, size: tuple[int, int], camera_K: np.ndarray
) -> tuple[View, View, LifterPoses]:
    """Features and first poses of a person's F frames, as filmed and mirrored, and the poses of all frames.

    size: the picture's width and height, pixels; camera_K (3, 3).
    """
    filmed, poses, betas = _view(networks, *lifter_input(person, camera_K))
    mirrored_K = camera_K.copy()
    mirrored_K[0, 2] = size[0] - camera_K[0, 2]
    mirrored, mirrored_poses, mirrored_betas = _view(
        networks, *lifter_input(_mirrored_person(person, size[0]), mirrored_K)
    )
    mean = _in_batches(lambda a, b: closest_rotation((a + mirror_pose(b)) / 2), poses, mirrored_poses)
    return filmed, mirrored, LifterPoses(mean.numpy(), ((betas + mirrored_betas) / 2).numpy())


def lifter_input(person: Person, camera_K: np.ndarray) -> tuple[LifterInput, Tensor]:
    """The lifter's input for a person's F frames, and the rotations (F, 3, 3) from the camera's axes to its axes.

    The points are always the landmark net's, also if ViTPose detected the keypoints: the lifter was trained with the
    landmark net's errors.
    """
    points, depths = person.landmarks[:, LIFTER_LANDMARKS], person.landmarks_3d[:, LIFTER_LANDMARKS]
    depths = depths - depths[:, 11:13].mean(1, keepdims=True)

    def tensor(values: ArrayLike) -> Tensor:
        return torch.from_numpy(np.asarray(values, np.float32))

    count = len(points)
    return centre_on_person(
        tensor(points[..., :2]), torch.from_numpy(points[..., 2] >= CONFIDENCE_THRESHOLD),
        tensor(200 * person.boxes[:, 2]), tensor(depths), torch.full((count,), float(camera_K[0, 0])),
        tensor(camera_K[:2, 2]).expand(count, 2),
    )  # fmt: skip


def _mirrored_person(person: Person, width: int) -> Person:
    """The person with the landmarks of the mirrored clip."""
    landmarks = person.landmarks[:, LANDMARK_MIRROR] * (-1, 1, 1) + (width, 0, 0)
    return replace(person, landmarks=landmarks, landmarks_3d=person.landmarks_3d[:, LANDMARK_MIRROR] * (-1, 1, 1))


@torch.inference_mode()
def _view(networks: PoseNetworks, observed: LifterInput, rotation: Tensor) -> tuple[View, Tensor, Tensor]:
    """The View of F frames, all poses (F, 24, 3, 3), the root's in the camera frame, and betas (F, 10).

    rotation (F, 3, 3): from the camera's axes to those of ``observed``.
    """
    lifter = networks.lifter
    poses, betas = _run(lifter, observed)
    hidden = np.interp((~observed.mask).sum(1).numpy(), _HIDDEN, (0, 1))
    weight = torch.from_numpy(gaussian_filter1d(hidden, _TRANSITION, mode="nearest")).float() / 2
    if weight.any():
        poses_2d, betas_2d = _run(lifter, observed._replace(has_landmarks=torch.zeros_like(observed.has_landmarks)))
        poses = _in_batches(
            lambda *each: closest_rotation(torch.lerp(*each)), poses, poses_2d, weight[:, None, None, None]
        )
        betas = torch.lerp(betas, betas_2d, weight[:, None])
    poses, betas = _over_time(networks, observed, poses, betas, track_axes(rotation[:, 2]) @ rotation.mT)
    poses[:, 0] = rotation.mT @ poses[:, 0]
    features = pose_feature(poses, betas)
    poses[:, _ENDS] = torch.eye(3)
    return View(poses[0].numpy(), betas[0].numpy(), features.numpy()), poses, betas


def _over_time(
    networks: PoseNetworks, observed: LifterInput, poses: Tensor, betas: Tensor, to_track: Tensor
) -> tuple[Tensor, Tensor]:
    """The lifter's poses (F, 24, 3, 3) and betas (F, 10) corrected by the temporal network, in overlapping batches."""
    corrected_poses, corrected_betas = torch.empty_like(poses), torch.empty_like(betas)
    for begin in range(0, len(poses), _BATCH):
        first, last = max(0, begin - REACH), begin + _BATCH + REACH
        estimate = networks.lifter.estimate_of(poses[first:last], betas[first:last])
        part = LifterInput(*(values[first:last] for values in observed))
        corrected = networks.temporal(networks.lifter, part, estimate, to_track[first:last])
        rows = slice(begin - first, begin - first + _BATCH)
        corrected_poses[begin : begin + _BATCH] = corrected.rotations[rows]
        corrected_betas[begin : begin + _BATCH] = corrected.betas[rows]
    return corrected_poses, corrected_betas


def _in_batches(function: Callable[..., Tensor], *values: Tensor) -> Tensor:
    """The function of tensors of F frames each, frame by frame."""
    found: Tensor | None = None
    for at in range(0, len(values[0]), _BATCH):
        part = function(*(each[at : at + _BATCH] for each in values))
        found = part.new_empty(len(values[0]), *part.shape[1:]) if found is None else found
        found[at : at + _BATCH] = part
    assert found is not None
    return found


def _run(lifter: Lifter, observed: LifterInput) -> tuple[Tensor, Tensor]:
    """The lifter's poses (F, 24, 3, 3) and betas (F, 10) of all frames, in batches."""
    count = len(observed.mask)
    poses, betas = torch.empty(count, 24, 3, 3), torch.empty(count, 10)
    for at in range(0, count, _BATCH):
        part = slice(at, at + _BATCH)
        poses[part], betas[part] = lifter(LifterInput(*(values[part] for values in observed)))
    return poses, betas
