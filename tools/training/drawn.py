"""Shows the landmark net drawn bodies whose pose is known, for the lifter to learn from: ``build.py train drawn``.

What the net makes of a picture is wrong in ways that no simple noise has: it sees another pose that looks alike. So a
part of the lifter's views are pictures that were really looked at: random poses of the open body, dressed and drawn
before random backgrounds, seen plainly and in the mirror. They lie in ``out/training/drawn.npz``, those of clips kept
for validation in ``drawn_held_out.npz``. A second call goes on where the first ended.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from tools.training import checkpoint, simulate
from tools.training.painter import Painter
from tools.training.views import Views
from wham_blender import weights
from wham_blender.body.body import Body
from wham_blender.pipeline.people.landmarks import PERSON_SCORE, Landmarker, crop_around_keypoints
from wham_blender.pipeline.pose.lifter_features import LIFTER_LANDMARKS

_HEIGHT = 250.0  # pixels that a body is drawn high, about: the net's input has it at 180
_SIDE = 460  # pixels of the picture
_CROP_OFF = 0.015  # of a person's size: how far off the last look's points, round which the crop is, may be
_CUT, _COVERED = 0.12, 0.1  # shares of the pictures that end within the body, or have something before it
_EDGE = 0.03  # of a person's size: so near to the picture's end the pipeline does not count a point
_BATCH = 256  # poses at a time; of those that leave the picture none is drawn
_PER_SAVE = 1000
_HELD_OUT = 1000  # pictures
LEARNED, HELD_OUT = "drawn.npz", "drawn_held_out.npz"


def pictures(
    sources: Sequence[Views], body: Body, net: Landmarker, random: np.random.Generator
) -> Iterator[dict[str, np.ndarray]]:
    """What the net saw of one picture after the other, and the truth; poses come from the sources in turn.

    ``seen`` (2, 25, 3): pixels of the camera's picture and confidence, plainly and in the mirror; ``seen_3d``
    (2, 25, 3) metres; ``poses`` (72,), the root's in camera axes; ``betas`` (10,); ``place`` (3,), ``focal``, ``size``
    (2,) as a Camera has them.
    """
    painter = Painter(body, random, _SIDE)
    for views in cycle(sources):
        with torch.no_grad():
            camera, rotations, betas, placed = views.bodies(_BATCH)
        for row in range(_BATCH):
            place, points = camera.place[row], placed[row, 24:]
            focal = _HEIGHT / 1.75 * float(place[2])
            middle = (place[:2] / place[2]).numpy()

            def drawn_at(at: torch.Tensor, middle: np.ndarray = middle, focal: float = focal) -> np.ndarray:
                """Pixels of the drawn picture, whose middle looks at the hips."""
                return ((at[:, :2] / at[:, 2:]).numpy() - middle) * focal + _SIDE / 2

            true = drawn_at(points + place)
            if true.min() < 20 or true.max() > _SIDE - 20:
                continue
            with torch.no_grad():
                one = rotations[row : row + 1], betas[row : row + 1]
                skin = body.vertices(*one)[0] + place - views.body(*one)[1][0, 11:13].mean(0)
            painter.relight()
            picture = painter.paint(skin.numpy(), drawn_at(skin), painter.dress(), painter.backdrop())
            last = np.concatenate([true[:17], np.ones((17, 1))], 1)
            extent = float(np.ptp(true, axis=0).max())
            fate = random.random()
            low, high = cut(picture, true, random) if fate < _CUT else (np.zeros(2), np.full(2, _SIDE))
            if _CUT <= fate < _CUT + _COVERED:
                cover(picture, true, random)
            if random.random() < 0.5:  # the last look may have been sure of what it could not see
                last[:, 2] = ((last[:, :2] > low) & (last[:, :2] < high)).all(1)
            last[:, :2] += _CROP_OFF * extent * (random.normal(0, 1, (17, 2)) + random.normal(0, 1, 2))
            looks = [net(picture, crop_around_keypoints(last), mirrored) for mirrored in (False, True)]
            if min(look.score for look in looks) < PERSON_SCORE:
                continue
            seen = np.stack([look.landmarks[LIFTER_LANDMARKS] for look in looks])
            edge = _EDGE * extent * ((low > 0) | (high < _SIDE))
            seen[..., 2] *= ((seen[..., :2] > low + edge) & (seen[..., :2] < high - edge)).all(-1)
            rays = (seen[..., :2] - _SIDE / 2) / focal + middle
            seen[..., :2] = rays * float(camera.focal[row]) + camera.size[row].numpy() / 2
            kept = {
                "seen": seen, "seen_3d": np.stack([look.landmarks_3d[LIFTER_LANDMARKS] for look in looks]),
                "poses": Rotation.from_matrix(rotations[row].numpy()).as_rotvec().ravel(), "betas": betas[row],
                "place": place, "focal": camera.focal[row], "size": camera.size[row],
            }  # fmt: skip
            yield {name: np.asarray(value, np.float32) for name, value in kept.items()}


def cut(picture: np.ndarray, true: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Have the picture end within the body, whose points are true (25, 2): black from there on, as a crop has it.

    Returns the corners (2,) between which there is a picture.
    """
    low, high = np.zeros(2), np.full(2, float(len(picture)))
    axis, before = ((1, False), (1, False), (1, True), (0, False), (0, True))[random.integers(5)]
    share = random.uniform(0.05, 0.55)
    where = float(np.quantile(true[:, axis], share if before else 1 - share))
    (low if before else high)[axis] = where
    beyond = np.arange(len(picture)) < where if before else np.arange(len(picture)) > where
    np.moveaxis(picture, 1 - axis, 0)[beyond] = 0
    return low, high


