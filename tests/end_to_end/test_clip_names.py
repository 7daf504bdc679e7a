"""The command line with image sequences, and with names of any bytes: clips, folders to resume from, results."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.clips import make
from tests.end_to_end.test_command import CLIP, WAIT, finish, start
from wham_blender import motion, protocol
from wham_blender.motion import Motion
from wham_blender.pipeline import __main__ as worker
from wham_blender.pipeline.clip import video_reader

FRAMES = 30
QUICK = ("--quality", "fast", "--no-refine", "--no-hands")
ODD = [
    b"caf\xe9 '\" \n\x1b[2J \xe2\x80\xae.mov",  # Latin-1, quotes, a line, terminal and direction codes
    b"-o *.mov ",  # an option, and a space at the end
    "שלום עולם 映画\u3000\u00a0".encode() + "\U0001f600".encode() * 54 + b".mov",  # as long as names may be
]


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with film.mov, a lossless video, its motion and its cache; and its pictures in pictures/."""
    folder = tmp_path_factory.mktemp("film")
    frames = video_reader.read_frames(CLIP, 1, 2 * FRAMES)
    pictures = [frame.image for frame in frames if frame.image is not None and frame.number % 2]
    pictures = [cv2.resize(picture, (540, 960), interpolation=cv2.INTER_AREA) for picture in pictures]
    assert len(pictures) == FRAMES
    make.write(folder / "film.mov", "png", "rgb24", pictures=pictures, fps=30, options={})
    (folder / "pictures").mkdir()
    for number, picture in enumerate(pictures, 96):
        cv2.imwrite(str(folder / "pictures" / f"a{number}.png"), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    code, _, errors = finish(
        start(
            folder / "film.mov",
            "-o",
            folder / "film.npz",
            "--json",
            "--resume",
            folder / "cache",
            *QUICK,
            folder=folder,
        )
    )
    assert code == 0, errors
    return folder


def loaded(path: Path) -> Motion:
    (person,) = motion.load(path)
    return person


def said_texts(said: list[protocol.Message]) -> list[str]:
    return [m.text for m in said if isinstance(m, (protocol.Log, protocol.Warn, protocol.Failed))]


def test_an_image_sequence_gives_the_motion_of_the_video_with_these_pictures(film: Path, tmp_path: Path) -> None:
    code, said, errors = finish(
        start(film / "pictures", "-o", tmp_path / "m.npz", "--fps", "30", "--json", *QUICK, folder=tmp_path)
    )
    assert code == 0, errors
    video, pictures = loaded(film / "film.npz"), loaded(tmp_path / "m.npz")
    for name in ("poses", "trans", "time", "frame", "camera_R", "camera_t"):
        np.testing.assert_allclose(getattr(pictures, name), getattr(video, name), atol=1e-6, err_msg=name)
    assert pictures.meta["clip"] == "pictures"
    assert pictures.meta["film_reason"] == "it is a sequence of pictures"
    assert video_reader.probe(tmp_path / pictures.meta["film"]).frames == FRAMES
    assert pictures.mocap_framerate == video.mocap_framerate == 30
    assert "a##.png: 30 pictures, numbers 96 to 125, at 30 fps" in said_texts(said)


def test_missing_pictures_are_told_and_keep_their_time(film: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(film / "pictures", tmp_path / "shot"))
    for number in (100, 110, 111):
        (folder / f"a{number}.png").unlink()
    (folder / "a120.png").write_bytes(b"half a picture")
    code, said, errors = finish(
        start(folder / "a97.png", "-o", tmp_path / "m.npz", "--fps", "30", "--json", *QUICK, folder=tmp_path)
    )
    assert code == 0, errors
    warnings = {m.code: m.text for m in said if isinstance(m, protocol.Warn)}
    assert warnings["sequence-gaps"].startswith("a##.png lacks 3 pictures, numbers 100, 110 to 111. Their time")
    assert warnings["clip-cut-off"].startswith("a97.png is damaged or cut off: 29 of 30 frames could be decoded.")
    assert np.allclose(loaded(tmp_path / "m.npz").time, np.arange(30) / 30)
    off = np.abs(loaded(tmp_path / "m.npz").trans - loaded(film / "film.npz").trans).max()
    assert off < 0.1  # metres


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
@pytest.mark.parametrize(
    ("name", "messages"), [*((name, True) for name in ODD), (ODD[0], False)],
    ids=["bytes", "option", "long", "bytes, without messages"],
)  # fmt: skip
def test_names_may_have_any_bytes(name: bytes, messages: bool, film: Path, tmp_path: Path) -> None:
    odd = os.fsdecode(name)
    folder = tmp_path / odd
    folder.mkdir()
    shutil.copy(film / "film.mov", folder / odd)
    shutil.copytree(film / "cache", folder / f"x{odd[1:]}")
    output = folder / f"{odd[:60]}.npz"
    options = [*QUICK, *["--json"] * messages]
    process = start("-o", output, "--resume", folder / f"x{odd[1:]}", *options, "--", folder / odd, folder=tmp_path)
    out, err = process.communicate(timeout=WAIT)
    assert process.returncode == 0, err
    found = loaded(output)
    assert (found.poses == loaded(film / "film.npz").poses).all()
    assert found.meta["clip"] == odd
    assert "\x1b" not in out
    assert "\u202e" not in out
    if messages:
        said = [protocol.decode(line) for line in out.splitlines()]
        assert said[-1] == protocol.Done(str(output))
        assert any(text.startswith("detect: kept") for text in said_texts(said))
    else:
        assert len(out.splitlines()) == 1
        assert out.startswith("Wrote ")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_sentences_show_any_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(worker, "_handle_cancel_signals", lambda before_exit: None)  # those of this process stay
    for name in ODD:
        clip = tmp_path / os.fsdecode(name)
        clip.write_bytes(b"no video")
        assert worker.main(["--json", "-o", str(tmp_path / "m.npz"), "--", str(clip)]) == 1
        out, err = capfd.readouterr()
        failed = protocol.decode(out.splitlines()[-1])
        assert err == ""
        assert isinstance(failed, protocol.Failed)
        assert failed.code == "clip-unreadable"
        assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]", failed.text)
        assert " is not a video, or it was cut off" in failed.text
    options = worker._parser(messages=False).parse_args(["-o", "m.npz", "--", "-o *.mov "])
    assert options.clip == Path("-o *.mov ")
