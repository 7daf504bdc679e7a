"""Watches a clip once: who is where in every frame, and the landmarks of each; then makes whole, clean people of it."""

from __future__ import annotations

import numpy as np
from scipy.interpolate import make_interp_spline
from scipy.ndimage import median_filter
from scipy.signal import savgol_filter

from ..clip import video_reader
from .landmarks import COCO_LANDMARKS, average_mirrored
from .left_right import fix_left_right
from .types import Detections, Person, is_confident

_LEAST_SECONDS = 1.0  # WHAM drops a shorter track
_BRIDGED_SECONDS = 2.0  # the longest gap between two pieces of one person's track
_ALIKE = 1.5  # and the largest ratio of their sizes
_APART, _SPEED = 1.0, 1.5  # the largest distance, in sizes, and by how much it grows a second: people run and jump
_BOX_MARGIN = 1.2  # WHAM's box: the longer side of the tight one times this
_EDGE = 0.03  # of the box's side: nearer to the picture's edge, a point may lie beyond it
MEDIAN = 15  # frames; WHAM's median filter of the box at 30 fps
# Frames and degree of the Savitzky-Golay filter that takes the landmark net's jitter away and leaves fast moves: on
# the balance clips it halves the error of the second differences (7.2 to 3.7 and 5.5 to 2.2 pixels). Keypoints of
# another network are not filtered: the published WHAM weights take ViTPose's as they are.
LANDMARK_SMOOTHING = (7, 2)


def build_people(detections: Detections, shot: np.ndarray) -> list[Person]:
    """Whole, clean people at 30 fps, the largest and longest first. Pieces of one person are joined, gaps bridged.

    shot (L,): the take that each look belongs to; nobody goes on beyond a cut. A track of under a second
    is dropped (in a clip shorter than two: one of under half the clip).
    """
    if len(detections.network_frames) < 2:
        return []
    pieces = [np.flatnonzero(detections.track == track) for track in np.unique(detections.track)]
    seconds = detections.frame_times[detections.network_frames]
    per_look = np.ptp(seconds) / (len(seconds) - 1)
    least = max(2, min(round(_LEAST_SECONDS / per_look), len(seconds) / 2))
    found = [_person(detections, rows) for rows in _join(detections, pieces, shot) if len(rows) >= least]
    return sorted(found, key=lambda person: -float(person.boxes[person.visible, 2].sum()))


def _join(detections: Detections, pieces: list[np.ndarray], shot: np.ndarray) -> list[np.ndarray]:
    """Put pieces together where one begins soon after another ended, close by and of like size."""
    seconds = detections.frame_times[detections.network_frames][detections.row_frame]
    boxes = wham_boxes(detections.keypoints)
    whole: list[np.ndarray] = []
    for piece in sorted(pieces, key=lambda rows: seconds[rows[0]]):
        best, nearest = None, 1.0
        for index, rows in enumerate(whole):
            gap = seconds[piece[0]] - seconds[rows[-1]]
            smaller, larger = sorted(float(np.median(boxes[part, 2])) for part in (rows, piece))
            apart = float(np.linalg.norm(boxes[rows[-1], :2] - boxes[piece[0], :2])) / (200 * larger)
            same = shot[detections.row_frame[rows[-1]]] == shot[detections.row_frame[piece[0]]]
            apart /= _APART + _SPEED * max(gap, 0)
            if same and 0 < gap <= _BRIDGED_SECONDS and larger < _ALIKE * smaller and apart < nearest:
                best, nearest = index, apart
        if best is None:
            whole.append(piece)
        else:
            whole[best] = np.concatenate([whole[best], piece])
    return whole


def wham_boxes(keypoints: np.ndarray, *, include_hidden: bool = False) -> np.ndarray:
    """WHAM's boxes (n, 3) cx, cy (pixels), s (200 pixels) round the counted ones of keypoints (n, 17, 3).

    ``whole``: round all of them. The landmark net says where hidden ones are about, and a person whose legs are out of
    the picture is as large as any other: so the open networks learned it.
    """
    points = np.where((is_confident(keypoints) | include_hidden)[..., None], keypoints[..., :2], np.nan)
    low, high = np.nanmin(points, 1), np.nanmax(points, 1)
    return np.concatenate([(low + high) / 2, (high - low).max(-1, keepdims=True) * _BOX_MARGIN / 200], 1)


