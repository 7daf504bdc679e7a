"""Draws hands and trains the hand lifter on what the hand net sees of them: ``build.py train hands``.

Pictures are in ``out/training/hands.npz`` (``hand_pictures.py``), checkpoints in ``out/training/hand_lifter.pt``; a
second call continues with both. The last tenth of the pictures is held out.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
from smplx.lbs import batch_rodrigues
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from tools.training import checkpoint, hand_pictures, shipped
from wham_blender import weights
from wham_blender.body.body import Body
from wham_blender.models.hand_lifter import HandEstimate, HandInput, HandLifter
from wham_blender.pipeline.people.hands import HandLandmarker
from wham_blender.pipeline.pose.hand_lifting import SeenArm, hand_input, load_hand_lifter, roll_upright
from wham_blender.pipeline.pose.hand_skeleton import HIGH, LOW, HandSkeleton, of_body

PICTURES = "hands.npz"
BATCH = 256
EMA_DECAY = 0.999  # a mean of about 1000 steps; set by hand
STEPS_PER_REPORT = 500
_PER_SAVE = 500
_HELD_OUT = 0.1  # of the pictures
# Augmentation, set by hand. A hand that is moved a little is seen with the same error: standard deviations in radians
# of its angles and of its rotation, of noise of the points (of their extent) and metres, and of the metres' scale.
_MOVED_ANGLES, _MOVED_ROTATION, _POINT_NOISE, _METRE_NOISE, _METRE_SCALE = 0.12, 0.2, 0.03, 0.003, 0.05
# Errors of the body's arm, standard deviations: of the forearm's direction and the wrist about any axis, radians, and
# of the logarithm of the distance. Set by hand; the wrist's is about that of the body lifter in `bench hands`.
_FOREARM_ERROR, _WRIST_ERROR, _DISTANCE_ERROR = 0.2, 0.45, 0.07
_QUITE_WRONG = 0.15  # fraction of the samples in which they are three times as large


@dataclass(frozen=True)
class Hands:
    """N looks at hands in the lifter's axes, right ones or in the mirror, and the truth."""

    seen: HandInput
    angles: Tensor  # (N, 22)
    rotation: Tensor  # (N, 3, 3)
    points: Tensor  # (N, 21, 3) from the wrist, in its axes

    def at(self, rows: Tensor | slice) -> Hands:
        """Some of them."""
        seen = HandInput(*(values[rows] for values in self.seen))
        return Hands(seen, self.angles[rows], self.rotation[rows], self.points[rows])


def draw(count: int, minutes: float) -> list[dict[str, np.ndarray]]:
    """Draw until there are ``count`` pictures, or for as many minutes; all rows that there are."""
    checkpoint.FOLDER.mkdir(parents=True, exist_ok=True)
    path = checkpoint.FOLDER / PICTURES
    rows, end = checkpoint.read_rows(path), time.monotonic() + 60 * minutes
    if len(rows) >= count:
        return rows
    body, net = Body.load(weights.find("body").path), HandLandmarker(weights.find("hands"))
    for row in hand_pictures.rows(body, net, np.random.default_rng(len(rows))):
        rows.append(row)
        if len(rows) % _PER_SAVE == 0:
            checkpoint.write_rows(path, rows)
            print(f"{len(rows)} pictures in {PICTURES}", flush=True)
        if len(rows) >= count or time.monotonic() > end:
            break
    checkpoint.write_rows(path, rows)
    return rows


def fill_body(model: HandLifter, skeleton: HandSkeleton) -> None:
    """Give the network the right hand of the mean body."""
    axes = [axis for finger in skeleton.axes for _, axis in finger]
    model.body.fill(skeleton.points, axes, skeleton.rest, np.stack([LOW, HIGH]))


