"""Takes trembling out of a placed motion, poses and path alike; planted feet stay planted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from ... import animation, quaternions
from ...animation import Animation
from ...body.body import Body
from ...motion import planted
from ..pose.wham_inference import FPS
from .placement import Placed


def smooth(placed: Placed, body: Body, seconds: float) -> Placed:
    """The motion at FPS frames a second without what comes again within ``seconds``; 0 changes nothing.

    A fourth-order low-pass without delay, see ``animation.smoothed``.
    """
    if seconds <= 0:
        return placed
    count = len(placed.poses)
    down = planted(placed.contacts)
    # The axes at rest are SMPL's, y up, in all of them: the root's turn leads from there to the world.
    whole = Animation(
        frames=np.arange(count, dtype=float),
        root=(placed.trans + placed.rest_joints[0]).astype(float),
        rotations=quaternions.without_jumps(
            quaternions.of_axis_angle(placed.poses.reshape(count, 24, 3).astype(float))
        ),
        heads=placed.rest_joints.astype(float),
        feet=_feet(placed, body),
        contacts=down,
        probabilities=placed.contacts,
        confidence=np.ones(count),
        visible=np.ones(count, bool),
    )
    result = animation.smoothed(whole, 1 / seconds, FPS)
    return replace(
        placed,
        poses=quaternions.to_axis_angle(result.rotations).reshape(count, 72).astype(np.float32),
        trans=(result.root - placed.rest_joints[0]).astype(np.float32),
    )


@torch.inference_mode()
def _feet(placed: Placed, body: Body) -> np.ndarray:
    """The foot points (4, 3) of the body at rest."""
    device = body.smpl.v_template.device
    betas = torch.from_numpy(placed.betas).to(device)[None]
    points = body.landmarks(torch.eye(3, device=device).expand(1, 24, 3, 3), betas)
    return (points.feet + points.offset[:, None])[0].cpu().numpy().astype(float)
