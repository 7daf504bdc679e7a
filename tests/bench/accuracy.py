"""Joint errors of draft and Fast quality against motion capture, beside those of the landmark network's 3D.

``build.py bench accuracy --clips FOLDER [--no-refine] [--quality fast]``: the folder holds clips, one ``.trc`` of
markers triangulated at the clips' frames (metres, y up) and one calibration ``.toml`` (camera matrix, Rodrigues
rotation and translation, world to camera, z up) whose sections carry the clips' numbers. A second table shows the
sources of the error: the lifter's error by groups of joints with the true keypoints, and with the true 3D, as input.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from scipy.interpolate import make_interp_spline

from tests.bench.report import Cell, report
from tools import metrics
from wham_blender import motion, weights
from wham_blender.body.body import Body
from wham_blender.models.lifter import rotation_to_optical_axis
from wham_blender.motion import rotation_matrices
from wham_blender.pipeline.people.landmarks import COCO_LANDMARKS
from wham_blender.pipeline.people.types import Person
from wham_blender.pipeline.pose import lifter_features
from wham_blender.pipeline.pose.lifter_features import LIFTER_LANDMARKS, PoseNetworks
from wham_blender.pipeline.stages.job import Job
from wham_blender.pipeline.stages.run import run
from wham_blender.skeleton import COCO_NAMES

LIMBS = list(range(5, 17))  # COCO's shoulders, elbows, wrists, hips, knees, ankles
HIPS = [6, 7]  # among those
MARKERS = [f"{name.split('_')[0][0].upper()}{name.split('_')[1].capitalize()}" for name in np.array(COCO_NAMES)[LIMBS]]
# Markers of the lifter's other points: nose, heels and toes. Eyes, ears and hands have none.
OTHERS = {0: "Nose", 17: "LHeel", 18: "RHeel", 19: "LBigToe", 20: "RBigToe"}
JOINT_GROUPS = {
    "shoulders": [0, 1],
    "elbows": [2, 3],
    "wrists": [4, 5],
    "hips": [6, 7],
    "knees": [8, 9],
    "ankles": [10, 11],
}
LARGEST_ERROR = 70.0  # mm, limit of Draft quality's mean PA-MPJPE
VIDEOS = (".mp4", ".mov", ".avi", ".mkv")
TRACKS_FILE = "tracks-*.npz"  # the stage file of a job with the people's landmarks


@dataclass(frozen=True)
class MarkerCamera:
    """A calibrated camera that projects the markers."""

    rotation: np.ndarray  # (3, 3) world to camera
    translation: np.ndarray  # (3,) metres
    camera_K: np.ndarray  # (3, 3) pixels

    def project(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 3) in the world, metres, to pixels (..., 2); lens distortion is ignored."""
        projected = (points @ self.rotation.T + self.translation) @ self.camera_K.T
        return projected[..., :2] / projected[..., 2:]


def read_markers(path: Path) -> dict[str, np.ndarray]:
    """The markers of a ``.trc`` file by name: each (F, 3) metres, z up."""
    lines = path.read_text().splitlines()
    names = [name for name in lines[3].split("\t")[2:] if name.strip()]
    rows = [[float(word) for word in line.split("\t")[2 : 2 + 3 * len(names)]] for line in lines[5:] if line.strip()]
    points = np.array(rows).reshape(len(rows), -1, 3)[..., [2, 0, 1]]
    return {name: points[:, number] for number, name in enumerate(names)}


def limbs(markers: dict[str, np.ndarray]) -> np.ndarray:
    """The 12 joints (F, 12, 3) of the markers."""
    return np.stack([markers[name] for name in MARKERS], 1)


def read_camera(path: Path, clip: Path) -> MarkerCamera:
    """The camera of the section with the clip's number. Raises SystemExit if there is none."""
    number = int(re.findall(r"\d+", clip.stem)[-1])
    for name, section in tomllib.loads(path.read_text()).items():
        if name != "metadata" and int(re.findall(r"\d+", name)[-1]) == number:
            rotation = cv2.Rodrigues(np.array(section["rotation"]))[0]
            return MarkerCamera(rotation, np.array(section["translation"]), np.array(section["matrix"]))
    raise SystemExit(f"{path.name} has no camera with the number of {clip.name}.")


