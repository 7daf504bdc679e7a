"""Clips that were turned, cut, looped or are too short, and results that cannot be right: each is said."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import cv2
import numpy as np
import pytest

from wham_blender import motion, protocol, weights
from wham_blender.motion import Motion
from wham_blender.pipeline.camera.background_tracks import BackgroundTracker
from wham_blender.pipeline.camera.repeats import Repeat, find_repeats
from wham_blender.pipeline.clip import video_reader
from wham_blender.pipeline.people import jump_cuts, track_cleanup, watch
from wham_blender.pipeline.people.landmark_tracker import LandmarkTracker
from wham_blender.pipeline.people.landmarks import Landmarker
from wham_blender.pipeline.people.movenet import MoveNet
from wham_blender.pipeline.people.orientation import quarter_turn
from wham_blender.pipeline.people.types import Detections
from wham_blender.pipeline.stages import clip_checks, tracks
from wham_blender.pipeline.stages.job import Job
from wham_blender.pipeline.stages.run import run
from wham_blender.pipeline.world.plausibility import implausible

CLIPS = Path(__file__).parents[1] / "clips"
BALANCE, WALK = CLIPS / "balance_cam01.mp4", CLIPS / "walk_and_jump.mp4"
# COCO's points of somebody who stands, pixels from the middle: x right, y down; the head is up.
_X = np.array([0, 5, -5, 10, -10, 30, -30, 40, -40, 45, -45, 20, -20, 20, -20, 20, -20], float)
_Y = np.array([-180, -185, -185, -180, -180, -130, -130, -70, -70, -10, -10, 0, 0, 90, 90, 180, 180], float)
STANDING = np.column_stack([_X, _Y])
TURNS = {0: np.eye(2), 90: np.array([[0, -1], [1, 0]]), 180: -np.eye(2), 270: np.array([[0, 1], [-1, 0]])}  # clockwise


def detections(people: dict[int, dict[int, np.ndarray]], frames: int, fps: float = 30.0) -> Detections:
    """People by track: their points (17, 2) in each network frame that shows them."""
    rows = sorted((frame, track) for track, seen in people.items() for frame in seen)
    keypoints = np.ones((len(rows), 17, 3), np.float32)
    for row, (frame, track) in enumerate(rows):
        keypoints[row, :, :2] = people[track][frame]
    return Detections(
        size=np.array([1920, 1080]),
        frame_numbers=np.arange(1, frames + 1),
        frame_times=np.arange(frames) / fps,
        network_frames=np.arange(frames),
        row_frame=np.array([frame for frame, _ in rows], int),
        track=np.array([track for _, track in rows], int),
        keypoints=keypoints,
        landmarks=np.zeros((len(rows), 0, 3), np.float32),
        landmarks_3d=np.zeros((len(rows), 0, 3), np.float32),
    )


def write(path: Path, pictures: Sequence[np.ndarray], fps: int = 30) -> Path:
    """A clip of pictures (H, W, 3) RGB, without loss."""
    height, width = pictures[0].shape[:2]
    with av.open(str(path), "w") as file:
        stream = file.add_stream("ffv1", rate=fps)
        stream.width, stream.height, stream.pix_fmt = width, height, "bgr0"
        for picture in pictures:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
        file.mux(stream.encode())
    return path


def pictures(clip: Path, start: int, end: int, height: int = 480) -> list[np.ndarray]:
    """The pictures of a clip's network frames, made smaller."""
    frames = (frame.image for frame in video_reader.read_frames(clip, start, end) if frame.image is not None)
    sizes = ((image, 2 * round(image.shape[1] * height / image.shape[0] / 2)) for image in frames)
    return [cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA) for image, width in sizes]


def told(clip: Path, folder: Path, **settings: Any) -> tuple[list[protocol.Message], Path]:
    """What a job says, and the motion file that it writes."""
    said: list[protocol.Message] = []
    settings = {"quality": "fast", "refine": False, "hands": False, **settings}
    return said, run(Job(clip, folder / "motion.npz", resume=folder / "job", **settings), said.append)


def warned(said: list[protocol.Message]) -> dict[str, str]:
    return {message.code: message.text for message in said if isinstance(message, protocol.Warn)}


def seen(clip: Path, start: int = 1, end: int | None = None, rotate: int = 0) -> tuple[Detections, Any]:
    follower = LandmarkTracker(MoveNet(weights.find("detector")), Landmarker(weights.find("landmarks_fast")))
    return watch.process_clip(video_reader.probe(clip, rotate), follower, start, end)


