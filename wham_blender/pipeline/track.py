"""Watches a clip once: who is where in every frame, and the landmarks of each; then makes whole, clean people of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from scipy.interpolate import make_interp_spline
from scipy.ndimage import median_filter
from scipy.signal import savgol_filter
from ultralytics.engine.results import Boxes
from ultralytics.trackers.byte_tracker import BYTETracker
from ultralytics.utils.metrics import bbox_ioa

from . import camera_motion, video
from .detect import Detector
from .keypoints import COCO_LANDMARKS, LANDMARKS, PERSON_SCORE, Crop, Landmarker, Look, Person, counted, crop_around

Progress = Callable[[int, int], None]  # told what is done and how much there is in all

DETECT_EVERY = 3  # looks; in between, people are followed by their own landmarks
_NEW_SCORE = 0.25  # the detector's score from which a newcomer is tracked (MoveNet's own advice is 0.2 to 0.3)
_LOST_SCORE = 0.1  # and from which a lost person is found again
_SAME = 0.3  # overlap (intersection over union) from which two boxes are of one person
_LEAST_KEYPOINTS = 6  # a look with fewer that count is dropped (WHAM)
_LEAST_SECONDS = 1.0  # WHAM drops a shorter track
_BRIDGED_SECONDS = 2.0  # the longest gap between two pieces of one person's track
_ALIKE = 1.5  # and the largest ratio of their sizes
_BOX_MARGIN = 1.2  # WHAM's box: the longer side of the tight one times this
_MEDIAN = 15  # frames; WHAM's median filter of the box at 30 fps
# Frames and degree of the Savitzky-Golay filter that takes the landmark net's jitter away and leaves fast moves: on
# the balance clips it halves the error of the second differences (7.2 to 3.7 and 5.5 to 2.2 pixels).
_SMOOTHING = (7, 2)


@dataclass
class Sightings:
    """Everything seen in one pass over T frames of a clip, of which L were looked at, in N rows of one person each."""

    size: np.ndarray  # (2,) int64 width and height, pixels
    numbers: np.ndarray  # (T,) int64 clip frame numbers, from 1
    times: np.ndarray  # (T,) float64 seconds since the clip's first frame
    looked: np.ndarray  # (L,) int64 indices into times
    look: np.ndarray  # (N,) int64 index into looked
    track: np.ndarray  # (N,) int64
    landmarks: np.ndarray  # (N, 33, 3) x, y (pixels), visibility
    landmarks_3d: np.ndarray  # (N, 33, 3) metres, as in Person
    drift: np.ndarray  # (S,) how far the background moved in each second, in shares of the picture's longer side

    @property
    def keypoints(self) -> np.ndarray:
        """(N, 17, 3) COCO x, y (pixels), confidence."""
        return self.landmarks[:, COCO_LANDMARKS]


class _Tracker:
    """Ultralytics' ByteTrack on bare boxes."""

    def __init__(self) -> None:
        self._tracker = BYTETracker(
            SimpleNamespace(
                track_high_thresh=_NEW_SCORE, track_low_thresh=_LOST_SCORE, new_track_thresh=_NEW_SCORE,
                track_buffer=int(video.LOOKS_PER_SECOND), match_thresh=0.8, fuse_score=True,
            )
        )  # fmt: skip

    def update(self, boxes: np.ndarray, scores: np.ndarray, size: tuple[int, int]) -> dict[int, int]:
        """Track id of each box that belongs to a track: {index: id}. Boxes (n, 4) x1, y1, x2, y2; size (H, W)."""
        rows = np.column_stack([boxes, scores, np.zeros(len(boxes))]).astype(np.float32)
        return {int(row[-1]): int(row[4]) for row in self._tracker.update(Boxes(rows, size))}


