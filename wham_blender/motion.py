"""Motion: one person's SMPL motion, the record that worker and add-on share, and its ``.npz`` file.

The file has AMASS's keys (``poses``, ``trans``, ``betas``, ``gender``, ``mocap_framerate``), which any AMASS tool
reads, and further ones. World: metres, z up, floor at z = 0, the first frame at the origin facing -y. NumPy only.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from . import archives, limits, records
from .errors import CodedError, reason
from .files import replaced
from .quaternions import in_parts
from .skeleton import HAND_JOINT_NAMES, PARENTS

FORMAT_VERSION = 1
_PER_FRAME = ("camera_R", "camera_t")
_CAMERA_KEYS = (*_PER_FRAME, "camera_K")
_CHOOSE = "Choose an .npz written by Import Video as Motion."
_GENDERS = ("neutral", "male", "female")
# What the importer uses of ``meta``; each may be missing or null.
_META: dict[str, Any] = {
    "format_version": int,
    "clip": Annotated[str, records.OsPath(), records.AtMost(limits.FILE_NAME)],
    "clip_sha256": Annotated[str, records.AtMost(64)],
    "person": Annotated[int, records.Within(1, 2**31 - 1)],
    "quality": Annotated[str, records.AtMost(limits.FILE_NAME)],
    "size": list[Annotated[int, records.Within(1, limits.PICTURE_SIDE)]],
    "weights": Annotated[dict[str, dict[str, Any]], records.AtMost(100)],
    "speed": Annotated[float, records.Within(0.001, 1000)],  # by which the clip's times were divided
    # A copy of the clip beside the file, which Blender shows instead; the clip's frame that is its first; why.
    "film": Annotated[str, records.AtMost(limits.FILE_NAME), records.FileName()],
    "film_start": Annotated[int, records.Within(1, limits.CLIP_FRAME)],
    "film_reason": Annotated[str, records.AtMost(limits.FILE_NAME)],
}
_ROTATION_TOLERANCE = 1e-2  # of the elements of R R^T; float32 misses by 1e-6
# Earlier versions wrote ViTPose's confidences as its heatmaps have them, which may exceed 1 a little.
_FRACTION_TOLERANCE = 0.1
_SHORTEST_LIMB, _LONGEST_LIMB = 1e-3, 100.0  # metres
# Contact probabilities above and below which a foot point becomes planted and lifted; set by hand.
PLANTED_ABOVE, LIFTED_BELOW = 0.6, 0.4


class MotionFileError(CodedError):
    """A motion file cannot be read or written; the text is a sentence for the animator."""


@dataclass(frozen=True)
class _Array:
    """Shape, range and type of one of a motion's arrays; -1 in the shape: the number of frames."""

    shape: tuple[int, ...]
    lowest: float
    highest: float
    dtype: type = np.float32
    is_fraction: bool = False  # clipped to 0..1

    def checked(self, name: str, value: Any, count: int) -> np.ndarray:
        """The array ``name`` of a motion of ``count`` frames. Raises ValueError if it is another."""
        array = np.asarray(value)
        shape = tuple(count if size < 0 else size for size in self.shape)
        if array.dtype.kind not in "biuf":
            raise ValueError(f"{name} holds no numbers")
        if array.shape != shape:
            raise ValueError(f"{name} has shape {array.shape}, expected {shape}")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError(f"{name} holds numbers that are not finite")
        lowest, highest = array.min(), array.max()
        if not self.lowest <= lowest <= highest <= self.highest:
            allowed = f"{self.lowest:g} to {self.highest:g}"
            raise ValueError(f"{name} has values from {lowest:g} to {highest:g}, outside of {allowed}")
        if self.dtype in (bool, np.int64) and array.dtype.kind == "f" and (array != np.rint(array)).any():
            raise ValueError(f"{name} holds fractions")
        converted: np.ndarray = array.astype(self.dtype, copy=False)
        return np.clip(converted, 0, 1) if self.is_fraction else converted


def _symmetric(shape: tuple[int, ...], limit: float) -> _Array:
    return _Array(shape, -limit, limit)


