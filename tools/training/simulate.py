"""Simulated training views: virtual cameras on moving bodies, with the landmark network's measured errors.

A view is what the pipeline would have observed: 25 keypoints in a bounding box and the landmark network's 3D landmarks,
with the true pose.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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

ERRORS_FILE = Path(__file__).with_name("landmark_net_errors.npz")  # written by filmed.py


class TrainingBody(torch.nn.Module):
    """The open body's skeleton, observed points and foot points, batched and without vertices."""

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
        """(10, 24, 3): change of the rest joints with each of the betas."""
        return self.all.rest_shapes

    def observed(self) -> dict[str, torch.Tensor]:
        """State dict of a `PointBody` of the 25 observed points alone."""
        state = self.all.state_dict()
        return state | {"basis": state["basis"][:POINTS], "basis_shapes": state["basis_shapes"][:, :POINTS]}

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
    """All frames of many clips, concatenated, as tensors."""

    rotations: torch.Tensor  # (T, 24, 3, 3) local rotations; the root's is global, y up
    trans: torch.Tensor  # (T, 3)
    contacts: torch.Tensor  # (T, 4)
    flat_floor: torch.Tensor  # (T,) bool
    starts: list[int]
    lengths: list[int]
    weights: torch.Tensor  # (clips,) how often each clip is drawn: see `clip_weights`

    @classmethod
    def of(cls, clips: list[mocap.Clip], *, mirrored: bool = True) -> Library:
        """Concatenate clips; with ``mirrored`` their left-right mirror images follow."""
        poses = [clip.poses for clip in clips] + ([mirror_poses(clip.poses) for clip in clips] if mirrored else [])
        flip = np.array([-1.0, 1, 1])
        trans = [clip.trans for clip in clips] + ([clip.trans * flip for clip in clips] if mirrored else [])
        contacts = [clip.contacts for clip in clips] + (
            [clip.contacts[:, FOOT_MIRROR] for clip in clips] if mirrored else []
        )
        flat = [np.full(len(clip.poses), clip.flat_floor) for clip in clips] * (2 if mirrored else 1)
        lengths = [len(pose) for pose in poses]
        joined = torch.from_numpy(np.concatenate(poses)).float()
        return cls(
            batch_rodrigues(joined.reshape(-1, 3)).reshape(-1, 24, 3, 3),
            torch.from_numpy(np.concatenate(trans)).float(),
            torch.from_numpy(np.concatenate(contacts)).float(),
            torch.from_numpy(np.concatenate(flat)),
            [int(start) for start in np.cumsum([0, *lengths[:-1]])],
            lengths,
            torch.from_numpy(clip_weights(clips)).float().repeat(2 if mirrored else 1),
        )


_KIND_EXPONENT = 0.3  # between 0, all kinds alike, and 1, by their minutes; set by hand


def clip_weights(clips: Sequence[mocap.Clip]) -> np.ndarray:
    """Weight (clips,) with which each clip is drawn: kinds about alike, within a kind by the square root of the length.

    By minutes, dance in pairs would be almost half of everything, and running nothing.
    """
    frames, roots = np.array([len(clip.poses) for clip in clips], float), np.array([len(c.poses) ** 0.5 for c in clips])
    kinds = np.unique([clip.kind for clip in clips], return_inverse=True)[1]
    of_kind, roots_of_kind = (np.bincount(kinds, values)[kinds] for values in (frames, roots))
    return of_kind**_KIND_EXPONENT * roots / roots_of_kind


def mirror_poses(poses: np.ndarray) -> np.ndarray:
    """Axis-angle poses (F, 72) of the left-right mirror image."""
    return (poses.reshape(-1, 24, 3)[:, JOINT_MIRROR] * np.array([1.0, -1, -1])).reshape(-1, 72)


def split(folders: Sequence[Path], body: TrainingBody) -> tuple[list[mocap.Clip], list[mocap.Clip]]:
    """The clips of mocap folders for training, and those for validation: the held-out ones, else every tenth."""
    clips = mocap.read_folders(folders, body.rest.double().numpy(), body.foot_points)
    held_out = [clip for clip in clips if clip.held_out] or clips[::10]
    return [clip for clip in clips if all(clip is not other for other in held_out)] or clips, held_out


