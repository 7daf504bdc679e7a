"""The stages of a job in order, each kept on disk, so that a run resumes where the last one ended."""

from __future__ import annotations

import gc
import hashlib
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .. import motion, protocol, weights
from ..body.body import Body
from ..models.wham import WHAM
from ..skeleton import COCO_NAMES
from ..weights.library import BODIES, Library
from . import (
    backends,
    cache_folder,
    camera_motion,
    checkpoints,
    clip_frames,
    features,
    image_features,
    lens,
    lift,
    portraits,
    refine,
    rows,
    sight,
    smooth,
    track,
    video,
    world,
)  # fmt: skip
from .crop_network import CROP, CropNetwork
from .errors import PipelineError, unwritable
from .keypoints import Person, counted
from .pace import Pace, Rates
from .stages import Arrays, Stages, Tell, joined, parted, save

_SEEING = ("watch", "clean", "camera")  # the stages that do the clip's frames, and those that do each person's
_LIFTING = ("features", "lift", "world", "refine", "write")
_FILM_WIDTH = 36.0  # millimetres, 35 mm film
_MESH = ("v_template", "shapedirs", "J_regressor", "weights", "f", "J_regressor_feet")  # what a skinned mesh takes
_ANKLES = [COCO_NAMES.index("left_ankle"), COCO_NAMES.index("right_ankle")]
_PHONE = 30.0  # millimetres, where nobody knows better: phones have 24 to 28 and cut some off to hold the picture still


@dataclass(frozen=True)
class Job:
    """What to do with which clip."""

    clip: Path
    output: Path
    person: str | int = "MAIN"  # MAIN, ALL, or a number from 1, largest and longest first
    start: int = 1  # clip frames from 1, both included
    end: int | None = None
    resume: Path | None = None  # the job folder; None: one of the clip's own in the user's cache
    device: str = "auto"  # auto, cpu or cuda
    quality: str = "auto"
    weights: Path | None = None  # the library of full quality's files; None: the user's own
    camera: str = "auto"  # auto, static or moving
    focal_length: float | None = None  # millimetres, as on 35 mm film
    actor_height: float | None = None  # metres, of the first of the people asked for; it scales the world
    anchor: bool = True  # where the camera stands, hold people to where the picture shows them
    gender: str = "neutral"  # neutral, male or female: of the body in full quality
    refine: bool = True  # bend the bodies until they project onto the keypoints
    smooth: float = 0.0  # seconds: what comes again within them is trembling, and taken out