def cover(picture: np.ndarray, true: np.ndarray, random: np.random.Generator) -> None:
    """Put something of one colour before a part of the body: a table from the hips down, or a thing anywhere."""
    (left, top), (right, bottom) = true.min(0), true.max(0)
    if random.random() < 0.5:
        corners = (
            (left - random.uniform(0, 150), random.uniform(true[11:13, 1].mean(), bottom)),
            (right + 150, bottom + 150),
        )
    else:
        middle, size = random.uniform((left, top), (right, bottom)), random.uniform(0.05, 0.25, 2) * (bottom - top)
        corners = middle - size, middle + size
    (x1, y1), (x2, y2) = np.clip(np.round(corners), 0, len(picture)).astype(int).tolist()
    picture[y1:y2, x1:x2] = np.clip(random.uniform(0, 255, 3) + random.normal(0, 6, (y2 - y1, x2 - x1, 3)), 0, 255)


def main(argv: list[str] | None = None) -> None:
    """Draw on, until there are as many pictures as asked for: ``build.py train drawn``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mocap", type=Path, default=Path("../shared/mocap"))
    parser.add_argument("--pictures", type=int, default=40_000)
    parser.add_argument("--minutes", type=float, default=90)
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    points_of = simulate.TrainingBody()
    body, net = Body.load(weights.find("body").path), Landmarker(weights.find("landmarks"))
    checkpoint.FOLDER.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + 60 * args.minutes
    learned, kept = simulate.split(args.mocap, points_of)
    errors = simulate.Errors.load(simulate.MEASURED)
    wanted = (kept, HELD_OUT, min(_HELD_OUT, args.pictures)), (learned, LEARNED, args.pictures)
    for clips, name, count in wanted:
        path, library = checkpoint.FOLDER / name, simulate.Library.of(clips)
        rows = checkpoint.read_rows(path)
        sources = [
            Views(library, points_of, errors, seed=len(rows), perturbed=perturbed)
            for perturbed in ((False, True) if name == LEARNED else (False,))
        ]
        for row in pictures(sources, body, net, np.random.default_rng(len(rows))):
            if len(rows) >= count or time.monotonic() > end:
                break
            rows.append(row)
            if len(rows) % _PER_SAVE == 0:
                checkpoint.write_rows(path, rows)
                print(f"{len(rows)} pictures in {name}", flush=True)
        checkpoint.write_rows(path, rows)


if __name__ == "__main__":
    main()
