"""Tracks corners of the background from frame to frame while the clip is decoded, and detects cuts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ..array_file import RowFile

# Constants without a source are set by hand, judged on the synthetic clips of the tests.
LONG_SIDE = 640  # pixels of the images in which corners are tracked
_MAX_CORNERS = 220  # of a key frame
_MIN_CORNERS = 16  # with fewer, a frame is not tracked
_NEW_KEY_FRAME_BELOW = 0.55  # of a key frame's corners: with fewer tracked, the frame becomes the next key frame
_NEW_KEY_FRAME_SCALE = 0.2  # change of the logarithm of the corners' spread with which a frame becomes a key frame, too
_BOX_MARGIN = 0.12  # of a person's box, on each side: hair, shoes and shadows move with the person
_MAX_FLOW_ERROR = 0.6  # pixels between a corner and itself tracked forward and back
_TERMINATION = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 20, 0.01)
_FLOW_WINDOW = (17, 17)  # pixels
_PYRAMID_LEVELS = 4
_BLACK_BRIGHTNESS = 20.0  # of 255: mean brightness below which a frame is black
_SAME_SCENE_CORRELATION = 0.7  # of two frames' thumbnails, above which they show the same shot
_MAX_HOMOGRAPHY_ERROR = 0.1  # of LONG_SIDE, between a tracked corner and its position by the homography
_CHANGE_SIDE = 160  # pixels, longer side of the images whose difference is taken: large enough for small people
THUMBNAIL = 32  # pixels, side of the thumbnails


@dataclass
class BackgroundTracks:
    """Of L network frames: how they differ, and P corners of K key frames in the background, observed M times."""

    shot: np.ndarray  # (L,) int64 shot of each network frame, from 0
    key_frames: np.ndarray  # (K,) int64 network frame of each key frame
    point_key_frame: np.ndarray  # (P,) int64 key frame, 0..K-1, of each corner
    points: np.ndarray  # (P, 2) float32 pixels in the key frame
    observation_frame: np.ndarray  # (M,) int64 network frame
    observation_point: np.ndarray  # (M,) int64 corner, 0..P-1
    observations: np.ndarray  # (M, 2) float32 pixels
    change: np.ndarray  # (L,) float32 mean absolute difference from the frame before, of 255 grey levels
    thumbnails: np.ndarray  # (L, 32, 32) uint8 grey, stretched to squares


class BackgroundTracker:
    """Tracks the background's corners while a clip is decoded; holds few small images at any time."""

    def __init__(self, folder: Path | None = None) -> None:
        """``folder``: for temporary files, as of `RowFile`."""
        self._key_frame: _KeyFrame | None = None
        self._image: np.ndarray = np.empty((0, 0), np.uint8)  # the current frame, grey
        self._scale = 1.0  # of its pixels over the clip's
        self._tracked: np.ndarray | None = None  # which of the key frame's corners are tracked in it
        self._previous: np.ndarray | None = None  # the frame before, grey
        self._previous_mask: np.ndarray | None = None  # its background, for new corners
        self._shot = 0
        self._frame_shots: list[int] = []
        self._key_frames: list[int] = []
        self._points: list[np.ndarray] = []
        # Of the observed corners: network frame, corner number, pixels.
        self._observation_frames, self._observation_points = (
            RowFile(folder, np.int64),
            RowFile(folder, np.int64),
        )
        self._observations = RowFile(folder, np.float32)
        self._small = np.empty((0, 0), np.float32)  # the current frame, grey, for the change to the next
        self._changes: list[float] = []
        self._thumbnails = RowFile(folder, np.uint8)

    def track_frame(self, image: np.ndarray) -> bool:
        """Track the corners into the next frame, (H, W, 3) uint8 RGB; returns whether a new shot begins with it."""
        scale = LONG_SIDE / max(image.shape[:2])
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)  # first: reducing three channels takes three times as long
        self._image = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else grey
        self._scale = self._image.shape[1] / image.shape[1]
        self._tracked = self._track_corners()
        self._compare_frames()
        cut = self._tracked is None and self._is_cut()
        if cut:
            self._shot += 1
            self._key_frame = None
        return cut

    def finish_frame(self, boxes: np.ndarray) -> None:
        """Store the corners of that frame outside the people's boxes (n, 4) x1, y1, x2, y2."""
        number, mask = len(self._frame_shots), _background_mask(self._image.shape, boxes * self._scale)
        if self._key_frame and self._tracked is not None:
            column, row = np.round(self._key_frame.positions[self._tracked]).astype(int).T
            self._tracked[self._tracked] = mask[row, column] > 0
            if self._tracked.sum() >= _MIN_CORNERS:
                positions = self._key_frame.positions[self._tracked] / self._scale
                points = self._key_frame.first + np.flatnonzero(self._tracked)
                self._observation_frames.append(np.full(len(points), number))
                self._observation_points.append(points)
                self._observations.append(positions)
        if self._key_frame is None or (
            self._tracked is not None and self._key_frame.needs_new_key_frame(self._tracked)
        ):
            self._start_key_frame(self._image, mask, number)
        self._previous, self._previous_mask = self._image, mask
        self._frame_shots.append(self._shot)

    def result(self) -> BackgroundTracks:
        """The tracks of all frames so far; the arrays of observations and thumbnails are memory-mapped."""
        return BackgroundTracks(
            shot=np.array(self._frame_shots, np.int64),
            key_frames=np.array(self._key_frames, np.int64),
            point_key_frame=np.repeat(
                np.arange(len(self._key_frames)), [len(points) for points in self._points]
            ).astype(np.int64),
            points=np.concatenate([*self._points, np.empty((0, 2))]).astype(np.float32),
            observation_frame=self._observation_frames.rows(),
            observation_point=self._observation_points.rows(),
            observations=self._observations.rows((2,)),
            change=np.array(self._changes, np.float32),
            thumbnails=self._thumbnails.rows((THUMBNAIL, THUMBNAIL)),
        )

    def _compare_frames(self) -> None:
        """Store the current frame's thumbnail and how much it differs from the frame before."""
        before, scale = self._small, _CHANGE_SIDE / max(self._image.shape)
        size = [max(1, round(side * scale)) for side in self._image.shape[::-1]]
        self._small = cv2.resize(self._image, size, interpolation=cv2.INTER_AREA).astype(np.float32)
        self._changes.append(float(np.abs(self._small - before).mean()) if before.shape == self._small.shape else 0.0)
        self._thumbnails.append(cv2.resize(self._image, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)[None])

    def _track_corners(self) -> np.ndarray | None:
        """Which corners of the key frame, or of a new one at the frame before, are in this frame; None if too few."""
        if self._key_frame is None:
            return None
        found = self._key_frame.track(self._image)
        last = len(self._frame_shots) - 1
        if found.sum() < _MIN_CORNERS and self._previous is not None and self._key_frames[-1] != last:
            old = self._key_frame
            self._start_key_frame(self._previous, self._previous_mask, last)
            if self._key_frame is not old:
                found = self._key_frame.track(self._image)
                if found.sum() < _MIN_CORNERS:  # the old one may be tracked again, after dark frames
                    self._key_frame = old
                    self._key_frames.pop()
                    self._points.pop()
        return found if found.sum() >= _MIN_CORNERS else None

    def _start_key_frame(self, grey: np.ndarray, mask: np.ndarray | None, number: int) -> None:
        """Make a frame the key frame, if it has enough corners."""
        points = _detect_corners(grey, mask)
        if len(points) < _MIN_CORNERS:
            return
        points = cv2.cornerSubPix(grey, points.reshape(-1, 1, 2), (5, 5), (-1, -1), _TERMINATION)[:, 0]
        self._key_frame = _KeyFrame(grey, points, sum(map(len, self._points)))
        self._key_frames.append(number)
        self._points.append(points / self._scale)

    def _is_cut(self) -> bool:
        """Whether the current frame, in which corners are lost, begins a shot, and is not just blurred or black."""
        if self._previous is None or self._key_frame is None or self._image.mean() < _BLACK_BRIGHTNESS:
            return False
        corners = cv2.goodFeaturesToTrack(self._image, _MAX_CORNERS, 0.005, 9)
        if corners is None or len(corners) < 2 * _MIN_CORNERS:
            return False
        last = self._key_frame.grey if self._previous.mean() < _BLACK_BRIGHTNESS else self._previous
        first, second = (
            cv2.resize(each, (32, 32), interpolation=cv2.INTER_AREA).ravel() for each in (last, self._image)
        )
        return bool(np.corrcoef(first, second)[0, 1] < _SAME_SCENE_CORRELATION)


