"""Simulated tracks: people who move as captured, filmed by virtual cameras, with the lifter's poses of each frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from smplx.lbs import batch_rodrigues
from torch import Tensor

from tools.training import simulate
from wham_blender.body.rotations import matrix_from_r6d, r6d_from_matrix
from wham_blender.models.lifter import Lifter, LifterInput, pose_feature
from wham_blender.models.temporal import track_axes
from wham_blender.pipeline.pose.lifter_features import PoseNetworks

FPS = 30.0
# Speeds at which clips are played. The slowest lets clips of running, which last 1.4 s, fill a sequence.
_SLOWEST, _FASTEST = 0.55, 1.7
# Disturbed observations, set by hand: fractions of the clips, lengths in frames, standard deviation in metres.
_HIDDEN_FRACTION, _HIDDEN_FRAMES = 0.12, (2, 14)
_WRONG_LIMB_FRACTION, _WRONG_LIMB_FRAMES, _WRONG_LIMB_OFFSET = 0.15, (1, 4), 0.15
_LIMBS = (  # of the 25 points: arms with hands, legs with feet, left and right
    [7, 9, 21, 23], [8, 10, 22, 24], [9, 21, 23], [10, 22, 24], [13, 15, 17, 19], [14, 16, 18, 20], [15, 17, 19],
    [16, 18, 20],
)  # fmt: skip


@dataclass
class Sequences:
    """A batch of simulated clips, B people and F frames: observations and truth."""

    x: Tensor  # (B, F, 37) network input
    mask: Tensor  # (B, F, 17) bool: keypoints with low confidence
    cam_angvel: Tensor  # (B, F, 6)
    features: Tensor  # (B, F, d_feat)
    lifted: Tensor  # (B, F, 24, 3, 3) the lifter's poses
    lifted_betas: Tensor  # (B, F, 10)
    pose: Tensor  # (B, F, 24, 3, 3) true rotations, the root's in the camera frame
    betas: Tensor  # (B, 10)
    points: Tensor  # (B, F, 25, 3) hip-centred, camera axes
    feet: Tensor  # (B, F, 4, 3) the same for the foot points
    root: Tensor  # (B, F, 3, 3) in a y-down world with the first camera's heading
    hips: Tensor  # (B, F, 3) metres in that world, zero in the first frame
    cam: Tensor  # (B, F, 3) weak camera
    contacts: Tensor  # (B, F, 4)
    flat_floor: Tensor  # (B,) bool
    observed: LifterInput  # of B F frames: what the lifter took
    to_input_axes: Tensor  # (B F, 3, 3) from the camera's axes to those of ``observed``
    to_track: Tensor  # (B F, 3, 3) from those to the track's, see `temporal.track_axes`


# Observations of B tracks, the rotations from their axes to each track's, and B: to poses in their axes, and betas.
Lift = Callable[[LifterInput, Tensor, int], tuple[Tensor, Tensor]]


def frame_by_frame(lifter: Lifter) -> Lift:
    """The lifter's poses of each frame."""
    return lambda observed, to_track, tracks: lifter(observed)


def over_time(networks: PoseNetworks) -> Lift:
    """The lifter's poses corrected by the temporal network, as in the pipeline."""

    def lift(observed: LifterInput, to_track: Tensor, tracks: int) -> tuple[Tensor, Tensor]:
        rotations, betas = networks.lifter(observed)
        with torch.autocast("cpu", enabled=False):
            estimate = networks.lifter.estimate_of(rotations.float(), betas.float())
        corrected = networks.temporal(networks.lifter, observed, estimate, to_track, tracks)
        return corrected.rotations, corrected.betas

    return lift


