"""The figures of ``build.py bench follow`` on hand-made motion of known lag, damping, contacts and identities."""

from __future__ import annotations

import numpy as np
import pytest

from tests.bench import follow
from tests.bench.accuracy import LIMBS
from tools import following
from tools.filming.truth import Truth

FPS = 30.0
FRAMES = 120


def waves(time: np.ndarray, joints: int = 2, dimensions: int = 2) -> np.ndarray:
    """Points (F, joints, dimensions) that swing with 0.7 to 3 Hz."""
    phases = np.random.default_rng(0).uniform(0, 6, (joints, dimensions, 3))
    swings = [np.sin(2 * np.pi * hertz * time[:, None, None] + phases[..., n]) / hertz
              for n, hertz in enumerate((0.7, 1.7, 3.0))]  # fmt: skip
    return np.sum(swings, axis=0)


@pytest.mark.parametrize("seconds", [-0.06, 0.0, 0.037])
@pytest.mark.parametrize("gain", [1.0, 0.6])
def test_lag_is_found_between_frames_and_with_damped_movement(seconds, gain):
    time = np.arange(FRAMES) / FPS
    late = gain * waves(time - seconds) + 5
    assert following.best_lag(following.lag_products(late, waves(time), FPS)) == pytest.approx(seconds, abs=0.002)


def test_unrelated_movement_has_no_lag():
    time = np.arange(FRAMES) / FPS
    other = np.random.default_rng(1).normal(size=(FRAMES, 2, 2))
    assert following.best_lag(following.lag_products(other, waves(time), FPS)) is None
    assert following.best_lag(np.zeros((3, len(following.LAGS)))) is None


def test_kept_speed_does_not_count_noise_but_counts_damping():
    true = waves(np.arange(3000) / FPS)
    noise = np.random.default_rng(2).normal(0, 0.2, true.shape)
    kept, whole = following.speed_products(0.7 * true + noise, true, FPS)
    assert kept / whole == pytest.approx(0.7, abs=0.03)
    path = np.linalg.norm(np.diff(0.7 * true + noise, axis=0), axis=-1).sum()
    assert path > 0.85 * np.linalg.norm(np.diff(true, axis=0), axis=-1).sum(), "the noise must lengthen the path"


@pytest.mark.parametrize("gain", [1.0, 0.5])
def test_travel_over_noisy_keypoints_is_that_over_clean_ones(gain):
    true = 40 * waves(np.arange(1500) / FPS)
    seen = true + np.random.default_rng(3).normal(0, 3, true.shape)
    ours, whole = following.travel(gain * true, seen, 3)
    assert ours / whole == pytest.approx(gain, abs=0.04)


def test_noise_is_measured_beside_movement():
    seen = 100 * waves(np.arange(3000) / FPS) + np.random.default_rng(4).normal(0, 4, (3000, 2, 2))
    assert following.noise_variance(seen) == pytest.approx(16, rel=0.3)


# ---------------------------------------------------------------- association


def crossing() -> tuple[np.ndarray, np.ndarray]:
    """Two people (2, F, 3, 2) who walk past each other in the picture, and their boxes' sides (2, F)."""
    along = np.linspace(0, 600, FRAMES)
    joints = np.array([[0, 0], [10, 100], [-10, 200]])
    start = np.stack([along, 600 - along])
    return joints + np.stack([start, np.full_like(start, 50)], -1)[:, :, None], np.full((2, FRAMES), 200.0)


def test_people_who_cross_keep_their_results():
    true, sides = crossing()
    results = [(np.arange(FRAMES), each + 3) for each in true[::-1]]
    found = following.associate(true, sides, results)
    assert (found.result == [[1], [0]]).all()
    assert [found.changes(person) for person in (0, 1)] == [0, 0]
    assert found.invented == []


def test_a_track_that_goes_over_to_the_other_person_is_a_change_for_both():
    true, sides = crossing()
    half = FRAMES // 2
    swapped = np.concatenate([true[:, :half], true[::-1, half:]], 1)
    found = following.associate(true, sides, [(np.arange(FRAMES), each) for each in swapped])
    assert [found.changes(person) for person in (0, 1)] == [1, 1]
    assert len(found.runs(0)) == 2


def test_lost_frames_and_invented_people_are_counted():
    true, sides = crossing()
    gap = np.r_[0:40, 60:FRAMES]
    nobody = np.full((FRAMES, 3, 2), 5000.0)
    found = following.associate(true[:1], sides[:1], [(gap, true[0][gap]), (np.arange(FRAMES), nobody)])
    assert (found.result[0] < 0).sum() == 20
    assert found.changes(0) == 0
    assert found.invented == [1]
    assert [len(run) for run in found.runs(0)] == [40, FRAMES - 60]


# ---------------------------------------------------------------- all figures


