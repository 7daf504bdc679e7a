"""Resamples a person's result from the networks' 30 fps clock to the clip's frames."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.spatial.transform import Rotation

from ... import motion
from ...quaternions import without_jumps
from ..people.types import Detections, Person, frames_in_track
from .placement import Placed


def resample_to_clip(
    detections: Detections, person: Person, placed: Placed, camera_K: np.ndarray, meta: dict[str, Any],
    gender: str = "neutral",
) -> motion.Motion:  # fmt: skip
    """One person at the clip's frames: rotations and translations by cubic splines, the rest linearly."""
    rows = frames_in_track(detections, person)
    frame_times = detections.frame_times[rows]
    times = frame_times.clip(*person.time[[0, -1]])  # of which two may be equal
    position = np.interp(times, person.time, np.arange(len(person)))
    before, after = np.floor(position).astype(int), np.ceil(position).astype(int)
    fraction = position - before

    def linear(values: np.ndarray) -> np.ndarray:
        weight = fraction.reshape(-1, *[1] * (values.ndim - 1))
        return values[before] * (1 - weight) + values[after] * weight

    def spline(values: np.ndarray) -> np.ndarray:
        # Linear interpolation of a motion would change the velocity abruptly at every frame of the clock.
        return CubicSpline(person.time, values)(times) if len(person) > 1 else values[before]

    def rotation_spline(rotations: Rotation) -> Rotation:
        """The rotations of one joint."""
        return Rotation.from_quat(spline(without_jumps(rotations.as_quat())))

    def joint_splines(poses: np.ndarray) -> np.ndarray:
        """Axis-angle of poses (F, n, 3), a joint after the other: splines take ten times the memory of their values."""
        joints = [rotation_spline(Rotation.from_rotvec(poses[:, joint])) for joint in range(poses.shape[1])]
        return np.stack([joint.as_rotvec() for joint in joints], 1)

    keypoints = linear(person.keypoints)
    hands = {}
    if len(placed.hand_poses):
        hands = {
            "hand_poses": joint_splines(placed.hand_poses),
            "hand_confidence": linear(placed.hand_confidence),
        }
    return motion.Motion(
        poses=joint_splines(placed.poses.reshape(-1, 24, 3)).reshape(-1, 72),
        trans=spline(placed.trans),
        betas=placed.betas,
        mocap_framerate=meta["fps"],
        contacts=linear(placed.contacts),
        confidence=keypoints[..., 2].mean(1).clip(0, 1),  # heatmaps of ViTPose may exceed 1
        visible=person.visible[before] & person.visible[after],
        camera_R=rotation_spline(Rotation.from_matrix(placed.camera_R)).as_matrix(),
        camera_t=spline(placed.camera_t),
        camera_K=camera_K,
        rest_joints=placed.rest_joints,
        frame=detections.frame_numbers[rows],
        time=frame_times,
        keypoints=keypoints,
        gender=gender,
        meta=meta,
        **hands,
    )
