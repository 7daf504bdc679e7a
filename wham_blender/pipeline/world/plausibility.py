"""A last check of finished motions: bodies below the floor or above it, and speeds that no body reaches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...motion import Motion

# Metres. In motions of eight real clips, the lowest joint of people on the floor is 0.02 to 0.03 above it while they
# stand; a man on a roof is 2 above it, while others of the clip are on it.
_BELOW, _ABOVE = -0.5, 0.5
# Metres a second, of the pelvis and of any joint, relative to it: a sprinter reaches 12, a pitcher's hand 40.
_PELVIS_SPEED, _LIMB_SPEED = 20.0, 50.0
_FRAMES = 3  # faster than that: a single one is a jump that smoothing removes


def implausible(people: Sequence[Motion]) -> dict[int, str]:
    """What is wrong with each of a clip's motions, by their indices; those that are plausible are missing.

    That somebody is above the floor counts only if nobody of the clip comes down to it.
    """
    lowest = [person.joints()[person.visible, :, 2].min(1) for person in people]
    nobody_down = all(heights.size and heights.min() > _ABOVE for heights in lowest)
    found: dict[int, str] = {}
    for index, (person, heights) in enumerate(zip(people, lowest, strict=True)):
        pelvis, limb = _speeds(person)
        if heights.size and np.median(heights) < _BELOW:
            found[index] = f"the body is {-np.median(heights):.1f} m below the floor"
        elif nobody_down:
            found[index] = f"the body floats {np.median(heights):.1f} m above the floor"
        elif pelvis > _PELVIS_SPEED:
            found[index] = f"the body moves at {pelvis:.0f} m/s"
        elif limb > _LIMB_SPEED:
            found[index] = f"the limbs move at {limb:.0f} m/s"
    return found


def _speeds(person: Motion) -> tuple[float, float]:
    """Speed in metres a second of the pelvis, and of the fastest joint relative to it, that _FRAMES frames reach."""
    joints = person.joints()
    if len(joints) <= _FRAMES:
        return 0.0, 0.0

    def reached(points: np.ndarray) -> float:
        steps = np.linalg.norm(np.diff(points, axis=0), axis=-1).max(1)
        return float(np.sort(steps / np.diff(person.time))[-_FRAMES])

    return reached(joints[:, :1]), reached(joints - joints[:, :1])
