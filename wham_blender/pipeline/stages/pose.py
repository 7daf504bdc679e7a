"""Stage 5: WHAM, from each person's keypoints and features to pose, shape, contacts and trajectory in WHAM's world."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ... import archives, weights
from ...body.body import Body
from ...models.wham import WHAM
from ...weights.library import BODIES, Library
from ..errors import PipelineError
from ..people.types import Person
from ..pose import camera_translation, wham_inference, wham_weights
from ..pose.types import WhamInput, WhamTrack
from ..progress import Progress
from .cache import Arrays, save
from .camera import SolvedCamera
from .context import JobContext
from .features import Features
from .tracks import Tracks

MESH_ARRAYS = (
    "v_template",
    "shapedirs",
    "J_regressor",
    "weights",
    "f",
    "J_regressor_feet",
)  # of a body file, for the skinned mesh in Blender
_HEIGHT_TOLERANCE = 0.01  # of the requested height: with a larger error the animator is warned


@dataclass(frozen=True)
class Networks:
    """WHAM and the body that belongs to its weights, on the job's device."""

    wham: WHAM
    body: Body


@dataclass(frozen=True)
class Lifted:
    """WHAM's output for each requested person, and the body and files that it was made with."""

    tracks: list[WhamTrack]
    keys: list[str]  # of the tracks in the stage cache
    body: Body
    files: dict[str, weights.WeightFile]
    shape: weights.WeightFile | None  # the file of a male or female body; None: the neutral one


def load_networks(context: JobContext) -> Networks:
    """Load WHAM and its body. Raises WeightsError if a file is damaged or another one."""
    files = context.backend.files
    bodies = [files[role].sha256 for role in ("body", "smpl") if role in files]

    def load() -> Networks:
        wham = wham_weights.load_wham(files["wham"].path)
        return Networks(wham.to(context.device), _load_body(context).to(context.device))

    return context.network("wham", load, *bodies)


def _load_body(context: JobContext) -> Body:
    """The body of WHAM's weights.

    From a WHAM checkpoint its arrays are copied for the add-on, which cannot read PyTorch's files.
    """
    files = context.backend.files
    if "body" in files:
        return Body.load(files["body"].path)
    arrays = wham_weights.body_arrays(files["smpl"].path if "smpl" in files else None, files["wham"].path)
    if "smpl" not in files:
        _copy_body(Library(context.job.weights), arrays, files["wham"].sha256)
    return Body(arrays)


def _copy_body(library: Library, arrays: Arrays, source_sha256: str) -> None:
    """Save the arrays of MESH_ARRAYS for the add-on, unless the library has them from the same checkpoint."""
    with suppress(OSError, KeyError, archives.UnreadableArchive):
        kept = archives.arrays(library.body_copy)
        if str(kept["source_sha256"]) == source_sha256:
            return
    with suppress(PipelineError):  # without the copy the character has no mesh, and the add-on says why
        save(
            library.body_copy, {name: arrays[name] for name in MESH_ARRAYS} | {"source_sha256": np.array(source_sha256)}
        )


def run_wham(
    context: JobContext, tracks: Tracks, camera: SolvedCamera, features: list[Features], networks: Networks
) -> Lifted:
    """Run WHAM for each requested person, with the body and the height that the job asks for."""
    job, people = context.job, tracks.people
    outputs, keys = [], []
    for person, person_features in zip(people, features, strict=True):
        camera_R = camera.motion.rotations_at(person.time, tracks.network_times)
        track = WhamInput(
            person.keypoints, person.boxes, context.size, person_features.views,
            wham_inference.camera_angular_velocity(camera_R), camera.camera_K,
        )  # fmt: skip
        settings = [person_features.key, camera.camera_K.tolist(), camera_R.tolist()]
        arrays, key = _run_track(context, settings, track, person_features.lifter_poses, networks, 1 / len(people))
        outputs.append(WhamTrack(**arrays))
        keys.append(key)
    lifted = Lifted(outputs, keys, networks.body, context.backend.files, None)
    if job.gender != "neutral":
        lifted = _with_gender(context, lifted, people, camera.camera_K)
    if job.actor_height is not None:
        lifted = _with_height(context, lifted, people, camera.camera_K)
    return lifted


def _run_track(
    context: JobContext, settings: list[Any], track: WhamInput, lifter_poses: Arrays, networks: Networks, weight: float
) -> tuple[Arrays, str]:
    """WHAM's output for one person, with the lifter's poses if there are any, and its key in the stage cache."""
    files = context.backend.files
    body_file = files["body" if "body" in files else "smpl" if "smpl" in files else "wham"]

    def infer(progress: Progress) -> Arrays:
        assert track.camera_K is not None
        output = wham_inference.run_wham(networks.wham, networks.body, track, lambda done: progress(done, len(track)))
        output = replace(output, **lifter_poses)
        output.trans_cam = camera_translation.solve_translation(output, networks.body, track.keypoints, track.camera_K)
        return vars(output)

    return context.cache.run("wham", [*settings, files["wham"].sha256, body_file.sha256], infer, weight)


def _with_gender(context: JobContext, lifted: Lifted, people: list[Person], camera_K: np.ndarray) -> Lifted:
    """The same motion in the male or female body.

    WHAM predicts betas of the neutral body, which are other shapes in another body: the nearest shape is taken.
    """
    gender = context.job.gender
    if not context.backend.published:
        context.warn(
            "The body that ships inside is neither male nor female, so it stays as it is. For a male or female body "
            "choose Full quality, with SMPL's file of that body in the preferences."
        )
        return lifted
    role = BODIES[gender]
    shape = Library(context.job.weights).file(role)
    body = wham_weights.load_body(shape.path, lifted.files["wham"].path).to(context.device)
    tracks = []
    for track, person in zip(lifted.tracks, people, strict=True):
        betas = body.shape_like(lifted.body, np.median(track.betas, 0))
        track = replace(track, betas=np.repeat(betas[None], len(person), 0))
        track.trans_cam = camera_translation.solve_translation(track, body, person.keypoints, camera_K)
        tracks.append(track)
    return replace(lifted, tracks=tracks, body=body, files=lifted.files | {role: shape}, shape=shape)


def _with_height(context: JobContext, lifted: Lifted, people: list[Person], camera_K: np.ndarray) -> Lifted:
    """All people scaled by the ratio that gives the first one the actor's height; WHAM's trajectory is scaled, too."""
    assert context.job.actor_height is not None
    body = lifted.body
    ratio = context.job.actor_height / body.height(np.median(lifted.tracks[0].betas, 0))
    tracks = []
    for track, person in zip(lifted.tracks, people, strict=True):
        before = body.height(np.median(track.betas, 0))
        betas = body.of_height(np.median(track.betas, 0), ratio * before)
        scale = body.height(betas) / before
        if abs(scale / ratio - 1) > _HEIGHT_TOLERANCE:
            context.warn(
                f"The body cannot be {ratio * before:.2f} m tall: {scale * before:.2f} m is as near as it comes. Scale "
                "the result in Blender for the rest."
            )
        track = replace(
            track, betas=np.repeat(betas[None], len(person), 0), trans_world=track.trans_world * np.float32(scale)
        )
        track.trans_cam = camera_translation.solve_translation(track, body, person.keypoints, camera_K)
        tracks.append(track)
    return replace(lifted, tracks=tracks)
