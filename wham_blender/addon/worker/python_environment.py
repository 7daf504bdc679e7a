"""The worker's own Python, apart from Blender's: where it is, whether it is whole, and what works on it. No bpy.

It lies in the data folder (location.py), never in the add-on's, and is made only when the user asks for it.
installer.py makes, repairs and removes it as a process of its own.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ...folders import data_folder, default_folder
from . import pytorch
from .process import module_command

PIPELINE = Path(__file__).resolve().parents[2] / "pipeline"
MARKER = "complete.json"  # written last, so that a half-made folder is known as such
STARTED = "started.json"  # what is being made
PYTHONS = ((3, 11), (3, 13))  # the oldest and the newest that the worker's packages were tried with
_PROBE_SECONDS = 60.0
_PROBE = """
import importlib.util as u, json, sys
able = all(map(u.find_spec, ("venv", "ensurepip")))
print(json.dumps([sys.version_info[:3], sys.maxsize > 2**32, able]))
"""


class RuntimeProblem(Exception):
    """There is no Python for the worker, or not a whole one; the text is a sentence for the animator."""


@dataclass(frozen=True)
class Interpreter:
    """What a Python says of itself."""

    version: tuple[int, int, int]
    wide: bool  # 64-bit
    makes_environments: bool  # has venv and ensurepip

    def __str__(self) -> str:
        return ".".join(map(str, self.version))


def own_folder() -> Path:
    """The folder of the Python that this add-on makes for the worker."""
    return data_folder() / "worker"


def downloads_folder() -> Path:
    """Where packages lie while an installation is unfinished, so that the next attempt goes on with them."""
    return data_folder() / "downloads"


def doctor_report() -> Path:
    """The file of the last check's findings."""
    return data_folder() / "doctor.json"


def check_folder() -> None:
    """Raises RuntimeProblem where the folder that everything was moved to is gone, as with a disk not connected."""
    folder = data_folder()
    if folder != default_folder() and not folder.exists():
        raise RuntimeProblem(
            f"The worker lies in {folder}, which is not there. Connect that disk, or choose another folder in the "
            "preferences."
        )


def find(preferred: str = "") -> Path:
    """The worker's Python: WHAM_WORKER_PYTHON, else the preferred path, else our own. Quick enough for drawing.

    Raises RuntimeProblem where the one named, or any, is missing, or our own was made from another list of packages.
    """
    named = os.environ.get("WHAM_WORKER_PYTHON") or preferred
    if named:
        if not Path(named).is_file():
            raise RuntimeProblem(f"There is no Python at {named}. Correct the worker's Python in the preferences.")
        return Path(named)
    folder = own_folder()
    check_folder()
    made = read_marker(folder, MARKER)
    if not made:
        if read_marker(folder, STARTED):
            raise RuntimeProblem(
                "The worker's installation was interrupted. In the add-on's preferences click Install Worker to go on."
            )
        raise RuntimeProblem(
            "The worker's Python is not installed yet. In the add-on's preferences click Install Worker."
        )
    if made.get("packages") != fingerprint():
        raise RuntimeProblem("The worker is of another version. In the add-on's preferences click Install Worker.")
    python = python_of(folder)
    if not python.is_file() or not Path(made.get("home", "")).is_dir():
        raise RuntimeProblem(
            "The Python that the worker was made from is gone, as after an update of Blender. In the add-on's "
            "preferences click Repair Worker."
        )
    return python


@dataclass(frozen=True)
class State:
    """How the worker stands, for people."""

    usable: bool
    sentence: str
    details: str = ""  # what the doctor found, to be copied; empty where it did not look at this worker


def state(preferred: str = "") -> State:
    """How the worker stands, by what is noted on the disk. Quick enough for drawing."""
    try:
        python = find(preferred)
    except RuntimeProblem as problem:
        return State(False, str(problem))
    report = _read(doctor_report())
    if report.get("python") != str(python):
        return State(True, "The worker is installed; Check Worker tells whether it works.")
    return State(bool(report.get("whole")), str(report.get("sentence")), str(report.get("text")))


