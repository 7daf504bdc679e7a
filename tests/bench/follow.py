"""How well results follow quick, turned, low, joined and followed people, on films with known truth and on real clips.

``build.py bench follow [--films FOLDER] [--kinds run,jump] [--quick] [--ablate] [--clips FOLDER [--moving-crops]]``.
Without --films the held-out films of tools/filming are made first, once, into out/follow; a folder of films is measured
as it is. A table by kind of motion, and one by film. ``--ablate``: what each stage contributes, from the network's
keypoints to the fit. ``--clips``: real clips without truth instead, against the keypoints that the network saw; with
``--moving-crops``, against the same clips filmed again by a camera that moves (`moving_crops`).

Columns. PA, MPJPE: 12 joints, millimetres. head: its orientation to the camera, degrees off. off: distance of projected
joints from the true ones, % of the true box's longer side. kept: share of the true speed, relative to the hips, in 3D
and in the picture (`following.speed_products`). lag: milliseconds. way: length of the hips' horizontal path, % of the
true one (films with more than a metre). climb: height gained over the film by the hips' trend, against the truth. hips:
slope of their height over the true one. lost: % of the frames in which half of a person is in view and nobody follows.
taken: changes of identity.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from tests.bench import moving_crops
from tests.bench.accuracy import LIMBS, VIDEOS
from tests.bench.filmed import landmarks
from tests.bench.report import Cell, report
from tools import following, metrics
from tools.filming import table, truth
from tools.filming.film import Crew
from tools.filming.truth import Truth
from tools.training import mocap
from wham_blender import motion, weights
from wham_blender.body.body import Body
from wham_blender.models.temporal import TemporalLifter
from wham_blender.motion import Motion, planted
from wham_blender.pipeline.errors import PipelineError
from wham_blender.pipeline.people import track_cleanup
from wham_blender.pipeline.people.landmarks import COCO_LANDMARKS
from wham_blender.pipeline.pose import lifter_features
from wham_blender.pipeline.stages import motions, run
from wham_blender.pipeline.stages.job import Job
from wham_blender.pipeline.world import placement
from wham_blender.skeleton import JOINT_NAMES

FOLDER = Path(__file__).parents[2] / "out" / "follow"
HIPS = [6, 7]  # among LIMBS
GROUPS = {"trunk": [0, 1, 6, 7], "wrists": [4, 5], "ankles": [10, 11]}
_IN_VIEW = 0.5  # share of a person that must be in view for a frame without result to count as lost
_SHORTEST_WAY = 1.0  # metres, of the true hips: below it, paths are not compared
_PATH_SMOOTHING = 0.15  # seconds, standard deviation: sway and noise are no way
_LEAST_RISE = 0.1  # metres by which true hips rise and fall, for their heights to be compared
_STEP = 0.1  # seconds over which the travel of seen points is taken


@dataclass
class Result:
    """What a stage says of one person in N frames; points and world may be missing."""

    frame: np.ndarray  # (N,) of the film, from 0
    pixels: np.ndarray  # (N, 12, 2) joints in the picture
    points: np.ndarray | None = None  # (N, 12, 3) metres, camera axes
    hips: np.ndarray | None = None  # (N, 3) metres, world
    up: np.ndarray | None = None  # (N, 3) the world's z in the camera's axes
    contacts: np.ndarray | None = None  # (N, 4) bool
    head: np.ndarray | None = None  # (N, 3, 3) rotation from rest to the camera's axes

    def visible(self, flags: np.ndarray) -> Result:
        """The rows (N,) alone that are marked."""
        kept: dict[str, Any] = {name: None if value is None else value[flags] for name, value in vars(self).items()}
        return Result(**kept)


def of_motion(person: Motion, body: Body) -> Result:
    """A result as the animator gets it, where the person was seen."""
    joints = landmarks(person, body)[0][:, LIMBS]
    points = np.einsum("fij,fkj->fki", person.camera_R, joints) + person.camera_t[:, None]
    pixels = points @ person.camera_K.T
    return Result(
        person.frame - 1, pixels[..., :2] / pixels[..., 2:], points, joints[:, HIPS].mean(1), person.camera_R[..., 2],
        planted(person.contacts), person.camera_R @ _head(person.poses, person.rest_joints),
    ).visible(person.visible)  # fmt: skip


def _head(poses: np.ndarray, rest_joints: np.ndarray) -> np.ndarray:
    """Rotations (F, 3, 3) of the head in the world, of poses (F, 72)."""
    return motion.forward_kinematics(poses, np.zeros(3), rest_joints)[1][:, JOINT_NAMES.index("head")]


# ---------------------------------------------------------------- figures

Figures = dict[str, np.ndarray]  # samples (n,), or sums that are added: see `merged`
_SAMPLES = ("PA", "MPJPE", "head", "off", "climb", "tilt")


def figures(results: Sequence[Result], true: Truth) -> Figures:
    """All figures of one film, such that those of several can be merged."""
    pixels = true.pixels(true.keypoints)[:, :, LIMBS]
    sides = np.maximum(true.boxes[..., 2:] - true.boxes[..., :2], 1).max(-1)
    found = following.associate(pixels, sides, [(each.frame, each.pixels) for each in results])
    in_view = true.seen > _IN_VIEW
    made: list[Figures] = [
        {
            "lost": np.array([(in_view & (found.result < 0)).sum(), in_view.sum()], float),
            "taken": np.array(float(sum(map(found.changes, range(len(pixels)))))),
            "invented": np.array(float(len(found.invented))),
        }
    ]
    points = true.in_camera(true.keypoints)[:, :, LIMBS]
    for person in range(len(pixels)):
        for frames in found.runs(person):
            rows = found.row[person, frames]
            result = results[found.result[person, frames[0]]].visible(rows)
            made.append(_of_picture(result, pixels[person, frames], sides[person, frames], true))
            if result.points is not None:
                made.append(_of_pose(result.points, points[person, frames], true.fps))
            if result.head is not None:
                head = true.camera_R[frames] @ _head(true.poses[person, frames], true.joints[person, 0])
                relative = Rotation.from_matrix(head.swapaxes(1, 2) @ result.head)
                made.append({"head": np.degrees(relative.magnitude())})
            if result.hips is not None:
                made.append(_of_world(result, person, frames, true))
    return merged(made)


def merged(several: Iterable[Figures]) -> Figures:
    """Samples of several figures in a row, sums added."""
    total: dict[str, list[np.ndarray]] = {}
    for each in several:
        for name, value in each.items():
            total.setdefault(name, []).append(value)
    return {n: np.concatenate(v) if n in _SAMPLES else np.sum(v, axis=0) for n, v in total.items()}


def _of_picture(result: Result, pixels: np.ndarray, sides: np.ndarray, true: Truth) -> Figures:
    inside = ((pixels > 0) & (pixels < true.size)).all(-1)
    off = 100 * np.linalg.norm(result.pixels - pixels, axis=-1) / sides[:, None]
    made = {"off": off[inside]}
    side = np.median(sides)
    for name, joints in GROUPS.items():
        ours, theirs = (
            (each if name == "trunk" else each - each[:, HIPS].mean(1, keepdims=True))[:, joints] / side
            for each in (result.pixels, pixels)
        )
        made[f"{name} lag"] = following.lag_products(ours, theirs, true.fps)
        made[f"{name} kept in picture"] = np.array(following.speed_products(ours, theirs, true.fps))
    return made


def _of_pose(points: np.ndarray, true: np.ndarray, fps: float) -> Figures:
    ours, theirs = (each - each[:, HIPS].mean(1, keepdims=True) for each in (points, true))
    return {
        "PA": 1000 * metrics.pa_mpjpe(points, true), "MPJPE": 1000 * metrics.mpjpe(points, true, HIPS),
        **{f"{name} kept": np.array(following.speed_products(ours[:, GROUPS[name]], theirs[:, GROUPS[name]], fps))
           for name in ("wrists", "ankles")},
    }  # fmt: skip


def _of_world(result: Result, person: int, frames: np.ndarray, true: Truth) -> Figures:
    assert result.hips is not None and result.up is not None and result.contacts is not None
    hips = true.keypoints[person, frames, 11:13].mean(1)
    made = {
        "tilt": np.degrees(np.arccos((result.up * true.camera_R[frames, :, 2]).sum(1).clip(-1, 1))),
        "contacts": following.counts(result.contacts, true.contacts[person, frames] > 0.5),
    }
    ways = [path_length(each, true.fps) for each in (result.hips, hips)]
    if ways[1] > _SHORTEST_WAY:
        made["way"] = np.array(ways)
        time = np.arange(len(frames)) / true.fps
        made["climb"] = np.array([np.polyfit(time, result.hips[:, 2] - hips[:, 2], 1)[0] * time[-1]])
    if np.ptp(hips[:, 2]) > _LEAST_RISE:
        made["hips"] = np.array(following.regression(result.hips[:, 2], hips[:, 2]))
    return made


def path_length(points: np.ndarray, fps: float) -> float:
    """Metres of the horizontal path of points (F, 3)."""
    smooth = gaussian_filter1d(points[:, :2], _PATH_SMOOTHING * fps, axis=0, mode="nearest")
    return float(np.linalg.norm(np.diff(smooth, axis=0), axis=1).sum())


def _share(sums: np.ndarray | None) -> float | None:
    return None if sums is None or not sums[1] else 100 * float(sums[0] / sums[1])


def _mean(samples: np.ndarray | None, of: Callable[[np.ndarray], Any] = np.mean) -> float | None:
    return None if samples is None or not len(samples) else float(of(samples))


def cells(made: Figures) -> dict[str, Cell]:
    """Figures as the columns of the table."""
    hits, predicted, actual = made.get("contacts", np.zeros(3))
    lags = {name: following.best_lag(made[f"{name} lag"]) if f"{name} lag" in made else None for name in GROUPS}
    return {
        "PA": _mean(made.get("PA")), "MPJPE": _mean(made.get("MPJPE")), "head deg": _mean(made.get("head")),
        "off median": _mean(made.get("off"), np.median),
        "worst tenth": _mean(made.get("off"), lambda samples: np.quantile(samples, 0.9)),
        "wrists kept": _share(made.get("wrists kept")), "in picture": _share(made.get("wrists kept in picture")),
        "ankles kept": _share(made.get("ankles kept")), "in picture ": _share(made.get("ankles kept in picture")),
        **{f"lag {name}": None if lag is None else 1000 * lag for name, lag in lags.items()},
        "contact precision": float(hits / predicted) if predicted else None,
        "recall": float(hits / actual) if actual else None,
        "F1": float(2 * hits / (predicted + actual)) if actual else None,
        "way %": _share(made.get("way")), "climb cm": _mean(made.get("climb"), lambda each: 100 * np.abs(each).mean()),
        "tilt deg": _mean(made.get("tilt")), "hips %": _share(made.get("hips")), "lost %": _share(made.get("lost")),
        "taken": int(made["taken"]), "invented": int(made["invented"]),
    }  # fmt: skip


# ---------------------------------------------------------------- the pipeline


class Runner:
    """Runs the draft pipeline and keeps what its stages return."""

    _STAGES = ("clean_tracks", "solve_camera", "extract_features", "run_wham", "place_people")

    def __init__(self) -> None:
        self.body = Body.load(weights.find("body").path)
        self.returned: dict[str, Any] = {}  # by stage, of the last run

    def run(self, clip: Path, job_folder: Path, **settings: Any) -> list[Motion]:
        """The people of a clip; none if none was found."""
        self.returned = {}
        with ExitStack() as patches, tempfile.TemporaryDirectory() as folder:
            for name in self._STAGES:
                patches.enter_context(mock.patch.object(motions, name, self._keeping(name, getattr(motions, name))))
            options: dict[str, Any] = {"person": "ALL", "quality": "draft", "resume": job_folder} | settings
            try:
                return motion.load(run.run(Job(clip, Path(folder) / "motion.npz", **options), lambda message: None))
            except PipelineError as error:
                print(f"{clip.name}: {error}")
                return []

    def _keeping(self, name: str, stage: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            self.returned[name] = stage(*arguments)
            return self.returned[name]

        return call

    # ------------------------------------------------------------ stages, for the ablation

    def net(self) -> list[Result]:
        """The network's keypoints and 3D as they were found, frame by frame, of each track."""
        tracks = self.returned["clean_tracks"]
        found = tracks.detected.detections
        return [
            Result(
                _rows(person), found.keypoints[person.detection_rows][:, LIMBS, :2],
                found.landmarks_3d[person.detection_rows][:, COCO_LANDMARKS][:, LIMBS],
            ).visible(person.visible)
            for person in tracks.people
        ]  # fmt: skip

    def tracks(self) -> list[Result]:
        """The cleaned tracks: left and right consistent, smoothed."""
        return [
            Result(
                _rows(person), person.keypoints[:, LIMBS, :2], person.landmarks_3d[:, COCO_LANDMARKS][:, LIMBS]
            ).visible(person.visible)
            for person in self.returned["clean_tracks"].people
        ]  # fmt: skip

    def lifted(self, *, over_time: bool = True) -> list[Result]:
        """The lifter's poses, where the picture puts them; ``over_time`` False: of each frame by itself."""
        lifted, camera = self.returned["run_wham"], self.returned["solve_camera"]
        results = []
        for person, track in zip(self.returned["clean_tracks"].people, lifted.tracks, strict=True):
            poses = track.poses
            if not over_time:
                lifter = lifter_features.load_lifter(weights.find("lifter").path)
                untrained = lifter_features.PoseNetworks(lifter, TemporalLifter().eval())  # it changes nothing
                size = tuple(self.returned["clean_tracks"].detected.detections.size.tolist())
                poses = lifter_features.extract_features(untrained, person, size, camera.camera_K)[2].poses
            betas = torch.from_numpy(np.median(track.betas, 0)).float().expand(len(poses), -1)
            with torch.inference_mode():
                joints = self.body.landmarks(torch.from_numpy(poses).float(), betas).joints.numpy()[:, LIMBS]
            points = joints + track.trans_cam[:, None]
            pixels = points @ camera.camera_K.T
            result = Result(_rows(person), pixels[..., :2] / pixels[..., 2:], points)
            results.append(result.visible(person.visible))
        return results


