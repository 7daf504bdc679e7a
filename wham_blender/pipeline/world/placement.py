"""Placement: puts people from WHAM's output into one metric world, z up, floor at z = 0, together with the camera.

The picture gives the direction to the person and the body's orientation in the camera well, but depth and steps badly.
Those come from WHAM's root velocity and from planted feet. All are terms of one linear least-squares problem over the
pelvis in every frame, the camera's position and the floor, reweighted against outliers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from scipy import sparse
from scipy.linalg import solveh_banded
from scipy.ndimage import gaussian_filter1d, maximum_filter1d, median_filter
from scipy.spatial.transform import Rotation

from ...body.body import Body
from ...motion import LIFTED_BELOW, PLANTED_ABOVE, forward_kinematics, planted, rotation_matrices
from ...quaternions import in_parts
from ..pose.types import WhamTrack
from ..pose.wham_inference import CHUNK, FPS
from .calibration import Calibration
from .camera_path import Background, FeetInCamera
from .floor import evidence_of_steps, level_of, slope_of_steps, steps
from .foot_contacts import contact_probability, relative_to_support_foot, without_seen_steps
from .foot_locking import lock_feet
from .gravity import UpEvidence, estimate_up, evidence_of_body, evidence_of_ground, up_from_balance

ContactModel = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]  # as `contact_probability`

_WHAM_UP = np.array([0.0, -1.0, 0.0])  # in WHAM's world
_REWEIGHTINGS = 10  # solutions of the least-squares problem, each with the weights of the one before
_CONTACT_ITERATIONS = 3  # of solving the world and then estimating contacts from the feet's motion in it

# An occlusion window: a foot counts as hidden if it is hidden in most of so many frames. A foot that is behind the
# other leg for a moment must not count as hidden. Set by hand.
_OCCLUSION_WINDOW = 15

# Standard deviations of the terms, all set by hand; _ACROSS_STD and _DEPTH_STD judged on tests/clips/walk_and_jump.mp4.
# Of the pelvis, metres a frame squared, where it moves calmly; otherwise see `_acceleration_std`.
_ACCELERATION_STD = 0.005
# Of WHAM's velocity over the calibration's, along x, y and up. WHAM has 5 to 50 % of the true rise and fall, measured
# on simulated scenes of training motion: at full weight it takes the bounce from runs and the height from jumps.
_VELOCITY_AXES = np.array([1.0, 1.0, 3.0])
_SLIDE_STD = 0.004  # metres a frame that a planted foot moves
# The gains of `_Figure`, set by hand on made films of training walks seen from behind and from the front, whose legs
# swing by 0.35 to 0.5 of the truth along the line of sight: their standard deviation until they are estimated, the
# frames over which displacements are averaged, and the metres a frame below which they stay near 1.
_GAIN_STD, _GAIN_FRAMES, _GAIN_DOUBT = 2.5, 12.0, 0.004
_MIN_GAIN, _MAX_GAIN = 1.15, 3.0  # a smaller one may be an error of the depth, and counts as 1
_SLIDE_OUTLIER = 0.02  # metres a frame beyond which a contact loses most of its weight
_FLOOR_STD = 0.01  # metres of a planted foot from the floor
_LOWEST_STD = 0.1  # metres of a frame's lowest foot point from the floor
_ACROSS_STD = 0.01  # metres across the line of sight; 7 to 11 mm on simulated scenes of training motion
_DEPTH_STD = 0.025  # along the line of sight, as a fraction of the distance
_FLOOR_HEIGHT_STD = 0.1  # metres, of the first guess of the floor's height
_ACCELERATION_SMOOTHING = 1.5  # frames: of the positions from which the acceleration is computed
_ACCELERATION_FRAMES = 5.0  # over which its square is averaged
_FIXED_STD = 1e-4  # of what is practically fixed
_ALMOST_FREE = 100.0  # metres from the floor, for a path that must not be bent level: only that it is not undetermined
_KNOWN_STEP_STD = 0.005  # metres: of a camera's step from frame to frame
_CAMERA_ACCELERATION_STD = 0.004  # metres a frame squared, of a camera that moves

# Set by hand: from these distances to the floor on, metres, a foot is on something else, or in the air.
_OFF_FLOOR = 0.3
_OFF_FLOOR_ON_SLOPE = 0.06  # the same if the person climbs

_PENETRATION_TOLERANCE = 0.02  # metres that soles and soft ground may let a foot into the floor; set by hand
_RAISE_FRAMES = 6  # over which a person is raised out of the floor before and lowered after; set by hand


@dataclass
class Placed:
    """One person's motion in the world, float32, fields as in ``Motion``."""

    poses: np.ndarray  # (F, 72) axis-angle, radians
    trans: np.ndarray  # (F, 3) metres: the pelvis is at rest_joints[0] + trans
    betas: np.ndarray  # (10,)
    contacts: np.ndarray  # (F, 4) 0..1
    rest_joints: np.ndarray  # (24, 3) metres, y up
    camera_R: np.ndarray  # (F, 3, 3) world to camera
    camera_t: np.ndarray  # (F, 3) metres
    # (F, 30, 3) axis-angle of the finger joints, and (F, 2) 0..1; of no frames if hands were not looked for
    hand_poses: np.ndarray = field(default_factory=lambda: np.zeros((0, 30, 3), np.float32))
    hand_confidence: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.float32))


