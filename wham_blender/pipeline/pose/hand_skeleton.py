"""The hand of a body: its joints' axes and human limits, and the rotations of its angles.

Fingers bend one way and spread little; thumbs have axes of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from ...body.body import Body
from ..people.hands import HAND_POINTS

FINGERS = ("index", "middle", "pinky", "ring", "thumb")  # in SMPL-H's order
# The points of each finger, MediaPipe's: its three joints and its tip.
FINGER_POINTS = np.array([[5, 6, 7, 8], [9, 10, 11, 12], [17, 18, 19, 20], [13, 14, 15, 16], [1, 2, 3, 4]])
_THUMB = 4
_WRISTS = (20, 21)
# All set by hand; angles are radians. A finger: abduction and flexion of its first joint, flexion of the others. The
# thumb: flexion, abduction and axial rotation of its first joint, flexion and abduction of the second, flexion of the
# third.
_FINGER_LOW, _FINGER_HIGH = (-0.35, -0.4, -0.1, -0.1), (0.35, 1.6, 1.9, 1.4)
_THUMB_LOW, _THUMB_HIGH = (-0.6, -0.7, -0.5, -0.3, -0.3, -0.4), (0.9, 0.7, 0.5, 1.1, 0.3, 1.4)
_FINGER_RELAXED, _THUMB_RELAXED = (0.0, 0.35, 0.5, 0.3), (0.1, 0.0, 0.0, 0.15, 0.0, 0.2)
THUMB_STD = (0.5, 0.4, 0.2, 0.6, 0.15, 0.6)  # about the relaxed pose
_THUMB_ROLL = np.radians(35)  # of the thumb's flexion axis, from the back of the hand

LOW = np.array([*_FINGER_LOW * 4, *_THUMB_LOW])
HIGH = np.array([*_FINGER_HIGH * 4, *_THUMB_HIGH])
RELAXED = np.array([*_FINGER_RELAXED * 4, *_THUMB_RELAXED])  # a hand that hangs
ANGLES = len(LOW)


@dataclass(frozen=True)
class HandSkeleton:
    """One hand of the body at rest, in SMPL's axes. Its fingers may be bent a little there."""

    points: np.ndarray  # (21, 3) metres from the wrist, in MediaPipe's order

    @cached_property
    def axes(self) -> list[list[tuple[int, np.ndarray]]]:
        """For each finger the joint (0, 1, 2) and the axis (3,) of each of its angles, in their order."""
        points = self.points
        back = _unit(np.cross(points[5] - points[0], points[17] - points[0]))
        side = np.sign(back[1])  # the back of the hand is up in the T-pose; angles of both hands have the same signs
        axes = [_finger_axes(points, f, side * back, side) for f in range(_THUMB)]
        return [*axes, _thumb_axes(points, side * back, side)]

    @cached_property
    def rest(self) -> np.ndarray:
        """The angles (ANGLES,) at rest: how much each joint is bent there against the bone before."""
        angles = []
        for finger, axes in enumerate(self.axes):
            bones = np.diff(self.points[[0, *FINGER_POINTS[finger]]], axis=0)
            bend = axes[0 if finger == _THUMB else 1][1]
            for joint, axis in axes:
                is_bend = axis is bend and (finger != _THUMB or joint > 0)
                before, after = (bone - bend * (bone @ bend) for bone in bones[joint : joint + 2])
                angles.append(np.arctan2(np.cross(before, after) @ bend, before @ after) if is_bend else 0.0)
        return np.array(angles)

    def rotations(self, angles: np.ndarray) -> np.ndarray:
        """Axis-angle (F, 15, 3) of the joints relative to their parents, in SMPL-H's order, of angles (F, ANGLES)."""
        joints = np.tile(np.eye(3), (len(angles), 15, 1, 1))
        number = 0
        for finger, axes in enumerate(self.axes):
            for joint, axis in axes:
                at = 3 * finger + joint
                joints[:, at] = joints[:, at] @ _about(axis, angles[:, number] - self.rest[number])
                number += 1
        return Rotation.from_matrix(joints.reshape(-1, 3, 3)).as_rotvec().reshape(-1, 15, 3)


def _finger_axes(points: np.ndarray, finger: int, back: np.ndarray, side: float) -> list[tuple[int, np.ndarray]]:
    chain = FINGER_POINTS[finger]
    along = points[chain[3]] - points[chain[0]]
    bend = _unit(np.cross(along, -back))
    return [(0, side * back), (0, bend), (1, bend), (2, bend)]


def _thumb_axes(points: np.ndarray, back: np.ndarray, side: float) -> list[tuple[int, np.ndarray]]:
    """A thumb bends towards the fingers and the palm."""
    along = _unit(points[4] - points[1])
    up = _unit(back - along * (back @ along))
    across = np.cross(along, -up)
    # About which the thumb comes nearer to the fingers, rather than goes away from them.
    sign = np.sign(np.cross(up, along) @ (points[9] - points[1]))
    bend = _unit(np.cos(_THUMB_ROLL) * sign * up + np.sin(_THUMB_ROLL) * across)
    spread = side * np.cross(along, bend)
    return [(0, bend), (0, spread), (0, side * along), (1, bend), (1, spread), (2, bend)]


def _unit(vector: np.ndarray) -> np.ndarray:
    return np.asarray(vector / np.linalg.norm(vector))


def _about(axis: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Rotation matrices (F, 3, 3) about one axis (3,)."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    sin, cos = np.sin(angles)[:, None, None], np.cos(angles)[:, None, None]
    return np.asarray(np.eye(3) + sin * cross + (1 - cos) * (cross @ cross))


@torch.inference_mode()
def of_body(body: Body, betas: np.ndarray) -> list[HandSkeleton]:
    """The left and the right hand of a body that has fingers, of shape (10,)."""
    shape = torch.from_numpy(np.asarray(betas, np.float32)).to(body.smpl.v_template.device)
    joints, tips = (points.cpu().numpy().astype(float) for points in body.rest_hands(shape))
    wrists = body.rest_joints(shape)[list(_WRISTS)].cpu().numpy().astype(float)
    skeletons = []
    for side, wrist in enumerate(wrists):
        points = np.zeros((HAND_POINTS, 3))
        points[FINGER_POINTS[:, :3]] = joints[15 * side : 15 * side + 15].reshape(5, 3, 3) - wrist
        points[FINGER_POINTS[:, 3]] = tips[5 * side : 5 * side + 5] - wrist
        skeletons.append(HandSkeleton(points))
    return skeletons