def hands_of(rows: list[dict[str, np.ndarray]], model: HandLifter) -> Hands:
    """Rows of `hand_pictures.rows` with their truth."""
    columns = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    side, arms = columns["side"], columns["arm"]
    arm = SeenArm(arms[:, 1], arms[:, 2], columns["size"] / columns["camera_K"][:, 0, 0])
    seen, _ = hand_input(columns["seen"], columns["score"], arm, columns["camera_K"], side)
    mirror = torch.where(torch.from_numpy(side)[:, None] == 0, torch.tensor([1.0, -1, -1]), torch.ones(3))
    vectors = torch.from_numpy(columns["hand_poses"]) * mirror[:, None]
    joints = batch_rodrigues(vectors.reshape(-1, 3)).view(-1, 15, 3, 3)
    return Hands(seen, torch.from_numpy(columns["angles"]), seen.wrist, model.body.points(joints))


def moved(hands: Hands, model: HandLifter, generator: torch.Generator) -> Hands:
    """The hands moved a little and seen with the same errors."""

    def normal(*shape: int) -> Tensor:
        return torch.randn(len(hands.angles), *shape, generator=generator)

    seen, body = hands.seen, model.body
    amount = torch.rand(len(hands.angles), 1, generator=generator)
    angles = (hands.angles + _MOVED_ANGLES * amount * normal(22)).clamp(*body.limits)
    points = hands.points + body.points(body.joints(angles)) - body.points(body.joints(hands.angles))
    rotation = batch_rodrigues(_MOVED_ROTATION * amount * normal(3)) @ hands.rotation
    before, after = (each - each.mean(1, keepdim=True) for each in (
        hands.points @ hands.rotation.mT, points @ rotation.mT,
    ))  # fmt: skip
    scale = (before[..., :2] * seen.points).sum((1, 2)) / (before[..., :2] ** 2).sum((1, 2)).clamp(min=1e-6)
    flat = seen.points + scale.clamp(0, 40)[:, None, None] * (after - before)[..., :2] + _POINT_NOISE * normal(21, 2)
    metres = (seen.metres + after - before + _METRE_NOISE * normal(21, 3)) * torch.exp(_METRE_SCALE * normal(1, 1))
    # Centred, with the fingers up and of unit size again.
    flat, metres = (each - each.mean(1, keepdim=True) for each in (flat, metres))
    roll = roll_upright(flat)
    flat = flat @ roll[:, :2, :2].mT
    extent = (flat**2).sum((1, 2)).div(flat.shape[1]).sqrt()
    scores = torch.stack([seen.scores[:, 0], seen.scores[:, 1] + extent.log()], 1)
    forearm, wrist = (roll @ seen.forearm[..., None])[..., 0], roll @ rotation
    shown = HandInput(flat / extent[:, None, None], metres @ roll.mT, scores, forearm, wrist)
    return Hands(shown, angles, wrist, points)


def with_wrong_arm(hands: Hands, generator: torch.Generator) -> Hands:
    """The hands with forearm, wrist and distance of a body that is not quite where it is."""
    count, seen = len(hands.angles), hands.seen
    wide = 1 + 2 * (torch.rand(count, 1, generator=generator) < _QUITE_WRONG)
    forearm, wrist = (
        batch_rodrigues(error * wide * torch.randn(count, 3, generator=generator))
        for error in (_FOREARM_ERROR, _WRIST_ERROR)
    )
    away = _DISTANCE_ERROR * torch.randn(count, generator=generator)
    return replace(hands, seen=seen._replace(
        forearm=(forearm @ seen.forearm[..., None])[..., 0], wrist=wrist @ seen.wrist,
        scores=torch.stack([seen.scores[:, 0], seen.scores[:, 1] + away], 1),
    ))  # fmt: skip


def loss_of(estimate: HandEstimate, true: Hands) -> Tensor:
    """Errors of points (metres), angles and rotation of one estimate, and how well it knows them."""
    points = (estimate.points - true.points).norm(dim=-1).mean()
    turned = (estimate.points @ estimate.rotation.mT - true.points @ true.rotation.mT).norm(dim=-1).mean()
    wrong = rotation_error(estimate.rotation, true.rotation)
    off = torch.cat([(estimate.angles - true.angles).abs(), wrong[:, None]], 1)
    known = (off.detach() * torch.exp(-estimate.errors) + estimate.errors).mean()
    return 20 * points + 10 * turned + wrong.mean() + 0.3 * off[:, :-1].mean() + 0.1 * known


