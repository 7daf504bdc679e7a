"""Many crops at once: batches fit into memory, every crop meets its row, features reach their frames, none is lost."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests import published
from tests.pipeline.test_track_cleanup import detections, people
from wham_blender.models.hmr2 import CROPPED_COLUMNS, HMR2
from wham_blender.models.vitpose import ViTPose
from wham_blender.pipeline.array_file import ArrayFile
from wham_blender.pipeline.errors import PipelineError
from wham_blender.pipeline.people import batched_network, person_crops, vitpose_stage
from wham_blender.pipeline.people.batched_network import CROP, BatchedNetwork, half_precision
from wham_blender.pipeline.people.tracking import DetectionRow
from wham_blender.pipeline.pose import hmr2_features

CPU = torch.device("cpu")
OUT_OF_MEMORY = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")


class Small(nn.Module):
    """A network that takes so many pictures and no more."""

    def __init__(self, most: int, error: RuntimeError) -> None:
        super().__init__()
        self.most, self.error, self.sizes = most, error, list[int]()

    def half_precision_parts(self) -> list[nn.Module]:
        return []

    def forward(self, pictures: Tensor) -> Tensor:
        if len(pictures) > 2 * self.most:
            raise self.error
        self.sizes.append(len(pictures) // 2)
        return pictures.mean((1, 2, 3))


def network(most: int, told: list[str], error: RuntimeError = OUT_OF_MEMORY) -> tuple[BatchedNetwork, Small]:
    small = Small(most, error)

    def infer(pictures: Tensor) -> tuple[Tensor, ...]:
        plain, mirrored = small(pictures).chunk(2)
        return plain, torch.stack([plain, mirrored], 1)

    made = BatchedNetwork(small, infer, "A small net", CPU, told.append)  # type: ignore[arg-type]
    made.batch = 8
    return made, small


@pytest.mark.parametrize(
    "error",
    [
        OUT_OF_MEMORY,
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_a_batch_is_halved_until_it_fits(error: RuntimeError) -> None:
    told: list[str] = []
    net, small = network(3, told, error)
    crops = np.random.default_rng(0).integers(0, 255, (11, *CROP), dtype=np.uint8)
    plain, both = net(crops)
    assert small.sizes == [2] * 5 + [1]
    assert told == [
        "Memory ran short: A small net processes 4 crops at a time now.",
        "Memory ran short: A small net processes 2 crops at a time now.",
    ]
    one_by_one = [float(person_crops.normalise(torch.from_numpy(crop[None])).mean()) for crop in crops]
    assert np.allclose(plain, one_by_one, atol=1e-5)
    assert np.allclose(both, plain[:, None], atol=1e-5)  # a mirrored picture has the same mean
    net(crops)
    assert len(told) == 2  # it stays so


def test_no_memory_for_a_single_crop_is_a_sentence() -> None:
    net, _ = network(0, [])
    with pytest.raises(PipelineError, match=r"too little memory for A small net, even for one picture.*Close other"):
        net(np.zeros((2, *CROP), np.uint8))


def test_no_memory_for_the_network_is_the_same_sentence() -> None:
    class Large(Small):
        def half_precision_parts(self) -> list[nn.Module]:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    with pytest.raises(PipelineError, match=r"too little memory for HMR2\.0, even"):
        BatchedNetwork(Large(1, OUT_OF_MEMORY), lambda pictures: (pictures,), "HMR2.0", CPU, print)  # type: ignore[arg-type]


def test_another_error_is_not_taken_for_a_lack_of_memory() -> None:
    net = BatchedNetwork(Small(9, OUT_OF_MEMORY), lambda pictures: (pictures @ pictures[:, :2],), "net", CPU, print)  # type: ignore[arg-type]
    with pytest.raises(RuntimeError):
        net(np.zeros((2, *CROP), np.uint8))
    assert net.batch > 1


def test_the_cpu_keeps_single_precision() -> None:
    assert half_precision(CPU) == torch.float32


class Known:
    """A PeopleSource who knows where everybody is."""

    def __init__(self, found: dict[int, list[DetectionRow]], boxes: np.ndarray) -> None:
        self._found, self._boxes, self._looks, self._rows = found, boxes, 0, list[DetectionRow]()

    def process_frame(self, image: np.ndarray) -> np.ndarray:
        self._rows += self._found.get(self._looks, [])
        self._looks += 1
        return self._boxes

    def start_new_shot(self) -> None: ...

    def finished_rows(self) -> list[DetectionRow]:
        found, self._rows = self._rows, []
        return found

    def finish(self) -> None: ...


def test_hmr2_sees_the_boxes_that_wham_gets() -> None:
    """Crops are cut while the clip is decoded, but from boxes that are as calm as those of the whole track."""
    seen = detections({1: (range(60), 500.0), 2: (range(10, 45), 200.0)}, looks=60)
    random = np.random.default_rng(1)
    seen.keypoints[..., :2] += random.normal(0, 8, (len(seen.row_frame), 1, 2))
    seen.landmarks = seen.landmarks[:, :0]
    seen.landmarks_3d = seen.landmarks_3d[:, :0]
    blank = np.zeros((0, 3), np.float32)
    found: dict[int, list[DetectionRow]] = {}
    for look, track, keypoints in zip(seen.row_frame, seen.track, seen.keypoints, strict=True):
        found.setdefault(int(look), []).append(
            DetectionRow(int(look), int(track), np.zeros(4), keypoints, blank, blank)
        )
    crops: list[np.ndarray] = []
    observer = vitpose_stage.ViTPoseStage(Known(found, np.zeros((0, 4))), None, crops.append)
    pictures = [cv2.resize(random.integers(0, 255, (27, 48, 3), dtype=np.uint8), (960, 540)) for _ in range(60)]
    out: list[DetectionRow] = []
    most = 0
    for picture in pictures:
        observer.process_frame(picture)
        most = max(most, len(observer._images))
        out += observer.finished_rows()
    observer.finish()
    out += observer.finished_rows()
    assert most <= vitpose_stage.LOOKAHEAD + 1
    assert [row.frame for row in out] == sorted(row.frame for row in out)
    assert len(out) == len(crops) == len(seen.row_frame)
    seen.row_frame, seen.track = np.array([row.frame for row in out]), np.array([row.track for row in out])
    seen.keypoints = np.array([row.keypoints for row in out])
    checked = 0
    for person in people(seen):
        for frame in range(len(person)):
            row = person.detection_rows[frame]
            wanted = person_crops.hmr2_crop(pictures[seen.row_frame[row]], person.boxes[frame])[:, CROPPED_COLUMNS]
            assert np.abs(crops[row][0] - wanted).max() <= 0.51
            checked += 1
    assert checked == 60 + 35


class SeesBrightness:
    """Stands for ViTPose: the middle of a crop is every keypoint, its brightness the confidence."""

    def __init__(self, batch: int) -> None:
        self.batch, self.batches = batch, list[int]()

    def __call__(self, crops: np.ndarray) -> list[np.ndarray]:
        self.batches.append(len(crops))
        heatmaps = np.zeros((len(crops), 17, 64, 48), np.float32)
        heatmaps[:, :, 32, 24] = crops.mean((1, 2, 3))[:, None] / 255
        return [heatmaps]


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("batch", [5, 500])
def test_keypoints_come_back_to_their_rows(kept: bool, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two people, and a long time without any; batches are full, or end where pictures take too much memory."""
    monkeypatch.setattr(vitpose_stage, "_MAX_IMAGE_BYTES", 20 * 64 * 64 * 3)
    monkeypatch.setattr(vitpose_stage, "wham_boxes", lambda keypoints: np.array([[20.0, 20.0, 0.1]]))
    blank, nothing = np.zeros((0, 3), np.float32), np.zeros((17, 3), np.float32)
    box = np.array([10, 10, 30, 40], np.float32)
    looks = {look: [DetectionRow(look, track, box, nothing, blank, blank) for track in (1, 2)] for look in range(12)}
    looks |= {look: [DetectionRow(look, 3, box, nothing, blank, blank)] for look in range(90, 100)}
    crops: list[np.ndarray] = []
    vitpose = SeesBrightness(batch)
    observer = vitpose_stage.ViTPoseStage(Known(looks, np.zeros((0, 4))), vitpose, crops.append if kept else None)  # type: ignore[arg-type]
    rows: list[DetectionRow] = []
    for look in range(100):
        observer.process_frame(np.broadcast_to(np.uint8(100 + look), (64, 64, 3)))
        rows += observer.finished_rows()
        assert len(observer._images) <= 2 * 21 + vitpose_stage.LOOKAHEAD
    observer.finish()
    rows += observer.finished_rows()
    assert [(row.frame, row.track) for row in rows] == [
        (row.frame, row.track) for look in looks.values() for row in look
    ]
    assert np.allclose([row.keypoints[0, 2] for row in rows], [(100 + row.frame) / 255 for row in rows], atol=1e-3)
    assert sum(vitpose.batches) == len(rows)
    assert max(vitpose.batches) <= min(batch + 1, 42)
    assert [int(crop[0, 128, 96, 0]) for crop in crops] == [100 + row.frame for row in rows] * kept


