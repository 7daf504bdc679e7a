"""Draws hands of known pose and runs the hand landmark net on them: what the hand lifter learns from.

The open body stands in random clothes before random backgrounds, with random arms and fingers within human limits,
before a random camera. The picture is the part around one hand, at which the net looks at a crop around points with
errors. ``build.py train hands`` draws them into ``out/training/hands.npz``; a second call continues where the first
ended.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import torch
from scipy.spatial.transform import Rotation

from tools.training.painter import HandColours, Painter
from wham_blender.body.body import Body
from wham_blender.motion import pose_skeleton
from wham_blender.pipeline.people.hands import (
    HAND_PRESENCE,
    OTHER_HAND,
    HandLandmarker,
    HandObservation,
    crop_around_hand,
)  # fmt: skip
from wham_blender.pipeline.pose.hand_skeleton import FINGER_POINTS, HIGH, LOW, RELAXED, THUMB_STD, of_body
from wham_blender.skeleton import JOINT_NAMES

_SIZES = (36.0, 180.0)  # pixels from wrist to middle fingertip if they lay in the picture's plane
_WINDOW = 3.0  # side of the picture over that size
_CAMERAS = 4  # of a body
_BACKDROP = 545  # pixels, of which a picture's background is a part
_DISTANCES = (1.2, 6.0)  # metres from the camera
_OTHER_AXES = np.radians(3.0)  # of rotations about any axis: real joints are no hinges
_POINT_ERROR, _CROP_SHIFT = 0.04, 0.06  # of the hand's size: errors of the points that a crop is laid around
_BLURRED, _HELD, _COMPRESSED = 0.25, 0.12, 0.7  # fractions of the pictures
_ELSEWHERE = 0.5  # of the hand's size: mean error of the points above which the net has seen something else
_FAN = np.array([1.0, 0.1, -1.5, -0.7])  # abductions of index, middle, little and ring finger of a spread hand


def finger_angles(rng: np.random.Generator) -> np.ndarray:
    """Random angles (ANGLES,) of a hand: fists, flat and grasping hands, counting and pointing ones, and any others."""
    kind = rng.random()
    if kind < 0.4:  # all fingers alike
        curl = np.clip(rng.beta(0.6, 0.6) + rng.normal(0, 0.07, 4), 0, 1)
    elif kind < 0.8:  # each stretched or bent
        curl = np.where(rng.random(4) < 0.5, rng.uniform(0, 0.2, 4), rng.uniform(0.7, 1, 4))
    else:
        curl = rng.random(4)
    straight = rng.random() < 0.15  # bent in the first joints, or only in the others
    first = -0.15 + 1.65 * np.clip(curl + rng.normal(0, 0.08, 4), 0, 1) * (rng.random() if straight else 1)
    middle = 1.8 * np.clip(curl + rng.normal(0, 0.08, 4), 0, 1) * (rng.random() if straight else 1)
    last = rng.uniform(0.35, 0.65) * middle + rng.normal(0, 0.1, 4)
    spread = rng.uniform(-0.05, 0.25) * _FAN * (1 - 0.7 * curl) + rng.normal(0, 0.05, 4)
    fingers = np.column_stack([spread, first, middle, last]).ravel()
    low, high = LOW[16:], HIGH[16:]
    if rng.random() < 0.3:
        thumb = rng.uniform(low, high)
    else:
        thumb = rng.normal(RELAXED[16:], 1.2 * np.array(THUMB_STD))
        thumb[[3, 5]] += rng.uniform(0, 0.6) * curl.mean()
    return np.asarray(np.clip(np.concatenate([fingers, thumb]), LOW, HIGH))


def body_pose(rng: np.random.Generator) -> np.ndarray:
    """A random pose (24, 3) of somebody who stands, axis-angle: any arms."""
    pose = rng.normal(0, 0.08, (24, 3))
    pose[0] = (0, rng.uniform(-1.6, 1.6), 0)
    for side, mirror in enumerate((np.ones(3), np.array([1, -1, -1]))):
        name = ("left", "right")[side]
        down, ahead = rng.uniform(-1.4, 0.7), rng.uniform(-1.5, 0.4)
        shoulder = Rotation.from_euler("xyz", (rng.normal(-0.3, 0.6), ahead, down))
        twist, bend = rng.uniform(-1.4, 1.4), rng.uniform(0.05, 2.3)
        elbow = Rotation.from_rotvec([0, -bend, 0]) * Rotation.from_rotvec([twist / 2, 0, 0])
        aside = rng.normal(0, (0.2, 0.4)).clip((-0.5, -1.1), (0.5, 1.1))
        wrist = Rotation.from_rotvec([twist / 2, 0, 0]) * Rotation.from_rotvec([0, *aside])
        for joint, turn in (("shoulder", shoulder), ("elbow", elbow), ("wrist", wrist)):
            pose[JOINT_NAMES.index(f"{name}_{joint}")] = turn.as_rotvec() * mirror
    return pose


def _camera(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Rotation (3, 3) from SMPL's axes to a camera's, and where the hand (3,) is in the camera's axes."""
    pitch, roll = rng.normal(0.05, 0.2), rng.normal(0, 0.06)
    turned = Rotation.from_euler("ZX", (roll, pitch)).as_matrix() @ np.diag([1.0, -1, -1])
    distance = np.exp(rng.uniform(*np.log(_DISTANCES)))
    aside = rng.uniform((-0.55, -0.35), (0.55, 0.35))
    return turned, distance * np.array([*aside, 1.0])


