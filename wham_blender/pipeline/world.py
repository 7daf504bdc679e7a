"""Puts a lifted person into the animator's world: metres, z up, feet on a floor at z = 0, and the camera beside it.

What the picture shows well (the direction to the person, the body's turn in the camera) is taken from the picture,
what it shows badly (depth, steps) from WHAM's velocities and from planted feet, all in one least-squares problem.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.linalg import spsolve
from scipy.spatial.transform import Rotation

from ..body.body import Body
from .lift import CHUNK, Lift

_UP = np.array([0.0, -1.0, 0.0])  # in WHAM's world
_PLANTED_ABOVE, _LIFTED_BELOW = 0.6, 0.4  # contact probabilities, with hysteresis between
_ROUNDS = 6  # of reweighting

# How far each kind of evidence is off, as standard deviations.
_VELOCITY = 0.01  # metres a frame
_SLIDE = 0.002  # metres a frame that a planted foot moves
_SLIDE_OUTLIER = 0.02  # metres a frame from which on a contact is hardly believed
_FLOOR = 0.005  # metres of a planted foot from the floor
_SIDEWAYS = 0.01  # metres across the line of sight
_DEPTH = 0.1  # of the distance, along the line of sight
_FLOOR_GUESS = 0.1  # metres
_FLOOR_KNOWN = 0.001


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


def planted_feet(contacts: np.ndarray) -> np.ndarray:
    """Contact probabilities (F, 4) to (F, 4) bool with hysteresis, so that a foot does not flicker."""
    level = np.select([contacts > _PLANTED_ABOVE, contacts < _LIFTED_BELOW], [1, 0], -1)
    level[0] = contacts[0] > 0.5
    last_sure = np.maximum.accumulate(np.where(level >= 0, np.arange(len(level))[:, None], 0), 0)
    return np.take_along_axis(level, last_sure, 0) == 1


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
        to_camera = fixed @ _animators_axes(lift.root_world, root_cam, fixed).T
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
    place, floor = _solve(
        steps, feet, planted_feet(lift.contacts), pelvis, to_camera, centre, looks, None if camera is None else 0.0
    )

    if camera is None:
        origin = np.array([*place[0, :2], floor])
        place -= origin
        camera_t = _turned(to_camera, origin - centre) if camera_stays else pelvis - _turned(to_camera, place)
    else:
        camera_t = camera[1]
    poses = lift.poses.astype(np.float64)
    poses[:, 0] = to_world @ root_cam
    return Placed(
        poses=Rotation.from_matrix(poses.reshape(-1, 3, 3)).as_rotvec().reshape(-1, 72).astype(np.float32),
        trans=(place - rest[0]).astype(np.float32),
        betas=betas,
        contacts=np.clip(lift.contacts, 0, 1),
        rest_joints=rest,
        camera_R=to_camera.astype(np.float32),
        camera_t=camera_t.astype(np.float32),
    )


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


def _animators_axes(root_world: np.ndarray, root_cam: np.ndarray, fixed: np.ndarray) -> np.ndarray:
    """(3, 3) from the axes of ``fixed`` to ours: z up, the first frame facing -y.

    Up is the median over the clip of what each frame says, so that the body's tilt comes from the picture alone.
    """
    up = np.median(_turned(fixed.mT @ root_cam @ root_world.mT, _UP), 0)
    up /= np.linalg.norm(up)
    back = -(fixed[0].T @ root_cam[0])[:, 2]
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
    floor: float | None,
) -> tuple[np.ndarray, float]:
    """Pelvis positions (F, 3) in the world and the floor's height that fit all evidence best.

    steps (F - 1, 3): WHAM's movement of the pelvis; feet (F, 4, 3) from the pelvis in world axes; planted (F, 4);
    pelvis (F, 3) in the camera's axes; the camera's to_camera (F, 3, 3) and centre (F, 3); looks (F,): frames in
    which pelvis and camera are to be believed; floor: its height where known.
    """
    count = len(feet)
    unknowns = 3 * count + 1  # the last is the floor
    difference = sparse.kron(sparse.diags_array([-1.0, 1.0], offsets=[0, 1], shape=(count - 1, count)), np.eye(3))
    difference = sparse.hstack([difference, sparse.csr_array((3 * (count - 1), 1))], "csr")
    rows: list[tuple[sparse.sparray, np.ndarray]] = [(difference / _VELOCITY, steps.ravel() / _VELOCITY)]

    # The line of sight: across it x - z X/Z and y - z Y/Z vanish, along it z is about Z.
    sight = np.tile(np.eye(3), (count, 1, 1))
    sight[:, :2, 2] = -pelvis[:, :2] / pelvis[:, 2:]
    sight[:, :2] /= _SIDEWAYS
    sight[:, 2] /= _DEPTH * pelvis[:, 2:]
    if not looks.any():
        looks = np.arange(count) == 0  # nothing else says where the world's origin is
    sight = (sight @ to_camera) * looks[:, None, None]
    seen = np.zeros((count, 3))
    seen[looks, 2] = 1 / _DEPTH
    lines = sparse.hstack([sparse.block_diag(list(sight)), sparse.csr_array((3 * count, 1))])
    rows.append((lines, (seen + _turned(sight, centre)).ravel()))

    slides = np.diff(feet, axis=0)
    both = planted[1:] & planted[:-1]
    trust = both / _SLIDE
    grounded = np.zeros_like(planted)
    guess: list[tuple[sparse.sparray, np.ndarray]] = []
    position = np.empty((count, 3))
    height = 0.0 if floor is None else floor
    vertical = sparse.hstack([sparse.kron(sparse.eye_array(count), [[0, 0, 1]]), -np.ones((count, 1))], "csr")
    last = sparse.csr_array(([1.0], ([0], [unknowns - 1])), shape=(1, unknowns))
    for _ in range(_ROUNDS):
        system = rows + guess
        for foot in range(4):
            weight = np.repeat(trust[:, foot], 3)
            system.append((sparse.diags_array(weight) @ difference, -weight * slides[:, foot].ravel()))
            on_floor = grounded[:, foot] / _FLOOR
            system.append((sparse.diags_array(on_floor) @ vertical, -on_floor * feet[:, foot, 2]))
        if not guess:
            system.append((last, np.array([height])))
        matrix = sparse.vstack([a for a, _ in system], "csc")
        target = np.concatenate([b for _, b in system])
        found = spsolve(matrix.T @ matrix, matrix.T @ target, permc_spec="MMD_AT_PLUS_A")
        position = found[:-1].reshape(-1, 3)
        heights = position[:, None, 2] + feet[..., 2]
        if not guess:
            height = float(np.percentile(heights.min(1), 10)) if floor is None else floor
            weight = 1 / (_FLOOR_GUESS if floor is None else _FLOOR_KNOWN)
            guess = [(last * weight, np.array([height * weight]))]
        else:
            height = float(found[-1])
        grounded = planted | (heights < height)
        slid = np.linalg.norm(np.diff(position, axis=0)[:, None] + slides, axis=-1)
        trust = both / _SLIDE / np.sqrt(1 + (slid / _SLIDE_OUTLIER) ** 2)
    return position, float(height)
