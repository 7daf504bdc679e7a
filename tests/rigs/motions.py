"""Parts of CMU motion capture as Animations, whose planted feet rotate, slide and sink into the floor. NumPy only.

From mocap.cs.cmu.edu, created with funding from NSF EIA-0196217, free for all uses; on the open body (CC0).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from wham_blender import quaternions
from wham_blender.animation import Animation

RATE = 30.0
NAMES = ("001_08", "01_05", "007_01")  # jumps, a climb, a walk


def load(name: str) -> Animation:
    """Load a part of the named take."""
    with np.load(Path(__file__).with_suffix(".npz"), allow_pickle=False) as archive:
        heads, feet = archive["heads"].astype(float), archive["feet"].astype(float)
        poses, root, contacts = (archive[f"{name}/{part}"] for part in ("turns", "root", "contacts"))
    count = len(poses)
    return Animation(
        frames=np.arange(1.0, count + 1), root=root.astype(float),
        rotations=quaternions.of_axis_angle(poses.astype(float)),
        heads=heads, feet=feet, contacts=contacts, probabilities=contacts * 0.9, confidence=np.ones(count),
        visible=np.ones(count, bool),
    )  # fmt: skip