@pytest.fixture
def true() -> Truth:
    """One person who squats and walks to the right before a static camera."""
    time = np.arange(FRAMES) / FPS
    rest = np.random.default_rng(5).normal(0, 0.25, (17, 3))
    swing = np.zeros((FRAMES, 17, 3))
    swing[:, [9, 10, 15, 16]] = 0.2 * waves(time, 4, 3)
    place = np.stack([np.linspace(-1.5, 1.5, FRAMES), 0 * time, 1 - 0.2 * (1 - np.cos(2 * time))], 1)
    keypoints = (rest + swing + place[:, None])[None]
    rotation = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    made = Truth(
        "walk", "", FPS, 1.0, np.array([960, 540]), np.zeros((1, FRAMES, 72)), np.zeros((1, FRAMES, 3)),
        np.zeros((1, 10)), (np.arange(FRAMES)[:, None] // 10 % 2 == [0, 1, 0, 1]).astype(float)[None],
        np.zeros((1, FRAMES, 24, 3)), np.zeros((1, FRAMES, 4, 3)), keypoints, np.zeros((1, FRAMES, 4)),
        np.ones((1, FRAMES)), np.tile(rotation, (FRAMES, 1, 1)), np.tile(-rotation @ [0, -5, 1.0], (FRAMES, 1)),
        np.tile([[700.0, 0, 480], [0, 700, 270], [0, 0, 1]], (FRAMES, 1, 1)),
    )  # fmt: skip
    made.boxes = np.concatenate([made.pixels(keypoints).min(2), made.pixels(keypoints).max(2)], -1)
    return made


def result(true: Truth, keypoints: np.ndarray) -> follow.Result:
    """A perfect camera's result of keypoints (F, 17, 3) in the world."""
    points = true.in_camera(keypoints[None])[0][:, LIMBS]
    pixels = true.pixels(keypoints[None])[0][:, LIMBS]
    return follow.Result(
        np.arange(FRAMES), pixels, points, keypoints[:, 11:13].mean(1), true.camera_R[:, :, 2],
        true.contacts[0] > 0.5, true.camera_R,
    )  # fmt: skip


def test_the_truth_itself_is_perfect(true):
    cells = follow.cells(follow.figures([result(true, true.keypoints[0])], true))
    errors = ("PA", "MPJPE", "head deg", "off median", "worst tenth", "climb cm", "tilt deg")
    for name in (*errors, "lost %", "taken", "invented"):
        assert cells[name] == pytest.approx(0, abs=1e-3), name
    for name in ("wrists kept", "in picture", "ankles kept", "in picture ", "way %", "hips %"):
        assert cells[name] == pytest.approx(100), name
    for name in ("contact precision", "recall", "F1"):
        assert cells[name] == 1
    assert [cells[f"lag {name}"] for name in follow.GROUPS] == pytest.approx([0, 0, 0], abs=0.1)


def test_each_fault_shows_in_its_figure(true):
    keypoints = true.keypoints[0]
    hips = keypoints[:, 11:13].mean(1, keepdims=True)
    shallow = keypoints + 0.3 * (hips.mean(0) - hips) * (0, 0, 1)  # rises and falls 70 %
    climbing = keypoints + np.linspace(0, 0.5, FRAMES)[:, None, None] * (0, 0, 1)
    on_the_spot = keypoints - 0.9 * (hips - hips[0]) * (1, 0, 0)
    stiff = keypoints.copy()
    stiff[:, [9, 10]] = hips + 0.5 * (keypoints - hips)[:, [9, 10]]

    def cells(points: np.ndarray) -> dict:
        made = result(true, points)
        # Only the world is wrong, as where a camera is thought to move; the picture is as it should be.
        seen = result(true, keypoints)
        return follow.cells(follow.figures([follow.Result(**vars(made) | {"pixels": seen.pixels})], true))

    assert cells(shallow)["hips %"] == pytest.approx(70, abs=1)
    assert cells(climbing)["climb cm"] == pytest.approx(50, abs=3)
    assert cells(on_the_spot)["way %"] == pytest.approx(10, abs=3)
    assert cells(stiff)["wrists kept"] == pytest.approx(50, abs=1)
    assert cells(stiff)["ankles kept"] == pytest.approx(100, abs=0.1)
    wrong = result(true, keypoints)
    wrong.contacts = np.ones((FRAMES, 4), bool)
    made = follow.cells(follow.figures([wrong], true))
    assert [made[name] for name in ("contact precision", "recall", "F1")] == pytest.approx([0.5, 1, 2 / 3])


def test_merged_films_weigh_by_frames(true):
    good = follow.figures([result(true, true.keypoints[0])], true)
    nobody = follow.figures([], true)
    both = follow.cells(follow.merged([good, nobody]))
    assert both["lost %"] == 50
    assert both["PA"] == pytest.approx(0, abs=1e-3)
    assert follow.cells(nobody)["PA"] is None
