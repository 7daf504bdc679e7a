"""The body mesh for a motion's character: the bundled body or the user's SMPL file. NumPy only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ... import smpl_file, weights
from ...motion import Motion
from ...weights.library import BODIES, Library

_JOINT_TOLERANCE = 0.002  # metres: set by hand; joints that differ more from the motion's belong to another body
_BETAS = 10


@dataclass(frozen=True)
class Body:
    """A mesh in SMPL's rest pose, shaped by a motion's betas."""

    vertices: np.ndarray  # (V, 3) metres, y up
    faces: np.ndarray  # (T, 3) vertex indices
    weights: np.ndarray  # (V, 24) skinning weights
    feet: np.ndarray | None  # (4, 3) metres: the points of FOOT_POINTS; None if the file has no regressor for them
    betas: np.ndarray  # (10,)
    shapes: np.ndarray | None  # (V, 3, 10) metres per unit of betas, for shape keys; None: no shape keys


def for_motion(motion: Motion, library: Library) -> tuple[Body | None, str]:
    """The body that the motion was estimated with, shaped by its betas; or None and why, without a full stop."""
    errors = []
    for find, shape_keys in _candidates(motion.gender, library):
        try:
            if (path := find()) and path.is_file() and (body := shaped(_read(path), motion, shape_keys=shape_keys)):
                return body, ""
        except (OSError, ValueError, KeyError, weights.WeightsError) as error:
            errors.append(str(error).removesuffix("."))
    if errors:
        return None, errors[0]
    made_with = motion.meta.get("weights")
    if isinstance(made_with, dict) and "body" not in made_with:
        return None, f"The motion was made with SMPL, and the preferences have no {motion.gender} one that fits it"
    return None, "The motion was made with another body than the one that ships inside"


def _candidates(gender: str, library: Library) -> list[tuple[Callable[[], Path | None], bool]]:
    """Functions that find body files, in order of preference, each with whether the mesh gets shape keys."""
    role = BODIES.get(gender, BODIES["neutral"])
    user_files: list[tuple[Callable[[], Path | None], bool]] = [(lambda: library.path(role), True)]
    if role == BODIES["neutral"]:
        return [(lambda: weights.find("body").path, False), *user_files, (lambda: library.body_copy, True)]
    return user_files


def _read(path: Path) -> Mapping[str, np.ndarray]:
    if path.suffix == ".npz":  # arrays are read on access: half of the file is pose correctives
        return np.load(path, allow_pickle=False)
    return smpl_file.read(path)


def shaped(arrays: Mapping[str, np.ndarray], motion: Motion, *, shape_keys: bool) -> Body | None:
    """The body in an SMPL file's arrays, shaped by the motion's betas; None if its joints are not the motion's."""
    shapes = arrays["shapedirs"][..., :_BETAS]
    vertices = arrays["v_template"] + shapes @ motion.betas[: shapes.shape[-1]]
    joints = arrays["J_regressor"] @ vertices
    if joints.shape != motion.rest_joints.shape or np.abs(joints - motion.rest_joints).max() > _JOINT_TOLERANCE:
        return None
    feet = arrays["J_regressor_feet"] @ vertices if "J_regressor_feet" in arrays else None
    return Body(vertices, arrays["f"], arrays["weights"], feet, motion.betas, shapes if shape_keys else None)
