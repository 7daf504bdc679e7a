"""One Blender in a window for all tests here, with the extension's zip installed and the tab Video Motion open."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Iterator
from pathlib import Path

import debian
import pytest
from window import Window

ROOT = Path(__file__).parents[2]
SHOTS = ROOT / "out" / "gui"


@pytest.fixture(scope="session")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Window]:
    """The window; skips where there can be none."""
    folder = tmp_path_factory.mktemp("window")
    shared = [ROOT, *_worker()]
    try:
        window = Window(debian.root(), folder, SHOTS, shared, {"XDG_DATA_HOME": str(folder / "data")})
    except debian.Unavailable as reason:
        pytest.skip(str(reason))
    try:
        subprocess.run([sys.executable, "build.py", "zip"], cwd=ROOT, check=True)
        manifest = tomllib.loads((ROOT / "blender_manifest.toml").read_text("utf-8"))
        shutil.rmtree(SHOTS, ignore_errors=True)
        SHOTS.mkdir(parents=True)
        window.open()
        archive = str(ROOT / "out" / f"{manifest['id']}-{manifest['version']}.zip")
        install = f"bpy.ops.extensions.package_install_files(filepath={archive!r}, repo='user_default'"
        window.ask(f"{install}, enable_on_install=True)")
        window.ask(f"preferences().worker_python = {sys.executable!r}")
        window.ask("bpy.ops.wm.save_userpref()")
        window.show_tab()
        yield window
    finally:
        window.end()


def _worker() -> list[Path]:
    """What the worker's Python, which is this one, consists of."""
    prefix, base = Path(sys.prefix), Path(sys.base_prefix)
    if base != Path("/usr"):
        return [prefix, base]
    return [prefix, Path(sysconfig.get_path("stdlib")), Path(sys.executable).resolve()]  # Debian's own has a /usr too
