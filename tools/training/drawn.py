"""Runs the landmark network on rendered bodies of known pose, as training data of the lifter: ``build.py train drawn``.

Simple noise does not model the network's errors: it often returns another pose with a similar projection. So a part of
the lifter's views are real outputs of the network: random poses of the open body, in random clothes and before random
backgrounds, each picture and its mirror image. They are in ``out/training/drawn.npz``, those of held-out clips in
``drawn_held_out.npz``. A second call continues where the first ended.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from itertools import cycle

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from tools.training import checkpoint, mocap, simulate
from tools.training.painter import Painter
from tools.training.views import ViewSampler
from wham_blender import weights
from wham_blender.body.body import Body
from wham_blender.pipeline.people.landmarks import PERSON_SCORE, Landmarker, crop_around_keypoints
from wham_blender.pipeline.pose.lifter_features import LIFTER_LANDMARKS

_HEIGHT = 250.0  # approximate height of a body in pixels (about 180 in the network's input)
_SIDE = 460  # pixels of the picture
_CROP_ERROR = 0.015  # of a person's size: error of the previous frame's keypoints, from which the crop is made
_TRUNCATED, _OCCLUDED = 0.12, 0.1  # fractions of the pictures with a body that is cut off or partly occluded
_EDGE = 0.03  # of a person's size: the pipeline ignores points nearer to the edge of the picture
_BATCH = 256  # poses at a time; those that leave the picture are skipped
_HELD_OUT = 1000  # pictures
TRAINING, HELD_OUT = "drawn.npz", "drawn_held_out.npz"


def pictures(
    sources: Sequence[ViewSampler], body: Body, net: Landmarker, rng: np.random.Generator
) -> Iterator[dict[str, np.ndarray]]:
    """Yields the network's landmarks of one picture after another, and the truth; poses alternate between the sources.

    ``seen`` (2, 25, 3): pixels in the camera's picture and confidence, of the picture and its mirror image; ``seen_3d``
    (2, 25, 3) metres; ``poses`` (72,), the root's in camera axes; ``betas`` (10,); ``place`` (3,), ``focal``, ``size``
    (2,) as a Camera has them.
    """
    painter = Painter(body, rng, _SIDE)
    for views in cycle(sources):
        with torch.no_grad():
            camera, rotations, betas, placed = views.bodies(_BATCH)
        for row in range(_BATCH):
            place, points = camera.place[row], placed[row, 24:]
            focal = _HEIGHT / 1.75 * float(place[2])
            middle = (place[:2] / place[2]).numpy()

            def project(at: torch.Tensor, middle: np.ndarray = middle, focal: float = focal) -> np.ndarray:
                """Pixels in the rendered picture, whose centre is at the hips."""
                return ((at[:, :2] / at[:, 2:]).numpy() - middle) * focal + _SIDE / 2

            true = project(points + place)
            if true.min() < 20 or true.max() > _SIDE - 20:
                continue
            with torch.no_grad():
                one = rotations[row : row + 1], betas[row : row + 1]
                vertices = body.vertices(*one)[0] + place - views.body(*one)[1][0, 11:13].mean(0)
            painter.relight()
            picture = painter.paint(vertices.numpy(), project(vertices), painter.dress(), painter.backdrop())
            last = np.concatenate([true[:17], np.ones((17, 1))], 1)
            extent = float(np.ptp(true, axis=0).max())
            chance = rng.random()
            low, high = truncate(picture, true, rng) if chance < _TRUNCATED else (np.zeros(2), np.full(2, _SIDE))
            if _TRUNCATED <= chance < _TRUNCATED + _OCCLUDED:
                occlude(picture, true, rng)
            if rng.random() < 0.5:  # the previous frame's confidence may be high for occluded points
                last[:, 2] = ((last[:, :2] > low) & (last[:, :2] < high)).all(1)
            last[:, :2] += _CROP_ERROR * extent * (rng.normal(0, 1, (17, 2)) + rng.normal(0, 1, 2))
            outputs = [net(picture, crop_around_keypoints(last), mirrored) for mirrored in (False, True)]
            if min(output.score for output in outputs) < PERSON_SCORE:
                continue
            seen = np.stack([output.landmarks[LIFTER_LANDMARKS] for output in outputs])
            edge = _EDGE * extent * ((low > 0) | (high < _SIDE))
            seen[..., 2] *= ((seen[..., :2] > low + edge) & (seen[..., :2] < high - edge)).all(-1)
            rays = (seen[..., :2] - _SIDE / 2) / focal + middle
            seen[..., :2] = rays * float(camera.focal[row]) + camera.size[row].numpy() / 2
            sample = {
                "seen": seen, "seen_3d": np.stack([output.landmarks_3d[LIFTER_LANDMARKS] for output in outputs]),
                "poses": Rotation.from_matrix(rotations[row].numpy()).as_rotvec().ravel(), "betas": betas[row],
                "place": place, "focal": camera.focal[row], "size": camera.size[row],
            }  # fmt: skip
            yield {name: np.asarray(value, np.float32) for name, value in sample.items()}


def truncate(picture: np.ndarray, true: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Blacken the picture beyond a line through the body with points ``true`` (25, 2), as a crop beyond the image edge.

    Returns the corners (2,) of the remaining picture.
    """
    low, high = np.zeros(2), np.full(2, float(len(picture)))
    axis, before = ((1, False), (1, False), (1, True), (0, False), (0, True))[rng.integers(5)]
    fraction = rng.uniform(0.05, 0.55)
    position = float(np.quantile(true[:, axis], fraction if before else 1 - fraction))
    (low if before else high)[axis] = position
    beyond = np.arange(len(picture)) < position if before else np.arange(len(picture)) > position
    np.moveaxis(picture, 1 - axis, 0)[beyond] = 0
    return low, high


