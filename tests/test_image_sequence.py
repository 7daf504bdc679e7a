"""Which pictures a folder, a picture or a pattern names as an image sequence, and what is refused."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from wham_blender import image_sequence, limits
from wham_blender.image_sequence import ImageSequence, SequenceError, find, may_name_sequence


def touch(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"x")
    return folder


def found(path: Path) -> ImageSequence:
    sequence = find(path)
    assert sequence is not None
    return sequence


def refused(path: Path) -> tuple[str, str]:
    with pytest.raises(SequenceError) as caught:
        find(path)
    return caught.value.code, str(caught.value)


SHOT = [f"shot_{number:04}.png" for number in (1001, 1002, 1003)]


@pytest.mark.parametrize(
    "chosen",
    ["", *SHOT, "shot_####.png", "shot_#.png", "shot_%04d.png", "shot_%4d.png", "shot_%d.png"],
    ids=lambda name: name or ".",
)
def test_a_folder_a_picture_and_a_pattern_name_the_same_sequence(chosen: str, tmp_path: Path) -> None:
    folder = touch(tmp_path / "shot", *SHOT, "notes.txt", "cover.png", "1.txt")
    sequence = found(folder / chosen)
    assert sequence == ImageSequence(folder, "shot_####.png", dict(zip((1001, 1002, 1003), SHOT, strict=True)))
    assert (sequence.first, sequence.count, list(sequence.gaps())) == (folder / SHOT[0], 3, [])


def test_numbers_without_zeros_are_in_the_order_of_counting(tmp_path: Path) -> None:
    folder = touch(tmp_path / "shot", *(f"a{number}.jpg" for number in range(1, 121)))
    assert list(found(folder).files) == list(range(1, 121))
    assert found(folder / "a7.jpg").name == "a#.jpg"


def test_the_last_number_of_a_name_counts_and_others_name_other_sequences(tmp_path: Path) -> None:
    folder = touch(tmp_path, "v1_s2_01_left.exr", "v1_s2_02_left.exr", "v2_s2_01_left.exr", "v2_s2_02_left.exr",
                   "v2_s2_01_right.exr", "v2_s2_03_right.exr", "v2_s2_01_left.png")  # fmt: skip
    assert list(found(folder / "v1_s2_02_left.exr").files.values()) == ["v1_s2_01_left.exr", "v1_s2_02_left.exr"]
    assert list(found(folder / "v2_s2_##_right.exr").gaps()) == [(2, 2)]
    assert find(folder / "v2_s2_01_left.png") is None  # the only one of its series: a picture
    code, sentence = refused(folder)
    assert code == "sequence-ambiguous"
    assert "v1_s2_##_left.exr, v2_s2_##_left.exr, v2_s2_##_right.exr. Choose a picture" in sentence


def test_numbers_that_continue_beyond_their_zeros_go_on(tmp_path: Path) -> None:
    folder = touch(tmp_path, "a98.png", "a99.png", "a100.png")
    assert list(found(folder / "a##.png").files) == [98, 99, 100]
    assert found(folder / "a98.png") == found(folder / "a100.png") == found(folder)


@pytest.mark.parametrize(
    ("names", "chosen"),
    [([], ""), (["film.mp4", "a.png", "b.png"], ""), (["a1.png"], ""), (["a1.png"], "a#.png"), (["a1.png"], "b#.png"),
     (["a1.png", "a2.png"], "a###.png"), (["a1.png", "a2.png"], "gone/a#.png")],
)  # fmt: skip
def test_a_folder_or_pattern_without_a_sequence_is_a_sentence(names: list[str], chosen: str, tmp_path: Path) -> None:
    code, sentence = refused(touch(tmp_path / "shot", *names) / chosen)
    assert code == "sequence-not-found"
    assert "Choose" in sentence or "Check" in sentence


@pytest.mark.parametrize(
    "name", ["film.mp4", "a.png", "a1.png", "missing.png", "missing.mp4", "film_##.mp4", "no\0.png"]
)
def test_videos_single_pictures_and_missing_files_are_no_sequences(name: str, tmp_path: Path) -> None:
    touch(tmp_path, "film.mp4", "a.png", "a1.png", "film_01.mp4", "film_02.mp4")
    assert find(tmp_path / name) is None


def test_a_file_that_is_named_like_a_pattern_is_that_file(tmp_path: Path) -> None:
    touch(tmp_path, "take#.png", "take1.png", "take2.png")
    assert find(tmp_path / "take#.png") is None
    touch(tmp_path, "take #3_01.png", "take #3_02.png")
    assert found(tmp_path / "take #3_##.png").name == "take #3_##.png"


def test_two_pictures_of_one_number_are_a_sentence(tmp_path: Path) -> None:
    touch(tmp_path, "a1.png", "a01.png", "a2.png")
    code, sentence = refused(tmp_path)
    assert (code, sentence[:40]) == ("sequence-ambiguous", "a01.png and a1.png have the same number,")


def test_files_that_macos_puts_beside_others_are_no_second_sequence(tmp_path: Path) -> None:
    folder = touch(tmp_path, *SHOT, *(f"._{name}" for name in SHOT), ".DS_Store")
    assert found(folder).name == "shot_####.png"


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_links_are_followed_and_what_they_do_not_reach_is_missing(tmp_path: Path) -> None:
    folder = touch(tmp_path / "shot", "a1.png", "a3.png")
    (folder / "a2.png").symlink_to(folder / "a1.png")
    (folder / "a4.png").symlink_to(folder / "gone.png")
    (folder / "a5.png").symlink_to("a5.png")
    (folder / "a6.png").mkdir()
    os.mkfifo(folder / "a7.png")
    (tmp_path / "link").symlink_to(folder)
    assert list(found(tmp_path / "link").files) == [1, 2, 3]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_names_may_have_any_bytes(tmp_path: Path) -> None:
    head = os.fsdecode(b" caf\xe9 \n'\" \xf0\x9f\x98\x80 ")
    folder = touch(tmp_path / head, f"{head}1.png", f"{head}2.png")
    assert found(folder).first == folder / f"{head}1.png"
    assert found(folder / f"{head}#.png").files == found(folder).files
    longest = touch(tmp_path / "long", *("x" * 250 + f"{number}.png" for number in (1, 2)))
    assert found(longest).count == 2


def test_the_state_shows_a_picture_that_is_changed_added_or_removed(tmp_path: Path) -> None:
    folder = touch(tmp_path, *SHOT)
    states = [image_sequence.clip_state(folder)]
    assert states[0][:2] == [3, 3]
    before = (folder / SHOT[1]).stat()
    time.sleep(0.02)  # file systems keep change times of a few milliseconds
    (folder / SHOT[1]).write_bytes(b"y")
    os.utime(folder / SHOT[1], ns=(before.st_atime_ns, before.st_mtime_ns))
    states.append(image_sequence.clip_state(folder))
    touch(folder, "shot_1004.png")
    states.append(image_sequence.clip_state(folder / SHOT[2]))
    (folder / SHOT[0]).unlink()
    states.append(image_sequence.clip_state(folder / "shot_####.png"))
    assert len({tuple(state) for state in states}) == 4
    assert image_sequence.clip_state(folder) == states[-1]
    for name in (*SHOT[1:], "shot_1004.png"):
        (folder / name).unlink()
    assert image_sequence.clip_state(folder) == []


def test_other_files_are_passed_over_and_too_many_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = touch(tmp_path / "full", *SHOT, *(f"{number}.txt" for number in range(5000)))
    assert found(folder / SHOT[1]).count == 3
    monkeypatch.setattr(limits, "FOLDER_ENTRIES", 5000)
    assert refused(folder / SHOT[1])[0] == "sequence-too-long"
    monkeypatch.undo()
    monkeypatch.setattr(limits, "SEQUENCE_PICTURES", 2)
    assert refused(folder) == (
        "sequence-too-long",
        "shot_####.png has 3 pictures, and a clip may have 2. Move a part of them to another folder.",
    )


def test_what_a_panel_asks_reads_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "scandir", lambda *_: pytest.fail("a folder was read"))
    assert [may_name_sequence(str(tmp_path / name)) for name in ("", "a.png", "a_##.EXR", "a.mp4", "gone")] == [
        True, True, True, False, False,
    ]  # fmt: skip
    assert not may_name_sequence("")
