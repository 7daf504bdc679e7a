"""What is known of the people in a clip: one row per person and frame (Sightings), and whole tracks (Person)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass
class Sightings:
    """Everything seen in one pass over T frames of a clip, of which L were looked at, in N rows of one person each."""

    size: np.ndarray  # (2,) int64 width and height, pixels
    numbers: np.ndarray  # (T,) int64 clip frame numbers, from 1
    times: np.ndarray  # (T,) float64 seconds since the clip's first frame
    looked: np.ndarray  # (L,) int64 indices into times
    look: np.ndarray  # (N,) int64 index into looked
    track: np.ndarray  # (N,) int64
    keypoints: np.ndarray  # (N, 17, 3) COCO x, y (pixels), confidence
    landmarks: np.ndarray  # (N, 33, 3) x, y (pixels), visibility; (N, 0, 3) where the landmark net was not asked
    landmarks_3d: np.ndarray  # (N, 33, 3) metres, as in Person; or (N, 0, 3)


def frame_rate(sightings: Sightings) -> float:
    """The clip's mean frame rate."""
    return float((len(sightings.times) - 1) / (sightings.times[-1] - sightings.times[0]))


def inside(sightings: Sightings, person: Person) -> np.ndarray:
    """Which of the clip's frames (T,) lie between a person's first and last."""
    return (sightings.times > person.time[0] - 1e-6) & (sightings.times < person.time[-1] + 1e-6)


COUNTED_CONFIDENCE = 0.3  # a keypoint below is not counted (WHAM)


@dataclass
class Person:
    """One person seen in a clip, on an exact 30 fps clock of F frames; float32 unless said otherwise."""

    keypoints: np.ndarray  # (F, 17, 3) COCO x, y (pixels), confidence; confidence 0 where the person was not seen
    landmarks: np.ndarray  # (F, 33, 3) MediaPipe x, y (pixels), visibility; (F, 0, 3) where that net was not asked
    landmarks_3d: np.ndarray  # (F, 33, 3) metres, hip-centred, camera axes: x right, y down, z away; or (F, 0, 3)
    boxes: np.ndarray  # (F, 3) cx, cy (pixels), s (200 pixels)
    time: np.ndarray  # (F,) float64 seconds since the clip's first frame
    visible: np.ndarray  # (F,) bool
    rows: np.ndarray  # (F,) int64 which of the Sightings' rows is nearest in time

    def __len__(self) -> int:
        return len(self.time)


def counted(keypoints: np.ndarray) -> np.ndarray:
    """Which of the keypoints (..., 3) are sure enough to count, (...) bool."""
    return keypoints[..., 2] > COUNTED_CONFIDENCE
