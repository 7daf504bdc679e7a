"""Checkpoints of a training run, so that it goes on where it was stopped."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

FOLDER = Path(__file__).resolve().parents[2] / "out/training"


def load(name: str, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Fill model and optimizer from the last checkpoint; returns the steps done by then, 0 at the first start."""
    path = FOLDER / f"{name}.pt"
    if not path.exists():
        return 0
    saved = torch.load(path, weights_only=True)
    model.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    return int(saved["step"])


def save(name: str, model: torch.nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
    """Write a checkpoint aside, then put it in place."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{name}.pt"
    saved = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
    torch.save(saved, path.with_suffix(".part"))
    os.replace(path.with_suffix(".part"), path)


def learn(model: torch.nn.Module, optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> float:
    """Make one step down the loss, its gradient clipped to length 1; returns the loss."""
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return loss.item()


def tell(step: int, begin: float, loss: float, figures: dict[str, float]) -> None:
    """Print a line on how far training is; ``begin`` is the monotonic time of its start."""
    said = " ".join(f"{name} {value:.2f}" for name, value in figures.items())
    print(f"step {step} {time.monotonic() - begin:.0f} s loss {loss:.4f} {said}", flush=True)


def cosine(step: int, steps: int, time_share: float, peak: float, warm: int = 500) -> float:
    """Learning rate: up over ``warm`` steps, then down along a cosine to a hundredth.

    It is down when ``steps`` are done or the time is (``time_share`` 0..1), whichever is first.
    """
    share = min(1.0, max(step / steps, time_share))
    return peak * min(1.0, (step + 1) / warm) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share)))


def read_rows(path: Path) -> list[dict[str, np.ndarray]]:
    """What `write_rows` wrote, by row; nothing where there is no file yet."""
    if not path.is_file():
        return []
    with np.load(path, allow_pickle=False) as stacked:
        kept = dict(stacked)
    return [dict(zip(kept, row, strict=True)) for row in zip(*kept.values(), strict=True)]


def write_rows(path: Path, rows: Sequence[Mapping[str, np.ndarray]]) -> None:
    """Write rows of like arrays, stacked by name, aside into an ``.npz``, then put it in place."""
    aside = path.with_suffix(".part")
    with aside.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **{name: np.stack([row[name] for row in rows]) for name in rows[0]})
    os.replace(aside, path)


def arrays(model: torch.nn.Module) -> dict[str, np.ndarray]:
    """The model's tensors for shipping, by name: half precision, matrices so rounded that they compress well."""
    matrices = {name for name, parameter in model.named_parameters() if parameter.ndim == 2}
    tensors = {name: tensor.detach().float() for name, tensor in model.state_dict().items()}
    return {
        name: (_rounded(tensor) if name in matrices else tensor).numpy().astype(np.float16)
        for name, tensor in tensors.items()
    }


def _rounded(matrix: torch.Tensor) -> torch.Tensor:
    """Each row (n, m) in steps of about a 16th of its median number: most take eight bits then.

    Steps are powers of two, so that half precision keeps them and ends in zeros: a file is smaller by a third.
    """
    step = torch.exp2(torch.round(torch.log2(matrix.abs().median(1, keepdim=True).values.clamp(min=1e-7) / 16)))
    return torch.round(matrix / step) * step


def fill(model: torch.nn.Module, tensors: Mapping[str, np.ndarray]) -> None:
    """Make the model what a file of these `arrays` would hold, for its figures."""
    model.load_state_dict({name: torch.from_numpy(values).float() for name, values in tensors.items()})
