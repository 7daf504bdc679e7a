"""Which networks serve a quality setting, with any of the published files there or missing, and what is said of it."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest
import torch

from wham_blender.pipeline.errors import PipelineError
from wham_blender.pipeline.stages import backends
from wham_blender.weights import WeightFile
from wham_blender.weights.library import NEEDED, Library

CPU, CARD = torch.device("cpu"), torch.device("cuda")
DRAFT = {"detector", "landmarks", "lifter", "wham", "body"}


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The roles whose files the library has; to be filled."""
    roles: set[str] = set()
    monkeypatch.setattr(Library, "path", lambda self, role: Path(f"{role}.pt") if role in roles else None)
    monkeypatch.setattr(
        Library, "file", lambda self, role: WeightFile(role, Path(f"{role}.pt"), f"hash of {role}", "", "", "", {})
    )
    return roles


@pytest.mark.parametrize("device", [CPU, CARD])
def test_nothing_there(device: torch.device, there: set[str]) -> None:
    chosen = backends.choose("auto", device)
    assert chosen.quality == "draft"
    assert set(chosen.files) == DRAFT
    assert chosen.reason.endswith("For full quality are missing: YOLO, ViTPose-H, HMR2.0 and WHAM.")
    assert ("wants an NVIDIA card" in chosen.reason) == (device == CPU)
    assert not chosen.keeps_crops


def test_everything_there(there: set[str]) -> None:
    there.update(NEEDED)
    full = backends.choose("auto", CARD)
    assert full.quality == "full"
    assert full.published
    assert set(full.files) == set(NEEDED)
    assert full.reason == "Full quality, as its files are here and a CUDA card."
    on_cpu = backends.choose("auto", CPU)
    assert on_cpu.quality == "draft"
    assert "Its files are here: choose full to have it nonetheless" in on_cpu.reason
    asked = backends.choose("full", CPU)
    assert asked.quality == "full"
    assert "Without a CUDA card it takes many seconds for every frame." in asked.reason
    assert backends.choose("draft", CARD).quality == "draft"
    there.add("smpl")
    assert set(backends.choose("full", CARD).files) == {*NEEDED, "smpl"}


def test_full_where_a_file_is_missing(there: set[str]) -> None:
    there.update({"yolo", "hmr2", "wham"})
    with pytest.raises(PipelineError, match=r"needs files that are missing: ViTPose-H\. Get them in the add-on's"):
        backends.choose("full", CARD)


@pytest.mark.parametrize("roles", [set(some) for count in range(1, 4) for some in combinations(NEEDED, count)], ids=str)
def test_a_mixture_is_whole(roles: set[str], there: set[str]) -> None:
    """Whatever is there, each step has a network, and what follows it is fed with what it learned on."""
    there.update(roles)
    mixed = backends.choose("auto", CARD)
    assert mixed == backends.choose("mixed", CPU)
    has = set(mixed.files)
    assert "For full quality are missing: " in mixed.reason
    assert ("yolo" in has) != ("detector" in has)
    assert "vitpose" in has or "landmarks" in has  # who sees keypoints
    assert ("hmr2" in has) != ("lifter" in has)  # who makes features and first poses
    assert "lifter" not in has or "landmarks" in has  # the lifter wants more points than ViTPose sees, and depths
    assert ("wham" in roles) == mixed.published == (mixed.files["wham"].path.suffix == ".pt")
    assert mixed.published or "hmr2" not in has  # our WHAM learned on the lifter's features
    assert mixed.published != ("body" in has)  # the body in WHAM's file goes with its weights
    unused = {"hmr2"} if "hmr2" in roles and "wham" not in roles else set()
    assert mixed.quality == ("draft" if roles == unused else "mixed")
    assert roles - unused <= has
