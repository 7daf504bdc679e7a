"""A person's result at the clip's own frames, out of the 30 fps clock that the networks keep."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.spatial.transform import Rotation

from ... import motion
from ...quaternions import without_jumps
from ..people.types import Person, Sightings, inside
from .placement import Placed


def resampled(
    sightings: Sightings, person: Person, placed: Placed, camera_K: np.ndarray, meta: dict[str, Any],
    gender: str = "neutral",
) -> motion.Motion:  # fmt: skip
    """One person at the clip's own frames: turns and ways by splines, the rest linearly."""
    rows = inside(sightings, person)
    times = sightings.times[rows].clip(*person.time[[0, -1]])
    place = np.interp(times, person.time, np.arange(len(person)))
    before, after = np.floor(place).astype(int), np.ceil(place).astype(int)
    share = place - before

    def between(values: np.ndarray) -> np.ndarray:
        part = share.reshape(-1, *[1] * (values.ndim - 1))
        return values[before] * (1 - part) + values[after] * part

    def smoothly(values: np.ndarray) -> np.ndarray:
        # Linear steps between two frames of the clock would jerk at every one of them.
        return CubicSpline(person.time, values)(times) if len(person) > 1 else values[before]

    def turned(rotations: Rotation, count: int) -> Rotation:
        """Rotations of ``count`` joints a frame, one frame after the other."""
        quaternions = rotations.as_quat().reshape(len(person), count, 4)
        return Rotation.from_quat(smoothly(without_jumps(quaternions)).reshape(-1, 4))

    keypoints = between(person.keypoints)
    return motion.Motion(
        poses=turned(Rotation.from_rotvec(placed.poses.reshape(-1, 3)), 24).as_rotvec().reshape(-1, 72),
        trans=smoothly(placed.trans),
        betas=placed.betas,
        mocap_framerate=meta["fps"],
        contacts=between(placed.contacts),
        confidence=keypoints[..., 2].mean(1),
        visible=person.visible[before] & person.visible[after],
        camera_R=turned(Rotation.from_matrix(placed.camera_R), 1).as_matrix(),
        camera_t=smoothly(placed.camera_t),
        camera_K=camera_K,
        rest_joints=placed.rest_joints,
        frame=sightings.numbers[rows],
        time=times,
        keypoints=keypoints,
        gender=gender,
        meta=meta,
    )
