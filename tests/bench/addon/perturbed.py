"""How often a guess is right of skeletons that were changed: ``build.py bench perturbed [--rigs DIR]``.

Each change of tests/rigs/perturbations.py is made to the generated rigs and to the known files of DIR or WHAM_RIGS_DIR.
"All" are the characters with every joint right, "limbs" those with legs and arms right, without which a bake ruins
them; the rest is refused or wrong. "Sure" is how many of the bones with a confidence of 0.9 or more are right.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def subjects(folder: Path | None) -> list[perturbations.Subject]:
    """The generated rigs, and the files of a folder that truth.json knows."""
    found = [perturbations.generated(kind) for kind in skeletons.KINDS if kind not in ("mmd_d",)]
    for path in files.find(folder) if folder else ():
        if path.stem not in truth.known():
            continue
        bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
        with contextlib.redirect_stdout(io.StringIO()):
            found.append(perturbations.of_file(path.stem, armature.rest_skeleton(files.load(path))))
    return found


def main() -> None:
    """Print a row a change."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rigs", default=os.environ.get("WHAM_RIGS_DIR", ""), help="the folder; else WHAM_RIGS_DIR")
    parser.add_argument("--only", default="", help="only changes with this in their names")
    parser.add_argument("--verbose", action="store_true", help="also print what is wrong")
    parser.add_argument("--json", help="also write the figures there")
    asked = parser.parse_args()
    known = subjects(Path(asked.rigs) if asked.rigs else None)
    rows: list[list[Cell]] = []
    total: Counter[str] = Counter()
    for name, changes in perturbations.CHANGES.items():
        if asked.only not in name:
            continue
        counts: Counter[str] = Counter()
        longest = 0.0
        for subject in known:
            for change in changes:
                changed = change(subject)
                begun = time.perf_counter()
                guessed: guess.Guess | None = None
                reason = ""
                try:
                    guessed = guess.guess(subject.name, changed.skeleton)
                except maps.MapError as error:
                    reason = error.code
                longest = max(longest, time.perf_counter() - begun)
                found = guessed.rig_map if guessed else None
                faults, limbs = changed.faults(found), changed.limb_faults(found)
                counts.update(count=1, all=not faults, limbs=not limbs, refused=bool(faults) and guessed is None)
                if guessed is not None and not subject.refused:
                    wrong = {fault.split(" is ")[0] for fault in faults}
                    for joint, bone in guessed.rig_map.mapped_bones().items():
                        if guessed.confidence[bone] >= 0.9:
                            part = joint.split(" ")[0]
                            counts.update(sure=1, sure_right=part not in wrong)
                if asked.verbose and faults:
                    print(f"{name}: {subject.name}: {reason or ', '.join(faults[:6])}")
        total += counts
        rows.append([name, *_shares(counts), longest])
    rows.append(["all changes", *_shares(total), None])
    columns = ["change", "rigs", "all", "limbs", "refused", "sure bones", "right of these", "longest, s"]
    report("Guesses of changed skeletons, shares", columns, rows, asked.json)


def _shares(counts: Counter[str]) -> list[Cell]:
    count = max(counts["count"], 1)
    shares: list[Cell] = [counts[kind] / count for kind in ("all", "limbs", "refused")]
    return [counts["count"], *shares, counts["sure"], counts["sure_right"] / max(counts["sure"], 1)]


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    import bpy

    from tests.bench.report import Cell, report
    from tests.rigs import files, perturbations, skeletons, truth
    from wham_blender.addon.retarget import armature, guess, maps

    main()
