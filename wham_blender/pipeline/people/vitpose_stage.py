"""Looks closely at the people that a spotter finds, many at once, while the clip is decoded for the only time.

ViTPose sees keypoints in batches of crops, of several frames and people together, in a thread of its own while the next
frames are decoded, searched and cut. HMR2.0 wants a calmer box, the median of a quarter of a second before and after,
so pictures wait until that is known; then what HMR2.0 is to see of them is cut out and kept in a file. Frames that
nobody needs any more are dropped, so memory does not grow with the clip.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...models.hmr2 import CROPPED_COLUMNS
from ...models.vitpose import ViTPose
from ..checkpoints import load_network
from ..clip import video_reader
from . import person_crops
from .batched_network import BatchedNetwork, Log
from .one_euro import OneEuroFilter
from .track_cleanup import MEDIAN, wham_boxes
from .tracking import MIN_KEYPOINTS, DetectionRow, PeopleSource
from .types import is_confident

LOOKAHEAD = MEDIAN // 2  # looks
_MOST_PICTURES = 128e6  # bytes of pictures that wait for a full batch; large ones make batches smaller

Keep = Callable[[np.ndarray], None]  # takes crops (n, 256, 192, 3) uint8 RGB, one a row, in the order of the rows


def load_vitpose(path: str | Path) -> ViTPose:
    """ViTPose-H, float32, on the CPU; raises WeightsError with a sentence where the file is another."""
    return load_network(path, "vitpose", ViTPose.from_state_dict)


def vitpose(model: ViTPose, device: torch.device, note: Log) -> BatchedNetwork:
    """ViTPose, as an ViTPoseStage takes it: crops to heatmaps (n, 17, 64, 48), the mean of both views."""

    def infer(pictures: Tensor) -> tuple[Tensor]:
        return (person_crops.average_flipped(*model(pictures).chunk(2)),)

    return BatchedNetwork(model, infer, "ViTPose-H", device, note)


class ViTPoseStage:
    """A PeopleSource behind another one: adds what ViTPose sees of its people, and keeps HMR2.0's crops of them.

    ``frame_rate``: of the frames that it is given, hertz. ``vitpose`` None: the keypoints stay
    the spotter's own; ``keep`` None: no crops are wanted.
    """

    def __init__(
        self,
        people: PeopleSource,
        vitpose: BatchedNetwork | None,
        keep: Keep | None,
        frame_rate: float = video_reader.NETWORK_FPS,
    ) -> None:
        self._people, self._vitpose, self._keep = people, vitpose, keep
        self._frame_rate = frame_rate
        self._filters: dict[int, tuple[int, OneEuroFilter]] = {}  # by track: its last frame, and the filter
        self._pending: list[DetectionRow] = []  # without keypoints yet, and their crops
        self._crops: list[np.ndarray] = []
        self._windows: list[tuple[np.ndarray, np.ndarray]] = []
        self._thread = ThreadPoolExecutor(1, "look")
        self._running: tuple[list[DetectionRow], Future[np.ndarray]] | None = None  # the batch that ViTPose looks at
        self._gathered = 0  # looks whose people went to ViTPose
        self._waiting: deque[DetectionRow] = deque()  # with keypoints, until their box is known
        self._past: dict[int, list[tuple[int, np.ndarray]]] = {}  # by track: looks and boxes near those that wait
        self._pictures: deque[np.ndarray] = deque()  # of the looks from _first on
        self._first = self._looks = 0
        self._rows: list[DetectionRow] = []

    def process_frame(self, image: np.ndarray) -> np.ndarray:
        """See `PeopleSource`."""
        boxes = self._people.process_frame(image)
        self._looks += 1
        self._pictures.append(image)
        self._take(self._people.finished_rows())
        gathered = image.nbytes * (self._looks - self._gathered)
        if self._vitpose is None or len(self._crops) >= self._vitpose.batch or gathered > _MOST_PICTURES:
            self._look()
        return boxes

    def start_new_shot(self) -> None:
        """See `PeopleSource`."""
        self._people.start_new_shot()

    def finished_rows(self) -> list[DetectionRow]:
        """See `PeopleSource`."""
        rows, self._rows = self._rows, []
        return rows

    def finish(self) -> None:
        """See `PeopleSource`."""
        self._people.finish()
        self._take(self._people.finished_rows())
        self._look()
        self._look()
        self._thread.shutdown()
        self._release(self._looks)

    def _take(self, rows: Iterable[DetectionRow]) -> None:
        for row in rows:
            self._pending.append(row)
            if self._vitpose is None:
                continue
            (centre,), (size,) = person_crops.vitpose_windows(row.box[None])
            self._windows.append((centre, size))
            self._crops.append(person_crops.vitpose_crop(self._pictures[row.frame - self._first], centre, size))

    def _look(self) -> None:
        """Take what ViTPose has seen, and give it what is gathered."""
        if self._vitpose is None:
            self._understand(self._pending, self._looks)
        else:
            seen: list[DetectionRow] = []
            if self._running:
                rows, points = self._running
                seen = [self._smoothed(row, own) for row, own in zip(rows, points.result(), strict=True)]
            self._understand(seen, self._gathered)
            self._running = None
            if self._crops:
                points = self._thread.submit(_keypoints, self._vitpose, self._crops, self._windows)
                self._running = self._pending, points
            self._gathered = self._looks
        self._pending, self._crops, self._windows = [], [], []

    def _smoothed(self, row: DetectionRow, keypoints: np.ndarray) -> DetectionRow:
        """A row with ViTPose's keypoints, filtered along its track; a gap in the track starts the filter anew."""
        last, smooth = self._filters.get(row.track) or (-2, OneEuroFilter(self._frame_rate))
        if row.frame != last + 1:
            smooth = OneEuroFilter(self._frame_rate)
        self._filters[row.track] = row.frame, smooth
        return replace(row, keypoints=smooth(keypoints))

    def _understand(self, rows: list[DetectionRow], looks: int) -> None:
        """Rows with keypoints, the last of the first so many looks."""
        for row in rows:
            if is_confident(row.keypoints).sum() >= MIN_KEYPOINTS:
                self._waiting.append(row)
                self._past.setdefault(row.track, []).append((row.frame, wham_boxes(row.keypoints[None])[0]))
        self._release(looks - LOOKAHEAD if self._keep else looks)

    def _release(self, until: int) -> None:
        """Finish the rows of the looks before ``until``."""
        while self._waiting and self._waiting[0].frame < until:
            row = self._waiting.popleft()
            if self._keep:
                crop = person_crops.hmr2_crop(self._pictures[row.frame - self._first], self._calm_box(row))
                self._keep(np.rint(crop[None, :, CROPPED_COLUMNS]).astype(np.uint8))
            self._rows.append(row)
        while self._pictures and self._first < until:
            self._pictures.popleft()
            self._first += 1
        for track, boxes in list(self._past.items()):
            self._past[track] = [each for each in boxes if each[0] >= until - LOOKAHEAD]
            if not self._past[track]:
                del self._past[track]

    def _calm_box(self, row: DetectionRow) -> np.ndarray:
        """The median (3,) of a track's boxes round a row, as `track.people` has it where looks come 30 a second."""
        looks, boxes = zip(*self._past[row.track], strict=True)
        around = np.arange(row.frame - LOOKAHEAD, row.frame + LOOKAHEAD + 1)
        return np.median([np.interp(around, looks, column) for column in np.stack(boxes, 1)], 1)


def _keypoints(
    vitpose: BatchedNetwork, crops: list[np.ndarray], windows: list[tuple[np.ndarray, np.ndarray]]
) -> np.ndarray:
    """What ViTPose sees in crops and their windows, (n, 17, 3)."""
    (heatmaps,) = vitpose(np.stack(crops))
    centres, sizes = map(np.stack, zip(*windows, strict=True))
    return person_crops.keypoints(heatmaps, centres, sizes)
