"""The stages after the first: from the people detected in a clip to a Motion file.

They import PyTorch and SciPy, which takes seconds: `loading.py` does that while the first stage reads the clip.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ... import motion
from ...corrections import Corrections
from ..clip import film
from ..people.types import Detections, frame_rate
from ..world.placement import Placed
from ..world.plausibility import implausible
from ..world.resample import resample_to_clip
from ..world.smooth import foot_sliding
from .camera import SolvedCamera, solve_camera
from .context import RESULT_KEY, JobContext
from .detect import Detected
from .features import extract_features
from .film import copy_for_blender, reason_for_copy
from .hands import add_hands
from .job import person_stages
from .pose import Lifted, Networks, run_wham
from .tracks import Tracks, clean_tracks
from .world import place_people


def write_motions(context: JobContext, detected: Detected, networks: Networks) -> None:
    """Run the stages after the first and write the job's Motion file; raises as `run.run`."""
    job, progress = context.job, context.cache.progress
    tracks = clean_tracks(context, detected)
    progress.expect(person_stages(job), sum(map(len, tracks.people)))
    camera = solve_camera(context, tracks)
    features = extract_features(context, tracks, camera, networks.wham.d_feat)
    lifted = run_wham(context, tracks, camera, features, networks)
    placed = add_hands(context, tracks, camera, lifted, place_people(context, tracks, camera, lifted))
    progress.begin("write")
    motions = _motions(context, tracks, camera, lifted, placed)
    for person, person_placed in zip(motions, placed, strict=True):
        person.meta |= {RESULT_KEY: context.result_key, "sliding": foot_sliding(person_placed, lifted.body)}
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


def _frame_rate(context: JobContext, detections: Detections) -> float:
    """The clip's frame rate: that of its header if the frames' times agree with it, else their mean."""
    info = context.info
    if film.is_constant_rate(detections.frame_numbers, detections.frame_times * info.speed, info.fps / info.speed):
        return info.fps
    return frame_rate(detections)


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
