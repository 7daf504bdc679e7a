"""Renders the open body in random clothes before random backgrounds: training pictures of known pose."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from wham_blender.body.body import Body

# Clothes by the joints whose skin they cover; later ones are over earlier ones.
_CLOTHES = {
    "skin": range(24), "shirt": (3, 6, 9, 13, 14), "sleeves": (16, 17), "cuffs": (18, 19), "trousers": (0, 1, 2),
    "shins": (4, 5), "shoes": (7, 8, 10, 11), "hair": (),
}  # fmt: skip


class Painter:
    """Renders the posed body flat-shaded by the painter's algorithm, in square pictures of ``side`` pixels."""

    def __init__(self, body: Body, generator: np.random.Generator, side: int) -> None:
        self._body, self._rng, self._side = body, generator, side
        self._faces = body.faces.astype(np.int64)
        self._quads = quads(self._faces)
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
        """Colours (T, 3) of the faces, 0..1: random clothes, long or short, skin and hair."""
        rng = self._rng
        colour = np.empty((len(self._joint), 3))
        skin = np.array([0.95, 0.76, 0.63]) * rng.uniform(0.25, 1.0) ** np.array([0.8, 1.0, 1.15])
        colours = {name: rng.uniform(0.03, 0.95, 3) * rng.uniform(0.4, 1.0) for name in _CLOTHES}
        colours["skin"] = skin
        colours["sleeves"] = colours["shirt"] if rng.random() < 0.8 else skin
        colours["cuffs"] = colours["sleeves"] if rng.random() < 0.4 else skin
        colours["shins"] = colours["trousers"] if rng.random() < 0.7 else skin
        for name, joints in _CLOTHES.items():
            colour[np.isin(self._joint, list(joints))] = colours[name]
        colour[self._hair] = np.array([0.5, 0.35, 0.2]) * rng.uniform(0.05, 1.4)
        colour[self._dark] = 0.08
        colour[self._lips] = skin * (0.85, 0.55, 0.55)
        pattern = 1 + rng.uniform(0, 0.25) * np.sin(self._body.smpl.v_template.numpy() @ rng.normal(0, 40, 3))
        return np.clip(colour * pattern[:, None], 0, 1)[self._faces].mean(1)

    def backdrop(self) -> np.ndarray:
        """A random background (S, S, 3) uint8 of blurred and sharp shapes."""
        rng, side = self._rng, self._side
        small = rng.random((side // 8, side // 8, 3))
        soft = np.stack([gaussian_filter(small[..., c], rng.uniform(2, 20)) for c in range(3)], 2)
        soft = (soft - soft.min()) / np.ptp(soft)
        image = cv2.resize((soft * 255).astype(np.uint8), (side, side), interpolation=cv2.INTER_CUBIC)
        horizon = int(rng.uniform(0.4, 0.9) * side)
        image[horizon:] = (image[horizon:] * rng.uniform(0.3, 1.0) + rng.uniform(0, 80, 3)).clip(0, 255)
        for _ in range(rng.integers(0, 14)):
            corner, size = rng.integers(0, side, 2), rng.integers(20, 300, 2)
            cv2.rectangle(image, corner.tolist(), (corner + size).tolist(), rng.integers(0, 255, 3).tolist(), -1)
        grain = rng.normal(0, rng.uniform(1, 8), image.shape)
        return (image + grain).clip(0, 255).astype(np.uint8)

    def paint(self, vertices: np.ndarray, pixels: np.ndarray, colours: np.ndarray, backdrop: np.ndarray) -> np.ndarray:
        """A picture (S, S, 3) uint8 of vertices (V, 3), camera axes, with pixels (V, 2), before a background."""
        image = backdrop.copy()
        outside = np.any((pixels < 0) | (pixels >= image.shape[1::-1]), axis=1)
        inside = np.flatnonzero(~outside[self._quads].all(1))
        shown = self._quads[inside]
        corners = vertices[shown]
        normal = np.cross(corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1])
        normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-12
        middle = corners.mean(1)
        front = np.flatnonzero((normal * middle).sum(1) < 0)
        front = front[np.argsort(-middle[front, 2])]
        shade = 0.45 + 0.55 * np.clip(-(normal[front] @ self._light), 0, 1)
        mean = colours.reshape(-1, 2, 3)[inside[front]].mean(1)
        fills = (mean * shade[:, None] * 255).astype(np.uint8).tolist()
        shapes = np.round(pixels[shown[front]] * 16).clip(-(2**20), 2**20).astype(np.int32)
        for shape, fill in zip(shapes, fills, strict=True):
            cv2.fillConvexPoly(image, shape, fill, cv2.LINE_AA, 4)
        return cv2.GaussianBlur(image, (3, 3), self._blur)

    def relight(self) -> None:
        """Choose a new light direction and blur."""
        direction = self._rng.normal((0, 0.8, 0.8), 1, 3)
        self._light = direction / np.linalg.norm(direction)
        self._blur = self._rng.uniform(0.3, 1.2)


def body_point(body: Body, index: int) -> np.ndarray:
    """COCO keypoint (3,) of the unposed body."""
    rest = body.landmarks(torch.eye(3).expand(1, 24, 3, 3), torch.zeros(1, 10))
    return (rest.joints[0, index] + rest.offset[0]).numpy()


def quads(triangles: np.ndarray) -> np.ndarray:
    """(T / 2, 4) quadrilaterals of triangles (T, 3) of which each two in order share an edge."""
    first, second = triangles[::2], triangles[1::2]
    own = ~(first[:, :, None] == second[:, None]).any(2)  # the corner that the second triangle does not have
    other = ~(second[:, :, None] == first[:, None]).any(2)
    if not (own.sum(1) == 1).all():
        raise ValueError("the mesh does not consist of quadrilaterals")
    start = own.argmax(1)[:, None]
    turned = np.take_along_axis(first, (start + np.arange(3)) % 3, 1)
    return np.column_stack([turned[:, 0], turned[:, 1], second[other], turned[:, 2]])


class HandColours:
    """Fingernails and pale palms: without them nothing tells a palm from a back."""

    def __init__(self, body: Body) -> None:
        template, faces = body.smpl.v_template.numpy(), body.faces.astype(np.int64)
        corners = template[faces]
        normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        up = normal[:, 1] / (np.linalg.norm(normal, axis=1) + 1e-12)
        is_hand = (body.smpl.lbs_weights.numpy()[:, 20:24].sum(1) > 0.5)[faces].all(1)
        _, tips = (each.numpy() for each in body.rest_hands(torch.zeros(10)))
        near = np.linalg.norm(corners.mean(1)[:, None] - tips, axis=2).min(1) < 0.011
        self._palms, self._nails = is_hand & (up < -0.2), is_hand & near & (up > 0.5)

    def on(self, colours: np.ndarray, palms: float = 0.35, nails: float = 0.6) -> np.ndarray:
        """Colours (T, 3) of the faces with them; ``palms``, ``nails``: 0..1, how much they differ from the skin."""
        colours = colours.copy()
        colours[self._palms] += palms * (np.array([0.93, 0.72, 0.64]) - colours[self._palms])
        colours[self._nails] += nails * (np.array([0.97, 0.85, 0.8]) - colours[self._nails])
        return colours