def run(job: Job, tell: Tell) -> Path:
    """Do the whole job and return the path of the Motion file.

    Raises PipelineError, WeightsError or MotionFileError with a sentence for the animator.
    """
    info = video.probe(job.clip)
    _check_range(job, info)
    _check_output(job.output)
    device = _device(job.device)
    backend = backends.choose(job.quality, device, job.weights)
    tell(protocol.Log(backend.reason))
    with job.clip.open("rb") as stream:
        clip = hashlib.file_digest(stream, "sha256").hexdigest()
    folder = job.resume or cache_folder() / "jobs" / clip[:20]
    kind = f"{_card(device)} {backend.quality}"
    if backend.quality == "mixed":  # of which there are several
        kind += f" {' '.join(sorted(backend.files))}"
    pace = Pace(Rates(folder.parent / "rates.json", kind, backend.files), tell)
    frames = (info.last(job.end) or 0) - job.start + 1
    lifting = [stage for stage in _LIFTING if stage != "refine" or job.refine]
    pace.expect((*_SEEING, *lifting), max(frames, 1))
    stages = Stages(folder, tell, pace)

    sightings, corners, people, key, crops = _see(stages, clip, job, info, backend, device, tell)
    pictures = portraits.write(job.clip, sightings, people, folder, key)
    tell(protocol.People([
        _about(number, person, sightings) | ({"picture": picture} if picture else {})
        for number, (person, picture) in enumerate(zip(people, pictures, strict=True), 1)
    ]))  # fmt: skip
    chosen = _chosen(job, len(people))
    tracks = [people[number - 1] for number in chosen]
    pace.expect(lifting, sum(map(len, tracks)))
    body = _body(backend, Library(job.weights)).to(device)
    wham = _wham(backend).to(device)
    size = (int(sightings.size[0]), int(sightings.size[1]))
    view, camera_K, camera_key = _watch_camera(stages, key, corners, sightings, job, size, tell)
    looks = sightings.times[sightings.looked]
    turns = [view.at(person.time, looks) for person in tracks]
    described = _describe(stages, key, chosen, tracks, size, camera_K, crops, backend, wham, device, tell)
    lifts, keys = [], [camera_key]
    for person, turn, (views, own, seen_key) in zip(tracks, turns, described, strict=True):
        lifted, lift_key = _lift(
            stages, seen_key, person, size, camera_K, turn, views, own, backend, body, wham, 1 / len(chosen)
        )
        lifts.append(lifted)
        keys.append(lift_key)
    files = backend.files
    if job.gender != "neutral":
        body, files = _gendered(lifts, tracks, body, camera_K, backend, job, tell)
    shape = files.get(BODIES[job.gender])
    lifts = _scaled(lifts, tracks, body, camera_K, job, tell)
    shots = [corners.shot[np.searchsorted(looks, person.time[0] - 1e-3)] for person in tracks]
    arrays, key = stages.do(
        "world", [*keys, job.actor_height, job.anchor, shape.sha256 if shape else ""],
        lambda progress: joined(map(vars, _place(lifts, tracks, shots, view, looks, job.anchor, body))),
    )  # fmt: skip
    placed = [world.Placed(**each) for each in parted(arrays)]
    if job.refine:
        placed = [
            _refined(stages, [key, number], each, person, camera_K, body, len(person) / sum(map(len, tracks)))
            for number, each, person in zip(chosen, placed, tracks, strict=True)
        ]
        for together in _by_shot(shots):
            for number, each in zip(together, world.centred([placed[n] for n in together]), strict=True):
                placed[number] = each
    placed = [smooth.smooth(each, body, job.smooth) for each in placed]

    meta = {
        "clip": job.clip.name, "size": size, "fps": clip_frames.frame_rate(sightings), "quality": backend.quality,
        "settings": {name: value for name, value in vars(job).items() if not isinstance(value, Path)},
        "timings": stages.timings,
        "weights": {
            role: {"name": file.path.name, "version": file.version, "sha256": file.sha256}
            for role, file in files.items()
        },
    }  # fmt: skip
    pace.begin("write")
    motion.save(job.output, [
        clip_frames.resampled(
            sightings, person, each, camera_K, meta | {"person": number}, job.gender if shape else "neutral"
        )
        for number, person, each in zip(chosen, tracks, placed, strict=True)
    ])  # fmt: skip
    pace.finish()
    return job.output


def _body(backend: backends.Backend, library: Library) -> Body:
    """The body that WHAM's weights go with. Out of a WHAM checkpoint, the library gets a copy for the add-on."""
    files = backend.files
    if "body" in files:
        return Body.load(files["body"].path)
    arrays = checkpoints.body_arrays(files["smpl"].path if "smpl" in files else None, files["wham"].path)
    copy, source = library.body_copy, files["wham"].path
    if "smpl" not in files and not (copy.is_file() and copy.stat().st_mtime > source.stat().st_mtime):
        with suppress(PipelineError):  # without it the character has bones and no mesh, and says why
            save(copy, {name: arrays[name] for name in _MESH})
    return Body(arrays)


