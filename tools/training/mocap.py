"""Reads the training motion capture (BVH, ASF/AMC, DeepMimic text) and retargets it to the open body's 24 SMPL joints.

No source has SMPL's rest pose, so the sources' rest frames are not used as they are: bone directions come from joint
positions, the twist of limbs from the hinge axis of elbows and knees, the feet from frames in which they stand flat,
the head from its mean rotation while the body is upright.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter1d, median_filter, uniform_filter1d
from scipy.spatial.transform import Rotation, Slerp

from wham_blender.motion import forward_kinematics
from wham_blender.skeleton import JOINT_NAMES, PARENTS

HELD_OUT = ("005_01", "005_12", "006_09", "007_03", "001_08", "002_05", "01_05")
SAME_RECORDING = ("01_08",)  # the AMC of a held-out BVH: neither trained on nor validated
FPS = 30.0
SIDES = ("left", "right")
# A foot point below this speed (metres a second) and height above the floor (metres) is in contact. Set by hand.
_CONTACT_SPEED, _CONTACT_HEIGHT = 0.35, 0.06
# Who travels fast has contacts of a few frames, in which the point rolls and slides, as the body's proportions are not
# the captured ones: there the speed may be this fraction of the speed of travel, which is the mean of all foot points,
# filtered with this standard deviation in frames. Set by hand: a walk of 1.4 metres a second keeps _CONTACT_SPEED, and
# the 0.2 seconds that a running foot stands are found.
_CONTACT_TRAVEL, _TRAVEL_SMOOTHING = 0.25, 5.0
# Frames that define the floor, set by hand: a slow foot point within _REST_HEIGHT metres of the frame's lowest one, the
# hips above it by at least this fraction of their 95th percentile, and the point at most _FLOOR_RANGE metres above the
# clip's lowest. The floor is filtered over _FLOOR_FRAMES frames.
_REST_HEIGHT, _STANDING_HEIGHT, _FLOOR_RANGE, _FLOOR_FRAMES = 0.02, 0.6, 0.15, 15


@dataclass
class Take:
    """One clip of a source: points and bone frames by SMPL-like names, y up, metres."""

    name: str
    points: dict[str, np.ndarray]  # (F, 3)
    frames: dict[str, np.ndarray]  # (F, 3, 3) global rotations of the source's bones
    upright_rest: bool  # frames of feet, hands and head are the identity in a standing T or A pose
    flat_floor: bool


@dataclass
class Clip:
    """One clip retargeted to the open body: y up, floor at 0, 30 frames per second."""

    name: str
    poses: np.ndarray  # (F, 72) axis-angle
    trans: np.ndarray  # (F, 3) metres
    contacts: np.ndarray  # (F, 4) 0 or 1
    flat_floor: bool  # False for climbing and stairs: contacts come from speed alone

    @property
    def held_out(self) -> bool:
        """Whether the clip is kept for validation."""
        return self.name in HELD_OUT


# ---------------------------------------------------------------- sources


def read_bvh(path: Path) -> Take:
    """A BVH file of the CC_Base humanoid (centimetres)."""
    names: list[str] = []
    parents: list[int] = []
    offsets: list[list[float]] = []
    channels: list[tuple[int, str]] = []
    stack: list[int] = []
    head, _, body = path.read_text().partition("MOTION")
    for line in head.splitlines():
        words = line.split()
        if not words:
            continue
        if words[0] in ("ROOT", "JOINT", "End"):
            parents.append(stack[-1] if stack else -1)
            names.append(words[1] if words[0] != "End" else "")
        elif words[0] == "{":
            stack.append(len(names) - 1)
        elif words[0] == "}":
            stack.pop()
        elif words[0] == "OFFSET":
            offsets.append([float(word) for word in words[1:4]])
        elif words[0] == "CHANNELS":
            channels += [(len(names) - 1, word) for word in words[2:]]
    rows = body.strip().splitlines()[2:]
    values = np.array([row.split() for row in rows if row.strip()], float)
    count = len(values)
    positions = np.zeros((count, len(names), 3))
    rotations = np.tile(np.eye(3), (count, len(names), 1, 1))
    local_offset = np.tile(np.array(offsets), (count, 1, 1))
    for column, (joint, channel) in enumerate(channels):
        if channel.endswith("position"):
            local_offset[:, joint, "XYZ".index(channel[0])] = values[:, column]
        else:
            rotation = Rotation.from_euler(channel[0].lower(), values[:, [column]], degrees=True).as_matrix()
            rotations[:, joint] = rotations[:, joint] @ rotation
    for joint, parent in enumerate(parents):
        if parent < 0:
            positions[:, joint] = local_offset[:, joint]
        else:
            positions[:, joint] = positions[:, parent] + np.einsum(
                "fij,fj->fi", rotations[:, parent], local_offset[:, joint]
            )
            rotations[:, joint] = rotations[:, parent] @ rotations[:, joint]
    bones = {"pelvis": "Hip", "waist": "Waist", "neck": "NeckTwist01", "head": "Head"}
    for side, letter in zip(SIDES, "LR", strict=True):
        bones |= {
            f"{side}_{name}": f"{letter}_{bone}"
            for name, bone in (
                ("hip", "Thigh"), ("knee", "Calf"), ("ankle", "Foot"), ("toe", "ToeBase"), ("collar", "Clavicle"),
                ("shoulder", "Upperarm"), ("elbow", "Forearm"), ("wrist", "Hand"), ("index", "Index1"),
                ("pinky", "Pinky1"),
            )
        }  # fmt: skip
    index = {name: names.index(f"CC_Base_{bone}") for name, bone in bones.items()}
    return Take(
        path.stem,
        {name: positions[:, i] / 100 for name, i in index.items()},
        {name: rotations[:, i] for name, i in index.items()},
        upright_rest=False, flat_floor=not path.stem.startswith(("001_", "003_")),  # climbing, uneven ground
    )  # fmt: skip


def read_amc(path: Path) -> Take:
    """An AMC file with the ASF skeleton of its subject beside it (CMU units)."""
    skeleton = path.with_name(path.name.split("_")[0] + ".asf").read_text()
    unit = 0.0254 / 0.45
    bones: dict[str, tuple[np.ndarray, np.ndarray, list[str]]] = {}
    for block in re.findall(r"begin\s+id(.*?)end", skeleton, re.S):
        entry = dict(re.findall(r"^\s*(name|direction|length|axis|dof)\s+(.*?)\s*$", block, re.M))
        offset = np.array(entry["direction"].split(), float) * float(entry["length"]) * unit
        axis = Rotation.from_euler("xyz", np.array(entry["axis"].split()[:3], float), degrees=True).as_matrix()
        bones[entry["name"]] = (offset, axis, entry.get("dof", "").split())
    parent = {"root": ""}
    hierarchy = skeleton.partition(":hierarchy")[2].partition("begin")[2].partition("end")[0]
    for line in hierarchy.strip().splitlines():
        first, *children = line.split()
        parent |= dict.fromkeys(children, first)
    values: dict[str, list[list[float]]] = {}
    for line in path.read_text().splitlines():
        words = line.split()
        if len(words) > 1 and words[0][0].isalpha():
            values.setdefault(words[0], []).append([float(word) for word in words[1:]])
    root = np.array(values["root"])
    start = {"root": root[:, :3] * unit}
    end = dict(start)
    frames = {"root": Rotation.from_euler("xyz", root[:, 3:], degrees=True).as_matrix()}
    for name in list(parent)[1:]:
        offset, axis, dof = bones[name]
        angles = np.zeros((len(root), 3))
        if dof:
            angles[:, ["xyz".index(d[1]) for d in dof]] = np.array(values[name])
        local = axis @ Rotation.from_euler("xyz", angles, degrees=True).as_matrix() @ axis.T
        frames[name] = frames[parent[name]] @ local
        start[name] = end[parent[name]]
        end[name] = start[name] + frames[name] @ offset
    points = {"waist": end["lowerback"], "neck": end["thorax"], "head": end["upperneck"], "pelvis": start["root"]}
    bone_frames = {"head": frames["head"], "pelvis": frames["root"]}
    for side, letter in zip(SIDES, "lr", strict=True):
        points |= {
            f"{side}_hip": end[f"{letter}hipjoint"], f"{side}_knee": end[f"{letter}femur"],
            f"{side}_ankle": end[f"{letter}tibia"], f"{side}_toe": end[f"{letter}foot"],
            f"{side}_collar": (start[f"{letter}clavicle"] + end[f"{letter}clavicle"]) / 2,
            f"{side}_shoulder": end[f"{letter}clavicle"], f"{side}_elbow": end[f"{letter}humerus"],
            f"{side}_wrist": end[f"{letter}radius"],
        }  # fmt: skip
        bone_frames |= {
            f"{side}_hip": frames[f"{letter}femur"], f"{side}_knee": frames[f"{letter}tibia"],
            f"{side}_ankle": frames[f"{letter}foot"], f"{side}_shoulder": frames[f"{letter}humerus"],
            f"{side}_elbow": frames[f"{letter}radius"], f"{side}_wrist": frames[f"{letter}hand"],
        }  # fmt: skip
    return Take(path.stem, points, bone_frames, upright_rest=True, flat_floor=False)


# DeepMimic's humanoid: joint -> (parent, offset), x to the front, y up, z to the right, metres; and its order in a row.
HUMANOID = {
    "chest": ("root", (0, 0.236151, 0)), "neck": ("chest", (0, 0.223894, 0)), "right_hip": ("root", (0, 0, 0.084887)),
    "right_knee": ("right_hip", (0, -0.421546, 0)), "right_ankle": ("right_knee", (0, -0.40987, 0)),
    "right_shoulder": ("chest", (-0.02405, 0.2435, 0.18311)), "right_elbow": ("right_shoulder", (0, -0.274788, 0)),
    "left_hip": ("root", (0, 0, -0.084887)), "left_knee": ("left_hip", (0, -0.421546, 0)),
    "left_ankle": ("left_knee", (0, -0.40987, 0)), "left_shoulder": ("chest", (-0.02405, 0.2435, -0.18311)),
    "left_elbow": ("left_shoulder", (0, -0.274788, 0)),
}  # fmt: skip


def read_deepmimic(path: Path) -> Take:
    """A motion text file of DeepMimic's humanoid, resampled to 30 frames per second."""
    rows = np.array([row[:44] for row in json.loads(path.read_text())["Frames"]], float)
    stamps = np.concatenate([[0], np.cumsum(rows[:-1, 0])])
    grid = np.arange(0, stamps[-1] + 1e-6, 1 / FPS)

    def spherical(columns: np.ndarray) -> np.ndarray:
        return Slerp(stamps, Rotation.from_quat(columns[:, [1, 2, 3, 0]]))(grid).as_matrix()

    def hinge(column: np.ndarray) -> np.ndarray:
        return Rotation.from_euler("z", np.interp(grid, stamps, column)[:, None]).as_matrix()

    frames = {"root": spherical(rows[:, 4:8])}
    points = {"root": np.stack([np.interp(grid, stamps, rows[:, 1 + axis]) for axis in range(3)], -1)}
    column = 8
    for name, (parent, offset) in HUMANOID.items():
        if name.endswith(("knee", "elbow")):
            local, column = hinge(rows[:, column]), column + 1
        else:
            local, column = spherical(rows[:, column : column + 4]), column + 4
        points[name] = points[parent] + frames[parent] @ np.array(offset, float)
        frames[name] = frames[parent] @ local
    points["pelvis"] = points["root"]
    points["waist"] = points["root"] + frames["root"] @ np.array([0, 0.12, 0])
    points["head"] = points["neck"] + frames["neck"] @ np.array([0, 0.1, 0])
    for side, sign in zip(SIDES, (-1, 1), strict=True):
        points[f"{side}_collar"] = points["neck"] + frames["chest"] @ np.array([-0.02, -0.02, 0.06 * sign])
        points[f"{side}_wrist"] = points[f"{side}_elbow"] + frames[f"{side}_elbow"] @ np.array([0, -0.258947, 0])
        points[f"{side}_toe"] = points[f"{side}_ankle"] + frames[f"{side}_ankle"] @ np.array([0.13, -0.04, 0])
    to_smpl = np.array([[0, 0, -1], [0, 1, 0], [1, 0, 0.0]])  # to x left, y up, z front
    keep = {"pelvis": "root", "head": "neck"} | {
        f"{side}_{part}": f"{side}_{part}" for side in SIDES for part in ("hip", "knee", "ankle", "shoulder", "elbow")
    }
    return Take(
        path.stem,
        {name: value @ to_smpl.T for name, value in points.items()},
        {name: to_smpl @ frames[bone] @ to_smpl.T for name, bone in keep.items()},
        upright_rest=True, flat_floor=True,
    )  # fmt: skip