@dataclass
class Camera:
    """Virtual cameras, one a sample: all (N, ...)."""

    rotation: torch.Tensor  # (N, 3, 3) world (y up) to camera (OpenCV axes)
    focal: torch.Tensor  # (N,) pixels
    size: torch.Tensor  # (N, 2) width, height in pixels
    place: torch.Tensor  # (N, 3) the hips in camera axes, metres

    def project(self, points: torch.Tensor) -> torch.Tensor:
        """Pixels (N, K, 2) of points (N, K, 3) round the hips, in camera axes."""
        in_camera = points + self.place[:, None]
        return (
            in_camera[..., :2] / in_camera[..., 2:].clamp(min=0.3) * self.focal[:, None, None] + self.size[:, None] / 2
        )


def random_cameras(count: int, generator: torch.Generator) -> Camera:
    """Cameras held as phones are: any heading, varied pitch, roll and distance, portrait and landscape."""

    def uniform(low: float, high: float) -> torch.Tensor:
        return torch.rand(count, generator=generator) * (high - low) + low

    def normal(scale: float) -> torch.Tensor:
        return torch.randn(count, generator=generator) * scale

    yaw = uniform(-np.pi, np.pi)
    pitch = torch.where(uniform(0, 1) < 0.6, normal(0.2), normal(0.45))
    roll = torch.where(uniform(0, 1) < 0.6, normal(0.06), normal(0.4))
    about = lambda axis, angle: batch_rodrigues(torch.eye(3)[axis] * angle[:, None])  # noqa: E731
    rotation = about(2, roll) @ about(0, pitch + np.pi) @ about(1, yaw)
    long_side = uniform(640, 1920)
    short_side = long_side * uniform(0.5, 1.0)
    portrait = uniform(0, 1) < 0.5
    size = torch.stack([torch.where(portrait, short_side, long_side), torch.where(portrait, long_side, short_side)], 1)
    focal = size.norm(dim=1) * uniform(0.6, 1.6)
    depth = focal * 1.8 / (size.amax(1) * uniform(0.15, 0.95).clamp(max=0.95))
    middle = (torch.rand(count, 2, generator=generator) - 0.5) * 0.7 * size
    place = torch.cat([middle / focal[:, None], torch.ones(count, 1)], 1) * depth[:, None].clamp(min=1.6)
    return Camera(rotation, focal, size, place)


def random_rotations(count: int, generator: torch.Generator) -> torch.Tensor:
    """Rotations (N, 3, 3), uniform over all orientations."""
    real, *imaginary = torch.nn.functional.normalize(torch.randn(count, 4, generator=generator), dim=1).unbind(1)
    vector = torch.stack(imaginary, 1)
    sine = vector.norm(dim=1, keepdim=True).clamp(min=1e-9)
    return batch_rodrigues(vector / sine * 2 * torch.atan2(sine, real[:, None]))


@dataclass
class View:
    """The pipeline's observations of N samples."""

    pixels: torch.Tensor  # (N, 25, 2)
    keypoints: torch.Tensor  # (N, 25, 2) in the box, -1..1, 0 where masked
    mask: torch.Tensor  # (N, 25) bool: confident
    place: torch.Tensor  # (N, 3) place and size of the box in the picture
    landmarks: torch.Tensor  # (N, 25, 3) metres, hip-centred, camera axes
    box: torch.Tensor  # (N, 3) cx, cy, side in pixels
    lifter_input: LifterInput  # the same as the lifter's input, with a focal length that may be wrong
    to_input_axes: torch.Tensor  # (N, 3, 3) from the camera's axes to the lifter input's


