"""Solves the camera's rotation and zoom in each frame from the tracks of background corners.

`BackgroundTracker` tracks corners outside the people while the clip is decoded; `solve_camera_motion` runs afterwards.
Each key frame and the frames that share its corners form a small bundle adjustment, once for a camera that only rotates
and once for one that also moves, and a penalised cost selects the model. Bundle adjustment over nearly equal views
converges from equal depths and no motion (Yu and Gallup, *3D Reconstruction from Accidental Motion*, CVPR 2014).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import cv2
import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from .background_tracks import LONG_SIDE, BackgroundTracks
from .bundle_adjustment import NOISE_PIXELS, OUTLIER_PIXELS, TRANSLATION_SD, Fit, KeyFrameTracks, Model, Pose, adjust

# Set by hand, judged on the synthetic clips of the tests.
_STATIC_DISPLACEMENT = 0.0016  # of the picture's longer side: corners move less in clips from a tripod
_MAX_BUNDLE_FRAMES = 30  # frames of one key frame in its bundle adjustment; the others are fitted to its depths
_MIN_PARALLAX = 1.5  # pixels, 0.9 quantile over corners and frames: with less, the camera only rotates
_CALIBRATION_KEY_FRAMES = 4  # key frames from which the focal length is estimated
_CALIBRATION_FRAMES = 8  # of each of them
_MAX_ROTATION_COST = 4.0  # per coordinate: up to it, rotations explain the tracks at some focal length
_MIN_COST_RATIO = 1.05  # of a guessed focal length's cost to the least cost, from which the guess is rejected
_MAX_DEPTH_ERROR = 0.1  # standard deviation of a corner's depth, of the depth: others say nothing about the ground
ZOOM_THRESHOLD = 0.04  # change of the focal length's logarithm above which the camera zooms
_MOVING_FRACTION = 0.2  # of a shot's frames, above which the shot is MOVING


@dataclass
class CameraMotion:
    """The camera in L network frames of a clip."""

    rotations: np.ndarray  # (L, 3, 3) float64, world to camera; a shot's first is the identity
    kind: np.ndarray  # (L,) int64: STATIC, ROTATING or MOVING, the same for all frames of a shot
    is_estimated: np.ndarray  # (L,) bool; in other frames too little background is visible, and motion is extrapolated
    zoom: np.ndarray  # (L,) focal length over that of the shot's first frame
    focal: np.ndarray  # () pixels, as given or estimated
    # The camera's path and the corners in space, of shots that are MOVING. Axes are those that the shot's rotations
    # refer to; the unit of length is a key frame's own: the mean depth of its corners, whose metres nobody knows here.
    key_frame: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))  # (L,) network frame; -1: no centre
    centre: np.ndarray = field(default_factory=lambda: np.zeros((0, 3)))  # (L, 3) of the camera, from its key frame's
    corner_key_frame: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))  # (P,) network frame
    corner_rays: np.ndarray = field(default_factory=lambda: np.zeros((0, 3)))  # (P, 3) of depth 1 in the key frame
    corner_inverse_depths: np.ndarray = field(default_factory=lambda: np.zeros(0))  # (P,) those well determined

    def rotations_at(self, times: np.ndarray, network_times: np.ndarray) -> np.ndarray:
        """Rotations (F, 3, 3) at times (F,), seconds; network_times (L,): rising times of the network frames."""
        if len(network_times) < 2 or not (self.rotations != self.rotations[0]).any():
            return np.repeat(self.rotations[:1], len(times), 0)
        slerp = Slerp(network_times, Rotation.from_matrix(self.rotations))
        return slerp(np.clip(times, network_times[0], network_times[-1])).as_matrix()


STATIC, ROTATING, MOVING = 0, 1, 2


def solve_camera_motion(
    tracks: BackgroundTracks, camera_K: np.ndarray, size: tuple[int, int], camera: str, guessed: bool
) -> CameraMotion:
    """The camera's rotation and zoom in all network frames.

    camera_K (3, 3): in pixels; size: the picture's width and height, pixels; camera: auto, static or moving (no shot is
    taken for static); guessed: the focal length is a guess, to be replaced by an estimate if rotations allow one.
    """
    if camera not in ("auto", "static", "moving"):
        raise ValueError(f"no camera setting: {camera}")
    count = len(tracks.shot)
    scale = LONG_SIDE / max(size)
    motion = CameraMotion(
        np.tile(np.eye(3), (count, 1, 1)), np.zeros(count, np.int64), np.ones(count, bool), np.ones(count),
        np.array(camera_K[0, 0]),
    )  # fmt: skip
    motion.key_frame, motion.centre = np.full(count, -1), np.zeros((count, 3))
    motion.is_estimated[:] = np.isin(np.arange(count), np.concatenate([tracks.key_frames, tracks.observation_frame]))
    if camera == "static":
        return motion
    key_frames = [_key_frame_tracks(tracks, number, camera_K[:2, 2], scale) for number in range(len(tracks.key_frames))]
    shots = range(int(tracks.shot.max()) + 1)
    moving = [camera == "moving" or not _is_static(key_frames, tracks, shot) for shot in shots]
    focal = float(motion.focal) * scale
    if guessed and any(moving):
        pairs = zip(key_frames, tracks.key_frames, strict=True)
        focal = _estimate_focal([key_frame for key_frame, frame in pairs if moving[tracks.shot[frame]]], focal)
        motion.focal = np.array(focal / scale)
    for shot, moves in enumerate(moving):
        if moves:
            _solve_shot(motion, tracks, key_frames, shot, focal)
    return motion


def _key_frame_tracks(tracks: BackgroundTracks, number: int, centre: np.ndarray, scale: float) -> KeyFrameTracks:
    """The tracks of one key frame's corners, in pixels of the tracked images from the centre (2,) of the picture."""
    points = np.flatnonzero(tracks.point_key_frame == number)
    first = points[0]
    rows = np.flatnonzero((tracks.observation_point >= first) & (tracks.observation_point <= points[-1]))
    frames, rows_of_frames = np.unique(tracks.observation_frame[rows], return_inverse=True)
    observations = np.zeros((len(frames), len(points), 2))
    observed = np.zeros(observations.shape[:2], bool)
    observations[rows_of_frames, tracks.observation_point[rows] - first] = (tracks.observations[rows] - centre) * scale
    observed[rows_of_frames, tracks.observation_point[rows] - first] = True
    return KeyFrameTracks(frames, (tracks.points[points].astype(np.float64) - centre) * scale, observations, observed)