@dataclass
class PlacementInput:
    """One person to be placed: F frames of the clip's 30 fps clock, from frame ``first`` on."""

    track: WhamTrack
    first: int = 0
    visible: np.ndarray | None = None  # (F,) bool: frames in which the person was detected; None: all
    feet_visible: np.ndarray | None = None  # (F, 2) bool: the left and the right foot; None: in all frames
    # (F, 2, 3) directions to the left and the right ankle in camera axes, nan where they are not seen; None: nowhere
    ankles: np.ndarray | None = None


@dataclass(frozen=True)
class FilmCamera:
    """What is known of the camera over T frames of the clip's 30 fps clock, all that any person has."""

    rotations: np.ndarray | None = None  # (T, 3, 3) from any fixed axes; None: it does not rotate
    stays: bool = True  # it only rotates: its position is constant
    background: Background | None = None  # from which the path of one that moves is estimated


def place_together(
    people: Sequence[PlacementInput],
    body: Body,
    calibration: Calibration,
    camera: FilmCamera | None = None,
    contact_model: ContactModel | None = None,
) -> list[Placed]:
    """Place people on one floor under one camera, so that planted feet rest and the projection matches the clip.

    camera: None for a static one; contact_model: contact probabilities from the arguments of
    `foot_contacts.contact_evidence`, None: with the calibration's weights.
    The first person's first pelvis is over the origin, facing -y.
    """
    contact_model = contact_model or _calibrated_contacts(calibration)
    figures = [_Figure(person, body, calibration) for person in people]
    count = max(figure.rows.stop for figure in figures)
    camera = camera or FilmCamera()
    rotations = np.broadcast_to(np.eye(3), (count, 3, 3)) if camera.rotations is None else camera.rotations
    fixed_to_camera = rotations.astype(np.float64)
    evidence = [each for figure in figures for each in figure.up_evidence(fixed_to_camera)]
    up, information = estimate_up(fixed_to_camera, evidence)
    camera_steps = _CameraSteps(np.zeros((count - 1, 3)), np.full(count - 1, np.inf))
    if camera.background is not None and not camera.stays:
        path = camera.background.camera_path([figure.feet_on_ground(fixed_to_camera, up) for figure in figures], up)
        camera_steps = _CameraSteps(*path.at(camera.background.times, camera.background.network_times))
        evidence += evidence_of_ground(path.ground)
        up, information = estimate_up(fixed_to_camera, evidence)
    is_known = camera.stays or camera_steps.is_known
    centre = np.zeros((count, 3)) if camera.stays else None
    for figure in figures:
        figure.velocity_gain_std = figure.swing_gain_std = _GAIN_STD if is_known else 0.0
    lead = figures[0]
    back = -(fixed_to_camera[lead.rows][0].T @ lead.root_cam[0])[:, 2]
    axes = _axes_from_up(up, back)
    for iteration in range(_CONTACT_ITERATIONS):
        # The floor's slope is an error of gravity; held to a level floor, the path would not show it.
        level, climbs = _level(figures, fixed_to_camera, centre, camera_steps, axes, (up, information))
        if level is not None:
            axes = _axes_from_up(estimate_up(fixed_to_camera, [*evidence, level])[0], back)
        to_camera = fixed_to_camera @ axes.T
        positions, _, _ = _solve(figures, to_camera, centre, camera_steps.rotated(axes), _off_floor(climbs))
        for figure, position in zip(figures, positions, strict=True):
            if iteration == 0 and is_known:
                figure.update_gains(position, to_camera)
            feet = figure.feet_in_world(to_camera) + position[:, None]
            if iteration == 0 and not is_known:
                # So far the pelvis moves by WHAM's velocity alone, which may miss a step: then all feet seem to slide.
                feet = relative_to_support_foot(feet)
            figure.contacts = contact_model(figure.track.contacts, feet, position, figure.hidden)
    positions, centre, height = _solve(figures, to_camera, centre, camera_steps.rotated(axes), _off_floor(climbs))
    seen_from = centre - [0, 0, height]
    stepped = [figure.release_seen_steps(to_camera, seen_from) for figure in figures]
    if any(stepped):
        positions, centre, height = _solve(figures, to_camera, centre, camera_steps.rotated(axes), _off_floor(climbs))

    origin = np.array([*positions[0][0, :2], height])
    to_world = to_camera.mT
    camera_t = -_rotate(to_camera, centre - origin)
    placed = [
        figure.placed(position - origin, to_world, to_camera, camera_t)
        for figure, position in zip(figures, positions, strict=True)
    ]
    return with_first_at_origin(placed)


