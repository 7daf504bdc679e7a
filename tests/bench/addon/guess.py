"""How often a guessed bone is right at each confidence: ``build.py bench guess``.

Judged on variations of the test rigs (``tests/rigs/variations.py``) that the confidence was not fitted on: other seeds,
and of half of them other kinds of rigs. ``--fit`` fits the constants of ``guess_confidence.py`` anew and prints them.
"""

from __future__ import annotations

import argparse
import time
from itertools import pairwise

import numpy as np

from tests.bench.report import Cell, report
from tests.rigs import variations
from wham_blender.addon.retarget import guess, guess_confidence, maps

FITTED = tuple(kind for number, kind in enumerate(variations.KINDS) if number % 2 == 0)
SEEDS_FITTED, SEEDS_JUDGED = range(60), range(1000, 1040)
BANDS = (0.0, 0.3, 0.5, 0.75, 0.9, 1.01)


def guesses(kinds: tuple[str, ...], seeds: range) -> tuple[list[tuple[float, bool, np.ndarray]], int, int, float]:
    """(confidence, whether it is right, features) of all guessed bones; refused and all skeletons; longest seconds."""
    found: list[tuple[float, bool, np.ndarray]] = []
    refused, count, longest = 0, 0, 0.0
    for kind in kinds:
        for seed in seeds:
            made = variations.make(kind, seed)
            count += 1
            begun = time.perf_counter()
            try:
                made_guess = guess.guess(kind, made.skeleton)
            except maps.MapError:
                refused += 1
                continue
            finally:
                longest = max(longest, time.perf_counter() - begun)
            truth = made.truth.mapped_bones()
            chains = {*made.truth.spine, *made.truth.neck}
            for joint, bone in made_guess.rig_map.mapped_bones().items():
                right = bone in chains if " of " in joint else truth.get(joint) == bone
                found.append((made_guess.confidence[bone], right, made_guess.evidence[bone].features()))
    return found, refused, count, longest


def fit(features: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Weights of a logistic regression (Newton's method) of ``right`` (N,) on features (N, K), slightly shrunk."""
    weights = np.zeros(features.shape[1])
    for _ in range(30):
        expected = 1 / (1 + np.exp(-features @ weights))
        slope = features.T @ (right - expected) - weights
        curvature = (features * (expected * (1 - expected))[:, None]).T @ features + np.eye(len(weights))
        weights = weights + np.linalg.solve(curvature, slope)
    return weights


def main() -> None:
    """Print a row a band of confidence."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fit", action="store_true", help="fit the constants, then judge")
    parser.add_argument("--json", help="also write the figures there")
    asked = parser.parse_args()
    if asked.fit:
        found = guesses(FITTED, SEEDS_FITTED)[0]
        weights = fit(np.array([each[2] for each in found]), np.array([each[1] for each in found], float))
        print(f"Fitted on {len(found)} bones: {weights.round(2).tolist()}")
        guess_confidence.WEIGHTS = weights
    rows: list[list[Cell]] = []
    others = tuple(kind for kind in variations.KINDS if kind not in FITTED)
    for title, kinds in (("fitted kinds, other seeds", FITTED), ("other kinds", others)):
        found, refused, count, longest = guesses(kinds, SEEDS_JUDGED)
        sure = np.array([each[0] for each in found])
        right = np.array([each[1] for each in found])
        print(f"{title}: {count} skeletons, {refused} refused, the longest guess took {longest:.2f} s")
        for low, high in pairwise(BANDS):
            band = (sure >= low) & (sure < high)
            mean = float(sure[band].mean()) if band.any() else None
            share = float(right[band].mean()) if band.any() else None
            rows.append([title, f"{low:.2f} to {min(high, 1):.2f}", int(band.sum()), mean, share])
    report("Guessed bones", ["judged on", "confidence", "bones", "mean confidence", "right"], rows, asked.json)


if __name__ == "__main__":
    main()
