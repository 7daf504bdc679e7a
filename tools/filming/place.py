"""Rooms and lawns of textured planes, drawn by homographies with OpenCV: parallax and corners as in real films."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

_NEAR = 0.15  # metres: nearer to the camera, planes are cut off
_TILES = {"room": 3.0, "lawn": 7.0}  # metres: the floor is drawn in tiles, each as sharp as its distance asks
_DENSITY = 170  # texture pixels a metre


@dataclass
class View:
    """A camera: world to camera, OpenCV axes, and a picture size."""

    rotation: np.ndarray  # (3, 3)
    translation: np.ndarray  # (3,)
    camera_K: np.ndarray  # (3, 3)
    size: tuple[int, int]

    def to_camera(self, points: np.ndarray) -> np.ndarray:
        """World points (..., 3) in the camera's axes."""
        return points @ self.rotation.T + self.translation

    def project(self, points: np.ndarray) -> np.ndarray:
        """World points (..., 3) to pixels (..., 2)."""
        pixels = self.to_camera(points) @ self.camera_K.T
        return pixels[..., :2] / np.maximum(pixels[..., 2:], 1e-6)


@dataclass
class Plane:
    """A textured parallelogram: a corner, two edges in metres, and the texture's pyramid, repeated at ``density``."""

    corner: np.ndarray  # (3,)
    edges: np.ndarray  # (2, 3)
    pyramid: list[np.ndarray]
    density: float = _DENSITY

    @property
    def corners(self) -> np.ndarray:
        """(4, 3) in order."""
        a, b = self.edges
        return self.corner + np.array([0 * a, a, a + b, b])

    def draw(self, image: np.ndarray, view: View) -> None:
        """Draw the plane over the image."""
        polygon = _before(view.to_camera(self.corners))
        if len(polygon) < 3:
            return
        pixels = polygon @ view.camera_K.T
        pixels = pixels[:, :2] / pixels[:, 2:]
        low = np.maximum(np.floor(pixels.min(0)), 0).astype(int)
        high = np.minimum(np.ceil(pixels.max(0)) + 1, view.size).astype(int)
        if (high <= low).any():
            return
        area = abs(float(cv2.contourArea(pixels.astype(np.float32))))
        lengths = np.linalg.norm(self.edges, axis=1)
        texels = np.linalg.norm(np.cross(*self.edges)) * self.density**2
        level = int(np.clip(round(0.5 * np.log2(texels / max(area, 1.0)) + 0.3), 0, len(self.pyramid) - 1))
        steps = self.edges / lengths[:, None] / self.density * 2**level
        to_picture = view.camera_K @ np.column_stack(
            [*(view.rotation @ steps.T).T, view.to_camera(self.corner)]
        )  # of texture pixels
        shift = np.array([[1, 0, low[0]], [0, 1, low[1]], [0, 0, 1.0]])
        size = (high - low).tolist()
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        warped = cv2.warpPerspective(
            self.pyramid[level], np.linalg.inv(to_picture) @ shift, size, flags=flags, borderMode=cv2.BORDER_WRAP
        )
        mask = np.zeros(size[::-1], np.uint8)
        points = np.clip((pixels - low) * 16, -(2**20), 2**20).round().astype(np.int32)
        cv2.fillConvexPoly(mask, points, 255, cv2.LINE_8, 4)
        region = image[low[1] : high[1], low[0] : high[0]]
        cv2.copyTo(warped, mask, region)


def _before(corners: np.ndarray) -> np.ndarray:
    """The part of a polygon (N, 3) in camera axes that lies before the camera."""
    kept = []
    for here, following in zip(corners, np.roll(corners, -1, 0), strict=True):
        if here[2] >= _NEAR:
            kept.append(here)
        if (here[2] - _NEAR) * (following[2] - _NEAR) < 0:
            kept.append(here + (following - here) * (_NEAR - here[2]) / (following[2] - here[2]))
    return np.array(kept).reshape(-1, 3)


