"""Trains the small WHAM network on simulated clips, with the trained lifter's features: ``build.py train wham``.

Sequences run in one fused LSTM pass. The inputs that are outputs of the previous frame come, in every other step, from
a pass of the network on its own outputs, so that it learns to correct its errors; in the other steps they are the truth
with noise. Checkpoints are in ``out/training/wham.pt``.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tools.training import checkpoint, mocap, shipped, simulate
from tools.training.lifter import LIMBS, pa_mpjpe_mm
from tools.training.sequences import FPS, Sequences, SequenceSampler, over_time
from wham_blender import weights
from wham_blender.body.rotations import matrix_from_r6d, r6d_from_matrix
from wham_blender.models.lifter import D_FEAT
from wham_blender.models.wham import WHAM, Previous, WhamFrames
from wham_blender.pipeline.pose.lifter_features import PoseNetworks
from wham_blender.pipeline.pose.wham_inference import contact_aware_velocity

FRAMES = 64
BATCH = 32
STEPS_PER_REPORT = 100
LEARNING_RATE = 6e-4
# Layers that pass the lifter's pose through learn at a tenth of the rate, as the last of them amplify small changes.
PASS_THROUGH = (
    "integrator.",
    "motion_decoder.regressor.rnn",
    "motion_decoder.regressor.declayer0",
    "motion_decoder.regressor.declayer1",
)


@dataclass
class Result:
    """The network's outputs on a batch, with the refined trajectory."""

    keypoints: Tensor
    pose: Tensor  # (B, F, 24, 3, 3)
    betas: Tensor  # (B, F, 10)
    cam: Tensor
    contact: Tensor
    root: Tensor  # (B, F, 6)
    velocity: Tensor  # (B, F, 3)
    root_refined: Tensor
    velocity_refined: Tensor
    previous: Previous  # these outputs a frame later, for the next pass


@torch.no_grad()
def pass_through(model: WHAM, features: Tensor) -> None:
    """Initialise integrator and motion decoder so that the network returns the lifter's pose and shape.

    The integrator replaces the encoder's hidden state in the context by the feature, which holds the lifter's pose and
    shape; each LSTM layer passes it on in the linear range of its tanh; the last layers decode it. Training then starts
    from the lifter's accuracy. features (N, d_feat): samples, for their scale. Raises ValueError if a layer is too
    small.
    """
    assert model.integrator is not None
    width, context = model.motion_encoder.regressor.rnn.hidden_size, model.integrator.layer3.out_features
    d_feat, positive_offset = (
        features.shape[1],
        3.0,
    )  # exceeds the magnitude of every feature, so that no ReLU clips it
    if d_feat > width or model.integrator.layer1.out_features != 2 * width:
        raise ValueError("passing features through needs d_feat up to the width and an integrator twice as wide")
    layer1, layer2, layer3 = (getattr(model.integrator, f"layer{number}") for number in (1, 2, 3))
    for layer in (layer1, layer2, layer3):
        layer.weight.mul_(0.1)
        layer.bias.zero_()
    eye = torch.eye(width)
    layer1.weight[:d_feat, context:] += torch.eye(d_feat)
    layer1.bias[:width] = positive_offset
    layer1.weight[width:, :width] += eye
    layer1.bias[width:] = 1.0  # the encoder's hidden part is between -1 and 1
    layer1.weight[:, :] *= layer1.weight.abs() > 0.5
    layer2.weight.zero_().add_(torch.eye(2 * width))
    layer3.weight.zero_()
    layer3.weight[:width, :width] = eye
    layer3.weight[:width, width:] = -eye
    layer3.bias[:width] = 1.0 - positive_offset

    gain = 0.25 / float(features.abs().quantile(0.99))
    regressor = model.motion_decoder.regressor
    hidden = regressor.rnn.hidden_size
    gate_bias = 1.5  # enter = 1 - forget, so that a constant input comes out as it is
    factor = 1.0
    for number, (w_ih, w_hh, b_ih, b_hh) in enumerate(regressor.rnn.all_weights):
        for matrix in (w_ih, w_hh):
            matrix.mul_(0.1)
            matrix[2 * hidden : 2 * hidden + width] = 0
        for bias in (b_ih, b_hh):
            bias.zero_()
        b_ih[:width], b_ih[hidden : hidden + width], b_ih[3 * hidden : 3 * hidden + width] = (
            gate_bias,
            -gate_bias,
            2 * gate_bias,
        )
        w_ih[2 * hidden : 2 * hidden + width, :width] = eye * (gain if number == 0 else 1.0)
        factor *= torch.sigmoid(torch.tensor(2 * gate_bias)).item()
    for number, columns in ((0, slice(0, 144)), (1, slice(144, d_feat))):
        head = getattr(regressor, f"declayer{number}")
        head.weight.mul_(0.02)
        head.weight[:, :width] = torch.eye(width)[columns] / (gain * factor)
        head.bias.zero_()