def _is_static(key_frames: list[KeyFrameTracks], tracks: BackgroundTracks, shot: int) -> bool:
    """Whether the background of a shot does not move."""
    displacements = [
        np.median(np.linalg.norm(key_frame.observations[row] - key_frame.points, axis=1)[key_frame.observed[row]])
        for key_frame, key in zip(key_frames, tracks.key_frames, strict=True)
        if tracks.shot[key] == shot
        for row in range(len(key_frame.frames))
    ]
    return not displacements or float(np.quantile(displacements, 0.95)) < _STATIC_DISPLACEMENT * LONG_SIDE


def _solve_shot(
    motion: CameraMotion, tracks: BackgroundTracks, key_frames: list[KeyFrameTracks], shot: int, focal: float
) -> None:
    """Fit each key frame of a shot, and chain their motions into ``motion``."""
    kinds = []
    frames = np.flatnonzero(tracks.shot == shot)
    done = np.zeros(len(motion.rotations), bool)
    done[frames[0]] = True
    for key_frame, key in zip(key_frames, tracks.key_frames, strict=True):
        if tracks.shot[key] != shot:
            continue
        _extrapolate(motion, done, frames, int(key))
        if not len(key_frame.frames):
            continue
        kind, pose = _choose_model(key_frame, focal * motion.zoom[key])
        kinds += [kind] * len(key_frame.frames)
        motion.rotations[key_frame.frames] = pose.rotation @ motion.rotations[key]
        motion.zoom[key_frame.frames] = pose.zoom * motion.zoom[key]
        motion.key_frame[key_frame.frames] = key
        motion.centre[key_frame.frames] = -np.einsum("mji,mj->mi", motion.rotations[key_frame.frames], pose.translation)
        if kind == MOVING:
            _keep_corners(motion, key_frame, pose, int(key), focal * motion.zoom[key])
        done[key_frame.frames] = True
    _extrapolate(motion, done, frames, int(frames[-1]))
    motion.kind[frames] = MOVING if np.mean(np.equal(kinds, MOVING)) > _MOVING_FRACTION else ROTATING


