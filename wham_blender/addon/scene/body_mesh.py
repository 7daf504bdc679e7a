"""Which body the character of a motion gets: the one that ships inside, or the user's SMPL. NumPy only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ... import smpl_file, weights
from ...motion import Motion
from ...weights.library import BODIES, Library

_AGREEMENT = 0.002  # metres between a body's joints and the motion's, beyond which it is another body
_SHAPES = 10


@dataclass(frozen=True)
class Body:
    """A mesh in SMPL's rest pose, shaped by a motion's betas."""

    vertices: np.ndarray  # (V, 3) metres, y up
    faces: np.ndarray  # (T, 3) vertex indices
    weights: np.ndarray  # (V, 24) skinning
    feet: np.ndarray | None  # (4, 3) metres: the points of FOOT_POINTS; None where the body's file does not say
    betas: np.ndarray  # (10,)
    shapes: np.ndarray | None  # (V, 3, 10) metres a unit of betas: what shape keys are made of; None: no keys


def for_motion(motion: Motion, library: Library) -> tuple[Body | None, str]:
    """The body that the motion was made with, shaped as the motion says; None with the reason, half a sentence."""
    faults = []
    for find, own in _candidates(motion.gender, library):
        try:
            if (path := find()) and path.is_file() and (body := shaped(_read(path), motion, keys=own)):
                return body, ""
        except (OSError, ValueError, KeyError, weights.WeightsError) as error:
            faults.append(str(error).removesuffix("."))
    if faults:
        return None, faults[0]
    made_with = motion.meta.get("weights")
    if isinstance(made_with, dict) and "body" not in made_with:
        return None, f"The motion was made with SMPL, and the preferences have no {motion.gender} one that fits it"
    return None, "The motion was made with another body than the one that ships inside"


def _candidates(gender: str, library: Library) -> list[tuple[Callable[[], Path | None], bool]]:
    """What finds files of bodies, and whether they are the user's."""
    role = BODIES.get(gender, BODIES["neutral"])
    own: list[tuple[Callable[[], Path | None], bool]] = [(lambda: library.path(role), True)]
    if role == BODIES["neutral"]:
        return [(lambda: weights.find("body").path, False), *own, (lambda: library.body_copy, True)]
    return own


def _read(path: Path) -> Mapping[str, np.ndarray]:
    if path.suffix == ".npz":  # read where wanted: half of it is pose corrections
        return np.load(path, allow_pickle=False)
    return smpl_file.read(path)


def shaped(arrays: Mapping[str, np.ndarray], motion: Motion, *, keys: bool) -> Body | None:
    """The body in arrays of SMPL's names, shaped as the motion says; None where its joints are not the motion's.

    keys: whether it is to have shape keys.
    """
    shapes = arrays["shapedirs"][..., :_SHAPES]
    vertices = arrays["v_template"] + shapes @ motion.betas[: shapes.shape[-1]]
    joints = arrays["J_regressor"] @ vertices
    if joints.shape != motion.rest_joints.shape or np.abs(joints - motion.rest_joints).max() > _AGREEMENT:
        return None
    feet = arrays["J_regressor_feet"] @ vertices if "J_regressor_feet" in arrays else None
    return Body(vertices, arrays["f"], arrays["weights"], feet, motion.betas, shapes if keys else None)
