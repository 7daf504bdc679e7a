"""Runs MediaPipe Pose's landmark net on a crop of one person: 33 landmarks in 2D and 3D, and COCO's 17 keypoints."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.ndimage import correlate1d
from scipy.special import expit

from ...skeleton import COCO_NAMES
from ...weights import WeightFile
from .litert import LiteRTNetwork
from .types import is_confident

LANDMARKS = 33
# Left and right swapped; the net's points come in pairs from the ears on.
LANDMARK_MIRROR = np.array([0, 4, 5, 6, 1, 2, 3] + [i + 1 if i % 2 else i - 1 for i in range(7, LANDMARKS)])
# COCO's keypoints among the landmarks: nose, eyes, ears, shoulders, elbows, wrists, hips, knees, ankles.
COCO_LANDMARKS = np.array([0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28])
MIN_KEYPOINTS = 6  # a frame of a track with fewer confident keypoints is dropped, as in WHAM
PERSON_SCORE = 0.5  # threshold of the net's score above which the crop shows a person; MediaPipe's default
_INPUT = 256  # pixels, side of the net's square input
_CROP_SCALE = 2.5  # side of the crop over the farthest keypoint's distance from the hips; measured best of 2.2 to 3.1
_BOX_CROP_SCALE = 1.25  # side of the first crop over a box's longer side; set by hand
_OTHER_CROP = np.array([-1, 0, 9, 0, 9, 0, -1]) / 16  # cubic interpolation from the frames before and after
_WINDOW = np.arange(-3, 4)  # cells of a heatmap around a point from which it is refined, as in MediaPipe
_MIN_HEATMAP = 0.5  # that the largest of them must reach, as in MediaPipe
_BOX_MARGIN = 0.05  # of the body beyond its landmarks, over their longer extent; set by hand
_HIPS = [COCO_NAMES.index("left_hip"), COCO_NAMES.index("right_hip")]
_SHOULDERS = [COCO_NAMES.index("left_shoulder"), COCO_NAMES.index("right_shoulder")]


@dataclass(frozen=True)
class Crop:
    """A square of the picture, rotated so that the person's spine, or the hand, is upright in it."""

    center: np.ndarray  # (2,) pixels
    side: float  # pixels
    rotation: np.ndarray  # (2, 2) rotation from the crop's axes to the picture's

    def resampled(self, image: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
        """The crop of an image (H, W, 3) as a square of ``side`` pixels, and the matrix (2, 2) from there to the image.

        The matrix is for points relative to the middles of both.
        """
        matrix = self._to_picture(side)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(image, matrix, (side, side), flags=flags), matrix[:, :2]

    def placed(self, values: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
        """Values (S, S) of the crop's pixels where they are in a picture of a size, width and height; elsewhere 0."""
        return cv2.warpAffine(values, self._to_picture(len(values)), size)

    def _to_picture(self, side: int) -> np.ndarray:
        """The matrix (2, 3) from the pixels of the crop, as a square of ``side`` pixels, to those of the picture."""
        linear = self.rotation * (self.side / side)
        # The nets measure coordinates from the input's edge, OpenCV from the first pixel's centre.
        return np.column_stack([linear, self.center - linear @ np.full(2, (side - 1) / 2)])


@dataclass(frozen=True)
class Observation:
    """The net's output for one crop."""

    landmarks: np.ndarray  # (33, 3) x, y in pixels of the picture, visibility 0..1
    landmarks_3d: np.ndarray  # (33, 3) metres, hip-centred, camera axes: x right, y down, z away
    score: float  # 0..1 that the crop shows a person
    # 0..1, mean peak of the COCO keypoints' heatmaps, of those in the picture; 0 if there are fewer than MIN_KEYPOINTS.
    # Where the crop is turned or moved off the person, the net makes up a body and gives it a score near 1, but its
    # heatmaps are flat: over six clips 0.6 to 0.95 on people, 0.2 to 0.5 on bodies that were made up.
    quality: float = 1.0

    @property
    def keypoints(self) -> np.ndarray:
        """(17, 3) COCO keypoints: x, y in pixels, confidence."""
        return self.landmarks[COCO_LANDMARKS]

    @property
    def box(self) -> np.ndarray:
        """(4,) x1, y1, x2, y2 in pixels, around the whole body: the landmarks do not reach the crown and the soles."""
        confident = is_confident(self.landmarks)
        points = self.landmarks[confident if confident.any() else slice(None), :2]
        low, high = points.min(0), points.max(0)
        margin = _BOX_MARGIN * (high - low).max()
        return np.concatenate([low - margin, high + margin]).astype(np.float32)


def crop_around_keypoints(keypoints: np.ndarray) -> Crop:
    """The crop around COCO keypoints (17, 3) in pixels: centred on the hips, with all confident keypoints inside."""
    points = np.asarray(keypoints[:, :2], np.float64)
    hips, shoulders = points[_HIPS].mean(0), points[_SHOULDERS].mean(0)
    distance = np.linalg.norm(np.concatenate([points[is_confident(keypoints)], [shoulders]]) - hips, axis=1).max()
    spine = float(np.linalg.norm(shoulders - hips))
    x, y = (shoulders - hips) / spine if spine > 0 else (0.0, -1.0)
    return Crop(hips, _CROP_SCALE * max(float(distance), 1.0), np.array([[-y, -x], [x, -y]]))


def crop_around_box(box: np.ndarray) -> Crop:
    """The upright crop around a box (4,) x1, y1, x2, y2 of a person whose keypoints are unknown."""
    corners = np.asarray(box, np.float64).reshape(2, 2)
    return Crop(corners.mean(0), _BOX_CROP_SCALE * max(float(np.ptp(corners, axis=0).max()), 1.0), np.eye(2))


def average_mirrored(values: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """Average a track's values (n, ...), from plain and mirrored crops in alternate frames, over neighbouring frames.

    What the other kind of crop would have shown in a frame is interpolated from its two neighbours on either side by a
    cubic: the mean of the next ones alone would shorten fast movement (a quarter of it at 5 hertz, where the cubic
    takes a tenth). frames (n,): frame numbers; values are not averaged across a gap.
    """
    pieces = []
    for piece in np.split(values, np.flatnonzero(np.diff(frames) != 1) + 1):
        if len(piece) > 2:
            padded = np.concatenate([_continued(piece[2::-1])[::-1], piece, _continued(piece[-3:])])
            piece = (piece + correlate1d(padded, _OTHER_CROP, axis=0)[3:-3]) / 2
        elif len(piece) == 2:
            piece = np.broadcast_to(piece.mean(0), piece.shape)
        pieces.append(piece)
    return np.concatenate(pieces)


def _continued(last: np.ndarray) -> np.ndarray:
    """Three more values after the last three (3, ...): of plain and mirrored crops in turn, on a straight line."""
    step = last[2] - last[0]
    return np.stack([last[1] + step, last[2] + step, last[1] + 2 * step])


def refine_from_heatmaps(points: np.ndarray, heatmaps: np.ndarray) -> np.ndarray:
    """Points (K, 2), pixels of the net's input, moved to the centre of mass of heatmaps (S, S, K) in a window.

    The heatmaps are before the sigmoid; a cell's position is its upper left corner. As MediaPipe's
    RefineLandmarksFromHeatmapCalculator.
    """
    size = len(heatmaps)
    cells = np.floor(points * size / _INPUT).astype(int)[:, None] + _WINDOW[:, None]  # (K, 7, 2) x and y
    columns, rows = np.moveaxis(cells.clip(0, size - 1), 2, 0)
    activation = expit(heatmaps[rows[:, :, None], columns[:, None], np.arange(len(points))[:, None, None]])  # (K, 7, 7)
    within = (cells >= 0) & (cells < size)
    activation = activation * within[:, :, None, 1] * within[:, None, :, 0]
    moment = np.stack([(activation.sum(rest) * cells[..., axis]).sum(1) for axis, rest in enumerate((1, 2))], 1)
    confident = activation.max((1, 2)) >= _MIN_HEATMAP
    points = points.copy()
    points[confident] = moment[confident] / activation[confident].sum((1, 2))[:, None] * (_INPUT / size)
    return points


class Landmarker:
    """MediaPipe Pose's landmark net, heavy or full (Google, Apache-2.0)."""

    def __init__(self, file: WeightFile) -> None:
        self._network = LiteRTNetwork(file)

    def __call__(self, image: np.ndarray, crop: Crop, mirrored: bool | None = None) -> Observation:
        """The landmarks in one crop of a frame, (H, W, 3) uint8 RGB.

        ``mirrored``: run the net on the crop's mirror image and mirror the result back; None: the mean of both. In a
        clip, alternating between the two and averaging over time is as accurate as both in every frame.
        """
        pixels, linear = crop.resampled(image, _INPUT)
        outputs = [self._infer(pixels, flip) for flip in ((False, True) if mirrored is None else (mirrored,))]
        points, metres, score, peaks = (np.mean(values, axis=0) for values in zip(*outputs, strict=True))
        metres[:, :2] = metres[:, :2] @ crop.rotation.T
        points[:, :2] = (points[:, :2] - _INPUT / 2) @ linear.T + crop.center
        keypoints = points[COCO_LANDMARKS, :2]
        inside = ((keypoints >= 0) & (keypoints < image.shape[1::-1])).all(1)
        quality = float(peaks[COCO_LANDMARKS][inside].mean()) if inside.sum() >= MIN_KEYPOINTS else 0.0
        return Observation(points, metres, float(score), quality)

    def mask(self, image: np.ndarray, crop: Crop) -> np.ndarray:
        """Where the person of a crop is in a frame (H, W, 3) uint8 RGB: (H, W) float32, 0..1, 0 outside of the crop."""
        pixels, _ = crop.resampled(image, _INPUT)
        _, _, mask, _, _ = self._network(pixels[None].astype(np.float32) / 255)
        return crop.placed(expit(mask[0, ..., 0].astype(np.float32)), image.shape[1::-1])

    def _infer(self, pixels: np.ndarray, mirrored: bool) -> tuple[np.ndarray, np.ndarray, float, np.ndarray]:
        """Points (33, 3) in pixels of the input with visibility, metres (33, 3) in the crop's axes, score, peaks (33,).

        The peaks are those of the points' heatmaps, 0..1.
        """
        pixels = pixels[:, ::-1] if mirrored else pixels
        points, score, _mask, heatmaps, metres = self._network(pixels[None].astype(np.float32) / 255)
        rows = points.reshape(-1, 5)[:LANDMARKS]  # x, y, z, then visibility and presence before the sigmoid
        heatmaps = heatmaps[0, :, :, :LANDMARKS]
        refined, peaks = refine_from_heatmaps(rows[:, :2], heatmaps), expit(heatmaps.max((0, 1)))
        points, metres = np.concatenate([refined, expit(rows[:, 3:4])], 1), metres.reshape(-1, 3)[:LANDMARKS]
        if mirrored:
            points = points[LANDMARK_MIRROR] * (-1, 1, 1) + (_INPUT, 0, 0)
            metres = metres[LANDMARK_MIRROR] * (-1, 1, 1)
            peaks = peaks[LANDMARK_MIRROR]
        return points, metres, float(score.item()), peaks
