"""Puts a lifted person into the animator's world: metres, z up, feet on a floor at z = 0, and the camera beside it.

What the picture shows well (the direction to the person, the body's turn in the camera) is taken from the picture,
what it shows badly (depth, steps) from WHAM's velocities and from planted feet, all in one least-squares problem.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from scipy.linalg import solveh_banded
from scipy.ndimage import gaussian_filter1d, maximum_filter1d
from scipy.spatial.transform import Rotation

from ..body.body import Body
from ..motion import planted
from .lift import CHUNK, Lift

_UP = np.array([0.0, -1.0, 0.0])  # in WHAM's world
_ROUNDS = 10  # of reweighting

# How far each kind of evidence is off, as standard deviations.
_VELOCITY = 0.01  # metres a frame
_ACCELERATION = 0.005  # metres a frame squared
_SLIDE = 0.004  # metres a frame that a planted foot moves
_SLIDE_OUTLIER = 0.02  # metres a frame from which on a contact is hardly believed
_FLOOR = 0.01  # metres of a planted foot from the floor
_LOWEST = 0.1  # metres of a frame's lowest foot point from the floor
_STOREY = 0.3  # metres from which on a foot rather stands on something else, or flies
_SIDEWAYS = 0.02  # metres across the line of sight
_DEPTH = 0.025  # of the distance, along the line of sight
_FLOOR_GUESS = 0.1  # metres
_SLOPE_GUESS = 0.01  # of WHAM's idea of level: about 3 degrees, but one error for many frames
_KNOWN = 1e-4  # of a floor that was found before

_SUNK = 0.02  # metres into the floor that shoes and soft ground excuse
_EASE = 6  # frames in which a person who sank deeper is raised and let go


@dataclass
class Placed:
    """One person's movement in the animator's world, float32, fields as in ``Motion``."""

    poses: np.ndarray  # (F, 72) axis-angle, radians
    trans: np.ndarray  # (F, 3) metres: the pelvis is at rest_joints[0] + trans
    betas: np.ndarray  # (10,)
    contacts: np.ndarray  # (F, 4) 0..1
    rest_joints: np.ndarray  # (24, 3) metres, y up
    camera_R: np.ndarray  # (F, 3, 3) world to camera
    camera_t: np.ndarray  # (F, 3) metres


def reference_world(lift: Lift) -> tuple[np.ndarray, np.ndarray]:
    """WHAM's own world turned y up: root orientations (F, 3, 3) and the middle of the hips (F, 3)."""
    turn = np.diag([1.0, -1.0, -1.0]).astype(np.float32)
    return turn @ lift.root_world, lift.trans_world @ turn


def place(
    lift: Lift,
    body: Body,
    *,
    camera_R: np.ndarray | None = None,
    camera_stays: bool = True,
    camera: tuple[np.ndarray, np.ndarray] | None = None,
    seen: np.ndarray | None = None,
) -> Placed:
    """Place a person of F frames so that the planted feet stand and the camera sees the person where the clip does.

    camera_R (F, 3, 3): the camera's rotations from any fixed axes, None for a still camera; camera_stays: the
    camera turns at most, its place is one; camera: world-to-camera rotations (F, 3, 3) and translations (F, 3)
    of a world in which somebody was placed before, to put this person beside them; seen (F,) bool: frames in which
    the picture showed the person.
    Without ``camera`` the first frame's pelvis is over the origin and its front is towards -y.
    """
    betas = np.median(lift.betas, 0)
    rest = body.rest_joints(torch.from_numpy(betas).to(body.smpl.v_template.device)).cpu().numpy()
    hips, feet = _around_pelvis(lift, body, betas, rest[0])
    pelvis = lift.trans_cam - hips
    root_cam = lift.poses[:, 0].astype(np.float64)
    if camera is None:
        fixed = np.broadcast_to(np.eye(3), root_cam.shape) if camera_R is None else camera_R.astype(np.float64)
        # Up is the median of what each frame says, so that the body's tilt comes from the picture alone.
        up = np.median(_turned(fixed.mT @ root_cam @ lift.root_world.mT, _UP), 0)
        to_camera = fixed @ _axes(up, -(fixed[0].T @ root_cam[0])[:, 2]).T
        centre = np.zeros_like(pelvis)
    else:
        to_camera = camera[0].astype(np.float64)
        centre = -_turned(to_camera.mT, camera[1])
    to_world = to_camera.mT

    steps = np.diff(lift.trans_world + _turned(lift.root_world @ root_cam.mT, -hips), axis=0)
    steps = _turned((to_world @ root_cam @ lift.root_world.mT)[1:], steps)
    seen = np.ones(len(pelvis), bool) if seen is None else seen
    looks = seen & (camera_stays or camera is not None)
    feet = np.einsum("nij,nkj->nki", to_world, feet)
    position, floor = _solve(steps, feet, planted(lift.contacts), pelvis, to_camera, centre, looks, camera is not None)

    if camera is None:
        # Level the floor that was found, then put the first pelvis over the origin.
        normal = np.array([-floor[1], -floor[2], 1.0])
        turn = _axes(normal, -(to_world[0] @ root_cam[0])[:, 2])
        to_camera, to_world = to_camera @ turn.T, turn @ to_world
        position, feet = position @ turn.T, feet @ turn.T
        origin = np.array([*position[0, :2], (turn @ [0, 0, floor[0]])[2]])
        position -= origin
        camera_t = _turned(to_camera, origin) if camera_stays else pelvis - _turned(to_camera, position)
    else:
        camera_t = camera[1]
    position[:, 2] += _out_of_the_floor((position[:, None] + feet)[..., 2].min(1))
    poses = lift.poses.astype(np.float64)
    poses[:, 0] = to_world @ root_cam
    return Placed(
        poses=Rotation.from_matrix(poses.reshape(-1, 3, 3)).as_rotvec().reshape(-1, 72).astype(np.float32),
        trans=(position - rest[0]).astype(np.float32),
        betas=betas,
        contacts=np.clip(lift.contacts, 0, 1),
        rest_joints=rest,
        camera_R=to_camera.astype(np.float32),
        camera_t=camera_t.astype(np.float32),
    )