def _gendered(
    lifts: list[lift.Lift], people: list[Person], body: Body, camera_K: np.ndarray, backend: backends.Backend, job: Job,
    tell: Tell,
) -> tuple[Body, dict[str, weights.WeightFile]]:  # fmt: skip
    """The body of the gender asked for, into whose shapes the lifts are put, and the files that count now.

    WHAM knows the neutral body alone; its shapes and the others' are not the same numbers.
    """
    if not backend.published:
        tell(protocol.Warn(
            f"The body that ships inside is neither male nor female, so it stays as it is. For a {job.gender} one "
            "choose full quality, with SMPL's file of it in the preferences."
        ))  # fmt: skip
        return body, backend.files
    role = BODIES[job.gender]
    files = backend.files | {role: Library(job.weights).file(role)}
    shown = checkpoints.load_body(files[role].path, files["wham"].path).to(body.smpl.v_template.device)
    for lifted, person in zip(lifts, people, strict=True):
        betas = shown.shape_like(body, np.median(lifted.betas, 0))
        lifted.betas = np.repeat(betas[None], len(person), 0)
        lifted.trans_cam = sight.stand(lifted, shown, person.keypoints, camera_K)
    return shown, files


def _wham(backend: backends.Backend) -> WHAM:
    return checkpoints.load_wham(backend.files["wham"].path)


def _see(
    stages: Stages, clip: str, job: Job, info: video.ClipInfo, backend: backends.Backend, device: torch.device,
    tell: Tell,
) -> tuple[track.Sightings, camera_motion.Corners, list[Person], str, Path | None]:  # fmt: skip
    """What is in the clip (of that hash), its background, its people, the key of all, and the file of crops."""
    settings = [clip, job.start, info.last(job.end), backend.seen_in, backend.keeps_crops]
    beside = stages.beside("watch", settings, "crops") if backend.keeps_crops else None

    def watch(progress: track.Progress) -> Arrays:
        known = info.last(job.end) is not None
        with ExitStack() as stack:
            keep = stack.enter_context(rows.RowWriter(beside, CROP, np.uint8)).append if beside else None
            spotter = backend.spotter(device, keep, lambda text: tell(protocol.Log(text)))
            found = track.watch(
                job.clip, spotter, job.start, job.end, lambda done, total: progress(done, total if known else 0)
            )
        del spotter
        _free(device)
        return joined(map(vars, found))

    arrays, key = stages.do("watch", settings, watch, beside=beside)
    seen, background = parted(arrays)
    sightings, corners = track.Sightings(**seen), camera_motion.Corners(**background)
    _check_sightings(job, info, sightings, tell)
    _tell_cuts(job, sightings, corners.shot, tell)
    arrays, key = stages.do("clean", [key], lambda progress: joined(map(vars, track.people(sightings, corners.shot))))
    if not arrays:
        raise PipelineError(
            f"No person found in {job.clip.name} ({len(sightings.looked)} frames looked at). Choose a clip that shows "
            "a whole person for a second or more, not too small and not in the dark."
        )
    return sightings, corners, [Person(**each) for each in parted(arrays)], key, beside