def _calibrated_contacts(calibration: Calibration) -> ContactModel:
    """Contact probabilities with the weights of a calibration."""
    if calibration.contact_weights is None:
        return lambda contacts, feet, pelvis, hidden: np.clip(contacts, 0, 1)
    return partial(contact_probability, weights=np.array(calibration.contact_weights))


def with_first_at_origin(people: Sequence[Placed]) -> list[Placed]:
    """People of one world moved so that the first one's first pelvis is over the origin; foot locking may shift it."""
    offset = (people[0].trans[0] + people[0].rest_joints[0]) * np.array([1, 1, 0], np.float32)
    return [
        replace(person, trans=person.trans - offset, camera_t=person.camera_t + person.camera_R @ offset)
        for person in people
    ]


class _Figure:
    """A person's body in camera axes, and the estimate of its contacts so far."""

    def __init__(self, person: PlacementInput, body: Body, calibration: Calibration) -> None:
        track = person.track
        self.calibration = calibration
        self.track, self.rows = track, slice(person.first, person.first + len(track.poses))
        self.betas = np.median(track.betas, 0)
        rest = body.rest_joints(torch.from_numpy(self.betas).to(body.smpl.v_template.device))
        self.rest = rest.cpu().numpy()
        self._body = body
        hips, self.feet = hips_and_feet(track.poses, body, self.betas, self.rest[0])
        self.pelvis = track.trans_cam - hips
        self.root_cam = track.poses[:, 0].astype(np.float64)
        self.contacts = np.zeros_like(track.contacts)  # none at first: wrong contacts would pull a jump to the floor
        self.visible = np.ones(len(hips), bool) if person.visible is None else person.visible
        feet_visible = np.ones((len(hips), 2), bool) if person.feet_visible is None else person.feet_visible
        self.hidden = np.repeat(median_filter(~feet_visible, (_OCCLUSION_WINDOW, 1), mode="nearest"), 2, axis=1)
        self.ankles = person.ankles
        self._hips = hips
        # How much farther the person gets along the line of sight than WHAM's velocity and the swing of the legs say.
        self.velocity_gain, self.swing_gain = 1.0, 1.0
        # Standard deviations of the gains; without a known camera only WHAM and the feet tell how a person gets on.
        self.velocity_gain_std = self.swing_gain_std = 0.0

    def sight(self, to_camera: np.ndarray) -> np.ndarray:
        """Unit vectors (F, 3) of the line of sight, level; to_camera (T, 3, 3): from a world with z up."""
        ahead = _rotate(to_camera[self.rows].mT, self.pelvis) * [1, 1, 0]
        return ahead / np.maximum(np.linalg.norm(ahead, axis=1, keepdims=True), 1e-6)

    def feet_in_world(self, to_camera: np.ndarray) -> np.ndarray:
        """The feet (F, 4, 3) relative to the pelvis, world axes, with legs that swing by the gain along the sight."""
        feet = np.einsum("nji,nkj->nki", to_camera[self.rows], self.feet)
        sight = self.sight(to_camera)[:, None]
        along = (feet * sight).sum(-1, keepdims=True)
        return feet + (self.swing_gain - 1) * (along - along.mean((0, 1))) * sight

    def update_gains(self, position: np.ndarray, to_camera: np.ndarray) -> None:
        """Estimate the gains from the pelvis's path (F, 3)."""
        sight = self.sight(to_camera)[1:]
        moved = (np.diff(position, axis=0) * sight).sum(1)
        said = (self.wham_displacement(to_camera) * sight).sum(1)
        self.velocity_gain = _gain(moved, said)
        feet = np.einsum("nji,nkj->nki", to_camera[self.rows], self.feet)
        swing = -(np.diff(feet, axis=0) * sight[:, None]).sum(-1)
        contacts = self.track.contacts > PLANTED_ABOVE
        rests = contacts[1:] & contacts[:-1]
        supported = rests.any(1)
        self.swing_gain = _gain(moved * supported, (swing * rests).sum(1) / np.maximum(rests.sum(1), 1))
        # What needed much correction is believed less.
        self.velocity_gain_std, self.swing_gain_std = self.velocity_gain - 1, self.swing_gain - 1

    def release_seen_steps(self, to_camera: np.ndarray, centre: np.ndarray) -> bool:
        """Lift feet that are seen to step, see `without_seen_steps`; whether there are any. Arrays of all T frames."""
        if self.ankles is None:
            return False
        contacts = without_seen_steps(self.contacts, self.ankles, to_camera[self.rows], centre[self.rows])
        changed = not np.array_equal(contacts, self.contacts)
        self.contacts = contacts
        return changed

    @property
    def planted(self) -> np.ndarray:
        """Which foot points (F, 4) are planted."""
        return planted(self.contacts)

    @property
    def stands(self) -> np.ndarray:
        """Which foot points (F, 4) stand on something: planted ones, and before these are known, WHAM's contacts."""
        return self.planted if self.planted.any() else self.track.contacts > PLANTED_ABOVE

    @property
    def velocity_weight(self) -> np.ndarray:
        """Weight (F - 1,) of WHAM's velocity, 0..1: low in the first frames of a track, see Calibration."""
        first, frames = self.calibration.first_frame_weight, self.calibration.weight_frames
        return 1 - (1 - first) * np.exp(-np.arange(1, len(self.hidden)) / frames)

    def to_wham(self, to_camera: np.ndarray) -> np.ndarray:
        """Rotations (F, 3, 3) from the world of to_camera (T, 3, 3) to WHAM's."""
        return self.track.root_world @ self.root_cam.mT @ to_camera[self.rows]

    def up_evidence(self, to_camera: np.ndarray) -> list[UpEvidence]:
        """What WHAM and the body's balance tell of up, in the world of to_camera (T, 3, 3)."""
        joints = forward_kinematics(rotation_vectors(self.track.poses), -self.rest[0], self.rest)[0]
        to_world = to_camera[self.rows].mT
        joints, feet = (np.einsum("fij,fnj->fni", to_world, points) for points in (joints, self.feet))
        balance = up_from_balance(joints, feet, self.track.contacts)
        displacement = self.wham_displacement(to_camera)
        velocity = displacement.mean(0) * FPS if len(displacement) else np.zeros(3)
        return evidence_of_body(_rotate(self.to_wham(to_camera).mT, _WHAM_UP), balance, velocity)

    def feet_on_ground(self, to_camera: np.ndarray, up: np.ndarray) -> FeetInCamera:
        """The lowest foot point of the frames in which one is in contact; up (3,), in the world of to_camera."""
        feet = self.pelvis[:, None] + self.feet
        heights = np.einsum("nij,nkj->nki", to_camera[self.rows].mT, self.feet) @ up
        frame = np.flatnonzero((self.track.contacts > PLANTED_ABOVE).any(1) & self.visible)
        return FeetInCamera(frame + self.rows.start, feet[frame, heights[frame].argmin(1)])

    def wham_displacement(self, to_camera: np.ndarray) -> np.ndarray:
        """WHAM's displacement (F - 1, 3) of the pelvis from frame to frame, metres, in the world of to_camera."""
        pelvis = self.track.trans_world + _rotate(self.track.root_world @ self.root_cam.mT, -self._hips)
        return _rotate(self.to_wham(to_camera).mT[1:], np.diff(pelvis, axis=0))

    def placed(self, position: np.ndarray, to_world: np.ndarray, to_camera: np.ndarray, camera_t: np.ndarray) -> Placed:
        """The person with the pelvis at position (F, 3), under the camera of all T frames."""
        poses = self.track.poses.astype(np.float64)
        poses[:, 0] = to_world[self.rows] @ self.root_cam
        feet = np.einsum("nij,nkj->nki", to_world[self.rows], self.feet) + position[:, None]
        position = position + np.outer(penetration_correction(feet[..., 2].min(1)), [0, 0, 1])
        free = Placed(
            poses=rotation_vectors(poses).astype(np.float32),
            trans=(position - self.rest[0]).astype(np.float32),
            betas=self.betas,
            contacts=self.contacts.astype(np.float32),
            rest_joints=self.rest,
            camera_R=to_camera[self.rows].astype(np.float32),
            camera_t=camera_t[self.rows].astype(np.float32),
        )
        return with_locked_feet(free, self._body)


