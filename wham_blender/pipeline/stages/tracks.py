"""Stage 2: complete, smooth tracks from the detections of each frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ... import protocol
from ..errors import PipelineError
from ..people import thumbnails, track_cleanup
from ..people.types import Detections, Person, frames_in_track, is_confident
from .cache import joined, parted
from .context import JobContext
from .detect import Detected


@dataclass(frozen=True)
class Tracks:
    """The people in the clip, and which of them the job asks for."""

    detected: Detected
    everybody: list[Person]
    numbers: list[int]  # of the people asked for, from 1
    key: str

    @property
    def people(self) -> list[Person]:
        """The people asked for."""
        return [self.everybody[number - 1] for number in self.numbers]

    @property
    def network_times(self) -> np.ndarray:
        """Times (L,) of the network frames, seconds since the clip's first frame."""
        detections = self.detected.detections
        return detections.frame_times[detections.network_frames]

    def shots(self) -> list[int]:
        """The shot number, from 0, of each person asked for."""
        shot = self.detected.background.shot
        return [int(shot[np.searchsorted(self.network_times, person.time[0] - 1e-3)]) for person in self.people]


def clean_tracks(context: JobContext, detected: Detected) -> Tracks:
    """Join pieces of one person's track, bridge gaps, smooth keypoints, and send the list of people.

    Raises PipelineError if nobody is found, or not the person that the job asks for.
    """
    job, detections, shot = context.job, detected.detections, detected.background.shot
    _check_detections(context, detections)
    _warn_of_cuts(context, detections, shot)
    arrays, key = context.cache.run(
        "tracks", [detected.key], lambda progress: joined(map(vars, track_cleanup.build_people(detections, shot)))
    )
    if not arrays:
        raise PipelineError(
            f"No person found in {job.clip.name} ({len(detections.network_frames)} frames looked at). Choose a clip "
            "that shows a whole person for a second or more, not too small and not in the dark.",
            code="no-person",
        )
    people = [Person(**each) for each in parted(arrays)]
    pictures = thumbnails.write(job.clip, detections, people, context.cache.folder, key)
    context.tell(protocol.People([
        _description(number, person, detections) | ({"picture": picture} if picture else {})
        for number, (person, picture) in enumerate(zip(people, pictures, strict=True), 1)
    ]))  # fmt: skip
    return Tracks(detected, people, _chosen(context, len(people)), key)


def _check_detections(context: JobContext, detections: Detections) -> None:
    """Raise PipelineError for fewer than two frames; warn if the clip ends before its header says."""
    job = context.job
    if len(detections.network_frames) < 2:
        raise PipelineError(
            f"Fewer than two frames of {job.clip.name} can be decoded, and a movement needs two. Choose a clip instead "
            "of a picture, and a longer range of its frames.",
            code="clip-too-short",
        )
    count = len(detections.frame_numbers)
    expected = (context.info.last_frame(job.end) or 0) - job.start + 1
    if count < 0.9 * expected:
        context.warn(
            f"{job.clip.name} breaks off: {count} of {expected} frames could be decoded. Copy the clip again if the "
            "rest matters.",
            code="clip-cut-off",
        )


def _warn_of_cuts(context: JobContext, detections: Detections, shot: np.ndarray) -> None:
    frames = detections.frame_numbers[detections.network_frames[1:][np.diff(shot) > 0]].tolist()
    if frames:
        context.warn(
            f"{context.job.clip.name} is cut at frame{'s' * (len(frames) > 1)} {', '.join(map(str, frames))}: the "
            "parts become separate motions, each in a world of its own. Choose the person ALL to import every part.",
            code="clip-has-cuts",
        )


def _description(number: int, person: Person, detections: Detections) -> dict[str, Any]:
    """The entry of one person in the People message."""
    frames = detections.frame_numbers[frames_in_track(detections, person)]
    points = person.landmarks if person.landmarks.size else person.keypoints
    if points is person.keypoints:  # a ViTPose point of low confidence may be anywhere
        points = np.where(is_confident(points)[..., None], points, np.nan)
    height = np.nanmax(points[person.visible, :, 1], 1) - np.nanmin(points[person.visible, :, 1], 1)
    return {
        "id": number,
        "first_frame": int(frames[0]),
        "last_frame": int(frames[-1]),
        "frames": len(frames),
        "height": round(float(np.nanmedian(height) / detections.size[1]), 3),
    }


def _chosen(context: JobContext, count: int) -> list[int]:
    """Numbers, from 1, of the people that the job asks for; raises PipelineError if there is no such person."""
    job = context.job
    if job.person == "ALL":
        return list(range(1, count + 1))
    number = 1 if job.person == "MAIN" else int(job.person)
    if number > count:
        raise PipelineError(
            f"There is no person {number} in {job.clip.name}: it shows {count}. Choose MAIN or a number up to {count}.",
            code="person-not-found",
        )
    return [number]
