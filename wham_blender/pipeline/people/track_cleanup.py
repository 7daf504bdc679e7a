"""Turns detections into complete tracks: joins pieces, bridges gaps, smooths landmarks, resamples to 30 fps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.interpolate import CubicHermiteSpline, make_interp_spline
from scipy.ndimage import median_filter

from ...corrections import Corrections
from ..clip import video_reader
from .corrected_tracks import correct_tracks
from .hands import LANDMARK_WRISTS, resample_hands, without_shared
from .joining import join_tracks
from .landmarks import COCO_LANDMARKS, average_mirrored
from .left_right import fix_left_right, with_swapped_sides
from .smoothing import without_jitter
from .types import Detections, Person, wham_boxes

_MIN_SECONDS = 1.0  # of a track; shorter ones are dropped, as in WHAM
_EDGE = 0.03  # of the box's side: a point nearer to the picture's edge may be outside; set by hand
_GAP = 1.5  # times the usual time between two frames: frames are missing there
_COLUMNS = 12  # that are resampled at once: splines take ten times the memory of their values
BOX_MEDIAN_FRAMES = 15  # frames; WHAM's median filter of the box at 30 fps


def build_people(detections: Detections, part: np.ndarray) -> list[Person]:
    """Complete tracks at 30 fps, the largest and longest first. Pieces of one person are joined, gaps bridged.

    part (L,): the part of the film to which each network frame belongs, -1 if it is left out; no track continues from
    one part into another. A track of less than a second is dropped (in a clip shorter than two seconds: one of less
    than half the clip).
    """
    return [person for person, _ in _build(detections, _whole_tracks(detections, part), part)]


def build_corrected_people(
    detections: Detections, part: np.ndarray, corrections: Corrections
) -> tuple[list[Person], list[int]]:
    """`build_people` with an animator's corrections, and the clip frames of places at which nobody is seen.

    People keep the numbers that they have without corrections, as far as these are the same people; others follow.
    """
    tracks = _whole_tracks(detections, part)
    owners = {row: number for number, (_, rows) in enumerate(_build(detections, tracks, part)) for row in rows.tolist()}
    corrected = correct_tracks(detections, tracks, corrections)
    numbered: dict[int, Person] = {}
    more = []
    for person, rows in sorted(
        _build(detections, corrected.tracks, part, corrected.swapped), key=lambda each: each[1][0]
    ):
        number = next((owners[row] for row in rows.tolist() if row in owners), None)
        if number is None or number in numbered:
            more.append(person)
        else:
            numbered[number] = person
    return [*(person for _, person in sorted(numbered.items(), key=lambda each: each[0])), *more], corrected.unmatched


def _whole_tracks(detections: Detections, part: np.ndarray) -> list[np.ndarray]:
    """The rows of each person in order of time; part (L,) as in `build_people`. Rows of boxes are left out."""
    if len(detections.network_frames) < 2:
        return []
    row_part = part[detections.row_frame]
    pieces = [
        np.flatnonzero((detections.track == track) & (row_part == number))
        for track, number in np.unique(np.column_stack([detections.track, row_part]), axis=0)
        if number >= 0 and track >= 0
    ]
    return join_tracks(detections, pieces, part)


def _build(
    detections: Detections, tracks: list[np.ndarray], part: np.ndarray, swapped: np.ndarray | None = None
) -> list[tuple[Person, np.ndarray]]:
    """People and their rows, of tracks that are long enough, the largest and longest first.

    swapped (N, 2): as in `CorrectedTracks`; None: nowhere.
    """
    if not tracks:
        return []
    seconds_per_frame = np.ptp(seconds := detections.frame_times[detections.network_frames]) / (len(seconds) - 1)
    min_rows = max(2, min(round(_MIN_SECONDS / seconds_per_frame), (part >= 0).sum() / 2))
    detections = replace(detections, hand_scores=without_shared(detections))
    swapped = np.zeros((len(detections.track), 2), bool) if swapped is None else swapped
    people = [(_build_person(detections, rows, swapped[rows]), rows) for rows in tracks if len(rows) >= min_rows]
    return sorted(people, key=lambda each: -float(each[0].boxes[each[0].visible, 2].sum()))


def _build_person(detections: Detections, rows: np.ndarray, swapped: np.ndarray) -> Person:
    """One person's track from their detection rows (n,) in order of time, on the clip's 30 fps clock.

    swapped (n, 2): rows in which left and right of the upper body and of the legs are exchanged.

    All people share the clock, so that people and camera are placed in one world frame by frame.
    """
    seconds = detections.frame_times[detections.network_frames]
    frames = detections.row_frame[rows]
    begin, end = seconds[frames[0]], seconds[frames[-1]]
    first, last = (
        np.floor(begin * video_reader.NETWORK_FPS + 1e-3),
        np.ceil(end * video_reader.NETWORK_FPS - 1e-3),
    )
    time = np.arange(first, max(last, first + 1) + 1) / video_reader.NETWORK_FPS
    arrays = detections.keypoints, detections.landmarks, detections.landmarks_3d
    keypoints, landmarks, landmarks_3d = (values[rows] for values in arrays)
    from_landmarks = landmarks.size and np.array_equal(keypoints, landmarks[:, COCO_LANDMARKS])
    looked = rows if detections.hands.size else slice(0)  # no rows if hands were not looked for
    hands, hand_scores = detections.hands[looked], detections.hand_scores[looked].copy()
    if landmarks.size:
        seen_as = landmarks
        landmarks, landmarks_3d = (
            with_swapped_sides(points, swapped) for points in fix_left_right(landmarks, landmarks_3d)
        )
        if len(hand_scores):  # looked for at the other arm
            hand_scores[(landmarks[:, LANDMARK_WRISTS] != seen_as[:, LANDMARK_WRISTS]).any((1, 2))] = 0
    elif len(hand_scores):
        hand_scores[swapped[:, 0]] = 0
    landmarks, landmarks_3d = (average_mirrored(values, frames) for values in (landmarks, landmarks_3d))
    keypoints = landmarks[:, COCO_LANDMARKS] if from_landmarks else with_swapped_sides(keypoints, swapped)
    points = np.concatenate([keypoints, landmarks], 1)
    curved = _resample(time, seconds[frames], landmarks[..., :2])
    points = _resample(time, seconds[frames], points, curved=False)
    points[:, len(COCO_LANDMARKS) :, :2] = curved
    if from_landmarks:  # else a point of low confidence, which may be anywhere, would bend the curve of the next ones
        points[:, : len(COCO_LANDMARKS), :2] = curved[:, COCO_LANDMARKS]
    landmarks_3d = _resample(time, seconds[frames], landmarks_3d)
    if not from_landmarks:  # a ViTPose point of low confidence may be anywhere: take the lower one of both frames
        row = np.round(np.interp(time, seconds[frames], np.arange(len(rows))), 6)
        neighbours = keypoints[np.floor(row).astype(int), :, 2], keypoints[np.ceil(row).astype(int), :, 2]
        points[:, : len(COCO_LANDMARKS), 2] = np.minimum(*neighbours)
    # A frame of the clock is visible if the person was detected in the network frames before and after it.
    detected = np.zeros(len(seconds), bool)
    detected[frames] = True
    position = np.round(np.interp(time, seconds, np.arange(len(seconds))), 6)
    visible = detected[np.floor(position).astype(int)] & detected[np.ceil(position).astype(int)]
    points[..., 2] = np.where(visible[:, None], np.clip(points[..., 2], 0, 1), 0)
    boxes = _resample(
        time, seconds[frames], wham_boxes(detections.keypoints[rows], include_hidden=bool(from_landmarks))
    )
    boxes = median_filter(boxes, size=(BOX_MEDIAN_FRAMES, 1), mode="nearest")
    if from_landmarks:
        # The landmarks stay as they are, as the temporal lifter smooths. Keypoints of another network are not filtered,
        # either: the published WHAM weights take ViTPose's as they are.
        coco = slice(len(COCO_LANDMARKS))
        points[:, coco, :2] = without_jitter(points[:, coco, :2], 200 * boxes[:, 2])
    if landmarks.size:  # the net hallucinates points outside of the picture with high confidence
        edge = _EDGE * 200 * boxes[:, None, 2:]
        inside = ((points[..., :2] > edge) & (points[..., :2] < detections.size - edge)).all(-1)
        inside[:, : 0 if from_landmarks else len(COCO_LANDMARKS)] = True
        points[..., 2] *= inside
    keypoints, landmarks = np.split(points, [len(COCO_LANDMARKS)], 1)
    hands, hand_scores = resample_hands(time, seconds[frames], hands, hand_scores)
    nearest = np.round(np.interp(time, seconds[frames], np.arange(len(rows)))).astype(int)
    return Person(
        keypoints=keypoints,
        landmarks=landmarks,
        landmarks_3d=landmarks_3d,
        boxes=boxes,
        time=time,
        visible=visible,
        detection_rows=rows[nearest],
        hands=hands,
        hand_scores=hand_scores,
    )


def _resample(time: np.ndarray, known: np.ndarray, values: np.ndarray, *, curved: bool = True) -> np.ndarray:
    """Values (n, ...) at rising times (n,), interpolated at other times (F,), float32.

    By cubics through neighbouring values, as straight lines would shorten fast movement: at 24 frames a second, a fifth
    of 5 hertz between two frames. Across gaps, and if not ``curved``, linearly. The first and last of the other times
    may lie outside of the known ones: values are extrapolated.
    """
    steps = np.diff(known)
    step = steps[(np.searchsorted(known, time, "right") - 1).clip(0, len(steps) - 1)]
    between = (time > known[0]) & (time < known[-1]) & (step < _GAP * np.median(steps))
    flat = values.reshape(len(values), -1)
    resampled = np.empty((len(time), flat.shape[1]), np.float32)
    for column in range(0, flat.shape[1], _COLUMNS):
        columns = slice(column, column + _COLUMNS)
        part = flat[:, columns]
        straight = make_interp_spline(known, part, k=1)(time)
        if curved and len(known) > 2:
            slopes = np.gradient(part.astype(np.float64), known, axis=0)
            straight = np.where(between[:, None], CubicHermiteSpline(known, part, slopes)(time), straight)
        resampled[:, columns] = straight
    return resampled.reshape(len(time), *values.shape[1:])
