"""Fits the foot-contact weights to a set of WHAM weights, a calibration: ``build.py train contacts``.

Lifter, WHAM and placement run on simulated scenes like those of the bench ``held_out``, but of training clips. A
logistic regression predicts the true contacts from the evidence that placement collects in each of its passes. Held-out
clips are only measured. Clips whose floor is not flat are left out, as their true contacts are uncertain.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import expit

from tools.training import mocap, scenes, shipped, simulate
from tools.training.scenes import CAMERAS, Scene
from wham_blender import weights
from wham_blender.body.body import Body
from wham_blender.motion import planted
from wham_blender.pipeline.pose.types import WhamTrack
from wham_blender.pipeline.world import foot_contacts

INITIAL_WEIGHTS = np.array([1.0, 0, 0, 0, 0, 0, 0, 0])  # the network's own contacts
ITERATIONS = 2  # of placement and fit: contacts change the trajectory, from which the evidence is computed


@dataclass
class RecordingContactModel:
    """A contact model with weights (8,) that records the evidence of each call."""

    weights: np.ndarray
    evidence: list[np.ndarray] = field(default_factory=list)  # (F, 4, 8) each

    def __call__(self, *observed: np.ndarray) -> np.ndarray:
        """Contact probabilities (F, 4); arguments as of `foot_contacts.contact_evidence`."""
        self.evidence.append(foot_contacts.contact_evidence(*observed))
        return expit(self.evidence[-1] @ self.weights)


def fit(evidence: np.ndarray, contacts: np.ndarray) -> np.ndarray:
    """Weights (n,) of the logistic regression of contacts (N,) bool on evidence (N, n)."""

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        logits = evidence @ weights
        gradient = (expit(logits) - contacts) @ evidence / len(contacts)
        return float(np.mean(np.logaddexp(0, logits) - contacts * logits)), gradient

    return minimize(loss, np.zeros(evidence.shape[1]), jac=True, method="BFGS").x


def f1(predicted: Sequence[np.ndarray], true: Sequence[np.ndarray]) -> float:
    """F1 of contacts over scenes, (F, 4) bool each."""
    hits = sum(int((a & b).sum()) for a, b in zip(predicted, true, strict=True))
    return 2 * hits / max(1, sum(int(each.sum()) for each in (*predicted, *true)))


def crop_clip(clip: mocap.Clip, frames: int, choice: random.Random) -> mocap.Clip:
    """A random section of a clip, at most ``frames`` long."""
    begin = choice.randint(0, max(0, len(clip.poses) - frames))
    rows = slice(begin, begin + frames)
    return replace(clip, poses=clip.poses[rows], trans=clip.trans[rows], contacts=clip.contacts[rows])


def draw(
    clips: Sequence[mocap.Clip], networks: scenes.Networks, count: int, frames: int, until: float
) -> list[tuple[Scene, WhamTrack]]:
    """Scenes of clips with a flat floor, and WHAM's results on them; stops when the clock passes ``until``.

    Kinds of motion, clips and cameras alternate, so that neither walks nor long clips dominate.
    """
    body, errors = simulate.TrainingBody(), simulate.LandmarkErrors.load(simulate.ERRORS_FILE)
    choice = random.Random(0)  # noqa: S311 - nothing secret
    drawn: list[tuple[Scene, WhamTrack]] = []
    clips = [clip for clip in clips if clip.flat_floor]
    choice.shuffle(clips)
    by_kind: dict[str, list[mocap.Clip]] = {}
    for clip in clips:
        by_kind.setdefault(clip.kind, []).append(clip)
    clips = [clip for cycle in zip_longest(*by_kind.values()) for clip in cycle if clip]
    while clips and len(drawn) < count and time.monotonic() < until:
        cycle, row = divmod(len(drawn), len(clips))
        kind = CAMERAS[(row + cycle) % len(CAMERAS)]
        scene = Scene(crop_clip(clips[row], frames, choice), kind, body, errors, choice.getrandbits(32))
        drawn.append((scene, scenes.run_networks(scene, networks)))
    return drawn


def collect_evidence(
    drawn: Sequence[tuple[Scene, WhamTrack]], body: Body, weights: np.ndarray
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Evidence (passes, N, 4) of all foot points of placed scenes, and their final contacts (F, 4) each."""
    evidence, contacts = [], []
    for scene, lifted in drawn:
        contact_model = RecordingContactModel(weights)
        placed = scenes.place(
            lifted, body, camera_R=scene.camera_R, camera_stays=scene.kind != "travels", contact_model=contact_model
        )
        evidence.append(np.stack(contact_model.evidence).reshape(len(contact_model.evidence), -1, len(weights)))
        contacts.append(planted(placed.contacts))
    return np.concatenate(evidence, 1), contacts


def main(argv: list[str] | None = None) -> None:
    """Fit to training clips, write the calibration and print its F1: ``build.py train contacts``."""
    parser = argparse.ArgumentParser(description=__doc__)
    mocap.add_option(parser)
    parser.add_argument("--minutes", type=float, default=30, help="after which no further scene is drawn")
    parser.add_argument(
        "--scenes", type=int, default=60, help="of training clips, and a third as many of held-out ones"
    )
    parser.add_argument("--frames", type=int, default=150, help="of a scene, at most")
    parser.add_argument("--wham", type=Path, help="the weights to calibrate; without it the open ones")
    parser.add_argument("--output", type=Path, default=weights.folder() / "calibrations.toml")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    until = time.monotonic() + 60 * args.minutes
    training, validation = simulate.split(args.mocap, simulate.TrainingBody())
    file = args.wham or weights.find("wham").path
    networks = scenes.networks(file)
    drawn = draw(training, networks, args.scenes, args.frames, until)
    if not drawn:
        raise SystemExit(
            "No scene to fit to: no training clip has a flat floor, or the time was too short. Give more --minutes."
        )
    held_out = draw(validation, networks, args.scenes // 3, args.frames, until)
    body = Body.load(weights.find("body").path)

    def print_f1(name: str, measured: Sequence[tuple[Scene, WhamTrack]], predicted: Sequence[np.ndarray]) -> None:
        true = [scene.contacts for scene, _ in measured]
        wham = f1([lifted.contacts > 0.5 for _, lifted in measured], true)
        print(f"F1 on {len(measured)} {name}: {f1(predicted, true):.3f}; of WHAM's contacts {wham:.3f}", flush=True)

    contacts = np.concatenate([scene.contacts.ravel() for scene, _ in drawn])
    # What is taken for a contact holds its foot in place, so later evidence confirms it: the fit may become worse.
    fitted, best, best_f1 = INITIAL_WEIGHTS, INITIAL_WEIGHTS, 0.0
    for iteration in range(ITERATIONS + 1):
        evidence, predicted = collect_evidence(drawn, body, fitted)
        print_f1("training scenes", drawn, predicted)
        reached = f1(predicted, [scene.contacts for scene, _ in drawn])
        if reached > best_f1:
            best, best_f1 = fitted, reached
        if iteration < ITERATIONS:
            fitted = fit(np.concatenate(evidence), np.tile(contacts, len(evidence))).round(2)
    fitted = best
    source = f"contact_weights: logistic regression on {len(drawn)} simulated scenes of training motion."
    shipped.write_calibration(args.output, file, fitted.tolist(), source)
    for name, measured in (("training scenes", drawn), ("held-out scenes", held_out)):
        print_f1(name, measured, collect_evidence(measured, body, fitted)[1])


if __name__ == "__main__":
    main()
