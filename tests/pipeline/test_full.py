"""Full quality from end to end on a real clip: the published files' names, shapes and formats with drawn numbers.

So the motion is nonsense, but every stage runs, is kept, cancelled and resumed. YOLO learned nothing either: it looks
at every frame, and MoveNet's boxes stand for what it would find.
"""

from __future__ import annotations

import shutil
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests import published
from wham_blender import motion, protocol, smpl_file, weights
from wham_blender.models import vit
from wham_blender.models.vitpose import ViTPose
from wham_blender.pipeline.array_file import ArrayFile
from wham_blender.pipeline.clip import video_reader
from wham_blender.pipeline.people import vitpose_stage, yolo
from wham_blender.pipeline.people.batched_network import CROP
from wham_blender.pipeline.stages.job import Job
from wham_blender.pipeline.stages.pose import MESH_ARRAYS
from wham_blender.pipeline.stages.run import run
from wham_blender.weights.library import Library

CLIP = Path(__file__).parents[1] / "clips" / "balance_cam01.mp4"
END = 10  # frames of 60 a second
LOOKS = 6


@pytest.fixture(scope="module", autouse=True)
def stand_ins() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vit, "DEPTH", 2)
        patch.setattr(yolo, "Yolo", published.SeesLikeMoveNet)
        yield


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    folder = tmp_path_factory.mktemp("library")
    yield published.library(folder, 2)
    shutil.rmtree(folder)  # nearly a gigabyte


def job(folder: Path, library: Library, **settings: Any) -> Job:
    given: dict[str, Any] = {"quality": "full", "device": "cpu", "end": END, "refine": False} | settings
    return Job(CLIP, folder / "motion.npz", resume=folder / "job", weights=library.folder, **given)


@pytest.fixture(scope="module")
def finished(library: Library, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[protocol.Message]]:
    """The folder of a job that was cancelled during HMR2.0 and resumed, and the messages of the second run."""
    folder = tmp_path_factory.mktemp("full")
    networks: list[weakref.ref[object]] = []
    load = vitpose_stage.load_vitpose

    def noted(path: str | Path) -> ViTPose:
        network = load(path)
        networks.append(weakref.ref(network))
        return network

    def cancel(message: protocol.Message) -> None:
        if isinstance(message, protocol.Progress) and message.stage == "tracks":
            assert [network() for network in networks] == [None]  # its memory is free for HMR2.0
        if isinstance(message, protocol.Progress) and message.stage == "features" and message.done > 0:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(vitpose_stage, "load_vitpose", noted)
        run(job(folder, library), cancel)
    assert {path.name.split("-")[0] for path in (folder / "job").iterdir()} == {"detect", "tracks", "camera", "person"}
    assert not (folder / "motion.npz").exists()
    told: list[protocol.Message] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(video_reader, "read_frames", lambda *_: pytest.fail("a frame was decoded again"))
        run(job(folder, library), told.append)
    return folder, told


def kept_file(path: Path) -> ArrayFile:
    return ArrayFile(path, path.stem.split("-")[1])


def test_every_stage_runs_and_finished_ones_are_kept(finished: tuple[Path, list[protocol.Message]]) -> None:
    folder, told = finished
    texts = [message.text for message in told if isinstance(message, protocol.Log)]
    assert texts[0].startswith("Full quality, as asked for.")
    assert [text.split(":")[0] for text in texts if text.endswith("kept from an earlier run")] == [
        "detect", "tracks", "camera",
    ]  # fmt: skip
    stages = dict.fromkeys(message.stage for message in told if isinstance(message, protocol.Progress))
    assert list(stages) == ["detect", "tracks", "camera", "features", "wham", "placement", "hands", "write"]
    (person,) = motion.load(folder / "motion.npz")
    assert person.poses.shape == (END, 72)
    assert person.keypoints.shape == (END, 17, 3)
    assert all(np.isfinite(value).all() for value in (person.poses, person.trans, person.contacts, person.camera_t))
    assert np.ptp(person.poses, axis=0).max() > 1e-3  # random weights move it
    assert person.meta["quality"] == "full"
    assert set(person.meta["weights"]) == {"yolo", "vitpose", "hmr2", "wham", "hands", "hand_lifter"}
    assert set(person.meta["timings"]) == {"features", "wham", "placement", "hands"}


def test_the_addon_gets_a_copy_of_the_body(finished: tuple[Path, list[protocol.Message]], library: Library) -> None:
    assert finished
    with np.load(library.body_copy, allow_pickle=False) as kept, np.load(weights.find("body").path) as body:
        for name in MESH_ARRAYS:
            np.testing.assert_allclose(kept[name], body[name], atol=1e-6, err_msg=name)


