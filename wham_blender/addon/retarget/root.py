"""The way over the ground as a root bone does it: below the hips, heading where the body heads. NumPy only."""

from __future__ import annotations

import numpy as np

from ... import quaternions
from ...animation import Animation, low_pass
from . import transfer
from .transfer import Pose, Target

_CUTOFF = 1.0  # hertz: steps sway the hips over the root, a walk carries it


def over_ground(hips: np.ndarray, turns: np.ndarray, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """Where (F, 3) and how turned (F, 4) a root is, at z = 0 and about the upright.

    Takes where hips are (F, 3) and how they turn (F, 4) from facing -y; ``rate``: frames a second, to leave out what
    is faster than a walk.
    """
    heading = quaternions.heading(turns)
    angles = np.unwrap(2 * np.arctan2(heading[:, 3], heading[:, 0]))
    upright = np.broadcast_to([0.0, 0.0, 1.0], (len(angles), 3))
    yaw = quaternions.about(upright, low_pass(angles[:, None], _CUTOFF, rate)[:, 0])
    return low_pass(hips * [1.0, 1.0, 0.0], _CUTOFF, rate), yaw


def root_path(source: Animation, target: Target, pose: Pose, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """Turns (F, 4) from rest and places (F, 3) of a target's root bone, in its body's space.

    The root moves as if it were one with a body that stands as at rest, its hips over the floor where the motion's
    are, and faces where they face. ``rate``: keys a second.
    """
    space = target.space
    hips = (pose.hips - space.origin) @ space.stretch.T + space.origin
    floor, yaw = over_ground(hips, source.rotations[:, 0], rate)
    floor[:, 2] = transfer.ground(source, target).floor
    turns = quaternions.multiply(yaw, quaternions.inverse(target.rest_orientation()))

    root = target.heads[target.rig_map.root]
    middle = (target.joint("left_hip") + target.joint("right_hip")) / 2
    up = quaternions.rotate(target.rest_orientation(), np.array([0.0, 0.0, 1.0]))
    beside = root - middle
    return turns, space.from_world(floor) + quaternions.rotate(turns, beside - up * (beside @ up))
