"""The worker's own Python, apart from Blender's: find, make, check and remove it. No bpy.

It lies in the platform's data folder, never in the add-on's, and is made only when the user asks for it. Making it
runs as a process of its own, ``wham_blender.addon.runtime FOLDER``, which speaks protocol.py like the worker.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import venv
from pathlib import Path

from .. import protocol
from .job import module_command

_PIPELINE = Path(__file__).resolve().parents[1] / "pipeline"
_MARKER = "complete"  # written last, so that a half-made folder is known as such
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

    Raises RuntimeProblem where the one named, or any, is missing.
    """
    named = os.environ.get("WHAM_WORKER_PYTHON") or preferred
    if named:
        if not Path(named).is_file():
            raise RuntimeProblem(f"There is no Python at {named}. Correct the worker's Python in the preferences.")
        return Path(named)
    python = _python_of(own_folder())
    if not (own_folder() / _MARKER).is_file() or not python.is_file():
        raise RuntimeProblem(
            "The worker's Python is not installed yet. In the add-on's preferences click Install Worker."
        )
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
        raise RuntimeProblem(
            f"{python} does not run ({error}). Choose another Python or install the worker."
        ) from error
    if missing:
        raise RuntimeProblem(
            f"The Python at {python} lacks {', '.join(missing)}. Install the worker again, or add them there."
        )
    return f"Python {version} with all {len(names)} packages"


def make_command() -> list[str]:
    """The command that makes the worker's Python, run by Blender's own interpreter but outside of it."""
    return module_command(Path(sys.executable), "wham_blender.addon.runtime", str(own_folder()))


def remove() -> None:
    """Delete the Python that this add-on made; any other is left alone."""
    shutil.rmtree(own_folder(), ignore_errors=True)


def _python_of(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def _say(message: protocol.Message) -> None:
    print(protocol.encode(message), flush=True)


def _pip(python: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(python), "-I", "-m", "pip", "install", "--disable-pip-version-check", "--no-input",
         "--requirement", str(_PIPELINE / "requirements.txt"), "--constraint", str(_PIPELINE / "constraints.txt"),
         *arguments],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, encoding="utf-8", errors="replace",
    )  # fmt: skip


def make(folder: Path) -> Path:
    """Make the worker's Python in a folder and return its interpreter, telling its progress on standard output.

    Raises RuntimeProblem where it cannot be made; what was half made is removed by the next attempt.
    """
    _say(protocol.Progress("prepare", 0, 1, 0.0))
    try:
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, with_pip=True, symlinks=sys.platform != "win32")
    except (OSError, subprocess.CalledProcessError) as error:
        raise RuntimeProblem(f"A Python cannot be made in {folder} ({error}). Is there space left?") from error
    python = _python_of(folder)
    plan, _ = _pip(python, "--dry-run", "--quiet", "--report", "-").communicate()
    try:
        total = len(json.loads(plan)["install"])
    except ValueError as error:
        raise RuntimeProblem(
            "The worker's packages cannot be found for download. Check the internet connection; the log says more."
        ) from error
    install = _pip(python)
    assert install.stdout is not None
    collected = 0
    for line in install.stdout:
        _say(protocol.Log(line.rstrip()))
        if line.startswith("Collecting "):
            collected += 1
            # The last tenth is for unpacking, which pip does in one go.
            _say(protocol.Progress("download", collected, total, 0.9 * min(collected / total, 1.0)))
        elif line.startswith("Installing "):
            _say(protocol.Progress("install", total, total, 0.9))
    if install.wait():
        raise RuntimeProblem(
            "The worker's packages could not be installed. Check the connection and the space left; the log says more."
        )
    (folder / _MARKER).write_text("made by Import Video as Motion\n", "utf-8")
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
