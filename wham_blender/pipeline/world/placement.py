"""Puts a lifted person into the animator's world: metres, z up, feet on a floor at z = 0, and the camera beside it.

What the picture shows well (the direction to the person, the body's turn in the camera) is taken from the picture,
what it shows badly (depth, steps) from WHAM's velocities and from planted feet, all in one least-squares problem.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from scipy import sparse
from scipy.linalg import solveh_banded
from scipy.ndimage import gaussian_filter1d, maximum_filter1d, median_filter
from scipy.spatial.transform import Rotation

from ...body.body import Body
from ...motion import LIFTED_BELOW, PLANTED_ABOVE, forward_kinematics, planted, rotation_matrices
from ..pose.types import WhamTrack
from ..pose.wham_inference import CHUNK
from .calibration import Calibration
from .foot_contacts import borne, contact_probability
from .foot_locking import hold
from .gravity import balance, upward

Judge = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]  # as `contact_probability`

_UP = np.array([0.0, -1.0, 0.0])  # in WHAM's world
_ROUNDS = 10  # of reweighting
_LOOKS = 3  # at how the feet move in the world, each for better contacts and then a better world

# How far each kind of evidence is off, as standard deviations.
_GLANCE = 15  # frames: a foot that is hidden for less than half of them counts as seen
_ACCELERATION = 0.005  # metres a frame squared
_SLIDE = 0.004  # metres a frame that a planted foot moves
_SLIDE_OUTLIER = 0.02  # metres a frame from which on a contact is hardly believed
_FLOOR = 0.01  # metres of a planted foot from the floor
_LOWEST = 0.1  # metres of a frame's lowest foot point from the floor
_STOREY = 0.3  # metres from which on a foot rather stands on something else, or flies
_STAIR = 0.06  # the same where people climb
_SIDEWAYS = 0.02  # metres across the line of sight
_DEPTH = 0.025  # of the distance, along the line of sight
_FLOOR_GUESS = 0.1  # metres
_SLOPE_GUESS = 0.003  # of the first idea of level: it is off by more, but so are feet, and by the same in many frames
_HILL = 0.15  # slope from which on it is no error of level: people climb stairs, or a hill
_KNOWN = 1e-4  # of a floor that was found before
_CAMERA_ACCELERATION = 0.004  # metres a frame squared, of a camera that travels

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


@dataclass
class Seen:
    """One person to be placed: F frames of the clip's 30 fps clock, from frame ``first`` on."""

    lift: WhamTrack
    first: int = 0
    visible: np.ndarray | None = None  # (F,) bool: frames in which the picture showed the person; None: in all
    feet_seen: np.ndarray | None = None  # (F, 2) bool: and the left and the right foot; None: in all


def place_together(
    people: Sequence[Seen],
    body: Body,
    calibration: Calibration,
    *,
    camera_R: np.ndarray | None = None,
    camera_stays: bool = True,
    judge: Judge | None = None,
) -> list[Placed]:
    """Place people so that their planted feet stand on one floor and one camera sees them where the clip does.

    camera_R (T, 3, 3): the camera's rotations from any fixed axes, at all frames of the clock that somebody has,
    None for a static camera; camera_stays: the camera rotates at most, its position is one; judge: contact
    probabilities from the evidence of `foot_contacts`, None: by the calibration's weights.
    The first person's first pelvis is over the origin and its front is towards -y.
    """
    judge = judge or _judge(calibration)
    bodies = [_Figure(person, body, calibration) for person in people]
    count = max(figure.rows.stop for figure in bodies)
    fixed = np.broadcast_to(np.eye(3), (count, 3, 3)) if camera_R is None else camera_R.astype(np.float64)
    up = upward(
        fixed,
        np.concatenate([_turned(figure.to_root(fixed).mT, _UP) for figure in bodies]),
        np.concatenate([figure.balance(fixed) for figure in bodies]),
    )
    lead = bodies[0]
    to_camera = fixed @ _axes(up, -(fixed[lead.rows][0].T @ lead.root_cam[0])[:, 2]).T
    centre = np.zeros((count, 3)) if camera_stays else None
    for number in range(_LOOKS):
        positions, _, _ = _solve(bodies, to_camera, centre)
        for figure, position in zip(bodies, positions, strict=True):
            feet = np.einsum("nji,nkj->nki", to_camera[figure.rows], figure.feet) + position[:, None]
            if centre is None and number == 0:  # only WHAM says yet how the body moves, and it may take a step for none
                feet = borne(feet)
            figure.contacts = judge(figure.lift.contacts, feet, position, figure.hidden)
    positions, centre, floor = _solve(bodies, to_camera, centre)

    # Level the floor that was found, then put the first pelvis over the origin.
    to_world = to_camera.mT
    normal = np.array([-floor[1], -floor[2], 1.0])
    turn = _axes(normal, -(to_world[lead.rows][0] @ lead.root_cam[0])[:, 2])
    to_camera, to_world = to_camera @ turn.T, turn @ to_world
    origin = np.array([*(positions[0] @ turn.T)[0, :2], (turn @ [0, 0, floor[0]])[2]])
    positions = [position @ turn.T - origin for position in positions]
    camera_t = -_turned(to_camera, centre @ turn.T - origin)
    placed = [
        figure.placed(position, to_world, to_camera, camera_t)
        for figure, position in zip(bodies, positions, strict=True)
    ]
    return centred(placed)


