"""Builds the extension's zip as users get it, for tests that install or unpack it."""

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
VERSION = tomllib.loads((ROOT / "blender_manifest.toml").read_text("utf-8"))["version"]


def built_zip(*options: str | Path) -> Path:
    """The path of the zip that `build.py zip` makes of this working tree, with its options."""
    subprocess.run([sys.executable, "build.py", "zip", *options], cwd=ROOT, check=True)
    return ROOT / "out" / f"wham_blender-{VERSION}.zip"


def as_version(archive: Path, version: str, folder: Path) -> Path:
    """A copy of the zip in ``folder`` whose manifest has another version."""
    copy = folder / f"wham_blender-{version}.zip"
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(copy, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name == "blender_manifest.toml":
                content = content.replace(f'version = "{VERSION}"'.encode(), f'version = "{version}"'.encode())
            target.writestr(name, content)
    return copy
