"""One pass over a clip: decodes it once, detects and tracks its people, and tracks its background."""

from __future__ import annotations

import numpy as np

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
) -> tuple[Detections, background_tracks.BackgroundTracks]:
    """The people in frames start..end of a clip, and its background tracks for `camera_motion.solve_camera_motion`.

    ``clip`` is of `video_reader.probe`; ``progress`` is called with frames done and frames in total.

    Raises PipelineError as `video_reader.read_frames` does.
    """
    total = (clip.last_frame(end) or 0) - start + 1
    frame_numbers: list[int] = []
    frame_times: list[float] = []
    network_frames: list[int] = []
    damaged: list[int] = []
    rows: list[DetectionRow] = []
    background = background_tracks.BackgroundTracker()
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
        rows += people_source.finished_rows()
        network_frames.append(len(frame_times) - 1)
        progress(len(frame_times), max(total, len(frame_times)))
    people_source.finish()
    rows += people_source.finished_rows()

    def column(values: list[np.ndarray], *shape: int) -> np.ndarray:
        return np.array(values, np.float32).reshape(len(rows), *shape)

    detections = Detections(
        size=np.array([clip.width, clip.height]),
        frame_numbers=np.array(frame_numbers, np.int64),
        frame_times=np.array(frame_times, np.float64),
        network_frames=np.array(network_frames, np.int64),
        row_frame=np.array([row.frame for row in rows], np.int64),
        track=np.array([row.track for row in rows], np.int64),
        keypoints=column([row.keypoints for row in rows], len(COCO_LANDMARKS), 3),
        landmarks=column([row.landmarks for row in rows], -1 if rows else 0, 3),
        landmarks_3d=column([row.landmarks_3d for row in rows], -1 if rows else 0, 3),
        appearance=column([row.appearance for row in rows], -1 if rows else 0),
        hands=column([row.hands for row in rows], -1 if rows else 0, HAND_POINTS, 5),
        hand_scores=column([row.hand_scores for row in rows], -1 if rows else 0),
        damaged=np.array(damaged, np.int64),
    )
    return detections, background.result()
