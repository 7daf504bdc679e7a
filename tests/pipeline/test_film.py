"""Films for Blender's camera: when a copy is needed, and that it has the right picture for each frame; slow motion."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.clips import coded, make
from wham_blender import motion, protocol
from wham_blender.pipeline.clip import film, video_reader
from wham_blender.pipeline.stages.job import Job
from wham_blender.pipeline.stages.run import run

WALK = Path(__file__).parents[1] / "clips" / "balance_cam01.mp4"
COPIED = {
    "uneven": "not evenly spaced", "uneven WebM": "not evenly spaced", "late": "begins late",
    "trimmed": "hides frames", "turned": "turned or mirrored", "mirrored": "turned or mirrored",
}  # fmt: skip


def no_progress(done: int, total: int) -> None:
    pass


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return coded.write_all(tmp_path_factory.mktemp("coded"))


def test_a_copy_is_made_only_where_blender_shows_something_else(clips: dict[str, Path]) -> None:
    reasons = {
        name: coded.known(clip, coded.copy_of(clip))["meta"].get("film_reason", "") for name, clip in clips.items()
    }
    assert {name for name, reason in reasons.items() if reason} == set(COPIED), reasons
    for name, reason in COPIED.items():
        assert reason in reasons[name], name


@pytest.mark.parametrize("name", COPIED)
def test_the_copy_has_one_picture_for_each_frame(name: str, clips: dict[str, Path], tmp_path: Path) -> None:
    frames = list(video_reader.read_frames(clips[name], every=True))
    info = video_reader.probe(clips[name])
    film.write(clips[name], tmp_path / "all.mp4", 1, None, 0, no_progress)
    copies = list(video_reader.read_frames(tmp_path / "all.mp4"))
    assert [coded.number_of(copy.image) for copy in copies] == [coded.number_of(frame.image) for frame in frames]
    assert {copy.image.shape for copy in copies if copy.image is not None} == {(info.height, info.width, 3)}
    numbers, times = np.array([copy.number for copy in copies]), np.array([copy.time for copy in copies])
    assert film.why_not_shown(tmp_path / "all.mp4", numbers, times, 0) == ""
    film.write(clips[name], tmp_path / "part.mp4", 5, 9, 0, no_progress)
    part = [coded.number_of(copy.image) for copy in video_reader.read_frames(tmp_path / "part.mp4")]
    assert part == [coded.number_of(frame.image) for frame in frames[4:9]]


def test_colours_and_rotation_of_a_copy(tmp_path: Path) -> None:
    clip = make.write(tmp_path / "film.mp4", pictures=[make.picture(number, (320, 192)) for number in range(1, 9)])
    film.write(clip, tmp_path / "copy.mp4", 1, None, 90, no_progress)
    frames = zip(
        video_reader.read_frames(clip, rotate=90), video_reader.read_frames(tmp_path / "copy.mp4"), strict=True
    )
    for frame, copy in frames:
        assert frame.image is not None and copy.image is not None
        assert np.abs(frame.image.astype(int) - copy.image).mean() < 3


def test_a_large_clip_gets_a_small_copy(tmp_path: Path) -> None:
    clip = make.write(tmp_path / "large.mp4", pictures=[make.picture(1, (1080, 1920))] * 3)
    film.write(clip, tmp_path / "copy.mp4", 1, None, 0, no_progress)
    info = video_reader.probe(tmp_path / "copy.mp4")
    assert (info.width, info.height) == (720, 1280)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"field": "tff", "options": {"flags": "+ildct+ilme", "crf": "4"}}, "interlaced"),
        ({"options": {"x264-params": "transfer=smpte2084", "crf": "4"}}, "HDR"),
        ({"options": {"x264-params": "transfer=arib-std-b67", "crf": "4"}}, "HDR"),
        ({"codec": "mpeg2video"}, "may not read mpeg2video"),
    ],
)
def test_what_blender_shows_otherwise(changes: dict[str, Any], reason: str, tmp_path: Path) -> None:
    clip = make.write(tmp_path / "film.mp4", **changes)
    numbers = np.arange(1, 13)
    assert reason in film.why_not_shown(clip, numbers, (numbers - 1) / 30, 0)
    assert film.why_not_shown(make.write(tmp_path / "plain.mp4"), numbers, (numbers - 1) / 30, 0) == ""


def test_a_raw_stream_is_said_to_have_no_time(tmp_path: Path) -> None:
    raw = make.rewrapped(make.write(tmp_path / "film.mp4"), tmp_path / "film.h264")
    numbers = np.arange(1, 13)
    assert film.why_not_shown(raw, numbers, (numbers - 1) / 30, 0) == "its first frame has no time"


@pytest.mark.skipif(os.sep != "/", reason="there, a backslash is no part of a name")
def test_a_backslash_in_a_name(tmp_path: Path) -> None:
    """Blender takes it for a slash, and finds no such file."""
    clip = make.write(tmp_path / "film.mp4").rename(tmp_path / "take\\2.mp4")
    numbers = np.arange(1, 13)
    assert "backslash" in film.why_not_shown(clip, numbers, (numbers - 1) / 30, 0)


def test_the_kept_clips_are_what_their_list_says() -> None:
    kept = json.loads((coded.FOLDER / "coded.json").read_text("utf-8"))
    assert set(kept) == set(coded.KEPT)
    for name, said in kept.items():
        clip = coded.FOLDER / said["meta"]["clip"]
        assert coded.known(clip, coded.copy_of(clip)) == said, name
        if "film" in said["meta"]:
            copies = video_reader.read_frames(coded.FOLDER / said["meta"]["film"])
            assert [coded.number_of(copy.image) for copy in copies] == said["shown"]


def test_a_slow_clip_is_read_in_the_time_of_the_scene(clips: dict[str, Path]) -> None:
    plain, slow = video_reader.probe(clips["30 fps"]), video_reader.probe(clips["30 fps"], speed=8.0)
    assert (slow.fps, slow.duration) == (8 * plain.fps, plain.duration / 8)
    frames = list(video_reader.read_frames(clips["30 fps"], speed=8.0))
    assert np.allclose([frame.time for frame in frames], np.arange(coded.COUNT) / 240, atol=1e-9)
    pictured = [frame.number for frame in frames if frame.image is not None]
    assert set(np.diff(pictured[1:-1])) == {8}  # 30 a second
    assert coded.number_of(video_reader.read_frame(clips["30 fps"], 40 / 240, speed=8.0)) == 41


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> motion.Motion:
    """The motion of a short clip."""
    folder = tmp_path_factory.mktemp("plain")
    (person,) = motion.load(imported(WALK, folder)[1])
    return person


def imported(clip: Path, folder: Path, **settings: Any) -> tuple[list[protocol.Message], Path]:
    said: list[protocol.Message] = []
    job = Job(
        clip,
        folder / "motion.npz",
        resume=folder / "job",
        quality="fast",
        end=40,
        refine=False,
        hands=False,
        **settings,
    )
    return said, run(job, said.append)


def test_slow_motion_gives_the_motion_at_the_speed_at_which_it_was_filmed(plain: motion.Motion, tmp_path: Path) -> None:
    slow = make.rewrapped(WALK, tmp_path / "slow.mp4", slower=4)
    (person,) = motion.load(imported(slow, tmp_path, speed=4.0)[1])
    assert np.abs(person.time - plain.time).max() < 0.0005
    assert person.mocap_framerate == pytest.approx(plain.mocap_framerate)
    assert person.meta["speed"] == 4.0
    assert np.abs(person.joints() - plain.joints()).max() < 0.001


def test_a_phones_slow_motion_is_recognised_and_can_be_overridden(plain: motion.Motion, tmp_path: Path) -> None:
    slow = make.rewrapped(WALK, tmp_path / "bare.mp4", slower=4)
    phone = tmp_path / "phone.mp4"
    with av.open(str(slow)) as old, av.open(str(phone), "w", options={"movflags": "use_metadata_tags"}) as new:
        new.metadata["com.android.capture.fps"] = f"{4 * float(old.streams.video[0].average_rate or 0):.6f}"
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(old.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)
    said, output = imported(phone, tmp_path / "auto")
    (person,) = motion.load(output)
    assert person.meta["speed"] == pytest.approx(4.0, rel=1e-3)
    assert any("Speed is 4" in message.text for message in said if isinstance(message, protocol.Log))
    assert np.abs(person.time - plain.time).max() < 0.001
    (person,) = motion.load(imported(phone, tmp_path / "as played", speed=1.0)[1])
    assert person.meta["speed"] == 1.0
    assert np.ptp(person.time) == pytest.approx(4 * np.ptp(plain.time), rel=1e-3)


def test_a_job_writes_the_copy_beside_its_motion(plain: motion.Motion, tmp_path: Path) -> None:
    assert not plain.meta.get("film")
    turned = make.with_matrix(make.rewrapped(WALK, tmp_path / "turned.mp4"), -1, 0, 0, -1)
    said, output = imported(turned, tmp_path, rotate=180, start=11)
    (person,) = motion.load(output)
    copy = output.with_name(person.meta["film"])
    assert (person.meta["film_start"], person.meta["film_reason"]) == (11, "it is turned or mirrored")
    assert len(list(video_reader.read_frames(copy))) == 30
    written = copy.stat().st_mtime_ns
    imported(turned, tmp_path, rotate=180, start=11)
    assert copy.stat().st_mtime_ns == written
    stages = {message.stage for message in said if isinstance(message, protocol.Progress)}
    assert "film" in stages


def test_a_copy_that_cannot_be_written_ends_no_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(film, "write", full)
    turned = make.with_matrix(make.rewrapped(WALK, tmp_path / "turned.mp4"), -1, 0, 0, -1)
    said, output = imported(turned, tmp_path, rotate=180)
    (warning,) = [
        message for message in said if isinstance(message, protocol.Warn) and message.code == "film-not-written"
    ]
    assert "No space left on device" in warning.text
    assert len(motion.load(output)) == 1