def test_who_shows_too_few_keypoints_is_dropped() -> None:
    blank = np.zeros((0, 3), np.float32)
    unsure = np.ones((17, 3), np.float32)
    unsure[5:, 2] = 0.1
    observer = vitpose_stage.ViTPoseStage(
        Known({0: [DetectionRow(0, 1, np.ones(4), unsure, blank, blank)]}, np.zeros((0, 4))), None, None
    )
    observer.process_frame(np.zeros((8, 8, 3), np.uint8))
    observer.finish()
    assert observer.finished_rows() == []


class SeesPlaces:
    """Stands for HMR2.0: the first pixel of a crop is every feature."""

    batch = 4

    def __init__(self) -> None:
        self.looked = 0

    def __call__(self, crops: np.ndarray) -> list[np.ndarray]:
        self.looked += len(crops)
        value = crops[:, 0, 0, 0].astype(np.float32)
        features = np.tile(value[:, None, None], (1, 2, 1024))
        features[:, 1] *= -1
        pose = np.tile(np.array([1, 0, 0, 0, 1, 0] * 24, np.float32), (len(crops), 2, 1))
        return [features, pose, np.tile(value[:, None, None], (1, 2, 10))]


def test_features_reach_their_frames(tmp_path: Path) -> None:
    crops = ArrayFile(tmp_path / "crops", "a key")
    with crops.writing(CROP, np.uint8) as append:
        append(np.broadcast_to(np.arange(30)[:, None, None, None], (30, *CROP)))
    own = np.array([3, 3, 5, 6, 6, 6, 9, 20, 21, 22, 22])
    told: list[tuple[int, int]] = []
    net = SeesPlaces()
    target = ArrayFile(tmp_path / "features", "a key")
    begin = hmr2_features.extract_features(net, crops, own, target, lambda *done: told.append(done))  # type: ignore[arg-type]
    views = hmr2_features.views_of(begin, target)
    assert views[0].features is not None and views[1].features is not None
    assert (views[0].features == own[:, None]).all()
    assert (views[1].features == -own[:, None]).all()
    assert isinstance(views[0].features, np.memmap)
    assert views[0].features.dtype == np.float16
    assert told == [(4, 7), (7, 7)]
    assert (views[0].init_betas == 3).all()
    assert np.allclose(views[0].init_pose, np.eye(3))
    first_stage = SeesPlaces()
    begin = hmr2_features.extract_features(first_stage, crops, own, None, lambda *_: None)  # type: ignore[arg-type]
    assert first_stage.looked == 1  # WHAM takes no features: only the first pose is wanted
    assert hmr2_features.views_of(begin, None)[1].features is None


