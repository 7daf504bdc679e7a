"""Runs a job: the stages in order, from a clip to a Motion file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ... import motion, protocol
from ...folders import cache_folder
from ..clip import video_reader
from ..clip.image_sequence import PictureClip, clip_of, content_sha256, description
from ..people.types import frame_rate
from ..progress import JobProgress, StageRates
from ..world.placement import Placed
from ..world.plausibility import implausible
from ..world.resample import resample_to_clip
from . import backends
from .cache import StageCache, Tell
from .camera import SolvedCamera, solve_camera
from .context import JobContext
from .detect import detect_people
from .features import extract_features
from .job import Job, check_output, check_range, choose_device, device_name
from .pose import Lifted, load_networks, run_wham
from .tracks import Tracks, clean_tracks
from .world import place_people

_CLIP_STAGES = ("detect", "tracks", "camera")  # done for the whole clip, and for each person
_PERSON_STAGES = ("features", "wham", "placement", "smplify", "write")


def run(job: Job, tell: Tell) -> Path:
    """Run all stages of a job and return the path of the Motion file.

    Raises PipelineError, WeightsError or MotionFileError, with a sentence for the animator.
    """
    clip = clip_of(job.clip, job.fps)
    info = video_reader.probe(clip, job.rotate)
    check_range(job, info)
    if isinstance(clip, PictureClip):
        clip.missing(job.start, job.end)  # refuses gaps before any work is done
        tell(protocol.Log(description(clip)))
    check_output(job.output)
    device = choose_device(job.device)
    backend = backends.choose(job.quality, device, job.weights)
    tell(protocol.Log(backend.reason))
    clip_sha256 = content_sha256(clip)
    tell(protocol.Clip(clip_sha256))
    folder = job.resume or cache_folder() / "jobs" / clip_sha256[:20]
    rates = StageRates(folder.parent / "rates.json", _machine(device_name(device), backend), backend.files)
    progress = JobProgress(rates, tell)
    frames = (info.last_frame(job.end) or 0) - job.start + 1
    person_stages = [stage for stage in _PERSON_STAGES if _is_part_of(stage, job)]
    progress.expect((*_CLIP_STAGES, *person_stages), max(frames, 1))
    context = JobContext(job, info, clip_sha256, backend, device, StageCache(folder, tell, progress), tell)

    tracks = clean_tracks(context, detect_people(context))
    progress.expect(person_stages, sum(map(len, tracks.people)))
    networks = load_networks(context)
    camera = solve_camera(context, tracks)
    features = extract_features(context, tracks, camera, networks.wham.d_feat)
    lifted = run_wham(context, tracks, camera, features, networks)
    placed = place_people(context, tracks, camera, lifted)
    progress.begin("write")
    motions = _motions(context, tracks, camera, lifted, placed)
    _check_result(context, tracks.numbers, motions)
    motion.save(job.output, motions)
    progress.finish()
    return job.output


def _machine(name: str, backend: backends.Backend) -> str:
    """A name for everything that the speed of a job depends on: device, quality and, if mixed, the networks."""
    networks = f" {' '.join(sorted(backend.files))}" if backend.quality == "mixed" else ""
    return f"{name} {backend.quality}{networks}"


def _is_part_of(stage: str, job: Job) -> bool:
    """Whether a stage is part of a job with these options."""
    if stage == "smplify":
        return job.refine and job.world != "wham"
    return stage != "placement" or job.world != "wham"


def _check_result(context: JobContext, numbers: list[int], motions: list[motion.Motion]) -> None:
    """Warn of people whose motion cannot be right."""
    for index, fault in implausible(motions).items():
        context.warn(
            f"The motion of person {numbers[index]} in {context.job.clip.name} cannot be right: the body {fault}. See "
            "whether the clip lies on its side, its camera moves, or the person is seen in part only.",
            code="result-implausible",
        )


def _motions(
    context: JobContext, tracks: Tracks, camera: SolvedCamera, lifted: Lifted, placed: list[Placed]
) -> list[motion.Motion]:
    """The motions of the requested people at the clip's frames."""
    job, detections = context.job, tracks.detected.detections
    gender = job.gender if lifted.shape else "neutral"
    meta: dict[str, Any] = {
        "clip": job.clip.name, "clip_sha256": context.clip_sha256, "size": context.size, "fps": frame_rate(detections),
        "quality": context.backend.quality,
        "settings": {name: value for name, value in vars(job).items() if not isinstance(value, Path)},
        "timings": context.cache.timings,
        "weights": {
            role: {"name": file.path.name, "version": file.version, "sha256": file.sha256}
            for role, file in lifted.files.items()
        },
    }  # fmt: skip
    if isinstance(context.clip, PictureClip):
        meta["turned"] = context.clip.turned()
    return [
        resample_to_clip(detections, person, person_placed, camera.camera_K, meta | {"person": number}, gender)
        for number, person, person_placed in zip(tracks.numbers, tracks.people, placed, strict=True)
    ]
