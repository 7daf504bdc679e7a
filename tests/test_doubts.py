"""Each kind of doubt is found where it was made, and nothing is found in a motion without faults."""

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from wham_blender import quaternions
from wham_blender.animation import Animation
from wham_blender.doubts import doubts, next_doubt
from wham_blender.skeleton import JOINT_NAMES, PARENTS

RATE = 30.0


def standing(count: int = 60) -> Animation:
    """A character that stands still with both feet on the floor."""
    heads = np.zeros((24, 3))
    for joint, parent in enumerate(PARENTS):
        if parent >= 0:
            down = any(part in JOINT_NAMES[joint] for part in ("hip", "knee", "ankle"))
            side = 0.1 if JOINT_NAMES[joint].startswith("left") else -0.1
            heads[joint] = heads[parent] + ([0.0, 0.0, -0.4] if down else [side, 0.0, 0.1])
    feet = np.array([heads[JOINT_NAMES.index(f"{side}_ankle")] + [0, y, -0.1] for side in ("left", "right")
                     for y in (-0.2, 0.05)])  # fmt: skip
    rotations = np.zeros((count, 24, 4))
    rotations[..., 0] = 1
    root = np.tile([0.0, 0.0, -feet[:, 2].min() + 0.0], (count, 1))
    return Animation(
        frames=np.arange(1.0, count + 1), root=root + heads[0], rotations=rotations, heads=heads, feet=feet,
        contacts=np.ones((count, 4), bool), probabilities=np.ones((count, 4)), confidence=np.full(count, 0.9),
        visible=np.ones(count, bool),
    )  # fmt: skip


def test_a_motion_without_faults_has_no_doubts() -> None:
    assert doubts(standing(), RATE) == []
    assert next_doubt([], 1) is None


def _unseen(animation: Animation) -> Animation:
    visible = animation.visible.copy()
    visible[20:30] = False
    return replace(animation, visible=visible)


def _unsure(animation: Animation) -> Animation:
    confidence = animation.confidence.copy()
    confidence[20:30] = 0.2
    return replace(animation, confidence=confidence)


def _sliding(animation: Animation) -> Animation:
    root = animation.root.copy()
    root[20:30, 0] += np.linspace(0, 0.15, 10)
    root[30:, 0] += 0.15
    return replace(animation, root=root)


def _sunk(animation: Animation) -> Animation:
    root = animation.root.copy()
    root[20:30, 2] -= 0.05
    return replace(animation, root=root, contacts=np.zeros_like(animation.contacts))


def _rotated(animation: Animation, joint: str, axis: int, angle: float, rows: slice) -> Animation:
    rotations = animation.rotations.copy()
    rotations[rows, JOINT_NAMES.index(joint)] = quaternions.of_axis_angle(np.eye(3)[axis] * angle)
    return replace(animation, rotations=rotations, contacts=np.zeros_like(animation.contacts))


def _knee(animation: Animation) -> Animation:
    return _rotated(animation, "left_knee", 0, -0.4, slice(20, 30))


def _jump(animation: Animation) -> Animation:
    return _rotated(animation, "right_shoulder", 2, 1.5, slice(20, 21))


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (_unseen, "was not seen here"),
        (_unsure, r"unsure here \(20%\)"),
        (_sliding, r"left toe is planted but slides 15 cm"),
        (_sunk, "5 cm below the floor"),
        (_knee, "the left knee bends forward by 23 degrees"),
        (_jump, r"right wrist jumps by"),
    ],
)
def test_a_fault_is_found_at_its_frames(fault: Callable[[Animation], Animation], words: str) -> None:
    found = [doubt for doubt in doubts(fault(standing()), RATE) if re.search(words, doubt.sentence)]
    assert len(found) == 1
    assert 20 <= found[0].first <= 22 and found[0].last <= 31
    assert next_doubt(found, 1) == found[0]
    assert next_doubt(found, 50) == found[0]  # from the start again
