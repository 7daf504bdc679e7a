"""The same film as phones and editors write it gives the same person, the same metres and the same landmarks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.clips import make
from wham_blender import motion
from wham_blender.motion import Motion
from wham_blender.pipeline.clip import video_reader
from wham_blender.pipeline.stages.job import Job
from wham_blender.pipeline.stages.run import run

CLIP = Path(__file__).parents[1] / "clips" / "walk_and_jump.mp4"
START, END = 71, 98  # where she walks across the picture
HIDDEN = 5  # frames before that the edit list hides


def pictures(start: int = START) -> Iterator[np.ndarray]:
    for frame in video_reader.read_frames(CLIP, start, END):
        assert frame.image is not None
        yield frame.image


def anamorphic_mirrored_and_trimmed(folder: Path) -> Path:
    """Pixels of 4 : 3, stored turned and mirrored with the display matrix that undoes it, and an edit list."""
    narrow = (cv2.resize(image, (1326, 994), interpolation=cv2.INTER_AREA) for image in pictures(START - HIDDEN))
    stored = (np.ascontiguousarray(image.transpose(1, 0, 2)) for image in narrow)
    # Turned, the pixels are higher than wide.
    clip = make.write(
        folder / "phone.mp4", pictures=stored, matrix=make.MATRICES["bt709"], aspect=Fraction(3, 4),
        options={"crf": "12", "preset": "veryfast"},
    )  # fmt: skip
    make.with_matrix(clip, 0, 1, 1, 0)
    return make.with_edits(clip, (HIDDEN, (END - START + 1) / 30), empty=1.5)


def hlg(folder: Path) -> Path:
    """HEVC with 10 bits in HLG, as phones write Dolby Vision."""
    return make.with_dolby_vision(hdr(folder / "hlg.mp4", make.HLG, ""), folder / "phone.mp4")


def pq(folder: Path) -> Path:
    """HEVC with 10 bits in PQ, with the metadata of HDR10."""
    display = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"
    return hdr(folder / "pq.mp4", make.PQ, f":hdr10=1:master-display={display}:max-cll=1000,400")


def hdr(path: Path, transfer: int, parameters: str) -> Path:
    options = {"crf": "12", "preset": "ultrafast", "x265-params": f"log-level=none{parameters}"}
    return make.write(
        path, "libx265", "yuv420p10le", pictures=(make.hdr(image, transfer) for image in pictures()),
        matrix=make.MATRICES["bt2020nc"], primaries=make.BT2020, transfer=transfer, options=options,
    )  # fmt: skip


def walker(clip: Path, folder: Path, start: int = 1, end: int | None = None) -> Motion:
    job = Job(
        clip, folder / "motion.npz", "ALL", start, end, quality="draft", camera="static", refine=False, hands=False,
        resume=folder / "job",
    )  # fmt: skip
    run(job, lambda message: None)
    people = motion.load(folder / "motion.npz")
    (found,) = [each for each in people if each.keypoints[-1, 0, 0] < each.keypoints[0, 0, 0] - 200]
    return found


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Motion:
    return walker(CLIP, tmp_path_factory.mktemp("plain"), START, END)


def metres(person: Motion) -> float:
    return float(np.linalg.norm(np.diff(person.joints()[::6, 0, :2], axis=0), axis=1).sum())


def landmark_error(person: Motion, plain: Motion) -> float:
    """Mean distance of the landmarks that both films show, by the person's height in the picture."""
    shown = (person.keypoints[..., 2] > 0.3) & (plain.keypoints[..., 2] > 0.3)
    pixels = np.linalg.norm(person.keypoints[..., :2] - plain.keypoints[..., :2], axis=-1)[shown]
    return float(pixels.mean() / np.ptp(plain.keypoints[..., 1], axis=1).mean())


@pytest.mark.parametrize("rewrap", [anamorphic_mirrored_and_trimmed, hlg, pq])
def test_the_motion_is_that_of_the_plain_clip(rewrap: Callable[[Path], Path], plain: Motion, tmp_path: Path) -> None:
    person = walker(rewrap(tmp_path), tmp_path)
    assert person.meta["size"] == plain.meta["size"]
    assert person.frame.tolist() == list(range(1, END - START + 2))
    assert np.allclose(person.time, plain.time - plain.time[0], atol=1e-3)
    assert metres(person) == pytest.approx(metres(plain), rel=0.02)
    assert landmark_error(person, plain) < 0.005
    joints, expected = (each.joints() - each.joints()[:, :1] for each in (person, plain))
    assert np.linalg.norm(joints - expected, axis=-1).mean() < 0.01