def probe(python: Path) -> Interpreter:
    """What a Python says of itself; raises RuntimeProblem where it does not run."""
    try:
        answer = subprocess.run(
            [str(python), "-I", "-c", _PROBE],
            capture_output=True, check=True, timeout=_PROBE_SECONDS, encoding="utf-8",
        ).stdout  # fmt: skip
        version, wide, able = json.loads(answer)
        return Interpreter(tuple(version), wide, able)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__  # not the text: it quotes the command
        raise RuntimeProblem(
            f"{python} does not run ({reason}). Choose another Python or install the worker."
        ) from error


def base_python(chosen: str = "") -> Path:
    """The Python to make the worker's from: the chosen one, else Blender's own."""
    if chosen and not Path(chosen).is_file():
        raise RuntimeProblem(f"There is no Python at {chosen}. Choose one of version {_versions()}, or none.")
    return Path(chosen or sys.executable)


def check_base(python: Path) -> Interpreter:
    """Raises RuntimeProblem where the worker's Python cannot be made from this one."""
    found = probe(python)
    if not found.wide or not PYTHONS[0] <= found.version[:2] <= PYTHONS[1]:
        bits = "" if found.wide else " (32-bit)"
        raise RuntimeProblem(
            f"The worker needs Python {_versions()}, 64-bit, and {python} is {found}{bits}. Choose another one in the "
            "preferences under Made From."
        )
    return found


def install_command(base: Path, build: str, wheels: str = "", repair: bool = False) -> list[str]:
    """The command that makes the worker's Python whole, run by Blender's interpreter but outside of it.

    ``build`` is one of pytorch.WISHES; ``wheels`` a folder that has all packages, for computers without a network.
    """
    options = ["--base", str(base), "--build", build]
    if wheels:
        options += ["--wheels", wheels]
    if repair:
        options.append("--repair")
    return _command("install", *options)


def remove_command() -> list[str]:
    """The command that deletes the Python that this add-on made; any other is left alone."""
    return _command("remove")


def move_command(folder: Path) -> list[str]:
    """The command that moves everything into another folder."""
    return _command("move", str(folder))


def doctor_command(python: Path) -> list[str]:
    """The command that checks a worker's Python and writes doctor_report()."""
    return module_command(python, "wham_blender.pipeline.self_test", "--json", "-o", str(doctor_report()))


def download_text() -> str:
    """What an installation downloads here, for people; empty where there is nothing for this computer."""
    sizes = download_sizes()
    if not sizes:
        return ""
    more = {"linux": " with an NVIDIA card, far less without", "win32": ", and some GB more with an NVIDIA card"}
    return (
        f"Downloads {sum(sizes.values()) / 1000:.1f} GB{more.get(sys.platform, '')}, and takes twice that on the disk"
    )


def download_size(build: pytorch.Build | None) -> int | None:
    """Megabytes that an installation downloads here; None where PyTorch's own index would have to be asked."""
    sizes = download_sizes()
    if not sizes or build is None:
        return None
    return sum(sizes.values()) if build.name == "pypi" else None


@cache
def download_sizes() -> dict[str, int]:
    """Megabytes of the packages for this system: ``torch`` and what only it needs, and the ``others``."""
    system, machine = pytorch.here()
    return _read(PIPELINE / "download_sizes.json").get(f"{system}-{machine}", {})


@cache
def fingerprint() -> str:
    """What tells one list of packages from another."""
    return hashlib.sha256(
        b"".join(path.read_bytes() for path in sorted(PIPELINE.glob("requirements*.txt")))
    ).hexdigest()


def read_marker(folder: Path, name: str) -> dict[str, Any]:
    """What was noted in a worker's folder under MARKER or STARTED; empty where nothing was."""
    return _read(folder / name)


def python_of(folder: Path) -> Path:
    """The interpreter of an environment."""
    return folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def _read(path: Path) -> dict[str, Any]:
    try:
        noted = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return noted if isinstance(noted, dict) else {}


def _versions() -> str:
    oldest, newest = (".".join(map(str, version)) for version in PYTHONS)
    return f"{oldest} to {newest}"


def _command(*arguments: str) -> list[str]:
    return module_command(Path(sys.executable), "wham_blender.addon.worker.installer", *arguments)
