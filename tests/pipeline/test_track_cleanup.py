"""From detections to whole people, and one pass over a real clip."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from wham_blender import weights
from wham_blender.pipeline.clip import video_reader
from wham_blender.pipeline.people import track_cleanup, types, watch
from wham_blender.pipeline.people.landmark_tracker import LandmarkTracker
from wham_blender.pipeline.people.landmarks import COCO_LANDMARKS, Landmarker
from wham_blender.pipeline.people.movenet import MoveNet
from wham_blender.pipeline.people.types import Person

CLIPS = Path(__file__).parents[1] / "clips"


def detections(tracks: dict[int, tuple[range, float]], looks: int = 120, fps: float = 30.0) -> types.Detections:
    """Upright people of 400 pixels, by track id: the looks that saw them, and where they stood at look 0.

    They move a pixel a look to the right.
    """
    random = np.random.default_rng(0)
    body = np.column_stack([random.uniform(-50, 50, 33), np.linspace(0, 400, 33)])
    rows = [(look, key, x + look) for key, (seen, x) in tracks.items() for look in seen]
    landmarks = np.ones((len(rows), 33, 3), np.float32)
    landmarks[..., :2] = body + np.array([(x, 100) for _, _, x in rows]).reshape(-1, 1, 2)
    return types.Detections(
        size=np.array([1920, 1080]),
        frame_numbers=np.arange(1, looks + 1),
        frame_times=np.arange(looks) / fps,
        network_frames=np.arange(looks),
        row_frame=np.array([look for look, _, _ in rows], int),
        track=np.array([key for _, key, _ in rows], int),
        keypoints=landmarks[:, COCO_LANDMARKS],
        landmarks=landmarks,
        landmarks_3d=np.zeros((len(rows), 33, 3), np.float32),
    )


def people(seen: types.Detections) -> list[Person]:
    return track_cleanup.build_people(seen, np.zeros(len(seen.network_frames), int))


def test_one_person_comes_out_as_seen() -> None:
    seen = detections({7: (range(120), 500.0)})
    (person,) = people(seen)
    assert len(person) == 120
    assert person.visible.all()
    assert np.allclose(person.time, np.arange(120) / 30)
    assert np.allclose(person.landmarks, seen.landmarks, atol=1e-3)
    tight = np.ptp(person.keypoints[0, :, :2], axis=0).max()
    assert np.allclose(person.boxes[:, 2], tight * 1.2 / 200, rtol=1e-3)
    assert np.allclose(np.diff(person.boxes[10:-10, 0]), 1, atol=1e-3)


def test_jitter_goes_and_a_fast_move_stays() -> None:
    rows = detections({1: (range(120), 500.0)})
    still = rows.landmarks.copy()
    rows.landmarks[..., :2] += np.random.default_rng(0).normal(0, 5, rows.landmarks[..., :2].shape)
    (person,) = people(rows)
    assert (person.landmarks - still)[..., :2].std() < 0.65 * 5
    kick = 100 * np.exp(-(((np.arange(120) - 60) / 5) ** 2))  # pixels; out and back in half a second
    rows.landmarks[..., :2] = still[..., :2] + kick[:, None, None]
    (person,) = people(rows)
    assert np.abs(person.landmarks - rows.landmarks)[..., :2].max() < 6


def test_an_unsure_keypoint_does_not_spoil_the_frame_after_it() -> None:
    """Between two looks a point is mixed of both; ViTPose's may lie anywhere where it is unsure."""
    rows = detections({1: (range(100), 500.0)}, looks=100, fps=25.0)
    sure = rows.keypoints.copy()
    rows.landmarks, rows.landmarks_3d = rows.landmarks[:, :0], rows.landmarks_3d[:, :0]
    rows.keypoints[10::20, 9] = (1e5, -1e5, 0.1)
    (person,) = people(rows)
    (clean,) = people(replace(rows, keypoints=sure))
    off = np.linalg.norm(person.keypoints - clean.keypoints, axis=-1)[..., None] > 1
    assert off.any()
    assert (person.keypoints[off[..., 0], 2] <= 0.1).all()
    assert (person.keypoints[~off[..., 0], 2] == 1).all()
    assert np.allclose(person.boxes, clean.boxes, atol=0.3)


def test_a_gap_is_bridged_and_flagged() -> None:
    rows = detections({1: (range(50), 500.0), 2: (range(70, 120), 500.0)})
    (person,) = people(rows)
    assert len(person) == 120
    assert not person.visible[50:70].any()
    assert person.visible[:50].all()
    assert person.visible[70:].all()
    assert (person.keypoints[50:70, :, 2] == 0).all()
    assert np.allclose(np.diff(person.landmarks[:, 0, 0]), 1, atol=1e-3)


@pytest.mark.parametrize(
    "second",
    [(range(70, 120), 1500.0), (range(40, 120), 560.0)],
    ids=["far away", "at the same time"],
)
def test_another_person_is_not_joined(second: tuple[range, float]) -> None:
    assert len(people(detections({1: (range(50), 500.0), 2: second}))) == 2


