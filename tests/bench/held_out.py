"""Accuracy of the open networks on held-out motion, observed by virtual cameras with the measured landmark errors.

``build.py bench held_out [--mocap FOLDERS]``: every validation clip, observed by a static camera, one that pans to
follow and one that travels along; the landmark network's errors are sampled from its error model
(tools/training/simulate.py). From the landmarks on all of Draft quality runs: lifter, WHAM, placement. The true camera
rotation is given. RTE is the published one, over the full clip, of clips in which the person moves farther than two
metres.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from tests.bench.report import Cell, report
from tools import metrics
from tools.training import mocap, scenes, simulate
from tools.training.lifter import LIMBS
from tools.training.scenes import CAMERAS, Scene
from wham_blender.body.rotations import matrix_from_r6d
from wham_blender.motion import planted
from wham_blender.pipeline.pose.types import WhamTrack
from wham_blender.pipeline.world.wham_world import rollout_y_up

HIPS = [6, 7]  # among the limbs' points
COUNTS = ("hits", "predicted", "true", "WHAM hits", "WHAM predicted")  # of contacts
SHORTEST_PATH = 2.0  # metres: below it RTE is not meaningful


def measure(scene: Scene, networks: scenes.Networks) -> dict[str, float]:
    """Metrics of one scene: millimetres, accelerations per frame squared; NaN if one is not meaningful."""
    body = networks[2]
    lifted = scenes.run_networks(scene, networks)
    placed = scenes.place(lifted, body, camera_R=scene.camera_R, camera_stays=scene.kind != "travels")
    with torch.inference_mode():
        betas = torch.from_numpy(np.median(lifted.betas, 0)).expand(len(lifted.poses), -1)
        in_camera = body.landmarks(torch.from_numpy(lifted.poses), betas)
        in_world = body.landmarks(
            torch.from_numpy(
                simulate.batch_rodrigues(torch.from_numpy(placed.poses).reshape(-1, 3)).view(-1, 24, 3, 3).numpy()
            ),
            betas,
        )
    points = in_camera.joints[:, LIMBS].double().numpy()
    hips = placed.trans + in_world.offset.numpy()
    moves = float(np.linalg.norm(np.diff(scene.hips, axis=0), axis=1).sum()) > SHORTEST_PATH
    wham_hips = rollout_y_up(lifted)[1]
    tilt = _tilt(matrix_from_r6d(torch.from_numpy(lifted.root_refined[1:])).numpy(), scene, lifted)
    predicted, wham, true = planted(placed.contacts), lifted.contacts > 0.5, scene.contacts
    counts = {
        "hits": predicted & true, "predicted": predicted, "true": true, "WHAM hits": wham & true,
        "WHAM predicted": wham,
    }  # fmt: skip
    return {
        "PA-MPJPE": 1000 * float(metrics.pa_mpjpe(points, scene.points).mean()),
        "MPJPE": 1000 * float(metrics.mpjpe(points, scene.points, HIPS).mean()),
        "accel": 1000 * float(metrics.accel_error(points, scene.points).mean()),
        "landmarks PA-MPJPE": 1000 * float(metrics.pa_mpjpe(scene.net, scene.points).mean()),
        "landmarks accel": 1000 * float(metrics.accel_error(scene.net, scene.points).mean()),
        "RTE %": 100 * float(metrics.rte(hips, scene.hips).mean()) if moves else np.nan,
        "WHAM's RTE %": 100 * float(metrics.rte(wham_hips, scene.hips).mean()) if moves else np.nan,
        "tilt": tilt,
        **{name: float(value.sum()) if scene.clip.flat_floor else np.nan for name, value in counts.items()},
    }


def _tilt(root: np.ndarray, scene: Scene, lifted: WhamTrack) -> float:
    """Mean angle in degrees between the true vertical and WHAM's, both in the camera's axes."""
    up = np.einsum("fij,fkj,k->fi", lifted.poses[:, 0], root, (0.0, -1, 0))
    return float(np.degrees(np.arccos((up * scene.camera_R[:, :, 2]).sum(1).clip(-1, 1))).mean())


def main() -> None:
    """Measure every held-out clip with each kind of camera and print the means."""
    parser = argparse.ArgumentParser(description=__doc__)
    mocap.add_option(parser)
    parser.add_argument("--cameras", type=int, default=3, help="of each kind, for each clip")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    point_body = simulate.TrainingBody()
    clips = simulate.split(args.mocap, point_body)[1]
    errors = simulate.LandmarkErrors.load(simulate.ERRORS_FILE)
    networks = scenes.networks()
    rows: list[list[Cell]] = []
    for kind in CAMERAS:
        measured = [
            measure(Scene(clip, kind, point_body, errors, 100 * number + seed), networks)
            for number, clip in enumerate(clips)
            for seed in range(args.cameras)
        ]
        mean = {name: float(np.nanmean([each[name] for each in measured])) for name in measured[0]}
        hits, predicted, true, wham_hits, wham_predicted = (mean.pop(name) for name in COUNTS)
        contacts = [
            hits / predicted, hits / true, 2 * hits / (predicted + true), 2 * wham_hits / (wham_predicted + true),
        ]  # fmt: skip
        rows.append([kind, len(measured), *mean.values(), *contacts])
    columns = ["camera", "scenes", *mean, "contact precision", "recall", "F1", "WHAM's F1"]
    report("Held-out motion, virtual cameras: mm, accel per frame squared, degrees", columns, rows, args.json)


if __name__ == "__main__":
    main()