def occlude(picture: np.ndarray, true: np.ndarray, rng: np.random.Generator) -> None:
    """Occlude a part of the body by a rectangle of one colour: from the hips down like a table, or anywhere."""
    (left, top), (right, bottom) = true.min(0), true.max(0)
    if rng.random() < 0.5:
        corners = (
            (left - rng.uniform(0, 150), rng.uniform(true[11:13, 1].mean(), bottom)),
            (right + 150, bottom + 150),
        )
    else:
        middle, size = rng.uniform((left, top), (right, bottom)), rng.uniform(0.05, 0.25, 2) * (bottom - top)
        corners = middle - size, middle + size
    (x1, y1), (x2, y2) = np.clip(np.round(corners), 0, len(picture)).astype(int).tolist()
    picture[y1:y2, x1:x2] = np.clip(rng.uniform(0, 255, 3) + rng.normal(0, 6, (y2 - y1, x2 - x1, 3)), 0, 255)


def main(argv: list[str] | None = None) -> None:
    """Render until there are as many pictures as requested: ``build.py train drawn``."""
    parser = argparse.ArgumentParser(description=__doc__)
    mocap.add_option(parser)
    parser.add_argument("--pictures", type=int, default=40_000)
    parser.add_argument("--minutes", type=float, default=90)
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    point_body = simulate.TrainingBody()
    body, net = Body.load(weights.find("body").path), Landmarker(weights.find("landmarks"))
    end = time.monotonic() + 60 * args.minutes
    training, validation = simulate.split(args.mocap, point_body)
    errors = simulate.LandmarkErrors.load(simulate.ERRORS_FILE)
    wanted = (validation, HELD_OUT, min(_HELD_OUT, args.pictures)), (training, TRAINING, args.pictures)
    for clips, name, count in wanted:
        library, perturbed = simulate.Library.of(clips), (False, True) if name == TRAINING else (False,)

        def source(
            begin: int, library: simulate.Library = library, perturbed: tuple[bool, ...] = perturbed
        ) -> Iterator[dict[str, np.ndarray]]:
            """Further pictures, the poses of which differ from those of the first ``begin``."""
            sources = [ViewSampler(library, point_body, errors, seed=begin, perturbed=each) for each in perturbed]
            return pictures(sources, body, net, np.random.default_rng(begin))

        checkpoint.collected(checkpoint.FOLDER / name, count, end, source)


if __name__ == "__main__":
    main()
