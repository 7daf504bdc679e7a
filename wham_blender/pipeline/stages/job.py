"""A job's options, and the checks that refuse a job before any work is done."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ...corrections import NO_CORRECTIONS, Corrections
from ..clip.video_reader import ClipInfo
from ..errors import PipelineError, folder_not_writable

CLIP_STAGES = ("detect", "tracks", "camera")  # done for the whole clip
_PERSON_STAGES = ("features", "wham", "placement", "smplify", "hands", "write")


@dataclass(frozen=True)
class Job:
    """A clip and the options of its import."""

    clip: Path  # a video, a folder of pictures, one of them or a pattern
    output: Path
    person: str | int = "MAIN"  # MAIN, ALL, or a number from 1, largest and longest first
    start: int = 1  # first clip frame, from 1
    end: int | None = None  # last clip frame; None: the clip's last
    fps: float | None = None  # of an image sequence; None: image_sequence.DEFAULT_FPS
    rotate: int = (
        0  # 0, 90, 180 or 270 degrees clockwise by which the picture is rotated, after the clip's own rotation
    )
    speed: float | None = None  # how many times slower the film is played than it was filmed; None: by its metadata
    resume: Path | None = None  # the job folder; None: one of the clip's own in the user's cache
    device: str = "auto"  # one of the texts that devices.choose takes
    quality: str = "auto"  # one of backends.QUALITIES
    weights: Path | None = None  # the library of Full quality's files; None: the user's own
    camera: str = "auto"  # auto, static or moving
    focal_length: float | None = None  # millimetres, 35 mm equivalent
    actor_height: float | None = None  # metres, of the first of the people asked for; it scales the world
    anchor: bool = True  # for a static camera: use its constant position when people are placed
    gender: str = "neutral"  # neutral, male or female: of the body in Full quality
    refine: bool = True  # fit the bodies to the keypoints (SMPLify)
    hands: bool = True  # see hands, for fingers and wrists
    world: str = "placed"  # placed (from the picture, WHAM and planted feet), or wham (the network's own rollout)
    smooth: float = 0.0  # seconds: movements that repeat within them are filtered out
    corrections: Corrections = NO_CORRECTIONS  # of people and tracks, made by hand
    skip_finished: bool = False  # leave the motion file as it is if `run.result_key` is that of this job
    smplh: bool = False  # write AMASS's poses of SMPL-H, with the fingers, instead of SMPL's


def person_stages(job: Job) -> list[str]:
    """The stages that are done for each person in a job with these options."""
    return [stage for stage in _PERSON_STAGES if _is_part_of(stage, job)]


def _is_part_of(stage: str, job: Job) -> bool:
    """Whether a stage is part of a job with these options."""
    if stage == "smplify":
        return job.refine and job.world != "wham"
    if stage == "hands":
        return job.hands
    return stage != "placement" or job.world != "wham"


def check_range(job: Job, info: ClipInfo) -> None:
    """Raise PipelineError if the clip does not have the job's frames."""
    end = info.frames or sys.maxsize if job.end is None else job.end
    if not 1 <= job.start <= end or job.start > (info.frames or end):
        raise PipelineError(
            f"Frames {job.start} to {'the last' if job.end is None else end} cannot be taken from {job.clip.name}, "
            f"which has {info.frames or 'some'} frames. Choose a first frame from 1 on and a last one after it.",
            code="frame-range-invalid",
        )


def check_output(output: Path) -> None:
    """Raise PipelineError, before any work is done, if the result cannot be written."""
    if output.suffix != ".npz" or output.is_dir():
        raise PipelineError(
            f"{output.name} cannot be the motion file. Give a file name that ends in .npz.", code="output-name-invalid"
        )
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=output.parent).close()
    except OSError as error:
        raise folder_not_writable(output.parent, error) from error
