"""Disturbs runs of the worker: kills them, takes their disk, exchanges their folder, or lets two work in one.

``build.py bench killed [--kills N] [--seed S]``. After a disturbance, the run ends with a sentence, or with the same
motion, bit for bit, as a run that nobody disturbed; and the next run in the same job folder gives that motion. If not,
the exit status is 1.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.bench.report import report
from wham_blender import protocol

ROOT = Path(__file__).resolve().parents[2]
CLIP = ROOT / "tests" / "clips" / "balance_cam01.mp4"
_FRAMES = 20
_LONGEST = 600.0  # seconds after which a run hangs
_TMPFS = ["mount", "-t", "tmpfs", "-o"]

Arrays = dict[str, np.ndarray]


class Run:
    """A worker that imports the first frames of a clip."""

    def __init__(self, folder: Path, job: Path, name: str = "motion") -> None:
        """``folder``: of the result, caches and what the worker says; ``job``: the job folder."""
        self.output, self._said, self._errors = (folder / f"{name}{suffix}" for suffix in (".npz", ".out", ".err"))
        self.output.unlink(missing_ok=True)
        command: list[str | Path] = [
            sys.executable, "-I", ROOT / "wham_blender/launch.py", "--messages", "wham_blender.pipeline", CLIP,
            "-o", self.output, "--resume", job, "--end", str(_FRAMES), "--quality", "fast", "--json",
        ]  # fmt: skip
        with self._said.open("wb") as said, self._errors.open("wb") as errors:
            self.process = subprocess.Popen(
                command, stdout=said, stderr=errors, env={**os.environ, "XDG_CACHE_HOME": str(folder)}
            )

    def messages(self) -> list[protocol.Message]:
        """What it has said."""
        return [protocol.decode(line) for line in self._said.read_text("utf-8").splitlines()]

    def stage(self) -> str:
        """The stage that it is in; empty before the first."""
        stages = [message.stage for message in self.messages() if isinstance(message, protocol.Progress)]
        return stages[-1] if stages else ""

    def wait_for_work(self) -> None:
        """Wait until the first stage begins, or the process ends."""
        while self.process.poll() is None and not self.stage():
            time.sleep(0.005)

    def end(self) -> int:
        """Wait for the end; the exit status."""
        return self.process.wait(_LONGEST)

    def kill(self) -> None:
        """End the process at once, as a crash or the system would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def result(self, expected: Arrays) -> str:
        """What came of it: "identical", "sentence CODE", or "WRONG" and what is wrong."""
        code, errors = self.end(), self._errors.read_text("utf-8", "replace")
        if "Traceback" in errors:
            return f"WRONG: a traceback that ends in {errors.strip().splitlines()[-1]}"
        if code == 0:
            return "identical" if same(motion(self.output), expected) else "WRONG: another motion"
        last = next(iter(self.messages()[-1:]), None)
        if not isinstance(last, protocol.Failed) or code != 1:
            return f"WRONG: exit status {code}, last message {last}"
        if last.code in ("", "unexpected") or not last.text.endswith("."):
            return f"WRONG: {last}"
        return f"sentence {last.code}" if not self.output.exists() else "WRONG: a sentence and a motion"


def motion(path: Path) -> Arrays:
    """The arrays of a motion file, without the times that its stages took."""
    with np.load(path, allow_pickle=False) as archive:
        arrays = dict(archive)
    meta = json.loads(str(arrays["meta"]))
    meta.pop("timings", None)
    return arrays | {"meta": np.array(json.dumps(meta, sort_keys=True))}


def same(one: Arrays, other: Arrays) -> bool:
    """Whether all arrays are the same, bit for bit."""
    return one.keys() == other.keys() and all(
        one[name].dtype == other[name].dtype
        and one[name].shape == other[name].shape
        and one[name].tobytes() == other[name].tobytes()
        for name in one
    )


@dataclass(frozen=True)
class Reference:
    """A run that nobody disturbed."""

    arrays: Arrays
    seconds: float  # from the first stage to the end
    size: int  # bytes of the job folder


def undisturbed(folder: Path) -> Reference:
    """Make the reference."""
    run = Run(folder, folder / "job")
    run.wait_for_work()
    begun = time.monotonic()
    if run.end():
        raise RuntimeError(f"the undisturbed run failed: {run.messages()[-1:]}")
    size = sum(path.stat().st_size for path in (folder / "job").iterdir())
    return Reference(motion(run.output), time.monotonic() - begun, size)


def _again(folder: Path, job: Path, reference: Reference, first: str) -> str:
    """The result of the next run in the same job folder, after a run with the result ``first``."""
    if first.startswith("WRONG"):
        return first
    result = Run(folder, job, "again").result(reference.arrays)
    return first if result == "identical" else f"WRONG: {first}, and then {result}"


def killed(folder: Path, reference: Reference, share: float) -> str:
    """Kill a run after a share (0..1) of its time."""
    run = Run(folder, folder / "job")
    run.wait_for_work()
    with contextlib.suppress(subprocess.TimeoutExpired):
        run.process.wait(share * reference.seconds)
    run.kill()
    return _again(folder, folder / "job", reference, "identical")