def _judge(calibration: Calibration) -> Judge:
    """Contact probabilities by a calibration."""
    if calibration.contact_weights is None:
        return lambda contacts, feet, pelvis, hidden: np.clip(contacts, 0, 1)
    return partial(contact_probability, weights=np.array(calibration.contact_weights))


def centred(people: Sequence[Placed]) -> list[Placed]:
    """People of one world with the first one's first pelvis over the origin, from where holding feet may move it."""
    aside = (people[0].trans[0] + people[0].rest_joints[0]) * np.array([1, 1, 0], np.float32)
    return [replace(each, trans=each.trans - aside, camera_t=each.camera_t + each.camera_R @ aside) for each in people]


class _Figure:
    """A person's body in the camera's axes, and what is known of its way."""

    def __init__(self, person: Seen, body: Body, calibration: Calibration) -> None:
        lift = person.lift
        self.calibration = calibration
        self.lift, self.rows = lift, slice(person.first, person.first + len(lift.poses))
        self.betas = np.median(lift.betas, 0)
        rest = body.rest_joints(torch.from_numpy(self.betas).to(body.smpl.v_template.device))
        self.rest = rest.cpu().numpy()
        self._body = body
        hips, self.feet = around_pelvis(lift.poses, body, self.betas, self.rest[0])
        self.pelvis = lift.trans_cam - hips
        self.root_cam = lift.poses[:, 0].astype(np.float64)
        self.contacts = np.zeros_like(lift.contacts)  # at first: a wrong one would hold a leap down
        self.visible = np.ones(len(hips), bool) if person.visible is None else person.visible
        seen = np.ones((len(hips), 2), bool) if person.feet_seen is None else person.feet_seen
        # A foot behind the other leg for a moment is no hidden one.
        self.hidden = np.repeat(median_filter(~seen, (_GLANCE, 1), mode="nearest"), 2, axis=1)
        self._hips = hips

    @property
    def planted(self) -> np.ndarray:
        """Which foot points (F, 4) stand."""
        return planted(self.contacts)

    @property
    def pace_trust(self) -> np.ndarray:
        """How far each of WHAM's steps (F - 1,) is to be believed, 0..1."""
        known = self.calibration
        return 1 - (1 - known.first_trust) * np.exp(-np.arange(1, len(self.hidden)) / known.trust_frames)

    def to_root(self, to_camera: np.ndarray) -> np.ndarray:
        """Rotations (F, 3, 3) from the world of to_camera (T, 3, 3) to WHAM's."""
        return self.lift.root_world @ self.root_cam.mT @ to_camera[self.rows]

    def balance(self, to_camera: np.ndarray) -> np.ndarray:
        """`level.balance` of every frame (F, 3), in the world of to_camera (T, 3, 3)."""
        joints = forward_kinematics(rotation_vectors(self.lift.poses), -self.rest[0], self.rest)[0]
        to_world = to_camera[self.rows].mT
        joints, feet = (np.einsum("fij,fnj->fni", to_world, each) for each in (joints, self.feet))
        return balance(joints, feet, self.lift.contacts)

    def steps(self, to_camera: np.ndarray) -> np.ndarray:
        """WHAM's movement (F - 1, 3) of the pelvis, metres, in the world."""
        pelvis = self.lift.trans_world + _turned(self.lift.root_world @ self.root_cam.mT, -self._hips)
        return _turned(self.to_root(to_camera).mT[1:], np.diff(pelvis, axis=0))

    def placed(self, position: np.ndarray, to_world: np.ndarray, to_camera: np.ndarray, camera_t: np.ndarray) -> Placed:
        """The person with the pelvis at position (F, 3), under the camera of all frames."""
        poses = self.lift.poses.astype(np.float64)
        poses[:, 0] = to_world[self.rows] @ self.root_cam
        feet = np.einsum("nij,nkj->nki", to_world[self.rows], self.feet) + position[:, None]
        position = position + np.outer(out_of_the_floor(feet[..., 2].min(1)), [0, 0, 1])
        whole = Placed(
            poses=rotation_vectors(poses).astype(np.float32),
            trans=(position - self.rest[0]).astype(np.float32),
            betas=self.betas,
            contacts=self.contacts.astype(np.float32),
            rest_joints=self.rest,
            camera_R=to_camera[self.rows].astype(np.float32),
            camera_t=camera_t[self.rows].astype(np.float32),
        )
        return settled(whole, self._body)