def _person(detections: Detections, rows: np.ndarray) -> Person:
    """One person's rows, in order of time, on the clip's 30 fps clock from the first sighting to the last.

    The clock is everybody's, so that people and camera come into one world frame by frame.
    """
    seconds = detections.frame_times[detections.network_frames]
    looks = detections.row_frame[rows]
    begin, end = seconds[looks[0]], seconds[looks[-1]]
    first, last = (
        np.floor(begin * video_reader.NETWORK_FPS + 1e-3),
        np.ceil(end * video_reader.NETWORK_FPS - 1e-3),
    )
    time = np.arange(first, max(last, first + 1) + 1) / video_reader.NETWORK_FPS
    everything = detections.keypoints, detections.landmarks, detections.landmarks_3d
    keypoints, landmarks, landmarks_3d = (values[rows] for values in everything)
    theirs = landmarks.size and np.array_equal(keypoints, landmarks[:, COCO_LANDMARKS])
    if landmarks.size:
        landmarks, landmarks_3d = fix_left_right(landmarks, landmarks_3d)
    landmarks, landmarks_3d = (average_mirrored(values, looks) for values in (landmarks, landmarks_3d))
    if theirs:
        keypoints = landmarks[:, COCO_LANDMARKS]
    points = _resample(time, seconds[looks], np.concatenate([keypoints, landmarks], 1))
    landmarks_3d = _resample(time, seconds[looks], landmarks_3d)
    if landmarks_3d.size and len(time) >= LANDMARK_SMOOTHING[0]:
        jittery = slice(0 if theirs else len(COCO_LANDMARKS), None)
        points[:, jittery, :2] = savgol_filter(points[:, jittery, :2], *LANDMARK_SMOOTHING, axis=0)
        landmarks_3d = savgol_filter(landmarks_3d, *LANDMARK_SMOOTHING, axis=0)
    if not theirs:  # where ViTPose is unsure a point may be anywhere: it is as sure as the less sure of those around
        row = np.round(np.interp(time, seconds[looks], np.arange(len(rows))), 6)
        around = keypoints[np.floor(row).astype(int), :, 2], keypoints[np.ceil(row).astype(int), :, 2]
        points[:, : len(COCO_LANDMARKS), 2] = np.minimum(*around)
    # A clock frame is seen where the looks before and after it both saw the person.
    seen = np.zeros(len(seconds), bool)
    seen[looks] = True
    place = np.round(np.interp(time, seconds, np.arange(len(seconds))), 6)
    visible = seen[np.floor(place).astype(int)] & seen[np.ceil(place).astype(int)]
    points[..., 2] = np.where(visible[:, None], np.clip(points[..., 2], 0, 1), 0)
    boxes = _resample(time, seconds[looks], wham_boxes(detections.keypoints[rows], include_hidden=bool(theirs)))
    boxes = median_filter(boxes, size=(MEDIAN, 1), mode="nearest")
    if landmarks.size:  # nobody sees what is out of the picture, however sure the net is
        edge = _EDGE * 200 * boxes[:, None, 2:]
        inside = ((points[..., :2] > edge) & (points[..., :2] < detections.size - edge)).all(-1)
        inside[:, : 0 if theirs else len(COCO_LANDMARKS)] = True
        points[..., 2] *= inside
    keypoints, landmarks = np.split(points, [len(COCO_LANDMARKS)], 1)
    nearest = np.round(np.interp(time, seconds[looks], np.arange(len(rows)))).astype(int)
    return Person(
        keypoints=keypoints,
        landmarks=landmarks,
        landmarks_3d=landmarks_3d,
        boxes=boxes,
        time=time,
        visible=visible,
        detection_rows=rows[nearest],
    )


def _resample(time: np.ndarray, known: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values (n, ...) of the known times (n,), linearly at other times (F,), float32.

    One of those may lie before and one behind the known ones.
    """
    return make_interp_spline(known, values, k=1)(time).astype(np.float32)
