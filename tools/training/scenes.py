"""Clips of motion before virtual cameras, whole, and what the pipeline makes of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy.signal import savgol_filter

from wham_blender import weights
from wham_blender.body.body import Body
from wham_blender.models.lifter import Lifter
from wham_blender.models.wham import WHAM
from wham_blender.pipeline import checkpoints, features, lift, sight
from wham_blender.pipeline.features import OBSERVED
from wham_blender.pipeline.keypoints import COCO_LANDMARKS, LANDMARKS, Person
from wham_blender.pipeline.track import _SMOOTHING, boxes_around

from . import mocap, simulate
from .lifter import LIMBS

CAMERAS = ("stands", "turns", "travels")
FPS = lift.FPS
Y_UP_TO_Z_UP = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])


class Scene:
    """One clip before one virtual camera."""

    def __init__(self, clip: mocap.Clip, kind: str, body: simulate.TrainingBody, errors: simulate.Errors, seed: int):
        g = torch.Generator().manual_seed(seed)
        count = len(clip.poses)
        motion = simulate.Library.of([clip], turned=False)
        betas = simulate.random_betas(1, g)
        rest = body.rest + torch.einsum("nb,bjk->njk", betas, body.rest_shapes)[0]
        size = float((rest[1, 1] - rest[7, 1]) / (body.rest[1, 1] - body.rest[7, 1]))
        camera = simulate.random_cameras(1, g)
        _, points, _ = body(motion.rotations, betas.expand(count, -1))
        offset = points[:, 11:13].mean(1)
        hips = motion.trans * size + offset
        smooth = torch.from_numpy(savgol_filter(hips.numpy(), min(61, count // 2 * 2 - 1), 2, axis=0)).float()
        rotation = camera.rotation.expand(count, -1, -1)
        place = camera.place + (rotation @ (hips - hips.mean(0))[..., None])[..., 0]
        if kind == "travels":
            place = camera.place + (rotation @ (hips - smooth)[..., None])[..., 0]
        place[:, 2] += max(0.0, 1.5 - float(place[:, 2].min()))
        if kind == "turns":
            # The camera stays where it is and keeps the smoothed hips where they were at first.
            seen = place - (rotation @ (hips - smooth)[..., None])[..., 0]
            pan = simulate.ahead(seen[:1]).mT @ simulate.ahead(seen)
            rotation, place = pan @ rotation, (pan @ place[..., None])[..., 0]
        every = simulate.Camera(rotation, camera.focal.expand(count), camera.size.expand(count, 2), place)
        around = (rotation @ (points - offset[:, None]).mT).mT
        self.view = simulate.observe(around, every, g, errors, frames=count)
        width, height = camera.size[0].round().int().tolist()
        self.size = (width, height)
        focal = float(camera.focal[0])
        self.camera_K = np.array(
            [[focal, 0, float(camera.size[0, 0]) / 2], [0, focal, float(camera.size[0, 1]) / 2], [0, 0, 1]]
        )
        self.camera_R = rotation.double().numpy() @ Y_UP_TO_Z_UP.T
        self.kind, self.clip = kind, clip
        self.points = around[:, LIMBS].double().numpy()  # camera axes, round the hips
        self.hips = hips.double().numpy() @ Y_UP_TO_Z_UP.T
        self.contacts = motion.contacts.numpy() > 0.5
        self.net = self.view.landmarks[:, LIMBS].double().numpy() @ simulate.ahead(place).double().numpy()

    def person(self) -> Person:
        """What the pipeline would have kept of it, smoothed as it smooths."""
        count = len(self.hips)
        landmarks, metres = np.zeros((count, LANDMARKS, 3), np.float32), np.zeros((count, LANDMARKS, 3), np.float32)
        landmarks[:, OBSERVED, :2], landmarks[:, OBSERVED, 2] = self.view.pixels, self.view.mask
        metres[:, OBSERVED] = self.view.landmarks
        boxes = boxes_around(landmarks[:, COCO_LANDMARKS], whole=True)
        landmarks[..., :2] = savgol_filter(landmarks[..., :2], *_SMOOTHING, axis=0)
        metres = savgol_filter(metres, *_SMOOTHING, axis=0)
        return Person(
            keypoints=landmarks[:, COCO_LANDMARKS], landmarks=landmarks, landmarks_3d=metres,
            boxes=savgol_filter(boxes, *_SMOOTHING, axis=0), time=np.arange(count) / FPS,
            visible=np.ones(count, bool), rows=np.arange(count),
        )  # fmt: skip


def networks() -> tuple[Lifter, WHAM, Body]:
    """The open networks and the body that ship."""
    lifter, wham, body = (weights.find(role).path for role in ("lifter", "wham", "body"))
    return features.load(lifter), checkpoints.load_wham(wham), Body.load(body)


def lifted(scene: Scene, networks: tuple[Lifter, WHAM, Body]) -> lift.Lift:
    """Lifter and WHAM on what the scene's camera saw; its lens and turn are given."""
    lifter, wham, body = networks
    person = scene.person()
    view, mirrored, own = features.describe(lifter, person, scene.size, scene.camera_K)
    found = lift.lift(
        wham, body, person.keypoints, person.boxes, scene.size, view, mirrored,
        cam_angvel=lift.camera_turn(scene.camera_R), camera_K=scene.camera_K,
    )  # fmt: skip
    found = replace(found, **vars(own))
    found.trans_cam = sight.stand(found, body, person.keypoints, scene.camera_K)
    return found
