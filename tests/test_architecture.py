"""The import rules hold and notice a breach; parameter lists and functions stay short."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "wham_blender"


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("addon/__init__.py", "from ..pipeline import run"),
        ("pipeline/__init__.py", "from ..addon import rig"),
        ("addon/__init__.py", "import torch"),
        ("addon/__init__.py", "def late():\n    import cv2"),
        ("addon/__init__.py", "from ..models import wham"),
        ("pipeline/__init__.py", "import bpy"),
        ("models/__init__.py", "from mathutils import Matrix"),
        ("models/__init__.py", "from ..pipeline import video"),
        ("body/__init__.py", "from .. import pipeline"),
        ("motion.py", "from .body import body"),
        ("skeleton.py", "from . import motion"),
        ("pipeline/world/__init__.py", "from ..stages import run"),
        ("pipeline/pose/__init__.py", "from ..world import placement"),
        ("pipeline/people/__init__.py", "from ..pose import types"),
        ("pipeline/camera/__init__.py", "from ..people import types"),
        ("pipeline/clip/__init__.py", "from ..camera import camera_motion"),
        ("addon/operators/__init__.py", "from ..panels import jobs"),
        ("addon/jobs/__init__.py", "from ..operators import bake"),
        ("addon/retarget/__init__.py", "from ..jobs import queue"),
        ("addon/scene/__init__.py", "from ..retarget import maps"),
        ("addon/worker/__init__.py", "from ..scene import action"),
    ],
)
def test_a_breach_is_noticed(tmp_path, module, line):
    shutil.copytree(PACKAGE, tmp_path / "wham_blender", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache", "--no-logo"]
    assert lint(command, tmp_path).returncode == 0
    source = tmp_path / "wham_blender" / module
    source.write_text(f"{source.read_text('utf-8')}\n{line}\n", "utf-8")
    broken = lint(command, tmp_path)
    assert broken.returncode == 1, broken.stdout
    assert "BROKEN" in broken.stdout


def lint(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environ = {"PYTHONPATH": str(folder), "PYTHONUTF8": "1"}
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_package_never_names_itself(path):
    """Blender knows it as bl_ext.user_default.wham_blender, the worker as wham_blender."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            assert not any(alias.name.split(".")[0] == "wham_blender" for alias in node.names)
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            assert (node.module or "").split(".")[0] != "wham_blender"


MOST_PARAMETERS, MOST_LINES = 6, 100
BLENDERS_OWN = {"draw_item"}  # bpy.types.UIList says which parameters it has


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_functions_are_short(path):
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name not in BLENDERS_OWN:
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            names = [each.arg for each in arguments if each.arg not in ("self", "cls")]
            assert len(names) <= MOST_PARAMETERS, f"{node.name} takes {', '.join(names)}"
            assert (node.end_lineno or node.lineno) - node.lineno < MOST_LINES, f"{node.name} is too long"


def test_importing_the_package_needs_nothing_else():
    """Not bpy, not torch: the worker and the tests of job and runtime import it in plain Python."""
    code = (
        "import sys, wham_blender, wham_blender.protocol, wham_blender.weights;"
        "print(sorted({'bpy', 'torch', 'cv2', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