def _rows(person: Any) -> np.ndarray:
    """Frames (N,) of the film, which has 30 a second, of a track."""
    return np.round(person.time * 30).astype(int)


def ablation(runner: Runner, clip: Path, job_folder: Path) -> dict[str, list[Result]]:
    """Results after each stage, by its name."""
    final = runner.run(clip, job_folder)
    if not final:
        return {}
    made = {
        "network": runner.net(), "cleaned tracks": runner.tracks(),
        "lifter, each frame": runner.lifted(over_time=False), "lifter": runner.lifted(),
    }  # fmt: skip

    def variant(keep: Sequence[str], *patches: Any, **settings: Any) -> list[Result]:
        """The final result with patched code; ``keep``: stages whose cached results are used."""
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            for path in (path for stage in keep for path in job_folder.glob(f"{stage}-*.npz")):
                shutil.copy(path, folder)
            for patch in patches:
                stack.enter_context(patch)
            return [of_motion(person, runner.body) for person in runner.run(clip, Path(folder), **settings)]

    before = ("detect", "tracks", "camera", "features", "wham")
    unlocked = mock.patch.object(
        placement, "lock_feet", lambda poses, pelvis, rest, feet, points: (poses, pelvis, feet)
    )
    swapped = mock.patch.object(track_cleanup, "fix_left_right", lambda points, metres: (points, metres))
    made["placed, feet free"] = variant(before, unlocked, refine=False)
    made["placed"] = variant(before, refine=False)
    made["fitted, feet free"] = variant(before, unlocked)
    made["fitted"] = [of_motion(person, runner.body) for person in final]
    made["fitted, left-right uncorrected"] = variant(("detect",), swapped)
    return made