def settled(placed: Placed, body: Body) -> Placed:
    """The same person with planted feet that stand still: see `stance.hold`."""
    rest = placed.rest_joints.astype(np.float64)
    poses, pelvis, stands = hold(
        rotation_matrices(placed.poses.reshape(-1, 24, 3)), placed.trans + rest[0], rest, planted(placed.contacts),
        lambda posed: around_pelvis(posed, body, placed.betas, placed.rest_joints[0])[1],
    )  # fmt: skip
    return replace(
        placed,
        poses=rotation_vectors(poses).astype(np.float32),
        trans=(pelvis - rest[0]).astype(np.float32),
        contacts=_agreeing(placed.contacts, stands).astype(np.float32),
    )


def _agreeing(contacts: np.ndarray, stands: np.ndarray) -> np.ndarray:
    """Contacts (F, 4) that say, to whoever reads them with `planted`, that exactly those points (F, 4) stand."""
    return np.where(stands, np.maximum(contacts, PLANTED_ABOVE + 0.05), np.minimum(contacts, LIFTED_BELOW - 0.05))


def out_of_the_floor(lowest: np.ndarray) -> np.ndarray:
    """How far to raise each frame (F,) so that its lowest foot (F,) does not sink, without a step in time."""
    sunk = np.clip(-lowest - _SUNK, 0, _STOREY)
    return gaussian_filter1d(maximum_filter1d(sunk, 2 * _EASE + 1), _EASE / 3)


def rotation_vectors(poses: np.ndarray) -> np.ndarray:
    """Matrices (F, 24, 3, 3) to axis-angle (F, 72)."""
    return Rotation.from_matrix(poses.reshape(-1, 3, 3)).as_rotvec().reshape(-1, 72)