class Place:
    """A room or a lawn around the people and the camera."""

    def __init__(self, kind: str, people: np.ndarray, cameras: np.ndarray, rng: np.random.Generator) -> None:
        """``people``, ``cameras`` (N, 2): where they are in the course of the film; nothing is put between them."""
        self._rng = rng
        everything = np.concatenate([people, cameras])
        inside = kind == "room"
        self.sky = None if inside else rng.uniform([170, 130, 90], [255, 225, 190])  # BGR
        margin = rng.uniform(0.6, 2.5, 4) if inside else np.full(4, 24.0)
        low, high = everything.min(0) - margin[:2], everything.max(0) + margin[2:]
        self._floor = self._ground(low, high, _TILES[kind])
        self._walls = self._room(low, high, rng.uniform(2.5, 3.4)) if inside else []
        self._boxes = self._furniture(low, high, people, cameras, inside)

    def draw(self, view: View) -> np.ndarray:
        """A picture (H, W, 3) uint8 BGR."""
        width, height = view.size
        image = np.zeros((height, width, 3), np.uint8)
        if self.sky is not None:
            image[:] = self.sky
        centre = -view.rotation.T @ view.translation
        for plane in (*self._floor, *self._walls):
            plane.draw(image, view)
        for sides in sorted(self._boxes, key=lambda sides: -np.linalg.norm(sides[0].corners.mean(0) - centre)):
            for plane in sides:
                outward = np.cross(*plane.edges)
                if outward @ (centre - plane.corner) > 0:
                    plane.draw(image, view)
        return image

    def _ground(self, low: np.ndarray, high: np.ndarray, tile: float) -> list[Plane]:
        inside = self.sky is None
        colour = (
            self._rng.uniform([20, 40, 50], [110, 140, 160])
            if inside
            else self._rng.uniform([25, 50, 30], [60, 120, 85])
        )
        pyramid = _pyramid(_noise(self._rng, colour, self._rng.uniform(0.12, 0.35)))
        edges = np.array([[tile, 0, 0], [0, tile, 0]])
        counts = np.ceil((high - low) / tile).astype(int)
        corners = [np.array([*(low + tile * np.array(cell)), 0]) for cell in np.ndindex(*counts)]
        return [Plane(corner, edges, pyramid) for corner in corners]

    def _room(self, low: np.ndarray, high: np.ndarray, height: float) -> list[Plane]:
        (a, b), (c, d) = low, high
        ring = [(a, b), (c, b), (c, d), (a, d)]
        walls = []
        for p, q in zip(ring, ring[1:] + ring[:1], strict=True):
            edges = np.array([[q[0] - p[0], q[1] - p[1], 0], [0, 0, height]])
            walls.append(Plane(np.array([*p, 0]), edges, _pyramid(self._wall(_muted(self._rng, 110, 220)))))
        ceiling = Plane(
            np.array([a, b, height]), np.diag([c - a, d - b, 1])[:2], _pyramid(_noise(self._rng, np.full(3, 200), 0.05))
        )
        return [*walls, ceiling]

    def _furniture(
        self, low: np.ndarray, high: np.ndarray, people: np.ndarray, cameras: np.ndarray, inside: bool
    ) -> list[list[Plane]]:
        rng, boxes = self._rng, []
        # No box may hide a person: none near the people, or near the lines from cameras to people.
        share = np.linspace(0, 1, 12)[:, None, None, None]
        lines = cameras[:, None] + share * (people - cameras[:, None])
        taken = lines.reshape(-1, 2)
        for _ in range(60):
            reach = 1.0 if inside else rng.choice([0.35, 1.0])
            middle = (low + high) / 2 + reach * rng.uniform(-0.5, 0.5, 2) * (high - low)
            half = rng.uniform(0.15, 0.6, 2) if inside or reach < 1 else rng.uniform(0.4, 3, 2)
            if np.linalg.norm(taken - middle, axis=1).min() < 0.75 + half.max():
                continue
            tall = rng.uniform(0.4, 1.9) if inside or reach < 1 else rng.uniform(2, 8)
            pyramid = _pyramid(self._wall(_muted(rng, 25, 200)))
            boxes.append(_box(middle - half, middle + half, tall, pyramid))
            if len(boxes) == (9 if inside else 26):
                break
        return boxes

    def _wall(self, colour: np.ndarray) -> np.ndarray:
        """A surface with posters, shelves and windows."""
        rng, wall = self._rng, _noise(self._rng, colour, 0.08)
        for _ in range(14):
            corner, extent = rng.integers(0, 420, 2), rng.integers(14, 110, 2)
            fill = _muted(rng, 10, 240)
            cv2.rectangle(wall, corner.tolist(), (corner + extent).tolist(), fill.tolist(), -1)
            cv2.rectangle(wall, (corner + 4).tolist(), (corner + extent - 4).tolist(), (fill * 0.6).tolist(), -1)
        return wall


def _box(low: np.ndarray, high: np.ndarray, height: float, pyramid: list[np.ndarray]) -> list[Plane]:
    """Four sides and a top, whose edges' cross products point outward."""
    (a, b), (c, d) = low, high
    ring = [(a, b), (c, b), (c, d), (a, d)]
    sides = [
        Plane(np.array([*p, 0]), np.array([[q[0] - p[0], q[1] - p[1], 0], [0, 0, height]]), pyramid)
        for p, q in zip(ring, ring[1:] + ring[:1], strict=True)
    ]
    return [*sides, Plane(np.array([a, b, height]), np.array([[c - a, 0, 0], [0, d - b, 0]]), pyramid)]


def _muted(rng: np.random.Generator, low: float, high: float) -> np.ndarray:
    """A colour (3,) of little saturation."""
    colour = rng.uniform(low, high, 3)
    return colour.mean() + rng.uniform(0.1, 0.5) * (colour - colour.mean())


def _noise(rng: np.random.Generator, colour: np.ndarray, contrast: float) -> np.ndarray:
    """A surface (512, 512, 3) uint8 with noise at every scale, so that corners can be tracked."""
    total = np.sum(
        [
            cv2.resize(rng.normal(0, 1, (size, size)), (512, 512), interpolation=cv2.INTER_NEAREST)
            for size in (4, 8, 16, 32, 64, 128)
        ],
        axis=0,
    )
    return np.clip(colour * (1 + contrast * total[..., None] / total.std()), 0, 255).astype(np.uint8)


def _pyramid(texture: np.ndarray) -> list[np.ndarray]:
    levels = [texture]
    while len(levels) < 7:
        levels.append(cv2.resize(levels[-1], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
    return levels