def _out_of_the_floor(lowest: np.ndarray) -> np.ndarray:
    """How far to raise each frame (F,) so that its lowest foot (F,) does not sink, without a step in time."""
    sunk = np.clip(-lowest - _SUNK, 0, _STOREY)
    return gaussian_filter1d(maximum_filter1d(sunk, 2 * _EASE + 1), _EASE / 3)


def _turned(rotations: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    return np.einsum("...ij,...j->...i", rotations, vectors)


@torch.inference_mode()
def _around_pelvis(lift: Lift, body: Body, betas: np.ndarray, pelvis: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The middle of the hips (F, 3) and the feet (F, 4, 3) from the pelvis, in the camera's axes, for one shape."""
    device = body.smpl.v_template.device
    hips, feet = [], []
    for begin in range(0, len(lift.poses), CHUNK):
        poses = torch.from_numpy(lift.poses[begin : begin + CHUNK]).to(device)
        points = body.landmarks(poses, torch.from_numpy(betas).to(device).expand(len(poses), -1))
        hips.append(points.offset.cpu().numpy() - pelvis)
        feet.append(points.feet.cpu().numpy() + hips[-1][:, None])
    return np.concatenate(hips).astype(np.float64), np.concatenate(feet).astype(np.float64)


def _axes(up: np.ndarray, back: np.ndarray) -> np.ndarray:
    """Rows (3, 3) of the axes whose z is ``up`` and whose y is as nearly ``back`` as that allows."""
    up = up / np.linalg.norm(up)
    x = np.cross(back, up)
    x /= np.linalg.norm(x)
    return np.stack([x, np.cross(up, x), up])


def _solve(
    steps: np.ndarray,
    feet: np.ndarray,
    planted: np.ndarray,
    pelvis: np.ndarray,
    to_camera: np.ndarray,
    centre: np.ndarray,
    looks: np.ndarray,
    level: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Pelvis positions (F, 3) in the world, and the floor's height and slopes (3,), that fit all evidence best.

    steps (F - 1, 3): WHAM's movement of the pelvis; feet (F, 4, 3) from the pelvis in world axes; planted (F, 4);
    pelvis (F, 3) in the camera's axes; the camera's to_camera (F, 3, 3) and centre (F, 3); looks (F,): frames in
    which pelvis and camera are to be believed; level: the floor is known to be z = 0.
    """
    count = len(feet)

    def columns(matrix: sparse.sparray, floor: np.ndarray | None = None) -> sparse.csr_array:
        last = sparse.csr_array((matrix.shape[0], 3)) if floor is None else floor
        return sparse.hstack([matrix, last], "csr")

    frames = sparse.eye_array(count, format="csr")
    stepped = frames[1:] - frames[:-1]
    difference = columns(sparse.kron(stepped, np.eye(3)))
    bend = columns(sparse.kron(stepped[1:] - stepped[:-1], np.eye(3)))
    # The line of sight: across it x - z X/Z and y - z Y/Z vanish, along it z is about Z.
    sight = np.tile(np.eye(3), (count, 1, 1))
    sight[:, :2, 2] = -pelvis[:, :2] / pelvis[:, 2:]
    sight[:, :2] /= _SIDEWAYS
    sight[:, 2] /= _DEPTH * pelvis[:, 2:]
    anchored = looks if looks.any() else np.arange(count) == 0  # else nothing says where the world's origin is
    sight = (sight @ to_camera) * anchored[:, None, None]
    seen = _turned(sight, centre)
    seen[anchored, 2] += 1 / _DEPTH
    blocks = sparse.bsr_array((sight, np.arange(count), np.arange(count + 1)))
    always = [
        (difference / _VELOCITY, steps.ravel() / _VELOCITY),
        (bend / _ACCELERATION, np.zeros(bend.shape[0])),
        (columns(blocks), seen.ravel()),
    ]

    slides = np.diff(feet, axis=0)
    both = planted[1:] & planted[:-1]
    trust = both / _SLIDE
    # At first no floor: it is looked for where the picture says that the feet are, else where most steps lead.
    grounded = planted / _STOREY * (not looks.any())
    guess = np.zeros(3)
    sure = np.array([1 if level else 1e-3 * _KNOWN, 1, 1]) / _KNOWN
    position = np.zeros((count, 3))
    for number in range(_ROUNDS):
        points = position[:, None] + feet
        system = [*always, (columns(sparse.csr_array((3, 3 * count)), np.diag(sure)), sure * guess)]
        for foot in range(4):
            weight = np.repeat(trust[:, foot], 3)
            system.append((sparse.diags_array(weight) @ difference, -weight * slides[:, foot].ravel()))
            stands = np.flatnonzero(grounded[:, foot])
            weight = grounded[stands, foot]
            height = sparse.csr_array(
                (weight, (np.arange(len(stands)), 3 * stands + 2)), shape=(len(stands), 3 * count)
            )
            floor = -np.insert(points[stands, foot, :2], 0, 1, axis=1)
            system.append((columns(height, weight[:, None] * floor), -weight * feet[stands, foot, 2]))
        matrix = sparse.vstack([a for a, _ in system], "csc")
        target = np.concatenate([b for _, b in system])
        position, plane = _least_squares(matrix, target)
        points = position[:, None] + feet
        if number == 0 and not level:
            guess = np.array([np.percentile(points[..., 2].min(1), 10), 0, 0])
            sure = 1 / np.array([_FLOOR_GUESS, _SLOPE_GUESS, _SLOPE_GUESS])
            plane = guess
        heights = points[..., 2] - points[..., :2] @ plane[1:] - plane[0]
        lowest = heights == heights.min(1, keepdims=True)
        # Planted feet stand on the floor and none is below it; the lowest is near it most of the time. What is far
        # from the floor, a roof or a leap, is left where the picture has it.
        grounded = np.where(planted | (heights < 0), 1 / _FLOOR, lowest / _LOWEST) / (1 + (heights / _STOREY) ** 2) ** 2
        slid = np.linalg.norm(np.diff(points, axis=0), axis=-1)
        trust = both / _SLIDE / np.sqrt(1 + (slid / _SLIDE_OUTLIER) ** 2)
    return position, plane


def _least_squares(matrix: sparse.csc_array, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions (F, 3) and the floor's (3,) that bring ``matrix @ (positions, floor)`` nearest to ``target``.

    A frame's rows touch two neighbours at most, so the normal equations are a band bordered by the floor's columns.
    """
    normal, right = (matrix.T @ matrix).tocsr(), matrix.T @ target
    core, border = normal[:-3, :-3], normal[:-3, -3:].toarray()
    size = core.shape[0]
    band = np.zeros((min(9, size), size))
    for below in range(len(band)):
        band[below, : size - below] = core.diagonal(-below)
    solved = solveh_banded(band, np.column_stack([right[:-3], border]), lower=True)
    rest = normal[-3:, -3:].toarray() - border.T @ solved[:, 1:]
    floor = np.linalg.solve(rest, right[-3:] - border.T @ solved[:, 0])
    return (solved[:, 0] - solved[:, 1:] @ floor).reshape(-1, 3), floor
