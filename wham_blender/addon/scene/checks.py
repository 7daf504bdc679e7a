"""Checks of numbers before anything in the scene is changed: options, keyframe values, scene frames."""

from __future__ import annotations

import bpy
import numpy as np
from numpy.typing import ArrayLike

from ...errors import CodedError

LAST_FRAME = 1_048_574  # Blender's MAXFRAME; the first one, MINAFRAME, is as far below zero
_LEAST_STEP = 0.01  # frames: Blender takes keyframes that are nearer for one (its BEZT_BINARYSEARCH_THRESH)
_LARGEST = 1e6  # of a value in the scene: Blender's float32 has steps of 6 cm there


class ValueRefused(CodedError):
    """A number cannot be used; the text is a sentence for the animator."""


def check_numbers(values: ArrayLike, name: str) -> None:
    """Raise ValueRefused if a number is NaN, infinite or huge; Blender's own limits of properties let NaN pass."""
    numbers = np.atleast_1d(np.asarray(values, float))
    # The extremes, which are NaN if one number is: of a long motion, a list of what is wrong takes much longer.
    if numbers.size and not (numbers.min() >= -_LARGEST and numbers.max() <= _LARGEST):
        wrong = numbers[~(np.abs(numbers) <= _LARGEST)]
        raise ValueRefused(
            f"{name} is {wrong[0]:g}, with which nothing can be done. Give it a usual number.", code="number-unusable"
        )


def check_properties(source: bpy.types.bpy_struct) -> None:
    """`check_numbers` of all number properties of an operator or a property group."""
    for prop in source.bl_rna.properties:
        if prop.type == "FLOAT":
            check_numbers(getattr(source, prop.identifier), prop.name)


def check_frames(frames: np.ndarray, owner: str) -> None:
    """Raise ValueRefused if keyframes at scene frames (F,), ascending, would lie beyond Blender's or on one another."""
    outside = frames[~(np.abs(frames) <= LAST_FRAME)]
    if len(outside):
        raise ValueRefused(
            f"Keyframes of {owner} would be at frame {outside[0]:.0f}; Blender's frames go from {-LAST_FRAME} to "
            f"{LAST_FRAME}. Choose an earlier start frame, or a lower frame rate.",
            code="frames-out-of-range",
        )
    close = np.diff(frames.astype(np.float32)) < _LEAST_STEP  # Blender stores float32
    if close.any():
        raise ValueRefused(
            f"Keyframes of {owner} near frame {frames[np.argmax(close)]:.2f} would be so close that they fall on one "
            "frame. Choose an earlier start frame or a higher frame rate, or delete one of them.",
            code="frames-too-close",
        )
