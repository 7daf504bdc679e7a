"""Clips of a standing camera filmed again by a hand-held one: each picture is turned about the camera's own centre.

What people do in the world stays the same, so paths and the vertical must, too. For ``build.py bench follow --clips
FOLDER --moving-crops``. The new camera shakes as a hand does, pans and rolls slowly, and has a longer lens, so that the
picture is filled.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from tests.bench.report import Cell
from tools.filming.cameras import shake
from wham_blender.motion import Motion
from wham_blender.pipeline.clip import video_reader

if TYPE_CHECKING:
    from tests.bench.follow import Runner

_ZOOM = 1.35  # of the new camera's lens over the old one's
_SHAKE = 0.4  # degrees, root mean square of each axis, as of the hand-held films
_PAN = np.array([1.5, 3.0, 1.5])  # degrees of pitch, yaw and roll, to either side
_PERIOD = np.array([5.0, 4.0, 3.0])  # seconds of these
_SAME_TIME = 0.01  # seconds
_KINDS = ("stands", "turns", "moves")


def rotations(times: np.ndarray, seed: int = 0) -> np.ndarray:
    """(F, 3, 3), from the old camera's axes to the new one's, at times (F,) in seconds."""
    slow = _PAN * np.sin(2 * np.pi * times[:, None] / _PERIOD)
    turned = np.radians(slow + shake(times, _SHAKE, np.random.default_rng(seed)))
    return Rotation.from_rotvec(turned).as_matrix()


def refilm(clip: Path, times: np.ndarray, cameras: tuple[np.ndarray, np.ndarray], path: Path) -> np.ndarray:
    """Write the clip as the new camera films it; the homographies (F, 3, 3) of its frames, old pixels to new.

    times (F,): seconds of the frames that the networks see; cameras: old and new matrix (3, 3), pixels.
    """
    old_K, new_K = cameras
    homographies = new_K @ rotations(times) @ np.linalg.inv(old_K)
    size = (2 * old_K[:2, 2]).round().astype(int).tolist()
    rate = (len(times) - 1) / float(np.ptp(times))
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), rate, size)
    images = (each.image for each in video_reader.read_frames(clip, 1, None) if each.image is not None)
    for image, homography in zip(images, homographies, strict=True):
        writer.write(cv2.warpPerspective(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), homography, size))
    writer.release()
    return homographies


def compare(
    runner: Runner, clip: Path, folder: Path, path_length: Callable[[np.ndarray, float], float]
) -> list[dict[str, Cell]]:
    """For each person of a clip: how the path and the vertical of the clip filmed again differ from those of the clip.

    ``folder``: where jobs and the new clip are kept.
    """
    people = runner.run(clip, folder / clip.stem)
    if not people:
        return []
    camera = runner.returned["solve_camera"]
    kind = int(camera.motion.kind.max())
    again = folder / f"{clip.stem}_again.mp4"
    cameras = camera.camera_K, camera.camera_K * np.array([[_ZOOM, 1, 1], [1, _ZOOM, 1], [1, 1, 1]])
    homographies = refilm(clip, runner.returned["clean_tracks"].network_times, cameras, again)
    found = runner.run(again, folder / again.stem)
    new_kind = int(runner.returned["solve_camera"].motion.kind.max()) if found else kind
    rows: list[dict[str, Cell]] = []
    for number, person in enumerate(people):
        of: dict[str, Cell] = {
            "clip": clip.name,
            "person": number + 1,
            "camera": _KINDS[kind],
            "again": _KINDS[new_kind],
        }
        rows.append(of | _difference(person, found, homographies, cameras, path_length))
    return rows


def _difference(
    person: Motion, found: list[Motion], homographies: np.ndarray, cameras: tuple[np.ndarray, np.ndarray],
    path_length: Callable[[np.ndarray, float], float],
) -> dict[str, Cell]:  # fmt: skip
    """Figures of a person in the clip and in the clip filmed again: there, the one nearest in the picture."""
    candidates = []
    for other in found:
        nearest = np.abs(person.time[:, None] - other.time).argmin(0)  # rows of the person, for each of the other's
        same = np.abs(person.time[nearest] - other.time) < _SAME_TIME
        new_rows = np.flatnonzero(same & other.visible & person.visible[nearest])
        rows = nearest[new_rows]
        if len(rows) > 1:
            old = np.concatenate([_pelvis(person, rows), np.ones((len(rows), 1))], 1)
            moved = np.einsum("fij,fj->fi", homographies[other.frame[new_rows] - 1], old)
            off = np.linalg.norm(moved[:, :2] / moved[:, 2:] - _pelvis(other, new_rows), axis=1)
            candidates.append((float(np.median(off)), other, rows, new_rows))
    if not candidates:
        return {"frames": 0, "way m": None, "again m": None, "way %": None, "tilt deg": None}
    _, other, rows, new_rows = min(candidates, key=lambda each: each[0])
    fps = (len(rows) - 1) / float(np.ptp(person.time[rows]))
    way, new_way = (path_length(each.trans[at], fps) for each, at in ((person, rows), (other, new_rows)))
    turned = np.linalg.inv(cameras[1]) @ homographies[other.frame[new_rows] - 1] @ cameras[0]
    up = np.einsum("fij,fj->fi", turned, person.camera_R[rows][..., 2])
    cosine = (up * other.camera_R[new_rows][..., 2]).sum(1) / np.linalg.norm(up, axis=1)
    return {
        "frames": len(rows), "way m": way, "again m": new_way, "way %": 100 * new_way / max(way, 1e-6),
        "tilt deg": float(np.degrees(np.arccos(cosine.clip(-1, 1))).mean()),
    }  # fmt: skip


def _pelvis(person: Motion, rows: np.ndarray) -> np.ndarray:
    """The pelvis (n, 2) in the picture, pixels."""
    pelvis = person.trans[rows] + person.rest_joints[0]
    points = np.einsum("fij,fj->fi", person.camera_R[rows], pelvis) + person.camera_t[rows]
    pixels = points @ person.camera_K.T
    return pixels[:, :2] / pixels[:, 2:]
