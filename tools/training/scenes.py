"""Simulated scenes (a motion clip and a virtual camera) and the pipeline's results, for benches and calibration."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import median_filter
from scipy.signal import savgol_filter

from tools.training import mocap, simulate
from tools.training.lifter import LIMBS
from wham_blender import weights
from wham_blender.body.body import Body
from wham_blender.models.wham import WHAM
from wham_blender.pipeline.people.landmarks import COCO_LANDMARKS, LANDMARKS
from wham_blender.pipeline.people.smoothing import without_jitter
from wham_blender.pipeline.people.track_cleanup import BOX_MEDIAN_FRAMES
from wham_blender.pipeline.people.types import Person, wham_boxes
from wham_blender.pipeline.pose import camera_translation, lifter_features, wham_inference, wham_weights
from wham_blender.pipeline.pose.lifter_features import LIFTER_LANDMARKS, PoseNetworks
from wham_blender.pipeline.pose.types import View, WhamInput, WhamTrack
from wham_blender.pipeline.world import placement
from wham_blender.pipeline.world.calibration import UNCALIBRATED, calibration_for

Networks = tuple[PoseNetworks, WHAM, Body]
CAMERAS = ("static", "pans", "travels")
FPS = wham_inference.FPS
Y_UP_TO_Z_UP = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])


class Scene:
    """One clip observed by one virtual camera: a static one, or one that follows by panning or by travelling."""

    def __init__(
        self, clip: mocap.Clip, kind: str, body: simulate.TrainingBody, errors: simulate.LandmarkErrors, seed: int
    ):
        g = torch.Generator().manual_seed(seed)
        count = len(clip.poses)
        motion = simulate.Library.of([clip], mirrored=False)
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
        if kind == "pans":
            # The camera keeps its position and rotates so that the smoothed hips stay where they were in the first
            # frame.
            target = place - (rotation @ (hips - smooth)[..., None])[..., 0]
            pan = simulate.rotation_to_optical_axis(target[:1]).mT @ simulate.rotation_to_optical_axis(target)
            rotation, place = pan @ rotation, (pan @ place[..., None])[..., 0]
        cameras = simulate.Camera(rotation, camera.focal.expand(count), camera.size.expand(count, 2), place)
        hip_centred = (rotation @ (points - offset[:, None]).mT).mT
        self.view = simulate.observe(hip_centred, cameras, g, errors, frames=count)
        width, height = camera.size[0].round().int().tolist()
        self.size = (width, height)
        focal = float(camera.focal[0])
        self.camera_K = np.array(
            [[focal, 0, float(camera.size[0, 0]) / 2], [0, focal, float(camera.size[0, 1]) / 2], [0, 0, 1]]
        )
        self.camera_R = rotation.double().numpy() @ Y_UP_TO_Z_UP.T
        self.kind, self.clip = kind, clip
        self.points = hip_centred[:, LIMBS].double().numpy()  # camera axes, relative to the hips
        self.hips = hips.double().numpy() @ Y_UP_TO_Z_UP.T
        self.contacts = motion.contacts.numpy() > 0.5
        self.net = (
            self.view.landmarks[:, LIMBS].double().numpy() @ simulate.rotation_to_optical_axis(place).double().numpy()
        )

    def person(self) -> Person:
        """The Person of the people stages for this scene, its keypoints smoothed as in track clean-up."""
        count = len(self.hips)
        landmarks, metres = np.zeros((count, LANDMARKS, 3), np.float32), np.zeros((count, LANDMARKS, 3), np.float32)
        landmarks[:, LIFTER_LANDMARKS, :2], landmarks[:, LIFTER_LANDMARKS, 2] = self.view.pixels, self.view.mask
        metres[:, LIFTER_LANDMARKS] = self.view.landmarks
        boxes = wham_boxes(landmarks[:, COCO_LANDMARKS], include_hidden=True)
        boxes = median_filter(boxes, (BOX_MEDIAN_FRAMES, 1), mode="nearest")
        keypoints = landmarks[:, COCO_LANDMARKS].copy()
        keypoints[..., :2] = without_jitter(keypoints[..., :2], 200 * boxes[:, 2])
        return Person(
            keypoints=keypoints, landmarks=landmarks, landmarks_3d=metres, boxes=boxes, time=np.arange(count) / FPS,
            visible=np.ones(count, bool), detection_rows=np.arange(count),
        )  # fmt: skip


def networks(wham: Path | None = None) -> Networks:
    """The open lifter and body, and WHAM of a file, by default the open one."""
    lifter, temporal, open_wham, body = (weights.find(role).path for role in ("lifter", "temporal", "wham", "body"))
    return PoseNetworks.load(lifter, temporal), wham_weights.load_wham(wham or open_wham), Body.load(body)


def run_networks(scene: Scene, networks: Networks) -> WhamTrack:
    """Run lifter and WHAM on the scene's observations, with the true intrinsics and camera rotations."""
    lifter, wham, body = networks
    person = scene.person()
    *views, poses = lifter_features.extract_features(lifter, person, scene.size, scene.camera_K)
    features = views[0].features
    if features is not None and features.shape[1] != wham.d_feat:
        # WHAM weights with image features run without them, as scenes have no pictures.
        views = [View(view.init_pose, view.init_betas) for view in views]
    cam_angvel = wham_inference.camera_angular_velocity(scene.camera_R)
    inputs = WhamInput(person.keypoints, person.boxes, scene.size, views, cam_angvel, scene.camera_K)
    track = wham_inference.run_wham(wham, body, inputs)
    track = replace(track, **vars(poses))
    track.trans_cam = camera_translation.solve_translation(track, body, person.keypoints, scene.camera_K)
    return track


def place(
    lifted: WhamTrack,
    body: Body,
    *,
    camera_R: np.ndarray | None = None,
    camera_stays: bool = True,
    contact_model: placement.ContactModel | None = None,
) -> placement.Placed:
    """Place one person who is always visible, as in Draft quality; arguments as of `placement.place_together`."""
    calibration = calibration_for(weights.find("wham"), weights.folder()) or UNCALIBRATED
    (placed,) = placement.place_together(
        [placement.PlacementInput(lifted)], body, calibration, placement.FilmCamera(camera_R, camera_stays),
        contact_model=contact_model,
    )  # fmt: skip
    return placed
