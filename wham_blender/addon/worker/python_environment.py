"""The worker's Python environment: where it is, whether it is complete, and the commands that change it. No bpy.

It lies in the data folder (location.py), never in the add-on's, and is made only when the user asks for it.
installer.py makes, repairs and removes it in a separate process.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from ... import limits, records
from ...errors import CodedError
from ...files import file_state, read_bounded
from ...folders import data_folder, default_folder
from ...protocol import Code, Text
from ...records import AtMost, Within
from . import location, pytorch
from .process import module_command

PIPELINE = Path(__file__).resolve().parents[2] / "pipeline"
MARKER = "complete.json"  # written last: a folder without it is incomplete
# Megabytes of PyTorch's build for the processor in its own index, which tools/lock.py could not reach: from memory of
# versions 2.5 to 2.8, about 180; shown rounded to 0.1 GB.
_TORCH_CPU = 190
STARTED = "started.json"  # build, Python and packages of the installation that was begun
PYTHONS = ((3, 11), (3, 13))  # the oldest and the newest that the worker's packages were tested with
_PROBE_SECONDS = 60.0
_PROBE = """
import importlib.util as u, json, sys
makes_environments = all(map(u.find_spec, ("venv", "ensurepip")))
print(json.dumps({"version": sys.version_info[:3], "is_64_bit": sys.maxsize > 2**32,
                  "makes_environments": makes_environments}))
"""


class WorkerError(CodedError):
    """The worker's Python is missing or incomplete, or cannot be installed or removed."""


@dataclass(frozen=True)
class Interpreter:
    """Version and abilities of a Python interpreter."""

    version: Annotated[tuple[Annotated[int, Within(0, 1000)], ...], AtMost(3)]
    is_64_bit: bool
    makes_environments: bool  # has venv and ensurepip

    def __str__(self) -> str:
        return ".".join(map(str, self.version))


def worker_folder() -> Path:
    """The folder of the Python that this add-on makes for the worker."""
    return data_folder() / "worker"


def downloads_folder() -> Path:
    """Where downloaded packages lie while an installation is unfinished; the next attempt uses them."""
    return data_folder() / "downloads"


def self_test_report() -> Path:
    """The file of the last self-test's report."""
    return data_folder() / "self_test.json"


def check_folder() -> None:
    """Raises WorkerError if the folder that everything was moved to is missing, as on a disk that is not connected."""
    folder = data_folder()
    if folder != default_folder() and not folder.exists():
        raise WorkerError(
            f"The worker lies in {folder}, which is not there. Connect that disk, or choose another folder in the "
            "preferences.",
            code="data-folder-missing",
        )


def find(preferred: str = "") -> Path:
    """The worker's Python: WHAM_WORKER_PYTHON, else the preferred path, else the installed one.

    Quick enough to be called when a panel is drawn. Raises WorkerError if it is missing, incomplete or being installed,
    or was installed from another list of packages.
    """
    named = os.environ.get("WHAM_WORKER_PYTHON") or preferred
    if named:
        if not file_state(Path(named)):
            raise WorkerError(
                f"There is no Python at {named}. Correct the worker's Python in the preferences.",
                code="python-not-found",
            )
        return Path(named)
    folder = worker_folder()
    check_folder()
    installed = read_marker(folder, MARKER)
    if not installed:
        if location.in_use():
            raise WorkerError(
                "The worker is being installed. Wait for its end: the add-on's preferences show the progress.",
                code="worker-being-installed",
            )
        if read_marker(folder, STARTED):
            raise WorkerError(
                "The worker's installation was interrupted. In the add-on's preferences click Install Worker to go on.",
                code="worker-not-installed",
            )
        raise WorkerError(
            "The worker's Python is not installed yet. In the add-on's preferences click Install Worker.",
            code="worker-not-installed",
        )
    if installed.get("packages") != fingerprint():
        raise WorkerError(
            "The worker is of another version. In the add-on's preferences click Install Worker.",
            code="worker-not-installed",
        )
    python = python_of(folder)
    if not file_state(python) or not Path(installed.get("home", "")).is_dir():
        raise WorkerError(
            "The Python that the worker was made from is gone, as after an update of Blender. In the add-on's "
            "preferences click Repair Worker.",
            code="worker-base-python-missing",
        )
    return python


