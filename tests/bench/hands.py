"""How well hands are seen and fitted, on drawn films of the open body whose fingers, wrists and arms move.

``build.py bench hands [--films N] [--first SEED] [--folder FOLDER] [--json FILE]``. Films are drawn once, into
out/hands: gestures (grasp, point, count, wave, fist, flat, as around a stick) with the arms at the sides, before the
body, raised, stretched and behind the back, seen by several cameras. In films 3 to 5, 9 to 11 and so on one hand holds
a stick. Constants were tried on films from seed 100 on; others are held out.

Rows are sizes of hands, pixels from wrist to middle fingertip if they lay in the picture's plane; hands with a stick
have their own. fingers: 20 finger
joints and tips from the true ones with the wrists on each other, millimetres; net: the same of the net's own metres
with the palms on each other; wrist: its orientation to the camera, degrees; of the net's metres and of the body lifter,
too. flips: frames whose wrist is off by more than 90 degrees. seen: % of the hands in view. false: frames in which a
hand is seen that is hidden, or elsewhere.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import av
import cv2
import numpy as np
import torch
from scipy.spatial.transform import Rotation, Slerp

from tests.bench.follow import Runner
from tests.bench.report import Cell, report
from tools.filming.film import Crew, Studio
from tools.filming.place import Place, View
from tools.training.painter import HandColours, Painter
from wham_blender.motion import Motion, forward_kinematics, pose_skeleton, rotation_matrices
from wham_blender.pipeline.people.types import Person
from wham_blender.pipeline.pose.hand_skeleton import FINGER_POINTS, HandSkeleton, of_body
from wham_blender.pipeline.world.placement import Placed
from wham_blender.skeleton import JOINT_NAMES

FOLDER = Path(__file__).parents[2] / "out" / "hands"
SIZES = ((0, 30), (30, 60), (60, 100), (100, 1000))  # pixels
_FPS, _FRAMES, _KEY_FRAMES = 30, 90, 18
_HIDDEN, _IN_VIEW = 0.08, 0.6  # share of a hand's pixels that are drawn, below and above which it counts as such
_ELSEWHERE = 0.7  # lengths of the hand that the seen points may be off on average
_PALM = [0, 5, 9, 13, 17]  # of MediaPipe's points
_STICK_SIDES, _STICK_PARTS = 8, 60  # of the stick's mesh
_SKIN = 0.009  # metres between the joints of a finger and what the finger lies on
_UP = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # SMPL's y up to the world's z up, facing -y
# Degrees of bending of the joints of index, middle, little and ring finger; of the thumb's first joint towards and
# from the palm, and of its others; of spreading.
_GESTURES = {
    "flat": ((0, 0, 0), (0, 0, 0), (0, 0, 0), (0, 0, 0), (0, 0, 0, 0), 3),
    "spread": ((0, 5, 0), (0, 5, 0), (0, 5, 0), (0, 5, 0), (-15, 10, 0, 0), 12),
    "fist": ((75, 95, 50), (80, 95, 50), (80, 95, 50), (80, 95, 50), (25, 15, 35, 45), 0),
    "point": ((5, 5, 0), (75, 95, 50), (80, 95, 50), (80, 95, 50), (25, 10, 30, 40), 0),
    "two": ((5, 5, 0), (5, 5, 0), (80, 95, 50), (75, 95, 50), (30, 15, 30, 40), 8),
    "three": ((5, 5, 0), (5, 5, 0), (75, 90, 45), (5, 8, 0), (30, 15, 30, 40), 6),
    "grasp": ((35, 45, 25), (40, 45, 25), (45, 45, 25), (40, 45, 25), (10, 25, 15, 20), 4),
    "stick": ((55, 75, 40), (60, 75, 40), (65, 75, 40), (60, 75, 40), (20, 20, 25, 30), 0),
    "thumb up": ((75, 95, 50), (80, 95, 50), (80, 95, 50), (80, 95, 50), (-25, 0, 0, 0), 0),
}
_JITTER = 8.0  # degrees of each bending, different in every film
_OTHER_AXES = 4.0  # degrees of rotations about any axis: real joints are no hinges
# Rotations of the left shoulder, by z after y after x, and bending of the elbow, radians.
_ARMS = {
    "hanging": ((0.0, 0.0, -1.25), 0.25), "before": ((-0.3, 0.0, -1.1), 1.5), "raised": ((-1.3, 0.0, -0.5), 1.7),
    "stretched": ((0.0, -1.15, -0.25), 0.2), "chest": ((-0.7, -0.3, -0.9), 2.0), "aside": ((-0.3, 0.1, -0.3), 0.4),
    "behind": ((2.0, 0.3, -1.25), 1.4),
}  # fmt: skip


@dataclass
class Truth:
    """A drawn film of F frames: two hands, left and right, in the camera's axes."""

    points: np.ndarray  # (F, 2, 21, 3) metres, MediaPipe's order
    wrists: np.ndarray  # (F, 2, 3, 3) rotations from rest
    pixels: np.ndarray  # (F, 2, 21, 2)
    shown: np.ndarray  # (F, 2) share of the hand's pixels that is drawn and not hidden


