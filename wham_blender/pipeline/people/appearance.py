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
_UPPER, _LOWER = [upper for upper, *_ in _PARTS], [lower for _, lower, *_ in _PARTS]
# Fractions of 25 points of each part along the body and across: across the trunk from side to side; the legs may be
# apart, so along their bones only.
_ALONG = np.array([np.linspace(begin, end, 5) for *_, begin, end in _PARTS])[..., None, None]  # (P, 5, 1, 1)
_SIDE_TO_SIDE = np.linspace(0.15, 0.85, 5)
_ACROSS = np.array([_SIDE_TO_SIDE if lower == 1 else np.round(_SIDE_TO_SIDE) for lower in _LOWER])[:, None, :, None]
_WEIGHTS = np.array([0.5, 1, 1], np.float32)  # of lightness against colour: light and shadow change it


def describe(image: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
    """The colours (12,) float32 of a person in a picture (H, W, 3) uint8 RGB: CIELAB of four parts, lightness halved.

    keypoints (17, 3): COCO x, y (pixels), confidence. A part is NaN if one of its joints is not confident, or it is
    outside of the picture.
    """
    joints = keypoints[_INDEX]  # (4, 2, 3)
    confident = is_confident(joints).sum(1) == 2
    upper, lower = joints[_UPPER, :, :2], joints[_LOWER, :, :2]  # (P, 2, 2)
    sides = (1 - _ALONG) * upper[:, None] + _ALONG * lower[:, None]  # (P, 5, 2, 2)
    points = (1 - _ACROSS) * sides[:, :, None, 0] + _ACROSS * sides[:, :, None, 1]  # (P, 5, 5, 2)
    column, row = np.moveaxis(np.round(points).astype(int).reshape(len(_PARTS), -1, 2), 2, 0)
    inside = (column >= 0) & (row >= 0) & (column < image.shape[1]) & (row < image.shape[0])
    pixels = image[row.clip(0, image.shape[0] - 1), column.clip(0, image.shape[1] - 1)].astype(np.float32) / 255
    lab = cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB)  # (P, 25, 3)
    lab[~inside] = np.inf
    lab.sort(axis=1)
    count = inside.sum(1)
    part = np.arange(len(_PARTS))
    colours = (lab[part, (count - 1) // 2] + lab[part, np.minimum(count // 2, lab.shape[1] - 1)]) / 2  # the medians
    known = confident[_UPPER] & confident[_LOWER] & (count >= lab.shape[1] / 2)
    return np.where(known[:, None], colours * _WEIGHTS, np.nan).astype(np.float32).ravel()


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
