"""Follows somebody from a box that an animator drew, where the detector found nobody or somebody else."""

from __future__ import annotations

import numpy as np

from .frame_buffer import FrameBuffer
from .hands import HandTracker
from .landmark_tracker import confirmed, detection_row, look_in
from .landmarks import Landmarker, Observation, crop_around_box, crop_around_keypoints
from .person_track import Look, PersonTrack, is_person
from .tracking import DetectionRow

# Quality of the landmark net in a box, from which it is believed that somebody is there: the animator has seen them.
_LEAST_QUALITY = 0.3
_MISSED = 30  # frames without the person after which they are followed no further; set by hand


def follow_from_box(
    box: np.ndarray, drawn: int, frames: FrameBuffer, landmarker: Landmarker, hands: HandTracker | None
) -> list[tuple[int, DetectionRow]]:
    """The rows of the person in a box (4,), x1, y1, x2, y2 in pixels, of one of the frames; in order of time.

    Each with its frame in the buffer, by which the row's ``frame`` has to be replaced as its ``track`` has to. Empty if
    the landmark net sees nobody in the box.
    """

    def look_at(frame: int, other: bool = False) -> Look:
        return look_in(landmarker, *frames[frame], mirrored=(frame % 2 == 1) != other)

    found = _in_box(look_at(drawn), look_at(drawn, True), box)
    if found is None:
        return []
    observations = {drawn: found}
    for step in (1, -1):
        track = PersonTrack(0, drawn, found, step)
        frame = drawn + step
        while frames.first <= frame < frames.end and track.missed(frame) < _MISSED:
            seen = track.look_at(look_at(frame), frame)
            if seen is not None:
                track.accept(frame, seen)
                observations[frame] = seen
            frame += step
    return [
        (frame, detection_row(0, frame, observation, frames[frame], hands))
        for frame, observation in sorted(observations.items())
    ]


def _in_box(look: Look, mirrored: Look, box: np.ndarray) -> Observation | None:
    """The person in a box; None if the landmark net sees nobody there."""
    found = confirmed(look, mirrored, crop_around_box(box))
    if found is not None:
        return found
    first = look(crop_around_box(box))
    again = look(crop_around_keypoints(first.keypoints))
    best = max(first, again, key=lambda each: each.quality)
    return best if is_person(best, _LEAST_QUALITY) else None