def finger_rotations(skeleton: HandSkeleton, gesture: str, side: int, rng: np.random.Generator) -> np.ndarray:
    """Axis-angle (15, 3) of a gesture, about axes of each bone, which are not those of `hand_skeleton`."""
    points, (*fingers, thumb, spread) = skeleton.points, _GESTURES[gesture]
    back = np.cross(points[5] - points[0], points[17] - points[0])
    back *= np.sign(back[1])
    rotations = np.zeros((15, 3, 3))
    for finger in range(5):
        bones = np.diff(points[FINGER_POINTS[finger]], axis=0)
        for joint in range(3):
            along = bones[joint] / np.linalg.norm(bones[joint])
            up = back - along * (back @ along)
            up /= np.linalg.norm(up)
            if finger < 4:
                bend = np.radians(fingers[finger][joint] + rng.normal(0, _JITTER) * (joint < 2))
                turn = Rotation.from_rotvec(bend * np.cross(along, -up))
                fan = (1, 0.2, -1.6, -0.8)[finger] * np.radians(spread) * (-1 if side else 1)
                if joint == 0:
                    turn = Rotation.from_rotvec(-fan * back / np.linalg.norm(back)) * turn
            else:  # half towards the fingers, half towards the palm
                inward = np.cross(up, along) @ (points[9] - points[1])
                hinge = np.sign(inward) * up * np.cos(0.7) + np.cross(along, -up) * np.sin(0.7)
                bend = np.radians(thumb[joint + (joint > 0)] + rng.normal(0, _JITTER) * (joint > 0))
                turn = Rotation.from_rotvec(bend * hinge)
                if joint == 0:
                    turn = Rotation.from_rotvec(np.radians(thumb[1]) * np.cross(along, -up)) * turn
            other = Rotation.from_rotvec(np.radians(_OTHER_AXES) * rng.normal(size=3) / np.sqrt(3))
            rotations[3 * finger + joint] = (other * turn).as_matrix()
    return Rotation.from_matrix(rotations).as_rotvec()


def _keyed(keys: np.ndarray) -> np.ndarray:
    """Axis-angle (K, J, 3), a key every _KEY_FRAMES, at _FRAMES frames: rest at each key for a third of the way."""
    times = np.arange(len(keys)) * _KEY_FRAMES
    held = np.concatenate([times, times + _KEY_FRAMES / 3])
    order = np.argsort(held)
    rows = np.concatenate([keys, keys])[order]
    frames = np.arange(_FRAMES)
    return np.stack(
        [Slerp(held[order], Rotation.from_rotvec(rows[:, j]))(frames).as_rotvec() for j in range(keys.shape[1])], 1
    )