_FRACTION = (-_FRACTION_TOLERANCE, 1 + _FRACTION_TOLERANCE)
_ARRAYS = {
    "poses": _symmetric((-1, 72), limits.POSE),
    "trans": _symmetric((-1, 3), limits.METRES),
    "betas": _symmetric((10,), limits.BETAS),
    "contacts": _Array((-1, 4), *_FRACTION, is_fraction=True),
    "confidence": _Array((-1,), *_FRACTION, is_fraction=True),
    "visible": _Array((-1,), 0, 1, bool),
    "camera_R": _symmetric((-1, 3, 3), 1 + _ROTATION_TOLERANCE),
    "camera_t": _symmetric((-1, 3), limits.METRES),
    "camera_K": _symmetric((3, 3), limits.PIXELS),
    "rest_joints": _symmetric((24, 3), _LONGEST_LIMB),
    "frame": _Array((-1,), 1, limits.CLIP_FRAME, np.int64),
    "time": _Array((-1,), -limits.CLIP_SECONDS, limits.CLIP_SECONDS, np.float64),
    "keypoints": _symmetric((-1, 17, 3), limits.PIXELS),
}
_HANDS = {
    "hand_poses": _symmetric((-1, len(HAND_JOINT_NAMES), 3), limits.POSE),
    "hand_confidence": _Array((-1, 2), *_FRACTION, is_fraction=True),
}
_SMPL, _SMPLH = 72, 156  # columns of poses; SMPL-H has SMPL's first 22 joints, and then the fingers
_BODY_COLUMNS = 66


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
    # Fingers, or None: (F, 30, 3) axis-angle of HAND_JOINT_NAMES, radians, relative to their parents, zero where they
    # are as the body has them at rest; and (F, 2) how surely the left and the right hand were seen, 0..1.
    hand_poses: np.ndarray | None = None
    hand_confidence: np.ndarray | None = None

    def __post_init__(self) -> None:
        """Check shapes, ranges and order of all values. Raises ValueError, which names what is wrong.

        So a wrong file is refused when it is read, and not when half of a character is built.
        """
        count = len(np.atleast_1d(self.poses))
        if not count:
            raise ValueError("it has no frames")
        for name, kind in _ARRAYS.items():
            setattr(self, name, kind.checked(name, getattr(self, name), count))
        if self.hand_poses is None and self.hand_confidence is not None:
            raise ValueError("hand_confidence is there without hand_poses")
        if self.hand_poses is not None and self.hand_confidence is None:
            self.hand_confidence = np.ones((count, 2), np.float32)
        for name, kind in _HANDS.items():
            if (value := getattr(self, name)) is not None:
                setattr(self, name, kind.checked(name, value, count))
        for name in ("frame", "time"):
            _check_rising(name, getattr(self, name))
        _check_rotations("camera_R", self.camera_R)
        K = self.camera_K
        if min(K[0, 0], K[1, 1], K[0, 2], K[1, 2]) <= 0 or not np.allclose(K[2], [0, 0, 1]):
            raise ValueError("camera_K is no camera matrix with positive focal lengths and principal point")
        limbs = np.linalg.norm(self.rest_joints[1:] - self.rest_joints[list(PARENTS[1:])], axis=1)
        if not _SHORTEST_LIMB <= limbs.min() <= limbs.max() <= _LONGEST_LIMB:
            raise ValueError(f"rest_joints has limbs of {limbs.min():g} to {limbs.max():g} metres")
        if not limits.FRAME_RATES[0] <= self.mocap_framerate <= limits.FRAME_RATES[1]:
            raise ValueError(f"mocap_framerate is {self.mocap_framerate}")
        if self.gender not in _GENDERS:
            raise ValueError(f"gender is not one of {', '.join(_GENDERS)}")

    def __len__(self) -> int:
        return len(self.poses)

    def joints(self) -> np.ndarray:
        """World positions (F, 24, 3) of the joints, metres, z up."""
        return forward_kinematics(self.poses, self.trans, self.rest_joints)[0]


