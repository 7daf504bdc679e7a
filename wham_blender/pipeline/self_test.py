"""The worker's self-test: checks packages and devices, then runs the pipeline on a clip of eight frames.

    python -I PATH/wham_blender/launch.py wham_blender.pipeline.self_test [-o REPORT.json] [--json]

Imports only the standard library at first, so that it can report missing packages.
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
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .. import protocol
from ..errors import CodedError, printable
from ..files import replace_text
from .errors import folder_not_writable

_HERE = Path(__file__).resolve().parent
_CLIP = _HERE / "self_test.mp4"  # eight frames of tests/clips/balance_cam01.mp4 (BSD-3-Clause, perfanalytics)
_PELVIS_HEIGHT = (0.6, 1.3)  # metres: the range for the person in the clip, who stands on one leg

Tell = protocol.Tell


class SelfTestError(CodedError):
    """The worker does not work; ``str()`` is a sentence for the animator."""


@dataclass(frozen=True)
class CardReport:
    """A graphics card, for the add-on's option Device."""

    device: str  # cuda:0
    name: str
    fault: str  # why it cannot be used; empty if it can


@dataclass
class Report:
    """The result of the self-test; written as JSON."""

    python: str = sys.executable
    whole: bool = False  # whether the worker works
    sentence: str = ""
    code: str = ""  # of the error
    details: list[tuple[str, str]] = field(default_factory=list)
    cards: list[CardReport] = field(default_factory=list)

    def add(self, name: str, value: object) -> None:
        """Add one detail."""
        self.details.append((name, str(value)))

    def to_json(self) -> str:
        """What is written to the report's file."""
        return json.dumps({**asdict(self), "text": self.text()}, indent=1, ensure_ascii=False)

    def text(self) -> str:
        """The sentence and the details, to be copied; ``~`` replaces the user's home folder."""
        lines = [self.sentence, "", *(f"{name}: {value}" for name, value in self.details)]
        return "\n".join(lines).replace(str(Path.home()), "~")


def examine(tell: Tell) -> Report:
    """Run all checks in order; the first error ends them and becomes the report's sentence."""
    report = Report()
    begin = time.monotonic()
    try:
        tell(protocol.Progress("look at packages", 0, 1, 0.0))
        _check_packages(report)
        tell(protocol.Progress("load PyTorch", 0, 1, 0.1))
        used = _check_devices(report)
        tell(protocol.Progress("self-test", 0, 1, 0.4))
        seconds = _run_pipeline(report, tell)
        report.whole = True
        report.sentence = (
            f"The worker is whole: Python {platform.python_version()}, PyTorch {importlib.metadata.version('torch')} "
            f"on {used}; the self-test took {seconds:.1f} s."
        )
        if unused := ", ".join(f"{card.name} ({card.fault})" for card in report.cards if card.fault):
            report.sentence += f" Not used: {unused}."
    except SelfTestError as error:
        report.sentence, report.code = str(error), error.code
    except Exception as error:  # a damaged library may raise anything
        traceback.print_exc()
        failed = SelfTestError(
            f"The self-test failed ({type(error).__name__}: {error}). Click Repair Worker; the log says more.",
            code="self-test-failed",
        )
        report.sentence, report.code = str(failed), failed.code
    report.add("Examined in", f"{time.monotonic() - begin:.1f} s")
    return report


def _check_packages(report: Report) -> None:
    """Compare the installed packages with the lists; raises SelfTestError if one of requirements.in is missing."""
    report.add("Python", f"{platform.python_version()} at {sys.executable}")
    report.add("System", f"{platform.platform()}, {os.cpu_count()} processor cores")
    missing, other_versions = [], []
    needed, full = (
        re.findall(r"^([\w.-]+)==([\w.]+)", (_HERE / name).read_text("utf-8"), re.MULTILINE)
        for name in ("requirements.in", "requirements-full.in")
    )
    for name, tested in (*needed, *full):
        if name == "pip":  # not needed to run; an environment made by the user may lack it
            continue
        try:
            installed = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            if (name, tested) in full:
                report.add(name, "not installed: only Full quality needs it")
            else:
                missing.append(name)
            continue
        if installed.split("+")[0] != tested:
            other_versions.append(name)
        report.add(name, installed if installed.split("+")[0] == tested else f"{installed} (tried with {tested})")
    if missing:
        raise SelfTestError(
            f"The worker's Python lacks {', '.join(missing)}. Click Repair Worker, or install them where "
            f"{sys.executable} is from.",
            code="worker-incomplete",
        )
    if other_versions:
        report.add("Other versions than tried", ", ".join(other_versions))


