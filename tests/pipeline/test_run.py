"""Jobs: bad input raises sentences, stages are cached and reused, and results are resampled to the clip's frames."""

from __future__ import annotations

import shutil
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tests.pipeline.cards import install
from wham_blender import motion, protocol, weights
from wham_blender.body.body import Body
from wham_blender.pipeline.clip import video_reader
from wham_blender.pipeline.errors import PipelineError
from wham_blender.pipeline.people import types
from wham_blender.pipeline.people.types import Person
from wham_blender.pipeline.stages import cache
from wham_blender.pipeline.stages.job import Job
from wham_blender.pipeline.stages.run import run
from wham_blender.pipeline.world import resample
from wham_blender.pipeline.world.placement import Placed

WriteClip = Callable[..., Path]
CLIP = Path(__file__).parents[1] / "clips" / "balance_cam01.mp4"


def sentence(clip: Path, folder: Path, expected: type[Exception] = PipelineError, **settings: Any) -> str:
    """The error of a job that must fail; no motion file may be left."""
    output = settings.pop("output", folder / "motion.npz")
    with pytest.raises(expected) as caught:
        run(Job(clip, output, resume=folder / "job", **settings), lambda message: None)
    assert not output.is_file()
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith(".")
    return text


def test_a_missing_file(tmp_path: Path) -> None:
    assert sentence(tmp_path / "gone.mp4", tmp_path).startswith("There is no clip gone.mp4 in")


def test_a_folder_is_no_clip(tmp_path: Path) -> None:
    assert "holds no numbered pictures. Choose a video" in sentence(tmp_path, tmp_path)


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    assert sentence(tmp_path / "empty.mp4", tmp_path).startswith("empty.mp4 is an empty file.")


def test_a_truncated_mp4(write_clip: WriteClip, tmp_path: Path) -> None:
    clip = write_clip()
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    assert "grey.mp4 is not a video, or it was cut off" in sentence(clip, tmp_path)


def test_a_clip_that_breaks_off_is_warned_about(write_clip: WriteClip, tmp_path: Path) -> None:
    clip = write_clip("grey.avi", frames=60)
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    told: list[protocol.Message] = []
    with pytest.raises(PipelineError, match="No person found"):
        run(Job(clip, tmp_path / "motion.npz", resume=tmp_path / "job"), told.append)
    (warning,) = [message.text for message in told if isinstance(message, protocol.Warn)]
    assert warning.startswith("grey.avi is damaged or cut off: ")


def test_an_audio_file(tmp_path: Path) -> None:
    path = tmp_path / "song.wav"
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(16000))
    assert "song.wav is not a video" in sentence(path, tmp_path)


@pytest.mark.parametrize("name", ["photo.png", "photo.jpg"])
def test_a_picture(name: str, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / name), np.zeros((240, 320, 3), np.uint8))
    assert sentence(tmp_path / name, tmp_path).startswith(f"Fewer than two frames of {name} can be decoded")


def test_one_frame(write_clip: WriteClip, tmp_path: Path) -> None:
    assert "a movement needs two" in sentence(write_clip(frames=1), tmp_path)
    assert "a movement needs two" in sentence(write_clip(), tmp_path, start=5, end=5)


def test_a_clip_without_people(write_clip: WriteClip, tmp_path: Path) -> None:
    assert sentence(write_clip(frames=40), tmp_path).startswith("No person found in grey.mp4 (40 frames looked at).")


@pytest.mark.parametrize(("start", "end"), [(0, None), (-3, None), (20, 10), (41, None), (1, 0)])
def test_frames_beyond_the_clip(start: int, end: int | None, write_clip: WriteClip, tmp_path: Path) -> None:
    text = sentence(write_clip(frames=40), tmp_path, start=start, end=end)
    assert text.startswith(f"Frames {start} to ")
    assert "has 40 frames" in text


