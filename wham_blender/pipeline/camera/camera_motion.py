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
_PART = 1024  # frames of one key frame whose tracks are in memory at once: 7 MB, and ten times that to fit them
_BLOCK = 1 << 18  # observations that are read at once
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
    key_frames = _KeyFrames(tracks, camera_K[:2, 2], scale)
    motion.is_estimated[:] = False
    for frames in (tracks.key_frames, *key_frames.frames):
        motion.is_estimated[frames] = True
    if camera == "static":
        return motion
    shots = range(int(tracks.shot.max()) + 1)
    moving = [camera == "moving" or not _is_static(key_frames, tracks, shot) for shot in shots]
    focal = float(motion.focal) * scale
    if guessed and any(moving):
        numbers = [number for number, frame in enumerate(tracks.key_frames) if moving[tracks.shot[frame]]]
        focal = _estimate_focal(key_frames, numbers, focal)
        motion.focal = np.array(focal / scale)
    for shot, moves in enumerate(moving):
        if moves:
            _solve_shot(motion, tracks, key_frames, shot, focal)
    return motion


class _KeyFrames:
    """The tracks of each key frame's corners, of which some frames are in memory at a time.

    A key frame of a camera that stands still has all frames of a clip: 4 kB each.
    """

    def __init__(self, tracks: BackgroundTracks, centre: np.ndarray, scale: float) -> None:
        """centre (2,): of the picture, pixels; scale: of the tracked images over the clip's."""
        self._tracks, self._centre, self._scale = tracks, centre, scale
        parts: list[list[np.ndarray]] = [[np.zeros(0, np.int64)] for _ in tracks.key_frames]
        for begin in range(0, len(tracks.observation_point), _BLOCK):
            rows = slice(begin, begin + _BLOCK)
            numbers = tracks.point_key_frame[tracks.observation_point[rows]]
            for number in np.unique(numbers):
                parts[number].append(np.unique(tracks.observation_frame[rows][numbers == number]))
        self.frames = [np.unique(np.concatenate(each)) for each in parts]  # (m,) of each key frame

    def parts(self, number: int) -> list[np.ndarray]:
        """The frames (m,) of a key frame, in equal parts of at most _PART; no part of a key frame without frames."""
        frames = self.frames[number]
        return np.array_split(frames, -(-len(frames) // _PART)) if len(frames) else []

    def tracks(self, number: int, frames: np.ndarray) -> KeyFrameTracks:
        """One key frame's corners in some of its frames (m,), in pixels of the tracked images from the centre."""
        tracks = self._tracks
        first, last = np.searchsorted(tracks.point_key_frame, [number, number + 1])
        begin, end = (np.searchsorted(tracks.observation_frame, frames, side) for side in ("left", "right"))
        rows = np.concatenate([np.arange(*each) for each in zip(begin, end, strict=True)])
        rows_of_frames, points = np.repeat(np.arange(len(frames)), end - begin), tracks.observation_point[rows]
        kept = (points >= first) & (points < last)
        place = rows_of_frames[kept], points[kept] - first
        observations = np.zeros((len(frames), last - first, 2))
        observed = np.zeros(observations.shape[:2], bool)
        observations[place] = (tracks.observations[rows[kept]] - self._centre) * self._scale
        observed[place] = True
        points_of_key = (tracks.points[first:last].astype(np.float64) - self._centre) * self._scale
        return KeyFrameTracks(frames, points_of_key, observations, observed)

    def spread(self, number: int, count: int) -> KeyFrameTracks:
        """The corners in at most ``count`` of a key frame's frames, at equal distances."""
        frames = self.frames[number]
        return self.tracks(number, frames[np.unique(np.linspace(0, len(frames) - 1, count).round().astype(int))])


def _is_static(key_frames: _KeyFrames, tracks: BackgroundTracks, shot: int) -> bool:
    """Whether the background of a shot does not move."""
    displacements = [
        np.median(np.linalg.norm(seen.observations[row] - seen.points, axis=1)[seen.observed[row]])
        for number in np.flatnonzero(tracks.shot[tracks.key_frames] == shot).tolist()
        for seen in (key_frames.tracks(number, frames) for frames in key_frames.parts(number))
        for row in range(len(seen.frames))
    ]
    return not displacements or float(np.quantile(displacements, 0.95)) < _STATIC_DISPLACEMENT * LONG_SIDE


def _solve_shot(
    motion: CameraMotion, tracks: BackgroundTracks, key_frames: _KeyFrames, shot: int, focal: float
) -> None:
    """Fit each key frame of a shot, and chain their motions into ``motion``."""
    kinds = []
    frames = np.flatnonzero(tracks.shot == shot)
    done = np.zeros(len(motion.rotations), bool)
    done[frames[0]] = True
    for number, (key, seen) in enumerate(zip(tracks.key_frames, key_frames.frames, strict=True)):
        if tracks.shot[key] != shot:
            continue
        _extrapolate(motion, done, frames, int(key))
        if not len(seen):
            continue
        kind, pose = _choose_model(key_frames, number, focal * motion.zoom[key])
        kinds += [kind] * len(seen)
        motion.rotations[seen] = pose.rotation @ motion.rotations[key]
        motion.zoom[seen] = pose.zoom * motion.zoom[key]
        motion.key_frame[seen] = key
        motion.centre[seen] = -np.einsum("mji,mj->mi", motion.rotations[seen], pose.translation)
        if kind == MOVING:
            _keep_corners(motion, key_frames, number, pose, int(key), focal * motion.zoom[key])
        done[seen] = True
    _extrapolate(motion, done, frames, int(frames[-1]))
    motion.kind[frames] = MOVING if np.mean(np.equal(kinds, MOVING)) > _MOVING_FRACTION else ROTATING


def _keep_corners(
    motion: CameraMotion, key_frames: _KeyFrames, number: int, pose: Pose, key: int, focal: float
) -> None:
    """Add to ``motion`` the corners of a key frame whose inverse depth the camera's path determines."""
    information, begin = 0.0, 0
    for seen in (key_frames.tracks(number, frames) for frames in key_frames.parts(number)):
        rays = np.column_stack([seen.points / focal, np.ones(len(seen.points))])
        translation = pose.translation[begin : begin + len(seen.frames)]
        # Pixels by which a corner moves in the frames that show it, for a unit of inverse depth.
        shift = focal * (translation[:, None, :2] - rays[:, :2] * translation[:, None, 2:])
        information = information + ((shift**2).sum(-1) * seen.observed).sum(0) / NOISE_PIXELS**2
        begin += len(seen.frames)
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


def _choose_model(key_frames: _KeyFrames, number: int, focal: float) -> tuple[int, Pose]:
    """The model of least penalised cost (BIC) for a key frame: rotation, rotation and zoom, rotation and translation.

    Returns ROTATING or MOVING, and the pose in all of its frames.
    """
    sample = key_frames.spread(number, _MAX_BUNDLE_FRAMES)
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
    # With the depths known, each frame has a pose of its own.
    poses = [
        adjust(key_frames.tracks(number, frames), focal, model, rotating.pose, best.pose.inverse_depths).pose
        for frames in key_frames.parts(number)
    ]
    rotations, translations, zooms = (
        np.concatenate([getattr(pose, name) for pose in poses]) for name in ("rotation", "translation", "log_zoom")
    )
    pose = replace(poses[0], rotation=rotations, translation=translations, log_zoom=zooms)
    return MOVING if model is Model.TRANSLATION else ROTATING, pose


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


def _estimate_focal(key_frames: _KeyFrames, numbers: list[int], guess: float) -> float:
    """The focal length of least cost for the key frames of these numbers, pixels; the guess, if it is undetermined."""
    ends = {number: key_frames.frames[number][-1:] for number in numbers if len(key_frames.frames[number]) > 1}
    farthest = sorted(ends, key=lambda number: _displacement(key_frames.tracks(number, ends[number])))
    samples = [key_frames.spread(number, _CALIBRATION_FRAMES) for number in farthest[-_CALIBRATION_KEY_FRAMES:]]

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
