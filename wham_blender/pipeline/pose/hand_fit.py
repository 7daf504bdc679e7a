"""Fits a hand with human joints to the 21 points of the hand landmark net, frame by frame, by Gauss-Newton steps.

The picture's points say where a joint is across the line of sight, the net's metres how deep. Fingers bend one way and
spread little; thumbs have axes of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.spatial.transform import Rotation

from ..people.hands import HAND_POINTS

FINGERS = ("index", "middle", "pinky", "ring", "thumb")  # in SMPL-H's order
# The points of each finger, MediaPipe's: its three joints and its tip.
FINGER_POINTS = np.array([[5, 6, 7, 8], [9, 10, 11, 12], [17, 18, 19, 20], [13, 14, 15, 16], [1, 2, 3, 4]])
_PALM = np.array([0, 5, 9, 13, 17])  # points that hardly move against each other
_THUMB = 4
_CHUNK = 1000  # frames fitted at once
_SIZED = 60  # frames at most from which the size is known
_STEPS = 8
# All set by hand; angles are radians. A finger: abduction and flexion of its first joint, flexion of the others. The
# thumb: flexion, abduction and axial rotation of its first joint, flexion and abduction of the second, flexion of the
# third.
_FINGER_LOW, _FINGER_HIGH = (-0.35, -0.4, -0.1, -0.1), (0.35, 1.6, 1.9, 1.4)
_THUMB_LOW, _THUMB_HIGH = (-0.6, -0.7, -0.5, -0.3, -0.3, -0.4), (0.9, 0.7, 0.5, 1.1, 0.3, 1.4)
_FINGER_RELAXED, _THUMB_RELAXED = (0.0, 0.35, 0.5, 0.3), (0.1, 0.0, 0.0, 0.15, 0.0, 0.2)
_FINGER_STD, _THUMB_STD = (0.15, 1.2, 1.2, 0.6), (0.5, 0.4, 0.2, 0.6, 0.15, 0.6)  # about the relaxed pose
_LAST_JOINT, _LAST_JOINT_STD = 0.6, 0.25  # a finger's last joint bends with the one before
_ACROSS_STD, _DEPTH_STD = 0.004, 0.010  # metres, of a point
_OUTLIER = 0.015  # metres of a point's distance at which it has lost half of its weight
_SIZE_STD, _KNOWN_SIZE_STD = 0.3, 0.03  # of the logarithm of the size: in a first fit, and about its median
_THUMB_ROLL = np.radians(35)  # of the thumb's flexion axis, from the back of the hand

LOW = np.array([*_FINGER_LOW * 4, *_THUMB_LOW])
HIGH = np.array([*_FINGER_HIGH * 4, *_THUMB_HIGH])
RELAXED = np.array([*_FINGER_RELAXED * 4, *_THUMB_RELAXED])  # a hand that hangs
_STD = np.array([*_FINGER_STD * 4, *_THUMB_STD])
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

    def posed(self, angles: np.ndarray, rotation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points (F, 21, 3) from the wrist, rotated by (F, 3, 3), and their derivatives (F, 21, 3, ANGLES)."""
        count = len(angles)
        points = np.zeros((count, HAND_POINTS, 3))
        slopes = np.zeros((count, HAND_POINTS, 3, ANGLES))
        number = 0
        for finger, axes in enumerate(self.axes):
            chain = FINGER_POINTS[finger]
            turned, here = rotation, rotation @ self.points[chain[0]]
            points[:, chain[0]] = here
            pivots = []
            for joint in range(3):
                for _, axis in (each for each in axes if each[0] == joint):
                    pivots.append((number, turned @ axis, here))
                    turned = turned @ _about(axis, angles[:, number] - self.rest[number])
                    number += 1
                here = here + turned @ (self.points[chain[joint + 1]] - self.points[chain[joint]])
                points[:, chain[joint + 1]] = here
                for at, axis, pivot in pivots:
                    _cross(axis, here - pivot, slopes[:, chain[joint + 1], :, at])
        return points, slopes


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


