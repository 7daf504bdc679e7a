"""Looks at one person's upright crop with MediaPipe's landmark net: 33 landmarks in 2D and 3D, and COCO's 17."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
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
PERSON_SCORE = 0.5  # from here on the net sees a person in its crop
_INPUT = 256  # pixels, side of the net's square input
_REACH = 2.5  # side of the crop over the farthest keypoint's distance from the hips; measured best of 2.2 to 3.1
_MARGIN = 1.25  # side of the first crop over a box's longer side
_WINDOW = np.arange(-3, 4)  # cells of a heatmap round a point by which it is refine_from_heatmaps, as MediaPipe does
_SURE = 0.5  # what the largest of them must reach
_BODY_BEYOND = 0.05  # how far a body reaches beyond its landmarks, over their longer extent
_HIPS = [COCO_NAMES.index("left_hip"), COCO_NAMES.index("right_hip")]
_SHOULDERS = [COCO_NAMES.index("left_shoulder"), COCO_NAMES.index("right_shoulder")]


@dataclass(frozen=True)
class Crop:
    """A square of the picture, turned so that the person's spine is upright in it."""

    center: np.ndarray  # (2,) pixels
    side: float  # pixels
    rotation: np.ndarray  # (2, 2) rotation from the crop's axes to the picture's


@dataclass(frozen=True)
class Observation:
    """What the net saw in one crop."""

    landmarks: np.ndarray  # (33, 3) x, y in pixels of the picture, visibility 0..1
    landmarks_3d: np.ndarray  # (33, 3) metres, hip-centred, camera axes: x right, y down, z away
    score: float  # 0..1 that the crop holds a person

    @property
    def keypoints(self) -> np.ndarray:
        """(17, 3) COCO keypoints: x, y in pixels, confidence."""
        return self.landmarks[COCO_LANDMARKS]

    @property
    def box(self) -> np.ndarray:
        """(4,) x1, y1, x2, y2 in pixels, round the whole person: the landmarks do not reach the crown and the soles."""
        sure = is_confident(self.landmarks)
        points = self.landmarks[sure if sure.any() else slice(None), :2]
        low, high = points.min(0), points.max(0)
        grow = _BODY_BEYOND * (high - low).max()
        return np.concatenate([low - grow, high + grow]).astype(np.float32)


def crop_around_keypoints(keypoints: np.ndarray) -> Crop:
    """The crop round COCO keypoints (17, 3) in pixels: centred on the hips, out beyond the farthest counted one."""
    points = np.asarray(keypoints[:, :2], np.float64)
    hips, shoulders = points[_HIPS].mean(0), points[_SHOULDERS].mean(0)
    reach = np.linalg.norm(np.concatenate([points[is_confident(keypoints)], [shoulders]]) - hips, axis=1).max()
    spine = float(np.linalg.norm(shoulders - hips))
    x, y = (shoulders - hips) / spine if spine > 0 else (0.0, -1.0)
    return Crop(hips, _REACH * max(float(reach), 1.0), np.array([[-y, -x], [x, -y]]))


def crop_around_box(box: np.ndarray) -> Crop:
    """The upright crop round a box (4,) x1, y1, x2, y2 of which no keypoints are known."""
    corners = np.asarray(box, np.float64).reshape(2, 2)
    return Crop(corners.mean(0), _MARGIN * max(float(np.ptp(corners, axis=0).max()), 1.0), np.eye(2))


def average_mirrored(values: np.ndarray, looks: np.ndarray) -> np.ndarray:
    """The mean of both views of one person, seen plainly and mirrored in turn, (n, ...): each look with its neighbours.

    looks (n,): their numbers; across a missing one nothing is mixed.
    """
    pieces = []
    for piece in np.split(values, np.flatnonzero(np.diff(looks) != 1) + 1):
        if len(piece) > 2:  # an end goes on evenly, each view by itself
            before, after = piece[:1] + piece[1:2] - piece[2:3], piece[-1:] + piece[-2:-1] - piece[-3:-2]
            whole = np.concatenate([before, piece, after])
            piece = (whole[:-2] + 2 * whole[1:-1] + whole[2:]) / 4
        elif len(piece) == 2:
            piece = np.broadcast_to(piece.mean(0), piece.shape)
        pieces.append(piece)
    return np.concatenate(pieces)


