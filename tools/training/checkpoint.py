"""Checkpoints and optimiser steps of the training runs, which continue where they were stopped."""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.optim.swa_utils import AveragedModel

FOLDER = Path(__file__).resolve().parents[2] / "out/training"
_ROWS_PER_SAVE = 1000


def add_options(parser: argparse.ArgumentParser, *, minutes: float, steps: int, rate: float) -> None:
    """Add the options that all training runs have, with these defaults, to a command."""
    parser.add_argument("--minutes", type=float, default=minutes)
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--shipped", action="store_true", help="start from the bundled weights instead of random ones")
    parser.add_argument("--rate", type=float, default=rate, help="the learning rate's peak")


def load(name: str, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Load model and optimizer from the last checkpoint; returns its step, 0 if there is none."""
    path = FOLDER / f"{name}.pt"
    if not path.exists():
        return 0
    saved = torch.load(path, weights_only=True)
    model.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    return int(saved["step"])


def save(name: str, model: torch.nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
    """Write a checkpoint to a temporary file, then rename it, so that an interruption leaves the last one."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{name}.pt"
    saved = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
    torch.save(saved, path.with_suffix(".part"))
    os.replace(path.with_suffix(".part"), path)


def optimise(model: torch.nn.Module, optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> float:
    """Make one optimizer step, the gradient clipped to norm 1; returns the loss."""
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return loss.item()


def print_progress(step: int, begin: float, loss: float, figures: dict[str, float]) -> None:
    """Print step, time, loss and validation figures; ``begin`` is the monotonic time of the start."""
    text = " ".join(f"{name} {value:.2f}" for name, value in figures.items())
    print(f"step {step} {time.monotonic() - begin:.0f} s loss {loss:.4f} {text}", flush=True)


@dataclass(kw_only=True)
class Training:
    """A run of optimizer steps with checkpoints and reports."""

    name: str  # of the checkpoint
    learning: torch.nn.Module
    saved: torch.nn.Module  # what a checkpoint holds
    optimizer: torch.optim.Optimizer  # a group's "rate", if it has one, is a factor of its learning rate
    options: argparse.Namespace  # of `add_options`
    step: int  # of the checkpoint that it continues from
    steps_per_report: int
    warm_up: int = 500  # steps
    average: AveragedModel | None = None  # of the learning network, if one is kept

    def run(self, loss_at: Callable[[int], torch.Tensor], figures: Callable[[], dict[str, float]]) -> int:
        """Train for the steps or the minutes of the options; returns the last step.

        loss_at: the loss of a new batch at a step; figures: what is reported.
        """
        begin, losses, seconds = time.monotonic(), [], 60 * self.options.minutes
        while self.step < self.options.steps and (elapsed := time.monotonic() - begin) < seconds:
            rate = learning_rate(
                self.step, self.options.steps, elapsed / seconds, self.options.rate, warm_up=self.warm_up
            )
            for group in self.optimizer.param_groups:
                group["lr"] = group.get("rate", 1.0) * rate
            losses.append(optimise(self.learning, self.optimizer, loss_at(self.step)))
            if self.average is not None:
                self.average.update_parameters(self.learning)
            self.step += 1
            if self.step % self.steps_per_report == 0:
                save(self.name, self.saved, self.optimizer, self.step)
                recent = losses[-self.steps_per_report :]
                print_progress(self.step, begin, sum(recent) / len(recent), figures())
        save(self.name, self.saved, self.optimizer, self.step)
        return self.step


def learning_rate(step: int, steps: int, time_fraction: float, peak: float, warm_up: int = 500) -> float:
    """Learning rate: up over ``warm_up`` steps, then down along a cosine to a hundredth.

    It is down when ``steps`` are done or the time is (``time_fraction`` 0..1), whichever is first.
    """
    fraction = min(1.0, max(step / steps, time_fraction))
    return peak * min(1.0, (step + 1) / warm_up) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * fraction)))


def read_rows(path: Path) -> list[dict[str, np.ndarray]]:
    """The rows of a file of `write_rows`; none if there is no file yet."""
    if not path.is_file():
        return []
    with np.load(path, allow_pickle=False) as stacked:
        columns = dict(stacked)
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def write_rows(path: Path, rows: Sequence[Mapping[str, np.ndarray]]) -> None:
    """Write rows of arrays of equal shapes, stacked by name, to an ``.npz`` (by a temporary file that is renamed)."""
    aside = path.with_suffix(".part")
    with aside.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **{name: np.stack([row[name] for row in rows]) for name in rows[0]})
    os.replace(aside, path)


def collected(
    path: Path, count: int, end: float, source: Callable[[int], Iterator[Mapping[str, np.ndarray]]]
) -> list[Mapping[str, np.ndarray]]:
    """The rows of a file, continued until there are ``count`` or the monotonic clock passes ``end``, and kept there.

    source: an endless iterator over further rows, of the number of rows that there are.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    rows: list[Mapping[str, np.ndarray]] = [*read_rows(path)]
    if len(rows) >= count:
        return rows
    for row in source(len(rows)):
        rows.append(row)
        if len(rows) % _ROWS_PER_SAVE == 0:
            write_rows(path, rows)
            print(f"{len(rows)} pictures in {path.name}", flush=True)
        if len(rows) >= count or time.monotonic() > end:
            break
    write_rows(path, rows)
    return rows


def arrays(model: torch.nn.Module) -> dict[str, np.ndarray]:
    """The model's tensors by name, in half precision, matrices rounded so that they compress well."""
    matrices = {name for name, parameter in model.named_parameters() if parameter.ndim == 2}
    tensors = {name: tensor.detach().float() for name, tensor in model.state_dict().items()}
    return {
        name: (_rounded(tensor) if name in matrices else tensor).numpy().astype(np.float16)
        for name, tensor in tensors.items()
    }


def _rounded(matrix: torch.Tensor) -> torch.Tensor:
    """Round each row of (n, m) to steps of about a 16th of its median magnitude.

    The steps are powers of two, so that the mantissas end in zeros: the compressed file is smaller by a third.
    """
    step = torch.exp2(torch.round(torch.log2(matrix.abs().median(1, keepdim=True).values.clamp(min=1e-7) / 16)))
    return torch.round(matrix / step) * step


def fill(model: torch.nn.Module, tensors: Mapping[str, np.ndarray]) -> None:
    """Load tensors of `arrays` into the model, so that its figures are those of the written file."""
    model.load_state_dict({name: torch.from_numpy(values).float() for name, values in tensors.items()})
