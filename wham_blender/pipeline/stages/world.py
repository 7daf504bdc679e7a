"""Stages 6 and 7: everybody into one world with its camera (placement), then fitted to the keypoints (SMPLify)."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from ... import weights
from ...body.body import Body
from ...skeleton import COCO_NAMES
from ...weights.library import Library
from ..camera import camera_motion
from ..clip import video_reader
from ..people.types import Person, counted
from ..progress import Progress
from ..world import placement, smooth, smplify, wham_world
from ..world.calibration import UNCALIBRATED, Calibration, calibration_for
from ..world.placement import Placed, Seen
from .cache import Arrays, joined, parted
from .camera import SolvedCamera
from .context import JobContext
from .pose import Lifted
from .tracks import Tracks

_ANKLES = [COCO_NAMES.index("left_ankle"), COCO_NAMES.index("right_ankle")]


def place_people(context: JobContext, tracks: Tracks, camera: SolvedCamera, lifted: Lifted) -> list[Placed]:
    """Everybody asked for in the animator's world, as the job's options say; float32, frames of each one's track."""
    job = context.job
    if job.world == "wham":
        placed = _by_rollout(tracks, lifted)
    else:
        placed = _by_least_squares(context, tracks, camera, lifted)
    return [smooth.smooth(each, lifted.body, job.smooth) for each in placed]


def _by_rollout(tracks: Tracks, lifted: Lifted) -> list[Placed]:
    """World: WHAM."""
    placed: dict[int, Placed] = {}
    for rows in _rows_by_shot(tracks.shots()):
        first_frames = [int(_clock(tracks.people[row])[0]) for row in rows]
        together = wham_world.place_by_rollout([lifted.tracks[row] for row in rows], first_frames, lifted.body)
        placed |= dict(zip(rows, together, strict=True))
    return [placed[row] for row in range(len(placed))]


def _by_least_squares(context: JobContext, tracks: Tracks, camera: SolvedCamera, lifted: Lifted) -> list[Placed]:
    """World: Placed, fitted to the keypoints where the job asks for it."""
    job, people = context.job, tracks.people
    wham = context.backend.files["wham"]
    calibration = calibration_for(wham, weights.folder(), Library(job.weights).folder)
    if calibration is None:
        context.log(
            f"There is no calibration for {wham.path.name}: contacts are the network's own, and its velocity is "
            "trusted as much as the open WHAM's."
        )
    calibration = calibration or UNCALIBRATED
    shape = lifted.shape.sha256 if lifted.shape else ""
    arrays, key = context.cache.run(
        "placement", [*lifted.keys, camera.key, job.actor_height, job.anchor, shape, asdict(calibration)],
        lambda progress: joined(map(vars, _placed(job.anchor, tracks, camera, lifted, calibration))),
    )  # fmt: skip
    placed = [Placed(**each) for each in parted(arrays)]
    if not job.refine:
        return placed
    frames = sum(map(len, people))
    for row, (number, person) in enumerate(zip(tracks.numbers, people, strict=True)):
        seen = smplify.Seen(person.keypoints, person.boxes, camera.camera_K)
        placed[row] = _fitted(context, [key, number], placed[row], seen, lifted.body, len(person) / frames)
    for rows in _rows_by_shot(tracks.shots()):
        for row, each in zip(rows, placement.centred([placed[row] for row in rows]), strict=True):
            placed[row] = each
    return placed


def _placed(
    anchor: bool, tracks: Tracks, camera: SolvedCamera, lifted: Lifted, calibration: Calibration
) -> list[Placed]:
    """Everybody of a shot in one world, seen by one camera."""
    motion, people = camera.motion, tracks.people
    placed: dict[int, Placed] = {}
    for rows in _rows_by_shot(tracks.shots()):
        clocks = [_clock(people[row]) for row in rows]
        first, last = min(clock[0] for clock in clocks), max(clock[-1] for clock in clocks)
        times = np.arange(first, last + 1) / video_reader.LOOKS_PER_SECOND
        kind = motion.kind[np.searchsorted(tracks.times, times[0] - 1e-3)]
        seen = [
            Seen(lifted.tracks[row], int(clock[0] - first), people[row].visible,
                 counted(people[row].keypoints)[:, _ANKLES])
            for row, clock in zip(rows, clocks, strict=True)
        ]  # fmt: skip
        stays = kind == camera_motion.TURNING or (kind == camera_motion.STATIC and anchor)
        together = placement.place_together(
            seen, lifted.body, calibration, camera_R=motion.at(times, tracks.times), camera_stays=bool(stays)
        )
        placed |= dict(zip(rows, together, strict=True))
    return [placed[row] for row in range(len(people))]


def _fitted(
    context: JobContext, settings: list[Any], placed: Placed, seen: smplify.Seen, body: Body, weight: float
) -> Placed:
    """One person, fitted to the keypoints, with planted feet locked again."""

    def fit(progress: Progress) -> Arrays:
        return vars(placement.settled(smplify.refine(placed, seen, body, progress), body))

    arrays, _ = context.cache.run("smplify", settings, fit, weight)
    return Placed(**arrays)


def _clock(person: Person) -> np.ndarray:
    """Frames (F,) of the common 30 fps clock."""
    return np.round(person.time * video_reader.LOOKS_PER_SECOND).astype(int)


def _rows_by_shot(shots: list[int]) -> list[list[int]]:
    """The rows of the people that each shot shows, by each person's shot."""
    return [[row for row, own in enumerate(shots) if own == shot] for shot in sorted(set(shots))]