def holding_side(seed: int) -> int | None:
    """The side of a film's hand that holds a stick, 0 left, 1 right, if one does."""
    return seed % 2 if seed // 3 % 2 else None


def _motion(
    skeletons: list[HandSkeleton], holding: int | None, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Poses (F, 24, 3) and hand poses (F, 30, 3) of a film, axis-angle; the side ``holding`` holds a stick."""
    count = -(-_FRAMES // _KEY_FRAMES) + 1
    body, hands = np.zeros((count, 24, 3)), np.zeros((count, 30, 3))
    gestures = list(_GESTURES)
    for key in range(count):
        for side in (0, 1):
            mirror = np.array([1, -1, -1]) if side else np.ones(3)
            (x, y, z), bend = _ARMS[rng.choice(list(_ARMS))]
            shoulder = Rotation.from_euler("xyz", np.array([x, y, z]) + rng.normal(0, 0.15, 3)).as_rotvec()
            twist, aside = rng.uniform(-0.9, 0.9), rng.normal(0, (0.35, 0.15))
            elbow = Rotation.from_rotvec([0, -bend, 0]) * Rotation.from_rotvec([twist / 2, 0, 0])
            wrist = Rotation.from_rotvec([twist / 2, 0, 0]) * Rotation.from_rotvec([0, aside[1], aside[0]])
            for name, turn in (("shoulder", shoulder), ("elbow", elbow.as_rotvec()), ("wrist", wrist.as_rotvec())):
                body[key, JOINT_NAMES.index(f"{('left', 'right')[side]}_{name}")] = turn * mirror
            gesture = gestures[rng.integers(len(gestures))]
            hands[key, 15 * side : 15 * side + 15] = finger_rotations(skeletons[side], gesture, side, rng)
        body[key, 0] = (0, rng.normal(0, 0.2), 0)
    if holding is not None:  # a grip that stays
        part = slice(15 * holding, 15 * holding + 15)
        hands[:, part] = finger_rotations(skeletons[holding], "stick", holding, rng)
    poses, fingers = _keyed(body), _keyed(hands)
    for side in (0, 1):  # a wave, for a second
        begin, wrist = rng.integers(_FRAMES - 30), JOINT_NAMES.index(f"{('left', 'right')[side]}_wrist")
        shake = Rotation.from_rotvec(np.outer(0.4 * np.sin(np.arange(30) / 30 * 4 * np.pi), [0, 1, 0]))
        rows = slice(begin, begin + 30)
        poses[rows, wrist] = (Rotation.from_rotvec(poses[rows, wrist]) * shake).as_rotvec()
    return poses, fingers


@dataclass(frozen=True)
class _Stick:
    """A round stick of varying length in a fist."""

    radius: float  # metres
    ends: tuple[float, float]  # metres from the middle of the fist, along the direction from little finger to index

    @classmethod
    def any(cls, points: np.ndarray, rng: np.random.Generator) -> _Stick:
        """A stick that fits into the fist of points (21, 3)."""
        _, _, inner = _fist(points)
        length, share = rng.uniform(0.4, 1.1), rng.uniform(0.15, 0.85)
        return cls(float(np.clip(inner - _SKIN, 0.006, 0.02)), (-share * length, (1 - share) * length))

    def vertices(self, points: np.ndarray) -> np.ndarray:
        """The mesh ((_STICK_PARTS + 1) * _STICK_SIDES, 3) in the fist of points (21, 3)."""
        centre, along, _ = _fist(points)
        across = np.cross(along, np.eye(3)[np.abs(along).argmin()])
        across /= np.linalg.norm(across)
        angles = np.arange(_STICK_SIDES) / _STICK_SIDES * 2 * np.pi
        ring = np.outer(np.cos(angles), across) + np.outer(np.sin(angles), np.cross(along, across))
        places = centre + np.linspace(*self.ends, _STICK_PARTS + 1)[:, None] * along
        return np.asarray((places[:, None] + self.radius * ring).reshape(-1, 3))

    @staticmethod
    def quads() -> np.ndarray:
        """(Q, 4), seen from outside in counter-clockwise order."""
        part, side = np.mgrid[:_STICK_PARTS, :_STICK_SIDES].reshape(2, -1)
        following = (side + 1) % _STICK_SIDES
        corners = [(part, side), (part, following), (part + 1, following), (part + 1, side)]
        return np.stack([_STICK_SIDES * at + around for at, around in corners], 1)


def _fist(points: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Middle (3,), direction (3,) from little finger to index and radius of what fingers (21, 3) are bent around."""
    centres, radii = [], []
    for chain in FINGER_POINTS[[0, 1, 3, 2]]:  # from index to little finger: circles through three joints
        a, b, c = points[chain[:3]]
        first, second = a - c, b - c
        normal = np.cross(first, second)
        centre = c + np.cross((first @ first) * second - (second @ second) * first, normal) / (2 * normal @ normal)
        centres.append(centre)
        radii.append(np.linalg.norm(a - centre))
    middle = np.mean(centres, 0)
    _, _, axes = np.linalg.svd(np.array(centres) - middle)
    return middle, axes[0] * np.sign(axes[0] @ (centres[0] - centres[3])), float(np.min(radii))


def _view(seed: int, rng: np.random.Generator) -> View:
    """Three sizes, and cameras all around the front."""
    size = (1280, 720) if seed % 3 == 0 else (1920, 1080)
    fill = (0.85, 0.9, 1.3)[seed % 3]  # of a standing person over the picture; 1.3: from the knees up
    azimuth = np.radians(rng.uniform(-45, 45))
    focal = 0.75 * size[0]
    distance = 1.75 * focal / (fill * size[1])
    centre = distance * np.array([np.sin(azimuth), -np.cos(azimuth), 0]) + (0, 0, 1.4)
    target = np.array([0, 0, 0.9 if fill < 1 else 1.15])
    ahead = (target - centre) / np.linalg.norm(target - centre)
    right = np.cross(ahead, [0, 0, 1])
    right /= np.linalg.norm(right)
    rotation = np.array([right, np.cross(ahead, right), ahead])
    camera_K = np.array([[focal, 0, size[0] / 2], [0, focal, size[1] / 2], [0, 0, 1.0]])
    return View(rotation, -rotation @ centre, camera_K, size)


@torch.inference_mode()
def draw(seed: int, crew: Crew, path: Path) -> Truth:
    """Draw a film to ``path``, with its truth beside it."""
    rng = np.random.default_rng(seed)
    betas = rng.normal(0, 0.7, 10).astype(np.float32)
    skeletons = of_body(crew.body, betas)
    shape = torch.from_numpy(betas)[None].expand(_FRAMES, -1)
    rest = crew.body.rest_joints(shape[:1])[0].numpy().astype(float)
    holding = holding_side(seed)
    poses, fingers = _motion(skeletons, holding, rng)
    local, local_fingers = (torch.from_numpy(rotation_matrices(each)).float() for each in (poses, fingers))
    vertices = crew.body.vertices(local, shape, hand_poses=local_fingers).numpy() @ _UP.T
    joints, tips = (each.numpy() @ _UP.T for each in crew.body.hand_points(local, local_fingers, shape))
    places, turned = pose_skeleton(local.double().numpy(), np.tile(rest[0], (_FRAMES, 1)), rest)
    low = vertices[0, :, 2].min()
    points = np.zeros((_FRAMES, 2, 21, 3))
    for side in (0, 1):
        points[:, side, 0] = places[:, 20 + side] @ _UP.T
        points[:, side, FINGER_POINTS[:, :3]] = joints[:, 15 * side : 15 * side + 15].reshape(-1, 5, 3, 3)
        points[:, side, FINGER_POINTS[:, 3]] = tips[:, 5 * side : 5 * side + 5]
    vertices[..., 2] -= low
    points[..., 2] -= low
    places = places @ _UP.T - (0, 0, low)
    view = _view(seed, rng)
    place = Place("room", np.zeros((1, 2)), (-view.rotation.T @ view.translation)[None, :2], rng)
    colours = HandColours(crew.body).on(Painter(crew.body, rng, 64).dress())
    quads, owner, thing, meshes = crew.quads, _hand_of_quads(crew), None, list(vertices)
    if holding is not None:
        stick = _Stick.any(points[0, holding], rng)
        thing = _Stick.quads(), np.tile(rng.uniform(0.1, 0.9, 3), (len(_Stick.quads()), 1))
        quads = np.concatenate([quads, thing[0] + vertices.shape[1]])
        owner = np.concatenate([owner, np.zeros(len(thing[0]), int)])
        meshes = [
            np.concatenate([mesh, stick.vertices(hands[holding])]) for mesh, hands in zip(meshes, points, strict=True)
        ]
    studio = Studio(crew, place, [colours], view.size, rng, thing=thing)
    shown = np.zeros((_FRAMES, 2))
    parents = [JOINT_NAMES.index(name) for name in ("pelvis", "spine3", "neck")]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=_FPS)
        stream.width, stream.height, stream.pix_fmt = *view.size, "yuv420p"
        stream.options = {"crf": "23", "preset": "superfast"}
        for frame in range(_FRAMES):
            bones = places[frame, [parents[:2], parents[1:]]]
            image = studio.developed([studio.picture(view, [meshes[frame]], [bones])])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
            shown[frame] = _shown(view, meshes[frame], quads, owner)
        container.mux(stream.encode())
    truth = Truth(
        points=view.to_camera(points),
        wrists=view.rotation @ _UP @ turned[:, 20:22],
        pixels=view.project(points),
        shown=shown,
    )
    np.savez(path.with_suffix(".npz"), **vars(truth))
    return truth