def _turned(rotations: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    return np.einsum("...ij,...j->...i", rotations, vectors)


@torch.inference_mode()
def around_pelvis(
    poses: np.ndarray, body: Body, betas: np.ndarray, pelvis: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The middle of the hips (F, 3) and the feet (F, 4, 3) from the pelvis, in the axes of poses (F, 24, 3, 3)."""
    device = body.smpl.v_template.device
    hips, feet = [], []
    for begin in range(0, len(poses), CHUNK):
        part = torch.from_numpy(poses[begin : begin + CHUNK].astype(np.float32)).to(device)
        points = body.landmarks(part, torch.from_numpy(betas).to(device).expand(len(part), -1))
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
    people: Sequence[_Figure], to_camera: np.ndarray, centre: np.ndarray | None
) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Everybody's pelvis (F, 3), the camera's centre (T, 3) and the floor's height and slopes (3,) that fit best.

    to_camera (T, 3, 3): the camera's rotations; centre (T, 3): where it is, None where that is to be found.
    """
    count, travels = len(to_camera), centre is None
    known = np.zeros((count, 3)) if centre is None else centre
    block = 3 * (len(people) + travels)  # columns of a frame: the camera's, then everybody's; the floor's are last

    def columns(first: int, rows: slice) -> sparse.csr_array:
        where = (block * np.arange(rows.start, rows.stop)[:, None] + first + np.arange(3)).ravel()
        return sparse.csr_array(
            (np.ones(len(where)), (np.arange(len(where)), where)), shape=(len(where), block * count + 3)
        )

    floor_columns = sparse.eye_array(3, block * count + 3, k=block * count, format="csr")
    always: list[tuple[sparse.sparray, np.ndarray]] = []
    if travels:
        camera = columns(0, slice(0, count))
        bend = _differences(count, 2) @ camera
        always += [(bend / _CAMERA_ACCELERATION, np.zeros(bend.shape[0])), (camera[:3] / _KNOWN, np.zeros(3))]
        # Where nobody tells, it stays.
        always.append((_differences(count, 1) @ camera, np.zeros(3 * (count - 1))))
    selves = []
    for number, person in enumerate(people):
        self = columns(block - 3 * (len(people) - number), person.rows)
        selves.append(self)
        absent = np.setdiff1d(np.arange(count), np.arange(person.rows.start, person.rows.stop))
        if len(absent):
            nowhere = columns(block - 3 * (len(people) - number), slice(0, count))[
                (3 * absent[:, None] + np.arange(3)).ravel()
            ]
            always.append((nowhere, np.zeros(nowhere.shape[0])))
        pace = np.repeat(person.pace_trust / person.calibration.velocity, 3)
        always.append((
            sparse.diags_array(pace) @ _differences(len(person.pelvis), 1) @ self,
            pace * person.steps(to_camera).ravel(),
        ))  # fmt: skip
        bend = _differences(len(person.pelvis), 2) @ self
        always.append((bend / _ACCELERATION, np.zeros(bend.shape[0])))
        blocks, seen = _sight(person, to_camera[person.rows])
        if travels:
            always.append((blocks @ (self - columns(0, person.rows)), seen))
        else:
            always.append((blocks @ self, seen + blocks @ known[person.rows].ravel()))

    feet = [np.einsum("nji,nkj->nki", to_camera[person.rows], person.feet) for person in people]
    both = [person.planted[1:] & person.planted[:-1] for person in people]
    trust = [each / _SLIDE for each in both]
    # At first no floor: it is looked for where the picture says that the feet are, else where most steps lead.
    lost = travels or not any(person.visible.any() for person in people)
    grounded = [person.planted / _STOREY * lost for person in people]
    guess, storey = np.zeros(3), _STOREY
    sure = np.array([1e-3 * _KNOWN, 1, 1]) / _KNOWN
    positions = [np.zeros((len(person.pelvis), 3)) for person in people]
    for number in range(_ROUNDS):
        system = [*always, (sparse.diags_array(sure) @ floor_columns, sure * guess)]
        for self, position, points, held, stands in zip(selves, positions, feet, trust, grounded, strict=True):
            difference = _differences(len(points), 1) @ self
            for foot in range(4):
                weight = np.repeat(held[:, foot], 3)
                system.append(
                    (sparse.diags_array(weight) @ difference, -weight * np.diff(points[:, foot], axis=0).ravel())
                )
                rows = np.flatnonzero(stands[:, foot])
                weight = stands[rows, foot]
                below = np.insert(points[rows, foot, :2] + position[rows, :2], 0, 1, axis=1)
                height = self[3 * rows + 2] - sparse.csr_array(below) @ floor_columns
                system.append((sparse.diags_array(weight) @ height, -weight * points[rows, foot, 2]))
        matrix = sparse.vstack([a for a, _ in system], "csc")
        solution, plane = _least_squares(matrix, np.concatenate([b for _, b in system]), 3 * block)
        frames = solution.reshape(count, -1, 3)
        positions = [frames[person.rows, travels + row] for row, person in enumerate(people)]
        points = [position[:, None] + around for position, around in zip(positions, feet, strict=True)]
        if number == 0:
            lowest = np.concatenate([each[..., 2].min(1) for each in points])
            guess = np.array([np.percentile(lowest, 10), 0, 0])
            sure = 1 / np.array([_FLOOR_GUESS, _SLOPE_GUESS, _SLOPE_GUESS])
            plane = guess
        elif np.hypot(*plane[1:]) > _HILL:
            sure[1:], storey = 1 / _KNOWN, _STAIR
            plane = guess
        grounded = [_standing(each, person.planted, plane, storey) for each, person in zip(points, people, strict=True)]
        slid = [np.linalg.norm(np.diff(each, axis=0), axis=-1) for each in points]
        trust = [b / _SLIDE / np.sqrt(1 + (s / _SLIDE_OUTLIER) ** 2) for b, s in zip(both, slid, strict=True)]
    return positions, frames[:, 0] if travels else known, plane


def _differences(count: int, order: int) -> sparse.csr_array:
    """Takes (count, 3) vectors, flat, to their first or second differences."""
    frames = sparse.eye_array(count, format="csr")
    for _ in range(order):
        frames = frames[1:] - frames[:-1]
    return sparse.csr_array(sparse.kron(frames, np.eye(3)))


def _sight(person: _Figure, to_camera: np.ndarray) -> tuple[sparse.bsr_array, np.ndarray]:
    """What the picture says of the pelvis as seen from the camera: rows and target.

    Across the line of sight x - z X/Z and y - z Y/Z vanish, along it z is about Z.
    """
    pelvis, count = person.pelvis, len(person.pelvis)
    sight = np.tile(np.eye(3), (count, 1, 1))
    sight[:, :2, 2] = -pelvis[:, :2] / pelvis[:, 2:]
    sight[:, :2] /= _SIDEWAYS
    sight[:, 2] /= _DEPTH * pelvis[:, 2:]
    # If nobody is ever seen, nothing else says where the world's origin is.
    looks = person.visible if person.visible.any() else np.arange(count) == 0
    target = np.zeros((count, 3))
    target[looks, 2] = 1 / _DEPTH
    blocks = (sight @ to_camera) * looks[:, None, None]
    return sparse.bsr_array((blocks, np.arange(count), np.arange(count + 1))), target.ravel()


def _standing(points: np.ndarray, planted: np.ndarray, floor: np.ndarray, storey: float) -> np.ndarray:
    """How strongly each foot point (F, 4, 3) is held to the floor.

    Planted feet stand on it and none is below it; the lowest is near it most of the time. What is far from the floor,
    a roof or a leap, is left where the picture has it.
    """
    heights = points[..., 2] - points[..., :2] @ floor[1:] - floor[0]
    lowest = heights == heights.min(1, keepdims=True)
    return np.where(planted | (heights < 0), 1 / _FLOOR, lowest / _LOWEST) / (1 + (heights / storey) ** 2) ** 2


def _least_squares(matrix: sparse.csc_array, target: np.ndarray, reach: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames (n,) and the floor (3,) that bring ``matrix @ (frames, floor)`` nearest to ``target``.

    A row touches columns at most ``reach`` apart, so the normal equations are a band bordered by the floor's columns.
    """
    normal, right = (matrix.T @ matrix).tocsr(), matrix.T @ target
    core, border = normal[:-3, :-3], normal[:-3, -3:].toarray()
    size = core.shape[0]
    band = np.zeros((min(reach, size), size))
    for below in range(len(band)):
        band[below, : size - below] = core.diagonal(-below)
    solved = solveh_banded(band, np.column_stack([right[:-3], border]), lower=True)
    rest = normal[-3:, -3:].toarray() - border.T @ solved[:, 1:]
    floor = np.linalg.solve(rest, right[-3:] - border.T @ solved[:, 0])
    return solved[:, 0] - solved[:, 1:] @ floor, floor
