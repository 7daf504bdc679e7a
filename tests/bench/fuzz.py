"""Fuzzes every reader of something that comes from outside, with fresh examples.

``build.py bench fuzz [--minutes N] [--seed S] [--only NAME]``. Each example of tests/fuzz must be accepted or refused
with a sentence, in at most 5 s and 1 GB, without a crash, and with nothing left behind. What breaks that is made
smaller, kept in out/fuzz and listed; then the exit status is 1. The same seed makes the same examples.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed

from tests.bench.report import report
from tests.fuzz.harness import Campaign, Finding
from tests.fuzz.targets import TARGETS

_ROUND = 200  # examples of one seed


Row = list[str | int | float]


def campaign(number: int, seconds: float, seed: int) -> tuple[int, Row, list[Finding]]:
    """Fuzz target ``number`` for that long: its number, its row of the table, and its findings."""
    target = TARGETS[number]
    tried = Campaign(target)
    rounds = random.Random(f"{seed} {target.name}")  # noqa: S311 - not for secrets
    with target.worker() as worker:
        tried.known(worker)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            tried.generated(worker, _ROUND, rounds.getrandbits(32), end)
            worker.close()  # a library that leaks a little must not add it up
    row: Row = [
        target.name,
        tried.examples,
        tried.accepted,
        tried.refused,
        tried.slowest,
        tried.megabytes,
        len(tried.findings),
    ]
    return number, row, list(tried.findings.values())


def run(numbers: Iterable[int], minutes: float, seed: int) -> list[tuple[int, Row, list[Finding]]]:
    """Fuzz the targets of these numbers, as many at once as there are processors."""
    numbers = list(numbers)
    workers = os.cpu_count() or 1
    seconds = 60 * minutes * min(workers, len(numbers)) / len(numbers)
    done = []
    with ProcessPoolExecutor(workers) as pool:
        for job in as_completed(pool.submit(campaign, number, seconds, seed) for number in numbers):
            done.append(job.result())
            for finding in done[-1][2]:
                print(finding, flush=True)
    return sorted(done, key=lambda each: each[0])


def main() -> int:
    """Print the findings, the table and one line; 1 if there are findings."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    parser.add_argument("--only", default="", help="only targets whose name contains this")
    parser.add_argument("--json", help="also write the figures there")
    args = parser.parse_args()
    numbers = [number for number, target in enumerate(TARGETS) if args.only in target.name]
    done = run(numbers, args.minutes, args.seed)
    columns = ["target", "examples", "accepted", "refused", "slowest s", "most MB", "findings"]
    report(f"Fuzzing with seed {args.seed}", columns, [row for _, row, _ in done], args.json)
    examples, findings = sum(int(row[1]) for _, row, _ in done), sum(len(found) for *_, found in done)
    print(f"{examples} examples for {len(done)} targets in {args.minutes:g} minutes: {findings or 'no'} findings.")
    return int(findings > 0)


if __name__ == "__main__":
    sys.exit(main())