class _KeyFrame:
    """A key frame's image and corners, and their positions in the current frame."""

    def __init__(self, grey: np.ndarray, points: np.ndarray, first: int) -> None:
        self.grey, self.points, self.first = grey, points, first
        self.positions = points.copy()
        self._step = np.zeros(2, np.float32)

    def needs_new_key_frame(self, found: np.ndarray) -> bool:
        """Whether too few of the corners (n,) were found to track the next frame."""
        if found.sum() < max(_MIN_CORNERS, _NEW_KEY_FRAME_BELOW * len(self.points)):
            return True
        # A camera that goes backwards keeps its corners, but they no longer cover the ground that comes into view.
        scale = self.positions[found].std(0).mean() / max(self.points[found].std(0).mean(), 1e-6)
        return bool(abs(np.log(max(scale, 1e-6))) > _NEW_KEY_FRAME_SCALE)

    def track(self, grey: np.ndarray) -> np.ndarray:
        """Track the corners into another frame; returns which of them (n,) are found there."""
        guess = self.positions + self._step
        positions, forward = _optical_flow(self.grey, grey, self.points, guess)
        back, backward = _optical_flow(grey, self.grey, positions, self.points)
        found = forward & backward & (np.linalg.norm(back - self.points, axis=1) < _MAX_FLOW_ERROR)
        column, row = np.round(positions).astype(int).T
        found &= (column >= 0) & (row >= 0) & (column < grey.shape[1]) & (row < grey.shape[0])
        if found.sum() < _MIN_CORNERS:
            return found
        homography, fits = cv2.findHomography(self.points[found], positions[found], cv2.USAC_MAGSAC, 3.0)
        if homography is not None and fits.sum() >= _MIN_CORNERS / 2:
            # Occluded corners are searched in the next frame at the position that the homography of the others gives.
            expected = cv2.perspectiveTransform(self.points[:, None], homography)[:, 0]
            found &= np.linalg.norm(positions - expected, axis=1) < _MAX_HOMOGRAPHY_ERROR * LONG_SIDE
            positions = np.where(found[:, None], positions, expected).astype(np.float32)
        self._step = np.median(positions[found] - self.positions[found], axis=0) if found.any() else self._step
        self.positions = positions
        return found


