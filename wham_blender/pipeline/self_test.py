"""The doctor: is this Python a whole worker, what does it run on, and does the pipeline work? Two seconds of networks.

    python -m wham_blender.pipeline.self_test [-o REPORT.json] [--json]

Starts with the standard library alone, so that it can say what is missing.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import re
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .. import protocol

_HERE = Path(__file__).resolve().parent
_CLIP = _HERE / "self_test.mp4"  # eight frames of tests/clips/balance_cam01.mp4 (BSD-3-Clause, perfanalytics)
_TALL = (0.6, 1.3)  # metres: between them lies the pelvis of the man in the clip, who stands on one leg
_AGREE = 1e-2  # a product of matrices on the card differs from the processor's by less
_GB = 1e9

Tell = Callable[[protocol.Message], None]


class Illness(Exception):
    """The worker cannot work; the text is a sentence for the animator."""


@dataclass
class Report:
    """What was found; written as JSON."""

    python: str = sys.executable
    whole: bool = False
    sentence: str = ""
    details: list[tuple[str, str]] = field(default_factory=list)

    def add(self, name: str, value: object) -> None:
        """Note one finding."""
        self.details.append((name, str(value)))

    def text(self) -> str:
        """The sentence and the details, to be copied; the user's own folder is left out."""
        lines = [self.sentence, "", *(f"{name}: {value}" for name, value in self.details)]
        return "\n".join(lines).replace(str(Path.home()), "~")


def examine(tell: Tell) -> Report:
    """Look at everything in order; the first thing that makes work impossible is the report's sentence."""
    report = Report()
    begun = time.monotonic()
    try:
        tell(protocol.Progress("look at packages", 0, 1, 0.0))
        _packages(report)
        tell(protocol.Progress("load PyTorch", 0, 1, 0.1))
        works_on = _devices(report)
        tell(protocol.Progress("self-test", 0, 1, 0.4))
        seconds = _self_test(report, tell)
        report.whole = True
        report.sentence = (
            f"The worker is whole: Python {platform.python_version()}, PyTorch {importlib.metadata.version('torch')} "
            f"on {works_on}; the self-test took {seconds:.1f} s."
        )
    except Illness as illness:
        report.sentence = str(illness)
    report.add("Examined in", f"{time.monotonic() - begun:.1f} s")
    return report


def _packages(report: Report) -> None:
    report.add("Python", f"{platform.python_version()} at {sys.executable}")
    report.add("System", f"{platform.platform()}, {os.cpu_count()} processor cores")
    missing, other = [], []
    for name, wanted in re.findall(
        r"^([\w.-]+)==([\w.]+)", (_HERE / "requirements.in").read_text("utf-8"), re.MULTILINE
    ):
        if name == "pip":  # an environment of the user's own may do without
            continue
        try:
            there = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
            continue
        if there.split("+")[0] != wanted:
            other.append(name)
        report.add(name, there if there.split("+")[0] == wanted else f"{there} (tried with {wanted})")
    if missing:
        raise Illness(
            f"The worker's Python lacks {', '.join(missing)}. Click Repair Worker, or install them where "
            f"{sys.executable} is from."
        )
    if other:
        report.add("Other versions than tried", ", ".join(other))


def _devices(report: Report) -> str:
    """What the networks run on, in words."""
    try:
        import torch
    except (ImportError, OSError) as error:  # a shared library of it is missing or does not fit
        traceback.print_exc()
        raise Illness(f"PyTorch does not start ({error}). Click Repair Worker.") from error
    report.add("PyTorch's build", f"CUDA {torch.version.cuda}" if torch.version.cuda else "processor or Metal")
    names = []
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(number)
            name = f"{torch.cuda.get_device_name(number)} ({free / _GB:.1f} of {total / _GB:.1f} GB free)"
            report.add(f"Card {number}", f"{name}, compute capability {torch.cuda.get_device_capability(number)}")
            _calculate(f"cuda:{number}", name)
            names.append(name)
    if driver := _driver():
        report.add("NVIDIA's driver", driver)
        if not names:
            without = (
                "is without CUDA" if not torch.version.cuda else f"needs a newer one for CUDA {torch.version.cuda}"
            )
            report.add("Note", f"An NVIDIA card is there, with driver {driver}, but this PyTorch {without}.")
            return f"the processor, although there is an NVIDIA card: this PyTorch {without} (driver {driver})"
    if torch.backends.mps.is_available():
        report.add("Metal", "available")
    return ", ".join(names) or f"the processor ({os.cpu_count()} cores)"