def _free(device: torch.device) -> None:
    """Give the memory of networks that nobody holds any more back to the card."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _tell_cuts(job: Job, sightings: track.Sightings, shot: np.ndarray, tell: Tell) -> None:
    frames = sightings.numbers[sightings.looked[1:][np.diff(shot) > 0]].tolist()
    if frames:
        tell(protocol.Warn(
            f"{job.clip.name} is cut at frame{'s' * (len(frames) > 1)} {', '.join(map(str, frames))}: the parts become "
            "separate motions, each in a world of its own. Choose the person ALL to import every part."
        ))  # fmt: skip


def _watch_camera(
    stages: Stages, key: str, corners: camera_motion.Corners, sightings: track.Sightings, job: Job,
    size: tuple[int, int], tell: Tell,
) -> tuple[camera_motion.CameraMotion, np.ndarray, str]:  # fmt: skip
    """The camera's turns, its intrinsics (3, 3), and the key of both."""
    focal = job.focal_length or lens.focal_length(job.clip)
    camera_K = _intrinsics(size, focal)
    arrays, key = stages.do(
        "camera", [key, job.camera, camera_K.tolist(), focal is None],
        lambda progress: vars(camera_motion.solve(corners, camera_K, size, job.camera, guessed=focal is None)),
    )  # fmt: skip
    view = camera_motion.CameraMotion(**arrays)
    camera_K[[0, 1], [0, 1]] = view.focal
    numbers = sightings.numbers[sightings.looked]
    millimetres = float(view.focal) / max(size) * _FILM_WIDTH
    how = ["stands still", "turns and stays where it is", "moves"][int(view.kind.max())]
    tell(protocol.Log(f"The camera {how}; its lens is taken for {millimetres:.0f} mm, as on 35 mm film."))
    if not view.known.all():
        blind = numbers[~view.known]
        tell(protocol.Warn(
            f"The background of {job.clip.name} shows too little in {len(blind)} frames (first in frame {blind[0]}) to "
            "tell how the camera moves: its last good motion goes on there."
        ))  # fmt: skip
    if np.ptp(np.log(view.zoom)) > camera_motion.ZOOM:
        tell(protocol.Warn(
            f"The lens of {job.clip.name} zooms by {np.exp(np.ptp(np.log(view.zoom))):.2f} times. The camera in "
            "Blender keeps one lens, so people seem to come nearer instead. Film without zooming where that matters."
        ))  # fmt: skip
    return view, camera_K, key


def _scaled(
    lifts: list[lift.Lift], people: list[Person], body: Body, camera_K: np.ndarray, job: Job, tell: Tell
) -> list[lift.Lift]:
    """Everybody in the size that makes the first person as tall as the actor."""
    if job.actor_height is None:
        return lifts
    ratio = job.actor_height / body.height(np.median(lifts[0].betas, 0))
    scaled = []
    for lifted, person in zip(lifts, people, strict=True):
        before = body.height(np.median(lifted.betas, 0))
        betas = body.of_height(np.median(lifted.betas, 0), ratio * before)
        grown = body.height(betas) / before
        if abs(grown / ratio - 1) > 0.01:
            tell(protocol.Warn(
                f"The body cannot be {ratio * before:.2f} m tall: {grown * before:.2f} m is as near as it comes. Scale "
                "the result in Blender for the rest."
            ))  # fmt: skip
        lifted = replace(
            lifted, betas=np.repeat(betas[None], len(person), 0), trans_world=lifted.trans_world * np.float32(grown)
        )
        lifted.trans_cam = sight.stand(lifted, body, person.keypoints, camera_K)
        scaled.append(lifted)
    return scaled


Described = tuple[list[lift.View], Arrays, str]  # views for the lift, poses of all frames or none, the key of both


def _describe(
    stages: Stages, key: str, numbers: list[int], people: list[Person], size: tuple[int, int], camera_K: np.ndarray,
    crops: Path | None, backend: backends.Backend, wham: WHAM, device: torch.device, tell: Tell,
) -> list[Described]:  # fmt: skip
    """What the lifter makes of each person's landmarks, or HMR2.0 of the file of crops."""
    share = 1 / len(people)
    if crops is None:
        return [
            _describe_openly(stages, [key, number], person, size, camera_K, backend, share)
            for number, person in zip(numbers, people, strict=True)
        ]
    # Loaded where somebody is not described yet.
    network = cache(lambda: backend.features(device, lambda text: tell(protocol.Log(text))))
    settings = [key, backend.files["hmr2"].sha256, wham.d_feat]
    described = [
        _describe_by_hmr2(stages, [*settings, number], person, crops, network, wham.d_feat is not None, share)
        for number, person in zip(numbers, people, strict=True)
    ]
    del network
    _free(device)
    return described


