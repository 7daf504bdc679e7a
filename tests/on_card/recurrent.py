"""WHAM's recurrent networks run as they are, as a CUDA graph, and compiled by torch.compile: frames a second of each.

Only measured: the pipeline runs them as they are. ``python -m tests.on_card.recurrent DEVICE SMALL FILE`` prints rows
as JSON lines. It is a process of its own: it is ended when compiling takes too long, and a capture that fails leaves
CUDA unusable in its process.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tests.bench.report import Cell
from tests.on_card.networks import PUBLISHED, SMALL, Size, wham_frames, wham_start
from wham_blender.models.wham import WHAM, Regressor, WhamFrames, WhamOutput
from wham_blender.pipeline import cuda
from wham_blender.pipeline.pose import wham_weights
from wham_blender.pipeline.pose.wham_inference import one_thread

COLUMNS = ["WHAM's networks", "seconds to prepare", "frames a second", "ratio", "largest difference"]
_ROOT = Path(__file__).parents[2]
_GRAPH_FRAMES = 64  # in one graph: about ten thousand kernels
_COMPILED_FRAMES = 4  # at most, of a compiled loop, which is unrolled
_ROUNDS = 3

Run = Callable[[], Tensor]  # all frames of the track to poses (2, F, 144)


def measure(library_file: Path, device: torch.device, small: bool, seconds: float) -> tuple[list[list[Cell]], str]:
    """Rows of COLUMNS, and why there are not all of them; empty if there are."""
    command = [sys.executable, "-m", "tests.on_card.recurrent", str(device), str(int(small)), str(library_file)]
    try:
        done = subprocess.run(
            command, cwd=_ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds, check=False
        )
        output, why = done.stdout, done.stderr.strip().rpartition("\n")[2] if done.returncode else ""
    except subprocess.TimeoutExpired as error:
        output = error.stdout.decode() if isinstance(error.stdout, bytes) else error.stdout or ""
        why = f"it took more than {seconds:.0f} s"
    return [json.loads(line) for line in output.splitlines() if line.startswith("[")], why


def _as_it_is(model: WHAM, frames: WhamFrames, chunk: int) -> Run:
    """The track in chunks, each from the state after the one before."""
    residual = torch.ones(2, dtype=torch.bool, device=frames.x.device)

    def run() -> Tensor:
        state, poses = wham_start(model, frames), []
        for begin in range(0, frames.x.shape[1], chunk):
            output, state = model(_rows(frames, begin, chunk), state, residual)
            poses.append(output.pose.clone())
        return torch.cat(poses, 1)

    return run


def _as_graph(model: WHAM, frames: WhamFrames, chunk: int) -> Run:
    """The same, a chunk being one CUDA graph, which is replayed with other inputs."""
    given = WhamFrames(*(None if values is None else values.clone() for values in _rows(frames, 0, chunk)))  # type: ignore[arg-type]
    state = wham_start(model, frames)
    held = [part.clone() for part in _flat(state)]
    residual = torch.ones(2, dtype=torch.bool, device=frames.x.device)

    def forward() -> tuple[WhamOutput, Any]:
        parts = iter(held)
        inner = type(state)(*(type(each)(*(next(parts) for _ in each)) for each in state))
        return model(given, inner, residual)

    stream = torch.cuda.Stream()  # runs before the capture, so that libraries have their workspaces
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        forward()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output, after = forward()

    def run() -> Tensor:
        poses = []
        for part, value in zip(held, _flat(wham_start(model, frames)), strict=True):
            part.copy_(value)
        for begin in range(0, frames.x.shape[1], chunk):
            for values, source in zip(given, _rows(frames, begin, chunk), strict=True):
                if values is not None and source is not None:
                    values.copy_(source)
            graph.replay()
            poses.append(output.pose.clone())
            for part, value in zip(held, _flat(after), strict=True):
                part.copy_(value)
        return torch.cat(poses, 1)

    return run


def _compiled(model: WHAM, frames: WhamFrames, backend: str) -> Run:
    """The same, with the loops over frames compiled."""
    for module in model.modules():
        if isinstance(module, Regressor) and module.fed is not None:
            module._step_through = torch.compile(module._step_through, backend=backend)  # type: ignore[method-assign]
    return _as_it_is(model, frames, min(_COMPILED_FRAMES, frames.x.shape[1] // 4))


def _rows(frames: WhamFrames, begin: int, count: int) -> WhamFrames:
    return WhamFrames(*(None if values is None else values[:, begin : begin + count] for values in frames))  # type: ignore[arg-type]


def _flat(state: Any) -> list[Tensor]:
    return [tensor for part in state for tensor in part]


@torch.inference_mode()
def _print_rows(path: Path, device: torch.device, size: Size, backend: str) -> None:
    if device.type == "cuda":
        cuda.select(str(device))
    model: nn.Module = wham_weights.load_wham(path).to(device)
    assert isinstance(model, WHAM)
    frames = wham_frames(model, 2, size.frames, device)
    chunk = min(_GRAPH_FRAMES, size.frames)
    makers: list[tuple[str, Callable[[], Run]]] = [("as they are", partial(_as_it_is, model, frames, chunk))]
    if device.type == "cuda":
        makers.append((f"a CUDA graph of {chunk} frames", partial(_as_graph, model, frames, chunk)))
    makers.append((f"torch.compile, {backend}", partial(_compiled, model, frames, backend)))  # last: it changes them
    expected, plain = None, 0.0
    for name, make in makers:
        begun = time.perf_counter()
        run = make()
        poses = run().cpu()
        prepared, best = time.perf_counter() - begun, 0.0
        for _ in range(_ROUNDS):
            begun = time.perf_counter()
            run().cpu()
            best = max(best, size.frames / (time.perf_counter() - begun))
        expected = poses if expected is None else expected
        plain = plain or best
        print(json.dumps([name, prepared, best, best / plain, float((poses - expected).abs().max())]), flush=True)


if __name__ == "__main__":
    _small = sys.argv[2] == "1"
    with one_thread():
        _print_rows(
            Path(sys.argv[3]),
            torch.device(sys.argv[1]),
            SMALL if _small else PUBLISHED,
            "eager" if _small else "inductor",
        )
