"""How good the open networks are on motion that they never saw, filmed by virtual cameras with the measured errors.

``build.py bench held_out --mocap FOLDER``: every clip that the training keeps for validation, whole, seen by a camera
that stands, one that turns to follow and one that travels along; the landmark net's errors are drawn from those
measured (tools/training/simulate.py). From its points on all of draft quality runs: lifter, WHAM, world. The camera's
turn is given. RTE is the published one, over the whole clip, of clips in which the person goes farther than two metres.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy.signal import savgol_filter

from tests.bench.report import Cell, report
from tools.training import mocap, simulate
from wham_blender import weights
from wham_blender.body.body import Body
from wham_blender.body.rotations import matrix_from_r6d
from wham_blender.models.wham import WHAM
from wham_blender.motion import planted
from wham_blender.pipeline import features, lift, metrics, sight, world
from wham_blender.pipeline.features import OBSERVED
from wham_blender.pipeline.keypoints import COCO_LANDMARKS, LANDMARKS, Person
from wham_blender.pipeline.track import _SMOOTHING, boxes_around

LIMBS, HIPS = list(range(5, 17)), [6, 7]  # COCO's shoulders to ankles, and the hips among them
CAMERAS = ("stands", "turns", "travels")
COUNTS = ("hits", "said", "down", "WHAM's hits", "WHAM said")  # of contacts
FARTHEST = 2.0  # metres: RTE of clips in which the person goes less far says nothing
FPS = lift.FPS
Y_UP_TO_Z_UP = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])


class Scene:
    """One held-out clip before one virtual camera."""

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


def measure(scene: Scene, networks: tuple[features.Lifter, WHAM, Body]) -> dict[str, float]:
    """The figures of one scene: millimetres, and per frame squared for accelerations; NaN where one says nothing."""
    lifter, wham, body = networks
    person = scene.person()
    view, mirrored, own = features.describe(lifter, person, scene.size, scene.camera_K)
    lifted = lift.lift(
        wham, body, person.keypoints, person.boxes, scene.size, view, mirrored,
        cam_angvel=lift.camera_turn(scene.camera_R), camera_K=scene.camera_K,
    )  # fmt: skip
    lifted = replace(lifted, **vars(own))
    lifted.trans_cam = sight.stand(lifted, body, person.keypoints, scene.camera_K)
    placed = world.place(lifted, body, camera_R=scene.camera_R, camera_stays=scene.kind != "travels")
    with torch.inference_mode():
        betas = torch.from_numpy(np.median(lifted.betas, 0)).expand(len(person), -1)
        seen = body.landmarks(torch.from_numpy(lifted.poses), betas)
        turned = body.landmarks(
            torch.from_numpy(
                simulate.batch_rodrigues(torch.from_numpy(placed.poses).reshape(-1, 3)).view(-1, 24, 3, 3).numpy()
            ),
            betas,
        )
    points = seen.joints[:, LIMBS].double().numpy()
    hips = placed.trans + turned.offset.numpy()
    far = float(np.linalg.norm(np.diff(scene.hips, axis=0), axis=1).sum()) > FARTHEST
    wham_hips = world.reference_world(lifted)[1]
    tilt = _tilt(matrix_from_r6d(torch.from_numpy(lifted.root_refined[1:])).numpy(), scene, lifted)
    found, alone, true = planted(placed.contacts), lifted.contacts > 0.5, scene.contacts
    counts = {
        "hits": found & true, "said": found, "down": true, "WHAM's hits": alone & true, "WHAM said": alone,
    }  # fmt: skip
    return {
        "PA-MPJPE": 1000 * float(metrics.pa_mpjpe(points, scene.points).mean()),
        "MPJPE": 1000 * float(metrics.mpjpe(points, scene.points, HIPS).mean()),
        "accel": 1000 * float(metrics.accel_error(points, scene.points).mean()),
        "net PA-MPJPE": 1000 * float(metrics.pa_mpjpe(scene.net, scene.points).mean()),
        "net accel": 1000 * float(metrics.accel_error(scene.net, scene.points).mean()),
        "RTE %": 100 * float(metrics.rte(hips, scene.hips).mean()) if far else np.nan,
        "WHAM's RTE %": 100 * float(metrics.rte(wham_hips, scene.hips).mean()) if far else np.nan,
        "tilt": tilt,
        **{name: float(value.sum()) if scene.clip.flat_floor else np.nan for name, value in counts.items()},
    }


def _tilt(root: np.ndarray, scene: Scene, lifted: lift.Lift) -> float:
    """Mean angle in degrees between the true way up and WHAM's, both in the camera's axes."""
    up = np.einsum("fij,fkj,k->fi", lifted.poses[:, 0], root, (0.0, -1, 0))
    return float(np.degrees(np.arccos((up * scene.camera_R[:, :, 2]).sum(1).clip(-1, 1))).mean())


def main() -> None:
    """Measure every held-out clip before each kind of camera and print the means."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mocap", type=Path, required=True, help="as build.py train takes it")
    parser.add_argument("--cameras", type=int, default=3, help="of each kind, for each clip")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    points_of = simulate.TrainingBody()
    clips = simulate.split(args.mocap, points_of)[1]
    errors = simulate.Errors.load(simulate.MEASURED)
    with np.load(weights.find("wham").path, allow_pickle=False) as arrays:
        wham = WHAM.from_state_dict({name: torch.from_numpy(arrays[name]).float() for name in arrays.files}).eval()
    networks = features.load(weights.find("lifter").path), wham, Body.load(weights.find("body").path)
    rows: list[list[Cell]] = []
    for kind in CAMERAS:
        found = [
            measure(Scene(clip, kind, points_of, errors, 100 * number + seed), networks)
            for number, clip in enumerate(clips)
            for seed in range(args.cameras)
        ]
        mean = {name: float(np.nanmean([each[name] for each in found])) for name in found[0]}
        hits, said, down, own_hits, own_said = (mean.pop(name) for name in COUNTS)
        contacts = [hits / said, hits / down, 2 * hits / (said + down), 2 * own_hits / (own_said + down)]
        rows.append([kind, len(found), *mean.values(), *contacts])
    columns = ["camera", "scenes", *mean, "contact precision", "recall", "F1", "WHAM's F1"]
    report("Held-out motion before virtual cameras: mm, accel per frame squared, degrees", columns, rows, args.json)


if __name__ == "__main__":
    main()
