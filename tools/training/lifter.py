"""Trains the per-frame lifter: ``build.py train lifter``.

Most samples of a batch are simulated views of random poses; the others are rendered pictures processed by the landmark
network (``drawn.py``), whose errors are correlated with the pose as those of real clips are.
Checkpoints are in ``out/training/lifter.pt``; a second call continues from there.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import cast

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from tools import metrics
from tools.training import checkpoint, mocap, shipped, simulate
from tools.training.drawn import HELD_OUT, TRAINING
from tools.training.views import PictureSampler, Sample, ViewSampler
from wham_blender import weights
from wham_blender.models.lifter import ITERATIONS, Estimate, Lifter, LifterInput
from wham_blender.pipeline.pose import lifter_features

BATCH = 512
PICTURE_FRACTION = 0.25  # fraction of the samples that are pictures
EMA_DECAY = 0.9995  # the shipped weights are a moving average over about 2000 steps, which generalises better
NO_3D_FRACTION = 0.1  # fraction of the samples without the landmark network's 3D
STEPS_PER_REPORT = 200


LIMBS = [5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]  # COCO: shoulders, elbows, wrists, hips, knees, ankles


def pa_mpjpe_mm(predicted: Tensor, true: Tensor) -> float:
    """Mean PA-MPJPE of (N, K, 3) points in metres, in millimetres."""
    return 1000 * float(metrics.pa_mpjpe(predicted.double().numpy(), true.double().numpy()).mean())


@torch.no_grad()
def validate(model: Lifter, views: ViewSampler, drawn: PictureSampler) -> dict[str, float]:
    """Errors in millimetres on held-out clips, simulated and rendered, and the landmark network's PA-MPJPE."""
    model.eval()
    figures: dict[str, float] = {}
    for kind, source, count in (("", views, 4096), ("drawn_", drawn, len(drawn))):
        view, _, _, true = source.draw(count)
        points = view.to_input_axes.mT @ run_lifter(model, view.lifter_input)[-1].points[:, LIMBS].mT
        points, true = points.mT, true[:, 24:][:, LIMBS]
        figures |= {
            f"{kind}pa_mpjpe_mm": pa_mpjpe_mm(points, true),
            f"{kind}mpjpe_mm": 1000 * float((points - true).norm(dim=-1).mean()),
            f"{kind}landmark_net_pa_mpjpe_mm": pa_mpjpe_mm(view.landmarks[:, LIMBS], true),
        }
    model.train()
    return figures


def run_lifter(model: Lifter, inputs: LifterInput, *, train_first_estimate: bool = True) -> list[Estimate]:
    """Estimates of all iterations, in half precision where that is fast; optionally without gradients of the first one.

    The first estimate need not be accurate, so it is trained in every other step only, which saves time.
    """
    with torch.autocast("cpu", torch.bfloat16, enabled=simulate.HALF):
        if train_first_estimate:
            return model.iterate(inputs)
        with torch.no_grad():
            estimate = model.first_estimate(inputs)
        return [estimate := model.correct(inputs, Estimate(*(v.detach() for v in estimate))) for _ in range(ITERATIONS)]


def concatenated(first: Sample, second: Sample) -> Sample:
    """Two batches concatenated."""

    def both(name: str) -> Tensor:
        return torch.cat([getattr(first[0], name), getattr(second[0], name)])

    inputs = LifterInput(*(torch.cat(pair) for pair in zip(first[0].lifter_input, second[0].lifter_input, strict=True)))
    names = ("pixels", "keypoints", "mask", "place", "landmarks", "box")
    view = simulate.View(
        **{name: both(name) for name in names}, lifter_input=inputs, to_input_axes=both("to_input_axes")
    )
    rotations, betas, placed = (torch.cat(pair) for pair in zip(first[1:], second[1:], strict=True))
    return view, rotations, betas, placed