def _optical_flow(
    first: np.ndarray, second: np.ndarray, points: np.ndarray, guess: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Positions (n, 2) of points (n, 2) in another image, from an initial guess (n, 2), and whether found (n,)."""
    positions, found, _ = cv2.calcOpticalFlowPyrLK(
        first, second, points, guess.astype(np.float32), None, None, _FLOW_WINDOW, _PYRAMID_LEVELS, _TERMINATION,
        cv2.OPTFLOW_USE_INITIAL_FLOW,
    )  # fmt: skip
    return positions, found[:, 0] > 0


def _detect_corners(grey: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """Corners (n, 2) of an image, half of them in its lower half: on the ground, where corners are weaker."""
    middle = grey.shape[0] // 2
    corners: list[np.ndarray] = [np.empty((0, 2), np.float32)]
    for first, rows in ((0, slice(0, middle)), (middle, slice(middle, None))):
        part = None if mask is None else mask[rows]
        points = cv2.goodFeaturesToTrack(grey[rows], _MAX_CORNERS // 2, 0.005, 9, mask=part)
        if points is not None:
            corners.append((points[:, 0] + np.array([0, first])).astype(np.float32))
    return np.concatenate(corners)


def _background_mask(shape: tuple[int, ...], boxes: np.ndarray) -> np.ndarray:
    """Mask (H, W) uint8 of an image: 255 outside the people's boxes."""
    mask = np.full(shape[:2], 255, np.uint8)
    margin = _BOX_MARGIN * (boxes[:, 2:] - boxes[:, :2]).max(1, keepdims=True) if len(boxes) else 0
    for x1, y1, x2, y2 in np.maximum(np.concatenate([boxes[:, :2] - margin, boxes[:, 2:] + margin], 1), 0).astype(int):
        mask[y1 : y2 + 1, x1 : x2 + 1] = 0
    return mask
