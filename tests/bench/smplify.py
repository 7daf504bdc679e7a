"""What fitting to the picture gains and costs, on held-out motion capture seen by virtual cameras.

``build.py bench smplify --mocap FOLDER [--clips N] [--seed N] [--guessed-lens] [--terms JSON]``. The views have the
errors that the landmark net was measured to make; the draft pipeline poses and places the person, and the fit goes on
from there. ``--terms '{"pose": 0.5}'`` tries other weights than those of ``Terms``. Those were chosen with the seed 0:
figures to be reported come from another one.
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
from tools.training import simulate
from tools.training.scenes import place
from wham_blender import weights
from wham_blender.body.body import Body
from wham_blender.models.lifter import Lifter
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
IN_VIEW = 0.9  # of the points, at least
NEAREST = 1.4  # metres


@dataclass
class Take:
    """A moving body before a still virtual camera, and what the draft pipeline makes of it."""

    person: Person
    camera_K: np.ndarray  # (3, 3) pixels
    points: np.ndarray  # (F, 17, 3) the true COCO points round the hips, camera axes
    place: np.ndarray  # (F, 3) the hips, camera axes
    contacts: np.ndarray  # (F, 4)
    placed: placement.Placed


@dataclass
class Draft:
    """What draft quality poses and places with."""

    body: Body
    lifter: Lifter
    wham: WHAM

    def place(self, person: Person, camera_K: np.ndarray, size: tuple[int, int]) -> placement.Placed:
        """The person as the pipeline places them without the fit."""
        *views, own = lifter_features.extract_features(self.lifter, person, size, camera_K)
        track = WhamInput(person.keypoints, person.boxes, size, views, camera_K=camera_K)
        lifted = wham_inference.run_wham(self.wham, self.body, track)
        lifted = replace(lifted, **vars(own))
        lifted.trans_cam = camera_translation.solve_translation(lifted, self.body, person.keypoints, camera_K)
        return place(lifted, self.body)


def draw(
    library: simulate.Library, point_body: simulate.TrainingBody, errors: simulate.LandmarkErrors, draft: Draft,
    generator: torch.Generator, *, guessed: bool,
) -> Take | None:  # fmt: skip
    """One take; None where the person is not in the picture. ``guessed``: nobody knows the lens."""
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
    way = (hips - hips[0]) @ camera.rotation[0].T
    depth = max(float(camera.place[0, 2]), NEAREST - float(way[:, 2].min()))
    place = camera.place[0] * (depth / float(camera.place[0, 2])) + way
    points = points @ camera.rotation[0].T
    pixels = points + place[:, None]
    pixels = pixels[..., :2] / pixels[..., 2:] * camera.focal + camera.size[0] / 2
    if ((pixels > 0) & (pixels < camera.size[0])).all(-1).float().mean() < IN_VIEW:
        return None
    many = simulate.Camera(
        camera.rotation.expand(FRAMES, 3, 3), camera.focal.expand(FRAMES), camera.size.expand(FRAMES, 2), place
    )
    seen = simulate.observe(points, many, generator, errors, FRAMES)
    size = (int(camera.size[0, 0]), int(camera.size[0, 1]))
    camera_K = np.array([[float(camera.focal), 0, size[0] / 2], [0, float(camera.focal), size[1] / 2], [0, 0, 1]])
    if guessed:
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
    """The 25 points (F, 25, 3) round the hips, and the hips (F, 3)."""
    _, points, _ = point_body(rotations, betas.expand(len(rotations), -1))
    hips = points[:, 11:13].mean(1)
    return points - hips[:, None], hips


def _person(seen: simulate.View) -> Person:
    """What was observed, in the pipeline's form."""
    count = len(seen.pixels)
    landmarks, depths = np.zeros((2, count, LANDMARKS, 3), np.float32)
    landmarks[:, LIFTER_LANDMARKS] = torch.cat([seen.pixels, 0.8 * seen.mask[..., None]], 2).numpy()
    depths[:, LIFTER_LANDMARKS] = seen.landmarks.numpy()
    boxes = seen.box.numpy() * [1, 1, 1 / 200]
    rows = np.arange(count)
    keypoints = landmarks[:, LIFTER_LANDMARKS[:17]]
    return Person(keypoints, landmarks, depths, boxes, rows / wham_inference.FPS, np.ones(count, bool), rows)


