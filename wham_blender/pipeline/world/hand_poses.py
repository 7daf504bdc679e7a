"""Puts lifted hands on a placed body: wrists and forearms by the hands' orientation, fingers, and relaxed ones unseen.

Each hand is a list of angles over time: the forearm's twist, the wrist's two, and the fingers'. Each is smoothed by a
least-squares problem in which a frame weighs as much as the lifter is sure of the angle, and an unseen one draws the
angle to its relaxed value; so hands ease into that and come back without a jump.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import solveh_banded
from scipy.spatial.transform import Rotation

from ...motion import forward_kinematics, true_intervals
from ...skeleton import JOINT_NAMES
from ..pose.hand_lifting import SeenArm, hand_length
from ..pose.hand_skeleton import HIGH, LOW, RELAXED, HandSkeleton
from ..pose.wham_inference import FPS
from .placement import Placed

# All set by hand. Radians; the forearm's twist, and the wrist's flexion and deviation.
_WRIST_LOW, _WRIST_HIGH = np.array([-2.6, -1.4, -0.8]), np.array([2.6, 1.4, 0.8])
# Radians that an angle, or the wrist, is expected to be wrong by, at which a frame has lost half of its weight.
_FINGER_ERROR, _WRIST_ERROR = 0.25, 0.35
_SEEN_FRAMES, _RELAXING_FRAMES = 0.75, 4.0  # over which angles are smoothed: of a hand well seen, and of one unseen
_OUTLIER = 0.4  # radians from the smooth course at which a frame has lost half of its weight
_BEYOND = 0.3  # radians beyond the wrist's limits at which a frame has lost half of its weight: depth is misjudged
# Weight of the wrist up to which a hand counts as not seen: of those on the bench's films 100 to 103, 7 of 11 wrists
# were wrong by more than 45 degrees.
_LEAST_WEIGHT = 0.15
_REWEIGHTINGS = 4
_PART = 1024  # frames of which all joints are in memory at once
_SHORTEST = 5  # frames: a hand seen for less is none
_TWIST_OF_ELBOW = 0.5  # share of the forearm's twist that the elbow takes


@dataclass(frozen=True)
class SeenHand:
    """One hand of a person in F frames; of any value where it is not seen."""

    angles: np.ndarray  # (F, ANGLES) as of `hand_lifting.lift`
    rotation: np.ndarray  # (F, 3, 3) from SMPL's rest axes to the camera's
    errors: np.ndarray  # (F, ANGLES + 1) radians that they are expected to be wrong by, the rotation's last
    score: np.ndarray  # (F,) 0..1; 0 where it is not seen


def arm_of(placed: Placed, skeleton: HandSkeleton, side: int) -> SeenArm:
    """The arm of a side (0 left, 1 right) before the camera, in all frames."""
    elbow, wrist = (JOINT_NAMES.index(f"{('left', 'right')[side]}_{joint}") for joint in ("elbow", "wrist"))
    positions, rotations = _in_world(placed, [elbow, wrist])
    depth = np.einsum("fj,fj->f", placed.camera_R[:, 2], positions[:, 1]) + placed.camera_t[:, 2]
    size = hand_length(skeleton) / np.maximum(depth, 0.1)
    return SeenArm(placed.camera_R @ rotations[:, 0], placed.camera_R @ rotations[:, 1], size)


def _in_world(placed: Placed, joints: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Positions (F, n, 3) and rotations (F, n, 3, 3) of n joints; of all joints, only some frames are in memory."""
    parts = []
    for at in range(0, len(placed.poses), _PART):
        part = slice(at, at + _PART)
        found = forward_kinematics(placed.poses[part], placed.trans[part], placed.rest_joints)
        parts.append([each[:, joints] for each in found])
    positions, rotations = (np.concatenate(each) for each in zip(*parts, strict=True))
    return positions, rotations


def with_hands(placed: Placed, hands: list[SeenHand], skeletons: list[HandSkeleton], seconds: float = 0.0) -> Placed:
    """The person with wrists and fingers of the hands (left, right) that were seen.

    ``seconds``: movements of hands that repeat within them are filtered out.
    """
    poses = placed.poses.reshape(len(placed.poses), -1, 3).copy()
    fingers, confidence = [], []
    for side, hand, skeleton in zip(("left", "right"), hands, skeletons, strict=True):
        arm = _Arm(placed, side)
        seen = arm.angles(np.einsum("fji,fjk->fik", placed.camera_R, hand.rotation))
        observed = np.concatenate([seen, hand.angles], 1)
        certainty = 1 / (1 + (hand.errors[:, -1] / _WRIST_ERROR) ** 2)
        certainty /= 1 + (_beyond(seen, _WRIST_LOW, _WRIST_HIGH).max(1) / _BEYOND) ** 2
        score = _without_short(np.where(hand.score * certainty > _LEAST_WEIGHT, hand.score, 0))
        weight = score * certainty
        relaxed = np.concatenate([arm.own_angles(), np.tile(RELAXED, (len(weight), 1))], 1)
        low, high = np.concatenate([_WRIST_LOW, LOW]), np.concatenate([_WRIST_HIGH, HIGH])
        fingers_weight = score[:, None] / (1 + (hand.errors[:, :-1] / _FINGER_ERROR) ** 2)
        weights = np.concatenate([np.repeat(weight[:, None], 3, 1), fingers_weight], 1)
        smooth = smoothed_angles(observed, weights, relaxed, seconds * FPS / (2 * np.pi))
        # The body's own wrist may lie beyond the limits, and stays where the hand was not seen for long.
        smooth = np.clip(smooth, np.minimum(low, relaxed), np.maximum(high, relaxed))
        if weight.any():
            poses[:, arm.joints] = arm.poses(smooth[:, :3])
        fingers.append(skeleton.rotations(smooth[:, 3:]))
        confidence.append(weight)
    return replace(
        placed,
        poses=poses.reshape(len(poses), -1).astype(np.float32),
        hand_poses=np.concatenate(fingers, 1).astype(np.float32),
        hand_confidence=np.stack(confidence, 1).astype(np.float32),
    )


