"""Our WHAM, its body, its world and the metrics against what the reference implementation gave."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from tools import metrics
from wham_blender.body.body import Body
from wham_blender.body.rotations import r6d_from_matrix
from wham_blender.models.wham import WHAM, WhamOutput
from wham_blender.pipeline.pose.types import View, WhamInput
from wham_blender.pipeline.pose.wham_inference import (
    camera_angular_velocity,
    default_intrinsics,
    mirror_track,
    network_input,
    run_wham,
)
from wham_blender.pipeline.world.wham_world import rollout_y_up

TOLERANCE = 1e-4
PIXELS = 0.01
TOLERANCES = {
    "trans_world": 1e-3,  # metres, summed up over the clip
    "feet": 1e-3,  # likewise
    "jitter": 1e-3,  # about 300, of which a float32 resolves 3e-5: third differences times 27,000
}
RUNS = {"plain": ("",), "nofeat": ("",), "flip": ("", "flipped_")}


def compare(ours: dict[str, np.ndarray], reference: dict[str, np.ndarray], tolerance: dict[str, float]) -> None:
    """Every reference array has ours beside it, within its tolerance."""
    assert reference
    assert sorted(reference.keys() - ours.keys()) == []
    off = {}
    for name, expected in reference.items():
        got = np.asarray(ours[name], np.float64).reshape(expected.shape)
        difference = float(np.abs(got - expected).max())
        print(f"{name:24s} {difference:.2e}")
        if not difference < tolerance.get(name, TOLERANCE):
            off[name] = difference
    assert off == {}


def picked(data: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): value for name, value in data.items() if name.startswith(prefix)}


@pytest.fixture(scope="session")
def data(wham_file: Path) -> dict[str, np.ndarray]:
    with np.load(wham_file, allow_pickle=False) as archive:
        return dict(archive)


def size_of(data: dict[str, np.ndarray]) -> tuple[int, int]:
    return int(data["in_width"]), int(data["in_height"])


def view_of(data: dict[str, np.ndarray], prefix: str, with_features: bool) -> View:
    pose = np.concatenate([data[f"in_{prefix}init_global_orient"], data[f"in_{prefix}init_body_pose"]], 1)[0]
    return View(pose, data[f"in_{prefix}init_betas"][0], data[f"in_{prefix}features"] if with_features else None)


def turn_of(data: dict[str, np.ndarray]) -> np.ndarray:
    camera_R = Rotation.from_quat(data["in_camera_quat_xyzw"]).inv().as_matrix()
    return camera_angular_velocity(camera_R, float(data["in_fps"]))


def test_input(data: dict[str, np.ndarray], body: Body) -> None:
    size, view = size_of(data), view_of(data, "", False)
    x, _ = network_input(data["in_keypoints"], data["in_bbox"], size)
    keypoints, boxes = mirror_track(data["in_keypoints"], data["in_bbox"], size)
    pose = torch.from_numpy(view.init_pose)
    joints = body.landmarks(pose[None], torch.from_numpy(view.init_betas)[None]).joints[0, :17]
    ours = {
        "norm_kp2d": x, "cam_angvel": turn_of(data), "intrinsics": default_intrinsics(size),
        "flipped_keypoints": keypoints, "flipped_bbox": boxes, "init_smpl": r6d_from_matrix(pose),
        "init_root": r6d_from_matrix(pose[0]), "init_kp": np.concatenate([joints.numpy().ravel(), x[0]]),
    }  # fmt: skip
    bounds = {"flipped_keypoints": PIXELS, "flipped_bbox": PIXELS, "intrinsics": PIXELS}
    compare({name: np.asarray(value) for name, value in ours.items()}, picked(data, "mid_"), bounds)


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("chunk", [256, 37])
def test_run(data: dict[str, np.ndarray], network: WHAM, body: Body, run: str, chunk: int) -> None:
    views = [view_of(data, prefix, run != "nofeat") for prefix in RUNS[run]]
    outputs: list[WhamOutput] = []
    hook = network.register_forward_hook(lambda module, inputs, result: outputs.append(result[0]))
    with hook:
        track = WhamInput(data["in_keypoints"], data["in_bbox"], size_of(data), views, turn_of(data))
        lifted = run_wham(network, body, track, chunk=chunk)
    raw = WhamOutput(*(torch.cat(parts, 1)[0] for parts in zip(*outputs, strict=True)))
    poses, betas = torch.from_numpy(lifted.poses), torch.from_numpy(lifted.betas)
    sampled = body.vertices(poses, betas, torch.arange(0, body.smpl.get_num_verts(), 200)).numpy()
    root_world, trans_world = rollout_y_up(lifted)
    ours = {
        "pose": r6d_from_matrix(poses).numpy() if run == "flip" else raw.pose.numpy(),
        "betas": lifted.betas, "cam": lifted.cam, "contact": lifted.contacts, "trans_cam": lifted.trans_cam,
        "poses_root_cam": lifted.poses[:, 0], "poses_body": lifted.poses[:, 1:], "vel_root": lifted.velocity,
        "poses_root_r6d": lifted.root, "feet": lifted.feet, "poses_root_r6d_refined": lifted.root_refined,
        "vel_root_refined": lifted.velocity_refined, "poses_root_world": root_world, "trans_world": trans_world,
        "verts_cam_sample": sampled - lifted.offset[:, None], "offset": lifted.offset,
        "pred_kp3d": raw.keypoints.numpy(), "motion_context": raw.context.numpy(),
    }  # fmt: skip
    compare(ours, picked(data, f"{run}_"), TOLERANCES)


def test_metrics(metrics_file: Path) -> None:
    with np.load(metrics_file, allow_pickle=False) as archive:
        data = dict(archive)
    true, predicted = data["in_gt"].astype(np.float64), data["in_pred"].astype(np.float64)
    ours = {
        "mpjpe_pelvis12": metrics.mpjpe(predicted, true, [1, 2]),
        "pa_mpjpe": metrics.pa_mpjpe(predicted, true),
        "accel_error": metrics.accel_error(predicted, true),
        "jitter": metrics.jitter(data["in_pred"], 30.0),
        "rte": metrics.rte(predicted[:, 0], true[:, 0]),
        "wa_mpjpe": metrics.wa_mpjpe(predicted, true),
        "w_mpjpe": metrics.w_mpjpe(predicted, true),
        "foot_sliding": metrics.foot_sliding(data["in_feet_pred"], data["in_feet_gt"]),
    }
    compare(ours, {name: value for name, value in data.items() if not name.startswith("in_")}, TOLERANCES)