def watch(
    clip: Path,
    detector: Detector,
    landmarker: Landmarker,
    start: int = 1,
    end: int | None = None,
    progress: Progress = lambda done, total: None,
) -> Sightings:
    """One pass over frames start..end of a clip. ``progress`` is told frames done and frames in all.

    Raises PipelineError as `video.frames` does.
    """
    info = video.probe(clip)
    total = (info.last(end) or 0) - start + 1
    tracker = _Tracker()
    followed: dict[int, Look] = {}
    waiting = True  # someone may be there whom nobody follows
    numbers: list[int] = []
    times: list[float] = []
    looked: list[int] = []
    rows: list[tuple[int, int, np.ndarray, np.ndarray]] = []
    drift: list[float] = []
    compared, background = -math.inf, None
    for frame in video.frames(clip, start, end):
        numbers.append(frame.number)
        times.append(frame.time)
        if frame.image is None:
            continue
        followed, lost = _follow(frame.image, followed, landmarker)
        boxes, scores = _boxes(followed), np.array([look.score for look in followed.values()])
        newcomers = np.empty((0, len(COCO_LANDMARKS), 3))
        if waiting or lost or len(looked) % DETECT_EVERY == 0:
            found, found_scores, found_keypoints = detector(frame.image)
            new = (found_scores > _LOST_SCORE) & (bbox_ioa(found, boxes, iou=True) < _SAME).all(1)
            newcomers = found_keypoints[new]
            boxes = np.concatenate([boxes, found[new]])
            scores = np.concatenate([scores, found_scores[new]])
        waiting = bool((scores[len(followed) :] > _NEW_SCORE).any())
        ids = tracker.update(boxes, scores, frame.image.shape[:2])
        looks = list(followed.values())
        followed = {}
        for index, track in ids.items():
            if index < len(looks):
                followed[track] = looks[index]
            else:
                first = landmarker(frame.image, crop_around(newcomers[index - len(looks)]))
                look = landmarker(frame.image, crop_around(first.keypoints))
                if _is_person(look):
                    followed[track] = look
        if frame.time - compared >= 1:
            if background is not None:
                drift.append(background.until(frame.image))
            compared, background = frame.time, camera_motion.Drift(frame.image, _boxes(followed))
        rows += [(len(looked), track, look.landmarks, look.landmarks_3d) for track, look in followed.items()]
        looked.append(len(times) - 1)
        progress(len(times), max(total, len(times)))
    look_index, track_ids, landmarks, landmarks_3d = zip(*rows, strict=True) if rows else ((), (), (), ())
    return Sightings(
        size=np.array([info.width, info.height]),
        numbers=np.array(numbers, np.int64),
        times=np.array(times, np.float64),
        looked=np.array(looked, np.int64),
        look=np.array(look_index, np.int64),
        track=np.array(track_ids, np.int64),
        landmarks=np.array(landmarks, np.float32).reshape(-1, LANDMARKS, 3),
        landmarks_3d=np.array(landmarks_3d, np.float32).reshape(-1, LANDMARKS, 3),
        drift=np.array(drift, np.float64),
    )


def _follow(
    image: np.ndarray, people: dict[int, Look], landmarker: Callable[[np.ndarray, Crop], Look]
) -> tuple[dict[int, Look], bool]:
    """Look where each person was a frame ago. Returns those still seen, and whether someone was lost."""
    seen: dict[int, Look] = {}
    for track, before in people.items():
        look = landmarker(image, crop_around(before.keypoints))
        if _is_person(look):
            seen[track] = look
    # Where one has slipped onto another's body, the one that jumped farther has to go.
    for track in sorted(seen, key=lambda track: -_shift(people[track], seen[track])):
        others = [look for other, look in seen.items() if other != track]
        if any(_shift(seen[track], other) < 0.1 for other in others):
            del seen[track]
    return seen, len(seen) < len(people)


def _is_person(look: Look) -> bool:
    return look.score > PERSON_SCORE and counted(look.keypoints).sum() >= _LEAST_KEYPOINTS


def _shift(first: Look, second: Look) -> float:
    """Mean distance between the keypoints of two looks, in body sizes (the second's box, its longer side)."""
    size = np.ptp(second.keypoints[:, :2], axis=0).max()
    return float(np.linalg.norm(first.keypoints[:, :2] - second.keypoints[:, :2], axis=1).mean() / max(size, 1.0))


def _boxes(people: dict[int, Look]) -> np.ndarray:
    """Tight boxes (n, 4) x1, y1, x2, y2 round the counted keypoints."""
    points = [look.keypoints[counted(look.keypoints), :2] for look in people.values()]
    return np.array([[*p.min(0), *p.max(0)] for p in points]).reshape(-1, 4)


