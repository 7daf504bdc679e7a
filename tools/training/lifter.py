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
from wham_blender.models.lifter import ROUNDS, Estimate, Lifter, Look
from wham_blender.pipeline import features, metrics

from . import checkpoint, shipped, simulate

BATCH = 512
WITHOUT_3D = 0.1  # share of the samples in which the landmark net's 3D is withheld
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


LIMBS = [5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]  # COCO: shoulders, elbows, wrists, hips, knees, ankles


def pa_mpjpe_mm(predicted: Tensor, true: Tensor) -> float:
    """Mean PA-MPJPE of (N, K, 3) points in metres, in millimetres."""
    return 1000 * float(metrics.pa_mpjpe(predicted.double().numpy(), true.double().numpy()).mean())


@torch.no_grad()
def validate(model: Lifter, views: Views, count: int = 4096) -> dict[str, float]:
    """Errors in millimetres on held-out clips: PA-MPJPE and MPJPE of 12 joints, and of the landmark net's own 3D."""
    model.eval()
    view, _, _, true = views.draw(count)
    estimates = lifted(model, view.look)
    true = true[:, 24:][:, LIMBS]
    model.train()
    guess, points = (
        torch.einsum("nji,nkj->nki", view.turn, each.points[:, LIMBS]) for each in estimates[:: len(estimates) - 1]
    )
    return {
        "pa_mpjpe_mm": pa_mpjpe_mm(points, true),
        "mpjpe_mm": 1000 * float((points - true).norm(dim=-1).mean()),
        "first_guess_pa_mpjpe_mm": pa_mpjpe_mm(guess, true),
        "simulated_landmark_net_pa_mpjpe_mm": pa_mpjpe_mm(view.landmarks[:, LIMBS], true),
    }


def lifted(model: Lifter, look: Look, *, guessing: bool = True) -> list[Estimate]:
    """All rounds of the lifter, in half precision where that is fast; without ``guessing`` the corrections alone.

    The first guess need not be good, so it learns in every other step, which leaves time for the corrections.
    """
    with torch.autocast("cpu", torch.bfloat16, enabled=_HALF):
        if guessing:
            return model.rounds(look)
        with torch.no_grad():
            estimate = model.first(look)
        return [estimate := model.corrected(look, Estimate(*(v.detach() for v in estimate))) for _ in range(ROUNDS)]


def loss_of(estimate: Estimate, rotations: Tensor, betas: Tensor, true: Tensor) -> Tensor:
    """Rotations, joints and points in metres, shape, of one round; the truth in the look's axes."""
    placed = torch.cat([estimate.joints, estimate.points], 1)
    turn = (estimate.rotations - rotations).abs().mean((0, 2, 3))
    weight = torch.ones(24)
    weight[0] = 4.0
    weight[[10, 11, 22, 23]] = 0.1
    shape = (estimate.betas - betas).abs().mean()
    return (turn * weight).mean() + 4 * (placed - true).norm(dim=-1).mean() + 0.02 * shape


def main(argv: list[str] | None = None) -> None:
    """Train on from the last checkpoint and ship the result: ``build.py train lifter``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mocap", type=Path, default=Path("../shared/mocap"))
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--steps", type=int, default=24_000)
    parser.add_argument("--shipped", action="store_true", help="begin with the weights that ship, not with random ones")
    parser.add_argument("--rate", type=float, default=1e-3, help="the learning rate's peak")
    args = parser.parse_args(argv)
    torch.manual_seed(0)
    body = simulate.TrainingBody()
    clips, kept = simulate.split(args.mocap, body)
    library, held_out = simulate.Library.of(clips), simulate.Library.of(kept)
    errors = simulate.Errors.load(simulate.MEASURED)
    model = features.load(weights.find("lifter").path).train() if args.shipped else Lifter()
    model.body.load_state_dict(body.observed())
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.rate, weight_decay=0.01, fused=True)
    step = checkpoint.load("lifter", model, optimizer)
    views = Views(library, body, errors, seed=step, perturbed=True)
    print(
        f"{len(clips)} clips, {len(library.rotations)} frames; {len(held_out.rotations)} held out; from step {step}",
        flush=True,
    )
    begin, losses = time.monotonic(), []
    while step < args.steps and time.monotonic() - begin < 60 * args.minutes:
        for group in optimizer.param_groups:
            group["lr"] = checkpoint.cosine(
                step, args.steps, (time.monotonic() - begin) / (60 * args.minutes), args.rate
            )
        with torch.no_grad():
            view, rotations, betas, true = views.draw()
            rotations[:, 0] = view.turn @ rotations[:, 0]
            true = true @ view.turn.mT
            seen3d = (torch.rand(BATCH, 1, generator=views.generator) >= WITHOUT_3D).float()
        rounds = lifted(model, view.look._replace(seen3d=seen3d), guessing=step % 2 == 0)
        loss = torch.stack([loss_of(each, rotations, betas, true) for each in rounds]).sum()
        losses.append(checkpoint.learn(model, optimizer, loss))
        step += 1
        if step % STEPS_PER_REPORT == 0:
            figures = validate(model, Views(held_out, body, errors, seed=1, perturbed=False))
            checkpoint.save("lifter", model, optimizer, step)
            mean = sum(losses[-STEPS_PER_REPORT:]) / STEPS_PER_REPORT
            checkpoint.tell(step, begin, mean, figures)
    checkpoint.save("lifter", model, optimizer, step)
    arrays = checkpoint.arrays(model)
    checkpoint.fill(model, arrays)
    figures = validate(model, Views(held_out, body, errors, seed=1, perturbed=False))
    source = "trained by tools/training/lifter.py on mocap.cs.cmu.edu and DeepMimic motion and simulated views"
    shipped.write_trained("lifter", arrays, source, {"steps": step, **figures})


if __name__ == "__main__":
    main()
