"""A computer with NVIDIA cards that is not there: replaces the calls of pipeline/cuda.py."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from wham_blender.pipeline import cuda

CUDA_13 = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "compute_120"]  # PyTorch 2.14 for CUDA 13.0


@dataclass
class FakeCard:
    """A card; ``fails`` is what CUDA raises when it calculates, ``error`` by how much it is wrong."""

    name: str
    capability: tuple[int, int]
    free: int = 8_000_000_000
    fails: str = ""
    error: float = 0.0


@dataclass
class FakeCuda:
    """The driver of such a computer, which notes what was done with the cards."""

    cards: list[FakeCard]
    selected: str = ""
    tried: list[str] = field(default_factory=list)
    measured: list[str] = field(default_factory=list)

    def card(self, device: str) -> FakeCard:
        return self.cards[int(str(device).removeprefix("cuda:"))]

    def describe(self, device: str) -> tuple[str, tuple[int, int]]:
        return self.card(device).name, self.card(device).capability

    def memory(self, device: str) -> tuple[int, int]:
        self.measured.append(str(device))
        return self.card(device).free, 10_000_000_000

    def select(self, device: str) -> None:
        self.selected = str(device)

    def product_error(self, device: str) -> float:
        self.tried.append(device)
        if self.card(device).fails:
            raise RuntimeError(f"CUDA error: {self.card(device).fails}\nCompile with TORCH_USE_CUDA_DSA")
        return self.card(device).error


def install(monkeypatch: pytest.MonkeyPatch, *cards: FakeCard, version: str = "13.0") -> FakeCuda:
    """Have this computer have these cards, and a PyTorch of a version of CUDA."""
    fake = FakeCuda(list(cards))
    monkeypatch.setattr(cuda, "version", lambda: version)
    monkeypatch.setattr(cuda, "count", lambda: len(fake.cards))
    monkeypatch.setattr(cuda, "architectures", lambda: CUDA_13 if version else [])
    for name in ("describe", "memory", "select", "product_error"):
        monkeypatch.setattr(cuda, name, getattr(fake, name))
    return fake