def exchanged(folder: Path, reference: Reference, share: float, keep: bool) -> str:
    """Delete the job folder after a share of the time, or put another into its place."""
    job = folder / "job"
    run = Run(folder, job)
    run.wait_for_work()
    with contextlib.suppress(subprocess.TimeoutExpired):
        run.process.wait(share * reference.seconds)
    job.replace(folder / "aside")
    if keep:
        job.mkdir()
    else:
        shutil.rmtree(folder / "aside")
    return _again(folder, job, reference, run.result(reference.arrays))


def two_at_once(folder: Path, reference: Reference, share: float) -> str:
    """Start a second worker in the same job folder after a share of the time."""
    job = folder / "job"
    first = Run(folder, job)
    first.wait_for_work()
    with contextlib.suppress(subprocess.TimeoutExpired):
        first.process.wait(share * reference.seconds)
    second = Run(folder, job, "second")
    results = [run.result(reference.arrays) for run in (first, second)]
    wrong = [result for result in results if result.startswith("WRONG")]
    return _again(folder, job, reference, wrong[0] if wrong else results[0])


@contextlib.contextmanager
def _disk(folder: Path, options: str) -> Iterator[Callable[[str], bool]]:
    """A disk at ``folder``, and a function that mounts it again with other options and says whether that worked.

    Raises OSError if this system lets nobody mount one.
    """

    def mount(changed: str) -> bool:
        return subprocess.run([*_TMPFS, f"remount,{changed}", "none", folder], capture_output=True).returncode == 0

    folder.mkdir()
    if not shutil.which("mount") or subprocess.run([*_TMPFS, options, "none", folder], capture_output=True).returncode:
        raise OSError("no disk can be mounted here: that needs root")
    try:
        yield mount
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def full_disk(folder: Path, reference: Reference, share: float) -> str:
    """Let a run begin on a disk with room for a share of what it writes."""
    job = folder / "job"
    with _disk(job, f"size={4096 + int(share * reference.size)}") as mount:
        first = Run(folder, job).result(reference.arrays)
        assert mount("size=1g")
        return _again(folder, job, reference, first)


def read_only(folder: Path, reference: Reference, share: float) -> str:
    """Make the disk read-only after a share of the time, as the system does with a damaged one."""
    job = folder / "job"
    with _disk(job, "size=1g") as mount:
        run = Run(folder, job)
        run.wait_for_work()
        with contextlib.suppress(subprocess.TimeoutExpired):
            run.process.wait(share * reference.seconds)
        while not mount("ro"):  # not while a file is written
            time.sleep(0.001)
        first = run.result(reference.arrays)
        assert mount("rw")
        return _again(folder, job, reference, first)


Disturbance = Callable[[Path, Reference, float], str]
DISTURBANCES: dict[str, Disturbance] = {
    "killed": killed,
    "folder deleted": functools.partial(exchanged, keep=False),
    "folder exchanged": functools.partial(exchanged, keep=True),
    "two workers": two_at_once,
    "disk full": full_disk,
    "disk read-only": read_only,
}


def shares(count: int, seed: int) -> list[float]:
    """Moments as shares of a run, random in ``count`` equal parts of it."""
    rng = random.Random(seed)  # noqa: S311 - not for secrets
    return [(number + rng.random()) / count for number in range(count)]


def main() -> int:
    """Print the table and one line; 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--others", type=int, default=5, help="tries of each other disturbance")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    parser.add_argument("--json", help="also write the figures there")
    args = parser.parse_args()
    rows: list[list[str | int | float | None]] = []
    wrong = 0
    with tempfile.TemporaryDirectory() as base:
        reference = undisturbed(Path(base))
        print(f"An undisturbed run of {_FRAMES} frames takes {reference.seconds:.1f} s.", flush=True)
        for name, disturb in DISTURBANCES.items():
            results: Counter[str] = Counter()
            for share in shares(args.kills if name == "killed" else args.others, args.seed):
                with tempfile.TemporaryDirectory(dir=base) as folder:
                    try:
                        result = disturb(Path(folder), reference, share)
                    except OSError as error:
                        print(f"{name}: not tried, {error}.", flush=True)
                        break
                if result.startswith("WRONG"):
                    print(f"{name} at {share:.0%}: {result}", flush=True)
                results[result] += 1
            failed = sum(count for result, count in results.items() if result.startswith("WRONG"))
            sentences = [
                f"{count} {result.removeprefix('sentence ')}"
                for result, count in results.items()
                if result.startswith("s")
            ]
            rows.append([name, results.total(), results["identical"], ", ".join(sentences), failed])
            wrong += failed
    report(
        f"Disturbed runs, seed {args.seed}", ["disturbance", "runs", "identical", "sentences", "wrong"], rows, args.json
    )
    print(f"{sum(int(row[1] or 0) for row in rows)} disturbed runs, {wrong or 'none'} of them wrong.")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