def refine_from_heatmaps(points: np.ndarray, heatmaps: np.ndarray) -> np.ndarray:
    """Points (K, 2) in pixels of the net's input, moved to the middle of what heatmaps (S, S, K) show there.

    The heatmaps are before the sigmoid; a cell counts as its upper left corner. MediaPipe's graph does so
    (RefineLandmarksFromHeatmapCalculator).
    """
    size = len(heatmaps)
    cells = np.floor(points * size / _INPUT).astype(int)[:, None] + _WINDOW[:, None]  # (K, 7, 2) x and y
    columns, rows = np.moveaxis(cells.clip(0, size - 1), 2, 0)
    shown = expit(heatmaps[rows[:, :, None], columns[:, None], np.arange(len(points))[:, None, None]])  # (K, 7, 7)
    within = (cells >= 0) & (cells < size)
    shown = shown * within[:, :, None, 1] * within[:, None, :, 0]
    middle = np.stack([(shown.sum(rest) * cells[..., axis]).sum(1) for axis, rest in enumerate((1, 2))], 1)
    sure = shown.max((1, 2)) >= _SURE
    points = points.copy()
    points[sure] = middle[sure] / shown[sure].sum((1, 2))[:, None] * (_INPUT / size)
    return points


class Landmarker:
    """MediaPipe Pose's landmark net, heavy or full (Google, Apache-2.0)."""

    def __init__(self, file: WeightFile) -> None:
        self._network = LiteRTNetwork(file)

    def __call__(self, image: np.ndarray, crop: Crop, mirrored: bool | None = None) -> Observation:
        """Look at one crop of a frame, (H, W, 3) uint8 RGB, or at its mirror image; None: at both, for the mean.

        Left and right come out right either way. In a film the two in turn, smoothed, are as good as both every time.
        """
        linear = crop.rotation * (crop.side / _INPUT)
        # The net counts coordinates from the input's edge, OpenCV from the first pixel's middle.
        origin = crop.center - linear @ np.full(2, (_INPUT - 1) / 2)
        pixels = cv2.warpAffine(
            image, np.column_stack([linear, origin]), (_INPUT, _INPUT), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        )
        looks = [self._infer(pixels, turned) for turned in ((False, True) if mirrored is None else (mirrored,))]
        points, metres, score = (np.mean(values, axis=0) for values in zip(*looks, strict=True))
        metres[:, :2] = metres[:, :2] @ crop.rotation.T
        points[:, :2] = (points[:, :2] - _INPUT / 2) @ linear.T + crop.center
        return Observation(points, metres, float(score))

    def _infer(self, pixels: np.ndarray, mirrored: bool) -> tuple[np.ndarray, np.ndarray, float]:
        """Points (33, 3) in pixels of the input with visibility, metres (33, 3) in the crop's axes, and the score."""
        seen = pixels[:, ::-1] if mirrored else pixels
        points, score, _mask, heatmaps, metres = self._network(seen[None].astype(np.float32) / 255)
        rows = points.reshape(-1, 5)[:LANDMARKS]  # x, y, z, then visibility and presence before the sigmoid
        sharp = refine_from_heatmaps(rows[:, :2], heatmaps[0, :, :, :LANDMARKS])
        points, metres = np.concatenate([sharp, expit(rows[:, 3:4])], 1), metres.reshape(-1, 3)[:LANDMARKS]
        if mirrored:
            points = points[LANDMARK_MIRROR] * (-1, 1, 1) + (_INPUT, 0, 0)
            metres = metres[LANDMARK_MIRROR] * (-1, 1, 1)
        return points, metres, float(score.item())