def _check_rising(name: str, values: np.ndarray) -> None:
    """Raise ValueError unless the values (F,) are strictly rising."""
    wrong = np.flatnonzero(np.diff(values) <= 0)
    if len(wrong):
        row = int(wrong[0]) + 1
        raise ValueError(f"{name} does not rise: {values[row - 1]:g} is followed by {values[row]:g} in row {row}")


def _check_rotations(name: str, matrices: np.ndarray) -> None:
    """Raise ValueError unless the matrices (F, 3, 3) are rotations."""
    exact = matrices.astype(np.float64)
    error = np.abs(exact @ np.swapaxes(exact, 1, 2) - np.eye(3)).max((1, 2))
    wrong = np.flatnonzero((error > _ROTATION_TOLERANCE) | (np.linalg.det(exact) < 0))
    if len(wrong):
        raise ValueError(f"{name} holds a matrix that is no rotation, in row {wrong[0]}")


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
    return in_parts(_rodrigues, np.asarray(axis_angle), 1)


def _rodrigues(axis_angle: np.ndarray) -> np.ndarray:
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


def save(path: str | Path, people: list[Motion], *, smplh: bool = False) -> None:
    """Write one person with plain keys, several as ``p0/…``, ``p1/…`` with the camera of all frames once.

    smplh: ``poses`` as AMASS has them, (F, 156), with the fingers and without SMPL's joints 22 and 23.
    A file that cannot be written completely is left as it was. Raises MotionFileError if it cannot be written.
    """
    if not people:
        raise ValueError("no person to save")
    path = Path(path)
    arrays: dict[str, np.ndarray] = {}
    if len(people) == 1:
        arrays = _arrays(people[0], smplh)
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
            arrays |= {f"p{number}/{k}": v for k, v in _arrays(person, smplh).items() if k not in _CAMERA_KEYS}
    size = sum(array.nbytes for array in arrays.values())
    if size > limits.MOTION_BYTES or len(people) > limits.PEOPLE:
        raise MotionFileError(
            f"The motion of {len(people)} people takes {size // limits.MB} MB, more than Blender could key: it takes "
            f"up to {limits.PEOPLE} people and {limits.MOTION_BYTES // limits.MB} MB. Choose one person, or a shorter "
            "range of the clip.",
            code="motion-too-long",
        )
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
    """The people of a motion file. Raises MotionFileError if it is missing, damaged or no motion file.

    Only what a motion needs is unpacked. Memory and time are limited by `limits.MOTION_BYTES`.
    """
    path = Path(path)
    try:
        return _load(path)
    except FileNotFoundError as error:
        raise MotionFileError(
            f"There is no file {path.name} in {path.parent}. Check the path.", code="motion-file-not-found"
        ) from error
    except KeyError as error:
        raise MotionFileError(
            f"{path.name} lacks something a motion file needs ({reason(error)}). {_CHOOSE}",
            code="motion-file-incomplete",
        ) from error
    except (OSError, archives.UnreadableArchive, MemoryError) as error:
        cause = getattr(error, "strerror", None) or reason(error)
        raise MotionFileError(
            f"{path.name} is not a motion file, or it is damaged ({cause}). {_CHOOSE}", code="motion-file-unreadable"
        ) from error
    except Exception as error:  # a wrong value may raise anything
        raise MotionFileError(
            f"{path.name} holds what no motion has: {reason(error)}. {_CHOOSE}", code="motion-file-invalid"
        ) from error