def figures(placed: placement.Placed, take: Take, body: Body) -> dict[str, float]:
    """How far a motion is from the truth, and from what was seen; millimetres, but for the share of the box's side."""
    rotations = torch.from_numpy(rotation_matrices(placed.poses.reshape(-1, 24, 3))).float()
    with torch.no_grad():
        found = body.landmarks(rotations, torch.from_numpy(placed.betas).expand(len(rotations), -1))
    middle = found.offset.numpy() + placed.trans
    feet = found.feet.numpy() + middle[:, None]
    joints = np.einsum("fij,fkj->fki", placed.camera_R, found.joints[:, :17].numpy())
    seen = joints + (np.einsum("fij,fj->fi", placed.camera_R, middle) + placed.camera_t)[:, None]
    pixels = seen @ take.camera_K.T
    off = np.linalg.norm(pixels[..., :2] / pixels[..., 2:] - take.person.keypoints[..., :2], axis=-1)
    sure = take.person.keypoints[..., 2] > 0
    ours, true = joints[:, LIMBS], take.points[:, LIMBS]
    down = take.contacts > 0.5
    slides = np.linalg.norm(np.diff(feet, axis=0), axis=-1)[down[1:] & down[:-1]]
    return {
        "PA-MPJPE": 1000 * float(metrics.pa_mpjpe(ours, true).mean()),
        "MPJPE": 1000 * float(metrics.mpjpe(ours, true, HIPS).mean()),
        "accel": 1000 * float(metrics.accel_error(ours, true).mean()),
        "jitter": 1000 * float(np.linalg.norm(np.diff(ours, 3, axis=0), axis=-1).mean()),
        "slide a frame": 1000 * float(slides.mean()) if len(slides) else np.nan,
        "off keypoints, % of box": 100 * float((off / (200 * take.person.boxes[:, 2:]))[sure].mean()),
    }


def main() -> None:
    """Draw the takes, fit them and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mocap", type=Path, required=True, help="as build.py train takes it")
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--guessed-lens", action="store_true", help="as of most clips, nobody knows the lens")
    parser.add_argument("--terms", type=json.loads, default={}, metavar="JSON")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    point_body = simulate.TrainingBody()
    library = simulate.Library.of(simulate.split(args.mocap, point_body)[1], mirrored=False)
    errors = simulate.LandmarkErrors.load(simulate.ERRORS_FILE)
    body = Body.load(weights.find("body").path)
    draft = Draft(
        body, lifter_features.load_lifter(weights.find("lifter").path),
        wham_weights.load_wham(weights.find("wham").path),
    )  # fmt: skip
    generator = torch.Generator().manual_seed(args.seed)
    takes: list[Take] = []
    while len(takes) < args.clips:
        if take := draw(library, point_body, errors, draft, generator, guessed=args.guessed_lens):
            takes.append(take)
    rows: dict[str, list[list[float]]] = {"without": [], "fitted": []}
    spent = 0.0
    for take in takes:
        rows["without"].append([*figures(take.placed, take, body).values()])
        begun = time.process_time()
        target = smplify.Keypoints2D(take.person.keypoints, take.person.boxes, take.camera_K)
        fitted = smplify.fit_to_keypoints(take.placed, target, body, terms=smplify.Terms(**args.terms))
        fitted = placement.with_locked_feet(fitted, body)
        spent += time.process_time() - begun
        rows["fitted"].append([*figures(fitted, take, body).values()])
    means: list[list[Cell]] = [[name, *np.nanmean(values, axis=0).tolist()] for name, values in rows.items()]
    title = f"{len(takes)} clips of {FRAMES} frames, held-out motion capture; mm"
    report(title, ["", *figures(takes[0].placed, takes[0], body)], means, args.json)
    better = np.mean(np.array(rows["fitted"])[:, :2] < np.array(rows["without"])[:, :2], axis=0)
    print(f"Better in PA-MPJPE: {better[0]:.0%} of the clips, in MPJPE: {better[1]:.0%}.")
    print(f"Processor seconds a frame: {spent / len(takes) / FRAMES:.4f}.")


if __name__ == "__main__":
    main()
