"""The world of filmed clips: two balance clips against their motion capture, and a walk and a jump by what must be so.

``build.py bench filmed [--clips FOLDER] [--pictures FOLDER]``. FOLDER of clips as in the bench of accuracy; without one
only the clip that comes with the tests is measured. The pictures show everybody's body over the clip, through the
solved camera, green dots on foot points that stand: look at them.
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
    """COCO's points (F, 17, 3) and the foot points (F, 4, 3) in the world, metres."""
    rotations = torch.from_numpy(rotation_matrices(person.poses.reshape(-1, 24, 3))).float()
    with torch.inference_mode():
        points = body.landmarks(rotations, torch.from_numpy(person.betas).expand(len(person), -1))
    shift = points.offset[:, None].numpy() + person.trans[:, None]
    return points.joints[:, :17].numpy() + shift, points.feet.numpy() + shift


def about(clip: Path, number: int, person: Motion, body: Body) -> list[Cell]:
    """What must be so of anyone: feet that stand do not move or sink, and the body lies over its keypoints."""
    points, feet = landmarks(person, body)
    stands = planted(person.contacts)
    both = stands[1:] & stands[:-1]
    seconds = np.diff(person.time)[:, None]
    speed = 100 * np.linalg.norm(np.diff(feet, axis=0), axis=-1) / seconds
    seen = np.einsum("fij,fkj->fki", person.camera_R, points) + person.camera_t[:, None]
    pixels = seen @ person.camera_K.T
    off = np.linalg.norm(pixels[..., :2] / pixels[..., 2:] - person.keypoints[..., :2], axis=-1)
    counted = person.keypoints[..., 2] > 0.3
    pelvis = person.joints()[:, 0, 2]
    return [
        clip.name, number, len(person), float(stands.any(1).mean()), float(speed[both].mean()) if both.any() else None,
        100 * float(feet[..., 2].min()), 100 * float(off[counted].mean() / np.hypot(*person.meta["size"])),
        float(pelvis.max()), float(pelvis.min()), float(pelvis[-1]),
    ]  # fmt: skip


ABOUT = [
    "clip", "person", "frames", "share with a foot down", "sliding in contacts cm/s", "lowest foot cm",
    "keypoints off, % of the diagonal", "pelvis highest m", "lowest", "at the end",
]  # fmt: skip


def pelvis_error(clip: Path, person: Motion, folder: Path, body: Body) -> list[Cell]:
    """Errors of the hips' way against the markers, after yaw and place are aligned; the tilt of the world, degrees."""
    markers = read_markers(next(folder.glob("*.trc")))
    camera = read_camera(next(folder.glob("*.toml")), clip)
    true = (markers[HIPS[0]] + markers[HIPS[1]]) / 2
    known = person.frame <= len(true)
    ours, true = landmarks(person, body)[0][known][:, 11:13].mean(1), true[person.frame[known] - 1]
    _, turn, _ = similarity(ours * (1, 1, 0), true * (1, 1, 0), scaled=False)
    ours = (ours - ours.mean(0)) @ turn.T + true.mean(0)
    off = ours - true
    apart, level = np.linalg.norm(off, axis=1).mean(), np.linalg.norm(off[:, :2], axis=1).mean()
    tilt = np.degrees(np.arccos(np.clip(person.camera_R[0][:, 2] @ camera.rotation[:, 2], -1, 1)))
    return [
        clip.name, 100 * float(apart), 100 * float(level), 100 * float(np.abs(off[:, 2]).mean()),
        float(np.linalg.norm(np.diff(true, axis=0), axis=1).sum()), float(tilt),
    ]  # fmt: skip


def main() -> None:
    """Measure the clips, draw them, print the tables."""
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
        rows += [about(clip, number, person, body) for number, person in enumerate(people, 1)]
        if clip != CLIP:
            errors.append(pelvis_error(clip, people[0], options.clips, body))
        frames = people[0].frame[np.linspace(0, len(people[0]) - 1, SHOWN).round().astype(int)].tolist()
        picture = options.pictures / f"{clip.stem}.png"
        cv2.imwrite(str(picture), sheet(overlays(clip, people, body, frames)))
        print(f"Look at {picture}")
    if errors:
        columns = ["clip", "hips' way off cm", "level", "height", "way m", "world tilted deg"]
        report("The balance clips against motion capture, yaw and place aligned", columns, errors)
    report("Everybody", ABOUT, rows, options.json)


if __name__ == "__main__":
    main()
