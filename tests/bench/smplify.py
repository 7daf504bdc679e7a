"""Gain and cost of the fit to 2D keypoints (SMPLify) on held-out motion capture observed by virtual cameras.

``build.py bench smplify [--mocap FOLDERS] [--clips N] [--seed N] [--guessed-lens] [--terms JSON]``. The views have the
landmark network's measured errors; the draft pipeline estimates and places the person, and the fit starts from its
result. ``--terms '{"pose": 0.5}'`` tries other weights than those of ``Terms``, which were chosen with seed 0: report
figures of another seed.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from tests.bench.report import Cell, report
from tools import metrics
from tools.training import mocap, simulate
from tools.training.scenes import place
from wham_blender import weights
from wham_blender.body.body import Body
from wham_blender.models.wham import WHAM
from wham_blender.motion import rotation_matrices
from wham_blender.pipeline.people.landmarks import LANDMARKS
from wham_blender.pipeline.people.types import Person
from wham_blender.pipeline.pose import camera_translation, lifter_features, wham_inference, wham_weights
from wham_blender.pipeline.pose.lifter_features import LIFTER_LANDMARKS
from wham_blender.pipeline.pose.types import WhamInput
from wham_blender.pipeline.stages.camera import intrinsics
from wham_blender.pipeline.world import placement, smplify

FRAMES = 90
LIMBS = list(range(5, 17))  # COCO's shoulders, elbows, wrists, hips, knees, ankles
HIPS = [6, 7]  # among those
VISIBLE_FRACTION = 0.9  # of the points that must be in the picture
SMALLEST_DEPTH = 1.4  # metres


@dataclass
class Take:
    """A moving body observed by a static virtual camera, and the draft pipeline's result."""

    person: Person
    camera_K: np.ndarray  # (3, 3) pixels
    points: np.ndarray  # (F, 17, 3) true COCO keypoints relative to the hips, camera axes
    place: np.ndarray  # (F, 3) the hips, camera axes
    contacts: np.ndarray  # (F, 4)
    placed: placement.Placed


@dataclass
class Draft:
    """The networks of Draft quality."""

    body: Body
    lifter: lifter_features.PoseNetworks
    wham: WHAM

    def place(self, person: Person, camera_K: np.ndarray, size: tuple[int, int]) -> placement.Placed:
        """The person as the pipeline places them without the fit."""
        *views, poses = lifter_features.extract_features(self.lifter, person, size, camera_K)
        track = WhamInput(person.keypoints, person.boxes, size, views, camera_K=camera_K)
        lifted = wham_inference.run_wham(self.wham, self.body, track)
        lifted = replace(lifted, **vars(poses))
        lifted.trans_cam = camera_translation.solve_translation(lifted, self.body, person.keypoints, camera_K)
        return place(lifted, self.body)


def draw(
    library: simulate.Library, point_body: simulate.TrainingBody, errors: simulate.LandmarkErrors, draft: Draft,
    generator: torch.Generator, *, unknown_lens: bool,
) -> Take | None:  # fmt: skip
    """A random take, None if the person leaves the picture; ``unknown_lens``: with estimated intrinsics."""
    lengths = torch.tensor(library.lengths)
    clip = int(torch.multinomial((lengths > FRAMES + 1) * lengths.float().sqrt(), 1, generator=generator))
    begin = library.starts[clip] + int(torch.randint(library.lengths[clip] - FRAMES, (1,), generator=generator))
    frames = slice(begin, begin + FRAMES)
    betas = simulate.random_betas(1, generator)
    camera = simulate.random_cameras(1, generator)
    points, hips = _posed(point_body, library.rotations[frames], betas)
    rest = point_body.rest + torch.einsum("b,bjk->jk", betas[0], point_body.rest_shapes)
    legs = (rest[1, 1] - rest[7, 1]) / (point_body.rest[1, 1] - point_body.rest[7, 1])
    hips = hips + library.trans[frames] * legs
    path = (hips - hips[0]) @ camera.rotation[0].T
    depth = max(float(camera.place[0, 2]), SMALLEST_DEPTH - float(path[:, 2].min()))
    place = camera.place[0] * (depth / float(camera.place[0, 2])) + path
    points = points @ camera.rotation[0].T
    pixels = points + place[:, None]
    pixels = pixels[..., :2] / pixels[..., 2:] * camera.focal + camera.size[0] / 2
    if ((pixels > 0) & (pixels < camera.size[0])).all(-1).float().mean() < VISIBLE_FRACTION:
        return None
    cameras = simulate.Camera(
        camera.rotation.expand(FRAMES, 3, 3), camera.focal.expand(FRAMES), camera.size.expand(FRAMES, 2), place
    )
    seen = simulate.observe(points, cameras, generator, errors, FRAMES)
    size = (int(camera.size[0, 0]), int(camera.size[0, 1]))
    camera_K = np.array([[float(camera.focal), 0, size[0] / 2], [0, float(camera.focal), size[1] / 2], [0, 0, 1]])
    if unknown_lens:
        camera_K = intrinsics(size, None)
    person = _person(seen)
    return Take(
        person, camera_K, points[:, :17].numpy(), place.numpy(), library.contacts[frames].numpy(),
        draft.place(person, camera_K, size),
    )  # fmt: skip


