"""Stages 6 and 7: people into one world with their camera (placement), then fitted to the keypoints (SMPLify)."""

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
from ..people.types import Person, is_confident
from ..progress import Progress
from ..world import placement, smooth, smplify, wham_world
from ..world.calibration import UNCALIBRATED, Calibration, calibration_for
from ..world.camera_path import Background
from ..world.placement import Placed, PlacementInput
from .cache import Arrays, joined, parted
from .camera import SolvedCamera
from .context import JobContext
from .pose import Lifted
from .tracks import Tracks

_ANKLES = [COCO_NAMES.index("left_ankle"), COCO_NAMES.index("right_ankle")]


def place_people(context: JobContext, tracks: Tracks, camera: SolvedCamera, lifted: Lifted) -> list[Placed]:
    """Each requested person in the world, as the job's options say; float32, frames of the person's track."""
    job = context.job
    if job.world == "wham":
        placed = _by_rollout(tracks, lifted)
    else:
        placed = _by_least_squares(context, tracks, camera, lifted)
    return [smooth.smooth(person, lifted.body, job.smooth) for person in placed]


def _by_rollout(tracks: Tracks, lifted: Lifted) -> list[Placed]:
    """The job's option World: WHAM."""
    placed: dict[int, Placed] = {}
    for rows in _rows_by_shot(tracks.shots()):
        first_frames = [int(_clock(tracks.people[row])[0]) for row in rows]
        together = wham_world.place_by_rollout([lifted.tracks[row] for row in rows], first_frames, lifted.body)
        placed |= dict(zip(rows, together, strict=True))
    return [placed[row] for row in range(len(placed))]


def _by_least_squares(context: JobContext, tracks: Tracks, camera: SolvedCamera, lifted: Lifted) -> list[Placed]:
    """The job's option World: Placed, fitted to the keypoints if the job asks for it."""
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
    placed = [Placed(**fields) for fields in parted(arrays)]
    if not job.refine:
        return placed
    frames = sum(map(len, people))
    for row, (number, person) in enumerate(zip(tracks.numbers, people, strict=True)):
        target = smplify.Keypoints2D(person.keypoints, person.boxes, camera.camera_K)
        placed[row] = _fitted(context, [key, number], placed[row], target, lifted.body, len(person) / frames)
    for rows in _rows_by_shot(tracks.shots()):
        moved = placement.with_first_at_origin([placed[row] for row in rows])
        for row, person_placed in zip(rows, moved, strict=True):
            placed[row] = person_placed
    return placed


def _placed(
    anchor: bool, tracks: Tracks, camera: SolvedCamera, lifted: Lifted, calibration: Calibration
) -> list[Placed]:
    """The people of each shot in one world, under one camera."""
    motion, people = camera.motion, tracks.people
    placed: dict[int, Placed] = {}
    for rows in _rows_by_shot(tracks.shots()):
        clocks = [_clock(people[row]) for row in rows]
        first, last = min(clock[0] for clock in clocks), max(clock[-1] for clock in clocks)
        times = np.arange(first, last + 1) / video_reader.NETWORK_FPS
        kind = motion.kind[np.searchsorted(tracks.network_times, times[0] - 1e-3)]
        inputs = [
            PlacementInput(
                lifted.tracks[row],
                first=int(clock[0] - first),
                visible=people[row].visible,
                feet_visible=is_confident(people[row].keypoints)[:, _ANKLES],
                ankles=_ankle_directions(people[row], camera.camera_K),
            )
            for row, clock in zip(rows, clocks, strict=True)
        ]
        stays = kind == camera_motion.ROTATING or (kind == camera_motion.STATIC and anchor)
        camera_of_shot = placement.FilmCamera(
            motion.rotations_at(times, tracks.network_times),
            bool(stays),
            Background(motion, tracks.network_times, times),
        )
        together = placement.place_together(inputs, lifted.body, calibration, camera_of_shot)
        placed |= dict(zip(rows, together, strict=True))
    return [placed[row] for row in range(len(people))]


def _ankle_directions(person: Person, camera_K: np.ndarray) -> np.ndarray:
    """Directions (F, 2, 3) to the ankles in camera axes; nan where they are not seen."""
    ankles = person.keypoints[:, _ANKLES].astype(np.float64)
    pixels = np.where(is_confident(ankles)[..., None], ankles[..., :2], np.nan)
    return np.insert(pixels, 2, 1, axis=-1) @ np.linalg.inv(camera_K).T


def _fitted(
    context: JobContext, settings: list[Any], placed: Placed, target: smplify.Keypoints2D, body: Body, weight: float
) -> Placed:
    """One person, fitted to the keypoints, with planted feet locked again."""

    def fit(progress: Progress) -> Arrays:
        return vars(placement.with_locked_feet(smplify.fit_to_keypoints(placed, target, body, progress), body))

    arrays, _ = context.cache.run("smplify", settings, fit, weight)
    return Placed(**arrays)


def _clock(person: Person) -> np.ndarray:
    """Frames (F,) of the common 30 fps clock."""
    return np.round(person.time * video_reader.NETWORK_FPS).astype(int)


def _rows_by_shot(shots: list[int]) -> list[list[int]]:
    """The people of each shot, as indices into ``shots``, which holds the shot of each person."""
    return [[row for row, person_shot in enumerate(shots) if person_shot == shot] for shot in sorted(set(shots))]