def test_rounding_makes_no_feature_look_missing() -> None:
    features = np.array([0.5, 1e-9, -1e-9, 0.0, 70.0], np.float32)
    half = hmr2_features.to_half_precision(features)
    assert half.dtype == np.float16
    assert (half != 0).all()
    assert np.allclose(half, features, atol=1e-7)
    assert half[2] < 0


def test_rows_appear_whole_or_not_at_all(tmp_path: Path) -> None:
    file = ArrayFile(tmp_path / "numbers", "a key")
    assert not file.is_complete()
    with pytest.raises(KeyboardInterrupt), file.writing((2,), np.float32) as append:
        append(np.ones((3, 2)))
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())
    with file.writing((2,), np.float32):
        pass
    assert file.read((2,), np.float32).shape == (0, 2)
    with file.writing((2,), np.float32) as append:
        append(np.ones((3, 2)))
        append(np.zeros((1, 2)))
    assert file.read((2,), np.float32).tolist() == [[1, 1]] * 3 + [[0, 0]]
    assert file.is_complete()
    assert not ArrayFile(file.path, "another key").is_complete()
    with (
        pytest.raises(PipelineError, match=r"Cannot write to .*Choose a folder"),
        ArrayFile(file.path / "in a file", "a key").writing((2,), np.float32),
    ):
        pass


def test_vitpose_s_batch_is_the_same_as_one_by_one() -> None:
    torch.manual_seed(0)
    net = vitpose_stage.vitpose(ViTPose(0).eval(), CPU, print)
    net.batch = 2
    crops = np.random.default_rng(0).integers(0, 255, (3, *CROP), dtype=np.uint8)
    (together,) = net(crops)
    apart = np.concatenate([net(crop[None])[0] for crop in crops])
    assert together.shape == (3, 17, 64, 48)
    assert np.allclose(together, apart, atol=1e-4)
    mirrored = net(crops[:, :, ::-1])[0]
    assert np.allclose(mirrored, together[:, person_crops.COCO_MIRROR, :, ::-1], atol=1e-4)


def test_half_precision_comes_near_to_single(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a card, but here: the transformer in half precision, its head in single."""
    crops = np.random.default_rng(0).integers(0, 255, (1, *CROP), dtype=np.uint8)
    found = []
    for precision in (torch.float32, torch.bfloat16):
        monkeypatch.setattr(batched_network, "half_precision", lambda device, own=precision: own)
        pose = ViTPose.from_state_dict(published.vitpose(1), 1)
        body = HMR2.from_state_dict(published.hmr2(1), 1)
        nets = vitpose_stage.vitpose(pose, CPU, print), hmr2_features.hmr2_network(body, CPU, print)
        found.append([output for net in nets for output in net(crops)])
        for model in (pose, body):
            assert model.backbone.pos_embed.dtype == precision
        assert pose.keypoint_head.final_layer.weight.dtype == torch.float32
        assert body.smpl_head.decpose.weight.dtype == torch.float32
    for single, low in zip(*found, strict=True):
        assert low.dtype == np.float32
        assert np.abs(low - single).max() < 0.03 * np.ptp(single)