def _keep_corners(motion: CameraMotion, key_frame: KeyFrameTracks, pose: Pose, key: int, focal: float) -> None:
    """Add to ``motion`` the corners of a key frame whose inverse depth the camera's path determines."""
    rays = np.column_stack([key_frame.points / focal, np.ones(len(key_frame.points))])
    # Pixels by which a corner moves in the frames that show it, for a unit of inverse depth.
    shift = focal * (pose.translation[:, None, :2] - rays[:, :2] * pose.translation[:, None, 2:])
    information = ((shift**2).sum(-1) * key_frame.observed).sum(0) / NOISE_PIXELS**2
    determined = pose.inverse_depths * np.sqrt(information) > 1 / _MAX_DEPTH_ERROR
    motion.corner_key_frame = np.append(motion.corner_key_frame, np.full(determined.sum(), key))
    motion.corner_rays = np.concatenate([motion.corner_rays, rays[determined] @ motion.rotations[key]])
    motion.corner_inverse_depths = np.append(motion.corner_inverse_depths, pose.inverse_depths[determined])


def _extrapolate(motion: CameraMotion, done: np.ndarray, frames: np.ndarray, until: int) -> None:
    """Continue the mean rotation of the last four frames where nothing is estimated, up to a frame."""
    for frame in range(int(frames[0]) + 1, until + 1):
        if not done[frame]:
            first = max(int(frames[0]), frame - 4)
            rotation = Rotation.from_matrix(motion.rotations[frame - 1] @ motion.rotations[first].T).as_rotvec()
            step = Rotation.from_rotvec(rotation / max(frame - 1 - first, 1)).as_matrix()
            motion.rotations[frame] = step @ motion.rotations[frame - 1]
            motion.zoom[frame] = motion.zoom[frame - 1]
            done[frame] = True


def _choose_model(key_frame: KeyFrameTracks, focal: float) -> tuple[int, Pose]:
    """The model of least penalised cost (BIC) for a key frame: rotation, rotation and zoom, rotation and translation.

    Returns ROTATING or MOVING, and the pose in all of its frames.
    """
    sample = key_frame.spread(_MAX_BUNDLE_FRAMES)
    rotating = adjust(sample, focal)
    candidates = [(Model.ROTATION, rotating)]
    zoomed = adjust(sample, focal, Model.ZOOM, rotating.pose)
    if np.abs(zoomed.pose.log_zoom).max() > ZOOM_THRESHOLD:
        candidates.append((Model.ZOOM, zoomed))
    moving = _fit_moving(sample, focal, rotating.pose)
    # Depths can overfit the noise of corners, so translation is accepted only with enough parallax.
    translation, depths = moving.pose.translation[:, None], moving.pose.inverse_depths
    displacement = translation[..., :2] - sample.points / focal * translation[..., 2:]
    parallax = np.linalg.norm(displacement, axis=2) * np.abs(depths - np.median(depths))
    if focal * np.quantile(parallax, 0.9) > _MIN_PARALLAX:
        candidates.append((Model.TRANSLATION, moving))
    coordinates = 2 * sample.observed.sum()
    model, best = min(candidates, key=lambda each: each[1].cost + each[1].parameters * np.log(max(coordinates, 2)))
    whole = adjust(key_frame, focal, model, rotating.pose, best.pose.inverse_depths)
    return MOVING if model is Model.TRANSLATION else ROTATING, whole.pose