class _Arm:
    """Elbow and wrist of a side: the forearm's twist is that of both joints about the forearm together."""

    def __init__(self, placed: Placed, side: str) -> None:
        self.joints = [JOINT_NAMES.index(f"{side}_{joint}") for joint in ("elbow", "wrist")]
        elbow, wrist = self.joints
        along = placed.rest_joints[wrist] - placed.rest_joints[elbow]
        along = along / np.linalg.norm(along)
        ahead = np.array([0, 0, 1]) - along * along[2]
        ahead /= np.linalg.norm(ahead)
        self._axes = np.stack([along, ahead, np.cross(ahead, along)])  # of twist, flexion and deviation
        poses = placed.poses.reshape(-1, 24, 3)
        self._twist, self._elbow = self._without_twist(Rotation.from_rotvec(poses[:, elbow]).as_matrix())
        self._elbow_in_world = _in_world(placed, [elbow])[1][:, 0]
        self._wrist = Rotation.from_rotvec(poses[:, wrist]).as_matrix()

    def own_angles(self) -> np.ndarray:
        """The angles (F, 3) of the body as it is."""
        return self._of_wrist(self._wrist)

    def angles(self, hand: np.ndarray) -> np.ndarray:
        """The angles (F, 3) that give the hand rotations (F, 3, 3) in the world."""
        return self._of_wrist(self._elbow_in_world.swapaxes(1, 2) @ hand)

    def poses(self, angles: np.ndarray) -> np.ndarray:
        """Axis-angle (F, 2, 3) of elbow and wrist."""
        twist, aside = angles[:, :1] * self._axes[0], angles[:, 1:] @ self._axes[1:]
        elbow = Rotation.from_matrix(self._elbow) * Rotation.from_rotvec(_TWIST_OF_ELBOW * twist)
        wrist = Rotation.from_rotvec((1 - _TWIST_OF_ELBOW) * twist) * Rotation.from_rotvec(aside)
        return np.stack([elbow.as_rotvec(), wrist.as_rotvec()], 1)

    def _of_wrist(self, wrist: np.ndarray) -> np.ndarray:
        twist = self._twist_of(wrist)
        swing = Rotation.from_rotvec(-twist[:, None] * self._axes[0]) * Rotation.from_matrix(wrist)
        # The twist within half a revolution: a forearm cannot do more. Continuing each frame from the one before would
        # shift all frames after a wrong one by a revolution.
        twist = (self._twist + twist + np.pi) % (2 * np.pi) - np.pi
        return np.column_stack([twist, swing.as_rotvec() @ self._axes[1:].T])

    def _twist_of(self, rotations: np.ndarray) -> np.ndarray:
        """The angles (F,) of rotations (F, 3, 3) about the forearm."""
        quaternions = Rotation.from_matrix(rotations).as_quat()
        along = quaternions[:, :3] @ self._axes[0]
        angle = 2 * np.arctan2(along, quaternions[:, 3])
        return np.asarray((angle + np.pi) % (2 * np.pi) - np.pi)

    def _without_twist(self, rotations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        twist = self._twist_of(rotations)
        return twist, rotations @ Rotation.from_rotvec(-twist[:, None] * self._axes[0]).as_matrix()


def smoothed_angles(observed: np.ndarray, weight: np.ndarray, relaxed: np.ndarray, frames: float = 0.0) -> np.ndarray:
    """Smooth angles (F, A): near the observed ones where they have a weight (F, A), else near the relaxed ones.

    ``frames``: over which they are smoothed at least.
    """
    count, base = len(weight), weight / max(_SEEN_FRAMES, frames) ** 4
    unseen = (weight == 0) / _RELAXING_FRAMES**4
    smooth = np.empty_like(observed)
    for angle in range(observed.shape[1]):
        robust = np.ones(count)
        for _ in range(_REWEIGHTINGS):
            seen, drawn = base[:, angle] * robust, unseen[:, angle] + 1e-9
            bands = _second_differences(count)
            bands[2] += seen + drawn
            smooth[:, angle] = solveh_banded(bands, seen * observed[:, angle] + drawn * relaxed[:, angle])
            robust = 1 / (1 + ((observed[:, angle] - smooth[:, angle]) / _OUTLIER) ** 2)
    return smooth


def _beyond(angles: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    return np.asarray(np.maximum(angles - high, 0) + np.maximum(low - angles, 0))


def _second_differences(count: int) -> np.ndarray:
    """The upper bands (3, F) of the matrix of the squared second differences of F values."""
    bands = np.zeros((3, count))
    if count > 2:
        for first, factor in enumerate((1.0, -2.0, 1.0)):
            bands[2, first : first + count - 2] += factor**2
        bands[1, 1 : count - 1] += -2.0
        bands[1, 2:count] += -2.0
        bands[0, 2:count] += 1.0
    return bands


def _without_short(score: np.ndarray) -> np.ndarray:
    """Scores (F,), 0 where a hand is seen for too few frames to be one."""
    kept = score.astype(float)
    for begin, end in true_intervals(score > 0):
        if end - begin < min(_SHORTEST, len(score)):
            kept[begin:end] = 0
    return kept
