"""Stand-ins for the published weight files, for tests and benches: same names, shapes and formats, random numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from ultralytics.nn.tasks import DetectionModel

from wham_blender import smpl_file, weights
from wham_blender.body.body import Body
from wham_blender.models.hmr2 import HMR2
from wham_blender.models.vitpose import ViTPose
from wham_blender.models.wham import WHAM
from wham_blender.pipeline.people.movenet import MoveNet
from wham_blender.pipeline.people.yolo import Yolo
from wham_blender.weights.library import Library

_UPRIGHT = [1.0, 0.0, 0.0, 0.0, -1.0, 0.0] + [1.0, 0.0, 0.0, 0.0, 1.0, 0.0] * 23  # in a camera's axes, y down


def vitpose(depth: int, seed: int = 0) -> dict[str, torch.Tensor]:
    """ViTPose's tensors: random, with a last layer that gives every keypoint a high confidence."""
    tensors = _random_tensors(lambda: ViTPose(depth), seed)
    tensors["keypoint_head.final_layer.weight"] *= 0.1
    tensors["keypoint_head.final_layer.bias"] = torch.full((17,), 0.8)
    return tensors


def hmr2(depth: int, seed: int = 0) -> dict[str, torch.Tensor]:
    """HMR2.0's tensors: random, with an upright mean pose."""
    tensors = _random_tensors(lambda: HMR2(depth), seed)
    tensors["smpl_head.init_body_pose"] = torch.tensor(_UPRIGHT)[None]
    tensors["smpl_head.init_cam"] = torch.tensor([[0.9, 0.0, 0.0]])
    return tensors


def wham(d_feat: int | None = 1024, seed: int = 0) -> dict[str, torch.Tensor]:
    """WHAM's tensors: random, with an upright mean pose, and the open body in smplx's names."""
    tensors = _random_tensors(lambda: WHAM(d_feat=d_feat), seed)
    if d_feat:
        tensors["integrator.layer1.weight"] *= 2  # trained weights are larger than initial ones
    tensors["motion_decoder.regressor.declayer0.bias"] = torch.tensor(_UPRIGHT)
    tensors["motion_decoder.regressor.declayer2.bias"] = torch.tensor([0.9, 0.0, 0.0])
    tensors["trajectory_decoder.regressor.declayer1.bias"] = torch.tensor(_UPRIGHT[:6])
    arrays = smpl_file.read(weights.find("body").path)
    buffers = Body(arrays).smpl.state_dict()
    buffers |= {name: torch.from_numpy(arrays[name]).float() for name in smpl_file.REGRESSORS}
    return tensors | {f"smpl.{name}": value for name, value in buffers.items()}


def yolo(config: str = "yolov8n.yaml", kind: type[nn.Module] = DetectionModel) -> dict[str, Any]:
    """An untrained YOLO in the file format of ultralytics."""
    torch.manual_seed(0)
    model: Any = kind(config, verbose=False)
    model.names = {number: f"class {number}" for number in range(model.yaml["nc"])} | {0: "person"}
    return {"epoch": -1, "model": model.half(), "ema": None, "train_args": {"imgsz": 640}}


class SeesLikeMoveNet(Yolo):
    """A YOLO that runs, and then gives MoveNet's boxes: one with drawn numbers detects nothing."""

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See `Yolo`."""
        super().__call__(image)
        boxes, scores, _ = MoveNet(weights.find("detector"))(image)
        return boxes, np.where(scores > 0.25, 0.9, 0.0), np.zeros((len(boxes), 0, 3), np.float32)


def library(
    folder: Path,
    depth: int,
    roles: tuple[str, ...] = ("yolo", "vitpose", "hmr2", "wham"),
    yolo_config: str = "yolov8n.yaml",
) -> Library:
    """A weight library in ``folder`` with a file for each role; transformers have ``depth`` blocks."""
    folder.mkdir(parents=True, exist_ok=True)
    made = {
        "yolo": (Path(yolo_config).with_suffix(".pt").name, lambda: yolo(yolo_config)),
        "vitpose": ("vitpose.pth", lambda: {"meta": {"epoch": 210}, "state_dict": vitpose(depth)}),
        "hmr2": ("hmr2a.ckpt", lambda: {"state_dict": hmr2(depth)}),
        "wham": ("wham.pth.tar", lambda: {"epoch": 1, "model": wham()}),
    }
    result = Library(folder)
    for role in roles:
        name, make = made[role]
        torch.save(make(), folder / name)
        result.choose(folder / name, role)
    return result


def _random_tensors(make: Callable[[], nn.Module], seed: int) -> dict[str, torch.Tensor]:
    """Random numbers for all of a model's tensors, biases and norms included."""
    generator = torch.Generator().manual_seed(seed)
    with torch.device("meta"):
        shapes = make().state_dict()
    tensors = {}
    for name, like in shapes.items():
        tensor = tensors[name] = torch.zeros(like.shape, dtype=like.dtype)
        if not tensor.is_floating_point():
            continue
        if tensor.ndim > 1:
            bound = tensor[0].numel() ** -0.5
            tensor.uniform_(-bound, bound, generator=generator)
        else:
            centre = 1.0 if name.endswith(("norm.weight", "norm1.weight", "norm2.weight", "running_var")) else 0.0
            tensor.uniform_(centre - 0.05, centre + 0.05, generator=generator)
    return tensors
