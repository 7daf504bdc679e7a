"""Trains the temporal network on simulated tracks, on the trained lifter's poses: ``build.py train temporal``.

Checkpoints are in ``out/training/temporal.pt``; a second call continues from there.
"""

from __future__ import annotations

import argparse
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from tools.training import checkpoint, lifter, mocap, shipped, simulate
from tools.training.sequences import Sequences, SequenceSampler, frame_by_frame
from wham_blender import weights
from wham_blender.models.lifter import Estimate, Lifter
from wham_blender.models.temporal import TemporalLifter
from wham_blender.pipeline.pose import lifter_features

BATCH, FRAMES = 24, 48
EMA_DECAY = 0.998  # a mean of about 500 steps; set by hand
STEPS_PER_REPORT = 100
LEARNING_RATE = 1e-3
_VELOCITY_WEIGHT, _ACCELERATION_WEIGHT = 8.0, 3.0  # over the position's; set by hand, judged on `validate`
_FASTEST_QUANTILE = 0.9  # of the true speeds of wrists and ankles, above which the kept speed is measured
_ENDS = [9, 10, 15, 16]  # COCO: wrists and ankles


def first_estimate(network: Lifter, batch: Sequences) -> Estimate:
    """The lifter's estimate of all frames, in the axes of its input."""
    rotations = batch.lifted.flatten(0, 1).clone()
    rotations[:, 0] = batch.to_input_axes @ rotations[:, 0]
    return network.estimate_of(rotations, batch.lifted_betas.flatten(0, 1))


def run(model: TemporalLifter, network: Lifter, batch: Sequences) -> Estimate:
    """The temporal network's estimates of a batch."""
    estimate = first_estimate(network, batch)
    with torch.autocast("cpu", torch.bfloat16, enabled=simulate.HALF):
        return model(network, batch.observed, estimate, batch.to_track, len(batch.x))


def loss_of(estimate: Estimate, batch: Sequences, body: simulate.TrainingBody) -> Tensor:
    """The lifter's loss, and the error of the points' velocity and acceleration in the camera's axes."""
    rotations = batch.pose.flatten(0, 1).clone()
    rotations[:, 0] = batch.to_input_axes @ rotations[:, 0]
    betas = batch.betas.repeat_interleave(batch.x.shape[1], 0)
    true = body.placed(rotations, betas)
    loss = lifter.loss_of(estimate, rotations, betas, true)
    error = (estimate.points - true[:, 24:]) @ batch.to_input_axes
    error = error.unflatten(0, batch.x.shape[:2])
    velocity, acceleration = (torch.diff(error, n=n, dim=1).norm(dim=-1).mean() for n in (1, 2))
    return loss + _VELOCITY_WEIGHT * velocity + _ACCELERATION_WEIGHT * acceleration


@torch.no_grad()
def validate(model: TemporalLifter, network: Lifter, sampler: SequenceSampler, batches: int = 4) -> dict[str, float]:
    """Errors in millimetres on held-out clips, of the lifter and of the temporal network, and the speed they keep."""
    model.eval()
    sums: dict[str, list[float]] = {}
    for _ in range(batches):
        batch = sampler.draw(32)
        true = batch.points.flatten(0, 1)
        for name, estimate in (("lifter_", first_estimate(network, batch)), ("", run(model, network, batch))):
            points = estimate.points @ batch.to_input_axes
            error = (points - true).unflatten(0, batch.x.shape[:2])[:, :, lifter.LIMBS]
            figures = {
                "pa_mpjpe_mm": lifter.pa_mpjpe_mm(points[:, lifter.LIMBS], true[:, lifter.LIMBS]),
                "mpjpe_mm": 1000 * float(error.norm(dim=-1).mean()),
                "acceleration_mm": 1000 * float(torch.diff(error, n=2, dim=1).norm(dim=-1).mean()),
                "speed_kept": speed_kept(points.unflatten(0, batch.x.shape[:2]), batch.points),
            }
            for key, value in figures.items():
                sums.setdefault(name + key, []).append(value)
    model.train()
    return {name: float(np.mean(values)) for name, values in sums.items()}


def speed_kept(points: Tensor, true: Tensor) -> float:
    """Share of the true velocity of fast wrists and ankles (B, F, 25, 3) that is kept, noise not counted.

    The slope of the regression of velocities on the true ones: noise that does not go along with them adds nothing.
    """
    ours, theirs = (torch.diff(value[:, :, _ENDS], dim=1) for value in (points, true))
    speed = theirs.norm(dim=-1)
    fast = speed > speed.flatten().quantile(_FASTEST_QUANTILE)
    return float((ours * theirs).sum(-1)[fast].sum() / (theirs**2).sum(-1)[fast].sum())


def main(argv: list[str] | None = None) -> None:
    """Train from the last checkpoint and write the weights: ``build.py train temporal``."""
    parser = argparse.ArgumentParser(description=__doc__)
    mocap.add_option(parser)
    checkpoint.add_options(parser, minutes=60, steps=8000, rate=LEARNING_RATE)
    args = parser.parse_args(argv)
    torch.manual_seed(0)
    body = simulate.TrainingBody()
    network = lifter_features.load_lifter(weights.find("lifter").path)
    errors = simulate.LandmarkErrors.load(simulate.ERRORS_FILE)
    library, held_out = (simulate.Library.of(clips) for clips in simulate.split(args.mocap, body))
    model = lifter_features.load_temporal(weights.find("temporal").path).train() if args.shipped else TemporalLifter()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(EMA_DECAY))
    both = torch.nn.ModuleDict({"learning": model, "average": average})
    step = checkpoint.load("temporal", both, optimizer)
    sampler = SequenceSampler(library, body, frame_by_frame(network), errors, seed=step, varied=True, frames=FRAMES)

    def current_figures(batches: int = 4) -> dict[str, float]:
        measured = SequenceSampler(held_out, body, frame_by_frame(network), errors, seed=1, varied=False, frames=FRAMES)
        return validate(cast(TemporalLifter, average.module), network, measured, batches)

    print(f"{len(library.rotations)} frames, {len(held_out.rotations)} held out; from step {step}", flush=True)

    def loss_at(_step: int) -> Tensor:
        batch = sampler.draw(BATCH)
        return loss_of(run(model, network, batch), batch, body)

    step = checkpoint.Training(
        name="temporal", learning=model, saved=both, optimizer=optimizer, options=args, step=step,
        steps_per_report=STEPS_PER_REPORT, warm_up=50, average=average,
    ).run(loss_at, current_figures)  # fmt: skip
    arrays = checkpoint.arrays(average.module)
    checkpoint.fill(average.module, arrays)
    source = "trained by tools/training/temporal.py on the lifter's training data and the open lifter's poses"
    shipped.write_trained("temporal", arrays, source, {"steps": step, **current_figures(8)})


if __name__ == "__main__":
    main()