def _hand_of_quads(crew: Crew) -> np.ndarray:
    """1 for quadrilaterals of the left hand, 2 of the right, 0 of neither."""
    skin = crew.body.smpl.lbs_weights.numpy()
    hands = [skin[:, [20 + side, 22 + side]].sum(1) > 0.5 for side in (0, 1)]
    return np.asarray(hands[0][crew.quads].all(1) + 2 * hands[1][crew.quads].all(1))


def _shown(view: View, vertices: np.ndarray, quads: np.ndarray, owner: np.ndarray) -> list[float]:
    """Shares of the hands' pixels that nothing hides, and that are in the picture."""
    scale = 0.5
    size = (int(view.size[0] * scale), int(view.size[1] * scale))
    depth = view.to_camera(vertices)[:, 2][quads].mean(1)
    shapes = (view.project(vertices)[quads] * scale * 16).clip(-(2**20), 2**20).astype(np.int32)
    whole = np.zeros(size[::-1], np.uint8)
    alone = [np.zeros((3 * size[1], 3 * size[0]), np.uint8) for _ in range(2)]
    margin = np.array(size) * 16
    for quad in np.argsort(-depth):
        cv2.fillConvexPoly(whole, shapes[quad], int(owner[quad]), cv2.LINE_8, 4)
        if owner[quad]:
            cv2.fillConvexPoly(alone[owner[quad] - 1], shapes[quad] + margin.astype(np.int32), 1, cv2.LINE_8, 4)
    return [float((whole == side + 1).sum() / max(alone[side].sum(), 1)) for side in (0, 1)]