def test_in_a_row_of_dancers_and_their_mirror_everybody_stays_who_they_are() -> None:
    """All alike, an arm's length apart, and all lost at nearly the same time."""
    row: dict[int, tuple[range, float]] = {}
    for number in range(6):
        lost = 40 + 3 * number
        row |= {
            2 * number: (range(lost), 200.0 + 150 * number),
            2 * number + 1: (range(lost + 12, 120), 200.0 + 150 * number),
        }
    found = people(detections(row))
    assert len(found) == 6
    for person in found:
        middle = person.keypoints[..., 0].mean(1)
        assert np.abs(np.diff(middle) - 1).max() < 1
    assert np.ptp([person.keypoints[0, :, 0].mean() for person in found]) == pytest.approx(750, abs=5)


def test_a_long_absence_is_not_bridged() -> None:
    assert len(people(detections({1: (range(60), 500.0), 2: (range(140, 200), 500.0)}, looks=200))) == 2


def test_the_longest_comes_first_and_a_passing_shadow_not_at_all() -> None:
    found = people(detections({1: (range(20), 100.0), 2: (range(40, 80), 1800.0), 3: (range(120), 900.0)}))
    assert [len(person) for person in found] == [120, 40]


@pytest.mark.parametrize("fps", [15.0, 24.0, 30.0])
def test_a_second_is_long_enough_at_any_frame_rate(fps: float) -> None:
    second = round(fps)
    found = people(detections({1: (range(second), 100.0), 2: (range(second - 2), 900.0)}, fps=fps))
    assert [len(person) for person in found] == [np.ceil((second - 1) / fps * 30 - 1e-6) + 1]


def test_a_clip_of_less_than_a_second_still_has_its_person() -> None:
    (person,) = people(detections({1: (range(12), 500.0)}, looks=12))
    assert len(person) == 12


def test_any_frame_rate_ends_up_on_the_clock() -> None:
    (person,) = people(detections({1: (range(48), 500.0)}, looks=48, fps=24.0))
    assert np.allclose(np.diff(person.time), 1 / 30)
    assert person.time[-1] >= 47 / 24 - 1e-9
    assert person.visible.all()
    x = person.landmarks[:, 0, 0] - person.landmarks[0, 0, 0]
    assert np.allclose(x, person.time * 24, atol=1e-3)


def test_nobody_gives_nobody() -> None:
    assert people(detections({})) == []


def test_a_pass_over_a_real_clip_finds_the_man_and_the_bystander() -> None:
    follower = LandmarkTracker(MoveNet(weights.find("detector")), Landmarker(weights.find("landmarks")))
    told: list[tuple[int, int]] = []
    seen, corners = watch.process_clip(
        video_reader.probe(CLIPS / "balance_cam01.mp4"), follower, 41, 60, lambda *done: told.append(done)
    )
    assert seen.frame_numbers.tolist() == list(range(41, 61))
    assert seen.network_frames.tolist() == [*range(0, 20, 2), 19]
    assert told[-1] == (20, 20)
    assert corners.shot.tolist() == [0] * 11
    assert set(corners.observation_frame) == set(range(1, 11))
    man, bystander = people(seen)
    assert man.visible.all()
    assert bystander.visible.all()
    assert (man.boxes[:, 2] > 1.5 * bystander.boxes[:, 2]).all()
    assert (bystander.boxes[:, 0] < 200).all()
    assert man.time[0] == pytest.approx(40 / 60, abs=1e-3)
    assert man.keypoints[..., 2].mean() > 0.8


def test_what_is_out_of_the_picture_is_a_guess_and_the_box_is_as_large_as_the_person() -> None:
    rows = detections({1: (range(60), 500.0)}, looks=60)
    (whole,) = people(rows)
    below = rows.landmarks[..., 1] > 380
    rows.landmarks[..., 2] = np.where(below, 0.6, 1)
    rows.keypoints = rows.landmarks[:, COCO_LANDMARKS]
    (person,) = people(replace(rows, size=np.array([1920, 380])))
    assert np.allclose(person.boxes, whole.boxes)
    assert (person.landmarks[below][:, 2] == 0).all()
    assert (person.keypoints[..., 2] == person.landmarks[:, COCO_LANDMARKS, 2]).all()
    assert person.landmarks[rows.landmarks[..., 1] < 350][:, 2].min() == 1
    assert person.visible.all()


def test_fast_movement_is_kept_at_24_frames_a_second() -> None:
    """At other rates than the clock's, frames lie between two that were seen: straight lines would leave 56 %."""
    rows = detections({1: (range(96), 500.0)}, looks=96, fps=24.0)
    still = rows.landmarks.copy()
    rows.landmarks[..., :2] += 40 * np.sin(2 * np.pi * 5 * np.arange(96) / 24)[:, None, None]
    (person,) = people(rows)
    moved = person.landmarks[..., 0] - still[0, :, 0]
    true = 40 * np.sin(2 * np.pi * 5 * person.time)[:, None]
    inside = slice(5, -5)
    kept = (moved[inside] * true[inside]).sum() / (np.broadcast_to(true[inside], moved[inside].shape) ** 2).sum()
    assert kept > 0.61
