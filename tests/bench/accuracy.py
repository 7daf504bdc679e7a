"""How far the draft pipeline's joints are from a motion-capture truth, beside the landmark net's own 3D.

``build.py bench accuracy --clips FOLDER``: the folder holds clips, one ``.trc`` of markers triangulated at the clips'
frames (metres, y up) and one calibration ``.toml`` (Rodrigues rotation and translation, world to camera, z up) whose
sections carry the clips' numbers.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from scipy.interpolate import make_interp_spline

from tests.bench.report import Cell, report
from wham_blender import motion, weights
from wham_blender.body.body import Body
from wham_blender.motion import rotation_matrices
from wham_blender.pipeline import metrics
from wham_blender.pipeline.keypoints import COCO_LANDMARKS
from wham_blender.pipeline.run import Job, run
from wham_blender.skeleton import COCO_NAMES

LIMBS = list(range(5, 17))  # COCO's shoulders, elbows, wrists, hips, knees, ankles
HIPS = [6, 7]  # among those
MARKERS = [f"{name.split('_')[0][0].upper()}{name.split('_')[1].capitalize()}" for name in np.array(COCO_NAMES)[LIMBS]]
WORST = 80.0  # mm, mean PA-MPJPE
VIDEOS = (".mp4", ".mov", ".avi", ".mkv")
JOB_PARTS = "clean-*.npz"  # the stage in which a job keeps the people it saw


def read_markers(path: Path) -> np.ndarray:
    """The 12 joints (F, 12, 3) of a ``.trc`` file, metres, z up."""
    lines = path.read_text().splitlines()
    names = [name for name in lines[3].split("\t")[2:] if name.strip()]
    rows = [[float(word) for word in line.split("\t")[2 : 2 + 3 * len(names)]] for line in lines[5:] if line.strip()]
    points = np.array(rows).reshape(len(rows), -1, 3)[..., [2, 0, 1]]
    return points[:, [names.index(marker) for marker in MARKERS]]


def read_rotation(path: Path, clip: Path) -> np.ndarray:
    """Rotation (3, 3), world to camera, of the section that has the clip's number."""
    number = int(re.findall(r"\d+", clip.stem)[-1])
    for name, section in tomllib.loads(path.read_text()).items():
        if name != "metadata" and int(re.findall(r"\d+", name)[-1]) == number:
            return cv2.Rodrigues(np.array(section["rotation"]))[0]
    raise SystemExit(f"{path.name} has no camera with the number of {clip.name}.")


def our_joints(person: motion.Motion, body: Body) -> np.ndarray:
    """The 12 joints (F, 12, 3) of a Motion in its camera's axes, by the body's COCO regressors."""
    rotations = torch.from_numpy(rotation_matrices(person.poses.reshape(-1, 24, 3))).float()
    with torch.inference_mode():
        points = body.landmarks(rotations, torch.from_numpy(person.betas).expand(len(person), -1)).joints.numpy()
    return np.einsum("fij,fkj->fki", person.camera_R, points[:, LIMBS])


def seen_joints(job_folder: Path, times: np.ndarray) -> np.ndarray:
    """The landmark net's own 12 joints (F, 12, 3) of the main person, at the clip's times."""
    with np.load(next(job_folder.glob(JOB_PARTS)), allow_pickle=False) as people:
        points = people["0/landmarks_3d"][:, COCO_LANDMARKS][:, LIMBS]
        return make_interp_spline(people["0/time"], points, k=1)(times)


@dataclass
class Figures:
    """One clip's errors, millimetres: PA-MPJPE, MPJPE, and acceleration error per frame squared."""

    frames: int
    frames_with_person: int
    ours: dict[str, float]
    landmark_net: dict[str, float]


def measure(clip: Path, markers: np.ndarray, rotation: np.ndarray, body: Body) -> Figures:
    """Run the draft pipeline on a clip; markers (F, 12, 3) are the truth at its frames, rotation world to camera."""
    with tempfile.TemporaryDirectory() as folder:
        job = Job(clip=clip, output=Path(folder) / "motion.npz", resume=Path(folder) / "job", quality="draft")
        person = motion.load(run(job, lambda message: None))[0]
        seen = seen_joints(Path(folder) / "job", person.time)
    known = person.frame <= len(markers)
    true = markers[person.frame[known] - 1] @ rotation.T

    def errors(points: np.ndarray) -> dict[str, float]:
        points = points[known]
        return {
            "PA-MPJPE": 1000 * float(metrics.pa_mpjpe(points, true).mean()),
            "MPJPE": 1000 * float(metrics.mpjpe(points, true, HIPS).mean()),
            "accel": 1000 * float(metrics.accel_error(points, true).mean()),
        }

    frames_with_person = int(person.visible.sum())
    return Figures(len(markers), frames_with_person, errors(our_joints(person, body)), errors(seen))


def measure_folder(folder: Path) -> dict[str, Figures]:
    """Figures of every clip of a folder, by file name."""
    markers = read_markers(next(folder.glob("*.trc")))
    calibration = next(folder.glob("*.toml"))
    body = Body.load(weights.find("body").path)
    clips = sorted(path for path in folder.iterdir() if path.suffix.lower() in VIDEOS)
    return {clip.name: measure(clip, markers, read_rotation(calibration, clip), body) for clip in clips}


def main() -> None:
    """Measure every clip of the folder and print the table; exit 1 where the mean misses its bounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    figures = measure_folder(args.clips)
    if not figures:
        raise SystemExit(f"No clips in {args.clips}.")
    errors = [[*each.ours.values(), *each.landmark_net.values()] for each in figures.values()]
    mean = np.mean(errors, axis=0).tolist()
    rows: list[list[Cell]] = [
        [name, each.frames_with_person, *row] for (name, each), row in zip(figures.items(), errors, strict=True)
    ]
    names = next(iter(figures.values())).ours
    columns = ["clip", "frames with a person", *(f"{who} {name}" for who in ("ours", "landmark net") for name in names)]
    title = "Draft pipeline against motion capture: 12 joints, mm; accel per frame squared"
    report(title, columns, [*rows, ["mean", "", *mean]], args.json)
    ours, landmark_net = mean[0], mean[len(names)]
    if ours >= min(WORST, landmark_net):
        raise SystemExit(f"Mean PA-MPJPE {ours:.1f} mm: it should be under {WORST} and under the landmark net's.")


if __name__ == "__main__":
    main()
