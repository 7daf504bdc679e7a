"""YOLO files: built anew from tensors and description as ultralytics itself has them, and nothing in them is run."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import nn
from ultralytics.nn.tasks import DetectionModel, PoseModel, RTDETRDetectionModel, SegmentationModel

from tests import published
from tests.parity.test_wrong_files import Evil
from wham_blender.models.wham import WHAM
from wham_blender.pipeline.clip import video_reader
from wham_blender.pipeline.people import detection_tracker, tracking, yolo
from wham_blender.weights import WeightsError

CLIP = Path(__file__).parents[1] / "clips" / "balance_cam01.mp4"
CPU = torch.device("cpu")


def saved(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


@pytest.fixture(scope="module")
def plain() -> dict[str, Any]:
    """A YOLOv8."""
    return published.yolo()


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        ("yolov8n.yaml", DetectionModel), ("yolo26n.yaml", DetectionModel), ("yolov10n.yaml", DetectionModel),
        ("yolov8n-pose.yaml", PoseModel), ("yolo11n-seg.yaml", SegmentationModel),
    ],
)  # fmt: skip
@torch.inference_mode()
def test_a_network_comes_out_of_its_file_as_it_went_in(config: str, kind: type[nn.Module], tmp_path: Path) -> None:
    content = published.yolo(config, kind)
    model, names = yolo.load(saved(tmp_path / "any name.weights", content))
    assert names == content["model"].names
    picture = torch.rand(1, 3, 64, 96)
    ours, theirs = model(picture), content["model"].float().eval()(picture)
    while not isinstance(ours, torch.Tensor):
        ours, theirs = ours[0], theirs[0]
    torch.testing.assert_close(ours, theirs)


def test_a_network_that_another_thread_loads_meanwhile_does_not_count(
    plain: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parse = yolo.parse_model

    def parse_beside_another(*arguments: Any, **options: Any) -> Any:
        with ThreadPoolExecutor(1) as pool:  # five times as many parameters as the file has
            pool.submit(nn.Linear, 4000, 4000, device="meta").result()
        return parse(*arguments, **options)

    monkeypatch.setattr(yolo, "parse_model", parse_beside_another)
    yolo.load(saved(tmp_path / "good.pt", plain))


def test_nothing_in_a_file_is_run_or_made(
    plain: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path / "good.pt", plain)
    evil = saved(tmp_path / "evil.pt", plain | {"note": Evil(tmp_path / "made")})
    with pytest.raises(WeightsError, match=r"evil\.pt is not safe: it asks for the code (posix|nt)\.mkdir"):
        yolo.load(evil)
    torch.save(plain | {"note": Evil(tmp_path / "made")}, evil, _use_new_zipfile_serialization=False)
    with pytest.raises(WeightsError, match=r"evil\.pt is not safe: it asks for the code (posix|nt)\.mkdir"):
        yolo.load(evil)
    assert not (tmp_path / "made").exists()
    monkeypatch.setattr(nn.Module, "__setstate__", lambda *_: pytest.fail("a class of the file was made"))
    yolo.load(path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"activation": "__import__('os').mkdir('made')"}, "unknown activation"),
        ({"activation": "nn.Module.__subclasses__()"}, "unknown activation"),
        ({"head": [[-1, 1, "TorchVision", [8, "resnet18", "DEFAULT"]]]}, "unknown layer TorchVision"),
        ({"head": [[-1, 1, "nn.Module.__subclasses__", []]]}, "unknown layer nn.Module"),
        ({"head": [[-1, 1, "Conv", [{"a": 1}]]]}, "has a dict where none belongs"),
        ({"backbone": None}, "NoneType"),
    ],
)
def test_a_description_may_name_layers_only(
    change: dict[str, Any], says: str, plain: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plain["model"], "yaml", plain["model"].yaml | change)
    with pytest.raises(
        WeightsError, match=rf"odd\.pt is a YOLO that this version cannot build.*{says}.*Choose yolov8x"
    ):
        yolo.load(saved(tmp_path / "odd.pt", plain))
    assert not (tmp_path / "made").exists()


def test_another_file_is_named(plain: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WeightsError, match=r"wham\.pt is WHAM, not YOLO\. Choose yolov8x\.pt\."):
        yolo.load(saved(tmp_path / "wham.pt", {"model": WHAM(64, 1).state_dict()}))
    whole = saved(tmp_path / "whole.pt", plain).read_bytes()
    monkeypatch.setattr(plain["model"], "__class__", RTDETRDetectionModel)
    with pytest.raises(WeightsError, match=r"cannot build \(RTDETRDetectionModel.*another YOLO of ultralytics"):
        yolo.load(saved(tmp_path / "detr.pt", plain))
    (tmp_path / "list.pt").write_bytes(pickle.dumps([1]))
    with pytest.raises(WeightsError, match=r"list\.pt "):
        yolo.load(tmp_path / "list.pt")
    (tmp_path / "cut.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match=r"cut\.pt cannot be read: it is incomplete"):
        yolo.load(tmp_path / "cut.pt")


def test_boxes_are_in_the_picture_s_pixels(
    plain: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network without training finds nothing; so what it would say is put in its place."""
    finder = yolo.Yolo(saved(tmp_path / "yolo.pt", plain), CPU)
    picture = video_reader.read_frame(CLIP, 1)
    boxes, scores, keypoints = finder(picture)
    assert boxes.shape == (len(scores), 4)
    assert keypoints.shape == (len(scores), 0, 3)

    def say(pictures: torch.Tensor) -> torch.Tensor:
        assert pictures.shape == (1, 3, 640, 384)  # 1080 x 1920, the sides multiples of the network's stride
        assert 0.1 < float(pictures.mean()) < 0.9
        found = torch.zeros(1, 84, 3)
        found[0, :4] = torch.tensor([[192.0, 320.0, 120.0, 240.0], [193, 320, 120, 240], [50, 60, 20, 20]]).T
        found[0, 4] = torch.tensor([0.9, 0.6, 0.0])
        found[0, 6] = torch.tensor([0.0, 0.0, 0.8])  # a car
        return found

    monkeypatch.setattr(finder, "_model", say)
    boxes, scores, _ = finder(picture)
    assert scores.tolist() == pytest.approx([0.9])
    assert np.allclose(boxes, [[540 - 180, 960 - 360, 540 + 180, 960 + 360]], atol=1)


def test_the_finder_tracks_whom_the_detector_is_sure_of() -> None:
    picture = np.zeros((480, 640, 3), np.uint8)
    cv2.circle(picture, (320, 240), 50, (255, 255, 255), -1)
    scores = [0.9, 0.3]  # a person, and what is too unsure to be a new one
    looks = 0

    def detect(_image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        boxes = np.array([[100 + 2 * looks, 100, 200 + 2 * looks, 400], [400, 100, 450, 300]], np.float32)
        return boxes, np.array(scores, np.float32), np.zeros((2, 0, 3), np.float32)

    finder = detection_tracker.DetectionTracker(detect, yolo.NEW_TRACK_SCORE)
    for looks in range(6):
        if looks == 3:
            scores[0] = 0.2  # half hidden: found before, so still found
        assert len(finder.process_frame(picture)) == 1
    finder.start_new_shot()
    scores[0] = 0.9
    looks = 6
    finder.process_frame(picture)
    rows = list(finder.finished_rows())
    assert [row.frame for row in rows] == list(range(7))
    assert len({row.track for row in rows[:6]}) == 1
    assert rows[6].track >= tracking.TRACK_IDS_PER_SHOT
    assert np.allclose(rows[2].box, [104, 100, 204, 400])
    assert not rows[0].keypoints.any()
