"""Clips that begin with a person seen from behind or sideways, sitting, crouching or half out of the picture.

Held poses, seen as the landmark net sees them, go from the detections to the first poses that the lifter makes of them.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from tools import metrics
from wham_blender import weights
from wham_blender.models.lifter import POINTS, Lifter
from wham_blender.pipeline.people import track_cleanup, types
from wham_blender.pipeline.people.landmarks import COCO_LANDMARKS, LANDMARKS
from wham_blender.pipeline.pose import lifter_features
from wham_blender.pipeline.pose.lifter_features import LIFTER_LANDMARKS, PoseNetworks
from wham_blender.skeleton import JOINT_NAMES

SIZE, FOCAL = (1280, 720), 1066.0  # pixels
LOOKS = 40  # at 30 a second
FIRST = 5  # of them are measured
LIMBS, HIPS = list(range(5, 17)), [6, 7]  # COCO's shoulders to ankles, and the hips among them
Bends = dict[str, tuple[float, float, float]]  # axis-angle of the joints that are not as in the T
STANDING: Bends = {
    "left_shoulder": (0, 0, -1.2), "right_shoulder": (0, 0, 1.2), "left_elbow": (0, -0.4, 0),
    "right_elbow": (0, 0.4, 0), "left_hip": (-0.2, 0, 0), "right_hip": (0.15, 0, 0), "left_knee": (0.15, 0, 0),
}  # fmt: skip
SITTING = STANDING | {
    "left_hip": (-1.5, 0, 0.1), "right_hip": (-1.5, 0, -0.1), "left_knee": (1.5, 0, 0), "right_knee": (1.5, 0, 0),
    "left_elbow": (0, -1.2, 0), "right_elbow": (0, 1.2, 0),
}  # fmt: skip
CROUCHING = SITTING | {
    "left_hip": (-2.0, 0, 0.25), "right_hip": (-2.0, 0, -0.25), "left_knee": (2.2, 0, 0), "right_knee": (2.2, 0, 0),
    "spine1": (0.3, 0, 0), "spine2": (0.2, 0, 0),
}  # fmt: skip


@pytest.fixture(scope="module")
def networks() -> PoseNetworks:
    return PoseNetworks.load(weights.find("lifter").path, weights.find("temporal").path)


def bent(bends: Bends, facing: float) -> torch.Tensor:
    """Rotations (1, 24, 3, 3) before a camera: facing 0 looks into it, 90 to the picture's right, 180 away."""
    turns = Rotation.from_rotvec([bends.get(name, (0, 0, 0)) for name in JOINT_NAMES])
    rotations = turns.as_matrix()
    rotations[0] = np.diag([1.0, -1, -1]) @ Rotation.from_euler("y", facing, degrees=True).as_matrix()
    return torch.from_numpy(rotations[None]).float()


def sighted(lifter: Lifter, bends: Bends, facing: float, low: float = 0.0) -> tuple[types.Detections, np.ndarray]:
    """What is seen of one who holds a pose 4 m away, ``low`` metres below the middle, and the true points (25, 3).

    The net is off by 1.5 % of the body across the picture and by 4 cm in depth, and sees depths too flat. What is below
    the picture it takes to be at its edge, and is rather sure of it; in depth it takes such legs to be folded.
    """
    random = np.random.default_rng(0)
    with torch.inference_mode():
        _, points, _ = lifter.body(bent(bends, facing), torch.zeros(1, 10))
    true = (points - points[:, 11:13].mean(1, keepdim=True))[0].double().numpy()
    placed = true + np.array([0.1, low, 4.0])
    pixels = placed[:, :2] / placed[:, 2:] * FOCAL + np.array(SIZE) / 2
    side = np.ptp(pixels, axis=0).max()
    unseen = pixels[:, 1] > SIZE[1]
    pixels[unseen, 1] = SIZE[1] - 4
    deep = true * (1, 1, 0.8)
    deep[unseen] = deep[[11 if point % 2 else 12 for point in np.flatnonzero(unseen)]] + (0, 0.1, -0.2)
    landmarks, metres = np.zeros((LOOKS, LANDMARKS, 3)), np.zeros((LOOKS, LANDMARKS, 3))
    landmarks[..., :2] = pixels.mean(0)  # points that the lifter does not take
    steady, new = random.normal(0, 1, (2, 1, POINTS, 3)), random.normal(0, 1, (2, LOOKS, POINTS, 3))
    landmarks[:, LIFTER_LANDMARKS, :2] = pixels + 0.015 * side * (0.8 * steady[0] + 0.6 * new[0])[..., :2]
    landmarks[:, LIFTER_LANDMARKS, 2] = np.where(unseen, 0.6, 0.95)
    metres[:, LIFTER_LANDMARKS] = deep + 0.04 * (0.8 * steady[1] + 0.6 * new[1])
    landmarks[:, LIFTER_LANDMARKS, 1] = np.where(unseen, SIZE[1] - 4, landmarks[:, LIFTER_LANDMARKS, 1])
    seen = types.Detections(
        size=np.array(SIZE), frame_numbers=np.arange(1, LOOKS + 1), frame_times=np.arange(LOOKS) / 30,
        network_frames=np.arange(LOOKS), row_frame=np.arange(LOOKS), track=np.zeros(LOOKS, int),
        keypoints=landmarks[:, COCO_LANDMARKS].astype(np.float32),
        landmarks=landmarks.astype(np.float32), landmarks_3d=metres.astype(np.float32),
    )  # fmt: skip
    return seen, true


# Pose, facing, metres below the middle; millimetres, aligned and not, that the first poses may be off. Whether a leg
# that is not visible hangs straight or sits is not known: 195 mm if the landmark net's depth of it is used.
BEGINNINGS = {
    "from behind": (STANDING, 180, 0.0, 70, 110),
    "sideways": (STANDING, 90, 0.0, 70, 110),
    "sitting": (SITTING, 25, 0.0, 75, 120),
    "sitting sideways": (SITTING, -80, 0.0, 75, 120),
    "crouching": (CROUCHING, -25, 0.0, 85, 130),
    "half out of the picture": (STANDING, 15, 1.15, 170, 200),
    "half out and from behind": (STANDING, 165, 1.15, 170, 200),
}


@pytest.mark.parametrize("name", BEGINNINGS)
def test_the_first_poses_are_accurate(networks: PoseNetworks, name: str) -> None:
    bends, facing, low, most_aligned, most = BEGINNINGS[name]
    seen, true = sighted(networks.lifter, bends, facing, low)
    (person,) = track_cleanup.build_people(seen, np.zeros(LOOKS, int))
    camera_K = np.array([[FOCAL, 0, SIZE[0] / 2], [0, FOCAL, SIZE[1] / 2], [0, 0, 1]])
    _, _, own = lifter_features.extract_features(networks, person, SIZE, camera_K)
    with torch.inference_mode():
        rotations, betas = torch.from_numpy(own.poses[:FIRST]), torch.from_numpy(own.betas[:FIRST])
        points = networks.lifter.body(rotations, betas)[1][:, LIMBS].double().numpy()
    aligned = 1000 * metrics.pa_mpjpe(points, np.repeat(true[None, LIMBS], FIRST, 0)).mean()
    off = 1000 * metrics.mpjpe(points, np.repeat(true[None, LIMBS], FIRST, 0), HIPS).mean()
    ahead = bent(bends, facing)[0, 0, :, 2].numpy()
    front = np.degrees(np.arccos(np.clip(own.poses[:FIRST, 0, :, 2] @ ahead, -1, 1)))
    assert front.max() < 30  # degrees
    assert aligned < most_aligned
    assert off < most
