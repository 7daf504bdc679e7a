"""One pass over a clip: decodes it once, detects and tracks its people, and tracks its background."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ..array_file import RowFile
from ..camera import background_tracks
from ..clip import video_reader
from ..progress import Progress
from .hands import HAND_POINTS
from .landmarks import COCO_LANDMARKS
from .tracking import DetectionRow, PeopleSource
from .types import Detections


def process_clip(
    clip: video_reader.ClipInfo,
    people_source: PeopleSource,
    start: int = 1,
    end: int | None = None,
    progress: Progress = lambda done, total: None,
    folder: Path | None = None,
) -> tuple[Detections, background_tracks.BackgroundTracks]:
    """The people in frames start..end of a clip, and its background tracks for `camera_motion.solve_camera_motion`.

    ``clip`` is of `video_reader.probe`; ``progress`` is called with frames done and frames in total; ``folder``: for
    temporary files, as of `RowFile`: a frame of one person has 6 kB, which are never in memory for a whole clip.

    Raises PipelineError as `video_reader.read_frames` does, or if the temporary files cannot be written.
    """
    total = (clip.last_frame(end) or 0) - start + 1
    frame_numbers: list[int] = []
    frame_times: list[float] = []
    network_frames: list[int] = []
    damaged: list[int] = []
    rows = _Rows(folder)
    background = background_tracks.BackgroundTracker(folder)
    for frame in video_reader.read_frames(clip.path, start, end, clip.rotate, clip.speed):
        frame_numbers.append(frame.number)
        frame_times.append(frame.time)
        if frame.damaged:
            damaged.append(frame.number)
        if frame.image is None:
            continue
        if background.track_frame(frame.image):
            people_source.start_new_shot()
        background.finish_frame(people_source.process_frame(frame.image))
        rows.add(people_source.finished_rows())
        network_frames.append(len(frame_times) - 1)
        progress(len(frame_times), max(total, len(frame_times)))
    people_source.finish()
    rows.add(people_source.finished_rows())
    detections = Detections(
        size=np.array([clip.width, clip.height]),
        frame_numbers=np.array(frame_numbers, np.int64),
        frame_times=np.array(frame_times, np.float64),
        network_frames=np.array(network_frames, np.int64),
        row_frame=np.array(rows.frames, np.int64),
        track=np.array(rows.tracks, np.int64),
        damaged=np.array(damaged, np.int64),
        **rows.columns(),
    )
    return detections, background.result()


class _Rows:
    """The rows of all frames so far; their arrays are in temporary files."""

    _NO_ROW = DetectionRow(
        0, 0, np.zeros(4), np.zeros((len(COCO_LANDMARKS), 3)), np.zeros((0, 3)), np.zeros((0, 3)),
        hands=np.zeros((0, HAND_POINTS, 5)),
    )  # fmt: skip

    def __init__(self, folder: Path | None) -> None:
        self.frames: list[int] = []
        self.tracks: list[int] = []
        names = ("keypoints", "landmarks", "landmarks_3d", "appearance", "hands", "hand_scores")
        self._files = {name: RowFile(folder, np.float32) for name in names}

    def add(self, rows: Iterable[DetectionRow]) -> None:
        for row in rows:
            self.frames.append(row.frame)
            self.tracks.append(row.track)
            for name, file in self._files.items():
                file.append(getattr(row, name)[None])

    def columns(self) -> dict[str, np.ndarray]:
        """The arrays of `Detections`, memory-mapped."""
        return {name: file.rows(getattr(self._NO_ROW, name).shape) for name, file in self._files.items()}
