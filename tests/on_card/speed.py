"""Crops and frames a second on a device, in batches and one at a time, and what happens when memory runs short.

On the processor nothing can take a card's memory: there a network that refuses large batches stands for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tests.bench.report import Cell
from tests.on_card.networks import Size, wham_frames, wham_start
from wham_blender import weights
from wham_blender.body.body import Body
from wham_blender.pipeline import cuda
from wham_blender.pipeline.people import person_crops, vitpose_stage, yolo
from wham_blender.pipeline.people.batched_network import CROP, BatchedNetwork
from wham_blender.pipeline.pose import hmr2_features, wham_inference, wham_weights
from wham_blender.pipeline.pose.types import View, WhamInput

SPEED_COLUMNS = ["network", "what", "at a time", "a second", "ratio"]  # ratio: to the first row of the network
MEMORY_COLUMNS = ["network", "free GB", "batch chosen", "largest batch", "when short", "chosen when short", "as before"]
_ROUNDS = 3  # of all ways, in turn; the fastest of each counts
_SHORT = 0.3  # of the memory that a batch uses: what the ballast leaves; set by hand
# Largest difference between outputs of batches of other sizes, over the outputs' standard deviation; set by hand.
_SAME = 0.1
_FRAME = (1080, 1920, 3)
_PICTURES = (1, 4, 16)  # of YOLO at a time
_PEOPLE = (1, 4, 16)  # tracks that go through WHAM together
_TRACK_SIZE = (1920, 1080)  # pixels
_SLOW = 5.0  # seconds of a batch at which the search for the largest ends: slow cards would search for minutes
_GB = 1e9

Work = Callable[[], object]


def rates(ways: list[tuple[str, int, Work]], name: str, seconds: float) -> list[list[Cell]]:
    """Rows of SPEED_COLUMNS. ways: what is measured, how many at a time, and a call that does so many.

    All are measured in turn, for about so many seconds each, after a call that does not count; for 0, one call each.
    """
    if seconds:
        for _, _, work in ways:
            work()
    best = [0.0] * len(ways)
    for _ in range(_ROUNDS if seconds else 1):
        for number, (_, count, work) in enumerate(ways):
            done, begun, passed = 0, time.perf_counter(), 0.0
            while not done or passed < seconds / _ROUNDS:
                work()
                done, passed = done + count, time.perf_counter() - begun
            best[number] = max(best[number], done / passed)
    return [[name, what, count, rate, rate / best[0]] for (what, count, _), rate in zip(ways, best, strict=True)]


def transformer(
    role: str, path: Path, device: torch.device, most: int
) -> tuple[nn.Module, Callable[[], BatchedNetwork]]:
    """ViTPose or HMR2.0 out of a file, and a function that gives its network on the device as a job has it.

    most: crops in a batch, where a job would take more.
    """
    model: Any = vitpose_stage.load_vitpose(path) if role == "vitpose" else hmr2_features.load_hmr2(path)
    wrap: Any = vitpose_stage.vitpose if role == "vitpose" else hmr2_features.hmr2_network

    def make() -> BatchedNetwork:
        network: BatchedNetwork = wrap(model, device, print)
        network.batch = min(network.batch, most)
        return network

    return model, make


@torch.inference_mode()
def transformer_speed(model: Any, network: BatchedNetwork, name: str, seconds: float) -> list[list[Cell]]:
    """Crops a second with the flip test: batched as in a job, and one crop and one view in each pass as published."""
    crops = _crops(network.batch)
    device = next(model.parameters()).device
    forward = getattr(model, "forward_cropped", model)

    def one_at_a_time() -> None:
        picture = person_crops.normalise(torch.from_numpy(crops[:1]).to(device))
        for view in (picture, picture.flip(-1)):
            found = forward(view)
            for value in [found] if isinstance(found, Tensor) else found:
                value.float().cpu()

    ways: list[tuple[str, int, Work]] = [
        ("one crop and one view", 1, one_at_a_time),
        ("batch", 1, lambda: network(crops[:1])),
        ("batch", len(crops), lambda: network(crops)),
    ]
    return rates(ways, name, seconds)


@torch.inference_mode()
def yolo_speed(path: Path, device: torch.device, size: Size) -> list[list[Cell]]:
    """Frames a second: as in a job, scaling and boxes included, and the network alone with several pictures."""
    detect = yolo.Yolo(path, device)
    half = torch.float16 if device.type == "cuda" else torch.float32
    model: Any = yolo.load(path)[0].fuse(verbose=False).to(device, half)
    image = np.random.default_rng(0).integers(0, 255, _FRAME, dtype=np.uint8)

    def network(count: int) -> Work:
        pictures = torch.rand(count, 3, *size.picture).to(device, half)

        def run() -> None:
            output = model(pictures)
            while not isinstance(output, Tensor):
                output = output[0]
            output.cpu()

        return run

    alone: list[tuple[str, int, Work]] = [("network alone", count, network(count)) for count in _PICTURES]
    return rates([("frame, as in a job", 1, lambda: detect(image)), *alone], "YOLO", size.seconds)


@torch.inference_mode()
def wham_speed(path: Path, device: torch.device, size: Size) -> list[list[Cell]]:
    """Frames a second: as in a job, one view at a time, and the network alone with the tracks of several people."""
    model = wham_weights.load_wham(path).to(device)
    body = Body.load(weights.find("body").path).to(device)
    rng, count = np.random.default_rng(0), size.frames
    keypoints = rng.uniform(0, 1, (count, 17, 3)) * [*_TRACK_SIZE, 1]
    boxes = rng.uniform(1, 2, (count, 3)) * [900, 500, 2]
    features = rng.standard_normal((2, count, model.d_feat or 0), np.float32)
    views = [View(np.tile(np.eye(3), (24, 1, 1)), np.zeros(10), each) for each in features]

    def track(*chosen: View) -> None:
        wham_inference.run_wham(model, body, WhamInput(keypoints, boxes, _TRACK_SIZE, list(chosen)))

    def one_view_after_the_other() -> None:
        for view in views:
            track(view)

    def network(people: int) -> Work:
        frames = wham_frames(model, 2 * people, count, device)
        state, residual = wham_start(model, frames), torch.ones(2 * people, dtype=torch.bool, device=device)

        def run() -> None:
            with wham_inference.one_thread():
                model(frames, state, residual)[0].pose.cpu()

        return run

    ways: list[tuple[str, int, Work]] = [
        ("frames, one view after the other", count, one_view_after_the_other),
        ("frames, both views, as in a job", count, lambda: track(*views)),
        *((f"frames, network alone, {people} people", people * count, network(people)) for people in _PEOPLE),
    ]
    return rates(ways, "WHAM", size.seconds)


def short_memory(model: Any, make: Callable[[], BatchedNetwork], name: str, most: int) -> tuple[list[Cell], bool]:
    """A row of MEMORY_COLUMNS: batches with all of the card's memory and with little; and whether it recovered.

    The network must go on with smaller batches and give what it gave before. ``make``: gives the network, with a batch
    for the memory that is free then; most: crops at which the search for the largest batch ends.
    """
    network, device = make(), next(model.parameters()).device
    chosen, crops = network.batch, _crops(network.batch)
    expected = network(crops)
    free = cuda.memory(device)[0] / _GB if device.type == "cuda" else None
    largest = _largest_batch(network, most)
    network.batch = chosen
    with _scarce_memory(model, device, lambda: network(crops)):
        during = network(crops)
        smaller, chosen_then = network.batch, make().batch
    differences = [
        float(np.abs(ours - before).max() / before.std())
        for outputs in (during, network(crops))
        for ours, before in zip(outputs, expected, strict=True)
    ]
    recovered = smaller < chosen and max(differences) < _SAME
    return [name, free, chosen, largest, smaller, chosen_then, "yes" if recovered else "NO"], recovered


def _largest_batch(network: BatchedNetwork, most: int) -> int:
    """The largest batch that fits, of twice the present one, four times and so on, up to ``most`` or a slow one."""
    fits, passed = network.batch, 0.0
    while fits < most and passed < _SLOW:
        network.batch = 2 * fits
        begun = time.perf_counter()
        network(_crops(network.batch))
        passed = time.perf_counter() - begun
        if network.batch < 2 * fits:  # memory ran short, and it was halved
            return network.batch
        fits *= 2
    return fits


@contextmanager
def _scarce_memory(model: Any, device: torch.device, work: Work) -> Iterator[None]:
    """Leave less memory than a call takes. On the processor the model refuses more than one crop."""
    if device.type == "cuda":
        left = int(_SHORT * cuda.peak_bytes(device, work))
        cuda.free_cache()
        ballast = torch.empty(max(cuda.memory(device)[0] - left, 0), dtype=torch.uint8, device=device)
        yield
        del ballast
        cuda.free_cache()
        return

    def refuse(_module: object, inputs: tuple[Tensor, ...]) -> None:
        if len(inputs[0]) > 2:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate ...")

    hook = model.backbone.register_forward_pre_hook(refuse)
    yield
    hook.remove()


def _crops(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (count, *CROP), dtype=np.uint8)
