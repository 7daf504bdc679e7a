"""Motion: one person's SMPL motion, the record that worker and add-on share, and its ``.npz`` file.

The file has AMASS's keys (``poses``, ``trans``, ``betas``, ``gender``, ``mocap_framerate``), which any AMASS tool
reads, and further ones. World: metres, z up, floor at z = 0, the first frame at the origin facing -y. NumPy only.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from .errors import CodedError
from .files import replaced
from .skeleton import PARENTS

FORMAT_VERSION = 1
_CAMERA_KEYS = ("camera_R", "camera_t", "camera_K")
# Contact probabilities above and below which a foot point becomes planted and lifted; set by hand.
PLANTED_ABOVE, LIFTED_BELOW = 0.6, 0.4


class MotionFileError(CodedError):
    """A motion file cannot be read or written; the text is a sentence for the animator."""


@dataclass
class Motion:
    """One person over F frames. Arrays are float32 unless said otherwise."""

    poses: np.ndarray  # (F, 72) axis-angle of SMPL's 24 joints, radians
    trans: np.ndarray  # (F, 3) metres: SMPL's `transl`; the pelvis is at rest_joints[0] + trans
    betas: np.ndarray  # (10,) SMPL shape
    mocap_framerate: float  # frames per second of the rows
    contacts: np.ndarray  # (F, 4) probabilities: left toe, left heel, right toe, right heel
    confidence: np.ndarray  # (F,) mean keypoint confidence, 0..1
    visible: np.ndarray  # (F,) bool: the person was detected in that frame
    camera_R: np.ndarray  # (F, 3, 3) world to camera, OpenCV axes
    camera_t: np.ndarray  # (F, 3) metres
    camera_K: np.ndarray  # (3, 3) pixels
    rest_joints: np.ndarray  # (24, 3) metres, y up, of the body with these betas
    frame: np.ndarray  # (F,) int64 clip frame numbers, from 1
    time: np.ndarray  # (F,) float64 seconds in the clip
    keypoints: np.ndarray  # (F, 17, 3) COCO x, y (pixels), confidence
    gender: str = "neutral"
    meta: dict[str, Any] = field(default_factory=dict)  # clip, size, fps, weights, settings, timings

    def __post_init__(self) -> None:
        count = len(self.poses)
        if not count:
            raise ValueError("it has no frames")
        if not 0 < self.mocap_framerate < float("inf"):
            raise ValueError(f"mocap_framerate is {self.mocap_framerate}")
        shapes = {
            "poses": (count, 72), "trans": (count, 3), "betas": (10,), "contacts": (count, 4),
            "confidence": (count,), "visible": (count,), "camera_R": (count, 3, 3), "camera_t": (count, 3),
            "camera_K": (3, 3), "rest_joints": (24, 3), "frame": (count,), "time": (count,),
            "keypoints": (count, 17, 3),
        }  # fmt: skip
        dtypes = {"visible": bool, "frame": np.int64, "time": np.float64}
        for name, shape in shapes.items():
            value = np.asarray(getattr(self, name), dtype=dtypes.get(name, np.float32))
            if value.shape != shape:
                raise ValueError(f"{name} has shape {value.shape}, expected {shape}")
            if value.dtype.kind == "f" and not np.isfinite(value).all():
                raise ValueError(f"{name} holds numbers that are not finite")
            setattr(self, name, value)

    def __len__(self) -> int:
        return len(self.poses)

    def joints(self) -> np.ndarray:
        """World positions (F, 24, 3) of the joints, metres, z up."""
        return forward_kinematics(self.poses, self.trans, self.rest_joints)[0]


def planted(
    contacts: np.ndarray, above: float = PLANTED_ABOVE, below: float = LIFTED_BELOW, shortest: int = 1
) -> np.ndarray:
    """Which foot points are planted (F, 4) bool, by contact probabilities (F, 4) with hysteresis against flicker.

    A point is planted above ``above`` and lifted below ``below``; between them it keeps its state. Contacts of fewer
    than ``shortest`` rows are dropped.
    """
    state = np.select([contacts > above, contacts < below], [1, 0], -1)
    state[0] = contacts[0] > (above + below) / 2
    last_decided = np.maximum.accumulate(np.where(state >= 0, np.arange(len(state))[:, None], 0), 0)
    return without_short_contacts(np.take_along_axis(state, last_decided, 0) == 1, shortest)


def without_short_contacts(contacts: np.ndarray, shortest: float) -> np.ndarray:
    """Contacts (F, n) bool without those of fewer than ``shortest`` rows."""
    result = contacts.copy()
    for column in result.T:
        for start, stop in true_intervals(column):
            column[start:stop] = stop - start >= shortest
    return result


def true_intervals(flags: np.ndarray) -> np.ndarray:
    """The runs of true flags (F,) as half-open intervals (N, 2): first row, and the row after the last."""
    return np.flatnonzero(np.diff(flags.astype(np.int8), prepend=0, append=0)).reshape(-1, 2)


def rotation_matrices(axis_angle: np.ndarray) -> np.ndarray:
    """Rodrigues' formula: (..., 3) axis-angle in radians to (..., 3, 3) matrices, float64."""
    vector = np.asarray(axis_angle, np.float64)
    angle = np.linalg.norm(vector, axis=-1)[..., None, None]
    x, y, z = np.moveaxis(vector, -1, 0)
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*x.shape, 3, 3)
    # sin(a)/a and (1 - cos a)/a^2 through sinc, exact at a = 0.
    first = np.sinc(angle / np.pi)
    second = 0.5 * np.sinc(angle / (2 * np.pi)) ** 2
    return np.eye(3) + first * cross + second * (cross @ cross)