def _calculate(device: str, name: str) -> None:
    """Raise Illness where the card does not calculate what the processor does."""
    import torch

    values = torch.linspace(-1, 1, 256 * 256).reshape(256, 256)
    try:
        found = (values.to(device) @ values.to(device)).cpu()
    except RuntimeError as error:
        traceback.print_exc()
        raise Illness(
            f"This PyTorch does not work on {name} ({str(error).splitlines()[0]}). Get NVIDIA's newest driver, or "
            "install the worker again with PyTorch set to Processor."
        ) from error
    if not torch.allclose(found, values @ values, atol=_AGREE * 256):
        raise Illness(f"{name} calculates wrongly. Get NVIDIA's newest driver and restart the computer.")


def _driver() -> str:
    """The version of NVIDIA's driver; empty where there is none."""
    try:
        import pynvml

        pynvml.nvmlInit()
        return str(pynvml.nvmlSystemGetDriverVersion())
    except Exception:  # no library, no driver, no card: each version of NVML has its own error for it
        return ""


def _self_test(report: Report, tell: Tell) -> float:
    """Take the clip that ships inside through all stages; the seconds that took."""
    try:
        import numpy as np

        from .. import motion
        from ..motion import MotionFileError
        from ..weights import WeightsError
        from .errors import PipelineError
        from .stages.job import Job
        from .stages.run import run
    except (ImportError, OSError) as error:
        traceback.print_exc()
        raise Illness(f"A package of the worker does not start ({error}). Click Repair Worker.") from error
    begun = time.monotonic()

    def scaled(message: protocol.Message) -> None:
        if isinstance(message, protocol.Progress):
            tell(protocol.Progress("self-test", message.done, message.total, 0.4 + 0.6 * message.fraction))

    with tempfile.TemporaryDirectory() as folder:
        try:
            job = Job(_CLIP, Path(folder, "motion.npz"), resume=Path(folder), quality="draft")
            (found,) = motion.load(run(job, scaled))
        except (PipelineError, WeightsError, MotionFileError) as error:
            raise Illness(f"The self-test failed: {error}") from error
        except Exception as error:  # whatever a damaged library does
            traceback.print_exc()
            raise Illness(
                f"The self-test failed ({type(error).__name__}: {error}). Click Repair Worker; the log says more."
            ) from error
    seconds = time.monotonic() - begun
    heights = found.trans[:, 2]
    if not np.isfinite(found.poses).all() or not ((heights > _TALL[0]) & (heights < _TALL[1])).all():
        raise Illness(
            f"The self-test's motion is wrong: the pelvis is {heights.min():.2f} to {heights.max():.2f} m high. Click "
            "Repair Worker."
        )
    report.add(
        "Self-test", f"{len(found.frame)} frames, mean confidence {found.confidence.mean():.2f}, {seconds:.1f} s"
    )
    report.add("Stages", ", ".join(f"{name} {took:.2f} s" for name, took in found.meta["timings"].items()))
    return seconds


def main(arguments: list[str] | None = None) -> int:
    """Examine and say what was found; 0 where the worker is whole."""
    parser = argparse.ArgumentParser(prog="python -m wham_blender.pipeline.self_test", description=__doc__)
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write the findings as JSON")
    parser.add_argument("--json", action="store_true", help="say everything as lines of JSON")
    options = parser.parse_args(arguments)

    def tell(message: protocol.Message) -> None:
        if options.json:
            print(protocol.encode(message), flush=True)

    report = examine(tell)
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        aside = options.output.with_name(f"{options.output.name}.part")
        aside.write_text(json.dumps({**asdict(report), "text": report.text()}, indent=1), "utf-8")
        aside.replace(options.output)
    if not options.json:
        print(report.text())
    elif report.whole:
        tell(protocol.Done(str(options.output or "")))
    else:
        tell(protocol.Failed(report.sentence))
    return 0 if report.whole else 1


if __name__ == "__main__":
    sys.exit(main())
