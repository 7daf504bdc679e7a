"""Stage 3: the camera's rotation in every frame, and its intrinsics."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..camera import camera_motion
from ..camera.camera_motion import CameraMotion
from ..clip import quicktime_metadata
from .context import JobContext
from .tracks import Tracks

_FILM_WIDTH = 36.0  # millimetres, 35 mm film
# Millimetres, if neither the user nor the clip gives a focal length: phones have 24 to 28, and stabilisation crops.
_PHONE_FOCAL_LENGTH = 30.0


@dataclass(frozen=True)
class SolvedCamera:
    """The clip's camera; axes as OpenCV's."""

    motion: CameraMotion
    camera_K: np.ndarray  # (3, 3) intrinsics, pixels
    key: str


def solve_camera(context: JobContext, tracks: Tracks) -> SolvedCamera:
    """Solve the camera from the background tracks; warn of frames without background, and of zoom."""
    job, size = context.job, context.size
    focal = job.focal_length or quicktime_metadata.focal_length(job.clip)
    camera_K = intrinsics(size, focal)
    background = tracks.detected.background
    arrays, key = context.cache.run(
        "camera", [tracks.detected.key, job.camera, camera_K.tolist(), focal is None],
        lambda progress: vars(
            camera_motion.solve_camera_motion(background, camera_K, size, job.camera, guessed=focal is None)
        ),
    )  # fmt: skip
    motion = CameraMotion(**arrays)
    camera_K[[0, 1], [0, 1]] = motion.focal
    millimetres = float(motion.focal) / max(size) * _FILM_WIDTH
    kind = ["the camera is static", "the camera pans", "the camera moves"][int(motion.kind.max())]
    context.log(f"Solved: {kind}, with a focal length of {millimetres:.0f} mm (35 mm equivalent).")
    if not motion.is_estimated.all():
        detections = tracks.detected.detections
        unknown = detections.frame_numbers[detections.network_frames][~motion.is_estimated]
        context.warn(
            f"The background of {job.clip.name} shows too little in {len(unknown)} frames (first in frame "
            f"{unknown[0]}) to tell how the camera moves: its last good motion goes on there.",
            code="background-unclear",
        )
    if np.ptp(np.log(motion.zoom)) > camera_motion.ZOOM_THRESHOLD:
        context.warn(
            f"The lens of {job.clip.name} zooms by {np.exp(np.ptp(np.log(motion.zoom))):.2f} times. The camera in "
            "Blender keeps one lens, so people seem to come nearer instead. Film without zooming where that matters.",
            code="lens-zooms",
        )
    return SolvedCamera(motion, camera_K, key)


def intrinsics(size: tuple[int, int], focal_length: float | None) -> np.ndarray:
    """Camera matrix (3, 3) in pixels.

    size: width and height in pixels; focal_length: millimetres, 35 mm equivalent, the film's width being the longer
    side of the picture; None: a phone's.
    """
    focal = (focal_length or _PHONE_FOCAL_LENGTH) / _FILM_WIDTH * max(size)
    return np.array([[focal, 0, size[0] / 2], [0, focal, size[1] / 2], [0, 0, 1]])