# ---------------------------------------------------------------- real clips


def seen_pixels(tracks: Any, number: int) -> np.ndarray:
    """The network's joints (N, 12, 2) of a track, unsmoothed; left and right as in the cleaned track."""
    person = tracks.people[number]
    seen = tracks.detected.detections.keypoints[person.detection_rows][:, LIMBS, :2]
    mirrored = seen.reshape(-1, 6, 2, 2)[:, :, ::-1].reshape(seen.shape)
    cleaned = person.keypoints[:, LIMBS, :2]
    swapped = np.linalg.norm(mirrored - cleaned, axis=-1).sum(1) < np.linalg.norm(seen - cleaned, axis=-1).sum(1)
    return np.where(swapped[:, None, None], mirrored, seen)


def against_keypoints(runner: Runner, person: Motion, number: int) -> dict[str, Cell]:
    """Figures of one person of a clip without truth. Raises KeyError if the run returned no tracks."""
    tracks = runner.returned["clean_tracks"]
    track = tracks.people[number]
    joints = landmarks(person, runner.body)[0][:, LIMBS]
    points = np.einsum("fij,fkj->fki", person.camera_R, joints) + person.camera_t[:, None]
    projected = points @ person.camera_K.T
    nearest = np.abs(person.time[:, None] - track.time).argmin(0)  # of the result's frames, for each of the track's
    ours = (projected[..., :2] / projected[..., 2:])[nearest]
    seen = seen_pixels(tracks, number)
    sides = np.maximum(np.ptp(seen, axis=1).max(-1), 1)
    confident = track.visible[:, None] & (track.keypoints[:, LIMBS, 2] > 0.3)
    off = 100 * np.linalg.norm(ours - seen, axis=-1) / sides[:, None]
    made: dict[str, Cell] = {
        "frames": len(person), "first": int(person.frame[0]), "missed": int((~person.visible).sum()),
        "off median": float(np.median(off[confident])), "worst tenth": float(np.quantile(off[confident], 0.9)),
    }  # fmt: skip
    for name in ("wrists", "ankles"):
        group = GROUPS[name]
        runs = [rows for rows in motion.true_intervals(confident[:, group].all(1)) if rows[1] - rows[0] > 12]
        ways = [following.travel(ours[a:b, group], seen[a:b, group], round(_STEP * 30)) for a, b in runs]
        made[f"{name} travel %"] = _share(np.sum(ways, axis=0)) if ways else None
    made["heading step deg"] = heading_step(person)
    return made