def rotation_error(first: Tensor, second: Tensor) -> Tensor:
    """Angles (N,), radians, between rotations (N, 3, 3); smooth near 0."""
    chord = ((first - second) ** 2).sum((1, 2)).clamp(min=1e-8).sqrt() / 8**0.5
    return 2 * torch.asin(chord.clamp(max=0.999))


@torch.no_grad()
def validate(model: HandLifter, held_out: Hands) -> dict[str, float]:
    """Errors on held-out pictures: finger points from the wrist, and the wrist's orientation."""
    model.eval()
    estimate = model(held_out.seen)
    wrist = torch.rad2deg(rotation_error(estimate.rotation, held_out.rotation))
    model.train()
    return {
        "fingers_mm": 1000 * float((estimate.points - held_out.points)[:, 1:].norm(dim=-1).mean()),
        "wrist_degrees": float(wrist.mean()),
        "wrist_95_degrees": float(wrist.quantile(0.95)),
        "flips_percent": 100 * float((wrist > 90).float().mean()),
    }


def main(argv: list[str] | None = None) -> None:
    """Draw, train from the last checkpoint and write the weights: ``build.py train hands``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=20_000)
    parser.add_argument("--draw-minutes", type=float, default=60)
    checkpoint.add_options(parser, minutes=20, steps=20_000, rate=1e-3)
    args = parser.parse_args(argv)
    torch.manual_seed(0)
    rows = draw(args.pictures, args.draw_minutes)
    model = load_hand_lifter(weights.find("hand_lifter").path).train() if args.shipped else HandLifter()
    fill_body(model, of_body(Body.load(weights.find("body").path), np.zeros(10))[1])
    learned = len(rows) - max(1, round(_HELD_OUT * len(rows)))
    hands = hands_of(rows, model)
    training = hands.at(slice(0, learned))
    held_out = with_wrong_arm(hands.at(slice(learned, None)), torch.Generator().manual_seed(1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.rate, weight_decay=0.05)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(EMA_DECAY))
    both = torch.nn.ModuleDict({"learning": model, "average": average})
    step = checkpoint.load("hand_lifter", both, optimizer)
    generator = torch.Generator().manual_seed(step)
    print(f"{learned} pictures, {len(rows) - learned} held out; from step {step}", flush=True)
    begin, losses = time.monotonic(), []
    while step < args.steps and time.monotonic() - begin < 60 * args.minutes:
        elapsed = (time.monotonic() - begin) / (60 * args.minutes)
        for group in optimizer.param_groups:
            group["lr"] = checkpoint.learning_rate(step, args.steps, elapsed, args.rate, warm_up=100)
        with torch.no_grad():
            batch = training.at(torch.randint(learned, (BATCH,), generator=generator))
            batch = with_wrong_arm(moved(batch, model, generator), generator)
        loss = torch.stack([loss_of(each, batch) for each in model.iterate(batch.seen)]).sum()
        losses.append(checkpoint.optimise(model, optimizer, loss))
        average.update_parameters(model)
        step += 1
        if step % STEPS_PER_REPORT == 0:
            checkpoint.save("hand_lifter", both, optimizer, step)
            mean = sum(losses[-STEPS_PER_REPORT:]) / STEPS_PER_REPORT
            checkpoint.print_progress(step, begin, mean, validate(cast(HandLifter, average.module), held_out))
    checkpoint.save("hand_lifter", both, optimizer, step)
    arrays = checkpoint.arrays(average.module)
    checkpoint.fill(average.module, arrays)
    figures = validate(cast(HandLifter, average.module), held_out)
    source = "trained by tools/training/hands.py on drawn hands of the open body as the hand landmark net sees them"
    shipped.write_trained("hand_lifter", arrays, source, {"steps": step, "pictures": learned, **figures})


if __name__ == "__main__":
    main()
