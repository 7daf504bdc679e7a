"""Trains the per-frame lifter on endless random views of the mocap: ``build.py train lifter``.

Checkpoints lie in ``out/training/lifter.pt``; a second call goes on from there.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from smplx.lbs import batch_rodrigues
from torch import Tensor

from wham_blender import weights
from wham_blender.body.rotations import matrix_from_r6d
from wham_blender.models.lifter import Lifter
from wham_blender.pipeline import features, metrics

from . import checkpoint, shipped, simulate

BATCH = 1024
STEPS_PER_REPORT = 200
# Half precision is twice as fast on processors that have it, and ten times slower on others.
_HALF = torch.ops.mkldnn._is_mkldnn_bf16_supported()


class Views:
    """Draws batches of views of random poses."""

    def __init__(
        self, library: simulate.Library, body: simulate.TrainingBody, errors: simulate.Errors, seed: int, *,
        perturbed: bool,
    ) -> None:  # fmt: skip
        self.motion, self.body, self.errors, self.perturbed = library, body, errors, perturbed
        self.generator = torch.Generator().manual_seed(seed)
        self.starts, self.lengths = torch.tensor(library.starts), torch.tensor(library.lengths)
        self.shares = self.lengths.float().sqrt()

    def draw(self, count: int = BATCH) -> tuple[simulate.View, Tensor, Tensor, Tensor]:
        """A view, the true rotations (N, 24, 3, 3), the root's in camera axes, betas, joints and points (N, 49, 3)."""
        g = self.generator
        # Clips by the root of their length: an hour of walking does not drown a minute of gymnastics.
        clips = torch.multinomial(self.shares, count, replacement=True, generator=g)
        part = torch.rand(count, generator=g)
        rotations = self.motion.rotations[self.starts[clips] + (part * self.lengths[clips]).long()]
        if self.perturbed:
            rotations = simulate.perturb(rotations, g)
            tilt = torch.randn(count, 3, generator=g) * torch.where(torch.rand(count, 1, generator=g) < 0.15, 0.6, 0.1)
            rotations[:, 0] = batch_rodrigues(tilt) @ rotations[:, 0]
        betas = simulate.random_betas(count, g)
        camera = simulate.random_cameras(count, g)
        rotations = torch.cat([(camera.rotation @ rotations[:, 0])[:, None], rotations[:, 1:]], 1)
        joints, points, _ = self.body(rotations, betas)
        hips = points[:, 11:13].mean(1, keepdim=True)
        view = simulate.observe(points - hips, camera, g, self.errors)
        return view, rotations, betas, torch.cat([joints, points], 1) - hips

    def lift(self, model: Lifter, view: simulate.View, *, without_3d: float) -> tuple[Tensor, Tensor, Tensor]:
        """Run the lifter; in a share of the samples the landmark net's 3D is withheld."""
        seen = (torch.rand(len(view.place), 1, generator=self.generator) >= without_3d).float()
        with torch.autocast("cpu", torch.bfloat16, enabled=_HALF):
            feature, pose, betas = model(view.keypoints, view.mask, view.place, view.landmarks, seen)
        return feature.float(), pose.float(), betas.float()


LIMBS = [5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]  # COCO: shoulders, elbows, wrists, hips, knees, ankles


def pa_mpjpe_mm(predicted: Tensor, true: Tensor) -> float:
    """Mean PA-MPJPE of (N, K, 3) points in metres, in millimetres."""
    return 1000 * float(metrics.pa_mpjpe(predicted.double().numpy(), true.double().numpy()).mean())