def heading_step(person: Motion) -> float | None:
    """Largest turn in degrees about the vertical from one frame to the next, while the person is upright."""
    rotations = motion.rotation_matrices(person.poses[:, :3])
    forward = rotations[:, :2, 2]
    upright = np.linalg.norm(forward, axis=1) > 0.5
    angle = np.arctan2(forward[:, 1], forward[:, 0])
    turned = np.degrees(np.abs((np.diff(angle) + np.pi) % (2 * np.pi) - np.pi))
    counted = upright[1:] & upright[:-1] & (np.diff(person.frame) == 1)
    return float(turned[counted].max()) if counted.any() else None


def measure_clips(folder: Path, json_path: Path | None, *, again: bool) -> None:
    """Measure the clips in a folder against the network's keypoints, or filmed ``again``, and print a table."""
    runner = Runner()
    rows: list[dict[str, Cell]] = []
    for clip in sorted(path for path in folder.rglob("*") if path.suffix.lower() in VIDEOS):
        if again:
            rows += moving_crops.compare(runner, clip, FOLDER / "jobs", path_length)
            continue
        people = runner.run(clip, FOLDER / "jobs" / clip.stem)
        for number, person in enumerate(people):
            rows.append({"clip": clip.name, "person": number + 1, **against_keypoints(runner, person, number)})
    if not rows:
        raise SystemExit(f"Nobody was found in the clips of {folder}.")
    title = "Filmed again by a moving camera" if again else "Against the network's keypoints"
    report(title, list(rows[0]), [list(row.values()) for row in rows], json_path)


