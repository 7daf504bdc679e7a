"""The path of a root bone on the floor: below the hips, with the body's heading. NumPy only."""

from __future__ import annotations

import numpy as np

from ... import quaternions
from ...animation import Animation, low_pass
from . import transfer
from .transfer import Pose, Target

_CUTOFF = 1.0  # hertz, set by hand: the root follows a walk, but not the sway of the hips in each step


def floor_path(hips: np.ndarray, rotations: np.ndarray, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """Low-pass filtered positions (F, 3) on z = 0 and rotations (F, 4) about z of a root below the hips.

    hips (F, 3); rotations (F, 4) of the hips from facing -y; ``rate``: frames a second.
    """
    heading = quaternions.heading(rotations)
    angles = np.unwrap(2 * np.arctan2(heading[:, 3], heading[:, 0]))
    upright = np.broadcast_to([0.0, 0.0, 1.0], (len(angles), 3))
    yaw = quaternions.about(upright, low_pass(angles[:, None], _CUTOFF, rate)[:, 0])
    return low_pass(hips * [1.0, 1.0, 0.0], _CUTOFF, rate), yaw


def root_path(source: Animation, target: Target, pose: Pose, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """Rotations (F, 4) from rest and positions (F, 3) of a target's root bone, in its body's space.

    The root moves as if rigidly attached to a body in its rest pose whose hips follow the motion's over the floor, in
    position and heading. ``rate``: keys a second.
    """
    space = target.space
    hips = (pose.hips - space.origin) @ space.stretch.T + space.origin
    floor, yaw = floor_path(hips, source.rotations[:, 0], rate)
    floor[:, 2] = transfer.ground(source, target).floor
    rotations = quaternions.multiply(yaw, quaternions.inverse(target.rest_orientation()))

    root = target.heads[target.rig_map.root]
    middle = (target.joint("left_hip") + target.joint("right_hip")) / 2
    up = quaternions.rotate(target.rest_orientation(), np.array([0.0, 0.0, 1.0]))
    offset = root - middle
    return rotations, space.from_world(floor) + quaternions.rotate(rotations, offset - up * (offset @ up))
