"""World-space checks of real clips: balance clips against motion capture, a walk and jump by physical plausibility.

``build.py bench filmed [--clips FOLDER] [--pictures FOLDER]``. FOLDER of clips as in the bench ``accuracy``; without
one only the clip of the tests is measured. The pictures show every person's body over the clip through the solved
camera, with green dots on planted foot points, for inspection by eye.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import cv2
import numpy as np
import torch

from tests.bench.accuracy import VIDEOS, read_camera, read_markers
from tests.bench.report import Cell, report
from tests.overlay import overlays, sheet
from tools.metrics import similarity
from wham_blender import motion, weights
from wham_blender.body.body import Body
from wham_blender.motion import Motion, planted, rotation_matrices
from wham_blender.pipeline.stages.job import Job
from wham_blender.pipeline.stages.run import run

CLIP = Path(__file__).parents[1] / "clips" / "walk_and_jump.mp4"
SHOWN = 8  # frames a clip
HIPS = ("LHip", "RHip")


def landmarks(person: Motion, body: Body) -> tuple[np.ndarray, np.ndarray]:
    """COCO keypoints (F, 17, 3) and foot points (F, 4, 3) in the world, metres."""
    rotations = torch.from_numpy(rotation_matrices(person.poses.reshape(-1, 24, 3))).float()
    with torch.inference_mode():
        points = body.landmarks(rotations, torch.from_numpy(person.betas).expand(len(person), -1))
    shift = points.offset[:, None].numpy() + person.trans[:, None]
    return points.joints[:, :17].numpy() + shift, points.feet.numpy() + shift


def checks(clip: Path, number: int, person: Motion, body: Body) -> list[Cell]:
    """A row of checks that need no truth: sliding and penetration of planted feet, and reprojection error."""
    points, feet = landmarks(person, body)
    contacts = planted(person.contacts)
    both = contacts[1:] & contacts[:-1]
    seconds = np.diff(person.time)[:, None]
    speed = 100 * np.linalg.norm(np.diff(feet, axis=0), axis=-1) / seconds
    in_camera = np.einsum("fij,fkj->fki", person.camera_R, points) + person.camera_t[:, None]
    pixels = in_camera @ person.camera_K.T
    error = np.linalg.norm(pixels[..., :2] / pixels[..., 2:] - person.keypoints[..., :2], axis=-1)
    counted = person.keypoints[..., 2] > 0.3
    pelvis = person.joints()[:, 0, 2]
    return [
        clip.name, number, len(person), float(contacts.any(1).mean()),
        float(speed[both].mean()) if both.any() else None,
        100 * float(feet[..., 2].min()), 100 * float(error[counted].mean() / np.hypot(*person.meta["size"])),
        float(pelvis.max()), float(pelvis.min()), float(pelvis[-1]),
    ]  # fmt: skip


CHECKS = [
    "clip", "person", "frames", "frames with contact", "sliding in contact cm/s", "lowest foot cm",
    "reprojection error, % of diagonal", "pelvis highest m", "lowest", "last",
]  # fmt: skip


def pelvis_error(clip: Path, person: Motion, folder: Path, body: Body) -> list[Cell]:
    """Errors of the hips' trajectory against the markers, aligned by yaw and position; tilt of the world in degrees."""
    markers = read_markers(next(folder.glob("*.trc")))
    camera = read_camera(next(folder.glob("*.toml")), clip)
    true = (markers[HIPS[0]] + markers[HIPS[1]]) / 2
    known = person.frame <= len(true)
    hips, true = landmarks(person, body)[0][known][:, 11:13].mean(1), true[person.frame[known] - 1]
    _, yaw, _ = similarity(hips * (1, 1, 0), true * (1, 1, 0), scaled=False)
    difference = (hips - hips.mean(0)) @ yaw.T + true.mean(0) - true
    error, horizontal = (np.linalg.norm(difference[:, :axes], axis=1).mean() for axes in (3, 2))
    tilt = np.degrees(np.arccos(np.clip(person.camera_R[0][:, 2] @ camera.rotation[:, 2], -1, 1)))
    return [
        clip.name, 100 * float(error), 100 * float(horizontal), 100 * float(np.abs(difference[:, 2]).mean()),
        float(np.linalg.norm(np.diff(true, axis=0), axis=1).sum()), float(tilt),
    ]  # fmt: skip


def main() -> None:
    """Measure the clips, write the pictures, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=Path, help="a folder of clips with their motion capture")
    parser.add_argument("--pictures", type=Path, default=Path(__file__).parents[2] / "out" / "world")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    body = Body.load(weights.find("body").path)
    clips = [CLIP]
    if options.clips:
        clips += sorted(path for path in options.clips.iterdir() if path.suffix.lower() in VIDEOS)
    options.pictures.mkdir(parents=True, exist_ok=True)
    rows, errors = [], []
    for clip in clips:
        with tempfile.TemporaryDirectory() as folder:
            job = Job(clip, Path(folder) / "motion.npz", "ALL", resume=Path(folder) / "job", quality="draft")
            people = motion.load(run(job, lambda message: None))
        rows += [checks(clip, number, person, body) for number, person in enumerate(people, 1)]
        if clip != CLIP:
            errors.append(pelvis_error(clip, people[0], options.clips, body))
        frames = people[0].frame[np.linspace(0, len(people[0]) - 1, SHOWN).round().astype(int)].tolist()
        picture = options.pictures / f"{clip.stem}.png"
        cv2.imwrite(str(picture), sheet(overlays(clip, people, body, frames)))
        print(f"Wrote {picture}: check it by eye.")
    if errors:
        columns = ["clip", "hip error cm", "horizontal", "vertical", "path m", "tilt deg"]
        report("Balance clips against motion capture, yaw and position aligned", columns, errors)
    report("All people", CHECKS, rows, options.json)


if __name__ == "__main__":
    main()
