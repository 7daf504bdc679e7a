"""Crops people out of frames as ViTPose and HMR2.0 were trained, and turns heatmaps into keypoints in the picture."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from ...models import vit
from ...models.hmr2 import SIDE
from ...models.vitpose import HEATMAP
from ...skeleton import COCO_MIRROR

Corner = np.ndarray | tuple[int, int]  # x, y in pixels

_MEAN = torch.tensor([0.485, 0.456, 0.406])  # ImageNet's, of RGB in 0..1
_STANDARD_DEVIATION = torch.tensor([0.229, 0.224, 0.225])
_BOX_SCALE = 1.25  # of ViTPose's crop over a person's box, as in mmpose
_BLUR_KERNEL = 11  # pixels of a heatmap, as in mmpose's DARK
_MIN_HEATMAP, _MAX_HEATMAP = 0.001, 50.0  # values are clipped before the logarithm, as in mmpose


def normalise(crops: Tensor) -> Tensor:
    """RGB crops (N, H, W, 3), 0..255 of any type, to the networks' input (N, 3, H, W) float32 on the same device."""
    mean, deviation = 255 * _MEAN.to(crops.device), 255 * _STANDARD_DEVIATION.to(crops.device)
    return ((crops.float() - mean) / deviation).permute(0, 3, 1, 2)


