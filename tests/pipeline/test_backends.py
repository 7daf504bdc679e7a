"""The networks of each quality setting with any set of published files, and the sentence that gives the reason."""

from __future__ import annotations

import ast
import re
from itertools import combinations
from pathlib import Path

import pytest

from wham_blender.pipeline.errors import PipelineError
from wham_blender.pipeline.stages import backends
from wham_blender.weights import WeightFile
from wham_blender.weights.library import NEEDED, Library

CPU, CARD = "cpu", "cuda:0"
DRAFT = {"detector", "landmarks", "lifter", "temporal", "wham", "body"}


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The roles whose files the library has; tests add to it."""
    roles: set[str] = set()
    monkeypatch.setattr(Library, "path", lambda self, role: Path(f"{role}.pt") if role in roles else None)
    monkeypatch.setattr(
        Library, "file", lambda self, role: WeightFile(role, Path(f"{role}.pt"), f"hash of {role}", "", "", "", {})
    )
    return roles


@pytest.mark.parametrize("device", [CPU, CARD])
def test_without_published_files(device: str, there: set[str]) -> None:
    chosen = backends.choose("auto", device)
    assert chosen.quality == "draft"
    assert set(chosen.files) == DRAFT
    assert chosen.reason.endswith("Full quality lacks these files: YOLO, ViTPose-H, HMR2.0, WHAM.")
    assert ("needs an NVIDIA card" in chosen.reason) == (device == CPU)
    assert not chosen.keeps_crops


def test_with_all_published_files(there: set[str]) -> None:
    there.update(NEEDED)
    full = backends.choose("auto", CARD)
    assert full.quality == "full"
    assert full.published
    assert set(full.files) == set(NEEDED)
    assert full.reason == "Full quality, as its files and a CUDA card are here."
    on_cpu = backends.choose("auto", CPU)
    assert on_cpu.quality == "draft"
    assert "Its files are here: choose Full to have it nonetheless" in on_cpu.reason
    asked = backends.choose("full", CPU)
    assert asked.quality == "full"
    assert "Without a CUDA card it takes many seconds for every frame." in asked.reason
    assert backends.choose("draft", CARD).quality == "draft"
    there.add("smpl")
    assert set(backends.choose("full", CARD).files) == {*NEEDED, "smpl"}


def test_full_quality_with_a_missing_file(there: set[str]) -> None:
    there.update({"yolo", "hmr2", "wham"})
    with pytest.raises(PipelineError, match=r"needs files that are missing: ViTPose-H\. Get them in the add-on's"):
        backends.choose("full", CARD)


@pytest.mark.parametrize("roles", [set(some) for count in range(1, 4) for some in combinations(NEEDED, count)], ids=str)
def test_a_mixture_has_all_networks(roles: set[str], there: set[str]) -> None:
    """With any set of files each stage has a network, and later ones get the input that they were trained on."""
    there.update(roles)
    mixed = backends.choose("auto", CARD)
    assert mixed == backends.choose("mixed", CPU)
    has = set(mixed.files)
    assert "Full quality lacks these files: " in mixed.reason
    assert ("yolo" in has) != ("detector" in has)
    assert "vitpose" in has or "landmarks" in has  # keypoints
    assert ("hmr2" in has) != ("lifter" in has)  # features and first poses
    assert "lifter" not in has or "landmarks" in has  # the lifter needs feet, hands and depth
    assert ("wham" in roles) == mixed.published == (mixed.files["wham"].path.suffix == ".pt")
    assert mixed.published or "hmr2" not in has  # the open WHAM was trained on the lifter's features
    assert mixed.published != ("body" in has)  # the published weights bring their body
    unused = {"hmr2"} if "hmr2" in roles and "wham" not in roles else set()
    assert mixed.quality == ("draft" if roles == unused else "mixed")
    assert roles - unused <= has


def test_without_the_packages_of_full_quality(there: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "find_spec", lambda name: None)
    assert backends.choose("draft", CARD).quality == "draft"
    there.update({"vitpose", "wham"})
    assert backends.choose("auto", CARD).quality == "mixed"  # the landmark net follows people
    there.update(NEEDED)
    automatic = backends.choose("auto", CARD)
    assert automatic.quality == "draft"
    assert "click Install Packages for Full Quality" in automatic.reason
    for quality in ("mixed", "full"):
        with pytest.raises(PipelineError, match=r"lacks the packages of Full quality.*Or choose Draft") as error:
            backends.choose(quality, CARD)
        assert error.value.code == "full-packages-missing"


def test_draft_quality_imports_no_package_that_only_full_quality_needs() -> None:
    """Modules that need such a package are imported where they are used, in functions."""
    names = {
        "lap",
        "ultralytics",
        "torchvision",
        "PIL",
        "matplotlib",
        "polars",
        "yaml",
        "requests",
        "packaging",
    }
    package = Path(backends.__file__).parents[2]
    late = {"yolo", "detection_tracker"}
    for folder in ("pipeline", "models", "body"):
        for path in (package / folder).rglob("*.py"):
            for statement in ast.parse(path.read_text("utf-8")).body:
                imported = set(re.findall(r"\w+", ast.unparse(statement))) if _is_import(statement) else set()
                if path.stem not in late:
                    assert not imported & (names | late), f"{path}: {ast.unparse(statement)}"


def _is_import(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Import | ast.ImportFrom)
