"""Pieces of tracks become people: exchanged where they met, lost and found, tracked twice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.pipeline.test_track_cleanup import detections, people
from wham_blender.pipeline.people import types
from wham_blender.pipeline.people.landmarks import COCO_LANDMARKS

RED, BLUE, SHADED_RED = (
    np.tile(np.array(colour, np.float32), 4) for colour in ((25, 60, 40), (20, 10, -60), (17, 50, 33))
)


def dressed(seen: types.Detections, colours: dict[int, np.ndarray]) -> types.Detections:
    """The detections with clothes by track; some noise."""
    noise = np.random.default_rng(1).normal(0, 2, (len(seen.track), 12))
    return replace(seen, appearance=np.array([colours[track] for track in seen.track]) + noise)


def crossing(exchanged: bool) -> types.Detections:
    """A red person walks right, a blue one left, through each other at frame 60; the tracks may be exchanged there."""
    seen = detections({1: (range(120), 300.0), 2: (range(120), 300.0)})
    landmarks = seen.landmarks.copy()
    landmarks[..., 0] += np.where(seen.track == 1, 7.0 * seen.row_frame, 840 - 7.0 * seen.row_frame)[:, None]
    true = seen.track.copy()
    track = np.where(seen.row_frame > 60, 3 - true, true) if exchanged else true
    moved = replace(seen, landmarks=landmarks, keypoints=landmarks[:, COCO_LANDMARKS], track=track)
    noise = np.random.default_rng(1).normal(0, 2, (len(true), 12))
    order = np.argsort(seen.row_frame, kind="stable")  # as they come from a clip
    columns = ("row_frame", "track", "keypoints", "landmarks", "landmarks_3d", "appearance")
    moved = replace(moved, appearance=np.where(true[:, None] == 1, RED, BLUE) + noise)
    return replace(moved, **{name: getattr(moved, name)[order] for name in columns})


@pytest.mark.parametrize("exchanged", [False, True])
def test_who_went_on_as_the_other_after_meeting_is_put_right(exchanged: bool) -> None:
    found = people(crossing(exchanged))
    assert len(found) == 2
    right, left = sorted(found, key=lambda person: person.boxes[0, 0])
    assert right.boxes[-20, 0] > right.boxes[20, 0] + 400
    assert left.boxes[-20, 0] < left.boxes[20, 0] - 400
    assert len(right) == len(left) == 120


def test_a_moment_tucked_up_does_not_part_what_was_before_from_what_comes_after() -> None:
    """As in a somersault: three frames of a small body, whose clothes nobody saw, between two longer pieces."""
    seen = detections({1: (range(50), 500.0), 2: (range(54, 57), 560.0), 3: (range(60, 120), 560.0)})
    landmarks = seen.landmarks.copy()
    for track, size in ((2, 0.6), (3, 0.85)):
        rows = seen.track == track
        middle = landmarks[rows, :, :2].mean(1, keepdims=True)
        landmarks[rows, :, :2] = middle + size * (landmarks[rows, :, :2] - middle)
    tucked = replace(seen, landmarks=landmarks, keypoints=landmarks[:, COCO_LANDMARKS])
    tucked = dressed(tucked, {1: RED, 2: RED, 3: RED})
    tucked.appearance[seen.track == 2] = np.nan
    (person,) = people(tucked)
    assert len(person) == 120


@pytest.mark.parametrize("size", [0.0, 150.0])
def test_a_track_that_goes_on_with_somebody_else_is_parted(size: float) -> None:
    """A red person's track goes on with a blue one ``size`` pixels beside, and the red one is found again later."""
    seen = detections({1: (range(60), 500.0), 2: (range(40, 120), 500.0)})
    landmarks = seen.landmarks.copy()
    somebody_else = (seen.track == 1) & (seen.row_frame >= 30)
    landmarks[somebody_else, :, 0] += size
    slipped = replace(seen, landmarks=landmarks, keypoints=landmarks[:, COCO_LANDMARKS])
    slipped = dressed(slipped, {1: RED, 2: RED})
    slipped.appearance[somebody_else] += BLUE - RED
    found = people(slipped)
    # Without a jump the change of colour is one of the light.
    assert [len(person) for person in found] == ([120, 30] if size else [120])


def test_in_one_kind_of_clothes_nothing_is_exchanged() -> None:
    seen = crossing(exchanged=False)
    alike = replace(seen, appearance=np.broadcast_to(RED, seen.appearance.shape).copy())
    right, left = sorted(people(alike), key=lambda person: person.boxes[0, 0])
    assert right.boxes[-20, 0] > left.boxes[-20, 0] + 400


def test_somebody_in_other_clothes_does_not_go_on_with_a_track() -> None:
    seen = detections({1: (range(50), 500.0), 2: (range(60, 120), 500.0)})
    assert len(people(dressed(seen, {1: RED, 2: SHADED_RED}))) == 1
    assert len(people(dressed(seen, {1: RED, 2: BLUE}))) == 2
    assert len(people(seen)) == 1  # clothes unknown
    assert len(people(dressed(seen, {1: RED, 2: RED * np.nan}))) == 1


def test_who_is_found_again_while_the_old_track_goes_on_for_some_frames_is_one() -> None:
    seen = detections({1: (range(54), 500.0), 2: (range(50, 120), 500.0)})
    (person,) = people(seen)
    assert len(person) == 120
    assert person.visible.all()


def test_one_who_is_tracked_twice_is_one_with_all_frames() -> None:
    seen = detections({1: (range(80), 500.0), 2: (range(40, 120), 503.0), 3: (range(120), 900.0)})
    found = people(seen)
    assert [len(person) for person in found] == [120, 120]
    assert all(person.visible.all() for person in found)


def test_two_who_stand_close_are_two() -> None:
    assert len(people(detections({1: (range(120), 500.0), 2: (range(120), 560.0)}))) == 2


@pytest.mark.parametrize(("other", "count"), [(620.0, 2), (1500.0, 3)])
def test_who_was_hidden_behind_somebody_for_three_seconds_is_one_person(other: float, count: int) -> None:
    """Where nobody could hide them, they have gone and somebody else has come."""
    seen = detections({1: (range(50), 500.0), 2: (range(140, 200), 500.0), 3: (range(200), other)}, looks=200)
    order = np.argsort(seen.row_frame, kind="stable")
    columns = ("row_frame", "track", "keypoints", "landmarks", "landmarks_3d", "appearance")
    seen = dressed(seen, {1: RED, 2: RED, 3: BLUE})
    found = people(replace(seen, **{name: getattr(seen, name)[order] for name in columns}))
    assert sorted(len(person) for person in found) == [[200, 200], [50, 60, 200]][count - 2]


def test_who_kneels_and_rises_later_is_one_person() -> None:
    seen = detections({1: (range(60), 500.0), 2: (range(64, 120), 500.0)})
    small = seen.row_frame < 84
    landmarks = seen.landmarks.copy()
    middle = landmarks[small, :, :2].mean(1, keepdims=True)
    landmarks[small, :, :2] = middle + 0.4 * (landmarks[small, :, :2] - middle)
    seen = dressed(replace(seen, landmarks=landmarks, keypoints=landmarks[:, COCO_LANDMARKS]), {1: RED, 2: RED})
    (person,) = people(seen)
    assert len(person) == 120