def vitpose_windows(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (N, 4) x1, y1, x2, y2 in pixels to ViTPose's windows: centres (N, 2) and sizes (N, 2), pixels.

    A window is the box, extended to the input's aspect ratio and enlarged by a quarter.
    """
    boxes = np.asarray(boxes, np.float32)
    size = boxes[:, 2:] - boxes[:, :2] + 1
    width = np.maximum(size[:, 0], size[:, 1] * (vit.WIDTH / vit.HEIGHT))
    sizes = np.stack([width, width * (vit.HEIGHT / vit.WIDTH)], 1) * _BOX_SCALE
    return boxes[:, :2] + size / 2, sizes.astype(np.float32)


def vitpose_crop(image: np.ndarray, centre: np.ndarray, size: np.ndarray) -> np.ndarray:
    """One window (centre (2,), size (2,), pixels) of a frame (H, W, 3) uint8 RGB, as (256, 192, 3) uint8.

    Outside of the frame it is black. The centres of the corner pixels are the window's corners, so that a picture and
    its mirror image agree (Huang et al., *The Devil Is in the Details*, CVPR 2020, arXiv 1911.07524).
    """
    # Bilinear interpolation without OpenCV, whose warp rounds to 32nds of a pixel in some builds. Single precision as
    # in mmpose, so that pixels are rounded as in training.
    count = np.array([vit.WIDTH, vit.HEIGHT])
    scale = ((count - 1) / size).astype(np.float32)
    shift = (scale * (np.asarray(size, np.float64) / 2 - centre)).astype(np.float32)
    inverse = 1 / scale.astype(np.float64)
    step, start = inverse.astype(np.float32), (-shift * inverse).astype(np.float32)
    columns, rows = (step[axis] * np.arange(count[axis], dtype=np.float32) + start[axis] for axis in (0, 1))
    x, y = np.floor(columns).astype(int), np.floor(rows).astype(int)
    source = _cut(image, (x[0], y[0]), (x[-1] + 2, y[-1] + 2))
    right, down = (columns - x).astype(np.float32)[:, None], (rows - y).astype(np.float32)[:, None, None]
    x, y = x - x[0], y - y[0]
    upper, lower = (corner[:, x] + right * (corner[:, x + 1] - corner[:, x]) for corner in (source[y], source[y + 1]))
    return np.rint(upper + down * (lower - upper)).astype(np.uint8)


def hmr2_crop(image: np.ndarray, box: np.ndarray) -> np.ndarray:
    """The square ``box`` (cx, cy in pixels, side / 200) of a frame (H, W, 3) uint8 RGB, as (256, 256, 3) float32.

    Values are 0..255, outside of the frame 0. The square's corners are whole pixels.
    """
    centre, half = np.asarray(box[:2], np.float64), 100 * float(box[2])
    low = np.rint(centre - half).astype(int)
    high = np.maximum(np.rint(centre + half).astype(int), low + 1)
    return cv2.resize(_cut(image, low, high), (SIDE, SIDE))


def _cut(image: np.ndarray, low: Corner, high: Corner) -> np.ndarray:
    """The rectangle from pixel ``low`` (x, y) up to ``high`` of an image (H, W, 3), float32, zero outside of it."""
    cut = np.zeros((high[1] - low[1], high[0] - low[0], 3), np.float32)
    (left, right), (top, bottom) = (np.clip([low[axis], high[axis]], 0, image.shape[1 - axis]) for axis in (0, 1))
    cut[top - low[1] : bottom - low[1], left - low[0] : right - low[0]] = image[top:bottom, left:right]
    return cut


def average_flipped(heatmaps: Tensor, mirrored: Tensor) -> Tensor:
    """The mean of the heatmaps (N, 17, 64, 48) of crops and of their mirror images (flip test)."""
    return (heatmaps + mirrored.flip(-1)[:, COCO_MIRROR]) / 2


def keypoints(heatmaps: np.ndarray, centres: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Heatmaps (N, 17, 64, 48) float32 of windows (N, 2), (N, 2) to keypoints (N, 17, 3): x, y in pixels, confidence.

    The highest pixel, moved by one Newton step on the logarithm of the blurred map (Zhang et al., DARK, CVPR 2020,
    arXiv 1910.06278).
    """
    rows, columns = HEATMAP
    flat = heatmaps.reshape(-1, rows, columns)
    peak = flat.reshape(len(flat), -1).argmax(1)
    confidence = np.take_along_axis(flat.reshape(len(flat), -1), peak[:, None], 1)
    y, x = np.divmod(peak, columns)
    blurred = np.stack([cv2.GaussianBlur(each, (_BLUR_KERNEL, _BLUR_KERNEL), 0) for each in flat])
    logs = np.pad(np.log(np.clip(blurred, _MIN_HEATMAP, _MAX_HEATMAP)), ((0, 0), (1, 1), (1, 1)), mode="edge")
    # The peak's 3 x 3 neighbourhood, (n, 3, 3).
    around = np.arange(3)
    near = logs[np.arange(len(flat))[:, None, None], (y[:, None] + around)[..., None], (x[:, None] + around)[:, None]]
    gradient = np.stack([near[:, 1, 2] - near[:, 1, 0], near[:, 2, 1] - near[:, 0, 1]], 1) / 2
    hessian = np.empty((len(flat), 2, 2), np.float32)
    hessian[:, 0, 0] = near[:, 1, 2] - 2 * near[:, 1, 1] + near[:, 1, 0]
    hessian[:, 1, 1] = near[:, 2, 1] - 2 * near[:, 1, 1] + near[:, 0, 1]
    # Summed in mmpose's order: in a flat heatmap the last digits decide.
    mixed = (
        near[:, 2, 2] - near[:, 1, 2] - near[:, 2, 1] + near[:, 1, 1] + near[:, 1, 1] - near[:, 1, 0] - near[:, 0, 1]
    )
    hessian[:, 0, 1] = hessian[:, 1, 0] = (mixed + near[:, 0, 0]) / 2
    hessian += np.finfo(np.float32).eps * np.eye(2, dtype=np.float32)
    try:
        step = np.linalg.solve(hessian, gradient[..., None])[..., 0]
    except np.linalg.LinAlgError:  # a heatmap is flat, or curved in one direction only
        step = (np.linalg.pinv(hessian) @ gradient[..., None])[..., 0]
    points = np.stack([x, y], 1) - step
    points = points.reshape(*heatmaps.shape[:2], 2) * (sizes / (np.array([columns, rows]) - 1))[:, None]
    points = points + (centres - sizes / 2)[:, None]
    return np.concatenate([points, confidence.reshape(*heatmaps.shape[:2], 1)], -1).astype(np.float32)