def run(
    model: WHAM, body: simulate.TrainingBody, batch: Sequences, previous: Previous | None, *, refine: bool = True
) -> Result:
    """One pass over a batch from the lifter's first pose; without ``previous`` the network uses its own outputs."""
    count = len(batch.x)
    first, first_betas = batch.lifted[:, 0], batch.lifted_betas[:, 0]
    _, points, _ = body(first, first_betas)
    first_points = (points - points[:, 11:13].mean(1, keepdim=True))[:, :17].flatten(1)
    init_pose = r6d_from_matrix(first)
    state = model.start(torch.cat([first_points, batch.x[:, 0]], 1), init_pose, init_pose[:, 0])
    frames = WhamFrames(batch.x, batch.mask, batch.cam_angvel, batch.features)
    out, _ = model(frames, state, previous=previous)
    pose = matrix_from_r6d(out.pose.unflatten(-1, (24, 6)))

    def after(start: Tensor, value: Tensor) -> Tensor:
        return torch.cat([start[:, None], value[:, :-1]], 1).detach()

    later = Previous(
        after(first_points, out.keypoints), after(init_pose[:, 0], out.root), after(init_pose.flatten(1), out.pose)
    )
    root_refined, velocity_refined = out.root, out.velocity
    if refine:
        with torch.no_grad():
            _, points, feet = body(pose.flatten(0, 1), out.betas.flatten(0, 1))
            feet = (feet - points[:, 11:13].mean(1, keepdim=True)).view(count, -1, 4, 3)
            matrix = matrix_from_r6d(out.root)
            feet = feet @ (matrix @ pose[:, :, 0].mT).mT
            before = torch.cat([matrix_from_r6d(init_pose[:, :1, :]).view(count, 1, 3, 3), matrix[:, :-1]], 1)
            positions = (before @ out.velocity[..., None])[..., 0].cumsum(1)
            planted = out.contact > 0.5
            planted[:, 0] = False
            moved = torch.diff(feet, dim=1, prepend=feet[:, :1])
            velocity = contact_aware_velocity(matrix, out.velocity, moved, planted)
            placed = feet + positions[:, :, None]
            speed = torch.diff(placed, dim=1, prepend=placed[:, :1]) * FPS * out.contact[..., None]
        root_refined, velocity_refined, _ = model.trajectory_refiner(
            out.context.detach(), speed.flatten(2), out.root.detach(), velocity
        )
    return Result(
        out.keypoints,
        pose,
        out.betas,
        out.cam,
        out.contact,
        out.root,
        out.velocity,
        root_refined,
        velocity_refined,
        later,
    )


def noisy_previous(batch: Sequences, generator: torch.Generator) -> Previous:
    """The true outputs of each frame's previous frame, with noise that is partly constant, like a network's errors."""

    def noise(shape: torch.Size, size: float) -> Tensor:
        constant = torch.randn(shape[0], 1, *shape[2:], generator=generator)
        return (
            size
            * (constant + torch.randn(shape, generator=generator))
            * torch.rand(shape[0], *[1] * (len(shape) - 1), generator=generator)
        )

    def before(value: Tensor) -> Tensor:
        return torch.cat([value[:, :1], value[:, :-1]], 1)

    keypoints = batch.points[:, :, :17].flatten(2)
    root, pose = r6d_from_matrix(batch.root), r6d_from_matrix(batch.pose).flatten(2)
    return Previous(
        before(keypoints + noise(keypoints.shape, 0.06)),
        before(root + noise(root.shape, 0.08)),
        before(pose + noise(pose.shape, 0.15)),
    )


