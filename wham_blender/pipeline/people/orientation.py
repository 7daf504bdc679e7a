"""Tells from the people in a clip whether its picture lies on its side or stands on its head.

A file can lose the flag that says how it was held, for example when it is edited or sent by a messenger.
"""

from __future__ import annotations

import numpy as np

from ...skeleton import COCO_NAMES
from .types import Detections, is_confident

_SHOULDERS, _HIPS, _ANKLES = (
    [COCO_NAMES.index(f"left_{name}"), COCO_NAMES.index(f"right_{name}")] for name in ("shoulder", "hip", "ankle")
)
# Fraction of the detections that must lie the same way. In eight real clips at most 0.03 of them do, and at least 0.95
# once the clips are turned by 90, 180 or 270 degrees; part of a clip may show floor exercise or handstands.
_MOST = 0.8
_FEWEST = 10  # detections; fewer are no evidence
_STRAIGHT = (
    1.5  # length of the sum of the trunk's and the legs' unit vectors, below which a body is bent by over 83 degrees
)


def quarter_turn(detections: Detections) -> int:
    """Degrees clockwise, 90, 180 or 270, by which to turn the picture so that people stand upright in it; else 0.

    0 if they stand upright, and if they do not all lie the same way most of the time. It cannot be told from a clip in
    which somebody really lies, or stands on the hands, from beginning to end.
    """
    up = _up(detections.keypoints.astype(np.float64))
    if len(up) < _FEWEST:
        return 0
    straight = up[np.linalg.norm(up, axis=1) > _STRAIGHT]
    quarters = np.round(np.degrees(np.arctan2(straight[:, 0], -straight[:, 1])) / 90).astype(int) % 4
    counts = np.bincount(quarters, minlength=4)
    lying = int(counts.argmax())  # 1: the head points right
    return -90 * lying % 360 if counts[lying] >= _MOST * len(up) else 0


def _up(keypoints: np.ndarray) -> np.ndarray:
    """Directions of bodies in the picture (m, 2), from keypoints (n, 17, 3) with a confident trunk.

    Unit vector from hips to shoulders plus that from ankles to hips, or, if the ankles are not confident, twice the
    first.
    """
    keypoints = keypoints[is_confident(keypoints[:, _SHOULDERS + _HIPS]).all(1)]
    shoulders, hips, ankles = (keypoints[:, joints, :2].mean(1) for joints in (_SHOULDERS, _HIPS, _ANKLES))
    legs_seen = is_confident(keypoints[:, _ANKLES]).all(1, keepdims=True)
    trunk = _unit(shoulders - hips)
    return trunk + np.where(legs_seen, _unit(hips - ankles), trunk)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-9)
