"""Measures what the landmark net makes of bodies whose pose is known: ``build.py train filmed``.

The open body moves as captured, is dressed in random colours and drawn before random backgrounds; the landmark net
looks at each frame as the pipeline does, its crop taken from the look before. What it saw lies beside the truth in
``out/training/filmed.npz``; the errors fitted to it, which the training draws from, in ``landmark_net_errors.npz``
beside this file. A second call goes on where the first ended.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from wham_blender import weights
from wham_blender.body.body import Body
from wham_blender.pipeline.features import OBSERVED
from wham_blender.pipeline.keypoints import Landmarker, crop_around

from . import checkpoint, simulate

FRAMES = 32  # of one film
_HEIGHT = 420.0  # pixels that a body is drawn high, about: the net looks at 256
_REACH = 700  # pixels, half of the picture's side
# What is worn, by the joints whose skin it covers; what comes later lies over what comes before.
_CLOTHES = {
    "skin": range(24), "shirt": (3, 6, 9, 13, 14), "sleeves": (16, 17), "cuffs": (18, 19), "trousers": (0, 1, 2),
    "shins": (4, 5), "shoes": (7, 8, 10, 11), "hair": (),
}  # fmt: skip


class Painter:
    """Draws the posed body flat-shaded, the farthest faces first."""

    def __init__(self, body: Body, generator: np.random.Generator) -> None:
        self._body, self._random = body, generator
        self._faces = body.faces.astype(np.int64)
        skin = body.smpl.lbs_weights.numpy()
        self._joint = skin.argmax(1)
        template = body.smpl.v_template.numpy()
        nose, *eyes = (body_point(body, index) for index in (0, 1, 2))
        head = np.isin(self._joint, (12, 15))
        behind = (template[:, 2] < nose[2] - 0.09) | (template[:, 1] > max(eye[1] for eye in eyes) + 0.045)
        self._hair = head & behind & (template[:, 1] > nose[1] - 0.06)
        self._dark = np.minimum(*(np.linalg.norm(template - eye, axis=1) for eye in eyes)) < 0.014
        self._lips = np.linalg.norm((template - nose - (0, -0.045, -0.015)) * (0.6, 1.6, 1), axis=1) < 0.014

    def dress(self) -> np.ndarray:
        """Colours (T, 3) of the faces, 0..1: random clothes, long or short, of random skin and hair."""
        g = self._random
        colour = np.empty((len(self._joint), 3))
        skin = np.array([0.95, 0.76, 0.63]) * g.uniform(0.25, 1.0) ** np.array([0.8, 1.0, 1.15])
        worn = {name: g.uniform(0.03, 0.95, 3) * g.uniform(0.4, 1.0) for name in _CLOTHES}
        worn["skin"] = skin
        worn["sleeves"] = worn["shirt"] if g.random() < 0.8 else skin
        worn["cuffs"] = worn["sleeves"] if g.random() < 0.4 else skin
        worn["shins"] = worn["trousers"] if g.random() < 0.7 else skin
        for name, joints in _CLOTHES.items():
            colour[np.isin(self._joint, list(joints))] = worn[name]
        colour[self._hair] = np.array([0.5, 0.35, 0.2]) * g.uniform(0.05, 1.4)
        colour[self._dark] = 0.08
        colour[self._lips] = skin * (0.85, 0.55, 0.55)
        pattern = 1 + g.uniform(0, 0.25) * np.sin(self._body.smpl.v_template.numpy() @ g.normal(0, 40, 3))
        return np.clip(colour * pattern[:, None], 0, 1)[self._faces].mean(1)

    def backdrop(self) -> np.ndarray:
        """A random picture (S, S, 3) uint8 of soft and hard shapes."""
        g, side = self._random, 2 * _REACH
        small = g.random((side // 8, side // 8, 3))
        soft = np.stack([gaussian_filter(small[..., c], g.uniform(2, 20)) for c in range(3)], 2)
        soft = (soft - soft.min()) / np.ptp(soft)
        image = cv2.resize((soft * 255).astype(np.uint8), (side, side), interpolation=cv2.INTER_CUBIC)
        horizon = int(g.uniform(0.4, 0.9) * side)
        image[horizon:] = (image[horizon:] * g.uniform(0.3, 1.0) + g.uniform(0, 80, 3)).clip(0, 255)
        for _ in range(g.integers(0, 14)):
            corner, size = g.integers(0, side, 2), g.integers(20, 300, 2)
            cv2.rectangle(image, corner.tolist(), (corner + size).tolist(), g.integers(0, 255, 3).tolist(), -1)
        grain = g.normal(0, g.uniform(1, 8), image.shape)
        return (image + grain).clip(0, 255).astype(np.uint8)

    def paint(self, vertices: np.ndarray, pixels: np.ndarray, colours: np.ndarray, backdrop: np.ndarray) -> np.ndarray:
        """A picture of vertices (V, 3), camera axes, that project to pixels (V, 2), before the backdrop."""
        image = backdrop.copy()
        corners = vertices[self._faces]
        normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-12
        toward = (normal * corners.mean(1)).sum(1) < 0
        shade = 0.45 + 0.55 * np.clip(-(normal @ self._sun), 0, 1)
        order = np.flatnonzero(toward)
        order = order[np.argsort(-corners[order].mean(1)[:, 2])]
        colour = (colours * shade[:, None] * 255).astype(np.uint8)
        shapes = np.round(pixels[self._faces] * 16).astype(np.int32)
        for face in order.tolist():
            cv2.fillConvexPoly(image, shapes[face], colour[face].tolist(), cv2.LINE_AA, 4)
        return cv2.GaussianBlur(image, (3, 3), self._blur)

    def relight(self) -> None:
        """A new light and a new sharpness, for the next film."""
        way = self._random.normal((0, 0.8, 0.8), 1, 3)
        self._sun = way / np.linalg.norm(way)
        self._blur = self._random.uniform(0.3, 1.2)


def body_point(body: Body, index: int) -> np.ndarray:
    """COCO keypoint (3,) of the unposed body."""
    seen = body.landmarks(torch.eye(3).expand(1, 24, 3, 3), torch.zeros(1, 10))
    return (seen.joints[0, index] + seen.offset[0]).numpy()


@torch.no_grad()
def film(
    library: simulate.Library, points_of: simulate.TrainingBody, painter: Painter, body: Body, net: Landmarker,
    generator: torch.Generator, random: np.random.Generator, show: Path | None = None,
) -> dict[str, np.ndarray] | None:  # fmt: skip
    """One film: what the net saw, in the pipeline's form, and the truth. None where it lost the person."""
    lengths = torch.tensor(library.lengths)
    clip = int(torch.multinomial((lengths > FRAMES) * lengths.float().sqrt(), 1, generator=generator))
    begin = library.starts[clip] + int(torch.randint(library.lengths[clip] - FRAMES, (1,), generator=generator))
    rotations = library.rotations[begin : begin + FRAMES].clone()
    trans = library.trans[begin : begin + FRAMES] - library.trans[begin]
    betas = simulate.random_betas(1, generator).expand(FRAMES, -1)
    camera = simulate.random_cameras(1, generator)
    rotations[:, 0] = camera.rotation @ rotations[:, 0]
    _, points, _ = points_of(rotations, betas)
    hips = points[:, 11:13].mean(1)
    # Seen as a phone would: perspective by the camera's focal length and distance, drawn at a size of our own.
    place = camera.place[0] + (camera.rotation[0] @ trans.T).T
    place[:, 2].clamp_(min=1.5)
    focal = _HEIGHT / 1.75 * float(place[0, 2])
    middle = place[FRAMES // 2]

    def project(at: torch.Tensor) -> np.ndarray:
        """Pixels of points in camera axes; the picture's middle looks at where the person is half-way."""
        return (at[..., :2] / at[..., 2:] - middle[:2] / middle[2]).numpy() * focal + _REACH

    true = points + (place - hips)[:, None]
    uv = project(true)
    if uv[..., :2].min() < 20 or uv.max() > 2 * _REACH - 20:
        return None
    painter.relight()
    colours, backdrop = painter.dress(), painter.backdrop()
    guess = np.concatenate([uv[0, :17], np.ones((17, 1))], 1)
    guess[:, :2] += random.normal(0, 6, (17, 2))
    looks = []
    for frame in range(FRAMES):
        vertices = body.vertices(rotations[frame : frame + 1], betas[:1])[0] + place[frame] - hips[frame]
        picture = painter.paint(vertices.numpy(), project(vertices), colours, backdrop)
        look = net(picture, crop_around(guess))
        if look.score < 0.5 or (look.keypoints[:, 2] > 0.3).sum() < 8:
            return None
        guess = look.keypoints
        looks.append(look)
        if show and frame == 0:
            marked = picture[..., ::-1].copy()
            for x, y, _ in look.landmarks[OBSERVED]:
                cv2.circle(marked, (round(float(x)), round(float(y))), 3, (0, 255, 0), -1)
            cv2.imwrite(str(show), marked)
    seen = np.stack([look.landmarks[OBSERVED] for look in looks])
    seen_3d = np.stack([look.landmarks_3d[OBSERVED] for look in looks])
    return {
        "points": (points - hips[:, None]).numpy(), "uv": uv, "seen": seen, "seen_3d": seen_3d,
        "place": place.numpy(),
    }  # fmt: skip


def main(argv: list[str] | None = None) -> None:
    """Film on, until there are as many films as asked for: ``build.py train filmed``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mocap", type=Path, default=Path("../shared/mocap"))
    parser.add_argument("--films", type=int, default=160)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--pictures", type=Path, help="keep each film's first picture in this folder")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    points_of = simulate.TrainingBody()
    clips, _ = simulate.split(args.mocap, points_of)
    library = simulate.Library.of(clips)
    checkpoint.FOLDER.mkdir(parents=True, exist_ok=True)
    path = checkpoint.FOLDER / "filmed.npz"
    films: list[dict[str, np.ndarray]] = []
    if path.is_file():
        with np.load(path, allow_pickle=False) as kept:
            arrays = dict(kept)
        films = [{name: values[i] for name, values in arrays.items()} for i in range(len(arrays["uv"]))]
    body = Body.load(weights.find("body").path)
    net = Landmarker(weights.find("landmarks"))
    generator, random = torch.Generator().manual_seed(len(films)), np.random.default_rng(len(films))
    painter = Painter(body, random)
    begin, lost = time.monotonic(), 0
    while len(films) < args.films and time.monotonic() - begin < 60 * args.minutes:
        show = args.pictures / f"{len(films)}.png" if args.pictures else None
        made = film(library, points_of, painter, body, net, generator, random, show)
        lost += made is None
        if made is None:
            continue
        films.append(made)
        if len(films) % 10 == 0 or len(films) == args.films:
            aside = path.with_suffix(".part")
            with aside.open("wb") as stream:
                np.savez(stream, allow_pickle=False, **{name: np.stack([f[name] for f in films]) for name in films[0]})
            aside.replace(path)
            print(f"{len(films)} films, {lost} dropped, {time.monotonic() - begin:.0f} s", flush=True)
    if not films:
        raise SystemExit("No film was made: the landmark net lost everybody, or there was no time. Give more minutes.")
    simulate.Errors.of({name: np.stack([f[name] for f in films]) for name in films[0]}).save(simulate.MEASURED)


if __name__ == "__main__":
    main()
