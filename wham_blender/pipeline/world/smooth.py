"""Smooths a placed motion, keeping planted feet in place; and measures how far planted feet slide."""

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
    """The motion, at FPS frames a second, without oscillations of a period below ``seconds``; 0 changes nothing.

    A low-pass filter without delay, see ``animation.smoothed``.
    """
    if seconds <= 0:
        return placed
    count = len(placed.poses)
    result = animation.smoothed(_animation(placed, body), 1 / seconds, FPS)
    return replace(
        placed,
        poses=quaternions.to_axis_angle(result.rotations).reshape(count, 72).astype(np.float32),
        trans=(result.root - placed.rest_joints[0]).astype(np.float32),
    )


def foot_sliding(placed: Placed, body: Body) -> float | None:
    """The mean speed of planted foot points along the floor, metres a second; None if no foot is ever planted."""
    return animation.sliding(_animation(placed, body), FPS)


def _animation(placed: Placed, body: Body) -> Animation:
    """A placed person as an animation with a key in each frame at FPS frames a second."""
    count = len(placed.poses)
    # Rest joints and foot points are in SMPL's axes, y up; the root's rotation leads from these to the world, z up.
    return Animation(
        frames=np.arange(count, dtype=float),
        root=(placed.trans + placed.rest_joints[0]).astype(float),
        rotations=quaternions.without_jumps(
            quaternions.of_axis_angle(placed.poses.reshape(count, 24, 3).astype(float))
        ),
        heads=placed.rest_joints.astype(float),
        feet=_rest_foot_points(placed, body),
        contacts=planted(placed.contacts),
        probabilities=placed.contacts,
        confidence=np.ones(count),
        visible=np.ones(count, bool),
    )


@torch.inference_mode()
def _rest_foot_points(placed: Placed, body: Body) -> np.ndarray:
    """The foot points (4, 3) of the body at rest, SMPL's axes, metres."""
    device = body.smpl.v_template.device
    betas = torch.from_numpy(placed.betas).to(device)[None]
    points = body.landmarks(torch.eye(3, device=device).expand(1, 24, 3, 3), betas)
    return (points.feet + points.offset[:, None])[0].cpu().numpy().astype(float)
