"""Virtual cameras on moving bodies, and the errors that the landmark net makes: endless training views.

A view is what the pipeline would have seen: 25 keypoints in a box and the landmark net's 3D, with the truth beside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from smplx.lbs import batch_rodrigues

from tools.training import mocap
from wham_blender import weights
from wham_blender.body.points import PointBody
from wham_blender.body.rotations import matrix_from_r6d, r6d_from_matrix
from wham_blender.models.lifter import LANDMARK_MIRROR, POINTS, LifterInput, centre_on_person, rotation_to_optical_axis
from wham_blender.skeleton import FOOT_MIRROR, JOINT_MIRROR

MEASURED = Path(__file__).with_name("landmark_net_errors.npz")  # what filmed.py found


class TrainingBody(torch.nn.Module):
    """The open body's skeleton, the points that are observed and the feet, batched and without vertices."""

    def __init__(self, path: Path | None = None) -> None:
        super().__init__()
        with np.load(path or weights.find("body").path, allow_pickle=False) as arrays:
            data = {
                name: torch.from_numpy(arrays[name].astype(np.float64)) for name in arrays.files if name != "posedirs"
            }
        rows = torch.cat([data["J_regressor_wham"][:17], data["J_regressor_landmarks"], data["J_regressor_feet"]])
        template, shapes = data["v_template"], data["shapedirs"]

        def fold(values: torch.Tensor, last: float) -> torch.Tensor:
            homogeneous = torch.cat([values, torch.full((len(values), 1), last, dtype=values.dtype)], 1)
            return torch.einsum("rv,vj,vk->rjk", rows, data["weights"], homogeneous).float()

        self.all = PointBody(len(rows))
        self.all.load_state_dict({
            "rest": (data["J_regressor"] @ template).float(),
            "rest_shapes": torch.einsum("jv,vkb->bjk", data["J_regressor"], shapes).float(),
            "basis": fold(template, 1.0),
            "basis_shapes": torch.stack([fold(shapes[..., index], 0.0) for index in range(10)]),
        })  # fmt: skip

    @property
    def rest(self) -> torch.Tensor:
        """(24, 3) joints of the mean body, metres."""
        return self.all.rest

    @property
    def rest_shapes(self) -> torch.Tensor:
        """(10, 24, 3): how they move with the shape."""
        return self.all.rest_shapes

    def observed(self) -> dict[str, torch.Tensor]:
        """What a `PointBody` of the 25 observed points alone consists of."""
        own = self.all.state_dict()
        return own | {"basis": own["basis"][:POINTS], "basis_shapes": own["basis_shapes"][:, :POINTS]}

    def forward(self, rotations: torch.Tensor, betas: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Pose the body at the origin: rotations (N, 24, 3, 3), betas (N, 10).

        Returns joints (N, 24, 3), the 25 observed points (N, 25, 3) and the foot points (N, 4, 3), metres.
        """
        joints, points, _ = self.all(rotations, betas)
        return joints, points[:, :POINTS], points[:, POINTS:]

    def placed(self, rotations: torch.Tensor, betas: torch.Tensor) -> torch.Tensor:
        """Joints and observed points (N, 49, 3) round the middle of the hips."""
        joints, points, _ = self(rotations, betas)
        return torch.cat([joints, points], 1) - points[:, 11:13].mean(1, keepdim=True)

    def foot_points(self, poses: np.ndarray, trans: np.ndarray) -> np.ndarray:
        """Foot points (F, 4, 3) of the mean body; poses (F, 72), trans (F, 3)."""
        with torch.no_grad():
            rotations = batch_rodrigues(torch.from_numpy(poses).float().reshape(-1, 3)).reshape(-1, 24, 3, 3)
            feet = self(rotations, torch.zeros(len(poses), 10))[2].numpy()
        return feet + trans[:, None]


@dataclass
class Library:
    """All frames of many clips in a row, as tensors."""

    rotations: torch.Tensor  # (T, 24, 3, 3) local rotations; the root's is global, y up
    trans: torch.Tensor  # (T, 3)
    contacts: torch.Tensor  # (T, 4)
    flat_floor: torch.Tensor  # (T,) bool
    starts: list[int]
    lengths: list[int]

    @classmethod
    def of(cls, clips: list[mocap.Clip], *, turned: bool = True) -> Library:
        """Join clips; with ``turned`` each comes again mirrored."""
        poses = [clip.poses for clip in clips] + ([mirror_poses(clip.poses) for clip in clips] if turned else [])
        flip = np.array([-1.0, 1, 1])
        trans = [clip.trans for clip in clips] + ([clip.trans * flip for clip in clips] if turned else [])
        contacts = [clip.contacts for clip in clips] + (
            [clip.contacts[:, FOOT_MIRROR] for clip in clips] if turned else []
        )
        flat = [np.full(len(clip.poses), clip.flat_floor) for clip in clips] * (2 if turned else 1)
        lengths = [len(pose) for pose in poses]
        joined = torch.from_numpy(np.concatenate(poses)).float()
        return cls(
            batch_rodrigues(joined.reshape(-1, 3)).reshape(-1, 24, 3, 3),
            torch.from_numpy(np.concatenate(trans)).float(),
            torch.from_numpy(np.concatenate(contacts)).float(),
            torch.from_numpy(np.concatenate(flat)),
            [int(start) for start in np.cumsum([0, *lengths[:-1]])],
            lengths,
        )


def mirror_poses(poses: np.ndarray) -> np.ndarray:
    """Axis-angle poses (F, 72) of the left-right mirror image."""
    return (poses.reshape(-1, 24, 3)[:, JOINT_MIRROR] * np.array([1.0, -1, -1])).reshape(-1, 72)


def split(folder: Path, body: TrainingBody) -> tuple[list[mocap.Clip], list[mocap.Clip]]:
    """The clips of a mocap folder for training, and those kept for validation: the named ones, else every tenth."""
    clips = mocap.read_folder(folder, body.rest.double().numpy(), body.foot_points)
    kept = [clip for clip in clips if clip.held_out] or clips[::10]
    return [clip for clip in clips if all(clip is not other for other in kept)] or clips, kept


@dataclass
class Camera:
    """Virtual cameras, one a sample: all (N, ...)."""

    rotation: torch.Tensor  # (N, 3, 3) world (y up) to camera (OpenCV axes)
    focal: torch.Tensor  # (N,) pixels
    size: torch.Tensor  # (N, 2) width, height in pixels
    place: torch.Tensor  # (N, 3) the hips in camera axes, metres

    def project(self, points: torch.Tensor) -> torch.Tensor:
        """Pixels (N, K, 2) of points (N, K, 3) round the hips, in camera axes."""
        seen = points + self.place[:, None]
        return seen[..., :2] / seen[..., 2:].clamp(min=0.3) * self.focal[:, None, None] + self.size[:, None] / 2


def random_cameras(count: int, generator: torch.Generator) -> Camera:
    """Cameras as phones are held: any heading, high and low, rolled, near and far, upright and sideways pictures."""

    def uniform(low: float, high: float) -> torch.Tensor:
        return torch.rand(count, generator=generator) * (high - low) + low

    def normal(scale: float) -> torch.Tensor:
        return torch.randn(count, generator=generator) * scale

    yaw = uniform(-np.pi, np.pi)
    pitch = torch.where(uniform(0, 1) < 0.6, normal(0.2), normal(0.45))
    roll = torch.where(uniform(0, 1) < 0.6, normal(0.06), normal(0.4))
    turn = lambda axis, angle: batch_rodrigues(torch.eye(3)[axis] * angle[:, None])  # noqa: E731
    rotation = turn(2, roll) @ turn(0, pitch + np.pi) @ turn(1, yaw)
    long_side = uniform(640, 1920)
    short_side = long_side * uniform(0.5, 1.0)
    portrait = uniform(0, 1) < 0.5
    size = torch.stack([torch.where(portrait, short_side, long_side), torch.where(portrait, long_side, short_side)], 1)
    focal = size.norm(dim=1) * uniform(0.6, 1.6)
    depth = focal * 1.8 / (size.amax(1) * uniform(0.15, 0.95).clamp(max=0.95))
    middle = (torch.rand(count, 2, generator=generator) - 0.5) * 0.7 * size
    place = torch.cat([middle / focal[:, None], torch.ones(count, 1)], 1) * depth[:, None].clamp(min=1.6)
    return Camera(rotation, focal, size, place)


@dataclass
class View:
    """What the pipeline would have observed: N samples."""

    pixels: torch.Tensor  # (N, 25, 2)
    keypoints: torch.Tensor  # (N, 25, 2) in the box, -1..1, 0 where masked
    mask: torch.Tensor  # (N, 25) bool: confident
    place: torch.Tensor  # (N, 3) place and size of the box in the picture
    landmarks: torch.Tensor  # (N, 25, 3) metres, hip-centred, camera axes
    box: torch.Tensor  # (N, 3) cx, cy, side in pixels
    look: LifterInput  # the same as the lifter sees it, by a focal length that may be wrong
    turn: torch.Tensor  # (N, 3, 3) from the camera's axes to the look's


class Errors:
    """The landmark net's errors as it made them on films of bodies whose pose is known (``filmed.py``).

    A Gaussian round what a linear fit predicts from the pose (the net flattens depths): all points together, partly
    the same for a whole film, partly a slow wave, partly new in every frame. Drawing from the filmed errors themselves
    does worse on people: a network learns to know each of them and to take it off again.
    """

    def __init__(self, fit: torch.Tensor, mix: torch.Tensor, shares: tuple[float, float, float]) -> None:
        """``fit`` (76, 125): what the pose and a one predict; ``mix`` (125, 125): Cholesky factor of the rest's spread.

        ``shares``: of the variance, what is the same for a whole film, slow, and new in every frame.
        """
        self.fit, self.mix, self.shares = fit, mix, shares

    @classmethod
    def of(cls, films: dict[str, np.ndarray]) -> Errors:
        """Fit what filmed.py kept, N films of F frames each; each serves mirrored, too."""
        data = {name: torch.from_numpy(values).float() for name, values in films.items()}
        toward = rotation_to_optical_axis(data["place"].flatten(0, 1)).unflatten(0, data["place"].shape[:2])
        points = torch.einsum("nfij,nfkj->nfki", toward, data["points"])
        deep = data["seen_3d"] - data["seen_3d"][:, :, 11:13].mean(2, keepdim=True) - points
        flat = (data["seen"][..., :2] - data["uv"]) / box_side(data["uv"])[..., None, None]
        mirror, there = list(LANDMARK_MIRROR), torch.tensor([-1.0, 1, 1])

        def both(values: torch.Tensor) -> torch.Tensor:
            return torch.cat([values, values[:, :, mirror] * there[: values.shape[-1]]]).flatten(2)

        pose = _with_one(both(points))  # (2 N, F, 76)
        made = torch.cat([both(deep), both(flat)], 2)  # (2 N, F, 125)
        inputs, outputs = pose.flatten(0, 1).double(), made.flatten(0, 1).double()
        ridge = 0.05 * len(inputs) * torch.eye(inputs.shape[1], dtype=torch.float64)
        fit = torch.linalg.solve(inputs.T @ inputs + ridge, inputs.T @ outputs)
        rest = outputs - inputs @ fit
        spread = rest.T @ rest / len(rest) + 1e-8 * torch.eye(rest.shape[1], dtype=torch.float64)
        mix = torch.linalg.cholesky(spread)
        white = torch.linalg.solve_triangular(mix, rest.T, upper=False).T.view(*made.shape)
        kept = float(white.mean(1).var())
        fast = float(white.diff(dim=1).var() / 2) if made.shape[1] > 1 else 0.0
        return cls(fit.float(), mix.float(), (kept, max(0.0, 1 - kept - fast), fast))

    @classmethod
    def load(cls, path: Path) -> Errors:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as kept:
            kept_whole, slow, fast = kept["shares"].tolist()
            return cls(torch.from_numpy(kept["fit"]), torch.from_numpy(kept["mix"]), (kept_whole, slow, fast))

    def save(self, path: Path) -> None:
        """Write them to ``path``, an ``.npz``."""
        np.savez_compressed(path, allow_pickle=False, fit=self.fit, mix=self.mix, shares=np.array(self.shares))

    def draw(self, points: torch.Tensor, frames: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """What the net makes of points (N, 25, 3) in the crop's axes, in runs of ``frames``.

        Returns its 3D (N, 25, 3), metres, and how far its 2D is off, (N, 25, 2) shares of the box's side.
        """
        runs = len(points) // frames

        def pick(low: float, high: float, *shape: int) -> torch.Tensor:
            """Uniform (N, *shape), the same within a run."""
            return (torch.rand(runs, *shape, generator=generator) * (high - low) + low).repeat_interleave(frames, 0)

        fitted = _with_one(points.flatten(1)) @ self.fit * pick(0, _FITTED, 1)
        noise = self._noise(runs, frames, len(self.mix), generator) @ self.mix.T
        deep, flat = (
            noise[:, : 3 * POINTS].unflatten(1, (POINTS, 3)),
            noise[:, 3 * POINTS :].unflatten(1, (POINTS, 2)),
        )
        size = pick(*_FILMED_2D, 1, 1)
        flat = fitted[:, 3 * POINTS :].unflatten(1, (POINTS, 2)) + flat * size
        elsewhere = taken_elsewhere(runs, generator).repeat_interleave(frames, 0)
        flat = (flat + elsewhere) * _SURELY[:, None]
        size = torch.cat([size, size, pick(*_FILMED_3D, 1, 1)], 2)
        filmed = points + fitted[:, : 3 * POINTS].unflatten(1, (POINTS, 3)) + deep * size
        chained = self._chained(points, frames, generator, pick)
        # Across the view the net's 3D is off where its 2D is.
        side = (points[..., :2].amax(1) - points[..., :2].amin(1)).amax(1) * 1.2
        chained[..., :2] += flat * side[:, None, None] * pick(*_ALIKE, 1, 1)
        landmarks = torch.where(pick(0, 1, 1, 1) < _FILMED, filmed, chained)
        landmarks = torch.where(pick(0, 1, 1, 1) < _SWAPPED, landmarks[:, LANDMARK_MIRROR], landmarks)
        return landmarks - landmarks[:, 11:13].mean(1, keepdim=True), flat

    def _chained(
        self, points: torch.Tensor, frames: int, generator: torch.Generator, pick: Callable[..., torch.Tensor]
    ) -> torch.Tensor:
        """The whole turned, then each bone out of the picture's plane or into it, its length kept; they add up.

        What a picture shows of a bone, its length across the view, stays about as it is: the depth is what is wrong.
        """
        runs = len(points) // frames
        wobble = batch_rodrigues(torch.tensor(_TURN) * self._noise(runs, frames, 3, generator))
        turned = torch.einsum("nij,nkj->nki", wobble, points)
        turned = turned * torch.cat([torch.ones(len(points), 1, 2), pick(*_FLATTENED, 1, 1)], 2)
        apart = bones(turned)
        across, length = apart[..., :2].norm(dim=-1), apart.norm(dim=-1).clamp(min=1e-6)
        tilt = _TILTED * pick(0.5, 1.5, 1) * self._noise(runs, frames, POINTS, generator) * across / length
        deeper = across * torch.sin(tilt) + apart[..., 2] * torch.cos(tilt)
        shorter = (across * torch.cos(tilt) - apart[..., 2] * torch.sin(tilt)) / across.clamp(min=1e-6)
        size = torch.exp(_LENGTH * torch.randn(runs, POINTS, generator=generator)).repeat_interleave(frames, 0)
        apart = torch.cat([apart[..., :2] * shorter[..., None], deeper[..., None]], 2) * size[..., None]
        apart = apart + _BONE * pick(0.5, 1.5, 1, 1) * self._noise(runs, frames, 3 * POINTS, generator).view(
            -1, POINTS, 3
        )
        out = torch.zeros_like(turned)
        for point in _CHAIN_ORDER:
            parent = _CHAIN[point]
            out[:, point] = apart[:, point] + (out[:, parent] if parent >= 0 else 0)
        return out

    def _noise(self, runs: int, frames: int, size: int, generator: torch.Generator) -> torch.Tensor:
        """Unit normal (runs x frames, size), as slow within a run as the filmed errors are."""
        if frames == 1:
            return torch.randn(runs, size, generator=generator)
        kept, slow, fast = (share**0.5 for share in self.shares)
        wave = torch.randn(runs, size, frames // 8 + 2, generator=generator)
        wave = torch.nn.functional.interpolate(wave, size=frames, mode="linear", align_corners=True).transpose(1, 2)
        noise = fast * torch.randn(runs, frames, size, generator=generator) + slow * 1.2 * wave  # smaller between knots
        return (noise + kept * torch.randn(runs, 1, size, generator=generator)).flatten(0, 1)


def taken_elsewhere(people: int, generator: torch.Generator) -> torch.Tensor:
    """How far off a joint's middle the net sees it in all pictures of a person: (N, 25, 2) shares of the box's side.

    What it takes for a hip or a shoulder differs from person to person by more than on bodies of one kind.
    """
    size = torch.tensor(_ELSEWHERE).expand(POINTS).clone()
    size[[5, 6, 11, 12]] *= 2
    by = torch.rand(people, 1, 1, generator=generator) + 0.3
    return size[:, None] * by * torch.randn(people, POINTS, 2, generator=generator)


def turned_as_a_whole(count: int, generator: torch.Generator) -> torch.Tensor:
    """Rotations (N, 3, 3) by which the net's 3D of a person is turned."""
    return batch_rodrigues(torch.tensor(_TURN) * torch.randn(count, 3, generator=generator))


def _with_one(values: torch.Tensor) -> torch.Tensor:
    return torch.cat([values, torch.ones_like(values[..., :1])], -1)


# A part of the views gets the filmed errors' covariance in 3D, scaled, and a part of what is fitted. The others get
# errors bone by bone, whose sizes are those that the net made of one filmed man (the first camera of the balance
# recording; `build.py bench landmarks` prints them beside these). Its bones kept their lengths to a few per cent while
# their tilt was off by 10 to 20 degrees; the whole was turned by 5, 10 and 3 degrees about x, y and z and flattened by
# 0.85 (the filmed bodies by 0.64); what was off across the view was so as in 2D (correlation 0.8 and 0.6).
_FILMED = 0.2
_FILMED_3D, _FILMED_2D, _FITTED = (0.5, 1.4), (0.3, 1.2), 0.8
_ALIKE = (0.5, 1.2)
_ELSEWHERE = 0.008  # of the box's side
_KINDS = {
    "head": 5, "shoulders": 2, "elbows": 2, "wrists": 2, "hips": 2, "knees": 2, "ankles": 2, "heels": 2, "toes": 2,
    "fingers": 4,
}  # fmt: skip


def _by_point(**values: float) -> torch.Tensor:
    """One value (25,) for each of the points."""
    return torch.cat([torch.full((count,), values[name]) for name, count in _KINDS.items()])


# Radians, of a bone that lies in the picture's plane.
_TILTED = _by_point(
    head=0.25, shoulders=0.15, elbows=0.36, wrists=0.28, hips=0.33, knees=0.34, ankles=0.2, heels=0.3, toes=0.5,
    fingers=0.3,
)  # fmt: skip
# What the net's 2D is off on that man, as a share of what it is off on the filmed bodies.
_SURELY = _by_point(
    head=1.1, shoulders=0.75, elbows=0.6, wrists=0.45, hips=0.95, knees=0.65, ankles=0.65, heels=0.6, toes=0.5,
    fingers=0.5,
)  # fmt: skip
_LENGTH = 0.05  # in the logarithm, of a bone
_BONE = 0.01  # metres, besides
_TURN = (0.1, 0.13, 0.04)  # radians, of the whole 3D skeleton
_FLATTENED = (0.75, 1.1)
_SWAPPED = 0.01
_FOCAL = 0.4  # in the logarithm: how wrong a focal length at most is taken for, where it is not known
_CURLED = 0.7  # how much nearer at most
_FINGERS = 0.03  # how far they may lie elsewhere, of the box's side, which is about two metres
_WRISTS, _FINGERTIPS = slice(9, 11), slice(21, 25)  # left and right; left and right index, left and right little finger
_MASKED = 0.12  # of the points, at most, are not sure enough to count
# Parent of each of the 25 points in the chain along which errors add up (-1: the hips' middle).
_CHAIN = (5, 0, 0, 0, 0, 11, 12, 5, 6, 7, 8, -1, -1, 11, 12, 13, 14, 15, 16, 15, 16, 9, 10, 9, 10)
_CHAIN_ORDER = (11, 12, 5, 6, 13, 14, 7, 8, 0, 15, 16, 9, 10, 1, 2, 3, 4, 17, 18, 19, 20, 21, 22, 23, 24)


def bones(points: torch.Tensor) -> torch.Tensor:
    """Points (N, 25, 3), hip-centred, to what leads to each from the one before in the chain of errors."""
    chain = torch.tensor(_CHAIN)
    return points - points[:, chain.clamp(min=0)] * (chain >= 0)[:, None]


def box_side(pixels: torch.Tensor) -> torch.Tensor:
    """Side (...) of the pipeline's box round points (..., 25, 2)."""
    coco = pixels[..., :17, :]
    return (coco.amax(-2) - coco.amin(-2)).amax(-1) * 1.2


def observe(points: torch.Tensor, camera: Camera, generator: torch.Generator, errors: Errors, frames: int = 1) -> View:
    """LifterInput at points (N, 25, 3), relative to the hips and in camera axes, as the detector and landmark net do.

    ``frames``: samples come in runs of that many consecutive frames, each with the errors of one film.
    """
    count = len(points)
    pixels = camera.project(points)
    turned = torch.einsum("nij,nkj->nki", rotation_to_optical_axis(camera.place), points)
    landmarks, off = errors.draw(turned, frames, generator)
    pixels = pixels + off * box_side(pixels)[:, None, None]
    return seen_as(pixels, torch.ones(count, POINTS, dtype=torch.bool), landmarks, camera, generator, frames)


def seen_as(
    pixels: torch.Tensor, mask: torch.Tensor, landmarks: torch.Tensor, camera: Camera, generator: torch.Generator,
    frames: int = 1,
) -> View:  # fmt: skip
    """What the pipeline makes of what the landmark net saw: pixels (N, 25, 2), mask (N, 25), landmarks (N, 25, 3).

    More is masked, as films do not show everything; the box is a little off, and the focal length not always known.
    """
    count = len(pixels)
    runs = count // frames

    def pick(*shape: int) -> torch.Tensor:
        """Uniform 0..1, the same within a run."""
        return torch.rand(runs, *shape, generator=generator).repeat_interleave(frames, 0)

    # Hands hold things, curl and turn, which the body's flat ones don't: their fingers come nearer to the wrist.
    near = 1 - _CURLED * pick(2, 1)
    reach = _FINGERS * box_side(pixels)[:, None, None]
    pixels = _with_fingers(pixels, near, reach * (pick(2, 2) - 0.5))
    landmarks = _with_fingers(landmarks, near, 2 * _FINGERS * (pick(2, 3) - 0.5))
    mask = mask & (torch.rand(count, POINTS, generator=generator) > _MASKED * pick(1))
    # What a film does not show: parts below the picture or behind something, for the whole run.
    legs, arm = torch.zeros(2, POINTS, dtype=torch.bool)
    legs[13:21] = True
    arm[[7, 9, 21, 23]] = True
    for part, share in ((legs, 0.05), (arm, 0.03), (arm[list(LANDMARK_MIRROR)], 0.03)):
        mask &= ~((pick(1) < share) & part)
    # The box as the clean-up makes it: round the confident points, times 1.2, a little off.
    low, high = pixels[:, :17].amin(1), pixels[:, :17].amax(1)
    wobble = 0.01 * torch.randn(count, 3, generator=generator) + 0.03 * (pick(3) - 0.5)
    side = (high - low).amax(1) * 1.2
    centre = (low + high) / 2 + side[:, None] * wobble[:, :2]
    side = side * (1 + wobble[:, 2])
    keypoints = (pixels - centre[:, None]) / (side[:, None, None] / 2) * mask[..., None]
    longest = camera.size.amax(1)
    place = torch.cat([(2 * centre - camera.size) / longest[:, None], (side / longest)[:, None]], 1)
    box = torch.cat([centre, side[:, None]], 1)
    believed = camera.focal * torch.exp(_FOCAL * (2 * pick(1) - 1) * (pick(1) < 0.6))[:, 0]
    look, turn = centre_on_person(pixels, mask, side, landmarks, believed, camera.size / 2)
    return View(pixels, keypoints, mask, place, landmarks, box, look, turn)


def _with_fingers(points: torch.Tensor, near: torch.Tensor, off: torch.Tensor) -> torch.Tensor:
    """Points (N, 25, D) whose fingers are as near (N, 2, 1) to the left and the right wrist, and off by (N, 2, D)."""
    wrists = points[:, _WRISTS].repeat(1, 2, 1)
    fingers = wrists + (points[:, _FINGERTIPS] - wrists) * near.repeat(1, 2, 1) + off.repeat(1, 2, 1)
    return torch.cat([points[:, : _FINGERTIPS.start], fingers], 1)


# Joints that move together when a limb of another pose is taken, and in how many of the poses it is.
_LIMBS = (
    ((13, 16, 18, 20, 22), 0.5),  # left arm
    ((14, 17, 19, 21, 23), 0.5),
    ((1, 4, 7, 10), 0.3),  # left leg
    ((2, 5, 8, 11), 0.3),
    ((3, 6, 9, 12, 15), 0.35),  # spine, neck and head
)
# Knees and elbows bend one way: joint, axis of the bend, its sign.
_HINGES = ((4, 0, 1), (5, 0, 1), (18, 1, -1), (19, 1, 1))
_STRETCHED = 0.1  # radians that a knee or an elbow may be bent backwards
_STRAIGHTENED = 0.15  # share of the knees and elbows that are stretched: captured ones are seldom quite straight
_FREE = (1, 2, 16, 17)  # hips and shoulders, which turn farther than the rest


def perturb(rotations: torch.Tensor, generator: torch.Generator, size: float = 0.2) -> torch.Tensor:
    """New poses (N, 24, 3, 3) of those given: many of them with limbs of each other, all with joints turned a little.

    A knee or elbow that would bend backwards stays as it was. The root is left alone.
    """
    count = len(rotations)
    out = rotations.clone()
    for joints, share in _LIMBS:
        donors = rotations[torch.randperm(count, generator=generator)]
        take = torch.rand(count, generator=generator) < share
        out[:, joints] = torch.where(take[:, None, None, None], donors[:, joints], out[:, joints])
    for joint, _, _ in _HINGES:
        part = torch.rand(count, 1, 1, generator=generator)
        part = part * (torch.rand(count, 1, 1, generator=generator) < _STRAIGHTENED)
        straight = torch.lerp(out[:, joint], torch.eye(3).expand(count, 3, 3), part)
        out[:, joint] = matrix_from_r6d(r6d_from_matrix(straight))
    amount = torch.randn(count, 1, 1, generator=generator).abs() * size * torch.ones(24, 1)
    amount[:, _FREE] *= 2
    turns = torch.randn(count, 24, 3, generator=generator) * amount
    turns[:, 0] = 0
    turned = out @ batch_rodrigues(turns.reshape(-1, 3)).reshape(-1, 24, 3, 3)
    for joint, axis, sign in _HINGES:
        first, second = (axis + 2) % 3, (axis + 1) % 3
        bend = sign * (turned[:, joint, first, second] - turned[:, joint, second, first]) / 2
        turned[:, joint] = torch.where((bend < -_STRETCHED)[:, None, None], out[:, joint], turned[:, joint])
    return turned


def folded(rotations: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """The poses (N, 24, 3, 3) with legs as people have them who sit, crouch or kneel, and leaning forward."""
    count = len(rotations)

    def turn(axis: int, low: float, high: float) -> torch.Tensor:
        """Rotations (N, 3, 3) about an axis by degrees from a range."""
        angle = torch.deg2rad(torch.rand(count, generator=generator) * (high - low) + low)
        return batch_rodrigues(torch.eye(3)[axis] * angle[:, None])

    out = rotations.clone()
    both = turn(0, -130, -10), turn(0, 40, 150)  # hips and knees
    for hip, sign in ((1, 1), (2, -1)):
        out[:, hip] = turn(1, *sorted((-sign * 10, sign * 45))) @ both[0] @ turn(0, -15, 15)
        out[:, hip + 3] = both[1] @ turn(0, -15, 15)
        out[:, hip + 6] = turn(0, -30, 15)
    out[:, 0] = out[:, 0] @ turn(0, -10, 45)
    return out


def random_betas(count: int, generator: torch.Generator) -> torch.Tensor:
    """Body shapes (N, 10) over the open body's whole range."""
    return torch.randn(count, 10, generator=generator).clamp(-2.5, 2.5)