def _check_devices(report: Report) -> str:
    """The devices that the networks run on, as text; raises SelfTestError if PyTorch does not start.

    A card that cannot be used is reported, and no failure: the other cards and the processor work without it.
    """
    try:
        import torch

        from . import cuda, devices
    except (ImportError, OSError) as error:  # one of its shared libraries is missing or incompatible
        traceback.print_exc()
        raise SelfTestError(
            f"PyTorch does not start ({error}). Click Repair Worker.", code="worker-incomplete"
        ) from error
    report.add("PyTorch's build", f"CUDA {cuda.version()}" if cuda.version() else "processor or Metal")
    for card in devices.cards():
        fault = devices.fault_of(card)
        capability = f"compute capability {card.capability[0]}.{card.capability[1]}"
        state = f"not used: {fault}" if fault else devices.free_memory(card)
        report.add(card.device, f"{card.name}, {capability}, {state}")
        report.cards.append(CardReport(card.device, card.name, fault))
    names = [card.name for card in report.cards if not card.fault]
    if driver := _driver():
        report.add("NVIDIA's driver", driver)
        if not report.cards:
            reason = (
                f"the NVIDIA driver {driver} is too old for this PyTorch's CUDA {cuda.version()}"
                if cuda.version()
                else f"this PyTorch is without CUDA, though there is an NVIDIA card with driver {driver}"
            )
            report.add("Note", f"The NVIDIA card is not used: {reason}.")
            return f"the processor ({reason})"
    if torch.backends.mps.is_available():
        report.add("Metal", "available")
    return ", ".join(names) or f"the processor ({os.cpu_count()} cores)"


def _driver() -> str:
    """The version of NVIDIA's driver; empty if there is none."""
    try:
        import pynvml

        pynvml.nvmlInit()
        return str(pynvml.nvmlSystemGetDriverVersion())
    except Exception:  # no library, driver or card: NVML's exception classes differ between versions
        return ""


def _run_pipeline(report: Report, tell: Tell) -> float:
    """Run all stages on the bundled clip and check the result; returns the time in seconds."""
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
        raise SelfTestError(
            f"A package of the worker does not start ({error}). Click Repair Worker.", code="worker-incomplete"
        ) from error
    begin = time.monotonic()

    def scaled(message: protocol.Message) -> None:
        if isinstance(message, protocol.Progress):
            tell(protocol.Progress("self-test", message.done, message.total, 0.4 + 0.6 * message.fraction))

    with tempfile.TemporaryDirectory() as folder:
        try:
            job = Job(_CLIP, Path(folder, "motion.npz"), resume=Path(folder), quality="draft")
            (result,) = motion.load(run(job, scaled))
        except (PipelineError, WeightsError, MotionFileError) as error:
            raise SelfTestError(f"The self-test failed: {error}", code=error.code) from error
    seconds = time.monotonic() - begin
    heights = result.trans[:, 2]
    lowest, highest = _PELVIS_HEIGHT
    if not np.isfinite(result.poses).all() or not ((heights > lowest) & (heights < highest)).all():
        raise SelfTestError(
            f"The self-test's motion is wrong: the pelvis is {heights.min():.2f} to {heights.max():.2f} m high. Click "
            "Repair Worker.",
            code="self-test-failed",
        )
    report.add(
        "Self-test", f"{len(result.frame)} frames, mean confidence {result.confidence.mean():.2f}, {seconds:.1f} s"
    )
    report.add("Stages", ", ".join(f"{name} {took:.2f} s" for name, took in result.meta["timings"].items()))
    return seconds


def main(arguments: list[str] | None = None) -> int:
    """Run the self-test and print its result; returns 0 if the worker works, else 1."""
    prog = "python -I PATH/wham_blender/launch.py wham_blender.pipeline.self_test"
    parser = argparse.ArgumentParser(prog=prog, description=__doc__)
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write the report as JSON")
    parser.add_argument("--json", action="store_true", help="print messages as lines of JSON")
    options = parser.parse_args(arguments)

    report = examine(protocol.send if options.json else lambda message: None)
    if options.output:
        try:
            options.output.parent.mkdir(parents=True, exist_ok=True)
            replace_text(options.output, printable(report.to_json()))
        except OSError as error:
            problem = folder_not_writable(options.output.parent, error)
            report.whole, report.sentence, report.code = False, str(problem), problem.code
    if not options.json:
        protocol.write_line(report.text())
    elif report.whole:
        protocol.send(protocol.Done(str(options.output or "")))
    else:
        protocol.send(protocol.Failed(report.sentence, report.code))
    return 0 if report.whole else 1


if __name__ == "__main__":
    sys.exit(main())
