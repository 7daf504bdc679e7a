"""A clip that begins with somebody behind a counter, who walks out: made of a rendered one whose truth is known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tests.synthetic import truth
from wham_blender import motion
from wham_blender.motion import Motion
from wham_blender.pipeline.clip import video_reader
from wham_blender.pipeline.stages.job import Job
from wham_blender.pipeline.stages.run import run
from wham_blender.skeleton import JOINT_NAMES

CLIP = "room_static"
FRAMES = 60
TORSO = [JOINT_NAMES.index(name) for name in ("left_hip", "right_hip", "left_shoulder", "right_shoulder")]


@pytest.fixture(scope="module")
def person(tmp_path_factory: pytest.TempPathFactory) -> Motion:
    folder = tmp_path_factory.mktemp("counter")
    known = truth.load(CLIP)
    pixels = known.pixels(known.keypoints)[0]
    top = int(pixels[:FRAMES, 11:13, 1].max() + 6)  # just below the hips
    right = int(pixels[FRAMES // 2, :, 0].mean())
    clip = folder / "counter.mp4"
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter.fourcc(*"mp4v"), truth.FPS, truth.SIZE)
    for frame in video_reader.read_frames(truth.FOLDER / f"{CLIP}.mp4", 1, FRAMES):
        assert frame.image is not None
        picture = frame.image.copy()
        picture[top:, :right] = (120, 90, 60)
        writer.write(picture[..., ::-1])
    writer.release()
    (person,) = motion.load(run(Job(clip, folder / "counter.npz", resume=folder / "job"), lambda message: None))
    return person


def test_the_body_stands_where_the_picture_shows_it_from_the_first_frame_on(person: Motion) -> None:
    known = truth.load(CLIP)
    rows = person.frame - 1
    shown = known.pixels(known.joints)[0][rows][:, TORSO]
    seen = np.einsum("fij,fnj->fni", person.camera_R, person.joints()[:, TORSO]) + person.camera_t[:, None]
    ours = seen @ person.camera_K.T
    off = np.linalg.norm(ours[..., :2] / ours[..., 2:] - shown, axis=-1).mean(1)
    size = np.ptp(known.pixels(known.joints)[0][rows, :, 1], axis=1)
    assert rows[0] == 0
    assert (off / size)[:20].max() < 0.05


def test_feet_behind_the_counter_hold_nothing(person: Motion) -> None:
    known = truth.load(CLIP)
    way = [joints[15, TORSO[:2], :2].mean(0) - joints[0, TORSO[:2], :2].mean(0) for joints in
           (person.joints(), known.joints[0][person.frame - 1])]  # fmt: skip
    assert np.linalg.norm(way[0]) == pytest.approx(np.linalg.norm(way[1]), rel=0.3)