def _fit_moving(key_frame: KeyFrameTracks, focal: float, rotating: Pose) -> Fit:
    """The better fit of a moving camera of two: started from the rotation, and from the essential matrix."""
    starts = rotating, _start_from_essential_matrix(key_frame, focal, rotating)
    return min((adjust(key_frame, focal, Model.TRANSLATION, start) for start in starts), key=lambda fit: fit.cost)


def _start_from_essential_matrix(key_frame: KeyFrameTracks, focal: float, rotating: Pose) -> Pose:
    """A start for a moving camera: the pose of the frame with the widest displacement, interpolated up to it."""
    wide = int(
        np.argmax((np.linalg.norm(key_frame.observations - key_frame.points, axis=2) * key_frame.observed).sum(1))
    )
    first, last = (
        points[key_frame.observed[wide]] / focal for points in (key_frame.points, key_frame.observations[wide])
    )
    matrix, inliers = cv2.findEssentialMat(first, last, np.eye(3), cv2.USAC_MAGSAC, 0.999, OUTLIER_PIXELS / focal)
    if matrix is None or matrix.shape != (3, 3):
        return rotating
    _, rotation, translation, _ = cv2.recoverPose(matrix, first, last, np.eye(3), mask=inliers)
    begin = key_frame.frames[0] - 1
    fraction = np.minimum((key_frame.frames - begin) / (key_frame.frames[wide] - begin), 1.5)
    rotations = Rotation.from_rotvec(np.outer(fraction, Rotation.from_matrix(rotation).as_rotvec())).as_matrix()
    # The translation's length is the median displacement that rotation does not explain.
    rotated = key_frame.points[key_frame.observed[wide]] / focal @ rotation[:2, :2].T + rotation[:2, 2]
    length = np.median(np.linalg.norm(last - rotated, axis=1)) / max(np.linalg.norm(translation[:2]), 0.2)
    translations = np.outer(fraction, translation[:, 0]) * min(length, TRANSLATION_SD)
    return replace(rotating, rotation=rotations, translation=translations)


def _estimate_focal(key_frames: list[KeyFrameTracks], guess: float) -> float:
    """The focal length of least cost, pixels; the guess, if the tracks do not determine it."""
    long_tracks = (key_frame for key_frame in key_frames if len(key_frame.frames) > 1)
    samples = [
        key_frame.spread(_CALIBRATION_FRAMES)
        for key_frame in sorted(long_tracks, key=_displacement)[-_CALIBRATION_KEY_FRAMES:]
    ]

    def cost(focal: float) -> float:
        rotating = [adjust(sample, focal) for sample in samples]
        if rotation_only:
            return sum(fit.cost for fit in rotating)
        return sum(_fit_moving(sample, focal, fit.pose).cost for sample, fit in zip(samples, rotating, strict=True))

    focals = LONG_SIDE * np.geomspace(0.5, 2.4, 9)
    rotation_only = True
    costs = np.array([cost(focal) for focal in focals])
    if costs.min() > 2 * _MAX_ROTATION_COST * sum(sample.observed.sum() for sample in samples):
        rotation_only = False
        costs = np.array([cost(focal) for focal in focals])
    best = int(costs.argmin())
    guess_cost = float(np.interp(guess, focals, costs))
    if not 0 < best < len(focals) - 1 or guess_cost < _MIN_COST_RATIO * costs[best]:
        return guess
    # Refine: the minimum of a parabola through three costs around the best.
    closer = focals[best] * (focals[1] / focals[0]) ** np.array([-0.5, 0, 0.5])
    nearby_costs = np.array([cost(closer[0]), costs[best], cost(closer[2])])
    a, b, _ = np.polyfit(np.log(closer), nearby_costs, 2)
    return float(np.exp(np.clip(-b / (2 * a), *np.log(closer[[0, 2]])))) if a > 0 else guess


def _displacement(key_frame: KeyFrameTracks) -> float:
    """Mean displacement of a key frame's corners up to its last frame, pixels."""
    return float(np.linalg.norm(key_frame.observations[-1] - key_frame.points, axis=1)[key_frame.observed[-1]].mean())
