"""Between stages 1 and 2: looks for people in the boxes that an animator drew, where the detector found nobody."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np

from ...corrections import Box
from ..clip import video_reader
from ..people.drawn_box import follow_from_box
from ..people.frame_buffer import FrameBuffer
from ..people.hands import FAST_LOOK_INTERVAL, LOOK_INTERVAL, HandLandmarker, HandTracker
from ..people.landmarks import Landmarker
from ..people.tracking import DetectionRow
from ..people.types import Detections
from ..progress import Progress
from .cache import Arrays
from .context import JobContext
from .detect import Detected

_OF_ROWS = ("keypoints", "landmarks", "landmarks_3d", "appearance", "hands", "hand_scores")


def detections_in_boxes(context: JobContext, detected: Detected) -> tuple[Detections, str]:
    """The detections with the rows of all drawn boxes, whose track ids are -1, -2, ...; and the key of these rows.

    With networks other than the landmark net boxes are not used, and a warning says so.
    """
    boxes, detections = context.job.corrections.boxes, detected.detections
    if not boxes:
        return detections, ""
    if detected.crops is not None or not detections.landmarks.shape[1] or "vitpose" in context.backend.files:
        context.warn(
            f"Boxes drawn by hand are not used in {context.backend.quality} quality. Choose Draft to have them used.",
            code="box-not-used",
        )
        return detections, ""
    frames = sum(box.last - box.first + 1 for box in boxes)
    context.cache.progress.expect(["boxes"], frames)
    arrays, key = context.cache.run(
        "boxes", [detected.key, [asdict(box) for box in boxes]],
        lambda progress: _looked_at(context, detections, boxes, progress),
    )  # fmt: skip
    for number, box in enumerate(boxes):
        if not (arrays["track"] == -1 - number).any():
            context.warn(
                f"Nobody can be recognised in the box drawn in frame {box.frame} of {context.job.clip.name}. Draw it "
                "around the whole person, in a frame that shows them sharply.",
                code="box-empty",
            )
    return _merged(detections, arrays), key


def _looked_at(context: JobContext, detections: Detections, boxes: tuple[Box, ...], progress: Progress) -> Arrays:
    """The rows of all boxes as the arrays of Detections."""
    files = context.backend.files
    landmarker = Landmarker(files["landmarks"])
    interval = FAST_LOOK_INTERVAL if context.backend.quality == "fast" else LOOK_INTERVAL
    rows: list[DetectionRow] = []
    for number, box in enumerate(boxes):
        hands = HandTracker(HandLandmarker(files["hands"]), interval) if "hands" in files else None
        frames, buffer = _frames(context, detections, box)
        progress(number, len(boxes))
        if not len(frames):
            continue
        drawn = int(np.abs(detections.frame_numbers[detections.network_frames[frames]] - box.frame).argmin())
        corners = np.array([box.x1, box.y1, box.x2, box.y2]) * np.tile(detections.size, 2)
        seen = {index: detections.keypoints[detections.row_frame == frame] for index, frame in enumerate(frames)}
        for frame, row in follow_from_box(corners, drawn, buffer, landmarker, hands, seen):
            rows.append(replace(row, frame=int(frames[frame]), track=-1 - number))
    like = {name: getattr(detections, name) for name in _OF_ROWS}
    found = {
        name: np.array([getattr(row, name) for row in rows], each.dtype).reshape(len(rows), *each.shape[1:])
        for name, each in like.items()
    }
    return found | {
        "row_frame": np.array([row.frame for row in rows], np.int64),
        "track": np.array([row.track for row in rows], np.int64),
    }


def _frames(context: JobContext, detections: Detections, box: Box) -> tuple[np.ndarray, FrameBuffer]:
    """The network frames (n,) in which a box is used, and their pictures in the same order."""
    numbers = detections.frame_numbers[detections.network_frames]
    wanted = {int(number): frame for frame, number in enumerate(numbers) if box.first <= number <= box.last}
    buffer, frames = FrameBuffer(len(wanted) + 1), []
    if wanted:
        job, info = context.job, context.info
        for frame in video_reader.read_frames(context.clip, min(wanted), max(wanted), job.rotate, info.speed):
            if frame.image is not None and frame.number in wanted:
                buffer.append(frame.image)
                frames.append(wanted[frame.number])
    return np.array(frames, np.int64), buffer


def _merged(detections: Detections, rows: Arrays) -> Detections:
    """The detections and more rows, in order of their frames."""
    both = {name: np.concatenate([getattr(detections, name), values]) for name, values in rows.items()}
    order = np.argsort(both["row_frame"], kind="stable")
    return replace(detections, **{name: values[order] for name, values in both.items()})