def motion_joints(person: motion.Motion, body: Body) -> np.ndarray:
    """The 12 joints (F, 12, 3) of a Motion in its camera's axes, by the body's COCO regressors."""
    rotations = torch.from_numpy(rotation_matrices(person.poses.reshape(-1, 24, 3))).float()
    with torch.inference_mode():
        points = body.landmarks(rotations, torch.from_numpy(person.betas).expand(len(person), -1)).joints.numpy()
    return np.einsum("fij,fkj->fki", person.camera_R, points[:, LIMBS])


def observed_person(job_folder: Path) -> Person:
    """The main person's landmarks, from the job's tracks stage."""
    with np.load(next(job_folder.glob(TRACKS_FILE)), allow_pickle=False) as people:
        return Person(**{name[2:]: values for name, values in people.items() if name.startswith("0/")})


def run_job(clip: Path, **settings: Any) -> tuple[motion.Motion, Person]:
    """The main person's motion and landmarks of a clip, of a job with these settings."""
    with tempfile.TemporaryDirectory() as folder:
        job = Job(clip=clip, output=Path(folder) / "motion.npz", resume=Path(folder) / "job", **settings)
        return motion.load(run(job, lambda message: None))[0], observed_person(Path(folder) / "job")


def marker_rows(observed: Person, person: motion.Motion, count: int) -> np.ndarray:
    """Nearest of ``count`` rows of markers, one for each frame of the clip, to each frame of the observed person."""
    return np.interp(observed.time, person.time, person.frame - 1).round().astype(int).clip(0, count - 1)


def seen_joints(person: Person, times: np.ndarray) -> np.ndarray:
    """The landmark network's 12 joints (F, 12, 3), interpolated at the given times."""
    return make_interp_spline(person.time, person.landmarks_3d[:, COCO_LANDMARKS][:, LIMBS], k=1)(times)


def with_true_landmarks(
    person: Person, camera: MarkerCamera, markers: dict[str, np.ndarray], rows: np.ndarray, *, true_3d: bool
) -> Person:
    """The person with the projected markers of ``rows`` (F,) as landmarks; with ``true_3d`` also in 3D."""
    landmarks, landmarks_3d = person.landmarks.copy(), person.landmarks_3d.copy()
    landmarks[..., 2] = 0
    hips = (markers["LHip"] + markers["RHip"])[rows] / 2
    place = torch.from_numpy(hips @ camera.rotation.T + camera.translation)
    to_crop = rotation_to_optical_axis(place).numpy() @ camera.rotation  # landmarks are in the axes of the crop
    for point, name in {**dict(zip(LIMBS, MARKERS, strict=True)), **OTHERS}.items():
        points = markers[name][rows]
        landmarks[:, LIFTER_LANDMARKS[point], :2], landmarks[:, LIFTER_LANDMARKS[point], 2] = camera.project(points), 1
        if true_3d:
            landmarks_3d[:, LIFTER_LANDMARKS[point]] = (to_crop @ (points - hips)[..., None])[..., 0]
    return replace(
        person, keypoints=landmarks[:, COCO_LANDMARKS], landmarks=landmarks, landmarks_3d=landmarks_3d
    )  # fmt: skip


def lifted_joints(
    person: Person, networks: PoseNetworks, body: Body, size: tuple[int, int], camera_K: np.ndarray
) -> np.ndarray:
    """The 12 joints (F, 12, 3) of the lifter's poses, camera axes."""
    poses = lifter_features.extract_features(networks, person, size, camera_K)[2]
    with torch.inference_mode():
        betas = torch.from_numpy(poses.betas.mean(0)).expand(len(person), -1)
        return body.landmarks(torch.from_numpy(poses.poses).float(), betas).joints.numpy()[:, LIMBS]


@dataclass
class Figures:
    """One clip's errors in millimetres, by measure; acceleration error and jitter per frame squared and cubed."""

    frames: int
    frames_with_person: int
    pipeline: dict[str, float]
    landmark_net: dict[str, float]
    sources: dict[str, dict[str, float]]  # PA-MPJPE by groups of joints, by input of the lifter


