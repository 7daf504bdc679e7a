"""A synthetic walk as an Animation, from geometry: heel strike, foot roll, toe-off. NumPy only."""

from __future__ import annotations

import numpy as np

from wham_blender import quaternions
from wham_blender.animation import Animation
from wham_blender.skeleton import JOINT_NAMES

RATE = 30.0
ROWS = 16  # of a step
STEP, LIFT = 0.42, 0.06  # step length and height of the swinging ankle, of the leg's length
HEEL, FLAT, TOE = 0.2, 0.8, 1.2  # steps from heel strike to foot flat, heel-off and toe-off
STRIKE, PUSH = np.radians(-15), np.radians(30)  # pitch of the foot at heel strike and at toe-off


def walk(heads: np.ndarray, feet: np.ndarray, steps: int = 7, sway: float = 0.0) -> Animation:
    """Walk to -y with joints (24, 3) and foot points (4, 3) at rest, z up, soles on z = 0.

    ``sway`` rotates the pelvis about all axes by up to so many radians; the legs do not compensate, so that the feet
    slide.
    """
    count = steps * ROWS
    phase = np.arange(count) / ROWS
    rotations = np.tile([1.0, 0, 0, 0], (count, 24, 1))
    hip = heads[JOINT_NAMES.index("left_hip")]
    leg = hip[2] - heads[JOINT_NAMES.index("left_ankle"), 2]
    root = heads[0] + np.stack([0 * phase, -STEP * leg * phase, 0 * phase - 0.035 * leg], 1)
    contacts = np.zeros((count, 4), bool)
    x = np.broadcast_to([1.0, 0, 0], (count, 3))
    for side, name in enumerate(("left", "right")):
        joints = [JOINT_NAMES.index(f"{name}_{part}") for part in ("hip", "knee", "ankle")]
        toe, heel = feet[2 * side], feet[2 * side + 1]
        begun = np.floor((phase + side) / 2) * 2 - side  # time of the last heel strike
        since = phase - begun
        ankle, pitch = _foot(since, heads[joints[2]], toe, heel)
        landing, landing_pitch = _foot(np.zeros(count), heads[joints[2]], toe, heel)
        fraction = np.clip((since - TOE) / (2 - TOE), 0, 1)
        fraction = fraction * fraction * (3 - 2 * fraction)
        toe_off, toe_off_pitch = _foot(np.full(count, TOE), heads[joints[2]], toe, heel)
        swing = since > TOE
        landing = landing - [0, 2 * STEP * leg, 0]
        between = (
            toe_off
            + fraction[:, None] * (landing - toe_off)
            + LIFT * leg * np.sin(np.pi * fraction)[:, None] ** 2 * [0, 0, 1]
        )
        ankle = np.where(swing[:, None], between, ankle) - (STEP * leg * (begun + 0.45))[:, None] * [0, 1, 0]
        pitch = np.where(swing, toe_off_pitch + fraction * (landing_pitch - toe_off_pitch), pitch)
        lean, bend = _two_links(heads[joints], ankle - root - heads[joints[0]] + heads[0])
        for joint, angle in zip(joints, (lean, bend, pitch - lean - bend), strict=True):
            rotations[:, joint] = quaternions.about(x, angle)
        contacts[:, 2 * side] = (since >= HEEL) & (since <= TOE)
        contacts[:, 2 * side + 1] = since <= FLAT
    wave = np.sin(np.pi * phase[:, None] * [1, 1, 0.5] + [0, 1, 2])
    rotations[:, 0] = quaternions.of_axis_angle(sway * wave)
    return Animation(
        frames=np.arange(1.0, count + 1), root=root, rotations=rotations, heads=heads, feet=feet, contacts=contacts,
        probabilities=contacts * 0.9, confidence=np.ones(count), visible=np.ones(count, bool),
    )  # fmt: skip


def _foot(since: np.ndarray, ankle: np.ndarray, toe: np.ndarray, heel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ankle (F, 3) and pitch (F,) of a foot, ``since`` steps after its heel strike."""
    striking = np.clip(1 - since / HEEL, 0, 1)
    pushing = np.clip((since - FLAT) / (TOE - FLAT), 0, 1)
    pitch = STRIKE * striking + PUSH * pushing**2
    pivot = np.where((striking > 0)[:, None], heel, toe)
    x = np.broadcast_to([1.0, 0, 0], pivot.shape)
    return pivot + quaternions.rotate(quaternions.about(x, pitch), ankle - pivot), pitch


def _two_links(joints: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Angles (F,) of hip and knee about x that bring the ankle to targets (F, 3) from the hip, by the law of cosines.

    ``joints`` (3, 3): hip, knee and ankle at rest.
    """
    upper, lower = (complex(*bone[1:]) for bone in np.diff(joints, axis=0))
    goal = target[:, 1] + 1j * target[:, 2]
    cosine = (np.abs(goal) ** 2 - abs(upper) ** 2 - abs(lower) ** 2) / (2 * abs(upper) * abs(lower))
    bend = np.arccos(np.clip(cosine, -1, 1)) - np.angle(upper.conjugate() * lower)
    return np.angle(goal / (upper + np.exp(1j * bend) * lower)), bend
