"""Runs a job: the stages in order, from a clip to a Motion file."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from ... import motion, protocol
from ...folders import cache_folder
from ...motion import MotionFileError
from .. import devices
from ..clip import quicktime_metadata, video_reader
from ..clip.image_sequence import Clip, PictureClip, clip_of, content_sha256, description
from ..network_store import NetworkStore
from ..progress import JobProgress, StageRates
from . import backends
from .cache import StageCache, Tell, kept_message, source_digest
from .context import RESULT_KEY, JobContext
from .detect import detect_people
from .job import CLIP_STAGES, Job, check_output, check_range, person_stages
from .loading import Loading

_SLOW_MOTION = 1.5  # frames filmed a second over frames played a second: below, metadata are rounded
# Where files are, what computes it, and what was chosen by it, which the weights show.
_NOT_OF_MOTION = {"clip", "output", "resume", "device", "quality", "weights", "corrections", "skip_finished"}


def run(job: Job, tell: Tell, networks: NetworkStore | None = None) -> Path:
    """Run all stages of a job and return the path of the Motion file.

    ``networks``: those of earlier jobs in this process; None: they are loaded for this job.

    Raises PipelineError, WeightsError or MotionFileError, with a sentence for the animator; ImportError if a package is
    missing or broken.
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
    key = result_key(job, backend, clip_sha256)
    if job.skip_finished and _has_key(job.output, key):
        tell(kept_message(job.output.name))
        return job.output
    folder = job.resume or cache_folder() / "jobs" / clip_sha256[:20]
    rates = StageRates(folder.parent / "rates.json", _machine(devices.device_name(device), backend), backend.files)
    loading = Loading()
    progress = JobProgress(rates, loading.checked(tell))
    frames = (info.last_frame(job.end) or 0) - job.start + 1
    progress.expect((*CLIP_STAGES, *person_stages(job)), max(frames, 1))
    cache = StageCache(folder, tell, progress)
    context = JobContext(job, info, clip_sha256, key, backend, device, cache, tell, networks or NetworkStore())
    progress.begin(CLIP_STAGES[0])
    progress.update(0, 0)  # what follows takes a second, and the animator shall see that the job runs
    loading.begin(context)
    detected = detect_people(context)
    write_motions, wham_and_body = loading.result()
    write_motions(context, detected, wham_and_body)
    return job.output


def result_key(job: Job, backend: backends.Backend, clip_sha256: str) -> str:
    """A hash of everything that a job's motion depends on: clip, options, weights and the source of all stages."""
    options = {name: value for name, value in vars(job).items() if name not in _NOT_OF_MOTION}
    options["corrections"] = job.corrections.text() if job.corrections else ""
    weights = {role: file.sha256 for role, file in sorted(backend.files.items())}
    source = source_digest(Path(__file__).resolve())
    content = json.dumps([clip_sha256, options, weights, source], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def _has_key(path: Path, key: str) -> bool:
    """Whether a motion file is there, whole, and of this `result_key`."""
    try:
        return motion.load(path)[0].meta.get(RESULT_KEY) == key
    except MotionFileError:
        return False


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
