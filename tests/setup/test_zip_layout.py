"""The worker finds all of its files where the extension's zip has put them."""

import subprocess
import sys
import zipfile
from pathlib import Path

from tests.extension_zip import built_zip
from wham_blender.addon.worker import process


def test_the_worker_is_whole_in_the_zips_layout(tmp_path, monkeypatch):
    package = tmp_path / "extensions" / "user_default" / "wham_blender"
    with zipfile.ZipFile(built_zip()) as archive:
        archive.extractall(package)
    monkeypatch.setattr(process, "_PACKAGE", package)
    run = subprocess.run(
        process.module_command(Path(sys.executable), "wham_blender.pipeline.self_test"),
        cwd=tmp_path, capture_output=True, encoding="utf-8", check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("The worker is whole")