def test_an_unwritable_output_folder(write_clip: WriteClip, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    text = sentence(write_clip(), tmp_path, output=tmp_path / "file" / "motion.npz")
    assert text.startswith(f"Cannot write to {tmp_path / 'file'}")
    assert "ends in .npz" in sentence(write_clip(), tmp_path, output=tmp_path / "motion.mp4")
    with pytest.raises(PipelineError, match="Cannot write to"):
        run(Job(write_clip(), tmp_path / "m.npz", resume=tmp_path / "file" / "job"), lambda message: None)


@pytest.mark.parametrize("role", ["detector", "body"])
def test_a_damaged_weight_file(
    role: str, write_clip: WriteClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = shutil.copytree(weights.folder(), tmp_path / "bundled")
    monkeypatch.setattr(weights, "folder", lambda: bundle)
    path = weights.manifest()[role].path
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    text = sentence(write_clip(), tmp_path, weights.WeightsError)
    assert text.startswith(f"The weight file {path.name} is damaged")


def test_full_quality_names_the_missing_files(write_clip: WriteClip, tmp_path: Path) -> None:
    text = sentence(write_clip(), tmp_path, quality="full", weights=tmp_path)
    assert text.startswith("Full quality needs files that are missing: YOLO, ViTPose-H, HMR2.0, WHAM. Get them in")
    assert text.endswith("or choose Auto or Draft.")


def test_unusable_cuda_says_why(write_clip: WriteClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    assert "No CUDA card can be used" in sentence(write_clip(), tmp_path, device="cuda")
    assert "cuda:1 RTX 4090 is not found" in sentence(write_clip(), tmp_path, device="cuda:1 RTX 4090")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the stages of the balance clip's frames 1 to 40 and the motions of all people in them."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache, "_MAPPED_BYTES", 1 << 10)  # as in a long clip: arrays stay in their files, read only
        run(Job(CLIP, folder / "all.npz", "ALL", end=40, resume=folder / "job"), lambda message: None)
    return folder


def kept(folder: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> tuple[list[str], Path]:
    """The cached stages that a second job uses; it must not decode any frame again."""
    monkeypatch.setattr(video_reader, "read_frames", lambda *_: pytest.fail("a frame was decoded again"))
    told: list[protocol.Message] = []
    output = run(Job(CLIP, folder / "again.npz", resume=folder / "job", end=40, **settings), told.append)
    texts = [message.text for message in told if isinstance(message, protocol.Log)]
    fractions = [message.fraction for message in told if isinstance(message, protocol.Progress)]
    assert fractions == sorted(fractions)
    assert fractions[-1] == pytest.approx(1)
    return [text.split(":")[0] for text in texts if text.endswith("kept from an earlier run")], output


def test_a_second_run_only_writes(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stages, output = kept(finished, monkeypatch, person="ALL")
    assert stages == [
        "detect",
        "tracks",
        "camera",
        "features",
        "features",
        "wham",
        "wham",
        "placement",
        "smplify",
        "smplify",
        "hands",
        "hands",
    ]
    for first, again in zip(motion.load(finished / "all.npz"), motion.load(output), strict=True):
        assert (first.poses == again.poses).all()
        assert (first.trans == again.trans).all()


def test_another_person_keeps_the_detections(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path: path.stat().st_mtime_ns for path in (finished / "job").glob("*.png")}
    assert len(before) == 2
    stages, output = kept(finished, monkeypatch, person=2)
    assert stages == ["detect", "tracks", "camera", "features", "wham"]
    assert before == {path: path.stat().st_mtime_ns for path in (finished / "job").glob("*.png")}
    (bystander,) = motion.load(output)
    assert np.allclose(bystander.trans[0, :2] + bystander.rest_joints[0, :2], 0, atol=1e-3)


def test_another_focal_length_keeps_the_detections(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stages, output = kept(finished, monkeypatch, focal_length=50.0)
    assert stages == ["detect", "tracks"]  # features depend on the intrinsics
    (person,) = motion.load(output)
    assert person.camera_K[0, 0] == pytest.approx(50 / 36 * 1920)


def test_the_actor_s_height_scales_the_world(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = Body.load(weights.find("body").path)
    (plain,) = motion.load(kept(finished, monkeypatch)[1])
    stages, output = kept(finished, monkeypatch, actor_height=1.6)
    assert stages == ["detect", "tracks", "camera", "features", "wham"]
    (person,) = motion.load(output)
    assert body.height(person.betas) == pytest.approx(1.6, abs=0.01)
    ratio = 1.6 / body.height(plain.betas)
    far, before = (np.linalg.norm(-each.camera_R[0].T @ each.camera_t[0]) for each in (person, plain))
    assert far / before == pytest.approx(ratio, abs=0.02)


def test_an_impossible_height_is_warned_about(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[protocol.Message] = []
    run(Job(CLIP, finished / "giant.npz", resume=finished / "job", end=40, actor_height=0.5), told.append)
    (warning,) = [message.text for message in told if isinstance(message, protocol.Warn)]
    assert warning.startswith("The body cannot be 0.50 m tall")


def test_without_the_anchor_placement_runs_again(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held, free = (motion.load(kept(finished, monkeypatch, anchor=anchor)[1])[0] for anchor in (True, False))
    assert np.ptp(held.camera_t, axis=0).max() < 1e-5
    assert np.ptp(free.camera_t, axis=0).max() > 1e-3
    assert np.abs(held.trans - free.trans).max() > 1e-3


def test_smplify_is_a_separate_stage(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stages, output = kept(finished, monkeypatch)
    assert stages[-2:] == ["smplify", "hands"]
    (fitted,) = motion.load(output)
    stages, output = kept(finished, monkeypatch, refine=False)
    assert stages[-1] == "placement"
    (plain,) = motion.load(output)
    assert 1e-3 < np.abs(fitted.poses - plain.poses).max() < 1


def test_the_open_body_has_no_gender(finished: Path) -> None:
    told: list[protocol.Message] = []
    output = run(
        Job(CLIP, finished / "again.npz", resume=finished / "job", end=40, quality="draft", gender="female"),
        told.append,
    )
    (warning,) = [message.text for message in told if isinstance(message, protocol.Warn)]
    assert warning.startswith("The body that ships inside is neither male nor female")
    assert motion.load(output)[0].gender == "neutral"


def test_smoothing_removes_jitter_and_keeps_planted_feet(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (plain,) = motion.load(kept(finished, monkeypatch)[1])
    (smooth,) = motion.load(kept(finished, monkeypatch, smooth=0.3)[1])
    assert jerk(smooth) < 0.8 * jerk(plain)
    down = motion.planted(plain.contacts)
    ankles = [7, 8]
    stands = down.reshape(-1, 2, 2).any(-1)
    moved = np.linalg.norm(smooth.joints() - plain.joints(), axis=-1)[:, ankles]
    assert stands.any()
    assert moved[stands].mean() < 0.01


def jerk(person: motion.Motion) -> float:
    return float(np.abs(np.diff(person.joints(), 3, axis=0)).mean())


def test_stages_of_changed_code_run_again(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = shutil.copytree(
        cache._PACKAGE, tmp_path / "package", ignore=shutil.ignore_patterns("addon", "__pycache__")
    )
    with (package / "pipeline/pose/camera_translation.py").open("a") as changed:
        changed.write("# changed\n")
    digest, original = cache.source_digest, cache._PACKAGE
    monkeypatch.setattr(cache, "source_digest", lambda module: digest(package / module.relative_to(original), package))
    assert kept(finished, monkeypatch)[0] == ["detect", "tracks", "camera", "features"]


def test_a_damaged_stage_runs_again(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tracks,) = (finished / "job").glob("tracks-*.npz")
    tracks.write_bytes(tracks.read_bytes()[:1000])
    stages, _ = kept(finished, monkeypatch)
    assert "tracks" not in stages
    assert "wham" in stages  # its key is the same


def test_a_person_number_that_does_not_exist(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PipelineError, match=r"There is no person 3 in balance_cam01\.mp4: it shows 2"):
        kept(finished, monkeypatch, person=3)


def test_an_interrupted_stage_leaves_no_file(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    before = sorted((finished / "job").iterdir())
    monkeypatch.setattr(np.lib.format, "write_array", interrupted)
    with pytest.raises(KeyboardInterrupt):
        kept(finished, monkeypatch, focal_length=28.0)
    assert sorted((finished / "job").iterdir()) == before


def test_a_full_disk_and_a_deleted_folder_raise_sentences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PipelineError, match=r"The folder .*gone was deleted while the job ran\. Import again\."):
        cache.save(tmp_path / "gone" / "watch.npz", {})

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np.lib.format, "write_array", full)
    with pytest.raises(PipelineError, match=r"Cannot write to .*: No space left on device\. Choose a folder"):
        cache.save(tmp_path / "watch.npz", {"value": np.zeros(1)})
    assert not list(tmp_path.iterdir())


def test_results_are_resampled_to_the_clip_s_frames() -> None:
    """Constant rotation and velocity at 30 fps stay constant at the clip's uneven times."""
    clock = 1 + np.arange(31) / 30
    person = Person(
        keypoints=np.ones((31, 17, 3)), landmarks=np.ones((31, 33, 3)), landmarks_3d=np.zeros((31, 33, 3)),
        boxes=np.ones((31, 3)), time=clock, visible=np.arange(31) != 15, detection_rows=np.arange(31),
    )  # fmt: skip
    poses = np.zeros((31, 24, 3), np.float32)
    poses[:, 0] = Rotation.from_rotvec(np.outer(4 * clock, (0, 0, 1))).as_rotvec()  # passes 180 degrees
    poses[:, 5] = np.outer(clock, (0.5, 0, 0))
    placed = Placed(
        poses=poses.reshape(31, 72), trans=np.outer(clock, (1, 2, 0)), betas=np.zeros(10), contacts=np.zeros((31, 4)),
        rest_joints=np.arange(72).reshape(24, 3) / 72, camera_R=np.tile(np.eye(3), (31, 1, 1)),
        camera_t=np.zeros((31, 3)),
    )  # fmt: skip
    times = np.sort(np.random.default_rng(0).uniform(0, 3, 200))
    seen = types.Detections(
        size=np.array([640, 480]), frame_numbers=np.arange(11, 211), frame_times=times, network_frames=np.arange(200),
        row_frame=np.zeros(0, int), track=np.zeros(0, int), keypoints=np.zeros((0, 17, 3)),
        landmarks=np.zeros((0, 33, 3)), landmarks_3d=np.zeros((0, 33, 3)),
    )  # fmt: skip
    camera_K = np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]])
    result = resample.resample_to_clip(seen, person, placed, camera_K, {"fps": 66.7})
    inside = (times >= 1) & (times <= 2)
    assert (result.frame == np.arange(11, 211)[inside]).all()
    assert np.allclose(result.trans, np.outer(times[inside], (1, 2, 0)), atol=1e-5)
    turned = Rotation.from_rotvec(result.poses[:, :3]) * Rotation.from_rotvec(np.outer(4 * times[inside], (0, 0, -1)))
    assert turned.magnitude().max() < 1e-4
    assert np.allclose(result.poses[:, 15], 0.5 * times[inside], atol=1e-5)
    hidden = np.abs(result.time - clock[15]) < 1 / 30
    assert (result.visible == ~hidden).all()
