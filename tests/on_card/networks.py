"""All networks on a device against the same ones on the processor, in single and half precision.

The published ones come from files of the published format and size with drawn numbers, ours from the bundled files.
Inputs are drawn, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tests.bench.report import Cell
from wham_blender import weights
from wham_blender.models import vit
from wham_blender.models.hand_lifter import POINTS as HAND_POINTS
from wham_blender.models.hand_lifter import HandInput
from wham_blender.models.lifter import POINTS, LifterInput
from wham_blender.models.wham import N_INPUT, N_KEYPOINTS, N_KEYPOINTS_3D, WHAM, WhamFrames
from wham_blender.pipeline.people import vitpose_stage, yolo
from wham_blender.pipeline.pose import hand_lifting, hmr2_features, lifter_features, wham_weights
from wham_blender.weights.library import Library

CPU = torch.device("cpu")
COLUMNS = ["network", "parameters, M", "single precision", "half precision", "half", "as the processor"]
# Largest relative errors that count as equal. Single: of convolutions, which cards calculate with 10 bits of each
# number (TF32), over the published depth; set by hand. Half: four times the largest error of bfloat16 on the processor
# at the published size, 0.024 of HMR2.0.
SINGLE, HALF = 5e-3, 0.1


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    depth: int  # blocks of the transformers
    yolo: str  # ultralytics' description of the network
    picture: tuple[int, int]  # height and width of YOLO's input, pixels
    crops: int  # in the comparison with the processor
    frames: int  # of WHAM and our networks
    seconds: float  # of each measurement of speed
    largest: int  # crops in a batch at which the search for the largest batch ends
    clip_frames: int  # of the bundled clip
    whole: bool  # whether jobs also see hands and fit the bodies to the keypoints


PUBLISHED = Size(vit.DEPTH, "yolov8x.yaml", (640, 384), 2, 256, 2.0, 1024, 100, True)
SMALL = Size(1, "yolov8n.yaml", (128, 96), 1, 4, 0.0, 2, 4, False)


@dataclass(frozen=True)
class Case:
    """A network, and how its drawn input goes through it."""

    name: str
    load: Callable[[], nn.Module]
    run: Callable[[Any, torch.device], Sequence[Tensor]]
    # Modules that are converted to half precision; None: autocast converts what it can.
    half_parts: Callable[[Any], list[nn.Module]] | None = None
    half: torch.dtype | None = None  # None: the device's
    used: bool = True  # whether the product uses half precision, so that its error is judged


def cases(library: Library, size: Size) -> list[Case]:
    """Every network of the product that PyTorch runs. The library has files for all published ones."""

    def file(role: str) -> Path:
        path = library.path(role)
        assert path
        return path

    def parts(model: Any) -> list[nn.Module]:
        return list(model.half_precision_parts())

    lifter, temporal, hands = (weights.find(role).path for role in ("lifter", "temporal", "hand_lifter"))
    count = size.frames
    return [
        Case("YOLO", lambda: yolo.load(file("yolo"))[0].fuse(verbose=False), _run_yolo(size), lambda model: [model],
             torch.float16),
        Case("ViTPose-H", lambda: vitpose_stage.load_vitpose(file("vitpose")),
             lambda model, device: [model(_drawn(size.crops, 3, vit.HEIGHT, vit.WIDTH).to(device))], parts),
        Case("HMR2.0", lambda: hmr2_features.load_hmr2(file("hmr2")),
             lambda model, device: model.forward_cropped(_drawn(size.crops, 3, vit.HEIGHT, vit.WIDTH).to(device)),
             parts),
        Case("WHAM, published", lambda: wham_weights.load_wham(file("wham")), _run_wham(count), used=False),
        Case("WHAM, open", lambda: wham_weights.load_wham(weights.find("wham").path), _run_wham(count), used=False),
        Case("lifter", lambda: lifter_features.load_lifter(lifter),
             lambda model, device: model(_seen(count, device)), used=False),
        Case("temporal lifter", lambda: _Pair(lifter_features.PoseNetworks.load(lifter, temporal)),
             lambda model, device: model(_seen(count, device)), used=False),
        Case("hand lifter", lambda: hand_lifting.load_hand_lifter(hands),
             lambda model, device: model(_hand(count, device)), used=False),
    ]  # fmt: skip


@torch.inference_mode()
def compare(case: Case, device: torch.device, half: torch.dtype) -> tuple[list[Cell], bool]:
    """A row of COLUMNS for one network, and whether the device calculates as the processor does.

    Errors are of the worst output: the root mean square of the difference over the standard deviation of the output. A
    precision in which a network does not run has no error; that fails if the product uses it.
    """
    model = case.load()
    size = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    expected = [output.float() for output in case.run(model, CPU)]
    model.to(device)
    single = _worst([output.float().cpu() for output in case.run(model, device)], expected)
    half = case.half or half
    try:
        if case.half_parts is None:
            with torch.autocast(device.type, half):
                outputs = case.run(model, device)
        else:
            for part in case.half_parts(model):
                part.to(half)
            outputs = case.run(model, device)
        rounded: float | None = _worst([output.float().cpu() for output in outputs], expected)
    except RuntimeError as error:
        print(f"{case.name} does not run in {half}: {error}")
        rounded = None
    equal = single < SINGLE and (not case.used or (rounded is not None and rounded < HALF))
    name = str(half).removeprefix("torch.")
    return [case.name, size, single, rounded, name, "yes" if equal else "NO"], equal


def _worst(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """The largest relative error of the outputs; infinite where one is not finite."""
    errors = [
        float((ours - theirs).square().mean().sqrt() / theirs.std().clamp(min=1e-6))
        for ours, theirs in zip(found, expected, strict=True)
    ]
    return max(error if np.isfinite(error) else float("inf") for error in errors)


def _drawn(*shape: int, seed: int = 0) -> Tensor:
    """Normally distributed numbers, the same on every machine."""
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape, np.float32))


def _run_yolo(size: Size) -> Callable[[Any, torch.device], Sequence[Tensor]]:
    def run(model: Any, device: torch.device) -> Sequence[Tensor]:
        pictures = _drawn(1, 3, *size.picture).sigmoid()
        output = model(pictures.to(device, next(model.parameters()).dtype))
        while not isinstance(output, Tensor):
            output = output[0]
        return [output[:, :4], output[:, 4:]]  # boxes in pixels, and scores

    return run


def _run_wham(count: int) -> Callable[[WHAM, torch.device], Sequence[Tensor]]:
    def run(model: WHAM, device: torch.device) -> Sequence[Tensor]:
        frames = wham_frames(model, 2, count, device)
        output, _ = model(frames, wham_start(model, frames), torch.ones(2, dtype=torch.bool, device=device))
        feet = 0.1 * _drawn(2, count, 12, seed=3).to(device)
        refined = model.trajectory_refiner(output.context, feet, output.root, output.velocity)
        return [*output, *refined[:2]]

    return run


def wham_frames(model: WHAM, batch: int, count: int, device: torch.device) -> WhamFrames:
    """Drawn input of a batch of tracks."""
    x = (0.5 * _drawn(batch, count, N_INPUT)).to(device)
    mask = (_drawn(batch, count, N_KEYPOINTS, seed=1) > 1.5).to(device)
    features = None if model.d_feat is None else _drawn(batch, count, model.d_feat, seed=2).to(device)
    return WhamFrames(x, mask, torch.zeros(batch, count, 6, device=device), features)


def wham_start(model: WHAM, frames: WhamFrames) -> Any:
    """The state before the first of those frames: a person who stands upright."""
    batch, device = len(frames.x), frames.x.device
    points = 0.3 * _drawn(batch, N_KEYPOINTS_3D, seed=4).to(device)
    pose = torch.tensor([1.0, 0, 0, 0, 1, 0], device=device).expand(batch, 24, 6)
    return model.start(torch.cat([points, frames.x[:, 0]], 1), pose, pose[:, 0])


class _Pair(nn.Module):
    """Both networks of the open lifter, as Draft quality runs them one after the other."""

    def __init__(self, networks: lifter_features.PoseNetworks) -> None:
        super().__init__()
        self.lifter, self.temporal = networks.lifter, networks.temporal

    def forward(self, seen: LifterInput) -> tuple[Tensor, Tensor]:
        """Rotations (N, 24, 3, 3) and betas (N, 10) of a track of N frames."""
        still = torch.eye(3, device=seen.mask.device).expand(len(seen.mask), 3, 3)
        corrected = self.temporal(self.lifter, seen, self.lifter.iterate(seen)[-1], still)
        return corrected.rotations, corrected.betas


def _seen(count: int, device: torch.device) -> LifterInput:
    """Drawn observations of people."""
    drawn = LifterInput(
        _drawn(count, POINTS, 2).clamp(-2, 2) / 2, _drawn(count, POINTS, seed=1) > -1.5,
        0.3 + 0.1 * _drawn(count, 1, seed=2).sigmoid(), 0.3 * _drawn(count, POINTS, 3, seed=3), torch.ones(count, 1),
    )  # fmt: skip
    return LifterInput(*(values.to(device) for values in drawn))


def _hand(count: int, device: torch.device) -> HandInput:
    """Drawn observations of hands."""
    still = torch.eye(3).expand(count, 3, 3)
    drawn = HandInput(
        _drawn(count, HAND_POINTS, 2) / 2**0.5, 0.04 * _drawn(count, HAND_POINTS, 3, seed=1),
        _drawn(count, 2, seed=2).sigmoid(), nn.functional.normalize(_drawn(count, 3, seed=3), dim=1), still,
    )  # fmt: skip
    return HandInput(*(values.to(device) for values in drawn))