# ---------------------------------------------------------------- measuring


def _turned_palm(rest: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Rotations (F, 3, 3) of the palm from points (21, 3) or (F, 21, 3) to points (F, 21, 3)."""
    first = np.broadcast_to(rest, seen.shape)[:, _PALM]
    first, second = first - first.mean(1, keepdims=True), seen[:, _PALM] - seen[:, _PALM].mean(1, keepdims=True)
    u, _, vt = np.linalg.svd(second.swapaxes(1, 2) @ first)
    u[:, :, 2] *= np.sign(np.linalg.det(u @ vt))[:, None]
    return np.asarray(u @ vt)


def _degrees(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.degrees(Rotation.from_matrix(first.swapaxes(1, 2) @ second).magnitude())


@dataclass
class Measured:
    """Of one hand in F frames; nan where there is nothing to compare."""

    size: np.ndarray  # pixels
    fingers: np.ndarray  # millimetres
    wrist: np.ndarray  # degrees
    net_fingers: np.ndarray
    net_wrist: np.ndarray
    lifter_wrist: np.ndarray
    shown: np.ndarray
    seen: np.ndarray  # bool
    elsewhere: np.ndarray  # bool
    holds: np.ndarray  # bool: a stick


def measure(
    truth: Truth,
    side: int,
    found: tuple[Motion, Placed, Person],
    skeletons: tuple[HandSkeleton, HandSkeleton],
    *,
    holds: bool,
) -> Measured:
    """``found``: result, body without hands, and track; ``skeletons``: the result's hand and the true one."""
    result, placed, person = found
    skeleton, true_skeleton = skeletons
    rows = result.frame - 1
    points, wrists = truth.points[rows, side], truth.wrists[rows, side]
    length = np.linalg.norm(np.diff(true_skeleton.points[[0, 9, 10, 11, 12]], axis=0), axis=1).sum()
    first, second = (truth.points[0, 0, at] / truth.points[0, 0, at, 2] for at in (0, 9))
    focal = np.linalg.norm(truth.pixels[0, 0, 0] - truth.pixels[0, 0, 9]) / np.linalg.norm(first - second)
    size = length * focal / points[:, 0, 2]
    local = np.einsum("fji,fpj->fpi", wrists, points - points[:, :1])
    assert result.hand_poses is not None and result.hand_confidence is not None
    made = _local_points(skeleton, result.hand_poses[:, 15 * side : 15 * side + 15])
    clock = (np.round(result.time * _FPS).astype(int) - round(person.time[0] * _FPS)).clip(0, len(person) - 1)
    hands, is_looked = person.hands[clock, side], person.hand_scores[clock, side] > 0
    seen = result.hand_confidence[:, side] > 0
    metres = hands[..., 2:].astype(float)
    onto = np.tile(np.eye(3), (len(rows), 1, 1))
    own = onto.copy()
    net = is_looked & seen
    if net.any():
        onto[net] = _turned_palm(metres[net], points[net])
        own[net] = _turned_palm(skeleton.points, metres[net])
    turned_net = np.einsum("fij,fpj->fpi", onto, metres - metres[:, _PALM].mean(1, keepdims=True))
    net_fingers = np.linalg.norm(turned_net - (points - points[:, _PALM].mean(1, keepdims=True)), axis=-1)[:, 1:]
    off = np.linalg.norm(hands[..., :2] - truth.pixels[rows, side], axis=-1).mean(1)
    blank = np.where(seen, 1.0, np.nan)
    net_blank = np.where(net, 1.0, np.nan)

    def wrist_error(body: Motion | Placed) -> np.ndarray:
        _, turned = forward_kinematics(body.poses, body.trans, body.rest_joints)
        in_camera = body.camera_R @ turned[:, 20 + side]
        return _degrees(in_camera if isinstance(body, Motion) else in_camera[clock], wrists)

    return Measured(
        size=size, fingers=blank * 1e3 * np.linalg.norm(made - local, axis=-1)[:, 1:].mean(1),
        wrist=blank * wrist_error(result), net_fingers=net_blank * 1e3 * net_fingers.mean(1),
        net_wrist=net_blank * _degrees(own, wrists), lifter_wrist=blank * wrist_error(placed),
        shown=truth.shown[rows, side], seen=seen, elsewhere=net & (off > _ELSEWHERE * size),
        holds=np.full(len(rows), holds),
    )  # fmt: skip


def _local_points(skeleton: HandSkeleton, hand_poses: np.ndarray) -> np.ndarray:
    """Points (F, 21, 3) from the wrist, in its axes, of axis-angle (F, 15, 3)."""
    local = rotation_matrices(hand_poses)
    points = np.zeros((len(local), 21, 3))
    for finger, chain in enumerate(FINGER_POINTS):
        points[:, chain[0]] = skeleton.points[chain[0]]
        turned = np.tile(np.eye(3), (len(local), 1, 1))
        for joint in range(3):
            turned = turned @ local[:, 3 * finger + joint]
            bone = skeleton.points[chain[joint + 1]] - skeleton.points[chain[joint]]
            points[:, chain[joint + 1]] = points[:, chain[joint]] + turned @ bone
    return points


def main() -> None:
    """Draw the films, run the pipeline on them and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--films", type=int, default=6)
    parser.add_argument("--first", type=int, default=0, help="seed of the first film")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--json")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    crew, runner = Crew(()), Runner()
    measured: list[Measured] = []
    for seed in range(options.first, options.first + options.films):
        path = options.folder / f"hands_{seed}.mp4"
        if not path.with_suffix(".npz").is_file():
            draw(seed, crew, path)
        with np.load(path.with_suffix(".npz")) as arrays:
            truth = Truth(**arrays)
        job = options.folder / f"job_{seed}"
        results = runner.run(path, job, person="MAIN")
        tracks = runner.returned["clean_tracks"]
        true_betas = np.random.default_rng(seed).normal(0, 0.7, 10).astype(np.float32)
        truths = of_body(crew.body, true_betas)
        for side, skeleton in enumerate(of_body(runner.body, results[0].betas)):
            found = results[0], runner.returned["place_people"][0], tracks.people[0]
            holds = holding_side(seed) == side
            measured.append(measure(truth, side, found, (skeleton, truths[side]), holds=holds))
    report("Hands of drawn films", *_table(measured), options.json)


def _table(measured: list[Measured]) -> tuple[list[str], list[list[Cell]]]:
    columns = ["hand", "frames", "seen %", "fingers mm", "net mm", "wrist deg", "95th", "net deg", "lifter deg"]
    columns += ["flips", "false"]
    every = {name: np.concatenate([getattr(each, name) for each in measured]) for name in vars(measured[0])}
    rows: list[list[Cell]] = []
    for (low, high), holds in product(SIZES, (False, True)):
        row = (every["size"] >= low) & (every["size"] < high) & (every["holds"] == holds)
        in_view = row & (every["shown"] > _IN_VIEW)
        hand = {name: values[in_view] for name, values in every.items()}
        wrong = row & ((every["seen"] & (every["shown"] < _HIDDEN)) | every["elsewhere"])
        if not in_view.any():
            continue
        mean = {name: float(np.nanmean(hand[name])) if np.isfinite(hand[name]).any() else None for name in
                ("fingers", "net_fingers", "wrist", "net_wrist", "lifter_wrist")}  # fmt: skip
        rows.append([
            (f"{low} to {high} px" if high < 1000 else f"over {low} px") + ", stick" * holds,
            int(in_view.sum()), 100 * float(hand["seen"].mean()),
            mean["fingers"], mean["net_fingers"], mean["wrist"],
            float(np.nanpercentile(hand["wrist"], 95)) if mean["wrist"] is not None else None,
            mean["net_wrist"], mean["lifter_wrist"], int((hand["wrist"] > 90).sum()), int(wrong.sum()),
        ])  # fmt: skip
    return columns, rows


if __name__ == "__main__":
    main()