class LandmarkErrors:
    """A model of the landmark network's errors, fitted to rendered films of known poses (``filmed.py``).

    A joint Gaussian of all points around a linear prediction from the pose (the network flattens depths). Its noise is
    the sum of a constant for each film, a slow wave, and white noise. Resampling the measured errors instead gives
    worse results on people, as the lifter overfits to them.
    """

    def __init__(self, fit: torch.Tensor, mix: torch.Tensor, fractions: tuple[float, float, float]) -> None:
        """``fit`` (76, 125): regression on the pose and a one; ``mix`` (125, 125): Cholesky factor of the residuals.

        ``fractions``: of the variance, the part that is constant in a film, slow, and white.
        """
        self.fit, self.mix, self.variance_fractions = fit, mix, fractions

    @classmethod
    def of(cls, films: dict[str, np.ndarray]) -> LandmarkErrors:
        """Fit the model to the arrays of filmed.py, N films of F frames each, and their mirror images."""
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
        residuals = outputs - inputs @ fit
        ridge = 1e-8 * torch.eye(residuals.shape[1], dtype=torch.float64)
        mix = torch.linalg.cholesky(residuals.T @ residuals / len(residuals) + ridge)
        white = torch.linalg.solve_triangular(mix, residuals.T, upper=False).T.view(*made.shape)
        constant = float(white.mean(1).var())
        fast = float(white.diff(dim=1).var() / 2) if made.shape[1] > 1 else 0.0
        return cls(fit.float(), mix.float(), (constant, max(0.0, 1 - constant - fast), fast))

    @classmethod
    def load(cls, path: Path) -> LandmarkErrors:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as arrays:
            constant, slow, fast = arrays["shares"].tolist()
            return cls(torch.from_numpy(arrays["fit"]), torch.from_numpy(arrays["mix"]), (constant, slow, fast))

    def save(self, path: Path) -> None:
        """Write the model to ``path``, an ``.npz``."""
        np.savez_compressed(
            path, allow_pickle=False, fit=self.fit, mix=self.mix, shares=np.array(self.variance_fractions)
        )

    def draw(self, points: torch.Tensor, frames: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """The network's output for points (N, 25, 3) in the crop's axes, in runs of ``frames`` consecutive frames.

        Returns 3D landmarks (N, 25, 3), metres, and errors of the 2D landmarks (N, 25, 2), fractions of the box's side.
        """
        runs = len(points) // frames

        def pick(low: float, high: float, *shape: int) -> torch.Tensor:
            """Uniform (N, *shape), the same within a run."""
            return (torch.rand(runs, *shape, generator=generator) * (high - low) + low).repeat_interleave(frames, 0)

        fitted = _with_one(points.flatten(1)) @ self.fit * pick(0, _FIT_SCALE, 1)
        noise = self._noise(runs, frames, len(self.mix), generator) @ self.mix.T
        deep, flat = (
            noise[:, : 3 * POINTS].unflatten(1, (POINTS, 3)),
            noise[:, 3 * POINTS :].unflatten(1, (POINTS, 2)),
        )
        size = pick(*_COVARIANCE_SCALE_2D, 1, 1)
        flat = fitted[:, 3 * POINTS :].unflatten(1, (POINTS, 2)) + flat * size
        offsets = keypoint_offsets(runs, generator).repeat_interleave(frames, 0)
        flat = (flat + offsets) * _SCALE_2D[:, None]
        size = torch.cat([size, size, pick(*_COVARIANCE_SCALE_3D, 1, 1)], 2)
        gaussian = points + fitted[:, : 3 * POINTS].unflatten(1, (POINTS, 3)) + deep * size
        by_bone = self._bone_errors(points, frames, generator, pick)
        # In the image plane the errors of 3D and 2D landmarks are correlated.
        side = (points[..., :2].amax(1) - points[..., :2].amin(1)).amax(1) * 1.2
        by_bone[..., :2] += flat * side[:, None, None] * pick(*_ERROR_2D_TO_3D, 1, 1)
        landmarks = torch.where(pick(0, 1, 1, 1) < _COVARIANCE_FRACTION, gaussian, by_bone)
        landmarks = torch.where(pick(0, 1, 1, 1) < _SWAPPED_FRACTION, landmarks[:, LANDMARK_MIRROR], landmarks)
        return landmarks - landmarks[:, 11:13].mean(1, keepdim=True), flat

    def _bone_errors(
        self, points: torch.Tensor, frames: int, generator: torch.Generator, pick: Callable[..., torch.Tensor]
    ) -> torch.Tensor:
        """Landmarks with a global rotation error and a tilt error of each bone, which add up along chains.

        Bone lengths are kept and projected lengths nearly so: the errors are mostly in depth.
        """
        runs = len(points) // frames
        rotation = batch_rodrigues(torch.tensor(_ROTATION) * self._noise(runs, frames, 3, generator))
        rotated = torch.einsum("nij,nkj->nki", rotation, points)
        rotated = rotated * torch.cat([torch.ones(len(points), 1, 2), pick(*_DEPTH_SCALE, 1, 1)], 2)
        vectors = bones(rotated)
        across, length = vectors[..., :2].norm(dim=-1), vectors.norm(dim=-1).clamp(min=1e-6)
        tilt = _BONE_TILT * pick(0.5, 1.5, 1) * self._noise(runs, frames, POINTS, generator) * across / length
        deeper = across * torch.sin(tilt) + vectors[..., 2] * torch.cos(tilt)
        shorter = (across * torch.cos(tilt) - vectors[..., 2] * torch.sin(tilt)) / across.clamp(min=1e-6)
        size = torch.exp(_BONE_LENGTH * torch.randn(runs, POINTS, generator=generator)).repeat_interleave(frames, 0)
        vectors = torch.cat([vectors[..., :2] * shorter[..., None], deeper[..., None]], 2) * size[..., None]
        vectors = vectors + _BONE_OFFSET * pick(0.5, 1.5, 1, 1) * self._noise(runs, frames, 3 * POINTS, generator).view(
            -1, POINTS, 3
        )
        out = torch.zeros_like(rotated)
        for point in _CHAIN_ORDER:
            parent = _CHAIN[point]
            out[:, point] = vectors[:, point] + (out[:, parent] if parent >= 0 else 0)
        return out

    def _noise(self, runs: int, frames: int, size: int, generator: torch.Generator) -> torch.Tensor:
        """Standard normal noise (runs x frames, size) with the model's variance fractions over time."""
        if frames == 1:
            return torch.randn(runs, size, generator=generator)
        constant, slow, fast = (fraction**0.5 for fraction in self.variance_fractions)
        wave = torch.randn(runs, size, frames // 8 + 2, generator=generator)
        wave = torch.nn.functional.interpolate(wave, size=frames, mode="linear", align_corners=True).transpose(1, 2)
        noise = (
            fast * torch.randn(runs, frames, size, generator=generator) + slow * 1.2 * wave
        )  # 1.2: interpolation lowers the variance between knots
        return (noise + constant * torch.randn(runs, 1, size, generator=generator)).flatten(0, 1)


def keypoint_offsets(people: int, generator: torch.Generator) -> torch.Tensor:
    """Constant 2D errors of N people's keypoints (N, 25, 2), fractions of the box's side.

    Where the network puts a hip or a shoulder differs more between people than between shapes of the open body.
    """
    size = torch.tensor(_KEYPOINT_OFFSET).expand(POINTS).clone()
    size[[5, 6, 11, 12]] *= 2
    scale = torch.rand(people, 1, 1, generator=generator) + 0.3
    return size[:, None] * scale * torch.randn(people, POINTS, 2, generator=generator)


def rotation_errors(count: int, generator: torch.Generator) -> torch.Tensor:
    """Random rotation errors (N, 3, 3) of the network's 3D skeleton."""
    return batch_rodrigues(torch.tensor(_ROTATION) * torch.randn(count, 3, generator=generator))


def _with_one(values: torch.Tensor) -> torch.Tensor:
    return torch.cat([values, torch.ones_like(values[..., :1])], -1)


# _COVARIANCE_FRACTION of the views get errors of the fitted Gaussian, scaled; the others errors by bone, whose sizes
# were set by hand to match the network's errors on one filmed man (first camera of the balance recording;
# `build.py bench landmarks` prints both). There, bone lengths were right to a few per cent while bone tilts were wrong
# by 10 to 20 degrees; the skeleton was rotated by 5, 10 and 3 degrees about x, y and z and its depth scaled by 0.85
# (0.64 on rendered bodies); errors in the image plane were correlated with the 2D errors (0.8 and 0.6).
_COVARIANCE_FRACTION = 0.2
_COVARIANCE_SCALE_3D, _COVARIANCE_SCALE_2D, _FIT_SCALE = (0.5, 1.4), (0.3, 1.2), 0.8
_ERROR_2D_TO_3D = (0.5, 1.2)
_KEYPOINT_OFFSET = 0.008  # of the box's side
_POINT_GROUPS = {
    "head": 5, "shoulders": 2, "elbows": 2, "wrists": 2, "hips": 2, "knees": 2, "ankles": 2, "heels": 2, "toes": 2,
    "fingers": 4,
}  # fmt: skip


def _by_point(**values: float) -> torch.Tensor:
    """One value (25,) for each of the points."""
    return torch.cat([torch.full((count,), values[name]) for name, count in _POINT_GROUPS.items()])


# Tilt error in radians of a bone that lies in the image plane.
_BONE_TILT = _by_point(
    head=0.25, shoulders=0.15, elbows=0.36, wrists=0.28, hips=0.33, knees=0.34, ankles=0.2, heels=0.3, toes=0.5,
    fingers=0.3,
)  # fmt: skip
# 2D errors on that man, as a fraction of those on rendered bodies.
_SCALE_2D = _by_point(
    head=1.1, shoulders=0.75, elbows=0.6, wrists=0.45, hips=0.95, knees=0.65, ankles=0.65, heels=0.6, toes=0.5,
    fingers=0.5,
)  # fmt: skip
_BONE_LENGTH = 0.05  # standard deviation of the logarithm
_BONE_OFFSET = 0.01  # metres, added to each bone
_ROTATION = (0.1, 0.13, 0.04)  # radians about x, y and z, of the whole 3D skeleton
_DEPTH_SCALE = (0.75, 1.1)
_SWAPPED_FRACTION = 0.01
_FOCAL_ERROR = 0.4  # largest error of the logarithm of an estimated focal length
_FINGER_CURL = 0.7  # largest reduction of the distance from wrist to fingers
_FINGER_OFFSET = 0.03  # largest offset of the fingers, of the box's side (about two metres)
_WRISTS, _FINGERTIPS = slice(9, 11), slice(21, 25)  # left and right; left and right index, left and right little finger
_MASKED_FRACTION = 0.12  # largest fraction of points with low confidence
# Parent of each of the 25 points in the chains along which errors add up (-1: the midpoint of the hips).
_CHAIN = (5, 0, 0, 0, 0, 11, 12, 5, 6, 7, 8, -1, -1, 11, 12, 13, 14, 15, 16, 15, 16, 9, 10, 9, 10)
_CHAIN_ORDER = (11, 12, 5, 6, 13, 14, 7, 8, 0, 15, 16, 9, 10, 1, 2, 3, 4, 17, 18, 19, 20, 21, 22, 23, 24)


def bones(points: torch.Tensor) -> torch.Tensor:
    """Vectors (N, 25, 3) to each hip-centred point (N, 25, 3) from its parent in the chains of errors."""
    chain = torch.tensor(_CHAIN)
    return points - points[:, chain.clamp(min=0)] * (chain >= 0)[:, None]


def box_side(pixels: torch.Tensor) -> torch.Tensor:
    """Side (...) of the pipeline's bounding box of points (..., 25, 2)."""
    coco = pixels[..., :17, :]
    return (coco.amax(-2) - coco.amin(-2)).amax(-1) * 1.2


def observe(
    points: torch.Tensor, camera: Camera, generator: torch.Generator, errors: LandmarkErrors, frames: int = 1
) -> View:
    """Simulate the detector and landmark network on points (N, 25, 3), relative to the hips and in camera axes.

    ``frames``: samples come in runs of that many consecutive frames, each with the errors of one film.
    """
    count = len(points)
    pixels = camera.project(points)
    in_crop = torch.einsum("nij,nkj->nki", rotation_to_optical_axis(camera.place), points)
    landmarks, errors_2d = errors.draw(in_crop, frames, generator)
    pixels = pixels + errors_2d * box_side(pixels)[:, None, None]
    return build_view(pixels, torch.ones(count, POINTS, dtype=torch.bool), landmarks, camera, generator, frames)


def build_view(
    pixels: torch.Tensor, mask: torch.Tensor, landmarks: torch.Tensor, camera: Camera, generator: torch.Generator,
    frames: int = 1,
) -> View:  # fmt: skip
    """A View of the landmark network's output: pixels (N, 25, 2), mask (N, 25), landmarks (N, 25, 3).

    More points are masked as occluded or outside the picture; box and focal length get errors.
    """
    count = len(pixels)
    runs = count // frames

    def pick(*shape: int) -> torch.Tensor:
        """Uniform 0..1, the same within a run."""
        return torch.rand(runs, *shape, generator=generator).repeat_interleave(frames, 0)

    # People's hands curl and hold objects, the body's are flat: move the fingers nearer to the wrist.
    near = 1 - _FINGER_CURL * pick(2, 1)
    reach = _FINGER_OFFSET * box_side(pixels)[:, None, None]
    pixels = _with_fingers(pixels, near, reach * (pick(2, 2) - 0.5))
    landmarks = _with_fingers(landmarks, near, 2 * _FINGER_OFFSET * (pick(2, 3) - 0.5))
    mask = mask & (torch.rand(count, POINTS, generator=generator) > _MASKED_FRACTION * pick(1))
    # Limbs outside the picture or occluded, for the whole run.
    legs, arm = torch.zeros(2, POINTS, dtype=torch.bool)
    legs[13:21] = True
    arm[[7, 9, 21, 23]] = True
    for part, fraction in ((legs, 0.05), (arm, 0.03), (arm[list(LANDMARK_MIRROR)], 0.03)):
        mask &= ~((pick(1) < fraction) & part)
    # The bounding box as track clean-up makes it, of the confident points, times 1.2, with a small error.
    low, high = pixels[:, :17].amin(1), pixels[:, :17].amax(1)
    wobble = 0.01 * torch.randn(count, 3, generator=generator) + 0.03 * (pick(3) - 0.5)
    side = (high - low).amax(1) * 1.2
    centre = (low + high) / 2 + side[:, None] * wobble[:, :2]
    side = side * (1 + wobble[:, 2])
    keypoints = (pixels - centre[:, None]) / (side[:, None, None] / 2) * mask[..., None]
    longest = camera.size.amax(1)
    place = torch.cat([(2 * centre - camera.size) / longest[:, None], (side / longest)[:, None]], 1)
    box = torch.cat([centre, side[:, None]], 1)
    estimated_focal = camera.focal * torch.exp(_FOCAL_ERROR * (2 * pick(1) - 1) * (pick(1) < 0.6))[:, 0]
    lifter_input, to_input_axes = centre_on_person(pixels, mask, side, landmarks, estimated_focal, camera.size / 2)
    return View(pixels, keypoints, mask, place, landmarks, box, lifter_input, to_input_axes)


def _with_fingers(points: torch.Tensor, scale: torch.Tensor, offset: torch.Tensor) -> torch.Tensor:
    """Points (N, 25, D), fingers scaled (N, 2, 1) about the left and the right wrist and moved by (N, 2, D)."""
    wrists = points[:, _WRISTS].repeat(1, 2, 1)
    fingers = wrists + (points[:, _FINGERTIPS] - wrists) * scale.repeat(1, 2, 1) + offset.repeat(1, 2, 1)
    return torch.cat([points[:, : _FINGERTIPS.start], fingers], 1)


# Joints of limbs that are replaced by those of another pose, and the fraction of poses. Set by hand.
_LIMBS = (
    ((13, 16, 18, 20, 22), 0.5),  # left arm
    ((14, 17, 19, 21, 23), 0.5),
    ((1, 4, 7, 10), 0.3),  # left leg
    ((2, 5, 8, 11), 0.3),
    ((3, 6, 9, 12, 15), 0.35),  # spine, neck and head
)
# Hinge joints (knees and elbows): joint, axis of the bend, its sign.
_HINGES = ((4, 0, 1), (5, 0, 1), (18, 1, -1), (19, 1, 1))
_HYPEREXTENSION = 0.1  # radians that a knee or an elbow may bend backwards
_STRAIGHT_FRACTION = 0.15  # fraction of knees and elbows that are straightened: captured ones are rarely straight
_BALL_JOINTS = (1, 2, 16, 17)  # hips and shoulders, whose range of motion is larger


def perturb(rotations: torch.Tensor, generator: torch.Generator, size: float = 0.2) -> torch.Tensor:
    """Augmented poses (N, 24, 3, 3): limbs swapped between poses, small random rotations of all joints but the root.

    A knee or elbow that would bend backwards keeps its rotation.
    """
    count = len(rotations)
    out = rotations.clone()
    for joints, fraction in _LIMBS:
        donors = rotations[torch.randperm(count, generator=generator)]
        take = torch.rand(count, generator=generator) < fraction
        out[:, joints] = torch.where(take[:, None, None, None], donors[:, joints], out[:, joints])
    for joint, _, _ in _HINGES:
        part = torch.rand(count, 1, 1, generator=generator)
        part = part * (torch.rand(count, 1, 1, generator=generator) < _STRAIGHT_FRACTION)
        straight = torch.lerp(out[:, joint], torch.eye(3).expand(count, 3, 3), part)
        out[:, joint] = matrix_from_r6d(r6d_from_matrix(straight))
    amount = torch.randn(count, 1, 1, generator=generator).abs() * size * torch.ones(24, 1)
    amount[:, _BALL_JOINTS] *= 2
    vectors = torch.randn(count, 24, 3, generator=generator) * amount
    vectors[:, 0] = 0
    rotated = out @ batch_rodrigues(vectors.reshape(-1, 3)).reshape(-1, 24, 3, 3)
    for joint, axis, sign in _HINGES:
        first, second = (axis + 2) % 3, (axis + 1) % 3
        bend = sign * (rotated[:, joint, first, second] - rotated[:, joint, second, first]) / 2
        rotated[:, joint] = torch.where((bend < -_HYPEREXTENSION)[:, None, None], out[:, joint], rotated[:, joint])
    return rotated


def with_bent_legs(rotations: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """The poses (N, 24, 3, 3) with the legs of sitting, crouching or kneeling people, leaning forward."""
    count = len(rotations)

    def rotation(axis: int, low: float, high: float) -> torch.Tensor:
        """Random rotations (N, 3, 3) about an axis by degrees from a range."""
        angle = torch.deg2rad(torch.rand(count, generator=generator) * (high - low) + low)
        return batch_rodrigues(torch.eye(3)[axis] * angle[:, None])

    out = rotations.clone()
    hips, knees = rotation(0, -130, -10), rotation(0, 40, 150)
    for hip, sign in ((1, 1), (2, -1)):
        out[:, hip] = rotation(1, *sorted((-sign * 10, sign * 45))) @ hips @ rotation(0, -15, 15)
        out[:, hip + 3] = knees @ rotation(0, -15, 15)
        out[:, hip + 6] = rotation(0, -30, 15)
    out[:, 0] = out[:, 0] @ rotation(0, -10, 45)
    return out


def random_betas(count: int, generator: torch.Generator) -> torch.Tensor:
    """Random betas (N, 10) over the open body's range of shapes."""
    return torch.randn(count, 10, generator=generator).clamp(-2.5, 2.5)