# ---------------------------------------------------------------- retargeting


def basis(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(..., 3, 3): columns ``first``, the part of ``second`` perpendicular to it, their cross product; unit length."""
    x = first / np.linalg.norm(first, axis=-1, keepdims=True)
    y = second - (second * x).sum(-1, keepdims=True) * x
    y = y / np.maximum(np.linalg.norm(y, axis=-1, keepdims=True), 1e-9)
    return np.stack([x, y, np.cross(x, y)], -1)


def _interpolated(first: np.ndarray, second: np.ndarray, fraction: float) -> np.ndarray:
    """Rotations (F, 3, 3) interpolated from ``first`` (fraction 0) to ``second`` (1) along the geodesic."""
    difference = Rotation.from_matrix(np.swapaxes(first, 1, 2) @ second)
    return first @ Rotation.from_rotvec(fraction * difference.as_rotvec()).as_matrix()


def _mean_rotation(matrices: np.ndarray) -> np.ndarray:
    """A robust mean (3, 3) of rotations (F, 3, 3): of the half that is nearer to the plain mean."""
    mean = Rotation.from_matrix(matrices).mean()
    distance = (mean.inv() * Rotation.from_matrix(matrices)).magnitude()
    return Rotation.from_matrix(matrices[distance <= np.median(distance)]).mean().as_matrix()


def _shortest_rotation(rest: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """(F, 3, 3): the smallest rotation that takes the unit vector ``rest`` (3,) or (F, 3) to ``directions`` (F, 3)."""
    rest = np.broadcast_to(rest, directions.shape)
    axis = np.cross(rest, directions)
    sine = np.linalg.norm(axis, axis=1)
    angle = np.arctan2(sine, (rest * directions).sum(1))
    return Rotation.from_rotvec(axis / np.maximum(sine, 1e-9)[:, None] * angle[:, None]).as_matrix()


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _yaw(forward: np.ndarray) -> np.ndarray:
    """(F, 3, 3): rotations about y that take z to the horizontal part of ``forward`` (F, 3)."""
    return Rotation.from_euler("y", np.arctan2(forward[:, 0], forward[:, 2])[:, None]).as_matrix()


def _limb_constant(
    frame: np.ndarray, first: np.ndarray, second: np.ndarray, rest: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """Constant offset C (3, 3) with ``frame @ C`` = SMPL's rotation of a limb bone.

    first, second (F, 3): directions of the bone and of its hinge axis (length = sine of the bend), in the world;
    rest: the same two in SMPL's rest pose.
    """
    local_first = _unit(np.einsum("fji,fj->fi", frame, first).mean(0))
    local_second = np.einsum("fji,fj->fi", frame, second).sum(0)
    return basis(local_first, local_second) @ basis(*rest).T


def to_body(take: Take, rest: np.ndarray, foot_points: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Clip:
    """Retarget a take to the body with rest joints (24, 3), metres.

    ``foot_points(poses, trans)`` returns the four foot points (F, 4, 3) on the body's soles.
    """
    p, f = take.points, take.frames
    joint = {name: rest[index] for index, name in enumerate(JOINT_NAMES)}
    world: dict[str, np.ndarray] = {}

    middle = (p["left_hip"] + p["right_hip"]) / 2
    trunk_up = p["neck"] - p["waist"]
    pelvis_up = f["pelvis"][:, :, 1]
    world["pelvis"] = basis(p["left_hip"] - p["right_hip"], pelvis_up)
    rest_chest = basis(joint["left_collar"] - joint["right_collar"], joint["neck"] - joint["spine1"])
    chest = basis(p["left_collar"] - p["right_collar"], trunk_up) @ rest_chest.T
    for index, name in enumerate(("spine1", "spine2", "spine3")):
        world[name] = _interpolated(world["pelvis"], chest, (index + 1) / 3)

    upright = pelvis_up[:, 1] > 0.9
    upright = upright if upright.sum() > 10 else np.ones(len(upright), bool)
    if take.upright_rest:
        head = f["head"]
    else:
        heading = _yaw(chest[:, :, 2])
        head = f["head"] @ _mean_rotation(np.swapaxes(f["head"][upright], 1, 2) @ heading[upright])
    world["head"] = head
    world["neck"] = _interpolated(chest, head, 0.5)

    for side, outward in zip(SIDES, (1.0, -1.0), strict=True):

        def direction(a: str, b: str, side: str = side) -> np.ndarray:
            return _unit(p[f"{side}_{b}"] - p[f"{side}_{a}"])

        thigh, shin = direction("hip", "knee"), direction("knee", "ankle")
        upper, lower = direction("shoulder", "elbow"), direction("elbow", "wrist")
        left = np.array([1.0, 0, 0])
        elbow_axis = np.array([0, -outward, 0])
        knee_bend, elbow_bend = np.cross(thigh, shin), np.cross(upper, lower)
        for name, source, along, bend, axis in (
            ("hip", "hip", thigh, knee_bend, left), ("knee", "knee", shin, knee_bend, left),
            ("shoulder", "shoulder", upper, elbow_bend, elbow_axis), ("elbow", "elbow", lower, elbow_bend, elbow_axis),
        ):  # fmt: skip
            child = {"hip": "knee", "knee": "ankle", "shoulder": "elbow", "elbow": "wrist"}[name]
            at_rest = _unit(joint[f"{side}_{child}"] - joint[f"{side}_{name}"])
            frame = f[f"{side}_{source}"]
            world[f"{side}_{name}"] = frame @ _limb_constant(frame, along, bend, (at_rest, axis))

        collar = _unit(joint[f"{side}_shoulder"] - joint[f"{side}_collar"])
        shoulder = np.einsum("fji,fj->fi", chest, direction("collar", "shoulder"))
        hanging = upper[:, 1] < -0.7
        mean = _unit(shoulder[hanging].mean(0)) if hanging.any() else _unit(shoulder.mean(0))
        lowered = Rotation.from_euler("z", -outward * 8, degrees=True).apply(
            collar
        )  # shoulders are lower while the arms hang
        offset = Rotation.align_vectors([lowered], [mean])[0]
        world[f"{side}_collar"] = chest @ _shortest_rotation(collar, offset.apply(shoulder))

        if take.upright_rest:
            world[f"{side}_ankle"] = f[f"{side}_ankle"]
        else:
            foot = f[f"{side}_ankle"]
            flat = _flat_frames(p[f"{side}_toe"], p[f"{side}_ankle"])
            heading = _yaw(p[f"{side}_toe"] - p[f"{side}_ankle"])
            world[f"{side}_ankle"] = foot @ _mean_rotation(np.swapaxes(foot[flat], 1, 2) @ heading[flat])

        if f"{side}_index" in p:
            knuckles = (p[f"{side}_index"] + p[f"{side}_pinky"]) / 2
            hand = basis(knuckles - p[f"{side}_wrist"], p[f"{side}_index"] - p[f"{side}_pinky"])
            world[f"{side}_wrist"] = hand @ basis(outward * left, np.array([0, 0, 1.0])).T
        else:
            world[f"{side}_wrist"] = f.get(f"{side}_wrist", world[f"{side}_elbow"])
        world[f"{side}_foot"], world[f"{side}_hand"] = world[f"{side}_ankle"], world[f"{side}_wrist"]

    count = len(middle)
    glob = np.stack([world[name] for name in JOINT_NAMES], 1)
    local = glob.copy()
    for index, parent in enumerate(PARENTS):
        if parent >= 0:
            local[:, index] = np.swapaxes(glob[:, parent], 1, 2) @ glob[:, index]
    poses = Rotation.from_matrix(local.reshape(-1, 3, 3)).as_rotvec().reshape(count, 72)

    body_leg = np.linalg.norm(joint["left_knee"] - joint["left_hip"]) + np.linalg.norm(
        joint["left_ankle"] - joint["left_knee"]
    )
    source_leg = np.median(
        np.linalg.norm(p["left_knee"] - p["left_hip"], axis=1)
        + np.linalg.norm(p["left_ankle"] - p["left_knee"], axis=1)
    )
    hips = forward_kinematics(poses, np.zeros((count, 3)), rest)[0][:, 1:3].mean(1)
    trans = middle * (body_leg / source_leg) - hips
    feet = foot_points(poses, trans)
    if take.flat_floor:
        trans[:, 1] -= floor_below(feet, middle[:, 1] * (body_leg / source_leg))
    else:
        trans[:, 1] -= np.percentile(feet[..., 1].min(1), 3)
    return Clip(take.name, poses, trans, contacts(foot_points(poses, trans), take.flat_floor), take.flat_floor)


def _flat_frames(toe: np.ndarray, ankle: np.ndarray) -> np.ndarray:
    """(F,) bool: the foot stands flat, as toe and ankle are slow and low."""
    speed = sum(np.linalg.norm(np.gradient(point, axis=0), axis=1) * FPS for point in (toe, ankle))
    lift = toe[:, 1] + ankle[:, 1]
    low = (speed < np.percentile(speed, 40)) & (lift < np.percentile(lift, 40))
    return low if low.sum() >= 5 else lift <= np.percentile(lift, 20)


def floor_below(feet: np.ndarray, hips: np.ndarray) -> np.ndarray:
    """Height (F,) of the floor in metres, from the lowest foot points of frames in which the person stands.

    feet (F, 4, 3), hips (F,) their height, metres. A constant floor would be wrong: some recordings of a flat floor are
    tilted, so that a walk of three metres climbs by eight centimetres, and the body's legs differ from the captured
    ones.
    """
    lowest = feet[..., 1].min(1)
    clip_floor = np.percentile(lowest, 3)
    resting = (_is_slow(feet) & (feet[..., 1] < lowest[:, None] + _REST_HEIGHT)).any(1)
    stands = (
        resting
        & (hips - lowest > _STANDING_HEIGHT * np.percentile(hips - lowest, 95))
        & (lowest < clip_floor + _FLOOR_RANGE)
    )
    if not stands.any():
        return np.full(len(feet), clip_floor)
    rows = np.flatnonzero(stands)
    floor = median_filter(np.interp(np.arange(len(feet)), rows, lowest[rows]), _FLOOR_FRAMES, mode="nearest")
    return gaussian_filter1d(floor, _FLOOR_FRAMES / 2, mode="nearest")


def contacts(feet: np.ndarray, flat_floor: bool) -> np.ndarray:
    """(F, 4) 0 or 1: foot points in contact: slow and, on a flat floor, low. feet (F, 4, 3) metres, y up."""
    touching = _is_slow(feet)
    if flat_floor:
        touching &= feet[..., 1] < _CONTACT_HEIGHT
    return (uniform_filter1d(touching.astype(float), 3, axis=0) > 0.5).astype(np.float32)


def _is_slow(feet: np.ndarray) -> np.ndarray:
    def speed(points: np.ndarray, smoothing: float) -> np.ndarray:
        smooth = gaussian_filter1d(points, smoothing, axis=0, mode="nearest")
        return np.linalg.norm(np.gradient(smooth, axis=0) * FPS, axis=-1)

    travel = speed(feet[..., [0, 2]].mean(1), _TRAVEL_SMOOTHING)
    return speed(feet, 1.0) < np.maximum(_CONTACT_SPEED, _CONTACT_TRAVEL * travel)[:, None]


def read_folder(
    folder: Path, rest: np.ndarray, foot_points: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> list[Clip]:
    """Every clip of a folder with ``cmu_bvh``, ``cmu_amc`` or ``pybullet`` in it, retargeted to the body.

    Raises SystemExit if there is none.
    """
    readers = (("cmu_bvh/*.bvh", read_bvh), ("cmu_amc/*.amc", read_amc), ("pybullet/*.txt", read_deepmimic))
    takes = [
        (reader, path)
        for pattern, reader in readers
        for path in sorted(folder.glob(pattern))
        if path.stem not in SAME_RECORDING
    ]
    if not takes:
        raise SystemExit(f"No motion capture in {folder}: it needs cmu_bvh/*.bvh, cmu_amc/*.amc or pybullet/*.txt.")
    return [to_body(reader(path), rest, foot_points) for reader, path in takes]