def loss_of(estimate: Estimate, rotations: Tensor, betas: Tensor, true: Tensor) -> Tensor:
    """Weighted errors of rotations, joints and points (metres) and shape of one estimate; truth in the input's axes."""
    placed = torch.cat([estimate.joints, estimate.points], 1)
    rotation = (estimate.rotations - rotations).abs().mean((0, 2, 3))
    weight = torch.ones(24)
    weight[0] = 4.0
    weight[[10, 11, 22, 23]] = 0.1
    shape = (estimate.betas - betas).abs().mean()
    return (rotation * weight).mean() + 4 * (placed - true).norm(dim=-1).mean() + 0.02 * shape


def main(argv: list[str] | None = None) -> None:
    """Train from the last checkpoint and write the weights: ``build.py train lifter``."""
    parser = argparse.ArgumentParser(description=__doc__)
    mocap.add_option(parser)
    checkpoint.add_options(parser, minutes=30, steps=24_000, rate=1e-3)
    parser.add_argument(
        "--drawn", type=float, default=PICTURE_FRACTION, help="fraction of the samples that are pictures"
    )
    parser.add_argument(
        "--mean-with", type=Path, metavar="FILE",
        help="write the mean with the weights in a file, such as those that the training began with: less of what they "
        "know is lost",
    )  # fmt: skip
    args = parser.parse_args(argv)
    torch.manual_seed(0)
    body = simulate.TrainingBody()
    clips, validation = simulate.split(args.mocap, body)
    library, held_out = simulate.Library.of(clips), simulate.Library.of(validation)
    errors = simulate.LandmarkErrors.load(simulate.ERRORS_FILE)
    model = lifter_features.load_lifter(weights.find("lifter").path).train() if args.shipped else Lifter()
    model.body.load_state_dict(body.observed())
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.rate, weight_decay=0.01, fused=True)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(EMA_DECAY))
    both = torch.nn.ModuleDict({"learning": model, "average": average})
    step = checkpoint.load("lifter", both, optimizer)
    pictures = round(args.drawn * BATCH)
    views = ViewSampler(library, body, errors, seed=step, perturbed=True)
    drawn = PictureSampler(checkpoint.FOLDER / TRAINING, body, step, varied=True)

    def current_figures() -> dict[str, float]:
        simulated = ViewSampler(held_out, body, errors, seed=1, perturbed=False)
        pictured = PictureSampler(checkpoint.FOLDER / HELD_OUT, body, seed=1, varied=False)
        return validate(cast(Lifter, average.module), simulated, pictured)

    print(
        f"{len(clips)} clips, {len(library.rotations)} frames, {len(drawn)} pictures; from step {step}",
        flush=True,
    )

    def loss_at(step: int) -> Tensor:
        with torch.no_grad():
            view, rotations, betas, true = concatenated(views.draw(BATCH - pictures), drawn.draw(pictures))
            rotations[:, 0] = view.to_input_axes @ rotations[:, 0]
            true = true @ view.to_input_axes.mT
            has_landmarks = (torch.rand(BATCH, 1, generator=views.generator) >= NO_3D_FRACTION).float()
        rounds = run_lifter(
            model, view.lifter_input._replace(has_landmarks=has_landmarks), train_first_estimate=step % 2 == 0
        )
        return torch.stack([loss_of(each, rotations, betas, true) for each in rounds]).sum()

    step = checkpoint.Training(
        name="lifter", learning=model, saved=both, optimizer=optimizer, options=args, step=step,
        steps_per_report=STEPS_PER_REPORT, average=average,
    ).run(loss_at, current_figures)  # fmt: skip
    if args.mean_with:
        other = lifter_features.load_lifter(args.mean_with).state_dict()
        for name, value in average.module.state_dict().items():
            value.lerp_(other[name], 0.5)
    arrays = checkpoint.arrays(average.module)
    checkpoint.fill(average.module, arrays)
    source = "trained by tools/training/lifter.py on mocap.cs.cmu.edu and DeepMimic motion, simulated and drawn views"
    shipped.write_trained("lifter", arrays, source, {"steps": step, **current_figures()})


if __name__ == "__main__":
    main()
