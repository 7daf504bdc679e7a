"""Measures the landmark network's errors on rendered films of known poses: ``build.py train filmed``.

The open body moves by motion capture, in random clothes and before random backgrounds; the landmark network processes
each frame as in the pipeline, with a crop from the previous frame's keypoints. Its output and the truth are written to
``out/training/filmed.npz``, the error model fitted to them, from which training samples, to ``landmark_net_errors.npz``
beside this file. A second call continues where the first ended.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from tools.training import checkpoint, mocap, simulate
from tools.training.painter import Painter
from wham_blender import weights
from wham_blender.body.body import Body
from wham_blender.pipeline.people.landmarks import Landmarker, crop_around_keypoints
from wham_blender.pipeline.pose.lifter_features import LIFTER_LANDMARKS

FRAMES = 32  # of one film
_HEIGHT = 420.0  # approximate height of a body in pixels; the network's input has 256
_HALF_SIDE = 700  # pixels: half the side of the picture


@dataclass
class Studio:
    """What films are made of and with."""

    library: simulate.Library  # motion
    point_body: simulate.TrainingBody
    body: Body
    painter: Painter
    landmarker: Landmarker
    generator: torch.Generator
    rng: np.random.Generator


@torch.no_grad()
def film(studio: Studio, first_picture: Path | None = None) -> dict[str, np.ndarray] | None:
    """Render one film: the network's landmarks in the pipeline's form, and the truth. None if it lost the person.

    The first frame is written to ``first_picture``, with the landmarks marked.
    """
    library, generator, body, painter = studio.library, studio.generator, studio.body, studio.painter
    lengths = torch.tensor(library.lengths)
    clip = int(torch.multinomial((lengths > FRAMES) * library.weights, 1, generator=generator))
    begin = library.starts[clip] + int(torch.randint(library.lengths[clip] - FRAMES, (1,), generator=generator))
    rotations = library.rotations[begin : begin + FRAMES].clone()
    trans = library.trans[begin : begin + FRAMES] - library.trans[begin]
    betas = simulate.random_betas(1, generator).expand(FRAMES, -1)
    camera = simulate.random_cameras(1, generator)
    rotations[:, 0] = camera.rotation @ rotations[:, 0]
    _, points, _ = studio.point_body(rotations, betas)
    hips = points[:, 11:13].mean(1)
    # The perspective of the random camera's distance, with a focal length that gives bodies a height of _HEIGHT.
    place = camera.place[0] + (camera.rotation[0] @ trans.T).T
    place[:, 2].clamp_(min=1.5)
    focal = _HEIGHT / 1.75 * float(place[0, 2])
    middle = place[FRAMES // 2]

    def project(at: torch.Tensor) -> np.ndarray:
        """Pixels of points in camera axes; the picture's centre is where the person is in the middle frame."""
        return (at[..., :2] / at[..., 2:] - middle[:2] / middle[2]).numpy() * focal + _HALF_SIDE

    true = points + (place - hips)[:, None]
    uv = project(true)
    if uv[..., :2].min() < 20 or uv.max() > 2 * _HALF_SIDE - 20:
        return None
    painter.relight()
    colours, backdrop = painter.dress(), painter.backdrop()
    previous = np.concatenate([uv[0, :17], np.ones((17, 1))], 1)
    previous[:, :2] += studio.rng.normal(0, 6, (17, 2))
    outputs = []
    for frame in range(FRAMES):
        vertices = body.vertices(rotations[frame : frame + 1], betas[:1])[0] + place[frame] - hips[frame]
        picture = painter.paint(vertices.numpy(), project(vertices), colours, backdrop)
        output = studio.landmarker(picture, crop_around_keypoints(previous))
        if output.score < 0.5 or (output.keypoints[:, 2] > 0.3).sum() < 8:
            return None
        previous = output.keypoints
        outputs.append(output)
        if first_picture and frame == 0:
            marked = picture[..., ::-1].copy()
            for x, y, _ in output.landmarks[LIFTER_LANDMARKS]:
                cv2.circle(marked, (round(float(x)), round(float(y))), 3, (0, 255, 0), -1)
            cv2.imwrite(str(first_picture), marked)
    seen = np.stack([output.landmarks[LIFTER_LANDMARKS] for output in outputs])
    seen_3d = np.stack([output.landmarks_3d[LIFTER_LANDMARKS] for output in outputs])
    return {
        "points": (points - hips[:, None]).numpy(), "uv": uv, "seen": seen, "seen_3d": seen_3d,
        "place": place.numpy(),
    }  # fmt: skip


def main(argv: list[str] | None = None) -> None:
    """Render until there are as many films as requested: ``build.py train filmed``."""
    parser = argparse.ArgumentParser(description=__doc__)
    mocap.add_option(parser)
    parser.add_argument("--films", type=int, default=160)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--pictures", type=Path, help="keep each film's first picture in this folder")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    point_body = simulate.TrainingBody()
    clips, _ = simulate.split(args.mocap, point_body)
    library = simulate.Library.of(clips)
    checkpoint.FOLDER.mkdir(parents=True, exist_ok=True)
    path = checkpoint.FOLDER / "filmed.npz"
    films = checkpoint.read_rows(path)
    body = Body.load(weights.find("body").path)
    generator, rng = torch.Generator().manual_seed(len(films)), np.random.default_rng(len(films))
    painter, landmarker = Painter(body, rng, 2 * _HALF_SIDE), Landmarker(weights.find("landmarks"))
    studio = Studio(library, point_body, body, painter, landmarker, generator, rng)
    begin, dropped = time.monotonic(), 0
    while len(films) < args.films and time.monotonic() - begin < 60 * args.minutes:
        made = film(studio, args.pictures / f"{len(films)}.png" if args.pictures else None)
        dropped += made is None
        if made is None:
            continue
        films.append(made)
        if len(films) % 10 == 0 or len(films) == args.films:
            checkpoint.write_rows(path, films)
            print(f"{len(films)} films, {dropped} dropped, {time.monotonic() - begin:.0f} s", flush=True)
    if not films:
        raise SystemExit(
            "No film was made: the landmark network lost every person, or the time was too short. Give more --minutes."
        )
    simulate.LandmarkErrors.of({name: np.stack([f[name] for f in films]) for name in films[0]}).save(
        simulate.ERRORS_FILE
    )


if __name__ == "__main__":
    main()