def loss_of(body: simulate.TrainingBody, batch: Sequences, result: Result) -> Tensor:
    """Weighted sum of the errors of all outputs of the network. The weights were set by hand, judged on `validate`."""
    count, frames = batch.x.shape[:2]
    keypoints = (result.keypoints.view(count, frames, 17, 3) - batch.points[:, :, :17]).norm(dim=-1).mean()
    weight = torch.ones(24)
    weight[0] = 4.0
    weight[[10, 11, 22, 23]] = 0.1
    pose = ((result.pose - batch.pose).abs().mean((0, 1, 3, 4)) * weight).mean()
    _, points, feet = body(result.pose.flatten(0, 1), result.betas.flatten(0, 1))
    middle = points[:, 11:13].mean(1, keepdim=True)
    placed = torch.cat([points, feet], 1) - middle
    true = torch.cat([batch.points, batch.feet], 2).flatten(0, 1)
    joints = (placed - true).norm(dim=-1).mean()
    moved = (placed - true).view(count, frames, -1, 3)
    jitter = torch.diff(moved, dim=1).norm(dim=-1).mean()
    root = matrix_from_r6d(result.root)
    truth_before = torch.cat([batch.root[:, :1], batch.root[:, :-1]], 1)
    step = torch.diff(batch.hips, dim=1, prepend=batch.hips[:, :1])
    velocity = (truth_before.mT @ step[..., None])[..., 0]
    contact = ((result.contact - batch.contacts) ** 2).mean((1, 2))
    contact = (contact * batch.flat_floor).sum() / batch.flat_floor.sum().clamp(min=1)
    world = (root - batch.root).abs().mean() + 0.5 * FPS * (result.velocity - velocity).norm(dim=-1).mean()
    refined = matrix_from_r6d(result.root_refined)
    refined_world = (refined - batch.root).abs().mean() + 0.5 * FPS * (result.velocity_refined - velocity).norm(
        dim=-1
    ).mean()
    first = batch.root[:, :1]
    before = torch.cat([first, refined[:, :-1]], 1)
    path = (before @ result.velocity_refined[..., None])[..., 0].cumsum(1)
    drift = (path - batch.hips).norm(dim=-1).mean()
    cam = (result.cam - batch.cam).abs().mean()
    betas = (result.betas - batch.betas[:, None]).abs().mean()
    return (
        2 * keypoints
        + 2 * pose
        + 6 * joints
        + 6 * jitter
        + 2 * world
        + 2 * refined_world
        + 0.3 * drift
        + cam
        + 0.02 * betas
        + 3 * contact
    )


@torch.no_grad()
def validate(model: WHAM, sampler: SequenceSampler, body: simulate.TrainingBody, batches: int = 2) -> dict[str, float]:
    """Metrics on held-out clips, the network running on its own outputs."""
    model.eval()
    sums: dict[str, list[float]] = {}
    for _ in range(batches):
        batch = sampler.draw(32)
        result = run(model, body, batch, None)

        def placed(pose: Tensor, betas: Tensor) -> Tensor:
            _, points, _ = body(pose.flatten(0, 1), betas.flatten(0, 1))
            return points[:, LIMBS] - points[:, 11:13].mean(1, keepdim=True)

        true = batch.points.flatten(0, 1)[:, LIMBS]
        estimated, lifted = placed(result.pose, result.betas), placed(batch.lifted, batch.lifted_betas)
        before = torch.cat([batch.root[:, :1], matrix_from_r6d(result.root_refined)[:, :-1]], 1)
        path = (before @ result.velocity_refined[..., None])[..., 0].cumsum(1)
        length = torch.diff(batch.hips, dim=1).norm(dim=-1).sum(1)
        moving = length > 0.8  # metres: RTE is undefined for people who stay in place
        flat = batch.flat_floor
        down, predicted = batch.contacts[flat] > 0.5, result.contact[flat] > 0.5
        tilt = torch.rad2deg(
            torch.arccos((matrix_from_r6d(result.root_refined)[..., 1, :] * batch.root[..., 1, :]).sum(-1).clamp(-1, 1))
        )
        figures = {
            "pa_mpjpe_mm": pa_mpjpe_mm(estimated, true),
            "mpjpe_mm": 1000 * (estimated - true).norm(dim=-1).mean(),
            "lifter_pa_mpjpe_mm": pa_mpjpe_mm(lifted, true),
            "lifter_mpjpe_mm": 1000 * (lifted - true).norm(dim=-1).mean(),
            "contact_f1": 2 * (down & predicted).sum() / (down.sum() + predicted.sum()).clamp(min=1),
            "rte_percent": 100 * ((path - batch.hips).norm(dim=-1).mean(1) / length)[moving].mean(),
            "tilt_degrees": tilt.mean(),
            "jitter_ratio": torch.diff(estimated.view(32, FRAMES, 12, 3), n=3, dim=1).norm(dim=-1).mean()
            / torch.diff(lifted.view(32, FRAMES, 12, 3), n=3, dim=1).norm(dim=-1).mean(),
        }  # fmt: skip
        for name, value in figures.items():
            sums.setdefault(name, []).append(float(value))
    model.train()
    return {name: float(np.mean(values)) for name, values in sums.items()}


