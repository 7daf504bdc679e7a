"""Builds the extension's zip as users get it, for tests that install or unpack it."""

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
VERSION = tomllib.loads((ROOT / "blender_manifest.toml").read_text("utf-8"))["version"]


def built_zip() -> Path:
    """The path of the zip that `build.py zip` makes of this working tree; one that is newer than all of it is used."""
    archive = ROOT / "out" / f"wham_blender-{VERSION}.zip"
    folders = [ROOT / name for name in ("wham_blender", "docs", "bundled_weights")]
    files = [*ROOT.glob("*.*"), *(path for folder in folders for path in folder.rglob("*"))]
    changed = max(path.stat().st_mtime for path in files if path.is_file() and "__pycache__" not in path.parts)
    if not archive.exists() or changed >= archive.stat().st_mtime:
        subprocess.run([sys.executable, "build.py", "zip"], cwd=ROOT, check=True)
    return archive


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
