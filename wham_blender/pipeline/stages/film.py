"""Last stage: a copy of the clip for Blender's camera, where Blender would not show the clip's own frames."""

from __future__ import annotations

import hashlib
from typing import Any

import av

from ..clip import film
from ..people.types import Detections
from .context import JobContext


def reason_for_copy(context: JobContext, detections: Detections) -> str:
    """Why Blender cannot show the clip itself; empty if it can."""
    job = context.job
    if len(detections.damaged):
        return "some of its frames are damaged"
    times = detections.frame_times * context.info.speed
    return film.why_not_shown(context.clip, detections.frame_numbers, times, job.rotate)


def copy_for_blender(context: JobContext, detections: Detections, reason: str) -> dict[str, Any]:
    """What a motion file's ``meta`` says of the film to show; the copy lies beside the motion file.

    It is not written again if it is there. Where it cannot be written, a warning says so, and the job goes on.
    """
    job = context.job
    start, end = int(detections.frame_numbers[0]), int(detections.frame_numbers[-1])
    named_by = hashlib.sha256(f"{context.clip_sha256} {start} {end} {job.rotate}".encode()).hexdigest()[:8]
    path = job.output.with_name(f"film-{named_by}.mp4")
    if not path.is_file():
        try:
            film.write(context.clip, path, start, end, job.rotate, context.cache.progress.update)
        except (OSError, av.FFmpegError) as error:
            context.warn(
                f"The copy of {job.clip.name} that Blender would show behind the camera ({reason}) cannot be written "
                f"to {path.parent}: {error.strerror or error}. Make space there, and import it again.",
                code="film-not-written",
            )
    return {"film": path.name, "film_start": start, "film_reason": reason}