def measure(clip: Path, markers: dict[str, np.ndarray], camera: MarkerCamera, body: Body, **settings: Any) -> Figures:
    """Run the draft pipeline on a clip with the job's settings; the markers are the truth at its frames."""
    person, observed = run_job(clip, **{"quality": "draft"} | settings)
    true = limbs(markers) @ camera.rotation.T
    known = person.frame <= len(true)

    def errors(points: np.ndarray) -> dict[str, float]:
        points, rows = points[known], person.frame[known] - 1
        return {
            "PA-MPJPE": 1000 * float(metrics.pa_mpjpe(points, true[rows]).mean()),
            "MPJPE": 1000 * float(metrics.mpjpe(points, true[rows], HIPS).mean()),
            "accel": 1000 * float(metrics.accel_error(points, true[rows]).mean()),
            "jitter": 1000 * float(np.linalg.norm(np.diff(points, 3, axis=0), axis=-1).mean()),
        }

    rows = marker_rows(observed, person, len(true))
    networks = PoseNetworks.load(weights.find("lifter").path, weights.find("temporal").path)
    size = person.meta["size"]
    given = {
        "true keypoints and 3D": with_true_landmarks(observed, camera, markers, rows, true_3d=True),
        "true keypoints": with_true_landmarks(observed, camera, markers, rows, true_3d=False),
        "observed": observed,
    }
    sources = {
        name: by_group(lifted_joints(each, networks, body, size, person.camera_K), true[rows])
        for name, each in given.items()
    }
    sources["observed, landmark network only"] = by_group(seen_joints(observed, observed.time), true[rows])
    net = seen_joints(observed, person.time)
    frames_with_person = int(person.visible.sum())
    return Figures(len(true), frames_with_person, errors(motion_joints(person, body)), errors(net), sources)


def by_group(points: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """PA-MPJPE in millimetres of all joints, and of each group after the alignment of all joints."""
    error = 1000 * np.linalg.norm(metrics.aligned(points, true) - true, axis=-1).mean(0)
    return {"all": float(error.mean()), **{name: float(error[joints].mean()) for name, joints in JOINT_GROUPS.items()}}


def measure_folder(folder: Path, **settings: Any) -> dict[str, Figures]:
    """Figures of every clip of a folder, by file name."""
    markers = read_markers(next(folder.glob("*.trc")))
    calibration = next(folder.glob("*.toml"))
    body = Body.load(weights.find("body").path)
    clips = sorted(path for path in folder.iterdir() if path.suffix.lower() in VIDEOS)
    return {clip.name: measure(clip, markers, read_camera(calibration, clip), body, **settings) for clip in clips}


def main() -> None:
    """Measure every clip of the folder and print the tables. Raises SystemExit if the mean exceeds its limits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--no-refine", dest="refine", action="store_false", help="without the fit to 2D keypoints")
    parser.add_argument("--quality", choices=("draft", "fast"), default="draft")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    figures = measure_folder(args.clips, refine=args.refine, quality=args.quality)
    if not figures:
        raise SystemExit(f"No clips in {args.clips}.")
    errors = [[*each.pipeline.values(), *each.landmark_net.values()] for each in figures.values()]
    mean = np.mean(errors, axis=0).tolist()
    rows: list[list[Cell]] = [
        [name, each.frames_with_person, *row] for (name, each), row in zip(figures.items(), errors, strict=True)
    ]
    names = next(iter(figures.values())).pipeline
    columns = [
        "clip",
        "frames with a person",
        *(f"{who} {name}" for who in ("pipeline", "landmark network") for name in names),
    ]
    title = f"{args.quality.capitalize()} quality against motion capture: 12 joints, mm; accel per frame squared"
    report(title, columns, [*rows, ["mean", "", *mean]], args.json)
    parts: list[list[Cell]] = [
        [name, given, *errors.values()] for name, each in figures.items() for given, errors in each.sources.items()
    ]
    report("PA-MPJPE of the lifter, mm, by its input", ["clip", "input", "all", *JOINT_GROUPS], parts)
    pipeline, landmark_net = mean[0], mean[len(names)]
    if args.quality == "draft" and pipeline >= min(LARGEST_ERROR, landmark_net):
        raise SystemExit(
            f"Mean PA-MPJPE {pipeline:.1f} mm: it must be below {LARGEST_ERROR} and below the landmark network's."
        )


if __name__ == "__main__":
    main()
