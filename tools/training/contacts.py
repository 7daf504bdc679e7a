"""Fits the weights that contact_model foot contacts to the WHAM that ships: ``build.py train contacts``.

Lifter, WHAM and world run on scenes as the bench ``held_out`` measures them, but of training clips, and a logistic
regression learns from every look at the feet who stands. The kept clips are only measured. Nothing is learnt from clips
whose floor is not flat, where the truth is in doubt.

The weights stay constants of wham_blender/pipeline/contacts.py, and the line to paste there is printed: four numbers
are not worth a file with a role, a hash and a loader, and the published WHAM, to which nothing here can fit them, is
judged by them, too.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import expit

from tools.training import mocap, scenes, shipped, simulate
from tools.training.scenes import CAMERAS, Scene
from wham_blender import weights
from wham_blender.body.body import Body
from wham_blender.models.lifter import Lifter
from wham_blender.models.wham import WHAM
from wham_blender.motion import planted
from wham_blender.pipeline.pose.types import WhamTrack
from wham_blender.pipeline.world import foot_contacts

INITIAL_WEIGHTS = np.array([1.0, 0.0, 0.0, 0.0])  # the network's own contacts
ITERATIONS = 2  # of running the world and fitting anew: who stands shapes the world that tells who stands


@dataclass
class RecordingContactModel:
    """Judges contacts by weights (4,), and keeps the evidence of each look."""

    weights: np.ndarray
    looks: list[np.ndarray] = field(default_factory=list)  # (F, 4, 4) each

    def __call__(self, *found: np.ndarray) -> np.ndarray:
        """Probabilities (F, 4); arguments as `foot_contacts.contact_evidence` takes them."""
        self.evidence.append(foot_contacts.contact_evidence(*found))
        return expit(self.evidence[-1] @ self.weights)


def fit(evidence: np.ndarray, stands: np.ndarray) -> np.ndarray:
    """Weights (4,) of the logistic regression that best explains which points stand, (N,) bool, by evidence (N, 4)."""

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        logits = evidence @ weights
        return float(np.mean(np.logaddexp(0, logits) - stands * logits)), (expit(logits) - stands) @ evidence / len(stands)

    return minimize(loss, np.zeros(evidence.shape[1]), jac=True, method="BFGS").x


def f1(predicted: Sequence[np.ndarray], true: Sequence[np.ndarray]) -> float:
    """F1 of contacts over scenes, (F, 4) bool each."""
    hits = sum(int((a & b).sum()) for a, b in zip(predicted, true, strict=True))
    return 2 * hits / max(1, sum(int(each.sum()) for each in (*predicted, *true)))


def crop_clip(clip: mocap.Clip, frames: int, choice: random.Random) -> mocap.Clip:
    """A stretch of a clip, of so many frames at most."""
    begin = choice.randint(0, max(0, len(clip.poses) - frames))
    rows = slice(begin, begin + frames)
    return replace(clip, poses=clip.poses[rows], trans=clip.trans[rows], contacts=clip.contacts[rows])


def draw(
    clips: Sequence[mocap.Clip], networks: tuple[Lifter, WHAM, Body], count: int, frames: int, until: float
) -> list[tuple[Scene, WhamTrack]]:
    """Scenes of clips with a flat floor, and what WHAM makes of them; no more when the clock is past ``until``.

    Clips and cameras take turns, so that no long clip outweighs the others.
    """
    body, errors = simulate.TrainingBody(), simulate.LandmarkErrors.load(simulate.ERRORS_FILE)
    choice = random.Random(0)  # noqa: S311 - nothing secret
    drawn: list[tuple[Scene, WhamTrack]] = []
    clips = [clip for clip in clips if clip.flat_floor]
    choice.shuffle(clips)
    while clips and len(drawn) < count and time.monotonic() < until:
        turn, row = divmod(len(drawn), len(clips))
        kind = CAMERAS[(row + turn) % len(CAMERAS)]
        scene = Scene(crop_clip(clips[row], frames, choice), kind, body, errors, choice.getrandbits(32))
        drawn.append((scene, scenes.run_networks(scene, networks)))
    return drawn


def collect_evidence(
    drawn: Sequence[tuple[Scene, WhamTrack]], body: Body, weights: np.ndarray
) -> tuple[np.ndarray, list[np.ndarray]]:
    """The evidence (looks, N, 4) on every foot point of scenes in their world, and who stands at last, (F, 4) each."""
    looks, stands = [], []
    for scene, lifted in drawn:
        contact_model = RecordingContactModel(weights)
        placed = scenes.place(lifted, body, camera_R=scene.camera_R, camera_stays=scene.kind != "travels", contact_model=contact_model)
        looks.append(np.stack(contact_model.evidence).reshape(len(contact_model.evidence), -1, len(weights)))
        stands.append(planted(placed.contacts))
    return np.concatenate(looks, 1), stands


def main(argv: list[str] | None = None) -> None:
    """Fit to training clips, write the calibration and print how well it judges: ``build.py train contacts``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mocap", type=Path, default=Path("../shared/mocap"))
    parser.add_argument("--minutes", type=float, default=30, help="after which no further scene is drawn")
    parser.add_argument("--scenes", type=int, default=60, help="of training clips, and a third as many of kept ones")
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
        raise SystemExit("There is nothing to fit to: no training clip with a flat floor, or no time. Give more.")
    held_out = draw(validation, networks, args.scenes // 3, args.frames, until)
    body = Body.load(weights.find("body").path)

    def print_f1(name: str, some: Sequence[tuple[Scene, WhamTrack]], predicted: Sequence[np.ndarray]) -> None:
        true = [scene.contacts for scene, _ in some]
        alone = f1([lifted.contacts > 0.5 for _, lifted in some], true)
        print(f"F1 on {len(some)} {name}: {f1(predicted, true):.3f}, of WHAM's own {alone:.3f}", flush=True)

    stands = np.concatenate([scene.contacts.ravel() for scene, _ in drawn])
    found = INITIAL_WEIGHTS
    for _ in range(ITERATIONS):
        evidence, predicted = collect_evidence(drawn, body, found)
        print_f1("training scenes", drawn, predicted)
        found = fit(np.concatenate(evidence), np.tile(stands, len(evidence)))
    source = f"contact_weights: logistic regression on {len(drawn)} simulated scenes of training motion."
    shipped.write_calibration(args.output, file, found.round(2).tolist(), source)
    for name, some in (("training scenes", drawn), ("kept scenes", held_out)):
        print_f1(name, some, collect_evidence(some, body, found.round(2))[1])


if __name__ == "__main__":
    main()