def forward_kinematics(poses: np.ndarray, trans: np.ndarray, rest_joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pose SMPL's skeleton.

    Takes poses (F, 72) axis-angle, trans (F, 3) and rest_joints (24, 3), metres.
    Returns joint positions (F, 24, 3) and global joint rotations (F, 24, 3, 3), float64.
    """
    local = rotation_matrices(np.asarray(poses).reshape(len(poses), 24, 3))
    rest = np.asarray(rest_joints, np.float64)
    return pose_skeleton(local, rest[0] + trans, rest)


def pose_skeleton(local: np.ndarray, pelvis: np.ndarray, rest: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`forward_kinematics` of local rotation matrices (F, 24, 3, 3), pelvis at (F, 3); rest (24, 3), metres."""
    rotations = np.empty_like(local)
    positions = np.empty((len(local), 24, 3))
    for joint, parent in enumerate(PARENTS):
        if parent < 0:
            rotations[:, joint] = local[:, joint]
            positions[:, joint] = pelvis
        else:
            rotations[:, joint] = rotations[:, parent] @ local[:, joint]
            positions[:, joint] = positions[:, parent] + rotations[:, parent] @ (rest[joint] - rest[parent])
    return positions, rotations


def save(path: str | Path, people: list[Motion]) -> None:
    """Write one person with plain keys, several as ``p0/…``, ``p1/…`` with the camera of all frames once.

    A file that cannot be written completely is left as it was. Raises MotionFileError if it cannot be written.
    """
    if not people:
        raise ValueError("no person to save")
    path = Path(path)
    arrays: dict[str, np.ndarray] = {}
    if len(people) == 1:
        arrays = _arrays(people[0])
    else:
        frames = np.unique(np.concatenate([person.frame for person in people]))
        rotation = np.empty((len(frames), 3, 3), np.float32)
        translation = np.empty((len(frames), 3), np.float32)
        for person in reversed(people):  # the first person's camera wins where they overlap
            rows = np.searchsorted(frames, person.frame)
            rotation[rows], translation[rows] = person.camera_R, person.camera_t
        arrays = {"camera_frame": frames, "camera_R": rotation, "camera_t": translation,
                  "camera_K": people[0].camera_K}  # fmt: skip
        for number, person in enumerate(people):
            arrays |= {f"p{number}/{k}": v for k, v in _arrays(person).items() if k not in _CAMERA_KEYS}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replaced(path) as stream:
            np.savez_compressed(stream, allow_pickle=False, **arrays)
    except OSError as error:
        raise MotionFileError(
            f"Cannot write {path.name} in {path.parent}: {error.strerror or error}. "
            "Choose a folder you may write to, with space left.",
            code="folder-not-writable",
        ) from error


def load(path: str | Path) -> list[Motion]:
    """The people of a motion file. Raises MotionFileError if it is missing, damaged or no motion file."""
    path = Path(path)
    try:
        with np.load(path, allow_pickle=False) as archive:
            data = {name: archive[name] for name in archive.files}
    except FileNotFoundError as error:
        raise MotionFileError(
            f"There is no file {path.name} in {path.parent}. Check the path.", code="motion-file-not-found"
        ) from error
    except (
        OSError, ValueError, TypeError, AttributeError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error
    ) as error:  # fmt: skip
        raise MotionFileError(
            f"{path.name} is not a motion file, or it is damaged. Choose an .npz written by Import Video as Motion.",
            code="motion-file-unreadable",
        ) from error
    try:
        if "poses" in data:
            return [_motion(data)]
        people: list[Motion] = []
        while f"p{len(people)}/poses" in data:
            prefix = f"p{len(people)}/"
            person = {name[len(prefix) :]: value for name, value in data.items() if name.startswith(prefix)}
            rows = np.searchsorted(data["camera_frame"], person["frame"])
            person |= {
                "camera_R": data["camera_R"][rows],
                "camera_t": data["camera_t"][rows],
                "camera_K": data["camera_K"],
            }
            people.append(_motion(person))
        if people:
            return people
        raise KeyError("poses")
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise MotionFileError(
            f"{path.name} lacks something a motion file needs ({error}). Choose an .npz written by "
            "Import Video as Motion.",
            code="motion-file-incomplete",
        ) from error


def _arrays(person: Motion) -> dict[str, np.ndarray]:
    arrays = {f.name: np.asarray(getattr(person, f.name)) for f in fields(person) if f.name != "meta"}
    arrays["meta"] = np.asarray(json.dumps({"format_version": FORMAT_VERSION, **person.meta}))
    return arrays


def _motion(data: dict[str, np.ndarray]) -> Motion:
    meta = json.loads(str(data["meta"]))
    if not isinstance(meta, dict):
        raise TypeError("meta is no JSON object")
    if meta.get("format_version", 0) > FORMAT_VERSION:
        raise ValueError(f"format version {meta['format_version']}, newer than this add-on reads")
    values = {f.name: data[f.name] for f in fields(Motion) if f.name not in ("gender", "mocap_framerate", "meta")}
    return Motion(
        **values,
        gender=str(data["gender"]),
        mocap_framerate=float(data["mocap_framerate"]),
        meta=meta,
    )