def _cross(first: np.ndarray, second: np.ndarray, out: np.ndarray) -> None:
    """`numpy.cross` of vectors (F, 3), in a fraction of its time."""
    (a, b, c), (x, y, z) = first.T, second.T
    out[:, 0], out[:, 1], out[:, 2] = b * z - c * y, c * x - a * z, a * y - b * x


def _unit(vector: np.ndarray) -> np.ndarray:
    return np.asarray(vector / np.linalg.norm(vector))


def _about(axis: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Rotation matrices (F, 3, 3) about one axis (3,)."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    sin, cos = np.sin(angles)[:, None, None], np.cos(angles)[:, None, None]
    return np.asarray(np.eye(3) + sin * cross + (1 - cos) * (cross @ cross))


@dataclass(frozen=True)
class FittedHand:
    """A hand in F frames."""

    angles: np.ndarray  # (F, ANGLES) radians
    rotation: np.ndarray  # (F, 3, 3) from SMPL's rest axes to the camera's
    error: np.ndarray  # (F,) metres: mean distance of the points from the net's
    unlikely: np.ndarray  # (F,) mean square of the angles' deviations from the relaxed hand, in those of any hand


def mirrored_in_depth(hands: np.ndarray) -> np.ndarray:
    """Hands (F, 21, 5) with the same picture, whose near side is the far one: the net often takes one for the other."""
    return hands * np.array([1, 1, 1, 1, -1], hands.dtype)


def targets(hands: np.ndarray, camera_K: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points (F, 21, 3) in metres, z along the ray to the hand, and the rotations (F, 3, 3) from there to the camera.

    ``hands`` (F, 21, 5): pixels and the net's metres. Across the ray, the pixels say more than the metres.
    """
    pixels, metres = hands[..., :2].astype(float), hands[..., 2:].astype(float)
    rays = np.concatenate([pixels, np.ones_like(pixels[..., :1])], -1) @ np.linalg.inv(camera_K).T
    middle = rays.mean(1)
    middle /= np.linalg.norm(middle, axis=1, keepdims=True)
    to_camera = _rotation_of_z(middle)
    local = rays @ to_camera  # rows times the inverse
    local = local[..., :2] / local[..., 2:]
    deep = metres[..., 2] - metres[..., 2].mean(1, keepdims=True)
    centred = local - local.mean(1, keepdims=True)
    spread = metres[..., :2] - metres[..., :2].mean(1, keepdims=True)
    distance = (centred * spread).sum((1, 2)) / np.maximum((centred**2).sum((1, 2)), 1e-12)
    distance = np.maximum(distance, 0.05)
    return np.concatenate([local * (distance[:, None] + deep)[..., None], deep[..., None]], -1), to_camera


def _rotation_of_z(directions: np.ndarray) -> np.ndarray:
    """The smallest rotations (F, 3, 3) that turn z to directions (F, 3) of length one."""
    x, y, z = directions.T
    scale = 1 / (1 + z)
    rows = [
        [1 - x * x * scale, -x * y * scale, x],
        [-x * y * scale, 1 - y * y * scale, y],
        [-x, -y, z],
    ]
    return np.moveaxis(np.array(rows), 2, 0)


def fit(skeleton: HandSkeleton, hands: np.ndarray, camera_K: np.ndarray) -> FittedHand:
    """The hand (F, 21, 5) of one person and side, as in `Person.hands`, in frames in which it is seen."""
    points, to_camera = targets(hands, camera_K)
    chunks = [slice(begin, begin + _CHUNK) for begin in range(0, len(points), _CHUNK)]
    size = float(np.median(_fit(skeleton, points[:: -(-len(points) // _SIZED)], 0.0, _SIZE_STD)[2]))
    fitted = [_fit(skeleton, points[chunk], size, _KNOWN_SIZE_STD) for chunk in chunks]
    angles, rotation, _, error = (np.concatenate(each) for each in zip(*fitted, strict=True))
    return FittedHand(angles, to_camera @ rotation, error, (((angles - RELAXED) / _STD) ** 2).mean(1))


def _fit(
    skeleton: HandSkeleton, target: np.ndarray, size: float, size_std: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Angles (F, ANGLES), rotations (F, 3, 3), logarithms of the sizes (F,) and errors (F,) of the best fit."""
    count = len(target)
    angles = np.tile(RELAXED, (count, 1))
    rotation = _palm_rotations(skeleton, target)
    logarithm = np.full(count, size)
    points, slopes = skeleton.posed(angles, rotation)
    shift = (target - np.exp(logarithm)[:, None, None] * points)[:, _PALM].mean(1)
    std = np.array([_ACROSS_STD, _ACROSS_STD, _DEPTH_STD])
    for _ in range(_STEPS):
        scaled = np.exp(logarithm)[:, None, None] * points
        off = target - scaled - shift[:, None]
        robust = 1 / (1 + (off**2).sum(-1, keepdims=True) / _OUTLIER**2)
        weight = np.sqrt(robust) / std
        jacobian = np.zeros((count, HAND_POINTS, 3, ANGLES + 7))
        jacobian[..., :ANGLES] = np.exp(logarithm)[:, None, None, None] * slopes
        for axis in range(3):
            following, last = (axis + 1) % 3, (axis + 2) % 3
            jacobian[..., last, ANGLES + axis] = scaled[..., following]
            jacobian[..., following, ANGLES + axis] = -scaled[..., last]
            jacobian[..., axis, ANGLES + 3 + axis] = 1
        jacobian[..., -1] = scaled
        rows = (jacobian * weight[..., None]).reshape(count, -1, ANGLES + 7)
        hessian = rows.swapaxes(1, 2) @ rows
        gradient = (rows.swapaxes(1, 2) @ (off * weight).reshape(count, -1, 1))[..., 0]
        _add_priors(hessian, gradient, angles, (logarithm - size, size_std))
        step = np.linalg.solve(hessian, gradient[..., None])[..., 0]
        angles = np.clip(angles + step[:, :ANGLES], LOW, HIGH)
        rotation = Rotation.from_rotvec(step[:, ANGLES : ANGLES + 3].clip(-1, 1)).as_matrix() @ rotation
        shift = shift + step[:, ANGLES + 3 : ANGLES + 6]
        logarithm = logarithm + step[:, -1].clip(-0.2, 0.2)
        points, slopes = skeleton.posed(angles, rotation)
    off = target - np.exp(logarithm)[:, None, None] * points - shift[:, None]
    return angles, rotation, logarithm, np.linalg.norm(off, axis=-1).mean(1)


def _add_priors(hessian: np.ndarray, gradient: np.ndarray, angles: np.ndarray, size: tuple[np.ndarray, float]) -> None:
    """Add to normal equations what is known of any hand, and of the size: its logarithm's error, and std."""
    diagonal = np.arange(ANGLES)
    hessian[:, diagonal, diagonal] += 1 / _STD**2
    gradient[:, :ANGLES] += (RELAXED - angles) / _STD**2
    for finger in range(4):
        middle, last = 4 * finger + 2, 4 * finger + 3
        weight = 1 / _LAST_JOINT_STD**2
        off = _LAST_JOINT * angles[:, middle] - angles[:, last]
        hessian[:, last, last] += weight
        hessian[:, middle, middle] += weight * _LAST_JOINT**2
        hessian[:, middle, last] -= weight * _LAST_JOINT
        hessian[:, last, middle] -= weight * _LAST_JOINT
        gradient[:, last] += weight * off
        gradient[:, middle] -= weight * _LAST_JOINT * off
    error, std = size
    hessian[:, -1, -1] += 1 / std**2
    gradient[:, -1] -= error / std**2
    hessian[:, np.arange(ANGLES, ANGLES + 7), np.arange(ANGLES, ANGLES + 7)] += 1e-6


def _palm_rotations(skeleton: HandSkeleton, target: np.ndarray) -> np.ndarray:
    """Rotations (F, 3, 3) of the palm, by Kabsch's algorithm."""
    rest = skeleton.points[_PALM] - skeleton.points[_PALM].mean(0)
    seen = target[:, _PALM] - target[:, _PALM].mean(1, keepdims=True)
    u, _, vt = np.linalg.svd(seen.swapaxes(1, 2) @ rest)
    u[:, :, 2] *= np.sign(np.linalg.det(u @ vt))[:, None]
    return np.asarray(u @ vt)