def _describe_openly(
    stages: Stages, settings: list[Any], person: Person, size: tuple[int, int], camera_K: np.ndarray,
    backend: backends.Backend, share: float,
) -> Described:  # fmt: skip
    lifter = backend.files["lifter"]

    def describe(_progress: track.Progress) -> Arrays:
        return joined(map(vars, features.describe(features.load(lifter.path), person, size, camera_K)))

    arrays, key = stages.do("features", [*settings, camera_K.tolist(), lifter.sha256], describe, share)
    *looks, own = parted(arrays)
    views = [lift.View(**look) for look in looks]
    if backend.published:  # it learned on other features, and its own poses count
        return [replace(view, features=None) for view in views], {}, key
    return views, own, key


def _describe_by_hmr2(
    stages: Stages, settings: list[Any], person: Person, crops: Path, network: Callable[[], CropNetwork],
    takes_features: bool, share: float,
) -> Described:  # fmt: skip
    beside = stages.beside("features", settings, "features") if takes_features else None
    arrays, key = stages.do(
        "features", settings,
        lambda progress: image_features.describe(network(), crops, person.rows, beside, progress), share, beside,
    )  # fmt: skip
    return image_features.views(arrays, beside), {}, key


def _lift(
    stages: Stages, key: str, person: Person, size: tuple[int, int], camera_K: np.ndarray, camera_R: np.ndarray,
    views: list[lift.View], own: Arrays, backend: backends.Backend, body: Body, wham: WHAM, share: float,
) -> tuple[lift.Lift, str]:  # fmt: skip
    """One person's lift from what `_describe` gave, and its key."""
    files = backend.files

    def lift_person(progress: track.Progress) -> Arrays:
        lifted = lift.lift(
            wham, body, person.keypoints, person.boxes, size, *views, camera_K=camera_K,
            cam_angvel=lift.camera_turn(camera_R), progress=lambda done: progress(done, len(person)),
        )  # fmt: skip
        lifted = replace(lifted, **own)
        lifted.trans_cam = sight.stand(lifted, body, person.keypoints, camera_K)
        return vars(lifted)

    shapes = files["body" if "body" in files else "smpl" if "smpl" in files else "wham"]
    needed = [key, files["wham"].sha256, shapes.sha256, camera_K.tolist(), camera_R.tolist()]
    arrays, key = stages.do("lift", needed, lift_person, share)
    return lift.Lift(**arrays), key


def _by_shot(shots: list[int]) -> list[list[int]]:
    """The numbers, from 0, of the people that each shot shows; shots: each person's."""
    return [[number for number, own in enumerate(shots) if own == shot] for shot in sorted(set(shots))]


def _place(
    lifts: list[lift.Lift], people: list[Person], shots: list[int], view: camera_motion.CameraMotion,
    looks: np.ndarray, anchor: bool, body: Body,
) -> list[world.Placed]:  # fmt: skip
    """Everybody of a shot in one world, seen by one camera; looks (L,): the times of view's looks, seconds."""
    placed: dict[int, world.Placed] = {}
    for numbers in _by_shot(shots):
        clock = [np.round(people[number].time * video.LOOKS_PER_SECOND).astype(int) for number in numbers]
        first, last = min(own[0] for own in clock), max(own[-1] for own in clock)
        times = np.arange(first, last + 1) / video.LOOKS_PER_SECOND
        kind = view.kind[np.searchsorted(looks, times[0] - 1e-3)]
        seen = [
            world.Seen(
                lifts[number],
                int(own[0] - first),
                people[number].visible,
                counted(people[number].keypoints)[:, _ANKLES],
            )
            for number, own in zip(numbers, clock, strict=True)
        ]
        stays = kind == camera_motion.TURNING or (kind == camera_motion.STATIC and anchor)
        together = world.place_together(seen, body, camera_R=view.at(times, looks), camera_stays=bool(stays))
        placed |= dict(zip(numbers, together, strict=True))
    return [placed[number] for number in range(len(people))]


