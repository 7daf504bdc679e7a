"""Motion capture at any times, on bodies of random shapes, in a world with z up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from scipy.interpolate import CubicSpline
from scipy.spatial.transform import Rotation, RotationSpline

from tools.training import mocap, simulate
from wham_blender.body.body import Body
from wham_blender.motion import forward_kinematics, rotation_matrices

_Y_UP_TO_Z_UP = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])


@dataclass(frozen=True)
class Source:
    """A file of motion capture and the reader of its kind."""

    path: Path
    pattern: str

    @staticmethod
    def of(name: str, folders: Sequence[Path]) -> Source:
        """The take of that name. Raises SystemExit if no folder has it."""
        for folder in folders:
            for pattern in mocap.SOURCES:
                for path in folder.glob(pattern):
                    if path.stem == name:
                        return Source(path, pattern)
        raise SystemExit(f"No motion capture named {name} in {', '.join(map(str, folders))}.")

    def read(self) -> mocap.Take:
        """The take."""
        return mocap.SOURCES[self.pattern](self.path)


@dataclass
class Posed:
    """One person at T times, as in `truth.Truth`."""

    poses: np.ndarray  # (T, 72)
    trans: np.ndarray  # (T, 3)
    joints: np.ndarray  # (T, 24, 3)
    feet: np.ndarray  # (T, 4, 3)
    keypoints: np.ndarray  # (T, 17, 3)
    contacts: np.ndarray  # (T, 4)


class Actor:
    """A take played by a body of a random shape."""

    def __init__(self, source: Source, body: Body, training: simulate.TrainingBody, rng: np.random.Generator) -> None:
        mean = training.rest.double().numpy()
        take = source.read()
        clip = mocap.to_body(take, mean, training.foot_points)
        self._body, self._contacts = body, clip.contacts
        self._shift = np.zeros(3)  # of the recording's place
        self.betas = rng.normal(0, 0.7, 10).clip(-1.6, 1.6)
        self._rest = rest = body.rest_joints(torch.from_numpy(self.betas).float()).numpy()
        poses = Rotation.from_rotvec(clip.poses.reshape(-1, 3)).as_matrix().reshape(-1, 24, 3, 3)
        poses[:, 0] = _Y_UP_TO_Z_UP @ poses[:, 0]
        # Scale the trajectory by the leg length, so that feet do not slide.
        leg, mean_leg = (np.linalg.norm(joints[[4, 7]] - joints[[1, 4]], axis=1).sum() for joints in (rest, mean))
        pelvis = (clip.trans + mean[0]) @ _Y_UP_TO_Z_UP.T * (leg / mean_leg)
        times = np.arange(len(poses)) / mocap.FPS
        self.seconds = float(times[-1])
        self._turns = [RotationSpline(times, Rotation.from_matrix(poses[:, joint])) for joint in range(24)]
        self._trans = CubicSpline(times, pelvis - rest[0])
        self._shift[2] = -np.percentile(self.at(times).feet[..., 2].min(1), 3)
        middle = (take.points["left_hip"] + take.points["right_hip"]) @ _Y_UP_TO_Z_UP.T / 2
        self._captured_hips = CubicSpline(times, middle)

    def stand_where_captured(self, times: np.ndarray) -> None:
        """Move the whole motion so that, on average over these times, it is where the captured person was.

        Two people of one recording thereby keep their distance, though their bodies are scaled each by its own legs.
        """
        hips = self.at(times).keypoints[:, 11:13].mean(1)
        self._shift += (self._captured_hips(times) - hips).mean(0) * (1, 1, 0)

    def move(self, shift: np.ndarray) -> None:
        """Move the whole motion by metres (2,)."""
        self._shift[:2] += shift

    def at(self, times: np.ndarray) -> Posed:
        """The person at times (T,), seconds in the take."""
        poses = np.stack([spline(times).as_rotvec() for spline in self._turns], 1).reshape(-1, 72)
        trans = self._trans(times) + self._shift
        rotations = torch.from_numpy(rotation_matrices(poses.reshape(-1, 24, 3))).float()
        with torch.inference_mode():
            points = self._body.landmarks(rotations, self._shape.expand(len(poses), -1))
        shift = (trans + points.offset.numpy())[:, None]
        nearest = (times * mocap.FPS).round().astype(int).clip(0, len(self._contacts) - 1)
        joints = forward_kinematics(poses, trans, self._rest)[0]
        return Posed(
            poses,
            trans,
            joints,
            points.feet.numpy() + shift,
            points.joints[:, :17].numpy() + shift,
            self._contacts[nearest],
        )

    def vertices(self, posed: Posed, row: int) -> np.ndarray:
        """The mesh (V, 3) of one row."""
        rotations = torch.from_numpy(rotation_matrices(posed.poses[[row]].reshape(1, 24, 3))).float()
        with torch.inference_mode():
            return self._body.vertices(rotations, self._shape)[0].numpy() + posed.trans[row]

    @cached_property
    def _shape(self) -> torch.Tensor:
        return torch.from_numpy(self.betas).float()[None]
