"""How near the world comes to the truth of clips made in Blender (tests/synthetic), beside the reference's way.

``build.py bench world [NAME ...] [--keypoints truth|net]``. Ours, ours without the camera's turn (taken as standing),
ours without the static anchor, and the reference's way: a camera taken as standing, WHAM's steps added up. With
``truth`` the keypoints are the projected truth with a detector's noise, which tests the world alone; with ``net`` they
are the landmark net's, which tests everything. The lens is known, as from a phone's metadata.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from tests.bench.report import Cell, report
from tests.synthetic import truth
from tests.synthetic.truth import Truth
from tools import metrics
from tools.training.simulate import TrainingBody
from wham_blender import motion, weights
from wham_blender.body.body import Body
from wham_blender.motion import Motion, forward_kinematics, planted, rotation_matrices
from wham_blender.pipeline.camera.camera_motion import STATIC, CameraMotion
from wham_blender.pipeline.people.landmarks import COCO_LANDMARKS, LANDMARKS
from wham_blender.pipeline.people.tracking import DetectionRow
from wham_blender.pipeline.pose.lifter_features import LIFTER_LANDMARKS
from wham_blender.pipeline.pose.types import WhamTrack
from wham_blender.pipeline.stages import detect
from wham_blender.pipeline.stages.job import Job
from wham_blender.pipeline.stages.run import run
from wham_blender.pipeline.world.wham_world import rollout_y_up
from wham_blender.skeleton import COCO_NAMES

HIPS = [COCO_NAMES.index("left_hip"), COCO_NAMES.index("right_hip")]
NOISE = 0.012  # of a box's side, of a keypoint in the picture
DEPTH_NOISE = 0.03  # metres, of a landmark in 3D
WAYS: dict[str, dict[str, Any]] = {
    "ours": {},
    "no turn": {"camera": "static"},
    "no anchor": {"anchor": False},
    "World: WHAM": {"world": "wham"},
}
CAMERA_FIELDS, WHAM_FIELDS = ([field.name for field in fields(kind)] for kind in (CameraMotion, WhamTrack))


class TruePeople:
    """Sees everybody where the truth has them, with a detector's noise, slow and fast."""

    def __init__(self, known: Truth, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        people, frames = known.poses.shape[:2]
        points = np.empty((people, frames, LANDMARKS, 3))
        filler = np.setdiff1d(np.arange(LANDMARKS), LIFTER_LANDMARKS)
        for person in range(people):
            rotations = torch.from_numpy(rotation_matrices(known.poses[person].reshape(-1, 24, 3))).float()
            betas = torch.from_numpy(known.betas[person]).float().expand(frames, -1)
            with torch.inference_mode():
                own = TrainingBody()(rotations, betas)[1].numpy() + known.trans[person][:, None]
            points[person, :, LIFTER_LANDMARKS] = own.swapaxes(0, 1)
            points[person, :, filler] = own[:, 0]  # the face's other points, which nobody uses
        self._pixels = known.pixels(points)
        side = np.ptp(self._pixels, axis=2).max(-1)[..., None, None]
        self._pixels = self._pixels + NOISE * side * _trembling(rng, self._pixels.shape)
        seen = np.einsum("fij,pfnj->pfni", known.camera_R, points)
        seen -= seen[:, :, COCO_LANDMARKS[HIPS]].mean(2, keepdims=True)
        self._metres = seen + DEPTH_NOISE * _trembling(rng, seen.shape)
        self._boxes = known.boxes()
        self._looks = 0
        self._rows: list[DetectionRow] = []

    def process_frame(self, image: np.ndarray) -> np.ndarray:
        """The boxes of the next look."""
        for person in range(len(self._pixels)):
            landmarks = np.insert(self._pixels[person, self._looks], 2, 0.95, axis=1)
            metres = self._metres[person, self._looks]
            box = self._boxes[self._looks][person]
            self._rows.append(DetectionRow(self._looks, person, box, landmarks[COCO_LANDMARKS], landmarks, metres))
        self._looks += 1
        return self._boxes[self._looks - 1]

    def start_new_shot(self) -> None:
        """There is none."""

    def finished_rows(self) -> Iterable[DetectionRow]:
        """The look's rows."""
        rows, self._rows = self._rows, []
        return rows

    def finish(self) -> None:
        """Nothing waits."""


def _trembling(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Noise of variance one along axis 1, half of it slow."""
    fast = rng.standard_normal(shape)
    slow = gaussian_filter1d(rng.standard_normal(shape), 6, axis=1, mode="wrap")
    return (fast + slow / slow.std()) / np.sqrt(2)


@dataclass
class World:
    """One person as a way of working has it: joints (F, 24, 3) and feet (F, 4, 3), metres, and contacts (F, 4)."""

    joints: np.ndarray
    feet: np.ndarray
    contacts: np.ndarray
    frame: np.ndarray  # (F,) rows of the truth


def of_motion(person: Motion, body: Body) -> World:
    """A Motion's joints and feet."""
    rotations = torch.from_numpy(rotation_matrices(person.poses.reshape(-1, 24, 3))).float()
    with torch.inference_mode():
        points = body.landmarks(rotations, torch.from_numpy(person.betas).expand(len(person), -1))
    feet = (points.feet + points.offset[:, None]).numpy() + person.trans[:, None]
    return World(person.joints(), feet, planted(person.contacts), person.frame - 1)


def of_reference(lifted: WhamTrack, body: Body, frame: np.ndarray) -> World:
    """WHAM's own world, as the reference writes it."""
    root, hips = rollout_y_up(lifted)
    poses = lifted.poses.copy()
    poses[:, 0] = root
    with torch.inference_mode():
        betas = torch.from_numpy(lifted.betas)
        points = body.landmarks(torch.from_numpy(poses), betas)
        rest = body.rest_joints(betas.median(0).values).numpy()
    vectors = Rotation.from_matrix(poses.reshape(-1, 3, 3)).as_rotvec().reshape(-1, 72)
    joints = forward_kinematics(vectors, hips - points.offset.numpy(), rest)[0]
    count = min(len(frame), len(joints))
    feet = points.feet.numpy() + hips[:, None]
    return World(joints[:count], feet[:count], planted(lifted.contacts)[:count], frame[:count])


def errors(found: World, known: Truth, person: int) -> list[float]:
    """What ERRORS names."""
    joints, feet = known.joints[person, found.frame], known.feet[person, found.frame]
    contacts = known.contacts[person, found.frame] > 0.5
    hits = (found.contacts & contacts).sum()
    both = found.contacts[1:] & found.contacts[:-1]
    marked = np.linalg.norm(np.diff(found.feet, axis=0), axis=-1)[both]
    return [
        1000 * float(metrics.wa_mpjpe(found.joints, joints).mean()),
        1000 * float(metrics.w_mpjpe(found.joints, joints).mean()),
        100 * float(metrics.rte(found.joints[:, 0], joints[:, 0]).mean()),
        float(metrics.jitter(found.joints, truth.FPS).mean()),
        1000 * float(metrics.foot_sliding(found.feet, feet).mean()),
        100 * truth.FPS * float(marked.mean()) if len(marked) else 0.0,
        float(hits / max(found.contacts.sum(), 1)), float(hits / max(contacts.sum(), 1)),
    ]  # fmt: skip


ERRORS = [
    "WA-MPJPE-100 mm", "W-MPJPE-100 mm", "RTE %", "jitter", "sliding mm/frame", "in its contacts cm/s",
    "contact precision", "recall",
]  # fmt: skip


def turn_errors(view: CameraMotion, known: Truth) -> list[Cell]:
    """Whether a standing camera was recognised; degrees of turn: error a frame, and after ten seconds or the end."""
    true = known.camera_R @ known.camera_R[0].T
    stands = bool(np.ptp(known.camera_R, axis=0).max() < 1e-6 and np.ptp(known.camera_t, axis=0).max() < 1e-6)

    def apart(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return np.degrees(Rotation.from_matrix(first @ second.mT).magnitude())

    steps = apart(view.rotations[1:] @ view.rotations[:-1].mT, true[1:] @ true[:-1].mT)
    late = min(len(true) - 1, round(10 * truth.FPS))
    recognised = stands == bool(view.kind[0] == STATIC)
    return ["yes" if recognised else "no", float(steps.mean()), float(apart(view.rotations[late], true[late]))]


def measure(name: str, keypoints: str, body: Body, folder: Path) -> tuple[list[Cell], list[list[Cell]]]:
    """Rows of one clip: the camera's, and the people's by way of working."""
    known = truth.load(name)
    millimetres = float(known.camera_K[0, 0] / max(truth.SIZE) * 36)
    rows: list[list[Cell]] = []
    camera: list[Cell] = []
    clip = truth.FOLDER / f"{name}.mp4"
    spotter = mock.patch.object(detect, "build_people_source", lambda *_: TruePeople(known))
    for way, settings in WAYS.items():
        with spotter if keypoints == "truth" else mock.patch.dict({}):
            job = Job(clip, folder / "motion.npz", "ALL", resume=folder, quality="draft",
                          focal_length=millimetres, **settings)  # fmt: skip
            run(job, lambda message: None)
        people = motion.load(job.output)
        order = [_who(person, known) for person in people]
        worlds = [of_motion(person, body) for person in people]
        if way == "ours":
            (stage,) = folder.glob("camera-*.npz")
            with np.load(stage, allow_pickle=False) as arrays:
                turned = turn_errors(CameraMotion(**{name: arrays[name] for name in CAMERA_FIELDS}), known)
            camera = [name, keypoints, *turned, _tilt(people[0], known), _apart(worlds, order, known)]
        rows += [_mean(name, keypoints, way, [errors(w, known, p) for w, p in zip(worlds, order, strict=True)])]
        if way == "no turn":
            newest = sorted(folder.glob("wham-*.npz"), key=lambda path: path.stat().st_mtime)[-len(people) :]
            found = []
            for path, person, number in zip(newest, people, order, strict=True):
                with np.load(path, allow_pickle=False) as arrays:
                    track = WhamTrack(**{name: arrays[name] for name in WHAM_FIELDS})
                found.append(errors(of_reference(track, body, person.frame - 1), known, number))
            reference = _mean(name, keypoints, "reference's way", found)
    return camera, [*rows, reference]


def _mean(name: str, keypoints: str, way: str, values: list[list[float]]) -> list[Cell]:
    return [name, keypoints, way, *np.mean(values, axis=0).tolist()]


def _who(person: Motion, known: Truth) -> int:
    """Which of the true people a Motion is, by the keypoints in the picture."""
    off = known.pixels(known.keypoints)[:, person.frame - 1] - person.keypoints[None, ..., :2]
    return int(np.linalg.norm(off, axis=-1).mean((1, 2)).argmin())


def _tilt(person: Motion, known: Truth) -> float:
    """Degrees between the world's z and the true way up, both in the camera's axes."""
    up, true = person.camera_R[..., 2], known.camera_R[person.frame - 1][..., 2]
    return float(np.degrees(np.arccos(np.clip((up * true).sum(-1), -1, 1))).mean())


def _apart(worlds: list[World], order: list[int], known: Truth) -> float | None:
    """Mean error of two people's distance, metres."""
    if sorted(order) != [0, 1]:
        return None
    both, rows, others = np.intersect1d(worlds[0].frame, worlds[1].frame, return_indices=True)
    ours = np.linalg.norm(worlds[0].joints[rows, 0] - worlds[1].joints[others, 0], axis=1)
    true = np.linalg.norm(known.joints[0, both, 0] - known.joints[1, both, 0], axis=1)
    return float(np.abs(ours - true).mean())


def main() -> None:
    """Measure the clips and print two tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="clips; default: all")
    parser.add_argument("--keypoints", choices=("truth", "net"), help="default: both, one after the other")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    body = Body.load(weights.find("body").path)
    cameras, rows = [], []
    for keypoints in [options.keypoints] if options.keypoints else ["truth", "net"]:
        for name in options.names or truth.names():
            with tempfile.TemporaryDirectory() as folder:
                camera, ways = measure(name, keypoints, body, Path(folder))
            cameras.append(camera)
            rows += ways
    columns = ["clip", "keypoints", "standing recognised", "turn error deg/frame", "after 10 s deg", "tilt deg",
               "apart m"]  # fmt: skip
    report("The camera, the world's tilt, and how far two people's distance is off", columns, cameras)
    report("The world", ["clip", "keypoints", "way", *ERRORS], rows, options.json)


if __name__ == "__main__":
    main()