def _refined(
    stages: Stages, settings: list[Any], placed: world.Placed, person: Person, camera_K: np.ndarray, body: Body,
    share: float,
) -> world.Placed:  # fmt: skip
    """One person, bent until they project onto their keypoints."""
    seen = refine.Seen(person.keypoints, person.boxes, camera_K)
    arrays, _ = stages.do(
        "refine", settings,
        lambda progress: vars(world.settled(refine.refine(placed, seen, body, progress), body)), share,
    )  # fmt: skip
    return world.Placed(**arrays)


def _about(number: int, person: Person, sightings: track.Sightings) -> dict[str, Any]:
    """What the People message says of one person."""
    frames = sightings.numbers[clip_frames.inside(sightings, person)]
    points = person.landmarks if person.landmarks.size else person.keypoints
    if points is person.keypoints:  # where ViTPose is unsure, a point may be anywhere
        points = np.where(counted(points)[..., None], points, np.nan)
    height = np.nanmax(points[person.visible, :, 1], 1) - np.nanmin(points[person.visible, :, 1], 1)
    return {
        "id": number,
        "first_frame": int(frames[0]),
        "last_frame": int(frames[-1]),
        "frames": len(frames),
        "height": round(float(np.nanmedian(height) / sightings.size[1]), 3),
    }


def _chosen(job: Job, count: int) -> list[int]:
    """Numbers, from 1, of the people that the job asks for."""
    if job.person == "ALL":
        return list(range(1, count + 1))
    number = 1 if job.person == "MAIN" else int(job.person)
    if number > count:
        raise PipelineError(
            f"There is no person {number} in {job.clip.name}: it shows {count}. Choose MAIN or a number up to {count}."
        )
    return [number]


def _device(name: str) -> torch.device:
    """The device of a setting: auto takes a CUDA card where there is one."""
    if name == "cuda" and not torch.cuda.is_available():
        if not torch.version.cuda:
            raise PipelineError("This worker's PyTorch was built without CUDA. Choose the device cpu, or auto.")
        raise PipelineError("No CUDA card can be used on this computer. Choose the device cpu, or auto.")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def _card(device: torch.device) -> str:
    """The name of a device, for what depends on how fast it is."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _intrinsics(size: tuple[int, int], focal_length: float | None) -> np.ndarray:
    """Camera matrix (3, 3) in pixels; the focal length is of 35 mm film, whose width is the picture's longer side."""
    camera_K = lift.default_intrinsics(size)
    camera_K[0, 0] = camera_K[1, 1] = (focal_length or _PHONE) / _FILM_WIDTH * max(size)
    return camera_K


def _check_output(output: Path) -> None:
    """Refuse, before the work is done, a result that cannot be written."""
    if output.suffix != ".npz" or output.is_dir():
        raise PipelineError(f"{output.name} cannot be the motion file. Give a file name that ends in .npz.")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=output.parent).close()
    except OSError as error:
        raise unwritable(output.parent, error) from error


def _check_range(job: Job, info: video.ClipInfo) -> None:
    end = info.frames or sys.maxsize if job.end is None else job.end
    if not 1 <= job.start <= end or job.start > (info.frames or end):
        raise PipelineError(
            f"Frames {job.start} to {'the last' if job.end is None else end} cannot be taken from {job.clip.name}, "
            f"which has {info.frames or 'some'} frames. Choose a first frame from 1 on and a last one after it."
        )


def _check_sightings(job: Job, info: video.ClipInfo, sightings: track.Sightings, tell: Tell) -> None:
    if len(sightings.looked) < 2:
        raise PipelineError(
            f"Fewer than two frames of {job.clip.name} can be decoded, and a movement needs two. Choose a clip instead "
            "of a picture, and a longer range of its frames."
        )
    count = len(sightings.numbers)
    expected = (info.last(job.end) or 0) - job.start + 1
    if count < 0.9 * expected:
        tell(protocol.Warn(
            f"{job.clip.name} breaks off: {count} of {expected} frames could be decoded. Copy the clip again if the "
            "rest matters."
        ))  # fmt: skip