def _load(path: Path) -> list[Motion]:
    """`load`, with the exceptions of the readers and of Motion."""
    names = archives.names(path)
    keys = {item.name for item in fields(Motion)} - {*_HANDS}
    if "poses" in names:
        return [_motion(_arrays_of(path, names, keys, {*_HANDS}))]
    keys -= {*_CAMERA_KEYS}
    count = next(number for number in range(len(names) + 1) if f"p{number}/poses" not in names)
    if not count:
        raise KeyError("poses")
    if count > limits.PEOPLE:
        raise ValueError(f"it has more than {limits.PEOPLE} people")
    camera = {"camera_frame", *_CAMERA_KEYS}
    numbered = [{f"p{number}/{key}" for number in range(count) for key in each} for each in (keys, _HANDS)]
    data = _arrays_of(path, names, camera | numbered[0], numbered[1])
    frames = data["camera_frame"]
    if frames.shape < (1,) or frames.dtype.kind not in "iu" or any(len(data[key]) != len(frames) for key in _PER_FRAME):
        raise ValueError("camera_frame has another length than the camera")
    _check_rising("camera_frame", frames)
    people = []
    for number in range(count):
        person = {key: data[f"p{number}/{key}"] for key in (*keys, *_HANDS) if f"p{number}/{key}" in data}
        rows = np.searchsorted(frames, person["frame"]).clip(max=len(frames) - 1)
        if not np.array_equal(frames[rows], person["frame"]):
            raise ValueError(f"camera_frame lacks frames of person {number + 1}")
        people.append(_motion(person | {key: data[key][rows] for key in _PER_FRAME} | {"camera_K": data["camera_K"]}))
    return people


def _arrays_of(path: Path, names: set[str], wanted: set[str], optional: set[str]) -> dict[str, np.ndarray]:
    """Arrays of a file that has arrays of these names. Raises KeyError if one of the wanted is missing."""
    if missing := wanted - names:  # checked before anything is read: files of AMASS hold arrays of other kinds, too
        raise KeyError(min(missing))
    return archives.arrays(path, wanted | optional, limits.MOTION_BYTES)


def _arrays(person: Motion, smplh: bool = False) -> dict[str, np.ndarray]:
    present = {f.name: getattr(person, f.name) for f in fields(person) if f.name != "meta"}
    arrays = {name: np.asarray(value) for name, value in present.items() if value is not None}
    if smplh:
        fingers = arrays.pop("hand_poses", np.zeros((len(person), len(HAND_JOINT_NAMES), 3), np.float32))
        arrays["poses"] = np.hstack([person.poses[:, :_BODY_COLUMNS], fingers.reshape(len(person), -1)])
    text = json.dumps({"format_version": FORMAT_VERSION, **person.meta}, ensure_ascii=False)
    text = text.encode("utf-8", "replace").decode()
    if "clip" in person.meta:  # as it is, in ASCII, by which the clip is found: its name may have any bytes
        text = json.dumps(json.loads(text) | {"clip": person.meta["clip"]})
    _check_meta(text)
    return arrays | {"meta": np.asarray(text)}


def _check_meta(text: str) -> dict[str, Any]:
    """The object of JSON text, after a check of what the importer uses of it. Raises ValueError."""
    meta = records.parse(text, limits.JSON_BYTES)
    if not isinstance(meta, dict):
        raise ValueError("meta is no JSON object")
    if "\\u0000" in text:  # Blender's names cannot hold it
        raise ValueError("meta holds a null character")
    for name, hint in _META.items():
        if meta.get(name) is not None:
            records.value_of(hint, meta[name], f"meta.{name}")
    if meta.get("size") is not None and len(meta["size"]) != 2:
        raise ValueError("meta.size is not a width and a height")
    return meta


def _motion(data: dict[str, np.ndarray]) -> Motion:
    meta = _check_meta(str(data["meta"]))
    if (version := meta.get("format_version") or 0) > FORMAT_VERSION:
        raise ValueError(f"format version {version}, newer than this add-on reads")
    values = {name: data[name] for name in (*_ARRAYS, *_HANDS) if name in data}
    poses = values["poses"]
    if poses.ndim == 2 and poses.shape[1] == _SMPLH:
        values["poses"] = np.pad(poses[:, :_BODY_COLUMNS], ((0, 0), (0, _SMPL - _BODY_COLUMNS)))
        values.setdefault("hand_poses", poses[:, _BODY_COLUMNS:].reshape(len(poses), len(HAND_JOINT_NAMES), 3))
    return Motion(
        **values,
        gender=str(data["gender"]),
        mocap_framerate=float(data["mocap_framerate"]),
        meta=meta,
    )
