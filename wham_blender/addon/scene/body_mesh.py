"""The body mesh for a motion's character: the bundled body or the user's SMPL file. NumPy only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from ... import archives, limits, smpl_file, weights
from ...errors import reason
from ...files import file_state
from ...motion import Motion
from ...skeleton import HAND_JOINT_NAMES, JOINT_NAMES
from ...weights.library import BODIES, Library

_JOINT_TOLERANCE = 0.002  # metres: set by hand; joints that differ more from the motion's belong to another body
_BETAS = 10
_SMPL = {"neutral": "SMPL's neutral body", "male": "SMPL's male body", "female": "SMPL's female body"}
_FEET = "J_regressor_feet"
_OPTIONAL = (_FEET, *smpl_file.HAND_KEYS)
_ARRAYS = ("v_template", "shapedirs", "J_regressor", "weights", "f", *_OPTIONAL)
_LARGEST = 100.0  # metres, of vertices and shapes


@dataclass(frozen=True)
class Hands:
    """The fingers of a body in rest pose, in the order of HAND_JOINT_NAMES; metres, y up."""

    joints: np.ndarray  # (30, 3)
    tips: np.ndarray  # (10, 3)
    weights: np.ndarray | None  # (V, 30) skinning weights, in place of those of SMPL's hand joints; None: not skinned


@dataclass(frozen=True)
class Body:
    """A mesh in SMPL's rest pose, shaped by a motion's betas."""

    vertices: np.ndarray  # (V, 3) metres, y up
    faces: np.ndarray  # (T, 3) vertex indices
    weights: np.ndarray  # (V, 24) skinning weights
    feet: np.ndarray | None  # (4, 3) metres: the points of FOOT_POINTS; None if the file has no regressor for them
    betas: np.ndarray  # (10,)
    shapes: np.ndarray | None  # (V, 3, 10) metres per unit of betas, for shape keys; None: no shape keys
    hands: Hands | None = None


class BodyFiles:
    """The body files that motions are estimated with."""

    def __init__(self, library: Library) -> None:
        self._library = library

    def for_motion(self, motion: Motion) -> tuple[Body | None, str]:
        """The body that the motion was estimated with, shaped by its betas; or None and why, without a full stop."""
        errors = []
        for find, shape_keys in _candidates(motion.gender, self._library):
            try:
                path = find()
                if path and (state := tuple(file_state(path))):
                    body = shaped(_arrays(path, state), motion, shape_keys=shape_keys)
                    if body is not None:
                        return body, ""
            except weights.WeightsError as error:
                errors.append(str(error).removesuffix("."))
            except Exception as error:  # a damaged file may raise anything
                errors.append(f"The body file {path.name if path else ''} cannot be used ({reason(error)})")
        if errors:
            return None, errors[0]
        made_with = motion.meta.get("weights")
        if isinstance(made_with, dict) and "body" not in made_with:
            return (
                None,
                f"The motion was made with {_SMPL[motion.gender]}, and the preferences have no file of it that fits",
            )
        return None, "The motion was made with another body than the one that ships inside"


@lru_cache(maxsize=2)
def _arrays(path: Path, _state: tuple[int, ...]) -> Mapping[str, np.ndarray]:
    """The arrays of a body file; the last ones stay in memory (9 MB of the bundled body) until it changes."""
    arrays = archives.arrays(path, _ARRAYS) if path.suffix == ".npz" else smpl_file.read(path)
    _check(arrays)
    return arrays


def _candidates(gender: str, library: Library) -> list[tuple[Callable[[], Path | None], bool]]:
    """Functions that find body files, in order of preference, each with whether the mesh gets shape keys."""
    role = BODIES.get(gender, BODIES["neutral"])
    user_files: list[tuple[Callable[[], Path | None], bool]] = [(lambda: library.path(role), True)]
    if role == BODIES["neutral"]:
        return [(lambda: weights.find("body").path, False), *user_files, (lambda: library.body_copy, True)]
    return user_files


def _check(arrays: Mapping[str, np.ndarray]) -> None:
    """Raise ValueError unless the arrays are a body: Blender trusts indices, and ends with a wrong one."""
    if missing := [name for name in _ARRAYS if name not in arrays and name not in _OPTIONAL]:
        raise ValueError(f"it lacks {', '.join(missing)}")
    count, joints = len(np.atleast_1d(arrays["v_template"])), len(JOINT_NAMES)
    if not 3 <= count <= limits.BODY_VERTICES:
        raise ValueError(f"it has {count} vertices")
    shapes = {
        "v_template": (count, 3), "shapedirs": (count, 3, None), "J_regressor": (joints, count),
        "weights": (count, joints), "f": (None, 3), _FEET: (4, count),
        **{name: (rows, count) for name, rows in smpl_file.HAND_REGRESSORS.items()},
        smpl_file.HAND_WEIGHTS: (count, len(HAND_JOINT_NAMES)),
    }  # fmt: skip
    for name in [name for name in _ARRAYS if name in arrays]:
        array, shape = arrays[name], shapes[name]
        fits = array.ndim == len(shape) and all(
            size in (None, actual) for size, actual in zip(shape, array.shape, strict=True)
        )
        if not fits or array.dtype.kind not in "fiu":
            raise ValueError(f"{name} has the shape {array.shape}")
        limit = count - 1 if name == "f" else _LARGEST
        if array.size and not (-limit <= array.min() and array.max() <= limit):  # true for no NaN
            raise ValueError(f"{name} holds values that no body has")
    faces = arrays["f"]
    degenerate = (faces == np.roll(faces, 1, axis=1)).any()
    if faces.dtype.kind not in "iu" or len(faces) > 6 * count or (faces.size and faces.min() < 0) or degenerate:
        raise ValueError("f holds no triangles of vertices")


def shaped(arrays: Mapping[str, np.ndarray], motion: Motion, *, shape_keys: bool) -> Body | None:
    """The body in an SMPL file's arrays, shaped by the motion's betas; None if its joints are not the motion's."""
    shapes = arrays["shapedirs"][..., :_BETAS]
    vertices = arrays["v_template"] + shapes @ motion.betas[: shapes.shape[-1]]
    joints = arrays["J_regressor"] @ vertices
    if np.abs(joints - motion.rest_joints).max() > _JOINT_TOLERANCE:
        return None
    feet = arrays[_FEET] @ vertices if _FEET in arrays else None
    hands = None
    if all(name in arrays for name in smpl_file.HAND_KEYS):
        fingers, tips = (arrays[name] @ vertices for name in smpl_file.HAND_REGRESSORS)
        hands = Hands(fingers, tips, arrays[smpl_file.HAND_WEIGHTS])
    return Body(vertices, arrays["f"], arrays["weights"], feet, motion.betas, shapes if shape_keys else None, hands)
