"""What a person's clothes look like: mean colours of parts of the body, by which people who crossed are told apart."""

from __future__ import annotations

import cv2
import numpy as np

from ...skeleton import COCO_NAMES
from .types import is_confident


def _sides(name: str) -> list[int]:
    return [COCO_NAMES.index(f"left_{name}"), COCO_NAMES.index(f"right_{name}")]


_JOINTS = ("shoulder", "hip", "knee", "ankle")
_INDEX = np.array([_sides(name) for name in _JOINTS])  # (4, 2)
# Parts between two rows of joints, and between which fractions of the way from one to the other their colour is taken:
# the upper and lower trunk, the thighs, the shanks.
_PARTS = ((0, 1, 0.1, 0.5), (0, 1, 0.5, 0.9), (1, 2, 0.2, 0.8), (2, 3, 0.2, 0.8))
SIZE = 3 * len(_PARTS)  # numbers of a description
_ALONG, _ACROSS = np.linspace(0, 1, 5)[:, None, None], np.linspace(0.15, 0.85, 5)[None, :, None]
_LIGHTNESS = 0.5  # weight of lightness against colour: light and shadow change it


def describe(image: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
    """The colours (12,) float32 of a person in a picture (H, W, 3) uint8 RGB: CIELAB of four parts, lightness halved.

    keypoints (17, 3): COCO x, y (pixels), confidence. A part is NaN if one of its joints is not confident, or it is
    outside of the picture.
    """
    joints = keypoints[_INDEX]  # (4, 2, 3)
    confident = is_confident(joints).sum(1) == 2
    colours = np.full((len(_PARTS), 3), np.nan, np.float32)
    for part, (upper, lower, begin, end) in enumerate(_PARTS):
        if not confident[upper] or not confident[lower]:
            continue
        fraction = begin + (end - begin) * _ALONG
        left, right = ((1 - fraction) * joints[upper, side, :2] + fraction * joints[lower, side, :2] for side in (0, 1))
        # Across the trunk from side to side; the legs may be apart, so along their bones only.
        across = _ACROSS if lower == 1 else np.round(_ACROSS)
        column, row = np.round((1 - across) * left + across * right).astype(int).reshape(-1, 2).T
        inside = (column >= 0) & (row >= 0) & (column < image.shape[1]) & (row < image.shape[0])
        if inside.sum() >= len(inside) / 2:
            pixels = image[row[inside], column[inside]]
            lab = cv2.cvtColor(pixels[None].astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[0]
            colours[part] = np.median(lab, axis=0) * (_LIGHTNESS, 1, 1)
    return colours.ravel()


def typical(descriptions: np.ndarray) -> np.ndarray:
    """The median (12,) of descriptions (n, 12); NaN for parts that none of them knows."""
    known = ~np.isnan(descriptions)
    ranked = np.ma.median(np.ma.masked_array(np.where(known, descriptions, 0), ~known), axis=0)
    return np.ma.filled(ranked.astype(np.float64), np.nan)


def difference(first: np.ndarray, second: np.ndarray) -> float:
    """Mean CIELAB distance of the parts that both descriptions (12,) know; NaN if there is none."""
    apart = np.linalg.norm((first - second).reshape(-1, 3), axis=1)
    known = ~np.isnan(apart)
    return float(apart[known].mean()) if known.any() else float("nan")
