"""The solved camera as a Blender camera, with the clip as its background image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import bpy
import numpy as np

from ... import limits, quaternions
from ...motion import Motion
from .action import ActionWriter

_SENSOR = 36.0  # millimetres
_STATIC_TOLERANCE = 1e-5  # metres and matrix elements: a camera that varies less is static and gets no keyframes
# OpenCV looks along z with y down, Blender's camera along -z with y up.
_OPENCV_TO_BLENDER = np.diag([1.0, -1.0, -1.0])


@dataclass(frozen=True)
class SolvedCamera:
    """The clip's camera over all C frames in which a person was tracked."""

    size: tuple[int, int]  # width and height of the clip in pixels
    K: np.ndarray  # (3, 3) pixels
    R: np.ndarray  # (C, 3, 3) world to camera, OpenCV axes
    t: np.ndarray  # (C, 3) metres
    frame: np.ndarray  # (C,) clip frame numbers, rising
    time: np.ndarray  # (C,) seconds in the clip


def of_people(people: list[Motion]) -> SolvedCamera:
    """The camera of one clip's people; without a clip size in the file the principal point is the picture's centre."""
    frame, rows = np.unique(np.concatenate([person.frame for person in people]), return_index=True)
    R, t, time = (np.concatenate([getattr(p, key) for p in people])[rows] for key in ("camera_R", "camera_t", "time"))
    K = people[0].camera_K
    width, height = (
        min(max(1, round(float(side))), limits.PICTURE_SIDE) for side in people[0].meta.get("size") or 2 * K[:2, 2]
    )
    return SolvedCamera((width, height), K, R, t, frame, time)


def build(name: str, solved: SolvedCamera, frames: np.ndarray, collection: bpy.types.Collection) -> bpy.types.Object:
    """A camera object with the clip's intrinsics and motion; keyed at scene frames (C,) unless it is static.

    Pixels are assumed square: the horizontal focal length is used for both directions.
    """
    width, height = solved.size
    data = bpy.data.cameras.new(name)
    data.sensor_fit, data.sensor_width = "HORIZONTAL", _SENSOR
    data.lens = solved.K[0, 0] * _SENSOR / width
    data.shift_x = (width / 2 - solved.K[0, 2]) / width
    data.shift_y = (solved.K[1, 2] - height / 2) / width
    camera = bpy.data.objects.new(name, data)
    camera.rotation_mode = "QUATERNION"
    collection.objects.link(camera)

    to_world = np.swapaxes(solved.R, 1, 2).astype(float)
    locations = -np.einsum("fij,fj->fi", to_world, solved.t)
    rotations = quaternions.without_jumps(quaternions.of_matrices(to_world @ _OPENCV_TO_BLENDER))
    camera.location, camera.rotation_quaternion = locations[0], rotations[0]
    if np.ptp(locations, axis=0).max() > _STATIC_TOLERANCE or np.ptp(to_world, axis=0).max() > _STATIC_TOLERANCE:
        writer = ActionWriter(camera, name, frames)
        writer.write("location", locations, "Camera")
        writer.write("rotation_quaternion", rotations, "Camera")
    return camera


def rotation_of_clip(people: Sequence[Motion]) -> int:
    """Degrees clockwise by which Blender has to turn the clip of these motions: 0, 90, 180 or 270.

    That is by as much as the job turned it, and pictures by their own orientation, which Blender does not regard.
    """
    settings = people[0].meta.get("settings")
    rotate = settings.get("rotate") if isinstance(settings, dict) else 0
    turns = [turn for turn in (rotate, people[0].meta.get("turned")) if turn in (90, 180, 270)]
    return sum(turns) % 360


def show_clip(camera: bpy.types.Object, clip: Path, first_scene_frame: int, rotate: int = 0) -> None:
    """Show the clip as the camera's background image; its first frame appears at ``first_scene_frame``.

    ``rotate``: degrees clockwise by which it is turned to fill the camera's picture.
    """
    movie = bpy.data.movieclips.load(str(clip))
    movie.frame_start = first_scene_frame
    background = camera.data.background_images.new()
    background.source, background.clip = "MOVIE_CLIP", movie
    background.alpha = 1.0
    background.frame_method = "FIT"  # Blender 4's default stretches the clip
    if rotate:
        background.rotation = math.radians(rotate)  # clockwise
    if rotate in (90, 270):
        # The picture that Blender fits into the camera's frame still lies on its side, so it becomes too small.
        width, height = camera.wham_motion.size
        background.scale = max(width / height, height / width)
    camera.data.show_background_images = True