# Turned clips


@pytest.mark.parametrize("turned", TURNS)
def test_the_turn_that_a_clip_needs(turned: int) -> None:
    people = {1: dict.fromkeys(range(60), 500 + STANDING @ TURNS[turned].T)}
    assert quarter_turn(detections(people, 60)) == (360 - turned) % 360


@pytest.mark.parametrize("turned", [90, 180])
def test_floor_exercise_and_handstands_for_a_part_of_a_clip_are_no_turn(turned: int) -> None:
    moves = [90, 270] if turned == 90 else [180]
    people = {1: {f: 500 + STANDING @ TURNS[moves[f // 20 % len(moves)] if f < 90 else 0].T for f in range(120)}}
    assert quarter_turn(detections(people, 120)) == 0
    assert quarter_turn(detections(people | {2: dict.fromkeys(range(120), 900 + STANDING)}, 120)) == 0


def test_who_bends_down_is_not_turned() -> None:
    """The trunk lies, the legs stand."""
    bent = STANDING.copy()
    bent[:11] = STANDING[:11] @ TURNS[90].T
    assert quarter_turn(detections({1: dict.fromkeys(range(60), 500 + bent)}, 60)) == 0


def test_nobody_and_hardly_anybody_are_no_evidence() -> None:
    assert quarter_turn(detections({}, 60)) == 0
    assert quarter_turn(detections({1: dict.fromkeys(range(5), 500 + STANDING @ TURNS[90].T)}, 60)) == 0


@pytest.mark.parametrize("rotate", TURNS)
def test_a_real_clip_that_was_turned(rotate: int) -> None:
    assert quarter_turn(seen(BALANCE, 41, 80, rotate)[0]) == (360 - rotate) % 360


def test_a_turned_clip_is_warned_about_and_turned_back_gives_the_upright_motion(tmp_path: Path) -> None:
    upright = pictures(WALK, 1, 24)
    clips = {}
    for name, shown in {"upright": upright, "turned": [np.rot90(picture) for picture in upright]}.items():
        (tmp_path / name).mkdir()
        clips[name] = write(tmp_path / name / "walk.mkv", shown)
    said, _ = told(clips["turned"], tmp_path / "turned")
    assert "(--rotate 90)" in warned(said)["clip-turned"]
    said, output = told(clips["turned"], tmp_path / "turned", rotate=90)
    assert "clip-turned" not in warned(said)
    (back,) = motion.load(output)
    said, output = told(clips["upright"], tmp_path / "upright")
    assert "clip-turned" not in warned(said)
    (original,) = motion.load(output)
    for name in ("poses", "trans", "betas", "camera_R", "camera_t", "camera_K", "keypoints"):
        assert (getattr(back, name) == getattr(original, name)).all(), name
    assert back.meta["size"] == original.meta["size"]
    assert back.meta["settings"]["rotate"] == 90


# Jump cuts


def walk(frames: int, step: float = 4.0, swing: float = 10.0) -> Callable[[float], np.ndarray]:
    """The points of somebody who walks ``step`` pixels a frame, with noise, at a frame of the film."""
    noise = np.random.default_rng(0).normal(0, 1, (frames, 17, 2))

    def at(frame: float) -> np.ndarray:
        legs = np.zeros((17, 2))
        legs[13:, 0] = swing * np.sin(0.3 * frame) * np.array([1, -1, 2, -2])
        return STANDING + (200 + step * frame, 500) + legs + noise[int(frame) % frames]

    return at


CHANGE = np.random.default_rng(1).uniform(1, 1.3, 60).astype(np.float32)  # of a picture in which people move


def with_change(frame: int, change: float = 5.0) -> np.ndarray:
    changes = CHANGE.copy()
    changes[frame] = change
    return changes


def test_a_missing_piece_of_a_walk_is_a_cut() -> None:
    at = walk(200)
    cut = {1: {frame: at(frame if frame < 30 else frame + 20) for frame in range(60)}}
    assert jump_cuts.find_jumps(detections(cut, 60), with_change(30)).tolist() == [30]


def test_a_person_who_is_lost_at_a_cut_and_found_elsewhere() -> None:
    at = walk(200)
    cut = {1: {frame: at(frame) for frame in range(30)}, 2: {frame: at(frame + 60) for frame in range(33, 60)}}
    assert jump_cuts.find_jumps(detections(cut, 60), with_change(30)).tolist() == [30]


def test_a_bystander_who_stands_still_does_not_hide_the_cut() -> None:
    at = walk(200)
    cut = {1: {frame: at(frame if frame < 30 else frame + 20) for frame in range(60)}}
    still = walk(200, step=0, swing=0)
    cut[2] = {frame: 700 + still(frame) for frame in range(60)}
    assert jump_cuts.find_jumps(detections(cut, 60), with_change(30)).tolist() == [30]


def test_a_flash_is_no_cut() -> None:
    at = walk(200)
    assert jump_cuts.find_jumps(detections({1: {f: at(f) for f in range(60)}}, 60), with_change(30)).tolist() == []


def test_a_tracker_that_slips_onto_something_else_is_no_cut() -> None:
    """The picture goes on as before."""
    at = walk(200)
    slipped = {1: {frame: at(frame if frame < 30 else frame + 50) for frame in range(60)}}
    assert jump_cuts.find_jumps(detections(slipped, 60), CHANGE).tolist() == []


def test_a_tracker_that_fails_all_the_time_is_no_cut() -> None:
    at = walk(200)
    jumping = {1: {frame: at(frame + 25 * (frame % 2)) for frame in range(60)}}
    assert jump_cuts.find_jumps(detections(jumping, 60), with_change(30)).tolist() == []


@pytest.mark.parametrize("fps", [10.0, 15.0, 30.0])
def test_fast_movement_is_no_cut(fps: float) -> None:
    """A runner of 9 m/s, 1.7 m tall, who starts and stops within 0.3 seconds, while the light changes."""
    at = walk(400, step=1.0, swing=25)
    per_frame = 9 / 1.7 * 360 / fps
    speed = np.convolve(np.pad(np.full(40, per_frame), 10), np.ones(max(1, round(0.3 * fps))), "same")
    way = np.cumsum(speed / max(1, round(0.3 * fps)))
    people = {1: {frame: at(frame) + way[frame] * np.array([1, 0]) for frame in range(60)}}
    for frame in range(5, 55):
        assert jump_cuts.find_jumps(detections(people, 60, fps), with_change(frame)).tolist() == [], frame


def test_frames_that_were_dropped_with_their_time_are_no_cut() -> None:
    at = walk(200, step=6)
    gap = detections({1: {frame: at(frame if frame < 30 else frame + 4) for frame in range(60)}}, 60)
    gap.frame_times[30:] += 4 / 30
    assert jump_cuts.find_jumps(gap, with_change(30)).tolist() == []


def test_no_track_runs_through_a_cut_or_into_what_is_left_out() -> None:
    at = walk(200)
    people = detections({1: {frame: at(frame) for frame in range(150)}}, 150)
    assert [len(each) for each in track_cleanup.build_people(people, np.zeros(150, int))] == [150]
    parts = np.repeat([0, 1], [60, 90])
    assert sorted(len(each) for each in track_cleanup.build_people(people, parts)) == [60, 90]
    parts = np.repeat([0, -1, 1], [60, 30, 60])
    assert sorted(len(each) for each in track_cleanup.build_people(people, parts)) == [60, 60]


def test_a_cut_in_a_real_clip(tmp_path: Path) -> None:
    film = pictures(WALK, 1, 90)
    found, background = seen(write(tmp_path / "cut.mkv", film[:30] + film[60:]))
    assert background.shot.tolist() == [0] * 60
    assert jump_cuts.find_jumps(found, background.change).tolist() == [30]
    found, background = seen(write(tmp_path / "whole.mkv", film))
    assert jump_cuts.find_jumps(found, background.change).tolist() == []


# Repetitions


def film(frames: int, seed: int, noise: float = 0.0) -> np.ndarray:
    """Thumbnails (frames, 32, 32) in which three blots move."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:32, :32]
    picture = np.full((frames, 32, 32), 90.0)
    for start, speed in zip(random.uniform(5, 27, (3, 2)), random.uniform(-0.3, 0.3, (3, 2)), strict=True):
        place = start + np.arange(frames)[:, None] * speed
        picture += 80 * np.exp(-((x - place[:, :1, None]) ** 2 + (y - place[:, 1:, None]) ** 2) / 8)
    return np.clip(picture + np.random.default_rng(99).normal(0, noise, picture.shape), 0, 255).astype(np.uint8)


def repeats(thumbnails: np.ndarray, starts: list[int], possible: Sequence[int] = ()) -> list[tuple[int, int, int]]:
    found = find_repeats(thumbnails, np.array(starts, int), np.array(possible, int))
    return [(each.first, each.end, each.original) for each in found]


def test_a_looped_film_is_known_by_its_rounds() -> None:
    round_ = film(60, 1)
    assert repeats(np.concatenate([round_] * 4), [60, 120, 180]) == [(60, 240, 0)]
    assert repeats(np.concatenate([round_, round_, round_[:25]]), [60, 120]) == [(60, 145, 0)]
    noisy = [film(60, 1, noise) for noise in (0.5, 0.6, 0.7)]
    assert repeats(np.concatenate(noisy), [60, 120]) == [(60, 180, 0)]


def test_a_round_may_begin_where_only_the_picture_changes() -> None:
    assert repeats(np.concatenate([film(60, 1)] * 2), [], [60]) == [(60, 120, 0)]


def test_a_shot_that_is_shown_again_later() -> None:
    shots = [film(60, 1), film(40, 2), film(60, 1), film(50, 3)]
    assert repeats(np.concatenate(shots), [60, 100, 160]) == [(100, 160, 0)]


def test_other_shots_and_a_still_picture_are_no_repetition() -> None:
    assert repeats(np.concatenate([film(60, seed) for seed in range(5)]), [60, 120, 180, 240]) == []
    assert repeats(np.full((120, 32, 32), 80, np.uint8), [60]) == []
    assert repeats(np.concatenate([film(60, 1), film(10, 1)]), [60]) == []  # too short to tell


def test_the_parts_of_a_film_leave_repetitions_out() -> None:
    part = clip_checks.part_numbers(100, np.array([30, 60]), [Repeat(60, 90, 0)])
    assert part.tolist() == [0] * 30 + [1] * 30 + [-1] * 30 + [3] * 10


def test_a_looped_clip_gives_its_people_once(tmp_path: Path) -> None:
    shown = pictures(BALANCE, 1, 59)
    said, _ = told(write(tmp_path / "loop.avi", shown * 4), tmp_path, person="ALL")
    assert "frames 31 to 120 show" in warned(said)["clip-repeats"]
    assert "clip-has-cuts" not in warned(said)
    (people,) = [message.people for message in said if isinstance(message, protocol.People)]
    assert {(person.first_frame, person.last_frame) for person in people} == {(1, 30)}


def test_a_film_that_runs_to_and_fro_has_no_cut(tmp_path: Path) -> None:
    shown = pictures(BALANCE, 1, 59)
    found, background = seen(write(tmp_path / "boomerang.mkv", (shown + shown[::-1]) * 2))
    assert background.shot.tolist() == [0] * 120
    assert jump_cuts.find_jumps(found, background.change).tolist() == []
    assert repeats(background.thumbnails, [], jump_cuts.sudden_changes(background.change).tolist()) == []


def test_the_change_of_a_picture_and_its_thumbnail() -> None:
    tracker = BackgroundTracker()
    for grey in (50, 50, 90):
        tracker.track_frame(np.full((180, 320, 3), grey, np.uint8))
        tracker.finish_frame(np.zeros((0, 4)))
    result = tracker.result()
    assert result.change.tolist() == [0, 0, 40]
    assert result.thumbnails.shape == (3, 32, 32)
    assert result.thumbnails[2].tolist() == [[90] * 32] * 32


# Short clips, small people


def context(warnings: list[tuple[str, str]], **settings: Any) -> Any:
    return SimpleNamespace(
        job=Job(Path("film.mp4"), Path("motion.npz"), **settings), size=(1920, 1080),
        warn=lambda text, code: warnings.append((code, text)),
    )  # fmt: skip


@pytest.mark.parametrize(("frames", "fps", "short"), [(2, 30.0, True), (14, 30.0, True), (15, 30.0, False),
                                                      (5, 12.0, True), (6, 12.0, False)])  # fmt: skip
def test_less_than_half_a_second_is_warned_about(frames: int, fps: float, short: bool) -> None:
    warnings: list[tuple[str, str]] = []
    clip_checks.check_clip(context(warnings), detections({}, frames, fps))
    assert [code for code, _ in warnings] == ["clip-very-short"] * short


def test_a_turn_adds_to_the_one_asked_for() -> None:
    warnings: list[tuple[str, str]] = []
    people = {1: dict.fromkeys(range(60), 500 + STANDING @ TURNS[90].T)}
    clip_checks.check_clip(context(warnings, rotate=270), detections(people, 60))
    ((code, text),) = warnings
    assert code == "clip-turned"
    assert "(--rotate 180)" in text


def test_three_frames_of_a_real_clip_are_warned_about(tmp_path: Path) -> None:
    said, output = told(WALK, tmp_path, end=3)
    assert "(3 frames looked at)" in warned(said)["clip-very-short"]
    assert len(motion.load(output)[0]) == 3


def test_people_smaller_than_a_sixth_of_the_picture_are_warned_about() -> None:
    at = walk(60, step=1, swing=0)
    middle = np.array([800.0, 500.0])
    people = {number: {f: middle + (at(f) - middle) * scale for f in range(60)} for number, scale in ((1, 1), (2, 0.4))}
    found = track_cleanup.build_people(detections(people, 60), np.zeros(60, int))
    warnings: list[tuple[str, str]] = []
    tracks._warn_of_small_people(context(warnings), found, [1])
    assert not warnings
    tracks._warn_of_small_people(context(warnings), found, [1, 2])
    ((code, text),) = warnings
    assert code == "person-small"
    assert "person 2, less than a sixth" in text


@pytest.mark.parametrize(("size", "numbers"), [(0.15, [1, 2]), (0.08, [1])])
def test_spectators_are_no_characters_unless_asked_for(size: float, numbers: list[int]) -> None:
    at = walk(60, step=1, swing=0)
    middle = np.array([800.0, 500.0])
    people = {
        number: {f: middle + (at(f) - middle) * scale for f in range(60)} for number, scale in ((1, 1), (2, size))
    }
    found = track_cleanup.build_people(detections(people, 60), np.zeros(60, int))
    logged: list[str] = []
    everybody = SimpleNamespace(job=SimpleNamespace(person="ALL", clip=WALK), log=logged.append)
    assert tracks._chosen(everybody, found) == numbers  # type: ignore[arg-type]
    assert bool(logged) == (len(numbers) == 1)
    one = SimpleNamespace(job=SimpleNamespace(person="2", clip=WALK))
    assert tracks._chosen(one, found) == [2]  # type: ignore[arg-type]


def test_the_sentence_about_nobody_names_the_limit_and_the_turn(
    write_clip: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(Exception, match=r"a sixth of the picture high .*upside down, with Rotate Clip\."):
        told(write_clip(), tmp_path)


# Results


@pytest.fixture(scope="module")
def balancing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Motion]:
    folder = tmp_path_factory.mktemp("balancing")
    (person,) = motion.load(told(BALANCE, folder, end=40)[1])
    yield person


def raised(person: Motion, height: float) -> Motion:
    return replace(person, trans=person.trans + np.array([0, 0, height], np.float32))


def moving(person: Motion, metres: np.ndarray) -> Motion:
    return replace(person, trans=person.trans + np.outer(metres, [1, 0, 0]).astype(np.float32))


def test_a_good_motion_is_plausible(balancing: Motion) -> None:
    assert implausible([balancing]) == {}
    assert implausible([raised(balancing, -0.4)]) == {}
    runs = moving(balancing, 12 * (balancing.time - balancing.time[0]))
    assert implausible([runs]) == {}


def test_a_body_below_the_floor(balancing: Motion) -> None:
    assert implausible([balancing, raised(balancing, -1.6)]) == {1: "the body is 1.6 m below the floor"}
    partly = raised(balancing, 0)
    partly.trans[: len(partly) // 3, 2] -= 1.6
    assert not implausible([partly]).get(0, "").endswith("floor")


def test_somebody_on_a_roof_is_right_unless_nobody_is_on_the_floor(balancing: Motion) -> None:
    assert implausible([balancing, raised(balancing, 2)]) == {}
    assert implausible([raised(balancing, 2)]) == {0: "the body floats 2.0 m above the floor"}


def test_impossible_speeds(balancing: Motion) -> None:
    one_jump = moving(balancing, np.where(np.arange(len(balancing)) < 20, 0, 5.0))
    assert implausible([one_jump]) == {}
    fast = moving(balancing, 30 * (balancing.time - balancing.time[0]))
    assert implausible([fast])[0].startswith("the body moves at 3")
    flails = balancing.poses.copy()
    flails[1::2, 3 * 16 + 2] += 3  # the left upper arm turns over within a frame of 1/60 second
    assert implausible([replace(balancing, poses=flails)])[0].startswith("the limbs move at ")


def test_the_warning_of_an_implausible_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wham_blender.pipeline.stages.motions.implausible", lambda people: {0: "the body floats"})
    said, _ = told(WALK, tmp_path, end=3)
    assert warned(said)["result-implausible"].startswith("The motion of person 1 in walk_and_jump.mp4 cannot be right")
