"""World-space accuracy on synthetic clips (tests/synthetic): placement, its variants and the reference rollout.

``build.py bench world [NAME ...] [--keypoints truth|net]``. Variants: the default, the camera taken as static, without
the static anchor, and "World: WHAM"; besides, the reference's procedure, WHAM's rollout with the camera taken as
static. With ``truth`` the keypoints are the projected truth with a detector's noise, which tests placement alone; with
``net`` they are the landmark network's, which tests the full pipeline. The focal length is known, as from a phone's
metadata.
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
NOISE = 0.012  # standard deviation of a keypoint, of the box's side
LANDMARK_NOISE = 0.03  # standard deviation of a 3D landmark, metres
VARIANTS: dict[str, dict[str, Any]] = {
    "placed": {},
    "camera taken as static": {"camera": "static"},
    "without anchor": {"anchor": False},
    "World: WHAM": {"world": "wham"},
}
CAMERA_FIELDS, WHAM_FIELDS = ([field.name for field in fields(kind)] for kind in (CameraMotion, WhamTrack))


class TruePeople:
    """A PeopleSource that returns the projected truth with a detector's noise, slow and fast."""

    def __init__(self, known: Truth, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        people, frames = known.poses.shape[:2]
        points = np.empty((people, frames, LANDMARKS, 3))
        filler = np.setdiff1d(np.arange(LANDMARKS), LIFTER_LANDMARKS)
        for person in range(people):
            rotations = torch.from_numpy(rotation_matrices(known.poses[person].reshape(-1, 24, 3))).float()
            betas = torch.from_numpy(known.betas[person]).float().expand(frames, -1)
            with torch.inference_mode():
                observed = TrainingBody()(rotations, betas)[1].numpy() + known.trans[person][:, None]
            points[person, :, LIFTER_LANDMARKS] = observed.swapaxes(0, 1)
            points[person, :, filler] = observed[:, 0]  # the face's other points, which are not used
        self._pixels = known.pixels(points)
        side = np.ptp(self._pixels, axis=2).max(-1)[..., None, None]
        self._pixels = self._pixels + NOISE * side * keypoint_noise(rng, self._pixels.shape)
        in_camera = np.einsum("fij,pfnj->pfni", known.camera_R, points)
        in_camera -= in_camera[:, :, COCO_LANDMARKS[HIPS]].mean(2, keepdims=True)
        self._metres = in_camera + LANDMARK_NOISE * keypoint_noise(rng, in_camera.shape)
        self._boxes = known.boxes()
        self._frame = 0
        self._rows: list[DetectionRow] = []

    def process_frame(self, image: np.ndarray) -> np.ndarray:
        """The boxes of the next frame."""
        for person in range(len(self._pixels)):
            landmarks = np.insert(self._pixels[person, self._frame], 2, 0.95, axis=1)
            metres = self._metres[person, self._frame]
            box = self._boxes[self._frame][person]
            self._rows.append(DetectionRow(self._frame, person, box, landmarks[COCO_LANDMARKS], landmarks, metres))
        self._frame += 1
        return self._boxes[self._frame - 1]

    def start_new_shot(self) -> None:
        """Do nothing: the clips have one shot."""

    def finished_rows(self) -> Iterable[DetectionRow]:
        """The rows of the frames since the last call."""
        rows, self._rows = self._rows, []
        return rows

    def finish(self) -> None:
        """Do nothing: no rows are pending."""


def keypoint_noise(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Noise of about unit variance along axis 1, half of it slow, like a keypoint detector's."""
    fast = rng.standard_normal(shape)
    slow = gaussian_filter1d(rng.standard_normal(shape), 6, axis=1, mode="wrap")
    return (fast + slow / slow.std()) / np.sqrt(2)


@dataclass
class World:
    """One person's result of a variant: joints (F, 24, 3) and feet (F, 4, 3), metres, and contacts (F, 4)."""

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
    """WHAM's rollout, as the reference implementation returns it."""
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


def errors(result: World, known: Truth, person: int) -> list[float]:
    """The errors named by ERRORS."""
    joints, feet = known.joints[person, result.frame], known.feet[person, result.frame]
    contacts = known.contacts[person, result.frame] > 0.5
    hits = (result.contacts & contacts).sum()
    both = result.contacts[1:] & result.contacts[:-1]
    in_contact = np.linalg.norm(np.diff(result.feet, axis=0), axis=-1)[both]
    return [
        1000 * float(metrics.wa_mpjpe(result.joints, joints).mean()),
        1000 * float(metrics.w_mpjpe(result.joints, joints).mean()),
        100 * float(metrics.rte(result.joints[:, 0], joints[:, 0]).mean()),
        float(metrics.jitter(result.joints, truth.FPS).mean()),
        1000 * float(metrics.foot_sliding(result.feet, feet).mean()),
        100 * truth.FPS * float(in_contact.mean()) if len(in_contact) else 0.0,
        float(hits / max(result.contacts.sum(), 1)), float(hits / max(contacts.sum(), 1)),
    ]  # fmt: skip


ERRORS = [
    "WA-MPJPE-100 mm", "W-MPJPE-100 mm", "RTE %", "jitter", "foot sliding mm/frame", "sliding in contact cm/s",
    "contact precision", "recall",
]  # fmt: skip


def camera_errors(view: CameraMotion, known: Truth) -> list[Cell]:
    """Whether a static camera was recognised; rotation error in degrees, by frame and after ten seconds (or all)."""
    true = known.camera_R @ known.camera_R[0].T
    is_static = bool(np.ptp(known.camera_R, axis=0).max() < 1e-6 and np.ptp(known.camera_t, axis=0).max() < 1e-6)

    def angle(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return np.degrees(Rotation.from_matrix(first @ second.mT).magnitude())

    steps = angle(view.rotations[1:] @ view.rotations[:-1].mT, true[1:] @ true[:-1].mT)
    late = min(len(true) - 1, round(10 * truth.FPS))
    recognised = is_static == bool(view.kind[0] == STATIC)
    return ["yes" if recognised else "no", float(steps.mean()), float(angle(view.rotations[late], true[late]))]


def measure(name: str, keypoints: str, body: Body, folder: Path) -> tuple[list[Cell], list[list[Cell]]]:
    """Rows of one clip: the camera's, and the people's by variant."""
    known = truth.load(name)
    millimetres = float(known.camera_K[0, 0] / max(truth.SIZE) * 36)
    rows: list[list[Cell]] = []
    camera: list[Cell] = []
    clip = truth.FOLDER / f"{name}.mp4"
    true_people = mock.patch.object(detect, "build_people_source", lambda *_: TruePeople(known))
    for variant, settings in VARIANTS.items():
        with true_people if keypoints == "truth" else mock.patch.dict({}):
            job = Job(clip, folder / "motion.npz", "ALL", resume=folder, quality="draft",
                      focal_length=millimetres, hands=False, **settings)  # fmt: skip
            run(job, lambda message: None)
        people = motion.load(job.output)
        order = [_true_person(person, known) for person in people]
        worlds = [of_motion(person, body) for person in people]
        if variant == "placed":
            (stage,) = folder.glob("camera-*.npz")
            with np.load(stage, allow_pickle=False) as arrays:
                rotation_errors = camera_errors(CameraMotion(**{name: arrays[name] for name in CAMERA_FIELDS}), known)
            camera = [name, keypoints, *rotation_errors, _tilt(people[0], known), _distance_error(worlds, order, known)]
        rows += [_mean(name, keypoints, variant, [errors(w, known, p) for w, p in zip(worlds, order, strict=True)])]
        if variant == "camera taken as static":
            newest = sorted(folder.glob("wham-*.npz"), key=lambda path: path.stat().st_mtime)[-len(people) :]
            reference_errors = []
            for path, person, number in zip(newest, people, order, strict=True):
                with np.load(path, allow_pickle=False) as arrays:
                    track = WhamTrack(**{name: arrays[name] for name in WHAM_FIELDS})
                reference_errors.append(errors(of_reference(track, body, person.frame - 1), known, number))
            reference = _mean(name, keypoints, "reference rollout", reference_errors)
    return camera, [*rows, reference]


def _mean(name: str, keypoints: str, variant: str, values: list[list[float]]) -> list[Cell]:
    return [name, keypoints, variant, *np.mean(values, axis=0).tolist()]


def _true_person(person: Motion, known: Truth) -> int:
    """Index of the true person with the nearest keypoints in the picture."""
    distance = known.pixels(known.keypoints)[:, person.frame - 1] - person.keypoints[None, ..., :2]
    return int(np.linalg.norm(distance, axis=-1).mean((1, 2)).argmin())


def _tilt(person: Motion, known: Truth) -> float:
    """Degrees between the world's z and the true vertical, both in the camera's axes."""
    up, true = person.camera_R[..., 2], known.camera_R[person.frame - 1][..., 2]
    return float(np.degrees(np.arccos(np.clip((up * true).sum(-1), -1, 1))).mean())


def _distance_error(worlds: list[World], order: list[int], known: Truth) -> float | None:
    """Mean error of the distance between two people, metres; None if there are not two."""
    if sorted(order) != [0, 1]:
        return None
    both, rows, others = np.intersect1d(worlds[0].frame, worlds[1].frame, return_indices=True)
    estimated = np.linalg.norm(worlds[0].joints[rows, 0] - worlds[1].joints[others, 0], axis=1)
    true = np.linalg.norm(known.joints[0, both, 0] - known.joints[1, both, 0], axis=1)
    return float(np.abs(estimated - true).mean())


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
                camera, variants = measure(name, keypoints, body, Path(folder))
            cameras.append(camera)
            rows += variants
    columns = ["clip", "keypoints", "static recognised", "rotation error deg/frame", "after 10 s deg", "tilt deg",
               "distance error m"]  # fmt: skip
    report("Camera rotation, world tilt, and the distance between two people", columns, cameras)
    report("World-space errors", ["clip", "keypoints", "variant", *ERRORS], rows, options.json)


if __name__ == "__main__":
    main()
