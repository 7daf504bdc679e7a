"""Draws the estimated bodies over their clip through the solved camera, for inspection by eye."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch

from wham_blender.body.body import Body
from wham_blender.motion import Motion, planted, rotation_matrices
from wham_blender.pipeline.clip import video_reader

_WIDTH = 960  # pixels of each picture
_COLOURS = ((214, 107, 41), (31, 115, 230), (89, 158, 51))  # BGR, of the people in order
_LIGHT = np.array([-0.3, -0.6, -0.75])  # in the camera's axes


def overlays(clip: Path, people: list[Motion], body: Body, frames: list[int]) -> list[np.ndarray]:
    """Pictures (H, W, 3) uint8 BGR of a clip's frames (rising) with all bodies, and dots on planted foot points.

    Of a clip with a high frame rate not every frame is decoded to a picture: then the next one is drawn.
    """
    pictures, remaining = [], list(frames)
    for frame in video_reader.read_frames(clip, 1, frames[-1]):
        if not remaining or frame.number < remaining[0] or frame.image is None:
            continue
        remaining.pop(0)
        number, picture = frame.number, cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR)
        scale = _WIDTH / picture.shape[1]
        picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        for order, person in enumerate(people):
            rows = np.flatnonzero(person.frame == number)
            if len(rows):
                picture = _draw(picture, person, int(rows[0]), body, scale, _COLOURS[order % len(_COLOURS)])
        cv2.putText(picture, str(number), (8, 24), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (255, 255, 255), 2)
        pictures.append(picture)
    return pictures


def sheet(pictures: list[np.ndarray], columns: int = 2) -> np.ndarray:
    """One picture of pictures of equal size, in rows."""
    blank = np.zeros_like(pictures[0])
    filled = pictures + [blank] * (-len(pictures) % columns)
    return np.vstack([np.hstack(filled[at : at + columns]) for at in range(0, len(filled), columns)])


def _draw(
    picture: np.ndarray, person: Motion, row: int, body: Body, scale: float, colour: tuple[int, int, int]
) -> np.ndarray:
    poses = torch.from_numpy(rotation_matrices(person.poses[[row]].reshape(1, 24, 3))).float()
    betas = torch.from_numpy(person.betas)[None]
    with torch.inference_mode():
        vertices = body.vertices(poses, betas)[0].numpy() + person.trans[row]
        points = body.landmarks(poses, betas)
    feet = (points.feet + points.offset[:, None])[0].numpy() + person.trans[row]
    seen = vertices @ person.camera_R[row].T + person.camera_t[row]
    corners = seen[body.faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    front = np.flatnonzero((normal * corners[:, 0]).sum(1) < 0)
    order = front[np.argsort(-corners[front, :, 2].mean(1))]
    pixels = _pixels(corners, person, scale)
    light = np.clip(normal @ _LIGHT, 0.15, 1)
    layer = picture.copy()
    for face in order:
        cv2.fillConvexPoly(layer, pixels[face].round().astype(np.int32), [channel * light[face] for channel in colour])
    picture = cv2.addWeighted(picture, 0.4, layer, 0.6, 0)
    feet_in_camera = feet @ person.camera_R[row].T + person.camera_t[row]
    for point, is_planted in zip(_pixels(feet_in_camera, person, scale), planted(person.contacts)[row], strict=True):
        if is_planted:
            cv2.circle(picture, point.round().astype(int).tolist(), 4, (60, 220, 60), -1)
    return picture


def _pixels(points: np.ndarray, person: Motion, scale: float) -> np.ndarray:
    pixels = points @ person.camera_K.T.astype(np.float64)
    return pixels[..., :2] / pixels[..., 2:] * scale