@torch.no_grad()
def _posed(
    point_body: simulate.TrainingBody, rotations: torch.Tensor, betas: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The 25 points (F, 25, 3) relative to the hips, and the hips (F, 3)."""
    _, points, _ = point_body(rotations, betas.expand(len(rotations), -1))
    hips = points[:, 11:13].mean(1)
    return points - hips[:, None], hips


def _person(seen: simulate.View) -> Person:
    """The Person of a simulated view, as of the people stages."""
    count = len(seen.pixels)
    landmarks, depths = np.zeros((2, count, LANDMARKS, 3), np.float32)
    landmarks[:, LIFTER_LANDMARKS] = torch.cat([seen.pixels, 0.8 * seen.mask[..., None]], 2).numpy()
    depths[:, LIFTER_LANDMARKS] = seen.landmarks.numpy()
    boxes = seen.box.numpy() * [1, 1, 1 / 200]
    rows = np.arange(count)
    keypoints = landmarks[:, LIFTER_LANDMARKS[:17]]
    return Person(keypoints, landmarks, depths, boxes, rows / wham_inference.FPS, np.ones(count, bool), rows)


def figures(placed: placement.Placed, take: Take, body: Body) -> dict[str, float]:
    """Errors of a motion against the truth in millimetres, and reprojection error in per cent of the box's side."""
    rotations = torch.from_numpy(rotation_matrices(placed.poses.reshape(-1, 24, 3))).float()
    with torch.no_grad():
        found = body.landmarks(rotations, torch.from_numpy(placed.betas).expand(len(rotations), -1))
    middle = found.offset.numpy() + placed.trans
    feet = found.feet.numpy() + middle[:, None]
    joints = np.einsum("fij,fkj->fki", placed.camera_R, found.joints[:, :17].numpy())
    in_camera = joints + (np.einsum("fij,fj->fi", placed.camera_R, middle) + placed.camera_t)[:, None]
    pixels = in_camera @ take.camera_K.T
    error = np.linalg.norm(pixels[..., :2] / pixels[..., 2:] - take.person.keypoints[..., :2], axis=-1)
    counted = take.person.keypoints[..., 2] > 0
    estimated, true = joints[:, LIMBS], take.points[:, LIMBS]
    planted = take.contacts > 0.5
    slides = np.linalg.norm(np.diff(feet, axis=0), axis=-1)[planted[1:] & planted[:-1]]
    return {
        "PA-MPJPE": 1000 * float(metrics.pa_mpjpe(estimated, true).mean()),
        "MPJPE": 1000 * float(metrics.mpjpe(estimated, true, HIPS).mean()),
        "accel": 1000 * float(metrics.accel_error(estimated, true).mean()),
        "jitter": 1000 * float(np.linalg.norm(np.diff(estimated, 3, axis=0), axis=-1).mean()),
        "sliding/frame": 1000 * float(slides.mean()) if len(slides) else np.nan,
        "reprojection error, % of box": 100 * float((error / (200 * take.person.boxes[:, 2:]))[counted].mean()),
    }


def main() -> None:
    """Simulate the takes, fit them and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    mocap.add_option(parser)
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--guessed-lens", action="store_true", help="unknown intrinsics, as of most clips")
    parser.add_argument("--terms", type=json.loads, default={}, metavar="JSON")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    point_body = simulate.TrainingBody()
    library = simulate.Library.of(simulate.split(args.mocap, point_body)[1], mirrored=False)
    errors = simulate.LandmarkErrors.load(simulate.ERRORS_FILE)
    body = Body.load(weights.find("body").path)
    draft = Draft(
        body, lifter_features.PoseNetworks.load(weights.find("lifter").path, weights.find("temporal").path),
        wham_weights.load_wham(weights.find("wham").path),
    )  # fmt: skip
    generator = torch.Generator().manual_seed(args.seed)
    takes: list[Take] = []
    while len(takes) < args.clips:
        if take := draw(library, point_body, errors, draft, generator, unknown_lens=args.guessed_lens):
            takes.append(take)
    rows: dict[str, list[list[float]]] = {"without fit": [], "fitted": []}
    seconds = 0.0
    for take in takes:
        rows["without fit"].append([*figures(take.placed, take, body).values()])
        begun = time.process_time()
        target = smplify.Keypoints2D(take.person.keypoints, take.person.boxes, take.camera_K)
        fitted = smplify.fit_to_keypoints(take.placed, target, body, terms=smplify.Terms(**args.terms))
        fitted = placement.with_locked_feet(fitted, body)
        seconds += time.process_time() - begun
        rows["fitted"].append([*figures(fitted, take, body).values()])
    means: list[list[Cell]] = [[name, *np.nanmean(values, axis=0).tolist()] for name, values in rows.items()]
    title = f"{len(takes)} clips of {FRAMES} frames, held-out motion capture; mm"
    report(title, ["stage", *figures(takes[0].placed, takes[0], body)], means, args.json)
    better = np.mean(np.array(rows["fitted"])[:, :2] < np.array(rows["without fit"])[:, :2], axis=0)
    print(f"Better in PA-MPJPE: {better[0]:.0%} of the clips, in MPJPE: {better[1]:.0%}.")
    print(f"Processor seconds a frame: {seconds / len(takes) / FRAMES:.4f}.")


if __name__ == "__main__":
    main()
