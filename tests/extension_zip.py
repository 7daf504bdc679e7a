"""Builds the extension's zip as users get it, for tests that install or unpack it."""

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def built_zip() -> Path:
    """The path of the zip that `build.py zip` makes of this working tree."""
    subprocess.run([sys.executable, "build.py", "zip"], cwd=ROOT, check=True)
    version = tomllib.loads((ROOT / "blender_manifest.toml").read_text("utf-8"))["version"]
    return ROOT / "out" / f"wham_blender-{version}.zip"
