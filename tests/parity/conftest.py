"""Fixtures: the reference outputs, one test case for each file, and the networks and bodies that they belong to."""

from __future__ import annotations

import json
import os
import re
from functools import cache
from pathlib import Path

import pytest
import torch

from tests.parity import synthetic
from wham_blender import weights
from wham_blender.body.body import Body
from wham_blender.models import vit
from wham_blender.models.wham import WHAM

REFERENCE = Path(__file__).parent / "reference"
FOLDER = Path(os.environ.get("WHAM_PARITY_DIR") or REFERENCE)


def reference_files(kind: str) -> list[Path]:
    """The files of one kind in the folder that WHAM_PARITY_DIR names; where it has none of that kind, ours."""
    if not any(FOLDER.glob("*_seed*.npz")):
        raise pytest.UsageError(f"WHAM_PARITY_DIR names {FOLDER}, which has no files of reference outputs.")
    return sorted(FOLDER.glob(f"{kind}_*.npz")) or sorted(REFERENCE.glob(f"{kind}_*.npz"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each file of reference outputs: ``wham_file``, ``hmr2_file`` and so on."""
    for kind in ("wham", "hmr2", "vitpose", "metrics"):
        if f"{kind}_file" in metafunc.fixturenames:
            cases = [pytest.param(file, id=file.stem) for file in reference_files(kind)]
            assert cases, f"{REFERENCE} has no {kind}_*.npz"  # pytest would skip the test without a word
            metafunc.parametrize(f"{kind}_file", cases, scope="session")


def reference_weights(kind: str, seed: int, depth: int | None = None) -> dict[str, torch.Tensor]:
    """The tensors of a published checkpoint, of the first ``depth`` blocks where it is a transformer's."""
    name = f"{kind}_state_dict.json"
    folder = FOLDER if (FOLDER / name).is_file() else REFERENCE
    table = json.loads((folder / name).read_text("utf-8"))
    block = re.compile(r"backbone\.blocks\.(\d+)\.")
    kept = {
        name: shape
        for name, shape in table.items()
        if depth is None or not (found := block.match(name)) or int(found[1]) < depth
    }
    return {name: torch.from_numpy(value) for name, value in synthetic.state_dict(kept, seed).items()}


def seed_of(file: Path) -> int:
    found = re.search(r"seed(\d+)", file.stem)
    assert found, f"{file.name} does not name its seed"
    return int(found[1])


def depth_of(file: Path) -> int:
    """Blocks of the transformer, all of them where the name does not say."""
    found = re.search(r"depth(\d+)", file.stem)
    return int(found[1]) if found else vit.DEPTH


@cache
def reference_network(seed: int) -> WHAM:
    return WHAM.from_state_dict(reference_weights("wham", seed)).eval()


@cache
def reference_body(seed: int) -> Body:
    return Body(synthetic.body_model(seed))


@pytest.fixture(scope="session")
def seed(wham_file: Path) -> int:
    return seed_of(wham_file)


@pytest.fixture(scope="session")
def network(seed: int) -> WHAM:
    """The network at its published size with the seed's weights."""
    return reference_network(seed)


@pytest.fixture(scope="session")
def body(seed: int) -> Body:
    """The body of the seed."""
    return reference_body(seed)


@pytest.fixture(scope="session")
def open_body() -> Body:
    """The body that ships inside."""
    return Body.load(weights.find("body").path)
