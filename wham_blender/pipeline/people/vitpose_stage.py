"""Adds ViTPose's keypoints to tracked people and writes HMR2.0's crops of them, while the clip is decoded.

ViTPose runs on batches of crops of several frames and people, in a thread of its own, while the next frames are decoded
and tracked. HMR2.0's crops use a smoothed box, the median over a quarter of a second before and after, so frames wait
until that is known. Frames that are no longer needed are dropped, so memory does not grow with the clip.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...models.hmr2 import CROPPED_COLUMNS
from ...models.vitpose import ViTPose
from ..array_file import Append
from ..checkpoints import load_network
from ..clip import video_reader
from . import person_crops
from .batched_network import BatchedNetwork, Log
from .hands import HandTracker
from .landmarks import MIN_KEYPOINTS
from .one_euro import OneEuroFilter
from .track_cleanup import BOX_MEDIAN_FRAMES
from .tracking import DetectionRow, PeopleSource
from .types import is_confident, wham_boxes

LOOKAHEAD = BOX_MEDIAN_FRAMES // 2  # frames
_MAX_IMAGE_BYTES = 128e6  # of frames that wait for a full batch; large frames make batches smaller; set by hand


def load_vitpose(path: str | Path) -> ViTPose:
    """ViTPose-H, float32, on the CPU; raises WeightsError if the file is not ViTPose-H."""
    return load_network(path, "vitpose", ViTPose.from_state_dict)


def vitpose(model: ViTPose, device: torch.device, log: Log) -> BatchedNetwork:
    """ViTPose for a ViTPoseStage: crops to heatmaps (n, 17, 64, 48), averaged over the flip test."""

    def infer(pictures: Tensor) -> tuple[Tensor]:
        return (person_crops.average_flipped(*model(pictures).chunk(2)),)

    return BatchedNetwork(model, infer, "ViTPose-H", device, log)


class ViTPoseStage:
    """A PeopleSource that adds ViTPose's keypoints to the rows of another one, and writes HMR2.0's crops of them.

    ``vitpose`` None: the rows keep their keypoints. ``write_crops``: takes crops (n, 256, 192, 3) uint8 RGB, one per
    row, in the order of the rows; None: no crops are written. ``frame_rate``: of the frames, hertz;
    ``delay``: frames after which ``people`` has finished a frame's rows. ``hands``: None: none are looked for here.
    """

    def __init__(
        self,
        people: PeopleSource,
        vitpose: BatchedNetwork | None,
        write_crops: Append | None,
        frame_rate: float = video_reader.NETWORK_FPS,
        delay: int = 0,
        hands: HandTracker | None = None,
    ) -> None:
        self._people, self._vitpose, self._write_crops = people, vitpose, write_crops
        self._delay, self._hands = delay, hands
        self._frame_rate = frame_rate
        self._filters: dict[int, tuple[int, OneEuroFilter]] = {}  # by track: its last frame, and the filter
        self._batch_rows: list[DetectionRow] = []  # the next batch: rows without keypoints, their crops and windows
        self._batch_crops: list[np.ndarray] = []
        self._batch_windows: list[tuple[np.ndarray, np.ndarray]] = []
        self._thread = ThreadPoolExecutor(1, "vitpose")
        self._running: tuple[list[DetectionRow], Future[np.ndarray]] | None = None  # the batch that ViTPose processes
        self._known = 0  # frames whose rows are known
        self._submitted = 0  # frames whose rows were submitted to ViTPose
        self._waiting: deque[DetectionRow] = deque()  # with keypoints, until their smoothed box is known
        self._boxes: dict[int, list[tuple[int, np.ndarray]]] = {}  # by track: frames and boxes around the waiting rows
        self._images: deque[np.ndarray] = deque()  # frames from _first_image on
        self._first_image = self._frames = 0
        self._finished: list[DetectionRow] = []

    def process_frame(self, image: np.ndarray) -> np.ndarray:
        """See `PeopleSource`."""
        boxes = self._people.process_frame(image)
        self._frames += 1
        self._known = max(0, self._frames - self._delay)
        self._images.append(image)
        self._add_to_batch(self._people.finished_rows())
        batch_bytes = image.nbytes * (self._known - self._submitted)
        if self._vitpose is None or len(self._batch_crops) >= self._vitpose.batch or batch_bytes > _MAX_IMAGE_BYTES:
            self._run_batch()
        return boxes

    def start_new_shot(self) -> None:
        """See `PeopleSource`."""
        self._people.start_new_shot()

    def finished_rows(self) -> list[DetectionRow]:
        """See `PeopleSource`."""
        rows, self._finished = self._finished, []
        return rows

    def finish(self) -> None:
        """See `PeopleSource`."""
        self._people.finish()
        self._known = self._frames
        self._add_to_batch(self._people.finished_rows())
        self._run_batch()
        self._run_batch()
        self._thread.shutdown()
        self._finish_rows(self._frames)

    def _add_to_batch(self, rows: Iterable[DetectionRow]) -> None:
        for row in rows:
            self._batch_rows.append(row)
            if self._vitpose is None:
                continue
            (centre,), (size,) = person_crops.vitpose_windows(row.box[None])
            self._batch_windows.append((centre, size))
            image = self._images[row.frame - self._first_image]
            self._batch_crops.append(person_crops.vitpose_crop(image, centre, size))

    def _run_batch(self) -> None:
        """Collect the keypoints of the running batch, and submit the next one."""
        if self._vitpose is None:
            self._collect(self._batch_rows, self._known)
        else:
            rows_with_keypoints: list[DetectionRow] = []
            if self._running:
                rows, points = self._running
                rows_with_keypoints = [
                    self._smoothed(row, keypoints) for row, keypoints in zip(rows, points.result(), strict=True)
                ]
            self._collect(rows_with_keypoints, self._submitted)
            self._running = None
            if self._batch_crops:
                points = self._thread.submit(_keypoints, self._vitpose, self._batch_crops, self._batch_windows)
                self._running = self._batch_rows, points
            self._submitted = self._known
        self._batch_rows, self._batch_crops, self._batch_windows = [], [], []

    def _smoothed(self, row: DetectionRow, keypoints: np.ndarray) -> DetectionRow:
        """A row with ViTPose's keypoints, filtered along its track; a gap in the track restarts the filter."""
        last_frame, smooth = self._filters.get(row.track, (None, None))
        if smooth is None or row.frame - 1 != last_frame:
            smooth = OneEuroFilter(self._frame_rate)
        self._filters[row.track] = row.frame, smooth
        return replace(row, keypoints=smooth(keypoints))

    def _collect(self, rows: list[DetectionRow], frames: int) -> None:
        """Take rows with keypoints; all rows of the first ``frames`` frames are known now."""
        for row in rows:
            if is_confident(row.keypoints).sum() >= MIN_KEYPOINTS:
                self._waiting.append(row)
                self._boxes.setdefault(row.track, []).append((row.frame, wham_boxes(row.keypoints[None])[0]))
        self._finish_rows(frames - LOOKAHEAD if self._write_crops else frames)

    def _finish_rows(self, end: int) -> None:
        """Finish the rows of the frames before ``end``, and drop what only they needed."""
        while self._waiting and self._waiting[0].frame < end:
            row = self._waiting.popleft()
            if self._write_crops:
                crop = person_crops.hmr2_crop(self._images[row.frame - self._first_image], self._median_box(row))
                self._write_crops(np.rint(crop[None, :, CROPPED_COLUMNS]).astype(np.uint8))
            if self._hands:
                image = self._images[row.frame - self._first_image]
                hands, scores = self._hands.look(image, np.ones(2), row.frame, row.track, row.keypoints)
                row = replace(row, hands=hands, hand_scores=scores)
            self._finished.append(row)
        while self._images and self._first_image < end:
            self._images.popleft()
            self._first_image += 1
        for track, boxes in list(self._boxes.items()):
            self._boxes[track] = [each for each in boxes if each[0] >= end - LOOKAHEAD]
            if not self._boxes[track]:
                del self._boxes[track]

    def _median_box(self, row: DetectionRow) -> np.ndarray:
        """The median (3,) of a track's boxes around a row: at 30 fps the box of `track_cleanup.build_people`."""
        frames, boxes = zip(*self._boxes[row.track], strict=True)
        window = np.arange(row.frame - LOOKAHEAD, row.frame + LOOKAHEAD + 1)
        return np.median([np.interp(window, frames, column) for column in np.stack(boxes, 1)], 1)


def _keypoints(
    vitpose: BatchedNetwork, crops: list[np.ndarray], windows: list[tuple[np.ndarray, np.ndarray]]
) -> np.ndarray:
    """ViTPose's keypoints (n, 17, 3) in crops with the given windows."""
    (heatmaps,) = vitpose(np.stack(crops))
    centres, sizes = map(np.stack, zip(*windows, strict=True))
    return person_crops.keypoints(heatmaps, centres, sizes)