class SequenceSampler:
    """Draws batches of simulated clips from a library of motion."""

    def __init__(
        self, library: simulate.Library, body: simulate.TrainingBody, lift: Lift, errors: simulate.LandmarkErrors,
        seed: int, *, varied: bool, frames: int,
    ) -> None:  # fmt: skip
        """Clips of ``frames`` frames; lift: as `frame_by_frame` or `over_time` make it.

        varied: with other speeds and poses, and disturbed observations, for training.
        """
        self.motion, self.body, self.lift, self.errors, self.varied = library, body, lift, errors, varied
        self.frames = frames
        self.generator = torch.Generator().manual_seed(seed)
        usable = [i for i, length in enumerate(library.lengths) if length > _SLOWEST * frames + 3]
        self.usable = torch.tensor(usable)
        self.clip_weights = library.weights[self.usable]

    def _smooth(self, count: int, size: int, knots: int = 5) -> Tensor:
        """Smooth random curves (count, F, size) with a standard deviation of about one that begin at zero."""
        wave = torch.randn(count, size, knots, generator=self.generator)
        curve = torch.nn.functional.interpolate(wave, size=self.frames, mode="linear", align_corners=True)
        kernel = torch.hann_window(13, periodic=False)
        padded = torch.nn.functional.pad(curve, (6, 6), mode="replicate").reshape(-1, 1, self.frames + 12)
        curve = torch.nn.functional.conv1d(padded, (kernel / kernel.sum()).view(1, 1, -1)).view(
            count, size, self.frames
        )
        return (curve - curve[..., :1]).transpose(1, 2)

    def _motion(self, count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Windows of clips at varied speed: rotations (B, F, 24, 3, 3), trans (B, F, 3), contacts, flat floor (B,)."""
        g, library = self.generator, self.motion
        clips = self.usable[torch.multinomial(self.clip_weights, count, replacement=True, generator=g)]
        lengths = torch.tensor(library.lengths)[clips]
        fastest = np.log(_FASTEST / _SLOWEST)
        speed = _SLOWEST * torch.exp(torch.rand(count, generator=g) * fastest) if self.varied else torch.ones(count)
        speed = torch.minimum(speed, (lengths - 2) / self.frames)
        begin = (
            torch.rand(count, generator=g) * (lengths - 1.01 - speed * (self.frames - 1))
            + torch.tensor(library.starts)[clips]
        )
        at = begin[:, None] + speed[:, None] * torch.arange(self.frames)
        low, part = at.long(), (at - at.long())
        mixed = torch.lerp(library.rotations[low], library.rotations[low + 1], part[..., None, None, None])
        trans = torch.lerp(library.trans[low], library.trans[low + 1], part[..., None])
        return (
            matrix_from_r6d(r6d_from_matrix(mixed)),
            trans,
            library.contacts[at.round().long()],
            library.flat_floor[low[:, 0]],
        )

    @torch.no_grad()
    def draw(self, count: int) -> Sequences:
        """A batch of simulated clips."""
        g, body, total = self.generator, self.body, count * self.frames
        rotations, trans, contacts, flat = self._motion(count)
        if self.varied:  # an offset of the pose, constant plus slow, so that no clip repeats
            sway = self._smooth(count, 72) * 0.06 + torch.randn(count, 1, 72, generator=g) * 0.05
            sway[..., :3] = 0
            rotations = rotations @ batch_rodrigues(sway.reshape(-1, 3)).view(count, self.frames, 24, 3, 3)
        betas = simulate.random_betas(count, g)
        rest = body.rest + torch.einsum("nb,bjk->njk", betas, body.rest_shapes)
        trans = trans * ((rest[:, 1, 1] - rest[:, 7, 1]) / (body.rest[1, 1] - body.rest[7, 1]))[:, None, None]

        camera = simulate.random_cameras(count, g)
        moving = torch.rand(count, generator=g) < 0.35
        rotation = self._smooth(count, 3) * 0.35 * moving[:, None, None]
        world_to_camera = (
            batch_rodrigues(rotation.reshape(-1, 3)).view(count, self.frames, 3, 3) @ camera.rotation[:, None]
        )

        repeated = betas.repeat_interleave(self.frames, 0)
        _, points, feet = body(rotations.reshape(total, 24, 3, 3), repeated)
        middle = points[:, 11:13].mean(1)
        hips_world = trans + middle.view(count, self.frames, 3)
        points, feet = points - middle[:, None], feet - middle[:, None]

        # The hips in the camera: of a camera with a fixed position, or of one that follows them.
        path = torch.einsum("btij,btj->bti", world_to_camera, hips_world - hips_world[:, :1])
        kernel = torch.ones(3, 1, 15) / 15
        slow = torch.nn.functional.conv1d(
            torch.nn.functional.pad(hips_world.transpose(1, 2), (7, 7), mode="replicate"), kernel, groups=3
        ).transpose(1, 2)
        bob = torch.einsum("btij,btj->bti", world_to_camera, hips_world - slow)
        followed = bob - bob[:, :1] + self._smooth(count, 3) * 0.25
        offset = torch.where(moving[:, None, None], followed, path)
        depth = torch.maximum(camera.place[:, 2], 1.2 - offset[..., 2].amin(1))
        place = camera.place * (depth / camera.place[:, 2])[:, None]
        place = place[:, None] + offset

        flat_camera = simulate.Camera(
            world_to_camera.reshape(total, 3, 3), camera.focal.repeat_interleave(self.frames),
            camera.size.repeat_interleave(self.frames, 0), place.reshape(total, 3),
        )  # fmt: skip
        turned = world_to_camera.reshape(total, 1, 3, 3)
        points = (turned @ points[..., None])[..., 0]
        feet = (turned @ feet[..., None])[..., 0]
        view = simulate.observe(points, flat_camera, g, self.errors, self.frames)
        axes = torch.stack([track_axes(rays) for rays in place])
        to_track = axes.repeat_interleave(self.frames, 0) @ view.to_input_axes.mT
        observed = self._disturbed(view.lifter_input, count) if self.varied else view.lifter_input
        with torch.autocast("cpu", torch.bfloat16, enabled=simulate.HALF):
            lifted, lifted_betas = self.lift(observed, to_track, count)
        lifted[:, 0] = view.to_input_axes.mT @ lifted[:, 0]
        features = pose_feature(lifted, lifted_betas)
        x = torch.cat([view.keypoints[:, :17].flatten(1), view.place], 1)

        side = view.box[:, 2]
        scale = 2 * flat_camera.focal / (side * flat_camera.place[:, 2])
        shift = flat_camera.place[:, :2] - 2 * (view.box[:, :2] - flat_camera.size / 2) / (scale * side)[:, None]
        cam = torch.cat([scale[:, None], shift], 1)

        step = world_to_camera[:, :-1] @ world_to_camera[:, 1:].mT
        angvel = (step[..., :2, :].flatten(2) - torch.tensor([1.0, 0, 0, 0, 1, 0])) * FPS
        angvel = torch.cat([angvel, angvel[:, :1]], 1)

        root_cam = (turned[:, 0] @ rotations.reshape(total, 24, 3, 3)[:, 0]).view(count, self.frames, 3, 3)
        pose = torch.cat([root_cam[:, :, None], rotations[:, :, 1:]], 2)
        level = _levelled(world_to_camera[:, 0]) @ world_to_camera[:, 0]  # world (y up) to WHAM's (y down)
        root = level[:, None] @ rotations[:, :, 0]
        hips = torch.einsum("bij,btj->bti", level, hips_world - hips_world[:, :1])

        def rows(value: Tensor) -> Tensor:
            return value.reshape(count, self.frames, *value.shape[1:])

        return Sequences(
            x=rows(x), mask=rows(~view.mask[:, :17]), cam_angvel=angvel, features=rows(features),
            lifted=rows(lifted), lifted_betas=rows(lifted_betas), pose=pose,
            betas=betas, points=rows(points), feet=rows(feet), root=root, hips=hips, cam=rows(cam), contacts=contacts,
            flat_floor=flat, observed=observed, to_input_axes=view.to_input_axes,
            to_track=to_track,
        )  # fmt: skip

    def _disturbed(self, observed: LifterInput, count: int) -> LifterInput:
        """Observations with, in some of the clips, frames in which nothing or a limb elsewhere is seen.

        The pipeline bridges frames in which a person is hidden: all points masked, 3D landmarks interpolated.
        """
        g, frames = self.generator, self.frames
        keypoints, mask, _, landmarks, _ = (value.unflatten(0, (count, frames)).clone() for value in observed)
        for row in (torch.rand(count, generator=g) < _HIDDEN_FRACTION).nonzero()[:, 0].tolist():
            begin, end = self._span(*_HIDDEN_FRAMES)
            mask[row, begin:end], keypoints[row, begin:end] = False, 0
            part = torch.linspace(0, 1, end - begin + 2)[1:-1, None, None]
            landmarks[row, begin:end] = torch.lerp(landmarks[row, begin - 1], landmarks[row, end], part)
        for row in (torch.rand(count, generator=g) < _WRONG_LIMB_FRACTION).nonzero()[:, 0].tolist():
            begin, end = self._span(*_WRONG_LIMB_FRAMES)
            points = _LIMBS[int(torch.randint(len(_LIMBS), (1,), generator=g))]
            offset = _WRONG_LIMB_OFFSET * torch.randn(1, 3, generator=g)
            wrong = landmarks[row, begin:end][:, points] + offset
            landmarks[row, begin:end, points] = wrong
            # Half a box is about a metre.
            keypoints[row, begin:end, points] += offset[:, :2] * mask[row, begin:end][:, points, None]
        return observed._replace(
            keypoints=keypoints.flatten(0, 1), mask=mask.flatten(0, 1), landmarks=landmarks.flatten(0, 1)
        )

    def _span(self, shortest: int, longest: int) -> tuple[int, int]:
        """Random frames of a clip, the first and the one after the last; its first and last frame are not in it."""
        length = int(torch.randint(shortest, longest + 1, (1,), generator=self.generator))
        begin = int(torch.randint(1, self.frames - length, (1,), generator=self.generator))
        return begin, begin + length


def _levelled(world_to_camera: Tensor) -> Tensor:
    """(B, 3, 3): the smallest rotation that makes a camera's y axis point down in the world (y up)."""
    down = -world_to_camera[:, :, 1]
    target = torch.tensor([0.0, 1, 0]).expand_as(down)
    axis = torch.linalg.cross(down, target)
    angle = torch.atan2(axis.norm(dim=1), down[:, 1])
    return batch_rodrigues(axis / axis.norm(dim=1, keepdim=True).clamp(min=1e-9) * angle[:, None])