def main(argv: list[str] | None = None) -> None:
    """Train from the last checkpoint and write the weights: ``build.py train wham``."""
    parser = argparse.ArgumentParser(description=__doc__)
    mocap.add_option(parser)
    checkpoint.add_options(parser, minutes=60, steps=8000, rate=LEARNING_RATE)
    args = parser.parse_args(argv)
    torch.manual_seed(0)
    body = simulate.TrainingBody()
    networks = PoseNetworks.load(weights.find("lifter").path, weights.find("temporal").path)
    lift = over_time(networks)
    errors = simulate.LandmarkErrors.load(simulate.ERRORS_FILE)
    library, held_out = (simulate.Library.of(clips) for clips in simulate.split(args.mocap, body))
    model = WHAM(width=256, layers=2, d_feat=D_FEAT, integrator_width=512, refiner_width=256, refiner_layers=2)
    if args.shipped:
        with np.load(weights.find("wham").path, allow_pickle=False) as arrays:
            checkpoint.fill(model, dict(arrays))
    groups = [
        {
            "params": [p for name, p in model.named_parameters() if name.startswith(PASS_THROUGH) == passing],
            "rate": rate,
        }
        for passing, rate in ((True, 0.1), (False, 1.0))
    ]
    optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, weight_decay=0.01)
    step = checkpoint.load("wham", model, optimizer)
    sampler = SequenceSampler(library, body, lift, errors, seed=step, varied=True, frames=FRAMES)
    if not step and not args.shipped:
        pass_through(model, sampler.draw(BATCH).features.flatten(0, 1))
    print(f"{len(library.rotations)} frames, {len(held_out.rotations)} held out; from step {step}", flush=True)

    def loss_at(step: int) -> Tensor:
        batch = sampler.draw(BATCH)
        if step % 2 == 0:
            previous = noisy_previous(batch, sampler.generator)
        else:
            with torch.no_grad():
                previous = run(model, body, batch, None, refine=False).previous
        return loss_of(body, batch, run(model, body, batch, previous))

    def current_figures(**settings: int) -> dict[str, float]:
        measured = SequenceSampler(held_out, body, lift, errors, seed=1, varied=False, frames=FRAMES)
        return validate(model, measured, body, **settings)

    step = checkpoint.Training(
        name="wham", learning=model, saved=model, optimizer=optimizer, options=args, step=step,
        steps_per_report=STEPS_PER_REPORT, warm_up=100,
    ).run(loss_at, current_figures)  # fmt: skip
    arrays = checkpoint.arrays(model)
    checkpoint.fill(model, arrays)
    figures = current_figures(batches=8)
    source = "trained by tools/training/wham.py on the lifter's training data and the open lifter's features"
    shipped.write_trained("wham", arrays, source, {"steps": step, **figures})


if __name__ == "__main__":
    main()
