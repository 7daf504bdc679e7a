"""Stage 1: one pass over the clip, which detects and tracks people, finds their keypoints and tracks the background."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..array_file import Append, ArrayFile
from ..camera.background_tracks import BackgroundTracks
from ..clip import video_reader
from ..clip.image_sequence import content_sha256
from ..errors import PipelineError
from ..people import movenet
from ..people.hands import FAST_LOOK_INTERVAL, LOOK_INTERVAL, HandLandmarker, HandTracker
from ..people.landmark_tracker import LOOKBACK, LandmarkTracker
from ..people.landmarks import Landmarker
from ..people.tracking import Detector, PeopleSource
from ..people.types import Detections
from ..people.watch import process_clip
from ..progress import Progress
from .cache import Arrays, joined, parted
from .context import JobContext

_FRAMES_BYTES = 256e6  # of frames that wait for ViTPose and HMR2.0 until somebody new was followed back in them


@dataclass(frozen=True)
class Detected:
    """The people in each frame of the clip, and its background tracks."""

    detections: Detections
    background: BackgroundTracks
    crops: ArrayFile | None  # (N, 256, 192, 3) uint8 RGB, one per row of the detections; None: HMR2.0 is not used
    key: str


def detect_people(context: JobContext) -> Detected:
    """Process the clip in one pass; raises PipelineError if it cannot be decoded or changes meanwhile."""
    job, backend, info = context.job, context.backend, context.info
    settings = [
        context.clip_sha256, job.start, info.last_frame(job.end), job.rotate, info.speed,
        backend.detection_hashes, backend.keeps_crops,
    ]  # fmt: skip
    crops = None
    if backend.keeps_crops:
        arrays, key, crops = context.cache.run_with_file(
            "detect", settings, "crops", lambda progress, file: _process_writing_crops(context, progress, file)
        )
    else:
        arrays, key = context.cache.run("detect", settings, lambda progress: _process(context, progress, None))
    detections, background = parted(arrays)
    return Detected(Detections(**detections), BackgroundTracks(**background), crops, key)


def _process_writing_crops(context: JobContext, progress: Progress, file: ArrayFile) -> Arrays:
    from ..people.batched_network import CROP

    with file.writing(CROP, np.uint8) as append:
        return _process(context, progress, append)


def _process(context: JobContext, progress: Progress, write_crops: Append | None) -> Arrays:
    job = context.job
    length_known = context.info.last_frame(job.end) is not None
    people_source = build_people_source(context, write_crops)
    results = process_clip(
        context.info, people_source, job.start, job.end,
        lambda done, total: progress(done, total if length_known else 0), context.cache.folder,
    )  # fmt: skip
    del people_source
    context.free_memory()
    # Else another clip's people would be cached under this one's hash.
    if content_sha256(context.clip) != context.clip_sha256:
        raise PipelineError(
            f"{job.clip.name} was changed while it was read. Import it again when it is complete.",
            code="clip-changed-while-read",
        )
    return joined(map(vars, results))


def build_people_source(context: JobContext, write_crops: Append | None) -> PeopleSource:
    """Detector, tracker and keypoint networks for the job's quality.

    ``write_crops``: takes the crops for HMR2.0. Raises WeightsError if a weight file is not the expected one. PyTorch,
    which takes seconds to load, is imported only for Full quality's networks.
    """
    files = context.backend.files
    detect: Detector
    if "yolo" in files:
        import torch

        from ..people import yolo  # needs packages that Draft quality does without

        device = torch.device(context.device)
        detect = context.network("yolo", lambda: yolo.Yolo(files["yolo"].path, device))
        score = yolo.NEW_TRACK_SCORE
    else:
        detect = context.network("detector", lambda: movenet.MoveNet(files["detector"]))
        score = movenet.NEW_TRACK_SCORE
    more = "vitpose" in files or write_crops is not None  # networks that want the frames in full
    # Frames wait in memory, so fewer of large ones.
    lookback = min(LOOKBACK, int(_FRAMES_BYTES / (3 * context.info.width * context.info.height))) if more else LOOKBACK
    interval = FAST_LOOK_INTERVAL if context.backend.quality == "fast" else LOOK_INTERVAL
    hands = None
    if "hands" in files:
        hands = HandTracker(context.network("hands", lambda: HandLandmarker(files["hands"])), interval)
    people: PeopleSource
    if "landmarks" in files:
        landmarker = context.network("landmarks", lambda: Landmarker(files["landmarks"]))
        people, hands = LandmarkTracker(detect, landmarker, lookback, hands), None
    else:
        from ..people.detection_tracker import DetectionTracker  # needs them, too

        people, lookback = DetectionTracker(detect, score), 0
    if not more:
        return people
    import torch

    from ..people import vitpose_stage

    vitpose = None
    if "vitpose" in files:
        path, on_device = files["vitpose"].path, torch.device(context.device)
        vitpose = context.network(
            "vitpose", lambda: vitpose_stage.vitpose(vitpose_stage.load_vitpose(path), on_device, context.log)
        )
    frame_rate = min(context.info.fps, video_reader.NETWORK_FPS)
    return vitpose_stage.ViTPoseStage(people, vitpose, write_crops, frame_rate, lookback, hands)