@torch.no_grad()
def validate(model: Lifter, views: Views, count: int = 4096) -> dict[str, float]:
    """Errors in millimetres on held-out clips: PA-MPJPE and MPJPE of 12 joints, and of the landmark net's own 3D."""
    model.eval()
    view, _, _, true = views.draw(count)
    _, pose, betas = views.lift(model, view, without_3d=0.0)
    _, points, _ = views.body(matrix_from_r6d(pose.reshape(count, 24, 6)), betas)
    points = (points - points[:, 11:13].mean(1, keepdim=True))[:, LIMBS]
    true = true[:, 24:][:, LIMBS]
    model.train()
    return {
        "pa_mpjpe_mm": pa_mpjpe_mm(points, true),
        "mpjpe_mm": 1000 * float((points - true).norm(dim=-1).mean()),
        "simulated_landmark_net_pa_mpjpe_mm": pa_mpjpe_mm(view.landmarks[:, LIMBS], true),
    }


def loss_of(
    body: simulate.TrainingBody, pose: Tensor, betas: Tensor, rotations: Tensor, true_betas: Tensor, true: Tensor
) -> Tensor:
    """Rotations, joints and points in metres, shape."""
    count = len(pose)
    predicted = matrix_from_r6d(pose.reshape(count, 24, 6))
    joints, points, _ = body(predicted, betas)
    placed = torch.cat([joints, points], 1) - points[:, 11:13].mean(1, keepdim=True)
    turn = (predicted - rotations).abs().mean((0, 2, 3))
    weight = torch.ones(24)
    weight[0] = 4.0
    weight[[10, 11, 22, 23]] = 0.1
    return (turn * weight).mean() + 4 * (placed - true).norm(dim=-1).mean() + 0.02 * (betas - true_betas).abs().mean()


def main(argv: list[str] | None = None) -> None:
    """Train on from the last checkpoint and ship the result: ``build.py train lifter``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mocap", type=Path, default=Path("../shared/mocap"))
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--steps", type=int, default=24_000)
    parser.add_argument("--shipped", action="store_true", help="begin with the weights that ship, not with random ones")
    args = parser.parse_args(argv)
    torch.manual_seed(0)
    body = simulate.TrainingBody()
    clips, kept = simulate.split(args.mocap, body)
    library, held_out = simulate.Library.of(clips), simulate.Library.of(kept)
    errors = simulate.Errors.load(simulate.MEASURED)
    model = features.load(weights.find("lifter").path).train() if args.shipped else Lifter(depth=4)
    peak = 3e-4 if args.shipped else 1e-3
    optimizer = torch.optim.AdamW(model.parameters(), lr=peak, weight_decay=0.01)
    step = checkpoint.load("lifter", model, optimizer)
    views = Views(library, body, errors, seed=step, perturbed=True)
    print(
        f"{len(clips)} clips, {len(library.rotations)} frames; {len(held_out.rotations)} held out; from step {step}",
        flush=True,
    )
    begin, losses = time.monotonic(), []
    while step < args.steps and time.monotonic() - begin < 60 * args.minutes:
        for group in optimizer.param_groups:
            group["lr"] = checkpoint.cosine(step, args.steps, (time.monotonic() - begin) / (60 * args.minutes), peak)
        with torch.no_grad():
            view, rotations, betas, true = views.draw()
        _, pose, shape = views.lift(model, view, without_3d=0.3)
        loss = loss_of(body, pose, shape, rotations, betas, true)
        losses.append(checkpoint.learn(model, optimizer, loss))
        step += 1
        if step % STEPS_PER_REPORT == 0:
            figures = validate(model, Views(held_out, body, errors, seed=1, perturbed=False))
            checkpoint.save("lifter", model, optimizer, step)
            mean = sum(losses[-STEPS_PER_REPORT:]) / STEPS_PER_REPORT
            checkpoint.tell(step, begin, mean, figures)
    figures = validate(model, Views(held_out, body, errors, seed=1, perturbed=False))
    checkpoint.save("lifter", model, optimizer, step)
    source = "trained by tools/training/lifter.py on mocap.cs.cmu.edu and DeepMimic motion and simulated views"
    shipped.write_trained("lifter", checkpoint.arrays(model), source, {"steps": step, **figures})


if __name__ == "__main__":
    main()
