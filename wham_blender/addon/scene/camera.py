"""The solved camera as a Blender camera, with the clip as its background image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import bpy
import numpy as np

from ... import limits, quaternions
from ...motion import Motion
from .action import ActionKeys, ActionWriter
from .checks import LAST_FRAME

_SENSOR = 36.0  # millimetres
_CENTRED = 1e-6  # of the picture's width: a principal point that is nearer to its centre is there
_EARLIER = 0.002  # frames: half way between two frames of the film, the earlier one is shown, as players do
_EVEN = 0.01  # frames: two keyframes are enough for a film whose frames are so nearly evenly spaced
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
    data.sensor_width, data.sensor_height = _SENSOR, _SENSOR * height / width
    data.lens = lens_of(solved)
    _fit_into_frame(data, solved)
    camera = bpy.data.objects.new(name, data)
    camera.rotation_mode = "QUATERNION"
    collection.objects.link(camera)

    locations, rotations = poses_of(solved)
    camera.location, camera.rotation_quaternion = locations[0], rotations[0]
    if np.ptp(locations, axis=0).max() > _STATIC_TOLERANCE or np.ptp(solved.R, axis=0).max() > _STATIC_TOLERANCE:
        writer = ActionWriter(camera, name, frames)
        writer.write("location", locations, "Camera")
        writer.write("rotation_quaternion", rotations, "Camera")
    return camera


def lens_of(solved: SolvedCamera) -> float:
    """The focal length in millimetres of a Blender camera with the sensor of `build`."""
    return float(solved.K[0, 0] * _SENSOR / solved.size[0])


def poses_of(solved: SolvedCamera) -> tuple[np.ndarray, np.ndarray]:
    """Locations (C, 3) in metres and rotations (C, 4) of a Blender camera in the world."""
    to_world = np.swapaxes(solved.R, 1, 2).astype(float)
    locations = -np.einsum("fij,fj->fi", to_world, solved.t)
    return locations, quaternions.without_jumps(quaternions.of_matrices(to_world @ _OPENCV_TO_BLENDER))


def _fit_into_frame(data: bpy.types.Camera, solved: SolvedCamera) -> None:
    """Have the whole film fill the frame in one direction and lie within it in the other, at every render size.

    So Blender draws a background whose method is FIT. The camera follows it by drivers, which go on working when the
    render size is changed, without the add-on, and are no scripts that Blender would have to trust.
    """
    (width, height), (x, y) = solved.size, solved.K[:2, 2]
    high = f"w * a * {height} > h * b * {width}"  # the frame is wider than the film, which fills its height
    _drive(data, "sensor_fit", f"2 if {high} else 1")  # VERTICAL, HORIZONTAL
    for path, shift in (("shift_x", (width / 2 - x)), ("shift_y", (y - height / 2))):
        if abs(shift) > _CENTRED * width:  # Blender's unit is the side that is filled
            _drive(data, path, f"{shift / height:.9g} if {high} else {shift / width:.9g}")


def _drive(data: bpy.types.Camera, path: str, expression: str) -> None:
    driver = data.driver_add(path).driver
    driver.type = "SCRIPTED"
    for name, setting in zip("whab", ("resolution_x", "resolution_y", "pixel_aspect_x", "pixel_aspect_y"), strict=True):
        variable = driver.variables.new()
        variable.name, variable.type = name, "CONTEXT_PROP"
        variable.targets[0].context_property, variable.targets[0].data_path = "ACTIVE_SCENE", f"render.{setting}"
    driver.expression = expression


def show_film(camera: bpy.types.Object, film: Path, numbers: np.ndarray, frames: np.ndarray) -> None:
    """Show a film as the camera's background image: its frames ``numbers`` (C,), from 1, at scene frames (C,).

    Between and beyond them, the nearest frame is shown, whatever the frame rates of film and scene. Raises RuntimeError
    if Blender cannot read it.
    """
    image = bpy.data.images.load(str(film))
    image.source = "MOVIE"  # Blender takes a film whose name ends unusually for a picture
    if not image.size[0]:
        bpy.data.images.remove(image)
        raise RuntimeError(f"Blender cannot read {film.name}")
    background = camera.data.background_images.new()
    background.source, background.image = "IMAGE", image
    background.alpha = 1.0
    background.frame_method = "FIT"  # Blender 4's default stretches the clip
    user = background.image_user
    user.use_auto_refresh = True
    # A film of one frame, which has ended before the scene begins: so the offset alone tells which frame is shown.
    user.frame_duration, user.frame_start = 1, -LAST_FRAME
    path = "background_images[0].image_user.frame_offset"
    camera.data.keyframe_insert(path)  # unlike a curve that is made, its values are rounded, as in all versions
    keys = ActionKeys(camera.data)
    keys.action.name = f"{camera.name} film"
    offsets = numbers - 1 - _EARLIER
    evenly = np.interp(frames, frames[[0, -1]], offsets[[0, -1]])
    rows = [0, -1] if len(frames) > 1 and np.abs(evenly - offsets).max() < _EVEN else slice(None)
    keys.frames = frames[rows]
    keys.write(path, offsets[rows, None], "Film")
    for curve in keys.curves():
        curve.extrapolation = "LINEAR"
        for key in curve.keyframe_points:
            key.interpolation = "LINEAR"
    camera.data.show_background_images = True