def test_crops_and_features_are_saved_with_the_stages(finished: tuple[Path, list[protocol.Message]]) -> None:
    folder, _ = finished
    (detect,), (crops,) = ((folder / "job").glob(f"detect-*.{kind}") for kind in ("npz", "crops"))
    with np.load(detect) as archive:
        seen = len(archive["0/track"])
    assert seen >= LOOKS
    pictures = kept_file(crops).read(CROP, np.uint8)
    assert len(pictures) == seen
    assert pictures.std(axis=(1, 2, 3)).min() > 5  # from the clip, none empty
    (features,) = (folder / "job").glob("features-*.features")
    numbers = kept_file(features).read((2, 1024), np.float16)
    assert len(numbers) == LOOKS
    assert np.isfinite(numbers).all()
    assert (numbers != 0).all()
    assert not np.allclose(numbers[:, 0], numbers[:, 1], atol=1e-2)  # the mirrored view differs


def test_a_stage_without_its_crops_runs_again(
    finished: tuple[Path, list[protocol.Message]], library: Library, tmp_path: Path
) -> None:
    folder, _ = finished
    shutil.copytree(folder / "job", tmp_path / "job")
    (crops,) = (tmp_path / "job").glob("detect-*.crops")
    crops.unlink()

    def stop(message: protocol.Message) -> None:
        assert not (isinstance(message, protocol.Log) and "kept" in message.text)
        if isinstance(message, protocol.Progress) and message.stage == "detect":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(job(tmp_path, library), stop)


def test_a_gendered_body_takes_the_nearest_shape(
    finished: tuple[Path, list[protocol.Message]], library: Library, tmp_path: Path
) -> None:
    folder, _ = finished
    shutil.copytree(folder / "job", tmp_path / "job")
    arrays = smpl_file.read(weights.find("body").path)
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((10, 10)))[0]
    arrays["v_template"] = arrays["v_template"] + arrays["shapedirs"] @ np.linspace(-1, 1, 10)
    arrays["shapedirs"] = arrays["shapedirs"] @ turn  # the same bodies with other betas
    np.savez(tmp_path / "SMPL_FEMALE.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(weights.WeightsError, match="The file of SMPL, male is missing"):
        run(job(tmp_path, library, gender="male"), lambda message: None)
    assert library.choose(tmp_path / "SMPL_FEMALE.npz").role == "smpl_female"
    told: list[protocol.Message] = []
    (female,) = motion.load(run(job(tmp_path, library, gender="female"), told.append))
    assert protocol.Log("wham: kept from an earlier run") in told
    (neutral,) = motion.load(folder / "motion.npz")
    assert (neutral.gender, female.gender) == ("neutral", "female")
    assert "smpl_female" in female.meta["weights"]
    assert np.abs(female.betas - neutral.betas).max() > 0.1
    assert np.allclose(female.rest_joints, neutral.rest_joints, atol=2e-3)
    assert np.allclose(female.poses, neutral.poses, atol=0.1)
    (fitted,) = motion.load(run(job(tmp_path, library, gender="female", refine=True), told.append))
    assert "smplify" in fitted.meta["timings"]
    assert np.isfinite(fitted.poses).all()


def test_first_stage_weights_need_hmr2_on_one_crop(
    finished: tuple[Path, list[protocol.Message]], library: Library, tmp_path: Path
) -> None:
    shutil.copytree(finished[0] / "job", tmp_path / "job")
    own = Library(tmp_path / "library")
    for role in ("yolo", "vitpose", "hmr2"):
        known = library.path(role)
        assert known
        own.choose(known, role)
    torch.save({"model": published.wham(d_feat=None)}, tmp_path / "stage1.pth.tar")
    own.choose(tmp_path / "stage1.pth.tar", "wham")
    before = {path.name for path in (tmp_path / "job").iterdir()}
    (person,) = motion.load(run(job(tmp_path, own), lambda message: None))
    assert person.poses.shape == (END, 72)
    assert np.isfinite(person.poses).all()
    made = {path.name for path in (tmp_path / "job").iterdir()} - before
    # Detections are cached; hands are lifted with the arms of the new pose.
    assert {name.split("-")[0] for name in made} == {"features", "wham", "placement", "hands"}
    assert not any(name.endswith(".features") for name in made)


def test_yolo_and_vitpose_work_with_open_networks(library: Library, tmp_path: Path) -> None:
    for role in ("yolo", "vitpose"):
        known = library.path(role)
        assert known
        Library(tmp_path).choose(known, role)
    told: list[protocol.Message] = []
    mixed = job(tmp_path, Library(tmp_path), quality="mixed", end=6)
    (person,) = motion.load(run(mixed, told.append))
    assert told[0] == protocol.Log(
        "Networks of Full quality: YOLO, ViTPose-H. The others are those of Draft quality. "
        "Full quality lacks these files: HMR2.0, WHAM."
    )
    assert person.meta["quality"] == "mixed"
    assert set(person.meta["weights"]) == {
        "yolo", "vitpose", "lifter", "temporal", "landmarks", "wham", "body", "hands", "hand_lifter",
    }  # fmt: skip
    assert person.meta["weights"]["wham"]["name"] == "open_wham.npz"
    # ViTPose's keypoints are random here; the pose comes from the landmark net's points, so it is a real one.
    assert np.isfinite(person.poses).all()
    (detect,) = (tmp_path / "job").glob("detect-*.npz")
    with np.load(detect) as archive:
        assert archive["0/landmarks"].shape[1:] == (33, 3)
        assert not np.allclose(archive["0/keypoints"], archive["0/landmarks"][:, :17])
