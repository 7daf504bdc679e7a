"""The worker's own Python, apart from Blender's: find, make, check and remove it. No bpy.

It lies in the platform's data folder, never in the add-on's, and is made only when the user asks for it. Making it
runs as a process of its own, ``wham_blender.addon.runtime FOLDER``, which speaks protocol.py like the worker.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

from .. import protocol
from .job import module_command

_PIPELINE = Path(__file__).resolve().parents[1] / "pipeline"
_LISTS = ("requirements.txt", "constraints.txt")
_MARKER = "complete"  # written last, so that a half-made folder is known as such; holds the lists' hash
_CHECK_SECONDS = 60.0
_CHECK = """
import importlib.metadata, json, platform, sys
missing = []
for name in sys.argv[1:]:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        missing.append(name)
print(json.dumps([platform.python_version(), missing]))
"""


class RuntimeProblem(Exception):
    """There is no Python for the worker, or not a whole one; the text is a sentence for the animator."""


def data_folder() -> Path:
    """Where the worker's Python and the jobs lie unless the preferences say otherwise."""
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return base / "wham_blender"


def own_folder() -> Path:
    """The folder of the Python that this add-on makes for the worker."""
    return data_folder() / "worker"


def find(preferred: str = "") -> Path:
    """The worker's Python: WHAM_WORKER_PYTHON, else the preferred path, else our own.

    Raises RuntimeProblem where the one named, or any, is missing, or our own was made from other lists of packages.
    """
    named = os.environ.get("WHAM_WORKER_PYTHON") or preferred
    if named:
        if not Path(named).is_file():
            raise RuntimeProblem(f"There is no Python at {named}. Correct the worker's Python in the preferences.")
        return Path(named)
    python, marker = _python_of(own_folder()), own_folder() / _MARKER
    if not marker.is_file() or not python.is_file():
        raise RuntimeProblem(
            "The worker's Python is not installed yet. In the add-on's preferences click Install Worker."
        )
    if marker.read_text("utf-8") != _fingerprint():
        raise RuntimeProblem("The worker is of an older version. In the add-on's preferences click Install Worker.")
    return python


def check(python: Path) -> str:
    """One line that describes a whole worker's Python; raises RuntimeProblem where it lacks a package or fails."""
    names = re.findall(r"^([\w.-]+)", (_PIPELINE / "requirements.txt").read_text("utf-8"), re.MULTILINE)
    try:
        answer = subprocess.run(
            [str(python), "-I", "-c", _CHECK, *names],
            capture_output=True, check=True, timeout=_CHECK_SECONDS, encoding="utf-8",
        ).stdout  # fmt: skip
        version, missing = json.loads(answer)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__  # not the text: it quotes the command
        raise RuntimeProblem(
            f"{python} does not run ({reason}). Choose another Python or install the worker."
        ) from error
    if missing:
        raise RuntimeProblem(
            f"The Python at {python} lacks {', '.join(missing)}. Install the worker again, or add them there."
        )
    return f"Python {version} with all {len(names)} packages"


def make_command() -> list[str]:
    """The command that makes the worker's Python, run by Blender's own interpreter but outside of it."""
    return module_command(Path(sys.executable), "wham_blender.addon.runtime", str(own_folder()))


def remove() -> str:
    """Delete the Python that this add-on made, any other is left alone; raises RuntimeProblem where something stays."""
    _clear(own_folder())
    return "not installed"


def _clear(folder: Path) -> None:
    try:
        if folder.exists():
            (folder / _MARKER).unlink(missing_ok=True)  # first: what cannot be deleted must not pass for a whole one
            shutil.rmtree(folder)
    except OSError as error:
        raise RuntimeProblem(
            f"The worker in {folder} cannot be deleted ({error}). Close what uses it and try again."
        ) from error


def _fingerprint() -> str:
    return hashlib.sha256(b"".join((_PIPELINE / name).read_bytes() for name in _LISTS)).hexdigest()


def _python_of(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def _say(message: protocol.Message) -> None:
    print(protocol.encode(message), flush=True)


def _pip(python: Path, *arguments: str) -> Iterator[str]:
    """Lines of what pip says while it installs; raises RuntimeProblem where it fails."""
    requirements, constraints = (str(_PIPELINE / name) for name in _LISTS)
    process = subprocess.Popen(
        [str(python), "-I", "-m", "pip", "install", "--disable-pip-version-check", "--no-input",
         "--requirement", requirements, "--constraint", constraints, *arguments],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8",
        errors="replace",
    )  # fmt: skip
    assert process.stdout is not None
    unfit = unreached = False
    for line in process.stdout:
        _say(protocol.Log(line.rstrip()))
        yield line
        unfit |= "No matching distribution" in line
        unreached |= "connection broken" in line
    if not process.wait():
        return
    if unfit and not unreached:
        raise RuntimeProblem(
            "There are no worker packages for this computer. They exist for Linux and Windows on 64-bit Intel or AMD, "
            "and for macOS 14 or later on Apple silicon."
        )
    raise RuntimeProblem(
        "The worker's packages could not be installed. Check the internet connection and the space left; "
        "the log says more."
    )


def make(folder: Path) -> Path:
    """Make the worker's Python in a folder and return its interpreter, telling its progress on standard output.

    Raises RuntimeProblem where it cannot be made; what was half made is removed by the next attempt.
    """
    _say(protocol.Progress("prepare", 0, 1, 0.0))
    _clear(folder)
    try:
        venv.create(folder, with_pip=True, symlinks=sys.platform != "win32")
    except (OSError, subprocess.CalledProcessError) as error:
        raise RuntimeProblem(f"A Python cannot be made in {folder} ({error}). Is there space left?") from error
    python, plan = _python_of(folder), folder / "plan.json"
    for _ in _pip(python, "--dry-run", "--quiet", "--report", str(plan)):
        pass
    total = len(json.loads(plan.read_text("utf-8"))["install"])
    collected = 0
    for line in _pip(python):
        if line.startswith("Collecting "):
            collected += 1
            # The last tenth is for unpacking, which pip does in one go.
            _say(protocol.Progress("download", collected, total, 0.9 * min(collected / total, 1.0)))
        elif line.startswith("Installing "):
            _say(protocol.Progress("install", total, total, 0.9))
    (folder / _MARKER).write_text(_fingerprint(), "utf-8")
    return python


def main() -> int:
    """Make the folder named on the command line; the process's exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
    try:
        _say(protocol.Done(str(make(Path(sys.argv[1])))))
    except RuntimeProblem as problem:
        _say(protocol.Failed(str(problem)))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
