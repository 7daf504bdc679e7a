"""The devices that the networks run on: which of them work, and which one a job takes."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import reason
from . import cuda
from .errors import PipelineError

_GB = 1e9
_TOLERANCE = 2.56  # of the elements of `cuda.product_error`, which are up to 85; set by hand

Warn = Callable[[str, str], None]  # with a sentence and its code


@dataclass(frozen=True)
class Card:
    """An NVIDIA card that PyTorch finds."""

    device: str  # cuda:0
    name: str
    capability: tuple[int, int]
    fault: str = ""  # why this PyTorch has no kernels for it; empty if it has

    def __str__(self) -> str:
        return f"{self.device} {self.name}"


def cards() -> list[Card]:
    """The cards that PyTorch finds, in its order, whether it supports them or not."""
    found = []
    for number in range(cuda.count()):
        device = f"cuda:{number}"
        try:
            name, capability = cuda.describe(device)
        except (RuntimeError, AssertionError) as error:  # one card that fell off its bus must not hide the others
            found.append(Card(device, "NVIDIA card", (0, 0), reason(error)))
            continue
        found.append(Card(device, name, capability, _unsupported(capability, cuda.architectures())))
    return found


def _unsupported(capability: tuple[int, int], architectures: list[str]) -> str:
    """Why no kernel runs on a card (CUDA C++ Programming Guide, 'Compute Capabilities'); empty if one does.

    ``sm_86`` runs on 8.6 and later of 8; ``sm_90a`` on 9.0 alone; ``compute_80``, which the driver compiles, on all
    from 8.0 on.
    """
    made = [
        (kind, (int(digits) // 10, int(digits) % 10), suffix)
        for kind, digits, suffix in re.findall(r"^(sm|compute)_(\d{2,3})([af]?)$", "\n".join(architectures), re.M)
    ]
    for kind, lowest, suffix in made:
        if suffix == "a":
            runs = capability == lowest
        else:
            runs = capability >= lowest and (kind == "compute" or capability[0] == lowest[0])
        if runs:
            return ""
    if not made:  # another vendor's build
        return ""
    versions = ", ".join(f"{major}.{minor}" for major, minor in sorted({lowest for _, lowest, _ in made}))
    return f"it has compute capability {capability[0]}.{capability[1]}, and PyTorch was built for {versions}"


def fault_of(card: Card) -> str:
    """Why a card cannot be used; empty if it can. Takes up to a second, and some of the card's memory."""
    if card.fault:
        return card.fault
    try:
        error = cuda.product_error(card.device)
    except RuntimeError as problem:
        return reason(problem)
    return "" if error <= _TOLERANCE else "it calculates wrongly"  # so for nan


def free_memory(card: Card) -> str:
    """The free and the whole memory of a card, as text; empty if it does not say."""
    try:
        free, total = cuda.memory(card.device)
    except RuntimeError:
        return ""
    return f"{free / _GB:.1f} of {total / _GB:.1f} GB free"


def choose(wish: str, warn: Warn) -> str:
    """The device, cpu or cuda:N, for auto, cpu, cuda, cuda:N, or cuda:N NAME as the add-on keeps it.

    auto and cuda take the best supported card that works: best by compute capability, then by free memory. auto takes
    the processor if there is none, and warns of a card that fails although it should work. Raises PipelineError if the
    card that was chosen, or any for cuda, cannot be used.
    """
    kind = wish.partition(" ")[0]
    if kind == "cpu":
        return "cpu"
    found = cards()
    if kind.startswith("cuda:"):
        card = _chosen(wish, found)
        if fault := fault_of(card):
            raise _unusable(card, fault)
        return _select(card)
    faults = {card: card.fault for card in found if card.fault}
    for card in _ranked(found):
        faults[card] = fault_of(card)
        if not faults[card]:
            return _select(card)
        if kind == "auto":
            problem = _unusable(card, faults[card])
            warn(str(problem), problem.code)
    if kind == "auto":
        return "cpu"
    if not cuda.version():
        raise PipelineError(
            "This worker's PyTorch was built without CUDA. Set Device to CPU or Auto.", code="cuda-not-usable"
        )
    why = "; ".join(f"{card}: {fault}" for card, fault in faults.items()) or "none was found"
    raise PipelineError(
        f"No CUDA card can be used on this computer ({why}). Set Device to CPU or Auto.", code="cuda-not-usable"
    )


def _ranked(found: list[Card]) -> list[Card]:
    """The supported cards, the best first."""
    supported = [card for card in found if not card.fault]
    capabilities = [card.capability for card in supported]

    def rank(card: Card) -> tuple[tuple[int, int], int]:
        if capabilities.count(card.capability) == 1:  # its memory does not matter, and asking takes some of it
            return card.capability, 0
        try:
            return card.capability, cuda.memory(card.device)[0]
        except RuntimeError:
            return card.capability, 0

    return sorted(supported, key=rank, reverse=True)


def _chosen(wish: str, found: list[Card]) -> Card:
    """The card ``cuda:N``, or ``cuda:N NAME``: of that name if another one has its number now."""
    device, _, name = wish.partition(" ")
    of_name = [card for card in found if not name or card.name == name]
    card = next((card for card in of_name if card.device == device), of_name[0] if name and of_name else None)
    if card is None:
        there = ", ".join(map(str, found)) or "none"
        raise PipelineError(
            f"The card {wish} is not found on this computer. Cards that PyTorch finds: {there}. Choose another device; "
            "Check Worker in the add-on's preferences looks for cards again.",
            code="card-not-found",
        )
    return card


def _unusable(card: Card, fault: str) -> PipelineError:
    return PipelineError(
        f"This PyTorch does not work on {card} ({fault}). Get NVIDIA's newest driver, or choose another device.",
        code="card-unusable",
    )


def _select(card: Card) -> str:
    cuda.select(card.device)
    return card.device


def device_name(device: str) -> str:
    """The name of a card, or cpu."""
    return device if device == "cpu" else cuda.describe(device)[0]
