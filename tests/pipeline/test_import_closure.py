"""A stage is run again after a change to any source file that it needs, and only then."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from wham_blender.pipeline.stages import cache
from wham_blender.pipeline.stages.import_closure import import_closure

PACKAGE = Path(__file__).parents[2] / "wham_blender"
STAGES = ("detect", "tracks", "camera", "features", "pose", "world")


def digest(module: Path, package: Path) -> str:
    """`source_digest` of the files as they are now; the function itself keeps its results."""
    return cache.source_digest.__wrapped__(module, package)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package under another name, as Blender has it."""
    folder = tmp_path_factory.mktemp("package") / "bl_ext"
    return shutil.copytree(PACKAGE, folder, ignore=shutil.ignore_patterns("__pycache__", "*.mp4"))


def source_files(stage: str, package: Path = PACKAGE) -> list[Path]:
    """The files of a stage; the add-on is left out, which only Blender imports."""
    return import_closure(package / f"pipeline/stages/{stage}.py", package, excluded=package / "addon")


@pytest.mark.parametrize("stage", STAGES)
def test_each_file_that_a_stage_needs_changes_its_key(copy: Path, stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = copy / f"pipeline/stages/{stage}.py"
    before, needed = digest(module, copy), source_files(stage, copy)
    # A comment changes no import: without this, every file would be parsed for every other one.
    monkeypatch.setattr(cache, "import_closure", lambda *_, **__: needed)
    unnoticed = []
    for file in [*needed, copy / "pipeline/requirements.txt"]:
        source = file.read_bytes()
        file.write_bytes(source + b"# changed\n")
        if digest(module, copy) == before:
            unnoticed.append(file.name)
        file.write_bytes(source)
    assert unnoticed == []
    assert digest(module, copy) == before


@pytest.mark.parametrize("stage", STAGES)
def test_no_other_file_changes_its_key(copy: Path, stage: str) -> None:
    module = copy / f"pipeline/stages/{stage}.py"
    before = digest(module, copy)
    others = {file: file.read_bytes() for file in {*copy.rglob("*.py")} - {*source_files(stage, copy)}}
    assert {*(copy / "addon").rglob("*.py")} <= others.keys()
    for file, source in others.items():
        file.write_bytes(source + b"# changed\n")
    after = digest(module, copy)
    for file, source in others.items():
        file.write_bytes(source)
    assert after == before


@pytest.mark.parametrize(
    ("stage", "needed", "not_needed"),
    [
        (
            "detect",
            ["people/watch", "people/tracking", "people/vitpose_stage", "camera/background_tracks"],
            ["world/placement", "world/smplify", "pose/wham_inference", "camera/camera_motion"],
        ),
        ("tracks", ["people/track_cleanup", "people/left_right", "people/thumbnails"], ["world/placement"]),
        ("camera", ["camera/camera_motion", "clip/quicktime_metadata"], ["world/placement", "pose/wham_inference"]),
        ("features", ["pose/hmr2_features", "pose/lifter_features"], ["world/placement", "world/smplify"]),
        ("pose", ["pose/wham_inference", "pose/camera_translation", "pose/wham_weights"], ["world/placement"]),
        (
            "world",
            ["world/placement", "world/foot_locking", "world/foot_contacts", "world/gravity", "world/smplify",
             "world/wham_world", "world/calibration"],
            [],
        ),
    ],
)  # fmt: skip
def test_the_modules_that_a_stage_uses_are_among_its_files(
    stage: str, needed: list[str], not_needed: list[str]
) -> None:
    found = {file.relative_to(PACKAGE).as_posix() for file in source_files(stage)}
    assert [name for name in needed if f"pipeline/{name}.py" not in found] == []
    assert [name for name in not_needed if f"pipeline/{name}.py" in found] == []
    assert "__init__.py" in found


def write(folder: Path, files: dict[str, str]) -> None:
    for name, source in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, "utf-8")


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("from . import near", ["stages/near.py"]),
        ("from .near import value", ["stages/near.py"]),
        ("from ..people import far", ["people/__init__.py", "people/far.py"]),
        ("from ..people.far import value", ["people/__init__.py", "people/far.py"]),
        ("from ..people import CONSTANT", ["people/__init__.py"]),
        ("from .. import people", ["people/__init__.py"]),
        ("def late():\n    from ..people import far", ["people/__init__.py", "people/far.py"]),
        ("if TYPE_CHECKING:\n    from .near import value", ["stages/near.py"]),
        ("try:\n    from .near import value\nexcept ImportError:\n    value = None", ["stages/near.py"]),
        ("import json\nfrom json import dumps", []),
    ],
)
def test_every_kind_of_import_is_followed(tmp_path: Path, statement: str, expected: list[str]) -> None:
    package = tmp_path / "package"
    write(package, {"stages/near.py": "", "people/__init__.py": "CONSTANT = 1", "people/far.py": "", "json.py": ""})
    write(package, {"__init__.py": "", "stages/__init__.py": "", "stages/stage.py": statement})
    module = package / "stages/stage.py"
    found = [file.relative_to(package).as_posix() for file in import_closure(module, package)]
    assert found[0] == "stages/stage.py"
    assert {*found} - {"__init__.py", "stages/__init__.py", "stages/stage.py"} == {*expected}


def test_imports_are_followed_through_others_and_in_circles(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": "from . import b", "b.py": "from .c import x", "c.py": "from . import a", "d.py": ""})
    found = import_closure(tmp_path / "a.py", tmp_path)
    assert [file.name for file in found] == ["a.py", "b.py", "c.py"]
