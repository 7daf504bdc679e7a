"""Chooses the build of PyTorch for this computer: by its system, its NVIDIA card and that card's driver. No bpy.

PyPI has the build with CUDA 13.0 for Linux, the CPU build for Windows, and the one with Metal for macOS.
The others come from PyTorch's own index. What each build needs is in PyTorch's release notes (RELEASE.md, 2.14):
CUDA 13.0 runs on cards from Turing (7.5) to Blackwell (12.0), CUDA 12.6 on those from Maxwell (5.0) to Hopper (9.0).
NVIDIA's drivers run every CUDA of their own major version: 13 from 580 on, 12 from 525 (Linux) and 528 (Windows) on.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ...errors import CodedError

INDEX = "https://download.pytorch.org/whl/"
WISHES = ("AUTO", "CUDA", "CPU")
_CUDA_13_DRIVER = 580
_CUDA_12_DRIVER = {"linux": 525, "win32": 528}
_TURING, _HOPPER = (7, 5), (9, 0)
_SMI_SECONDS = 20.0
_QUERY = "--query-gpu=name,driver_version,compute_cap"


class BuildError(CodedError):
    """There is no PyTorch build for this computer, or none of the kind that was asked for."""


@dataclass(frozen=True)
class Card:
    """An NVIDIA card as its driver reports it."""

    name: str
    driver: int  # major version
    capability: tuple[int, int]


@dataclass(frozen=True)
class Build:
    """One build of PyTorch."""

    name: str  # pypi, cpu, cu126 or cu130
    reason: str  # why this one, a sentence

    @property
    def index(self) -> str:
        """The address of PyTorch's index for it; empty where PyPI has it."""
        return "" if self.name == "pypi" else INDEX + self.name


def here() -> tuple[str, str]:
    """This computer's system, as sys.platform, and machine: x86_64, arm64."""
    machine = {"amd64": "x86_64", "aarch64": "arm64"}.get(platform.machine().lower(), platform.machine().lower())
    return sys.platform, machine


def cards() -> list[Card]:
    """The NVIDIA cards, as nvidia-smi lists them; none where there is no driver. Takes up to a second."""
    program = shutil.which("nvidia-smi") or shutil.which(
        "nvidia-smi", path=str(Path("C:/Program Files/NVIDIA Corporation/NVSMI"))
    )
    if not program:
        return []
    try:
        output = subprocess.run(
            [program, _QUERY, "--format=csv,noheader"],
            capture_output=True, timeout=_SMI_SECONDS, check=True, encoding="utf-8", errors="replace",
        ).stdout  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return []
    return read_cards(output)


def cards_if_known() -> list[Card] | None:
    """The NVIDIA cards; None until a search in the background, which the first call begins, has ended. For drawing."""
    search = _search()
    return search.result() if search.done() else None


@cache
def _search() -> Future[list[Card]]:
    with_one_thread = ThreadPoolExecutor(1, "graphics cards")
    search = with_one_thread.submit(cards)
    with_one_thread.shutdown(wait=False)
    return search


def read_cards(output: str) -> list[Card]:
    """The cards in nvidia-smi's lines ``name, driver, capability``; other lines are skipped."""
    cards_read = []
    for line in output.splitlines():
        try:
            name, driver, capability = (part.strip() for part in line.rsplit(",", 2))
            major, minor = capability.split(".")
            cards_read.append(Card(name, int(driver.split(".")[0]), (int(major), int(minor))))
        except ValueError:
            continue
    return cards_read


def choose(wish: str, system: str, machine: str, nvidia_cards: list[Card]) -> Build:
    """The build for one of WISHES on a system and machine, as here() names them, with these cards.

    Raises BuildError if PyTorch has none, or none with CUDA although it was asked for.
    """
    if (system, machine) not in {
        ("linux", "x86_64"), ("linux", "arm64"), ("win32", "x86_64"), ("darwin", "arm64"),
    }:  # fmt: skip
        raise BuildError(
            "There are no worker packages for this computer. They exist for Linux, for Windows on 64-bit Intel or AMD, "
            "and for macOS 14 or later on Apple silicon.",
            code="no-packages-for-computer",
        )
    if system == "darwin":
        if wish == "CUDA":
            raise BuildError(
                "There is no CUDA on a Mac. Choose Automatic: PyTorch then uses Apple's Metal.",
                code="cuda-build-unavailable",
            )
        return Build("pypi", "PyTorch with Apple's Metal.")
    best_first = sorted(nvidia_cards, key=lambda card: card.capability, reverse=True)
    builds = [_cuda(card, system) for card in best_first] or [("", "no NVIDIA card was found")]
    # One card that no build supports must not keep another one from being used.
    cuda, reason = next((build for build in builds if build[0]), builds[0])
    if wish == "CUDA" and not cuda:
        raise BuildError(
            f"PyTorch with CUDA cannot be used: {reason}. Choose Automatic or CPU.", code="cuda-build-unavailable"
        )
    if wish != "CPU" and cuda:
        return Build("pypi" if (system, cuda) == ("linux", "cu130") else cuda, f"PyTorch with CUDA: {reason}.")
    return Build(
        "pypi" if system == "win32" else "cpu",
        f"PyTorch for the processor: {reason if wish == 'AUTO' else 'as asked for'}.",
    )


def _cuda(card: Card, system: str) -> tuple[str, str]:
    """The CUDA build for a card, empty where there is none, and why."""
    about = f"{card.name} with driver {card.driver}"
    if card.driver >= _CUDA_13_DRIVER and card.capability >= _TURING:
        return "cu130", about
    if card.capability > _HOPPER:
        return "", f"{card.name} needs NVIDIA's driver {_CUDA_13_DRIVER} or later, and {card.driver} is installed"
    if card.capability < (5, 0):
        return "", f"{card.name} is older than PyTorch supports"
    if card.driver >= _CUDA_12_DRIVER[system]:
        return "cu126", about
    return "", f"{card.name} needs NVIDIA's driver {_CUDA_12_DRIVER[system]} or later, and {card.driver} is installed"