@dataclass(frozen=True)
class State:
    """Whether the worker can be used, as the preferences show it."""

    usable: bool
    sentence: str
    details: str = ""  # the self-test's report, to be copied; empty if this worker was not tested


@dataclass(frozen=True)
class Card:
    """A graphics card that the self-test found."""

    device: Annotated[str, AtMost(20)]  # cuda:0
    name: Annotated[str, AtMost(200)]
    fault: Text = ""  # why it cannot be used; empty if it can


@dataclass(frozen=True)
class _SelfTest:
    """The file of the self-test's report (pipeline/self_test.py)."""

    python: Text = ""
    whole: bool = False
    sentence: Text = ""
    code: Code = ""
    details: Annotated[list[list[str]], AtMost(1000)] = field(default_factory=list)  # name and value
    text: str = ""  # all of it, to be copied
    cards: Annotated[tuple[Card, ...], AtMost(100)] = ()


def state(preferred: str = "") -> State:
    """Whether the worker can be used, read from the files of its installation. Quick enough for drawing."""
    try:
        python = find(preferred)
    except WorkerError as problem:
        return State(False, str(problem))
    report = _report(python)
    if report is None:
        return State(True, "The worker is installed; Check Worker tells whether it works.")
    return State(report.whole, report.sentence, report.text)


def cards(preferred: str = "") -> tuple[Card, ...]:
    """The graphics cards that the worker's last self-test found; none before one. Quick enough for drawing."""
    try:
        report = _report(find(preferred))
    except WorkerError:
        return ()
    return report.cards if report else ()


def _report(python: Path) -> _SelfTest | None:
    """The report of a Python's last self-test; None if it was not tested yet, or the report is damaged."""
    try:
        report = records.load(self_test_report(), _SelfTest)
    except (OSError, records.InvalidRecord):
        return None
    return report if report.python == str(python) else None


def probe(python: Path) -> Interpreter:
    """Version and abilities of an interpreter; raises WorkerError if it does not run."""
    try:
        with subprocess.Popen(
            [str(python), "-I", "-c", _PROBE],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        ) as process:  # fmt: skip
            assert process.stdout is not None
            timer = threading.Timer(_PROBE_SECONDS, process.kill)
            timer.start()
            answer = process.stdout.read(limits.KB)  # some other program may print without end
            process.kill()
            timer.cancel()
        return records.make(Interpreter, records.parse(answer, limits.KB))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it does not answer like a Python"
        raise WorkerError(
            f"{python} does not run ({reason}). Choose another Python or install the worker.", code="python-unsuitable"
        ) from error


def base_python(chosen: str = "") -> Path:
    """The Python to make the worker's from: the chosen one, else Blender's own."""
    if chosen and not file_state(Path(chosen)):
        raise WorkerError(
            f"There is no Python at {chosen}. Choose one of version {_versions()}, or none.", code="python-not-found"
        )
    return Path(chosen or sys.executable)


def check_base(python: Path) -> Interpreter:
    """Raises WorkerError if the worker's environment cannot be made from this interpreter."""
    base = probe(python)
    if not base.is_64_bit or not PYTHONS[0] <= base.version[:2] <= PYTHONS[1]:
        found = f"{base}" if base.is_64_bit else f"{base}, 32-bit"
        raise WorkerError(
            f"The worker needs Python {_versions()}, 64-bit, and {python} is {found}. Choose another one in the "
            "preferences under Base Python.",
            code="python-unsuitable",
        )
    return base


def install_command(
    base: Path, build: str, wheels: str = "", repair: bool = False, larger: bool = False, full: bool = False
) -> list[str]:
    """The command that installs, updates or repairs the worker's environment; Blender's interpreter runs it.

    ``build`` is one of pytorch.WISHES; ``wheels`` a folder that has all packages, for computers without a network;
    ``larger`` accepts a larger download than `download_text` announces; ``full`` adds what only Full quality needs.
    """
    options = ["--base", str(base), "--build", build]
    if wheels:
        options += ["--wheels", wheels]
    options += ["--repair"] * repair + ["--larger"] * larger + ["--full"] * full
    return _command("install", *options)


