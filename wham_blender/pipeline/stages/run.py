"""Runs a job: the stages in order, from a clip to a Motion file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ... import motion, protocol
from ...corrections import Corrections
from ...folders import cache_folder
from .. import devices
from ..clip import film, quicktime_metadata, video_reader
from ..clip.image_sequence import Clip, PictureClip, clip_of, content_sha256, description
from ..people.types import Detections, frame_rate
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
from .film import copy_for_blender, reason_for_copy
from .hands import add_hands
from .job import Job, check_output, check_range
from .pose import Lifted, load_networks, run_wham
from .tracks import Tracks, clean_tracks
from .world import place_people

_SLOW_MOTION = 1.5  # frames filmed a second over frames played a second: below, metadata are rounded
_CLIP_STAGES = ("detect", "tracks", "camera")  # done for the whole clip, and for each person
_PERSON_STAGES = ("features", "wham", "placement", "smplify", "hands", "write")


def run(job: Job, tell: Tell) -> Path:
    """Run all stages of a job and return the path of the Motion file.

    Raises PipelineError, WeightsError or MotionFileError, with a sentence for the animator.
    """
    clip = clip_of(job.clip, job.fps)
    info, note = _probe(job, clip)
    check_range(job, info)
    if isinstance(clip, PictureClip):
        clip.missing(job.start, job.end)  # refuses gaps before any work is done
        tell(protocol.Log(description(clip)))
    check_output(job.output)
    device = devices.choose(job.device, lambda text, code: tell(protocol.Warn(text, code)))
    backend = backends.choose(job.quality, device, job.weights)
    if job.hands:
        backend = backend.with_hands()
    tell(protocol.Log(backend.reason))
    tell(protocol.Log(f"The networks run on {devices.device_name(device)}."))
    if note:
        tell(protocol.Log(note))
    clip_sha256 = content_sha256(clip)
    tell(protocol.Clip(clip_sha256))
    folder = job.resume or cache_folder() / "jobs" / clip_sha256[:20]
    rates = StageRates(folder.parent / "rates.json", _machine(devices.device_name(device), backend), backend.files)
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
    placed = add_hands(context, tracks, camera, lifted, place_people(context, tracks, camera, lifted))
    progress.begin("write")
    motions = _motions(context, tracks, camera, lifted, placed)
    _check_result(context, tracks.numbers, motions)
    detections = tracks.detected.detections
    if reason := reason_for_copy(context, detections):
        progress.expect(["film"], len(detections.frame_numbers))
        progress.finish()
        progress.begin("film")
        shown = copy_for_blender(context, detections, reason)
        for person in motions:
            person.meta |= shown
    motion.save(job.output, motions, smplh=job.smplh)
    progress.finish()
    return job.output


def _frame_rate(context: JobContext, detections: Detections) -> float:
    """The clip's frame rate: that of its header if the frames' times agree with it, else their mean."""
    info = context.info
    if film.is_constant_rate(detections.frame_numbers, detections.frame_times * info.speed, info.fps / info.speed):
        return info.fps
    return frame_rate(detections)


def _probe(job: Job, clip: Clip) -> tuple[video_reader.ClipInfo, str]:
    """The clip's properties at the speed at which it was filmed, and a note for the log if the clip itself says it."""
    info, note = video_reader.probe(clip, job.rotate), ""
    speed = job.speed or 1.0
    filmed = quicktime_metadata.capture_rate(clip) if job.speed is None and isinstance(clip, Path) else None
    if filmed and filmed / info.fps > _SLOW_MOTION:
        speed = filmed / info.fps
        note = (
            f"By the clip's metadata, it was filmed at {filmed:.5g} frames a second and is played at {info.fps:.5g}: "
            f"Slow Motion is {speed:.4g}."
        )
    return video_reader.probe(clip, job.rotate, speed), note


def _machine(name: str, backend: backends.Backend) -> str:
    """A name for everything that the speed of a job depends on: device, quality and, if mixed, the networks."""
    networks = f" {' '.join(sorted(backend.files))}" if backend.quality == "mixed" else ""
    return f"{name} {backend.quality}{networks}"


def _is_part_of(stage: str, job: Job) -> bool:
    """Whether a stage is part of a job with these options."""
    if stage == "smplify":
        return job.refine and job.world != "wham"
    if stage == "hands":
        return job.hands
    return stage != "placement" or job.world != "wham"


def _check_result(context: JobContext, numbers: list[int], motions: list[motion.Motion]) -> None:
    """Warn of people whose motion cannot be right."""
    for index, fault in implausible(motions).items():
        context.warn(
            f"The motion of person {numbers[index]} in {context.job.clip.name} cannot be right: {fault}. See "
            "whether the clip lies on its side, its camera moves, or the person is seen in part only.",
            code="result-implausible",
        )


def _is_setting(value: object) -> bool:
    """Whether the motion file names an option's value: neither paths nor the corrections, which are long."""
    return not isinstance(value, Path | Corrections)


def _motions(
    context: JobContext, tracks: Tracks, camera: SolvedCamera, lifted: Lifted, placed: list[Placed]
) -> list[motion.Motion]:
    """The motions of the requested people at the clip's frames."""
    job, detections = context.job, tracks.detected.detections
    gender = job.gender if lifted.shape else "neutral"
    meta: dict[str, Any] = {
        "clip": job.clip.name, "clip_sha256": context.clip_sha256, "size": context.size,
        "fps": _frame_rate(context, detections), "speed": context.info.speed,
        "quality": context.backend.quality,
        "settings": {name: value for name, value in vars(job).items() if _is_setting(value)},
        "timings": context.cache.timings,
        "weights": {
            role: {"name": file.path.name, "version": file.version, "sha256": file.sha256}
            for role, file in lifted.files.items()
        },
    }  # fmt: skip
    return [
        resample_to_clip(detections, person, person_placed, camera.camera_K, meta | {"person": number}, gender)
        for number, person, person_placed in zip(tracks.numbers, tracks.people, placed, strict=True)
    ]
