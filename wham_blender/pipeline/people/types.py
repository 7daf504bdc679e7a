"""The people in a clip: one row per person and frame (Detections), and complete tracks (Person).

Network frames are the frames that the networks process: those nearest to a 30 fps clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass
class Detections:
    """Everybody detected in T frames of a clip: L network frames, N rows of one person in one network frame each."""

    size: np.ndarray  # (2,) int64 width and height, pixels
    frame_numbers: np.ndarray  # (T,) int64 in the clip, from 1
    frame_times: np.ndarray  # (T,) float64 seconds of the filmed scene since the clip's first frame
    network_frames: np.ndarray  # (L,) int64 indices into frame_numbers and frame_times
    row_frame: np.ndarray  # (N,) int64 index into network_frames
    track: np.ndarray  # (N,) int64 id
    keypoints: np.ndarray  # (N, 17, 3) COCO x, y (pixels), confidence
    landmarks: np.ndarray  # (N, 33, 3) x, y (pixels), visibility; (N, 0, 3) if the landmark net was not run
    landmarks_3d: np.ndarray  # (N, 33, 3) metres, as in Person; or (N, 0, 3)
    # (N, 12) float32 colours of the clothes, as of `appearance.describe`; (N, 0) if the landmark net was not run
    appearance: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    # (N, 2, 21, 5) left and right hand as of `HandTracker.look`, scores (N, 2); (N, 0, 21, 5), (N, 0): not looked for
    hands: np.ndarray = field(default_factory=lambda: np.zeros((0, 0, 21, 5), np.float32))
    hand_scores: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    # (D,) int64 clip numbers of damaged frames, of which the networks saw nothing
    damaged: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))


def frame_rate(detections: Detections) -> float:
    """The clip's mean frame rate."""
    return float((len(detections.frame_times) - 1) / (detections.frame_times[-1] - detections.frame_times[0]))


def frames_in_track(detections: Detections, person: Person) -> np.ndarray:
    """Which of the clip's frames lie between a person's first and last, (T,) bool."""
    return (detections.frame_times > person.time[0] - 1e-6) & (detections.frame_times < person.time[-1] + 1e-6)


BOX_MARGIN = 1.2  # WHAM's box: the longer side of the tight one times this
CONFIDENCE_THRESHOLD = 0.3  # below it a keypoint is ignored, as in WHAM


@dataclass
class Person:
    """One person's track in a clip, on an exact 30 fps clock of F frames; float32 unless noted."""

    keypoints: np.ndarray  # (F, 17, 3) COCO x, y (pixels), confidence; confidence 0 where the person is not visible
    landmarks: np.ndarray  # (F, 33, 3) MediaPipe x, y (pixels), visibility; (F, 0, 3) if that net was not run
    landmarks_3d: np.ndarray  # (F, 33, 3) metres, hip-centred, camera axes: x right, y down, z away; or (F, 0, 3)
    boxes: np.ndarray  # (F, 3) cx, cy (pixels), s (200 pixels)
    time: np.ndarray  # (F,) float64 seconds since the clip's first frame
    visible: np.ndarray  # (F,) bool
    detection_rows: np.ndarray  # (F,) int64 the row of Detections nearest in time
    # (F, 2, 21, 5) left and right hand: x, y (pixels), metres as in `HandObservation`; and scores (F, 2) 0..1, 0 where
    # a hand is not seen. Without frames if hands were not looked for.
    hands: np.ndarray = field(default_factory=lambda: np.zeros((0, 2, 21, 5), np.float32))
    hand_scores: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.float32))

    def __len__(self) -> int:
        return len(self.time)


def is_confident(keypoints: np.ndarray) -> np.ndarray:
    """Which of the keypoints (..., 3) have a confidence above the threshold, (...) bool."""
    return keypoints[..., 2] > CONFIDENCE_THRESHOLD


def wham_boxes(keypoints: np.ndarray, *, include_hidden: bool = False) -> np.ndarray:
    """WHAM's boxes (n, 3) cx, cy (pixels), s (200 pixels) around the confident ones of keypoints (n, 17, 3).

    ``include_hidden``: around all of them, as the open networks were trained: the landmark net estimates hidden points
    too, so a person whose legs are outside of the picture gets a box of the usual size.
    """
    points = np.where((is_confident(keypoints) | include_hidden)[..., None], keypoints[..., :2], np.nan)
    low, high = np.nanmin(points, 1), np.nanmax(points, 1)
    return np.concatenate([(low + high) / 2, (high - low).max(-1, keepdims=True) * BOX_MARGIN / 200], 1)
