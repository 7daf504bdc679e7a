"""Where the reference's numbers lie, and the synthetic weights and body that they were made with."""

from __future__ import annotations

import importlib.util
import json
import os
import re
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
import torch

from wham_blender import weights
from wham_blender.body.body import Body
from wham_blender.models import vit
from wham_blender.models.wham import WHAM

FOLDER = Path(os.environ.get("WHAM_PARITY_DIR", Path(__file__).resolve().parents[3] / "shared/parity"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each file of reference outputs: ``wham_file``, ``hmr2_file`` and so on."""
    for kind in ("wham", "hmr2", "vitpose", "metrics"):
        if f"{kind}_file" in metafunc.fixturenames:
            files = sorted(FOLDER.glob(f"{kind}_*.npz"))
            skip = pytest.mark.skip(reason=f"{FOLDER} has no {kind}_*.npz; WHAM_PARITY_DIR names another folder")
            cases = [pytest.param(file, id=file.stem) for file in files]
            metafunc.parametrize(
                f"{kind}_file", cases or [pytest.param(None, marks=skip, id="absent")], scope="session"
            )


@cache
def synthetic() -> ModuleType:
    spec = importlib.util.spec_from_file_location("synthetic", FOLDER / "synthetic.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def reference_weights(kind: str, seed: int, depth: int | None = None) -> dict[str, torch.Tensor]:
    """The tensors of a published checkpoint, of the first ``depth`` blocks where it is a transformer's."""
    table = json.loads((FOLDER / f"{kind}_state_dict.json").read_text("utf-8"))
    block = re.compile(r"backbone\.blocks\.(\d+)\.")
    kept = {
        name: shape
        for name, shape in table.items()
        if depth is None or not (found := block.match(name)) or int(found[1]) < depth
    }
    return {name: torch.from_numpy(value) for name, value in synthetic().state_dict(kept, seed).items()}


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
    return Body(synthetic().body_model(seed))


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