# ---------------------------------------------------------------- films


def films(options: argparse.Namespace) -> list[Path]:
    """The films to measure, made first where they are missing."""
    if options.films:
        paths = [path for path in sorted(options.films.glob("*.mp4")) if path.with_suffix(".npz").exists()]
    else:
        chosen = [film for film in table.FILMS if not options.quick or film.name in table.QUICK]
        if options.kinds:
            chosen = [film for film in chosen if film.kind in options.kinds.split(",")]
        paths = table.make_missing(chosen, Crew(options.mocap), FOLDER)
    kinds = options.kinds.split(",") if options.kinds else None
    return [path for path in paths if not kinds or truth.load(path.with_suffix(".npz")).kind in kinds]


def tabulate(title: str, first: str, made: dict[str, Figures]) -> list[dict[str, Cell]]:
    """Print a table with one row for each entry; the rows."""
    rows: list[dict[str, Cell]] = [{first: name, **cells(each)} for name, each in made.items()]
    report(title, list(rows[0]), [list(row.values()) for row in rows])
    return rows


def main() -> None:
    """Measure films or clips and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--films", type=Path, help="a folder of films with their truth, instead of the held-out ones")
    parser.add_argument("--clips", type=Path, help="a folder of real clips to measure instead")
    parser.add_argument("--moving-crops", action="store_true", help="film those clips again with a moving camera")
    parser.add_argument("--kinds", help="of motion, separated by commas; default: all")
    parser.add_argument("--quick", action="store_true", help=f"only {', '.join(table.QUICK)}")
    parser.add_argument("--ablate", action="store_true", help="measure after each stage")
    parser.add_argument("--json", type=Path)
    mocap.add_option(parser)
    options = parser.parse_args()
    if options.clips:
        measure_clips(options.clips, options.json, again=options.moving_crops)
        return
    cv2.setNumThreads(1)
    runner = Runner()
    by_film: dict[str, Figures] = {}
    kinds: dict[str, str] = {}
    stages_of: dict[str, list[Figures]] = {}
    for clip in films(options):
        true = truth.load(clip.with_suffix(".npz"))
        job_folder = FOLDER / "jobs" / clip.stem
        if options.ablate:
            made = ablation(runner, clip, job_folder)
            for name, results in made.items():
                stages_of.setdefault(name, []).append(figures(results, true))
        people = runner.run(clip, job_folder)
        by_film[clip.stem] = figures([of_motion(person, runner.body) for person in people], true)
        kinds[clip.stem] = true.kind
    if not by_film:
        raise SystemExit("There is no such film.")
    grouped = {
        kind: merged(each for name, each in by_film.items() if kinds[name] == kind)
        for kind in dict.fromkeys(kinds.values())
    }
    rows = tabulate("By film", "film", by_film)
    rows += tabulate("By kind of motion", "kind", grouped | {"all": merged(by_film.values())})
    if stages_of:
        rows += tabulate("After each stage, all films", "stage", {n: merged(each) for n, each in stages_of.items()})
    if options.json:
        options.json.write_text(json.dumps({"title": "follow", "rows": rows}, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