def remove_command() -> list[str]:
    """The command that deletes the environment that this add-on made; any other Python is left alone."""
    return _command("remove")


def move_command(folder: Path) -> list[str]:
    """The command that moves everything into another folder."""
    return _command("move", str(folder))


def check_command(python: Path) -> list[str]:
    """The command that tests a Python and then the worker in it; Blender's interpreter runs it."""
    return _command("check", str(python))


def self_test_command(python: Path) -> list[str]:
    """The command that tests a worker's packages and devices, and writes self_test_report(); the worker runs it."""
    return module_command(python, "wham_blender.pipeline.self_test", "--json", "-o", str(self_test_report()))


def download_text(wish: str, nvidia_cards: list[pytorch.Card]) -> str:
    """What an installation of one of pytorch.WISHES downloads on this computer with these cards, and why."""
    try:
        build = pytorch.choose(wish, *pytorch.here(), nvidia_cards)
    except pytorch.BuildError as error:
        return str(error)
    if not download_sizes():
        return build.reason
    size = download_size(build)
    if size is None:
        others = download_sizes()["others"]
        return f"{build.reason} Downloads {others / 1000:.1f} GB and PyTorch with CUDA, which is 2 to 3 GB more"
    gigabytes = f"{size / 1000:.1f}"
    if build.name == "pypi":
        return f"{build.reason} Downloads {gigabytes} GB, and takes twice that on the disk"
    return f"{build.reason} Downloads about {gigabytes} GB, and takes twice that on the disk"


def download_size(build: pytorch.Build, full: bool = False) -> int | None:
    """Megabytes that an installation downloads here; None if only PyTorch's index knows.

    ``full``: with the packages that only Full quality needs.
    """
    sizes = download_sizes()
    torch = {"pypi": sizes.get("torch"), "cpu": _TORCH_CPU}.get(build.name)
    if not sizes or torch is None:
        return None
    return sizes["others"] + torch + (full_download() if full else 0)


def larger_download() -> int:
    """Megabytes that PyPI's build of PyTorch has in place of the one for the processor."""
    return download_sizes().get("torch", 0)


def full_download() -> int:
    """Megabytes of the packages that only Full quality needs."""
    return download_sizes().get("full", 0)


def lacks_full_packages() -> bool:
    """Whether the installed worker is complete, but without the packages that only Full quality needs."""
    return not os.environ.get("WHAM_WORKER_PYTHON") and read_marker(worker_folder(), MARKER).get("full") == "no"


def full_packages() -> frozenset[str]:
    """Names of the packages that only Full quality needs."""
    return frozenset((PIPELINE / "full_packages.txt").read_text("utf-8").split())


@cache
def download_sizes() -> dict[str, int]:
    """Megabytes of the packages for this system: ``torch`` with what only it needs, ``others``, and ``full``'s."""
    system, machine = pytorch.here()
    sizes: dict[str, dict[str, int]] = _read(PIPELINE / "download_sizes.json", dict[str, dict[str, int]])
    return sizes.get(f"{system}-{machine}", {})


@cache
def fingerprint() -> str:
    """Hash of the lists of packages."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(PIPELINE.glob("*.txt")))).hexdigest()


def read_marker(folder: Path, name: str) -> dict[str, str]:
    """What an installation wrote into a worker's folder as MARKER or STARTED; empty if it wrote nothing."""
    texts: dict[str, str] = _read(folder / name, dict[str, str])
    return texts


def python_of(folder: Path) -> Path:
    """The interpreter of an environment."""
    return folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def _read(path: Path, hint: Any) -> Any:
    """The content of a small JSON file, checked by records.py; {} if there is none or it does not fit."""
    try:
        content = records.parse(read_bounded(path, limits.SETTINGS_BYTES), limits.SETTINGS_BYTES)
        return records.value_of(hint, content, path.name)
    except (OSError, records.InvalidRecord):
        return {}


def _versions() -> str:
    oldest, newest = (".".join(map(str, version)) for version in PYTHONS)
    return f"{oldest} to {newest}"


def _command(*arguments: str) -> list[str]:
    return module_command(Path(sys.executable), "wham_blender.addon.worker.installer", *arguments)
