"""Stage 2: complete, smooth tracks from the detections of each frame."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from ... import limits, protocol
from ..clip import video_reader
from ..clip.image_sequence import PictureClip
from ..errors import PipelineError
from ..people import thumbnails, track_cleanup
from ..people.types import BOX_MARGIN, Detections, Person, frames_in_track, is_confident
from ..progress import Progress
from . import clip_checks
from .boxes import detections_in_boxes
from .cache import Arrays, joined, parted
from .context import JobContext
from .detect import Detected

_UNMATCHED = "unmatched"  # the array with the frames of corrections that fit nobody
_SPECTATOR = 0.1  # of the main person's height: who is smaller is no character unless asked for


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
    job, detections = context.job, detected.detections
    _check_detections(context, detections)
    clip_checks.check_clip(context, detections)
    part = clip_checks.parts(context, detected)
    detections, boxes_key = detections_in_boxes(context, detected)
    detected = replace(detected, detections=detections)
    arrays, key = _cached_people(context, detected, part, boxes_key)
    _warn_of_unmatched(context, arrays.pop(_UNMATCHED, np.zeros(0)).tolist())
    if not arrays:
        raise PipelineError(
            f"No person found in {job.clip.name} ({len(detections.network_frames)} frames looked at). Choose a clip "
            "that shows a whole person for a second or more, at least a sixth of the picture high and not in the dark; "
            "turn one that lies on its side or is upside down, with Rotate Clip.",
            code="no-person",
        )
    people = [Person(**each) for each in parted(arrays)]
    read_frame = partial(video_reader.read_frame, context.clip, rotate=job.rotate, speed=context.info.speed)
    pictures = thumbnails.write(read_frame, detections, people, context.cache.folder, key)
    found = [
        _description(number, person, detections, picture)
        for number, (person, picture) in enumerate(zip(people, pictures, strict=True), 1)
    ]
    context.tell(protocol.People(found[: limits.PEOPLE]))
    chosen = _chosen(context, people)
    _warn_of_small_people(context, people, chosen)
    return Tracks(detected, people, chosen, key)


def _cached_people(context: JobContext, detected: Detected, part: np.ndarray, boxes_key: str) -> tuple[Arrays, str]:
    """The arrays of all people, with the frames of corrections that fit nobody if there are corrections; and the key.

    Without corrections the key is that of a clip that was never corrected, so that its later stages are found again.
    """
    corrections = context.job.corrections
    if not corrections:
        return context.cache.run(
            "tracks", [detected.key],
            lambda progress: joined(map(vars, track_cleanup.build_people(detected.detections, part))),
        )  # fmt: skip

    def build(_progress: Progress) -> Arrays:
        people, unmatched = track_cleanup.build_corrected_people(detected.detections, part, corrections)
        return joined(map(vars, people)) | {_UNMATCHED: np.array(unmatched, np.int64)}

    context.log(f"{len(corrections)} corrections are applied.")
    return context.cache.run("tracks", [detected.key, boxes_key, corrections.text()], build)


def _warn_of_unmatched(context: JobContext, frames: list[int]) -> None:
    """Warn of corrections that name a person at a place where nobody was found."""
    if frames:
        context.warn(
            f"A correction of {context.job.clip.name} fits nobody: at its place in frame {frames[0]} no person was "
            "found. Make it again on the character that this import brings.",
            code="correction-fits-nobody",
        )


def _check_detections(context: JobContext, detections: Detections) -> None:
    """Raise PipelineError for fewer than two frames; warn if frames are missing or damaged."""
    job = context.job
    if len(detections.network_frames) < 2:
        raise PipelineError(
            f"Fewer than two frames of {job.clip.name} can be decoded, and a movement needs two. Choose a clip instead "
            "of a picture, and a longer range of its frames.",
            code="clip-too-short",
        )
    numbers, times = detections.frame_numbers, detections.frame_times
    damaged = detections.damaged.tolist()
    if isinstance(context.clip, PictureClip):
        damaged = [number for number in damaged if context.clip.has(number)]
        if missing := context.clip.missing(job.start, job.end):
            context.warn(missing, code="sequence-gaps")
    expected = len(numbers) + context.info.missing_frames(job.start, job.end, numbers, times)
    count = len(numbers) - len(damaged)
    if count < expected:
        context.warn(
            f"{job.clip.name} is damaged or cut off: {count} of {expected} frames could be decoded. Copy the clip "
            "again if the others matter.",
            code="clip-cut-off",
        )


def _warn_of_small_people(context: JobContext, people: list[Person], chosen: list[int]) -> None:
    """``chosen``: numbers, from 1, of the people asked for."""
    sizes = {number: _height(people[number - 1]) for number in chosen}
    small = [str(number) for number, size in sizes.items() if size < clip_checks.SMALLEST_PERSON * context.size[1]]
    if small:
        context.warn(
            f"Too small in {context.job.clip.name} for a good motion: person {', '.join(small)}, less than a sixth of "
            "the picture high. Film nearer, or crop the clip around the person.",
            code="person-small",
        )


def _description(number: int, person: Person, detections: Detections, picture: str) -> protocol.FoundPerson:
    """The entry of one person in the People message."""
    frames = detections.frame_numbers[frames_in_track(detections, person)]
    points = person.landmarks if person.landmarks.size else person.keypoints
    if points is person.keypoints:  # a ViTPose point of low confidence may be anywhere
        points = np.where(is_confident(points)[..., None], points, np.nan)
    height = np.nanmax(points[person.visible, :, 1], 1) - np.nanmin(points[person.visible, :, 1], 1)
    return protocol.FoundPerson(
        id=number,
        first_frame=int(frames[0]),
        last_frame=int(frames[-1]),
        frames=len(frames),
        height=round(float(np.clip(np.nan_to_num(np.nanmedian(height) / detections.size[1]), 0, 1000)), 3),
        picture=picture or None,
    )


def _height(person: Person) -> float:
    """The median of the longer side of the keypoints' box, pixels."""
    return float(np.median(person.boxes[:, 2])) * 200 / BOX_MARGIN


def _chosen(context: JobContext, people: list[Person]) -> list[int]:
    """Numbers, from 1, of the people that the job asks for; raises PipelineError if there is no such person."""
    job, count = context.job, len(people)
    if job.person == "ALL":
        heights = np.array([_height(person) for person in people])
        chosen = heights >= _SPECTATOR * heights[0]
        if not chosen.all():
            numbers = ", ".join(map(str, np.flatnonzero(~chosen) + 1))
            context.log(
                f"Left out, as they are smaller than a tenth of person 1: person {numbers}. Choose one of them by "
                "number for the motion."
            )
        return [int(number) for number in np.flatnonzero(chosen) + 1]
    number = 1 if job.person == "MAIN" else int(job.person)
    if number > count:
        raise PipelineError(
            f"There is no person {number} in {job.clip.name}: it shows {count}. Choose MAIN or a number up to {count}.",
            code="person-not-found",
        )
    return [number]