def people(sightings: Sightings) -> list[Person]:
    """Whole, clean people at 30 fps, the largest and longest first. Pieces of one person are joined, gaps bridged.

    A track of under a second is dropped (in a clip shorter than two: one of under half the clip).
    """
    if len(sightings.looked) < 2:
        return []
    pieces = [np.flatnonzero(sightings.track == track) for track in np.unique(sightings.track)]
    seconds = sightings.times[sightings.looked]
    per_look = np.ptp(seconds) / (len(seconds) - 1)
    least = max(2, min(round(_LEAST_SECONDS / per_look), len(seconds) / 2))
    found = [_person(sightings, rows) for rows in _join(sightings, pieces) if len(rows) >= least]
    return sorted(found, key=lambda person: -float(person.boxes[person.visible, 2].sum()))


def _join(sightings: Sightings, pieces: list[np.ndarray]) -> list[np.ndarray]:
    """Put pieces together where one begins soon after another ended, close by and of like size."""
    seconds = sightings.times[sightings.looked][sightings.look]
    boxes = _box(sightings.keypoints)
    whole: list[np.ndarray] = []
    for piece in sorted(pieces, key=lambda rows: seconds[rows[0]]):
        best, nearest = None, 1.0
        for index, rows in enumerate(whole):
            gap = seconds[piece[0]] - seconds[rows[-1]]
            smaller, larger = sorted(float(np.median(boxes[part, 2])) for part in (rows, piece))
            apart = float(np.linalg.norm(boxes[rows[-1], :2] - boxes[piece[0], :2])) / (200 * larger)
            if 0 < gap <= _BRIDGED_SECONDS and larger < _ALIKE * smaller and apart < nearest:
                best, nearest = index, apart
        if best is None:
            whole.append(piece)
        else:
            whole[best] = np.concatenate([whole[best], piece])
    return whole


def _box(keypoints: np.ndarray) -> np.ndarray:
    """WHAM's boxes (n, 3) cx, cy (pixels), s (200 pixels) round the counted ones of keypoints (n, 17, 3)."""
    points = np.where(counted(keypoints)[..., None], keypoints[..., :2], np.nan)
    low, high = np.nanmin(points, 1), np.nanmax(points, 1)
    return np.concatenate([(low + high) / 2, (high - low).max(-1, keepdims=True) * _BOX_MARGIN / 200], 1)


def _person(sightings: Sightings, rows: np.ndarray) -> Person:
    """One person's rows, in order of time, on the 30 fps clock from the first sighting to the last."""
    seconds = sightings.times[sightings.looked]
    looks = sightings.look[rows]
    begin, end = seconds[looks[0]], seconds[looks[-1]]
    time = begin + np.arange(int(np.ceil((end - begin) * video.LOOKS_PER_SECOND - 1e-6)) + 1) / video.LOOKS_PER_SECOND
    landmarks = _resample(time, seconds[looks], sightings.landmarks[rows])
    landmarks_3d = _resample(time, seconds[looks], sightings.landmarks_3d[rows])
    if len(time) >= _SMOOTHING[0]:
        landmarks[..., :2] = savgol_filter(landmarks[..., :2], *_SMOOTHING, axis=0)
        landmarks_3d = savgol_filter(landmarks_3d, *_SMOOTHING, axis=0)
    # A clock frame is seen where the looks before and after it both saw the person.
    seen = np.zeros(len(seconds), bool)
    seen[looks] = True
    place = np.round(np.interp(time, seconds, np.arange(len(seconds))), 6)
    visible = seen[np.floor(place).astype(int)] & seen[np.ceil(place).astype(int)]
    landmarks[..., 2] = np.where(visible[:, None], np.clip(landmarks[..., 2], 0, 1), 0)
    keypoints = landmarks[:, COCO_LANDMARKS]
    boxes = _resample(time, seconds[looks], _box(sightings.keypoints[rows]))
    return Person(
        keypoints=keypoints,
        landmarks=landmarks,
        landmarks_3d=landmarks_3d,
        boxes=median_filter(boxes, size=(_MEDIAN, 1), mode="nearest"),
        time=time,
        visible=visible,
    )


def _resample(time: np.ndarray, known: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values (n, ...) of the known times (n,), linearly at other times (F,), of which one may lie behind; float32."""
    return make_interp_spline(known, values, k=1)(time).astype(np.float32)
