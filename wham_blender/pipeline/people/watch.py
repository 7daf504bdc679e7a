"""One pass over a clip: decodes it once, detects and tracks its people, and tracks its background."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..camera import background_tracks
from ..clip import video_reader
from ..progress import Progress
from .landmarks import COCO_LANDMARKS
from .tracking import Row, Spotter
from .types import Sightings


def watch(
    clip: Path,
    spotter: Spotter,
    start: int = 1,
    end: int | None = None,
    progress: Progress = lambda done, total: None,
) -> tuple[Sightings, background_tracks.Corners]:
    """One pass over frames start..end of a clip: its people, and its background for `camera_motion.solve`.

    ``progress`` is told frames done and frames in all.

    Raises PipelineError as `video.frames` does.
    """
    info = video_reader.probe(clip)
    total = (info.last(end) or 0) - start + 1
    numbers: list[int] = []
    times: list[float] = []
    looked: list[int] = []
    rows: list[Row] = []
    background = background_tracks.Background()
    for frame in video_reader.frames(clip, start, end):
        numbers.append(frame.number)
        times.append(frame.time)
        if frame.image is None:
            continue
        if background.follow(frame.image):
            spotter.cut()
        background.keep(spotter.see(frame.image))
        rows += spotter.ready()
        looked.append(len(times) - 1)
        progress(len(times), max(total, len(times)))
    spotter.finish()
    rows += spotter.ready()

    def column(values: list[np.ndarray], *shape: int) -> np.ndarray:
        return np.array(values, np.float32).reshape(len(rows), *shape)

    sightings = Sightings(
        size=np.array([info.width, info.height]),
        numbers=np.array(numbers, np.int64),
        times=np.array(times, np.float64),
        looked=np.array(looked, np.int64),
        look=np.array([row.look for row in rows], np.int64),
        track=np.array([row.track for row in rows], np.int64),
        keypoints=column([row.keypoints for row in rows], len(COCO_LANDMARKS), 3),
        landmarks=column([row.landmarks for row in rows], -1 if rows else 0, 3),
        landmarks_3d=column([row.landmarks_3d for row in rows], -1 if rows else 0, 3),
    )
    return sightings, background.corners()