class HandPainter:
    """Draws hands in pictures of random size."""

    def __init__(self, body: Body, rng: np.random.Generator) -> None:
        self._body, self._rng = body, rng
        self._painter, self._colours = Painter(body, rng, _BACKDROP), HandColours(body)

    @torch.inference_mode()
    def pictures(self) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
        """Pictures (S, S, 3) uint8 RGB of both hands of one body by several cameras, each with its truth.

        ``side`` (): 0 left, 1 right; ``pixels`` (21, 2); ``camera_K`` (3, 3); ``size`` () pixels; ``hand_poses``
        (15, 3) axis-angle; ``angles`` (ANGLES,); ``arm`` (3, 3, 3): rotations of shoulder, elbow and wrist from rest to
        the camera's axes.
        """
        body, rng = self._body, self._rng
        betas = rng.normal(0, 0.8, 10).astype(np.float32).clip(-2, 2)
        skeletons = of_body(body, betas)
        angles = np.stack([finger_angles(rng) for _ in range(2)])
        joints = np.concatenate([skeletons[side].rotations(angles[side : side + 1])[0] for side in (0, 1)])
        fingers = Rotation.from_rotvec(_OTHER_AXES * rng.normal(size=(30, 3))) * Rotation.from_rotvec(joints)
        local = Rotation.from_rotvec(body_pose(rng)).as_matrix()
        poses, hand_poses, shape = (
            torch.from_numpy(np.asarray(each, np.float32))[None] for each in (local, fingers.as_matrix(), betas)
        )
        vertices = body.vertices(poses, shape, hand_poses=hand_poses)[0].numpy().astype(float)
        joints, tips = (each[0].numpy().astype(float) for each in body.hand_points(poses, hand_poses, shape))
        rest = body.rest_joints(shape)[0].numpy().astype(float)
        places, turned = pose_skeleton(local[None], rest[:1], rest)
        colours, backdrop = self._painter.dress(), self._painter.backdrop()
        for side in (0, 1) * _CAMERAS:
            points = np.zeros((21, 3))
            points[0] = places[0, 20 + side]
            points[FINGER_POINTS[:, :3]] = joints[15 * side : 15 * side + 15].reshape(5, 3, 3)
            points[FINGER_POINTS[:, 3]] = tips[5 * side : 5 * side + 5]
            to_camera, where = _camera(rng)
            size = float(np.exp(rng.uniform(*np.log(_SIZES))))
            length = np.linalg.norm(np.diff(skeletons[side].points[[0, 9, 10, 11, 12]], axis=0), axis=1).sum()
            window = int(_WINDOW * size)
            focal = size * where[2] / length
            camera_K = np.diag([focal, focal, 1.0])
            camera_K[:2, 2] = window / 2 - focal * where[:2] / where[2]

            def project(at: np.ndarray, camera_K: np.ndarray = camera_K) -> np.ndarray:
                pixels = at @ camera_K.T
                return np.asarray(pixels[:, :2] / np.maximum(pixels[:, 2:], 0.05))

            mesh, pixels = (
                (vertices - points[9]) @ to_camera.T + where,
                project((points - points[9]) @ to_camera.T + where),
            )
            self._painter.relight()
            coloured = self._colours.on(colours, *rng.uniform((0.1, 0.2), (0.6, 0.8)))
            x, y = rng.integers(_BACKDROP - window, size=2)
            picture = self._painter.paint(mesh, project(mesh), coloured, backdrop[y : y + window, x : x + window])
            yield self._filmed(picture, size, pixels), {
                "side": np.array(side), "pixels": pixels, "camera_K": camera_K, "size": np.array(size),
                "hand_poses": fingers[15 * side : 15 * side + 15].as_rotvec(), "angles": angles[side],
                "arm": to_camera @ turned[0, [16 + side, 18 + side, 20 + side]],
            }  # fmt: skip

    def _filmed(self, picture: np.ndarray, size: float, pixels: np.ndarray) -> np.ndarray:
        """The picture with something held in front, blurred by movement, and compressed."""
        rng = self._rng
        if rng.random() < _HELD:
            middle, angle = pixels[[0, 5, 9, 13, 17]].mean(0) + rng.normal(0, 0.15 * size, 2), rng.uniform(0, np.pi)
            reach = size * rng.uniform(0.3, 1.5) * np.array([np.cos(angle), np.sin(angle)])
            first, last = (np.round(middle + sign * reach).astype(int).tolist() for sign in (-1, 1))
            width = max(1, round(float(size * rng.uniform(0.04, 0.16))))
            cv2.line(picture, first, last, rng.uniform(0, 255, 3).tolist(), width)
        if rng.random() < _BLURRED:
            count = max(3, int(size * rng.uniform(0.02, 0.12)))
            kernel = np.zeros((count, count), np.float32)
            kernel[count // 2] = 1
            middle_of_kernel = ((count - 1) / 2, (count - 1) / 2)
            turn = cv2.getRotationMatrix2D(middle_of_kernel, rng.uniform(0, 180), 1)
            kernel = np.asarray(cv2.warpAffine(kernel, turn, (count, count)), np.float32)
            picture = cv2.filter2D(picture, -1, kernel / kernel.sum())
        if rng.random() < _COMPRESSED:
            quality = int(rng.uniform(30, 95))
            _, packed = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
            picture = np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR))
        return picture


def rows(body: Body, net: HandLandmarker, rng: np.random.Generator) -> Iterator[dict[str, np.ndarray]]:
    """Yields one picture after another: the truth as of `HandPainter.pictures`, and what the net sees.

    ``seen`` (21, 5): pixels and metres as of `HandObservation`; ``score`` (): as of `HandObservation`.
    """
    painter = HandPainter(body, rng)
    while True:
        for picture, truth in painter.pictures():
            side, points, size = int(truth["side"]), truth["pixels"], float(truth["size"])
            off = size * (rng.normal(0, _POINT_ERROR, (21, 2)) + rng.normal(0, _CROP_SHIFT, 2))
            look = net(picture, crop_around_hand(points + off), side)
            if _is_seen(look, points, size):
                row = truth | {
                    "seen": np.concatenate([look.points, look.metres], 1),
                    "score": np.array(look.score),
                }
                yield {name: np.asarray(value, np.float32) for name, value in row.items()}


def _is_seen(look: HandObservation, pixels: np.ndarray, size: float) -> bool:
    off = np.linalg.norm(look.points - pixels, axis=1).mean()
    return look.presence >= HAND_PRESENCE and look.side >= OTHER_HAND and off < _ELSEWHERE * size