def _gain(moved: np.ndarray, said: np.ndarray) -> float:
    """The factor from estimated displacements (n,) to those (n,) that happened, metres a frame; 1 in doubt."""
    if not len(said):
        return 1.0
    # Both are noisy from frame to frame, and noise in what was estimated would make the factor too small.
    moved, said = (gaussian_filter1d(values, _GAIN_FRAMES, mode="nearest") for values in (moved, said))
    doubt = len(said) * _GAIN_DOUBT**2
    gain = float(((moved * said).sum() + doubt) / ((said**2).sum() + doubt))
    return min(gain, _MAX_GAIN) if gain > _MIN_GAIN else 1.0


def with_locked_feet(placed: Placed, body: Body) -> Placed:
    """The same person with planted feet at rest: see `foot_locking.lock_feet`."""
    rest = placed.rest_joints.astype(np.float64)
    poses, pelvis, locked = lock_feet(
        rotation_matrices(placed.poses.reshape(-1, 24, 3)), placed.trans + rest[0], rest, planted(placed.contacts),
        lambda posed: hips_and_feet(posed, body, placed.betas, placed.rest_joints[0])[1],
    )  # fmt: skip
    return replace(
        placed,
        poses=rotation_vectors(poses).astype(np.float32),
        trans=(pelvis - rest[0]).astype(np.float32),
        contacts=_with_planted(placed.contacts, locked).astype(np.float32),
    )


