"""Locks the worker's packages: ``python -m tools.lock`` writes three files beside requirements.in.

requirements.txt has every package that requirements.in and requirements-full.in bring along, with the hashes of its
files for all systems, and keeps the versions of an existing file. full_packages.txt names those of them that draft
quality does without, download_sizes.json has the sizes. ``--torch cpu cu126 cu130`` also writes requirements-BUILD.txt
from PyTorch's index, with which the add-on's setup then checks the hashes of those files as well. Needs uv (``pip
install uv``) and the package ``packaging``, which the worker's environment has.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from packaging.markers import Marker

from wham_blender.addon.worker.installer import TORCH

_PIPELINE = Path(__file__).resolve().parents[1] / "wham_blender/pipeline"
_DRAFT, _FULL = "requirements.in", "requirements-full.in"
_HEADER = "# Made by tools/lock.py out of requirements.in: do not edit. Every package with the hashes of its files.\n"
_INDEX = "https://pypi.org/simple"
_PYTHON = "3.11"  # the oldest supported; the packages of newer ones hardly differ
# Platform tags of wheels, and environment markers, by system as pytorch.here() names it.
_SYSTEMS = {
    "linux-x86_64": (r"manylinux\S*x86_64|any", {"platform_machine": "x86_64"}),
    "linux-arm64": (r"manylinux\S*aarch64|any", {"platform_machine": "aarch64"}),
    "win32-x86_64": (r"win_amd64|any", {"platform_machine": "AMD64"}),
    "darwin-arm64": (r"macosx\S*(?:arm64|universal2)|any", {"platform_machine": "arm64"}),
}
_ABI = r"(?:cp311-cp311|cp3\d?\d?-abi3|(?:py2\.)?py3-none|cp311-none)"


def compile_lock(target: Path, sources: Sequence[str], *options: str | Path) -> None:
    """Write the lock of some lists of packages with uv. Raises CalledProcessError if it fails."""
    uv = shutil.which("uv") or str(Path(sys.executable).parent / "uv")
    subprocess.run(
        [uv, "pip", "compile", *(_PIPELINE / name for name in sources), "--universal", "--python-version", _PYTHON,
         "--no-header", "--generate-hashes", "--no-annotate", "--only-binary", ":all:", "--quiet", "--output-file",
         target, *options],
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    target.write_text(_HEADER + target.read_text("utf-8").removeprefix(_HEADER), "utf-8")


def full_packages(lock: Path) -> list[str]:
    """The packages of a lock that only Full quality needs: all without those that requirements.in brings along."""
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder, "draft.txt")
        compile_lock(draft, [_DRAFT], "--constraint", lock)
        left = _names(draft.read_text("utf-8"))
    return [name for name in _names(lock.read_text("utf-8")) if name not in left]


def _names(lock: str) -> list[str]:
    return re.findall(r"^([\w.-]+)==", lock, re.MULTILINE)


def sizes(lock: str, full: Sequence[str]) -> dict[str, dict[str, int]]:
    """Megabytes to download on each system: ``torch`` with what only it needs, ``others``, and those in ``full``.

    Raises SystemExit if a package has no wheel for a system.
    """
    entries = re.findall(
        r"^(([\w.-]+)==([^\s;\\]+)(?: ; ([^\\\n]+?))?) \\\n((?:\s+--hash\S+.*\n)+)", lock, re.MULTILINE
    )
    totals = {system: {"torch": 0.0, "others": 0.0, "full": 0.0} for system in _SYSTEMS}
    for entry, name, version, marker, hashes in entries:
        files = [file for file in _files(name) if file["hashes"].get("sha256", "-") in hashes]
        for system, (platforms, markers) in _SYSTEMS.items():
            environment = {**markers, "sys_platform": system.split("-")[0], "python_full_version": f"{_PYTHON}.9"}
            if marker and not Marker(marker).evaluate(environment):
                continue
            fitting = [f for f in files if re.search(rf"-{_ABI}-(?:\S+\.)?(?:{platforms})\S*\.whl$", f["filename"])]
            if not fitting:
                sys.exit(f"{name} {version} has no wheel for {system}.")
            part = "full" if name in full else "torch" if TORCH.match(entry) else "others"
            totals[system][part] += max(file["size"] for file in fitting)
    return {system: {part: round(size / 1e6) for part, size in parts.items()} for system, parts in totals.items()}


def _files(name: str) -> list[dict[str, Any]]:
    request = urllib.request.Request(  # noqa: S310 - a fixed https address
        f"{_INDEX}/{name}/", headers={"Accept": "application/vnd.pypi.simple.v1+json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        files: list[dict[str, Any]] = json.load(answer)["files"]
    return files


def main() -> None:
    """Write the locks and the sizes."""
    parser = argparse.ArgumentParser(prog="python -m tools.lock", description=__doc__)
    parser.add_argument("--torch", nargs="*", default=[], metavar="BUILD", help="builds of PyTorch's own index")
    builds = parser.parse_args().torch
    lock = _PIPELINE / "requirements.txt"
    compile_lock(lock, [_DRAFT, _FULL])
    full = full_packages(lock)
    (_PIPELINE / "full_packages.txt").write_text("\n".join(full) + "\n", "utf-8")
    megabytes = sizes(lock.read_text("utf-8"), full)
    (_PIPELINE / "download_sizes.json").write_text(json.dumps(megabytes, indent=1) + "\n", "utf-8")
    for build in builds:
        compile_lock(_PIPELINE / f"requirements-{build}.txt", [_DRAFT, _FULL], "--torch-backend", build)
    print(f"Locked {', '.join(['requirements.txt', *(f'requirements-{build}.txt' for build in builds)])}.")


if __name__ == "__main__":
    main()
