"""Corrections change whom they name in the frames that they name, and nobody else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tests.pipeline import test_track_cleanup
from wham_blender.corrections import Box, Continued, Corrections, Distrusted, Part, Place, Swapped
from wham_blender.pipeline.people import track_cleanup
from wham_blender.pipeline.people.landmarks import COCO_LANDMARKS, LANDMARK_MIRROR
from wham_blender.pipeline.people.types import Detections, Person

LEFT, RIGHT = 500.0, 1300.0  # where the two stand at first, pixels


def detections(tracks: dict[int, tuple[range, float]]) -> Detections:
    """As in test_track_cleanup, the rows in order of their frames."""
    return in_order(test_track_cleanup.detections(tracks))


def in_order(seen: Detections) -> Detections:
    order = np.argsort(seen.row_frame, kind="stable")
    names = ("row_frame", "track", "keypoints", "landmarks", "landmarks_3d")
    return replace(seen, **{name: getattr(seen, name)[order] for name in names})


def place(seen: Detections, look: int, x: float) -> Place:
    """The hips of somebody who stood at x."""
    row = np.flatnonzero(seen.row_frame == look)
    hips = seen.landmarks[row][:, [23, 24], :2].mean(1)
    nearest = hips[np.abs(hips[:, 0] - x - look).argmin()]
    return Place(look + 1, *map(float, nearest / seen.size))


def corrected(seen: Detections, *changes: Distrusted | Swapped | Continued | Box) -> tuple[list[Person], list[int]]:
    document = Corrections()
    for change in changes:
        document = document.with_change(change)
    return track_cleanup.build_corrected_people(seen, np.zeros(len(seen.network_frames), int), document)


def path(person: Person) -> np.ndarray:
    """Where the person would have stood at look 0, at each look."""
    return person.landmarks[:, 0, 0] - np.round(30 * person.time)


def test_distrusted_frames_are_bridged_and_not_seen() -> None:
    seen = detections({1: (range(120), LEFT), 2: (range(120), RIGHT)})
    wrong = (seen.track == 1) & (seen.row_frame >= 40) & (seen.row_frame < 60)
    moved = replace(seen, landmarks=seen.landmarks + np.where(wrong, 80, 0)[:, None, None] * [1, 0, 0])
    moved = replace(moved, keypoints=moved.landmarks[:, COCO_LANDMARKS])
    before = track_cleanup.build_people(moved, np.zeros(120, int))
    (first, second), unmatched = corrected(moved, Distrusted(place(moved, 20, LEFT), 41, 60))
    assert np.flatnonzero(~first.visible).tolist() == list(range(40, 60))
    assert not first.keypoints[40:60, :, 2].any()
    assert np.abs(path(first) - path(first)[0]).max() < 1
    assert np.abs(path(before[0]) - path(before[0])[0]).max() > 60
    assert (second.landmarks == before[1].landmarks).all()
    assert unmatched == []


def test_sides_are_swapped_where_the_animator_says_so() -> None:
    seen = detections({1: (range(120), LEFT)})
    (before,) = track_cleanup.build_people(seen, np.zeros(120, int))
    (person,), _ = corrected(seen, Swapped(place(seen, 20, LEFT), 31, 50, Part.LOWER))
    legs = np.arange(23, 33)
    inside, outside = slice(34, 46), np.r_[0:26, 54:120]  # away from the ends, which are averaged over frames
    mirrored = before.landmarks[:, LANDMARK_MIRROR]
    assert np.abs(person.landmarks[inside, legs] - mirrored[inside, legs]).max() < 1e-2
    assert np.abs(person.landmarks[inside, :23] - before.landmarks[inside, :23]).max() < 1e-2
    assert np.abs(person.landmarks[outside] - before.landmarks[outside]).max() < 1e-2
    (again,), _ = corrected(seen, *[Swapped(place(seen, 20, LEFT), 31, 50, Part.LOWER)] * 2)
    assert (again.landmarks == before.landmarks).all()


def test_people_who_changed_their_tracks_change_back() -> None:
    seen = detections({1: (range(120), LEFT), 2: (range(120), RIGHT)})
    later = seen.row_frame >= 60
    wrong = replace(seen, track=np.where(later, 3 - seen.track, seen.track))
    change = Continued(place(seen, 50, LEFT), place(seen, 70, LEFT), 61)
    (first, second), unmatched = corrected(wrong, change)
    for person in (first, second):
        assert np.abs(path(person) - path(person)[0]).max() < 1
        assert person.visible.all()
    assert abs(path(first)[0] - path(track_cleanup.build_people(wrong, np.zeros(120, int))[0])[0]) < 1
    assert unmatched == []


def test_who_was_lost_goes_on_as_the_same_person() -> None:
    """Too far away and too long after for an automatic join."""
    seen = detections({1: (range(40), LEFT), 2: (range(120), 900.0), 3: (range(80, 120), 1500.0)})
    people, _ = corrected(seen, Continued(place(seen, 30, LEFT), place(seen, 100, 1500.0), 81))
    assert sorted(len(person) for person in people) == [120, 120]
    joined = next(person for person in people if not person.visible.all())
    assert np.flatnonzero(~joined.visible).tolist() == list(range(40, 80))


def test_rows_of_a_box_replace_what_was_seen() -> None:
    box = detections({-1: (range(30), 700.0), 1: (range(20, 120), LEFT)})
    (person,), _ = corrected(box, Box(10, 1, 30, 0.3, 0.1, 0.5, 0.6, place(box, 60, LEFT)))
    assert len(person) == 120
    assert np.abs(path(person)[:27] - path(person)[0]).max() < 1
    assert path(person)[0] - path(person)[60] > 150
    # Without a person, somebody new, who has the last number.
    people, _ = corrected(box, Box(10, 1, 30, 0.3, 0.1, 0.5, 0.6))
    assert [len(each) for each in people] == [100, 30]


def test_a_correction_that_fits_nobody_changes_nothing() -> None:
    seen = detections({1: (range(120), LEFT)})
    (person,), unmatched = corrected(seen, Distrusted(Place(33, 0.9, 0.1), 10, 90))
    assert unmatched == [33]
    assert person.visible.all()


def test_a_box_does_not_take_somebody_who_is_seen_already() -> None:
    seen = detections({-1: (range(30), RIGHT), 1: (range(20, 120), LEFT), 2: (range(120), RIGHT)})
    people, unmatched = corrected(seen, Box(10, 1, 30, 0.6, 0.1, 0.8, 0.6, place(seen, 60, LEFT)))
    assert sorted(len(person) for person in people) == [100, 120]
    assert unmatched == [1]
