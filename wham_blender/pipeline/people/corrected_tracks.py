"""Applies an animator's corrections to whole tracks: who is who, which frames are distrusted, where sides are swapped.

People are found by places in the picture, since tracks have other numbers whenever the clip is processed again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...corrections import Corrections, Part, Place
from ...skeleton import COCO_NAMES
from .joining import SAME_POSE, pose_distance
from .types import Detections

_HIPS = [COCO_NAMES.index("left_hip"), COCO_NAMES.index("right_hip")]
_NEAR_FRAMES = 5  # network frames from a place's frame within which somebody must be seen; set by hand
_NEAR = 0.5  # sizes of the body from a place within which the hips must be; set by hand


@dataclass(frozen=True)
class CorrectedTracks:
    """The rows of whole tracks after all corrections."""

    tracks: list[np.ndarray]  # each (n,) rows of Detections in order of time
    swapped: np.ndarray  # (N, 2) bool: rows in which left and right of the upper body and of the legs are swapped
    unmatched: list[int]  # clip frames of places at which nobody is seen


def correct_tracks(detections: Detections, tracks: list[np.ndarray], corrections: Corrections) -> CorrectedTracks:
    """Apply corrections to tracks, each (n,) rows in order of time.

    Rows of boxes drawn by hand have negative track ids, the first box -1, and are in none of the tracks. Continued
    people come first, each as the ones before left them; the other corrections name the people that result.
    """
    work = _Work(detections, [*tracks])
    for change in corrections.continued:
        work.continue_person(change.person, change.other, change.first)
    for number, box in enumerate(corrections.boxes):
        work.add_box(np.flatnonzero(detections.track == -1 - number), box.person)
    for each in corrections.swapped:
        rows = work.rows_of(each.person, each.first, each.last)
        work.swapped[rows, 0] ^= each.part is not Part.LOWER
        work.swapped[rows, 1] ^= each.part is not Part.UPPER
    for distrusted in corrections.distrusted:
        work.remove(work.rows_of(distrusted.person, distrusted.first, distrusted.last))
    return CorrectedTracks([track for track in work.tracks if len(track)], work.swapped, sorted(work.unmatched))


class _Work:
    """Tracks while corrections are applied one after the other."""

    def __init__(self, detections: Detections, tracks: list[np.ndarray]) -> None:
        self.tracks = tracks
        self.swapped = np.zeros((len(detections.track), 2), bool)
        self.unmatched: set[int] = set()
        self._detections = detections
        self._numbers = detections.frame_numbers[detections.network_frames]
        self._clip_frames = self._numbers[detections.row_frame]

    def find(self, place: Place) -> int | None:
        """The index of the track that is at a place; None, which is noted, if none is."""
        detections = self._detections
        frame = int(np.abs(self._numbers - place.frame).argmin())
        point = np.array([place.x, place.y]) * detections.size
        best, least = None, _NEAR
        for index, rows in enumerate(self.tracks):
            if not len(rows):
                continue
            row = rows[np.abs(detections.row_frame[rows] - frame).argmin()]
            if abs(int(detections.row_frame[row]) - frame) > _NEAR_FRAMES:
                continue
            points = detections.keypoints[row, :, :2].astype(float)
            size = max(float(np.ptp(points, axis=0).max()), 1.0)
            away = float(np.linalg.norm(points[_HIPS].mean(0) - point)) / size
            if away < least:
                best, least = index, away
        if best is None:
            self.unmatched.add(place.frame)
        return best

    def rows_of(self, place: Place, first: int, last: int) -> np.ndarray:
        """The rows of the person at a place in the clip's frames first to last."""
        index = self.find(place)
        rows = self.tracks[index] if index is not None else np.zeros(0, np.int64)
        return rows[(self._clip_frames[rows] >= first) & (self._clip_frames[rows] <= last)]

    def remove(self, rows: np.ndarray) -> None:
        """Take rows out of all tracks."""
        self.tracks = [track[~np.isin(track, rows)] for track in self.tracks]

    def continue_person(self, person: Place, other: Place, first: int) -> None:
        """Exchange what two tracks show from a frame of the clip on."""
        found = self.find(person), self.find(other)
        indices = [index for index in found if index is not None]
        if len(set(indices)) < 2:
            return
        tracks = [self.tracks[index] for index in indices]
        heads, tails = (
            [rows[(self._clip_frames[rows] < first) == early] for rows in tracks] for early in (True, False)
        )
        for index, head, tail in zip(indices, heads, reversed(tails), strict=True):
            self.tracks[index] = np.concatenate([head, tail])

    def add_box(self, rows: np.ndarray, person: Place | None) -> None:
        """Give the rows (n,) that were seen from a box to a person, or to a new one, instead of what was seen there.

        Where somebody else is already seen in the same pose, the landmark net has taken them for the person in the box:
        there the rows are left out. If none is left, the box is noted as one that fits nobody.
        """
        index = self.find(person) if person else None
        if not len(rows) or (person and index is None):
            return
        frames, drawn = self._detections.row_frame, rows
        for number, track in enumerate(self.tracks):
            if number != index:
                _, mine, others = np.intersect1d(frames[rows], frames[track], return_indices=True)
                rows = np.delete(rows, mine[pose_distance(self._detections, rows[mine], track[others]) < SAME_POSE])
        if not len(rows):
            self.unmatched.add(int(self._clip_frames[drawn[0]]))
        elif index is None:
            self.tracks.append(rows)
        else:
            track = self.tracks[index]
            both = np.concatenate([track[~np.isin(frames[track], frames[rows])], rows])
            self.tracks[index] = both[np.argsort(frames[both], kind="stable")]