def _with_planted(contacts: np.ndarray, locked: np.ndarray) -> np.ndarray:
    """Contacts (F, 4) changed where needed, so that `planted` returns exactly the locked foot points (F, 4)."""
    return np.where(locked, np.maximum(contacts, PLANTED_ABOVE + 0.05), np.minimum(contacts, LIFTED_BELOW - 0.05))


def penetration_correction(lowest: np.ndarray) -> np.ndarray:
    """How far to raise each frame (F,) so that its lowest foot (F,) does not penetrate the floor; smooth over time."""
    depth = np.clip(-lowest - _PENETRATION_TOLERANCE, 0, _OFF_FLOOR)
    return gaussian_filter1d(maximum_filter1d(depth, 2 * _RAISE_FRAMES + 1), _RAISE_FRAMES / 3)


def rotation_vectors(poses: np.ndarray) -> np.ndarray:
    """Matrices (F, 24, 3, 3) to axis-angle (F, 72)."""
    vectors = in_parts(lambda matrices: Rotation.from_matrix(matrices).as_rotvec(), poses.reshape(-1, 3, 3), 2)
    return vectors.reshape(-1, 72)


def _rotate(rotations: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    return np.einsum("...ij,...j->...i", rotations, vectors)


@torch.inference_mode()
def hips_and_feet(
    poses: np.ndarray, body: Body, betas: np.ndarray, pelvis: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The midpoint of the hips (F, 3) and the feet (F, 4, 3) relative to the pelvis, in the axes of the root's poses.

    poses (F, 24, 3, 3); pelvis (3,): the pelvis of the unposed body with these betas (10,).
    """
    device = body.smpl.v_template.device
    hips, feet = [], []
    for begin in range(0, len(poses), CHUNK):
        part = torch.from_numpy(poses[begin : begin + CHUNK].astype(np.float32)).to(device)
        points = body.landmarks(part, torch.from_numpy(betas).to(device).expand(len(part), -1))
        hips.append(points.offset.cpu().numpy() - pelvis)
        feet.append(points.feet.cpu().numpy() + hips[-1][:, None])
    return np.concatenate(hips).astype(np.float64), np.concatenate(feet).astype(np.float64)


def _axes_from_up(up: np.ndarray, back: np.ndarray) -> np.ndarray:
    """Rows (3, 3) of the axes whose z is ``up`` and whose y is as near to ``back`` as possible."""
    up = up / np.linalg.norm(up)
    x = np.cross(back, up)
    x /= np.linalg.norm(x)
    return np.stack([x, np.cross(up, x), up])


Equation = tuple[sparse.sparray, np.ndarray]  # rows of the least-squares problem, and their right side


@dataclass(frozen=True)
class _Unknowns:
    """The columns of the least-squares problem: of each frame the camera's, if it moves, and each person's pelvis.

    The floor's height is the last of all.
    """

    count: int  # frames
    people: int
    camera_moves: bool

    @property
    def block(self) -> int:
        """Columns of a frame."""
        return 3 * (self.people + self.camera_moves)

    def camera(self, rows: slice) -> sparse.csr_array:
        """Selects the camera's centre in frames: a matrix of 3 n rows."""
        return self._select(0, rows)

    def pelvis(self, number: int, rows: slice) -> sparse.csr_array:
        """Selects a person's pelvis in frames: a matrix of 3 n rows."""
        return self._select(self.block - 3 * (self.people - number), rows)

    def floor(self) -> sparse.csr_array:
        """Selects the floor's height: a matrix of one row."""
        return sparse.eye_array(1, self.block * self.count + 1, k=self.block * self.count, format="csr")

    def _select(self, first: int, rows: slice) -> sparse.csr_array:
        at = (self.block * np.arange(rows.start, rows.stop)[:, None] + first + np.arange(3)).ravel()
        shape = len(at), self.block * self.count + 1
        return sparse.csr_array((np.ones(len(at)), (np.arange(len(at)), at)), shape=shape)


@dataclass(frozen=True)
class _CameraSteps:
    """What the background tells of a camera that moves, between T frames."""

    steps: np.ndarray  # (T - 1, 3) metres
    std: np.ndarray  # (T - 1,) metres; inf: unknown

    @property
    def is_known(self) -> bool:
        """Whether most steps are known better than WHAM's velocity."""
        return bool(len(self.std)) and float(np.median(self.std)) < _KNOWN_STEP_STD

    def rotated(self, axes: np.ndarray) -> _CameraSteps:
        """The same in the world whose axes are the rows of axes (3, 3)."""
        return _CameraSteps(self.steps @ axes.T, self.std)


def _camera_equations(unknowns: _Unknowns, known: _CameraSteps) -> list[Equation]:
    """Equations of a camera that moves: smooth, from the origin on, as the background tells."""
    count = unknowns.count
    camera = unknowns.camera(slice(0, count))
    acceleration = _differences(count, 2) @ camera
    weight = np.repeat(1 / known.std, 3)
    return [
        (sparse.diags_array(weight) @ _differences(count, 1) @ camera, weight * known.steps.ravel()),
        (acceleration / _CAMERA_ACCELERATION_STD, np.zeros(acceleration.shape[0])),
        (camera[:3] / _FIXED_STD, np.zeros(3)),
        # Without any other information the camera does not move; otherwise the problem would be singular.
        (_differences(count, 1) @ camera, np.zeros(3 * (count - 1))),
    ]


def _person_equations(
    person: _Figure, number: int, unknowns: _Unknowns, to_camera: np.ndarray, centre: np.ndarray
) -> Iterator[Equation]:
    """Equations of a person that no reweighting changes: WHAM's velocity, smoothness and the picture.

    to_camera (T, 3, 3): the camera's rotations; centre (T, 3): its positions, not used if they are unknowns.
    """
    count = unknowns.count
    pelvis = unknowns.pelvis(number, person.rows)
    absent = np.setdiff1d(np.arange(count), np.arange(person.rows.start, person.rows.stop))
    if len(absent):
        unused = unknowns.pelvis(number, slice(0, count))[(3 * absent[:, None] + np.arange(3)).ravel()]
        yield unused, np.zeros(unused.shape[0])
    displacement = person.wham_displacement(to_camera)
    along = person.sight(to_camera)[1:]
    swing = (displacement * along).sum(-1)
    displacement = displacement + ((person.velocity_gain - 1) * swing)[:, None] * along
    metric = _less_along(along, person.calibration.velocity, person.velocity_gain_std * _local_rms(swing))
    weight = (person.velocity_weight / person.calibration.velocity)[:, None, None] * metric / _VELOCITY_AXES
    yield _blocks(weight) @ _differences(len(person.pelvis), 1) @ pelvis, _rotate(weight, displacement).ravel()
    acceleration = _differences(len(person.pelvis), 2) @ pelvis
    weight = np.repeat(1 / _acceleration_std(person.pelvis), 3)
    yield sparse.diags_array(weight) @ acceleration, np.zeros(acceleration.shape[0])
    blocks, target = _projection_equations(person, to_camera[person.rows])
    if unknowns.camera_moves:
        yield blocks @ (pelvis - unknowns.camera(person.rows)), target
    else:
        yield blocks @ pelvis, target + blocks @ centre[person.rows].ravel()


def _off_floor(climbs: bool) -> float:
    """From how many metres above the floor on a foot is on something else, or in the air."""
    return _OFF_FLOOR_ON_SLOPE if climbs else _OFF_FLOOR


def _level(
    figures: Sequence[_Figure], fixed_to_camera: np.ndarray, centre: np.ndarray | None, camera_steps: _CameraSteps,
    axes: np.ndarray, known: tuple[np.ndarray, np.ndarray],
) -> tuple[UpEvidence | None, bool]:  # fmt: skip
    """What the people's steps tell of up, in the axes that do not move, and whether the people climb.

    axes (3, 3): rows of the world in which the steps are looked at; known: up and its information in the axes that do
    not move, without the steps.
    """
    to_camera = fixed_to_camera @ axes.T
    positions, _, _ = _solve(figures, to_camera, centre, camera_steps.rotated(axes), None)
    found = [
        steps(figure.feet_in_world(to_camera) + position[:, None], figure.stands)
        for figure, position in zip(figures, positions, strict=True)
    ]
    level = slope_of_steps(np.concatenate(found), level_of(*known, axes))
    return (None, True) if level is None else (evidence_of_steps(level, axes), False)


def _solve(
    people: Sequence[_Figure], to_camera: np.ndarray, centre: np.ndarray | None, camera_steps: _CameraSteps,
    off_floor: float | None,
) -> tuple[list[np.ndarray], np.ndarray, float]:  # fmt: skip
    """Each person's pelvis (F, 3), the camera's centre (T, 3) and the floor's height.

    to_camera (T, 3, 3): the camera's rotations; centre (T, 3): the camera's positions, None to solve for them, too;
    off_floor: metres from the floor from which on a foot is not on it; None: there is no floor.
    """
    count, camera_moves = len(to_camera), centre is None
    known_centre = np.zeros((count, 3)) if centre is None else centre
    unknowns = _Unknowns(count, len(people), camera_moves)
    pelvis_columns = [unknowns.pelvis(number, person.rows) for number, person in enumerate(people)]
    constant = [
        *(_camera_equations(unknowns, camera_steps) if camera_moves else []),
        *(
            equation
            for number, person in enumerate(people)
            for equation in _person_equations(person, number, unknowns, to_camera, known_centre)
        ),
    ]
    feet = [person.feet_in_world(to_camera) for person in people]
    stays_planted = [person.planted[1:] & person.planted[:-1] for person in people]
    rest_weights = [rows / _SLIDE_STD for rows in stays_planted]
    slide_metrics = [
        _slide_metric(points, person.sight(to_camera)[1:], person.swing_gain_std)
        for points, person in zip(feet, people, strict=True)
    ]
    # In the first round there is no floor yet. A static camera that sees somebody puts the feet somewhere without one;
    # otherwise planted feet are weakly held to z = 0.
    floating = camera_moves or not any(person.visible.any() for person in people)
    held = 1 / _OFF_FLOOR if off_floor is not None else 1 / _ALMOST_FREE
    floor_weights = [person.planted * held * floating for person in people]
    guess, guess_weight = 0.0, 1 / _FIXED_STD
    for iteration in range(_REWEIGHTINGS):
        system = [*constant, (guess_weight * unknowns.floor(), np.array([guess_weight * guess]))]
        for pelvis, points, rest_weight, metric, floor_weight in zip(
            pelvis_columns, feet, rest_weights, slide_metrics, floor_weights, strict=True
        ):
            difference = _differences(len(points), 1) @ pelvis
            for foot in range(4):
                weight = rest_weight[:, foot, None, None] * metric[:, foot]
                system.append(
                    (_blocks(weight) @ difference, -_rotate(weight, np.diff(points[:, foot], axis=0)).ravel())
                )
                rows = np.flatnonzero(floor_weight[:, foot])
                weight = floor_weight[rows, foot]
                floor = sparse.csr_array(np.ones((len(rows), 1))) @ unknowns.floor()
                system.append(
                    (sparse.diags_array(weight) @ (pelvis[3 * rows + 2] - floor), -weight * points[rows, foot, 2])
                )
        matrix = sparse.vstack([rows for rows, _ in system], "csc")
        target = np.concatenate([right for _, right in system])
        del system  # a frame has 1 kB in each of these, and 2 in the normal equations
        normal, right = (matrix.T @ matrix).tocsr(), matrix.T @ target
        del matrix
        solution, height = _solved(normal, right, 3 * unknowns.block)
        frames = solution.reshape(count, -1, 3)
        positions = [frames[person.rows, camera_moves + row] for row, person in enumerate(people)]
        world_feet = [position[:, None] + relative for position, relative in zip(positions, feet, strict=True)]
        if off_floor is not None:
            if iteration == 0:
                lowest = np.concatenate([points[..., 2].min(1) for points in world_feet])
                guess, guess_weight = float(np.percentile(lowest, 10)), 1 / _FLOOR_HEIGHT_STD
                height = guess
            floor_weights = [
                _floor_weight(points[..., 2] - height, person.planted, off_floor)
                for points, person in zip(world_feet, people, strict=True)
            ]
        slides = [np.linalg.norm(np.diff(points, axis=0), axis=-1) for points in world_feet]
        rest_weights = [
            rows / _SLIDE_STD / np.sqrt(1 + (slide / _SLIDE_OUTLIER) ** 2)
            for rows, slide in zip(stays_planted, slides, strict=True)
        ]
    return positions, frames[:, 0] if camera_moves else known_centre, height


def _slide_metric(feet: np.ndarray, sight: np.ndarray, gain_std: float) -> np.ndarray:
    """Matrices (F - 1, 4, 3, 3) that weigh the slide of planted feet: less along the line of sight than across it.

    feet (F, 4, 3): relative to the pelvis, world axes; sight (F - 1, 3). A pose that is lifted from the picture swings
    the legs too little in depth, and feet at rest would then hold the body back.
    """
    swing = _local_rms((np.diff(feet, axis=0) * sight[:, None]).sum(-1))
    return _less_along(sight[:, None], _SLIDE_STD, gain_std * swing)


def _local_rms(values: np.ndarray) -> np.ndarray:
    """The root mean square of (n, ...) over some frames: by its own size, one small by error weighs more."""
    return np.sqrt(gaussian_filter1d(values**2, _GAIN_FRAMES, axis=0, mode="nearest")) if len(values) else values


def _less_along(direction: np.ndarray, std: float, more: np.ndarray) -> np.ndarray:
    """Matrices (..., 3, 3) that weigh errors by 1, but along unit vectors (..., 3) by std / hypot(std, more)."""
    along = std / np.hypot(std, more)
    return np.eye(3) - (1 - along)[..., None, None] * direction[..., :, None] * direction[..., None, :]


def _blocks(matrices: np.ndarray) -> sparse.bsr_array:
    """The block-diagonal matrix of n matrices (n, 3, 3)."""
    count = len(matrices)
    return sparse.bsr_array((matrices, np.arange(count), np.arange(count + 1)), shape=(3 * count, 3 * count))


def _differences(count: int, order: int) -> sparse.csr_array:
    """Matrix that takes (count, 3) vectors, flat, to their first or second differences."""
    frames = sparse.eye_array(count, format="csr")
    for _ in range(order):
        frames = frames[1:] - frames[:-1]
    return sparse.csr_array(sparse.kron(frames, np.eye(3)))


def _acceleration_std(pelvis: np.ndarray) -> np.ndarray:
    """Standard deviation (F - 2,) of the pelvis' acceleration, from the pelvis (F, 3) in the camera.

    The picture shows how quickly the person moves across the line of sight. With one value for everybody the steps of a
    runner and a jump are smoothed away, or the noise of a calm person's depth passes.
    """
    steady = gaussian_filter1d(pelvis[:, 2], _ACCELERATION_FRAMES, mode="nearest")
    across = gaussian_filter1d(pelvis[:, :2] / pelvis[:, 2:] * steady[:, None], _ACCELERATION_SMOOTHING, axis=0)
    squares = np.sum(np.diff(across, 2, axis=0) ** 2, 1)
    return np.hypot(_ACCELERATION_STD, np.sqrt(gaussian_filter1d(squares, _ACCELERATION_FRAMES, mode="nearest")))


def _projection_equations(person: _Figure, to_camera: np.ndarray) -> tuple[sparse.bsr_array, np.ndarray]:
    """Equations for the pelvis less the camera's centre, world axes: rows and right side.

    With (X, Y, Z) the pelvis in the camera by `camera_translation`, x - z X/Z and y - z Y/Z are 0, and z is about Z.
    """
    pelvis, count = person.pelvis, len(person.pelvis)
    rows = np.tile(np.eye(3), (count, 1, 1))
    rows[:, :2, 2] = -pelvis[:, :2] / pelvis[:, 2:]
    rows[:, :2] /= _ACROSS_STD
    rows[:, 2] /= _DEPTH_STD * pelvis[:, 2:]
    # If the person is visible in no frame, the first one is used: otherwise the problem would be singular.
    visible = person.visible if person.visible.any() else np.arange(count) == 0
    target = np.zeros((count, 3))
    target[visible, 2] = 1 / _DEPTH_STD
    blocks = (rows @ to_camera) * visible[:, None, None]
    return _blocks(blocks), target.ravel()


def _floor_weight(heights: np.ndarray, planted: np.ndarray, off_floor: float) -> np.ndarray:
    """Weight (F, 4) with which each foot point is held to the floor, by its height (F, 4) over it.

    Planted feet are on the floor and none is below it; the frame's lowest is near it most of the time. Points farther
    than about ``off_floor`` metres, on a roof or in a jump, stay at the height that the picture gives.
    """
    lowest = heights == heights.min(1, keepdims=True)
    weight = np.where(planted | (heights < 0), 1 / _FLOOR_STD, lowest / _LOWEST_STD)
    return weight / (1 + (heights / off_floor) ** 2) ** 2


def _solved(normal: sparse.csr_array, right: np.ndarray, bandwidth: int) -> tuple[np.ndarray, float]:
    """Frames (n,) and the floor's height that solve the normal equations ``normal @ (frames, height) = right``.

    No equation touches columns ``bandwidth`` or more apart, so the matrix is a band bordered by the height's column.
    """
    core, border = normal[:-1, :-1], normal[:-1, -1:].toarray()
    size = core.shape[0]
    band = np.zeros((min(bandwidth, size), size))
    for below in range(len(band)):
        band[below, : size - below] = core.diagonal(-below)
    solved = solveh_banded(band, np.column_stack([right[:-1], border]), lower=True)
    rest = normal[-1, -1] - border[:, 0] @ solved[:, 1]
    height = float((right[-1] - border[:, 0] @ solved[:, 0]) / rest)
    return solved[:, 0] - solved[:, 1] * height, height
